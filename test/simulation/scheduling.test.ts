import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { type Emitter, type PathOptions, TcpMiddlebox, Way } from '../../src/link/index.ts';
import { pass } from '../../src/link/middlebox/middlebox.ts';
import type { ScheduleRequest, SchedulerFactory, SubflowView } from '../../src/mptcp/seams.ts';
import { LowestLinger } from '../../src/policy/scheduler/lowest-linger.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';
import { connected } from './exchange.ts';

/** Steep enough that windows are open, and buffers that nobody fills. */
const WIDE = {
  tcp: {
    initialWindowSegments: 400,
    receiveBuffer: 2_000_000,
    maximumReceiveBuffer: 2_000_000,
    sendBuffer: 2_000_000,
    maximumSendBuffer: 2_000_000,
  },
};
const OPEN: readonly PathOptions[] = [{ delay: 10 }, { delay: 10 }];

interface Pick {
  readonly at: number;
  readonly id: number;
  readonly window: number;
}

/** The default scheduler, and what it said. */
function watched(picks: Pick[]): SchedulerFactory {
  return () => {
    const scheduler = new LowestLinger();
    return {
      name: 'watched',
      pick(now, subflows, request) {
        const index = scheduler.pick(now, subflows, request);
        picks.push({ at: now, id: index < 0 ? -1 : subflows[index]!.id, window: request.window });
        return index;
      },
      retransmit: (now, subflows, request, except) => scheduler.retransmit(now, subflows, request, except),
    };
  };
}

/** Keeps back the news of data while `active`: DATA_ACKs stay what they were. */
class FreezeDataAck extends TcpMiddlebox {
  readonly name = 'freeze';
  active = false;
  private high = 0;
  private low = 0;
  private readonly header = new IpHeader();
  private readonly segment = new Segment();

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const { segment, header } = this;
    const { mptcp } = segment;
    const readable = decodeIp(packet, header) === 0 && decodeTcp(packet, header, segment) === 0;
    if (!readable || way === Way.Forward || (mptcp.present & Mptcp.Dss) === 0) {
      pass(packet, way, emit);
      return;
    }
    if (!this.active) {
      this.high = mptcp.dataAckHigh;
      this.low = mptcp.dataAckLow;
      pass(packet, way, emit);
      return;
    }
    this.acted++;
    mptcp.dataAckHigh = this.high;
    mptcp.dataAckLow = this.low;
    const out = new Packet(4096);
    const at = out.start + headerLength(segment);
    out.bytes.set(packet.bytes.subarray(segment.payloadStart, segment.payloadEnd), at);
    encodeSegment(segment, out, segment.payloadEnd - segment.payloadStart, false);
    pass(out, way, emit);
  }
}

test('G1.09 bytes are handed out to both subflows in turn at once, for as long as there are bytes and windows', () => {
  const picks: Pick[] = [];
  const arrivals: string[] = [];
  const { world, client, near, clientSide } = connected({
    paths: OPEN,
    client: { ...WIDE, scheduler: watched(picks) },
    server: WIDE,
    onSegment: (now, fromA, segment, path) => {
      if (fromA && segment.payloadEnd > segment.payloadStart) arrivals.push(`${path} at ${now}`);
    },
  });
  const { mptcp } = clientSide;
  picks.length = 0;
  arrivals.length = 0;
  const began = world.now;
  const written = client.sockets.send(near, new Uint8Array(600_000), 0, 600_000);
  equal(written, 600_000);
  world.run({ until: began });
  ok(picks.length > 4, `${picks.length} picks`);
  ok(
    picks.every((pick) => pick.at === began),
    'all in one go',
  );
  const ids = picks.map((pick) => pick.id);
  const changes = ids.filter((id, index) => index > 0 && id !== ids[index - 1]).length;
  ok(new Set(ids.filter((id) => id > 0)).size === 2 && changes >= 3, `alternating: ${ids.join()}`);
  equal(mptcp!.sendNxt, mptcp!.sendQueue.end, 'until nothing was left');
  world.run({ until: began + 15 });
  deepEqual(
    [...new Set(arrivals)].sort(),
    [`0 at ${began + 10}`, `1 at ${began + 10}`],
    'no subflow waits for the other',
  );
});

test('G1.09, G1.10 the loop ends with the window of data, not with the data', () => {
  const picks: Pick[] = [];
  const narrow = { tcp: { receiveBuffer: 50_000, maximumReceiveBuffer: 50_000 } };
  const { world, client, near, clientSide } = connected({
    paths: OPEN,
    client: { ...WIDE, scheduler: watched(picks) },
    server: narrow,
  });
  client.sockets.send(near, new Uint8Array(600_000), 0, 600_000);
  world.run({ until: world.now });
  const { mptcp } = clientSide;
  const sent = mptcp!.sendNxt - mptcp!.sendUna;
  ok(sent > 25_000 && sent <= 50_000, `${sent} bytes under way`);
  ok(mptcp!.sendQueue.end > mptcp!.sendNxt, 'the rest waits');
});

test('G1.10 a mapping is a burst of whole segments, as long as a mapping may be', () => {
  const lengths: { length: number; start: number; payload: number }[] = [];
  let window = 0;
  const whole: SchedulerFactory = () => ({
    name: 'whole',
    pick(_now, subflows: readonly SubflowView[], request: ScheduleRequest) {
      window = Math.max(window, request.window);
      return subflows.findIndex((view) => view.active && view.room > 0);
    },
    retransmit: () => -1,
  });
  for (const scheduler of [whole, (() => new LowestLinger()) satisfies SchedulerFactory]) {
    lengths.length = 0;
    const seen = new Set<number>();
    const { world, client, near, clientSide } = connected({
      paths: OPEN,
      client: { ...WIDE, scheduler },
      server: WIDE,
      onSegment: (_now, fromA, segment) => {
        const { mptcp } = segment;
        if (!fromA || (mptcp.present & Mptcp.Dss) === 0 || mptcp.dataLength <= 1 || seen.has(mptcp.dataSequenceLow))
          return;
        seen.add(mptcp.dataSequenceLow);
        lengths.push({
          length: mptcp.dataLength,
          start: mptcp.dataSequenceLow,
          payload: segment.payloadEnd - segment.payloadStart,
        });
      },
    });
    const size = clientSide.mptcp!.subflows[0]!.tcp!.sender.segmentSize;
    client.sockets.send(near, new Uint8Array(500_000), 0, 500_000);
    world.run({ until: world.now + 500 });
    const total = lengths.reduce((sum, { length }) => sum + length, 0);
    equal(total, 500_000, 'each byte mapped once');
    ok(lengths.length >= 500_000 / 65_428, `${lengths.length} mappings`);
    for (const { length } of lengths) ok(length <= 65_428, `${length} bytes in a mapping`);
    const odd = lengths.filter(({ length }) => length % size !== 0).map(({ length }) => length);
    ok(odd.length <= 1, `whole segments of ${size}, but for the last bytes: ${odd.join()}`);
    ok(Math.max(...lengths.map(({ length }) => length)) > 40 * size, 'and a burst long');
  }
  ok(window > 500_000, 'the window was not the limit');
});

test('G1.13, E2.15 a path that stays silent for five data-level timeouts is stale while another works, until it shows life', () => {
  const meddler = new FreezeDataAck();
  const { world, client, server, near, far, target, clientSide, paths } = connected({
    paths: [{ delay: 10 }, { delay: 10, middleboxes: [meddler] }],
    client: WIDE,
    server: WIDE,
  });
  const mptcp = clientSide.mptcp!;
  const [dead, other] = mptcp.subflows;
  // The dead one holds the first byte, and the DATA_ACKs of the one that brings it again do not come through.
  paths[0]!.setUp(world.now, false);
  meddler.active = true;
  client.sockets.send(near, new Uint8Array(250_000), 0, 250_000);
  world.run({ until: world.now });
  const held = dead!.end - dead!.tcp!.sender.una;
  ok(held > 100_000, `${held} bytes are on the dead path, more than one mapping`);
  const states: string[] = [];
  let again = 0;
  for (const limit = world.now + 60_000; world.now < limit && !dead!.stale; ) {
    again = mptcp.bytesRetransmitted;
    world.run({ until: world.now + 1 });
    const state = `${dead!.staleCount} ${dead!.stale}`;
    if (states.at(-1) !== state) states.push(state);
  }
  deepEqual(states.slice(-5), ['1 false', '2 false', '3 false', '4 false', '5 true']);
  equal(client.stack.counters.SubflowStale, 1);
  ok(mptcp.bytesRetransmitted - again >= held, 'all that it held is sent again');
  equal(other!.stale, false);

  meddler.active = false;
  const before = dead!.bytesSent;
  let read = 0;
  const carry = (until: number, size: number): void => {
    client.sockets.send(near, new Uint8Array(size), 0, size);
    for (; world.now < until; ) {
      world.run({ until: world.now + 50 });
      read += Math.max(0, server.sockets.recv(far, target, 0, 70_000));
    }
  };
  carry(world.now + 10_000, 50_000);
  equal(read, 300_000, 'the other one carries everything');
  equal(dead!.bytesSent, before, 'the scheduler leaves it alone');
  equal(dead!.stale, true);

  paths[0]!.setUp(world.now, true);
  carry(world.now + 20_000, 50_000);
  equal(dead!.stale, false);
  equal(client.stack.counters.SubflowRecover, 1);
  const silent = dead!.bytesSent;
  carry(world.now + 1000, 200_000);
  ok(dead!.bytesSent > silent, 'and is used again');
});

test('G1.15 the data-level timer is the largest of the subflows’ timeouts', () => {
  for (const slowest of [10, 400]) {
    const meddlers = [new FreezeDataAck(), new FreezeDataAck()];
    const { world, client, near, clientSide } = connected({
      paths: [
        { delay: 10, middleboxes: [meddlers[0]!] },
        { delay: slowest, middleboxes: [meddlers[1]!] },
      ],
    });
    world.run({ until: 5000 });
    const mptcp = clientSide.mptcp!;
    const timeouts = mptcp.subflows.map((subflow) => subflow.tcp!.sender.rtt.rto);
    for (const meddler of meddlers) meddler.active = true;
    const began = world.now;
    client.sockets.send(near, Uint8Array.of(1), 0, 1);
    world.run({ until: began + 10_000, condition: () => client.stack.counters.MPTCPRetrans > 0 });
    const passed = world.now - began;
    ok(Math.abs(passed - Math.max(...timeouts)) <= 1, `${passed} ms, of ${timeouts.join()}`);
    ok(slowest === 10 ? passed < 400 : passed > 800, `${passed} ms with a path of ${2 * slowest} ms`);
  }
});

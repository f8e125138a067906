import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { SequenceRewriter } from '../../src/link/index.ts';
import { EndpointPathManager } from '../../src/policy/path-manager/endpoints.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Family, Protocol, Sockets, SocketType } from '../../src/sockets/sockets.ts';
import { Stack } from '../../src/stack/stack.ts';
import { packetBytes } from '../../src/wire/checksum.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, type Segment } from '../../src/wire/segment.ts';
import { path } from './exchange.ts';
import { pair } from './pair.ts';
import { observe } from './segments.ts';

const SIZE = 300_000;
/** Numbers begin so far below 2^32. */
const BEFORE_WRAP = 40_000;

/** Both sides send SIZE bytes over two paths with these boxes. */
function transfer(
  boxes: readonly SequenceRewriter[],
  onSegment: (fromA: boolean, segment: Segment, path: number) => void,
) {
  const both = pair({ paths: [path(boxes.slice(0, 1)), path(boxes.slice(1))] });
  const { world, clientApp, serverApp, serverAddress } = both;
  observe(world, onSegment);
  serverApp.listen(80, { toSend: SIZE });
  const client = clientApp.connect(0, serverAddress(0), 80, { toSend: SIZE });
  world.run({ until: 60_000, condition: () => client.closed && serverApp.ends[0]?.closed === true });
  return { ...both, ends: [client, serverApp.ends[0]!] };
}

test('C04 sequence numbers of both subflows go round 2^32 in both directions; mappings stay relative to their start', () => {
  const initial = [0, 1].map(() => ({ forward: -1, backward: -1 }));
  const plain = transfer([], (fromA, segment, index) => {
    if ((segment.flags & Flag.Syn) !== 0) initial[index]![fromA ? 'forward' : 'backward'] = segment.sequence;
  });
  // The same seed, so the same numbers, which a firewall moves to where they are wanted.
  const boxes = initial.map(({ forward, backward }) => {
    ok(forward >= 0 && backward >= 0, 'both paths were opened');
    const shifts = [-BEFORE_WRAP - forward, -BEFORE_WRAP - backward];
    return new SequenceRewriter({ word: () => shifts.shift()! >>> 0 } as SeededRandom);
  });
  const started = new Set<string>();
  const wrapped = new Set<string>();
  let furthest = 0;
  const { client, server, ends } = transfer(boxes, (fromA, segment, index) => {
    const flow = `${index} ${fromA}`;
    if ((segment.flags & Flag.Syn) !== 0 && segment.sequence === 2 ** 32 - BEFORE_WRAP) started.add(flow);
    if (segment.payloadEnd === segment.payloadStart) return;
    if (segment.sequence < 2 ** 31) wrapped.add(flow);
    const { mptcp } = segment;
    if ((mptcp.present & Mptcp.Dss) !== 0) furthest = Math.max(furthest, mptcp.subflowSequence);
  });
  equal(started.size, 4, `near the end of the space began ${[...started].join()}`);
  equal(wrapped.size, 4, `beyond it went ${[...wrapped].join()}`);
  ok(furthest > BEFORE_WRAP && furthest < 2 * SIZE, `subflow sequence numbers up to ${furthest}`);
  for (const end of ends) deepEqual([end.received, end.wrongAt, end.error, end.closed], [SIZE, -1, 0, true]);
  for (const { stack } of [client, server]) deepEqual(stack.defects, []);
  // Every counter stands where it stands without a wrap: nothing was taken for something else.
  deepEqual(client.stack.counters, plain.client.stack.counters);
  deepEqual(server.stack.counters, plain.server.stack.counters);
  deepEqual(server.stack.tcpCounters, plain.server.stack.tcpCounters);
});

test('A5.04 more than 4 GiB on one subflow: its relative sequence numbers go round as well', () => {
  let now = 0;
  const make = (host: number): Stack => {
    const stack = new Stack({ random: new SeededRandom(host), pathManager: new EndpointPathManager() });
    stack.addInterface({
      name: 'direct',
      mtu: 1500,
      addresses: [{ address: addressOf(4, 0, host), prefixLength: 24 }],
      segmentationOffload: true,
      checksumOffload: true,
    });
    return stack;
  };
  const stacks = [make(1), make(2)] as const;
  const [client, server] = [new Sockets(stacks[0]), new Sockets(stacks[1])];
  const packet = new Packet(PACKET_CAPACITY, 0, packetBytes(PACKET_CAPACITY));
  const exchange = (): void => {
    now += 0.2;
    for (let idle = 0; idle < 2; ) {
      idle = 0;
      for (const [index, stack] of stacks.entries()) {
        if (stack.pollTimeout() <= now) stack.onTimeout(now);
        packet.start = packet.gsoSize = packet.checksum = 0;
        if (stack.pollTransmit(now, packet) >= 0) stacks[1 - index]!.onPacket(now, 0, packet);
        else idle++;
      }
    }
  };
  const listener = server.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  server.bind(listener, undefined, 80);
  server.listen(listener, 1);
  const near = client.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  client.connect(near, addressOf(4, 0, 2), 80, now);
  exchange();
  const far = server.accept(listener);
  const chunk = Uint8Array.from({ length: 262_144 }, (_, index) => Math.imul(index, 0x9e37_79b1) >>> 24);
  let sent = 0;
  let received = 0;
  let last = -1;
  while (received < 2 ** 32 + 1e8 && received > last) {
    last = received;
    for (let taken = 1; taken > 0; sent += Math.max(0, taken)) {
      const from = sent % chunk.length;
      taken = client.send(near, chunk, from, chunk.length - from);
    }
    exchange();
    for (let view = server.peek(far); view.length > 0; view = server.peek(far)) {
      equal(view[0], chunk[received % chunk.length]);
      received += view.length;
      equal(view[view.length - 1], chunk[(received - 1) % chunk.length]);
      server.consume(far, view.length);
    }
    exchange();
  }
  ok(received >= 2 ** 32 + 1e8, `${received} bytes arrived`);
  const { mptcp } = client.connectionOf(near)!;
  equal(mptcp!.subflows.length, 1);
  deepEqual(
    stacks.map(({ defects }) => defects),
    [[], []],
  );
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import {
  EarlyAcknowledger,
  type Emitter,
  type Middlebox,
  RewritePayload,
  StripOption,
  type StripOptions,
} from '../../src/link/middlebox/index.ts';
import { FallbackReason } from '../../src/mptcp/fallback.ts';
import { SimulatedHost } from '../../src/sim/host.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf, twoHosts } from '../../src/sim/topology.ts';
import { fillPattern } from '../../src/sim/workload.ts';
import { Errno } from '../../src/sockets/errno.ts';
import { Family, Protocol, SocketType } from '../../src/sockets/sockets.ts';
import { Capable, Mptcp, type MptcpOptions, ResetReason } from '../../src/wire/mptcp-options.ts';
import type { Packet } from '../../src/wire/packet.ts';
import { type Exchanged, exchange, intact, path } from './exchange.ts';
import { Tampering } from './injection.ts';
import { pair } from './pair.ts';
import { observe } from './segments.ts';

/** Applies another box to one direction alone. */
class OneWay implements Middlebox {
  readonly name = 'one-way';
  private readonly box: Middlebox;
  private readonly isForward: boolean;

  constructor(box: Middlebox, isForward: boolean) {
    this.box = box;
    this.isForward = isForward;
  }

  get acted(): number {
    return this.box.acted;
  }

  forward(now: number, packet: Packet, emit: Emitter): void {
    if (this.isForward) this.box.forward(now, packet, emit);
    else emit.forward(packet);
  }

  backward(now: number, packet: Packet, emit: Emitter): void {
    if (this.isForward) emit.backward(packet);
    else this.box.backward(now, packet, emit);
  }

  onTimeout(now: number, emit: Emitter): void {
    this.box.onTimeout(now, emit);
  }

  pollTimeout(): number {
    return this.box.pollTimeout();
  }
}

function phraseAt(offset: number): Uint8Array {
  const phrase = new Uint8Array(6);
  fillPattern(1, offset, phrase, 0, 6);
  return phrase;
}

function bothPlain(result: Exchanged): void {
  ok(!result.clientSide.isMultipath && !result.serverSide.isMultipath);
}

test('A4.08 no options in the answer to a join’s third ACK: no data goes there, and that subflow alone is reset', () => {
  // The handshake passes: SYN, SYN/ACK and the third ACK; what follows on it has no options.
  const result = exchange({ paths: [path(), path([new StripOption({ after: 3 })])] });
  intact(result);
  deepEqual([result.clientSide.fallbackReason, result.serverSide.fallbackReason], [0, 0]);
  const lost = result.clientSide.mptcp!.past.find((subflow) => subflow.id === 2)!;
  ok(lost.resetReason === ResetReason.Middlebox || lost.resetReason === ResetReason.MptcpSpecific);
  equal(lost.bytesSent + lost.bytesReceived, 0);
  const counters = [result.client.stack.counters, result.server.stack.counters];
  equal(counters[0]!.MPRstTx + counters[1]!.MPRstTx, 1);
});

test('A8.16 a checksum fails behind a gap of the only subflow: reset with MP_FAIL, and typed errors', () => {
  // The phrase is in the mapping under way when a packet is lost; what follows the gap waits for its checksum.
  const box = new RewritePayload(phraseAt(60_000), new Uint8Array(6));
  const result = exchange({
    paths: [path([box], { loss: 0.2 })],
    seed: 3,
    client: { mptcp: { checksums: true } },
    until: 120_000,
  });
  const failed = result.client.stack.counters.DataCsumErr + result.server.stack.counters.DataCsumErr;
  ok(failed >= 1);
  // Whatever it came to, no wrong byte was delivered as a right one of a multipath connection.
  ok(result.clientEnd.error === Errno.ECONNRESET || result.serverEnd.error === Errno.ECONNRESET);
  ok(result.client.stack.counters.MPFailTx + result.server.stack.counters.MPFailTx >= 1);
  deepEqual([result.clientSide.fallbackReason, result.serverSide.fallbackReason], [0, 0]);
  equal(result.serverEnd.wrongAt, -1);
  equal(result.clientEnd.wrongAt, -1);
});

test('A8.17, A8.15 the peer answers MP_FAIL with MP_FAIL and an infinite mapping', () => {
  const box = new OneWay(new RewritePayload(phraseAt(60_000), new Uint8Array(6)), true);
  const result = exchange({ paths: [path([box])], server: { mptcp: { checksums: true } } });
  deepEqual(
    [result.clientSide.fallbackReason, result.serverSide.fallbackReason],
    [FallbackReason.PeerFail, FallbackReason.Checksum],
  );
  const { client, server, clientEnd, serverEnd } = result;
  // What was on its way meanwhile may be damaged, too.
  ok(server.stack.counters.DataCsumErr >= 1);
  deepEqual([server.stack.counters.MPFailTx, server.stack.counters.MPFailRx], [1, 1]);
  deepEqual([client.stack.counters.MPFailTx, client.stack.counters.MPFailRx], [1, 1]);
  equal(client.stack.counters.InfiniteMapTx, 1);
  deepEqual([clientEnd.wrongAt, clientEnd.received], [-1, result.size]);
  deepEqual([serverEnd.wrongAt, serverEnd.received], [60_000, result.size]);
});

test('A8.18 once a second subflow was there, no fallback: the last one is reset', () => {
  const strip = new StripOption({ on: 'non-syn' });
  let isOn = false;
  const box = new OneWay(strip, true);
  const pass: Middlebox = {
    name: 'later',
    acted: 0,
    forward: (now, packet, emit) => (isOn ? box.forward(now, packet, emit) : emit.forward(packet)),
    backward: (_now, packet, emit) => emit.backward(packet),
    onTimeout: () => undefined,
    pollTimeout: () => Number.POSITIVE_INFINITY,
  };
  const { world, client, server, clientApp, serverApp, serverAddress } = pair({ paths: [path([pass]), path()] });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 50e6 });
  world.run({ until: 1000 });
  equal(client.sockets.connectionOf(end.descriptor)!.mptcp!.subflows.length, 2);
  client.endpoints.remove(world.now, client.endpoints.endpoints[0]!.id);
  world.run({ until: 2000 });
  equal(client.sockets.connectionOf(end.descriptor)!.mptcp!.subflows.length, 1);
  isOn = true;
  world.run({ until: 70_000 });
  ok(server.stack.counters.FallbackFailed >= 1);
  equal(serverApp.ends[0]!.wrongAt, -1);
  ok(serverApp.ends[0]!.error !== 0 && end.error !== 0, 'both ends are told');
});

test('A8.19, A8.20 after fallback: no MPTCP option ever again, and no join either way', () => {
  const box = new StripOption({ on: 'data', after: 40 });
  const built = pair({ paths: [path([box]), path()], client: { endpoints: [] }, server: { endpoints: [] } });
  const { world, client, server, clientApp, serverApp, serverAddress } = built;
  serverApp.listen(80, { toSend: 3e6 });
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 3e6 });
  world.run({ condition: () => serverApp.ends[0] !== undefined && server.stack.counters.DssFallback === 1 });
  world.run({ condition: () => client.sockets.connectionOf(end.descriptor)!.fallbackReason !== 0 });
  // One infinite mapping and what answers it may still come.
  world.run({ until: world.now + 50 });
  let options = 0;
  let segments = 0;
  observe(world, (_fromA, segment) => {
    segments++;
    if (segment.mptcp.present !== 0) options++;
  });
  client.endpoints.add(world.now, { address: addressOf(4, 1, 1), subflow: true });
  server.endpoints.add(world.now, { address: addressOf(4, 1, 2), signal: true });
  world.run({ until: 20_000 });
  ok(segments > 100);
  equal(options, 0);
  equal(client.stack.counters.MPJoinSynTx, 0);
  for (const finished of [end, serverApp.ends[0]!]) {
    deepEqual([finished.error, finished.wrongAt, finished.received, finished.closed], [0, -1, 3e6, true]);
  }
});

test('A8.26, A9.09 options vanish on the way to a receiver that has nothing to say: no byte is read twice', () => {
  const box = new OneWay(new StripOption({ on: 'data', after: 20 }), true);
  const { world, client, clientApp, serverApp, serverAddress } = pair({ paths: [path([box])] });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 3e6 });
  const { counters } = client.stack;
  world.run({ until: 20_000 });
  deepEqual([serverApp.ends[0]!.wrongAt, serverApp.ends[0]!.received], [-1, 3e6]);
  deepEqual([end.error, end.closed, serverApp.ends[0]!.closed], [0, true, true]);
  equal(counters.DssFallback, 1);
  equal(counters.MPTCPRetrans, 0);
});

for (const [direction, isForward] of [
  ['from client to server', true],
  ['from server to client', false],
] as const) {
  test(`A8.26 options vanish ${direction} alone, from the third ACK on: plain TCP at both ends`, () => {
    const box = new OneWay(new StripOption({ on: 'non-syn' }), isForward);
    const result = exchange({ paths: [path([box])] });
    ok(box.acted > 0);
    intact(result);
    bothPlain(result);
  });

  test(`A8.26, A8.11 options vanish ${direction} alone, later: plain TCP at both ends`, () => {
    const box = new OneWay(new StripOption({ on: 'data', after: 20 }), isForward);
    const result = exchange({ paths: [path([box])] });
    ok(box.acted > 0);
    intact(result);
    bothPlain(result);
    const side = isForward ? result.serverSide : result.clientSide;
    equal(side.fallbackReason, FallbackReason.NoMapping);
  });
}

test('A8.27 a split proxy that passes options of SYNs and loses those of data', () => {
  const result = exchange({
    paths: [path([new EarlyAcknowledger(), new StripOption({ on: 'data' })], { queue: 1e6 })],
  });
  intact(result);
  bothPlain(result);
});

test('A8.20 a join that the peer starts towards a connection that fell back here is refused', () => {
  // The client learns of the fallback late: data flows to it alone, and its path back loses no options.
  const box = new OneWay(new StripOption({ on: 'data', after: 20 }), true);
  const { world, client, server, clientApp, serverApp, serverAddress } = pair({
    paths: [path([box]), path()],
    client: { endpoints: [] },
  });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 3e6 });
  world.run({ condition: () => server.stack.counters.DssFallback === 1 });
  const mptcp = client.sockets.connectionOf(end.descriptor)!.mptcp!;
  equal(mptcp.fallenBack, false);
  client.endpoints.add(world.now, { address: addressOf(4, 1, 1), subflow: true });
  world.run({ until: 20_000 });
  equal(client.stack.counters.MPJoinSynTx, 1);
  equal(server.stack.counters.MPJoinRefused, 1);
  deepEqual([serverApp.ends[0]!.wrongAt, serverApp.ends[0]!.received], [-1, 3e6]);
});

const FAULTS: readonly [string, (options: MptcpOptions) => void][] = [
  ['flag B', (options) => (options.capableFlags |= Capable.Extensible)],
  ['no flag H', (options) => (options.capableFlags &= ~Capable.HmacSha256)],
  ['version 0', (options) => (options.version = 0)],
];
/** Where it stands, and what the client takes the answer for: only behind a good SYN/ACK it believed in MPTCP. */
const FORMS: readonly [string, number, number, boolean][] = [
  ['SYN', Mptcp.CapableSyn, FallbackReason.SynAck, false],
  ['SYN/ACK', Mptcp.CapableSynAck, FallbackReason.SynAck, false],
  ['third ACK', Mptcp.CapableAck, FallbackReason.FirstData, true],
];

for (const [place, form, clientReason, clientBelieves] of FORMS) {
  for (const [fault, change] of FAULTS) {
    test(`A8.06 MP_CAPABLE with ${fault} in the ${place} counts as absent: plain TCP at both ends`, () => {
      const box = new Tampering(({ mptcp }) => {
        if ((mptcp.present & form) === 0) return false;
        change(mptcp);
        return true;
      });
      const result = exchange({ paths: [path([box])] });
      ok(box.acted > 0, 'it was changed');
      intact(result);
      bothPlain(result);
      equal(result.clientSide.fallbackReason, clientReason, 'what the client makes of it');
      const { client, server } = result;
      equal(client.stack.counters.MPCapableSYNACKRX, clientBelieves ? 1 : 0, 'whether it took the SYN/ACK');
      equal(server.stack.counters.MPCapableACKRX, 0, 'the server took no third ACK');
    });
  }
}

/** Draws the same key again and again, once it is told to. */
class Stuck extends SeededRandom {
  isStuck = false;

  override word(): number {
    const word = super.word();
    return this.isStuck ? 0x1234_5678 : word;
  }
}

for (const side of ['client', 'server'] as const) {
  test(`A8.07 no free token at the ${side}: that connection is plain TCP, and the next one is not`, () => {
    const random = new Stuck(1);
    const both = twoHosts<SimulatedHost>({
      paths: [path()],
      family: 4,
      host: (name, interfaces, world) =>
        new SimulatedHost(interfaces, name === side ? random : world.random.derive(name)),
    });
    const { world, client, server, serverAddress } = both;
    const listener = server.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
    server.sockets.bind(listener, undefined, 80);
    server.sockets.listen(listener, 8);
    const open = () => {
      const near = client.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
      client.sockets.connect(near, serverAddress(0), 80, world.now);
      world.run({ until: world.now + 200 });
      client.sockets.send(near, Uint8Array.of(1, 2, 3), 0, 3);
      world.run({ until: world.now + 200 });
      const far = server.sockets.accept(listener);
      const target = new Uint8Array(10);
      equal(server.sockets.recv(far, target, 0, 10), 3, 'the bytes arrive either way');
      const sides = [client.sockets.connectionOf(near)!, server.sockets.connectionOf(far)!];
      return sides.map((connection) => connection.isMultipath);
    };
    const { counters } = (side === 'client' ? client : server).stack;
    random.isStuck = true;
    deepEqual(open(), [true, true], 'the first connection takes the only key there is');
    equal(counters.MPFallbackTokenInit, 0, 'a token was free');
    deepEqual(open(), [false, false], 'the second one finds none');
    equal(counters.MPFallbackTokenInit, 1, 'counted');
    random.isStuck = false;
    deepEqual(open(), [true, true], 'and later there are tokens again');
    equal(counters.MPFallbackTokenInit, 1, 'counted once');
  });
}

test('A2.22, H1.75 a simultaneous open of two MPTCP sockets: plain TCP at both ends', () => {
  const { world, client, server, clientAddress, serverAddress } = twoHosts<SimulatedHost>({
    paths: [path()],
    family: 4,
    host: (name, interfaces, around) => new SimulatedHost(interfaces, around.random.derive(name)),
  });
  const ends = [client, server].map((host) => {
    const descriptor = host.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
    equal(host.sockets.bind(descriptor, undefined, 7000), 0);
    return descriptor;
  }) as [number, number];
  client.sockets.connect(ends[0], serverAddress(0), 7000, 0);
  server.sockets.connect(ends[1], clientAddress(0), 7000, 0);
  world.run({ until: 500 });
  equal(client.sockets.send(ends[0], Uint8Array.of(1, 2, 3), 0, 3), 3);
  equal(server.sockets.send(ends[1], Uint8Array.of(4, 5), 0, 2), 2);
  world.run({ until: 1000 });
  const target = new Uint8Array(10);
  equal(server.sockets.recv(ends[1], target, 0, 10), 3, 'data flows there');
  equal(client.sockets.recv(ends[0], target, 0, 10), 2, 'and back');
  for (const [index, host] of [client, server].entries()) {
    const connection = host.sockets.connectionOf(ends[index]!)!;
    equal(connection.fallbackReason, FallbackReason.SimultaneousOpen, 'RFC 8684 has no place for it');
    equal(host.stack.counters.SimultConnectFallback, 1, 'counted');
  }
});

/** Options vanish as `options` says; of the three counters of such cases one moves where it is seen, by one. */
function countsOnly(
  expected: 'MPCapableDataFallback' | 'DssFallback' | 'FallbackFailed',
  options: StripOptions,
  others: number,
): void {
  // On the way to the client at first, and seen there; or later on the way to the server.
  const isForward = expected !== 'MPCapableDataFallback';
  const box = new OneWay(new StripOption(options), isForward);
  const result = exchange({ paths: [path([box]), ...Array.from({ length: others }, () => path())] });
  intact(result);
  const { counters } = (isForward ? result.server : result.client).stack;
  const { MPCapableDataFallback, DssFallback, FallbackFailed } = counters;
  deepEqual(
    { MPCapableDataFallback, DssFallback, FallbackFailed },
    { MPCapableDataFallback: 0, DssFallback: 0, FallbackFailed: 0, [expected]: 1 },
    'where it is seen',
  );
  equal(counters.DSSCorruptionReset + counters.DSSCorruptionFallback, 0, 'nothing is corrupt');
}

test('H1.72 MPCapableDataFallback: the first acknowledgment of data says nothing of MPTCP', () => {
  countsOnly('MPCapableDataFallback', { on: 'non-syn' }, 0);
});

test('H1.74 DssFallback: data without a mapping on the only subflow', () => {
  countsOnly('DssFallback', { on: 'data', after: 40 }, 0);
});

test('H1.76 FallbackFailed: data without a mapping on one of two subflows', () => {
  countsOnly('FallbackFailed', { on: 'data', after: 40 }, 1);
});

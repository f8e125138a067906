import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit } from '../../src/link/index.ts';
import {
  AddressTranslator,
  ClampMss,
  CoalesceSegments,
  DropUnknownOptions,
  DuplicateOption,
  EarlyAcknowledger,
  NormaliseRetransmissions,
  RewritePayload,
  SequenceRewriter,
  ShrinkWindow,
  SplitSegments,
  StatefulFirewall,
  StripOption,
  SynProxy,
} from '../../src/link/middlebox/index.ts';
import { FallbackReason } from '../../src/mptcp/fallback.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { fillPattern } from '../../src/sim/workload.ts';
import { ResetReason } from '../../src/wire/mptcp-options.ts';
import { type Exchanged, exchange, intact, path } from './exchange.ts';
import { LateProxy } from './late-proxy.ts';

const CHECKED = { mptcp: { checksums: true } };
/** Six bytes in the middle of the client's stream, which come again every 64 KB or so in both streams. */
const PHRASE = new Uint8Array(6);
fillPattern(1, 60_000, PHRASE, 0, 6);

function reasons({ clientSide, serverSide }: Exchanged): [number, number] {
  return [clientSide.fallbackReason, serverSide.fallbackReason];
}

/** Where the gateway finds its phrase in the stream `seed`. */
function places(seed: number, size: number): number[] {
  const stream = Buffer.alloc(size);
  fillPattern(seed, 0, stream, 0, size);
  const found: number[] = [];
  for (let at = stream.indexOf(PHRASE); at >= 0; at = stream.indexOf(PHRASE, at + 1)) found.push(at);
  return found;
}

/** Both ends have the stream as the gateway made it: nothing lost, nothing twice. */
function changedByGatewayOnly(result: Exchanged, growth: number): void {
  for (const end of [result.serverEnd, result.clientEnd]) {
    const found = places(end.receiveSeed, result.size);
    ok(found.length > 0);
    equal(end.error, 0);
    equal(end.wrongAt, found[0]);
    equal(end.received, result.size + growth * found.length);
  }
}

/** Still multipath, and both subflows carried data. */
function bothPathsUsed(result: Exchanged): void {
  deepEqual(reasons(result), [FallbackReason.None, FallbackReason.None]);
  for (const side of [result.clientSide, result.serverSide]) {
    equal(side.mptcp!.subflowsTotal, 2);
    const subflows = [...side.mptcp!.subflows, ...side.mptcp!.past];
    equal(subflows.length, 2);
    for (const subflow of subflows) ok(subflow.bytesSent + subflow.bytesReceived > 10_000);
  }
}

test('A12.01, A8.01, A8.02 options stripped from the SYN: plain TCP at both ends', () => {
  const result = exchange({ paths: [path([new StripOption({ on: 'syn' })])] });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.SynAck, FallbackReason.PeerPlain]);
  equal(result.client.stack.counters.MPCapableFallbackSYNACK, 1);
  equal(result.server.stack.counters.MPCapableSYNRX, 0);
});

test('A12.02, A8.02, A8.03 options stripped from the SYN/ACK: plain TCP at both ends', () => {
  const result = exchange({ paths: [path([new StripOption({ on: 'syn-ack' })])] });
  intact(result);
  equal(result.clientSide.fallbackReason, FallbackReason.SynAck);
  ok(!result.serverSide.isMultipath);
  equal(result.client.stack.counters.MPCapableFallbackSYNACK, 1);
  equal(result.server.stack.counters.MPCapableSYNRX, 1);
  equal(result.server.stack.counters.MPCapableFallbackACK, 1);
});

for (const on of ['third-ack', 'non-syn'] as const) {
  test(`A12.03, A8.03, A8.08, A8.10 options stripped from ${on}: plain TCP at both ends`, () => {
    const result = exchange({ paths: [path([new StripOption({ on })])] });
    intact(result);
    equal(result.clientSide.fallbackReason, FallbackReason.FirstData);
    ok(!result.serverSide.isMultipath);
    equal(result.client.stack.counters.MPCapableDataFallback, 1);
    equal(result.server.stack.counters.MPCapableFallbackACK, 1);
  });
}

test('A12.04, A8.11 options vanish from data of the only path: both go on as plain TCP, none of it lost', () => {
  const result = exchange({ paths: [path([new StripOption({ on: 'data', after: 40 })])] });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.NoMapping, FallbackReason.NoMapping]);
  equal(result.client.stack.counters.DssFallback, 1);
  equal(result.server.stack.counters.DssFallback, 1);
});

test('A12.04, A8.12 options vanish from data of one of two paths: it is reset, the other carries everything', () => {
  const result = exchange({ paths: [path([new StripOption({ on: 'data', after: 40 })]), path()] });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.None, FallbackReason.None]);
  const counters = [result.client.stack.counters, result.server.stack.counters];
  ok(counters[0]!.FallbackFailed + counters[1]!.FallbackFailed >= 1);
  const lost = result.clientSide.mptcp!.past.find((subflow) => subflow.id === 1)!;
  equal(lost.resetReason, ResetReason.Middlebox);
});

test('A12.05, A8.04, A8.05 SYNs with unknown options dropped: again without, and the black hole is remembered', () => {
  const box = new DropUnknownOptions();
  const result = exchange({ paths: [path([box])] });
  intact(result);
  equal(box.acted, 3);
  equal(result.clientSide.fallbackReason, FallbackReason.SynDropped);
  equal(result.client.stack.counters.MPCapableSYNTXDrop, 1);
  equal(result.client.stack.counters.Blackhole, 1);
  // The next connection does not try.
  const { world, clientApp, client, serverAddress } = result;
  const from = world.now;
  const again = clientApp.connect(from, serverAddress(0), 80, { toSend: 1000 });
  world.run({ until: from + 500 });
  equal(again.received, result.size);
  equal(box.acted, 3);
  equal(client.stack.counters.MPCapableSYNTXDisabled, 1);
});

test('A12.06, A8.21, A4.07 MP_JOIN stripped: the second path fails, the connection lives', () => {
  const result = exchange({ paths: [path(), path([new StripOption({ subtype: 1 })])] });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.None, FallbackReason.None]);
  equal(result.clientSide.mptcp!.subflowsTotal, 1);
  equal(result.client.stack.counters.MPJoinSynAckMissing, 1);
  equal(result.clientSide.mptcp!.past.find((subflow) => subflow.id === 2)!.resetReason, ResetReason.MptcpSpecific);
});

test('A12.07, A4.12 addresses and ports rewritten on both paths: ids identify them', () => {
  const boxes = [new AddressTranslator(addressOf(4, 0, 99)), new AddressTranslator(addressOf(4, 1, 99), 50_000)];
  const result = exchange({ paths: boxes.map((box) => path([box])) });
  intact(result);
  bothPathsUsed(result);
  const seen = result.serverSide.mptcp!;
  const joined = [...seen.subflows, ...seen.past].find((subflow) => subflow.joined)!;
  equal(String(joined.peer), String(addressOf(4, 1, 99)));
  equal(joined.peerPort, 50_000);
  equal(joined.peerId, result.client.endpoints.endpoints[0]!.id);
});

test('A12.08 initial sequence numbers rewritten on both paths', () => {
  const boxes = [new SequenceRewriter(new SeededRandom(3)), new SequenceRewriter(new SeededRandom(4))];
  const result = exchange({ paths: boxes.map((box) => path([box])) });
  intact(result);
  bothPathsUsed(result);
  for (const box of boxes) ok(box.acted > 50);
});

for (const copies of ['copy', 'first'] as const) {
  test(`A12.09, A5.08 segments split, options on ${copies === 'copy' ? 'every' : 'the first'} piece`, () => {
    const boxes = [new SplitSegments(500, copies), new SplitSegments(700, copies)];
    const result = exchange({ paths: boxes.map((box) => path([box])) });
    intact(result);
    bothPathsUsed(result);
    for (const box of boxes) ok(box.acted > 30);
  });
}

test('A12.10 segments coalesced under the first one’s options: mapped bytes count, the rest comes again', () => {
  const boxes = [new CoalesceSegments(4000), new CoalesceSegments(3000)];
  const result = exchange({ paths: boxes.map((box) => path([box])) });
  intact(result);
  bothPathsUsed(result);
  for (const box of boxes) ok(box.acted > 30);
});

test('A12.11, A8.15, A7.06 payload changed on the only path: MP_FAIL, infinite mappings, the gateway has its way', () => {
  const box = new RewritePayload(PHRASE, new Uint8Array(6));
  const result = exchange({ paths: [path([box])], client: CHECKED });
  changedByGatewayOnly(result, 0);
  for (const { counters } of [result.client.stack, result.server.stack]) {
    ok(counters.MPFailTx === 1 && counters.MPFailRx === 1);
    equal(counters.InfiniteMapTx, 1);
  }
  ok(result.client.stack.counters.DataCsumErr + result.server.stack.counters.DataCsumErr >= 1);
  ok(reasons(result).includes(FallbackReason.Checksum));
});

test('A12.11, A8.14, A7.05 payload changed on one of two paths: reset with MP_FAIL, no wrong byte delivered', () => {
  const result = exchange({ paths: [path([new RewritePayload(PHRASE, new Uint8Array(6))]), path()], client: CHECKED });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.None, FallbackReason.None]);
  const counters = [result.client.stack.counters, result.server.stack.counters];
  ok(counters[0]!.DataCsumErr + counters[1]!.DataCsumErr >= 1);
  ok(counters[0]!.MPFailTx + counters[1]!.MPFailTx >= 1);
  const lost = result.clientSide.mptcp!.past.find((subflow) => subflow.id === 1)!;
  equal(lost.resetReason, ResetReason.Middlebox);
});

for (const at of [60_000, 100]) {
  test(`A12.12, A8.13, A8.23 payload shortened at byte ${at} of the only path: plain TCP from there`, () => {
    fillPattern(1, at, PHRASE, 0, 6);
    const result = exchange({
      paths: [path([new RewritePayload(PHRASE.slice(), new Uint8Array(4))])],
      client: CHECKED,
    });
    changedByGatewayOnly(result, -2);
    fillPattern(1, 60_000, PHRASE, 0, 6);
    ok(reasons(result).includes(FallbackReason.Corruption));
    ok(reasons(result).every((reason) => reason !== FallbackReason.None));
    const counters = [result.client.stack.counters, result.server.stack.counters];
    // The first end sees it by the mapping; the other by the infinite mapping, or by acknowledgments that say no more.
    const seen = counters.map(
      ({ DSSCorruptionFallback, InfiniteMapRx, MPCapableDataFallback }) =>
        DSSCorruptionFallback + InfiniteMapRx + MPCapableDataFallback,
    );
    deepEqual(seen, [1, 1]);
    ok(counters[0]!.InfiniteMapTx === 1 && counters[1]!.InfiniteMapTx === 1);
  });
}

test('A12.12, A8.13 payload shortened on one of two paths: that path is reset, no wrong byte delivered', () => {
  const result = exchange({ paths: [path([new RewritePayload(PHRASE, new Uint8Array(4))]), path()], client: CHECKED });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.None, FallbackReason.None]);
  ok(result.client.stack.counters.DSSCorruptionReset + result.server.stack.counters.DSSCorruptionReset >= 1);
});

test('A12.13, A8.08, A8.23 data acknowledged early on the only path: plain TCP at both ends', () => {
  const box = new EarlyAcknowledger();
  const result = exchange({ paths: [path([box], { queue: 1e6 })] });
  intact(result);
  ok(box.acted > 100);
  equal(result.clientSide.fallbackReason, FallbackReason.FirstData);
  equal(result.client.stack.counters.InfiniteMapTx, 1);
  equal(result.server.stack.counters.InfiniteMapRx, 1);
  equal(result.serverSide.fallbackReason, FallbackReason.InfiniteMapping);
});

test('A12.13, A9.09, A9.18 data acknowledged early and lost on one of two paths: sent again on the other', () => {
  // The first data is acknowledged by the server itself, so that the path is taken for one that carries MPTCP.
  let segments = 0;
  const loses = (index: number) => {
    segments = index + 1;
    return index === 20 || index === 50;
  };
  const box: LateProxy = new LateProxy({ loses }, () => segments > 15);
  const result = exchange({ paths: [path(), path([box])] });
  intact(result);
  bothPathsUsed(result);
  equal(box.lost, 2);
  const mptcp = result.clientSide.mptcp!;
  ok(mptcp.retransmits >= 1, 'the data-level timer fired');
  ok(result.client.stack.counters.MPTCPRetrans >= 1);
  ok(mptcp.subflows.concat(mptcp.past).find((subflow) => subflow.id === 1)!.bytesReinjected > 0);
  equal(result.client.stack.counters.DataAckMissing, 0, 'both paths were taken for good');
  ok(result.world.now < 5000);
});

test('A12.13, A8.09 data acknowledged early from the first byte of a joined path on: reset, no byte lost', () => {
  const box = new EarlyAcknowledger({ loses: (index) => index === 3 });
  const result = exchange({ paths: [path(), path([box])] });
  intact(result);
  deepEqual(reasons(result), [FallbackReason.None, FallbackReason.None]);
  const joined = result.clientSide.mptcp!.past.find((subflow) => subflow.id === 2)!;
  equal(joined.resetReason, ResetReason.Middlebox);
  equal(result.client.stack.counters.DataAckMissing, 1);
  equal(box.lost, 1, 'what the proxy lost came by the other path');
});

test('A12.14, A9.03 a window made small on one path: that subflow alone heeds it', () => {
  const box = new ShrinkWindow(8000);
  const result = exchange({
    paths: [path([box]), path()],
    size: 1e6,
    client: { mptcp: { opportunisticRetransmission: false } },
  });
  intact(result);
  bothPathsUsed(result);
  ok(box.acted > 10);
  const mptcp = result.serverSide.mptcp!;
  const [first, second] = mptcp.subflows.concat(mptcp.past).sort((a, b) => a.id - b.id);
  ok(second!.bytesReceived > 2 * first!.bytesReceived, `${first!.bytesReceived} and ${second!.bytesReceived}`);
});

test('A12.15, A9.10 a normaliser: what is sent again on a subflow is what was sent there first', () => {
  const boxes = [new NormaliseRetransmissions(), new NormaliseRetransmissions()];
  const result = exchange({
    paths: [
      path([boxes[0]!], {
        loss: 0.03,
        schedule: [
          [100, false],
          [900, true],
        ],
      }),
      path([boxes[1]!], { loss: 0.03 }),
    ],
    size: 3e6,
    // Probes of a silent path carry an octet of any value that was acknowledged before (RFC 9293 §3.8.4).
    client: { mptcp: { lossyProbeInterval: 0 } },
    server: { mptcp: { lossyProbeInterval: 0 } },
  });
  intact(result);
  bothPathsUsed(result);
  const resent = result.client.stack.tcpCounters.RetransSegs + result.server.stack.tcpCounters.RetransSegs;
  ok(resent > 50, `${resent} segments were sent again`);
  ok(result.client.stack.counters.MPTCPRetrans > 0, 'data moved to the other path meanwhile');
  for (const box of boxes) equal(box.acted, 0);
});

test('A12.16, A5.04 options repeated on other segments are accepted', () => {
  const boxes = [new DuplicateOption(), new DuplicateOption()];
  const result = exchange({ paths: boxes.map((box) => path([box])) });
  intact(result);
  bothPathsUsed(result);
  for (const box of boxes) ok(box.acted > 30);
});

test('A12.17 each subflow is an ordinary TCP connection to a stateful firewall', () => {
  const boxes = [new StatefulFirewall(), new StatefulFirewall()];
  const result = exchange({ paths: boxes.map((box) => path([box])) });
  intact(result);
  bothPathsUsed(result);
  for (const box of boxes) equal(box.acted, 0, 'not one segment refused');
});

for (const after of [0, 100]) {
  test(`A12.19, A8.25 options turned into end-of-list ${after === 0 ? 'from the third ACK on' : 'later'}`, () => {
    const result = exchange({ paths: [path([new StripOption({ on: 'non-syn', filler: 'end', after })])] });
    intact(result);
    equal(result.clientSide.fallbackReason, after === 0 ? FallbackReason.FirstData : FallbackReason.NoMapping);
    ok(!result.serverSide.isMultipath);
  });
}

test('A12.20, A5.17 paths of different delay: bytes are put in order at data level', () => {
  const result = exchange({ paths: [path([], { rate: mbit(20) }), path([], { delay: 40 })], size: 3e6 });
  intact(result);
  bothPathsUsed(result);
  for (const { counters } of [result.client.stack, result.server.stack]) {
    ok(counters.OFOQueueTail > 50 && counters.OFOMerge > 50);
  }
});

test('A12.21 a SYN proxy without options: plain TCP at both ends', () => {
  const box = new SynProxy(new SeededRandom(5));
  const result = exchange({ paths: [path([box])] });
  intact(result);
  ok(box.acted >= 4);
  deepEqual(reasons(result), [FallbackReason.SynAck, FallbackReason.PeerPlain]);
});

test('A12.22 segment sizes clamped differently on each path', () => {
  const result = exchange({ paths: [path([new ClampMss(1200)]), path([new ClampMss(700)])] });
  const sizes = result.clientSide.mptcp!.subflows.concat(result.clientSide.mptcp!.past).sort((a, b) => a.id - b.id);
  intact(result);
  bothPathsUsed(result);
  ok(sizes[0]!.tcp!.sender.segmentSize <= 1200 && sizes[0]!.tcp!.sender.segmentSize > 1100);
  ok(sizes[1]!.tcp!.sender.segmentSize <= 700 && sizes[1]!.tcp!.sender.segmentSize > 600);
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { FallbackReason } from '../../src/mptcp/fallback.ts';
import { Key } from '../../src/mptcp/keys.ts';
import { Dss, Mptcp, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Flag, Option } from '../../src/wire/segment.ts';
import { dataFrom, type Heard, type Line, ScriptedPeer } from './scripted-peer.ts';

/** What a host makes of data sequence mappings, right ones and others, from a peer that says them segment by segment. */

/** A connection with `length` bytes received, which were read. */
function proven(length = 100, key?: Key): { peer: ScriptedPeer; line: Line } {
  const peer = new ScriptedPeer({}, key);
  const line = peer.connects();
  line.data(1, length);
  deepEqual(peer.reads(), dataFrom(1, length));
  return { peer, line };
}

function wasReset(heard: readonly Heard[]): number {
  const reset = heard.find(({ segment }) => (segment.flags & Flag.Rst) !== 0);
  ok(reset !== undefined, 'a RST went out');
  return (reset.segment.mptcp.present & Mptcp.Reset) !== 0 ? reset.segment.mptcp.resetReason : -1;
}

test('A5.01 data and subflows are numbered apart: SYNs take no data octet, the IDSN and the DATA_FIN one each', () => {
  const { peer, line } = proven();
  equal(peer.dataAcknowledged, 101, 'IDSN + 1 is the first byte');
  const second = peer.joins(1);
  equal(second.next, 1);
  second.data(101, 50);
  const last = peer.heard.at(-1)!;
  deepEqual([last.ack, peer.dataAcknowledged], [51, 151], 'its subflow numbers begin anew, its data numbers do not');
  const answer = line.sends({ options: line.maps(151, 0, 0, { fin: true }) }).find((heard) => heard.line === line)!;
  deepEqual([answer.ack, peer.dataAcknowledged], [101, 152], 'the DATA_FIN is one octet of data and none of TCP');
  deepEqual(peer.reads(), dataFrom(101, 50));
  equal(peer.host.sockets.recv(peer.descriptor, new Uint8Array(1), 0, 1), 0, 'the end');
});

test('A5.03 one mapping for many segments, which arrive before and after the one that says it', () => {
  const { peer, line } = proven();
  // It stands on the middle one of three; the first one comes last.
  line.sends({ at: 201, payload: dataFrom(201, 100), options: line.maps(101, 101, 300) });
  line.sends({ at: 301, payload: dataFrom(301, 100) });
  line.sends({ at: 101, payload: dataFrom(101, 100) });
  equal(peer.heard.at(-1)!.ack, 401);
  equal(peer.dataAcknowledged, 401);
  deepEqual(peer.reads(), dataFrom(101, 300));
  // Without it nothing is taken of what comes ahead: when it has come, the same bytes are.
  line.sends({ at: 501, payload: dataFrom(501, 100) });
  equal(peer.counters.UnmappedAhead, 1);
  line.sends({ at: 401, payload: dataFrom(401, 100), options: line.maps(401, 401, 200) });
  equal(peer.heard.at(-1)!.ack, 501);
  line.sends({ at: 501, payload: dataFrom(501, 100) });
  deepEqual(peer.reads(), dataFrom(401, 200));
  equal(peer.connection.isMultipath, true);
});

test('A5.05, H1.26, H1.30 a mapping that misses the segment it came with: plain TCP while there is one path', () => {
  for (const [sub, length] of [
    [102, 100],
    [201, 100],
    [150, 10],
  ] as const) {
    const { peer, line } = proven();
    line.sends({ payload: dataFrom(101, 100), options: line.maps(101, sub, length) });
    const { DSSNoMatchTCP, DSSCorruptionFallback, DSSCorruptionReset } = peer.counters;
    deepEqual([DSSNoMatchTCP, DSSCorruptionFallback, DSSCorruptionReset], [1, 1, 0]);
    equal(peer.mptcp.fallbackReason, FallbackReason.Corruption);
    deepEqual(peer.reads(), dataFrom(101, 100), 'the bytes are the stream');
  }
});

test('A5.05, H1.27, H1.30 a mapping that misses its segment on a joined subflow: that one is reset', () => {
  const { peer } = proven();
  const second = peer.joins(1);
  const heard = second.sends({ payload: dataFrom(101, 100), options: second.maps(101, 2, 100) });
  equal(wasReset(heard), ResetReason.Middlebox);
  equal(heard[0]!.line, second);
  const { DSSNoMatchTCP, DSSCorruptionFallback, DSSCorruptionReset } = peer.counters;
  deepEqual([DSSNoMatchTCP, DSSCorruptionFallback, DSSCorruptionReset], [1, 0, 1]);
  equal(peer.reads().length, 0);
  peer.lines[0]!.data(101, 100);
  deepEqual(peer.reads(), dataFrom(101, 100), 'the other goes on');
});

test('A5.04, H1.25 a mapping that contradicts a valid one; the valid one said again is none', () => {
  const { peer } = proven();
  const second = peer.joins(1);
  second.sends({ payload: dataFrom(101, 100), options: second.maps(101, 1, 300) });
  second.sends({ payload: dataFrom(201, 100), options: second.maps(101, 1, 300) });
  equal(peer.counters.DSSNotMatching, 0);
  const heard = second.sends({ payload: dataFrom(301, 100), options: second.maps(401, 201, 100) });
  equal(peer.counters.DSSNotMatching, 1);
  equal(peer.counters.DSSCorruptionReset, 1);
  wasReset(heard);
  deepEqual(peer.reads(), dataFrom(101, 200), 'nothing of it was taken');
});

test('A5.09, A5.10 32-bit DSNs take the upper half that is expected, across its end; answered with 32 bits until a 64-bit one came', () => {
  const key = new Key(0x0102_0304, 49_868_899);
  equal(key.idsnLow, 2 ** 32 - 100, 'the IDSN stands before the end of its low half');
  const peer = new ScriptedPeer({}, key);
  const line = peer.connects();
  const low = (data: number, length: number) =>
    line.sends({
      payload: dataFrom(data, length),
      options: line.maps(data, line.next, length, { low: true, ack: -1 }),
    });
  line.sends({ payload: dataFrom(1, 300), options: line.maps(1, 1, 300, { low: true }) });
  const first = peer.heard.at(-1)!.segment.mptcp;
  equal(first.dssFlags & Dss.Ack64, 0);
  equal(peer.dataAcknowledged, 301);
  low(301, 300);
  deepEqual(peer.reads(), dataFrom(1, 600));
  // Half a space ahead, and just as far behind: neither is in the window.
  const { NoDSSInWindow } = peer.counters;
  const wild = line.maps(601, line.next, 10, { low: true, ack: -1 });
  line.sends({
    payload: dataFrom(1, 10),
    options: { ...wild, dataSequenceLow: (wild.dataSequenceLow + 2 ** 31 - 1) >>> 0 },
  });
  equal(peer.counters.NoDSSInWindow, NoDSSInWindow + 1);
  const back = line.maps(601, line.next, 10, { low: true, ack: -1 });
  line.sends({
    payload: dataFrom(1, 10),
    options: { ...back, dataSequenceLow: (back.dataSequenceLow - 2 ** 31) >>> 0 },
  });
  equal(peer.counters.DuplicateData, 1);
  equal(peer.dataAcknowledged, 601);
  equal(peer.reads().length, 0);
  // A wild 64-bit one is just as little believed.
  const far = line.maps(601, line.next, 10);
  line.sends({ payload: dataFrom(1, 10), options: { ...far, dataSequenceHigh: far.dataSequenceHigh ^ 0x8000_0000 } });
  equal(peer.counters.NoDSSInWindow, NoDSSInWindow + 2);
});

test('A5.10 from its first 64-bit DSN on the peer is answered with 64-bit DATA_ACKs', () => {
  const peer = new ScriptedPeer();
  const line = peer.connects();
  const acks = (heard: readonly Heard[]) =>
    heard
      .filter(({ segment }) => (segment.mptcp.dssFlags & Dss.Ack) !== 0)
      .map(({ segment }) => (segment.mptcp.dssFlags & Dss.Ack64) !== 0);
  deepEqual(acks(line.sends({ payload: dataFrom(1, 10), options: line.maps(1, 1, 10, { low: true }) })), [false]);
  deepEqual(acks(line.data(11, 10)), [true]);
  deepEqual(acks(line.sends({ payload: dataFrom(21, 10), options: line.maps(21, 21, 10, { low: true }) })), [true]);
});

test('A5.15 H1.36 data that comes twice: the first copy wins, before a gap and behind one', () => {
  const { peer, line } = proven();
  const second = peer.joins(1);
  line.data(101, 100);
  second.sends({ payload: new Uint8Array(100).fill(0xee), options: second.maps(101, 1, 100) });
  equal(peer.counters.DuplicateData, 1);
  // Ahead of a gap at 201.
  second.sends({ payload: dataFrom(301, 100), options: second.maps(301, 101, 100) });
  line.sends({ payload: new Uint8Array(100).fill(0xee), options: line.maps(301, 201, 100) });
  equal(peer.counters.DuplicateData, 2);
  line.sends({ payload: dataFrom(201, 100), options: line.maps(201, 301, 100) });
  deepEqual(peer.reads(), dataFrom(101, 300));
  equal(peer.dataAcknowledged, 401);
});

test('A5.15 data in order around what was held behind a gap: the first copy wins, and every byte counts once', () => {
  const { peer, line } = proven();
  const second = peer.joins(1);
  const before = peer.mptcp.bytesReceived;
  // [251, 301) and [351, 361) are held; then [101, 401) comes.
  second.sends({ payload: dataFrom(251, 50), options: second.maps(251, 1, 50) });
  second.sends({ payload: dataFrom(351, 10), options: second.maps(351, 51, 10) });
  const around = dataFrom(101, 300).fill(0xee, 150, 200).fill(0xee, 250, 260);
  line.sends({ payload: around, options: line.maps(101, 101, 300) });
  deepEqual(peer.reads(), dataFrom(101, 300));
  equal(peer.mptcp.bytesReceived - before, 300);
  equal(peer.counters.DuplicateData, 2);
  equal(peer.dataAcknowledged, 401);
});

test('A5.16 what overlaps in part is trimmed to what is new, at its front and, ahead of a gap, at either end', () => {
  const { peer, line } = proven();
  const second = peer.joins(1);
  // [51, 201) with [51, 101) read.
  const front = dataFrom(51, 150);
  front.fill(0xee, 0, 50);
  line.sends({ payload: front, options: line.maps(51, 101, 150) });
  deepEqual(peer.reads(), dataFrom(101, 100));
  // [251, 401) with [301, 351) there, then [331, 451) with [251, 401) there; the gap is at 201.
  second.sends({ payload: dataFrom(301, 50), options: second.maps(301, 1, 50) });
  const around = dataFrom(251, 150);
  around.fill(0xee, 50, 100);
  line.sends({ payload: around, options: line.maps(251, 251, 150) });
  const behind = dataFrom(331, 120);
  behind.fill(0xee, 0, 70);
  line.sends({ payload: behind, options: line.maps(331, 401, 120) });
  equal(peer.dataAcknowledged, 201);
  second.sends({ payload: dataFrom(201, 50), options: second.maps(201, 51, 50) });
  deepEqual(peer.reads(), dataFrom(201, 250));
  equal(peer.dataAcknowledged, 451);
});

test('A5.18 on one subflow out of order is TCP’s own affair: SACK, and no DATA_ACK beyond the gap', () => {
  const { peer, line } = proven();
  const heard = line.sends({ at: 201, payload: dataFrom(201, 100), options: line.maps(201, 201, 100) });
  const { segment, ack } = heard[0]!;
  equal(ack, 101);
  ok((segment.options & Option.Sack) !== 0, 'SACK');
  deepEqual(
    [...segment.sackEdges.subarray(0, 2)].map((edge) => (edge - line.initial) | 0),
    [201, 301],
  );
  deepEqual([peer.dataAcknowledged, peer.reads().length], [101, 0]);
  line.sends({ at: 101, payload: dataFrom(101, 100), options: line.maps(101, 101, 100) });
  deepEqual([peer.heard.at(-1)!.ack, peer.dataAcknowledged], [301, 301]);
  deepEqual(peer.reads(), dataFrom(101, 200));
});

test('A5.19, H1.35 data outside of the data window: acknowledged by TCP, dropped, no DATA_ACK', () => {
  const { peer, line } = proven();
  const window = peer.mptcp.receiveWindow;
  const heard = line.data(101 + window, 100);
  equal(peer.counters.NoDSSInWindow, 1);
  deepEqual([peer.heard.at(-1)!.ack, peer.dataAcknowledged], [201, 101]);
  ok(heard.length > 0, 'TCP’s acknowledgment');
  // Of what crosses the edge, nothing beyond it is taken.
  line.data(101 + window - 50, 100);
  equal(peer.counters.NoDSSInWindow, 2);
  line.data(101, 100);
  deepEqual(peer.reads(), dataFrom(101, 100));
  equal(peer.dataAcknowledged, 201);
});

test('A5.22 a DATA_FIN with data: the length counts it, and it is the last octet', () => {
  const { peer, line } = proven();
  line.sends({ payload: dataFrom(101, 100), options: line.maps(101, 101, 100, { fin: true }) });
  deepEqual([peer.heard.at(-1)!.ack, peer.dataAcknowledged], [201, 202]);
  deepEqual(peer.reads(), dataFrom(101, 100));
  equal(peer.host.sockets.recv(peer.descriptor, new Uint8Array(1), 0, 1), 0, 'the end');
});

test('A5.22 a DATA_FIN with data that comes before what is missing ends nothing yet', () => {
  const { peer, line } = proven();
  const second = peer.joins(1);
  second.sends({ payload: dataFrom(201, 100), options: second.maps(201, 1, 100, { fin: true }) });
  equal(peer.dataAcknowledged, 101);
  equal(peer.host.sockets.recv(peer.descriptor, new Uint8Array(1), 0, 1), -11, 'nothing yet, and no end');
  line.data(101, 100);
  equal(peer.dataAcknowledged, 302);
  deepEqual(peer.reads(), dataFrom(101, 200));
  equal(peer.host.sockets.recv(peer.descriptor, new Uint8Array(1), 0, 1), 0, 'the end');
});

test('A5.26 urgent data breaks no mapping and stays where it stands', () => {
  const { peer, line } = proven();
  const options = line.maps(101, 101, 200);
  const flags = Flag.Ack | Flag.Urg;
  line.sends({ payload: dataFrom(101, 100), flags, urgent: 50, options });
  line.sends({ payload: dataFrom(201, 100), flags, urgent: 100 });
  deepEqual(peer.reads(), dataFrom(101, 200));
  deepEqual([peer.dataAcknowledged, peer.connection.isMultipath], [301, true]);
});

test('A5.29 segments of one burst under mappings of their own: each byte goes where its mapping says', () => {
  const { peer, line } = proven();
  const second = peer.joins(1);
  // Back to back on the subflow, and in another order as data.
  second.data(301, 100);
  second.data(101, 100);
  second.data(201, 100);
  equal(peer.heard.at(-1)!.line, second);
  deepEqual(peer.reads(), dataFrom(101, 300));
  equal(line.next, 101);
});

test('A5.30 a mapping of 65535 bytes is taken whole', () => {
  const { peer, line } = proven(1);
  for (let at = 0; at < 65_535; at += 1457) {
    const length = Math.min(1457, 65_535 - at);
    const options = at === 0 ? { options: line.maps(2, 2, 65_535) } : { options: line.acknowledges() };
    line.sends({ payload: dataFrom(2 + at, length), ...options });
    if (at % 14_570 === 0) deepEqual(peer.reads().length > 0, true);
  }
  peer.reads();
  peer.waits(500);
  equal(peer.mptcp.bytesReceived, 65_536);
  deepEqual([peer.dataAcknowledged, peer.connection.isMultipath], [65_537, true]);
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { FallbackReason } from '../../src/mptcp/fallback.ts';
import { Phase } from '../../src/mptcp/subflow.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Errno } from '../../src/sockets/errno.ts';
import { Family, Protocol, SocketType } from '../../src/sockets/sockets.ts';
import { Capable, Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';
import { dataFrom, type Line, ScriptedPeer } from './scripted-peer.ts';

/** The first segments of a connection, and options that mean nothing, from a peer that says them one by one. */

/** The subtype is the upper half of an option's third byte. */
const asSubtype = (subtype: number) => (bytes: Uint8Array, option: number) => {
  bytes[option + 2] = (subtype << 4) | (bytes[option + 2]! & 0x0f);
};

function proven(): { peer: ScriptedPeer; line: Line } {
  const peer = new ScriptedPeer();
  const line = peer.connects();
  line.data(1, 100);
  peer.reads();
  return { peer, line };
}

/** Everything a counter says, for "nothing happened". */
const figures = (peer: ScriptedPeer) => ({ ...peer.counters });

function ignores(subtypes: readonly number[]): void {
  for (const subtype of subtypes) {
    const { peer, line } = proven();
    const before = figures(peer);
    // MP_PRIO, MP_FAIL and ADD_ADDR in form.
    line.sends({ options: { present: Mptcp.Priority, priorityBackup: true }, patch: asSubtype(subtype) });
    line.sends({ options: { present: Mptcp.Fail }, patch: asSubtype(subtype) });
    const add = { present: Mptcp.AddAddress, addId: 3, add3: addressOf(4, 1, 2).w3 };
    line.sends({ options: add, patch: asSubtype(subtype) });
    deepEqual(figures(peer), before);
    // Beside a mapping, which counts as if it stood alone: the second option is the one that is patched.
    const options = line.maps(101, 101, 100);
    line.sends({
      payload: dataFrom(101, 100),
      options: { ...options, present: Mptcp.Dss | Mptcp.Priority, priorityBackup: true },
      patch: (bytes, option) => asSubtype(subtype)(bytes, option + ((bytes[option + 1]! + 3) & ~3)),
    });
    deepEqual(peer.reads(), dataFrom(101, 100));
    deepEqual([peer.dataAcknowledged, peer.connection.isMultipath], [201, true]);
    equal(peer.mptcp.subflows[0]!.peerBackup, false);
    deepEqual(figures(peer), before);
    // On a SYN it offers nothing.
    const stranger = new ScriptedPeer();
    stranger.listens();
    const [answer] = stranger.line(0, 80).sends({
      flags: Flag.Syn,
      options: { present: Mptcp.CapableSyn, version: 1, capableFlags: Capable.HmacSha256 },
      patch: asSubtype(subtype),
    });
    deepEqual([answer!.segment.flags, answer!.segment.mptcp.present], [Flag.Syn | Flag.Ack, 0]);
  }
}

test('A1.36 MP_EXPERIMENTAL is ignored, alone and beside a DSS, and on a SYN', () => ignores([0xf]));

test('A1.37 subtypes 9 to 0xe, which nobody assigned, are ignored, alone and beside a DSS, and on a SYN', () =>
  ignores([9, 10, 11, 12, 13, 14]));

test('A1.23 a DSS of a length that fits no variant: the option counts for nothing, its segment as ever', () => {
  const { peer, line } = proven();
  line.sends({ options: line.acknowledges(1) });
  peer.writes(500);
  line.sends({ options: line.acknowledges(501) });
  peer.writes(1000);
  // The flag of an 8-byte DATA_ACK, and no bytes for it.
  const shorten = (bytes: Uint8Array, option: number) => {
    bytes[option + 3] = bytes[option + 3]! & ~Dss.Ack64;
  };
  line.sends({ options: line.acknowledges(1501), patch: shorten });
  equal(peer.mptcp.sendUna, 501, 'no DATA_ACK');
  equal(peer.mptcp.subflows[0]!.tcp!.sender.una, 1501, 'an acknowledgment for all that');
  // A mapping for two segments; the second one has another, of no valid form, and its payload is taken.
  line.sends({ payload: dataFrom(101, 100), options: line.maps(101, 101, 200) });
  line.sends({
    payload: dataFrom(201, 100),
    options: line.maps(9001, 201, 100),
    patch: (bytes, option) => {
      bytes[option + 3] = bytes[option + 3]! & ~Dss.Map64;
    },
  });
  deepEqual(peer.reads(), dataFrom(101, 200));
  deepEqual([peer.connection.isMultipath, peer.counters.DSSNotMatching, peer.counters.NoDSSInWindow], [true, 0, 0]);
});

test('A2.06 the first data’s MP_CAPABLE on several segments, and once more with a retransmission', () => {
  const peer = new ScriptedPeer();
  const line = peer.connects();
  const options = peer.capable(300);
  line.sends({ payload: dataFrom(1, 100), options });
  line.sends({ payload: dataFrom(101, 100), options });
  line.sends({ at: 1, payload: dataFrom(1, 100), options });
  line.sends({ payload: dataFrom(201, 100), options });
  deepEqual(peer.reads(), dataFrom(1, 300));
  deepEqual([peer.dataAcknowledged, peer.connection.isMultipath], [301, true]);
  // And where a DSS says the same.
  line.sends({ at: 201, payload: dataFrom(201, 100), options: line.maps(1, 1, 300) });
  line.data(301, 50);
  deepEqual(peer.reads(), dataFrom(301, 50));
  const { DSSNotMatching, DSSNoMatchTCP, MPCapableDataFallback } = peer.counters;
  deepEqual([DSSNotMatching, DSSNoMatchTCP, MPCapableDataFallback], [0, 0, 0]);
});

test('A2.06 the first data’s MP_CAPABLE on a piece that overtakes the others maps them all', () => {
  const peer = new ScriptedPeer();
  const line = peer.connects();
  const options = peer.capable(300);
  line.sends({ at: 101, payload: dataFrom(101, 100), options });
  line.sends({ at: 201, payload: dataFrom(201, 100) });
  line.sends({ at: 1, payload: dataFrom(1, 100) });
  deepEqual(peer.reads(), dataFrom(1, 300));
  deepEqual([peer.dataAcknowledged, peer.connection.isMultipath, peer.counters.UnmappedAhead], [301, true, 0]);
});

test('A2.06 the first data’s MP_CAPABLE before the third segment was seen, or with it lost', () => {
  const peer = new ScriptedPeer();
  const line = peer.opens();
  const options = peer.capable(200);
  line.sends({ payload: dataFrom(1, 100), options });
  peer.accepts();
  line.sends({ payload: dataFrom(101, 100), options });
  deepEqual(peer.reads(), dataFrom(1, 200));
  equal(peer.connection.isMultipath, true);
});

test('A2.10 a server’s fourth packet without any option: plain TCP, with the bytes it brought', () => {
  const peer = new ScriptedPeer();
  const line = peer.connects();
  line.sends({ payload: dataFrom(1, 100) });
  equal(peer.mptcp.fallbackReason, FallbackReason.FirstData);
  equal(peer.counters.MPCapableDataFallback, 1);
  deepEqual(peer.reads(), dataFrom(1, 100));
  const answer = peer.writes(100);
  equal(answer.at(-1)!.length, 100);
});

test('A2.10 MP_CAPABLE with data, a DSS or an ADD_ADDR in the fourth packet: multipath', () => {
  for (const kind of ['capable', 'dss', 'announcement'] as const) {
    const peer = new ScriptedPeer();
    const line = peer.connects();
    const { subflows } = peer.mptcp;
    equal(subflows[0]!.phase, Phase.Unproven);
    if (kind === 'capable') line.sends({ payload: dataFrom(1, 10), options: peer.capable(10) });
    else if (kind === 'dss') line.sends({ options: line.acknowledges(1) });
    else line.sends({ options: { present: Mptcp.AddAddress, addId: 3, add3: addressOf(4, 1, 2).w3 } });
    deepEqual([subflows[0]!.phase, peer.connection.isMultipath], [Phase.Proven, true], kind);
  }
});

test('A2.10 a client’s first segment back without any option: plain TCP', () => {
  const peer = new ScriptedPeer();
  const line = peer.serves();
  peer.writes(100);
  line.sends();
  deepEqual([peer.mptcp.fallbackReason, peer.counters.MPCapableDataFallback], [FallbackReason.FirstData, 1]);
});

test('A2.10 a joined subflow’s fourth packet without any option: that subflow is reset', () => {
  const peer = new ScriptedPeer({ endpoints: [{ address: addressOf(4, 1, 1), subflow: true }] });
  const line = peer.serves();
  peer.writes(100);
  const heard = line.sends({ options: line.acknowledges(101) });
  const syn = heard.find(({ segment }) => (segment.mptcp.present & Mptcp.JoinSyn) !== 0);
  ok(syn !== undefined, 'the host joins');
  const { line: second } = peer.acceptsJoin(syn, 0);
  const answer = second.sends();
  ok(
    answer.some(({ line: on, segment }) => on === second && (segment.flags & Flag.Rst) !== 0),
    'a RST there',
  );
  deepEqual([peer.connection.isMultipath, peer.mptcp.subflows.length], [true, 1]);
});

test('A2.19 a listener of version 0 answers without MP_CAPABLE, or with its own: plain TCP', () => {
  for (const own of [false, true]) {
    const peer = new ScriptedPeer();
    const { line, syn } = peer.isCalled();
    deepEqual([syn.segment.mptcp.present, syn.segment.mptcp.version], [Mptcp.CapableSyn, 1]);
    const options = {
      present: Mptcp.CapableSynAck,
      version: 0,
      capableFlags: Capable.HmacSha256,
      senderKeyHigh: peer.key.high,
      senderKeyLow: peer.key.low,
    };
    const [third] = line.sends({ flags: Flag.Syn | Flag.Ack, options: own ? options : {} });
    equal(third!.segment.mptcp.present, 0);
    deepEqual([peer.mptcp.fallbackReason, peer.counters.MPCapableFallbackSYNACK], [FallbackReason.SynAck, 1]);
    const data = peer.writes(100);
    deepEqual([data[0]!.length, data[0]!.segment.mptcp.present], [100, 0]);
    line.sends({ payload: dataFrom(1, 100) });
    deepEqual(peer.reads(), dataFrom(1, 100));
  }
});

test('A2.22, H1.75 simultaneous open: plain TCP, and counted', () => {
  const peer = new ScriptedPeer();
  const { line } = peer.isCalled();
  const capable = { present: Mptcp.CapableSyn, version: 1, capableFlags: Capable.HmacSha256 };
  const [answer] = line.sends({ flags: Flag.Syn, options: capable });
  deepEqual([answer!.segment.flags, answer!.segment.mptcp.present], [Flag.Syn | Flag.Ack, 0]);
  line.sends({ flags: Flag.Ack });
  equal(peer.counters.SimultConnectFallback, 1);
  deepEqual([peer.mptcp.fallbackReason, peer.connection.isMultipath], [FallbackReason.SimultaneousOpen, false]);
  line.sends({ payload: dataFrom(1, 100) });
  deepEqual(peer.reads(), dataFrom(1, 100));
  const data = peer.writes(100);
  deepEqual([data[0]!.length, data[0]!.segment.mptcp.present], [100, 0]);
});

test('H1.10 no key with a free token: plain TCP, at a client and at a server', () => {
  const client = new ScriptedPeer();
  // Every draw is the same key: the first connection takes its token.
  client.host.stack.random.word = () => 0x1234_5678;
  client.isCalled();
  equal(client.counters.MPFallbackTokenInit, 0);
  const { syn } = client.isCalled();
  deepEqual([syn.segment.mptcp.present, client.counters.MPFallbackTokenInit], [0, 1]);
  const server = new ScriptedPeer();
  server.host.stack.random.word = () => 0x1234_5678;
  const first = server.opens();
  equal(server.counters.MPFallbackTokenInit, 0);
  const [answer] = server.line(0, 80).sends({
    flags: Flag.Syn,
    options: { present: Mptcp.CapableSyn, version: 1, capableFlags: Capable.HmacSha256 },
  });
  deepEqual([answer!.segment.flags, answer!.segment.mptcp.present], [Flag.Syn | Flag.Ack, 0]);
  equal(server.counters.MPFallbackTokenInit, 1);
  ok(first.hostInitial !== answer!.segment.sequence, 'each has its own sequence numbers');
});

test('A5.28 what TCP does not accept has no effect, whatever options it carries', () => {
  const { peer, line } = proven();
  line.sends({ options: line.acknowledges(1) });
  peer.writes(500);
  line.sends({ options: line.acknowledges(501) });
  peer.writes(1000);
  const window = peer.mptcp.receiveWindow;
  const before = { ...figures(peer), una: peer.mptcp.sendUna, edge: peer.mptcp.sendWindowEnd };
  const fastClose = {
    present: Mptcp.FastClose,
    fastCloseKeyHigh: peer.hostKey.high,
    fastCloseKeyLow: peer.hostKey.low,
  };
  // Outside of the window, before it, and with an acknowledgment of what was never sent.
  for (const where of [{ at: 101 + window + 70_000 }, { at: 20 }, { ack: 60_000 }]) {
    const next = line.next;
    line.sends({ ...where, options: line.acknowledges(1501) });
    line.sends({ ...where, options: fastClose });
    line.sends({ ...where, options: { present: Mptcp.Priority, priorityBackup: true } });
    line.sends({ ...where, options: { present: Mptcp.Fail } });
    line.sends({ ...where, options: { present: Mptcp.AddAddress, addId: 3, add3: addressOf(4, 1, 2).w3 } });
    line.sends({ ...where, options: { present: Mptcp.RemoveAddress, removeCount: 1, removeIds: Uint8Array.of(0) } });
    line.next = next;
  }
  const after = { ...figures(peer), una: peer.mptcp.sendUna, edge: peer.mptcp.sendWindowEnd };
  deepEqual(after, before);
  equal(peer.mptcp.subflows[0]!.peerBackup, false);
  // In its place it has.
  line.sends({ options: line.acknowledges(1501) });
  equal(peer.mptcp.sendUna, 1501);
  line.sends({ options: fastClose });
  deepEqual([peer.counters.MPFastcloseRx, peer.host.sockets.error(peer.descriptor)], [1, Errno.ECONNRESET]);
});

test('a plain socket offers nothing and answers nothing', () => {
  const peer = new ScriptedPeer();
  const { sockets } = peer.host;
  const listener = sockets.socket(Family.Inet, SocketType.Stream, Protocol.Tcp);
  sockets.bind(listener, undefined, 80);
  sockets.listen(listener, 8);
  const [answer] = peer.line(0, 80).sends({
    flags: Flag.Syn,
    options: { present: Mptcp.CapableSyn, version: 1, capableFlags: Capable.HmacSha256 },
  });
  deepEqual([answer!.segment.flags, answer!.segment.mptcp.present], [Flag.Syn | Flag.Ack, 0]);
});

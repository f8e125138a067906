import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import type { Key } from '../../src/mptcp/keys.ts';
import { Phase } from '../../src/mptcp/subflow.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Mptcp, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Flag, Option, type Segment } from '../../src/wire/segment.ts';
import { connected, path } from './exchange.ts';
import { pair } from './pair.ts';
import { dataFrom, type Heard, type Line, ScriptedPeer } from './scripted-peer.ts';

/** Further subflows: who starts them, where to, what they say, and when they are refused. */

const NONE = { endpoints: [] };

function isJoin({ segment }: Heard): boolean {
  return (segment.mptcp.present & Mptcp.JoinSyn) !== 0;
}

function resetOn(line: Line, heard: readonly Heard[]): Segment {
  const found = heard.find(({ line: on, segment }) => on === line && (segment.flags & Flag.Rst) !== 0);
  ok(found !== undefined, 'a RST there');
  return found.segment;
}

test('A4.14 a server starts a subflow, and the client answers on the port it called from', () => {
  const syns: [boolean, number, number, number][] = [];
  const { world, client, server, near, far, clientSide, serverSide, target } = connected(
    {
      paths: [path(), path()],
      client: NONE,
      server: { endpoints: [{ address: addressOf(4, 1, 2), subflow: true }] },
      onSegment: (_now, fromA, { flags, sourcePort, destinationPort }, index) => {
        if ((flags & (Flag.Syn | Flag.Ack)) === Flag.Syn) syns.push([fromA, index, sourcePort, destinationPort]);
      },
    },
    2,
  );
  const callers = clientSide.tuple.localPort;
  equal(syns.length, 2);
  deepEqual([syns[1]![0], syns[1]![1], syns[1]![3]], [false, 1, callers]);
  deepEqual([clientSide.mptcp!.subflows[1]!.active, serverSide.mptcp!.subflows[1]!.active], [false, true]);
  // It carries data both ways when the first one is gone.
  const first = serverSide.mptcp!.subflows[0]!;
  server.stack.setInterfaceUp(world.now, 0, false);
  equal(first.lossy, true);
  server.sockets.send(far, new Uint8Array(5000).fill(7), 0, 5000);
  world.run({ until: world.now + 1000 });
  let got = 0;
  for (let count = 1; count > 0; got += Math.max(0, count)) count = client.sockets.recv(near, target, 0, 70_000);
  equal(got, 5000);
});

test('A4.15 a join goes to the port of the first subflow, from a port of its own', () => {
  const peer = new ScriptedPeer({ endpoints: [{ address: addressOf(4, 1, 1), subflow: true }] });
  const line = peer.serves();
  peer.writes(10);
  const syn = line.sends({ options: line.acknowledges(11) }).find(isJoin);
  ok(syn !== undefined, 'a join');
  deepEqual([syn.interfaceId, syn.segment.destinationPort], [1, 80]);
  ok(syn.segment.sourcePort !== line.hostPort, 'an ephemeral port');
});

test('A4.15 a join to an address that was announced with a port goes there; without, to the first one', () => {
  for (const port of [0, 4000]) {
    const peer = new ScriptedPeer({ addAddrAcceptedLimit: 2 });
    const line = peer.serves();
    peer.writes(10);
    line.sends({ options: line.acknowledges(11) });
    const syn = line.sends({ options: peer.announcement(3, addressOf(4, 1, 2), port) }).find(isJoin);
    ok(syn !== undefined, 'a join');
    deepEqual([syn.interfaceId, syn.segment.destinationPort], [1, port === 0 ? 80 : 4000]);
  }
});

test('A4.17 a join that was refused is not tried again', () => {
  const peer = new ScriptedPeer({ endpoints: [{ address: addressOf(4, 1, 1), subflow: true }] });
  const line = peer.serves();
  peer.writes(10);
  const syn = line.sends({ options: line.acknowledges(11) }).find(isJoin);
  const refused = peer.answers(syn!);
  refused.sends({ flags: Flag.Rst | Flag.Ack });
  equal(peer.mptcp.subflows.length, 1);
  const later: Heard[] = [];
  for (let round = 0; round < 60; round++) {
    later.push(...peer.writes(10));
    later.push(...line.sends({ options: line.acknowledges(21 + 10 * round) }));
    later.push(...peer.waits(1000));
  }
  equal(later.filter(isJoin).length, 0);
  equal(peer.connection.isMultipath, true);
});

test('A4.17 an announced address that refused the join is tried again when it is withdrawn and announced anew', () => {
  const peer = new ScriptedPeer({ addAddrAcceptedLimit: 1 });
  const line = peer.serves();
  peer.writes(10);
  line.sends({ options: line.acknowledges(11) });
  const announcement = peer.announcement(3, addressOf(4, 1, 2), 0);
  const syn = line.sends({ options: announcement }).find(isJoin);
  peer.answers(syn!).sends({ flags: Flag.Rst | Flag.Ack });
  equal(peer.waits(20_000).filter(isJoin).length, 0, 'not by itself');
  line.sends({ options: { present: Mptcp.RemoveAddress, removeCount: 1, removeIds: Uint8Array.of(3) } });
  const again = line.sends({ options: announcement });
  equal(again.filter(isJoin).length, 1);
});

test('A4.24 while MP_FAIL waits for its answer a join is refused, whoever starts it', () => {
  const peer = new ScriptedPeer({ mptcp: { checksums: true } });
  const line = peer.opens();
  line.sends({ options: { ...peer.capable(), capableFlags: 0x81 } });
  peer.accepts();
  line.sends({ options: line.acknowledges(1) });
  const { line: second, hmac } = peer.beginsJoin(1);
  // A mapping with a wrong checksum.
  const options = { ...line.maps(1, 1, 100), hasChecksum: true, checksum: 0x1234 };
  const heard = line.sends({ payload: dataFrom(1, 100), options });
  ok(
    heard.some(({ segment }) => (segment.mptcp.present & Mptcp.Fail) !== 0),
    'MP_FAIL',
  );
  const reset = resetOn(second, second.sends({ options: peer.joinAck(hmac) }));
  equal(reset.mptcp.resetReason, ResetReason.Prohibited);
  equal(peer.counters.MPJoinRejected, 1);
  peer.host.endpoints.add(peer.now, { address: addressOf(4, 2, 1), subflow: true });
  peer.host.stack.touchAll();
  equal(peer.waits(50).filter(isJoin).length, 0);
  equal(peer.counters.MPJoinSynTx, 0);
});

test('A4.24 after fallback a join is refused, its handshake begun before or after', () => {
  const peer = new ScriptedPeer();
  const line = peer.connects();
  const { line: early, hmac } = peer.beginsJoin(1);
  const heard = line.sends({ payload: dataFrom(1, 100) });
  equal(peer.connection.isMultipath, false);
  heard.push(...early.sends({ options: peer.joinAck(hmac) }));
  resetOn(early, heard);
  const { line: late, heard: answer } = peer.beginsJoin(2, 8);
  equal(resetOn(late, answer).mptcp.resetReason, ResetReason.Prohibited);
  equal(peer.mptcp.subflows.length, 1);
});

test('A4.25 a join says a token and HMACs: no key and no IDSN crosses its path', () => {
  const secrets = new Map<string, Uint8Array>();
  const seen: { path: number; bytes: Uint8Array }[] = [];
  const { world, client, server, clientApp, serverApp, serverAddress } = pair({ paths: [path(), path()] });
  world.observe({
    onDeliver: (_now, { index }, _fromA, packet) => {
      seen.push({ path: index, bytes: packet.bytes.slice(packet.start, packet.end) });
    },
  });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 300_000 });
  const clientSide = client.sockets.connectionOf(end.descriptor)!;
  world.run({ until: 500 });
  const { localKey, peerKey } = clientSide.mptcp!;
  for (const [name, key] of [
    ['client', localKey],
    ['server', peerKey as Key],
  ] as const) {
    secrets.set(`key of the ${name}`, words(key.high, key.low));
    secrets.set(`IDSN of the ${name}`, words(key.idsnHigh, key.idsnLow));
  }
  equal(server.stack.counters.MPJoinAckRx, 1);
  const on = (index: number) => seen.filter((entry) => entry.path === index).map((entry) => entry.bytes);
  ok(on(1).length >= 4, 'the second path was used');
  for (const [name, secret] of secrets) {
    equal(on(1).filter((bytes) => includes(bytes, secret)).length, 0, `${name} on the second path`);
  }
  // They are found where they are: in the first handshake, and nowhere behind it.
  const key = secrets.get('key of the server')!;
  const places = on(0).flatMap((bytes, index) => (includes(bytes, key) ? [index] : []));
  ok(places.length >= 2 && Math.max(...places) < 6, `the first handshake alone: ${places}`);
});

function words(high: number, low: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setUint32(0, high);
  new DataView(bytes.buffer).setUint32(4, low);
  return bytes;
}

function includes(bytes: Uint8Array, sought: Uint8Array): boolean {
  return Buffer.from(bytes).includes(Buffer.from(sought));
}

test('A1.41 an announcement and its echo travel alone on a pure ACK: an IPv6 address fits beside timestamps', () => {
  const seen: { echo: boolean; present: number; length: number; options: number }[] = [];
  const { client, server } = connected(
    {
      family: 'both',
      paths: [path(), path(), path()],
      client: { ...NONE, addAddrAcceptedLimit: 2 },
      server: {
        endpoints: [
          { address: addressOf(6, 1, 2), id: 5, signal: true },
          { address: addressOf(4, 2, 2), id: 6, signal: true },
        ],
      },
      onSegment: (_now, _fromA, { mptcp, length, options }) => {
        if ((mptcp.present & Mptcp.AddAddress) === 0) return;
        seen.push({ echo: mptcp.addEcho, present: mptcp.present, length, options });
      },
    },
    3,
  );
  deepEqual(
    seen.map(({ echo }) => echo),
    [false, true, false, true],
  );
  for (const { present, length } of seen) deepEqual([present, length], [Mptcp.AddAddress, 0]);
  ok((seen[0]!.options & Option.Timestamps) !== 0, 'timestamps stand beside it');
  deepEqual([server.stack.counters.AddAddrTx, client.stack.counters.EchoAddTx], [2, 2]);
});

test('before the third ACK of a join, or the fourth packet, its data resets it', () => {
  const peer = new ScriptedPeer({ endpoints: [{ address: addressOf(4, 2, 1), subflow: true }] });
  const line = peer.serves();
  peer.writes(10);
  const syn = line.sends({ options: line.acknowledges(11) }).find(isJoin);
  const { line: second } = peer.acceptsJoin(syn!, 0);
  equal(peer.mptcp.subflows[1]!.phase, Phase.Unproven);
  const mapped = second.maps(101, 101, 100, { ack: -1 });
  resetOn(second, second.sends({ at: 101, payload: dataFrom(101, 100), options: mapped }));
  const { line: third } = peer.beginsJoin(1, 9, line.hostPort);
  resetOn(third, third.sends({ payload: dataFrom(1, 100), options: third.maps(1, 1, 100) }));
  equal(peer.counters.MPJoinAckMissing, 1);
  deepEqual([peer.mptcp.subflows.length, peer.reads().length], [1, 0]);
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mptcpDefaults } from '../../src/mptcp/config.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Errno } from '../../src/sockets/errno.ts';
import { CloseReason } from '../../src/tcp/seams.ts';
import { Mptcp, ResetFlag, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Flag, type Segment } from '../../src/wire/segment.ts';
import { connected, path } from './exchange.ts';
import { FilteredLink } from './filtered-link.ts';
import { inject, Tampering } from './injection.ts';
import { ScriptedPeer } from './scripted-peer.ts';

const CHECKED = { mptcp: { checksums: true } };
const isReset = (segment: Segment) => (segment.flags & Flag.Rst) !== 0;

test('A7.08 MP_FAIL that stays without an answer: the subflow is reset after 120 s', () => {
  let damages = false;
  let complaints = 0;
  let resetAt = -1;
  const damage = new Tampering((segment) => {
    if (!damages || segment.length === 0 || (segment.mptcp.present & Mptcp.Dss) === 0) return false;
    segment.mptcp.checksum ^= 0x0101;
    return true;
  });
  const losing = new FilteredLink((segment) => {
    if ((segment.mptcp.present & Mptcp.Fail) === 0) return false;
    complaints++;
    return true;
  });
  const { world, client, server, near, serverSide, clientSide, far } = connected(
    {
      paths: [path([damage], { bToA: { links: [losing] } })],
      client: CHECKED,
      onSegment: (now, fromA, segment) => {
        if (!fromA && isReset(segment)) resetAt = now;
      },
    },
    1,
  );
  damages = true;
  client.sockets.send(near, new Uint8Array(500), 0, 500);
  world.run({ until: world.now + 100 });
  damages = false;
  const from = world.now;
  equal(server.stack.counters.DataCsumErr, 1, 'the damage was seen');
  equal(complaints, 1, 'MP_FAIL went out and was lost');
  equal(mptcpDefaults().failTimeout, 120_000, 'TCP’s longest retransmission time');
  world.run({ until: from + 119_000 });
  deepEqual([resetAt, serverSide.closeReason], [-1, -1], 'until then the answer may come');
  world.run({ until: from + 121_000 });
  ok(resetAt > from + 119_000, 'the subflow was reset');
  equal(serverSide.mptcp!.subflows.length, 0, 'nothing is left of it here');
  ok(clientSide.closeReason >= 0, 'nor there');
  ok(server.sockets.error(far) !== 0, 'its user hears of it');
});

test('A7.08 MP_FAIL that is answered: no reset follows', () => {
  let damages = false;
  let resets = 0;
  const damage = new Tampering((segment) => {
    if (!damages || segment.length === 0 || (segment.mptcp.present & Mptcp.Dss) === 0) return false;
    segment.mptcp.checksum ^= 0x0101;
    return true;
  });
  const { world, client, server, near, serverSide } = connected(
    {
      paths: [path([damage])],
      client: CHECKED,
      onSegment: (_now, _fromA, segment) => {
        if (isReset(segment)) resets++;
      },
    },
    1,
  );
  damages = true;
  client.sockets.send(near, new Uint8Array(500), 0, 500);
  world.run({ until: world.now + 100 });
  damages = false;
  equal(server.stack.counters.MPFailRx, 1, 'the answer came');
  world.run({ until: world.now + 300_000 });
  deepEqual([resets, serverSide.closeReason], [0, -1], 'the connection goes on');
});

test('A7.11 MP_FASTCLOSE on an ACK with the right key: RST on every subflow, and the user hears ECONNRESET', () => {
  const resets: number[] = [];
  const { world, client, server, far, serverSide, clientSide } = connected({
    onSegment: (_now, fromA, segment, index) => {
      if (!fromA && isReset(segment)) resets.push(index);
    },
  });
  const { localKey, subflows } = serverSide.mptcp!;
  inject(world.now, server, subflows[0]!, ({ mptcp }) => {
    mptcp.present = Mptcp.FastClose;
    mptcp.fastCloseKeyHigh = localKey.high;
    mptcp.fastCloseKeyLow = localKey.low;
  });
  world.run({ until: world.now + 500 });
  deepEqual(resets.sort(), [0, 1], 'RFC 8684 §3.5: a RST on each subflow');
  equal(serverSide.closeReason, CloseReason.PeerReset, 'closed');
  equal(server.sockets.error(far), Errno.ECONNRESET, 'as a reset');
  equal(server.stack.counters.MPFastcloseRx, 1, 'counted');
  equal(clientSide.mptcp!.subflows.length, 0, 'the other end has no subflow left');
  equal(client.stack.counters.MPRstRx, 2, 'it heard why');
});

for (const onReset of [false, true]) {
  test(`A7.12 MP_FASTCLOSE with a wrong key on ${onReset ? 'a RST: that subflow ends and no other' : 'an ACK: ignored'}`, () => {
    const { world, client, server, near, far, target, serverSide } = connected();
    const mptcp = serverSide.mptcp!;
    for (const [high, low] of [
      [1, 0],
      [0, 1],
    ] as const) {
      inject(world.now, server, mptcp.subflows[1]!, (segment) => {
        if (onReset) segment.flags = Flag.Rst | Flag.Ack;
        segment.mptcp.present = Mptcp.FastClose;
        segment.mptcp.fastCloseKeyHigh = (mptcp.localKey.high ^ high) >>> 0;
        segment.mptcp.fastCloseKeyLow = (mptcp.localKey.low ^ low) >>> 0;
      });
      world.run({ until: world.now + 500 });
      if (onReset) break;
    }
    const { counters } = server.stack;
    equal(counters.FastcloseKeyMismatch, onReset ? 1 : 2, 'named and counted');
    equal(counters.MPFastcloseRx, 0, 'it is none');
    equal(mptcp.subflows.length, onReset ? 1 : 2, 'subflows');
    equal(serverSide.closeReason, -1, 'the connection goes on');
    client.sockets.send(near, new Uint8Array(50_000), 0, 50_000);
    world.run({ until: world.now + 3000 });
    equal(server.sockets.recv(far, target, 0, 70_000), 50_000, 'with its data');
  });
}

test('A7.15 each reason of MP_TCPRST reaches the peer, which keeps it with the subflow that ended', () => {
  deepEqual(
    Object.values(ResetReason),
    [0, 1, 2, 3, 4, 5, 6],
    'RFC 8684 §3.6: unspecified, MPTCP, resources, prohibited, data, performance, middlebox',
  );
  for (const reason of Object.values(ResetReason)) {
    let onWire = -1;
    const { world, client, server, clientSide, serverSide } = connected({
      onSegment: (_now, fromA, segment) => {
        if (fromA && isReset(segment) && (segment.mptcp.present & Mptcp.Reset) !== 0)
          onWire = segment.mptcp.resetReason;
      },
    });
    clientSide.mptcp!.closeSubflow(world.now, clientSide.mptcp!.subflows[1]!.id, reason);
    client.stack.touchAll();
    world.run({ until: world.now + 500 });
    equal(onWire, reason, 'on the wire');
    const ended = serverSide.mptcp!.past[0]!;
    deepEqual([ended.resetReason, ended.resetFlags], [reason, 0], 'at the peer');
    equal(server.stack.counters.MPRstRx, 1, 'counted');
    equal(serverSide.mptcp!.subflows.length, 1, 'the other subflow lives');
  }
});

test('A7.16 a join whose last word is never answered is given up as transient: T is set', () => {
  let flags = -1;
  let isDeaf = false;
  // Everything behind the SYN/ACK of the join is lost on its way back.
  const deaf = new FilteredLink((segment) => {
    if ((segment.mptcp.present & Mptcp.JoinSynAck) !== 0) isDeaf = true;
    return isDeaf && (segment.flags & Flag.Syn) === 0;
  });
  const { world } = connected({
    paths: [path(), path([], { bToA: { links: [deaf] } })],
    onSegment: (_now, fromA, segment, index) => {
      if (fromA && index === 1 && isReset(segment)) flags = segment.mptcp.resetFlags;
    },
  });
  world.run({ until: 300_000 });
  equal(flags, ResetFlag.Transient, 'whoever made it may try again');
});

for (const transient of [false, true]) {
  test(`A7.16 a path reset with T=${transient ? 1 : 0} is remembered as such and not tried again by itself`, () => {
    let joins = 0;
    const { world, client, clientSide, near, server, far, target } = connected({
      paths: [path(), path(), path()],
      client: { endpoints: [{ address: addressOf(4, 1, 1), subflow: true }] },
      onSegment: (_now, fromA, segment, index) => {
        if (fromA && index === 1 && (segment.mptcp.present & Mptcp.JoinSyn) !== 0) joins++;
      },
    });
    equal(joins, 1, 'joined once');
    inject(world.now, client, clientSide.mptcp!.subflows[1]!, (segment) => {
      segment.flags = Flag.Rst | Flag.Ack;
      segment.mptcp.present = Mptcp.Reset;
      segment.mptcp.resetReason = ResetReason.BadPerformance;
      segment.mptcp.resetFlags = transient ? ResetFlag.Transient : 0;
    });
    world.run({ until: world.now + 1000 });
    const ended = clientSide.mptcp!.past[0]!;
    equal(ended.resetReason, ResetReason.BadPerformance, 'the reason');
    equal(ended.resetFlags & ResetFlag.Transient, transient ? 1 : 0, 'the flag');
    // What makes the path manager look at its endpoints again: another one.
    client.endpoints.add(world.now, { address: addressOf(4, 2, 1), subflow: true });
    client.stack.touchAll();
    world.run({ until: world.now + 600_000 });
    equal(clientSide.mptcp!.subflows.length, 2, 'the other path came instead');
    equal(joins, 1, 'RFC 8684 §3.6: SHOULD NOT, when permanent, and need not when transient');
    client.sockets.send(near, new Uint8Array(50_000), 0, 50_000);
    world.run({ until: world.now + 1000 });
    equal(server.sockets.recv(far, target, 0, 70_000), 50_000, 'the connection goes on');
  });
}

/** A host that joined nothing itself and sent 1000 bytes on the subflow that the peer joined, with nothing before them. */
function onTrial() {
  const peer = new ScriptedPeer();
  const first = peer.connects();
  first.data(1, 100);
  // What it sends is to go to the other subflow.
  first.sends({ options: { ...first.acknowledges(), present: Mptcp.Dss | Mptcp.Priority, priorityBackup: true } });
  const joined = peer.joins(1);
  joined.sends({ options: joined.acknowledges() });
  const said = peer.writes(1000).filter((one) => one.length > 0);
  deepEqual(
    said.map((one) => [one.line, one.offset, one.length]),
    [[joined, 1, 1000]],
    'its data is on the joined subflow',
  );
  return { peer, first, joined };
}

test('A8.09 data of a joined subflow is acknowledged without a DATA_ACK: reset with code 6, its data goes elsewhere', () => {
  const { peer, first, joined } = onTrial();
  equal(peer.mptcp.subflows.length, 2, 'two subflows');
  // The SYN alone is acknowledged so: that says nothing.
  joined.sends({ ack: 1 });
  equal(peer.mptcp.subflows.length, 2, 'an ACK of the SYN is none of data');
  const heard = joined.sends();
  const [reset] = heard.filter(({ line }) => line === joined);
  ok(reset !== undefined, 'an answer on that subflow');
  ok(isReset(reset.segment), 'a RST');
  equal((reset.segment.mptcp.present & Mptcp.Reset) !== 0, true, 'with MP_TCPRST');
  equal(reset.segment.mptcp.resetReason, ResetReason.Middlebox);
  equal(peer.counters.DataAckMissing, 1, 'counted');
  const again = [...heard, ...peer.waits(50)].filter(({ line, length }) => line === first && length > 0);
  deepEqual(
    again.map(({ segment, length }) => [
      peer.hostSpace.fromWire64(segment.mptcp.dataSequenceHigh, segment.mptcp.dataSequenceLow),
      length,
    ]),
    [[1, 1000]],
    'the same bytes, at once',
  );
  first.sends({ options: first.acknowledges(1001) });
  deepEqual([peer.connection.closeReason, peer.mptcp.sendUna], [-1, 1001], 'and the connection goes on');
});

for (const [what, options] of [
  ['an announcement that leaves no room for it', { present: Mptcp.AddAddress, addEcho: true, addFamily: 4 }],
  ['a priority', { present: Mptcp.Priority, priorityBackup: false }],
] as const) {
  test(`A8.09 the ACK has ${what}: options pass, and the subflow stays`, () => {
    const { peer, joined } = onTrial();
    joined.sends({ options });
    joined.sends({ options: joined.acknowledges(1001) });
    equal(peer.counters.DataAckMissing, 0, 'nothing is missing');
    deepEqual([peer.mptcp.subflows.length, peer.mptcp.sendUna], [2, 1001], 'both live');
  });
}

test('A8.09 once a DATA_ACK came for data, one ACK without is no reason: RFC 8684 §3.7 tries a path at its beginning', () => {
  const { peer, joined } = onTrial();
  joined.sends({ options: joined.acknowledges(1001) });
  const [more] = peer.writes(500).filter(({ length }) => length > 0);
  equal(more?.line, joined, 'more data on it');
  joined.sends();
  equal(peer.counters.DataAckMissing, 0, 'it is kept');
  equal(peer.mptcp.subflows.length, 2, 'both live');
  joined.sends({ options: joined.acknowledges(1501) });
  equal(peer.mptcp.sendUna, 1501, 'the DATA_ACK comes later');
});

test('A8.09 the last words of a subflow that ends, from a TIME-WAIT without options, are no sign of interference', () => {
  const { peer, joined } = onTrial();
  peer.mptcp.retireSubflow(peer.now, 2);
  peer.host.stack.touchAll();
  const [fin] = peer.hears().filter(({ line, segment }) => line === joined && (segment.flags & Flag.Fin) !== 0);
  ok(fin !== undefined, 'a FIN on the joined subflow');
  joined.sends();
  equal(peer.counters.DataAckMissing, 0, 'no reset');
});

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

import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { addressOf } from '../../src/sim/topology.ts';
import { Shutdown } from '../../src/sockets/sockets.ts';
import { CloseReason } from '../../src/tcp/seams.ts';
import { Mptcp, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';
import { connected } from './exchange.ts';
import { onSent } from './segments.ts';

test('A10.09 a subflow that is stuck when the connection is over is reset with code 4 in the end', () => {
  const reasons: number[] = [];
  const { world, client, server, near, far, paths, clientSide, target } = connected();
  onSent(world, (fromA, segment, index) => {
    if (fromA && index === 0 && (segment.flags & Flag.Rst) !== 0) {
      equal((segment.mptcp.present & Mptcp.FastClose) !== 0, false, 'the connection itself ended in order');
      reasons.push(segment.mptcp.resetReason);
    }
  });
  client.sockets.send(near, new Uint8Array(30_000), 0, 30_000);
  world.run({ until: world.now + 1 });
  paths[0]!.setUp(world.now, false);
  client.sockets.shutdown(near, Shutdown.Write);
  world.run({ until: world.now + 5000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 30_000);
  server.sockets.close(far);
  world.run({ until: world.now + 5000 });
  equal(clientSide.closeReason, CloseReason.Finished);
  equal(clientSide.mptcp!.subflows.length, 1, 'one has bytes to deliver that nobody needs');
  world.run({ until: world.now + 61_000 });
  deepEqual(reasons, [ResetReason.TooMuchData]);
  equal(clientSide.mptcp!.subflows.length, 0);
});

test('H1.49 an invitation to a port is withdrawn between SYN and ACK of a join: refused and counted', () => {
  let resets = 0;
  let isWithdrawn = false;
  const { world, server, serverSide, client } = connected(
    {
      client: { endpoints: [], addAddrAcceptedLimit: 1 },
      onSegment: (_now, fromA, segment, index) => {
        if (!fromA && index === 1 && (segment.flags & Flag.Rst) !== 0) resets = segment.mptcp.resetReason;
      },
    },
    1,
  );
  onSent(world, (fromA, segment) => {
    if (fromA || (segment.mptcp.present & Mptcp.JoinSynAck) === 0 || isWithdrawn) return;
    isWithdrawn = true;
    world.at(world.now + 1, () => {
      serverSide.mptcp!.withdraw(world.now, [7]);
      server.stack.touchAll();
    });
  });
  server.endpoints.add(world.now, { address: addressOf(4, 1, 2), id: 7, signal: true, port: 8080 });
  server.stack.touchAll();
  world.run({ until: world.now + 1000 });
  const { counters } = server.stack;
  deepEqual(
    [counters.MPJoinPortSynRx, counters.MismatchPortAckRx, counters.MPJoinPortAckRx, counters.MPJoinAckRx],
    [1, 1, 0, 0],
  );
  equal(resets, ResetReason.Prohibited);
  equal(serverSide.mptcp!.subflows.length, 1);
  equal(client.stack.counters.MPJoinPortSynAckRx, 1);
});

for (const role of ['client', 'server'] as const) {
  test(`E2.07 an endpoint removed at the ${role} while a join from it is under way: the join is given up`, () => {
    const { world, client, server, clientSide, serverSide, near, far, target } = connected(
      { client: { endpoints: [], addAddrAcceptedLimit: 1 } },
      1,
    );
    let isRemoved = false;
    const host = role === 'client' ? client : server;
    onSent(world, (_fromA, segment) => {
      const form = role === 'client' ? Mptcp.JoinSyn : Mptcp.JoinSynAck;
      if ((segment.mptcp.present & form) === 0 || isRemoved) return;
      isRemoved = true;
      world.at(world.now + 1, () => {
        host.endpoints.remove(world.now, 7);
        host.stack.touchAll();
      });
    });
    const where = { address: addressOf(4, 1, role === 'client' ? 1 : 2), id: 7 };
    host.endpoints.add(world.now, role === 'client' ? { ...where, subflow: true } : { ...where, signal: true });
    host.stack.touchAll();
    world.run({ until: world.now + 3000 });
    equal(isRemoved, true, 'a join was under way');
    deepEqual([clientSide.mptcp!.subflows.length, serverSide.mptcp!.subflows.length], [1, 1], 'it came to nothing');
    deepEqual([clientSide.closeReason, serverSide.closeReason], [-1, -1], 'the connection lives');
    client.sockets.send(near, new Uint8Array(30_000), 0, 30_000);
    world.run({ until: world.now + 1000 });
    equal(server.sockets.recv(far, target, 0, 70_000), 30_000, 'and carries data');
  });
}

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { addressOf } from '../../src/sim/topology.ts';
import { Mptcp, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Flag, type Segment } from '../../src/wire/segment.ts';
import { connected, path } from './exchange.ts';
import { FilteredLink } from './filtered-link.ts';

const NONE = { endpoints: [] };
const announced = (index: number, id: number) => ({ address: addressOf(4, index, 2), id, signal: true });
const isEcho = (segment: Segment) => (segment.mptcp.present & Mptcp.AddAddress) !== 0 && segment.mptcp.addEcho;
const isAnnouncement = (segment: Segment) => (segment.mptcp.present & Mptcp.AddAddress) !== 0 && !segment.mptcp.addEcho;

test('A6.01, A6.02, E2.03 an address is announced, echoed and joined', () => {
  const { client, server, clientSide, clientAddress, serverAddress } = connected({
    client: { endpoints: [], addAddrAcceptedLimit: 1 },
    server: { endpoints: [announced(1, 5)] },
  });
  deepEqual([server.stack.counters.AddAddrTx, server.stack.counters.EchoAdd], [1, 1]);
  deepEqual([client.stack.counters.AddAddr, client.stack.counters.EchoAddTx], [1, 1]);
  const joined = clientSide.mptcp!.subflows.find((subflow) => subflow.joined)!;
  deepEqual([String(joined.peer), joined.peerId], [String(serverAddress(1)), 5]);
  equal(String(joined.local), String(clientAddress(1)));
});

test('A6.02 an announced address that may not be used is echoed all the same', () => {
  const { client, server } = connected({ client: NONE, server: { endpoints: [announced(1, 5)] } }, 1);
  deepEqual([client.stack.counters.AddAddr, client.stack.counters.EchoAddTx], [1, 1]);
  equal(client.stack.counters.MPJoinSynTx, 0);
  equal(server.stack.counters.EchoAdd, 1);
});

test('A6.04, E2.02, E2.19 without echoes an address is announced four times, then the next one has its turn', () => {
  const times: [number, number][] = [];
  const echoes = new FilteredLink(isEcho);
  const { world, server } = connected(
    {
      paths: [path([], { aToB: { links: [echoes] } }), path(), path()],
      client: NONE,
      server: { endpoints: [announced(1, 5), announced(2, 6)], mptcp: { addAddrTimeout: 300 } },
      onSegment: (now, fromA, segment) => {
        if (!fromA && isAnnouncement(segment)) times.push([segment.mptcp.addId, now]);
      },
    },
    1,
  );
  world.run({ until: 30_000 });
  deepEqual(
    times.map(([id]) => id),
    [5, 5, 5, 5, 6, 6, 6, 6],
  );
  for (const [turn, from] of [0, 4].entries()) {
    const gaps = [1, 2, 3].map((step) => times[from + step]![1] - times[from + step - 1]![1]);
    ok(gaps[1]! > 1.8 * gaps[0]! && gaps[2]! > 1.8 * gaps[1]!, `turn ${turn}: ${gaps}`);
  }
  equal(server.stack.counters.EchoAdd, 0);
  equal(server.stack.counters.AddAddrTimeout, 2);
});

test('A6.09, E2.01 addresses are announced one at a time: the next after the echo', () => {
  const log: string[] = [];
  connected(
    {
      paths: [path(), path(), path()],
      client: NONE,
      server: { endpoints: [announced(1, 5), announced(2, 6)] },
      onSegment: (_now, _fromA, segment) => {
        if (isAnnouncement(segment)) log.push(`announce ${segment.mptcp.addId}`);
        if (isEcho(segment)) log.push(`echo ${segment.mptcp.addId}`);
      },
    },
    1,
  );
  deepEqual(log, ['announce 5', 'echo 5', 'announce 6', 'echo 6']);
});

test('A6.11, A6.13, E2.05, E2.07 an endpoint removed: REMOVE_ADDR, its subflow ends, others live, the slot is free', () => {
  const { world, client, server, clientSide, serverSide } = connected({
    client: { endpoints: [], addAddrAcceptedLimit: 1 },
    server: { endpoints: [announced(1, 5)] },
  });
  server.endpoints.remove(world.now, 5);
  server.stack.touchAll();
  world.run({ until: 3000 });
  deepEqual([server.stack.counters.RmAddrTx, client.stack.counters.RmAddr], [1, 1]);
  deepEqual([clientSide.mptcp!.subflows.length, serverSide.mptcp!.subflows.length], [1, 1]);
  deepEqual([clientSide.closeReason, serverSide.closeReason], [-1, -1]);
  server.endpoints.add(world.now, announced(1, 7));
  server.stack.touchAll();
  world.run({ until: 5000 });
  equal(clientSide.mptcp!.subflows.length, 2);
  equal(clientSide.mptcp!.subflows[1]!.peerId, 7);
});

test('A6.11 REMOVE_ADDR of an id that nobody knows is counted and harms nothing', () => {
  const { world, client, server, clientSide, serverSide } = connected();
  serverSide.mptcp!.withdraw(world.now, [77]);
  server.stack.touchAll();
  world.run({ until: 2000 });
  deepEqual([client.stack.counters.RmAddr, client.stack.counters.RmAddrDrop], [1, 1]);
  equal(clientSide.mptcp!.subflows.length, 2);
});

test('A6.14, A6.15 id 0 removed: the initial subflow ends, told on the other one', () => {
  let carrier = -1;
  const { world, client, server, clientSide, near, far, target, serverSide, clientAddress } = connected({
    onSegment: (_now, fromA, segment, index) => {
      if (fromA && (segment.mptcp.present & Mptcp.RemoveAddress) !== 0) carrier = index;
    },
  });
  client.stack.removeAddress(world.now, 0, clientAddress(0));
  world.run({ until: 3000 });
  equal(carrier, 1);
  equal(server.stack.counters.RmAddr, 1);
  deepEqual(
    clientSide.mptcp!.subflows.map((subflow) => subflow.id),
    [2],
  );
  client.sockets.send(near, new Uint8Array(50_000), 0, 50_000);
  world.run({ until: 4000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 50_000);
  equal(serverSide.closeReason, -1);
});

test('A4.13, A7.02 a backup subflow carries nothing until the other one is gone', () => {
  const { world, client, server, near, far, target, clientSide, serverSide, paths } = connected({
    client: { endpoints: [{ address: addressOf(4, 1, 1), subflow: true, backup: true }] },
  });
  const backup = clientSide.mptcp!.subflows.find((subflow) => subflow.joined)!;
  const seen = serverSide.mptcp!.subflows.find((subflow) => subflow.joined)!;
  ok(backup.backup && seen.peerBackup);
  equal(server.stack.counters.MPJoinSynBackupRx, 1);
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  server.sockets.send(far, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 2000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 60_000);
  deepEqual([backup.bytesSent, seen.bytesSent], [0, 0]);
  paths[0]!.setUp(world.now, false);
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 5000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 60_000);
  ok(backup.bytesSent + backup.bytesReinjected >= 60_000);
});

test('A7.01, E2.09 MP_PRIO: the subflow it travels on becomes backup, and back', () => {
  const { world, client, server, far, clientSide, serverSide } = connected();
  const { id } = client.endpoints.endpoints[0]!;
  const [first, second] = serverSide.mptcp!.subflows;
  client.endpoints.setBackup(world.now, id, true);
  client.stack.touchAll();
  world.run({ until: 2000 });
  deepEqual([client.stack.counters.MPPrioTx, server.stack.counters.MPPrioRx], [1, 1]);
  deepEqual([first!.peerBackup, second!.peerBackup, second!.localBackup], [false, true, false]);
  server.sockets.send(far, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 3000 });
  equal(second!.bytesSent, 0);
  client.endpoints.setBackup(world.now, id, false);
  client.stack.touchAll();
  world.run({ until: 4000 });
  equal(second!.peerBackup, false);
  equal(clientSide.closeReason, -1);
});

test('A7.03 the initial subflow of a backup endpoint says so at once', () => {
  const { client, server, serverSide } = connected({
    client: {
      endpoints: [
        { address: addressOf(4, 0, 1), subflow: true, backup: true },
        { address: addressOf(4, 1, 1), subflow: true },
      ],
    },
  });
  equal(client.stack.counters.MPPrioTx, 1);
  equal(server.stack.counters.MPPrioRx, 1);
  deepEqual(
    serverSide.mptcp!.subflows.map((subflow) => subflow.peerBackup),
    [true, false],
  );
});

test('A7.04 a path retired: MP_PRIO, then REMOVE_ADDR', () => {
  const log: string[] = [];
  const { world, client, clientSide } = connected({
    onSegment: (_now, fromA, segment) => {
      if (fromA && (segment.mptcp.present & Mptcp.Priority) !== 0) log.push('priority');
      if (fromA && (segment.mptcp.present & Mptcp.RemoveAddress) !== 0) log.push('remove');
    },
  });
  const { id } = client.endpoints.endpoints[0]!;
  client.endpoints.setBackup(world.now, id, true);
  client.stack.touchAll();
  world.run({ until: 2000 });
  client.endpoints.remove(world.now, id);
  client.stack.touchAll();
  world.run({ until: 3000 });
  deepEqual(log, ['priority', 'remove']);
  equal(clientSide.mptcp!.subflows.length, 1);
});

test('A6.19, E2.04, E2.16, A12.18 flag C: no join to the initial address; what is announced is used, limit or not', () => {
  const { client, server, clientSide, serverAddress } = connected({
    server: { endpoints: [announced(1, 5)], mptcp: { allowJoinInitial: false } },
  });
  ok(clientSide.mptcp!.peerDeniesJoinInitial);
  const joined = clientSide.mptcp!.subflows.filter((subflow) => subflow.joined);
  deepEqual(
    joined.map((subflow) => String(subflow.peer)),
    [String(serverAddress(1))],
  );
  equal(client.stack.counters.MPJoinSynTx, 1);
  equal(server.stack.counters.MPJoinAckRx, 1);
});

test('A6.19, E2.16 flag C and nothing announced: no join at all', () => {
  const { client } = connected({ server: { mptcp: { allowJoinInitial: false } } }, 1);
  equal(client.stack.counters.MPJoinSynTx, 0);
});

test('E2.03 fullmesh: each of its addresses with each of the peer’s', () => {
  const { clientSide } = connected(
    {
      client: {
        endpoints: [
          { address: addressOf(4, 0, 1), subflow: true, fullmesh: true },
          { address: addressOf(4, 1, 1), subflow: true, fullmesh: true },
        ],
        addAddrAcceptedLimit: 4,
      },
      server: { endpoints: [announced(1, 5)] },
    },
    4,
  );
  const pairs = clientSide.mptcp!.subflows.map((subflow) => `${subflow.local} ${subflow.peer}`);
  equal(new Set(pairs).size, 4);
});

test('E2.01 the limit of subflows holds at the side that joins', () => {
  const { client } = connected({ paths: [path(), path(), path()], client: { subflowLimit: 1 } }, 2);
  equal(client.stack.counters.MPJoinSynTx, 1);
});

test('E2.14, A4.04 joins beyond the limit of the side that is joined: reset with reason 3', () => {
  let reason = -1;
  const { server, serverSide } = connected(
    {
      server: { subflowLimit: 0 },
      onSegment: (_now, fromA, segment) => {
        if (!fromA && (segment.flags & Flag.Rst) !== 0) reason = segment.mptcp.resetReason;
      },
    },
    1,
  );
  equal(reason, ResetReason.Prohibited);
  equal(server.stack.counters.MPJoinRejected, 1);
  equal(serverSide.mptcp!.subflows.length, 1);
});

test('E2.06 an endpoint added later is used by connections that live', () => {
  const { world, client, clientSide } = connected({ client: NONE }, 1);
  client.endpoints.add(world.now, { address: addressOf(4, 1, 1), subflow: true });
  client.stack.touchAll();
  world.run({ until: 3000 });
  equal(clientSide.mptcp!.subflows.length, 2);
});

test('E2.10 fullmesh switched on and off again: the subflows of that endpoint are built anew, the stream goes on', () => {
  const { world, client, server, clientSide, near, far, target } = connected(
    {
      client: { endpoints: [{ address: addressOf(4, 1, 1), subflow: true }], addAddrAcceptedLimit: 4 },
      server: { endpoints: [announced(1, 5)], subflowLimit: 8 },
      onSegment: (_now, _fromA, segment) => {
        if ((segment.mptcp.present & Mptcp.RemoveAddress) !== 0) withdrawn++;
      },
    },
    3,
  );
  let withdrawn = 0;
  const pairs = () => clientSide.mptcp!.subflows.map((subflow) => `${subflow.local} ${subflow.peer}`).sort();
  const joined = () => clientSide.mptcp!.subflows.filter((subflow) => subflow.joined).map((subflow) => subflow.id);
  const before = joined();
  client.endpoints.setFullmesh(world.now, 1, true);
  client.stack.touchAll();
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 4000 });
  equal(
    pairs()
      .filter((pair) => pair.startsWith('10.0.2.1'))
      .join(),
    '10.0.2.1 10.0.1.2,10.0.2.1 10.0.2.2',
  );
  ok(
    joined().every((id) => !before.includes(id)),
    `${joined()} are not ${before}`,
  );
  client.endpoints.setFullmesh(world.now, 1, false);
  client.stack.touchAll();
  world.run({ until: 8000 });
  equal(
    pairs()
      .filter((pair) => pair.startsWith('10.0.2.1'))
      .join(),
    '10.0.2.1 10.0.1.2',
  );
  equal(withdrawn, 0);
  equal(server.sockets.recv(far, target, 0, 70_000), 60_000);
});

test('K19 a connection is joined at its own port after the listener was closed, which takes no new connection', () => {
  const { world, client, server, clientSide, near, far, target, serverAddress } = connected({ client: NONE }, 1);
  equal(server.sockets.close(0), 0, 'the listener');
  const late = client.sockets.socket(2, 1, 262);
  client.sockets.connect(late, serverAddress(0), 80, world.now);
  client.endpoints.add(world.now, { address: addressOf(4, 1, 1), subflow: true });
  client.stack.touchAll();
  world.run({ until: 3000 });
  equal(client.sockets.error(late), 111, 'refused');
  const joined = clientSide.mptcp!.subflows.find((subflow) => subflow.joined)!;
  equal(joined.peerPort, 80);
  client.sockets.send(near, new Uint8Array(69_000), 0, 69_000);
  world.run({ until: 5000 });
  ok(joined.bytesSent > 0, 'and carries data');
  equal(server.sockets.recv(far, target, 0, 70_000), 69_000);
});

test('A6.18, E2.13 an IPv4 connection gets an IPv6 subflow', () => {
  const { world, client, server, clientSide, near, far, target } = connected({
    family: 'both',
    client: { endpoints: [], addAddrAcceptedLimit: 1 },
    server: { endpoints: [{ address: addressOf(6, 1, 2), id: 5, signal: true }] },
  });
  const joined = clientSide.mptcp!.subflows.find((subflow) => subflow.joined)!;
  equal(joined.peer.family, 6);
  equal(clientSide.mptcp!.initialPeer.family, 4);
  client.sockets.send(near, new Uint8Array(69_000), 0, 69_000);
  world.run({ until: 3000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 69_000);
});

test('A6.14 a REMOVE_ADDR that gets lost: the subflow that the peer ended ends here too', () => {
  const removals = new FilteredLink((segment) => (segment.mptcp.present & Mptcp.RemoveAddress) !== 0);
  const { world, client, server, clientSide, serverSide, near } = connected({
    paths: [path([], { aToB: { links: [removals] } }), path()],
  });
  equal(serverSide.mptcp!.subflows.length, 2);
  client.endpoints.remove(world.now, client.endpoints.endpoints[0]!.id);
  client.stack.touchAll();
  world.run({ until: world.now + 1000 });
  equal(server.stack.counters.RmAddr, 0, 'nobody told the server');
  for (const side of [clientSide, serverSide]) equal(side.mptcp!.subflows.length, 1);
  // The connection goes on by the other.
  client.sockets.send(near, new Uint8Array(1000), 0, 1000);
  world.run({ until: world.now + 1000 });
  equal(serverSide.readable, 1000);
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit } from '../../src/link/index.ts';
import { Flag } from '../../src/wire/segment.ts';
import { connected, exchange, intact, path } from './exchange.ts';
import { observe } from './segments.ts';

const SMALL = { tcp: { receiveBuffer: 40_000, maximumReceiveBuffer: 40_000 } };

test('A9.01, A9.03 one receive window for both subflows: together they never send beyond it', () => {
  const { world, client, near, server, far, target, clientSide, serverSide } = connected({ server: SMALL });
  const edges: number[] = [];
  client.sockets.send(near, new Uint8Array(200_000), 0, 200_000);
  for (let time = 1110; time < 4000; time += 10) {
    world.run({ until: time });
    edges.push(clientSide.mptcp!.sendNxt - clientSide.mptcp!.sendUna);
  }
  const { readable } = serverSide;
  ok(readable > 10_000 && readable <= 40_000, `${readable} bytes wait`);
  // One byte may lie behind a closed window.
  ok(Math.max(...edges) <= 40_001);
  equal(server.stack.counters.NoDSSInWindow <= 10, true);
  ok(clientSide.mptcp!.subflows.every((subflow) => subflow.bytesSent < 40_000));
  let got = 0;
  for (let time = 4000; time < 20_000 && got < 200_000; time += 10) {
    world.run({ until: time });
    got += Math.max(0, server.sockets.recv(far, target, 0, 70_000));
  }
  equal(got, 200_000);
});

test('A9.06 a window that stays closed is probed at data level, and what opens it lost is no deadlock', () => {
  const { world, client, server, near, far, target, clientSide, serverSide, paths } = connected({ server: SMALL });
  client.sockets.send(near, new Uint8Array(100_000), 0, 100_000);
  world.run({ until: 5000 });
  const stuck = clientSide.mptcp!.sendUna;
  ok(serverSide.readable > 0);
  let probes = 0;
  observe(world, (fromA) => {
    if (fromA) probes++;
  });
  world.run({ until: 15_000 });
  ok(probes >= 1, 'still probed, ever more rarely');
  ok(client.stack.counters.WinProbe >= 1);
  ok(clientSide.mptcp!.sendUna <= stuck + 1);
  // The reader empties the buffer while nothing gets through: no window update arrives.
  for (const one of paths) one.setUp(world.now, false);
  let got = 0;
  for (let count = 1; count > 0; got += Math.max(0, count)) count = server.sockets.recv(far, target, 0, 70_000);
  world.run({ until: 15_500 });
  for (const one of paths) one.setUp(world.now, true);
  for (let time = 15_500; time < 80_000 && got < 100_000; time += 50) {
    world.run({ until: time });
    got += Math.max(0, server.sockets.recv(far, target, 0, 70_000));
  }
  equal(got, 100_000);
});

test('A9.02 the right edge that a sender knows never moves back', () => {
  const { world, client, near, server, far, target, clientSide } = connected({ server: SMALL });
  client.sockets.send(near, new Uint8Array(150_000), 0, 150_000);
  let edge = 0;
  let shrank = 0;
  world.run({
    until: 3000,
    condition: () => {
      const now = clientSide.mptcp!.sendWindowEnd;
      if (now < edge) shrank++;
      edge = now;
      server.sockets.recv(far, target, 0, 700);
      return false;
    },
  });
  ok(edge > 100_000);
  equal(shrank, 0);
});

test('A9.11, A9.19 a path dies under data: the other one carries what it held, and no byte is lost', () => {
  const result = exchange({
    paths: [path([], { schedule: [[100, false]] }), path([], { delay: 15 })],
    size: 2e6,
  });
  intact(result);
  const mptcp = result.clientSide.mptcp!;
  const second = mptcp.subflows.concat(mptcp.past).find((subflow) => subflow.id === 2)!;
  ok(second.bytesReinjected > 1000);
  ok(result.client.stack.counters.MPTCPRetrans > 0);
  ok(result.world.now < 5000);
});

test('A9.10 what moved to another path is still retransmitted on its own subflow', () => {
  const { world, client, near, paths, clientSide } = connected();
  const first = clientSide.mptcp!.subflows[0]!;
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 1102 });
  ok(first.bytesSent > 1000);
  paths[0]!.setUp(world.now, false);
  world.run({ until: 3000 });
  ok(clientSide.mptcp!.sendUna > 60_000, 'the other path brought everything');
  let again = 0;
  paths[0]!.setUp(world.now, true);
  observe(world, (fromA, segment, index) => {
    if (fromA && index === 0 && segment.length > 1 && (segment.flags & Flag.Ack) !== 0) again += segment.length;
  });
  world.run({ until: 30_000 });
  ok(again > 1000, `${again} bytes again on the first path`);
  equal(first.tcp!.sender.una, first.tcp!.sender.nxt);
});

test('A9.12 the sender lets go of bytes that are acknowledged at both levels, and keeps the others', () => {
  const { world, client, near, paths, clientSide } = connected();
  const mptcp = clientSide.mptcp!;
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 2000 });
  equal(mptcp.sendQueue.start, mptcp.sendQueue.end);
  for (const one of paths) one.setUp(world.now, false);
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: 4000 });
  equal(mptcp.sendQueue.end - mptcp.sendQueue.start, 60_000);
  for (const one of paths) one.setUp(world.now, true);
  world.run({ until: 20_000 });
  equal(mptcp.sendQueue.start, mptcp.sendQueue.end);
});

test('A9.01, A9.03 a slow reader gets every byte, and the sender waits for it', () => {
  const result = connected({ server: SMALL, paths: [path([], { rate: mbit(20) }), path([], { delay: 30 })] });
  const { world, client, server, near, far, target, clientSide } = result;
  const bytes = new Uint8Array(120_000);
  for (let index = 0; index < bytes.length; index++) bytes[index] = (index * 7 + (index >> 8)) & 255;
  let sent = 0;
  let got = 0;
  let wrong = 0;
  for (let time = 1100; got < bytes.length && time < 60_000; time += 20) {
    world.run({ until: time });
    sent += Math.max(0, client.sockets.send(near, bytes, sent, bytes.length - sent));
    const count = server.sockets.recv(far, target, 0, 1000);
    for (let index = 0; index < count; index++) if (target[index] !== bytes[got + index]) wrong++;
    got += Math.max(0, count);
    ok(clientSide.mptcp!.sendNxt - 2 <= got + 40_001);
  }
  deepEqual([got, wrong], [bytes.length, 0]);
});

import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit, type PathOptions } from '../../src/link/index.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';
import { connected, path } from './exchange.ts';
import { FilteredLink } from './filtered-link.ts';
import { pair } from './pair.ts';

/** Initial receive buffer of a connection: what it offers before it has shown a rate. */
const INITIAL = 131_072;

/** A client sends `size` bytes to a server that reads at once; what the buffers came to be. */
function upload(paths: readonly PathOptions[], size: number) {
  const both = pair({ paths });
  const { world, client, server, clientApp, serverApp, serverAddress } = both;
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: size });
  const sender = client.sockets.connectionOf(end.descriptor)!.mptcp!;
  /** Largest window that each subflow was offered. */
  const offered = paths.map(() => 0);
  const limits = { send: 0, receive: 0 };
  world.run({
    until: 60_000,
    condition: () => {
      for (const subflow of sender.subflows) {
        const { wnd } = subflow.tcp?.sender ?? { wnd: 0 };
        if (wnd > offered[subflow.id - 1]!) offered[subflow.id - 1] = wnd;
      }
      limits.send = Math.max(limits.send, sender.sendQueue.limit);
      const there = serverApp.ends[0];
      const receiver = there === undefined ? undefined : server.sockets.connectionOf(there.descriptor)?.mptcp;
      limits.receive = Math.max(limits.receive, receiver?.ring.limit ?? 0);
      return there?.received === size;
    },
  });
  equal(serverApp.ends[0]!.received, size, 'everything arrived');
  return { offered, ...limits };
}

const FAST = { rate: mbit(60), delay: 5 };
const SLOW = { rate: mbit(60), delay: 50 };

test('A9.07 the receive buffer grows with the rate of the connection and the longest round trip of its subflows', () => {
  const alone = upload([FAST], 8e6);
  const both = upload([FAST, SLOW], 8e6);
  // 60 Mbit/s for 10 ms are 75 KB; for 100 ms 750 KB. Twice as much lets the sender double its rate.
  ok(alone.receive < 700_000, `${alone.receive} bytes for the short path alone`);
  // Both carry data: what the fast path brings waits for the slow one, so its round trip counts for all of it.
  ok(both.receive > 1_500_000, `${both.receive} bytes with the long path`);
  for (const offered of both.offered) {
    ok(offered > 1_500_000, `${both.offered}: the larger window is offered on both subflows`);
  }
});

test('A9.07 a reader that takes little has its receive buffer left as it is', () => {
  const { world, client, server, near, far, target, serverSide } = connected();
  let sent = 0;
  for (let time = 1100; time < 6000; time += 10) {
    world.run({ until: time });
    sent += Math.max(0, client.sockets.send(near, new Uint8Array(65_536), 0, 65_536));
    server.sockets.recv(far, target, 0, 1000);
  }
  ok(sent > 500_000, 'there was more to be had');
  equal(serverSide.mptcp!.ring.limit, INITIAL, '100 bytes per ms need no more');
  ok(serverSide.readable > INITIAL / 2, 'which is full');
});

test('A9.07 a buffer set by the user stays as it is', () => {
  const fixed = { tcp: { receiveBuffer: 100_000, maximumReceiveBuffer: 100_000 } };
  const { world, client, server, near, far, target, serverSide, clientSide } = connected({ server: fixed });
  let got = 0;
  for (let time = 1100; time < 4000; time += 5) {
    world.run({ until: time });
    client.sockets.send(near, new Uint8Array(65_536), 0, 65_536);
    for (let count = 1; count > 0; got += Math.max(0, count)) count = server.sockets.recv(far, target, 0, 70_000);
  }
  ok(got > 1_000_000, 'the reader was fast');
  equal(serverSide.mptcp!.ring.limit, 100_000, 'no byte more');
  for (const subflow of clientSide.mptcp!.subflows) ok(subflow.tcp!.sender.wnd <= 100_000, 'none is offered');
});

test('A9.08 the send buffer grows with what its subflows need in sum, up to its ceiling', () => {
  const one = { rate: mbit(30), delay: 30 };
  const alone = upload([one], 6e6);
  const both = upload([one, one], 12e6);
  // 30 Mbit/s and 60 ms: 225 KB in flight on each.
  ok(alone.send > 500_000 && alone.send < 1_500_000, `${alone.send} bytes for one path`);
  ok(both.send > 1.6 * alone.send, `${both.send} bytes for two`);
  const bounded = connected({ client: { mptcp: { maximumSendBuffer: 300_000 } } });
  const { world, client, server, near, far, target, clientSide } = bounded;
  let largest = 0;
  for (let time = 1100; time < 3000; time += 5) {
    world.run({ until: time });
    client.sockets.send(near, new Uint8Array(65_536), 0, 65_536);
    for (let count = 1; count > 0; ) count = server.sockets.recv(far, target, 0, 70_000);
    largest = Math.max(largest, clientSide.mptcp!.sendQueue.limit);
  }
  equal(largest, 300_000, 'the ceiling holds');
});

test('A9.08 while the slowest subflow brings its bytes the fast one fills many windows, and they have room', () => {
  const alone = upload([FAST], 8e6);
  const both = upload([FAST, SLOW], 8e6);
  ok(alone.send < 1_000_000, `${alone.send} bytes for the short path alone`);
  ok(both.send > 3 * alone.send, `${both.send} bytes with the long path: its round trip counts for all`);
});

test('A9.05, H1.66 a subflow that was idle while the window grew sends by the connection’s window, not its old one', () => {
  let isDeaf = false;
  const { world, client, server, near, far, target, clientSide, paths } = connected({
    paths: [path(), path([], { delay: 20, bToA: { links: [new FilteredLink(() => isDeaf)] } })],
    client: { endpoints: [{ address: addressOf(4, 1, 1), subflow: true, backup: true }] },
  });
  const mptcp = clientSide.mptcp!;
  const backup = mptcp.subflows[1]!.tcp!.sender;
  const old = backup.wnd;
  equal(client.stack.counters.SndWndShared, 0, 'nothing was to be shared yet');
  // What the server says of its growing window is lost on the idle path.
  isDeaf = true;
  let got = 0;
  for (let time = 1100; got < 3e6 && time < 10_000; time += 5) {
    world.run({ until: time });
    client.sockets.send(near, new Uint8Array(65_536), 0, 65_536);
    for (let count = 1; count > 0; got += Math.max(0, count)) count = server.sockets.recv(far, target, 0, 70_000);
  }
  world.run({ until: world.now + 500 });
  for (let count = 1; count > 0; ) count = server.sockets.recv(far, target, 0, 70_000);
  world.run({ until: world.now + 500 });
  const shared = mptcp.sendWindowEnd - mptcp.sendUna;
  ok(shared > 3 * old, `the window grew from ${old} to ${shared} bytes`);
  ok(client.stack.counters.SndWndShared >= 1, 'shared');
  ok(backup.wnd > 3 * old, `the idle subflow may send ${backup.wnd} bytes, though it heard of ${old} only`);
  isDeaf = false;
  paths[0]!.setUp(world.now, false);
  client.sockets.send(near, new Uint8Array(65_536), 0, 65_536);
  world.run({ until: world.now + 3000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 65_536, 'it carries what comes when the other one fails');
});

test('A9.05 what two subflows offer is one window: no edge lies behind one that went out before on the other', () => {
  const { world, client, server, near, far, target, clientSide } = connected();
  const header = new IpHeader();
  const segment = new Segment();
  let edge = -1;
  let segments = 0;
  let furthest = 0;
  const used = new Set<number>();
  const initial = { low: -1 };
  const unit = clientSide.mptcp!.subflows[0]!.tcp!['peerUnit'];
  world.observe({
    onSend(_now, one, fromA, packet) {
      if (fromA || decodeIp(packet, header) !== 0 || decodeTcp(packet, header, segment) !== 0) return;
      const { mptcp } = segment;
      if ((mptcp.present & Mptcp.Dss) === 0 || (mptcp.dssFlags & Dss.Ack) === 0) return;
      if (initial.low < 0) initial.low = mptcp.dataAckLow;
      const now = ((mptcp.dataAckLow - initial.low) | 0) + segment.window * unit;
      segments++;
      used.add(one.index);
      if (edge >= 0) furthest = Math.max(furthest, edge - now);
      edge = Math.max(edge, now);
    },
  });
  for (let time = 1100; time < 4000; time += 7) {
    world.run({ until: time });
    client.sockets.send(near, new Uint8Array(65_536), 0, 65_536);
    server.sockets.recv(far, target, 0, 9_000);
  }
  ok(segments > 200 && used.size === 2, `${segments} segments on ${used.size} subflows`);
  // RFC 7323 §2.4: an edge may retreat by less than the unit in which it is told.
  ok(furthest < unit, `an edge lay ${furthest} bytes behind`);
});

test('H1.77 one byte behind a window that closed is a probe, and counted', () => {
  const small = { tcp: { receiveBuffer: 20_000, maximumReceiveBuffer: 20_000 } };
  const { world, client, near, clientSide, server, far, target } = connected({ paths: [path()], server: small }, 1);
  client.sockets.send(near, new Uint8Array(15_000), 0, 15_000);
  world.run({ until: world.now + 1000 });
  equal(client.stack.counters.WinProbe, 0, 'the window is open');
  client.sockets.send(near, new Uint8Array(50_000), 0, 50_000);
  world.run({ until: world.now + 10_000 });
  const { sendNxt, sendWindowEnd } = clientSide.mptcp!;
  equal(client.stack.counters.WinProbe, 1, 'one byte was mapped behind it');
  equal(sendNxt, sendWindowEnd + 1, 'no more than that');
  let got = 0;
  for (let time = world.now; got < 65_000 && time < 60_000; time += 50) {
    world.run({ until: time });
    got += Math.max(0, server.sockets.recv(far, target, 0, 70_000));
  }
  equal(got, 65_000, 'and everything arrives once it opens');
});

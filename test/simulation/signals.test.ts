import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { RewritePayload } from '../../src/link/middlebox/index.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { fillPattern } from '../../src/sim/workload.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { Flag, type Segment } from '../../src/wire/segment.ts';
import { connected, path } from './exchange.ts';
import { FilteredLink } from './filtered-link.ts';
import { LateProxy } from './late-proxy.ts';
import { pair } from './pair.ts';

/** What connections say about paths, and when: found between this stack and Linux's. */

const NONE = { endpoints: [] };

test('A6.01, E2.01 a server announces its address with the third ACK, before there is any data', () => {
  const { world, client, server, clientApp, serverApp, serverAddress } = pair({
    paths: [path(), path()],
    client: { endpoints: [], addAddrAcceptedLimit: 1 },
    server: { endpoints: [{ address: addressOf(4, 1, 2), id: 5, signal: true }] },
  });
  // The listener's connections send nothing, and the client's stay open.
  const listener = serverApp.listen(80);
  equal(listener >= 0, true);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 1e9 });
  clientApp.sockets.connectionOf(end.descriptor)!.mptcp!.sendQueue.setLimit(0);
  world.run({ until: 500 });
  deepEqual([server.stack.counters.AddAddrTx, client.stack.counters.AddAddr], [1, 1]);
});

test('A1.29, E2.02 an announcement that fits nowhere is given up, and the next one has its turn', () => {
  const { client, server } = connected(
    {
      family: 'both',
      paths: [path(), path(), path()],
      client: { endpoints: [], addAddrAcceptedLimit: 2 },
      server: {
        endpoints: [
          { address: addressOf(6, 1, 2), id: 5, signal: true, port: 4000 },
          { address: addressOf(6, 2, 2), id: 6, signal: true },
        ],
      },
    },
    2,
  );
  deepEqual([server.stack.counters.AddAddrTxDrop, server.stack.counters.AddAddrTx], [1, 1]);
  deepEqual([client.stack.counters.AddAddr, server.stack.counters.AddAddrTimeout], [1, 0]);
});

test('A6.15, H1.54 REMOVE_ADDR goes out on a path that stays, before the other ends; who removes counts it', () => {
  const said: string[] = [];
  const { world, client, server } = connected({
    onSegment: (_now, fromA, segment, index) => {
      if (!fromA) return;
      if ((segment.mptcp.present & Mptcp.RemoveAddress) !== 0) said.push(`remove ${index}`);
      if ((segment.flags & Flag.Fin) !== 0) said.push(`fin ${index}`);
    },
  });
  client.endpoints.remove(world.now, client.endpoints.endpoints[0]!.id);
  client.stack.touchAll();
  world.run({ until: world.now + 1000 });
  deepEqual(said, ['remove 0', 'fin 1']);
  deepEqual([client.stack.counters.RmAddrTx, client.stack.counters.RmSubflow], [1, 1]);
  deepEqual([server.stack.counters.RmAddr, server.stack.counters.RmSubflow], [1, 0]);
});

test('A9.12, A9.18 what a path acknowledged and lost is sent again when that path goes, not when a timer says so', () => {
  let isOn = false;
  const proxy = new LateProxy({ loses: () => isOn }, () => isOn);
  const { world, client, near, far, server, clientSide, target } = connected({
    paths: [path([], { delay: 40 }), path([proxy])],
  });
  client.sockets.send(near, new Uint8Array(5000), 0, 5000);
  world.run({ until: world.now + 500 });
  equal(server.sockets.recv(far, target, 0, 70_000), 5000, 'so far nobody interferes');
  const [, joined] = clientSide.mptcp!.subflows;
  ok(joined!.bytesSent > 0, 'on either path');
  isOn = true;
  client.sockets.send(near, new Uint8Array(30_000).fill(7), 0, 30_000);
  world.run({ until: world.now + 100 });
  ok(proxy.lost > 0, 'the proxied path was used');
  const before = clientSide.mptcp!.retransmits;
  equal(joined!.closed, false, 'and lives');
  client.endpoints.remove(world.now, client.endpoints.endpoints[0]!.id);
  client.stack.touchAll();
  world.run({ until: world.now + 190 });
  let got = 0;
  for (let count = 1; count > 0; got += Math.max(0, count)) count = server.sockets.recv(far, target, 0, 70_000);
  equal(got, 30_000);
  equal(clientSide.mptcp!.retransmits, before);
});

test('A2.09 the first flight of a server keeps to one subflow until the client has sent a DATA_ACK', () => {
  let acknowledged = false;
  const early = new Set<number>();
  const late = new Set<number>();
  const { world, server, far } = connected({
    paths: [path(), path()],
    onSegment: (_now, fromA, segment, index) => {
      const { present, dssFlags } = segment.mptcp;
      if (fromA && (present & Mptcp.Dss) !== 0 && (dssFlags & Dss.Ack) !== 0) acknowledged = true;
      if (!fromA && segment.length > 0) (acknowledged ? late : early).add(index);
    },
  });
  equal(acknowledged, false);
  server.sockets.send(far, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: world.now + 25 });
  equal(early.size, 1);
  server.sockets.send(far, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: world.now + 500 });
  deepEqual([...late].sort(), [0, 1]);
});

test('A5.24, A7.06 the segment with the infinite mapping is lost, and has it again when it comes again', () => {
  const isInfinite = (segment: Segment) =>
    (segment.mptcp.present & Mptcp.Dss) !== 0 &&
    (segment.mptcp.dssFlags & Dss.Map) !== 0 &&
    segment.mptcp.dataLength === 0;
  let lost = 0;
  const loses = new FilteredLink((segment) => isInfinite(segment) && lost++ === 0);
  const phrase = new Uint8Array(6);
  fillPattern(1, 60_000, phrase, 0, 6);
  const gateway = new RewritePayload(phrase, new Uint8Array(6));
  const { world, client, server, clientApp, serverApp, serverAddress } = pair({
    paths: [path([gateway], { aToB: { links: [loses] } })],
    client: { ...NONE, mptcp: { checksums: true } },
  });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 2_000_000 });
  world.run({ until: 20_000, condition: () => end.closed && serverApp.ends[0]?.closed === true });
  ok(lost >= 2, 'lost once, then sent again');
  deepEqual([client.stack.counters.InfiniteMapTx, server.stack.counters.InfiniteMapRx], [1, 1]);
  deepEqual([serverApp.ends[0]!.received, serverApp.ends[0]!.error, end.error], [2_000_000, 0, 0]);
});

test('E1.17, E2.06 the initial address of a server goes, comes back under the id of its endpoint, and is joined', () => {
  const { world, client, server, clientSide, serverAddress } = connected(
    {
      client: { endpoints: [], addAddrAcceptedLimit: 2 },
      server: {
        endpoints: [
          { address: addressOf(4, 0, 2), id: 3, signal: true },
          { address: addressOf(4, 1, 2), id: 4, signal: true },
        ],
      },
    },
    2,
  );
  const initial = serverAddress(0);
  // The client's FIN on the old subflow finds nobody.
  const living = () => clientSide.mptcp!.subflows.filter((subflow) => subflow.usable);
  server.stack.removeAddress(world.now, 0, initial);
  world.run({ until: world.now + 500 });
  deepEqual(
    living().map((subflow) => String(subflow.peer)),
    [String(serverAddress(1))],
  );
  equal(server.stack.counters.AddAddrTx, 1);
  server.stack.addAddress(world.now, 0, { address: initial, prefixLength: 24 });
  world.run({ until: world.now + 500 });
  deepEqual([client.stack.counters.RmAddr, client.stack.counters.AddAddr], [1, 2]);
  deepEqual(
    living().map((subflow) => [String(subflow.peer), subflow.peerId]),
    [
      [String(serverAddress(1)), 4],
      [String(initial), 3],
    ],
  );
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedHost } from '../../src/sim/host.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Family, Protocol, SocketType } from '../../src/sockets/sockets.ts';
import { Address } from '../../src/wire/address.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import type { Segment } from '../../src/wire/segment.ts';
import { type ConnectedOptions, connected, path } from './exchange.ts';
import { FilteredLink } from './filtered-link.ts';
import { announcing, inject } from './injection.ts';

/** A connection whose client uses what is announced to it, and says what it did about it. */
function listener(options: ConnectedOptions = {}, subflows = 1) {
  const echoes: string[] = [];
  const joins: string[] = [];
  const both = connected(
    {
      paths: [path(), path(), path()],
      client: { endpoints: [], addAddrAcceptedLimit: 8 },
      ...options,
      onSegment: (now, fromA, segment, index) => {
        options.onSegment?.(now, fromA, segment, index);
        const { mptcp } = segment;
        if (!fromA) return;
        if ((mptcp.present & Mptcp.AddAddress) !== 0 && mptcp.addEcho) {
          echoes.push(`${mptcp.addId} ${new Address(mptcp.addFamily, mptcp.add0, mptcp.add1, mptcp.add2, mptcp.add3)}`);
        }
        if ((mptcp.present & Mptcp.JoinSyn) !== 0) {
          const { family, destination0, destination1, destination2, destination3, destinationPort } = segment;
          joins.push(
            `${new Address(family, destination0, destination1, destination2, destination3)}:${destinationPort}`,
          );
        }
      },
    },
    subflows,
  );
  const { world, client, clientSide } = both;
  const first = clientSide.mptcp!.subflows[0]!;
  /** The client hears an announcement, and has a second for what it does. */
  const hear = (id: number, address: Address, port = 0, change: (segment: Segment) => void = () => {}): void => {
    inject(world.now, client, first, (segment) => {
      announcing(first, id, address, port)(segment);
      change(segment);
    });
    world.run({ until: world.now + 1000 });
  };
  return { ...both, first, echoes, joins, hear };
}

test('A6.06 no address, a group, an own address, one in use already: echoed, and not joined', () => {
  const { client, clientSide, clientAddress, serverAddress, hear, echoes, joins } = listener();
  const useless = [
    Address.of('0.0.0.0'),
    Address.of('224.0.0.1'),
    clientAddress(0),
    // Another id and the same place: the initial subflow leads there.
    serverAddress(0),
  ];
  for (const [index, address] of useless.entries()) hear(20 + index, address);
  deepEqual(
    echoes,
    useless.map((address, index) => `${20 + index} ${address}`),
    'each is echoed',
  );
  deepEqual(joins, [], 'none is joined');
  hear(30, serverAddress(1));
  deepEqual(joins, ['10.0.2.2:80'], 'a good one is');
  hear(31, serverAddress(1));
  equal(echoes.length, 6, 'its duplicate is echoed as well');
  deepEqual(joins, ['10.0.2.2:80'], 'and joined once only');
  equal(client.stack.counters.AddAddrDrop, 0, 'all of them were genuine');
  equal(clientSide.mptcp!.subflows.length, 2, 'the initial subflow and one more');
});

test('A6.06 with fullmesh endpoints an own address or the initial one is no candidate either', () => {
  const endpoints = [0, 1].map((index) => ({ address: addressOf(4, index, 1), subflow: true, fullmesh: true }));
  const { clientAddress, serverAddress, hear, joins } = listener(
    {
      client: { endpoints, addAddrAcceptedLimit: 8 },
    },
    2,
  );
  joins.length = 0;
  for (const [index, address] of [clientAddress(0), clientAddress(1), serverAddress(0)].entries()) {
    hear(20 + index, address);
  }
  deepEqual(joins, [], 'none is joined');
  hear(30, serverAddress(1));
  deepEqual(joins, ['10.0.2.2:80', '10.0.2.2:80'], 'a good one is, from both');
});

test('A6.06 an own address that no endpoint and no subflow names is echoed and no SYN goes there either', () => {
  const { client, clientSide, clientAddress, serverAddress, hear, echoes, joins } = listener();
  hear(20, clientAddress(1));
  deepEqual(echoes, ['20 10.0.2.1'], 'echoed');
  deepEqual(joins, [], 'not joined');
  deepEqual([client.stack.counters.MPJoinOwnAddress, client.stack.counters.MPJoinSynTx], [1, 0], 'and that is counted');
  equal(clientSide.mptcp!.subflows.length, 1, 'nothing is left of it');
  hear(21, serverAddress(2));
  deepEqual(joins, ['10.0.3.2:80'], 'the next announcement has its turn');
});

test('A6.07 id 0 stands for the initial address: another one under it is echoed and not joined', () => {
  const { clientSide, serverAddress, hear, echoes, joins } = listener();
  hear(0, serverAddress(1));
  deepEqual(echoes, ['0 10.0.2.2'], 'echoed');
  deepEqual(joins, [], 'not joined');
  equal(clientSide.mptcp!.peerAddresses.length, 0, 'not remembered');
  hear(0, serverAddress(0));
  deepEqual([echoes.length, joins.length], [2, 0], 'the initial address itself has its subflow');
  hear(5, serverAddress(1));
  deepEqual(joins, ['10.0.2.2:80'], 'under an id of its own the other one is joined');
});

test('A6.08 an id announced again: another address is not believed, another port is tried', () => {
  const { server, clientSide, serverAddress, hear, echoes, joins } = listener();
  hear(5, serverAddress(1), 8080);
  deepEqual(joins, ['10.0.2.2:8080'], 'what was announced first');
  equal(clientSide.mptcp!.subflows.length, 1, 'nobody listens there');
  hear(5, serverAddress(2));
  deepEqual(joins, ['10.0.2.2:8080'], 'RFC 8684 §3.4.1: the id keeps its address');
  hear(5, serverAddress(1), 8080);
  deepEqual(joins, ['10.0.2.2:8080'], 'nothing new');
  hear(5, serverAddress(1), 80);
  deepEqual(joins, ['10.0.2.2:8080', '10.0.2.2:80'], 'a new port is news');
  equal(clientSide.mptcp!.subflows.length, 2, 'it led to a subflow');
  equal(echoes.length, 4, 'each was echoed');
  hear(5, serverAddress(1), 8081);
  deepEqual(joins.at(-1), '10.0.2.2:8081', 'tried beside the subflow that lives');
  equal(server.stack.counters.MismatchPortSynRx > 0, true, 'the server invited nobody to the other ports');
});

test('A6.08 a new port is tried though as many addresses are in use as may be', () => {
  const { serverAddress, hear, joins } = listener({ client: { endpoints: [], addAddrAcceptedLimit: 1 } });
  hear(5, serverAddress(1), 8080);
  hear(5, serverAddress(1), 80);
  hear(6, serverAddress(2));
  deepEqual(joins, ['10.0.2.2:8080', '10.0.2.2:80'], 'one address with two ports, and no second address');
});

for (const range of ['172.16.5.5', '192.168.7.7', 'fd12:3456::7']) {
  test(`A6.10 a private address, ${range}, is announced and joined like any other`, () => {
    const address = Address.of(range);
    const { world, server, client, clientSide } = connected(
      { family: 'both', client: { endpoints: [], addAddrAcceptedLimit: 1 } },
      1,
    );
    server.stack.addAddress(world.now, 1, { address, prefixLength: address.family === 4 ? 32 : 128 });
    server.endpoints.add(world.now, { address, signal: true });
    server.stack.touchAll();
    world.run({ until: world.now + 1000 });
    equal(client.stack.counters.AddAddr, 1, 'announced');
    const joined = clientSide.mptcp!.subflows.find((subflow) => subflow.joined);
    equal(String(joined?.peer), String(address), 'joined');
  });
}

test('A6.10 a private address that means another host here: the join is refused, and nothing reaches that host', () => {
  const { world, client, clientNode, clientSide, near, server, far, target, hear } = listener();
  // A third host owns the address on the client's site, and listens to the same port.
  const stranger = Address.of('192.168.7.7');
  const interfaces = [{ name: 'eth0', mtu: 1500, addresses: [{ address: stranger, prefixLength: 24 }] }];
  const third = new SimulatedHost(interfaces, world.random.derive('third'));
  const socket = third.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  equal(third.sockets.bind(socket, undefined, 80), 0);
  equal(third.sockets.listen(socket, 8), 0);
  const interfaceId = client.stack.addInterface({
    name: 'eth9',
    mtu: 1500,
    addresses: [{ address: Address.of('192.168.7.1'), prefixLength: 24 }],
  });
  const thirdNode = world.addHost(third, { name: 'third' });
  world.connect({ host: clientNode, interfaceId }, { host: thirdNode, interfaceId: 0 }, path());
  hear(5, stranger);
  equal(third.stack.counters.MPJoinSynRx, 1, 'the join went astray');
  equal(third.stack.counters.MPJoinNoTokenFound, 1, 'its token means nothing there');
  equal(third.sockets.accept(socket) < 0, true, 'no connection came of it');
  deepEqual([clientSide.closeReason, clientSide.mptcp!.subflows.length], [-1, 1], 'the connection goes on');
  client.sockets.send(near, new Uint8Array(50_000), 0, 50_000);
  world.run({ until: world.now + 1000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 50_000, 'over its own path');
});

test('A6.16 REMOVE_ADDR is answered by nothing, and when it is lost it is not sent again', () => {
  for (const isLost of [false, true]) {
    let removals = 0;
    let answers = 0;
    const losing = () =>
      new FilteredLink((segment) => {
        if ((segment.mptcp.present & Mptcp.RemoveAddress) === 0) return false;
        removals++;
        return isLost;
      });
    const { world, client, server, clientSide, serverSide } = connected({
      paths: [path([], { aToB: { links: [losing()] } }), path([], { delay: 20, aToB: { links: [losing()] } })],
      onSegment: (_now, fromA, segment) => {
        const signals = Mptcp.AddAddress | Mptcp.RemoveAddress;
        if (!fromA && (segment.mptcp.present & signals) !== 0) answers++;
      },
    });
    // An id that is announced, and leads to no subflow whose FIN would tell the same.
    clientSide.mptcp!.withdraw(world.now, [77]);
    client.stack.touchAll();
    world.run({ until: world.now + 300_000 });
    equal(removals, 1, 'sent once');
    equal(answers, 0, 'nothing comes back for it');
    equal(client.stack.counters.RmAddrTx, 1, 'counted once');
    equal(server.stack.counters.RmAddr, isLost ? 0 : 1, 'heard unless it was lost');
    deepEqual([clientSide.closeReason, serverSide.closeReason], [-1, -1], 'the connection goes on');
  }
});

test('A6.20 who does not know the keys announces nothing, though it knows addresses, ports and sequence numbers', () => {
  const { world, client, clientSide, serverSide, serverAddress, first, hear, echoes, joins } = listener();
  // RFC 7430 §2: an attacker off the path would have the victim join where it sits.
  const evil = serverAddress(1);
  const signed = (id: number, address: Address, port: number) => {
    const segment = { mptcp: { addHmacHigh: 0, addHmacLow: 0 } } as Segment;
    announcing(first, id, address, port)(segment);
    return segment.mptcp;
  };
  const forge = (hmac: { addHmacHigh: number; addHmacLow: number }) => (segment: Segment) => {
    segment.mptcp.addHmacHigh = hmac.addHmacHigh;
    segment.mptcp.addHmacLow = hmac.addHmacLow;
  };
  hear(5, evil, 0, forge({ addHmacHigh: 0, addHmacLow: 0 }));
  // What was once signed is good for that id, address and port alone.
  hear(5, evil, 0, forge(signed(5, serverAddress(2), 0)));
  hear(5, evil, 0, forge(signed(6, evil, 0)));
  hear(5, evil, 0, forge(signed(5, evil, 8080)));
  hear(5, evil, 8080, forge(signed(5, evil, 0)));
  // The client's own announcement of the same, sent back to it.
  hear(5, evil, 0, forge(reflected(serverSide.mptcp!.subflows[0]!, evil)));
  equal(client.stack.counters.AddAddr, 6, 'all arrived');
  equal(client.stack.counters.AddAddrDrop, 6, 'and were dropped');
  deepEqual([echoes, joins], [[], []], 'without an echo, without a join');
  equal(clientSide.mptcp!.peerAddresses.length, 0, 'nothing is remembered');
  hear(5, evil);
  deepEqual(joins, ['10.0.2.2:80'], 'signed rightly it is joined');
  ok(world.now < 20_000);
});

/** The HMAC of the announcement as the client itself would make it: what the server expects. */
function reflected(subflow: Parameters<typeof announcing>[0], address: Address) {
  const segment = { mptcp: { addHmacHigh: 0, addHmacLow: 0 } } as Segment;
  announcing(subflow, 5, address)(segment);
  return segment.mptcp;
}

test('H1.42 more echoes than may wait at once: the rest are dropped and counted', () => {
  const { world, client, first, echoes } = listener();
  for (let id = 1; id <= 11; id++) {
    inject(world.now, client, first, announcing(first, id, Address.v4(0x0a000900 + id)));
  }
  equal(client.stack.counters.EchoAddTxDrop, 3, 'eight wait, the others had no place');
  world.run({ until: world.now + 1000 });
  equal(echoes.length, 8, 'eight went out');
  deepEqual([client.stack.counters.EchoAddTx, client.stack.counters.AddAddr], [8, 11], 'and are counted');
});

test('H1.51 REMOVE_ADDR of an id that means nothing is ignored and counted', () => {
  const { world, client, first, clientSide, serverAddress, hear } = listener();
  hear(5, serverAddress(1));
  const remove = (...ids: number[]): void => {
    inject(world.now, client, first, ({ mptcp }) => {
      mptcp.present = Mptcp.RemoveAddress;
      mptcp.removeCount = ids.length;
      mptcp.removeIds.set(ids);
    });
    world.run({ until: world.now + 1000 });
  };
  const joined = clientSide.mptcp!.subflows[1]!;
  remove(77, joined.peerId, 78);
  const { counters } = client.stack;
  deepEqual([counters.RmAddr, counters.RmAddrDrop], [3, 2], 'one of three was known');
  deepEqual(
    clientSide.mptcp!.subflows.filter((subflow) => subflow.established).map((subflow) => subflow.id),
    [1],
    'its subflow ended',
  );
  equal(clientSide.closeReason, -1, 'the connection goes on');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Capture, Delay, mbit, type PathOptions } from '../../src/link/index.ts';
import { pool } from '../../src/link/pool.ts';
import {
  addressOf,
  balanced,
  byPrefix,
  captureWorld,
  goodput,
  InvariantError,
  printReport,
  Router,
  report,
  twoHosts,
  World,
} from '../../src/sim/index.ts';
import { Address } from '../../src/wire/address.ts';
import { A, packet } from './link-packets.ts';
import { Blaster, Echo, Scribe } from './sim-hosts.ts';

function pair(path: PathOptions, seed = 1): { world: World; a: Scribe; b: Echo } {
  const world = new World({ seed });
  const a = new Scribe();
  const b = new Echo();
  const hostA = world.addHost(a, { name: 'a' });
  const hostB = world.addHost(b, { name: 'b' });
  world.connect({ host: hostA, interfaceId: 0 }, { host: hostB, interfaceId: 0 }, path);
  return { world, a, b };
}

test('packets take the time of their path, and the clock jumps from deadline to deadline', () => {
  const { world, a, b } = pair({ rate: 100, delay: 10 });
  a.send(0, 1);
  a.send(0, 2);
  assert.equal(world.run(), 'idle');
  assert.deepEqual(b.brief, [
    [20, 0, 1],
    [30, 0, 2],
  ]);
  assert.deepEqual(a.brief, [
    [40, 0, 1],
    [50, 0, 2],
  ]);
  assert.equal(world.now, 50);
  assert.equal(world.counters.events, 4);
  assert.equal(world.counters.delivered, 4);
  assert.equal(world.counters.sentBytes, 4000);
});

test('a run stops at a time, on a condition, after a number of events', () => {
  const { world, a, b } = pair({ delay: 10 });
  a.send(0, 1);
  assert.equal(world.run({ until: 5 }), 'until');
  assert.equal(world.now, 5);
  a.send(0, 2);
  assert.equal(world.run({ condition: () => b.seen.length === 2 }), 'condition');
  assert.equal(world.now, 15);
  assert.equal(world.run({ maxEvents: 1 }), 'maxEvents');
  assert.equal(world.now, 20);
  assert.equal(world.run({ until: 100 }), 'idle');
  assert.equal(world.now, 100);
  assert.deepEqual(a.brief, [
    [20, 0, 1],
    [25, 0, 2],
  ]);
});

test('actions run at their time, in order, and what they do takes effect at once', () => {
  const { world, a, b } = pair({ delay: 10 });
  const order: string[] = [];
  world.at(7, () => {
    order.push('second');
    a.send(0, 2);
  });
  world.at(3, () => {
    order.push('first');
    a.send(0, 1);
    world.at(3, () => order.push('nested'));
  });
  world.at(7, () => order.push('third'));
  world.run();
  assert.deepEqual(order, ['first', 'nested', 'second', 'third']);
  assert.deepEqual(b.brief, [
    [13, 0, 1],
    [17, 0, 2],
  ]);
  assert.throws(() => world.at(1, () => {}), RangeError);
});

test('deadlines of hosts are kept, and changed deadlines noticed', () => {
  const { world, a } = pair({ delay: 10 });
  a.alarm = 12;
  world.at(5, () => {
    a.alarm = 8;
  });
  world.run({ until: 20 });
  assert.deepEqual(a.timeouts, [8]);
  a.alarm = 25;
  world.run({ until: 30 });
  assert.deepEqual(a.timeouts, [8, 25]);
});

test('applications hear of ready sockets and may act on any host', () => {
  const world = new World();
  const a = new Scribe();
  const b = new Scribe();
  const heard: [number, number][] = [];
  let turns = 0;
  const hostA = world.addHost(a, {
    name: 'a',
    onReady: (now, descriptor) => {
      heard.push([now, descriptor]);
      if (descriptor === 7) b.send(0, 70);
      if (descriptor === 8) a.send(0, 80);
    },
  });
  const hostB = world.addHost(b, { name: 'b', onTurn: () => turns++ });
  world.connect({ host: hostA, interfaceId: 0 }, { host: hostB, interfaceId: 0 }, { delay: 1 });
  world.at(4, () => a.ready.push(7, 8));
  world.run();
  assert.deepEqual(heard, [
    [4, 7],
    [4, 8],
  ]);
  assert.deepEqual(a.brief, [[5, 0, 70]]);
  assert.deepEqual(b.brief, [[5, 0, 80]]);
  assert.ok(turns > 0);
});

test('one seed, one digest; another seed, another', () => {
  const run = (seed: number | string): string => {
    const world = new World({ seed });
    const a = world.addHost(new Blaster(0.7, 500, 2), { name: 'a' });
    const b = world.addHost(new Echo(), { name: 'b' });
    const path = { rate: 900, delay: 5, jitter: 3, loss: 0.05, reorder: 0.05, duplicate: 0.02, corrupt: 0.02 };
    world.connect({ host: a, interfaceId: 0 }, { host: b, interfaceId: 0 }, path);
    world.connect({ host: a, interfaceId: 1 }, { host: b, interfaceId: 1 }, { ...path, delay: 30 });
    world.run();
    assert.ok(world.counters.delivered > 600);
    return world.digest();
  };
  assert.equal(run(1), run(1));
  assert.equal(run('x'), run('x'));
  assert.notEqual(run(1), run(2));
  // The same on every machine and in every version: this is what the seed says.
  assert.equal(run(1), GOLDEN);
});

test('the digest sees times, directions, paths and every byte', () => {
  const run = (change: (a: Scribe, b: Scribe) => void, delay = 1): string => {
    const world = new World();
    const a = new Scribe();
    const b = new Scribe();
    const hostA = world.addHost(a, { name: 'a' });
    const hostB = world.addHost(b, { name: 'b' });
    for (const interfaceId of [0, 1]) {
      world.connect({ host: hostA, interfaceId }, { host: hostB, interfaceId }, { delay });
    }
    change(a, b);
    world.run();
    return world.digest();
  };
  const digests = [
    run(() => {}),
    run((a) => a.send(0, 1, 100)),
    run((a) => a.send(0, 2, 100)),
    run((a) => a.send(0, 1, 101)),
    run((a) => a.send(1, 1, 100)),
    run((_, b) => b.send(0, 1, 100)),
    run((a) => a.send(0, 1, 100), 1.0000001),
    run((a) => {
      const one = packet(`${A} . 1:101(100) ack 1 win 5`);
      one.bytes[one.end - 1] = 1;
      a.sendPacket(0, one);
    }),
    run((a) => a.sendPacket(0, packet(`${A} . 1:101(100) ack 1 win 5`))),
  ];
  assert.equal(new Set(digests).size, digests.length);
});

test('time that stands still is an error, not a hang', () => {
  class Endless extends Scribe {
    override pollTransmit(now: number, out: Parameters<Scribe['pollTransmit']>[1]): number {
      this.send(0, 1, 40);
      return super.pollTransmit(now, out);
    }
  }
  const world = new World({ instantLimit: 5000 });
  const a = world.addHost(new Endless(), { name: 'endless' });
  const b = world.addHost(new Scribe(), { name: 'b' });
  world.connect({ host: a, interfaceId: 0 }, { host: b, interfaceId: 0 }, { delay: 1 });
  assert.throws(
    () => world.run(),
    (error: unknown) =>
      error instanceof InvariantError && /time stands still at 0 ms.*endless still transmits/.test(error.message),
  );

  // Two that answer each other over a path without delay.
  const fast = new World({ instantLimit: 5000 });
  const one = new Echo();
  const hosts = [fast.addHost(one, { name: 'one' }), fast.addHost(new Echo(), { name: 'two' })] as const;
  fast.connect({ host: hosts[0], interfaceId: 0 }, { host: hosts[1], interfaceId: 0 }, {});
  one.send(0, 1);
  assert.throws(() => fast.run(), InvariantError);

  // A host whose deadline never passes.
  class Stuck extends Scribe {
    override pollTimeout(): number {
      return 3;
    }
  }
  const stuck = new World({ instantLimit: 5000 });
  stuck.addHost(new Stuck(), { name: 'stuck' });
  assert.throws(() => stuck.run(), /stuck still has a deadline/);
});

test('packets for an interface without a path are counted; an interface takes one path', () => {
  const { world, a } = pair({ delay: 1 });
  a.send(5, 1);
  world.run();
  assert.equal(world.counters.unattached, 1);
  assert.equal(world.counters.sent, 0);
  const [hostA, hostB] = world.hosts as [(typeof world.hosts)[0], (typeof world.hosts)[0]];
  assert.throws(
    () => world.connect({ host: hostA, interfaceId: 0 }, { host: hostB, interfaceId: 3 }, {}),
    /interface 0 of a has a path already/,
  );
});

test('any two links make a path', () => {
  const world = new World();
  const a = new Scribe();
  const b = new Scribe();
  const hostA = world.addHost(a, { name: 'a' });
  const hostB = world.addHost(b, { name: 'b' });
  const links = { aToB: new Delay({ delay: 2 }), bToA: new Delay({ delay: 9 }) };
  world.connect({ host: hostA, interfaceId: 0 }, { host: hostB, interfaceId: 0 }, links);
  a.send(0, 1);
  b.send(0, 2);
  world.run();
  assert.deepEqual(b.brief, [[2, 0, 1]]);
  assert.deepEqual(a.brief, [[9, 0, 2]]);
});

test('segments sent alternately over a short and a long path arrive reordered across the two', () => {
  const { world, client, server } = twoHosts({
    host: () => new Scribe(),
    paths: [
      { rate: mbit(10), delay: 5 },
      { rate: mbit(10), delay: 40 },
    ],
  });
  for (let number = 0; number < 6; number++) client.send(number % 2, number);
  world.run();
  assert.deepEqual(
    server.seen.map(({ number }) => number),
    [0, 2, 4, 1, 3, 5],
  );
  assert.ok(server.seen.every(({ interfaceId, number }) => interfaceId === number % 2));
});

test('two hosts have an interface with addresses for each path', () => {
  const configurations: Record<string, unknown[]> = {};
  const hosts = twoHosts({
    seed: 4,
    segmentationOffload: true,
    host: (name, interfaces) => {
      configurations[name] = interfaces.map((one) => [
        one.name,
        one.mtu,
        one.segmentationOffload,
        ...one.addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`),
      ]);
      return new Scribe();
    },
    paths: [{ delay: 1 }, { delay: 2, mtu: 1400 }],
  });
  assert.deepEqual(configurations, {
    client: [
      ['eth0', 1500, true, '10.0.1.1/24', 'fd00:0:0:1::1/64'],
      ['eth1', 1400, true, '10.0.2.1/24', 'fd00:0:0:2::1/64'],
    ],
    server: [
      ['eth0', 1500, true, '10.0.1.2/24', 'fd00:0:0:1::2/64'],
      ['eth1', 1400, true, '10.0.2.2/24', 'fd00:0:0:2::2/64'],
    ],
  });
  assert.equal(hosts.clientAddress(1).toString(), '10.0.2.1');
  assert.equal(hosts.serverAddress(0, 6).toString(), 'fd00:0:0:1::2');
  hosts.paths[0]!.setUp(0, false);
  hosts.client.send(0, 1);
  hosts.client.send(1, 2);
  hosts.world.run();
  assert.deepEqual(hosts.server.brief, [[2, 1, 2]]);
});

test('large packets are cut on the way and counted as what they stand for', () => {
  const { world, client, server } = twoHosts({ host: () => new Scribe(), paths: [{ rate: 1000, delay: 1 }] });
  const large = packet(`${A} P. 1:5001(5000) ack 1 win 500`);
  large.gsoSize = 1400;
  client.sendPacket(0, large);
  world.run();
  assert.deepEqual(
    server.seen.map(({ length, gsoSize }) => [length, gsoSize]),
    [
      [1440, 0],
      [1440, 0],
      [1440, 0],
      [840, 0],
    ],
  );
  assert.equal(report(world).links[0]!.sent, 4);
});

test('a router shares a bottleneck, counts hops down and knows no way for the rest', () => {
  const world = new World();
  const [one, two, sink] = [new Scribe(), new Scribe(), new Scribe()];
  const router = new Router(byPrefix([{ destination: Address.of('10.0.1.0'), prefixLength: 24, interfaceId: 2 }]));
  const hosts = [one, two, sink].map((host, index) => world.addHost(host, { name: `host ${index}` }));
  const middle = world.addHost(router, { name: 'router' });
  hosts.forEach((host, index) => {
    const path = index === 2 ? { rate: 140, delay: 1 } : { delay: 1 };
    world.connect({ host, interfaceId: 0 }, { host: middle, interfaceId: index }, path);
  });
  const text = `${A} . 1:101(100) ack 1 win 500`;
  one.sendPacket(0, packet(text));
  two.sendPacket(0, packet(text));
  one.sendPacket(0, packet(text.replace('> 10.0.1.2', '> 10.0.9.2')));
  const last = packet(text.replace(' . 1', ' [ttl 1] . 1'));
  two.sendPacket(0, last);
  const lengths: string[] = [];
  world.observe({
    onDeliver: (now, path, fromA, seen) => {
      if (!fromA) lengths.push(`${now} ${path.name} ${seen.view.getUint8(seen.start + 8)}`);
    },
  });
  world.run();
  assert.deepEqual(lengths, ['3 path 3 63', '4 path 3 63']);
  assert.equal(sink.seen.length, 2);
  assert.equal(router.unroutable, 1);
  assert.equal(router.expired, 1);
  assert.equal(router.forwarded, 2);
});

test('a load balancer spreads connections over backends and each connection stays', () => {
  const world = new World();
  const client = new Scribe();
  const backends = [new Echo(), new Echo(), new Echo()];
  const shared = Address.of('10.0.1.2');
  const own = byPrefix([{ destination: Address.of('10.0.7.3'), prefixLength: 32, interfaceId: 3 }]);
  const balancer = new Router(balanced(shared, [1, 2, 3], own));
  const middle = world.addHost(balancer, { name: 'balancer' });
  world.connect(
    { host: world.addHost(client, { name: 'client' }), interfaceId: 0 },
    { host: middle, interfaceId: 0 },
    { delay: 1 },
  );
  backends.forEach((backend, index) => {
    const host = world.addHost(backend, { name: `backend ${index}` });
    world.connect({ host: middle, interfaceId: index + 1 }, { host, interfaceId: 0 }, { delay: 1 });
  });
  const counts = (): number[] => backends.map((backend) => backend.seen.length);
  for (let port = 1; port <= 60; port++) client.sendPacket(0, packet(`10.0.1.1:${port} > 10.0.1.2:80 S 0:0(0) win 5`));
  world.run();
  const first = counts();
  assert.ok(
    first.every((count) => count > 8),
    `${first}`,
  );
  for (let port = 1; port <= 60; port++)
    client.sendPacket(0, packet(`10.0.1.1:${port} > 10.0.1.2:80 . 1:1(0) ack 1 win 5`));
  world.run();
  assert.deepEqual(
    counts(),
    first.map((count) => 2 * count),
  );
  // A backend's own address leads to it alone.
  for (let port = 1; port <= 9; port++) client.sendPacket(0, packet(`10.0.1.1:${port} > 10.0.7.3:80 S 0:0(0) win 5`));
  world.run();
  assert.deepEqual(counts(), [2 * first[0]!, 2 * first[1]!, 2 * first[2]! + 9]);
});

test('a report counts what each link did', () => {
  const world = new World({ seed: 3 });
  const source = world.addHost(new Blaster(1, 200), { name: 'source' });
  const sink = world.addHost(new Scribe(), { name: 'sink' });
  const path = { name: 'up', rate: 500, delay: 5, queue: 4000, loss: 0.1 };
  world.connect({ host: source, interfaceId: 0 }, { host: sink, interfaceId: 0 }, path);
  world.run();
  const figures = report(world);
  const [there, back] = figures.links as [(typeof figures.links)[0], (typeof figures.links)[0]];
  assert.equal(there.from, 'source');
  assert.equal(there.sent, 200);
  assert.equal(there.sent, there.received + there.dropped);
  assert.ok(there.lost > 5 && there.queueFull > 5 && there.maxQueue <= 4000 && there.maxQueue > 2500);
  assert.ok(there.utilisation > 0.9 && there.utilisation <= 1);
  assert.equal(back.sent, 0);
  assert.equal(figures.digest, world.digest());
  const table = printReport(figures).split('\n');
  assert.equal(table.length, 5);
  assert.match(table[1]!, /^up +source > sink +200 +\d+ +\d+ +\d\.\d\d +\d\d %/);
  assert.equal(goodput(1_250_000, 1000), 10);
});

test('a capture of a world has an interface for each path and both directions', () => {
  const { world, client, server } = twoHosts({
    host: (name) => (name === 'client' ? new Scribe() : new Echo()),
    paths: [
      { delay: 1, loss: 0 },
      { delay: 2, aToB: { loss: 1 } },
    ],
  });
  let bytes = 0;
  const capture = new Capture((chunk) => {
    bytes += chunk.length;
  });
  captureWorld(world, capture);
  client.send(0, 1);
  client.send(1, 2);
  world.run();
  assert.equal(server.seen.length, 1);
  // Both packets sent, lost or not, and one answer.
  assert.equal(capture.packets, 3);
  assert.ok(bytes > 3000);
});

test('a world gives back every buffer', () => {
  const before = pool.taken;
  const { world } = twoHosts({
    host: (name) => (name === 'client' ? new Blaster(0.3, 300, 2) : new Echo()),
    paths: [
      { rate: 800, delay: 1, loss: 0.1, duplicate: 0.1, reorder: 0.1 },
      { delay: 2, schedule: [[30, false]] },
    ],
  });
  world.run();
  assert.equal(pool.taken, before);
});

test('addresses of paths', () => {
  assert.equal(addressOf(4, 0, 1).toString(), '10.0.1.1');
  assert.equal(addressOf(6, 3, 2).toString(), 'fd00:0:0:4::2');
});

/** Changes only when paths or the generator mean something else by the same options: say so in the commit. */
const GOLDEN = '56367ecf7af03009';

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/sim/random.ts';
import { BlackHoles } from '../../src/stack/black-hole.ts';
import { InitialSequences } from '../../src/stack/initial-sequence.ts';
import { Interfaces } from '../../src/stack/interfaces.ts';
import { Ports } from '../../src/stack/ports.ts';
import type { InterfaceConfig } from '../../src/stack/seams.ts';
import { Tuple } from '../../src/tcp/endpoint.ts';
import { Address } from '../../src/wire/address.ts';

const of = Address.of;

function host(
  ...configs: (Pick<InterfaceConfig, 'name' | 'routes'> & { addresses: [string, number][] })[]
): Interfaces {
  const interfaces = new Interfaces();
  for (const { name, addresses, routes = [] } of configs) {
    interfaces.add({
      name,
      mtu: 1500,
      routes,
      addresses: addresses.map(([address, prefixLength]) => ({ address: of(address), prefixLength })),
    });
  }
  return interfaces;
}

function way(interfaces: Interfaces, peer: string, local?: string): string | undefined {
  const route = interfaces.route(of(peer), local === undefined ? undefined : of(local));
  return route === undefined ? undefined : `${route.interface.name} ${route.local}`;
}

test('C49 the source address decides the interface; without one the longest prefix, then the metric', () => {
  const interfaces = host(
    {
      name: 'wifi',
      addresses: [
        ['10.0.1.1', 24],
        ['fd00:1::1', 64],
      ],
      routes: [{ destination: of('0.0.0.0'), prefixLength: 0, metric: 200 }],
    },
    {
      name: 'lte',
      addresses: [['10.0.2.1', 24]],
      routes: [
        { destination: of('0.0.0.0'), prefixLength: 0, metric: 100 },
        { destination: of('192.0.2.0'), prefixLength: 24 },
      ],
    },
    { name: 'vpn', addresses: [['10.0.3.1', 24]], routes: [{ destination: of('192.0.2.128'), prefixLength: 25 }] },
  );
  assert.equal(way(interfaces, '10.0.1.9'), 'wifi 10.0.1.1', 'on the link');
  assert.equal(way(interfaces, '10.0.3.9'), 'vpn 10.0.3.1');
  assert.equal(way(interfaces, '8.8.8.8'), 'lte 10.0.2.1', 'the better of two default routes');
  assert.equal(way(interfaces, '192.0.2.1'), 'lte 10.0.2.1');
  assert.equal(way(interfaces, '192.0.2.200'), 'vpn 10.0.3.1', 'the longer prefix');
  assert.equal(way(interfaces, '8.8.8.8', '10.0.1.1'), 'wifi 10.0.1.1', 'the path that the source pins');
  assert.equal(way(interfaces, '10.0.1.9', '10.0.2.1'), 'lte 10.0.2.1', 'even against the prefix');
  assert.equal(way(interfaces, '8.8.8.8', '10.9.9.9'), undefined, 'no address of ours');
  assert.equal(way(interfaces, 'fd00:9::1', '10.0.1.1'), undefined, 'another family');
  assert.equal(way(interfaces, 'fd00:9::1'), 'wifi fd00:1::1', 'the only one with IPv6');
});

test('C49 an interface that is down leads nowhere', () => {
  const interfaces = host({ name: 'a', addresses: [['10.0.1.1', 24]] }, { name: 'b', addresses: [['10.0.2.1', 24]] });
  assert.equal(way(interfaces, '10.0.1.9'), 'a 10.0.1.1');
  interfaces.byName('a')!.up = false;
  assert.equal(way(interfaces, '10.0.1.9'), 'b 10.0.2.1');
  assert.equal(way(interfaces, '10.0.1.9', '10.0.1.1'), undefined);
  interfaces.remove(interfaces.byName('b')!.id);
  assert.equal(way(interfaces, '10.0.1.9'), undefined);
});

test('C49 of the addresses of an interface the one with the destination’s prefix is the source', () => {
  const interfaces = host({
    name: 'a',
    addresses: [
      ['10.0.1.1', 24],
      ['10.0.1.129', 25],
      ['172.16.0.1', 16],
    ],
  });
  assert.equal(way(interfaces, '10.0.1.5'), 'a 10.0.1.1');
  assert.equal(way(interfaces, '10.0.1.200'), 'a 10.0.1.129');
  assert.equal(way(interfaces, '172.16.9.9'), 'a 172.16.0.1');
});

test('an address is ours on whichever interface it is', () => {
  const interfaces = host({ name: 'a', addresses: [['10.0.1.1', 24]] }, { name: 'b', addresses: [['fd00::1', 64]] });
  const owns = (text: string): boolean => {
    const { family, w0, w1, w2, w3 } = of(text);
    return interfaces.owns(family, w0, w1, w2, w3);
  };
  assert.deepEqual(['10.0.1.1', 'fd00::1', '10.0.1.2', '::a00:101', 'fd00:1::1'].map(owns), [
    true,
    true,
    false,
    false,
    false,
  ]);
  assert.equal(interfaces.owner(of('fd00::1'))!.name, 'b');
});

test('C08 ephemeral ports begin at a random place of the range and skip what is taken', () => {
  const ports = new Ports(new SeededRandom(1));
  const drawn = new Set<number>();
  for (let round = 0; round < 500; round++) {
    const port = ports.ephemeral(() => true);
    assert.ok(port >= 32_768 && port <= 60_999);
    drawn.add(port);
  }
  assert.ok(drawn.size > 450, 'nobody can guess the next one');
  const fixed = new Ports({ word: () => 60_999 - 32_768 });
  assert.equal(
    fixed.ephemeral(() => true),
    60_999,
  );
  fixed.bind(undefined, 60_999, false);
  assert.equal(
    fixed.ephemeral(() => true),
    32_768,
    'behind the last comes the first',
  );
  assert.equal(
    fixed.ephemeral((port) => port > 40_000),
    40_001,
  );
  let asked = 0;
  const none = fixed.ephemeral(() => {
    asked++;
    return false;
  });
  assert.equal(none, 0);
  assert.equal(asked, 28_231, 'each was asked for once');
});

test('a port is bound once per address, unless both share it', () => {
  const ports = new Ports(new SeededRandom(1));
  const [one, two] = [of('10.0.0.1'), of('10.0.0.2')];
  assert.equal(ports.bind(one, 80, false), true);
  assert.equal(ports.bind(one, 80, false), false);
  assert.equal(ports.bind(undefined, 80, false), false, 'any address is also that one');
  assert.equal(ports.bind(two, 80, false), true);
  ports.release(one, 80);
  assert.equal(ports.bind(undefined, 80, false), false);
  ports.release(two, 80);
  assert.equal(ports.bind(undefined, 80, true), true);
  assert.equal(ports.bind(one, 80, false), false);
  assert.equal(ports.bind(one, 80, true), true);
});

test('A2.16, K24 a black hole pauses MP_CAPABLE for that destination, twice as long each time up to 64 times', () => {
  const holes = new BlackHoles();
  const [bad, good] = [of('10.0.0.1'), of('10.0.0.2')];
  let now = 0;
  for (let times = 1; times <= 9; times++) {
    holes.record(now, bad, 1000);
    const pause = 1000 * 2 ** Math.min(times - 1, 6);
    assert.equal(holes.isActive(now + pause - 1, bad), true, `time ${times}`);
    assert.equal(holes.isActive(now + pause, bad), false);
    assert.equal(holes.isActive(now, good), false);
    now += pause;
  }
  holes.clear(bad);
  holes.record(now, bad, 1000);
  assert.equal(holes.isActive(now + 999, bad), true);
  assert.equal(holes.isActive(now + 1000, bad), false, 'begins anew after a success');
  holes.record(now, good, 0);
  assert.equal(holes.isActive(now, good), false, '0: no memory');
});

test('A2.16 no more than 256 destinations are remembered', () => {
  const holes = new BlackHoles();
  for (let index = 0; index < 300; index++) holes.record(0, Address.v4(index + 1), 1000);
  const remembered = Array.from({ length: 300 }, (_nothing, index) => holes.isActive(1, Address.v4(index + 1)));
  assert.equal(remembered.indexOf(true), 44, 'the oldest went');
  assert.equal(remembered.filter(Boolean).length, 256);
});

test('C07, A2.26 initial sequence numbers: a clock of 4 µs plus a secret of each tuple', () => {
  const mine = new InitialSequences(new SeededRandom(1));
  const other = new InitialSequences(new SeededRandom(2));
  const [a, b] = [of('10.0.0.1'), of('10.0.0.2')];
  const tuple = new Tuple(a, 40_000, b, 80);
  const start = mine.isn(0, tuple);
  assert.equal(mine.isn(0, new Tuple(a, 40_000, b, 80)), start, 'steady');
  for (const ms of [1, 10.5, 60_000, 17_179_870]) {
    assert.equal((mine.isn(ms, tuple) - start) >>> 0, Math.floor(ms * 250) >>> 0, `${ms} ms`);
  }
  const different = [
    new Tuple(b, 40_000, a, 80),
    new Tuple(a, 40_001, b, 80),
    new Tuple(a, 40_000, b, 81),
    new Tuple(a, 80, b, 40_000),
    new Tuple(a, 40_000, of('10.0.0.3'), 80),
  ].map((one) => mine.isn(0, one));
  different.push(other.isn(0, tuple));
  assert.equal(new Set([start, ...different]).size, 7);
});

test('C12 timestamps of all connections between two hosts share an offset, which others cannot know', () => {
  const mine = new InitialSequences(new SeededRandom(1));
  const other = new InitialSequences(new SeededRandom(2));
  const [a, b] = [of('10.0.0.1'), of('10.0.0.2')];
  const offset = mine.timestampOffset(new Tuple(a, 40_000, b, 80));
  assert.equal(mine.timestampOffset(new Tuple(a, 41_000, b, 443)), offset);
  assert.notEqual(mine.timestampOffset(new Tuple(a, 40_000, of('10.0.0.3'), 80)), offset);
  assert.notEqual(other.timestampOffset(new Tuple(a, 40_000, b, 80)), offset);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  BurstLoss,
  Chain,
  Delay,
  Duplicate,
  dropped,
  type Link,
  Mtu,
  Path,
  Pipe,
  RandomLoss,
  Rate,
  Reorder,
  Schedule,
  type Stage,
} from '../../src/link/index.ts';
import { pool } from '../../src/link/pool.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { World } from '../../src/sim/world.ts';
import { Packet } from '../../src/wire/packet.ts';
import { numbered, numberOf } from '../unit/link-packets.ts';
import { Blaster, Echo } from '../unit/sim-hosts.ts';

/** A stage from plain data, so that a failing case prints what it was. */
type StageSpec =
  | { kind: 'pipe' }
  | { kind: 'delay'; delay: number; jitter: number; reordering: boolean }
  | { kind: 'rate'; rate: number; queue: number; changes: [number, number][] }
  | { kind: 'loss'; probability: number }
  | { kind: 'burst'; enter: number; leave: number }
  | { kind: 'duplicate'; probability: number }
  | { kind: 'reorder'; probability: number; distance: number; hold: number }
  | { kind: 'mtu'; mtu: number }
  | { kind: 'schedule'; changes: [number, boolean][] };

const milliseconds = fc.integer({ min: 0, max: 400 }).map((value) => value / 8);
const probability = fc.integer({ min: 0, max: 8 }).map((value) => value / 16);
const byTime = <T>(changes: [number, T][]): [number, T][] => changes.sort((one, other) => one[0] - other[0]);

const orderly: fc.Arbitrary<StageSpec>[] = [
  fc.constant({ kind: 'pipe' as const }),
  fc.record({
    kind: fc.constant('delay' as const),
    delay: milliseconds,
    jitter: milliseconds,
    reordering: fc.constant(false),
  }),
  fc.record({
    kind: fc.constant('rate' as const),
    rate: fc.integer({ min: 1, max: 2000 }),
    queue: fc.integer({ min: 0, max: 20_000 }),
    changes: fc.array(fc.tuple(milliseconds, fc.integer({ min: 1, max: 2000 })), { maxLength: 3 }).map(byTime),
  }),
  fc.record({ kind: fc.constant('loss' as const), probability }),
  fc.record({ kind: fc.constant('burst' as const), enter: probability, leave: probability }),
  fc.record({ kind: fc.constant('mtu' as const), mtu: fc.integer({ min: 100, max: 1500 }) }),
  fc.record({
    kind: fc.constant('schedule' as const),
    changes: fc.array(fc.tuple(milliseconds, fc.boolean()), { maxLength: 4 }).map(byTime),
  }),
];
const disorderly: fc.Arbitrary<StageSpec>[] = [
  fc.record({
    kind: fc.constant('delay' as const),
    delay: milliseconds,
    jitter: milliseconds,
    reordering: fc.constant(true),
  }),
  fc.record({ kind: fc.constant('duplicate' as const), probability }),
  fc.record({
    kind: fc.constant('reorder' as const),
    probability,
    distance: fc.integer({ min: 1, max: 5 }),
    hold: milliseconds,
  }),
];

function build(specs: readonly StageSpec[], seed: number): Chain {
  const random = new SeededRandom(seed);
  return new Chain(...specs.map((spec, index) => stageOf(spec, random.derive(String(index)))));
}

function stageOf(spec: StageSpec, random: SeededRandom): Stage {
  switch (spec.kind) {
    case 'pipe':
      return new Pipe();
    case 'delay':
      return new Delay(spec, random);
    case 'rate':
      return new Rate(spec);
    case 'loss':
      return new RandomLoss(spec.probability, random);
    case 'burst':
      return new BurstLoss(spec, random);
    case 'duplicate':
      return new Duplicate(spec.probability, random);
    case 'reorder':
      return new Reorder(spec, random);
    case 'mtu':
      return new Mtu(spec.mtu);
    case 'schedule':
      return new Schedule(spec.changes);
  }
}

/** Gaps between packets in ms, and their sizes. */
const traffic = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: 40 }).map((value) => value / 8),
    fc.integer({ min: 40, max: 1500 }),
  ),
  {
    maxLength: 60,
  },
);

type Arrival = [time: number, number: number, length: number];

/** Sends the traffic, polling punctually. */
function punctually(link: Link, packets: readonly [number, number][]): Arrival[] {
  const out = new Packet(2048);
  const seen: Arrival[] = [];
  const until = (time: number, inclusive: boolean): void => {
    for (let now = link.pollTimeout(); now < time || (inclusive && now === time); now = link.pollTimeout()) {
      while (link.receive(now, out)) seen.push([now, numberOf(out), out.length]);
    }
  };
  let now = 0;
  packets.forEach(([gap, size], number) => {
    now += gap;
    until(now, true);
    link.send(now, numbered(number, size));
  });
  until(Number.POSITIVE_INFINITY, false);
  return seen;
}

const SETTINGS = { numRuns: 150 };

test('what goes in comes out, is dropped under a name, or was duplicated', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(...orderly, ...disorderly), { maxLength: 6 }),
      traffic,
      fc.nat(),
      (specs, packets, seed) => {
        const before = pool.taken;
        const chain = build(specs, seed);
        const seen = punctually(chain, packets);
        const counters = chain.counters;
        assert.equal(counters.sent, packets.length);
        assert.equal(counters.received, seen.length);
        assert.equal(counters.received, counters.sent + counters.duplicated - dropped(counters));
        assert.equal(pool.taken, before);
        for (const [, number, length] of seen) assert.equal(length, packets[number]![1]);
      },
    ),
    SETTINGS,
  );
});

test('half way, what is neither out nor dropped is under way', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(...orderly, ...disorderly), { maxLength: 6 }),
      traffic,
      fc.nat(),
      milliseconds,
      (specs, packets, seed, at) => {
        const before = pool.taken;
        const chain = build(specs, seed);
        let now = 0;
        packets.forEach(([gap, size], number) => {
          now += gap;
          chain.send(now, numbered(number, size));
        });
        const out = new Packet(2048);
        let got = 0;
        while (chain.receive(now + at, out)) got++;
        const counters = chain.counters;
        assert.equal(pool.taken - before, counters.sent + counters.duplicated - dropped(counters) - got);
        punctually(chain, []);
      },
    ),
    SETTINGS,
  );
});

test('without reordering, packets come out in the order and never before they went in', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(...orderly), { maxLength: 6 }), traffic, fc.nat(), (specs, packets, seed) => {
      const times: number[] = [];
      packets.reduce((now, [gap]) => {
        times.push(now + gap);
        return now + gap;
      }, 0);
      const seen = punctually(build(specs, seed), packets);
      for (let index = 1; index < seen.length; index++) {
        assert.ok(seen[index]![1] > seen[index - 1]![1]);
        assert.ok(seen[index]![0] >= seen[index - 1]![0]);
      }
      for (const [at, number] of seen) assert.ok(at >= times[number]!);
    }),
    SETTINGS,
  );
});

test('late polling changes nothing but when packets are seen', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(...orderly, ...disorderly), { maxLength: 6 }),
      traffic,
      fc.nat(),
      (specs, packets, seed) => {
        const seen = punctually(build(specs, seed), packets);
        const late = build(specs, seed);
        let now = 0;
        packets.forEach(([gap, size], number) => {
          now += gap;
          late.send(now, numbered(number, size));
        });
        const out = new Packet(2048);
        const order: number[] = [];
        while (late.receive(now + 1e9, out)) order.push(numberOf(out));
        assert.deepEqual(
          order,
          seen.map(([, number]) => number),
        );
      },
    ),
    SETTINGS,
  );
});

test('no window of time lets more bytes through than the rate, and one packet', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 50, max: 2000 }),
      fc.integer({ min: 0, max: 30_000 }),
      traffic,
      (rate, queue, packets) => {
        const link = new Chain(new Delay({ delay: 3 }), new Rate({ rate, queue }), new Delay({ delay: 7 }));
        const seen = punctually(link, packets);
        for (let from = 0; from < seen.length; from++) {
          let bytes = 0;
          for (let to = from + 1; to < seen.length; to++) {
            // From the end of one packet to the end of another, exactly what lies between was sent.
            bytes += seen[to]![2];
            assert.ok(bytes <= (seen[to]![0] - seen[from]![0]) * rate + 1e-6);
          }
        }
      },
    ),
    SETTINGS,
  );
});

test('a transmitter is never idle while something waits', () => {
  fc.assert(
    fc.property(fc.integer({ min: 50, max: 2000 }), traffic, (rate, packets) => {
      const seen = punctually(new Rate({ rate, queue: 1e9 }), packets);
      let now = 0;
      let free = 0;
      packets.forEach(([gap, size], index) => {
        now += gap;
        free = Math.max(free, now) + size / rate;
        assert.ok(Math.abs(seen[index]![0] - free) < 1e-6);
      });
      assert.equal(seen.length, packets.length);
    }),
    SETTINGS,
  );
});

test('one seed gives one run of a world, whatever the paths', () => {
  const path = fc.record({
    rate: fc.integer({ min: 100, max: 5000 }),
    delay: milliseconds,
    jitter: milliseconds,
    loss: probability,
    duplicate: probability,
    reorder: probability,
    queue: fc.integer({ min: 0, max: 50_000 }),
    mtu: fc.integer({ min: 600, max: 1500 }),
  });
  fc.assert(
    fc.property(fc.array(path, { minLength: 1, maxLength: 3 }), fc.nat(), (paths, seed) => {
      const run = (): [string, number, number] => {
        const world = new World({ seed });
        const a = world.addHost(new Blaster(1.3, 80, paths.length), { name: 'a' });
        const b = world.addHost(new Echo(), { name: 'b' });
        for (const [interfaceId, options] of paths.entries()) {
          world.connect({ host: a, interfaceId }, { host: b, interfaceId }, options);
        }
        world.run();
        for (const { links } of world.paths) {
          for (const { counters } of [links.aToB, links.bToA]) {
            assert.equal(counters.received, counters.sent + counters.duplicated - dropped(counters));
          }
        }
        return [world.digest(), world.now, world.counters.delivered];
      };
      assert.deepEqual(run(), run());
    }),
    { numRuns: 40 },
  );
});

test('up and down by plan and by command agree', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(milliseconds, fc.boolean()), { maxLength: 5 }).map(byTime),
      traffic,
      (changes, packets) => {
        const random = new SeededRandom(1);
        const streams = (name: string): SeededRandom => random.derive(name);
        const planned = new Path({ rate: 1000, delay: 5, schedule: changes }, streams);
        const commanded = new Path({ rate: 1000, delay: 5 }, streams);
        const out = new Packet(2048);
        const seen: number[] = [];
        let now = 0;
        let next = 0;
        const commandUntil = (time: number): void => {
          for (; next < changes.length && changes[next]![0] <= time; next++) {
            const [at, isUp] = changes[next]!;
            commanded.setUp(at, isUp);
          }
        };
        packets.forEach(([gap, size], number) => {
          now += gap;
          commandUntil(now);
          commanded.aToB.send(now, numbered(number, size));
        });
        commandUntil(Number.POSITIVE_INFINITY);
        while (commanded.aToB.receive(1e9, out)) seen.push(numberOf(out));
        assert.deepEqual(
          punctually(planned.aToB, packets).map(([, number]) => number),
          seen,
        );
      },
    ),
    SETTINGS,
  );
});

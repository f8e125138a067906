import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ReceiveRing } from '../../src/tcp/receive-ring.ts';
import { bytesFrom } from '../script/harness.ts';

test('C37 an empty ring owns no memory', () => {
  const ring = new ReceiveRing(131_072, 6_291_456);
  equal(ring.capacity, 0);
  equal(ring.window(1), 131_072);
  deepEqual(ring.peek(), new Uint8Array(0));
  equal(ring.readInto(new Uint8Array(10), 0, 10), 0);
});

test('C37 bytes ahead of a gap are in their place when it closes', () => {
  const ring = new ReceiveRing(1000, 1000);
  equal(ring.write(0, 101, bytesFrom(101, 100), 0, 100), 100);
  equal(ring.readable, 0);
  equal(ring.write(0, 1, bytesFrom(1, 100), 0, 100), 100);
  ring.advance(0, 201);
  equal(ring.readable, 200);
  const out = new Uint8Array(250);
  equal(ring.copyOut(out, 25, 225), 200);
  equal(ring.readInto(out, 25, 225), 200);
  deepEqual(out.subarray(25, 225), bytesFrom(1, 200));
  equal(ring.readable, 0);
});

test('C38 no more than the limit is taken', () => {
  const ring = new ReceiveRing(1000, 1000);
  equal(ring.write(0, 901, bytesFrom(901, 200), 0, 200), 100);
  equal(ring.write(0, 1001, bytesFrom(1001, 1), 0, 1), 0);
  equal(ring.window(1), 1000);
  equal(ring.window(901), 100);
  equal(ring.window(1001), 0);
  equal(ring.window(2000), 0);
  ok(ring.capacity <= 4096);
});

test('C37 what lies before the reader is not written', () => {
  const ring = new ReceiveRing(1000, 1000);
  ring.write(0, 1, bytesFrom(1, 10), 0, 10);
  ring.advance(0, 11);
  ring.consume(10);
  equal(ring.write(0, 5, bytesFrom(5, 3), 0, 3), 0);
  throws(() => ring.consume(1), RangeError);
});

test('C38 autotuning: a reader that takes more than half of the limit in a round trip doubles it', () => {
  const ring = new ReceiveRing(10_000, 100_000);
  const pass = (now: number, bytes: number) => {
    const offset = ring.next;
    equal(ring.write(now, offset, bytesFrom(offset, bytes), 0, bytes), bytes);
    ring.advance(now, offset + bytes);
    ring.consume(bytes);
    return ring.adjust(now, 100);
  };
  equal(pass(0, 1000), false);
  equal(pass(50, 6000), false, 'the round trip is not over');
  equal(pass(100, 1000), true);
  ok(ring.limit > 14_000 && ring.limit <= 100_000, `${ring.limit}`);
  const before = ring.limit;
  equal(pass(200, 100), false, 'a slow reader');
  equal(ring.limit, before);
  equal(ring.adjust(300, 0), false, 'the round trip is not known');
});

test('C38 a limit set by hand ends autotuning, and what was held or offered stays', () => {
  const ring = new ReceiveRing(10_000, 100_000);
  ring.write(0, 1, bytesFrom(1, 5000), 0, 5000);
  ring.advance(0, 5001);
  ring.setLimit(2000);
  equal(ring.maximum, 2000);
  equal(ring.readable, 5000);
  // The right edge that the peer knows stands until reading has come within the new limit of it.
  for (const [count, limit] of [
    [0, 10_000],
    [5000, 5000],
  ] as const) {
    ring.consume(count);
    equal(ring.limit, limit);
    equal(ring.read + ring.limit, 10_001);
  }
  ring.write(0, 5001, bytesFrom(5001, 5000), 0, 5000);
  ring.advance(0, 10_001);
  ring.consume(5000);
  equal(ring.limit, 2000);
  ring.setLimit(4000);
  equal(ring.limit, 4000);
});

test('C38 memory that a burst took is given back', () => {
  const ring = new ReceiveRing(1_000_000, 1_000_000);
  ring.write(0, 1, bytesFrom(1, 500_000), 0, 500_000);
  ring.advance(0, 500_001);
  ring.consume(500_000);
  for (let count = 0; count < 100 && ring.capacity > 65_536; count++) {
    ring.write(0, ring.next, bytesFrom(ring.next, 10), 0, 10);
    ring.advance(0, ring.next + 10);
    ring.consume(10);
  }
  ok(ring.capacity <= 65_536, `${ring.capacity} bytes`);
  ring.close();
  equal(ring.capacity, 0);
  equal(ring.window(ring.next), 0);
});

test('C37 the ring against an array, any order of writes and reads, beyond 2^32', () => {
  const operations = fc.array(
    fc.record({
      ahead: fc.nat(3000),
      length: fc.integer({ min: 1, max: 1500 }),
      read: fc.nat(4000),
      peek: fc.boolean(),
    }),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(operations, fc.constantFrom(1, 2 ** 31 - 500, 2 ** 32 - 700, 2 ** 40), (steps, origin) => {
      const ring = new ReceiveRing(4000, 4000);
      ring.read = origin;
      ring.next = origin;
      ring.write(0, origin, bytesFrom(origin, 0), 0, 0);
      (ring as unknown as { furthest: number }).furthest = origin;
      const present = new Set<number>();
      for (const step of steps) {
        const offset = ring.next + step.ahead;
        const taken = ring.write(0, offset, bytesFrom(offset - 3, step.length + 3), 3, step.length);
        equal(taken, Math.max(0, Math.min(step.length, ring.read + 4000 - offset)));
        for (let at = offset; at < offset + taken; at++) present.add(at);
        let next = ring.next;
        while (present.has(next)) next++;
        ring.advance(0, next);
        equal(ring.readable, next - ring.read);
        if (step.peek) {
          const view = ring.peek();
          ok(view.length > 0 || ring.readable === 0);
          deepEqual(view, bytesFrom(ring.read, view.length));
          ring.consume(view.length);
        } else {
          const out = new Uint8Array(step.read);
          const start = ring.read;
          const count = ring.readInto(out, 0, step.read);
          equal(count, Math.min(step.read, next - start));
          deepEqual(out.subarray(0, count), bytesFrom(start, count));
        }
        ok(ring.capacity <= 4096);
      }
    }),
    { numRuns: 60 },
  );
});

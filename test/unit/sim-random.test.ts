import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeadlineHeap, SeededRandom } from '../../src/sim/index.ts';

test('a seed gives the same numbers everywhere', () => {
  const random = new SeededRandom(42);
  assert.deepEqual([random.word(), random.word(), random.word()], WORDS);
  const bytes = new Uint8Array(7);
  new SeededRandom(42).fill(bytes);
  const [first, second] = WORDS as readonly [number, number];
  assert.deepEqual(
    [...bytes],
    [first, first >>> 8, first >>> 16, first >>> 24, second, second >>> 8, second >>> 16].map((word) => word & 255),
  );
});

test('numbers are uniform enough, and within bounds', () => {
  const random = new SeededRandom('uniform');
  const buckets = new Array<number>(16).fill(0);
  const bits = new Array<number>(32).fill(0);
  for (let draw = 0; draw < 32_000; draw++) {
    const value = random.next();
    assert.ok(value >= 0 && value < 1);
    buckets[Math.floor(value * 16)]!++;
    const word = random.word();
    assert.ok(Number.isInteger(word) && word >= 0 && word <= 0xffff_ffff);
    for (let bit = 0; bit < 32; bit++) bits[bit]! += (word >>> bit) & 1;
    assert.ok(random.below(3) < 3);
  }
  for (const count of buckets) assert.ok(Math.abs(count - 2000) < 200, `${buckets}`);
  for (const count of bits) assert.ok(Math.abs(count - 16_000) < 500, `${bits}`);
});

test('derived streams depend on seed and name, not on what was drawn', () => {
  const one = new SeededRandom(7);
  const other = new SeededRandom(7);
  other.word();
  assert.equal(one.derive('loss').word(), other.derive('loss').word());
  assert.notEqual(one.derive('loss').word(), one.derive('delay').word());
  assert.notEqual(new SeededRandom(7).derive('loss').word(), new SeededRandom(8).derive('loss').word());
});

test('the heap of deadlines agrees with sorting', () => {
  const random = new SeededRandom('heap');
  const heap = new DeadlineHeap();
  const deadlines: number[] = [];
  for (let id = 0; id < 50; id++) {
    assert.equal(heap.add(), id);
    deadlines.push(Number.POSITIVE_INFINITY);
  }
  for (let step = 0; step < 5000; step++) {
    const id = random.below(50);
    const deadline = random.below(4) === 0 ? Number.POSITIVE_INFINITY : random.below(30);
    heap.set(id, deadline);
    deadlines[id] = deadline;
    const least = Math.min(...deadlines);
    assert.equal(heap.firstDeadline, least);
    assert.equal(heap.first, deadlines.indexOf(least));
  }
});

/** As an implementation in another language gives them. */
const WORDS: readonly number[] = [2_008_313_079, 3_669_744_791, 1_476_466_560];

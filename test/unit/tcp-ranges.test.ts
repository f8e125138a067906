import { deepEqual, equal } from 'node:assert/strict';
import { test } from 'node:test';
import { Ranges } from '../../src/tcp/ranges.ts';

function list(ranges: Ranges): number[][] {
  return Array.from({ length: ranges.count }, (_, index) => [ranges.start(index), ranges.end(index)]);
}

test('C37 ranges merge what touches or overlaps, and tell what is new', () => {
  const ranges = new Ranges();
  equal(ranges.insert(10, 20), 10);
  equal(ranges.insert(30, 40), 10);
  equal(ranges.insert(20, 30), 10, 'closes the gap');
  deepEqual(list(ranges), [[10, 40]]);
  equal(ranges.insert(5, 45), 10);
  equal(ranges.insert(5, 45), 0);
  equal(ranges.insert(7, 7), 0, 'an empty range');
  equal(ranges.insert(9, 7), 0, 'a backward one');
  equal(ranges.insert(50, 60), 10);
  equal(ranges.insert(1, 100), 49);
  deepEqual(list(ranges), [[1, 100]]);
});

test('C37 ranges are cut out of the middle and from below', () => {
  const ranges = new Ranges();
  ranges.insert(0, 100);
  equal(ranges.remove(40, 60), 20);
  deepEqual(list(ranges), [
    [0, 40],
    [60, 100],
  ]);
  ranges.removeBelow(70);
  deepEqual(list(ranges), [[70, 100]]);
  equal(ranges.firstMissing(70), 100);
  equal(ranges.firstPresent(0), 70);
  ranges.removeBelow(1000);
  equal(ranges.count, 0);
});

test('C37 ranges hold offsets beyond 2^32, and thousands of gaps', () => {
  const ranges = new Ranges();
  const base = 2 ** 40;
  for (let index = 0; index < 5000; index++) ranges.insert(base + 2 * index, base + 2 * index + 1);
  equal(ranges.count, 5000);
  for (let index = 4999; index >= 0; index--) ranges.insert(base + 2 * index + 1, base + 2 * index + 2);
  deepEqual(list(ranges), [[base, base + 10_000]]);
});

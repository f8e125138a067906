import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Mappings, NO_MAPPING } from '../../src/mptcp/mappings.ts';

function listed(mappings: Mappings): number[][] {
  return Array.from({ length: mappings.count }, (_nothing, index) => [
    mappings.subflowStart(index),
    mappings.dataStart(index),
    mappings.length(index),
  ]);
}

test('A5.04 a mapping that repeats others, or extends them, says nothing new twice', () => {
  const mappings = new Mappings();
  assert.equal(mappings.insert(1, 101, 10), 0);
  assert.equal(mappings.insert(1, 101, 10), 0);
  assert.equal(mappings.insert(4, 104, 3), 0);
  assert.deepEqual(listed(mappings), [[1, 101, 10]]);
  assert.equal(mappings.insert(6, 106, 10), 1, 'the part behind is new');
  assert.deepEqual(listed(mappings), [
    [1, 101, 10],
    [11, 111, 5],
  ]);
  mappings.insert(30, 130, 5);
  mappings.insert(40, 140, 5);
  assert.equal(mappings.insert(20, 120, 22), 2, 'two that it covers and what lies between them');
  assert.deepEqual(listed(mappings), [
    [1, 101, 10],
    [11, 111, 5],
    [20, 120, 25],
  ]);
  assert.equal(mappings.find(42), 2);
  assert.equal(mappings.find(16), NO_MAPPING);
});

test('A5.04 a mapping that contradicts another is refused whole', () => {
  const mappings = new Mappings();
  mappings.insert(10, 110, 10);
  mappings.insert(30, 330, 10);
  for (const [start, data, length] of [
    [10, 111, 10],
    [5, 100, 6],
    [19, 119, 40],
    [1, 101, 60],
    [39, 139, 1],
  ] as const) {
    assert.equal(mappings.insert(start, data, length), NO_MAPPING);
    assert.deepEqual(listed(mappings), [
      [10, 110, 10],
      [30, 330, 10],
    ]);
  }
});

test('a mapping over thousands of small ones with gaps between them takes one pass', () => {
  const mappings = new Mappings();
  for (let index = 0; index < 8192; index++) mappings.insert(2 + 4 * index, 2 + 4 * index, 1);
  assert.equal(mappings.count, 8192);
  assert.equal(mappings.insert(1, 1, 65_535), 0);
  assert.deepEqual(listed(mappings), [[1, 1, 65_535]]);
});

test('the first mapping that ends beyond an offset, gaps or not', () => {
  const mappings = new Mappings();
  assert.equal(mappings.firstBeyond(1), 0, 'none there');
  for (const [start, length] of [
    [1, 10],
    [11, 5],
    [20, 1],
  ] as const)
    mappings.push(start, 1000 + start, length);
  assert.deepEqual(
    [0, 10, 11, 15, 16, 18, 20, 21, 99].map((offset) => mappings.firstBeyond(offset)),
    [0, 0, 1, 1, 2, 2, 2, 3, 3],
  );
});

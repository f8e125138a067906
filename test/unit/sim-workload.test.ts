import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPattern, fillPattern, patternByte } from '../../src/sim/workload.ts';

test('any part of a pattern can be made on its own, across the borders of its blocks', () => {
  const whole = new Uint8Array(200_000);
  fillPattern(7, 1000, whole, 0, whole.length);
  for (const [offset, length] of [
    [1000, 1],
    [65_536, 10],
    [65_530, 20],
    [131_000, 70_000],
  ] as const) {
    const part = new Uint8Array(length + 8);
    fillPattern(7, offset, part, 8, length);
    assert.deepEqual(part.subarray(8), whole.subarray(offset - 1000, offset - 1000 + length));
    assert.equal(checkPattern(7, offset, part.subarray(8)), -1);
  }
  for (let offset = 1000; offset < whole.length; offset += 997) {
    assert.equal(whole[offset - 1000], patternByte(7, offset));
  }
});

test('a byte that is wrong, missing, twice or of another stream is found', () => {
  const bytes = new Uint8Array(150_000);
  fillPattern(3, 50_000, bytes, 0, bytes.length);
  for (const at of [0, 15_535, 15_536, 81_072, 149_999]) {
    bytes[at]! ^= 0x10;
    assert.equal(checkPattern(3, 50_000, bytes), at);
    bytes[at]! ^= 0x10;
  }
  for (const [seed, offset] of [
    [4, 50_000],
    [3, 50_001],
    [3, 49_999],
    [3, 50_000 + 65_536],
    [3, 50_000 - 32_768],
  ] as const) {
    const found = checkPattern(seed, offset, bytes);
    assert.ok(found >= 0 && found < 64, `stream ${seed} from ${offset} passed ${found} bytes`);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SequenceSpace } from '../../src/wire/sequence.ts';

test('C04 offsets from the initial number go round 2^32 on the wire and not inside', () => {
  for (const initial of [0, 1, 0x7fff_fff0, 0x8000_0000, 0xffff_fff0, 0xffff_ffff]) {
    const space = new SequenceSpace(initial);
    for (const offset of [0, 1, 15, 16, 17, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 100, 5 * 2 ** 32 + 7, 2 ** 45]) {
      const wire = space.toWire(offset);
      assert.equal(wire, Number((BigInt(initial) + BigInt(offset)) % 2n ** 32n), `${initial} + ${offset}`);
      for (const distance of [0, 1, -1, 100_000, -100_000, 2 ** 31 - 1, -(2 ** 31)]) {
        const near = offset - distance;
        assert.equal(space.fromWire(wire, near), offset, `${initial} + ${offset}, seen from ${near}`);
      }
    }
  }
});

test('C04 what is half of the space away counts as before, never as ahead', () => {
  const space = new SequenceSpace(0xffff_ff00);
  assert.equal(space.fromWire(space.toWire(1000 + 2 ** 31), 1000), 1000 - 2 ** 31);
  assert.equal(space.fromWire(space.toWire(1000 + 2 ** 31 - 1), 1000), 1000 + 2 ** 31 - 1);
  assert.equal(space.fromWire(0x100, 0), 0x200, 'behind the wrap is ahead');
  assert.equal(space.fromWire(0xffff_fe00, 0), -0x100);
});

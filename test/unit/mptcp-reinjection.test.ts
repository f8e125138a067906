import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Reinjections } from '../../src/mptcp/reinjection.ts';

const SIZE = 64;

type Step =
  | { kind: 'add'; start: number; length: number; owner: number }
  | { kind: 'take'; count: number }
  | { kind: 'release'; offset: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('add' as const),
    start: fc.nat(SIZE - 1),
    length: fc.integer({ min: 1, max: 20 }),
    owner: fc.integer({ min: 1, max: 3 }),
  }),
  fc.record({ kind: fc.constant('take' as const), count: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ kind: fc.constant('release' as const), offset: fc.nat(SIZE) }),
);

/** Every range that is left, by taking all of it. */
function drain(reinjections: Reinjections): (number | undefined)[] {
  const owners = new Array<number | undefined>(SIZE + 20).fill(undefined);
  let before = -1;
  while (!reinjections.isEmpty) {
    const { start, end, owner } = reinjections;
    assert.ok(start > before - 1 && start < end, 'in order and not empty');
    owners.fill(owner, start, end);
    before = end;
    reinjections.take(end - start);
  }
  assert.equal(reinjections.bytes, 0);
  return owners;
}

test('data to send again: no byte twice, in order, the first owner stays; as a table of bytes would have it', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const reinjections = new Reinjections();
      const model = new Array<number | undefined>(SIZE + 20).fill(undefined);
      for (const one of steps) {
        if (one.kind === 'add') {
          reinjections.add(one.start, one.start + one.length, one.owner);
          for (let at = one.start; at < one.start + one.length; at++) model[at] ??= one.owner;
        } else if (one.kind === 'release') {
          reinjections.releaseBelow(one.offset);
          model.fill(undefined, 0, one.offset);
        } else if (!reinjections.isEmpty) {
          const { start } = reinjections;
          const count = Math.min(one.count, reinjections.end - start);
          assert.equal(
            start,
            model.findIndex((owner) => owner !== undefined),
          );
          assert.equal(reinjections.owner, model[start]);
          reinjections.take(count);
          model.fill(undefined, start, start + count);
        }
        assert.equal(reinjections.bytes, model.filter((owner) => owner !== undefined).length);
      }
      assert.deepEqual(drain(reinjections), model);
    }),
  );
});

test('nothing is left to send again after a clear', () => {
  const reinjections = new Reinjections();
  reinjections.add(5, 10, 1);
  reinjections.clear();
  assert.equal(reinjections.isEmpty, true);
  assert.equal(reinjections.bytes, 0);
});

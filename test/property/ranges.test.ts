import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Ranges } from '../../src/tcp/ranges.ts';

const SPAN = 60;

/** The same set, one flag per offset. */
class Plain {
  readonly flags: boolean[] = new Array<boolean>(SPAN + 1).fill(false);

  set(start: number, end: number, value: boolean): number {
    let changed = 0;
    for (let offset = start; offset < end; offset++) {
      if (this.flags[offset] !== value) changed++;
      this.flags[offset] = value;
    }
    return changed;
  }

  ranges(): [number, number][] {
    const found: [number, number][] = [];
    for (let offset = 0; offset <= SPAN; offset++) {
      if (!this.flags[offset]) continue;
      const last = found.at(-1);
      if (last !== undefined && last[1] === offset) last[1] = offset + 1;
      else found.push([offset, offset + 1]);
    }
    return found;
  }
}

const offset = fc.integer({ min: 0, max: SPAN });
const step = fc.tuple(fc.constantFrom('insert', 'remove', 'below', 'ask'), offset, offset);

test('C37 ranges do what a set of offsets does', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const ranges = new Ranges();
      const plain = new Plain();
      for (const [kind, one, other] of steps) {
        const start = Math.min(one, other);
        const end = Math.max(one, other);
        if (kind === 'insert') equal(ranges.insert(start, end), plain.set(start, end, true));
        else if (kind === 'remove') equal(ranges.remove(start, end), plain.set(start, end, false));
        else if (kind === 'below') {
          ranges.removeBelow(start);
          plain.set(0, start, false);
        }
        const expected = plain.ranges();
        equal(ranges.count, expected.length);
        for (let index = 0; index < expected.length; index++) {
          equal(ranges.start(index), expected[index]![0]);
          equal(ranges.end(index), expected[index]![1]);
        }
        equal(ranges.total, plain.flags.filter(Boolean).length);
        const within = plain.flags.slice(start, end);
        equal(ranges.covers(start, end), within.every(Boolean));
        equal(ranges.overlaps(start, end), within.some(Boolean));
        equal(ranges.has(start), plain.flags[start]);
        equal(
          ranges.indexOf(start),
          expected.findIndex(([left, right]) => left <= start && start < right),
        );
        let missing = start;
        while (plain.flags[missing]) missing++;
        equal(ranges.firstMissing(start), missing);
        const present = plain.flags.indexOf(true, start);
        equal(ranges.firstPresent(start), present < 0 ? Number.POSITIVE_INFINITY : present);
      }
      ranges.clear();
      equal(ranges.count + ranges.total, 0);
    }),
    { numRuns: 2000 },
  );
});

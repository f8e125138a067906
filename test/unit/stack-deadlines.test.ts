import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deadlines, type Timed } from '../../src/stack/deadlines.ts';

class Alarm implements Timed {
  deadline = Number.POSITIVE_INFINITY;
  heapIndex = -1;
  heapDeadline = Number.POSITIVE_INFINITY;
}

type Step =
  | { kind: 'set'; which: number; deadline: number }
  | { kind: 'remove'; which: number }
  | { kind: 'pass'; by: number };

const COUNT = 12;

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('set' as const),
      which: fc.nat(COUNT - 1),
      deadline: fc.oneof(fc.nat(100), fc.constant(Number.POSITIVE_INFINITY)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), which: fc.nat(COUNT - 1) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('pass' as const), by: fc.nat(30) }) },
);

test('C54 deadlines that move and go: what is due comes, each once, and nothing else; as a plain list would have it', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const deadlines = new Deadlines();
      const alarms = Array.from({ length: COUNT }, () => new Alarm());
      const filed = new Set<Alarm>();
      let now = 0;
      for (const one of steps) {
        if (one.kind === 'set') {
          const alarm = alarms[one.which]!;
          alarm.deadline = now + one.deadline;
          deadlines.update(alarm);
          filed.add(alarm);
        } else if (one.kind === 'remove') {
          deadlines.remove(alarms[one.which]!);
          filed.delete(alarms[one.which]!);
        } else {
          now += one.by;
          const due = new Set([...filed].filter((alarm) => alarm.deadline <= now));
          for (let popped = deadlines.pop(now); popped !== null; popped = deadlines.pop(now)) {
            assert.ok(due.delete(popped as Alarm), 'due, and not before');
            filed.delete(popped as Alarm);
          }
          assert.equal(due.size, 0, 'none was forgotten');
          const next = Math.min(Number.POSITIVE_INFINITY, ...[...filed].map((alarm) => alarm.deadline));
          assert.ok(deadlines.earliest <= next, 'never wakes too late');
          assert.ok(deadlines.earliest > now, 'nor at once for nothing');
        }
        assert.ok(deadlines.size <= COUNT);
      }
    }),
    { numRuns: 300 },
  );
});

test('C54 a deadline that is put off ten thousand times keeps one entry', () => {
  const deadlines = new Deadlines();
  const alarm = new Alarm();
  for (let at = 1; at <= 10_000; at++) {
    alarm.deadline = at;
    deadlines.update(alarm);
  }
  assert.equal(deadlines.size, 1);
  assert.equal(deadlines.earliest, 1, 'an early wake-up is allowed');
  assert.equal(deadlines.pop(9999), null);
  assert.equal(deadlines.earliest, 10_000, 'but only one');
  assert.equal(deadlines.pop(10_000), alarm);
  assert.equal(deadlines.size, 0);
});

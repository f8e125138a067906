import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Pacer, transmissionGoal } from '../../src/tcp/pacing.ts';
import { RttEstimator } from '../../src/tcp/rtt.ts';
import { TimerTable } from '../../src/tcp/timers.ts';

test('C19 RFC 6298: first sample, smoothing, variance, floor, ceiling', () => {
  const rtt = new RttEstimator(1000, 200, 120_000);
  equal(rtt.rto, 1000);
  ok(rtt.isUnknown);
  rtt.onSample(100, 1);
  equal(rtt.smoothed, 100);
  equal(rtt.variance, 50);
  equal(rtt.rto, 300);
  rtt.onSample(180, 1);
  // RTTVAR = 3/4 * 50 + 1/4 * |100 - 180|, SRTT = 7/8 * 100 + 1/8 * 180.
  equal(rtt.variance, 57.5);
  equal(rtt.smoothed, 110);
  equal(rtt.rto, 340);
  for (let index = 0; index < 200; index++) rtt.onSample(110, 1);
  ok(Math.abs(rtt.rto - 310) < 0.01, 'the floor is above the RTT');
  rtt.onSample(1_000_000, 1);
  equal(rtt.rto, 120_000);
});

test('C19 RFC 6298: the timeout doubles per expiry and falls back on a measurement', () => {
  const rtt = new RttEstimator(1000, 200, 5000);
  rtt.backOff();
  equal(rtt.rto, 2000);
  rtt.backOff();
  rtt.backOff();
  equal(rtt.rto, 5000);
  rtt.onSample(50, 1);
  equal(rtt.rto, 250);
  rtt.backOff();
  equal(rtt.rto, 500);
  equal(rtt.base, 250);
  rtt.endBackOff();
  equal(rtt.rto, 250);
});

test('C19 many samples per round trip do not wash the variance out', () => {
  const few = new RttEstimator(1000, 1, 120_000);
  const many = new RttEstimator(1000, 1, 120_000);
  for (const rtt of [few, many]) rtt.onSample(100, 1);
  few.onSample(100, 1);
  for (let index = 0; index < 50; index++) many.onSample(100, 50);
  ok(Math.abs(few.variance - many.variance) < 2);
});

test('C16 the minimum forgets what is older than five minutes', () => {
  const rtt = new RttEstimator(1000, 200, 120_000);
  rtt.onMinimumSample(0, 50);
  for (let now = 1000; now < 290_000; now += 1000) rtt.onMinimumSample(now, 80);
  equal(rtt.minimum, 50);
  for (let now = 290_000; now < 400_000; now += 1000) rtt.onMinimumSample(now, 90);
  ok(rtt.minimum >= 80 && rtt.minimum <= 90, `${rtt.minimum}`);
  for (let now = 400_000; now < 900_000; now += 1000) rtt.onMinimumSample(now, 100);
  equal(rtt.minimum, 100);
  rtt.onMinimumSample(900_001, 20);
  equal(rtt.minimum, 20);
});

test('C27 the pacer lets bytes out at the rate, with a millisecond of credit', () => {
  const pacer = new Pacer();
  ok(pacer.permits(0));
  pacer.onSent(1000, 500, 100);
  ok(!pacer.permits(1003.9));
  ok(pacer.permits(1004));
  pacer.onSent(1004, 500, 100);
  equal(pacer.nextAt, 1009);
  pacer.onSent(2000, 500, 0);
  equal(pacer.nextAt, 1009);
});

test('C27 one transmission: a millisecond’s worth, whole segments, two at least; more on short paths', () => {
  equal(transmissionGoal(0, 100, 1000, 64_000), 64_000);
  equal(transmissionGoal(100, 100, 1000, 64_000), 2000);
  equal(transmissionGoal(12_500, 100, 1000, 64_000), 12_000);
  equal(transmissionGoal(125_000, 100, 1000, 64_000), 64_000);
  equal(transmissionGoal(100, 0.1, 1000, 64_000), 64_000);
  equal(transmissionGoal(100, 0.6, 1000, 64_000), 32_000);
  equal(transmissionGoal(100, 100, 1000, 1000), 1000);
});

test('C54 a table of deadlines knows its earliest', () => {
  const timers = new TimerTable(3);
  equal(timers.earliest, Number.POSITIVE_INFINITY);
  timers.set(0, 30);
  timers.set(1, 20);
  timers.set(2, 40);
  equal(timers.earliest, 20);
  timers.set(1, 50);
  equal(timers.earliest, 30);
  equal(timers.take(0, 29), false);
  equal(timers.take(0, 30), true);
  equal(timers.earliest, 40);
  timers.clear(2);
  equal(timers.earliest, 50);
  ok(timers.isArmed(1));
  timers.clearAll();
  equal(timers.earliest, Number.POSITIVE_INFINITY);
});

import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Cubic } from '../../src/policy/congestion/cubic.ts';
import { HyStart } from '../../src/policy/congestion/hystart.ts';
import { availableCongestionControls, congestionControlByName } from '../../src/policy/congestion/registry.ts';
import { Reno } from '../../src/policy/congestion/reno.ts';
import type { AckSample, CongestionControl } from '../../src/tcp/seams.ts';

const SIZE = 1000;

function sample(bytes: number, changes: Partial<AckSample> = {}): AckSample {
  return {
    delivered: bytes,
    acknowledged: bytes,
    priorInFlight: 0,
    inFlight: 0,
    rtt: -1,
    smoothedRtt: 100,
    windowLimited: true,
    una: 1,
    nxt: 1,
    ...changes,
  };
}

/** A round trip's worth of ACKs of one segment each, evenly spaced. */
function round(control: CongestionControl, now: number, rtt: number, changes: Partial<AckSample> = {}): number {
  const count = Math.floor(control.window / SIZE);
  for (let index = 0; index < count; index++) {
    control.onAck(now + (rtt * (index + 1)) / count, sample(SIZE, { smoothedRtt: rtt, ...changes }));
  }
  return now + rtt;
}

test('C25 congestion controls are found by name', () => {
  ok(availableCongestionControls().includes('reno'));
  ok(availableCongestionControls().includes('cubic'));
  equal(congestionControlByName('cubic')!(SIZE, 10_000).name, 'cubic');
  equal(congestionControlByName('reno')!(SIZE, 10_000).window, 10_000);
  equal(congestionControlByName('vegetable'), undefined);
});

test('C22 Reno: doubles below ssthresh, a segment per window above, half on loss, one segment on a timeout', () => {
  const reno = new Reno(SIZE, 10_000);
  round(reno, 0, 100);
  equal(reno.window, 20_000);
  reno.onLoss(0, 20_000);
  equal(reno.slowStartThreshold, 10_000);
  reno.onRecovered(0);
  equal(reno.window, 10_000);
  round(reno, 0, 100);
  equal(reno.window, 11_000);
  reno.onTimeout(0, 11_000, true);
  equal(reno.window, SIZE);
  equal(reno.slowStartThreshold, 5500);
  reno.onTimeout(0, 1000, false);
  equal(reno.slowStartThreshold, 5500, 'once per series');
  // Slow start ends at the threshold exactly; the rest of the ACK counts for congestion avoidance.
  reno.onAck(0, sample(10_000));
  equal(reno.window, 6500);
  reno.onLoss(0, 100);
  equal(reno.slowStartThreshold, 2 * SIZE, 'two segments at least');
});

test('C22 Reno does not grow while it is not the window that limits', () => {
  const reno = new Reno(SIZE, 10_000);
  reno.onAck(0, sample(10_000, { windowLimited: false }));
  equal(reno.window, 10_000);
  const cubic = new Cubic(SIZE, 10_000);
  cubic.onAck(0, sample(10_000, { windowLimited: false }));
  equal(cubic.window, 10_000);
});

test('C20 an undone reduction restores the window, and idleness takes it to the initial one', () => {
  for (const control of [new Reno(SIZE, 10_000), new Cubic(SIZE, 10_000)]) {
    for (let index = 0; index < 3; index++) round(control, 0, 100);
    const before = control.window;
    control.onTimeout(1000, before, true);
    equal(control.window, SIZE);
    control.onUndo(1100);
    equal(control.window, before);
    equal(control.slowStartThreshold, Number.POSITIVE_INFINITY);
    control.onLoss(1200, before);
    control.onIdle(9000, 5000);
    equal(control.window, 10_000);
    ok(control.slowStartThreshold >= 0.5 * before);
  }
});

test('C24 CUBIC: multiplicative decrease by 0.7, fast convergence, two segments at least', () => {
  const cubic = new Cubic(SIZE, 100_000);
  cubic.onLoss(0, 100_000);
  equal(cubic.window, 70_000);
  equal(cubic.slowStartThreshold, 70_000);
  equal(cubic.peak, 100_000);
  cubic.onLoss(100, 70_000);
  ok(Math.abs(cubic.window - 49_000) < 1e-6);
  ok(Math.abs(cubic.peak - 70_000 * 0.85) < 1e-6, 'below the last peak: makes room');
  const small = new Cubic(SIZE, 2000);
  small.onLoss(0, 2000);
  equal(small.window, 2000);
});

test('C24 CUBIC: the window follows C (t - K)^3 + W_max (RFC 9438 equation 1)', () => {
  // Large and long: far from the Reno-friendly region.
  for (const [peak, rtt] of [
    [1000, 100],
    [5000, 50],
    [20_000, 200],
  ] as const) {
    const cubic = new Cubic(SIZE, peak * SIZE);
    cubic.onLoss(0, peak * SIZE);
    cubic.onRecovered(0);
    const delay = Math.cbrt((peak * 0.3) / 0.4);
    let now = 0;
    let checked = 0;
    while (now < 1000 * delay * 1.3) {
      now = round(cubic, now, rtt);
      const seconds = now / 1000;
      const expected = 0.4 * (seconds - delay) ** 3 + peak;
      // Within what one round trip changes: the RFC aims at the window one RTT ahead, and gets nearer per ACK.
      const change = Math.abs(0.4 * (seconds + rtt / 1000 - delay) ** 3 + peak - expected);
      const actual = cubic.window / SIZE;
      if (seconds > 5 * (rtt / 1000)) {
        ok(Math.abs(actual - expected) <= Math.max(change * 1.5, peak * 0.01), `${seconds} s: ${actual}, ${expected}`);
        checked++;
      }
    }
    ok(checked > 20);
  }
});

test('C24 CUBIC: on short paths it is as fast as Reno (RFC 9438 §4.3)', () => {
  const cubic = new Cubic(SIZE, 100_000);
  cubic.onLoss(0, 100_000);
  cubic.onRecovered(0);
  let now = 0;
  // alpha = 3 (1 - 0.7) / (1 + 0.7) segments per round trip, until the old window is reached.
  for (let index = 0; index < 20; index++) now = round(cubic, now, 1);
  const expected = 70 + 20 * (0.9 / 1.7);
  ok(Math.abs(cubic.window / SIZE - expected) < 0.5, `${cubic.window / SIZE} for ${expected}`);
});

test('C24 CUBIC: time without need does not count (RFC 9438 §5.8)', () => {
  const busy = new Cubic(SIZE, 1_000_000);
  const lazy = new Cubic(SIZE, 1_000_000);
  for (const cubic of [busy, lazy]) {
    cubic.onLoss(0, 1_000_000);
    cubic.onRecovered(0);
    round(cubic, 0, 100);
  }
  for (let now = 200; now <= 8000; now += 100) lazy.onAck(now, sample(SIZE, { windowLimited: false }));
  const before = lazy.window;
  round(lazy, 8000, 100);
  ok(lazy.window - before < 60 * SIZE, 'no leap after it');
  for (let now = 100; now < 8000; now += 100) round(busy, now, 100);
  ok(busy.window > lazy.window);
});

test('C26 HyStart++ leaves slow start when round trips lengthen, by way of a gentler growth', () => {
  const hystart = new HyStart();
  let nxt = 1;
  const trip = (rtt: number): boolean => {
    const end = nxt;
    nxt += 20_000;
    let over = false;
    for (let index = 0; index < 10; index++) if (hystart.onAck(end, nxt, rtt)) over = true;
    return over;
  };
  for (let index = 0; index < 4; index++) equal(trip(50), false);
  equal(hystart.divisor, 1);
  trip(52);
  equal(hystart.divisor, 1, 'less than the threshold');
  trip(60);
  equal(hystart.divisor, 4);
  trip(50);
  equal(hystart.divisor, 1, 'the rise had passed');
  trip(60);
  equal(hystart.divisor, 4);
  let rounds = 0;
  while (!trip(62)) ok(++rounds < 10);
  ok(rounds >= 3);
  hystart.restart(nxt);
  equal(hystart.divisor, 1);
});

test('C26 CUBIC ends its first slow start without a loss when delay grows', () => {
  const cubic = new Cubic(SIZE, 10_000);
  let nxt = 1;
  for (let trip = 0; trip < 12 && cubic.slowStartThreshold === Number.POSITIVE_INFINITY; trip++) {
    const una = nxt;
    nxt += cubic.window;
    const count = Math.floor(cubic.window / SIZE);
    for (let index = 0; index < count; index++) {
      cubic.onAck(trip * 100, sample(SIZE, { rtt: 50 + Math.max(0, trip - 3) * 10, una, nxt }));
    }
  }
  ok(cubic.slowStartThreshold < Number.POSITIVE_INFINITY);
  equal(Math.round(cubic.slowStartThreshold) <= Math.round(cubic.window), true);
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TcpCounters } from '../../src/tcp/counters.ts';
import { ReceiveRing } from '../../src/tcp/receive-ring.ts';
import { Receiver } from '../../src/tcp/receiver.ts';
import { RttEstimator } from '../../src/tcp/rtt.ts';
import type { ByteSink } from '../../src/tcp/seams.ts';
import { Segment } from '../../src/wire/segment.ts';
import { SequenceSpace } from '../../src/wire/sequence.ts';
import { bytesFrom, testConfig } from '../script/harness.ts';

function receiver(sink: ByteSink, windowScale = 0, offeredWindow = 4000): Receiver {
  return new Receiver(testConfig(), new TcpCounters(), new RttEstimator(1000, 200, 120_000), sink, {
    space: new SequenceSpace(0xffff_fff0),
    offeredWindow,
    windowScale,
    sackPermitted: true,
    segmentSize: 1460,
  });
}

/** A sink that checks what it is told, and whose room it shares with others. */
class CheckingSink implements ByteSink {
  readonly sharesWindow = false;
  readonly seen = new Set<number>();
  next = 1;
  room: number;

  constructor(room: number) {
    this.room = room;
  }

  write(_now: number, offset: number, bytes: Uint8Array, start: number, length: number): number {
    const taken = Math.max(0, Math.min(length, this.next + this.room - offset));
    deepEqual(bytes.subarray(start, start + taken), bytesFrom(offset, taken));
    for (let at = offset; at < offset + taken; at++) {
      ok(!this.seen.has(at), `byte ${at} is written once`);
      this.seen.add(at);
    }
    return taken;
  }

  advance(_now: number, offset: number): void {
    ok(offset > this.next, 'advance moves');
    for (let at = this.next; at < offset; at++) ok(this.seen.has(at), `byte ${at} was written`);
    this.next = offset;
  }

  window(next: number): number {
    return Math.max(0, this.next + this.room - next);
  }
}

test('C05 RFC 9293 table 6: the acceptability of segments', () => {
  const open = receiver(new ReceiveRing(1000, 1000), 0, 1000);
  const cases: [number, number, boolean][] = [
    [1, 1, true],
    [1000, 1000, true],
    [1001, 1001, true], // Right behind the window, and without octets: let through.
    [1002, 1002, false],
    [0, 0, false],
    [1, 11, true],
    [0, 1, false],
    [0, 2, true],
    [1000, 1010, true],
    [1001, 1011, false],
    [-5000, 5000, true],
    [2000, 2001, false],
  ];
  for (const [start, end, expected] of cases) equal(open.accepts(start, end), expected, `${start}:${end}`);
  const closed = receiver(new ReceiveRing(0, 0), 0, 0);
  equal(closed.accepts(1, 1), true);
  equal(closed.accepts(1, 2), false);
  equal(closed.accepts(2, 2), false);
});

test('C32 C11 what was offered is accepted even when the sink has lost its room since', () => {
  const sink = new CheckingSink(4000);
  const half = receiver(sink);
  sink.room = 100;
  equal(half.limit, 4001);
  half.onData(0, 1, bytesFrom(1, 1000), 0, 1000, 1000);
  equal(half.nxt, 101, 'but only what there is room for is taken');
  sink.room = 10_000;
  equal(half.limit, 10_101, 'room that appeared is accepted before it is offered');
});

test('C13 C37 any segments in any order: each byte once, in place, and nothing moves backwards', () => {
  const steps = fc.array(
    fc.record({
      offset: fc.integer({ min: -50, max: 5000 }),
      length: fc.integer({ min: 1, max: 1500 }),
      room: fc.integer({ min: 0, max: 6000 }),
      reply: fc.boolean(),
      fin: fc.boolean(),
    }),
    { maxLength: 80 },
  );
  fc.assert(
    fc.property(steps, fc.constantFrom(0, 3, 7), (list, scale) => {
      const sink = new CheckingSink(4000);
      const half = receiver(sink, scale);
      const unit = 2 ** scale;
      let edge = half.edge;
      let wire = 0;
      let now = 0;
      for (const { offset, length, room, reply, fin } of list) {
        now += 7;
        sink.room = room;
        const start = half.nxt + offset - 100;
        const before = half.nxt;
        if (start >= 1 && half.accepts(start, start + length)) {
          half.onData(now, start, bytesFrom(start, length), 0, length, length);
          if (fin && start + length > 3000) half.onFin(start + length);
        } else half.onUnacceptable(start, length);
        ok(half.nxt >= before);
        ok(half.nxt - (half.finished ? 1 : 0) === sink.next, 'what is acknowledged was written and advanced over');
        ok(half.edge >= edge, 'the edge does not shrink');
        edge = half.edge;
        if (half.held.count > 0) ok(half.held.start(0) > half.nxt, 'what is held lies behind a gap');
        equal(half.ackOwed, true, 'data never goes unanswered');
        if (!reply) continue;
        const segment = new Segment();
        half.fillBlocks(segment, 28);
        ok(segment.sackCount <= 3);
        for (let at = 0; at < segment.sackCount; at++) {
          const left = half.space.fromWire(segment.sackEdges[2 * at]!, half.nxt);
          const right = half.space.fromWire(segment.sackEdges[2 * at + 1]!, half.nxt);
          ok(left < right);
          for (let byte = left; byte < right; byte++) ok(sink.seen.has(byte), 'what a block says is here');
        }
        const field = half.advertise();
        ok(field >= 0 && field <= 65_535);
        ok(half.nxt + field * unit > wire - unit, 'on the wire the edge retreats by less than one unit');
        wire = Math.max(wire, half.nxt + field * unit);
        half.onAckSent(now, false);
        equal(half.ackOwed, false);
      }
    }),
    { numRuns: 150 },
  );
});

test('C30 the delay follows the pace of the peer, within its bounds', () => {
  const half = receiver(new ReceiveRing(10_000_000, 10_000_000), 7, 65_535);
  let now = 0;
  let next = 1;
  const arrive = (pause: number, length: number) => {
    now += pause;
    half.onData(now, next, bytesFrom(next, length), 0, length, length);
    next += length;
  };
  for (let count = 0; count < 60; count++) {
    arrive(1, 536);
    if (half.ackNow) half.onAckSent(now, false);
  }
  half.onAckSent(now, false);
  arrive(5, 100);
  equal(half.ackNow, false);
  const fast = half.ackDeadline - now;
  ok(fast >= 40 && fast <= 200, `${fast} ms`);
  half.onTimeout(half.ackDeadline);
  equal(half.ackNow, true);
  half.onAckSent(now, false);
  for (let count = 0; count < 10; count++) {
    arrive(70, 100);
    half.onAckSent(now, false);
  }
  arrive(70, 100);
  ok(half.ackDeadline - now > fast, 'a slow peer is waited for longer');
  ok(half.ackDeadline - now <= 200);
  half.onAckSent(now, false);
  arrive(5000, 100);
  equal(half.ackNow, true, 'after a silence at once');
});

import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { SendQueue } from '../../src/tcp/send-queue.ts';

function value(offset: number): number {
  return (offset * 7 + (offset >> 8)) & 0xff;
}

/** Bytes that say where they stand, `length` of them from stream offset `offset`. */
function bytes(offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => value(offset + index));
}

function check(queue: SendQueue, offset: number, length: number): void {
  const target = new Uint8Array(length + 2).fill(1);
  queue.copyTo(offset, length, target, 1);
  equal(target[0], 1);
  equal(target[length + 1], 1);
  deepEqual(target.subarray(1, length + 1), bytes(offset, length));
}

test('C39 the queue takes what it has room for, and gives room back on release', () => {
  const queue = new SendQueue(1000);
  equal(queue.end, 1);
  equal(queue.write(bytes(1, 600), 0, 600), 600);
  equal(queue.write(bytes(601, 600), 0, 600), 400);
  equal(queue.end, 1001);
  equal(queue.free, 0);
  equal(queue.write(bytes(1, 10), 0, 10), 0);
  check(queue, 1, 1000);
  queue.release(0, 501);
  equal(queue.free, 500);
  equal(queue.length, 500);
  check(queue, 501, 500);
  equal(queue.write(bytes(1001, 20), 0, 20), 20);
  queue.setLimit(100);
  equal(queue.free, 0);
  check(queue, 990, 30);
  queue.release(0, 400);
  equal(queue.start, 501, 'an old acknowledgment releases nothing');
});

test('C39 a queue of ten bytes holds a small chunk, an empty one none', () => {
  const queue = new SendQueue(1_000_000);
  queue.write(bytes(1, 10), 0, 10);
  equal(queue.reserved, 256);
  queue.release(0, 11);
  equal(queue.reserved, 0);
  queue.write(bytes(11, 100_000), 0, 100_000);
  check(queue, 11, 100_000);
  ok(queue.reserved <= 262_144);
  queue.clear(0);
  equal(queue.reserved, 0);
});

test('C39 owned buffers are linked, not copied, and stand in order', () => {
  const queue = new SendQueue(10_000);
  queue.write(bytes(1, 100), 0, 100);
  const owned = bytes(101, 5000);
  equal(queue.writeOwned(owned, 0, 5000), 5000);
  equal(queue.writeOwned(bytes(5101, 50), 0, 50), 50, 'a small one may be copied');
  queue.write(bytes(5151, 300), 0, 300);
  check(queue, 1, 5450);
  owned[0] = 99;
  const one = new Uint8Array(1);
  queue.copyTo(101, 1, one, 0);
  equal(one[0], 99);
  equal(queue.writeOwned(bytes(5451, 20_000), 0, 20_000), 20_000, 'one may exceed the limit');
  equal(queue.writeOwned(bytes(1, 2000), 0, 2000), 0);
  check(queue, 5400, 20_000);
});

test('C39 random writes, reads anywhere and releases agree with a plain array', () => {
  let state = 12345;
  const die = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return Math.floor((state / 4_294_967_296) * limit);
  };
  for (let round = 0; round < 50; round++) {
    const queue = new SendQueue(300_000);
    for (let step = 0; step < 200; step++) {
      const kind = die(10);
      if (kind < 4) {
        const length = die(die(3) === 0 ? 100_000 : 3000);
        const piece = bytes(queue.end, length);
        if (die(3) === 0) queue.writeOwned(piece, 0, length);
        else queue.write(piece, 0, length);
      } else if (kind < 8) {
        const offset = queue.start + die(queue.length + 1);
        check(queue, offset, Math.min(die(5000), queue.end - offset));
      } else queue.release(0, queue.start + die(queue.length + 1));
    }
  }
});

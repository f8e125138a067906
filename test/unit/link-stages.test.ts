import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BurstLoss,
  Chain,
  Corrupt,
  Delay,
  Duplicate,
  dropped,
  type Link,
  type LinkCounters,
  ListLoss,
  Pipe,
  PredicateLoss,
  RandomLoss,
  Rate,
  Reorder,
  Schedule,
  Timeline,
  traced,
} from '../../src/link/index.ts';
import { pool } from '../../src/link/pool.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { ChecksumState, PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { A, line, numbered, numberOf, packet, payload } from './link-packets.ts';

/** Drains a link punctually: `[time, number]` of each packet until `until`. */
function drain(link: Link, until = Number.POSITIVE_INFINITY): [number, number][] {
  const out = new Packet(PACKET_CAPACITY);
  const seen: [number, number][] = [];
  for (let now = link.pollTimeout(); now <= until && now < Number.POSITIVE_INFINITY; now = link.pollTimeout()) {
    while (link.receive(now, out)) seen.push([now, numberOf(out)]);
  }
  return seen;
}

/** What is due at `now`. */
function due(link: Link, now: number): number[] {
  const out = new Packet(PACKET_CAPACITY);
  const seen: number[] = [];
  while (link.receive(now, out)) seen.push(numberOf(out));
  return seen;
}

test('a pipe gives packets back at once, in order, as copies', () => {
  const pipe = new Pipe();
  const one = numbered(1);
  one.gsoSize = 0;
  one.checksum = ChecksumState.Verified;
  pipe.send(5, one);
  one.view.setUint32(0, 99);
  pipe.send(5, numbered(2));
  assert.equal(pipe.pollTimeout(), 5);
  const out = new Packet(2048, 10);
  assert.equal(pipe.receive(5, out), true);
  assert.equal(numberOf(out), 1);
  assert.equal(out.start, 10);
  assert.equal(out.length, 1000);
  assert.equal(out.checksum, ChecksumState.Verified);
  assert.deepEqual(due(pipe, 5), [2]);
  assert.equal(pipe.pollTimeout(), Number.POSITIVE_INFINITY);
  assert.equal(pipe.counters.sent, 2);
  assert.equal(pipe.counters.receivedBytes, 2000);
});

test('a delay keeps each packet for its time', () => {
  const delay = new Delay({ delay: 10 });
  delay.send(0, numbered(1));
  delay.send(3, numbered(2));
  assert.deepEqual(due(delay, 9.999), []);
  assert.equal(delay.pollTimeout(), 10);
  assert.deepEqual(drain(delay), [
    [10, 1],
    [13, 2],
  ]);
});

test('jitter varies the delay within its bounds and keeps the order unless reordering is allowed', () => {
  for (const reordering of [false, true]) {
    const delay = new Delay({ delay: 10, jitter: 20, reordering }, new SeededRandom('jitter'));
    for (let number = 0; number < 200; number++) delay.send(number, numbered(number));
    const seen = drain(delay);
    assert.equal(seen.length, 200);
    let inversions = 0;
    for (let index = 0; index < 200; index++) {
      const [at, number] = seen[index]!;
      assert.ok(at >= number + 10 && at <= number + 30, `packet ${number} at ${at}`);
      if (index > 0 && number < seen[index - 1]![1]) inversions++;
      if (index > 0) assert.ok(at >= seen[index - 1]![0]);
    }
    if (reordering) assert.ok(inversions > 20 && delay.counters.reordered > 20);
    else assert.equal(inversions + delay.counters.reordered, 0);
  }
});

test('a delay that becomes shorter does not reorder', () => {
  const delay = new Delay({ delay: 50, changes: [[10, 5]] });
  delay.send(0, numbered(1));
  delay.send(20, numbered(2));
  delay.setDelay(60, 100);
  delay.send(60, numbered(3));
  assert.deepEqual(drain(delay), [
    [50, 1],
    [50, 2],
    [160, 3],
  ]);
});

test('a rate sends one packet after another', () => {
  const rate = new Rate({ rate: 100, queue: 10_000 });
  rate.send(0, numbered(1));
  rate.send(0, numbered(2));
  assert.equal(rate.queuedBytes, 1000);
  rate.send(25, numbered(3));
  assert.equal(rate.queuedBytes, 0);
  assert.deepEqual(drain(rate), [
    [10, 1],
    [20, 2],
    [35, 3],
  ]);
  assert.equal(rate.busyTime, 30);
});

test('a queue is bounded in bytes, without the packet in service', () => {
  const rate = new Rate({ rate: 100, queue: 2500 });
  for (let number = 1; number <= 5; number++) rate.send(0, numbered(number));
  assert.equal(rate.counters.queueFull, 2);
  assert.equal(rate.maxQueuedBytes, 2000);
  rate.send(10, numbered(6));
  assert.equal(rate.counters.queueFull, 2);
  assert.deepEqual(
    drain(rate).map(([, number]) => number),
    [1, 2, 3, 6],
  );
});

test('a rate changes in the middle of a packet, by plan and by command, and may be 0', () => {
  const planned = new Rate({
    rate: 100,
    queue: 10_000,
    changes: [
      [5, 50],
      [20, 0],
      [30, 1000],
    ],
  });
  planned.send(0, numbered(1));
  planned.send(0, numbered(2));
  // 500 bytes by 5 ms, the other 500 by 15; 250 of the next by 20, none until 30, 750 more take 0.75 ms.
  assert.deepEqual(drain(planned), [
    [15, 1],
    [30.75, 2],
  ]);
  const commanded = new Rate({ rate: 100, queue: 10_000 });
  commanded.send(0, numbered(1));
  commanded.setRate(4, 0);
  assert.equal(commanded.pollTimeout(), Number.POSITIVE_INFINITY);
  commanded.setRate(100, 60);
  assert.deepEqual(drain(commanded), [[110, 1]]);
});

test('an unlimited rate takes no time', () => {
  const rate = new Rate({ rate: Number.POSITIVE_INFINITY, queue: 0 });
  for (let number = 1; number <= 3; number++) rate.send(7, numbered(number));
  assert.deepEqual(drain(rate), [
    [7, 1],
    [7, 2],
    [7, 3],
  ]);
});

test('a timeline integrates over its changes', () => {
  const timeline = new Timeline(2, [
    [10, 0],
    [20, 4],
  ]);
  assert.equal(timeline.reach(0, 20), 10);
  assert.equal(timeline.reach(0, 22), 20.5);
  assert.equal(timeline.reach(15, 4), 21);
  assert.equal(timeline.least, 0);
  timeline.set(5, 1);
  assert.equal(timeline.reach(0, 12), 7);
  assert.throws(
    () =>
      new Timeline(0, [
        [5, 1],
        [4, 1],
      ]),
    RangeError,
  );
});

test('loss: by list, by predicate, at random, in bursts', () => {
  const list = new ListLoss([0, 2]);
  for (let number = 0; number < 4; number++) list.send(0, numbered(number));
  assert.deepEqual(due(list, 0), [1, 3]);
  assert.equal(list.counters.lost, 2);

  const predicate = new PredicateLoss((seen, index, now) => numberOf(seen) === 7 || index === 0 || now > 5);
  for (const number of [1, 7, 8]) predicate.send(0, numbered(number));
  predicate.send(6, numbered(9));
  assert.deepEqual(due(predicate, 6), [8]);

  const random = new RandomLoss(0.2, new SeededRandom(5));
  for (let number = 0; number < 5000; number++) random.send(0, numbered(number, 40));
  assert.ok(Math.abs(random.counters.lost / 5000 - 0.2) < 0.02, `lost ${random.counters.lost}`);
  assert.equal(due(random, 0).length + random.counters.lost, 5000);

  // Good state 1/0.01 = 100 packets long, bad state 1/0.2 = 5: 1 in 21 is lost, in bursts of 5.
  const burst = new BurstLoss({ enter: 0.01, leave: 0.2 }, new SeededRandom(6));
  for (let number = 0; number < 20_000; number++) burst.send(0, numbered(number, 40));
  const got = due(burst, 0);
  let bursts = 0;
  for (let index = 1; index < got.length; index++) if (got[index]! - got[index - 1]! > 1) bursts++;
  assert.ok(Math.abs(burst.counters.lost / 20_000 - 1 / 21) < 0.012, `lost ${burst.counters.lost}`);
  assert.ok(Math.abs(burst.counters.lost / bursts - 5) < 1, `bursts of ${burst.counters.lost / bursts}`);
  assert.throws(() => new RandomLoss(1.5, new SeededRandom(1)), RangeError);
});

test('duplication lets a packet through twice', () => {
  const duplicate = new Duplicate(1, new SeededRandom(1));
  duplicate.send(0, numbered(4));
  duplicate.send(0, numbered(5));
  assert.deepEqual(due(duplicate, 0), [4, 4, 5, 5]);
  assert.equal(duplicate.counters.duplicated, 2);
});

test('reordering holds a packet until others have overtaken it, or time is up', () => {
  const words = [0, 1, 1, 1, 1, 0];
  const random = { next: () => words.shift()!, word: () => 0 };
  const reorder = new Reorder({ probability: 0.5, distance: 2, hold: 30 }, random);
  for (let number = 0; number < 6; number++) reorder.send(number, numbered(number));
  assert.deepEqual(due(reorder, 5), [1, 2, 0, 3, 4]);
  assert.equal(reorder.pollTimeout(), 35);
  assert.deepEqual(due(reorder, 34.9), []);
  assert.deepEqual(due(reorder, 35), [5]);
  // The last one was held, and overtaken by none.
  assert.equal(reorder.counters.reordered, 1);
});

test('up and down at known times and by command', () => {
  const schedule = new Schedule([
    [10, false],
    [20, true],
  ]);
  const sent: number[] = [0, 9, 10, 15, 20, 25, 30, 45];
  for (const at of sent) {
    if (at === 30) schedule.setUp(26, false);
    if (at === 45) schedule.setUp(40, true);
    schedule.send(at, numbered(at));
  }
  assert.deepEqual(due(schedule, 50), [0, 9, 20, 25, 45]);
  assert.equal(schedule.counters.down, 3);
});

test('corruption: the checksum tells, unless it is repaired', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const text = `${A} P. 1:101(100) ack 1 win 500`;
    const plain = new Corrupt({ probability: 1 }, new SeededRandom(seed));
    const out = new Packet(2048);
    plain.send(0, packet(text));
    assert.equal(plain.receive(0, out), true);
    assert.match(line(out), / sum 0x/);
    assert.equal(plain.counters.corrupted, 1);
    assert.notDeepEqual(payload(out), payload(packet(text)));

    const repaired = new Corrupt({ probability: 1, repairsChecksum: true }, new SeededRandom(seed));
    repaired.send(0, packet(text));
    assert.equal(repaired.receive(0, out), true);
    assert.equal(line(out), text);
    assert.notDeepEqual(payload(out), payload(packet(text)));

    const anywhere = new Corrupt({ probability: 1, where: 'anywhere', bits: 3 }, new SeededRandom(seed));
    anywhere.send(0, packet(text));
    assert.equal(anywhere.receive(0, out), true);
    assert.notEqual(line(out), text);
  }
});

test('corruption finishes a checksum that was left to the link, and leaves empty segments alone', () => {
  const corrupt = new Corrupt({ probability: 1 }, new SeededRandom(3));
  const partial = packet(`${A} P. 1:101(100) ack 1 win 500`);
  partial.view.setUint16(partial.start + 36, 0x1234);
  partial.checksum = ChecksumState.Partial;
  corrupt.send(0, partial);
  const out = new Packet(2048);
  corrupt.receive(0, out);
  assert.equal(out.checksum, ChecksumState.Unverified);
  assert.match(line(out), / sum 0x/);
  corrupt.send(0, packet(`${A} . 1:1(0) ack 1 win 500`));
  corrupt.receive(0, out);
  assert.equal(line(out), `${A} . 1:1(0) ack 1 win 500`);
  assert.equal(corrupt.counters.corrupted, 1);
});

test('a chain passes packets on at the times they leave each link, however late it is polled', () => {
  const make = () => new Chain(new Delay({ delay: 5 }), new Rate({ rate: 100, queue: 5000 }), new Delay({ delay: 7 }));
  const punctual = make();
  const late = make();
  for (const chain of [punctual, late]) {
    for (let number = 0; number < 4; number++) chain.send(number, numbered(number));
  }
  assert.deepEqual(drain(punctual), [
    [22, 0],
    [32, 1],
    [42, 2],
    [52, 3],
  ]);
  // Nothing polled in between: the same packets, and the queue saw the same arrivals.
  assert.deepEqual(due(late, 31.9), [0]);
  assert.deepEqual(due(late, 1000), [1, 2, 3]);
});

test('a chain sleeps until something can come out', () => {
  const chain = new Chain(new Rate({ rate: 100, queue: 50_000 }), new Delay({ delay: 100 }));
  for (let number = 0; number < 10; number++) chain.send(0, numbered(number));
  assert.equal(chain.pollTimeout(), 110);
  let wakes = 0;
  const out = new Packet(2048);
  for (let now = chain.pollTimeout(); now < Number.POSITIVE_INFINITY; now = chain.pollTimeout()) {
    wakes++;
    while (chain.receive(now, out));
  }
  assert.equal(wakes, 10);
});

test('a queue in a chain fills and drains in the order of time even when polled late', () => {
  // 1000 bytes arrive each ms from 5 on, leave each 2 ms, and 2 fit in the queue.
  const chain = new Chain(new Delay({ delay: 5 }), new Rate({ rate: 500, queue: 2000 }));
  for (let number = 0; number < 10; number++) chain.send(number, numbered(number));
  assert.deepEqual(due(chain, 1000), [0, 1, 2, 3, 4, 6, 8]);
  assert.equal(chain.counters.queueFull, 3);
  assert.equal(chain.counters.sent, 10);
  assert.equal(chain.counters.received, 7);
  assert.equal(dropped(chain.counters), 3);
});

test('a chain takes chains and foreign links', () => {
  const foreign = new Store(3);
  const chain = new Chain(new Chain(new Delay({ delay: 1 })), foreign, new Chain(), new Delay({ delay: 2 }));
  chain.send(0, numbered(1));
  chain.send(0.5, numbered(2));
  assert.deepEqual(drain(chain), [
    [6, 1],
    [6.5, 2],
  ]);
  assert.throws(() => new Chain(foreign, new Chain(chain), chain), RangeError);
});

test('a trace sees packets enter and leave', () => {
  const seen: string[] = [];
  const link = traced(
    new Delay({ delay: 4 }),
    (now, one) => seen.push(`in ${numberOf(one)} ${now}`),
    (now, one) => seen.push(`out ${numberOf(one)} ${now}`),
  );
  link.send(1, numbered(1));
  link.send(2, numbered(2));
  drain(link);
  assert.deepEqual(seen, ['in 1 1', 'in 2 2', 'out 1 5', 'out 2 6']);
});

test('links give back every buffer they took', () => {
  const before = pool.taken;
  const random = new SeededRandom(9);
  const chain = new Chain(
    new RandomLoss(0.1, random),
    new Duplicate(0.1, random),
    new Rate({ rate: 500, queue: 5000 }),
    new Schedule([
      [30, false],
      [40, true],
    ]),
    new Reorder({ probability: 0.1 }, random),
    new Delay({ delay: 3, jitter: 5, reordering: true }, random),
  );
  for (let number = 0; number < 500; number++) chain.send(number / 4, numbered(number, 40 + (number % 1400)));
  drain(chain);
  assert.equal(pool.taken, before);
  assert.throws(() => {
    const one = pool.take(40);
    one.release();
    one.release();
  }, RangeError);
});

test('impossible settings are refused', () => {
  assert.throws(() => new Rate({ rate: -1, queue: 0 }), RangeError);
  assert.throws(() => new Rate({ rate: 1, queue: Number.NaN }), RangeError);
  assert.throws(() => new Delay({ delay: -1 }), RangeError);
  assert.throws(() => new Delay({ delay: 1, jitter: 1 }), RangeError);
  assert.throws(
    () => new Corrupt({ probability: 1, where: 'anywhere', repairsChecksum: true }, new SeededRandom(1)),
    RangeError,
  );
});

/** A link of somebody else's: keeps packets for a fixed time. */
class Store implements Link {
  private readonly kept: { at: number; bytes: Uint8Array }[] = [];
  readonly counters: LinkCounters = { ...new Pipe().counters };
  private readonly time: number;

  constructor(time: number) {
    this.time = time;
  }

  send(now: number, one: Packet): void {
    this.kept.push({ at: now + this.time, bytes: one.bytes.slice(one.start, one.end) });
  }

  receive(now: number, out: Packet): boolean {
    if (this.kept.length === 0 || this.kept[0]!.at > now) return false;
    const { bytes } = this.kept.shift()!;
    out.bytes.set(bytes, out.start);
    out.end = out.start + bytes.length;
    return true;
  }

  pollTimeout(): number {
    return this.kept.length === 0 ? Number.POSITIVE_INFINITY : this.kept[0]!.at;
  }
}

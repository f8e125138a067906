import { Ranges } from '../src/tcp/ranges.ts';

/**
 * Nanoseconds per insertion, the best of seven samples: in order, each second one missing and filled later, and at
 * random, beside a plain sorted array of pairs that is searched from its end.
 */

const COUNT = 20_000;

class Plain {
  private readonly pairs: [number, number][] = [];

  insert(start: number, end: number): void {
    let at = this.pairs.length;
    while (at > 0 && this.pairs[at - 1]![1] >= start) at--;
    let to = at;
    let left = start;
    let right = end;
    while (to < this.pairs.length && this.pairs[to]![0] <= end) {
      left = Math.min(left, this.pairs[to]![0]);
      right = Math.max(right, this.pairs[to]![1]);
      to++;
    }
    this.pairs.splice(at, to - at, [left, right]);
  }

  removeBelow(offset: number): void {
    while (this.pairs.length > 0 && this.pairs[0]![1] <= offset) this.pairs.shift();
  }
}

type Order = (index: number) => number;

const shuffled = Array.from({ length: COUNT }, (_, index) => index);
let state = 1;
for (let index = COUNT - 1; index > 0; index--) {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  const other = state % (index + 1);
  [shuffled[index], shuffled[other]] = [shuffled[other]!, shuffled[index]!];
}

function measure(name: string, order: Order, make: () => Ranges | Plain): void {
  const times: number[] = [];
  for (let sample = 0; sample < 7; sample++) {
    const ranges = make();
    const start = process.hrtime.bigint();
    for (let index = 0; index < COUNT; index++) {
      const at = order(index) * 1448;
      ranges.insert(at, at + 1448);
    }
    times.push(Number(process.hrtime.bigint() - start) / COUNT);
  }
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(28)} ${times[0]!.toFixed(0).padStart(7)} ns`);
}

const orders: [string, Order][] = [
  ['in order', (index) => index],
  ['holes, then filled', (index) => (index < COUNT / 2 ? 2 * index + 1 : 2 * (index - COUNT / 2))],
  ['at random', (index) => shuffled[index]!],
];
for (const [name, order] of orders) {
  measure(`${name}, ranges`, order, () => new Ranges());
  measure(`${name}, plain`, order, () => new Plain());
}

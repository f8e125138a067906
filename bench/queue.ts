import { SendQueue } from '../src/tcp/send-queue.ts';

/**
 * Nanoseconds per 1448-byte segment through the send queue (written, copied out, released), the best of seven samples,
 * beside one flat array that is compacted when half of it is released; and bytes that an idle queue keeps.
 */

const SEGMENT = 1448;
const HELD = 1_000_000;
const ROUNDS = 100_000;
const piece = new Uint8Array(16_384).fill(7);
const out = new Uint8Array(65_536);

class Flat {
  private bytes = new Uint8Array(4 * HELD);
  private start = 0;
  private length = 0;
  private base = 1;

  get end(): number {
    return this.base + this.length;
  }

  write(bytes: Uint8Array, start: number, length: number): number {
    if (this.start + this.length + length > this.bytes.length) {
      this.bytes.copyWithin(0, this.start, this.start + this.length);
      this.start = 0;
    }
    this.bytes.set(bytes.subarray(start, start + length), this.start + this.length);
    this.length += length;
    return length;
  }

  copyTo(offset: number, length: number, target: Uint8Array, at: number): void {
    const from = this.start + offset - this.base;
    target.set(this.bytes.subarray(from, from + length), at);
  }

  release(_now: number, offset: number): void {
    const count = offset - this.base;
    this.start += count;
    this.length -= count;
    this.base = offset;
  }
}

function measure(name: string, queue: SendQueue | Flat, write: number, read: number): void {
  const times: number[] = [];
  let released = queue.end;
  let sent = queue.end;
  for (let sample = 0; sample < 7; sample++) {
    const start = process.hrtime.bigint();
    let moved = 0;
    while (moved < ROUNDS * SEGMENT) {
      while (queue.end - released < HELD) queue.write(piece, 0, write);
      while (sent + read <= queue.end) {
        queue.copyTo(sent, read, out, 0);
        sent += read;
      }
      const keep = sent - HELD / 2;
      if (keep > released) {
        queue.release(0, keep);
        moved += keep - released;
        released = keep;
      }
    }
    times.push((Number(process.hrtime.bigint() - start) / moved) * SEGMENT);
  }
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(12)} writes of ${write}, reads of ${read}: ${times[0]!.toFixed(0)} ns a segment`);
}

for (const [write, read] of [
  [1448, 1448],
  [16_384, 1448],
  [16_384, 65_160],
] as const) {
  measure('rope', new SendQueue(16_000_000), write, read);
  measure('flat array', new Flat(), write, read);
}
const small = new SendQueue(1_000_000);
small.write(piece, 0, 10);
const holding = small.reserved;
small.release(0, 11);
console.log(`memory of a queue that holds ten bytes: ${holding}, of one that is empty: ${small.reserved}`);

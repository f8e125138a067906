import { randomFillSync } from 'node:crypto';
import type { Random } from '../link/link.ts';

/**
 * Random numbers that nobody can guess, for keys, nonces and initial sequence numbers. Fetched from the operating
 * system's generator many at a time, and each used once: a word that was given out is wiped.
 */
export class Entropy implements Random {
  private readonly words: Uint32Array;
  private next_: number;

  /** @param batch words fetched at a time, 1 or more */
  constructor(batch = 1024) {
    this.words = new Uint32Array(batch);
    this.next_ = batch;
  }

  /** A uniform unsigned 32-bit integer. */
  word(): number {
    if (this.next_ === this.words.length) {
      randomFillSync(this.words);
      this.next_ = 0;
    }
    const word = this.words[this.next_]!;
    this.words[this.next_] = 0;
    this.next_++;
    return word;
  }

  /** Uniform in [0, 1), with 53 bits. */
  next(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 67_108_864 + low) / 9_007_199_254_740_992;
  }

  /** Fills `bytes`. */
  fill(bytes: Uint8Array): void {
    randomFillSync(bytes);
  }
}

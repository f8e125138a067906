import type { Random } from '../link/link.ts';

/**
 * A seeded generator, the same everywhere: xoshiro128** (Blackman and Vigna), 32-bit integers only. `derive` gives an
 * independent stream for a purpose; it depends on the seed and the name, not on what was drawn before.
 */
export class SeededRandom implements Random {
  readonly seed: string;
  private s0 = 0;
  private s1 = 0;
  private s2 = 0;
  private s3 = 0;

  constructor(seed: number | string) {
    this.seed = String(seed);
    // FNV-1a over the seed's UTF-16 units, then a splitmix sequence to fill the state.
    let hash = 0x811c9dc5;
    for (let index = 0; index < this.seed.length; index++) {
      hash = Math.imul(hash ^ this.seed.charCodeAt(index), 0x01000193);
    }
    let mix = hash;
    const next = (): number => {
      mix = (mix + 0x9e3779b9) | 0;
      let word = mix;
      word = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
      word = Math.imul(word ^ (word >>> 15), 0x735a2d97);
      return word ^ (word >>> 15);
    };
    this.s0 = next();
    this.s1 = next();
    this.s2 = next();
    this.s3 = next() | 1;
    for (let round = 0; round < 8; round++) this.word();
  }

  word(): number {
    const scrambled = Math.imul(this.s1, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = this.s1 << 9;
    this.s2 ^= this.s0;
    this.s3 ^= this.s1;
    this.s1 ^= this.s2;
    this.s0 ^= this.s3;
    this.s2 ^= shifted;
    this.s3 = (this.s3 << 11) | (this.s3 >>> 21);
    return result;
  }

  /** All 53 bits of a double's fraction. */
  next(): number {
    const high = this.word() >>> 5;
    const low = this.word() >>> 6;
    return (high * 67_108_864 + low) / 9_007_199_254_740_992;
  }

  /** Uniform in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** Fills `bytes` with random bytes. */
  fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 4) {
      const word = this.word();
      for (let index = 0; index < 4 && at + index < bytes.length; index++) bytes[at + index] = word >>> (8 * index);
    }
  }

  /** An independent generator for a purpose of its own. */
  derive(name: string): SeededRandom {
    return new SeededRandom(`${this.seed}/${name}`);
  }
}

/**
 * SipHash-2-4 (Aumasson, Bernstein 2012) of 32-bit words: a short keyed hash for numbers that must not be guessed from
 * outside, where a whole HMAC would cost more than the connection it is for. 64-bit words are pairs of 32-bit halves.
 */
export class SipHash {
  private readonly k0h: number;
  private readonly k0l: number;
  private readonly k1h: number;
  private readonly k1l: number;
  private v0h = 0;
  private v0l = 0;
  private v1h = 0;
  private v1l = 0;
  private v2h = 0;
  private v2l = 0;
  private v3h = 0;
  private v3l = 0;

  /** The key: 128 random bits. */
  constructor(word0: number, word1: number, word2: number, word3: number) {
    this.k0l = word0 | 0;
    this.k0h = word1 | 0;
    this.k1l = word2 | 0;
    this.k1h = word3 | 0;
  }

  /** The low 32 bits of the hash of `words`, each taken as four bytes in little-endian order. */
  hash(words: Uint32Array): number {
    this.v0h = this.k0h ^ 0x736f6d65;
    this.v0l = this.k0l ^ 0x70736575;
    this.v1h = this.k1h ^ 0x646f7261;
    this.v1l = this.k1l ^ 0x6e646f6d;
    this.v2h = this.k0h ^ 0x6c796765;
    this.v2l = this.k0l ^ 0x6e657261;
    this.v3h = this.k1h ^ 0x74656462;
    this.v3l = this.k1l ^ 0x79746573;
    const { length } = words;
    let index = 0;
    for (; index + 1 < length; index += 2) this.absorb(words[index + 1]! | 0, words[index]! | 0);
    const tail = index < length ? words[index]! | 0 : 0;
    this.absorb((length * 4) << 24, tail);
    this.v2l ^= 0xff;
    this.round();
    this.round();
    this.round();
    this.round();
    return (this.v0l ^ this.v1l ^ this.v2l ^ this.v3l) >>> 0;
  }

  private absorb(high: number, low: number): void {
    this.v3h ^= high;
    this.v3l ^= low;
    this.round();
    this.round();
    this.v0h ^= high;
    this.v0l ^= low;
  }

  private round(): void {
    let { v0h, v0l, v1h, v1l, v2h, v2l, v3h, v3l } = this;
    let low = (v0l >>> 0) + (v1l >>> 0);
    v0h = (v0h + v1h + (low > MASK ? 1 : 0)) | 0;
    v0l = low | 0;
    let high = (v1h << 13) | (v1l >>> 19);
    v1l = (v1l << 13) | (v1h >>> 19);
    v1h = high ^ v0h;
    v1l ^= v0l;
    high = v0h;
    v0h = v0l;
    v0l = high;
    low = (v2l >>> 0) + (v3l >>> 0);
    v2h = (v2h + v3h + (low > MASK ? 1 : 0)) | 0;
    v2l = low | 0;
    high = (v3h << 16) | (v3l >>> 16);
    v3l = (v3l << 16) | (v3h >>> 16);
    v3h = high ^ v2h;
    v3l ^= v2l;
    low = (v0l >>> 0) + (v3l >>> 0);
    v0h = (v0h + v3h + (low > MASK ? 1 : 0)) | 0;
    v0l = low | 0;
    high = (v3h << 21) | (v3l >>> 11);
    v3l = (v3l << 21) | (v3h >>> 11);
    v3h = high ^ v0h;
    v3l ^= v0l;
    low = (v2l >>> 0) + (v1l >>> 0);
    v2h = (v2h + v1h + (low > MASK ? 1 : 0)) | 0;
    v2l = low | 0;
    high = (v1h << 17) | (v1l >>> 15);
    v1l = (v1l << 17) | (v1h >>> 15);
    v1h = high ^ v2h;
    v1l ^= v2l;
    high = v2h;
    v2h = v2l;
    v2l = high;
    this.v0h = v0h;
    this.v0l = v0l;
    this.v1h = v1h;
    this.v1l = v1l;
    this.v2h = v2h;
    this.v2l = v2l;
    this.v3h = v3h;
    this.v3l = v3l;
  }
}

const MASK = 0xffff_ffff;

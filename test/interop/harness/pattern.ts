import { createHash } from 'node:crypto';

/**
 * An endless stream of bytes that two programs know by its seed: any piece can be made from its offset, and no two
 * pieces look alike. About 1 GB/s.
 */
export class Pattern {
  private readonly seed: number;

  constructor(seed: number) {
    this.seed = mixed(seed | 0);
  }

  /** Writes the stream's bytes from `offset` on into `bytes[start, end)`. */
  fill(bytes: Uint8Array, offset: number, start = 0, end = bytes.length): void {
    let at = start;
    let position = offset;
    while (at < end && (position & 3) !== 0) bytes[at++] = this.byte(position++);
    const words = Math.floor((end - at) / 4);
    if (((bytes.byteOffset + at) & 3) === 0) {
      const view = new Int32Array(bytes.buffer, bytes.byteOffset + at, words);
      // Not `position / 4 | 0`: streams may be longer than 2^31 words.
      const first = Math.floor(position / 4);
      for (let index = 0; index < words; index++) view[index] = this.word(first + index);
    } else {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      const first = Math.floor(position / 4);
      for (let index = 0; index < words; index++) view.setInt32(at + index * 4, this.word(first + index), true);
    }
    at += words * 4;
    position += words * 4;
    while (at < end) bytes[at++] = this.byte(position++);
  }

  byte(offset: number): number {
    return (this.word(Math.floor(offset / 4)) >>> ((offset & 3) * 8)) & 255;
  }

  /** The first offset in `bytes[start, end)`, taken to stand at `offset` of the stream, that is wrong; -1 when none is. */
  mismatch(bytes: Uint8Array, offset: number, start = 0, end = bytes.length): number {
    for (let at = start; at < end; at++) if (bytes[at] !== this.byte(offset + at - start)) return offset + at - start;
    return -1;
  }

  private word(index: number): number {
    return mixed((index | 0) + this.seed + Math.imul(Math.floor(index / 4_294_967_296), 0x9e37_79b9));
  }
}

/** SHA-256, in hexadecimal, of the first `length` bytes of the stream. */
export function patternDigest(seed: number, length: number): string {
  const pattern = new Pattern(seed);
  const hash = createHash('sha256');
  const piece = new Uint8Array(65_536);
  for (let offset = 0; offset < length; offset += piece.length) {
    const size = Math.min(piece.length, length - offset);
    pattern.fill(piece, offset, 0, size);
    hash.update(piece.subarray(0, size));
  }
  return hash.digest('hex');
}

/** A bijection of 32-bit words without visible structure (Steele and Vigna's multiply-xorshift construction). */
function mixed(value: number): number {
  let word = Math.imul(value ^ (value >>> 16), 0x21f0_aaad);
  word = Math.imul(word ^ (word >>> 15), 0x735a_2d97);
  return word ^ (word >>> 15);
}

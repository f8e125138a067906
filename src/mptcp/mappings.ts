/**
 * Data sequence mappings of one subflow in one direction (RFC 8684 §3.3): which subflow bytes are which data bytes.
 * Kept in order of subflow offset in a ring of numbers; a mapping is immutable once a byte of it was on the wire.
 */

/** Fields of one mapping in the ring. */
const FIELDS = 5;

/** RFC 8684 §3.3: the length field has 16 bits; Linux maps about this much at once (A5.30). */
export const MAXIMUM_MAPPING = 65_535 - 200;

/** Index meaning "no mapping". */
export const NO_MAPPING = -1;

/** A ring of (subflow offset, data offset, length, note, fin), ordered by subflow offset, without overlaps. */
export class Mappings {
  private ring: Float64Array;
  private mask: number;
  private head = 0;
  /** Mappings held. */
  count = 0;
  /** Where the last search ended, relative to `head`: lookups mostly move forward. */
  private cursor = 0;

  constructor() {
    this.ring = new Float64Array(2 * FIELDS);
    this.mask = 1;
  }

  /** Subflow offset of the first byte of the `index`-th mapping. */
  subflowStart(index: number): number {
    return this.ring[((this.head + index) & this.mask) * FIELDS]!;
  }

  dataStart(index: number): number {
    return this.ring[((this.head + index) & this.mask) * FIELDS + 1]!;
  }

  length(index: number): number {
    return this.ring[((this.head + index) & this.mask) * FIELDS + 2]!;
  }

  /** A number that belongs to the mapping: the checksum once it is known, -1 before. */
  note(index: number): number {
    return this.ring[((this.head + index) & this.mask) * FIELDS + 3]!;
  }

  setNote(index: number, note: number): void {
    this.ring[((this.head + index) & this.mask) * FIELDS + 3] = note;
  }

  /** Whether the mapping carries the DATA_FIN behind its last byte. */
  fin(index: number): boolean {
    return this.ring[((this.head + index) & this.mask) * FIELDS + 4] === 1;
  }

  markFin(index: number): void {
    this.ring[((this.head + index) & this.mask) * FIELDS + 4] = 1;
  }

  /** One past the last subflow offset mapped; 0 when nothing is. */
  get end(): number {
    if (this.count === 0) return 0;
    const at = ((this.head + this.count - 1) & this.mask) * FIELDS;
    return this.ring[at]! + this.ring[at + 2]!;
  }

  /** Lengthens the last mapping. */
  extendLast(bytes: number): void {
    this.ring[((this.head + this.count - 1) & this.mask) * FIELDS + 2]! += bytes;
  }

  push(subflowStart: number, dataStart: number, length: number): void {
    this.insertAt(this.count, subflowStart, dataStart, length);
  }

  /**
   * Adds a mapping where it belongs. Returns its index; `NO_MAPPING`, and nothing changes, when it overlaps one that
   * differs from it. An identical mapping, or one that says the same of a part, is accepted and changes nothing (A5.04).
   * One that says the same of several and of what lies between them takes their place: however a peer cuts its
   * mappings, an insertion costs no more than one pass over the ring.
   */
  insert(subflowStart: number, dataStart: number, length: number): number {
    let at = this.count;
    while (at > 0 && this.subflowStart(at - 1) > subflowStart) at--;
    const shift = dataStart - subflowStart;
    let start = subflowStart;
    let end = subflowStart + length;
    if (at > 0) {
      const before = at - 1;
      const beforeEnd = this.subflowStart(before) + this.length(before);
      if (beforeEnd > subflowStart) {
        if (this.dataStart(before) - this.subflowStart(before) !== shift) return NO_MAPPING;
        if (beforeEnd >= end) return before;
        // Same relation, longer: a sender may extend its last mapping (A5.07). Keep the part that is new.
        start = beforeEnd;
      }
    }
    let covered = at;
    while (covered < this.count && this.subflowStart(covered) < end) {
      if (this.dataStart(covered) - this.subflowStart(covered) !== shift) return NO_MAPPING;
      covered++;
    }
    if (covered > at) end = Math.max(end, this.subflowStart(covered - 1) + this.length(covered - 1));
    this.removeRange(at, covered);
    this.insertAt(at, start, start + shift, end - start);
    return at;
  }

  /** Index of the mapping that covers `offset`, or `NO_MAPPING`. */
  find(offset: number): number {
    if (this.count === 0) return NO_MAPPING;
    let at = this.cursor < this.count ? this.cursor : this.count - 1;
    while (at > 0 && this.subflowStart(at) > offset) at--;
    while (at < this.count && this.subflowStart(at) + this.length(at) <= offset) at++;
    if (at === this.count || this.subflowStart(at) > offset) return NO_MAPPING;
    this.cursor = at;
    return at;
  }

  /** Index of the first mapping that ends beyond subflow offset `offset`; `count` when none does. */
  firstBeyond(offset: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.subflowStart(middle) + this.length(middle) > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /**
   * Forgets mappings that lie wholly below subflow offset `offset` and data offset `dataOffset`; a mapping that stays
   * keeps those behind it.
   */
  releaseBelow(offset: number, dataOffset: number): void {
    while (this.count > 0) {
      const at = (this.head & this.mask) * FIELDS;
      const length = this.ring[at + 2]!;
      if (this.ring[at]! + length > offset || this.ring[at + 1]! + length > dataOffset) return;
      this.head = (this.head + 1) & this.mask;
      this.count--;
      if (this.cursor > 0) this.cursor--;
    }
    this.cursor = 0;
  }

  clear(): void {
    this.count = 0;
    this.cursor = 0;
    this.head = 0;
  }

  /** Takes out the mappings `from` to `to` (exclusive). */
  private removeRange(from: number, to: number): void {
    const removed = to - from;
    if (removed === 0) return;
    for (let at = to; at < this.count; at++) {
      const source = ((this.head + at) & this.mask) * FIELDS;
      const target = ((this.head + at - removed) & this.mask) * FIELDS;
      for (let field = 0; field < FIELDS; field++) this.ring[target + field] = this.ring[source + field]!;
    }
    this.count -= removed;
    this.cursor = 0;
  }

  private insertAt(index: number, subflowStart: number, dataStart: number, length: number): void {
    if (this.count > this.mask) this.grow();
    for (let at = this.count; at > index; at--) {
      const to = ((this.head + at) & this.mask) * FIELDS;
      const from = ((this.head + at - 1) & this.mask) * FIELDS;
      this.ring[to] = this.ring[from]!;
      this.ring[to + 1] = this.ring[from + 1]!;
      this.ring[to + 2] = this.ring[from + 2]!;
      this.ring[to + 3] = this.ring[from + 3]!;
      this.ring[to + 4] = this.ring[from + 4]!;
    }
    const to = ((this.head + index) & this.mask) * FIELDS;
    this.ring[to] = subflowStart;
    this.ring[to + 1] = dataStart;
    this.ring[to + 2] = length;
    this.ring[to + 3] = -1;
    this.ring[to + 4] = 0;
    this.count++;
  }

  private grow(): void {
    const size = this.mask + 1;
    const bigger = new Float64Array(size * 2 * FIELDS);
    for (let index = 0; index < this.count; index++) {
      const from = ((this.head + index) & this.mask) * FIELDS;
      for (let field = 0; field < FIELDS; field++) bigger[index * FIELDS + field] = this.ring[from + field]!;
    }
    this.ring = bigger;
    this.mask = size * 2 - 1;
    this.head = 0;
  }
}

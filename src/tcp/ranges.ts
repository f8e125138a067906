/**
 * A set of offsets kept as sorted, disjoint, non-adjacent half-open ranges. It knows no bytes: reassembly, coverage of
 * mappings and the like put it beside their buffers.
 *
 * Edges lie in one array, left and right in turn, found by bisection. Inserting at either end, which is what a network
 * mostly does, moves nothing; in the middle it moves the edges above. An empty set owns no memory.
 */
export class Ranges {
  /** Ranges held. */
  count = 0;
  /** Offsets covered by all of them. */
  total = 0;
  private edges: Float64Array = NONE;

  /** Left edge of range `index` (ascending, below `count`). */
  start(index: number): number {
    return this.edges[2 * index]!;
  }

  /** Right edge of range `index`, exclusive. */
  end(index: number): number {
    return this.edges[2 * index + 1]!;
  }

  /** Adds `start` to `end` (exclusive); returns how many of these offsets were not in the set. Empty ranges add 0. */
  insert(start: number, end: number): number {
    if (!(start < end)) return 0;
    // [from, to): the ranges that touch or overlap the new one.
    const from = this.firstEndingAtOrAfter(start);
    let to = from;
    const { edges } = this;
    while (to < this.count && edges[2 * to]! <= end) to++;
    if (from === to) {
      this.open(from);
      this.edges[2 * from] = start;
      this.edges[2 * from + 1] = end;
      this.total += end - start;
      return end - start;
    }
    let held = 0;
    for (let index = from; index < to; index++) held += edges[2 * index + 1]! - edges[2 * index]!;
    const left = Math.min(start, edges[2 * from]!);
    const right = Math.max(end, edges[2 * to - 1]!);
    edges[2 * from] = left;
    edges[2 * from + 1] = right;
    this.close(from + 1, to);
    const added = right - left - held;
    this.total += added;
    return added;
  }

  /** Takes `start` to `end` (exclusive) out; returns how many of these offsets were in the set. */
  remove(start: number, end: number): number {
    if (!(start < end)) return 0;
    const before = this.total;
    let index = this.firstEndingAfter(start);
    if (index < this.count && this.edges[2 * index]! < start) {
      const right = this.edges[2 * index + 1]!;
      if (right > end) {
        this.open(index + 1);
        this.edges[2 * index + 1] = start;
        this.edges[2 * index + 2] = end;
        this.edges[2 * index + 3] = right;
        this.total -= end - start;
        return end - start;
      }
      this.edges[2 * index + 1] = start;
      this.total -= right - start;
      index++;
    }
    let to = index;
    while (to < this.count && this.edges[2 * to + 1]! <= end) {
      this.total -= this.edges[2 * to + 1]! - this.edges[2 * to]!;
      to++;
    }
    if (to < this.count && this.edges[2 * to]! < end) {
      this.total -= end - this.edges[2 * to]!;
      this.edges[2 * to] = end;
    }
    this.close(index, to);
    return before - this.total;
  }

  /** Takes everything below `offset` out. */
  removeBelow(offset: number): void {
    if (this.count > 0 && this.edges[0]! < offset) this.remove(this.edges[0]!, offset);
  }

  clear(): void {
    this.count = 0;
    this.total = 0;
    this.edges = NONE;
  }

  has(offset: number): boolean {
    return this.indexOf(offset) >= 0;
  }

  /** Whether all of `start` to `end` (exclusive) is in the set; true of an empty range. */
  covers(start: number, end: number): boolean {
    if (!(start < end)) return true;
    const index = this.indexOf(start);
    return index >= 0 && this.edges[2 * index + 1]! >= end;
  }

  /** Whether any of `start` to `end` (exclusive) is in the set. */
  overlaps(start: number, end: number): boolean {
    if (!(start < end)) return false;
    const index = this.firstEndingAfter(start);
    return index < this.count && this.edges[2 * index]! < end;
  }

  /** Index of the range that holds `offset`, -1 when none does. */
  indexOf(offset: number): number {
    const index = this.firstEndingAfter(offset);
    return index < this.count && this.edges[2 * index]! <= offset ? index : -1;
  }

  /** The smallest offset not below `offset` that is not in the set. */
  firstMissing(offset: number): number {
    const index = this.indexOf(offset);
    return index < 0 ? offset : this.edges[2 * index + 1]!;
  }

  /** The smallest offset not below `offset` that is in the set; Infinity when there is none. */
  firstPresent(offset: number): number {
    const index = this.firstEndingAfter(offset);
    return index < this.count ? Math.max(offset, this.edges[2 * index]!) : Number.POSITIVE_INFINITY;
  }

  /** Index of the first range whose right edge lies above `offset`; `count` when none does. */
  private firstEndingAfter(offset: number): number {
    const { edges } = this;
    let low = 0;
    let high = this.count;
    // Arrivals mostly concern the last range.
    if (high > 0 && edges[2 * high - 1]! <= offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (edges[2 * middle + 1]! > offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  private firstEndingAtOrAfter(offset: number): number {
    const { edges } = this;
    let low = 0;
    let high = this.count;
    if (high > 0 && edges[2 * high - 1]! < offset) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (edges[2 * middle + 1]! >= offset) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Makes room for one range at `index`. */
  private open(index: number): void {
    if (2 * this.count === this.edges.length) {
      const larger = new Float64Array(Math.max(8, 4 * this.count));
      larger.set(this.edges);
      this.edges = larger;
    }
    this.edges.copyWithin(2 * index + 2, 2 * index, 2 * this.count);
    this.count++;
  }

  /** Forgets the ranges `from` to `to` (exclusive). */
  private close(from: number, to: number): void {
    if (from === to) return;
    this.edges.copyWithin(2 * from, 2 * to, 2 * this.count);
    this.count -= to - from;
    if (this.count === 0) this.edges = NONE;
  }
}

const NONE = new Float64Array(0);

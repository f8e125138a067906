/**
 * Data that must be sent again on another subflow (RFC 8684 §3.3.6): ranges of data offsets, in order, each with the
 * subflow that had it. Short in practice: a few ranges when a path fails.
 */
export class Reinjections {
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];
  private readonly owners: number[] = [];

  get isEmpty(): boolean {
    return this.starts.length === 0;
  }

  /** Bytes waiting to be sent again. */
  get bytes(): number {
    let total = 0;
    for (let index = 0; index < this.starts.length; index++) total += this.ends[index]! - this.starts[index]!;
    return total;
  }

  /** First data offset to send again. Meaningless when empty. */
  get start(): number {
    return this.starts[0]!;
  }

  get end(): number {
    return this.ends[0]!;
  }

  /** Id of the subflow that had the first range; 0 when it does not matter. */
  get owner(): number {
    return this.owners[0]!;
  }

  /** Adds [start, end) unless it is there already; overlaps are joined, the earlier owner staying. */
  add(start: number, end: number, owner: number): void {
    let from = start;
    let index = 0;
    while (from < end) {
      while (index < this.starts.length && this.ends[index]! <= from) index++;
      if (index === this.starts.length || this.starts[index]! >= end) {
        this.insert(index, from, end, owner);
        return;
      }
      if (this.starts[index]! > from) {
        this.insert(index, from, this.starts[index]!, owner);
        index++;
      }
      from = this.ends[index]!;
    }
  }

  /** `count` bytes from the front were mapped again. */
  take(count: number): void {
    this.starts[0]! += count;
    if (this.starts[0]! >= this.ends[0]!) this.shift();
  }

  /** Everything below `offset` was DATA_ACKed. */
  releaseBelow(offset: number): void {
    while (this.starts.length > 0 && this.ends[0]! <= offset) this.shift();
    if (this.starts.length > 0 && this.starts[0]! < offset) this.starts[0] = offset;
  }

  clear(): void {
    this.starts.length = 0;
    this.ends.length = 0;
    this.owners.length = 0;
  }

  private insert(index: number, start: number, end: number, owner: number): void {
    this.starts.splice(index, 0, start);
    this.ends.splice(index, 0, end);
    this.owners.splice(index, 0, owner);
  }

  private shift(): void {
    this.starts.shift();
    this.ends.shift();
    this.owners.shift();
  }
}

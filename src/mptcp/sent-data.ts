import type { SendQueue } from '../tcp/send-queue.ts';
import { fold, sum } from '../wire/checksum.ts';
import { MAXIMUM_MAPPING, Mappings, NO_MAPPING } from './mappings.ts';

/**
 * What was given to a subflow to send: its mappings into the connection's rope, how far the peer acknowledged them on
 * the subflow, and a copy of bytes that the rope need not keep for it.
 */
export class SentData {
  private readonly queue: SendQueue;
  /** Those that are not DATA_ACKed, and those behind them. */
  readonly mappings = new Mappings();
  /** One past the last subflow offset mapped. */
  end = 1;
  /** Subflow offset up to which the peer acknowledged. */
  acknowledged = 1;
  /** Mappings are not in the order of data: something was reinjected here. */
  private unordered = false;
  /** Bytes [ownStart, ownStart + own.length) are kept here, no longer in the connection's rope. */
  private own: Uint8Array | null = null;
  private ownStart = 0;

  constructor(queue: SendQueue) {
    this.queue = queue;
  }

  /**
   * Maps `length` bytes of data from `dataStart` to the end of the subflow.
   *
   * @param nxt what lies below this subflow offset was sent
   * @param fin the DATA_FIN follows the last of them
   */
  map(nxt: number, dataStart: number, length: number, fin: boolean): void {
    const { mappings } = this;
    const last = mappings.count - 1;
    if (
      last >= 0 &&
      mappings.subflowStart(last) >= nxt &&
      mappings.dataStart(last) + mappings.length(last) === dataStart &&
      mappings.length(last) + length <= MAXIMUM_MAPPING
    ) {
      // A5.07: the last mapping grows while no byte of it was sent.
      mappings.extendLast(length);
    } else {
      if (last >= 0 && dataStart < mappings.dataStart(last) + mappings.length(last)) this.unordered = true;
      mappings.push(this.end, dataStart, length);
    }
    if (fin) mappings.markFin(mappings.count - 1);
    this.end += length;
  }

  copyTo(offset: number, length: number, target: Uint8Array, at: number): void {
    let from = offset;
    let to = at;
    let left = length;
    while (left > 0) {
      if (this.own !== null && from < this.ownStart + this.own.length) {
        const start = from - this.ownStart;
        const count = Math.min(left, this.own.length - start);
        for (let index = 0; index < count; index++) target[to + index] = this.own[start + index]!;
        from += count;
        to += count;
        left -= count;
        continue;
      }
      const mapping = this.mappings.find(from);
      const inside = from - this.mappings.subflowStart(mapping);
      const count = Math.min(left, this.mappings.length(mapping) - inside);
      this.queue.copyTo(this.mappings.dataStart(mapping) + inside, count, target, to);
      from += count;
      to += count;
      left -= count;
    }
  }

  /** Everything below `offset` was acknowledged on the subflow, and data below `dataUna` as data. */
  release(offset: number, dataUna: number): void {
    this.acknowledged = offset;
    this.forget(dataUna);
    if (this.own !== null && offset >= this.ownStart + this.own.length) this.own = null;
  }

  /**
   * Forgets mappings that nobody can ask for any more. A peer may acknowledge bytes on a subflow and drop them with it
   * before they count as data: until the DATA_ACK it is to be known what went here (RFC 8684 §3.3.6, A9.12).
   */
  forget(dataUna: number): void {
    this.mappings.releaseBelow(this.acknowledged, dataUna);
    if (this.mappings.count === 0) this.unordered = false;
  }

  /** The subflow is over. */
  clear(): void {
    this.mappings.clear();
    this.own = null;
  }

  /** Data offset that ends with subflow offset `offset`; 0 when it is not mapped. */
  dataEnd(offset: number): number {
    const mapping = this.mappings.find(offset - 1);
    if (mapping === NO_MAPPING) return 0;
    return this.mappings.dataStart(mapping) + (offset - this.mappings.subflowStart(mapping));
  }

  /** Lowest data offset whose bytes may still be needed from the rope; Infinity when none. */
  get lowestHeld(): number {
    const { mappings } = this;
    const count = mappings.count;
    if (count === 0) return Number.POSITIVE_INFINITY;
    const ownEnd = this.own === null ? 0 : this.ownStart + this.own.length;
    const needed = Math.max(this.acknowledged, ownEnd);
    let lowest = Number.POSITIVE_INFINITY;
    for (let index = mappings.firstBeyond(needed); index < count; index++) {
      // A mapping may have grown since its bytes were copied.
      const start = mappings.dataStart(index) + Math.max(0, needed - mappings.subflowStart(index));
      if (start < lowest) lowest = start;
      if (!this.unordered) break;
    }
    return lowest;
  }

  /**
   * Its data goes to others, or went there and was acknowledged. RFC 8684 §3.3.6 wants the original bytes resent here
   * all the same, so they are copied: at most what is in flight, and the rope is free to go on.
   *
   * @param una TCP's: what lies below is not resent
   */
  keepOwnCopy(una: number): void {
    if (this.end <= una || this.mappings.count === 0) return;
    if (this.own !== null && this.ownStart + this.own.length === this.end) return;
    const bytes = new Uint8Array(this.end - una);
    this.copyTo(una, bytes.length, bytes, 0);
    this.own = bytes;
    this.ownStart = una;
  }

  /**
   * Hands every mapping that is not DATA_ACKed to `take(dataStart, dataEnd)`; with `travelling` only those that the
   * subflow has not delivered either.
   */
  forEachUnacknowledged(travelling: boolean, take: (dataStart: number, dataEnd: number) => void): void {
    const { mappings } = this;
    for (let index = travelling ? mappings.firstBeyond(this.acknowledged) : 0; index < mappings.count; index++) {
      take(mappings.dataStart(index), mappings.dataStart(index) + mappings.length(index));
    }
  }

  /** Bytes from `dataOffset` to the end of the mapping that still has to bring it here; 0 when none has. */
  runFrom(dataOffset: number): number {
    const { mappings } = this;
    for (let index = mappings.firstBeyond(this.acknowledged); index < mappings.count; index++) {
      const start = mappings.dataStart(index);
      const end = start + mappings.length(index);
      if (dataOffset < start || dataOffset >= end) continue;
      if (mappings.subflowStart(index) + (dataOffset - start) >= this.acknowledged) return end - dataOffset;
    }
    return 0;
  }

  /** Whether the byte at `dataOffset` is mapped here, acknowledged at subflow level or not. */
  carried(dataOffset: number): boolean {
    const { mappings } = this;
    for (let index = 0; index < mappings.count; index++) {
      const start = mappings.dataStart(index);
      if (dataOffset >= start && dataOffset < start + mappings.length(index)) return true;
    }
    return false;
  }

  /** Whether the byte at `dataOffset` is mapped here and not yet acknowledged at subflow level. */
  holds(dataOffset: number): boolean {
    return this.runFrom(dataOffset) > 0;
  }

  /** Folded sum of a mapping's bytes, computed once: its checksum is the same on each of its segments (A5.20). */
  sumOf(mapping: number): number {
    let payload = this.mappings.note(mapping);
    if (payload < 0) {
      const length = this.mappings.length(mapping);
      const bytes = new Uint8Array(length);
      this.copyTo(this.mappings.subflowStart(mapping), length, bytes, 0);
      payload = fold(sum(bytes, 0, length, 0));
      this.mappings.setNote(mapping, payload);
    }
    return payload;
  }
}

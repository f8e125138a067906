import type { ByteSink } from './seams.ts';

/**
 * Received bytes by stream offset (the first byte is 1), in a ring that is as large as what it holds: storage is a
 * power of two, taken with the first byte and doubled as needed up to the limit, so that an idle connection costs
 * nothing. Bytes ahead of a gap are put where they belong at once; whoever writes knows which ones are present.
 *
 *     read <= next <= every byte written < read + limit
 *
 * Bytes `[read, next)` are in order and readable. No more than `limit` bytes from `read` on are ever held, whatever
 * the peer sends: what does not fit is not taken.
 */
export class ReceiveRing implements ByteSink {
  readonly sharesWindow = false;
  /** Offset of the next byte the application will read. */
  read = 1;
  /** Offset one past the last byte that is in order. */
  next = 1;
  /** Bytes that may be held: what is offered to the peer. Grows by `adjust`, up to `maximum`. */
  limit: number;
  maximum: number;
  /** What `setLimit` asked for; `limit` comes down to it as bytes are read, for the right edge never moves back. */
  private wanted: number;
  /** Capacity of `storage`, 0 or a power of two. */
  private storage: Uint8Array = EMPTY;
  private mask = 0;
  /** Offset one past the furthest byte written: the storage holds `[read, furthest)`. */
  private furthest = 1;
  /** Start of the round trip over which `adjust` measures the application; -1 before the first. */
  private roundStart = -1;
  private roundRead = 1;
  /** Most bytes held since the ring was empty last, and how often in a row that was little. */
  private peak = 0;
  private frugalTimes = 0;
  /** Times in a row after which memory is given back: twice as many each time, for what is needed again and again. */
  private patience = 16;

  /** @param limit bytes that may be held at first @param maximum bytes that `adjust` may raise it to */
  constructor(limit: number, maximum: number) {
    this.limit = limit;
    this.wanted = limit;
    this.maximum = Math.max(limit, maximum);
  }

  /** Bytes that can be read now. */
  get readable(): number {
    return this.next - this.read;
  }

  /** Bytes of memory taken. */
  get capacity(): number {
    return this.storage.length;
  }

  write(_now: number, offset: number, bytes: Uint8Array, start: number, length: number): number {
    const room = this.read + this.limit - offset;
    if (length > room) length = room;
    if (length <= 0 || offset < this.read) return 0;
    const end = offset + length;
    if (end - this.read > this.storage.length) this.grow(end - this.read);
    if (end > this.furthest) this.furthest = end;
    if (end - this.read > this.peak) this.peak = end - this.read;
    const at = offset & this.mask;
    const first = this.storage.length - at;
    if (length <= first) {
      copy(bytes, start, length, this.storage, at);
    } else {
      copy(bytes, start, first, this.storage, at);
      copy(bytes, start + first, length - first, this.storage, 0);
    }
    return length;
  }

  advance(_now: number, offset: number): void {
    if (offset > this.next) this.next = offset;
  }

  window(next: number): number {
    const room = this.read + this.limit - next;
    return Math.max(room, 0);
  }

  /**
   * Copies up to `length` readable bytes to `target` from `start` on, and consumes them. Returns how many; 0 when none
   * are readable.
   */
  readInto(target: Uint8Array, start: number, length: number): number {
    const count = this.copyOut(target, start, length);
    this.consume(count);
    return count;
  }

  /** The same without consuming (MSG_PEEK). */
  copyOut(target: Uint8Array, start: number, length: number): number {
    const count = Math.min(length, this.readable, target.length - start);
    if (count <= 0) return 0;
    const at = this.read & this.mask;
    const first = this.storage.length - at;
    if (count <= first) {
      copy(this.storage, at, count, target, start);
    } else {
      copy(this.storage, at, first, target, start);
      copy(this.storage, 0, count - first, target, start + first);
    }
    return count;
  }

  /** The first readable bytes that stand together, as a view that is good until the next call; empty when none are. */
  peek(): Uint8Array {
    if (this.next === this.read) return EMPTY;
    const at = this.read & this.mask;
    return this.storage.subarray(at, Math.min(at + this.readable, this.storage.length));
  }

  /** Gives up the first `count` readable bytes. @throws RangeError when there are fewer */
  consume(count: number): void {
    if (count < 0 || count > this.readable) throw new RangeError(`consume(${count}) of ${this.readable} readable`);
    this.read += count;
    if (this.limit > this.wanted) this.limit = Math.max(this.wanted, this.limit - count);
    if (this.furthest < this.read) this.furthest = this.read;
    if (this.furthest === this.read && this.storage.length > KEPT) this.onEmptied();
  }

  /**
   * Autotuning, to be called as the application reads: when it took more than half of the limit within one round trip,
   * the limit was (or is about to be) what bounds the transfer, and twice what it took is offered from now on. The
   * idea is Linux's dynamic right-sizing; the limit never shrinks.
   *
   * @param roundTrip ms; 0 while unknown
   * @returns whether the limit grew
   */
  adjust(now: number, roundTrip: number): boolean {
    if (this.roundStart < 0) {
      this.roundStart = now;
      this.roundRead = this.read;
      return false;
    }
    if (roundTrip <= 0 || now - this.roundStart < roundTrip) return false;
    // A pause longer than the round trip says nothing about the rate.
    const took = ((this.read - this.roundRead) * roundTrip) / (now - this.roundStart);
    this.roundStart = now;
    this.roundRead = this.read;
    if (took * 2 <= this.limit || this.limit >= this.maximum) return false;
    this.limit = Math.min(this.maximum, Math.ceil(took * 2) + HEADROOM);
    this.wanted = this.limit;
    return true;
  }

  /** Sets the limit by hand (SO_RCVBUF) and ends autotuning. What was offered before is still taken. */
  setLimit(bytes: number): void {
    this.wanted = bytes;
    this.maximum = bytes;
    if (this.limit < bytes) this.limit = bytes;
  }

  /** Frees all memory and takes no more bytes. */
  close(): void {
    this.read = this.next;
    this.furthest = this.next;
    this.limit = 0;
    this.drop();
  }

  private grow(needed: number): void {
    let capacity = Math.max(this.storage.length * 2, MINIMUM);
    while (capacity < needed) capacity *= 2;
    const storage = new Uint8Array(capacity);
    const held = this.furthest - this.read;
    // What is held keeps its offset and gets a new place.
    for (let moved = 0; moved < held; ) {
      const from = (this.read + moved) & this.mask;
      const to = (this.read + moved) & (capacity - 1);
      const run = Math.min(held - moved, this.storage.length - from, capacity - to);
      storage.set(this.storage.subarray(from, from + run), to);
      moved += run;
    }
    this.storage = storage;
    this.mask = capacity - 1;
  }

  /** Gives back what one burst needed, once a good many times a quarter of it would have done. */
  private onEmptied(): void {
    const frugal = this.peak * 4 <= this.storage.length;
    this.peak = 0;
    this.frugalTimes = frugal ? this.frugalTimes + 1 : 0;
    if (this.frugalTimes < this.patience) return;
    this.frugalTimes = 0;
    this.patience *= 2;
    this.drop();
  }

  private drop(): void {
    this.storage = EMPTY;
    this.mask = 0;
  }
}

const EMPTY = new Uint8Array(0);
/** First storage, bytes. */
const MINIMUM = 4096;
/** Storage that an empty ring always keeps. */
const KEPT = 65_536;
/** Added to a grown limit: room for the window to open within the round trip. */
const HEADROOM = 16 * 1460;

/** `subarray` and `set` cost more than a loop for a handful of bytes. */
function copy(from: Uint8Array, start: number, length: number, to: Uint8Array, at: number): void {
  if (length > 32) {
    to.set(from.subarray(start, start + length), at);
    return;
  }
  for (let index = 0; index < length; index++) to[at + index] = from[start + index]!;
}

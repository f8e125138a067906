import type { ByteSource } from './seams.ts';

/**
 * Bytes on their way out: a rope of chunks addressed by stream offset, the first byte being 1. It knows nothing of
 * segments or connections, so that one TCP connection and a whole multipath connection use the same.
 *
 * Chunks come from a shared pool in powers of two, from 256 bytes to 64 KiB: a queue that never held more than ten
 * bytes borrows 256, and one that is empty holds none. A byte is copied once in and once out.
 */
export class SendQueue implements ByteSource {
  /** Offset one past the last byte written. */
  end = 1;
  /** Offset of the oldest byte held; equal to `end` in an empty queue. */
  start = 1;
  /** Bytes that may be held, released ones not counted. */
  private capacity: number;
  /** Chunks in order of offset; those below `head` were released. */
  private chunks: Chunk[] = NO_CHUNKS;
  private head = 0;
  /** Index of the chunk read last: the next read mostly wants the same or the following one. */
  private cursor = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Bytes held. */
  get length(): number {
    return this.end - this.start;
  }

  /** Bytes that `write` would take now. */
  get free(): number {
    return Math.max(0, this.capacity - (this.end - this.start));
  }

  /** Memory that the chunks take, in bytes; an owned buffer counts with what was linked of it. */
  get reserved(): number {
    let bytes = 0;
    for (let index = this.head; index < this.chunks.length; index++) {
      const chunk = this.chunks[index]!;
      bytes += chunk.order < 0 ? chunk.length : chunk.bytes.length;
    }
    return bytes;
  }

  /** Bytes that may be held: `setLimit` moves it. */
  get limit(): number {
    return this.capacity;
  }

  /** Moves the bound, as autotuning or SO_SNDBUF does. Bytes held beyond it stay. */
  setLimit(bytes: number): void {
    this.capacity = bytes;
  }

  /** Copies up to `length` bytes from `bytes` at `start` to the end of the queue; returns how many there was room for. */
  write(bytes: Uint8Array, start: number, length: number): number {
    const taken = Math.min(length, this.free);
    let done = 0;
    while (done < taken) {
      let tail = this.tail();
      if (tail === undefined || tail.room === 0) tail = this.grow(taken - done, tail);
      const count = Math.min(taken - done, tail.room);
      copy(bytes, start + done, count, tail.bytes, tail.at + tail.length);
      tail.length += count;
      tail.room -= count;
      done += count;
    }
    this.end += taken;
    return taken;
  }

  /**
   * Links `length` bytes of `bytes` at `start` instead of copying them; the caller never changes them again. Takes all
   * or, when there is no room at all, none: a queue may exceed its limit by one owned buffer. Returns the bytes taken.
   */
  writeOwned(bytes: Uint8Array, start: number, length: number): number {
    if (this.free === 0 || length === 0) return 0;
    // A chunk record for a handful of bytes costs more than the copy does.
    if (length < OWNED_MINIMUM && length <= this.free) return this.write(bytes, start, length);
    const tail = this.tail();
    // What is left of the tail chunk stays unused: bytes must stand in order.
    if (tail !== undefined) tail.room = 0;
    this.append(new Chunk(bytes, start, this.end, length, 0, -1));
    this.end += length;
    return length;
  }

  /** Copies `length` bytes from stream offset `offset` into `target` at `at`. All of them are held. */
  copyTo(offset: number, length: number, target: Uint8Array, at: number): void {
    if (length === 0) return;
    let index = this.find(offset);
    let done = 0;
    for (;;) {
      const chunk = this.chunks[index]!;
      const skip = offset + done - chunk.offset;
      const count = Math.min(length - done, chunk.length - skip);
      copy(chunk.bytes, chunk.at + skip, count, target, at + done);
      done += count;
      if (done === length) break;
      index++;
    }
    this.cursor = index;
  }

  /** Lets go of everything below `offset`. */
  release(_now: number, offset: number): void {
    if (offset <= this.start) return;
    this.start = Math.min(offset, this.end);
    const { chunks } = this;
    while (this.head < chunks.length) {
      const chunk = chunks[this.head]!;
      if (chunk.offset + chunk.length > this.start) break;
      giveBack(chunk);
      chunks[this.head] = RELEASED;
      this.head++;
    }
    if (this.head === chunks.length) {
      this.chunks = NO_CHUNKS;
      this.head = 0;
      this.cursor = 0;
    } else if (this.head >= COMPACT_AT && 2 * this.head >= chunks.length) {
      chunks.splice(0, this.head);
      this.cursor = Math.max(0, this.cursor - this.head);
      this.head = 0;
    }
  }

  /** Lets go of everything, for a connection that is over. */
  clear(now: number): void {
    this.release(now, this.end);
  }

  private tail(): Chunk | undefined {
    return this.chunks.length > this.head ? this.chunks[this.chunks.length - 1] : undefined;
  }

  /** Adds a chunk for at least some of `wanted` bytes: twice its predecessor, so that busy queues soon use 64 KiB. */
  private grow(wanted: number, tail: Chunk | undefined): Chunk {
    const size = Math.max(wanted, tail === undefined || tail.order < 0 ? 0 : 2 * tail.length);
    const chunk = borrow(size, this.end, tail);
    this.append(chunk);
    return chunk;
  }

  private append(chunk: Chunk): void {
    if (this.chunks === NO_CHUNKS) this.chunks = [];
    this.chunks.push(chunk);
  }

  /** Index of the chunk that holds `offset`. */
  private find(offset: number): number {
    const { chunks } = this;
    let low = this.head;
    let high = chunks.length - 1;
    if (this.cursor >= low && this.cursor <= high) {
      const chunk = chunks[this.cursor]!;
      if (offset >= chunk.offset) {
        if (offset < chunk.offset + chunk.length) return this.cursor;
        if (this.cursor < high) {
          const next = chunks[this.cursor + 1]!;
          if (offset < next.offset + next.length) return this.cursor + 1;
        }
        low = this.cursor;
      } else high = this.cursor;
    }
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = chunks[middle]!;
      if (offset < chunk.offset + chunk.length) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

/** A run of bytes in the rope. */
class Chunk {
  readonly bytes: Uint8Array;
  /** Where in `bytes` it begins. */
  readonly at: number;
  /** Stream offset of its first byte. */
  readonly offset: number;
  /** Bytes written. */
  length: number;
  /** Bytes that may still be written. */
  room: number;
  /** Its class in the pool; -1 for a buffer that belongs to the caller. */
  readonly order: number;

  constructor(bytes: Uint8Array, at: number, offset: number, length: number, room: number, order: number) {
    this.bytes = bytes;
    this.at = at;
    this.offset = offset;
    this.length = length;
    this.room = room;
    this.order = order;
  }
}

/** Buffers of 2^(8 + order) bytes that nobody uses; a cache shared by all queues, bounded per order. */
const pool: Uint8Array[][] = [[], [], [], [], [], [], [], [], []];
const SMALLEST_ORDER_BITS = 8;
const LARGEST_ORDER = 8;
/** Bytes the pool keeps per order at most: 4 MiB. */
const POOL_BYTES = 4_194_304;
/** Below this, `writeOwned` copies. */
const OWNED_MINIMUM = 1024;
/** Released entries of `chunks` that are tolerated at its front. */
const COMPACT_AT = 32;
const NO_CHUNKS: Chunk[] = [];
const RELEASED = new Chunk(new Uint8Array(0), 0, 0, 0, 0, -1);

function borrow(wanted: number, written: number, tail: Chunk | undefined): Chunk {
  let order = 0;
  while (order < LARGEST_ORDER && 1 << (SMALLEST_ORDER_BITS + order) < wanted) order++;
  const size = 1 << (SMALLEST_ORDER_BITS + order);
  const bytes = pool[order]!.pop() ?? new Uint8Array(size);
  // `written` lags behind while one call fills several chunks; the tail knows better.
  const offset = tail === undefined ? written : tail.offset + tail.length;
  return new Chunk(bytes, 0, offset, 0, size, order);
}

function giveBack(chunk: Chunk): void {
  if (chunk.order < 0) return;
  const free = pool[chunk.order]!;
  if (free.length << (SMALLEST_ORDER_BITS + chunk.order) < POOL_BYTES) free.push(chunk.bytes);
}

/** Short runs are faster by hand than through a view: bench/queue.ts. */
function copy(from: Uint8Array, start: number, length: number, to: Uint8Array, at: number): void {
  if (length < 64) {
    for (let index = 0; index < length; index++) to[at + index] = from[start + index]!;
  } else to.set(from.subarray(start, start + length), at);
}

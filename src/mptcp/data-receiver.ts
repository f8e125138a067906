import { Ranges } from '../tcp/ranges.ts';
import type { ReceiveRing } from '../tcp/receive-ring.ts';
import { DataSequenceSpace } from '../wire/sequence.ts';
import type { MptcpConnection } from './connection.ts';
import { ConnectionEvent } from './connection-event.ts';
import type { MptcpCounters } from './counters.ts';
import type { Key } from './keys.ts';
import type { Subflow } from './subflow.ts';

/**
 * The receiving half of a connection: the ring that bytes of all subflows are written to at their data offsets, what of
 * it is contiguous, the one receive window (RFC 8684 §3.3.1) and the peer's DATA_FIN.
 */
export class DataReceiver {
  private readonly connection: MptcpConnection;
  private readonly counters: MptcpCounters;
  /** Between data offsets and the peer's DSNs; null until its key is known. */
  space: DataSequenceSpace | null = null;
  readonly ring: ReceiveRing;
  /** Next data offset expected; past a DATA_FIN that was received in order. */
  next = 1;
  private readonly outOfOrder = new Ranges();
  /** Data offset of the peer's DATA_FIN; Infinity while unknown. */
  private finOffset = Number.POSITIVE_INFINITY;
  /** The peer's DATA_FIN, and all before it, was received. */
  finished = false;
  /** The peer sends 64-bit DSNs, so our DATA_ACKs have 64 bits. */
  peerUses64 = false;
  /** Bytes received, each once. */
  bytesReceived = 0;
  lastDataReceived = -1;

  constructor(connection: MptcpConnection, ring: ReceiveRing) {
    this.connection = connection;
    this.counters = connection.counters;
    this.ring = ring;
  }

  /** The peer's first DSN is known. */
  setPeerKey(key: Key): void {
    this.space = new DataSequenceSpace(key.idsnHigh, key.idsnLow);
  }

  /** Data-level bytes offered to the peer beyond `next` (A9.01). */
  get window(): number {
    return this.finished ? this.ring.window(this.ring.next) : this.ring.window(this.next);
  }

  /** Bytes with data offset `start`, from a subflow. Returns how many are done with (taken, or rightly dropped). */
  onData(now: number, start: number, bytes: Uint8Array, at: number, length: number): number {
    const { connection } = this;
    this.lastDataReceived = now;
    if (connection.orphaned || connection.closeReason >= 0) {
      // Nobody will read it: the peer is told so (A7.14). What was read before and comes once more is no reason.
      if (connection.closeReason < 0 && start + length > this.next) connection.onUnwantedData();
      return length;
    }
    let from = start;
    let offset = at;
    let left = length;
    if (from < this.next) {
      const known = Math.min(left, this.next - from);
      this.counters.DuplicateData++;
      from += known;
      offset += known;
      left -= known;
      if (left === 0) return length;
    }
    const limit = Math.min(this.next + this.window, this.finOffset);
    if (from >= limit) {
      // RFC 8684 §3.8: data outside of the window is dropped and not DATA_ACKed.
      this.counters.NoDSSInWindow++;
      return length;
    }
    if (from + left > limit) {
      this.counters.NoDSSInWindow++;
      left = limit - from;
    }
    if (from > this.next) {
      this.storeAhead(now, from, bytes, offset, left);
      return length;
    }
    if (this.outOfOrder.count === 0) this.keep(now, from, bytes, offset, left);
    else this.keepMissing(now, from, bytes, offset, left);
    this.next = from + left;
    if (this.outOfOrder.count > 0) this.mergeOutOfOrder();
    this.ring.advance(now, this.next);
    connection.events |= ConnectionEvent.Readable;
    if (this.next === this.finOffset) this.finish(now);
    return length;
  }

  private keep(now: number, from: number, bytes: Uint8Array, at: number, length: number): void {
    this.ring.write(now, from, bytes, at, length);
    this.bytesReceived += length;
  }

  /** Puts where they belong those bytes that are not here already: the first copy wins (A5.15, A5.17). */
  private keepMissing(now: number, from: number, bytes: Uint8Array, at: number, length: number): void {
    const { outOfOrder } = this;
    const end = from + length;
    let position = from;
    while (position < end) {
      const missing = outOfOrder.firstMissing(position);
      if (missing > position) {
        this.counters.DuplicateData++;
        position = missing;
        continue;
      }
      const stop = Math.min(end, outOfOrder.firstPresent(position));
      this.keep(now, position, bytes, at + (position - from), stop - position);
      position = stop;
    }
  }

  /** Ahead of a gap. */
  private storeAhead(now: number, from: number, bytes: Uint8Array, at: number, length: number): void {
    const { outOfOrder } = this;
    const end = from + length;
    const runs = outOfOrder.count;
    if (runs === 0 || from >= outOfOrder.end(runs - 1)) this.counters.OFOQueueTail++;
    else this.counters.OFOQueue++;
    this.keepMissing(now, from, bytes, at, length);
    outOfOrder.insert(from, end);
    if (outOfOrder.count <= runs) this.counters.OFOMerge++;
  }

  private mergeOutOfOrder(): void {
    const { outOfOrder } = this;
    this.next = outOfOrder.firstMissing(this.next);
    outOfOrder.removeBelow(this.next);
  }

  /** A DATA_FIN with data offset `offset`. */
  onDataFin(now: number, subflow: Subflow, offset: number): void {
    if (this.finished) {
      if (offset === this.finOffset) {
        // A10.12: acknowledged again.
        this.counters.DataFinDuplicate++;
        subflow.options.wantsDataAck = true;
      } else this.counters.DataFinMismatch++;
      return;
    }
    if (this.finOffset !== Number.POSITIVE_INFINITY && this.finOffset !== offset) {
      this.counters.DataFinMismatch++;
      return;
    }
    if (offset < this.next || offset > this.next + this.window) {
      this.counters.NoDSSInWindow++;
      return;
    }
    this.finOffset = offset;
    // A10.02, A10.11: it counts once everything before it is here.
    if (offset === this.next) {
      this.finish(now);
      subflow.options.wantsDataAck = true;
    }
  }

  /** Everything is here: up to the DATA_FIN, after fallback up to the subflow's FIN. */
  finish(now: number): void {
    if (this.finished) return;
    this.finished = true;
    // A peer that finished before what it had sent already: none of that belongs to the stream.
    this.outOfOrder.clear();
    if (!this.connection.fallenBack) this.next = this.finOffset + 1;
    this.connection.onPeerFinished(now);
  }
}

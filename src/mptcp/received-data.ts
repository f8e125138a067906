import { Verdict } from '../tcp/seams.ts';
import { ResetReason } from '../wire/mptcp-options.ts';
import type { Segment } from '../wire/segment.ts';
import type { MptcpConnection } from './connection.ts';
import type { MptcpCounters } from './counters.ts';
import { pseudoSum, Staging } from './dss-checksum.ts';
import { FallbackReason } from './fallback.ts';
import { Mappings, NO_MAPPING } from './mappings.ts';
import type { Subflow } from './subflow.ts';

/** Without checksums nothing waits, and most connections have none. */
const NOTHING: Map<number, Staging> = new Map();

/** Mappings a peer may make us hold ahead of the data that they map. */
const HELD_MAPPINGS = 8192;

/**
 * How bytes that come on a subflow become data of the connection: the mappings received, the bytes that wait for the
 * checksum of theirs, and after fallback the shift that makes a mapping of everything.
 */
export class ReceivedData {
  private readonly subflow: Subflow;
  private readonly connection: MptcpConnection;
  private readonly counters: MptcpCounters;
  private readonly mappings = new Mappings();
  /** After fallback: data offset = subflow offset + shift. NaN before. */
  private plainShift = Number.NaN;
  /** Checksum mode: bytes of incomplete mappings, by subflow offset of the mapping. */
  private staging: Map<number, Staging> = NOTHING;

  constructor(subflow: Subflow) {
    this.subflow = subflow;
    this.connection = subflow.connection;
    this.counters = subflow.connection.counters;
  }

  /** The bytes are the stream itself: mappings are over. */
  get isPlain(): boolean {
    return !Number.isNaN(this.plainShift);
  }

  /** They are from the first one on. */
  startPlain(): void {
    this.plainShift = 0;
  }

  /** A mapping came with `segment`. Returns a `Verdict`. */
  addMapping(now: number, segment: Segment, subflowStart: number, dataStart: number, length: number): number {
    const { connection } = this;
    const nxt = this.subflow.tcp!.receiver.nxt;
    if (subflowStart + length <= nxt) return Verdict.Accept;
    const misses = subflowStart > segment.offset || subflowStart + length <= segment.offset;
    if (subflowStart < 1 || (segment.length > 0 && misses)) {
      // A5.05: the mapping does not cover the bytes it came with, or some from before the first one.
      this.counters.DSSNoMatchTCP++;
      return this.corrupt(now);
    }
    // What begins beyond the window maps bytes that may not be sent yet; without this bound a peer could have us keep
    // room for as many mappings as it likes to make up.
    if (this.mappings.count >= HELD_MAPPINGS || subflowStart >= this.subflow.tcp!.receiver.limit) {
      this.counters.UnmappedAhead++;
      return Verdict.IgnorePayload;
    }
    // Data and subflow offsets of the initial subflow agree until something came twice or went elsewhere.
    if (dataStart !== subflowStart) connection.fallback.bar();
    if (connection.checksums) return this.addChecked(now, segment, subflowStart, dataStart, length);
    if (this.mappings.insert(subflowStart, dataStart, length) === NO_MAPPING) {
      this.counters.DSSNotMatching++;
      return this.corrupt(now);
    }
    return Verdict.Accept;
  }

  /** Checksum mode: a mapping stands or falls as a whole, so only exact repeats may overlap it. */
  private addChecked(now: number, segment: Segment, subflowStart: number, dataStart: number, length: number): number {
    const options = segment.mptcp;
    const known = this.mappings.find(subflowStart);
    if (known !== NO_MAPPING) {
      const same =
        this.mappings.subflowStart(known) === subflowStart &&
        this.mappings.dataStart(known) === dataStart &&
        this.mappings.length(known) === length;
      if (same) return Verdict.Accept;
      this.counters.DSSNotMatching++;
      return this.corrupt(now);
    }
    const before = this.mappings.count;
    const index = this.mappings.insert(subflowStart, dataStart, length);
    if (index === NO_MAPPING || this.mappings.count !== before + 1 || this.mappings.length(index) !== length) {
      this.counters.DSSNotMatching++;
      return this.corrupt(now);
    }
    const space = this.connection.receiver.space!;
    const { dataLength } = options;
    const header = pseudoSum(space.toWireHigh(dataStart), space.toWireLow(dataStart), subflowStart, dataLength);
    if (this.staging === NOTHING) this.staging = new Map();
    this.staging.set(subflowStart, new Staging(dataStart, length, header, options.checksum));
    return Verdict.Accept;
  }

  /** A8.13: a mapping that cannot be true: plain TCP while that is possible, a reset of this subflow otherwise. */
  private corrupt(now: number): number {
    const { connection } = this;
    if (connection.fallback.isPossible(this.subflow)) {
      this.counters.DSSCorruptionFallback++;
      connection.fallback.enter(now, FallbackReason.Corruption);
      return Verdict.Accept;
    }
    this.counters.DSSCorruptionReset++;
    return this.subflow.fail(ResetReason.Middlebox);
  }

  /** Payload may enter only with a mapping for its first new byte; else A8.11, A8.12. */
  requireMapping(now: number, segment: Segment): number {
    const { connection } = this;
    const nxt = this.subflow.tcp!.receiver.nxt;
    const first = Math.max(segment.offset + ((segment.flags >> 1) & 1), nxt);
    if (first >= segment.offset + segment.length) return Verdict.Accept; // nothing new
    if (this.mappings.find(first) !== NO_MAPPING) return Verdict.Accept;
    if (first > nxt) {
      // Its mapping may come with an earlier segment; TCP will send these bytes again.
      this.counters.UnmappedAhead++;
      return Verdict.IgnorePayload;
    }
    if (connection.fallback.isPossible(this.subflow)) {
      this.counters.DssFallback++;
      connection.fallback.enter(now, FallbackReason.NoMapping);
      return Verdict.Accept;
    }
    this.counters.FallbackFailed++;
    return this.subflow.fail(ResetReason.Middlebox);
  }

  /** Bytes that TCP has for its sink. Returns how many are done with. */
  write(now: number, offset: number, bytes: Uint8Array, start: number, length: number): number {
    const { checksums, receiver } = this.connection;
    if (this.isPlain) return receiver.onData(now, offset + this.plainShift, bytes, start, length);
    let done = 0;
    while (done < length) {
      const at = offset + done;
      const mapping = this.mappings.find(at);
      if (mapping === NO_MAPPING) {
        if (done === 0) this.counters.UnmappedAhead++;
        break;
      }
      const inside = at - this.mappings.subflowStart(mapping);
      const count = Math.min(length - done, this.mappings.length(mapping) - inside);
      if (checksums) {
        this.stage(now, at, bytes, start + done, count);
        done += count;
      } else {
        const data = this.mappings.dataStart(mapping) + inside;
        const taken = receiver.onData(now, data, bytes, start + done, count);
        done += taken;
        if (taken < count) break;
      }
    }
    return done;
  }

  /** Checksum mode: bytes wait until their mapping is complete and its sum is right (A5.21). */
  private stage(now: number, at: number, bytes: Uint8Array, start: number, length: number): void {
    for (const [begin, staging] of this.staging) {
      if (at < begin || at >= begin + staging.bytes.length) continue;
      staging.bytes.set(bytes.subarray(start, start + length), at - begin);
      staging.missing -= length;
      if (staging.missing > 0) return;
      this.staging.delete(begin);
      if (staging.isRight) {
        this.connection.receiver.onData(now, staging.dataStart, staging.bytes, 0, staging.bytes.length);
      } else {
        this.connection.fallback.onChecksumFailure(now, this.subflow, staging.dataStart, staging.bytes);
      }
      return;
    }
  }

  /** The receiver's next subflow offset is `offset`. */
  advance(offset: number): void {
    this.mappings.releaseBelow(offset, Number.POSITIVE_INFINITY);
  }

  /** The connection fell back: from here on the bytes are the stream itself. */
  enterPlain(now: number): void {
    if (!this.isPlain) {
      this.deliverStaged(now);
      this.plainShift = this.connection.receiver.next - this.subflow.tcp!.receiver.nxt;
    }
    this.staging.clear();
  }

  /** What TCP acknowledged of a mapping that will never be whole is part of the plain stream. */
  private deliverStaged(now: number): void {
    const { nxt } = this.subflow.tcp!.receiver;
    for (const [begin, staging] of this.staging) {
      const here = Math.min(staging.bytes.length, nxt - begin);
      if (here > 0) this.connection.receiver.onData(now, staging.dataStart, staging.bytes, 0, here);
    }
  }

  /** Bytes behind a gap wait for their checksum: no place to become plain TCP at (RFC 8684 §3.7: contiguous). */
  get hasUncheckedAhead(): boolean {
    return this.staging.size > 0 && this.subflow.tcp!.receiver.held.count > 0;
  }
}

import { Option, type Segment } from '../wire/segment.ts';
import type { SequenceSpace } from '../wire/sequence.ts';
import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';
import { Ranges } from './ranges.ts';
import type { RttEstimator } from './rtt.ts';
import type { ByteSink } from './seams.ts';

/** What the handshake settled for the receiving half. */
export interface ReceiverOptions {
  /** The peer's sequence space. */
  readonly space: SequenceSpace;
  /** Bytes our SYN offered, from offset 1. */
  readonly offeredWindow: number;
  /** Shift of the windows we send. */
  readonly windowScale: number;
  readonly sackPermitted: boolean;
  /** Payload of a full segment of ours, for want of better knowledge that of the peer's too. */
  readonly segmentSize: number;
}

/**
 * The receiving half of a connection: what came, what is offered, what is to be acknowledged and when.
 *
 * Invariants: `nxt` and `edge` never decrease. `held` lies above `nxt`, and its bytes are in the sink. A byte goes
 * into the sink once.
 */
export class Receiver {
  /** RCV.NXT: the next octet expected in order. */
  nxt = 1;
  /** Offset one past the last octet ever offered to the peer. */
  edge: number;
  /** The edge that the last segment told; behind `edge` only when the sink shares its window. */
  private promised: number;
  /** Offset of the peer's FIN; Infinity until one was seen in the window. Once `nxt` is beyond it, it was processed. */
  finOffset = Number.POSITIVE_INFINITY;
  /** What the last segment we sent acknowledged (Last.ACK.sent of RFC 7323 §4.3). */
  acknowledged = 1;
  /** An ACK should go out at once. */
  ackNow = false;
  /** When a delayed ACK goes out; Infinity when none is owed. */
  ackDeadline = Number.POSITIVE_INFINITY;
  readonly space: SequenceSpace;
  readonly sink: ByteSink;
  /** Out-of-order bytes that the sink has. */
  readonly held: Ranges = new Ranges();

  private readonly config: TcpConfig;
  private readonly counters: TcpCounters;
  private readonly rtt: RttEstimator;
  private readonly sackPermitted: boolean;
  /** Bytes that one unit of the window field stands for. */
  private readonly unit: number;
  private readonly segmentSize: number;
  /** The largest room the sink ever had: stands for the buffer in RFC 9293 §3.8.6.2.2. */
  private largestRoom: number;
  /** The window field last sent was zero. */
  private closed = false;

  /** Start edges of the ranges of `held` that changed last, newest first (RFC 2018 §4). */
  private recent: Float64Array = NOTHING;
  private recentCount = 0;
  /** RFC 2883: the duplicate to report with the next ACK; the end is 0 when there is none. */
  private duplicateStart = 0;
  private duplicateEnd = 0;

  /** Payload of the peer's full segments as seen: Linux's rcv_mss. */
  private fullSize: number;
  /** ACKs that still go out at once. */
  private quick = -1;
  /** Delay of ACKs, adapted to the time between segments (Linux's ato). */
  private delay: number;
  private lastDataAt = Number.NEGATIVE_INFINITY;
  /** Data flows both ways, so that ACKs find a ride. */
  private interactive = false;

  constructor(config: TcpConfig, counters: TcpCounters, rtt: RttEstimator, sink: ByteSink, options: ReceiverOptions) {
    this.config = config;
    this.counters = counters;
    this.rtt = rtt;
    this.sink = sink;
    this.space = options.space;
    this.edge = 1 + options.offeredWindow;
    this.promised = this.edge;
    this.largestRoom = options.offeredWindow;
    this.unit = 2 ** options.windowScale;
    this.sackPermitted = options.sackPermitted;
    this.segmentSize = options.segmentSize;
    // As Linux guesses before it has seen a segment.
    this.fullSize = Math.max(88, Math.min(options.segmentSize, 536, options.offeredWindow / 2));
    this.delay = config.delayedAckMinimum;
  }

  /**
   * One past the last octet that is taken. What was offered stays offered; and as a sink may share its room with
   * others, what it has room for now is taken too.
   */
  get limit(): number {
    const room = this.nxt + this.sink.window(this.nxt);
    return Math.max(room, this.edge);
  }

  /** The peer's FIN was processed. */
  get finished(): boolean {
    return this.nxt > this.finOffset;
  }

  /** An ACK is owed, now or later. */
  get ackOwed(): boolean {
    return this.ackNow || this.ackDeadline !== Number.POSITIVE_INFINITY;
  }

  /**
   * RFC 9293 §3.10.7.4, table 6: whether a segment that takes `[offset, end)` of sequence space is acceptable. As in
   * Linux two sorts are let through beyond it, as they can do no harm: a segment without octets that stands right
   * behind the window (an ACK of a peer that filled it, while something before it was lost), or before RCV.NXT but not
   * before what we acknowledged last (a pure ACK overtaken by data).
   */
  accepts(offset: number, end: number): boolean {
    if (end === offset) {
      return offset >= this.acknowledged && (offset <= this.edge || offset <= this.limit);
    }
    return end > this.nxt && (offset < this.edge || offset < this.limit);
  }

  /**
   * Text of an acceptable segment: `length` bytes of `bytes` from `start`. `size` is the payload that one segment on
   * the wire had (`length` itself unless the link merged several). Returns whether `nxt` moved.
   */
  onData(now: number, offset: number, bytes: Uint8Array, start: number, length: number, size: number): boolean {
    let end = offset + length;
    const before = this.nxt;
    if (end > this.edge) {
      // RFC 9293 §3.10.7.4: only what lies within the window is processed.
      const limit = this.limit;
      if (end > limit) {
        end = limit;
        this.counters.TCPRcvWindowTrimmed++;
        this.ackNow = true;
      }
    }
    if (end > this.finOffset) end = this.finOffset;
    if (offset < before) {
      this.counters.DelayedACKLost++;
      this.counters.TCPDSACKOldSent++;
      this.reportDuplicate(offset, Math.min(end, before));
      this.enterQuick();
      this.ackNow = true;
      start += before - offset;
      offset = before;
    }
    if (end <= offset) {
      this.ackNow = true;
      return false;
    }
    if (offset > before) {
      this.onGap(now, offset, end, bytes, start);
      return false;
    }
    if (this.held.count === 0) {
      const taken = this.sink.write(now, offset, bytes, start, end - offset);
      this.nxt = offset + taken;
      if (taken < end - offset) this.onShort();
    } else {
      this.fill(now, offset, end, bytes, start);
      const nxt = this.held.firstMissing(offset);
      this.held.removeBelow(nxt);
      this.nxt = nxt;
      this.forgetBelow(nxt);
      // RFC 5681 §4.2: "send an immediate ACK when it receives a data segment that fills in all or part of a gap".
      this.ackNow = true;
    }
    if (this.nxt === before) return false;
    this.sink.advance(now, this.nxt);
    this.schedule(now, size);
    return true;
  }

  /** A FIN at `offset`, of an acceptable segment whose text was processed. Returns whether it is in order now. */
  onFin(offset: number): boolean {
    if (this.finOffset === Number.POSITIVE_INFINITY && offset >= this.nxt && offset <= this.limit) {
      // A FIN below bytes that came is a contradiction: the bytes were there first.
      const last = this.held.count - 1;
      if (last < 0 || offset >= this.held.end(last)) this.finOffset = offset;
    }
    this.ackNow = true;
    return this.takeFin();
  }

  /** Advances over the FIN when all before it is there. */
  takeFin(): boolean {
    if (this.nxt !== this.finOffset) return false;
    this.nxt++;
    this.ackNow = true;
    return true;
  }

  /** Octets below `nxt` or outside of the window came: to be told by a D-SACK when they were data. */
  onUnacceptable(offset: number, length: number): void {
    if (length > 0 && offset < this.nxt) {
      this.counters.TCPDSACKOldSent++;
      this.reportDuplicate(offset, Math.min(offset + length, this.nxt));
      this.enterQuick();
    }
    this.ackNow = true;
  }

  /** The delayed ACK is due. */
  onTimeout(now: number): void {
    if (this.ackDeadline > now) return;
    this.ackDeadline = Number.POSITIVE_INFINITY;
    this.ackNow = true;
    this.counters.DelayedACKs++;
    // As Linux: what was taken for a conversation is none, or the peer is slower than thought.
    if (this.interactive) {
      this.interactive = false;
      this.delay = this.config.delayedAckMinimum;
    } else {
      this.delay = Math.min(this.delay * 2, this.rtt.rto);
    }
  }

  /**
   * Window field of the segment that is being built: moves `edge`.
   *
   * RFC 9293 §3.8.6.2.2, silly window avoidance: the edge moves by at least a segment or half of the buffer. RFC 7323
   * §2.4: what is left of an offer is rounded up to the unit if there is room for that; only without does the edge on
   * the wire retreat, by less than one unit, while `edge` and what is accepted do not.
   */
  advertise(): number {
    const { nxt, unit } = this;
    const room = this.sink.window(nxt);
    if (room > this.largestRoom) this.largestRoom = room;
    let current = this.promised > nxt ? this.promised - nxt : 0;
    // A shared window that others used up: what was offered here is not there twice.
    if (this.sink.sharesWindow && current > room) current = room;
    let field: number;
    if (room - current >= this.step && Math.floor(room / unit) * unit > current) {
      field = Math.floor(room / unit);
    } else {
      field = Math.ceil(current / unit);
      if (field * unit > current && field * unit > room) field = Math.floor(current / unit);
      if (room > current && field === 0) this.counters.TCPWantZeroWindowAdv++;
    }
    if (field > 65_535) field = 65_535;
    const edge = nxt + field * unit;
    if (edge > this.edge) this.edge = edge;
    this.promised = this.sink.sharesWindow ? edge : this.edge;
    if (field === 0) {
      if (!this.closed) this.counters.TCPToZeroWindowAdv++;
      this.closed = true;
    } else {
      if (this.closed) this.counters.TCPFromZeroWindowAdv++;
      this.closed = false;
    }
    return field;
  }

  /**
   * The application read: whether the peer should hear of the new window now. As in Linux that is when it would at
   * least double, on top of RFC 9293 §3.8.6.2.2.
   */
  onRead(): void {
    const room = this.sink.window(this.nxt);
    const current = this.promised > this.nxt ? this.promised - this.nxt : 0;
    if (room - current >= this.step && room >= 2 * current && Math.floor(room / this.unit) > 0) this.ackNow = true;
  }

  /** A segment went out that acknowledges all up to `nxt`; with `data` or without. */
  onAckSent(now: number, data: boolean): void {
    if (this.quick > 0) this.quick--;
    if (data && now - this.lastDataAt < this.delay) this.interactive = true;
    this.acknowledged = this.nxt;
    this.ackNow = false;
    this.ackDeadline = Number.POSITIVE_INFINITY;
  }

  /** There is something for a SACK option to say. */
  get hasBlocks(): boolean {
    return this.sackPermitted && (this.duplicateEnd !== 0 || this.recentCount !== 0);
  }

  /**
   * Adds a SACK option that fits into `room` bytes: first the duplicate (RFC 2883), then the blocks that changed last
   * (RFC 2018 §4), then the lowest others. Returns the bytes it takes.
   */
  fillBlocks(segment: Segment, room: number): number {
    if (!this.hasBlocks || room < 12) return 0;
    const most = Math.min(MAXIMUM_BLOCKS, (room - 4) >> 3);
    const { held, space } = this;
    segment.sackCount = 0;
    if (this.duplicateEnd !== 0) {
      this.addBlock(segment, this.duplicateStart, this.duplicateEnd);
      // RFC 2883 §4.2: a duplicate above the cumulative ACK is followed by the block that holds it.
      const index = this.duplicateStart >= this.nxt ? held.indexOf(this.duplicateStart) : -1;
      if (index >= 0 && segment.sackCount < most) this.addBlock(segment, held.start(index), held.end(index));
      this.duplicateEnd = 0;
    }
    for (let at = 0; at < this.recentCount && segment.sackCount < most; at++) {
      const index = held.indexOf(this.recent[at]!);
      if (index >= 0 && !hasBlock(segment, space.toWire(held.start(index)))) {
        this.addBlock(segment, held.start(index), held.end(index));
      }
    }
    for (let index = 0; index < held.count && segment.sackCount < most; index++) {
      if (!hasBlock(segment, space.toWire(held.start(index)))) {
        this.addBlock(segment, held.start(index), held.end(index));
      }
    }
    if (segment.sackCount === 0) return 0;
    segment.options |= Option.Sack;
    return 4 + (segment.sackCount << 3);
  }

  /** Octets by which the edge must move to be worth telling. */
  private get step(): number {
    const half = this.largestRoom / 2;
    return Math.min(half, this.segmentSize);
  }

  private addBlock(segment: Segment, start: number, end: number): void {
    const at = segment.sackCount << 1;
    segment.sackEdges[at] = this.space.toWire(start);
    segment.sackEdges[at + 1] = this.space.toWire(end);
    segment.sackCount++;
  }

  /** Bytes beyond a gap. */
  private onGap(now: number, offset: number, end: number, bytes: Uint8Array, start: number): void {
    const { held, counters } = this;
    this.ackNow = true;
    this.enterQuick();
    if (held.overlaps(offset, end)) {
      counters.TCPDSACKOfoSent++;
      const first = held.firstPresent(offset);
      this.reportDuplicate(first, Math.min(end, held.firstMissing(first)));
    } else if (held.count >= MAXIMUM_GAPS) {
      counters.TCPRcvQDrop++;
      return;
    }
    const total = held.total;
    this.fill(now, offset, end, bytes, start);
    if (held.total === total) return;
    counters.TCPOFOQueue++;
    const index = held.indexOf(held.firstPresent(offset));
    const left = held.start(index);
    const right = held.end(index);
    // Newest first; the ranges it swallowed are gone.
    let kept = 0;
    if (this.recent.length === 0) this.recent = new Float64Array(MAXIMUM_BLOCKS);
    for (let at = 0; at < this.recentCount; at++) {
      const other = this.recent[at]!;
      if (other < left || other >= right) this.recent[kept++] = other;
    }
    this.recentCount = Math.min(kept + 1, MAXIMUM_BLOCKS);
    for (let at = this.recentCount - 1; at > 0; at--) this.recent[at] = this.recent[at - 1]!;
    this.recent[0] = left;
  }

  /** Writes the bytes of `[offset, end)` that are not held, and holds them. */
  private fill(now: number, offset: number, end: number, bytes: Uint8Array, start: number): void {
    const { held } = this;
    let at = held.firstMissing(offset);
    while (at < end) {
      const next = held.firstPresent(at);
      const stop = Math.min(next, end);
      const taken = this.sink.write(now, at, bytes, start + (at - offset), stop - at);
      held.insert(at, at + taken);
      if (taken < stop - at) {
        this.onShort();
        return;
      }
      at = held.firstMissing(stop);
    }
  }

  private onShort(): void {
    this.counters.TCPRcvQDrop++;
    this.ackNow = true;
  }

  private forgetBelow(offset: number): void {
    let kept = 0;
    for (let at = 0; at < this.recentCount; at++) {
      if (this.recent[at]! >= offset) this.recent[kept++] = this.recent[at]!;
    }
    this.recentCount = kept;
  }

  private reportDuplicate(start: number, end: number): void {
    // What lies before the first byte was never data.
    if (start < 1) start = 1;
    if (!this.sackPermitted || end <= start) return;
    this.duplicateStart = start;
    this.duplicateEnd = end;
  }

  /**
   * When to acknowledge data that came in order. RFC 9293 §3.8.6.3: at least every second full segment, and within
   * 500 ms; as in Linux, at once at the start and after a silence (slow start needs the ACKs), and later after a time
   * that follows the pace of the peer.
   */
  private schedule(now: number, size: number): void {
    const { delayedAckMinimum: minimum, delayedAckMaximum: maximum } = this.config;
    if (size > this.fullSize) this.fullSize = size;
    const pause = now - this.lastDataAt;
    if (this.quick < 0) {
      this.grantQuick();
      this.delay = minimum;
    } else if (pause <= minimum / 2) {
      this.delay = this.delay / 2 + minimum / 2;
    } else if (pause < this.delay) {
      this.delay = Math.min(this.delay / 2 + pause, this.rtt.rto);
    } else if (pause > this.rtt.rto) {
      this.grantQuick();
    }
    this.lastDataAt = now;
    if ((this.quick > 0 && !this.interactive) || this.nxt - this.acknowledged > this.fullSize) {
      this.ackNow = true;
      return;
    }
    // As Linux: no longer than a round trip. A sender that waits for it (Nagle, a window) would lose more than one.
    const bound = this.rtt.smoothed > 0 ? Math.min(maximum, Math.max(minimum, this.rtt.smoothed)) : maximum;
    const due = now + Math.min(Math.max(this.delay, minimum), bound);
    if (due < this.ackDeadline) this.ackDeadline = due;
  }

  private grantQuick(): void {
    const count = Math.floor((this.edge - this.nxt) / (2 * this.fullSize));
    this.quick = Math.max(this.quick, Math.min(Math.max(count, 2), MAXIMUM_QUICK));
  }

  /** Something is amiss with the flow: the peer needs to know soon. */
  private enterQuick(): void {
    this.grantQuick();
    this.interactive = false;
    this.delay = this.config.delayedAckMinimum;
  }
}

function hasBlock(segment: Segment, start: number): boolean {
  // The first block may be a duplicate (RFC 2883): it stands for no range.
  for (let at = 0; at < segment.sackCount; at++) if (segment.sackEdges[at << 1] === start) return true;
  return false;
}

/** SACK blocks that a header without timestamps has room for. */
const MAXIMUM_BLOCKS = 4;
/** Until something came out of order. */
const NOTHING = new Float64Array(0);
/** Disjoint ranges held: bounds what a peer that sends every other byte can make us remember. */
const MAXIMUM_GAPS = 4096;
/** Linux's TCP_MAX_QUICKACKS. */
const MAXIMUM_QUICK = 16;

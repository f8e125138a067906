import type { Segment } from '../wire/segment.ts';
import type { SequenceSpace } from '../wire/sequence.ts';
import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';
import { RttEstimator } from './rtt.ts';
import type { ByteSource, CongestionControl } from './seams.ts';

/** What `Sender.poll` offers. */
export const SendKind = {
  None: 0,
  /** New bytes, perhaps with the FIN behind them. */
  Data: 1,
  /** Bytes that were sent before and are taken for lost. */
  Retransmit: 2,
  /** The FIN alone, for the first time. */
  Fin: 3,
  /** RFC 9293 §3.8.6.1: one segment beyond a closed window; may be a byte, or none with the sequence number una - 1. */
  WindowProbe: 4,
  /** RFC 8985 §7: tail loss probe; new bytes or the last ones again. */
  LossProbe: 5,
  /** The FIN alone, again. */
  FinRetransmit: 6,
} as const;

/** Bits that `Sender.onAck` returns. */
export const AckOutcome = {
  None: 0,
  /** `una` moved. */
  Advanced: 0x1,
  /** Our FIN is acknowledged (in this or an earlier ACK that advanced). */
  FinAcknowledged: 0x2,
  /** The peer's window grew from one in which nothing could be sent. */
  WindowOpened: 0x4,
  /** Something was delivered, cumulatively or selectively. */
  Progress: 0x8,
  /** It counted as a duplicate or selective ACK that makes loss likely: recovery was entered by it. */
  EnteredRecovery: 0x10,
  /** A reduction was found to be needless and was undone. */
  Undone: 0x20,
} as const;

/** Bits that `Sender.onTimeout` returns. */
export const TimeoutOutcome = {
  None: 0,
  /** The retransmission timer fired; `Sender.timeouts` counts how often in a row. */
  RetransmissionTimeout: 0x1,
  /** RFC 9293 §3.8.3 R2 or the user timeout was reached: give the connection up. */
  Abort: 0x2,
  /** There may be something to `poll`. */
  Output: 0x4,
  /** RFC 4821: full-size segments vanish and small ones may not; lower the segment size. See `blackHoleSuspected`. */
  BlackHole: 0x8,
} as const;

/** What the handshake settled. */
export interface SenderOptions {
  /** Our sequence space: SACK edges are wire numbers of it. */
  readonly space: SequenceSpace;
  /** Payload bytes of one full segment: MSS less the options of a data segment. */
  readonly segmentSize: number;
  readonly sackPermitted: boolean;
  /** Timestamps are in use, and the TSval of a segment sent at `now` is `(timestampOffset + Math.floor(now)) >>> 0`. */
  readonly timestamps: boolean;
  readonly timestampOffset: number;
  /** Window of the peer in bytes. */
  readonly peerWindow: number;
  /** RTT of the handshake in ms; -1 when it was not measured (the SYN was sent more than once, RFC 6298 §3). */
  readonly handshakeRtt: number;
  /** The SYN or SYN/ACK was sent more than once (RFC 6298 §5.7: the RTO starts at 3 s when it was not measured). */
  readonly handshakeRetransmitted: boolean;
}

/** RFC 6928 §2: min(segments * size, max(2 * size, segments * 1460)) bytes. */
export function initialWindow(segmentSize: number, segments: number): number {
  return Math.min(segments * segmentSize, Math.max(2 * segmentSize, segments * 1460));
}

/**
 * Decides what one TCP connection sends and when. It starts with the handshake done: `una` and `nxt` are 1.
 *
 * Order of calls: tell it what happened (`onAck`, `onTimeout`, `onData`, `shutdown`), then `poll` until it says
 * `SendKind.None`, answering each plan with `onSent` or `onUnsendable`.
 */
export class Sender {
  /** Oldest octet not acknowledged. */
  una = 1;
  /** Next octet never sent before. */
  nxt = 1;
  /** Window of the peer in bytes, from `una` of the segment that told it. */
  wnd: number;
  /** Offset and acknowledgment of the segment that last updated `wnd`. */
  wl1 = 0;
  wl2 = 1;
  /** Offset of our FIN: Infinity until `shutdown`, `source.end` from then on. */
  finOffset = Number.POSITIVE_INFINITY;
  segmentSize: number;
  gsoMaximum: number;
  readonly rtt: RttEstimator;
  readonly congestion: CongestionControl;
  /** Retransmission timeouts in a row without progress. */
  timeouts = 0;

  /** The plan that `poll` made. */
  planOffset = 0;
  planLength = 0;
  /** The FIN follows these bytes. */
  planFin = false;
  planPush = false;

  private readonly config: TcpConfig;
  private readonly source: ByteSource;
  readonly counters: TcpCounters;
  private readonly space: SequenceSpace;

  constructor(
    _now: number,
    config: TcpConfig,
    source: ByteSource,
    congestion: CongestionControl,
    counters: TcpCounters,
    options: SenderOptions,
  ) {
    this.config = config;
    this.source = source;
    this.congestion = congestion;
    this.counters = counters;
    this.space = options.space;
    this.wnd = options.peerWindow;
    this.segmentSize = options.segmentSize;
    this.gsoMaximum = options.segmentSize;
    this.rtt = new RttEstimator(config.initialRto, config.minimumRto, config.maximumRto);
  }

  /** RFC 6675's pipe: bytes thought to be in the network. */
  get inFlight(): number {
    return this.nxt - this.una;
  }

  /** Bytes the source has that were never sent. */
  get unsent(): number {
    return this.source.end - this.nxt;
  }

  /** Fast recovery or recovery after a timeout. */
  get recovering(): boolean {
    return false;
  }

  /** New bytes that the congestion window and the peer's window would let out now. */
  get availableWindow(): number {
    return this.wnd;
  }

  /** Bytes per ms; 0 while no RTT is known. */
  get pacingRate(): number {
    return 0;
  }

  /** The earliest of its timers in ms; Infinity when none is armed. */
  get deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** RFC 4821 §7.7: several timeouts in a row with full-size segments. The caller lowers the path MTU a step. */
  get blackHoleSuspected(): boolean {
    return false;
  }

  /** Window for segments that carry none: for tests of the peer's silly window only. */
  get isIdle(): boolean {
    return this.una === this.nxt && this.space.initial >= 0 && this.config.retries >= 0;
  }

  /**
   * An acceptable ACK: `segment.ackOffset` lies in `una` to `nxt`, or is old. `verdict` as the extension returned it.
   * Returns `AckOutcome` bits.
   */
  onAck(_now: number, _segment: Segment, _verdict: number): number {
    return AckOutcome.None;
  }

  /** Returns `TimeoutOutcome` bits. Harmless when nothing is due. */
  onTimeout(_now: number): number {
    return TimeoutOutcome.None;
  }

  /** The source has grown. */
  onData(_now: number): void {}

  /** No more bytes will come: the FIN stands at `source.end`. */
  shutdown(_now: number): void {
    this.finOffset = this.source.end;
  }

  /** Payload bytes of one segment from now on. */
  setSegmentSize(_now: number, size: number): void {
    this.segmentSize = size;
  }

  /** A router could not forward our packets (ICMP): takes the smaller size, and what was sent larger for lost. */
  onPacketTooBig(now: number, size: number): void {
    this.setSegmentSize(now, size);
  }

  /** The largest payload one transmit may carry, at least one segment. */
  setGsoMaximum(bytes: number): void {
    this.gsoMaximum = bytes;
  }

  /** Settings that a socket may change while connected. */
  setNagle(_now: number, _on: boolean): void {}
  setCork(_now: number, _on: boolean): void {}
  /** Retransmissions before giving up, and RFC 5482's user timeout in ms (0: none, `retries` counts). */
  setPersistence(_retries: number, _userTimeout: number): void {}

  /** Plans the next transmission into `plan…`; returns its `SendKind`. */
  poll(_now: number): number {
    return SendKind.None;
  }

  /** The plan was sent, `length` bytes of it, with the FIN behind them or not. */
  onSent(_now: number, _length: number, _fin: boolean): void {}

  /** The plan cannot be sent now: nothing of its kind is offered until an ACK, a timer or `onData` changes something. */
  onUnsendable(_now: number): void {}
}

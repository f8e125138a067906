import { Option, type Segment } from '../wire/segment.ts';
import type { SequenceSpace } from '../wire/sequence.ts';
import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';
import { Pacer, transmissionGoal } from './pacing.ts';
import { Prr, Rack } from './recovery.ts';
import { RttEstimator } from './rtt.ts';
import { Mark, Scoreboard, type Transmission } from './scoreboard.ts';
import { type AckSample, type ByteSource, type CongestionControl, Verdict } from './seams.ts';
import { TimerTable } from './timers.ts';

/** What `Sender.poll` offers. */
export const SendKind = {
  None: 0,
  /** New bytes, perhaps with the FIN behind them. */
  Data: 1,
  /** Bytes that were sent before and are taken for lost. */
  Retransmit: 2,
  /** The FIN alone, for the first time. */
  Fin: 3,
  /**
   * RFC 9293 §3.8.6.1: asks for the window. What fits into it although it is silly to send so little; when nothing
   * fits, no byte at all and `planOffset` una - 1.
   */
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
 * `SendKind.None`, answering each plan with `onSent` or `onUnsendable`, then read `deadline`.
 *
 * Loss is found by RACK-TLP (RFC 8985) where SACK is in use, by RFC 6675 where RACK is switched off, by duplicate ACKs
 * (RFC 5681, RFC 6582) where there is no SACK. Fast recovery sends what PRR (RFC 6937) lets out. Reductions that prove
 * needless are undone: by D-SACK (RFC 2883, RFC 3708), timestamps (Eifel, RFC 3522, RFC 4015), F-RTO (RFC 5682).
 * Explicit congestion notification would enter where `enterRecovery` does, with nothing lost.
 */
export class Sender {
  /** Oldest octet not acknowledged. In an idle connection equal to `nxt`. */
  una = 1;
  /** Next octet never sent before. */
  nxt = 1;
  /** Window of the peer in bytes, from `una` on. */
  wnd: number;
  /** Offset and acknowledgment of the segment that last updated `wnd`. */
  wl1 = 0;
  wl2 = 1;
  /** Offset of our FIN: Infinity until `shutdown`, `source.end` from then on. */
  finOffset = Number.POSITIVE_INFINITY;
  /** Payload bytes of one full segment. */
  segmentSize: number;
  /** The largest payload one transmission may carry. */
  gsoMaximum: number;
  readonly rtt: RttEstimator;
  readonly congestion: CongestionControl;
  readonly counters: TcpCounters;
  /** Retransmission timeouts in a row without progress. */
  timeouts = 0;
  /** Segments by which the network was seen to reorder, at least three: RFC 6675's DupThresh. */
  reordering = DUPLICATE_THRESHOLD;

  /** The plan that `poll` made. */
  planKind: number = SendKind.None;
  planOffset = 0;
  planLength = 0;
  /** The FIN follows these bytes. */
  planFin = false;
  /** Nothing more is there to send: PSH. */
  planPush = false;
  private planRecord: Transmission | null = null;

  private readonly config: TcpConfig;
  private readonly source: ByteSource;
  private readonly space: SequenceSpace;
  private readonly sackPermitted: boolean;
  private readonly timestamps: boolean;
  private readonly timestampOffset: number;
  /** RACK-TLP is in use. */
  private readonly racking: boolean;
  /** What is in flight: for pictures of the connection. */
  readonly board: Scoreboard = new Scoreboard();
  private readonly rack = new Rack();
  private readonly prr = new Prr();
  private readonly pacer = new Pacer();
  private readonly timers = new TimerTable(TIMERS);
  private readonly sample: AckSample = {
    delivered: 0,
    acknowledged: 0,
    priorInFlight: 0,
    inFlight: 0,
    rtt: -1,
    smoothedRtt: 0,
    windowLimited: false,
    una: 1,
    nxt: 1,
  };

  private phase: number = Phase.Open;
  /** `nxt` when recovery began: it ends when this is acknowledged. */
  private recoveryPoint = 0;
  /** Duplicate or newly selective ACKs since `una` moved. */
  private duplicates = 0;
  /** A D-SACK block of the ACK at hand: its right edge, -1 for none. */
  private duplicateEnd = -1;
  /** When what triggered the ACK at hand was sent, by its timestamp; Infinity when it has none. */
  private echo = Number.POSITIVE_INFINITY;

  /** `una` when the window was last reduced and may be restored; -1 when there is nothing to undo. */
  private undoPoint = -1;
  /** Octets sent again since, less those reported as duplicates; -1 while nothing was sent again. */
  private undoOctets = -1;
  /** When something was first sent again since; -1 before. */
  private resentAt = -1;
  /** RFC 5682: whether the last timeout was spurious is still open. */
  private frto = false;
  /** RFC 5682 §3.1 2b: send new data before lost data, until the next ACK. */
  private newFirst = false;
  /** The timeout's retransmission goes out whatever the windows say. */
  private headDue = false;

  /** RFC 8985 §7: TLP.end_seq (-1 for none), TLP.is_retrans. */
  private probeEnd = -1;
  private probeRepeats = false;
  /** An RTT was measured since the last loss probe. */
  private measuredSinceProbe = true;
  private probeDue = false;

  private windowProbeDue = false;
  /** Window probes since the window closed, and of these since the last ACK. */
  private persistBackOff = 0;
  private probesUnanswered = 0;
  private persistingSince = 0;

  /** The caller could not send the last plan. */
  private refused = false;
  private nagle: boolean;
  private corked = false;
  /** End of the last segment that was not full (Minshall's variant of Nagle's algorithm). */
  private smallEnd = 0;
  /** The largest window the peer ever offered: Max(SND.WND). */
  private maximumWindow: number;
  private lastSentAt = -1;
  private lastAckAt: number;
  /** Since when something is outstanding without any progress. */
  private stalledSince: number;
  private retries: number;
  private userTimeout: number;

  /** Whether the congestion window was what held sending back (RFC 7661 §4.3), in the window that ends at `usageEnd`. */
  private windowLimited = false;
  private usagePeak = 0;
  private usageEnd = 1;
  private blackHole = false;

  /** All that is outstanding starts from `now`; `congestion` is fresh, its window the initial one. */
  constructor(
    now: number,
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
    this.sackPermitted = options.sackPermitted;
    this.timestamps = options.timestamps;
    this.timestampOffset = options.timestampOffset;
    this.racking = options.sackPermitted && config.rack;
    this.wnd = options.peerWindow;
    this.maximumWindow = options.peerWindow;
    this.segmentSize = options.segmentSize;
    this.gsoMaximum = options.segmentSize;
    this.nagle = config.nagle;
    this.retries = config.retries;
    this.userTimeout = config.userTimeout;
    this.lastAckAt = now;
    this.stalledSince = now;
    // RFC 6298 §5.7: when the timer expired on the SYN and nothing was measured, "RTO MUST be re-initialized to 3 s".
    const initial = options.handshakeRetransmitted ? Math.max(config.initialRto, LOST_SYN_RTO) : config.initialRto;
    this.rtt = new RttEstimator(initial, config.minimumRto, config.maximumRto);
    if (options.handshakeRtt >= 0) {
      this.rtt.onSample(options.handshakeRtt, 1);
      this.rtt.onMinimumSample(now, options.handshakeRtt);
    }
  }

  /** RFC 6675's pipe: octets thought to be in the network. */
  get inFlight(): number {
    return this.board.inFlight;
  }

  /** Bytes the source has that were never sent. */
  get unsent(): number {
    return Math.max(0, this.source.end - this.nxt);
  }

  /** Fast recovery or recovery after a timeout. */
  get recovering(): boolean {
    return this.phase !== Phase.Open;
  }

  /** Octets of the congestion window that govern now: PRR's in fast recovery. */
  get cwnd(): number {
    return this.phase === Phase.Recovery ? this.prr.window : this.congestion.window;
  }

  get ssthresh(): number {
    return this.congestion.slowStartThreshold;
  }

  /** New bytes that the congestion window and the peer's window would let out now. */
  get availableWindow(): number {
    return Math.max(0, Math.min(this.una + this.wnd - this.nxt, this.cwnd - this.board.inFlight));
  }

  /** Bytes per ms; 0 while no RTT is known. */
  get pacingRate(): number {
    const { congestion } = this;
    if (congestion.pacingRate > 0) return congestion.pacingRate;
    if (this.rtt.smoothed === 0) return 0;
    // As Linux: twice what the window yields while it doubles per round trip, 1.2 times from then on.
    const window = Math.max(this.cwnd, this.board.inFlight);
    const factor = congestion.window < congestion.slowStartThreshold / 2 ? 2 : 1.2;
    return (factor * window) / this.rtt.smoothed;
  }

  /** The earliest of its timers in ms; Infinity when none is armed. */
  get deadline(): number {
    return this.timers.earliest;
  }

  /**
   * RFC 4821 §7.7's "full-stop timeout", the lesser rule: three timeouts in a row whose retransmission was a full
   * segment, while nothing selectively acknowledged shows that full segments do arrive. The caller lowers the segment
   * size a step; that clears it.
   */
  get blackHoleSuspected(): boolean {
    return this.blackHole;
  }

  // ------------------------------------------------------------------------------------------------- events: ACKs

  /**
   * An acceptable ACK: `segment.ackOffset` lies in `una` to `nxt`, or is old. `verdict` as the extension returned it.
   * Returns `AckOutcome` bits.
   */
  onAck(now: number, segment: Segment, verdict: number): number {
    const ack = segment.ackOffset;
    if (ack > this.nxt) return AckOutcome.None;
    const { board, rack, rtt, delivery } = this;
    const priorInFlight = board.inFlight;
    const priorLosses = board.losses;
    const priorEdge = this.una + this.wnd;
    const priorPhase = this.phase;
    const advanced = ack > this.una;
    this.refused = false;
    this.probeDue = false;
    this.newFirst = false;
    this.lastAckAt = now;
    this.probesUnanswered = 0;

    // RFC 5681 §2, duplicate ACK: outstanding data, no data, SYN or FIN, nothing new acknowledged, the same window.
    const duplicate =
      ack === this.una &&
      ack < this.nxt &&
      segment.span === 0 &&
      segment.scaledWindow === this.wnd &&
      (verdict & Verdict.NotDuplicate) === 0;
    if (ack >= this.una) this.updateWindow(segment, ack);

    this.readEcho(now, segment);
    board.beginAck();
    rack.beginAck(now, this.echo, rtt.minimum);
    this.duplicateEnd = -1;
    if (this.sackPermitted && (segment.options & Option.Sack) !== 0) this.takeBlocks(segment, ack);
    let delivered = delivery.octets;
    if (advanced) {
      board.acknowledge(ack, rack);
      this.una = ack;
      this.timeouts = 0;
      this.stalledSince = now;
      delivered = delivery.octets;
      if (!this.sackPermitted) delivered -= this.consumePresumed(delivery.acknowledged);
      this.source.release(now, Math.min(ack, this.finOffset));
      this.measure(now, segment);
    } else if (delivery.sacked > 0) this.measureSelective(now);
    if (delivery.reordered !== Number.POSITIVE_INFINITY) this.onReordering(delivery.reordered);
    if (this.probeEnd >= 0) this.onProbeAnswered(now, ack, duplicate && segment.sackCount === 0, priorInFlight);

    let outcome: number = AckOutcome.None;
    const dubious = !advanced && (delivery.sacked > 0 || (duplicate && !this.sackPermitted));
    if (advanced) this.duplicates = 0;
    else if (dubious) {
      this.duplicates++;
      if (!this.sackPermitted) delivered += this.presume();
    }
    if (this.duplicateEnd >= 0 && this.undoByDuplicates(now)) outcome |= AckOutcome.Undone;
    if (this.phase === Phase.Recovery) {
      if (this.onAckInRecovery(now, advanced)) outcome |= AckOutcome.Undone;
    } else if (this.phase === Phase.Loss) {
      if (this.onAckInLoss(now, advanced, dubious)) outcome |= AckOutcome.Undone;
    }
    const wait = this.findLosses(now);
    if (board.pending !== null || (this.phase === Phase.Open && this.duplicatesSuffice())) {
      if (this.phase === Phase.Open || (this.phase === Phase.Loss && rack.lostRetransmissions > 0)) {
        if (this.phase === Phase.Open && board.pending === null) this.markHeadLost();
        this.enterRecovery(now, priorInFlight);
        outcome |= AckOutcome.EnteredRecovery;
      }
    }
    this.countLostRetransmissions();

    if (this.phase === Phase.Recovery) {
      const lossFound = board.losses > priorLosses;
      this.prr.onAck(board.inFlight, delivered, advanced, lossFound, this.segmentSize);
    } else if (advanced && priorPhase !== Phase.Recovery) this.informCongestion(now, delivered, priorInFlight);
    if (delivered > 0) this.counters.TCPDelivered += Math.ceil(delivered / this.segmentSize);
    this.armAfterAck(now, advanced, wait);

    if (advanced) outcome |= AckOutcome.Advanced;
    if (this.una > this.finOffset) outcome |= AckOutcome.FinAcknowledged;
    if (delivered > 0) outcome |= AckOutcome.Progress;
    if (priorEdge <= this.nxt && this.una + this.wnd > this.nxt) outcome |= AckOutcome.WindowOpened;
    return outcome;
  }

  /** RFC 9293 §3.10.7.4, fifth check: the window. */
  private updateWindow(segment: Segment, ack: number): void {
    const { offset, scaledWindow } = segment;
    // "SND.WL1 < SEG.SEQ or (SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK)". Of two ACKs that are equal in both the RFC
    // takes the later to arrive, which reordering makes the older: like Linux we then take the larger window.
    if (offset < this.wl1 && ack === this.una) return;
    if (offset === this.wl1 && ack === this.wl2 && ack === this.una && scaledWindow < this.wnd) return;
    const room = this.una + this.wnd - this.nxt;
    this.wnd = scaledWindow;
    this.wl1 = Math.max(this.wl1, offset);
    this.wl2 = ack;
    if (scaledWindow > this.maximumWindow) this.maximumWindow = scaledWindow;
    // The window opened: the next time it closes, probing starts anew.
    if (room <= 0 && ack + scaledWindow > this.nxt) this.stopPersisting();
  }

  private readEcho(now: number, segment: Segment): void {
    this.echo = Number.POSITIVE_INFINITY;
    if (!this.timestamps || (segment.options & Option.Timestamps) === 0) return;
    const ticks = Math.floor(now);
    const elapsed = (this.timestampOffset + ticks - segment.timestampEcho) | 0;
    // A nonsense echo, from the future or from before the connection, says nothing.
    if (elapsed >= 0 && elapsed <= OLDEST_ECHO) this.echo = ticks - elapsed;
  }

  /** The SACK option (RFC 2018, RFC 2883). */
  private takeBlocks(segment: Segment, ack: number): void {
    const { board, space, una, nxt, counters } = this;
    const edges = segment.sackEdges;
    let from = 0;
    if (segment.sackCount > 0) {
      const start = space.fromWire(edges[0]!, una);
      const end = space.fromWire(edges[1]!, una);
      // RFC 2883 §4: the first block reports a duplicate when it lies below the ACK or within the second block.
      let reports = end <= ack;
      if (!reports && segment.sackCount > 1) {
        reports = start >= space.fromWire(edges[2]!, una) && end <= space.fromWire(edges[3]!, una);
      }
      if (reports && start < end && start >= 1) {
        from = 1;
        counters.TCPDSACKRecv++;
        this.onDuplicateReported(start, end);
      }
    }
    for (let index = from; index < segment.sackCount; index++) {
      const start = space.fromWire(edges[2 * index]!, una);
      const end = space.fromWire(edges[2 * index + 1]!, una);
      // Known cumulatively since: an ACK that was overtaken by a later one.
      if (end <= una && start < end) continue;
      if (!(start < end) || end > nxt || start <= una) {
        counters.TCPSACKDiscard++;
        continue;
      }
      board.sack(start, end, this.segmentSize, this.rack);
    }
    if (board.refused > 0) {
      counters.TCPSACKDiscard += board.refused;
      board.refused = 0;
    }
  }

  /** [start, end) arrived twice. */
  private onDuplicateReported(start: number, end: number): void {
    this.duplicateEnd = end;
    // One that a loss probe caused is no sign of reordering.
    if (this.probeEnd < 0 || end !== this.probeEnd) this.rack.onDuplicateReported(this.una, this.nxt);
    if (this.undoPoint >= 0 && this.undoOctets > 0 && end > this.undoPoint) {
      this.undoOctets = Math.max(0, this.undoOctets - (end - start));
    }
  }

  /** RTT of a cumulative ACK (RFC 6298 §3, RFC 7323 §4.1). */
  private measure(now: number, segment: Segment): void {
    const { rtt, delivery } = this;
    const { firstSentAt, lastSentAt } = delivery;
    this.sample.rtt = -1;
    if (firstSentAt >= 0 && !delivery.repeated) {
      // The time of transmission is finer than the timestamp clock. The oldest octet's counts, delayed ACK and all;
      // congestion control and RACK want the path alone, which the youngest tells.
      this.onSample(now - firstSentAt);
      rtt.onMinimumSample(now, now - lastSentAt);
      this.sample.rtt = now - lastSentAt;
    } else if (delivery.sackSentAt >= 0) this.measureSelective(now);
    else if (this.echo !== Number.POSITIVE_INFINITY && segment.timestampEcho !== 0) {
      // Retransmitted: only the echo tells which transmission it was (RFC 7323 §4.1). At least one tick.
      this.onSample(Math.max(1, Math.floor(now) - this.echo));
    }
  }

  private measureSelective(now: number): void {
    const { sackSentAt } = this.delivery;
    if (sackSentAt < 0) return;
    this.onSample(now - sackSentAt);
    this.rtt.onMinimumSample(now, now - sackSentAt);
    this.sample.rtt = now - sackSentAt;
  }

  private onSample(rtt: number): void {
    this.rtt.onSample(rtt, Math.ceil(this.sample.inFlight / (2 * this.segmentSize)));
    this.measuredSinceProbe = true;
  }

  private onReordering(lowest: number): void {
    const { board } = this;
    this.rack.reorderingSeen = true;
    const degree = Math.ceil((board.forward - lowest) / this.segmentSize);
    this.reordering = Math.min(Math.max(this.reordering, degree), MAXIMUM_REORDERING);
  }

  /** Without SACK: a duplicate ACK says that some segment arrived. Returns its likely octets. */
  private presume(): number {
    const { board } = this;
    const limit = this.nxt - this.una - board.lost - this.segmentSize;
    const octets = Math.min(this.segmentSize, Math.max(0, limit - board.presumed));
    board.presumed += octets;
    return octets;
  }

  /** Of `acknowledged` octets, those that duplicate ACKs told of before; the hole that was filled is none of them. */
  private consumePresumed(acknowledged: number): number {
    const { board } = this;
    const told = Math.min(board.presumed, Math.max(0, acknowledged - this.segmentSize));
    // Outside of recovery an advance means that the duplicates were reordering.
    board.presumed = this.phase === Phase.Open ? 0 : board.presumed - told;
    board.presumed = Math.min(board.presumed, Math.max(0, this.nxt - this.una - board.lost));
    return told;
  }

  private informCongestion(now: number, delivered: number, priorInFlight: number): void {
    const { sample, congestion, delivery, board, counters } = this;
    sample.delivered = delivered;
    sample.acknowledged = delivery.acknowledged;
    sample.priorInFlight = priorInFlight;
    sample.inFlight = board.inFlight;
    sample.smoothedRtt = this.rtt.smoothed;
    sample.una = this.una;
    sample.nxt = this.nxt;
    // RFC 5681 §3.1 and RFC 7661 §4.3: no growth that was not asked for. In slow start half a window of use is enough,
    // as it doubles per round trip (Linux: tcp_is_cwnd_limited).
    sample.windowLimited =
      this.windowLimited ||
      (congestion.window < congestion.slowStartThreshold && congestion.window < 2 * this.usagePeak);
    const starting = congestion.slowStartThreshold === Number.POSITIVE_INFINITY;
    congestion.onAck(now, sample);
    if (starting && congestion.slowStartThreshold !== Number.POSITIVE_INFINITY) counters.TCPHystartDelayDetect++;
  }

  // ------------------------------------------------------------------------------------------------ loss recovery

  /** Marks what is lost by now; returns in how many ms RACK wants to look again, 0 for not at all. */
  private findLosses(now: number): number {
    const { board, rack } = this;
    if (this.racking) {
      if (!rack.advanced || board.oldest === null) return 0;
      const window = rack.reorderingWindow(this.recovering, this.manySacked(), this.rtt.smoothed);
      return rack.detectLosses(now, board, window);
    }
    if (this.sackPermitted && board.sacked > 0)
      this.markLostBelow(board.lossBoundary(this.reordering, this.segmentSize));
    return 0;
  }

  /** RFC 6675 §5 step 4 (IsLost): what was sent once and lies below `boundary`. */
  private markLostBelow(boundary: number): void {
    const { board } = this;
    let record = board.oldest;
    while (record !== null) {
      const { later } = record;
      const once = (record.marks & Mark.Repeated) === 0;
      if (once && record.start >= boundary) return;
      if (once) board.markLost(record);
      record = later;
    }
  }

  /** DupThresh segments or more were selectively acknowledged, or told of by as many ACKs. */
  private manySacked(): boolean {
    const { board } = this;
    return (
      board.sacked > (DUPLICATE_THRESHOLD - 1) * this.segmentSize ||
      (board.sacked > 0 && this.duplicates >= DUPLICATE_THRESHOLD)
    );
  }

  /** RFC 5681 §3.2 step 2 and RFC 6675 §5 step 1: as many duplicate ACKs as make a loss likely. */
  private duplicatesSuffice(): boolean {
    if (this.racking || this.duplicates < this.reordering || this.una === this.nxt) return false;
    // RFC 6582 §3.2 step 2: "more than recover", lest the same loss starts recovery twice.
    return this.sackPermitted || this.una > this.recoveryPoint;
  }

  /** The first segment outstanding is lost. */
  private markHeadLost(): void {
    const { board } = this;
    const { head } = board;
    if (head === null || (head.marks & Mark.Sacked) !== 0 || isPending(head)) return;
    if (head.end - head.start > this.segmentSize) board.split(head, head.start + this.segmentSize);
    if (board.markLost(head)) this.rack.lostRetransmissions++;
    // What duplicate ACKs tell of cannot be more than what is not lost.
    board.presumed = Math.min(board.presumed, this.nxt - this.una - board.lost);
  }

  /** Fast recovery (RFC 5681 §3.2, RFC 6675 §5, RFC 6937). */
  private enterRecovery(now: number, priorInFlight: number): void {
    const { congestion, counters, board } = this;
    if (this.sackPermitted) counters.TCPSackRecovery++;
    else counters.TCPRenoRecovery++;
    if (this.phase === Phase.Open) this.beginUndo();
    this.phase = Phase.Recovery;
    this.recoveryPoint = this.nxt;
    this.probeEnd = -1;
    this.frto = false;
    this.headDue = false;
    this.rack.lostRetransmissions = 0;
    congestion.onLoss(now, priorInFlight);
    this.prr.onLoss(this.nxt - this.una, congestion.slowStartThreshold);
    this.prr.onAck(board.inFlight, 0, false, true, this.segmentSize);
  }

  /** Returns whether the reduction was undone. */
  private onAckInRecovery(now: number, advanced: boolean): boolean {
    const { board, counters } = this;
    if (this.una >= this.recoveryPoint) {
      const undone = this.mayUndo(advanced);
      if (undone) {
        counters.TCPFullUndo++;
        this.undo(now);
      } else this.rack.onRecovered();
      this.phase = Phase.Open;
      if (!undone) this.congestion.onRecovered(now);
      if (!this.sackPermitted) board.presumed = 0;
      return undone;
    }
    if (!advanced) return false;
    // A partial ACK for an original: nothing was lost after all, as far as is known (RFC 3522, RFC 4015).
    if (this.isDelayedOriginal() && board.retransmitted === 0) {
      counters.TCPFullUndo++;
      this.undo(now);
      board.unmarkLost();
      this.phase = Phase.Open;
      return true;
    }
    // RFC 6582 §3.2 step 3, partial ACK: "retransmit the first unacknowledged segment".
    if (!this.sackPermitted) this.markHeadLost();
    return false;
  }

  /** After a timeout (RFC 5681 §3.1, RFC 5682). Returns whether it was found needless. */
  private onAckInLoss(now: number, advanced: boolean, dubious: boolean): boolean {
    const { board, delivery } = this;
    if (advanced && this.mayUndo(true)) return this.undoTimeout(now, false);
    if (this.frto) {
      // RFC 5682 §3.1 step 3b, as early as SACK tells it: an original arrived, the timeout was spurious. Without SACK an
      // ACK that covers the retransmission may cover what had arrived long before, too, and tells nothing (§2.1 step 2).
      if (delivery.original && (this.sackPermitted || !delivery.repeated)) return this.undoTimeout(now, true);
      if (this.nxt > this.recoveryPoint) {
        // Step 3a: new data arrived, the old did not: the loss is real.
        if (dubious) this.frto = false;
      } else if (advanced && this.una < this.recoveryPoint) {
        // Step 2b: two new segments, and see. Step 2a: where there are none, or no window, recover conventionally.
        if (this.unsent > 0 && this.una + this.wnd > this.nxt) {
          this.newFirst = true;
          this.recoveryPoint = this.nxt;
        } else this.frto = false;
      } else if (dubious && !this.sackPermitted) this.frto = false;
    }
    if (this.una >= this.recoveryPoint) {
      const undone = this.mayUndo(advanced);
      if (undone) {
        this.counters.TCPLossUndo++;
        this.undo(now);
      } else this.rack.onRecovered();
      this.phase = Phase.Open;
      this.frto = false;
      this.headDue = false;
      if (!this.sackPermitted) board.presumed = 0;
      return undone;
    }
    if (!this.sackPermitted) {
      // A duplicate ACK after new data says that the new data arrived, and makes room.
      if (advanced || this.nxt <= this.recoveryPoint) board.presumed = 0;
    }
    return false;
  }

  /** Remembers what may be undone later. */
  private beginUndo(): void {
    this.undoPoint = this.una;
    // What is on its way again already may still be reported as a duplicate.
    this.undoOctets = this.board.retransmitted > 0 ? this.board.retransmitted : -1;
    this.resentAt = -1;
  }

  /** The ACK was triggered by an original although it was sent again since (RFC 3522 §3.2 step 5). */
  private isDelayedOriginal(): boolean {
    return this.undoPoint >= 0 && this.resentAt >= 0 && this.echo < Math.floor(this.resentAt);
  }

  private mayUndo(advanced: boolean): boolean {
    return this.undoPoint >= 0 && (this.undoOctets === 0 || (advanced && this.isDelayedOriginal()));
  }

  private undo(now: number): void {
    this.congestion.onUndo(now);
    this.undoPoint = -1;
    this.undoOctets = -1;
    this.resentAt = -1;
  }

  /** RFC 2883 §5, RFC 3708: every octet that was sent again was reported as a duplicate, so none had been lost. */
  private undoByDuplicates(now: number): boolean {
    if (this.phase === Phase.Loss) {
      if (!this.mayUndo(false)) return false;
      return this.undoTimeout(now, false);
    }
    if (this.undoPoint < 0 || this.undoOctets !== 0) return false;
    this.counters.TCPDSACKUndo++;
    this.undo(now);
    this.phase = Phase.Open;
    return true;
  }

  private undoTimeout(now: number, spurious: boolean): boolean {
    if (spurious) this.counters.TCPSpuriousRTOs++;
    this.counters.TCPLossUndo++;
    this.undo(now);
    this.board.unmarkLost();
    this.phase = Phase.Open;
    this.frto = false;
    this.headDue = false;
    this.timeouts = 0;
    this.rtt.endBackOff();
    return true;
  }

  private countLostRetransmissions(): void {
    const { rack } = this;
    if (rack.lostRetransmissions === 0) return;
    this.counters.TCPLostRetransmit += rack.lostRetransmissions;
    rack.lostRetransmissions = 0;
  }

  /** RFC 8985 §7.4.2, TLP_process_ack(). */
  private onProbeAnswered(now: number, ack: number, bareDuplicate: boolean, priorInFlight: number): void {
    if (ack < this.probeEnd) return;
    if (!this.probeRepeats || this.duplicateEnd >= 0) this.probeEnd = -1;
    else if (ack > this.probeEnd) {
      // "Repaired the single loss": congestion control hears of it.
      this.probeEnd = -1;
      this.counters.TCPLossProbeRecovery++;
      this.congestion.onLoss(now, priorInFlight);
      this.congestion.onRecovered(now);
    } else if (bareDuplicate) this.probeEnd = -1;
  }

  // ------------------------------------------------------------------------------------------------------- timers

  /** Returns `TimeoutOutcome` bits. Harmless when nothing is due. */
  onTimeout(now: number): number {
    const { timers } = this;
    if (timers.earliest > now) return TimeoutOutcome.None;
    let outcome: number = TimeoutOutcome.None;
    this.refused = false;
    if (timers.take(Timer.Pacing, now)) outcome |= TimeoutOutcome.Output;
    if (timers.take(Timer.Reordering, now)) {
      this.onReorderingTimer(now);
      outcome |= TimeoutOutcome.Output;
    }
    if (timers.take(Timer.Probe, now)) {
      // RFC 8985 §7.3: "MUST re-arm the RTO timer, not the PTO timer", whether or not the probe gets sent.
      this.probeDue = this.una < this.nxt;
      this.armRetransmission(now, this.rtt.rto);
      outcome |= TimeoutOutcome.Output;
    }
    if (timers.take(Timer.Retransmission, now)) outcome |= this.onRetransmissionTimer(now);
    if (timers.take(Timer.Persist, now)) outcome |= this.onPersistTimer(now);
    return outcome;
  }

  /** RFC 8985 §6.2 step 5: time enough for reordering has passed. */
  private onReorderingTimer(now: number): void {
    const { board, rack, timers } = this;
    if (board.oldest === null) return;
    const priorInFlight = board.inFlight;
    const priorLosses = board.losses;
    const window = rack.reorderingWindow(this.recovering, this.manySacked(), this.rtt.smoothed);
    const wait = rack.detectLosses(now, board, window);
    if (board.losses > priorLosses) {
      if (this.phase === Phase.Open || (this.phase === Phase.Loss && rack.lostRetransmissions > 0)) {
        this.enterRecovery(now, priorInFlight);
      } else if (this.phase === Phase.Recovery) {
        this.prr.onAck(board.inFlight, 0, false, true, this.segmentSize);
      }
      this.countLostRetransmissions();
      // What was found goes out now: the retransmission timer starts from there.
      if (timers.deadline(Timer.Retransmission) <= now) this.armRetransmission(now, this.rtt.rto);
    }
    if (wait > 0) timers.set(Timer.Reordering, now + wait);
    else if (!timers.isArmed(Timer.Retransmission)) this.armRetransmission(now, this.rtt.rto);
  }

  /** RFC 6298 §5.4 to §5.6. */
  private onRetransmissionTimer(now: number): number {
    const { board, config, congestion, counters } = this;
    const { head } = board;
    if (head === null) return TimeoutOutcome.None;
    if (this.userTimeout > 0 && now - this.stalledSince >= this.userTimeout) return TimeoutOutcome.Abort;
    // RFC 9293 §3.8.3: R2, as a number of retransmissions. A peer that shrank its window to nothing and still answers
    // is alive (§3.8.6: "SHOULD NOT time out the connection").
    const shrunk = this.wnd === 0 && now - this.lastAckAt < config.maximumRto;
    if (this.timeouts >= this.retries && this.userTimeout === 0 && !shrunk) return TimeoutOutcome.Abort;

    this.timeouts++;
    counters.TCPTimeouts++;
    const progressed = this.phase === Phase.Loss && this.timeouts === 1;
    const first = this.phase === Phase.Open || this.una >= this.recoveryPoint || progressed;
    const fresh = this.phase === Phase.Open;
    // RFC 2018 §8: what was acknowledged selectively starts where nothing is acknowledged cumulatively: the receiver
    // discarded it.
    const reneged = (head.marks & Mark.Sacked) !== 0;
    const priorInFlight = board.inFlight;
    if (reneged) counters.TCPSACKReneging++;
    if (first) this.beginUndo();
    // More duplicates than `reordering` and still a timeout: the degree was overestimated (Linux does so, too).
    if (fresh && board.sacked >= this.reordering * this.segmentSize) this.reordering = DUPLICATE_THRESHOLD;
    congestion.onTimeout(now, priorInFlight, first);
    board.presumed = 0;
    if (this.racking && !reneged) {
      const window = this.rack.reorderingWindow(true, this.manySacked(), this.rtt.smoothed);
      this.rack.markLossesOnTimeout(now, board, window);
      this.countLostRetransmissions();
    } else board.markAllLost(reneged);
    // RFC 5682 §3.1 step 1: not when already in recovery, but for the same segment again.
    this.frto = (fresh || this.timeouts > 1) && !reneged;
    this.phase = Phase.Loss;
    this.recoveryPoint = this.nxt;
    board.watchPoint = this.nxt;
    this.newFirst = false;
    this.headDue = true;
    this.probeDue = false;
    this.probeEnd = -1;
    this.duplicates = 0;
    this.timers.clear(Timer.Probe);
    this.timers.clear(Timer.Reordering);
    this.rtt.backOff();
    this.armRetransmission(now, this.rtt.rto);
    let outcome: number = TimeoutOutcome.RetransmissionTimeout | TimeoutOutcome.Output;
    if (this.timeouts >= BLACK_HOLE_TIMEOUTS && board.sacked === 0 && this.spanFrom(board.head!) >= this.segmentSize) {
      this.blackHole = true;
      outcome |= TimeoutOutcome.BlackHole;
    }
    return outcome;
  }

  /** Octets outstanding from `record` that would leave in one go. */
  private spanFrom(record: Transmission): number {
    const end = record.next === null ? record.end : record.next.end;
    return end - record.start;
  }

  /** RFC 9293 §3.8.6.1. */
  private onPersistTimer(now: number): number {
    if (this.una < this.nxt || !this.hasUnsent) return TimeoutOutcome.None;
    if (this.persistBackOff === 0) this.persistingSince = now;
    // As Linux: RFC 5482's timeout covers data that stays unsent for want of a window, too.
    else if (this.userTimeout > 0 && now - this.persistingSince >= this.userTimeout) return TimeoutOutcome.Abort;
    // "A TCP implementation MAY keep its offered receive window closed indefinitely": as long as it answers.
    if (this.probesUnanswered >= this.retries && this.userTimeout === 0) return TimeoutOutcome.Abort;
    this.windowProbeDue = true;
    return TimeoutOutcome.Output;
  }

  private armPersist(now: number): void {
    const base = Math.max(this.rtt.base, this.config.minimumRto);
    const interval = Math.min(base * 2 ** this.persistBackOff, this.config.maximumRto);
    this.timers.set(Timer.Persist, now + interval);
  }

  private stopPersisting(): void {
    this.persistBackOff = 0;
    this.probesUnanswered = 0;
    this.windowProbeDue = false;
    this.timers.clear(Timer.Persist);
  }

  private armRetransmission(now: number, delay: number): void {
    let deadline = now + delay;
    if (this.userTimeout > 0) deadline = Math.min(deadline, Math.max(now, this.stalledSince + this.userTimeout));
    this.timers.set(Timer.Retransmission, deadline);
  }

  private armAfterAck(now: number, advanced: boolean, wait: number): void {
    const { board, timers } = this;
    const { head } = board;
    if (head === null) {
      // RFC 6298 §5.2.
      timers.clear(Timer.Retransmission);
      timers.clear(Timer.Probe);
      timers.clear(Timer.Reordering);
      return;
    }
    // RFC 6298 §5.3.
    if (advanced) this.armRetransmission(now, this.rtt.rto);
    if ((head.marks & Mark.Sacked) !== 0) {
      // An ACK that stops short of what was acknowledged selectively: wait a moment for another before calling it
      // reneging.
      timers.clear(Timer.Reordering);
      timers.clear(Timer.Probe);
      if (advanced) this.armRetransmission(now, Math.max(this.rtt.smoothed / 2, RENEGING_DELAY));
      return;
    }
    if (wait > 0) {
      // RFC 8985 §8: one at a time, the reordering timer first.
      const deadline = now + wait;
      timers.set(Timer.Reordering, deadline);
      timers.clear(Timer.Probe);
      if (timers.deadline(Timer.Retransmission) < deadline) timers.set(Timer.Retransmission, deadline);
      return;
    }
    if (this.rack.advanced || this.phase !== Phase.Open) timers.clear(Timer.Reordering);
    if (advanced || timers.isArmed(Timer.Probe)) this.armProbe(now);
  }

  /** RFC 8985 §7.2, on new data and on cumulative ACKs. */
  private armProbe(now: number): void {
    const { board, timers, rtt } = this;
    const eligible =
      this.racking &&
      this.phase === Phase.Open &&
      board.sacked === 0 &&
      board.head !== null &&
      this.probeEnd < 0 &&
      this.measuredSinceProbe &&
      !timers.isArmed(Timer.Reordering);
    if (!eligible) {
      timers.clear(Timer.Probe);
      return;
    }
    let timeout = UNKNOWN_PROBE_TIMEOUT;
    if (rtt.smoothed > 0) {
      timeout = 2 * rtt.smoothed + PROBE_SLACK;
      // "If FlightSize is one segment", its ACK may be delayed.
      if (board.inFlight <= this.segmentSize) timeout += MAXIMUM_ACK_DELAY;
    }
    timers.set(Timer.Probe, Math.min(now + timeout, timers.deadline(Timer.Retransmission)));
  }

  // ----------------------------------------------------------------------------------------------------- commands

  /** The source has grown. */
  onData(_now: number): void {
    this.refused = false;
  }

  /** No more bytes will come: the FIN stands at `source.end`. */
  shutdown(_now: number): void {
    this.finOffset = this.source.end;
    this.refused = false;
  }

  /** Payload bytes of one segment from now on. What is in flight stays as it was sent. */
  setSegmentSize(_now: number, size: number): void {
    this.blackHole = false;
    if (size === this.segmentSize) return;
    this.segmentSize = size;
    if (this.gsoMaximum < size) this.gsoMaximum = size;
    this.congestion.onSegmentSize(size);
  }

  /**
   * A router could not forward our packets (ICMP): takes the smaller size, and what was sent larger for lost. That is
   * no sign of congestion (RFC 1191 §6.5, RFC 8201 §5.4): the window stays.
   */
  onPacketTooBig(now: number, size: number): void {
    const smaller = size < this.segmentSize;
    this.setSegmentSize(now, size);
    if (!smaller) return;
    const { board } = this;
    const before = board.losses;
    let record = board.oldest;
    while (record !== null) {
      const { later } = record;
      if (record.end - record.start > size) board.markLost(record);
      record = later;
    }
    this.refused = false;
    if (board.losses === before) return;
    board.presumed = 0;
    if (this.phase === Phase.Open) {
      this.phase = Phase.Loss;
      this.recoveryPoint = this.nxt;
      this.undoPoint = -1;
      this.undoOctets = -1;
      this.frto = false;
    }
    this.probeDue = false;
    this.timers.clear(Timer.Probe);
    this.timers.clear(Timer.Reordering);
    this.armRetransmission(now, this.rtt.rto);
  }

  /** The largest payload one transmission may carry; one segment at least. */
  setGsoMaximum(bytes: number): void {
    this.gsoMaximum = Math.max(bytes, this.segmentSize);
  }

  /** Nagle's algorithm on or off (TCP_NODELAY is off). */
  setNagle(_now: number, on: boolean): void {
    this.nagle = on;
    this.refused = false;
  }

  /** TCP_CORK: no segment that is not full leaves, for about an RTO at most. */
  setCork(_now: number, on: boolean): void {
    this.corked = on;
    this.refused = false;
  }

  /** Retransmissions before giving up, and RFC 5482's user timeout in ms (0: none, `retries` counts). */
  setPersistence(retries: number, userTimeout: number): void {
    this.retries = retries;
    this.userTimeout = userTimeout;
  }

  /** Lets go of its records, for a connection that is over. */
  clear(): void {
    this.board.clear();
    this.timers.clearAll();
    this.refused = true;
  }

  // ------------------------------------------------------------------------------------------------------- output

  /** Plans the next transmission into `plan…`; returns its `SendKind`. Asking again changes nothing. */
  poll(now: number): number {
    this.planKind = SendKind.None;
    this.planLength = 0;
    this.planFin = false;
    this.planPush = false;
    if (this.refused) return SendKind.None;
    if (this.probeDue && this.planLossProbe()) return this.planKind;
    if (this.windowProbeDue && this.planWindowProbe()) return this.planKind;
    if (this.board.pending !== null) {
      if (!this.isPaced(now)) return SendKind.None;
      if (this.newFirst) {
        if (this.planNew(now) || this.board.inFlight > 0) return this.planKind;
        this.newFirst = false;
      }
      this.planRetransmission();
      return this.planKind;
    }
    if (!this.hasUnsent) return SendKind.None;
    if (this.isPaced(now) && this.planNew(now)) return this.planKind;
    // Nothing in flight that would bring an ACK, and yet something to send: only a probe can find out more.
    if (this.una === this.nxt && !this.timers.isArmed(Timer.Persist) && !this.timers.isArmed(Timer.Pacing)) {
      this.armPersist(now);
    }
    return SendKind.None;
  }

  private get hasUnsent(): boolean {
    return this.source.end > this.nxt || this.nxt === this.finOffset;
  }

  private isPaced(now: number): boolean {
    if (!this.config.pacing && this.congestion.pacingRate === 0) return true;
    if (this.pacer.permits(now)) return true;
    this.timers.set(Timer.Pacing, this.pacer.nextAt);
    return false;
  }

  /** RFC 8985 §7.3, TLP_send_probe(). */
  private planLossProbe(): boolean {
    const { board, segmentSize, nxt } = this;
    const { tail } = board;
    if (tail === null || this.phase !== Phase.Open || board.sacked > 0) {
      this.probeDue = false;
      return false;
    }
    const room = this.una + this.wnd - nxt;
    const fresh = Math.min(this.unsent, segmentSize);
    this.planKind = SendKind.LossProbe;
    // "transmit a previously unsent data segment, if one exists and the receive window allows"
    if (fresh > 0 && room >= fresh) {
      this.planFresh(fresh, room);
      return true;
    }
    // "Otherwise retransmit the highest-sequence segment"
    const dataEnd = Math.min(tail.end, this.finOffset);
    this.planRecord = tail;
    this.planOffset = Math.max(tail.start, dataEnd - segmentSize);
    if (this.planOffset > dataEnd) this.planOffset = dataEnd;
    this.planLength = dataEnd - this.planOffset;
    this.planFin = tail.end > this.finOffset;
    this.planPush = true;
    return true;
  }

  /** RFC 9293 §3.8.6.1, and the override of §3.8.6.2.1 (4). */
  private planWindowProbe(): boolean {
    const room = this.una + this.wnd - this.nxt;
    if (!this.hasUnsent || this.una < this.nxt) {
      this.windowProbeDue = false;
      return false;
    }
    this.planKind = SendKind.WindowProbe;
    if (room > 0) {
      this.planFresh(Math.min(this.unsent, room, this.segmentSize), room);
      return true;
    }
    // The RFC has a probe carry an octet of new data. Like Linux and BSD's keep-alive we send none, with a sequence
    // number that was acknowledged before: that draws an ACK just as well (§3.10.7.4, first check) and leaves nothing
    // beyond the window that would have to be tracked.
    this.planOffset = this.una - 1;
    return true;
  }

  /** What is lost, lowest first. */
  private planRetransmission(): void {
    const { board, segmentSize } = this;
    const first = board.pending!;
    const start = first.start;
    const isHead = first === board.head;
    const forced = this.headDue && isHead;
    let end = first.end;
    const goal = this.transmissionSize();
    for (let record = first.later; record !== null && record.start === end && end - start < goal; ) {
      end = record.end;
      record = record.later;
    }
    const dataEnd = Math.min(end, this.finOffset);
    let length = Math.min(dataEnd - start, goal);
    const edge = this.una + this.wnd;
    if (start + length > edge) {
      // A window that shrank (RFC 9293 §3.8.6): only the first octets go out beyond its edge, as a probe.
      if (!isHead && start >= edge) return;
      length = Math.min(length, Math.max(edge - start, isHead ? segmentSize : 0));
    }
    if (forced) length = Math.min(length, segmentSize);
    else {
      const pipe = board.inFlight;
      const spare = this.cwnd - pipe;
      if (length > spare) {
        length = Math.floor(spare / segmentSize) * segmentSize;
        if (length <= 0) {
          if (pipe > 0) {
            this.validate(true);
            return;
          }
          length = Math.min(dataEnd - start, segmentSize);
        }
      }
    }
    this.planRecord = first;
    this.planOffset = start;
    this.planLength = length;
    this.planFin = end > this.finOffset && start + length === dataEnd;
    this.planPush = start + length === this.source.end;
    this.planKind = length > 0 ? SendKind.Retransmit : SendKind.FinRetransmit;
  }

  /** New data or the FIN. */
  private planNew(now: number): boolean {
    const { board, segmentSize } = this;
    const unsent = this.source.end - this.nxt;
    const room = this.una + this.wnd - this.nxt;
    if (room <= 0) {
      this.validate(false);
      return false;
    }
    if (unsent <= 0) {
      if (this.nxt !== this.finOffset) return false;
      // The FIN is not held back by the congestion window: it is one octet, and the last.
      this.planKind = SendKind.Fin;
      this.planFresh(0, room);
      return true;
    }
    if (this.una === this.nxt) this.restartAfterIdle(now);
    const pipe = board.inFlight;
    const goal = this.transmissionSize();
    let length = Math.min(unsent, room, goal);
    const spare = this.cwnd - pipe;
    if (length > spare) {
      length = Math.floor(spare / segmentSize) * segmentSize;
      if (length <= 0) {
        if (pipe > 0) {
          this.validate(true);
          return false;
        }
        length = Math.min(unsent, room, segmentSize);
      }
      if (length < goal && this.mayDefer(now, length)) {
        this.validate(true);
        return false;
      }
    }
    const final = this.nxt + unsent === this.finOffset;
    if (length === unsent) {
      const partial = length % segmentSize;
      if (partial > 0 && !final && this.holdsSmall()) length -= partial;
    } else if (length >= segmentSize) length -= length % segmentSize;
    // RFC 9293 §3.8.6.2.1 (3): what the window cuts short must be half of the largest window there was.
    else if (length < this.maximumWindow / 2) length = 0;
    if (length === 0) {
      this.validate(false);
      return false;
    }
    this.planKind = SendKind.Data;
    this.planFresh(length, room);
    return true;
  }

  private planFresh(length: number, room: number): void {
    const end = this.nxt + length;
    this.planOffset = this.nxt;
    this.planLength = length;
    this.planFin = end === this.finOffset && room > length;
    this.planPush = end === this.source.end;
  }

  private transmissionSize(): number {
    return transmissionGoal(this.pacingRate, this.rtt.minimum, this.segmentSize, this.gsoMaximum);
  }

  /**
   * Nagle's algorithm in Minshall's variant, as Linux has it: a small segment waits while another small one is
   * outstanding. RFC 9293 §3.7.4 would have it wait while anything is.
   */
  private holdsSmall(): boolean {
    return this.corked || (this.nagle && this.smallEnd > this.una);
  }

  /**
   * Whether to wait for more window than `length` bytes, so as not to send scraps: only while an ACK is due within half
   * an RTT, and never for more than a third of the window (Linux: tcp_tso_should_defer).
   */
  private mayDefer(now: number, length: number): boolean {
    const { board } = this;
    if (this.recovering || 3 * length >= Math.min(this.cwnd, this.wnd)) return false;
    const { oldest } = board;
    return (
      oldest !== null && now - oldest.sentAt >= this.rtt.smoothed / 2 && now - oldest.sentAt < this.rtt.smoothed * 2
    );
  }

  /** RFC 5681 §4.1: nothing was sent for longer than an RTO, the ACK clock has stopped. */
  private restartAfterIdle(now: number): void {
    const idle = now - this.lastSentAt;
    if (this.lastSentAt < 0 || idle <= this.rtt.rto) return;
    this.congestion.onIdle(now, idle);
    this.lastSentAt = now;
  }

  /** Whether the congestion window is in full use, judged once per window (Linux: tcp_cwnd_validate). */
  private validate(limited: boolean): void {
    const { inFlight } = this.board;
    limited ||= inFlight > this.cwnd - this.segmentSize;
    if (this.una >= this.usageEnd || limited || (!this.windowLimited && inFlight > this.usagePeak)) {
      this.windowLimited = limited;
      this.usagePeak = inFlight;
      this.usageEnd = this.nxt;
    }
  }

  /** The plan was sent, `length` bytes of it, with the FIN behind them or not. */
  onSent(now: number, length: number, fin: boolean): void {
    const octets = length + (fin ? 1 : 0);
    const kind = this.planKind;
    this.planKind = SendKind.None;
    if (kind === SendKind.WindowProbe) {
      this.windowProbeDue = false;
      this.counters.TCPWinProbe++;
      if (octets === 0) {
        this.persistBackOff++;
        this.probesUnanswered++;
        this.armPersist(now);
        return;
      }
    }
    if (octets === 0) return;
    if (kind === SendKind.Retransmit || kind === SendKind.FinRetransmit) this.onRetransmitted(now, octets);
    else if (this.planOffset === this.nxt) this.onFreshSent(now, length, octets, kind);
    else this.onProbeRepeated(now, octets);
    if (this.config.pacing || this.congestion.pacingRate > 0) this.pacer.onSent(now, length, this.pacingRate);
  }

  private onFreshSent(now: number, length: number, octets: number, kind: number): void {
    const { board, timers, counters } = this;
    if (this.una === this.nxt) this.stalledSince = now;
    board.append(now, this.nxt, this.nxt + octets);
    this.nxt += octets;
    this.lastSentAt = now;
    if (length % this.segmentSize !== 0) this.smallEnd = this.nxt;
    if (this.phase === Phase.Recovery) this.prr.onSent(octets);
    if (length > 0) counters.TCPOrigDataSent += Math.ceil(length / this.segmentSize);
    this.stopPersisting();
    // RFC 6298 §5.1.
    if (!timers.isArmed(Timer.Retransmission)) this.armRetransmission(now, this.rtt.rto);
    if (kind === SendKind.LossProbe) this.onLossProbe(now, false);
    else this.armProbe(now);
    this.validate(false);
  }

  private onRetransmitted(now: number, octets: number): void {
    const { board, counters } = this;
    let left = octets;
    let record = this.planRecord;
    let headSent = false;
    while (left > 0 && record !== null) {
      const size = record.end - record.start;
      if (size > left) board.split(record, record.start + left);
      left -= record.end - record.start;
      const { later } = record;
      if (record === board.head) headSent = true;
      board.retransmit(now, record);
      record = later;
    }
    this.planRecord = null;
    this.headDue = false;
    this.lastSentAt = now;
    if (this.resentAt < 0) this.resentAt = now;
    this.undoOctets = Math.max(0, this.undoOctets) + octets;
    const segments = Math.max(1, Math.ceil(octets / this.segmentSize));
    counters.RetransSegs += segments;
    if (this.phase === Phase.Recovery) {
      this.prr.onSent(octets);
      counters.TCPFastRetrans += segments;
    } else counters.TCPSlowStartRetrans += segments;
    // The timer measures the first segment outstanding (RFC 6675 §5, RFC 6298 §5: on retransmission of it).
    if (headSent || !this.timers.isArmed(Timer.Retransmission)) this.armRetransmission(now, this.rtt.rto);
  }

  /** The last segment again, as a loss probe. */
  private onProbeRepeated(now: number, octets: number): void {
    const { board, counters } = this;
    let record = this.planRecord!;
    if (record.start < this.planOffset) record = board.split(record, this.planOffset);
    if (record.end - record.start > octets) board.split(record, record.start + octets);
    board.retransmit(now, record);
    this.planRecord = null;
    this.lastSentAt = now;
    counters.RetransSegs++;
    this.onLossProbe(now, true);
  }

  private onLossProbe(now: number, repeats: boolean): void {
    this.counters.TCPLossProbes++;
    this.probeDue = false;
    this.probeEnd = this.nxt;
    this.probeRepeats = repeats;
    this.measuredSinceProbe = false;
    this.timers.clear(Timer.Probe);
    this.armRetransmission(now, this.rtt.rto);
  }

  /** The plan cannot be sent now: nothing is offered until an ACK, a timer, a command or `onData` changes something. */
  onUnsendable(now: number): void {
    const kind = this.planKind;
    this.planKind = SendKind.None;
    this.refused = true;
    if (kind === SendKind.LossProbe) this.probeDue = false;
    if (kind === SendKind.WindowProbe) {
      this.windowProbeDue = false;
      this.persistBackOff++;
      this.armPersist(now);
    }
  }

  private get delivery(): Scoreboard['delivery'] {
    return this.board.delivery;
  }
}

function isPending(record: Transmission): boolean {
  return (record.marks & (Mark.Lost | Mark.Retransmitted)) === Mark.Lost;
}

const Phase = {
  /** No loss that is known of. */
  Open: 0,
  /** Fast recovery. */
  Recovery: 1,
  /** Slow start after a timeout, until all is acknowledged that was outstanding then. */
  Loss: 2,
} as const;

const Timer = { Retransmission: 0, Probe: 1, Reordering: 2, Persist: 3, Pacing: 4 } as const;
const TIMERS = 5;

/** DupThresh (RFC 5681 §3.2). */
const DUPLICATE_THRESHOLD = 3;
/** Ceiling of `reordering` (net.ipv4.tcp_max_reordering). */
const MAXIMUM_REORDERING = 300;
/** RFC 6298 §5.7, ms. */
const LOST_SYN_RTO = 3000;
/** Echoes older than this many ms are no echoes of this flight. */
const OLDEST_ECHO = 86_400_000;
/** RFC 8985 §7.2: TLP.max_ack_delay, and the timeout while no RTT is known; ms. */
const MAXIMUM_ACK_DELAY = 200;
const UNKNOWN_PROBE_TIMEOUT = 1000;
/** Added to 2 * SRTT, ms: below that our own timers are late (Linux does the same). */
const PROBE_SLACK = 2;
/** Least time that an ACK gets to show that it was no reneging, ms (as Linux). */
const RENEGING_DELAY = 10;
/** Timeouts that make a black hole (Linux: net.ipv4.tcp_retries1). */
const BLACK_HOLE_TIMEOUTS = 3;

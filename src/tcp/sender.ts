import { Option, type Segment } from '../wire/segment.ts';
import type { SequenceSpace } from '../wire/sequence.ts';
import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';
import { LossRecovery } from './loss-recovery.ts';
import { AckOutcome, SendKind, TimeoutOutcome } from './outcome.ts';
import { Pacer } from './pacing.ts';
import { RttEstimator } from './rtt.ts';
import { Mark, type Scoreboard, type Transmission } from './scoreboard.ts';
import { type AckSample, type ByteSource, type CongestionControl, Verdict } from './seams.ts';
import { SendPlan } from './send-plan.ts';
import { TimerTable } from './timers.ts';

export { AckOutcome, SendKind, TimeoutOutcome };

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
 * What is lost, and how much may be in flight while it is repaired, is `LossRecovery`'s to say.
 */
export class Sender {
  /** Offset and acknowledgment of the segment that last updated `wnd`. */
  wl1 = 0;
  wl2 = 1;
  readonly rtt: RttEstimator;
  readonly congestion: CongestionControl;
  readonly counters: TcpCounters;
  /** What is in flight: for pictures of the connection. */
  readonly board: Scoreboard;

  private readonly config: TcpConfig;
  private readonly source: ByteSource;
  private readonly timestamps: boolean;
  private readonly timestampOffset: number;
  private readonly recovery: LossRecovery;
  private readonly plan: SendPlan;
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

  /** An RTT was measured since the last loss probe. */
  private measuredSinceProbe = true;
  private probeDue = false;

  private windowProbeDue = false;
  /** Window probes since the window closed, and of these since the last ACK. */
  private persistBackOff = 0;
  private probesUnanswered = 0;
  private persistingSince = 0;

  /** Octets sent again: by recovery, timeouts and loss probes. */
  retransmitted = 0;
  /** When the path came back after an outage; nothing sent before is measured. */
  private outageEnd = Number.NEGATIVE_INFINITY;
  /** The caller could not send the last plan. */
  private refused = false;
  private lastAckAt: number;
  /** Since when something is outstanding without any progress, ms; meaningless while nothing is. */
  stalledSince: number;
  private retries: number;
  private userTimeout: number;

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
    this.timestamps = options.timestamps;
    this.timestampOffset = options.timestampOffset;
    this.retries = config.retries;
    this.userTimeout = config.userTimeout;
    this.lastAckAt = now;
    this.stalledSince = now;
    // RFC 6298 §5.7: when the timer expired on the SYN and nothing was measured, "RTO MUST be re-initialized to 3 s".
    const initial = options.handshakeRetransmitted ? Math.max(config.initialRto, LOST_SYN_RTO) : config.initialRto;
    this.rtt = new RttEstimator(initial, config.minimumRto, config.maximumRto);
    const { space, segmentSize, sackPermitted } = options;
    const racking = sackPermitted && config.rack;
    this.recovery = new LossRecovery(space, segmentSize, sackPermitted, racking, congestion, counters, this.rtt);
    this.board = this.recovery.board;
    this.plan = new SendPlan(source, this.recovery, congestion, this.rtt, options.peerWindow, config.nagle);
    if (options.handshakeRtt >= 0) {
      this.rtt.onSample(options.handshakeRtt, 1);
      this.rtt.onMinimumSample(now, options.handshakeRtt);
    }
  }

  /** Window of the peer in bytes, from `una` on. */
  get wnd(): number {
    return this.plan.wnd;
  }

  /** It is known from elsewhere that the peer's window is `bytes` from `una` on: another subflow's ACK said so. */
  raiseWindow(bytes: number): void {
    if (bytes <= this.wnd) return;
    this.plan.wnd = bytes;
    if (bytes > this.plan.maximumWindow) this.plan.maximumWindow = bytes;
    this.stopPersisting();
  }

  /** Offset of our FIN: Infinity until `shutdown`, `source.end` from then on. */
  get finOffset(): number {
    return this.plan.finOffset;
  }

  /** The largest payload one transmission may carry. */
  get gsoMaximum(): number {
    return this.plan.gsoMaximum;
  }

  /** The plan that `poll` made: a `SendKind`. */
  get planKind(): number {
    return this.plan.kind;
  }

  get planOffset(): number {
    return this.plan.offset;
  }

  /** Payload bytes offered. */
  get planLength(): number {
    return this.plan.length;
  }

  /** The FIN follows these bytes. */
  get planFin(): boolean {
    return this.plan.fin;
  }

  /** Nothing more is there to send: PSH. */
  get planPush(): boolean {
    return this.plan.push;
  }

  /** Oldest octet not acknowledged. In an idle connection equal to `nxt`. */
  get una(): number {
    return this.recovery.una;
  }

  /** Next octet never sent before. */
  get nxt(): number {
    return this.recovery.nxt;
  }

  /** Payload bytes of one full segment. */
  get segmentSize(): number {
    return this.recovery.segmentSize;
  }

  /** Retransmission timeouts in a row without progress. */
  get timeouts(): number {
    return this.recovery.timeouts;
  }

  /** Segments by which the network was seen to reorder, at least three: RFC 6675's DupThresh. */
  get reordering(): number {
    return this.recovery.reordering;
  }

  /** RFC 6675's pipe: octets thought to be in the network. */
  get inFlight(): number {
    return this.board.inFlight;
  }

  /** Bytes the source has that were never sent. */
  get unsent(): number {
    return this.plan.unsent;
  }

  /** Fast recovery or recovery after a timeout. */
  get recovering(): boolean {
    return this.recovery.recovering;
  }

  /** Octets that may be in flight: PRR's figure in fast recovery, else the congestion window. */
  get cwnd(): number {
    return this.recovery.cwnd;
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
    return this.plan.pacingRate;
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
    const { board, recovery } = this;
    const { delivery } = board;
    const priorInFlight = board.inFlight;
    const priorLosses = board.losses;
    const priorEdge = this.una + this.wnd;
    const advanced = ack > this.una;
    this.refused = false;
    this.probeDue = false;
    this.lastAckAt = now;
    this.probesUnanswered = 0;

    // RFC 5681 §2, duplicate ACK: outstanding data, no data, SYN or FIN, nothing new acknowledged, the same window.
    // Never one that carries signals of the extension (RFC 8684 §3.4).
    const duplicate =
      ack === this.una &&
      ack < this.nxt &&
      segment.span === 0 &&
      segment.scaledWindow === this.wnd &&
      (verdict & Verdict.NotDuplicate) === 0;
    if (ack >= this.una) this.updateWindow(segment, ack);

    const echo = this.readEcho(now, segment);
    recovery.beginAck(now, echo, ack);
    recovery.takeBlocks(segment, ack);
    if (advanced) {
      recovery.advance(ack);
      this.stalledSince = now;
      this.source.release(now, Math.min(ack, this.finOffset));
    }
    this.measure(now, advanced, segment.timestampEcho === 0 ? Number.POSITIVE_INFINITY : echo);
    const extensible = this.unsent > 0 && this.una + this.wnd > this.nxt;
    if (recovery.conclude(now, ack, advanced, duplicate, extensible, priorInFlight, priorLosses)) {
      this.informCongestion(now, priorInFlight);
    }
    if (delivery.octets > 0) this.counters.TCPDelivered += Math.ceil(delivery.octets / this.segmentSize);
    this.armAfterAck(now, advanced);

    let outcome: number = AckOutcome.None;
    if (advanced) outcome |= AckOutcome.Advanced;
    if (this.una > this.finOffset) outcome |= AckOutcome.FinAcknowledged;
    if (delivery.octets > 0) outcome |= AckOutcome.Progress;
    if (priorEdge <= this.nxt && this.una + this.wnd > this.nxt) outcome |= AckOutcome.WindowOpened;
    if (recovery.entered) outcome |= AckOutcome.EnteredRecovery;
    if (recovery.undone) outcome |= AckOutcome.Undone;
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
    this.plan.wnd = scaledWindow;
    this.wl1 = Math.max(this.wl1, offset);
    this.wl2 = ack;
    if (scaledWindow > this.plan.maximumWindow) this.plan.maximumWindow = scaledWindow;
    // The window opened: the next time it closes, probing starts anew.
    if (room <= 0 && ack + scaledWindow > this.nxt) this.stopPersisting();
  }

  /** When what triggered the ACK was sent, in whole ms, by its timestamp; Infinity when it tells nothing. */
  private readEcho(now: number, segment: Segment): number {
    if (!this.timestamps || (segment.options & Option.Timestamps) === 0) return Number.POSITIVE_INFINITY;
    const ticks = Math.floor(now);
    const elapsed = (this.timestampOffset + ticks - segment.timestampEcho) | 0;
    // A nonsense echo, from the future or from before the connection, says nothing.
    return elapsed >= 0 && elapsed <= OLDEST_ECHO ? ticks - elapsed : Number.POSITIVE_INFINITY;
  }

  /** The RTT that an ACK tells, if any (RFC 6298 §3, RFC 7323 §4.1). */
  private measure(now: number, advanced: boolean, echo: number): void {
    const { delivery } = this.board;
    const { firstSentAt, lastSentAt, sackSentAt } = delivery;
    this.sample.rtt = -1;
    if (firstSentAt >= 0 && !delivery.repeated) {
      // The time of transmission is finer than the timestamp clock. The oldest octet's counts, delayed ACK and all;
      // congestion control and RACK want the path alone, which the youngest tells.
      this.onSample(now, now - firstSentAt, now - lastSentAt);
    } else if (sackSentAt >= 0) this.onSample(now, now - sackSentAt, now - sackSentAt);
    // Retransmitted: only the echo tells which transmission it was (RFC 7323 §4.1). At least one tick. But with a D-SACK
    // a second copy drew this ACK, the first one's was lost, and the echo is still the first one's.
    else if (advanced && echo !== Number.POSITIVE_INFINITY && this.recovery.duplicateEnd < 0) {
      this.onSample(now, Math.max(1, Math.floor(now) - echo), -1);
    }
  }

  /** `rtt` is for the timeout, `path` for what wants no delayed ACK in it; -1 when that is not known. */
  private onSample(now: number, rtt: number, path: number): void {
    if (now - rtt < this.outageEnd) return;
    this.rtt.onSample(rtt, Math.ceil(this.sample.inFlight / (2 * this.segmentSize)));
    this.measuredSinceProbe = true;
    if (path < 0) return;
    this.rtt.onMinimumSample(now, path);
    this.sample.rtt = path;
  }

  private informCongestion(now: number, priorInFlight: number): void {
    const { sample, congestion, board, counters, plan } = this;
    sample.delivered = board.delivery.octets;
    sample.acknowledged = board.delivery.acknowledged;
    sample.priorInFlight = priorInFlight;
    sample.inFlight = board.inFlight;
    sample.smoothedRtt = this.rtt.smoothed;
    sample.una = this.una;
    sample.nxt = this.nxt;
    // RFC 5681 §3.1 and RFC 7661 §4.3: no growth that was not asked for. In slow start half a window of use is enough,
    // as it doubles per round trip (Linux: tcp_is_cwnd_limited).
    sample.windowLimited =
      plan.windowLimited ||
      (congestion.window < congestion.slowStartThreshold && congestion.window < 2 * plan.usagePeak);
    const starting = congestion.slowStartThreshold === Number.POSITIVE_INFINITY;
    congestion.onAck(now, sample);
    if (starting && congestion.slowStartThreshold !== Number.POSITIVE_INFINITY) counters.TCPHystartDelayDetect++;
  }

  // ------------------------------------------------------------------------------------------------------- timers

  /**
   * Something was heard of a path on which nothing was acknowledged for several timeouts: the next retransmission need
   * not wait for the end of a long back-off. What was under way meanwhile is lost, even if an ACK of something older
   * would have the timeouts look spurious (RFC 5682); and how long the path was away says nothing of its RTT.
   */
  onPathAlive(now: number): void {
    const { head } = this.board;
    if (this.timeouts === 0 || head === null) return;
    // The peer may go on sending on a path that is dead the other way, or be about to acknowledge what went out since:
    // no more than the timer would do without its back-off, and none of that counts towards giving up.
    if (now - head.sentAt < this.rtt.base) return;
    this.recovery.timeouts--;
    this.outageEnd = now;
    this.rtt.endBackOff();
    this.recovery.forbidUndo();
    this.timers.set(Timer.Retransmission, now);
  }

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
    if (timers.take(Timer.Retransmission, now)) {
      outcome |= this.onRetransmissionTimer(now);
      if (now === this.outageEnd) this.recovery.forbidUndo();
    }
    if (timers.take(Timer.Persist, now)) outcome |= this.onPersistTimer(now);
    return outcome;
  }

  private onReorderingTimer(now: number): void {
    const { recovery, timers } = this;
    if (this.board.oldest === null) return;
    // What was found goes out now: the retransmission timer starts from there.
    if (recovery.onReorderingTimer(now) && timers.deadline(Timer.Retransmission) <= now) {
      this.armRetransmission(now, this.rtt.rto);
    }
    if (recovery.wait > 0) timers.set(Timer.Reordering, now + recovery.wait);
    else if (!timers.isArmed(Timer.Retransmission)) this.armRetransmission(now, this.rtt.rto);
  }

  /** RFC 6298 §5.4 to §5.6. */
  private onRetransmissionTimer(now: number): number {
    const { board, config, recovery } = this;
    const { head } = board;
    if (head === null) return TimeoutOutcome.None;
    if (this.userTimeout > 0 && now >= this.stalledSince + this.userTimeout) return TimeoutOutcome.Abort;
    // RFC 9293 §3.8.3: R2, as a number of retransmissions. A peer that shrank its window to nothing and still answers
    // is alive (§3.8.6: "SHOULD NOT time out the connection").
    const shrunk = this.wnd === 0 && now - this.lastAckAt < config.maximumRto;
    if (this.timeouts >= this.retries && this.userTimeout === 0 && !shrunk) return TimeoutOutcome.Abort;
    recovery.onRetransmissionTimer(now, head);
    this.probeDue = false;
    this.timers.clear(Timer.Probe);
    this.timers.clear(Timer.Reordering);
    this.armRetransmission(now, this.rtt.rto);
    let outcome: number = TimeoutOutcome.RetransmissionTimeout | TimeoutOutcome.Output;
    // Small segments may pass, and be acknowledged selectively, while large ones vanish: the size of the one that does
    // not get through counts.
    if (this.timeouts >= BLACK_HOLE_TIMEOUTS && head.end - head.start >= Math.min(this.segmentSize, SUSPECT_SIZE)) {
      this.blackHole = true;
      outcome |= TimeoutOutcome.BlackHole;
    }
    return outcome;
  }

  /** RFC 9293 §3.8.6.1. */
  private onPersistTimer(now: number): number {
    if (this.una < this.nxt || !this.plan.hasUnsent) return TimeoutOutcome.None;
    if (this.persistBackOff === 0) this.persistingSince = now;
    // As Linux: RFC 5482's timeout covers data that stays unsent for want of a window, too.
    else if (this.userTimeout > 0 && now >= this.persistingSince + this.userTimeout) return TimeoutOutcome.Abort;
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

  private armAfterAck(now: number, advanced: boolean): void {
    const { board, recovery, timers } = this;
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
    if (recovery.wait > 0) {
      // RFC 8985 §8: one at a time, the reordering timer first.
      const deadline = now + recovery.wait;
      timers.set(Timer.Reordering, deadline);
      timers.clear(Timer.Probe);
      if (timers.deadline(Timer.Retransmission) < deadline) timers.set(Timer.Retransmission, deadline);
      return;
    }
    if (recovery.wait === 0) timers.clear(Timer.Reordering);
    if (advanced || timers.isArmed(Timer.Probe)) this.armProbe(now);
  }

  /** RFC 8985 §7.2, on new data and on cumulative ACKs. */
  private armProbe(now: number): void {
    const { board, timers, rtt } = this;
    const eligible =
      this.recovery.racking &&
      !this.recovery.recovering &&
      board.sacked === 0 &&
      board.head !== null &&
      this.recovery.probeEnd < 0 &&
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
    this.plan.finOffset = this.source.end;
    this.refused = false;
  }

  /** Payload bytes of one segment from now on. What is in flight stays as it was sent. */
  setSegmentSize(_now: number, size: number): void {
    this.blackHole = false;
    if (size === this.segmentSize) return;
    this.recovery.segmentSize = size;
    if (this.plan.gsoMaximum < size) this.plan.gsoMaximum = size;
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
    this.refused = false;
    if (!this.recovery.onPacketTooBig(size)) return;
    this.probeDue = false;
    this.timers.clear(Timer.Probe);
    this.timers.clear(Timer.Reordering);
    this.armRetransmission(now, this.rtt.rto);
  }

  /** The largest payload one transmission may carry; one segment at least. */
  setGsoMaximum(bytes: number): void {
    this.plan.gsoMaximum = Math.max(bytes, this.segmentSize);
  }

  /** Nagle's algorithm on or off (TCP_NODELAY is off). */
  setNagle(_now: number, on: boolean): void {
    this.plan.nagle = on;
    this.refused = false;
  }

  /** TCP_CORK: no segment that is not full leaves, for about an RTO at most. */
  setCork(_now: number, on: boolean): void {
    this.plan.corked = on;
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
    const { plan } = this;
    plan.clear();
    if (this.refused) return SendKind.None;
    if (this.probeDue) {
      if (plan.planLossProbe()) return this.plan.kind;
      this.probeDue = false;
    }
    if (this.windowProbeDue) {
      if (plan.planWindowProbe()) return plan.kind;
      this.windowProbeDue = false;
    }
    if (this.board.pending !== null) {
      if (!this.isPaced(now)) return SendKind.None;
      if (this.recovery.newFirst) {
        if (plan.planFresh(now) || this.board.inFlight > 0) return plan.kind;
        this.recovery.newFirst = false;
      }
      plan.planRetransmission();
      return plan.kind;
    }
    if (!this.plan.hasUnsent) return SendKind.None;
    if (this.isPaced(now) && plan.planFresh(now)) return plan.kind;
    // Nothing in flight that would bring an ACK, and yet something to send: only a probe can find out more.
    if (this.una === this.nxt && !this.timers.isArmed(Timer.Persist) && !this.timers.isArmed(Timer.Pacing)) {
      this.armPersist(now);
    }
    return SendKind.None;
  }

  private isPaced(now: number): boolean {
    if (!this.config.pacing && this.congestion.pacingRate === 0) return true;
    if (this.pacer.permits(now)) return true;
    this.timers.set(Timer.Pacing, this.pacer.nextAt);
    return false;
  }

  /** The plan was sent, `length` bytes of it, with the FIN behind them or not. */
  onSent(now: number, length: number, fin: boolean): void {
    const octets = length + (fin ? 1 : 0);
    const { plan } = this;
    const { kind } = plan;
    plan.kind = SendKind.None;
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
    else if (plan.offset === this.nxt) this.onFreshSent(now, length, octets, kind);
    else this.onLossProbe(now, this.plan.record, plan.offset, octets);
    if (this.config.pacing || this.congestion.pacingRate > 0) this.pacer.onSent(now, length, this.pacingRate);
  }

  private onFreshSent(now: number, length: number, octets: number, kind: number): void {
    const { recovery, timers, counters } = this;
    if (this.una === this.nxt) this.stalledSince = now;
    recovery.onSent(now, octets);
    this.plan.lastSentAt = now;
    if (length % this.segmentSize !== 0) this.plan.smallEnd = this.nxt;
    if (length > 0) counters.TCPOrigDataSent += Math.ceil(length / this.segmentSize);
    this.stopPersisting();
    // RFC 6298 §5.1.
    if (!timers.isArmed(Timer.Retransmission)) this.armRetransmission(now, this.rtt.rto);
    if (kind === SendKind.LossProbe) this.onLossProbe(now, null, 0, 0);
    else this.armProbe(now);
    this.plan.validate(false);
  }

  private onRetransmitted(now: number, octets: number): void {
    this.retransmitted += octets;
    const headSent = this.recovery.onRetransmitted(now, this.plan.record, octets);
    this.plan.record = null;
    this.plan.lastSentAt = now;
    // The timer measures the first segment outstanding: it starts again when that is sent again (as in Linux; RFC 6675
    // §5 leaves it running, which punishes a long recovery with a timeout).
    if (headSent || !this.timers.isArmed(Timer.Retransmission)) this.armRetransmission(now, this.rtt.rto);
  }

  private onLossProbe(now: number, record: Transmission | null, offset: number, octets: number): void {
    this.retransmitted += octets;
    this.recovery.onProbeSent(now, record, offset, octets);
    this.plan.record = null;
    this.plan.lastSentAt = now;
    this.probeDue = false;
    this.measuredSinceProbe = false;
    this.timers.clear(Timer.Probe);
    this.armRetransmission(now, this.rtt.rto);
  }

  /** The plan cannot be sent now: nothing is offered until an ACK, a timer, a command or `onData` changes something. */
  onUnsendable(now: number): void {
    const { plan } = this;
    const { kind } = plan;
    plan.kind = SendKind.None;
    this.refused = true;
    if (kind === SendKind.LossProbe) this.probeDue = false;
    if (kind === SendKind.WindowProbe) {
      this.windowProbeDue = false;
      this.persistBackOff++;
      this.armPersist(now);
    }
  }
}

const Timer = { Retransmission: 0, Probe: 1, Reordering: 2, Persist: 3, Pacing: 4 } as const;
const TIMERS = 5;

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
/** Smaller payloads pass everywhere, bytes: nothing is to be gained by making them smaller still. */
const SUSPECT_SIZE = 512;

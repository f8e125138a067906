import { Option, type Segment } from '../wire/segment.ts';
import type { SequenceSpace } from '../wire/sequence.ts';
import type { TcpCounters } from './counters.ts';
import { Prr, Rack } from './recovery.ts';
import type { RttEstimator } from './rtt.ts';
import { isPending, Mark, Scoreboard, type Transmission } from './scoreboard.ts';
import type { CongestionControl } from './seams.ts';

/**
 * What is outstanding on a connection, what of it is lost, and how much may be in flight until that is repaired.
 *
 * Loss is found by RACK-TLP (RFC 8985) where SACK is in use, by RFC 6675 where RACK is switched off, by duplicate ACKs
 * (RFC 5681, RFC 6582) where there is no SACK. Fast recovery sends what PRR (RFC 6937) lets out. Reductions that prove
 * needless are undone: by D-SACK (RFC 2883, RFC 3708), timestamps (Eifel, RFC 3522, RFC 4015), F-RTO (RFC 5682).
 * Explicit congestion notification would enter where `enterRecovery` does, with nothing lost.
 *
 * Per ACK: `beginAck`, `takeBlocks`, `advance` if it advances, `conclude`.
 */
export class LossRecovery {
  /** Oldest octet not acknowledged, next octet never sent. */
  una = 1;
  nxt = 1;
  segmentSize: number;
  /** Retransmission timeouts in a row without progress. */
  timeouts = 0;
  /** Segments by which the network was seen to reorder, at least three: RFC 6675's DupThresh. */
  reordering = DUPLICATE_THRESHOLD;
  readonly board: Scoreboard = new Scoreboard();
  /** RFC 5682 §3.1 2b: send new data before lost data, until the next ACK. */
  newFirst = false;
  /** The timeout's retransmission goes out whatever the windows say. */
  headDue = false;
  /** RFC 8985 §7: TLP.end_seq; -1 for none. */
  probeEnd = -1;

  // Of the ACK at hand.
  /** A reduction was undone; recovery was entered. */
  undone = false;
  entered = false;
  /** In how many ms RACK wants to look again; 0 for not at all, -1 when it had no reason to look now. */
  wait = -1;

  /** RACK-TLP is in use. */
  readonly racking: boolean;
  private readonly sackPermitted: boolean;
  private readonly space: SequenceSpace;
  private readonly congestion: CongestionControl;
  private readonly counters: TcpCounters;
  private readonly rtt: RttEstimator;
  private readonly rack = new Rack();
  private readonly prr = new Prr();

  private phase: number = Phase.Open;
  /** `nxt` when recovery began: it ends when this is acknowledged. */
  private recoveryPoint = 0;
  /** Duplicate or newly selective ACKs since `una` moved. */
  private duplicates = 0;
  /** A D-SACK block of the ACK at hand: its right edge, -1 for none. */
  duplicateEnd = -1;
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
  /** RFC 8985 §7: TLP.is_retrans. */
  private probeRepeats = false;

  constructor(
    space: SequenceSpace,
    segmentSize: number,
    sackPermitted: boolean,
    racking: boolean,
    congestion: CongestionControl,
    counters: TcpCounters,
    rtt: RttEstimator,
  ) {
    this.space = space;
    this.segmentSize = segmentSize;
    this.sackPermitted = sackPermitted;
    this.racking = racking;
    this.congestion = congestion;
    this.counters = counters;
    this.rtt = rtt;
  }

  /** Fast recovery or recovery after a timeout. */
  get recovering(): boolean {
    return this.phase !== Phase.Open;
  }

  /** Octets that may be in flight: PRR's figure in fast recovery, else the congestion window. */
  get cwnd(): number {
    return this.phase === Phase.Recovery ? this.prr.window : this.congestion.window;
  }

  // --------------------------------------------------------------------------------------------------------- ACKs

  /** An ACK up to `ack`. `echo`: when what triggered it was sent, by its timestamp (whole ms); Infinity when it has none. */
  beginAck(now: number, echo: number, ack: number): void {
    this.echo = echo;
    this.newFirst = false;
    this.duplicateEnd = -1;
    this.undone = false;
    this.entered = false;
    this.wait = -1;
    this.board.beginAck();
    this.rack.beginAck(now, echo, this.rtt.minimum, ack);
  }

  /** The SACK option (RFC 2018, RFC 2883). */
  takeBlocks(segment: Segment, ack: number): void {
    if (!this.sackPermitted || (segment.options & Option.Sack) === 0) return;
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

  /** Everything below `ack`, which is above `una`, arrived. */
  advance(ack: number): void {
    const { board } = this;
    board.acknowledge(ack, this.rack);
    this.una = ack;
    this.timeouts = 0;
    if (!this.sackPermitted) this.consumePresumed(board.delivery.acknowledged);
  }

  /**
   * After the news of an ACK were taken in: what they mean. `duplicate` as RFC 5681 §2 defines it; `extensible`: there
   * is new data, and the peer's window has room. Returns whether congestion control shall count the ACK.
   */
  conclude(
    now: number,
    ack: number,
    advanced: boolean,
    duplicate: boolean,
    extensible: boolean,
    priorInFlight: number,
    priorLosses: number,
  ): boolean {
    const { board, rack } = this;
    const { delivery } = board;
    const priorPhase = this.phase;
    if (delivery.reordered !== Number.POSITIVE_INFINITY) this.onReordering(delivery.reordered);
    if (this.probeEnd >= 0) this.onProbeAnswered(now, ack, duplicate, priorInFlight);
    const dubious = !advanced && (delivery.sacked > 0 || (duplicate && !this.sackPermitted));
    if (advanced) this.duplicates = 0;
    else if (dubious) {
      this.duplicates++;
      if (!this.sackPermitted) this.presume();
    }
    if (this.duplicateEnd >= 0) this.undone = this.undoByDuplicates(now);
    if (this.phase === Phase.Recovery) this.undone = this.onAckInRecovery(now, advanced) || this.undone;
    else if (this.phase === Phase.Loss)
      this.undone = this.onAckInLoss(now, advanced, dubious, extensible) || this.undone;
    this.wait = this.findLosses(now);
    if (this.phase === Phase.Open) {
      const suffice = board.pending === null && this.duplicatesSuffice();
      if (suffice) this.markHeadLost();
      if (suffice || board.pending !== null) this.enterRecovery(now, priorInFlight);
    } else if (this.phase === Phase.Loss && rack.lostRetransmissions > 0) this.enterRecovery(now, priorInFlight);
    this.countLostRetransmissions();
    if (this.phase === Phase.Recovery) {
      this.prr.onAck(board.inFlight, delivery.octets, advanced, board.losses > priorLosses, this.segmentSize);
      return false;
    }
    return advanced && priorPhase !== Phase.Recovery;
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

  private onReordering(lowest: number): void {
    const { board } = this;
    this.rack.reorderingSeen = true;
    const degree = Math.ceil((board.forward - lowest) / this.segmentSize);
    this.reordering = Math.min(Math.max(this.reordering, degree), MAXIMUM_REORDERING);
  }

  /** Without SACK: a duplicate ACK says that some segment arrived. */
  private presume(): void {
    const { board } = this;
    const limit = this.nxt - this.una - board.lost - this.segmentSize;
    const octets = Math.min(this.segmentSize, Math.max(0, limit - board.presumed));
    board.presumed += octets;
    board.delivery.octets += octets;
  }

  /** Of `acknowledged` octets, duplicate ACKs told of all but the hole that was filled: those count once. */
  private consumePresumed(acknowledged: number): void {
    const { board } = this;
    const told = Math.min(board.presumed, Math.max(0, acknowledged - this.segmentSize));
    // Outside of recovery an advance means that the duplicates were reordering.
    board.presumed = this.phase === Phase.Open ? 0 : board.presumed - told;
    board.presumed = Math.min(board.presumed, Math.max(0, this.nxt - this.una - board.lost));
    board.delivery.octets -= told;
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

  // --------------------------------------------------------------------------------------------- losses and phases

  /** Marks what is lost by now; returns what `wait` shall be. */
  private findLosses(now: number): number {
    const { board, rack } = this;
    if (this.racking) {
      if (!rack.advanced) return -1;
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
    this.entered = true;
    this.recoveryPoint = this.nxt;
    this.probeEnd = -1;
    this.frto = false;
    this.headDue = false;
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
      counters.TCPPartialUndo++;
      this.undo(now);
      board.unmarkLost();
      // What looked like loss was reordering, more of it than was known: do not conclude the same again at once.
      this.rack.reorderingSeen = true;
      this.phase = Phase.Open;
      return true;
    }
    // RFC 6582 §3.2 step 3, partial ACK: "retransmit the first unacknowledged segment".
    if (!this.sackPermitted) this.markHeadLost();
    return false;
  }

  /** After a timeout (RFC 5681 §3.1, RFC 5682). Returns whether it was found needless. */
  private onAckInLoss(now: number, advanced: boolean, dubious: boolean, extensible: boolean): boolean {
    const { board } = this;
    const { delivery } = board;
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
        if (extensible) {
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

  private countLostRetransmissions(): void {
    const { rack } = this;
    if (rack.lostRetransmissions === 0) return;
    this.counters.TCPLostRetransmit += rack.lostRetransmissions;
    rack.lostRetransmissions = 0;
  }

  // -------------------------------------------------------------------------------------------------------- undoing

  /** What was taken for lost is lost: nothing of it will be undone. */
  forbidUndo(): void {
    this.undoPoint = -1;
    this.undoOctets = -1;
    this.frto = false;
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

  // ------------------------------------------------------------------------------------------ timers and the rest

  /** RFC 8985 §6.2 step 5: time enough for reordering has passed. Sets `wait`; returns whether anything was lost. */
  onReorderingTimer(now: number): boolean {
    const { board, rack } = this;
    const priorInFlight = board.inFlight;
    const priorLosses = board.losses;
    const window = rack.reorderingWindow(this.recovering, this.manySacked(), this.rtt.smoothed);
    this.wait = rack.detectLosses(now, board, window);
    if (board.losses === priorLosses) return false;
    if (this.phase === Phase.Open || (this.phase === Phase.Loss && rack.lostRetransmissions > 0)) {
      this.enterRecovery(now, priorInFlight);
    } else if (this.phase === Phase.Recovery) {
      this.prr.onAck(board.inFlight, 0, false, true, this.segmentSize);
    }
    this.countLostRetransmissions();
    return true;
  }

  /** RFC 6298 §5.4 to §5.5, RFC 5681 §3.1: the retransmission timer expired while `head` was outstanding. */
  onRetransmissionTimer(now: number, head: Transmission): void {
    const { board, counters } = this;
    this.timeouts++;
    counters.TCPTimeouts++;
    const progressed = this.phase === Phase.Loss && this.timeouts === 1;
    const fresh = this.phase === Phase.Open;
    const first = fresh || this.una >= this.recoveryPoint || progressed;
    // RFC 2018 §8: what was acknowledged selectively starts where nothing is acknowledged cumulatively: the receiver
    // discarded it.
    const reneged = (head.marks & Mark.Sacked) !== 0;
    const priorInFlight = board.inFlight;
    if (reneged) counters.TCPSACKReneging++;
    if (first) this.beginUndo();
    // More duplicates than `reordering` and still a timeout: the degree was overestimated (Linux does so, too).
    if (fresh && board.sacked >= this.reordering * this.segmentSize) this.reordering = DUPLICATE_THRESHOLD;
    this.congestion.onTimeout(now, priorInFlight, first);
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
    this.probeEnd = -1;
    this.duplicates = 0;
    this.rtt.backOff();
  }

  /** What was sent in pieces larger than `size` was dropped for that alone. Returns whether anything was. */
  onPacketTooBig(size: number): boolean {
    const { board } = this;
    const before = board.losses;
    let record = board.oldest;
    while (record !== null) {
      const { later } = record;
      if (record.end - record.start > size) board.markLost(record);
      record = later;
    }
    if (board.losses === before) return false;
    board.presumed = 0;
    if (this.phase === Phase.Open) {
      this.phase = Phase.Loss;
      this.recoveryPoint = this.nxt;
      this.undoPoint = -1;
      this.undoOctets = -1;
      this.frto = false;
    }
    return true;
  }

  /** New octets left. */
  onSent(now: number, octets: number): void {
    this.board.append(now, this.nxt, this.nxt + octets);
    this.nxt += octets;
    if (this.phase === Phase.Recovery) this.prr.onSent(octets);
  }

  /** `octets` of what waits left again, from `record` on. Returns whether the oldest octet was among them. */
  onRetransmitted(now: number, record: Transmission | null, octets: number): boolean {
    const { board, counters } = this;
    let left = octets;
    let headSent = false;
    while (left > 0 && record !== null) {
      if (record.end - record.start > left) board.split(record, record.start + left);
      left -= record.end - record.start;
      const { later } = record;
      if (record === board.head) headSent = true;
      board.retransmit(now, record);
      record = later;
    }
    this.headDue = false;
    if (this.resentAt < 0) this.resentAt = now;
    this.undoOctets = Math.max(0, this.undoOctets) + octets;
    const segments = Math.max(1, Math.ceil(octets / this.segmentSize));
    counters.RetransSegs += segments;
    if (this.phase === Phase.Recovery) {
      this.prr.onSent(octets);
      counters.TCPFastRetrans += segments;
    } else counters.TCPSlowStartRetrans += segments;
    return headSent;
  }

  /** RFC 8985 §7.3: a loss probe left; with `record`, `octets` from `offset` in it again. */
  onProbeSent(now: number, record: Transmission | null, offset: number, octets: number): void {
    const { board, counters } = this;
    counters.TCPLossProbes++;
    this.probeEnd = this.nxt;
    this.probeRepeats = record !== null;
    if (record === null) return;
    if (record.start < offset) record = board.split(record, offset);
    if (record.end - record.start > octets) board.split(record, record.start + octets);
    board.retransmit(now, record);
    counters.RetransSegs++;
  }
}

const Phase = {
  /** No loss that is known of. */
  Open: 0,
  /** Fast recovery. */
  Recovery: 1,
  /** Slow start after a timeout, until all is acknowledged that was outstanding then. */
  Loss: 2,
} as const;

/** DupThresh (RFC 5681 §3.2). */
const DUPLICATE_THRESHOLD = 3;
/** Ceiling of `reordering` (net.ipv4.tcp_max_reordering). */
const MAXIMUM_REORDERING = 300;

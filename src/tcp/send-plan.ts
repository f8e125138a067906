import type { LossRecovery } from './loss-recovery.ts';
import { SendKind } from './outcome.ts';
import { transmissionGoal } from './pacing.ts';
import type { RttEstimator } from './rtt.ts';
import type { Transmission } from './scoreboard.ts';
import type { ByteSource, CongestionControl } from './seams.ts';

/**
 * The next transmission of a connection: which octets, how many at once, whether now. It knows the windows, the peer's
 * and ours, and what makes a small segment wait; not timers, and not what is lost.
 */
export class SendPlan {
  /** What was planned last: a `SendKind`, and where. */
  kind: number = SendKind.None;
  offset = 0;
  length = 0;
  /** The FIN follows these bytes. */
  fin = false;
  /** Nothing more is there to send: PSH. */
  push = false;
  /** For what was sent before: the record it begins in. */
  record: Transmission | null = null;

  /** Window of the peer in bytes, from `una` on, and the largest it ever offered: Max(SND.WND). */
  wnd: number;
  maximumWindow: number;
  /** Offset of our FIN: Infinity until the end is known. */
  finOffset = Number.POSITIVE_INFINITY;
  /** The largest payload one transmission may carry. */
  gsoMaximum: number;
  nagle: boolean;
  corked = false;
  /** End of the last segment that was not full (Minshall's variant of Nagle's algorithm). */
  smallEnd = 0;
  /** When something was sent last, ms; -1 before. */
  lastSentAt = -1;

  /** Whether the congestion window was what held sending back (RFC 7661 §4.3), in the window that ends at `usageEnd`. */
  windowLimited = false;
  /** The most octets that were in flight in it. */
  usagePeak = 0;
  private usageEnd = 1;

  private readonly source: ByteSource;
  private readonly recovery: LossRecovery;
  private readonly congestion: CongestionControl;
  private readonly rtt: RttEstimator;

  /** `window`: the peer's, in bytes. */
  constructor(
    source: ByteSource,
    recovery: LossRecovery,
    congestion: CongestionControl,
    rtt: RttEstimator,
    window: number,
    nagle: boolean,
  ) {
    this.source = source;
    this.recovery = recovery;
    this.congestion = congestion;
    this.rtt = rtt;
    this.wnd = window;
    this.maximumWindow = window;
    this.gsoMaximum = recovery.segmentSize;
    this.nagle = nagle;
  }

  /** Bytes the source has that were never sent. */
  get unsent(): number {
    return Math.max(0, this.source.end - this.recovery.nxt);
  }

  /** Octets of the peer's window beyond `nxt`; negative when it shrank. */
  get room(): number {
    return this.recovery.una + this.wnd - this.recovery.nxt;
  }

  clear(): void {
    this.kind = SendKind.None;
    this.length = 0;
    this.fin = false;
    this.push = false;
  }

  get hasUnsent(): boolean {
    return this.source.end > this.recovery.nxt || this.recovery.nxt === this.finOffset;
  }

  /** Bytes per ms; 0 while no RTT is known. */
  get pacingRate(): number {
    const { congestion, recovery, rtt } = this;
    if (congestion.pacingRate > 0) return congestion.pacingRate;
    if (rtt.smoothed === 0) return 0;
    // As Linux: twice what the window yields while it doubles per round trip, 1.2 times from then on.
    const window = Math.max(recovery.cwnd, recovery.board.inFlight);
    const factor = congestion.window < congestion.slowStartThreshold / 2 ? 2 : 1.2;
    return (factor * window) / rtt.smoothed;
  }

  /** RFC 8985 §7.3, TLP_send_probe(). */
  planLossProbe(): boolean {
    const { board, segmentSize } = this.recovery;
    const { tail } = board;
    if (tail === null || this.recovery.recovering || board.sacked > 0) return false;
    const room = this.room;
    const fresh = Math.min(this.unsent, segmentSize);
    this.kind = SendKind.LossProbe;
    // "transmit a previously unsent data segment, if one exists and the receive window allows"
    if (fresh > 0 && room >= fresh) {
      this.place(fresh, room);
      return true;
    }
    // "Otherwise retransmit the highest-sequence segment"
    const dataEnd = Math.min(tail.end, this.finOffset);
    this.record = tail;
    this.offset = Math.max(tail.start, dataEnd - segmentSize);
    if (this.offset > dataEnd) this.offset = dataEnd;
    this.length = dataEnd - this.offset;
    this.fin = tail.end > this.finOffset;
    this.push = true;
    return true;
  }

  /** RFC 9293 §3.8.6.1, and the override of §3.8.6.2.1 (4). */
  planWindowProbe(): boolean {
    const room = this.room;
    if (!this.hasUnsent || this.recovery.una < this.recovery.nxt) return false;
    this.kind = SendKind.WindowProbe;
    if (room > 0) {
      this.place(Math.min(this.unsent, room, this.recovery.segmentSize), room);
      return true;
    }
    // The RFC has a probe carry an octet of new data. Like Linux and BSD's keep-alive we send none, with a sequence
    // number that was acknowledged before: that draws an ACK just as well (§3.10.7.4, first check) and leaves nothing
    // beyond the window that would have to be tracked.
    this.offset = this.recovery.una - 1;
    return true;
  }

  /** What is lost, lowest first. */
  planRetransmission(): void {
    const { board, segmentSize } = this.recovery;
    const first = board.pending!;
    const start = first.start;
    const isHead = first === board.head;
    const forced = this.recovery.headDue && isHead;
    let end = first.end;
    const goal = this.transmissionSize();
    for (let record = first.later; record !== null && record.start === end && end - start < goal; ) {
      end = record.end;
      record = record.later;
    }
    const dataEnd = Math.min(end, this.finOffset);
    let length = Math.min(dataEnd - start, goal);
    const edge = this.recovery.una + this.wnd;
    if (start + length > edge) {
      // A window that shrank (RFC 9293 §3.8.6): only the first octets go out beyond its edge, as a probe.
      if (!isHead && start >= edge) return;
      length = Math.min(length, Math.max(edge - start, isHead ? segmentSize : 0));
    }
    if (forced) length = Math.min(length, segmentSize);
    else {
      const pipe = board.inFlight;
      const spare = this.recovery.cwnd - pipe;
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
    this.record = first;
    this.offset = start;
    this.length = length;
    this.fin = end > this.finOffset && start + length === dataEnd;
    this.push = start + length === this.source.end;
    this.kind = length > 0 ? SendKind.Retransmit : SendKind.FinRetransmit;
  }

  /** New data or the FIN. */
  planFresh(now: number): boolean {
    const { board, segmentSize } = this.recovery;
    const unsent = this.source.end - this.recovery.nxt;
    const room = this.room;
    if (room <= 0) {
      this.validate(false);
      return false;
    }
    if (unsent <= 0) {
      if (this.recovery.nxt !== this.finOffset) return false;
      // The FIN is not held back by the congestion window: it is one octet, and the last.
      this.kind = SendKind.Fin;
      this.place(0, room);
      return true;
    }
    if (this.recovery.una === this.recovery.nxt) this.restartAfterIdle(now);
    const pipe = board.inFlight;
    const goal = this.transmissionSize();
    let length = Math.min(unsent, room, goal);
    const spare = this.recovery.cwnd - pipe;
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
    const final = this.recovery.nxt + unsent === this.finOffset;
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
    this.kind = SendKind.Data;
    this.place(length, room);
    return true;
  }

  private place(length: number, room: number): void {
    const end = this.recovery.nxt + length;
    this.offset = this.recovery.nxt;
    this.length = length;
    this.fin = end === this.finOffset && room > length;
    this.push = end === this.source.end;
  }

  private transmissionSize(): number {
    return transmissionGoal(this.pacingRate, this.rtt.minimum, this.recovery.segmentSize, this.gsoMaximum);
  }

  /**
   * Nagle's algorithm in Minshall's variant, as Linux has it: a small segment waits while another small one is
   * outstanding. RFC 9293 §3.7.4 would have it wait while anything is.
   */
  private holdsSmall(): boolean {
    return this.corked || (this.nagle && this.smallEnd > this.recovery.una);
  }

  /**
   * Whether to wait for more window than `length` bytes, so as not to send scraps: only while an ACK is due within half
   * an RTT, and never for more than a third of the window (Linux: tcp_tso_should_defer).
   */
  private mayDefer(now: number, length: number): boolean {
    const { board } = this.recovery;
    if (this.recovery.recovering || 3 * length >= Math.min(this.recovery.cwnd, this.wnd)) return false;
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
  validate(limited: boolean): void {
    const { inFlight } = this.recovery.board;
    limited ||= inFlight > this.recovery.cwnd - this.recovery.segmentSize;
    if (this.recovery.una >= this.usageEnd || limited || (!this.windowLimited && inFlight > this.usagePeak)) {
      this.windowLimited = limited;
      this.usagePeak = inFlight;
      this.usageEnd = this.recovery.nxt;
    }
  }
}

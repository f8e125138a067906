import { Mptcp } from '../wire/mptcp-options.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import type { Subflow } from './subflow.ts';

/** Duplicate ACKs with signals that may go out in a row. */
const ROW = 2;
/** Said by pure ACKs, apart from DSS and the words of handshakes, which RFC 8684 §3.1, §3.2 have times of their own for. */
const SIGNALS = Mptcp.AddAddress | Mptcp.RemoveAddress | Mptcp.Priority | Mptcp.Fail;

/**
 * How many duplicate ACKs a subflow sends for the sake of signals (A5.27). RFC 8684 §3.4.1: an implementation "SHOULD NOT
 * send more than two duplicate ACKs in a row for signaling purposes", lest something that knows no MPTCP takes them for
 * signs of loss. The third signal waits until data goes out, or there is something new to acknowledge. After a round trip
 * it need not wait any more: what the peer had under way has come by then and ended the row, or is really lost.
 */
export class SignalPacing {
  private readonly subflow: Subflow;
  private row = 0;
  /** Peer's subflow offset that the last segment acknowledged. */
  private acknowledged = 1;
  /** When a row that is full is over, though nothing interrupted it; Infinity when none is full. */
  deadline = Number.POSITIVE_INFINITY;

  constructor(subflow: Subflow) {
    this.subflow = subflow;
  }

  /** A signal would have to wait. */
  get isHeld(): boolean {
    return this.deadline !== Number.POSITIVE_INFINITY && this.subflow.tcp!.receiver.nxt === this.acknowledged;
  }

  /** `segment` is about to go out; `carries` payload or a FIN, so that it is no duplicate ACK. */
  onTransmit(now: number, segment: Segment, carries: boolean): void {
    const { tcp } = this.subflow;
    if (tcp === null) return;
    const { nxt } = tcp.receiver;
    if (carries || nxt !== this.acknowledged) {
      this.acknowledged = nxt;
      this.end();
    } else if ((segment.mptcp.present & SIGNALS) !== 0 && (segment.flags & Flag.Rst) === 0) {
      this.row++;
      const { rtt } = tcp.sender;
      if (this.row >= ROW) this.deadline = now + (rtt.isUnknown ? rtt.rto : rtt.smoothed + 4 * rtt.variance);
    }
  }

  onTimeout(now: number): void {
    if (now >= this.deadline) this.end();
  }

  private end(): void {
    this.row = 0;
    this.deadline = Number.POSITIVE_INFINITY;
  }
}

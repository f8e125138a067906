import type { AckSample, CongestionControl, CongestionControlFactory } from '../../tcp/seams.ts';

/**
 * Standard TCP congestion control (RFC 5681), counting bytes (RFC 3465). The base that others vary, too.
 */
export class Reno implements CongestionControl {
  readonly name: string = 'reno';
  window: number;
  slowStartThreshold = Number.POSITIVE_INFINITY;
  readonly pacingRate: number = 0;
  private segmentSize: number;
  private readonly initialWindow: number;
  /** Bytes acknowledged in congestion avoidance that did not make the window grow yet. */
  private credit = 0;
  /** What stood before the last reduction; 0 when there is nothing to restore. */
  private priorWindow = 0;
  private priorThreshold = 0;

  /** Sizes in bytes. */
  constructor(segmentSize: number, initialWindow: number) {
    this.segmentSize = segmentSize;
    this.initialWindow = initialWindow;
    this.window = initialWindow;
  }

  onSegmentSize(size: number): void {
    this.segmentSize = size;
    // Never less than one segment of the new size.
    this.window = Math.max(this.window, size);
  }

  onAck(_now: number, sample: AckSample): void {
    if (!sample.windowLimited) return;
    let bytes = sample.delivered;
    if (this.window < this.slowStartThreshold) {
      // RFC 5681 §3.1: slow start. By bytes, with no limit per ACK: receivers that acknowledge rarely are no slower.
      const growth = Math.min(bytes, this.slowStartThreshold - this.window);
      this.window += growth;
      bytes -= growth;
      if (bytes === 0) return;
    }
    // RFC 5681 §3.1, congestion avoidance: one segment per window of bytes acknowledged.
    this.credit += bytes;
    if (this.credit >= this.window) {
      this.credit -= this.window;
      this.window += this.segmentSize;
    }
  }

  onLoss(_now: number, inFlight: number): void {
    this.remember();
    // RFC 5681 §3.1 equation 4: ssthresh = max(FlightSize / 2, 2 * SMSS).
    this.slowStartThreshold = Math.max(inFlight / 2, 2 * this.segmentSize);
    this.window = this.slowStartThreshold;
    this.credit = 0;
  }

  onRecovered(_now: number): void {
    // RFC 6582 §3.2 step 3, full acknowledgment: cwnd = ssthresh.
    this.window = this.slowStartThreshold;
  }

  onTimeout(_now: number, inFlight: number, first: boolean): void {
    if (first) {
      this.remember();
      this.slowStartThreshold = Math.max(inFlight / 2, 2 * this.segmentSize);
    }
    // RFC 5681 §3.1: "cwnd MUST be set to no more than the loss window, LW, which equals 1 full-sized segment".
    this.window = this.segmentSize;
    this.credit = 0;
  }

  onUndo(_now: number): void {
    this.window = Math.max(this.window, this.priorWindow);
    this.slowStartThreshold = Math.max(this.slowStartThreshold, this.priorThreshold);
  }

  onIdle(_now: number, _idle: number): void {
    // RFC 7661 §4.4 and RFC 2861: what was known of the path bounds the slow start that follows.
    this.slowStartThreshold = Math.max(this.slowStartThreshold, 0.75 * this.window);
    // RFC 5681 §4.1: restart window = min(IW, cwnd).
    this.window = Math.min(this.initialWindow, this.window);
  }

  private remember(): void {
    this.priorWindow = this.window;
    this.priorThreshold = this.slowStartThreshold;
  }
}

export const reno: CongestionControlFactory = (segmentSize, initialWindow) => new Reno(segmentSize, initialWindow);

import type { AckSample, CongestionControl, CongestionControlFactory } from '../../tcp/seams.ts';
import { HyStart } from './hystart.ts';

/**
 * CUBIC (RFC 9438, before it RFC 8312), the default of Linux: the window is a cubic function of the time since the last
 * reduction, flat around the size where loss struck. With HyStart++ in slow start.
 *
 * Windows are kept in bytes; the formulas of the RFC are in segments and seconds.
 */
export class Cubic implements CongestionControl {
  readonly name: string = 'cubic';
  window: number;
  slowStartThreshold = Number.POSITIVE_INFINITY;
  readonly pacingRate: number = 0;
  private segmentSize: number;
  private readonly initialWindow: number;
  private readonly hystart = new HyStart();

  /** W_max, bytes; 0 before the first reduction. */
  peak = 0;
  /** When this stage of congestion avoidance began, ms; -1 when it did not yet. */
  private epoch = -1;
  /** W_max of this stage and K, its time of reaching that, in ms. */
  private origin = 0;
  private delay = 0;
  /** W_est, bytes: what Reno would have. */
  private estimate = 0;
  /** cwnd_prior: the window before the last reduction, from which W_est grows like Reno's. */
  private priorPeak = 0;
  private lastAckAt = -1;

  // For onUndo: what stood before the last reduction.
  private undoWindow = 0;
  private undoThreshold = 0;
  private undoPeak = 0;
  private undoPriorPeak = 0;

  /** Sizes in bytes. */
  constructor(segmentSize: number, initialWindow: number) {
    this.segmentSize = segmentSize;
    this.initialWindow = initialWindow;
    this.window = initialWindow;
  }

  onSegmentSize(size: number): void {
    this.segmentSize = size;
    this.window = Math.max(this.window, size);
    // K depends on the unit that windows are measured in.
    this.epoch = -1;
  }

  onAck(now: number, sample: AckSample): void {
    const since = this.lastAckAt < 0 ? 0 : now - this.lastAckAt;
    this.lastAckAt = now;
    if (!sample.windowLimited) {
      // RFC 9438 §5.8: "t" does not count the time in which the application, not the window, limited sending.
      if (this.epoch >= 0) this.epoch += since;
      return;
    }
    let bytes = sample.delivered;
    if (this.window < this.slowStartThreshold) {
      // HyStart++ is for the first slow start; later ones end at a threshold that was measured (RFC 9406 §4.3).
      if (this.slowStartThreshold === Number.POSITIVE_INFINITY) {
        if (this.hystart.onAck(sample.una, sample.nxt, sample.rtt)) {
          this.slowStartThreshold = this.window;
        } else {
          this.window += bytes / this.hystart.divisor;
          return;
        }
      } else {
        const growth = Math.min(bytes, this.slowStartThreshold - this.window);
        this.window += growth;
        bytes -= growth;
      }
      if (bytes === 0) return;
    }
    this.avoid(now, bytes, sample.smoothedRtt);
  }

  onLoss(now: number, _inFlight: number): void {
    this.reduce();
    this.window = this.slowStartThreshold;
    this.lastAckAt = now;
  }

  onRecovered(_now: number): void {
    this.window = this.slowStartThreshold;
  }

  onTimeout(now: number, _inFlight: number, first: boolean): void {
    if (first) this.reduce();
    this.epoch = -1;
    // RFC 9438 §4.8: as RFC 5681, the loss window is one segment.
    this.window = this.segmentSize;
    this.lastAckAt = now;
  }

  onUndo(_now: number): void {
    this.window = Math.max(this.window, this.undoWindow);
    this.slowStartThreshold = Math.max(this.slowStartThreshold, this.undoThreshold);
    // RFC 9438 §4.9.
    this.peak = this.undoPeak;
    this.priorPeak = this.undoPriorPeak;
    this.epoch = -1;
  }

  onIdle(_now: number, _idle: number): void {
    this.slowStartThreshold = Math.max(this.slowStartThreshold, 0.75 * this.window);
    // RFC 5681 §4.1: restart window = min(IW, cwnd).
    this.window = Math.min(this.initialWindow, this.window);
    this.epoch = -1;
    this.hystart.restart(0);
  }

  /** RFC 9438 §4.6 and §4.7. Uses cwnd, not FlightSize, as §4.6 allows where the window grows only in use. */
  private reduce(): void {
    const { window, segmentSize } = this;
    this.undoWindow = window;
    this.undoThreshold = this.slowStartThreshold;
    this.undoPeak = this.peak;
    this.undoPriorPeak = this.priorPeak;
    this.priorPeak = window;
    // Fast convergence: a peak below the last one means that others need room.
    this.peak = window < this.peak ? (window * (1 + BETA)) / 2 : window;
    this.slowStartThreshold = Math.max(window * BETA, 2 * segmentSize);
    this.epoch = -1;
  }

  /** RFC 9438 §4.2 to §4.5: congestion avoidance, `bytes` acknowledged. */
  private avoid(now: number, bytes: number, rtt: number): void {
    const { segmentSize } = this;
    if (this.epoch < 0) this.begin(now);
    // The window one RTT from now, by equation 1.
    const time = (now - this.epoch + rtt - this.delay) / 1000;
    let target = this.origin + C * time * time * time * segmentSize;
    // §4.2: target lies between cwnd and 1.5 cwnd.
    target = Math.min(Math.max(target, this.window), 1.5 * this.window);
    // §4.3, the Reno-friendly region: alpha makes it as fast as AIMD(1, 0.5), and 1 once the old window is reached.
    const alpha = this.estimate < this.priorPeak ? ALPHA : 1;
    this.estimate += (alpha * bytes * segmentSize) / this.window;
    const current = (now - this.epoch - this.delay) / 1000;
    const cubic = this.origin + C * current * current * current * segmentSize;
    if (cubic < this.estimate) this.window = Math.max(this.window, this.estimate);
    // §4.4, §4.5: (target - cwnd) / cwnd segments per segment acknowledged.
    else this.window += ((target - this.window) * bytes) / this.window;
  }

  private begin(now: number): void {
    const { window, segmentSize } = this;
    this.epoch = now;
    this.estimate = window;
    if (window < this.peak) {
      // Equation 2: K = cbrt((W_max - cwnd_epoch) / C).
      this.origin = this.peak;
      this.delay = 1000 * Math.cbrt((this.peak - window) / segmentSize / C);
    } else {
      // §4.10: no peak is known, or it was passed in slow start: from here on it rises.
      this.origin = window;
      this.delay = 0;
    }
  }
}

/** RFC 9438 §4.6, §5: beta_cubic, C in segments per second cubed, alpha_cubic. */
const BETA = 0.7;
const C = 0.4;
const ALPHA = (3 * (1 - BETA)) / (1 + BETA);

export const cubic: CongestionControlFactory = (segmentSize, initialWindow) => new Cubic(segmentSize, initialWindow);

/**
 * Round trip times of one path and the retransmission timeout made of them (RFC 6298). All times in ms.
 */
export class RttEstimator {
  /** SRTT; 0 before the first measurement. */
  smoothed = 0;
  /** RTTVAR. */
  variance = 0;
  /** The timeout to arm now, back-off included. */
  rto: number;
  /** Smallest RTT of the last five minutes; Infinity before the first measurement. */
  minimum = Number.POSITIVE_INFINITY;
  /** The last measurement; -1 before the first. */
  latest = -1;
  private readonly floor: number;
  private readonly ceiling: number;
  /** The three best of the window and of its younger parts, with their times: a running minimum in constant space. */
  private bestAt = 0;
  private second = Number.POSITIVE_INFINITY;
  private secondAt = 0;
  private third = Number.POSITIVE_INFINITY;
  private thirdAt = 0;

  /** `initial`: RTO before the first measurement; `floor` and `ceiling` as in `TcpConfig.minimumRto`, `maximumRto`. */
  constructor(initial: number, floor: number, ceiling: number) {
    this.rto = initial;
    this.floor = floor;
    this.ceiling = ceiling;
  }

  /** Whether nothing was measured yet. */
  get isUnknown(): boolean {
    return this.latest < 0;
  }

  /**
   * A measurement, never of an ambiguous retransmission (Karn's algorithm, RFC 6298 §3). `expectedSamples` is the number
   * of measurements a round trip is likely to bring.
   */
  onSample(rtt: number, expectedSamples: number): void {
    const sample = Math.max(rtt, SHORTEST);
    this.latest = sample;
    if (this.smoothed === 0) {
      // RFC 6298 §2.2.
      this.smoothed = sample;
      this.variance = sample / 2;
    } else {
      // RFC 6298 §2.3: RTTVAR first, with the old SRTT. With many samples per round trip the variance would be
      // forgotten within one (RFC 7323 appendix G scales both gains down); like Linux we let it fall slowly, once per
      // round trip as it were, while it rises and SRTT moves at the full gain.
      const deviation = Math.abs(this.smoothed - sample);
      const gain = deviation > this.variance ? BETA : BETA / Math.max(1, expectedSamples);
      this.variance += gain * (deviation - this.variance);
      this.smoothed += ALPHA * (sample - this.smoothed);
    }
    this.recompute();
  }

  /** An RTT for the minimum alone: RACK and slow start want the shortest, delayed ACKs left out. */
  onMinimumSample(now: number, rtt: number): void {
    const sample = Math.max(rtt, SHORTEST);
    if (sample <= this.minimum || now - this.thirdAt > MINIMUM_WINDOW) {
      this.minimum = sample;
      this.second = sample;
      this.third = sample;
      this.bestAt = now;
      this.secondAt = now;
      this.thirdAt = now;
      return;
    }
    if (sample <= this.second) {
      this.second = sample;
      this.third = sample;
      this.secondAt = now;
      this.thirdAt = now;
    } else if (sample <= this.third) {
      this.third = sample;
      this.thirdAt = now;
    }
    this.age(now, sample);
  }

  /** RFC 6298 §5.5: the timer expired; the timeout doubles, up to its ceiling, until something is measured again. */
  backOff(): void {
    this.rto = Math.min(this.rto * 2, this.ceiling);
  }

  /** The timeout without back-off, for persist timers and progress after a needless timeout. */
  get base(): number {
    if (this.smoothed === 0) return this.rto;
    // RFC 6298 §2.4 rounds the whole RTO up to a second. Linux, whose floor is 200 ms, applies it to the variance
    // term, so that the timeout stays a delayed ACK's time above the RTT however steady that is. We do the same.
    return Math.min(this.smoothed + Math.max(this.floor, 4 * this.variance), this.ceiling);
  }

  /** Ends the back-off although nothing was measured: the timeout is known to have been needless (RFC 5682 §2.1). */
  endBackOff(): void {
    this.recompute();
  }

  private recompute(): void {
    this.rto = this.base;
  }

  /** Moves the window on when its best is old, or starts younger candidates in its second quarter and half. */
  private age(now: number, sample: number): void {
    const elapsed = now - this.bestAt;
    if (elapsed > MINIMUM_WINDOW) {
      this.minimum = this.second;
      this.bestAt = this.secondAt;
      this.second = this.third;
      this.secondAt = this.thirdAt;
      this.third = sample;
      this.thirdAt = now;
    } else if (this.secondAt === this.bestAt && elapsed > MINIMUM_WINDOW / 4) {
      this.second = sample;
      this.secondAt = now;
      this.third = sample;
      this.thirdAt = now;
    } else if (this.thirdAt === this.secondAt && elapsed > MINIMUM_WINDOW / 2) {
      this.third = sample;
      this.thirdAt = now;
    }
  }
}

/** RFC 6298 §2.3. */
const ALPHA = 1 / 8;
const BETA = 1 / 4;
/** Nothing is quicker than a microsecond; keeps "unknown" and "immeasurably short" apart. */
const SHORTEST = 0.001;
/** Span of the running minimum (Linux: net.ipv4.tcp_min_rtt_wlen, 300 s). */
const MINIMUM_WINDOW = 300_000;

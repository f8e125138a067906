/**
 * Spreads transmissions over time: each pushes the moment of the next one out by the time its bytes take at the rate.
 * A moment that has passed unused is credit for one burst only as long as `BURST` ms.
 */
export class Pacer {
  /** Earliest time of the next transmission in ms. */
  nextAt = 0;

  /** `bytes` leave at `now`, at `rate` bytes per ms; a rate of 0 is unlimited. */
  onSent(now: number, bytes: number, rate: number): void {
    if (rate <= 0) return;
    this.nextAt = Math.max(this.nextAt, now - BURST) + bytes / rate;
  }

  /** Whether something may leave now. */
  permits(now: number): boolean {
    return this.nextAt <= now;
  }
}

/**
 * What one transmission may carry, in bytes: about a millisecond's worth at the pacing rate, so that a slow path keeps
 * its ACK clock and a fast one gets large packets; more on very short paths, where acknowledgments return so soon that
 * bursts do no harm. Whole segments, two at least, `maximum` at most (Linux: tcp_tso_autosize).
 *
 * `rate` in bytes per ms, 0 while unknown: then the congestion window alone decides. `shortestRtt` in ms.
 */
export function transmissionGoal(rate: number, shortestRtt: number, segmentSize: number, maximum: number): number {
  if (maximum < 2 * segmentSize) return segmentSize;
  let bytes = maximum;
  if (rate > 0) {
    bytes = rate;
    if (shortestRtt < SHORT_RTT_LIMIT) bytes += maximum / 2 ** Math.floor(shortestRtt / SHORT_RTT_STEP);
  }
  bytes = Math.min(Math.max(bytes, 2 * segmentSize), maximum);
  return bytes - (bytes % segmentSize);
}

/** Credit for late timers, in ms: a driver's clock is no finer. */
const BURST = 1;
/** Each half ms of RTT halves the bonus of short paths; beyond 8 ms it is nothing (net.ipv4.tcp_tso_rtt_log 9). */
const SHORT_RTT_STEP = 0.512;
const SHORT_RTT_LIMIT = 8;

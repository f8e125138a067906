/**
 * Round trip times of one path and the retransmission timeout made of them (RFC 6298), in ms.
 */
export class RttEstimator {
  /** SRTT; 0 before the first measurement. */
  smoothed = 0;
  /** RTTVAR. */
  variance = 0;
  /** The timeout to arm now, back-off included. */
  rto: number;
  /** Smallest RTT of the last five minutes or so; Infinity before the first measurement. */
  minimum = Number.POSITIVE_INFINITY;
  /** The last measurement; -1 before the first. */
  latest = -1;
  private readonly floor: number;
  private readonly ceiling: number;

  constructor(initial: number, floor: number, ceiling: number) {
    this.rto = initial;
    this.floor = floor;
    this.ceiling = ceiling;
  }

  onSample(_now: number, rtt: number): void {
    this.latest = rtt;
    this.rto = Math.min(Math.max(rtt, this.floor), this.ceiling);
  }
}

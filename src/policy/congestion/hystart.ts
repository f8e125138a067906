/**
 * HyStart++ (RFC 9406): leaves slow start when round trips lengthen, before the queue overflows. First into a gentler
 * "conservative slow start", so that a passing rise does not end growth for good. Times in ms.
 */
export class HyStart {
  /** Growth divisor: 1 in slow start, 4 in conservative slow start. */
  divisor = 1;
  private roundEnd = 0;
  private samples = 0;
  private current = Number.POSITIVE_INFINITY;
  private last = Number.POSITIVE_INFINITY;
  private baseline = Number.POSITIVE_INFINITY;
  private conservativeRounds = 0;

  /** Slow start begins anew; the round ends when `nxt` is acknowledged. */
  restart(nxt: number): void {
    this.divisor = 1;
    this.roundEnd = nxt;
    this.samples = 0;
    this.current = Number.POSITIVE_INFINITY;
    this.last = Number.POSITIVE_INFINITY;
    this.baseline = Number.POSITIVE_INFINITY;
    this.conservativeRounds = 0;
  }

  /** An ACK up to `una` in slow start, with an RTT or -1. Returns whether slow start is over. */
  onAck(una: number, nxt: number, rtt: number): boolean {
    let over = false;
    if (una >= this.roundEnd) over = this.endRound(nxt);
    if (rtt >= 0) {
      this.samples++;
      if (rtt < this.current) this.current = rtt;
    }
    if (this.samples < SAMPLES || this.last === Number.POSITIVE_INFINITY) return over;
    if (this.divisor === 1) {
      // RFC 9406 §4.2: RttThresh = max(MIN_RTT_THRESH, min(lastRoundMinRTT / MIN_RTT_DIVISOR, MAX_RTT_THRESH)).
      const threshold = Math.max(MINIMUM_THRESHOLD, Math.min(this.last / RTT_DIVISOR, MAXIMUM_THRESHOLD));
      if (this.current >= this.last + threshold) {
        this.baseline = this.current;
        this.divisor = CONSERVATIVE_DIVISOR;
        this.conservativeRounds = 0;
      }
    } else if (this.current < this.baseline) {
      // "If currentRoundMinRTT < cssBaselineMinRtt", the rise had passed: slow start resumes.
      this.baseline = Number.POSITIVE_INFINITY;
      this.divisor = 1;
    }
    return over;
  }

  private endRound(nxt: number): boolean {
    this.roundEnd = nxt;
    this.last = this.current;
    this.current = Number.POSITIVE_INFINITY;
    this.samples = 0;
    return this.divisor > 1 && ++this.conservativeRounds >= CONSERVATIVE_ROUNDS;
  }
}

/** RFC 9406 §4.3. */
const MINIMUM_THRESHOLD = 4;
const MAXIMUM_THRESHOLD = 16;
const RTT_DIVISOR = 8;
const SAMPLES = 8;
const CONSERVATIVE_DIVISOR = 4;
const CONSERVATIVE_ROUNDS = 5;

import { isPending, Mark, type Scoreboard, type Transmission } from './scoreboard.ts';

/**
 * RACK (RFC 8985 §6): a transmission is lost when one made later arrived and time enough for reordering has passed.
 *
 * Per ACK: `beginAck`, `onDelivered` for each run that arrived (the scoreboard calls it), `onDuplicateReported` if the
 * ACK told of a duplicate, `detectLosses`.
 */
export class Rack {
  /** RACK.xmit_ts and RACK.end_seq: the last sent of all transmissions known to have arrived. */
  sentAt = Number.NEGATIVE_INFINITY;
  end = 0;
  /** RACK.rtt: how long it took, ms. */
  rtt = 0;
  /** RACK.reordering_seen. */
  reorderingSeen = false;
  /** The ACK at hand moved `sentAt` or `end`: only then can it prove losses. */
  advanced = false;
  /** Retransmissions that `detectLosses` found lost. */
  lostRetransmissions = 0;
  /** RACK.reo_wnd_mult, RACK.reo_wnd_persist and RACK.dsack_round (-1 for none). */
  private multiplier = 1;
  private persist = 0;
  private round = -1;
  private now = 0;
  private echo = Number.POSITIVE_INFINITY;
  private shortestRtt = Number.POSITIVE_INFINITY;
  private ack = 0;

  /**
   * An ACK that arrived at `now`, whose timestamp echo says that what triggered it was sent at `echo` in ms (whole ms;
   * Infinity without timestamps), and that acknowledges everything below the offset `ack`. `shortestRtt` in ms.
   */
  beginAck(now: number, echo: number, shortestRtt: number, ack: number): void {
    this.now = now;
    this.echo = echo;
    this.shortestRtt = shortestRtt;
    this.ack = ack;
    this.advanced = false;
  }

  /** RFC 8985 §6.2 step 2. `repeated`: it had been sent more than once, the last time at `sentAt`. */
  onDelivered(sentAt: number, end: number, repeated: boolean): void {
    const rtt = this.now - sentAt;
    if (repeated) {
      // "ignore a segment as invalid if any of its sequence range has been retransmitted before" and either the echo
      // or an impossibly short time shows that it was an earlier transmission that arrived. Deviation: the echo counts
      // for what is acknowledged cumulatively alone, as if there were no timestamps. While a hole is open a receiver
      // echoes what came before it (RFC 7323 §4.3), so that by the letter no retransmission that is SACKed would ever
      // tell of one before it that was lost again, and only the timeout would. Linux does not ask the echo at all.
      if (end <= this.ack && this.echo < Math.floor(sentAt)) return;
      if (rtt < this.shortestRtt && this.shortestRtt !== Number.POSITIVE_INFINITY) return;
    }
    this.advanced = true;
    this.rtt = rtt;
    if (sentAt > this.sentAt || (sentAt === this.sentAt && end > this.end)) {
      this.sentAt = sentAt;
      this.end = end;
    }
  }

  /** RFC 8985 §6.2 step 4: a D-SACK. The window grows once per round trip that brings any. */
  onDuplicateReported(una: number, nxt: number): void {
    if (this.round >= 0 && una < this.round) return;
    this.round = nxt;
    this.multiplier++;
    this.persist = PERSIST;
  }

  /** RFC 8985 §6.2 step 4: recovery ended; after 16 of these without a D-SACK the window is as small as at first. */
  onRecovered(): void {
    if (this.persist > 0 && --this.persist === 0) this.multiplier = 1;
  }

  /** RACK.reo_wnd in ms. `recovering`: fast or RTO recovery; `manySacked`: DupThresh segments or more are SACKed. */
  reorderingWindow(recovering: boolean, manySacked: boolean, smoothedRtt: number): number {
    if (!this.reorderingSeen && (recovering || manySacked)) return 0;
    const window = (this.multiplier * this.shortestRtt) / 4;
    return Math.min(window, smoothedRtt);
  }

  /**
   * RFC 8985 §6.2 step 5. Marks what is lost by now, and returns in how many ms the next transmission will be if
   * nothing is heard of it; 0 when nothing waits for that. Looks at no more than what it marks, and one.
   *
   * The RFC lets the timer wait for the last of these; we wake for the first, which finds it sooner and, as records are
   * bursts, is not much more often.
   */
  detectLosses(now: number, board: Scoreboard, reorderingWindow: number): number {
    let record = board.oldest;
    while (record !== null) {
      // RACK_sent_after(): only what was sent before the one that arrived.
      if (record.sentAt > this.sentAt || (record.sentAt === this.sentAt && record.end >= this.end)) return 0;
      const remaining = record.sentAt + this.rtt + reorderingWindow - now;
      if (remaining > RESOLUTION) return remaining;
      const { later } = record;
      if (board.markLost(record)) this.lostRetransmissions++;
      record = later;
    }
    return 0;
  }

  /** RFC 8985 §6.3: on a retransmission timeout, what is old enough is lost; the first one whatever its age. */
  markLossesOnTimeout(now: number, board: Scoreboard, reorderingWindow: number): void {
    const { head } = board;
    if (head !== null && (head.marks & Mark.Sacked) === 0 && !isPending(head)) this.mark(board, head);
    let record = board.oldest;
    while (record !== null && record.sentAt + this.rtt + reorderingWindow - now <= RESOLUTION) {
      const { later } = record;
      this.mark(board, record);
      record = later;
    }
  }

  private mark(board: Scoreboard, record: Transmission): void {
    if (board.markLost(record)) this.lostRetransmissions++;
  }
}

/**
 * Proportional rate reduction (RFC 6937): lets out as much per ACK in fast recovery as brings what is in flight down to
 * the slow start threshold within about a round trip.
 */
export class Prr {
  /** What may be in flight now, in bytes: pipe + sndcnt. */
  window = 0;
  /** prr_delivered, prr_out, RecoverFS, ssthresh. */
  private delivered = 0;
  private out = 0;
  private flight = 1;
  private threshold = 0;

  /** Recovery begins with `flight` octets outstanding. */
  onLoss(flight: number, threshold: number): void {
    this.delivered = 0;
    this.out = 0;
    this.flight = Math.max(1, flight);
    this.threshold = threshold;
    this.window = 0;
  }

  /**
   * RFC 6937 §3 with the heuristic of its successor, RFC 9937 (and Linux): in the second branch, slow start speed only
   * while the ACK is a good sign, `advanced` without `lossFound`; else packet conservation.
   */
  onAck(inFlight: number, delivered: number, advanced: boolean, lossFound: boolean, segmentSize: number): void {
    this.delivered += delivered;
    let count: number;
    if (inFlight > this.threshold) {
      count = Math.ceil((this.delivered * this.threshold) / this.flight) - this.out;
    } else {
      let limit = Math.max(this.delivered - this.out, delivered);
      if (advanced && !lossFound) limit += segmentSize;
      count = Math.min(this.threshold - inFlight, limit);
    }
    // The first retransmission of a recovery always goes (RFC 5681 §3.2 step 3; Linux does the same).
    if (this.out === 0) count = Math.max(count, segmentSize);
    this.window = inFlight + Math.max(0, count);
  }

  onSent(octets: number): void {
    this.out += octets;
  }
}

/** RFC 8985 §6.2 step 4. */
const PERSIST = 16;
/** A microsecond: sums of times are not exact. */
const RESOLUTION = 0.001;

/** Bytes every connection may hold whatever it has shown so far; chunks are only taken when bytes come. */
const FLOOR = 262_144;
/** Times of the bandwidth-delay product that are worth holding: room for the rate to grow, and for what queues. */
const HEADROOM = 4;
/** ms for which the programs at both ends may be kept from working: what goes out meanwhile has to be there. */
const SCHEDULING = 1;
/** Shortest time in ms over which a rate is measured. */
const INTERVAL = 5;

/**
 * How many bytes a send buffer should hold. Linux takes twice the congestion window; but a window that slow start blew
 * up far beyond what the path needs only makes megabytes wait in buffers, cold when their turn comes: on a local path
 * of 16 Gbit/s holding 1 MB instead of 4 doubled the throughput (`bench/kernel.ts`). So the bound is also a few
 * times what was really delivered in one round trip.
 */
export class SendTuning {
  private since = -1;
  private sinceUna = 0;
  /** Bytes per ms: of the last interval, and the larger of the last two. */
  private rate = 0;
  private best = 0;

  /**
   * @param una offset acknowledged so far @param window congestion windows in sum, bytes
   * @param roundTrip ms; Infinity or 0 while unknown @param maximum ceiling, bytes
   */
  limit(now: number, una: number, window: number, roundTrip: number, maximum: number): number {
    if (this.since < 0) {
      this.since = now;
      this.sinceUna = una;
    } else if (now - this.since >= Math.max(INTERVAL, Number.isFinite(roundTrip) ? roundTrip : 0)) {
      const rate = (una - this.sinceUna) / (now - this.since);
      this.best = Math.max(rate, this.rate);
      this.rate = rate;
      this.since = now;
      this.sinceUna = una;
    }
    const span = Math.max(SCHEDULING, Number.isFinite(roundTrip) ? HEADROOM * roundTrip : 0);
    const useful = Math.max(FLOOR, this.best * span);
    return Math.floor(Math.min(maximum, useful, Math.max(FLOOR, 2 * window)));
  }
}

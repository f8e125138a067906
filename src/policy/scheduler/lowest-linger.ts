import type { ScheduleRequest, Scheduler, SubflowView } from '../../mptcp/seams.ts';

/** Most bytes of one pick, Linux's cap of one burst (G1.06): they stay on the chosen subflow. */
const BURST = 65_428;

/**
 * Linux's default scheduler (table G1): the subflow that would flush what it already has first, "linger" = queued
 * bytes over averaged pacing rate; backups only while no normal subflow is active. Here a subflow is asked only while
 * its own windows have room, and a slow one is left alone when the connection's window is so small that its bytes
 * would hold the fast one up (the BLEST estimate, G1.04).
 */
export class LowestLinger implements Scheduler {
  readonly name = 'default';
  /** Averaged pacing rate by subflow id (G1.07). */
  private averages: Float64Array = NOTHING;
  /** The best rate of the fast subflow `bestOf`, as it was at `bestAt`. */
  private bestRate = 0;
  private bestOf = 0;
  private bestAt = 0;
  /** What a subflow may hold, by id: halved when it held everyone up, growing otherwise; 0 for no bound. */
  private bounds: Float64Array = NOTHING;
  private holdups: Float64Array = NOTHING;
  private boundAt: Float64Array = NOTHING;

  pick(now: number, subflows: readonly SubflowView[], request: ScheduleRequest): number {
    if (subflows.length === 1) return this.pickOnly(subflows, request);
    const normal = hasNormal(subflows);
    let best = -1;
    let bestLinger = Number.POSITIVE_INFINITY;
    let fastest = -1;
    for (let index = 0; index < subflows.length; index++) {
      const view = subflows[index]!;
      if (!view.active || view.lossy || (normal && view.backup)) continue;
      if (fastest < 0 || expectedRtt(view) < expectedRtt(subflows[fastest]!)) fastest = index;
      // G1.05: Linux chooses among all and sends nothing when the chosen one's send memory, far more than a window, is
      // full. Here data is mapped only when it can leave at once, so room is a window's: without the second choice a
      // full fast path would leave the others idle. What waiting is good for, the estimates below decide (G1.04).
      if (view.room <= 0 && request.window > 0) continue;
      const linger = this.linger(view);
      // Of equals, idle ones above all, the one with the shortest way.
      if (linger < bestLinger || (linger === bestLinger && view.smoothedRtt < subflows[best]!.smoothedRtt)) {
        bestLinger = linger;
        best = index;
      }
    }
    if (best < 0) return this.lastResort(subflows, request);
    if (best !== fastest) {
      const slow = subflows[best]!;
      const fast = subflows[fastest]!;
      const spare = this.outruns(now, slow, fast, request) ? 0 : this.spare(now, slow, fast, request);
      if (spare >= slow.segmentSize) request.limit = spare;
      // What waits, waits for the fast one: if that can take more now or will have an acknowledgment to tell it so.
      else if (fast.room > 0) best = fastest;
      else if (fast.queued > 0) return -1;
    }
    const burst = Math.min(BURST, request.window);
    if (request.limit > BURST) request.limit = BURST;
    this.average(subflows[best]!, burst);
    return best;
  }

  /** Most connections have one subflow: nothing to compare, and nothing to remember. */
  private pickOnly(subflows: readonly SubflowView[], request: ScheduleRequest): number {
    const view = subflows[0]!;
    if (!view.active || view.lossy || (view.room <= 0 && request.window > 0)) return this.lastResort(subflows, request);
    if (request.limit > BURST) request.limit = BURST;
    return 0;
  }

  /**
   * G1.12: Linux takes the first subflow with nothing in flight, and a backup only once every busy one had two
   * data-level timeouts. Then what a dead path held waits until a living one has emptied itself, which one that carries
   * a stream never does. Here the others' windows are used as for new data; a backup helps when no normal one lives.
   */
  retransmit(_now: number, subflows: readonly SubflowView[], _request: ScheduleRequest, except: number): number {
    const normal = hasNormal(subflows);
    let best = -1;
    let bestLinger = Number.POSITIVE_INFINITY;
    let others = false;
    for (let index = 0; index < subflows.length; index++) {
      const view = subflows[index]!;
      if (!view.active || view.lossy) continue;
      if (view.id !== except && (!normal || !view.backup)) others = true;
    }
    for (let index = 0; index < subflows.length; index++) {
      const view = subflows[index]!;
      if (!view.active || view.lossy || view.room <= 0) continue;
      if ((normal && view.backup) || (others && view.id === except)) continue;
      const linger = this.linger(view);
      if (linger < bestLinger || (linger === bestLinger && view.smoothedRtt < subflows[best]!.smoothedRtt)) {
        bestLinger = linger;
        best = index;
      }
    }
    return best;
  }

  /** Every path looks dead: the least bad one, so that the connection goes on when it comes back. */
  private lastResort(subflows: readonly SubflowView[], request: ScheduleRequest): number {
    if (request.outstanding > 0) return -1;
    for (let index = 0; index < subflows.length; index++) {
      const view = subflows[index]!;
      if (view.active && !view.lossy) return -1; // one lives, it only has no room now
    }
    for (let index = 0; index < subflows.length; index++) {
      const view = subflows[index]!;
      if (view.active && view.room > 0) return index;
    }
    return -1;
  }

  /**
   * Bytes that `slow` may take now without leaving `fast` short of window before they are acknowledged (the BLEST
   * estimate): in one round trip of `slow`, `fast` sends at its rate, and the window must hold that beside what `slow`
   * has.
   */
  private spare(now: number, slow: SubflowView, fast: SubflowView, request: ScheduleRequest): number {
    const roundTrip = expectedRtt(slow);
    if (fast.smoothedRtt <= 0 || roundTrip <= fast.smoothedRtt) return Number.POSITIVE_INFINITY;
    const bound = this.bound(now, slow);
    const rate = this.rate(now, fast);
    let spare = request.window + request.outstanding - slow.queued - rate * roundTrip;
    if (slow.smoothedRtt > QUEUEING * slow.minimumRtt) {
      // It has a queue, and each byte will make the last one later.
      const delay = slow.smoothedRtt / Math.min(slow.congestionWindow, bound);
      const room = request.window + request.outstanding - rate * slow.minimumRtt;
      spare = Math.min(spare, room / (1 + rate * delay) - slow.queued);
    }
    return Math.min(spare, bound - slow.queued);
  }

  /**
   * Whether `fast` has sent all that waits, and it has arrived, before a segment given to `slow` now would: then it is
   * the last of `slow` that everyone waits for at the end (the idea of ECF).
   */
  private outruns(now: number, slow: SubflowView, fast: SubflowView, request: ScheduleRequest): boolean {
    if (request.more || fast.smoothedRtt <= 0) return false;
    return fast.smoothedRtt + request.waiting / this.rate(now, fast) < expectedRtt(slow);
  }

  /**
   * Bytes that `slow` may hold: estimates do not see a queue before it is full, so what holds everyone up gets half of
   * what it had, and an eighth more in each round trip without that.
   */
  private bound(now: number, slow: SubflowView): number {
    const { id } = slow;
    if (id >= this.bounds.length) {
      this.bounds = enlarged(this.bounds, id);
      this.holdups = enlarged(this.holdups, id);
      this.boundAt = enlarged(this.boundAt, id);
    }
    const roundTrip = Math.max(1, slow.smoothedRtt);
    const passed = (now - this.boundAt[id]!) / roundTrip;
    if (slow.holdups > this.holdups[id]! && passed >= 1) {
      const held = this.bounds[id]! > 0 ? Math.min(this.bounds[id]!, slow.congestionWindow) : slow.congestionWindow;
      this.holdups[id] = slow.holdups;
      this.bounds[id] = Math.max(2 * slow.segmentSize, held / 2);
      this.boundAt[id] = now;
    } else if (this.bounds[id]! > 0) {
      this.bounds[id]! += passed * Math.max(slow.segmentSize, this.bounds[id]! / 8);
      this.boundAt[id] = now;
      if (this.bounds[id]! > 2 * slow.congestionWindow) this.bounds[id] = 0;
    }
    return this.bounds[id]! > 0 ? this.bounds[id]! : Number.POSITIVE_INFINITY;
  }

  /** Bytes per ms of the fast one: the best of late, for after each loss it seems slower than it will be again. */
  private rate(now: number, fast: SubflowView): number {
    const rate = fast.congestionWindow / fast.smoothedRtt;
    if (rate >= this.bestRate || fast.id !== this.bestOf) {
      this.bestRate = rate;
      this.bestOf = fast.id;
    } else this.bestRate = rate + (this.bestRate - rate) * 2 ** -((now - this.bestAt) / RATE_HALF_LIFE);
    this.bestAt = now;
    return this.bestRate;
  }

  /**
   * ms until `view` has flushed what it holds. Linux skips a subflow without a rate; here that is one whose RTT is not
   * known yet, which comes last instead: alone it must be able to begin.
   */
  private linger(view: SubflowView): number {
    const average = this.averages[view.id] ?? 0;
    const rate = average > 0 ? average : view.pacingRate;
    return rate > 0 ? view.queued / rate : UNKNOWN;
  }

  /** G1.07: what is queued counts with the old average, the burst with the rate of now. */
  private average(view: SubflowView, burst: number): void {
    if (view.pacingRate === 0 || burst <= 0) return;
    if (view.id >= this.averages.length) this.averages = enlarged(this.averages, view.id);
    const old = this.averages[view.id]!;
    this.averages[view.id] =
      old === 0 ? view.pacingRate : (old * view.queued + view.pacingRate * burst) / (view.queued + burst);
  }
}

/** Until there is a second subflow. */
const NOTHING = new Float64Array(0);

function enlarged(array: Float64Array, index: number): Float64Array {
  const larger = new Float64Array(Math.max(index + 1, array.length * 2, 4));
  larger.set(array);
  return larger;
}

function hasNormal(subflows: readonly SubflowView[]): boolean {
  for (let index = 0; index < subflows.length; index++) {
    const view = subflows[index]!;
    if (view.active && !view.backup && !view.lossy) return true;
  }
  return false;
}

/**
 * What the next bytes will take there and back. On a path without anything in flight the smoothed RTT is old news: the
 * queues it saw are gone, or the path was dead meanwhile and is back. Near its minimum it deserves a new look (K08).
 */
function expectedRtt(view: SubflowView): number {
  if (view.queued > 0 || !Number.isFinite(view.minimumRtt)) return view.smoothedRtt;
  return Math.min(view.smoothedRtt, IDLE_RTT * view.minimumRtt);
}

/** Linger of a subflow without a rate: behind all that have one (G1.07). */
const UNKNOWN = Number.MAX_VALUE;
/** Multiple of the shortest RTT that tells of a queue. */
const QUEUEING = 2;
/** ms after which half of what the best rate was above the present one is forgotten. */
const RATE_HALF_LIFE = 1000;
/** Multiple of the shortest RTT that an idle path is expected to have at most. */
const IDLE_RTT = 2;

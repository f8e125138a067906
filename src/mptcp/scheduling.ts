import type { Sender } from '../tcp/sender.ts';
import type { MptcpConfig } from './config.ts';
import type { MptcpConnection } from './connection.ts';
import type { MptcpCounters } from './counters.ts';
import type { DataSender } from './data-sender.ts';
import { MAXIMUM_MAPPING } from './mappings.ts';
import type { Scheduler } from './seams.ts';
import type { Subflow } from './subflow.ts';
import type { SubflowPicture } from './subflow-picture.ts';

/**
 * Which subflow carries which bytes: draws the pictures that the scheduler sees, asks it, and maps as it says. Owns what
 * only that needs: the pictures, in the order of the connection's subflows, the request, and which subflow has the first
 * flight.
 */
export class Scheduling {
  private readonly connection: MptcpConnection;
  private readonly config: MptcpConfig;
  private readonly counters: MptcpCounters;
  private readonly sender: DataSender;
  private readonly scheduler: Scheduler;
  private readonly pictures: SubflowPicture[] = [];
  private readonly request = { waiting: 0, more: false, window: 0, outstanding: 0, limit: 0 };
  /** The subflow of the first flight, which is sent before any DATA_ACK was received. */
  private opener: Subflow | null = null;
  /** Data offset up to which bytes were sent again on a faster path, because they held up the rest. */
  private opportunisticHead = 0;
  /** The last stall that was passed by: whose, since when, and how much went elsewhere the last time. */
  private stallOf = 0;
  private stallSince = -1;
  private stallBytes = 0;
  /** When a subflow that everyone waits for counts as stalled; Infinity while none is waited for. */
  deadline = Number.POSITIVE_INFINITY;

  constructor(connection: MptcpConnection, sender: DataSender, scheduler: Scheduler) {
    this.connection = connection;
    this.config = connection.config;
    this.counters = connection.counters;
    this.sender = sender;
    this.scheduler = scheduler;
  }

  /** A subflow joined the connection's, as the last. */
  add(subflow: Subflow): void {
    this.pictures.push(subflow.picture);
  }

  /** The connection's `index`-th subflow is gone. */
  remove(index: number): void {
    this.pictures.splice(index, 1);
  }

  /** The `deadline` has come. */
  onTimeout(): void {
    this.deadline = Number.POSITIVE_INFINITY;
    this.connection.wantsUpdate = true;
  }

  /** Maps waiting data, as far as windows and the scheduler allow. */
  schedule(now: number): void {
    const { sender } = this;
    const { reinjections } = sender;
    this.deadline = Number.POSITIVE_INFINITY;
    const isTail = !sender.hasWaiting;
    if (isTail && (sender.una >= sender.nxt || this.connection.subflows.length < 2)) return;
    if (!this.refreshPictures(now)) return;
    if (now >= this.deadline) this.passBy(now);
    if (isTail && reinjections.isEmpty) {
      // Nothing waits any more, and a fast path may idle while a slow one is long in bringing the last bytes (K09).
      this.retransmitOpportunistically(now, true);
      return;
    }
    const { request } = this;
    const { queue } = sender;
    request.more = !sender.isShut && queue.free < queue.limit / 4;
    this.scheduleReinjections(now);
    while (sender.nxt < queue.end) {
      const waiting = queue.end - sender.nxt;
      const window = sender.windowEnd - sender.nxt;
      request.waiting = waiting;
      request.outstanding = sender.nxt - sender.una;
      // Our own buffer bounds what may be outstanding as much as the peer's does.
      request.window = Math.max(0, Math.min(window, queue.limit - request.outstanding));
      if (window <= 0 && request.outstanding > 0) {
        this.retransmitOpportunistically(now, false);
        return;
      }
      request.limit = Number.POSITIVE_INFINITY;
      const index = this.scheduler.pick(now, this.pictures, request);
      if (index < 0) return;
      const picture = this.pictures[index]!;
      let length: number;
      if (window <= 0) {
        // RFC 9293 §3.8.6.1 at data level: one byte behind a closed window, so that TCP probes (A9.06, G1.08).
        this.counters.WinProbe++;
        length = 1;
      } else {
        length = Math.min(waiting, window, picture.room, request.limit, MAXIMUM_MAPPING);
        if (length > picture.segmentSize && length < waiting) length -= length % picture.segmentSize;
        if (length < picture.segmentSize && length < waiting && picture.queued > 0) {
          // RFC 9293 §3.8.6.2.1: no silly segments: this subflow waits for room for a whole one.
          if (length === window) {
            this.retransmitOpportunistically(now, false);
            return;
          }
          picture.room = 0;
          continue;
        }
      }
      if (length <= 0) return;
      this.mapNew(now, this.connection.subflows[index]!, picture, length);
      if (window <= 0) return;
    }
  }

  private refreshPictures(now: number): boolean {
    const { subflows } = this.connection;
    let any = false;
    let anyStalled = false;
    for (let index = 0; index < subflows.length; index++) {
      const subflow = subflows[index]!;
      const picture = subflow.picture;
      const tcp = subflow.tcp;
      picture.stalled = false;
      picture.active =
        subflow.usable && !subflow.stale && tcp !== null && tcp.sender.finOffset === Number.POSITIVE_INFINITY;
      if (!picture.active || tcp === null) {
        picture.room = 0;
        continue;
      }
      any = true;
      const sender = tcp.sender;
      picture.backup = subflow.backup;
      picture.lossy = subflow.lossy;
      picture.queued = subflow.end - sender.una;
      picture.congestionWindow = sender.congestion.window;
      picture.smoothedRtt = sender.rtt.smoothed;
      picture.minimumRtt = sender.rtt.minimum;
      picture.pacingRate = sender.pacingRate;
      picture.segmentSize = sender.segmentSize;
      this.shareWindow(now, subflow, sender);
      if (this.config.opportunisticRetransmission && subflows.length > 1 && !subflow.lossy) {
        const stalledAt = stallTime(sender);
        if (stalledAt < this.deadline) this.deadline = stalledAt;
        if (now >= stalledAt) {
          picture.stalled = true;
          anyStalled = true;
        }
      }
      picture.room = subflow.lossy ? 0 : Math.max(0, Math.floor(sender.availableWindow) - (subflow.end - sender.nxt));
    }
    if (this.sender.lastAckReceived < 0) this.confineToOpener();
    if (anyStalled) this.avoidStalled();
    return any;
  }

  /** Nothing more is given to a subflow that makes no progress, while another does: it would wait there as well. */
  private avoidStalled(): void {
    const { pictures } = this;
    let other = false;
    for (let index = 0; index < pictures.length; index++) {
      const { active, lossy, stalled, backup } = pictures[index]!;
      if (active && !lossy && !stalled && !backup) other = true;
    }
    if (!other) return;
    for (let index = 0; index < pictures.length; index++) {
      const picture = pictures[index]!;
      if (!picture.stalled) continue;
      picture.active = false;
      picture.room = 0;
    }
  }

  /**
   * Before its first DATA_ACK a peer may not be ready for data out of order: Linux, which learns its own data window
   * with the first DSS option it sends, acknowledges such data on the subflow and drops it (MPTcpExtNoDSSInWindow). So
   * the first flight of a server keeps to one subflow while that one works.
   */
  private confineToOpener(): void {
    const { opener } = this;
    if (opener === null || !opener.usable || opener.lossy) return;
    const { subflows } = this.connection;
    for (let index = 0; index < subflows.length; index++) {
      if (subflows[index] === opener) continue;
      this.pictures[index]!.active = false;
      this.pictures[index]!.room = 0;
    }
  }

  /** A subflow with nothing in flight has an old idea of the window: the connection's newer one counts (A9.05). */
  private shareWindow(now: number, subflow: Subflow, sender: Sender): void {
    if (sender.una !== sender.nxt) return;
    const shared = this.sender.windowEnd - this.sender.una;
    if (shared <= sender.wnd) return;
    sender.raiseWindow(shared);
    this.counters.SndWndShared++;
    if (subflow.end > sender.nxt) subflow.tcp!.onData(now);
  }

  private mapNew(now: number, subflow: Subflow, picture: SubflowPicture, length: number): void {
    this.sender.map(now, subflow, length);
    picture.queued += length;
    picture.room = Math.max(0, picture.room - length);
    // From idle: when it was sent, and so since when it is waited for, TCP knows only later. `passBy` asks.
    if (this.config.opportunisticRetransmission && this.pictures.length > 1) {
      this.deadline = Math.min(this.deadline, now + STALL * picture.smoothedRtt + ACK_DELAY);
    }
    if (this.sender.lastAckReceived < 0) {
      this.opener = subflow;
      this.confineToOpener();
    }
    subflow.tcp!.onData(now);
  }

  private scheduleReinjections(now: number): void {
    const { request, sender } = this;
    const { reinjections } = sender;
    reinjections.releaseBelow(sender.una);
    while (!reinjections.isEmpty) {
      const start = reinjections.start;
      const size = reinjections.end - start;
      request.waiting = size;
      request.window = Math.max(0, sender.windowEnd - start);
      request.outstanding = sender.nxt - sender.una;
      const index = this.scheduler.retransmit(now, this.pictures, request, reinjections.owner);
      if (index < 0) return;
      const picture = this.pictures[index]!;
      const length = Math.min(size, Math.max(picture.room, picture.segmentSize), MAXIMUM_MAPPING);
      this.mapAgain(now, this.connection.subflows[index]!, picture, start, length);
      reinjections.take(length);
    }
  }

  private mapAgain(now: number, subflow: Subflow, picture: SubflowPicture, start: number, length: number): void {
    this.sender.mapAgain(now, subflow, start, length);
    picture.queued += length;
    picture.room = Math.max(0, picture.room - length);
    subflow.tcp!.onData(now);
  }

  /**
   * The window is full and its first bytes travel on a slow path while a faster one idles: send them there too, so
   * that a slow path never holds the connection below what its best path alone would do (K09).
   */
  private retransmitOpportunistically(now: number, tail: boolean): void {
    const { subflows } = this.connection;
    if (!this.config.opportunisticRetransmission || subflows.length < 2) return;
    const head = this.sender.una;
    if (this.opportunisticHead >= head) return;
    let holder = -1;
    for (let index = 0; index < subflows.length; index++) {
      if (this.pictures[index]!.active && subflows[index]!.sent.holds(head)) {
        if (holder >= 0) return; // on its way twice already
        holder = index;
      }
    }
    if (holder < 0) return;
    const slow = this.pictures[holder]!;
    const best = this.quickest(holder, slow.smoothedRtt);
    if (best < 0) return;
    const picture = this.pictures[best]!;
    if (tail && (picture.queued > 0 || drainTime(slow) < 2 * picture.smoothedRtt)) return;
    const length = Math.min(picture.room, this.sender.nxt - head, subflows[holder]!.sent.runFrom(head));
    if (length <= 0) return;
    // At the end there is nothing to be kept waiting but the end itself: no reason to give it less next time.
    if (!tail) slow.holdups++;
    this.opportunisticHead = head + length - 1;
    this.counters.OpportunisticRetrans++;
    this.mapAgain(now, subflows[best]!, picture, head, length);
  }

  /**
   * The byte that the reader waits for travels on a subflow that made no progress for two round trips: what was lost
   * there was lost again, or all of it, and its timer may be far. What it has goes to others as well, little at first
   * and twice as much each time that the reader comes to wait for the same stall (A9.19, K09).
   */
  private passBy(now: number): void {
    this.deadline = Number.POSITIVE_INFINITY;
    const { subflows } = this.connection;
    const { reinjections, una } = this.sender;
    if (!this.config.opportunisticRetransmission || !this.connection.fullyEstablished) return;
    if (this.opportunisticHead >= una) return;
    let holder = -1;
    for (let index = 0; index < subflows.length; index++) {
      if (!subflows[index]!.sent.holds(una)) continue;
      if (holder >= 0) return; // on its way twice already
      holder = index;
    }
    if (holder < 0 || this.pictures[holder]!.lossy) return;
    const subflow = subflows[holder]!;
    const stalledAt = stallTime(subflow.tcp!.sender);
    if (now < stalledAt) {
      this.deadline = stalledAt;
      return;
    }
    // Without room elsewhere an acknowledgment there brings us here again.
    if (this.quickest(holder, Number.POSITIVE_INFINITY) < 0) return;
    const since = subflow.tcp!.sender.stalledSince;
    if (this.stallOf === subflow.id && this.stallSince === since) this.stallBytes *= 2;
    else this.stallBytes = FIRST_COPIES * subflow.picture.segmentSize;
    this.stallOf = subflow.id;
    this.stallSince = since;
    this.opportunisticHead = una;
    this.counters.OpportunisticRetrans++;
    let left = this.stallBytes;
    subflow.sent.forEachUnacknowledged(true, (start, end) => {
      const from = Math.max(start, una);
      const to = Math.min(end, from + left);
      if (from >= to) return;
      reinjections.add(from, to, subflow.id);
      left -= to - from;
    });
  }

  /** Index of the subflow with room and the shortest round trip, below `bound` ms, that is not the `except`-th; or -1. */
  private quickest(except: number, bound: number): number {
    let best = -1;
    let shortest = bound;
    for (let index = 0; index < this.pictures.length; index++) {
      const picture = this.pictures[index]!;
      if (index === except || !picture.active || picture.lossy || picture.backup || picture.room === 0) continue;
      if (picture.smoothedRtt >= shortest) continue;
      best = index;
      shortest = picture.smoothedRtt;
    }
    return best;
  }
}

/** Round trips without progress after which a subflow counts as stalled: a first loss is repaired sooner. */
const STALL = 2;
/** And so many ms beyond: an ACK may be delayed for want of a second segment (RFC 1122 §4.2.3.2; Linux waits 40 ms at first). */
const ACK_DELAY = 40;
/** With more than that in flight only for what programs and processors take. */
const SLACK = 10;
/** Segments of a stalled subflow that are sent elsewhere at first. */
const FIRST_COPIES = 10;

/** When a subflow will have been without progress for too long; Infinity when nothing of it is outstanding. */
function stallTime(sender: Sender): number {
  if (sender.una === sender.nxt || sender.rtt.smoothed <= 0) return Number.POSITIVE_INFINITY;
  const delay = sender.nxt - sender.una < 2 * sender.segmentSize ? ACK_DELAY : SLACK;
  return sender.stalledSince + STALL * sender.rtt.smoothed + delay;
}

/** ms until `view` will have delivered what it has, as far as its window and RTT tell. */
function drainTime(view: SubflowPicture): number {
  return view.congestionWindow > 0 ? (view.queued * view.smoothedRtt) / view.congestionWindow : 0;
}

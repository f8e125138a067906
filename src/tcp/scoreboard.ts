import type { Rack } from './recovery.ts';

/** What is known of a transmission, as bits of `Transmission.marks`. */
export const Mark = {
  /** Selectively acknowledged. */
  Sacked: 0x1,
  /** Its last transmission but one, or its only one, is taken for lost. */
  Lost: 0x2,
  /** A retransmission of it is in the network. */
  Retransmitted: 0x4,
  /** It was sent more than once at some time: no RTT can be told from it (RFC 6298 §3). */
  Repeated: 0x8,
} as const;

/**
 * A run of octets that were last sent at the same moment and share a fate so far: often many segments. Records are
 * pooled, and linked twice: by sequence, and either into the timeline of what is in the network or into the list of
 * what waits to be sent again. One that is selectively acknowledged is in neither.
 */
export class Transmission {
  start = 0;
  /** One past its last octet (the FIN counts one). */
  end = 0;
  /** Time of its last transmission in ms. */
  sentAt = 0;
  marks = 0;
  previous: Transmission | null = null;
  next: Transmission | null = null;
  earlier: Transmission | null = null;
  later: Transmission | null = null;
}

/** What one ACK told, gathered while the scoreboard takes it in. One record is reused. */
export class Delivery {
  /** Octets newly known to have arrived. */
  octets = 0;
  /** Octets newly acknowledged cumulatively, whether or not they had been acknowledged selectively. */
  acknowledged = 0;
  /** Octets newly acknowledged selectively. */
  sacked = 0;
  /** When the first and the last run acknowledged cumulatively were sent, of those sent once; -1 for none. */
  firstSentAt = -1;
  lastSentAt = -1;
  /** The same of the first run acknowledged selectively. */
  sackSentAt = -1;
  /** Something acknowledged cumulatively had been sent more than once. */
  repeated = false;
  /** Something below `Scoreboard.watchPoint` arrived that was sent only once (RFC 5682 §3.1 step 3). */
  original = false;
  /** Lowest offset that arrived after higher ones although it was sent once: reordering. Infinity for none. */
  reordered = Number.POSITIVE_INFINITY;

  reset(): void {
    this.octets = 0;
    this.acknowledged = 0;
    this.sacked = 0;
    this.firstSentAt = -1;
    this.lastSentAt = -1;
    this.sackSentAt = -1;
    this.repeated = false;
    this.original = false;
    this.reordered = Number.POSITIVE_INFINITY;
  }
}

/**
 * What is between `una` and `nxt`: which octets arrived, which are lost, which were sent again and when.
 *
 * Nothing here takes time in proportion to the flight except the verdict of a retransmission timeout and its undoing.
 * An ACK costs as many steps as it has news: selectively acknowledged neighbours merge, so that a SACK block that tells
 * what is known already is recognised by its edges.
 */
export class Scoreboard {
  /** Oldest and newest by sequence. */
  head: Transmission | null = null;
  tail: Transmission | null = null;
  /** Ends of the timeline: what is in the network, in order of transmission. */
  oldest: Transmission | null = null;
  newest: Transmission | null = null;
  /** Ends of the list of what is lost and was not sent again since, in order of sequence. */
  pending: Transmission | null = null;
  private pendingLast: Transmission | null = null;
  /** Where the last one was put into that list. */
  private awaited: Transmission | null = null;
  /** Records in use. */
  count = 0;
  /** Octets ever marked lost: grows by each loss that is found. */
  losses = 0;
  /** Octets with each mark. */
  sacked = 0;
  lost = 0;
  retransmitted = 0;
  /** Without SACK: octets that duplicate ACKs tell have arrived, somewhere. */
  presumed = 0;
  /** Highest offset known to have arrived, exclusive (RFC 8985: RACK.fack). */
  forward = 1;
  /** Octets below it that arrive from their first transmission set `Delivery.original`. */
  watchPoint = 0;
  readonly delivery: Delivery = new Delivery();
  /** SACK blocks that were not taken in because they would have cost too much; see `SPLIT_LIMIT`. */
  refused = 0;
  /** Records passed in looking up SACK blocks, ever: what a test holds against the size of the flight. */
  steps = 0;
  /** The selectively acknowledged run with the highest offsets. */
  highest: Transmission | null = null;
  /** Runs that recent SACK blocks were about. */
  private readonly recent: (Transmission | null)[] = [null, null, null, null];
  private recentAt = 0;
  /** `forward` before the ACK at hand. */
  private priorForward = 1;

  /** RFC 6675's pipe: octets thought to be in the network. */
  get inFlight(): number {
    if (this.head === null) return 0;
    const outstanding = this.tail!.end - this.head.start;
    return outstanding - this.sacked - this.presumed - this.lost + this.retransmitted;
  }

  /** New octets left: [start, end), behind all others. */
  append(now: number, start: number, end: number): void {
    const { tail } = this;
    // What leaves in one burst shares one record: splitting is cheap and mostly never needed.
    if (tail !== null && tail === this.newest && tail.sentAt === now && tail.marks === 0) {
      tail.end = end;
      return;
    }
    const record = borrow(start, end, now, 0);
    this.count++;
    record.previous = tail;
    if (tail === null) this.head = record;
    else tail.next = record;
    this.tail = record;
    this.enqueue(record);
  }

  /** `record`, all of it, left again. */
  retransmit(now: number, record: Transmission): void {
    this.unlink(record);
    if ((record.marks & Mark.Retransmitted) === 0) this.retransmitted += record.end - record.start;
    record.marks |= Mark.Retransmitted | Mark.Repeated;
    record.sentAt = now;
    const { newest } = this;
    if (newest !== null && newest === record.previous && newest.sentAt === now && newest.marks === record.marks) {
      newest.end = record.end;
      this.drop(record, newest);
      return;
    }
    this.enqueue(record);
  }

  /** The last transmission of `record` is lost. It was in the network. Returns whether that was a retransmission. */
  markLost(record: Transmission): boolean {
    const length = record.end - record.start;
    const again = (record.marks & Mark.Retransmitted) !== 0;
    this.losses += length;
    this.unlink(record);
    if (again) {
      record.marks &= ~Mark.Retransmitted;
      this.retransmitted -= length;
    }
    if ((record.marks & Mark.Lost) === 0) {
      record.marks |= Mark.Lost;
      this.lost += length;
    }
    this.await(record);
    return again;
  }

  /**
   * Takes everything that is in the network for lost; with `forget`, what was acknowledged selectively too, because
   * the receiver took that back (RFC 2018 §8). Proportional to the flight: for timeouts.
   */
  markAllLost(forget: boolean): void {
    this.oldest = null;
    this.newest = null;
    this.pending = null;
    this.pendingLast = null;
    this.awaited = null;
    this.lost = 0;
    this.retransmitted = 0;
    if (forget) {
      this.sacked = 0;
      this.highest = null;
      this.recent.fill(null);
    }
    for (let record = this.head; record !== null; record = record.next) {
      if ((record.marks & Mark.Sacked) !== 0) {
        if (!forget) continue;
        record.marks = Mark.Repeated;
      }
      record.marks = (record.marks & Mark.Repeated) | Mark.Lost;
      this.lost += record.end - record.start;
      record.earlier = this.pendingLast;
      record.later = null;
      if (this.pendingLast === null) this.pending = record;
      else this.pendingLast.later = record;
      this.pendingLast = record;
    }
  }

  /** A loss mark was wrong: what waits to be sent again is taken to be in the network after all. */
  unmarkLost(): void {
    let record = this.pending;
    let place: Transmission | null = null;
    while (record !== null) {
      const { later } = record;
      this.unlink(record);
      // Back to where the time of its transmission puts it, from where the last one went.
      if (place === null || place.sentAt > record.sentAt) place = null;
      let behind: Transmission | null = place === null ? this.oldest : place.later;
      while (behind !== null && behind.sentAt <= record.sentAt) {
        place = behind;
        behind = behind.later;
      }
      record.earlier = place;
      record.later = behind;
      if (place === null) this.oldest = record;
      else place.later = record;
      if (behind === null) this.newest = record;
      else behind.earlier = record;
      record.marks &= ~Mark.Lost;
      place = record;
      record = later;
    }
    // Those whose retransmission is under way are no longer lost either.
    for (let flying = this.oldest; flying !== null; flying = flying.later) flying.marks &= ~Mark.Lost;
    this.lost = 0;
  }

  /** Splits `record` so that it ends at `at`; returns the rest, which follows it in both lists. */
  split(record: Transmission, at: number): Transmission {
    const rest = borrow(at, record.end, record.sentAt, record.marks);
    this.count++;
    record.end = at;
    rest.previous = record;
    rest.next = record.next;
    if (record.next === null) this.tail = rest;
    else record.next.previous = rest;
    record.next = rest;
    if ((record.marks & Mark.Sacked) !== 0) {
      if (this.highest === record) this.highest = rest;
      return rest;
    }
    rest.earlier = record;
    rest.later = record.later;
    const waits = isPending(record);
    if (record.later !== null) record.later.earlier = rest;
    else if (waits) this.pendingLast = rest;
    else this.newest = rest;
    record.later = rest;
    return rest;
  }

  /** Before the blocks and the cumulative acknowledgment of one ACK. */
  beginAck(): void {
    this.delivery.reset();
    this.priorForward = this.forward;
  }

  /** Everything below `ack` arrived. */
  acknowledge(ack: number, rack: Rack): void {
    const { delivery } = this;
    let record = this.head;
    if (record === null) return;
    delivery.acknowledged = Math.max(0, ack - record.start);
    while (record !== null && record.end <= ack) {
      const next: Transmission | null = record.next;
      if ((record.marks & Mark.Sacked) !== 0) this.sacked -= record.end - record.start;
      else {
        this.arrived(record.start, record.end, record, rack);
        this.timed(record);
        this.uncount(record, record.end - record.start);
        this.unlink(record);
      }
      this.drop(record, null);
      record = next;
    }
    if (record === null || record.start >= ack) return;
    const length = ack - record.start;
    if ((record.marks & Mark.Sacked) !== 0) this.sacked -= length;
    else {
      this.arrived(record.start, ack, record, rack);
      this.timed(record);
      this.uncount(record, length);
    }
    record.start = ack;
  }

  /** [start, end) arrived, `una` < start < end <= `nxt`. */
  sack(start: number, end: number, segmentSize: number, rack: Rack): void {
    const { recent } = this;
    for (let index = 0; index < 4; index++) {
      const known = recent[index]!;
      if (known !== null && known.start <= start && end <= known.end) return;
    }
    let record = this.find(start);
    let run: Transmission | null = null;
    while (record !== null && record.start < end) {
      if ((record.marks & Mark.Sacked) !== 0) {
        run = record;
        record = record.next;
        continue;
      }
      const cuts = record.start < start || record.end > end;
      if (cuts && this.count > this.splitLimit(segmentSize)) {
        this.refused++;
        record = record.next;
        continue;
      }
      if (record.start < start) record = this.split(record, start);
      if (record.end > end) this.split(record, end);
      run = this.markSacked(record, rack);
      record = run.next;
    }
    if (run === null || recent.includes(run)) return;
    recent[this.recentAt] = run;
    this.recentAt = (this.recentAt + 1) & 3;
  }

  /**
   * RFC 6675 §4, IsLost: the offset below which more than (threshold - 1) segments' octets, or `threshold` separate
   * runs, were acknowledged selectively above. 0 when there is none.
   */
  lossBoundary(threshold: number, segmentSize: number): number {
    let octets = 0;
    let runs = 0;
    for (let record = this.highest; record !== null; record = record.previous) {
      if ((record.marks & Mark.Sacked) === 0) continue;
      octets += record.end - record.start;
      runs++;
      if (octets > (threshold - 1) * segmentSize || runs >= threshold) return record.start;
    }
    return 0;
  }

  /** Gives all records back, for a connection that is over. */
  clear(): void {
    while (this.head !== null) this.drop(this.head, null);
    this.oldest = null;
    this.newest = null;
    this.pending = null;
    this.pendingLast = null;
    this.awaited = null;
    this.sacked = 0;
    this.lost = 0;
    this.retransmitted = 0;
    this.presumed = 0;
  }

  /** Marks `record`, merges it with acknowledged neighbours, and returns the run it is part of then. */
  private markSacked(record: Transmission, rack: Rack): Transmission {
    const { delivery } = this;
    const length = record.end - record.start;
    this.arrived(record.start, record.end, record, rack);
    if (delivery.sackSentAt < 0 && (record.marks & Mark.Repeated) === 0) delivery.sackSentAt = record.sentAt;
    this.uncount(record, length);
    this.unlink(record);
    record.marks = Mark.Sacked;
    this.sacked += length;
    delivery.sacked += length;
    let run = record;
    const { previous } = record;
    if (previous !== null && (previous.marks & Mark.Sacked) !== 0) {
      previous.end = record.end;
      this.drop(record, previous);
      run = previous;
    }
    const { next } = run;
    if (next !== null && (next.marks & Mark.Sacked) !== 0) {
      run.end = next.end;
      this.drop(next, run);
    }
    if (this.highest === null || run.end > this.highest.end) this.highest = run;
    return run;
  }

  /** Octets of `record` arrived: what the algorithms want to know of it. */
  private arrived(start: number, end: number, record: Transmission, rack: Rack): void {
    const { delivery } = this;
    delivery.octets += end - start;
    const repeated = (record.marks & Mark.Repeated) !== 0;
    if (!repeated) {
      if (end <= this.watchPoint) delivery.original = true;
      // RFC 8985 §6.2 step 3. Blocks come in any order within an ACK: what counts is what was known before it.
      if (end < this.priorForward && start < delivery.reordered) delivery.reordered = start;
    }
    if (end > this.forward) this.forward = end;
    rack.onDelivered(record.sentAt, end, repeated);
  }

  private timed(record: Transmission): void {
    const { delivery } = this;
    if ((record.marks & Mark.Repeated) !== 0) delivery.repeated = true;
    else {
      if (delivery.firstSentAt < 0) delivery.firstSentAt = record.sentAt;
      delivery.lastSentAt = record.sentAt;
    }
  }

  private uncount(record: Transmission, length: number): void {
    if ((record.marks & Mark.Lost) !== 0) this.lost -= length;
    if ((record.marks & Mark.Retransmitted) !== 0) this.retransmitted -= length;
  }

  /** The record that holds `offset`, looked for from the nearest place that is known; null when that is too far. */
  private find(offset: number): Transmission | null {
    let record: Transmission | null = this.head;
    if (record === null) return null;
    let distance = offset - record.start;
    record = this.nearer(this.tail!, offset, record, distance);
    distance = Math.abs(record.start - offset);
    for (let index = 0; index < 4; index++) {
      const known = this.recent[index]!;
      if (known === null) continue;
      record = this.nearer(known, offset, record, distance);
      distance = Math.abs(record.start - offset);
    }
    if (this.highest !== null) record = this.nearer(this.highest, offset, record, distance);
    let steps = 0;
    while (record !== null && record.start > offset && ++steps < LOOKUP_LIMIT) record = record.previous;
    while (record !== null && record.end <= offset && ++steps < LOOKUP_LIMIT) record = record.next;
    this.steps += steps;
    if (steps < LOOKUP_LIMIT) return record;
    this.refused++;
    return null;
  }

  private nearer(one: Transmission, offset: number, other: Transmission, distance: number): Transmission {
    return Math.abs(one.start - offset) < distance ? one : other;
  }

  private splitLimit(segmentSize: number): number {
    return SPLIT_LIMIT + (4 * (this.tail!.end - this.head!.start)) / segmentSize;
  }

  /** To the end of the timeline. */
  private enqueue(record: Transmission): void {
    record.earlier = this.newest;
    record.later = null;
    if (this.newest === null) this.oldest = record;
    else this.newest.later = record;
    this.newest = record;
  }

  /** Into the list of what waits to be sent again, by sequence: mostly at an end of it or behind the one before. */
  private await(record: Transmission): void {
    let before = this.pendingLast;
    if (this.pending !== null && record.start < this.pending.start) before = null;
    else if (before !== null && before.start > record.start) {
      before = this.awaited ?? before;
      while (before.start > record.start) before = before.earlier!;
      while (before.later !== null && before.later.start < record.start) before = before.later;
    }
    const after = before === null ? this.pending : before.later;
    record.earlier = before;
    record.later = after;
    if (before === null) this.pending = record;
    else before.later = record;
    if (after === null) this.pendingLast = record;
    else after.earlier = record;
    this.awaited = record;
  }

  /** Out of the timeline or the list of what waits. */
  private unlink(record: Transmission): void {
    const { earlier, later } = record;
    const waits = isPending(record);
    if (this.awaited === record) this.awaited = earlier;
    if (earlier !== null) earlier.later = later;
    else if (waits) this.pending = later;
    else this.oldest = later;
    if (later !== null) later.earlier = earlier;
    else if (waits) this.pendingLast = earlier;
    else this.newest = earlier;
    record.earlier = null;
    record.later = null;
  }

  /** Out of the sequence and back to the pool; whoever remembered it remembers `heir` instead. */
  private drop(record: Transmission, heir: Transmission | null): void {
    const { recent } = this;
    const { previous, next } = record;
    if (previous === null) this.head = next;
    else previous.next = next;
    if (next === null) this.tail = previous;
    else next.previous = previous;
    if (this.highest === record) this.highest = heir;
    for (let index = 0; index < 4; index++) if (recent[index] === record) recent[index] = heir;
    this.count--;
    giveBack(record);
  }
}

/** Lost, and not sent again since: in the list of what waits. */
export function isPending(record: Transmission): boolean {
  return (record.marks & (Mark.Lost | Mark.Retransmitted)) === Mark.Lost;
}

/**
 * Records beyond four per segment in flight plus this many: SACK blocks stop splitting any further. A receiver that
 * acknowledges every other octet would make us keep a record for each; none that is honest comes near.
 */
const SPLIT_LIMIT = 1024;
/** Steps that one SACK block may cost to be found. */
const LOOKUP_LIMIT = 8192;

/** Records nobody uses: a cache that all connections share. */
const pool: Transmission[] = [];
const POOL_LIMIT = 8192;

function borrow(start: number, end: number, sentAt: number, marks: number): Transmission {
  const record = pool.pop() ?? new Transmission();
  record.start = start;
  record.end = end;
  record.sentAt = sentAt;
  record.marks = marks;
  record.next = null;
  record.earlier = null;
  record.later = null;
  return record;
}

function giveBack(record: Transmission): void {
  record.previous = null;
  record.next = null;
  record.earlier = null;
  record.later = null;
  if (pool.length < POOL_LIMIT) pool.push(record);
}

import type { Packet } from '../wire/packet.ts';
import { Counters } from './counters.ts';
import type { Link, LinkCounters } from './link.ts';
import { type PooledPacket, pool, TimedQueue } from './pool.ts';

/**
 * A link by itself, or one step of a `Chain`. Packets enter at times that never go backwards and are emitted at times
 * that never go backwards: at once, or later by `advance`. What is emitted goes to the next stage at that same time,
 * or, without one, waits to be received.
 *
 * A stage need not be advanced punctually: it is driven by the times of its packets, not by the time of the call.
 * Commands (`setUp`, `setRate`, ...) are therefore remembered with their time.
 */
export abstract class Stage implements Link {
  protected readonly counts: Counters = new Counters();
  /** Belongs to a chain already. */
  isPart = false;
  /** What was emitted and leads nowhere waits here for `take` or `receive`. */
  exit: TimedQueue = new TimedQueue();
  private output: Stage | null = null;

  /** `sent` and `received` count at the ends of a chain alone, not in the stages between. */
  get counters(): LinkCounters {
    return this.counts;
  }

  /** What is emitted goes to `output` from now on. */
  leadTo(output: Stage): void {
    this.output = output;
  }

  /** Takes over a packet: emits it, keeps it, or counts and releases it. */
  abstract onPacket(now: number, packet: PooledPacket): void;

  /** No packet will be emitted before this time unless another enters; may be early, never late. */
  nextEvent(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** Emits, each at its own time, all that is due at or before `now`. */
  advance(_now: number): void {}

  /** No packet that enters from here on is emitted sooner than this after it. Milliseconds. */
  latency(): number {
    return 0;
  }

  /** Whether packets spend time here. */
  get isTimed(): boolean {
    return false;
  }

  protected emit(now: number, packet: PooledPacket): void {
    const output = this.output;
    if (output !== null) {
      output.onPacket(now, packet);
      return;
    }
    const counts = this.counts;
    counts.received += packet.count;
    counts.receivedBytes += packet.end - packet.start;
    this.exit.push(packet, now);
  }

  send(now: number, packet: Packet): void {
    this.advance(now);
    const copy = pool.copy(packet);
    const counts = this.counts;
    counts.sent += copy.count;
    counts.sentBytes += copy.end - copy.start;
    this.onPacket(now, copy);
  }

  receive(now: number, out: Packet): boolean {
    const packet = this.take(now);
    if (packet === null) return false;
    out.copyFrom(packet);
    packet.release();
    return true;
  }

  /** Like `receive`, without a copy: the packet becomes the caller's, to be released. */
  take(now: number): PooledPacket | null {
    this.advance(now);
    return this.exit.due > now ? null : this.exit.shift();
  }

  pollTimeout(): number {
    const due = this.exit.due;
    return due === Number.POSITIVE_INFINITY ? this.nextEvent() : due;
  }
}

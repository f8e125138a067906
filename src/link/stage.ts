import type { Packet } from '../wire/packet.ts';
import { Counters } from './counters.ts';
import type { Link, LinkCounters } from './link.ts';
import { PacketQueue, type PooledPacket, pool } from './pool.ts';

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
  /** Where emitted packets go; null: they wait here for `take` or `receive`. */
  output: Stage | null = null;
  private readonly exit: PacketQueue = new PacketQueue();

  get counters(): LinkCounters {
    return this.counts;
  }

  /** Takes over a packet. */
  enter(now: number, packet: PooledPacket): void {
    this.counts.sent += packet.count;
    this.counts.sentBytes += packet.end - packet.start;
    this.onPacket(now, packet);
  }

  /** A packet is here: emit it, keep it, or count and release it. */
  protected abstract onPacket(now: number, packet: PooledPacket): void;

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
    this.counts.received += packet.count;
    this.counts.receivedBytes += packet.end - packet.start;
    if (this.output === null) {
      packet.due = now;
      this.exit.push(packet);
    } else {
      this.output.enter(now, packet);
    }
  }

  send(now: number, packet: Packet): void {
    this.advance(now);
    this.enter(now, pool.copy(packet));
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
    const head = this.exit.head;
    return head === null || head.due > now ? null : this.exit.shift();
  }

  pollTimeout(): number {
    const head = this.exit.head;
    return head === null ? this.nextEvent() : head.due;
  }
}

import type { Random } from './link.ts';
import { PacketHeap, type PooledPacket, TimedQueue } from './pool.ts';
import { Stage } from './stage.ts';
import { Timeline } from './timeline.ts';

export interface DelayOptions {
  /** Milliseconds each packet takes. */
  readonly delay: number;
  /** Up to so many milliseconds more, drawn uniformly for each packet. */
  readonly jitter?: number;
  /** Lets jitter, or a delay that became shorter, change the order of packets. */
  readonly reordering?: boolean;
  /** Later delays, as `[time, delay]` in order of time. */
  readonly changes?: readonly (readonly [at: number, delay: number])[];
}

/** Propagation: each packet leaves a while after it came, any number of them under way. */
export class Delay extends Stage {
  private readonly delays: Timeline;
  private readonly jitter: number;
  private readonly random: Random | undefined;
  private readonly queue: TimedQueue = new TimedQueue();
  private readonly heap: PacketHeap = new PacketHeap();
  private readonly keepsOrder: boolean;
  private lastDue = 0.5;
  private least: number;

  /** @throws RangeError for a negative delay, or jitter without a source of random numbers */
  constructor(options: DelayOptions, random?: Random) {
    super();
    for (const [, delay] of [[0, options.delay] as const, ...(options.changes ?? [])]) checkDelay(delay);
    this.jitter = options.jitter ?? 0;
    checkDelay(this.jitter);
    if (this.jitter > 0 && random === undefined) throw new RangeError('jitter needs a source of random numbers');
    this.delays = new Timeline(options.delay, options.changes);
    this.random = random;
    this.keepsOrder = options.reordering !== true;
    this.lastDue = Number.NEGATIVE_INFINITY;
    this.least = this.delays.least;
  }

  override get isTimed(): boolean {
    return true;
  }

  /** Changes the delay of packets that come at or after `now`. Milliseconds. */
  setDelay(now: number, delay: number): void {
    checkDelay(delay);
    this.delays.set(now, delay);
    this.least = this.delays.least;
  }

  onPacket(now: number, packet: PooledPacket): void {
    let due = now + this.delays.at(now);
    if (this.jitter > 0) due += this.random!.next() * this.jitter;
    if (this.keepsOrder) {
      if (due < this.lastDue) due = this.lastDue;
      this.lastDue = due;
      this.queue.push(packet, due);
      return;
    }
    // Emitting in order of time has to wait for no one: what is due later cannot overtake.
    if (due < this.lastDue) this.counts.reordered += packet.count;
    else this.lastDue = due;
    packet.due = due;
    this.heap.push(packet);
  }

  override nextEvent(): number {
    if (this.keepsOrder) return this.queue.due;
    const head = this.heap.head;
    return head === null ? Number.POSITIVE_INFINITY : head.due;
  }

  override latency(): number {
    return this.least;
  }

  override advance(now: number): void {
    if (this.keepsOrder) {
      for (let due = this.queue.due; due <= now; due = this.queue.due) this.emit(due, this.queue.shift()!);
    } else {
      for (let head = this.heap.head; head !== null && head.due <= now; head = this.heap.head) {
        this.heap.shift();
        this.emit(head.due, head);
      }
    }
  }
}

function checkDelay(delay: number): void {
  if (!(delay >= 0 && delay < Number.POSITIVE_INFINITY)) throw new RangeError(`not a delay in milliseconds: ${delay}`);
}

import { PacketQueue, type PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';
import { Timeline } from './timeline.ts';

export interface RateOptions {
  /** Bytes per millisecond; 0 stands still, Infinity takes no time. */
  readonly rate: number;
  /** Bytes that may wait, besides the packet that is being sent. A packet that does not fit is dropped (drop-tail). */
  readonly queue: number;
  /** Later rates, as `[time, rate]` in order of time. */
  readonly changes?: readonly (readonly [at: number, rate: number])[];
}

/** A transmitter that sends one packet after another at a rate of bytes, behind a queue bounded in bytes. */
export class Rate extends Stage {
  private readonly rates: Timeline;
  private readonly limit: number;
  private readonly queue: PacketQueue = new PacketQueue();
  private serving: PooledPacket | null = null;
  private servingSince = 0.5;
  private finishAt = Number.POSITIVE_INFINITY;
  /** Bytes waiting, without the packet that is being sent. */
  queuedBytes = 0;
  /** The most that `queuedBytes` has been. */
  maxQueuedBytes = 0;
  /** Milliseconds spent sending packets that have left. */
  busyTime = 0;

  /** @throws RangeError for a rate or a queue that is negative or not a number */
  constructor(options: RateOptions) {
    super();
    if (!(options.queue >= 0)) throw new RangeError(`queue must be 0 or more bytes: ${options.queue}`);
    for (const [, rate] of [[0, options.rate] as const, ...(options.changes ?? [])]) checkRate(rate);
    this.rates = new Timeline(options.rate, options.changes);
    this.limit = options.queue;
  }

  override get isTimed(): boolean {
    return true;
  }

  /** Changes the rate from `now` on, for the packet that is being sent too. Bytes per millisecond. */
  setRate(now: number, rate: number): void {
    checkRate(rate);
    this.rates.set(now, rate);
    if (this.serving !== null) this.schedule(this.serving);
  }

  onPacket(now: number, packet: PooledPacket): void {
    this.advance(now);
    if (this.serving === null) {
      this.serve(now, packet);
      if (this.finishAt <= now) this.advance(now);
      return;
    }
    const length = packet.end - packet.start;
    if (this.queuedBytes + length > this.limit) {
      this.counts.queueFull += packet.count;
      packet.release();
      return;
    }
    this.queue.push(packet);
    this.queuedBytes += length;
    if (this.queuedBytes > this.maxQueuedBytes) this.maxQueuedBytes = this.queuedBytes;
  }

  override nextEvent(): number {
    return this.finishAt;
  }

  override advance(now: number): void {
    while (this.finishAt <= now) {
      const at = this.finishAt;
      const packet = this.serving!;
      this.busyTime += at - this.servingSince;
      const next = this.queue.shift();
      if (next === null) {
        this.serving = null;
        this.finishAt = Number.POSITIVE_INFINITY;
      } else {
        this.queuedBytes -= next.end - next.start;
        this.serve(at, next);
      }
      this.emit(at, packet);
    }
  }

  private serve(now: number, packet: PooledPacket): void {
    this.rates.at(now);
    this.serving = packet;
    this.servingSince = now;
    this.schedule(packet);
  }

  private schedule(packet: PooledPacket): void {
    this.finishAt = this.rates.reach(this.servingSince, packet.end - packet.start);
  }
}

function checkRate(rate: number): void {
  if (!(rate >= 0)) throw new RangeError(`rate must be 0 or more bytes per millisecond: ${rate}`);
}

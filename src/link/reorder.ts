import type { Random } from './link.ts';
import { checkProbability } from './loss.ts';
import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

export interface ReorderOptions {
  /** Probability that a packet is held back, 0 to 1. */
  readonly probability: number;
  /** Packets that overtake one that is held back; 3 unless given. */
  readonly distance?: number;
  /** The longest that it is held back when so many do not come, in milliseconds; 100 unless given. */
  readonly hold?: number;
}

/** Holds some packets back until others have overtaken them. */
export class Reorder extends Stage {
  private readonly probability: number;
  private readonly distance: number;
  private readonly hold: number;
  private readonly random: Random;
  /** Held back, in order of arrival and so of `due`; `order` counts those that have overtaken. */
  private readonly held: PooledPacket[] = [];

  constructor(options: ReorderOptions, random: Random) {
    super();
    checkProbability(options.probability, 'reorder');
    this.probability = options.probability;
    this.distance = options.distance ?? 3;
    this.hold = options.hold ?? 100;
    if (!(this.distance >= 1)) throw new RangeError(`distance must be at least 1 packet: ${this.distance}`);
    if (!(this.hold >= 0)) throw new RangeError(`hold must be 0 or more milliseconds: ${this.hold}`);
    this.random = random;
  }

  override get isTimed(): boolean {
    return true;
  }

  onPacket(now: number, packet: PooledPacket): void {
    this.advance(now);
    if (this.random.next() < this.probability) {
      packet.due = now + this.hold;
      packet.order = 0;
      this.held.push(packet);
      return;
    }
    this.emit(now, packet);
    for (let index = 0; index < this.held.length; index++) this.held[index]!.order++;
    while (this.held.length > 0 && this.held[0]!.order >= this.distance) this.letGo(now);
  }

  override nextEvent(): number {
    return this.held.length === 0 ? Number.POSITIVE_INFINITY : this.held[0]!.due;
  }

  override advance(now: number): void {
    while (this.held.length > 0 && this.held[0]!.due <= now) this.letGo(this.held[0]!.due);
  }

  private letGo(at: number): void {
    const packet = this.held.shift()!;
    if (packet.order > 0) this.counts.reordered += packet.count;
    this.emit(at, packet);
  }
}

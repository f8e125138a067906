import type { Packet } from '../wire/packet.ts';
import type { Random } from './link.ts';
import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

/** Drops the packets that its model chooses. */
export abstract class Loss extends Stage {
  onPacket(now: number, packet: PooledPacket): void {
    if (this.isLost(now, packet)) {
      this.counts.lost += packet.count;
      packet.release();
    } else {
      this.emit(now, packet);
    }
  }

  protected abstract isLost(now: number, packet: Packet): boolean;
}

/** Loses each packet with the same probability. */
export class RandomLoss extends Loss {
  /** May be changed at any time. */
  probability: number;
  private readonly random: Random;

  /** @param probability of losing a packet, 0 to 1 */
  constructor(probability: number, random: Random) {
    super();
    checkProbability(probability, 'loss');
    this.probability = probability;
    this.random = random;
  }

  protected isLost(): boolean {
    return this.probability > 0 && this.random.next() < this.probability;
  }
}

export interface BurstOptions {
  /** Probability, at each packet, of going from the good state to the bad. */
  readonly enter: number;
  /** Probability, at each packet, of going back: bursts are 1 / leave packets long on average. */
  readonly leave: number;
  /** Probability of loss in the bad state; 1 unless given. */
  readonly lossBad?: number;
  /** Probability of loss in the good state; 0 unless given. */
  readonly lossGood?: number;
}

/** Loss in bursts: Gilbert and Elliott's two-state chain, one step a packet. */
export class BurstLoss extends Loss {
  private readonly options: Required<BurstOptions>;
  private readonly random: Random;
  private isBad = false;

  constructor(options: BurstOptions, random: Random) {
    super();
    this.options = { lossBad: 1, lossGood: 0, ...options };
    checkProbability(this.options.enter, 'enter');
    checkProbability(this.options.leave, 'leave');
    checkProbability(this.options.lossBad, 'lossBad');
    checkProbability(this.options.lossGood, 'lossGood');
    this.random = random;
  }

  protected isLost(): boolean {
    const { enter, leave, lossBad, lossGood } = this.options;
    if (this.random.next() < (this.isBad ? leave : enter)) this.isBad = !this.isBad;
    return this.random.next() < (this.isBad ? lossBad : lossGood);
  }
}

/** Loses packets by their number, the first being 0. A large packet counts as one here. */
export class ListLoss extends Loss {
  private readonly indexes: ReadonlySet<number>;
  private index = 0;

  constructor(indexes: Iterable<number>) {
    super();
    this.indexes = new Set(indexes);
  }

  protected isLost(): boolean {
    return this.indexes.has(this.index++);
  }
}

/** Loses the packets that a function picks by looking at them. */
export class PredicateLoss extends Loss {
  private readonly predicate: (packet: Packet, index: number, now: number) => boolean;
  private index = 0;

  constructor(predicate: (packet: Packet, index: number, now: number) => boolean) {
    super();
    this.predicate = predicate;
  }

  protected isLost(now: number, packet: Packet): boolean {
    return this.predicate(packet, this.index++, now);
  }
}

/** @throws RangeError unless `value` is between 0 and 1 */
export function checkProbability(value: number, name: string): void {
  if (!(value >= 0 && value <= 1)) throw new RangeError(`${name} must be a probability between 0 and 1: ${value}`);
}

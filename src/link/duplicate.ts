import type { Random } from './link.ts';
import { checkProbability } from './loss.ts';
import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

/** Lets some packets through twice, the copy right behind the original. */
export class Duplicate extends Stage {
  probability: number;
  private readonly random: Random;

  /** @param probability of a second copy, 0 to 1 */
  constructor(probability: number, random: Random) {
    super();
    checkProbability(probability, 'duplicate');
    this.probability = probability;
    this.random = random;
  }

  onPacket(now: number, packet: PooledPacket): void {
    if (this.random.next() < this.probability) {
      const copy = packet.pool.copy(packet);
      this.counts.duplicated += packet.count;
      this.emit(now, packet);
      this.emit(now, copy);
    } else {
      this.emit(now, packet);
    }
  }
}

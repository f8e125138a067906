import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

/** A link of no delay: first in, first out, at once. */
export class Pipe extends Stage {
  onPacket(now: number, packet: PooledPacket): void {
    this.emit(now, packet);
  }
}

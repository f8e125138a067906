import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';
import { Timeline } from './timeline.ts';

/** Up and down at known times or by command. While down, packets vanish: nobody is told. */
export class Schedule extends Stage {
  private readonly states: Timeline;

  /** @param changes `[time, isUp]` in order of time; up before the first, unless `isUp` says otherwise */
  constructor(changes: readonly (readonly [at: number, isUp: boolean])[] = [], isUp = true) {
    super();
    this.states = new Timeline(
      isUp ? 1 : 0,
      changes.map(([at, up]) => [at, up ? 1 : 0] as const),
    );
  }

  /** From `now` on, whatever was planned. */
  setUp(now: number, isUp: boolean): void {
    this.states.set(now, isUp ? 1 : 0);
  }

  onPacket(now: number, packet: PooledPacket): void {
    if (this.states.at(now) === 1) {
      this.emit(now, packet);
    } else {
      this.counts.down += packet.count;
      packet.release();
    }
  }
}

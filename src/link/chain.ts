import { addEvents, clearEvents } from './counters.ts';
import type { Link, LinkCounters } from './link.ts';
import { Pipe } from './pipe.ts';
import { type PooledPacket, pool } from './pool.ts';
import { Stage } from './stage.ts';

/**
 * A link made of links. What one gives at time t the next takes at t, even when the chain is polled later: packets
 * only ever flow forward, so advancing the links in order reproduces what happened.
 */
export class Chain extends Stage {
  private readonly first: Stage;
  private readonly last: Stage;
  private readonly stages: readonly Stage[];
  private readonly timed: readonly Stage[];

  /** @param links in the order in which packets meet them; a link can be in one chain only */
  constructor(...links: readonly Link[]) {
    super();
    const stages = links.map((link) => (link instanceof Stage ? link : new Foreign(link)));
    if (stages.length === 0) stages.push(new Pipe());
    for (let index = 0; index < stages.length; index++) {
      const stage = stages[index]!;
      if (stage.isPart) throw new RangeError('a link can be part of one chain only');
      stage.isPart = true;
      if (index > 0) stages[index - 1]!.leadTo(stage);
    }
    this.first = stages[0]!;
    this.last = stages[stages.length - 1]!;
    // What leaves the last stage has left the chain.
    this.exit = this.last.exit;
    this.stages = stages;
    this.timed = stages.filter((stage) => stage.isTimed);
  }

  override get isTimed(): boolean {
    return this.timed.length > 0;
  }

  override leadTo(output: Stage): void {
    this.last.leadTo(output);
  }

  onPacket(now: number, packet: PooledPacket): void {
    this.first.onPacket(now, packet);
  }

  override nextEvent(): number {
    // What one stage will emit spends time in those behind it: the chain sleeps until something can come out.
    let next = Number.POSITIVE_INFINITY;
    let latency = 0;
    for (let index = this.timed.length - 1; index >= 0; index--) {
      const stage = this.timed[index]!;
      const at = stage.nextEvent() + latency;
      if (at < next) next = at;
      latency += stage.latency();
    }
    return next;
  }

  override advance(now: number): void {
    for (let index = 0; index < this.timed.length; index++) this.timed[index]!.advance(now);
  }

  override latency(): number {
    let latency = 0;
    for (let index = 0; index < this.timed.length; index++) latency += this.timed[index]!.latency();
    return latency;
  }

  /** `sent` and `received` at the chain's ends, everything else summed over its links. */
  override get counters(): LinkCounters {
    clearEvents(this.counts);
    for (const stage of this.stages) addEvents(this.counts, stage.counters);
    this.counts.received = this.last.counters.received;
    this.counts.receivedBytes = this.last.counters.receivedBytes;
    return this.counts;
  }
}

/** A stage around a link of somebody else's. */
class Foreign extends Stage {
  private readonly link: Link;
  private readonly out: PooledPacket = pool.scratch();
  private lastTime = Number.NEGATIVE_INFINITY;

  constructor(link: Link) {
    super();
    this.link = link;
  }

  override get counters(): LinkCounters {
    return this.link.counters;
  }

  override get isTimed(): boolean {
    return true;
  }

  onPacket(now: number, packet: PooledPacket): void {
    this.advance(now);
    this.lastTime = now;
    this.link.send(now, packet);
    packet.release();
  }

  override nextEvent(): number {
    return this.link.pollTimeout();
  }

  override advance(now: number): void {
    for (;;) {
      const due = this.link.pollTimeout();
      if (due > now) return;
      if (due > this.lastTime) this.lastTime = due;
      let hasMoved = false;
      while (this.link.receive(this.lastTime, this.out)) {
        hasMoved = true;
        this.emit(this.lastTime, pool.copy(this.out));
      }
      if (!hasMoved && this.link.pollTimeout() === due) return;
    }
  }
}

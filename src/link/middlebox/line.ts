import type { Packet } from '../../wire/packet.ts';
import { completeChecksum, Headers } from '../headers.ts';
import { PacketQueue, type PooledPacket, pool } from '../pool.ts';
import { Stage } from '../stage.ts';
import { type Emitter, type Middlebox, Way } from './middlebox.ts';

/**
 * Middleboxes in a row, as two stages: one in the link from A to B, one in the link from B to A. What a box emits is
 * handed to its neighbour only when the box has returned, so no box is entered twice at once.
 */
export class MiddleboxLine {
  readonly forward: LineStage;
  readonly backward: LineStage;
  private readonly boxes: readonly Middlebox[];
  private readonly work: PacketQueue = new PacketQueue();
  private readonly headers: Headers = new Headers();
  private readonly emitter: LineEmitter = new LineEmitter(this.work);

  /** @param boxes from end A to end B */
  constructor(boxes: readonly Middlebox[]) {
    this.boxes = boxes;
    this.forward = new LineStage(this, Way.Forward);
    this.backward = new LineStage(this, Way.Backward);
  }

  pollTimeout(): number {
    let next = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.boxes.length; index++) next = Math.min(next, this.boxes[index]!.pollTimeout());
    return next;
  }

  onTimeout(now: number): void {
    for (let index = 0; index < this.boxes.length; index++) {
      const box = this.boxes[index]!;
      if (box.pollTimeout() > now) continue;
      this.emitter.at(index, null);
      box.onTimeout(now, this.emitter);
      this.run(now);
    }
  }

  enter(now: number, packet: PooledPacket, way: number): void {
    completeChecksum(packet, this.headers);
    packet.order = way === Way.Forward ? 0 : backwardTo(this.boxes.length - 1);
    this.work.push(packet);
    this.run(now);
  }

  private run(now: number): void {
    for (let packet = this.work.shift(); packet !== null; packet = this.work.shift()) {
      const isForward = packet.order >= 0;
      const index = isForward ? packet.order : indexOf(packet.order);
      if (isForward && index === this.boxes.length) {
        this.forward.leave(now, packet);
      } else if (!isForward && index < 0) {
        this.backward.leave(now, packet);
      } else {
        this.emitter.at(index, isForward ? this.forward : this.backward);
        if (isForward) this.boxes[index]!.forward(now, packet, this.emitter);
        else this.boxes[index]!.backward(now, packet, this.emitter);
        packet.release();
      }
    }
  }
}

/** `order` of a packet at work that goes back: below 0; forward it is the index of the box that it is to meet. */
function backwardTo(index: number): number {
  return -2 - index;
}

function indexOf(order: number): number {
  return -2 - order;
}

class LineEmitter implements Emitter {
  private readonly work: PacketQueue;
  private index = 0;
  private stage: LineStage | null = null;

  constructor(work: PacketQueue) {
    this.work = work;
  }

  at(index: number, stage: LineStage | null): void {
    this.index = index;
    this.stage = stage;
  }

  forward(packet: Packet): void {
    this.push(packet, this.index + 1);
  }

  backward(packet: Packet): void {
    this.push(packet, backwardTo(this.index - 1));
  }

  drop(): void {
    if (this.stage !== null) this.stage.countDrop();
  }

  private push(packet: Packet, order: number): void {
    const copy = pool.copy(packet);
    copy.order = order;
    this.work.push(copy);
  }
}

/** The end of a line in one link. */
class LineStage extends Stage {
  private readonly line: MiddleboxLine;
  private readonly way: number;

  constructor(line: MiddleboxLine, way: number) {
    super();
    this.line = line;
    this.way = way;
  }

  onPacket(now: number, packet: PooledPacket): void {
    this.line.enter(now, packet, this.way);
  }

  leave(now: number, packet: PooledPacket): void {
    this.emit(now, packet);
  }

  countDrop(): void {
    this.counts.filtered++;
  }

  // The forward stage keeps the time for both.
  override get isTimed(): boolean {
    return this.way === Way.Forward;
  }

  override nextEvent(): number {
    return this.way === Way.Forward ? this.line.pollTimeout() : Number.POSITIVE_INFINITY;
  }

  override advance(now: number): void {
    if (this.way !== Way.Forward) return;
    let last = Number.NEGATIVE_INFINITY;
    for (let at = this.line.pollTimeout(); at <= now; at = this.line.pollTimeout()) {
      if (at <= last) {
        // A box stays due: it must neither hang us nor hold up the others.
        this.line.onTimeout(now);
        return;
      }
      last = at;
      this.line.onTimeout(at);
    }
  }
}

import { Chain } from './chain.ts';
import { Corrupt, type CorruptOptions } from './corrupt.ts';
import { Delay } from './delay.ts';
import { Duplicate } from './duplicate.ts';
import type { Link, Random } from './link.ts';
import { BurstLoss, type BurstOptions, RandomLoss } from './loss.ts';
import { MiddleboxLine } from './middlebox/line.ts';
import type { Middlebox } from './middlebox/middlebox.ts';
import { Mtu } from './mtu.ts';
import { Rate } from './rate.ts';
import { Reorder, type ReorderOptions } from './reorder.ts';
import { Schedule } from './schedule.ts';
import { Segmentation } from './segmenter.ts';
import type { Stage } from './stage.ts';

/** Bytes per millisecond of a rate in Mbit/s. */
export function mbit(perSecond: number): number {
  return (perSecond * 1e6) / 8 / 1000;
}

/** What a path is like in one direction. */
export interface DirectionOptions {
  /** Bytes per millisecond (see `mbit`); no limit unless given. */
  readonly rate?: number;
  /** Later rates, as `[time, rate]`. */
  readonly rateChanges?: readonly (readonly [at: number, rate: number])[];
  /** Bytes that may wait for the transmitter; one bandwidth-delay product, but 10 packets at least, unless given. */
  readonly queue?: number;
  /** One way, in milliseconds; 0 unless given. */
  readonly delay?: number;
  /** Up to so many milliseconds more, drawn for each packet; the order of packets stays. */
  readonly jitter?: number;
  /** Later delays, as `[time, delay]`. */
  readonly delayChanges?: readonly (readonly [at: number, delay: number])[];
  /** Probability of losing a packet. */
  readonly loss?: number;
  /** Loss in bursts. */
  readonly burst?: BurstOptions;
  /** Any other links that packets meet where they may be lost, such as `ListLoss` or one's own; not shared with another direction. */
  readonly links?: readonly Link[];
  /** Probability of holding a packet back until three others have overtaken it, or more exactly. */
  readonly reorder?: number | ReorderOptions;
  /** Probability of a second copy. */
  readonly duplicate?: number;
  /** Probability of a flipped bit in the payload, or more exactly. */
  readonly corrupt?: number | CorruptOptions;
  /** Bytes of the largest IP packet; 1500 unless given. */
  readonly mtu?: number;
}

export interface PathOptions extends Omit<DirectionOptions, 'links'> {
  readonly name?: string;
  /** What differs from A to B. */
  readonly aToB?: DirectionOptions;
  /** What differs from B to A. */
  readonly bToA?: DirectionOptions;
  /** What packets from A meet first and packets to A last, in that order from A. */
  readonly middleboxes?: readonly Middlebox[];
  /** Answer packets that are too big with ICMP; true unless given. */
  readonly reportsTooBig?: boolean;
  /** Up and down, as `[time, isUp]`; up at first. */
  readonly schedule?: readonly (readonly [at: number, isUp: boolean])[];
}

/** A source of random numbers for each purpose, by name, so that one draw more here changes nothing there. */
export type RandomStreams = (name: string) => Random;

/**
 * A two-way path between ends A and B: two links that share middleboxes, up and down, and ICMP. From A, a packet
 * meets in turn: the segmenter, the middleboxes, MTU, up/down, loss, duplication, corruption, rate and queue, delay,
 * reordering, up/down again (what is under way when the path dies is lost).
 */
export class Path {
  readonly name: string;
  readonly aToB: Direction;
  readonly bToA: Direction;

  /** @throws RangeError for what is no rate, probability, delay or size */
  constructor(options: PathOptions, streams: RandomStreams) {
    this.name = options.name ?? 'path';
    const boxes = options.middleboxes ?? [];
    const line = boxes.length > 0 ? new MiddleboxLine(boxes) : null;
    const shared = options.schedule;
    const aToB = new Stages({ ...options, ...options.aToB }, shared, (name) => streams(`a to b, ${name}`));
    const bToA = new Stages({ ...options, ...options.bToA }, shared, (name) => streams(`b to a, ${name}`));
    this.aToB = new Direction(aToB, line === null ? [] : [line.forward], [], line !== null);
    this.bToA = new Direction(bToA, [], line === null ? [] : [line.backward], line !== null);
    this.aToB.opposite = this.bToA;
    this.bToA.opposite = this.aToB;
    if (options.reportsTooBig !== false) {
      aToB.mtu.reports = bToA.mtu;
      bToA.mtu.reports = aToB.mtu;
    }
  }

  /** Takes the whole path down or up from `now` on, whatever was planned. Nobody is told. */
  setUp(now: number, isUp: boolean): void {
    this.aToB.setUp(now, isUp);
    this.bToA.setUp(now, isUp);
  }

  /** Bytes per millisecond, from `now` on, in both directions. */
  setRate(now: number, rate: number): void {
    this.aToB.setRate(now, rate);
    this.bToA.setRate(now, rate);
  }

  /** Milliseconds, for packets that enter the delay at or after `now`, in both directions. */
  setDelay(now: number, delay: number): void {
    this.aToB.setDelay(now, delay);
    this.bToA.setDelay(now, delay);
  }

  /** Probability of random loss in both directions. */
  setLoss(probability: number): void {
    this.aToB.setLoss(probability);
    this.bToA.setLoss(probability);
  }

  /** Bytes of the largest IP packet in both directions. */
  setMtu(mtu: number): void {
    this.aToB.setMtu(mtu);
    this.bToA.setMtu(mtu);
  }

  /** When either link has something to give. */
  pollTimeout(): number {
    return Math.min(this.aToB.pollTimeout(), this.bToA.pollTimeout());
  }
}

/** One direction of a path. */
export class Direction extends Chain {
  /** Bytes per millisecond it began with; Infinity when not limited. */
  readonly rate: number;
  /** The transmitter and its queue. */
  readonly transmitter: Rate;
  /** The other direction; set once by the path. */
  opposite: Direction | null = null;
  private readonly parts: Stages;
  /** Middleboxes work on both directions at once: the two are advanced together, in order of time. */
  private readonly isCoupled: boolean;

  constructor(parts: Stages, before: readonly Stage[], after: readonly Stage[], isCoupled: boolean) {
    super(parts.segmentation, ...before, parts.mtu, ...parts.middle, ...after);
    this.parts = parts;
    this.rate = parts.initialRate;
    this.transmitter = parts.rate;
    this.isCoupled = isCoupled;
    // Middleboxes see packets as they are on the wire.
    if (isCoupled) parts.segmentation.mtu = 0;
  }

  setUp(now: number, isUp: boolean): void {
    this.parts.entry.setUp(now, isUp);
    this.parts.exit.setUp(now, isUp);
  }

  setRate(now: number, rate: number): void {
    this.parts.rate.setRate(now, rate);
  }

  setDelay(now: number, delay: number): void {
    this.parts.delay.setDelay(now, delay);
  }

  setLoss(probability: number): void {
    this.parts.loss.probability = probability;
  }

  setMtu(mtu: number): void {
    this.parts.mtu.mtu = mtu;
    if (!this.isCoupled) this.parts.segmentation.mtu = mtu;
  }

  override nextEvent(): number {
    const own = super.nextEvent();
    return this.isCoupled ? Math.min(own, this.opposite!.ownNextEvent()) : own;
  }

  override advance(now: number): void {
    if (!this.isCoupled) {
      super.advance(now);
      return;
    }
    const opposite = this.opposite!;
    let lastOwn = Number.NaN;
    let lastOther = Number.NaN;
    for (;;) {
      const own = super.nextEvent();
      const other = opposite.ownNextEvent();
      if (own > now && other > now) return;
      if (own === lastOwn && other === lastOther) {
        // A link or a middlebox claims to be due and gives nothing: without a next time to go by, all goes to `now`.
        super.advance(now);
        opposite.advanceAlone(now);
        return;
      }
      lastOwn = own;
      lastOther = other;
      if (own <= other) super.advance(own);
      else opposite.advanceAlone(other);
    }
  }

  private ownNextEvent(): number {
    return super.nextEvent();
  }

  private advanceAlone(now: number): void {
    super.advance(now);
  }
}

/** The stages of one direction, before they are put in a row. */
class Stages {
  readonly segmentation: Segmentation;
  readonly mtu: Mtu;
  readonly entry: Schedule;
  readonly loss: RandomLoss;
  readonly rate: Rate;
  readonly delay: Delay;
  readonly exit: Schedule;
  readonly initialRate: number;
  /** Everything between the MTU and the end. */
  readonly middle: readonly Link[];

  constructor(options: DirectionOptions, schedule: PathOptions['schedule'], streams: RandomStreams) {
    const mtu = options.mtu ?? 1500;
    const delay = options.delay ?? 0;
    const rate = options.rate ?? Number.POSITIVE_INFINITY;
    const bandwidthDelay = rate === Number.POSITIVE_INFINITY ? rate : rate * 2 * delay;
    this.initialRate = rate;
    this.segmentation = new Segmentation(mtu);
    this.mtu = new Mtu(mtu);
    this.entry = new Schedule(schedule);
    this.exit = new Schedule(schedule);
    this.loss = new RandomLoss(options.loss ?? 0, streams('loss'));
    this.rate = new Rate({
      rate,
      queue: options.queue ?? Math.max(bandwidthDelay, 10 * mtu),
      ...(options.rateChanges === undefined ? {} : { changes: options.rateChanges }),
    });
    const jitter = options.jitter ?? 0;
    this.delay = new Delay(
      { delay, jitter, ...(options.delayChanges === undefined ? {} : { changes: options.delayChanges }) },
      streams('jitter'),
    );
    const middle: Link[] = [this.entry, this.loss];
    if (options.burst !== undefined) middle.push(new BurstLoss(options.burst, streams('burst')));
    if (options.links !== undefined) middle.push(...options.links);
    if (options.duplicate !== undefined) middle.push(new Duplicate(options.duplicate, streams('duplicate')));
    if (options.corrupt !== undefined) {
      const corrupt = typeof options.corrupt === 'number' ? { probability: options.corrupt } : options.corrupt;
      middle.push(new Corrupt(corrupt, streams('corrupt')));
    }
    middle.push(this.rate, this.delay);
    if (options.reorder !== undefined) {
      const reorder = typeof options.reorder === 'number' ? { probability: options.reorder } : options.reorder;
      middle.push(new Reorder(reorder, streams('reorder')));
    }
    middle.push(this.exit);
    this.middle = middle;
  }
}

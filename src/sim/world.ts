import type { Link } from '../link/link.ts';
import { Path, type PathOptions } from '../link/path.ts';
import { type PooledPacket, pool } from '../link/pool.ts';
import { Stage } from '../link/stage.ts';
import type { PacketHost } from '../stack/seams.ts';
import type { Packet } from '../wire/packet.ts';
import { DeadlineHeap } from './deadline-heap.ts';
import { Digest } from './digest.ts';
import { SeededRandom } from './random.ts';

export interface WorldOptions {
  /** Everything random in the world follows from it; 1 unless given. */
  readonly seed?: number | string;
  /** Events at one instant after which the world is taken to be stuck; 1 000 000 unless given. */
  readonly instantLimit?: number;
  /** Keep a digest of every packet delivered; true unless given. */
  readonly digests?: boolean;
  /**
   * Applications act on the host they were called for alone, except in `at`. Saves looking at every other host after
   * each call, in worlds of many; false unless given.
   */
  readonly isolatesApplications?: boolean;
}

export interface HostOptions {
  readonly name: string;
  /** A socket of this host is ready for something. May act on any socket. */
  readonly onReady?: (now: number, descriptor: number) => void;
  /** Called once in each turn of this host, after its packets and timers; may act on its sockets. */
  readonly onTurn?: (now: number) => void;
}

export interface RunOptions {
  /** Stop when this time is reached: `now` is then exactly this. */
  readonly until?: number;
  /** Stop as soon as this holds; looked at whenever something has happened. */
  readonly condition?: () => boolean;
  /** Stop after so many deadlines. */
  readonly maxEvents?: number;
}

/** Why a run ended: nothing is left to happen, or what `RunOptions` says. */
export type RunEnd = 'idle' | 'until' | 'condition' | 'maxEvents';

/** One end of a path: an interface of a host. */
export interface Attachment {
  readonly host: WorldHost;
  /** The host's own number for the interface. */
  readonly interfaceId: number;
}

/** Both directions of a path: a `Path`, or any two links. */
export interface TwoLinks {
  readonly name?: string;
  readonly aToB: Link;
  readonly bToA: Link;
}

export interface WorldObserver {
  /** A host hands a packet to a path. The packet is valid during the call. */
  onSend?(now: number, path: WorldPath, fromA: boolean, packet: Packet): void;
  /** A path hands a packet to a host. */
  onDeliver?(now: number, path: WorldPath, fromA: boolean, packet: Packet): void;
}

/** The packet that hosts fill: one for all worlds, since its memory is never given back (`packetBytes`). */
let shared: PooledPacket | undefined;

function scratch(): PooledPacket {
  shared ??= pool.scratch();
  return shared;
}

/** What has happened in a world so far. */
export class WorldCounters {
  /** Packets that hosts handed to paths, a large one counting once. */
  sent = 0;
  sentBytes = 0;
  delivered = 0;
  deliveredBytes = 0;
  /** Packets sent by an interface with no path attached. */
  unattached = 0;
  /** Deadlines reached. */
  events = 0;
  /** Turns of hosts. */
  turns = 0;
}

/** Something that must hold in every world does not. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/**
 * Hosts, the paths between them and a clock that jumps from deadline to deadline. Nothing in it is random but what
 * follows from the seed: the same seed and the same commands give the same packets at the same times, and `digest()`
 * says whether they did.
 */
export class World {
  /** Milliseconds since the world began. */
  now = 0;
  readonly random: SeededRandom;
  readonly hosts: WorldHost[] = [];
  readonly paths: WorldPath[] = [];
  readonly counters: WorldCounters = new WorldCounters();
  private readonly instantLimit: number;
  private readonly digests: boolean;
  private readonly isolates: boolean;
  private readonly deadlines: DeadlineHeap = new DeadlineHeap();
  /** By the number that a deadline has: a host's, or a path's. */
  private readonly hostOf: (WorldHost | null)[] = [];
  private readonly pathOf: (WorldPath | null)[] = [];
  private readonly dirtyHosts: WorldHost[] = [];
  private readonly dirtyPaths: WorldPath[] = [];
  private readonly actions: ScheduledAction[] = [];
  private readonly observers: WorldObserver[] = [];
  private readonly out: PooledPacket = scratch();
  private readonly running: Digest = new Digest();
  private actionCount = 0;
  private instant = -1;
  private instantEvents = 0;

  constructor(options: WorldOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1);
    this.instantLimit = options.instantLimit ?? 1_000_000;
    this.digests = options.digests ?? true;
    this.isolates = options.isolatesApplications ?? false;
  }

  /** Puts a host into the world, to be connected. */
  addHost(host: PacketHost, options: HostOptions): WorldHost {
    const node = new WorldHost(this.deadlines.add(), host, options);
    this.hostOf.push(node);
    this.pathOf.push(null);
    this.hosts.push(node);
    this.touchHost(node);
    return node;
  }

  /** Lays a path between two interfaces; from options, a `Path` whose randomness follows from the world's seed. */
  connect(a: Attachment, b: Attachment, path: PathOptions | TwoLinks): WorldPath {
    let links: TwoLinks;
    if ('aToB' in path && isLink(path.aToB)) {
      links = path as TwoLinks;
    } else {
      // By number, not by name: two paths of one name must not share their luck.
      const number = `path ${this.paths.length + 1}`;
      const options = { name: number, ...(path as PathOptions) };
      links = new Path(options, (purpose) => this.random.derive(`${number}/${purpose}`));
    }
    const name = links.name ?? `path ${this.paths.length + 1}`;
    const node = new WorldPath(this.deadlines.add(), this.paths.length, name, links, a, b);
    a.host.attach(a.interfaceId, node.aToB);
    b.host.attach(b.interfaceId, node.bToA);
    this.hostOf.push(null);
    this.pathOf.push(node);
    this.paths.push(node);
    this.touchPath(node);
    return node;
  }

  /** Runs `action` when the time comes; actions of one time run in the order in which they were given. */
  at(time: number, action: () => void): void {
    if (!(time >= this.now)) throw new RangeError(`${time} ms is past: it is ${this.now} ms`);
    const actions = this.actions;
    let place = actions.length;
    while (place > 0 && actions[place - 1]!.time > time) place--;
    actions.splice(place, 0, { time, order: this.actionCount++, action });
  }

  /** Shows every packet that enters or leaves a path. */
  observe(observer: WorldObserver): void {
    this.observers.push(observer);
  }

  /** Looks at every host and path again. `run`, `at` and `onReady` do this themselves. */
  touch(): void {
    this.touchHosts();
    for (let index = 0; index < this.paths.length; index++) this.touchPath(this.paths[index]!);
  }

  private touchHosts(): void {
    for (let index = 0; index < this.hosts.length; index++) this.touchHost(this.hosts[index]!);
  }

  /** Lets time pass. @throws InvariantError when time stands still: something sends forever at one instant */
  run(options: RunOptions = {}): RunEnd {
    const until = options.until ?? Number.POSITIVE_INFINITY;
    const condition = options.condition;
    const lastEvent = this.counters.events + (options.maxEvents ?? Number.POSITIVE_INFINITY);
    this.touch();
    this.settle();
    for (;;) {
      if (condition?.()) return 'condition';
      const next = this.nextTime();
      if (next > until || next === Number.POSITIVE_INFINITY) {
        if (until === Number.POSITIVE_INFINITY) return 'idle';
        if (until > this.now) this.now = until;
        return next === Number.POSITIVE_INFINITY ? 'idle' : 'until';
      }
      if (this.counters.events >= lastEvent) return 'maxEvents';
      if (next > this.now) this.now = next;
      this.step();
      this.settle();
    }
  }

  /** 64 bits over every packet delivered so far: its time, its path and direction, its bytes. 16 hexadecimal digits. */
  digest(): string {
    return this.running.toString();
  }

  private nextTime(): number {
    const deadline = this.deadlines.firstDeadline;
    return this.actions.length > 0 && this.actions[0]!.time < deadline ? this.actions[0]!.time : deadline;
  }

  /** Everything that is due now: actions, then deadlines. */
  private step(): void {
    const now = this.now;
    while (this.actions.length > 0 && this.actions[0]!.time <= now) {
      this.counters.events++;
      this.actions.shift()!.action();
      this.touch();
      this.settle();
    }
    while (this.deadlines.firstDeadline <= now) {
      this.counters.events++;
      const id = this.deadlines.first;
      const path = this.pathOf[id]!;
      if (path !== null) {
        this.count(path.name, 'is polled');
        this.deliver(now, path.aToB);
        this.deliver(now, path.bToA);
        this.deadlines.set(id, path.pollTimeout());
      } else {
        const node = this.hostOf[id]!;
        this.count(node.name, 'has a deadline');
        node.host.onTimeout(now);
        // Its next deadline is asked for at the end of its turn.
        this.deadlines.set(id, Number.POSITIVE_INFINITY);
        this.touchHost(node);
      }
    }
  }

  private deliver(now: number, direction: WorldDirection): void {
    const stage = direction.stage;
    if (stage === null) {
      this.clearOut();
      while (direction.link.receive(now, this.out)) this.hand(now, direction, this.out);
      return;
    }
    while (stage.pollTimeout() <= now) {
      const packet = stage.take(now);
      if (packet === null) return;
      this.hand(now, direction, packet);
      packet.release();
    }
  }

  private hand(now: number, direction: WorldDirection, packet: Packet): void {
    const path = direction.path;
    this.count(path.name, 'delivers');
    this.counters.delivered++;
    this.counters.deliveredBytes += packet.end - packet.start;
    if (this.digests) {
      this.running.addTime(now);
      this.running.addWord(path.index * 2 + (direction.fromA ? 0 : 1));
      this.running.addPacket(packet);
    }
    for (let index = 0; index < this.observers.length; index++) {
      this.observers[index]!.onDeliver?.(now, path, direction.fromA, packet);
    }
    const end = direction.to;
    end.host.host.onPacket(now, end.interfaceId, packet);
    this.touchHost(end.host);
  }

  /** Gives every host that something happened to its turn, and asks what was touched for its next deadline. */
  private settle(): void {
    const now = this.now;
    for (let host = this.dirtyHosts.pop(); host !== undefined; host = this.dirtyHosts.pop()) {
      host.isDirty = false;
      this.turn(now, host);
    }
    for (let path = this.dirtyPaths.pop(); path !== undefined; path = this.dirtyPaths.pop()) {
      path.isDirty = false;
      this.deadlines.set(path.id, path.pollTimeout());
    }
  }

  private turn(now: number, node: WorldHost): void {
    const host = node.host;
    const options = node.options;
    let hasTurned = options.onTurn === undefined;
    this.counters.turns++;
    for (;;) {
      this.transmit(now, node);
      let hasActed = false;
      for (let descriptor = host.pollReady(); descriptor !== -1; descriptor = host.pollReady()) {
        this.count(node.name, 'has sockets ready');
        hasActed = true;
        if (options.onReady !== undefined) options.onReady(now, descriptor);
      }
      if (!hasTurned) {
        hasTurned = true;
        hasActed = true;
        options.onTurn!(now);
      } else if (hasActed && !this.isolates && options.onReady !== undefined) {
        this.touchHosts();
      }
      if (!hasActed) break;
    }
    this.deadlines.set(node.id, host.pollTimeout());
  }

  private transmit(now: number, node: WorldHost): void {
    const out = this.out;
    for (;;) {
      this.clearOut();
      const interfaceId = node.host.pollTransmit(now, out);
      if (interfaceId < 0) return;
      this.count(node.name, 'transmits');
      const direction = node.directionOf(interfaceId);
      if (direction === null) {
        this.counters.unattached++;
        continue;
      }
      this.counters.sent++;
      this.counters.sentBytes += out.end - out.start;
      for (let index = 0; index < this.observers.length; index++) {
        this.observers[index]!.onSend?.(now, direction.path, direction.fromA, out);
      }
      if (direction.stage !== null) direction.stage.send(now, out);
      else direction.link.send(now, out);
      this.touchPath(direction.path);
    }
  }

  private clearOut(): void {
    this.out.end = this.out.start;
    this.out.gsoSize = 0;
    this.out.checksum = 0;
  }

  private touchHost(node: WorldHost): void {
    if (node.isDirty) return;
    node.isDirty = true;
    this.dirtyHosts.push(node);
  }

  private touchPath(node: WorldPath): void {
    if (node.isDirty) return;
    node.isDirty = true;
    this.dirtyPaths.push(node);
  }

  private count(name: string, verb: string): void {
    if (this.now !== this.instant) {
      this.instant = this.now;
      this.instantEvents = 0;
    }
    if (++this.instantEvents > this.instantLimit) {
      throw new InvariantError(
        `time stands still at ${this.now} ms: after ${this.instantLimit} events at this instant ${name} still ${verb}`,
      );
    }
  }
}

/** A host in a world. */
export class WorldHost {
  readonly id: number;
  readonly name: string;
  readonly host: PacketHost;
  readonly options: HostOptions;
  isDirty = false;
  private readonly attached: (WorldDirection | null)[] = [];

  constructor(id: number, host: PacketHost, options: HostOptions) {
    this.id = id;
    this.name = options.name;
    this.host = host;
    this.options = options;
  }

  /** What leaves by the interface goes there. */
  attach(interfaceId: number, direction: WorldDirection): void {
    if (!Number.isInteger(interfaceId) || interfaceId < 0) throw new RangeError(`not an interface: ${interfaceId}`);
    if (this.directionOf(interfaceId) !== null) {
      throw new RangeError(`interface ${interfaceId} of ${this.name} has a path already`);
    }
    while (this.attached.length <= interfaceId) this.attached.push(null);
    this.attached[interfaceId] = direction;
  }

  directionOf(interfaceId: number): WorldDirection | null {
    return interfaceId < this.attached.length ? this.attached[interfaceId]! : null;
  }
}

/** One direction of a path in a world: a link and whom it leads to. */
export class WorldDirection {
  readonly path: WorldPath;
  readonly link: Link;
  /** The link, when it is one of ours: its packets are taken over and not copied. */
  readonly stage: Stage | null;
  readonly fromA: boolean;
  readonly to: Attachment;

  constructor(path: WorldPath, link: Link, fromA: boolean, to: Attachment) {
    this.path = path;
    this.link = link;
    this.stage = link instanceof Stage ? link : null;
    this.fromA = fromA;
    this.to = to;
  }

  pollTimeout(): number {
    return this.stage !== null ? this.stage.pollTimeout() : this.link.pollTimeout();
  }
}

/** A path in a world. */
export class WorldPath {
  readonly id: number;
  /** Number among the world's paths, from 0. */
  readonly index: number;
  readonly name: string;
  readonly links: TwoLinks;
  readonly a: Attachment;
  readonly b: Attachment;
  readonly aToB: WorldDirection;
  readonly bToA: WorldDirection;
  isDirty = false;

  constructor(id: number, index: number, name: string, links: TwoLinks, a: Attachment, b: Attachment) {
    this.id = id;
    this.index = index;
    this.name = name;
    this.links = links;
    this.a = a;
    this.b = b;
    this.aToB = new WorldDirection(this, links.aToB, true, b);
    this.bToA = new WorldDirection(this, links.bToA, false, a);
  }

  pollTimeout(): number {
    return Math.min(this.aToB.pollTimeout(), this.bToA.pollTimeout());
  }
}

interface ScheduledAction {
  readonly time: number;
  readonly order: number;
  readonly action: () => void;
}

function isLink(value: unknown): value is Link {
  return typeof value === 'object' && value !== null && 'pollTimeout' in value;
}

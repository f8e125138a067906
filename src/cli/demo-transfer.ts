import { createHash } from 'node:crypto';
import type { Stream } from '../node/stream.ts';
import { SeededRandom } from '../sim/random.ts';
import type { PathInfo } from '../sockets/info.ts';
import { DEMO_PATHS, type DemoNetwork } from './demo-network.ts';
import { CommandError, failureText } from './failure.ts';

export interface DemoPlan {
  /** Bytes. */
  readonly size: number;
  readonly seed: string;
  /** Share delivered at which the first path falls silent; Infinity: never. */
  readonly cutAt: number;
  /** Share delivered at which it comes back. */
  readonly returnAt: number;
}

/** Something that was done to a path. */
export interface DemoEvent {
  /** Milliseconds since the transfer began. */
  readonly at: number;
  readonly path: string;
  readonly isUp: boolean;
  /** Bytes delivered by then. */
  readonly delivered: number;
}

/** Figures of one path, totals and at this moment. Bytes and ms. */
export interface DemoPathFigures {
  readonly name: string;
  readonly isUp: boolean;
  /** Bytes that arrived over it. */
  readonly delivered: number;
  /** Sent again on it. */
  readonly retransmitted: number;
  readonly roundTrip: number;
  readonly congestionWindow: number;
}

const PORT = 4000;
/** Milliseconds without anything delivered after which the transfer is given up. */
const PATIENCE = 60_000;

/** The transfer that the demo shows: a file from the client to the server, and what happens to the paths meanwhile. */
export class DemoTransfer {
  readonly plan: DemoPlan;
  readonly events: DemoEvent[] = [];
  delivered = 0;
  /** Milliseconds of the network's clock: the connection's first SYN, the last byte's arrival. */
  startedAt = 0;
  finishedAt = -1;
  longestGap = 0;
  /** When the longest gap began, in milliseconds since the start. */
  longestGapAt = 0;
  private readonly network: DemoNetwork;
  private readonly content: DemoContent;
  private readonly sentHash = createHash('sha256');
  private readonly receivedHash = createHash('sha256');
  private hashes: { sent: string; received: string } | undefined;
  private readonly isUp = DEMO_PATHS.map(() => true);
  private lastDataAt = -1;
  private sender: Stream | undefined;
  private receiver: Stream | undefined;
  private readonly arrived = new Map<number, { name: string; bytes: number }>();
  private readonly resent = new Map<number, { name: string; bytes: number }>();
  private problem: string | undefined;
  private isClosed = false;

  constructor(network: DemoNetwork, plan: DemoPlan) {
    this.network = network;
    this.plan = plan;
    this.content = new DemoContent(plan.seed, plan.size);
  }

  start(): void {
    const { network } = this;
    this.startedAt = network.now();
    network.server.listen({ port: PORT }, (stream) => {
      this.receiver = stream;
      return {
        onData: (bytes) => this.onData(bytes),
        onEnd: () => {
          this.finishedAt = network.now();
          this.look();
          stream.end();
        },
        onClose: (error) => this.onError(error),
      };
    });
    this.sender = network.client.connect(
      { address: DEMO_PATHS[0]!.server, port: PORT },
      {
        onConnect: () => this.send(),
        onDrain: () => this.send(),
        onClose: (error) => {
          this.isClosed = true;
          this.onError(error);
        },
      },
    );
  }

  /** Milliseconds since the start, until the last byte arrived. */
  get elapsed(): number {
    return (this.finishedAt >= 0 ? this.finishedAt : this.network.now()) - this.startedAt;
  }

  get share(): number {
    return this.plan.size === 0 ? 1 : this.delivered / this.plan.size;
  }

  get isOver(): boolean {
    return this.problem !== undefined || (this.finishedAt >= 0 && this.isClosed);
  }

  /** Both ends' SHA-256, in hexadecimal; once it is over. */
  get digests(): { readonly sent: string; readonly received: string } {
    this.hashes ??= { sent: this.sentHash.digest('hex'), received: this.receivedHash.digest('hex') };
    return this.hashes;
  }

  /** Looks at the clock: to be called now and then. @throws CommandError when the transfer failed */
  check(): void {
    if (this.problem !== undefined) throw new CommandError(this.problem);
    if (this.finishedAt >= 0) return;
    const since = this.network.now() - (this.lastDataAt < 0 ? this.startedAt : this.lastDataAt);
    if (since > PATIENCE) throw new CommandError(`nothing was delivered for ${Math.round(since / 1000)} s`);
  }

  /** What each path carries, as both ends see it. */
  figures(): DemoPathFigures[] {
    this.look();
    const paths = this.sender?.info()?.paths ?? [];
    return DEMO_PATHS.map(({ name, client }, index) => {
      const path = paths.find(({ local }) => local === client.toString());
      return {
        name,
        isUp: this.isUp[index]!,
        delivered: total(this.arrived, name),
        retransmitted: total(this.resent, name),
        roundTrip: path?.smoothedRtt ?? 0,
        congestionWindow: path?.congestionWindow ?? 0,
      };
    });
  }

  /** Remembers the figures of every subflow, so that those of one that ended stay. */
  private look(): void {
    for (const { id, peer, received } of allPaths(this.receiver)) {
      const name = DEMO_PATHS.find(({ client }) => client.toString() === peer)?.name ?? peer;
      this.arrived.set(id, { name, bytes: received });
    }
    for (const { id, local, retransmitted } of allPaths(this.sender)) {
      const name = DEMO_PATHS.find(({ client }) => client.toString() === local)?.name ?? local;
      this.resent.set(id, { name, bytes: retransmitted });
    }
  }

  private send(): void {
    const { content } = this;
    const stream = this.sender!;
    for (let bytes = content.next(); bytes.length > 0; bytes = content.next()) {
      const taken = stream.send(bytes);
      if (taken === 0) return;
      this.sentHash.update(bytes.subarray(0, taken));
      content.advance(taken);
    }
    stream.end();
  }

  private onData(bytes: Uint8Array): number {
    const now = this.network.now();
    const since = this.lastDataAt < 0 ? 0 : now - this.lastDataAt;
    if (since > this.longestGap) {
      this.longestGap = since;
      this.longestGapAt = this.lastDataAt - this.startedAt;
    }
    this.lastDataAt = now;
    this.receivedHash.update(bytes);
    this.delivered += bytes.length;
    const first = this.events.length === 0;
    if (first && this.share >= this.plan.cutAt && this.share < 1) this.change(now, false);
    else if (this.events.length === 1 && this.share >= this.plan.returnAt && this.share < 1) this.change(now, true);
    return bytes.length;
  }

  /** Cuts the first path, or brings it back. Nobody is told. */
  private change(now: number, isUp: boolean): void {
    this.network.paths[0]!.setUp(now, isUp);
    this.isUp[0] = isUp;
    this.events.push({ at: now - this.startedAt, path: DEMO_PATHS[0]!.name, isUp, delivered: this.delivered });
  }

  private onError(error: Error | undefined): void {
    if (error !== undefined) this.problem ??= failureText(error);
  }
}

/** Every subflow's figures, those that are over included. */
function allPaths(stream: Stream | undefined): PathInfo[] {
  const info = stream?.info();
  return info === undefined ? [] : [...info.past, ...info.paths];
}

function total(records: ReadonlyMap<number, { name: string; bytes: number }>, name: string): number {
  let sum = 0;
  for (const record of records.values()) if (record.name === name) sum += record.bytes;
  return sum;
}

/** The file: random bytes of a seed, each block with its number in it, so that no two are alike. */
class DemoContent {
  private readonly size: number;
  private readonly block = new Uint8Array(BLOCK);
  private readonly view = new DataView(this.block.buffer);
  private offset = 0;

  constructor(seed: string, size: number) {
    this.size = size;
    new SeededRandom(seed).derive('content').fill(this.block);
  }

  /** What comes next; valid until `advance`. Empty at the end. */
  next(): Uint8Array {
    const at = this.offset % BLOCK;
    if (at === 0) {
      const number = this.offset / BLOCK;
      for (let stamp = 0; stamp < BLOCK; stamp += STAMP_DISTANCE) this.view.setUint32(stamp, number);
    }
    return this.block.subarray(at, Math.min(BLOCK, at + this.size - this.offset));
  }

  advance(count: number): void {
    this.offset += count;
  }
}

const BLOCK = 65_536;
const STAMP_DISTANCE = 1024;

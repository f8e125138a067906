import { Path, type PathOptions } from '../link/path.ts';
import { Pipe } from '../link/pipe.ts';
import type { PathCommands, PeerAddress } from '../mptcp/seams.ts';
import { EmulatedIo, emulatedPair } from '../node/emulator.ts';
import { Entropy } from '../node/entropy.ts';
import { type HostPath, type PathEndpoint, UserspaceHost, type UserspaceHostOptions } from '../node/userspace-host.ts';
import { Address } from '../wire/address.ts';

export interface HostOptions extends Omit<UserspaceHostOptions, 'onLingering' | 'onAnnounced'> {
  /**
   * The host's way to itself, with 127.0.0.0/8 and ::1: programs listen and connect on localhost, and reach the host's
   * own addresses. Default true.
   */
  readonly loopback?: boolean;
}

/**
 * Bytes of the largest packet of a host to itself. Some fit into the first receive window, so that acknowledgments
 * need not wait for the delayed-ACK timer; larger packets go out as one all the same, by segmentation offload.
 */
const LOOPBACK_MTU = 16_384;
/** Milliseconds that a process waits for the peers of connections it has closed, when nothing of them is unacknowledged. */
const LINGER_IDLE = 1000;
/** And when something is. */
const LINGER_MOST = 60_000;

/**
 * A host of this package's stack, for the sockets and servers of this process. It keeps the process alive while one of
 * them does, and until what they wrote is delivered; not by itself.
 */
export class Host {
  readonly userspace: UserspaceHost;
  /** What uses the host now and is not unref'ed. */
  private holders = 0;
  private isHeld = true;
  private isClosed = false;
  private lingerTimer: NodeJS.Timeout | undefined;
  private readonly watches = new WeakMap<PathCommands, (address: PeerAddress) => void>();
  private readonly closers = new Set<() => void>();

  /** @throws SystemError as `TunDevice.open` */
  constructor(options: HostOptions = {}) {
    const { loopback = true, paths = [], ...rest } = options;
    this.userspace = UserspaceHost.open({
      ...rest,
      onLingering: () => this.updateLinger(),
      // The stack is told at once and calls nobody; programs hear of it on a turn of their own.
      onAnnounced: (connection, address) => {
        setImmediate(() => this.watches.get(connection)?.(address));
      },
    });
    try {
      if (loopback) this.userspace.addPath(loopbackPath());
      for (const path of paths) this.userspace.addPath(path);
    } catch (error) {
      this.userspace.close();
      throw error;
    }
    this.update();
  }

  /** Names of its paths, `lo` among them. */
  get paths(): readonly string[] {
    return this.userspace.pathNames;
  }

  /** Adds a path while connections live: they may use it at once. @throws SystemError as `TunDevice.open` */
  addPath(path: HostPath): void {
    this.userspace.addPath(path);
    if (!this.isHeld) this.userspace.unref();
  }

  /** Gives a path up: peers are told that its addresses are gone. False when there is none of that name. */
  removePath(name: string): boolean {
    return this.userspace.removePath(name);
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** Sockets and servers that are open are closed without a word to their peers. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.lingerTimer);
    for (const closer of [...this.closers]) closer();
    this.userspace.close();
  }

  /** Waits until what was written is delivered, two seconds at most, and closes the host. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isClosed) return;
    await this.userspace.settle(2000);
    this.close();
  }

  /** For sockets and servers: one more keeps the process alive. */
  hold(): void {
    this.holders++;
    this.update();
  }

  /** For sockets and servers: one less. */
  free(): void {
    this.holders--;
    this.update();
  }

  /** For sockets: hears of the addresses that the peer of `connection` announces. */
  watchAddresses(connection: PathCommands, listener: (address: PeerAddress) => void): void {
    this.watches.set(connection, listener);
  }

  /** For sockets and servers: called when the host is closed; returns what takes it back. */
  onClose(closer: () => void): () => void {
    this.closers.add(closer);
    return () => this.closers.delete(closer);
  }

  private update(): void {
    const isHeld = this.holders > 0 || this.lingerTimer !== undefined;
    if (isHeld === this.isHeld || this.isClosed) return;
    this.isHeld = isHeld;
    if (isHeld) this.userspace.ref();
    else this.userspace.unref();
  }

  /** A kernel delivers what closed sockets wrote when their process is gone; this host must stay for it. */
  private updateLinger(): void {
    clearTimeout(this.lingerTimer);
    this.lingerTimer = undefined;
    const { streams } = this.userspace;
    if (streams.lingeringCount > 0 && !this.isClosed) this.awaitPeers(performance.now());
    this.update();
  }

  private awaitPeers(from: number): void {
    this.lingerTimer = setTimeout(() => {
      const isDelivered = this.userspace.streams.lingeringBytes <= 0;
      this.lingerTimer = undefined;
      if (!isDelivered && performance.now() - from < LINGER_MOST) this.awaitPeers(from);
      this.update();
    }, LINGER_IDLE);
    // The host's own devices and alarms keep the process alive meanwhile.
    this.lingerTimer.unref();
  }
}

/** A host over TUN devices, or over whatever its paths' `io` says. @throws SystemError as `TunDevice.open` */
export function createHost(options: HostOptions = {}): Host {
  return new Host(options);
}

/** One network between two emulated hosts. */
export interface EmulatedLink extends PathOptions {
  /** Addresses of the two hosts on it, IPv4 or IPv6. Default 10.0.N.1 and 10.0.N.2, N counting from 1. */
  readonly addresses?: readonly [string, string];
  /** Bits of their prefix. Default 24, or 64 for IPv6. */
  readonly prefixLength?: number;
  /**
   * What the first host's path manager does with its address. Default: a source of subflows, except on the first link,
   * where connections begin.
   */
  readonly endpoint?: PathEndpoint | false;
}

export interface EmulateOptions {
  /** For both hosts. */
  readonly host?: Omit<HostOptions, 'paths'>;
  /** What differs for the first, and for the second. */
  readonly first?: Omit<HostOptions, 'paths'>;
  readonly second?: Omit<HostOptions, 'paths'>;
}

/** Two hosts of this process, and the networks between them. */
export interface Emulation {
  readonly first: Host;
  readonly second: Host;
  /** In the order of the links; they may be slowed, taken down and up (`Path`). */
  readonly links: readonly Path[];
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Two hosts in this process with networks between them, in real time, without a device or a privilege: for tests and for
 * trying things out.
 *
 * @param links one for each network; by default a single one of no delay
 * @throws RangeError for addresses, rates, delays or losses that cannot be
 */
export function emulate(links: readonly EmulatedLink[] = [{}], options: EmulateOptions = {}): Emulation {
  const random = new Entropy();
  const sides: [HostPath[], HostPath[]] = [[], []];
  const made: Path[] = [];
  for (const [index, link] of links.entries()) {
    const { addresses = [`10.0.${index + 1}.1`, `10.0.${index + 1}.2`], endpoint, prefixLength, ...rest } = link;
    const name = link.name ?? `net${index + 1}`;
    const path = new Path({ ...rest, name }, () => random);
    made.push(path);
    const ends = emulatedPair(path.aToB, path.bToA, {
      names: [name, name],
      checksumOffload: link.corrupt === undefined,
      segmentationOffload: true,
      ...(link.mtu === undefined ? {} : { mtu: link.mtu }),
    });
    for (const side of [0, 1] as const) {
      const address = Address.of(addresses[side]);
      const own = endpoint ?? (index === 0 ? false : { subflow: true });
      sides[side].push({
        name,
        addresses: [{ address, prefixLength: prefixLength ?? (address.family === 4 ? 24 : 64) }],
        io: ends[side],
        ...(side === 0 && own !== false ? { endpoint: own } : {}),
      });
    }
  }
  const first = new Host({ ...options.host, ...options.first, paths: sides[0] });
  const second = new Host({ ...options.host, ...options.second, paths: sides[1] });
  return {
    first,
    second,
    links: made,
    close() {
      first.close();
      second.close();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([first.userspace.settle(2000), second.userspace.settle(2000)]);
      this.close();
    },
  };
}

/** Packets that a host writes to it, it reads again. */
function loopbackPath(): HostPath {
  const pipe = new Pipe();
  const io = new EmulatedIo('lo', pipe, pipe, {
    mtu: LOOPBACK_MTU,
    segmentationOffload: true,
    checksumOffload: true,
  });
  io.connect(io);
  return {
    name: 'lo',
    addresses: [
      { address: Address.of('127.0.0.1'), prefixLength: 8 },
      { address: Address.of('::1'), prefixLength: 128 },
    ],
    io,
    loopback: true,
  };
}

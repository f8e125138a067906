import { type Capture, CaptureDirection } from '../link/capture.ts';
import type { MptcpConfig } from '../mptcp/config.ts';
import type { PathCommands, PeerAddress } from '../mptcp/seams.ts';
import { EndpointPathManager, type EndpointRequest } from '../policy/path-manager/endpoints.ts';
import { Sockets } from '../sockets/sockets.ts';
import type { StackOptions } from '../stack/config.ts';
import type { Connection } from '../stack/connection.ts';
import type { InterfaceAddress, RouteConfig } from '../stack/seams.ts';
import { Stack } from '../stack/stack.ts';
import type { TcpConfig } from '../tcp/config.ts';
import { Driver, type DriverCounters, type DriverOptions } from './driver.ts';
import { Entropy } from './entropy.ts';
import type { PacketIo } from './packet-io.ts';
import {
  type ConnectRequest,
  type ListenRequest,
  type Stream,
  type StreamHandler,
  type StreamListener,
  Streams,
} from './stream.ts';
import { TunDevice } from './tun.ts';

/** What the path manager should do with a path's addresses; nothing unless given. */
export type PathEndpoint = Omit<EndpointRequest, 'address' | 'id'>;

/** One way out of a host: an interface with addresses, and what its packets go through. */
export interface HostPath {
  /** Of the interface; of the TUN device too, when one is made. */
  readonly name: string;
  /** The host's own. */
  readonly addresses: readonly InterfaceAddress[];
  /** What packets go through. A TUN device of that name unless given. The host closes it in the end. */
  readonly io?: PacketIo;
  /** For a TUN device: the kernel's addresses on it, as `10.0.0.1/24`. Without any the device is taken as it is. */
  readonly kernelAddresses?: readonly string[];
  /** For a TUN device: bytes. Default 1500, or what an existing device has. */
  readonly mtu?: number;
  /** For a TUN device: packets of up to 64 KB. Default true. */
  readonly offload?: boolean;
  /** For a TUN device: the network namespace it is made in. */
  readonly namespace?: string;
  /** The host's way to itself: no other path is used for its own addresses. */
  readonly loopback?: boolean;
  /** What the path manager does with the addresses. */
  readonly endpoint?: PathEndpoint;
  /** Destinations behind the path, beyond its own prefix; any, when there are none. */
  readonly routes?: readonly RouteConfig[];
}

export interface UserspaceHostOptions extends Pick<DriverOptions, 'clock'> {
  readonly paths?: readonly HostPath[];
  /** Sees every packet, an interface block for each path. */
  readonly capture?: Capture;
  readonly tcp?: Partial<TcpConfig>;
  readonly mptcp?: Partial<MptcpConfig>;
  /** DSS checksums. Default false. */
  readonly checksums?: boolean;
  /** Subflows that a connection may have beyond its first. Default 8. */
  readonly subflows?: number;
  /** Addresses that the peer announces and that may be used. Default 8. */
  readonly addAddrAccepted?: number;
  readonly scheduler?: StackOptions['scheduler'];
  /** Default: of the operating system. */
  readonly random?: StackOptions['random'];
  /** A path's device went down or away, or came back. */
  readonly onPathState?: (name: string, isUp: boolean) => void;
  /** A peer announced an address. Called from within the stack: no command may be given here. */
  readonly onAnnounced?: (connection: PathCommands, announced: PeerAddress) => void;
  /** How many connections still deliver after their streams were closed; called when that changes. */
  readonly onLingering?: (count: number) => void;
}

/**
 * A whole host of this stack in real time, for programs in this process: a `Stack` with sockets and endpoints, on TUN
 * devices or any other `PacketIo`, run by a `Driver`. It keeps the process alive until `close`.
 */
export class UserspaceHost {
  readonly stack: Stack;
  readonly sockets: Sockets;
  readonly endpoints: EndpointPathManager;
  readonly streams: Streams;
  private readonly driver: Driver;
  private readonly capture: Capture | undefined;
  private readonly paths = new Map<string, OpenPath>();
  private readonly byInterface: (OpenPath | undefined)[] = [];
  /** The driver takes a turn after the callbacks of its delivery anyway. */
  private isDelivering = false;
  private readonly onSettled: (count: number) => void;
  private isClosed = false;

  /**
   * @throws SystemError as `TunDevice.open`
   * @throws EndpointError, RangeError for limits and endpoints that cannot be
   */
  static open(options: UserspaceHostOptions = {}): UserspaceHost {
    const host = new UserspaceHost(options);
    try {
      for (const path of options.paths ?? []) host.addPath(path);
      return host;
    } catch (error) {
      host.close();
      throw error;
    }
  }

  private constructor(options: UserspaceHostOptions) {
    this.capture = options.capture;
    this.endpoints = new HostPathManager(options.onAnnounced ?? (() => {}));
    this.endpoints.setLimits(options.subflows ?? 8, options.addAddrAccepted ?? 8);
    this.stack = new Stack({
      random: options.random ?? new Entropy(),
      pathManager: this.endpoints,
      tcp: options.tcp ?? {},
      mptcp: { ...options.mptcp, ...(options.checksums === undefined ? {} : { checksums: options.checksums }) },
      ...(options.scheduler === undefined ? {} : { scheduler: options.scheduler }),
    });
    this.sockets = new Sockets(this.stack);
    const { onPathState } = options;
    this.driver = new Driver(this.stack, {
      mergesSegments: true,
      onReady: (descriptor) => this.onReady(descriptor),
      onInterfaceState: (id, isUp) => {
        this.stack.setInterfaceUp(this.now(), id, isUp);
        const name = this.byInterface[id]?.name;
        if (name !== undefined) onPathState?.(name, isUp);
      },
      ...(this.capture === undefined
        ? {}
        : { tap: (id, direction, packet, now) => this.onTapped(id, direction, packet, now) }),
      ...(options.clock === undefined ? {} : { clock: options.clock }),
    });
    this.streams = new Streams(
      this.sockets,
      () => this.driver.now(),
      () => this.wake(),
      () => this.onLingering(),
    );
    this.onSettled = options.onLingering ?? (() => {});
  }

  /** The instant for commands to `stack`, `sockets` and `endpoints`. Milliseconds. */
  now(): number {
    return this.driver.now();
  }

  /** To be called after commands to `stack`, `sockets` or `endpoints`; `streams` and this class do it themselves. */
  wake(): void {
    if (!this.isDelivering) this.driver.wake();
  }

  /**
   * Adds an interface and what it goes through, while connections live as well: they may use it at once.
   * @throws SystemError as `TunDevice.open`
   */
  addPath(path: HostPath): void {
    if (this.paths.has(path.name)) throw new RangeError(`there is a path ${path.name} already`);
    const io = path.io ?? openTun(path);
    const now = this.now();
    const opened = new OpenPath(path.name, io, this.capture?.addInterface(path.name, describe(path)) ?? -1);
    if (now > this.stack.now) this.stack.now = now;
    const endpointIds = opened.endpointIds;
    const id = this.stack.addInterface({
      name: path.name,
      mtu: io.mtu,
      addresses: path.addresses,
      segmentationOffload: io.segmentationOffload,
      checksumOffload: io.checksumOffload,
      ...(path.loopback === undefined ? {} : { loopback: path.loopback }),
      ...(path.routes === undefined ? {} : { routes: path.routes }),
    });
    opened.interfaceId = id;
    this.paths.set(path.name, opened);
    this.byInterface[id] = opened;
    this.driver.attach(id, io);
    if (path.endpoint !== undefined) {
      for (const { address } of path.addresses) {
        endpointIds.push(this.endpoints.add(now, { ...path.endpoint, address }).id);
      }
    }
    this.stack.touchAll();
    this.wake();
  }

  /** Gives a path up: peers are told that its addresses are gone, its device is closed. False when there is none. */
  removePath(name: string): boolean {
    const path = this.paths.get(name);
    if (path === undefined) return false;
    this.paths.delete(name);
    this.byInterface[path.interfaceId] = undefined;
    const now = this.now();
    for (const id of path.endpointIds) this.endpoints.remove(now, id);
    this.driver.detach(path.interfaceId)?.close();
    this.stack.removeInterface(now, path.interfaceId);
    this.wake();
    return true;
  }

  /** Whether the host keeps the process alive; it does until `unref`. */
  ref(): void {
    this.driver.ref();
  }

  unref(): void {
    this.driver.unref();
  }

  /** Names of the paths. */
  get pathNames(): readonly string[] {
    return [...this.paths.keys()];
  }

  /** What packets of a path go through. */
  pathIo(name: string): PacketIo | undefined {
    return this.paths.get(name)?.io;
  }

  /**
   * Connects. The handler's `onConnect` or `onClose` tells the outcome.
   * @throws SystemError ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE
   */
  connect(request: ConnectRequest, handler: StreamHandler): Stream {
    return this.streams.connect(request, handler);
  }

  /** @throws SystemError EADDRINUSE, EADDRNOTAVAIL */
  listen(request: ListenRequest, onStream: (stream: Stream) => StreamHandler): StreamListener {
    return this.streams.listen(request, onStream);
  }

  /** What the driver did. */
  get driverCounters(): DriverCounters {
    return this.driver.counters;
  }

  /** Connections that are not over: neither in TIME-WAIT nor gone. */
  get liveConnections(): number {
    let count = 0;
    for (const connection of this.stack.connections()) if (isAlive(connection)) count++;
    return count;
  }

  /**
   * Resolves when every connection is over, so that nothing written gets lost with the process.
   * @param timeout milliseconds to wait at most @returns whether all were over in time
   */
  async settle(timeout: number): Promise<boolean> {
    const until = performance.now() + timeout;
    while (this.liveConnections > 0) {
      if (performance.now() >= until || this.isClosed) return false;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return true;
  }

  /** Sends what waits, then closes the devices. Connections that still live are not told: see `settle`. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.driver.close();
    this.paths.clear();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private onLingering(): void {
    this.onSettled(this.streams.lingeringCount);
  }

  private onReady(descriptor: number): void {
    this.isDelivering = true;
    try {
      this.streams.onReady(descriptor);
    } finally {
      this.isDelivering = false;
    }
  }

  private onTapped(
    id: number,
    direction: 'received' | 'sent',
    packet: Parameters<Capture['write']>[2],
    now: number,
  ): void {
    const path = this.byInterface[id];
    if (path === undefined || path.captureNumber < 0) return;
    const way = direction === 'sent' ? CaptureDirection.Outbound : CaptureDirection.Inbound;
    this.capture!.write(now, path.captureNumber, packet, way);
  }
}

/** The path manager of a host, which tells what it hears. */
class HostPathManager extends EndpointPathManager {
  private readonly tell: (connection: PathCommands, announced: PeerAddress) => void;

  constructor(tell: (connection: PathCommands, announced: PeerAddress) => void) {
    super();
    this.tell = tell;
  }

  override onAnnounced(now: number, connection: PathCommands, announced: PeerAddress): void {
    super.onAnnounced(now, connection, announced);
    this.tell(connection, announced);
  }
}

/** A path that is in use. */
class OpenPath {
  readonly name: string;
  readonly io: PacketIo;
  /** Number of its interface block; -1 without a capture. */
  readonly captureNumber: number;
  readonly endpointIds: number[] = [];
  interfaceId = -1;

  constructor(name: string, io: PacketIo, captureNumber: number) {
    this.name = name;
    this.io = io;
    this.captureNumber = captureNumber;
  }
}

function openTun(path: HostPath): TunDevice {
  return TunDevice.open({
    name: path.name,
    addresses: path.kernelAddresses ?? [],
    ...(path.mtu === undefined ? {} : { mtu: path.mtu }),
    ...(path.offload === undefined ? {} : { offload: path.offload, vnetHeader: true }),
    ...(path.namespace === undefined ? {} : { namespace: path.namespace }),
  });
}

function describe(path: HostPath): string {
  return path.addresses.map(({ address, prefixLength }) => `${address}/${prefixLength}`).join(' ');
}

function isAlive(connection: Connection): boolean {
  const { mptcp } = connection;
  // A multipath connection may be over while its subflows still exchange their FINs.
  return !connection.closed || (mptcp !== null && !mptcp.isFinished);
}

import type net from 'node:net';
import { counterChanges, readKernelCounters } from '../kernel/counters.ts';
import type { TcpInfo } from '../kernel/socket-info.ts';
import {
  abort,
  connectKernel,
  listenKernel,
  mptcpInfo,
  subflowAddresses,
  subflowTcpInfo,
  tcpInfo,
} from '../kernel/sockets.ts';
import { endpointText, type Stream, type StreamHandler } from '../node/stream.ts';
import type { Address } from '../wire/address.ts';
import { counterList } from './counter-list.ts';
import { CommandError } from './failure.ts';
import type { CommandHost } from './host-options.ts';
import { type PathFigures, PathLedger, withPort } from './path-figures.ts';
import { formatMilliseconds } from './units.ts';

/** The stacks that `mptcp perf` can measure, as it sees them: ours, and the kernel's. */

/** What a connection tells its user. */
export interface PerfListener {
  /** Bytes that are good during the call. */
  onData(bytes: Uint8Array): void;
  /** There is room again after `send` took less than it was given. */
  onRoom(): void;
  onEnd(): void;
  /** Over; the last call. */
  onClose(error: Error | undefined): void;
}

export interface PerfConnection {
  readonly local: string;
  readonly peer: string;
  /** To be set at once, before anything else happens. */
  listener: PerfListener;
  /** Takes up to `length` bytes, which never change, and returns how many. */
  send(bytes: Uint8Array, start: number, length: number): number;
  /** Finishes our direction. */
  end(): void;
  abort(): void;
  /** Reads the figures of its subflows; they are kept when the connection is over. */
  look(): ConnectionFigures;
}

export interface ConnectionFigures {
  readonly multipath: boolean;
  /** Why it is plain TCP, where that is known. */
  readonly fallback: string | undefined;
  readonly paths: readonly PathFigures[];
}

export interface PerfBackend {
  readonly name: 'userspace' | 'kernel';
  connect(address: Address, port: number): Promise<PerfConnection>;
  /** @returns the port */
  listen(
    address: Address | undefined,
    port: number,
    onConnection: (connection: PerfConnection) => void,
  ): Promise<number>;
  /** Counters by nstat's names, since the beginning. */
  counters(): Record<string, number>;
  /** @returns what went wrong in the end */
  close(): Promise<string | undefined>;
}

const SILENT: PerfListener = { onData() {}, onRoom() {}, onEnd() {}, onClose() {} };

/** Milliseconds that a handshake may take. */
const CONNECT_TIMEOUT = 10_000;
/** Milliseconds that the last FINs may take. */
const LINGER = 2000;

export class UserspaceBackend implements PerfBackend {
  readonly name = 'userspace';
  private readonly opened: CommandHost;
  private readonly multipath: boolean;

  constructor(opened: CommandHost, multipath: boolean) {
    this.opened = opened;
    this.multipath = multipath;
  }

  connect(address: Address, port: number): Promise<PerfConnection> {
    return new Promise((resolve, reject) => {
      const name = endpointText(address, port);
      const handler: StreamHandler = {
        onConnect: (connected) => {
          clearTimeout(timer);
          resolve(new UserspaceConnection(connected, this.opened, this.multipath));
        },
        onClose: (error) => {
          clearTimeout(timer);
          reject(error ?? new CommandError(`${name}: closed while connecting`));
        },
      };
      const stream = this.opened.host.connect({ address, port, multipath: this.multipath }, handler);
      const timer = setTimeout(() => {
        stream.handler = {};
        stream.abort();
        reject(new CommandError(`${name}: no answer within ${formatMilliseconds(CONNECT_TIMEOUT)}`));
      }, CONNECT_TIMEOUT);
    });
  }

  async listen(
    address: Address | undefined,
    port: number,
    onConnection: (connection: PerfConnection) => void,
  ): Promise<number> {
    const listener = this.opened.host.listen(
      { port, multipath: this.multipath, ...(address === undefined ? {} : { address }) },
      (stream) => {
        const connection = new UserspaceConnection(stream, this.opened, this.multipath);
        onConnection(connection);
        return stream.handler;
      },
    );
    return listener.port;
  }

  counters(): Record<string, number> {
    return counterList(this.opened.host.stack);
  }

  async close(): Promise<string | undefined> {
    await this.opened.host.settle(LINGER);
    return this.opened.close();
  }
}

class UserspaceConnection implements PerfConnection {
  readonly local: string;
  readonly peer: string;
  listener: PerfListener = SILENT;
  private readonly stream: Stream;
  private readonly ledger: PathLedger;
  private readonly wantsMultipath: boolean;

  constructor(stream: Stream, opened: CommandHost, wantsMultipath: boolean) {
    this.stream = stream;
    this.wantsMultipath = wantsMultipath;
    this.ledger = new PathLedger((address) => opened.pathOf(address));
    const { localEndpoint: local, peerEndpoint: peer } = stream;
    this.local = local === undefined ? '' : endpointText(local.address, local.port);
    this.peer = peer === undefined ? '' : endpointText(peer.address, peer.port);
    stream.handler = {
      onData: (bytes) => {
        this.listener.onData(bytes);
        return bytes.length;
      },
      onDrain: () => this.listener.onRoom(),
      onEnd: () => this.listener.onEnd(),
      onClose: (error) => this.listener.onClose(error),
    };
  }

  send(bytes: Uint8Array, start: number, length: number): number {
    return this.stream.send(bytes, start, length);
  }

  end(): void {
    this.stream.end();
  }

  abort(): void {
    this.stream.abort();
  }

  look(): ConnectionFigures {
    const info = this.stream.info();
    this.ledger.update(info);
    const fallback = this.wantsMultipath ? info?.fallback : undefined;
    return { multipath: info?.multipath ?? false, fallback, paths: this.ledger.figures };
  }
}

export class KernelBackend implements PerfBackend {
  readonly name = 'kernel';
  private readonly protocol: 'mptcp' | 'tcp';
  private server: net.Server | undefined;
  private readonly before = readKernelCounters();

  constructor(multipath: boolean) {
    this.protocol = multipath ? 'mptcp' : 'tcp';
  }

  async connect(address: Address, port: number): Promise<PerfConnection> {
    const host = address.toString();
    const socket = await connectKernel({
      host,
      port,
      protocol: this.protocol,
      allowHalfOpen: true,
      signal: AbortSignal.timeout(CONNECT_TIMEOUT),
    }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ABORT_ERR') throw error;
      throw new CommandError(`${endpointText(address, port)}: no answer within ${formatMilliseconds(CONNECT_TIMEOUT)}`);
    });
    return new KernelConnection(socket);
  }

  async listen(
    address: Address | undefined,
    port: number,
    onConnection: (connection: PerfConnection) => void,
  ): Promise<number> {
    const options = {
      port,
      protocol: this.protocol,
      allowHalfOpen: true,
      onConnection: (socket: net.Socket) => onConnection(new KernelConnection(socket)),
    };
    const hosts = address === undefined ? ['::', '0.0.0.0'] : [address.toString()];
    let failure: unknown;
    for (const host of hosts) {
      try {
        this.server = await listenKernel({ ...options, host, family: host.includes(':') ? 6 : 4 });
        return (this.server.address() as net.AddressInfo).port;
      } catch (error) {
        failure = error;
        // A kernel without IPv6 has no "::".
        if ((error as NodeJS.ErrnoException).code !== 'EAFNOSUPPORT') break;
      }
    }
    throw failure;
  }

  counters(): Record<string, number> {
    return Object.fromEntries(counterChanges(this.before, readKernelCounters()));
  }

  async close(): Promise<string | undefined> {
    this.server?.close();
    return undefined;
  }
}

/** Bytes that Node may keep of what the kernel has not taken. */
const HIGH_WATER = 524_288;
/** Bytes that one connection may send before others, timers and input get their turn. */
const TURN_BYTES = 1_048_576;

class KernelConnection implements PerfConnection {
  readonly local: string;
  readonly peer: string;
  listener: PerfListener = SILENT;
  private readonly socket: net.Socket;
  private figures: ConnectionFigures = { multipath: false, fallback: undefined, paths: [] };
  private readonly byTuple = new Map<string, PathFigures>();
  private error: Error | undefined;
  /** Bytes taken since the event loop had its turn. */
  private taken = 0;

  constructor(socket: net.Socket) {
    this.socket = socket;
    this.local = withPort(plain(socket.localAddress), socket.localPort ?? 0);
    this.peer = withPort(plain(socket.remoteAddress), socket.remotePort ?? 0);
    socket.on('data', (bytes) => this.listener.onData(bytes));
    socket.on('drain', () => this.listener.onRoom());
    socket.on('end', () => {
      this.look();
      this.listener.onEnd();
    });
    socket.on('error', (error) => {
      this.error = error;
    });
    socket.on('close', () => this.listener.onClose(this.error));
  }

  send(bytes: Uint8Array, start: number, length: number): number {
    const { socket } = this;
    if (socket.writableLength >= HIGH_WATER || !socket.writable) return 0;
    if (this.taken >= TURN_BYTES) {
      // A peer that reads as fast as we write would keep this loop, and all else waiting, for ever.
      if (this.taken !== Number.POSITIVE_INFINITY) setImmediate(() => this.onTurn());
      this.taken = Number.POSITIVE_INFINITY;
      return 0;
    }
    this.taken += length;
    socket.write(start === 0 && length === bytes.length ? bytes : bytes.subarray(start, start + length));
    return length;
  }

  private onTurn(): void {
    this.taken = 0;
    if (!this.socket.destroyed) this.listener.onRoom();
  }

  end(): void {
    this.look();
    this.socket.end();
  }

  abort(): void {
    if (!this.socket.destroyed) abort(this.socket);
  }

  look(): ConnectionFigures {
    try {
      this.figures = this.read();
    } catch {
      // The descriptor has gone already: what was known last stands.
    }
    return this.figures;
  }

  private read(): ConnectionFigures {
    const { socket } = this;
    const isMultipath = mptcpInfo(socket) !== undefined;
    if (isMultipath) {
      const addresses = subflowAddresses(socket);
      for (const [index, info] of subflowTcpInfo(socket).entries()) {
        const pair = addresses[index];
        if (pair === undefined) continue;
        const local = withPort(plain(pair.local.address), pair.local.port);
        this.put(plain(pair.local.address), local, withPort(plain(pair.peer.address), pair.peer.port), info);
      }
    } else {
      this.put(plain(socket.localAddress), this.local, this.peer, tcpInfo(socket));
    }
    return { multipath: isMultipath, fallback: undefined, paths: [...this.byTuple.values()] };
  }

  private put(name: string, local: string, peer: string, info: TcpInfo): void {
    this.byTuple.set(`${local} ${peer}`, {
      name,
      local,
      peer,
      backup: false,
      state: info.state === ESTABLISHED ? 'established' : 'closing',
      sent: (info.bytesSent ?? Number.NaN) - (info.bytesRetransmitted ?? 0),
      received: info.bytesReceived ?? Number.NaN,
      roundTrip: info.roundTripTime,
      congestionWindow: info.congestionWindow * info.sentMss,
      retransmitted: info.bytesRetransmitted ?? Number.NaN,
    });
  }
}

const ESTABLISHED = 1;

/** `10.0.0.1` for `::ffff:10.0.0.1`. */
function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}

import { createHash, type Hash } from 'node:crypto';
import type net from 'node:net';
import { readKernelCounters } from '../../../src/kernel/counters.ts';
import {
  type AddEndpointOptions,
  addEndpoint,
  changeEndpoint,
  type KernelLimits,
  removeEndpoint,
  setLimits,
} from '../../../src/kernel/endpoints.ts';
import {
  abort,
  congestionControl,
  connectKernel,
  type KernelConnectOptions,
  type KernelListenOptions,
  listenKernel,
  mptcpInfo,
  setLinger,
  subflowAddresses,
  subflowTcpInfo,
  tcpInfo,
} from '../../../src/kernel/sockets.ts';
import { serve, tell } from './child.ts';
import { Pattern } from './pattern.ts';

/**
 * A program on the kernel's MPTCP or TCP that a test tells what to do: run inside a namespace, called through
 * `Child.call` with the methods below. Connections and listeners are known by numbers.
 */

/** What a connection does by itself. */
export interface Behaviour {
  /** `sink` hashes what comes; `echo` sends it back; `discard` only counts. Default `sink`. */
  readonly mode?: 'sink' | 'echo' | 'discard';
  /** Send this many bytes of the pattern at once. */
  readonly bytes?: number;
  readonly seed?: number;
  /** Half-close after `bytes`, or after echoing all. Default true. */
  readonly end?: boolean;
  /** Do not read until `resume`. */
  readonly paused?: boolean;
}

export interface PeerResult {
  readonly connection: number;
  readonly received: number;
  readonly sent: number;
  /** Of what was received; empty in mode `discard`. */
  readonly sha256: string;
  /** The peer has half-closed. */
  readonly ended: boolean;
  readonly closed: boolean;
  /** `code` of the error, empty when there was none. */
  readonly error: string;
  /** Milliseconds from the first to the last byte received. */
  readonly elapsed: number;
  /** The longest wait for data, in milliseconds, since `mark`, or since the first byte. */
  readonly longestGap: number;
}

class Connection {
  readonly id: number;
  readonly socket: net.Socket;
  private readonly behaviour: Behaviour;
  private readonly hash: Hash | undefined;
  received = 0;
  sent = 0;
  ended = false;
  closed = false;
  error = '';
  private firstAt = 0;
  private lastAt = 0;
  private markedAt = 0;
  private longestGap = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(id: number, socket: net.Socket, behaviour: Behaviour) {
    this.id = id;
    this.socket = socket;
    this.behaviour = behaviour;
    this.hash = behaviour.mode === 'discard' ? undefined : createHash('sha256');
    socket.on('data', (data) => this.onData(data));
    socket.on('end', () => {
      this.ended = true;
      if (behaviour.mode === 'echo' && behaviour.end !== false) socket.end();
      this.changed();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.error = error.code ?? error.message;
      this.changed();
    });
    socket.on('close', () => {
      this.closed = true;
      this.changed();
    });
    if (behaviour.paused === true) socket.pause();
    if (behaviour.bytes !== undefined) {
      void this.source(behaviour.seed ?? 1, behaviour.bytes, behaviour.end !== false).catch(() => {});
    }
  }

  private onData(data: Buffer): void {
    const now = performance.now();
    if (this.received === 0) this.firstAt = now;
    else this.longestGap = Math.max(this.longestGap, now - Math.max(this.lastAt, this.markedAt));
    this.lastAt = now;
    this.received += data.length;
    this.hash?.update(data);
    if (this.behaviour.mode === 'echo') {
      this.sent += data.length;
      if (!this.socket.write(data)) {
        this.socket.pause();
        this.socket.once('drain', () => this.socket.resume());
      }
    }
    this.changed();
  }

  /** Sends bytes of the pattern, as fast as the connection takes them. */
  async source(seed: number, bytes: number, end: boolean): Promise<void> {
    const pattern = new Pattern(seed);
    const first = this.sent;
    while (this.sent - first < bytes && !this.closed) {
      const piece = Buffer.allocUnsafe(Math.min(65_536, bytes - (this.sent - first)));
      pattern.fill(piece, this.sent);
      this.sent += piece.length;
      if (!this.socket.write(piece))
        await this.until(() => this.socket.writableLength < 65_536 || this.closed, 'drain');
    }
    if (end && !this.closed) this.socket.end();
  }

  /** Resolves when `condition` holds; looks again at each event. */
  until(condition: () => boolean, event?: 'drain'): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (condition()) resolve();
        else this.waiting.push(check);
      };
      if (event !== undefined) this.socket.once(event, () => this.changed());
      check();
    });
  }

  /** Gaps are measured from now on. */
  mark(): void {
    this.markedAt = performance.now();
    this.longestGap = 0;
  }

  private changed(): void {
    for (const check of this.waiting.splice(0)) check();
  }

  result(): PeerResult {
    return {
      connection: this.id,
      received: this.received,
      sent: this.sent,
      sha256: this.hash?.copy().digest('hex') ?? '',
      ended: this.ended,
      closed: this.closed,
      error: this.error,
      elapsed: this.lastAt - this.firstAt,
      longestGap: this.longestGap,
    };
  }
}

const connections = new Map<number, Connection>();
const listeners = new Map<number, net.Server>();
let nextId = 1;

function adopt(socket: net.Socket, behaviour: Behaviour): Connection {
  const connection = new Connection(nextId++, socket, behaviour);
  connections.set(connection.id, connection);
  return connection;
}

function find(id: number): Connection {
  const connection = connections.get(id);
  if (connection === undefined) throw new RangeError(`no connection ${id}`);
  return connection;
}

serve(
  {
    /** Listens; each accepted connection is told as the event `connection`. */
    async listen(options: KernelListenOptions & Behaviour) {
      const id = nextId++;
      const server = await listenKernel({
        ...options,
        allowHalfOpen: true,
        pauseOnConnect: options.paused ?? false,
        onConnection: (socket) => {
          const connection = adopt(socket, options);
          tell('connection', {
            listener: id,
            connection: connection.id,
            remoteAddress: socket.remoteAddress,
            remotePort: socket.remotePort,
          });
        },
      });
      listeners.set(id, server);
      const address = server.address() as net.AddressInfo;
      return { listener: id, address: address.address, port: address.port };
    },
    unlisten({ listener }: { listener: number }) {
      listeners.get(listener)?.close();
      listeners.delete(listener);
    },
    async connect(options: KernelConnectOptions & Behaviour) {
      const socket = await connectKernel({ ...options, allowHalfOpen: true });
      return { connection: adopt(socket, options).id, localAddress: socket.localAddress, localPort: socket.localPort };
    },
    /** Resolves when the bytes have been given to the kernel. */
    async source({ connection, seed, bytes, end }: { connection: number; seed: number; bytes: number; end?: boolean }) {
      await find(connection).source(seed, bytes, end ?? true);
    },
    /** Half-closes. */
    end({ connection }: { connection: number }) {
      find(connection).socket.end();
    },
    /** Resets: SO_LINGER of 0 seconds. */
    reset({ connection }: { connection: number }) {
      abort(find(connection).socket);
    },
    destroy({ connection }: { connection: number }) {
      find(connection).socket.destroy();
    },
    linger({ connection, seconds }: { connection: number; seconds?: number }) {
      setLinger(find(connection).socket, seconds);
    },
    pause({ connection }: { connection: number }) {
      find(connection).socket.pause();
    },
    resume({ connection }: { connection: number }) {
      find(connection).socket.resume();
    },
    mark({ connection }: { connection: number }) {
      find(connection).mark();
    },
    /** Waits until the peer has half-closed, everything is closed, or this many bytes have come; then the result. */
    async wait({ connection, until, bytes }: { connection: number; until: 'end' | 'close' | 'bytes'; bytes?: number }) {
      const found = find(connection);
      await found.until(() => {
        if (found.closed || found.error !== '') return true;
        if (until === 'end') return found.ended;
        return until === 'bytes' && found.received >= (bytes ?? 1);
      });
      return found.result();
    },
    result({ connection }: { connection: number }) {
      return find(connection).result();
    },
    info({ connection }: { connection: number }) {
      const { socket } = find(connection);
      return {
        mptcp: mptcpInfo(socket) ?? null,
        tcp: tcpInfo(socket),
        congestionControl: congestionControl(socket),
        subflows: subflowAddresses(socket),
        subflowTcp: subflowTcpInfo(socket),
      };
    },
    /** What every connection that is open did so far, for a reader of a failure. */
    connections() {
      return [...connections.values()].filter(({ closed }) => !closed).map((connection) => connection.result());
    },
    counters() {
      return Object.fromEntries(readKernelCounters());
    },
    addEndpoint(options: AddEndpointOptions) {
      addEndpoint(options);
    },
    removeEndpoint({ id, address }: { id: number; address?: string }) {
      removeEndpoint(id, address);
    },
    setBackup({ id, backup }: { id: number; backup: boolean }) {
      changeEndpoint(id, backup ? 'backup' : 'nobackup');
    },
    setLimits(limits: KernelLimits) {
      setLimits(limits);
    },
  },
  () => {
    for (const server of listeners.values()) server.close();
    for (const { socket } of connections.values()) socket.destroy();
  },
);

import { isIPv6 } from 'node:net';
import type { Stream, StreamHandler } from '../node/stream.ts';
import { SystemError } from '../node/system-error.ts';
import type { SocketSettings } from '../sockets/sockets.ts';
import { Address } from '../wire/address.ts';
import type { Host } from './host.ts';

/** Who a handle tells of what happens; the names are those of what Node's own handles tell. */
export interface HandleOwner {
  /** Bytes came: a view that is good until `used`, to be called with the count of those that were copied. */
  onBytes(bytes: Uint8Array): void;
  onEndOfFile(): void;
  onReadError(code: string): void;
  onPaths(): void;
  onHostClosed(): void;
}

export interface SocketName {
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly port: number;
}

export interface HandleTarget {
  readonly address: string;
  readonly port: number;
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly multipath: boolean;
  readonly settings: SocketSettings;
}

/** Why a command failed at once: the error's name, and the call. */
export interface HandleFailure {
  readonly code: string;
  readonly syscall: string;
}

/** `code` as a write or shutdown completes: undefined when it went well. */
export type Completion = (code: string | undefined) => void;

/** What TCP_KEEPINTVL and TCP_KEEPCNT are when a program says nothing: as libuv sets them. Milliseconds, probes. */
const KEEP_ALIVE_INTERVAL = 1000;
const KEEP_ALIVE_PROBES = 10;
const KEEP_ALIVE_IDLE = 7_200_000;

/**
 * What stands below one socket: a stream of the stack with the ways of libuv's handles. It reads between `readStart` and
 * `readStop`, has at most one write under way, and keeps the process alive while it connects, reads or writes, unless
 * `unref`.
 */
export class StreamHandle implements StreamHandler {
  readonly host: Host;
  owner: HandleOwner | undefined;
  bytesRead = 0;
  bytesWritten = 0;
  reading = false;
  private stream: Stream | undefined;
  /** Shows IPv4 addresses as ::ffff:a.b.c.d, as a socket of an IPv6 listener does. */
  private readonly mapped: boolean;
  private isRef = true;
  private isHolding = false;
  private isClosed = false;
  private onConnected: Completion | undefined;
  private pending: Uint8Array[] | undefined;
  private pendingFrom = 0;
  private onWritten: Completion | undefined;
  private onShut: Completion | undefined;
  private hasEnded = false;
  /** The peer's end, or an error, that nobody read yet. */
  private waitingEnd = false;
  private failure: string | undefined;
  private local: SocketName | undefined;
  private peer: SocketName | undefined;
  private readonly leaveHost: () => void;

  /** @param accepted a stream that is established already */
  constructor(host: Host, accepted?: Stream, mapped = false) {
    this.host = host;
    this.mapped = mapped;
    this.stream = accepted;
    accepted?.pause();
    if (accepted !== undefined) this.learnNames(accepted);
    this.leaveHost = host.onClose(() => this.owner?.onHostClosed());
  }

  // ---------------------------------------------------------------------------------------------- commands

  /** Begins to connect; `done` follows, unless there is a failure at once. */
  connect(target: HandleTarget, done: Completion): HandleFailure | undefined {
    const address = Address.parse(target.address);
    if (address === undefined) return { code: 'EINVAL', syscall: 'connect' };
    const wanted = target.localAddress === undefined ? undefined : Address.parse(target.localAddress);
    const local = wanted?.isUnspecified === true ? undefined : wanted?.unmapped();
    try {
      this.stream = this.host.userspace.connect(
        {
          address: reachable(address.unmapped()),
          port: target.port,
          multipath: target.multipath,
          settings: target.settings,
          ...(local === undefined ? {} : { local }),
          ...(target.localPort === undefined ? {} : { localPort: target.localPort }),
        },
        this,
      );
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (error.syscall === 'bind') return { code: error.code, syscall: 'bind' };
      // As Linux: a port that is ours, and is taken for this very peer alone.
      return { code: error.code === 'EADDRINUSE' ? 'EADDRNOTAVAIL' : error.code, syscall: 'connect' };
    }
    this.stream.pause();
    this.onConnected = done;
    this.learnNames(this.stream);
    this.updateHold();
    return undefined;
  }

  readStart(): void {
    this.reading = true;
    this.updateHold();
    if (this.failure !== undefined || this.waitingEnd) setImmediate(() => this.tellEnd());
    else this.stream?.resume();
  }

  readStop(): void {
    this.reading = false;
    this.stream?.pause();
    this.updateHold();
  }

  /** Takes all of `chunks`. `done` is called once the connection has them: at once when it has room. */
  write(chunks: Uint8Array[], done: Completion): void {
    for (const chunk of chunks) this.bytesWritten += chunk.length;
    const { stream } = this;
    if (stream === undefined || stream.closed) {
      const code = this.failure ?? 'EPIPE';
      // As in Linux an error is told once; what is written later meets a broken pipe.
      this.failure = this.failure === undefined ? undefined : 'EPIPE';
      setImmediate(() => done(code));
      return;
    }
    this.pending = chunks;
    this.pendingFrom = 0;
    this.onWritten = done;
    this.handOver(stream);
    this.updateHold();
  }

  /** Bytes of the write under way that the connection has not taken. */
  get queued(): number {
    let bytes = -this.pendingFrom;
    for (const chunk of this.pending ?? []) bytes += chunk.length;
    return Math.max(0, bytes);
  }

  shutdown(done: Completion): void {
    const { stream } = this;
    if (stream === undefined || stream.closed) {
      done(undefined);
      return;
    }
    this.onShut = done;
    this.updateHold();
    setImmediate(() => {
      this.onShut = undefined;
      this.updateHold();
      if (!this.isClosed) done(undefined);
    });
    stream.end();
  }

  /** Lets go of the connection as close(2) does. `done` follows. */
  close(done: () => void): void {
    this.finish();
    this.stream?.close();
    setImmediate(done);
  }

  /** Ends the connection at once: MP_FASTCLOSE, or RST. */
  reset(done: () => void): void {
    this.finish();
    this.stream?.abort();
    setImmediate(done);
  }

  private finish(): void {
    this.isClosed = true;
    this.leaveHost();
    this.owner = undefined;
    this.onConnected = undefined;
    this.onWritten = undefined;
    this.onShut = undefined;
    this.pending = undefined;
    this.reading = false;
    this.updateHold();
  }

  /** @param enable TCP_NODELAY */
  setNoDelay(enable: boolean): void {
    this.stream?.configure({ noDelay: enable });
  }

  /** @param idle milliseconds; 0: two hours */
  setKeepAlive(enable: boolean, idle: number, interval?: number, probes?: number): void {
    this.stream?.configure({ keepAlive: enable && keepAliveSettings(idle, interval, probes) });
  }

  ref(): void {
    this.isRef = true;
    this.updateHold();
  }

  unref(): void {
    this.isRef = false;
    this.updateHold();
  }

  get localName(): SocketName | undefined {
    return this.local;
  }

  get peerName(): SocketName | undefined {
    return this.peer;
  }

  /** The stream itself, for what it tells of its paths; undefined before `connect`. */
  get underlying(): Stream | undefined {
    return this.stream;
  }

  // ---------------------------------------------------------------------------------------------- StreamHandler

  onConnect(stream: Stream): void {
    this.learnNames(stream);
    const done = this.onConnected;
    this.onConnected = undefined;
    this.updateHold();
    done?.(undefined);
  }

  onData(bytes: Uint8Array): number {
    const { stream } = this;
    let view = bytes;
    // What the owner does with bytes may be the end of the connection: they must be used up before, or it is a reset.
    while (this.reading && this.owner !== undefined && stream !== undefined && view.length > 0) {
      const before = this.bytesRead;
      this.owner.onBytes(view);
      // Nothing is used with a buffer of no bytes.
      if (stream.closed || this.bytesRead === before) break;
      view = stream.peek();
    }
    return 0;
  }

  /** For the owner, in `onBytes`: it has copied so many. */
  used(count: number): void {
    this.bytesRead += count;
    this.stream?.consume(count);
  }

  onDrain(stream: Stream): void {
    if (this.pending !== undefined) this.handOver(stream);
  }

  onEnd(): void {
    this.hasEnded = true;
    this.waitingEnd = true;
    this.tellEnd();
  }

  onPaths(): void {
    this.owner?.onPaths();
  }

  onClose(error: SystemError | undefined): void {
    this.owner?.onPaths();
    const code = error?.code;
    if (this.onConnected !== undefined) {
      const done = this.onConnected;
      this.onConnected = undefined;
      this.updateHold();
      done(code ?? 'ECONNABORTED');
      return;
    }
    if (code !== undefined) this.failure = code;
    else if (!this.hasEnded) this.waitingEnd = true;
    this.tellEnd();
    if (this.onWritten === undefined) return;
    const done = this.onWritten;
    this.onWritten = undefined;
    this.pending = undefined;
    this.failure = 'EPIPE';
    this.updateHold();
    done(code ?? 'EPIPE');
  }

  /** Tells a reader what there is besides bytes: an error, or the end. */
  private tellEnd(): void {
    const { owner } = this;
    if (!this.reading || owner === undefined) return;
    if (this.failure !== undefined) {
      const code = this.failure;
      this.failure = 'EPIPE';
      this.waitingEnd = false;
      this.reading = false;
      this.updateHold();
      owner.onReadError(code);
    } else if (this.waitingEnd) {
      this.waitingEnd = false;
      this.hasEnded = true;
      this.reading = false;
      this.updateHold();
      owner.onEndOfFile();
    }
  }

  /** Gives the connection what it has room for; `onDrain` follows while something is left. */
  private handOver(stream: Stream): void {
    const chunks = this.pending!;
    while (chunks.length > 0) {
      const chunk = chunks[0]!;
      const length = chunk.length - this.pendingFrom;
      const taken = length === 0 ? 0 : stream.send(chunk, this.pendingFrom, length);
      if (taken < length) {
        this.pendingFrom += taken;
        return;
      }
      chunks.shift();
      this.pendingFrom = 0;
    }
    const done = this.onWritten;
    this.pending = undefined;
    this.onWritten = undefined;
    this.updateHold();
    done?.(undefined);
  }

  private learnNames(stream: Stream): void {
    this.local = nameOf(stream.localEndpoint, this.mapped) ?? this.local;
    this.peer = nameOf(stream.peerEndpoint, this.mapped) ?? this.peer;
  }

  private updateHold(): void {
    const isActive =
      this.reading || this.onConnected !== undefined || this.onWritten !== undefined || this.onShut !== undefined;
    const holds = this.isRef && !this.isClosed && isActive;
    if (holds === this.isHolding) return;
    this.isHolding = holds;
    if (holds) this.host.hold();
    else this.host.free();
  }
}

/** SO_KEEPALIVE with libuv's figures for what is not given. Milliseconds. */
export function keepAliveSettings(idle: number, interval = 0, probes = 0) {
  return {
    idle: idle > 0 ? idle : KEEP_ALIVE_IDLE,
    interval: interval > 0 ? interval : KEEP_ALIVE_INTERVAL,
    probes: probes > 0 ? probes : KEEP_ALIVE_PROBES,
  };
}

/** As Linux: who connects to "any address" means this host. */
function reachable(address: Address): Address {
  if (!address.isUnspecified) return address;
  return Address.of(address.family === 4 ? '127.0.0.1' : '::1');
}

export function nameOf(
  endpoint: { readonly address: Address; readonly port: number } | undefined,
  mapped: boolean,
): SocketName | undefined {
  if (endpoint === undefined) return undefined;
  const text = endpoint.address.toString();
  const address = mapped && endpoint.address.family === 4 ? `::ffff:${text}` : text;
  return { address, family: isIPv6(address) ? 'IPv6' : 'IPv4', port: endpoint.port };
}

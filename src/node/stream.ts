import { Errno, errnoName } from '../sockets/errno.ts';
import { type ConnectionInfo, closeReasonName } from '../sockets/info.ts';
import {
  type Endpoint,
  Family,
  Protocol,
  Shutdown,
  type SocketSettings,
  type Sockets,
  SocketType,
} from '../sockets/sockets.ts';
import type { Connection } from '../stack/connection.ts';
import { Ready } from '../stack/handle.ts';
import type { Address } from '../wire/address.ts';
import { SystemError } from './system-error.ts';

/** What the owner of a stream is told. Every call may act on any stream. */
export interface StreamHandler {
  /** The connection is established; only for streams that were connected from here. */
  onConnect?(stream: Stream): void;
  /**
   * Bytes came: a view into the receive buffer, good during the call. Returns how many of them were used; what is left
   * stays in the buffer, fills the window, and is offered again after `resume`, or together with what comes next. A
   * handler may `consume` and `peek` by itself as well, and returns what it has not consumed then.
   */
  onData?(bytes: Uint8Array, stream: Stream): number;
  /** There is room after `send` took less than it was given, or `write` returned false. */
  onDrain?(stream: Stream): void;
  /** The peer finished, and everything it sent has been used. */
  onEnd?(stream: Stream): void;
  /** Subflows came, went or changed priority, or the connection is plain TCP now: `info` tells. */
  onPaths?(stream: Stream): void;
  /** The stream is over: with an error, or after both sides finished, or by `abort`. The last call. */
  onClose?(error: SystemError | undefined, stream: Stream): void;
}

export interface ConnectRequest {
  readonly address: Address;
  readonly port: number;
  /** Undefined: chosen by routing. */
  readonly local?: Address;
  readonly localPort?: number;
  /** Offer Multipath TCP. Default true. */
  readonly multipath?: boolean;
  readonly settings?: SocketSettings;
}

export interface ListenRequest {
  /** Undefined: any. */
  readonly address?: Address;
  /** 0: any free one. */
  readonly port: number;
  /** Speak Multipath TCP to clients that offer it. Default true. */
  readonly multipath?: boolean;
  /** Connections that may wait to be accepted. Default 511. */
  readonly backlog?: number;
  readonly settings?: SocketSettings;
}

/**
 * The streams of one host: turns the readiness of its sockets into callbacks. Knows no clock and no device; whoever
 * drives the host gives it each ready descriptor, and is told by `wake` that commands wait to be sent.
 */
export class Streams {
  readonly sockets: Sockets;
  private readonly clock: () => number;
  private readonly wake: () => void;
  private readonly streams: (Stream | undefined)[] = [];
  private readonly listeners: (StreamListener | undefined)[] = [];
  /** Connections whose user left and that still deliver, under numbers that no socket has. */
  private readonly lingering = new Map<number, Connection>();
  private nextLingering = FIRST_LINGERING;
  private readonly onLingering: () => void;

  /**
   * @param clock the instant that the host is told with commands
   * @param wake called after each command
   * @param onLingering `lingeringCount` changed
   */
  constructor(sockets: Sockets, clock: () => number, wake: () => void = () => {}, onLingering: () => void = () => {}) {
    this.onLingering = onLingering;
    this.sockets = sockets;
    this.clock = clock;
    this.wake = wake;
  }

  /**
   * Begins to connect: `onConnect` or `onClose` follows.
   * @throws SystemError ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE, EAFNOSUPPORT, EINVAL
   */
  connect(request: ConnectRequest, handler: StreamHandler): Stream {
    const { sockets } = this;
    const target = `${endpointText(request.address, request.port)}`;
    const descriptor = checked(open(sockets, request.address.family, request.multipath), 'socket', target);
    const stream = new Stream(this, descriptor, handler, false);
    try {
      if (request.settings !== undefined) checked(sockets.configure(descriptor, request.settings), 'configure', target);
      if (request.local !== undefined || request.localPort !== undefined) {
        const local = request.local === undefined ? 'any address' : request.local.toString();
        checked(sockets.bind(descriptor, request.local, request.localPort ?? 0), 'bind', local);
      }
      const outcome = sockets.connect(descriptor, request.address, request.port, this.commandTime());
      if (outcome !== -Errno.EINPROGRESS) checked(outcome, 'connect', target);
    } catch (error) {
      sockets.close(descriptor);
      throw error;
    }
    this.streams[descriptor] = stream;
    this.wake();
    return stream;
  }

  /**
   * Listens. `onStream` gets each connection, already established, and returns its handler.
   * @throws SystemError EADDRINUSE, EADDRNOTAVAIL
   */
  listen(request: ListenRequest, onStream: (stream: Stream) => StreamHandler): StreamListener {
    const { sockets } = this;
    const family = request.address?.family ?? 6;
    const what = request.address === undefined ? `port ${request.port}` : endpointText(request.address, request.port);
    const descriptor = checked(open(sockets, family, request.multipath), 'socket', what);
    try {
      if (request.settings !== undefined) checked(sockets.configure(descriptor, request.settings), 'configure', what);
      checked(sockets.bind(descriptor, request.address, request.port), 'bind', what);
      checked(sockets.listen(descriptor, request.backlog ?? 511), 'listen', what);
    } catch (error) {
      sockets.close(descriptor);
      throw error;
    }
    const listener = new StreamListener(this, descriptor, onStream);
    this.listeners[descriptor] = listener;
    return listener;
  }

  /** The host says that a descriptor is ready. */
  onReady(descriptor: number): void {
    const stream = this.streams[descriptor];
    if (stream !== undefined) {
      stream.onReady(this.sockets.takeReady(descriptor));
      return;
    }
    if (descriptor >= FIRST_LINGERING) {
      this.onLingeringReady(descriptor);
      return;
    }
    const listener = this.listeners[descriptor];
    if (listener === undefined) return;
    this.sockets.takeReady(descriptor);
    for (;;) {
      const accepted = this.sockets.accept(descriptor);
      if (accepted < 0) return;
      const offered = new Stream(this, accepted, NO_HANDLER, true);
      this.streams[accepted] = offered;
      offered.handler = listener.onStream(offered);
      // What came with the handshake, before anybody could be told.
      offered.onReady(this.sockets.takeReady(accepted) | Ready.Readable | Ready.Writable);
    }
  }

  /** Connections that were let go of and are not over: they still deliver, or wait for the peer's end. */
  get lingeringCount(): number {
    return this.lingering.size;
  }

  /** Bytes of them that their peers have not acknowledged. */
  get lingeringBytes(): number {
    let bytes = 0;
    for (const connection of this.lingering.values()) bytes += connection.unacknowledged;
    return bytes;
  }

  /** For streams: the descriptor of `connection` was closed. */
  linger(connection: Connection | undefined): void {
    if (connection === undefined || connection.closed) return;
    const number = this.nextLingering++;
    this.lingering.set(number, connection);
    this.sockets.stack.attach(connection, number);
    this.onLingering();
  }

  private onLingeringReady(number: number): void {
    const connection = this.lingering.get(number);
    connection?.takeReady();
    if (connection?.closed !== true) return;
    this.lingering.delete(number);
    this.onLingering();
  }

  /** Streams that are open now. */
  get open(): readonly Stream[] {
    return this.streams.filter((stream) => stream !== undefined);
  }

  /** For streams and listeners: a command is about to be given. */
  commandTime(): number {
    const now = this.clock();
    const { stack } = this.sockets;
    if (now > stack.now) stack.now = now;
    return stack.now;
  }

  /** For streams and listeners: commands were given. */
  commanded(): void {
    this.wake();
  }

  /** For streams and listeners: the descriptor is theirs no more. */
  forget(descriptor: number): void {
    this.streams[descriptor] = undefined;
    this.listeners[descriptor] = undefined;
  }
}

/** A listening port. */
export class StreamListener {
  readonly onStream: (stream: Stream) => StreamHandler;
  private readonly streams: Streams;
  private readonly descriptor: number;
  private isClosed = false;

  constructor(streams: Streams, descriptor: number, onStream: (stream: Stream) => StreamHandler) {
    this.streams = streams;
    this.descriptor = descriptor;
    this.onStream = onStream;
  }

  get port(): number {
    return this.streams.sockets.localPort(this.descriptor);
  }

  get closed(): boolean {
    return this.isClosed;
  }

  /** Closes the port; connections that were accepted go on. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.streams.commandTime();
    this.streams.forget(this.descriptor);
    this.streams.sockets.close(this.descriptor);
    this.streams.commanded();
  }
}

/**
 * A byte stream, plain TCP or multipath, with both directions ending on their own: `end` finishes ours, `onEnd` tells
 * that the peer finished its. Errors come once, by `onClose`.
 */
export class Stream {
  handler: StreamHandler;
  connected: boolean;
  /** Bytes given to the connection, and used by the handler. */
  bytesSent = 0;
  bytesReceived = 0;
  private readonly streams: Streams;
  private readonly sockets: Sockets;
  private descriptor: number;
  /** What `write` could not hand over yet. */
  private readonly waiting: Uint8Array[] = [];
  private waitingFrom = 0;
  private waitingBytes = 0;
  private wantsDrain = false;
  private isPaused = false;
  private endWanted = false;
  private writeEnded = false;
  private readEnded = false;
  /** The connection is over, but bytes wait that a paused handler has not seen. */
  private isOver = false;
  /** errno of the connection, once it was reported. */
  private failure = 0;
  /** What was known of the connection when it was over. */
  private lastInfo: ConnectionInfo | undefined;

  constructor(streams: Streams, descriptor: number, handler: StreamHandler, connected: boolean) {
    this.streams = streams;
    this.sockets = streams.sockets;
    this.descriptor = descriptor;
    this.handler = handler;
    this.connected = connected;
  }

  get closed(): boolean {
    return this.descriptor < 0;
  }

  /** The peer finished, and everything it sent was used. */
  get peerEnded(): boolean {
    return this.readEnded;
  }

  get localEndpoint(): Endpoint | undefined {
    return this.sockets.getsockname(this.descriptor);
  }

  get peerEndpoint(): Endpoint | undefined {
    return this.sockets.getpeername(this.descriptor);
  }

  /** Figures of the connection and its paths; the last ones once the stream is closed. */
  info(): ConnectionInfo | undefined {
    return this.closed ? this.lastInfo : this.sockets.info(this.descriptor);
  }

  /** Bytes sent that the peer has not acknowledged. */
  get unacknowledged(): number {
    return this.sockets.connectionOf(this.descriptor)?.unacknowledged ?? 0;
  }

  /** Bytes that `write` keeps because the connection had no room. */
  get pending(): number {
    return this.waitingBytes;
  }

  /**
   * Copies what there is room for into the connection, and returns how many bytes that were. Fewer than `length`:
   * `onDrain` follows. 0 as well while not connected and after the end.
   */
  send(bytes: Uint8Array, start = 0, length = bytes.length - start): number {
    if (this.descriptor < 0 || this.writeEnded || this.endWanted || this.waitingBytes > 0) {
      this.wantsDrain = true;
      return 0;
    }
    const taken = this.hand(bytes, start, length);
    if (taken < length) this.wantsDrain = true;
    return taken;
  }

  /**
   * Takes all of `bytes`, keeping what the connection has no room for: not to be changed until `onDrain` then.
   * @returns false when something was kept: stop until `onDrain`
   */
  write(bytes: Uint8Array): boolean {
    if (this.descriptor < 0 || this.writeEnded || this.endWanted) return false;
    const taken = this.waitingBytes > 0 || !this.connected ? 0 : this.hand(bytes, 0, bytes.length);
    if (taken === bytes.length) return true;
    this.waiting.push(taken === 0 ? bytes : bytes.subarray(taken));
    this.waitingBytes += bytes.length - taken;
    this.wantsDrain = true;
    return false;
  }

  private hand(bytes: Uint8Array, start: number, length: number): number {
    if (!this.connected) return 0;
    this.streams.commandTime();
    const taken = this.sockets.send(this.descriptor, bytes, start, length);
    if (taken <= 0) return 0;
    this.bytesSent += taken;
    this.streams.commanded();
    return taken;
  }

  /** Finishes our direction behind what was written. */
  end(): void {
    if (this.endWanted || this.descriptor < 0) return;
    this.endWanted = true;
    this.flush();
  }

  /** The first bytes that wait, without a copy; good until the next call. `consume` gives them up. */
  peek(): Uint8Array {
    return this.sockets.peek(this.descriptor);
  }

  consume(count: number): void {
    if (count <= 0) return;
    this.streams.commandTime();
    this.bytesReceived += count;
    this.sockets.consume(this.descriptor, count);
    this.streams.commanded();
  }

  /** No `onData` until `resume`; the window fills. */
  pause(): void {
    this.isPaused = true;
  }

  /** Offers what waits. */
  resume(): void {
    this.isPaused = false;
    if (this.descriptor < 0) return;
    this.receive();
    if (this.descriptor >= 0 && this.isOver) this.onOver();
  }

  /**
   * Lets go of it, as close(2) does: what was sent is still delivered, unread bytes make it a reset. Bytes that `write`
   * keeps are lost. No callback follows.
   */
  close(): void {
    if (this.descriptor < 0) return;
    this.release();
  }

  /** Changes options of the connection. False for values that cannot be. */
  configure(settings: SocketSettings): boolean {
    if (this.descriptor < 0) return false;
    this.streams.commandTime();
    const outcome = this.sockets.configure(this.descriptor, settings);
    this.streams.commanded();
    return outcome >= 0;
  }

  /** The stack's connection; undefined once the stream is closed. */
  get connection(): Connection | undefined {
    return this.descriptor < 0 ? undefined : this.sockets.connectionOf(this.descriptor);
  }

  /** Runs commands to the connection at the host's present instant, and lets them be sent. */
  command(run: (now: number, connection: Connection) => void): void {
    const { connection } = this;
    if (connection === undefined) return;
    run(this.streams.commandTime(), connection);
    this.streams.sockets.stack.touch(connection);
    this.streams.commanded();
  }

  /** Ends the connection at once, by MP_FASTCLOSE or RST. */
  abort(): void {
    if (this.descriptor < 0) return;
    this.streams.commandTime();
    const { descriptor } = this;
    this.lastInfo = this.sockets.info(descriptor);
    this.descriptor = -1;
    this.streams.forget(descriptor);
    this.sockets.abort(descriptor);
    this.streams.commanded();
    this.handler.onClose?.(undefined, this);
  }

  /** For `Streams`: bits of `Ready`. */
  onReady(bits: number): void {
    if (this.descriptor < 0) return;
    if (!this.connected && (bits & Ready.Connected) !== 0) {
      this.connected = true;
      this.handler.onConnect?.(this);
      if (this.descriptor < 0) return;
      bits |= Ready.Writable;
    }
    if ((bits & (Ready.FellBack | Ready.Subflows)) !== 0) {
      this.handler.onPaths?.(this);
      if (this.descriptor < 0) return;
    }
    if ((bits & (Ready.Readable | Ready.PeerFinished | Ready.Closed)) !== 0) this.receive();
    if (this.descriptor >= 0 && (bits & Ready.Writable) !== 0 && this.connected) {
      this.flush();
      if (this.descriptor >= 0 && this.wantsDrain && this.waitingBytes === 0 && !this.writeEnded) {
        this.wantsDrain = false;
        this.handler.onDrain?.(this);
      }
    }
    if ((bits & Ready.Closed) !== 0 && this.descriptor >= 0) this.onOver();
  }

  private receive(): void {
    const { handler, sockets } = this;
    // Resumed by whom it is offered to, before it has its handler: what came waits until then.
    if (handler === NO_HANDLER) return;
    while (!this.isPaused && !this.readEnded && this.failure === 0) {
      const view = sockets.peek(this.descriptor);
      const { length } = view;
      if (length === 0) {
        if (!this.connected) return;
        const outcome = sockets.recv(this.descriptor, NOTHING, 0, 0);
        if (outcome === 0) this.onPeerEnd();
        else if (outcome !== -Errno.EAGAIN) this.failure = -outcome;
        return;
      }
      const before = this.bytesReceived;
      const used = handler.onData === undefined ? length : handler.onData(view, this);
      if (this.descriptor < 0) return;
      this.consume(used);
      if (this.bytesReceived - before < length) return;
    }
  }

  private onPeerEnd(): void {
    this.readEnded = true;
    this.handler.onEnd?.(this);
    if (this.descriptor >= 0) this.finishIfDone();
  }

  private flush(): void {
    while (this.waiting.length > 0) {
      const bytes = this.waiting[0]!;
      const length = bytes.length - this.waitingFrom;
      const taken = this.hand(bytes, this.waitingFrom, length);
      this.waitingBytes -= taken;
      if (taken < length) {
        this.waitingFrom += taken;
        return;
      }
      this.waiting.shift();
      this.waitingFrom = 0;
    }
    if (!this.endWanted || this.writeEnded || !this.connected) return;
    this.writeEnded = true;
    this.streams.commandTime();
    this.sockets.shutdown(this.descriptor, Shutdown.Write);
    this.streams.commanded();
    this.finishIfDone();
  }

  /** Both directions are over for us: the stack brings the rest to its end by itself. */
  private finishIfDone(): void {
    if (!this.readEnded || !this.writeEnded) return;
    this.release();
    this.handler.onClose?.(undefined, this);
  }

  /** The connection is over. What was received is still offered before that is told. */
  private onOver(): void {
    this.isOver = true;
    if (this.isPaused && this.sockets.peek(this.descriptor).length > 0) return;
    const errno = this.failure !== 0 ? this.failure : this.sockets.error(this.descriptor);
    const reason = closeReasonName(this.sockets.closeReason(this.descriptor));
    const call = this.connected ? 'read' : 'connect';
    const peer = this.peerEndpoint;
    const name = peer === undefined ? 'the connection' : endpointText(peer.address, peer.port);
    this.release();
    if (errno > 0)
      this.handler.onClose?.(SystemError.of(errno, call, `${name}: ${ERRNO_TEXT[errnoName(errno)] ?? reason}`), this);
    else this.handler.onClose?.(undefined, this);
  }

  private release(): void {
    const { descriptor } = this;
    this.lastInfo = this.sockets.info(descriptor);
    this.descriptor = -1;
    this.streams.forget(descriptor);
    this.streams.commandTime();
    const connection = this.sockets.connectionOf(descriptor);
    this.sockets.close(descriptor);
    this.streams.linger(connection);
    this.streams.commanded();
  }
}

/** Above all descriptors. */
const FIRST_LINGERING = 0x4000_0000;
/** Of a stream that is just being offered. */
const NO_HANDLER: StreamHandler = {};
const NOTHING = new Uint8Array(0);

const ERRNO_TEXT: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  ECONNABORTED: 'connection aborted',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  EADDRNOTAVAIL: 'address not available',
  EADDRINUSE: 'address in use',
  EAFNOSUPPORT: 'address family not supported',
  EINVAL: 'invalid argument',
};

function open(sockets: Sockets, family: 4 | 6, multipath = true): number {
  return sockets.socket(
    family === 4 ? Family.Inet : Family.Inet6,
    SocketType.Stream,
    multipath ? Protocol.Mptcp : Protocol.Tcp,
  );
}

function checked(outcome: number, call: string, what: string): number {
  if (outcome >= 0) return outcome;
  const code = errnoName(-outcome);
  throw new SystemError(code, call, `${what}: ${ERRNO_TEXT[code] ?? code}`, -outcome);
}

/** `10.0.0.1:80` or `[fd00::1]:80`. */
export function endpointText(address: Address, port: number): string {
  return address.family === 6 ? `[${address}]:${port}` : `${address}:${port}`;
}

import { channel } from 'node:diagnostics_channel';
import { type BlockList, type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';
import type { Multipath, MultipathChoice, MultipathOptions } from '../api/multipath.ts';
import type { Stream } from '../node/stream.ts';
import type { SocketSettings } from '../sockets/sockets.ts';
import type { Host } from './host.ts';
import {
  type Attempt,
  type Connecting,
  type ConnectOptions,
  checkConnectOptions,
  connectArguments,
  findAndConnect,
} from './userspace-connect.ts';
import {
  blockedError,
  closedBeforeConnectionError,
  plainError,
  socketClosedError,
  systemError,
  unsupportedOptionError,
} from './userspace-error.ts';
import { type HandleOwner, type SocketName, StreamHandle } from './userspace-handle.ts';
import { multipathOptions, PathWatch } from './userspace-multipath.ts';
import { defineGetters, noticeTls } from './userspace-tls.ts';

/** What `new UserspaceSocket` may be told beyond `node:net`'s options. */
export interface UserspaceSocketOptions extends SocketConstructorOpts {
  readonly onread?: OnReadOpts | undefined;
  readonly noDelay?: boolean | undefined;
  readonly keepAlive?: boolean | undefined;
  readonly keepAliveInitialDelay?: number | undefined;
  readonly highWaterMark?: number | undefined;
  readonly readableHighWaterMark?: number | undefined;
  readonly writableHighWaterMark?: number | undefined;
  readonly blockList?: BlockList | undefined;
  /** False: plain TCP. Default true. */
  readonly multipath?: MultipathChoice<Host> | undefined;
}

/** A connection that a server accepted, and how it was. */
export interface Accepted {
  readonly stream: Stream;
  /** By a listener of both families: IPv4 addresses are shown as IPv6. */
  readonly mapped: boolean;
  readonly pauses: boolean;
}

const ACCEPTED = Symbol('accepted');
const CLIENT_CHANNEL = channel('net.client.socket');

/** Bytes of one chunk of what is read, at most: as `node:net`. */
const CHUNK = 65_536;

/** Node 24 and later end an unconnected socket without waiting for a connection. */
const ENDS_UNCONNECTED = Number(process.versions.node.split('.')[0]) >= 24;

/**
 * A `net.Socket` to whoever uses it, over a host of this package's stack: events, options, errors and their order are
 * those of `node:net` (docs/node-net.md names the exceptions). `multipath` tells of its paths, and the events `subflow`,
 * `subflowClosed`, `fallback` and `address` of what happens to them.
 */
export class UserspaceSocket extends Socket implements HandleOwner, Connecting {
  readonly host: Host;
  declare autoSelectFamilyAttemptedAddresses: string[];
  private link: StreamHandle | undefined;
  private readonly wantsMultipath: boolean;
  private readonly asked: MultipathOptions<Host>;
  private readonly settings: SocketSettings = {};
  private wantsNoDelay: boolean;
  private keepsAlive: boolean;
  private keepAliveDelay: number;
  private keepAliveInterval: number | undefined;
  private keepAliveProbes: number | undefined;
  private readonly onread: OnReadOpts | undefined;
  private readBuffer: Uint8Array | undefined;
  private blocked: BlockList | undefined;
  private isResetting = false;
  private readBefore = 0;
  private writtenBefore = 0;
  private peerBefore: SocketName | undefined;
  private unwritten: Uint8Array[] = [];
  private queuedBefore = 0;
  private watch: PathWatch | undefined;

  /** @throws TypeError, RangeError as `new net.Socket`, and for `fd` and `handle`, which a userspace socket has not */
  constructor(host: Host, options: UserspaceSocketOptions = {}) {
    const { onread, noDelay, keepAlive, multipath, blockList, ...rest } = options;
    const given = rest as Record<string | symbol, unknown>;
    for (const name of ['fd', 'handle']) {
      if (given[name] !== undefined && given[name] !== null) {
        throw unsupportedOptionError(name, 'its connections live in this process; use node:net for descriptors');
      }
    }
    super({ ...rest, ...(blockList === undefined ? {} : { blockList }) } as SocketConstructorOpts);
    this.host = host;
    this.wantsMultipath = multipath !== false;
    this.asked = multipathOptions(multipath);
    this.wantsNoDelay = Boolean(noDelay);
    this.keepsAlive = Boolean(keepAlive);
    this.keepAliveDelay = seconds(options.keepAliveInitialDelay);
    this.blocked = blockList;
    if (typeof onread === 'object' && onread !== null && typeof onread.callback === 'function') {
      if (typeof onread.buffer === 'function' || onread.buffer instanceof Uint8Array) this.onread = onread;
    }
    noticeTls(UserspaceSocket);
    const accepted = given[ACCEPTED as never] as Accepted | undefined;
    if (accepted === undefined) return;
    this.link = new StreamHandle(host, accepted.stream, accepted.mapped);
    this.link.owner = this;
    this.prepareBuffer();
    this.watch = new PathWatch(this, accepted.stream, host, this.asked);
    if (accepted.pauses) this.pause();
    else this.read(0);
  }

  /** What the connection's paths are, and what can be done to them; undefined before there is a connection. */
  get multipath(): Multipath | undefined {
    return this.watch?.multipath;
  }

  /** For the server: below it, as the stack has it. */
  get handle(): StreamHandle | undefined {
    return this.link;
  }

  // ---------------------------------------------------------------------------------------------- connect

  override connect(...values: unknown[]): this {
    const [options, done] = connectArguments(values);
    if (done !== undefined) super.once('connect', done);
    checkConnectOptions(options);
    // The peer's end had replaced it.
    Reflect.deleteProperty(this, 'write');
    if (this.destroyed) {
      this.link = undefined;
      this.peerBefore = undefined;
    }
    if (this.link === undefined) this.newHandle();
    this.touch();
    (this as { connecting: boolean }).connecting = true;
    findAndConnect(this, options);
    return this;
  }

  private newHandle(): StreamHandle {
    (this as unknown as { _undestroy(): void })._undestroy();
    const link = new StreamHandle(this.host);
    link.owner = this;
    this.link = link;
    this.prepareBuffer();
    return link;
  }

  attempt(attempt: Attempt): void {
    const { address, port, family, localAddress, localPort } = attempt;
    if (this.refusesBlocked(address, family)) return;
    this.emit('connectionAttempt', address, port, family);
    // A listener may have had enough.
    if (!this.connecting || this.link === undefined) return;
    const failed = this.begin(attempt, (code) => {
      if (this.destroyed) return;
      if (code === undefined) {
        this.onConnected();
        return;
      }
      const error = connectError(code, attempt);
      this.emit('connectionAttemptFailed', address, port, family, error);
      this.destroy(error);
    });
    if (failed === undefined) return;
    const isBind = failed.syscall === 'bind';
    this.destroy(
      isBind
        ? systemError(failed.code, 'bind', { address: localAddress ?? anyAddress(family), port: localPort })
        : systemError(failed.code, 'connect', {
            address,
            port,
            local: `${localAddress ?? anyAddress(family)}:${localPort ?? 0}`,
          }),
    );
  }

  attemptOneOf(attempt: Attempt, done: (error?: Error) => void): (code: string) => Error {
    const { address, port, family } = attempt;
    if (this.autoSelectFamilyAttemptedAddresses.length > 0) {
      this.link?.close(() => {});
      this.newHandle();
    }
    const error = (code: string): Error => connectError(code, attempt);
    if (this.blocked?.check(address, family === 6 ? 'ipv6' : 'ipv4') === true) {
      done(blockedError(address));
      return error;
    }
    this.emit('connectionAttempt', address, port, family);
    this.autoSelectFamilyAttemptedAddresses.push(`${address}:${port}`);
    const failed = this.begin(attempt, (code) => {
      if (this.destroyed) return;
      done(code === undefined ? undefined : error(code));
      if (code === undefined) this.onConnected();
    });
    if (failed !== undefined) {
      const local = `${anyAddress(family)}:${attempt.localPort ?? 0}`;
      done(
        failed.syscall === 'bind'
          ? systemError(failed.code, 'bind', { address: anyAddress(family), port: attempt.localPort })
          : systemError(failed.code, 'connect', { address, port, local }),
      );
    }
    const { link } = this;
    return (code) => {
      link?.close(() => {});
      return error(code);
    };
  }

  private begin(attempt: Attempt, done: (code: string | undefined) => void) {
    const { address, port, localAddress, localPort } = attempt;
    const settings: SocketSettings = { ...this.settings };
    return this.link!.connect(
      {
        address,
        port,
        localAddress: localAddress || undefined,
        localPort: localPort || undefined,
        multipath: this.wantsMultipath,
        settings,
      },
      done,
    );
  }

  private refusesBlocked(address: string, family: number): boolean {
    if (this.blocked?.check(address, family === 6 ? 'ipv6' : 'ipv4') !== true) return false;
    this.destroy(blockedError(address));
    return true;
  }

  private onConnected(): void {
    (this as { connecting: boolean }).connecting = false;
    const link = this.link!;
    this.touch();
    if (this.wantsNoDelay) link.setNoDelay(true);
    if (this.keepsAlive) this.applyKeepAlive();
    this.watch = new PathWatch(this, link.underlying!, this.host, this.asked);
    const fallback = this.watch.multipath?.fallback ?? null;
    if (this.asked.required === true && fallback !== null) {
      this.destroy(plainError(fallback));
      return;
    }
    this.emit('connect');
    this.emit('ready');
    if (!this.isPaused()) this.read(0);
  }

  /** A timeout begins anew. */
  touch(): void {
    (this as unknown as { _unrefTimer(): void })._unrefTimer();
  }

  // ---------------------------------------------------------------------------------------------- reading

  override _read(size: number): void {
    if (this.connecting || this.link === undefined) {
      super.once('connect', () => this._read(size));
    } else if (!this.link.reading) {
      this.startReading();
    }
  }

  private startReading(): void {
    const link = this.link!;
    // What a callback is given must not come within the call that asked for it.
    if (this.onread === undefined) link.readStart();
    else {
      link.reading = true;
      process.nextTick(() => {
        if (this.link === link && link.reading) link.readStart();
      });
    }
  }

  onBytes(bytes: Uint8Array): void {
    const link = this.link!;
    this.touch();
    if (this.onread !== undefined) {
      this.readInto(bytes, this.onread, link);
      return;
    }
    const chunk = Buffer.from(bytes.length > CHUNK ? bytes.subarray(0, CHUNK) : bytes);
    link.used(chunk.length);
    if (!this.safely(() => this.push(chunk))) link.readStop();
  }

  private prepareBuffer(): void {
    const buffer = this.onread?.buffer;
    this.readBuffer = typeof buffer === 'function' ? buffer() : buffer;
  }

  private readInto(bytes: Uint8Array, { buffer, callback }: OnReadOpts, link: StreamHandle): void {
    const target = this.readBuffer!;
    const count = Math.min(target.length, bytes.length);
    target.set(bytes.subarray(0, count));
    link.used(count);
    const goesOn = this.safely(() => callback.call(this as never, count, target) !== false);
    if (typeof buffer === 'function') this.safely(() => this.nextBuffer(buffer()));
    if (!goesOn) link.readStop();
  }

  private nextBuffer(next: Uint8Array): true {
    if (next instanceof Uint8Array) this.readBuffer = next;
    return true;
  }

  /** What a listener throws is the program's, not the stack's, which must go on. */
  private safely(run: () => boolean): boolean {
    try {
      return run();
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
      return true;
    }
  }

  onEndOfFile(): void {
    this.touch();
    this.push(null);
    this.read(0);
  }

  onReadError(code: string): void {
    this.touch();
    this.destroy(systemError(code, 'read'));
  }

  onPaths(): void {
    this.watch?.onPaths();
  }

  onHostClosed(): void {
    this.destroy();
  }

  override pause(): this {
    if (this.onread !== undefined && !this.connecting && this.link?.reading === true) this.link.readStop();
    return super.pause();
  }

  override resume(): this {
    this.resumeBuffer();
    return super.resume();
  }

  // biome-ignore lint/suspicious/noExplicitAny: as Node declares it
  override read(size?: number): any {
    this.resumeBuffer();
    return super.read(size);
  }

  private resumeBuffer(): void {
    const { link } = this;
    if (this.onread !== undefined && !this.connecting && link !== undefined && !link.reading) this.startReading();
  }

  // ---------------------------------------------------------------------------------------------- writing

  override _write(chunk: Uint8Array | string, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.writeAll([bytesOf(chunk, encoding)], done);
  }

  override _writev(
    chunks: { chunk: Uint8Array | string; encoding: BufferEncoding }[],
    done: (error?: Error | null) => void,
  ): void {
    this.writeAll(
      chunks.map(({ chunk, encoding }) => bytesOf(chunk, encoding)),
      done,
    );
  }

  private writeAll(chunks: Uint8Array[], done: (error?: Error | null) => void): void {
    if (this.connecting) {
      this.unwritten = chunks;
      const onClose = (): void => done(closedBeforeConnectionError());
      super.once('connect', () => {
        this.off('close', onClose);
        this.writeAll(chunks, done);
      });
      super.once('close', onClose);
      return;
    }
    this.unwritten = [];
    const { link } = this;
    if (link === undefined) {
      done(socketClosedError());
      return;
    }
    this.touch();
    link.write(chunks, (code) => {
      this.queuedBefore = 0;
      // As Node: what could not be written is an error of the socket, unless it is over already.
      if (this.destroyed) done(null);
      else if (code !== undefined) done(systemError(code, 'write'));
      else {
        this.touch();
        done();
      }
    });
    this.queuedBefore = link.queued;
  }

  override _final(done: (error?: Error | null) => void): void {
    const waits = ENDS_UNCONNECTED ? this.connecting : this.pending;
    if (waits) super.once('connect', () => this._final(done));
    else if (this.link === undefined) done();
    else this.link.shutdown(() => done());
  }

  // ---------------------------------------------------------------------------------------------- ending

  override resetAndDestroy(): this {
    if (this.link === undefined) this.destroy(socketClosedError());
    else if (this.connecting) super.once('connect', () => this.reset());
    else this.reset();
    return this;
  }

  private reset(): void {
    this.isResetting = true;
    this.destroy();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    (this as { connecting: boolean }).connecting = false;
    const { link } = this;
    if (link === undefined) {
      done(error);
      process.nextTick(() => this.emit('close'));
    } else {
      const hadError = error !== null && error !== undefined;
      this.readBefore = link.bytesRead;
      this.writtenBefore = link.bytesWritten;
      const onClosed = (): void => {
        this.watch?.close();
        this.emit('close', hadError);
      };
      if (this.isResetting) link.reset(onClosed);
      else link.close(onClosed);
      this.isResetting = false;
      this.link = undefined;
      done(error);
    }
    const server = (this as unknown as { _server: ServerCount | null })._server;
    if (server === null || server === undefined) return;
    server._connections--;
    server._emitCloseIfDrained();
  }

  // ---------------------------------------------------------------------------------------------- options

  /** For `setTimeout`: a write that makes progress is no idleness. */
  _onTimeout(): void {
    if (this.destroyed) return;
    const { link } = this;
    if (this.queuedBefore > 0 && link !== undefined && link.queued !== this.queuedBefore) {
      this.queuedBefore = link.queued;
      this.touch();
      return;
    }
    this.emit('timeout');
  }

  override setNoDelay(enable = true): this {
    const wanted = Boolean(enable);
    if (this.link !== undefined && !this.connecting && wanted !== this.wantsNoDelay) this.link.setNoDelay(wanted);
    this.wantsNoDelay = wanted;
    return this;
  }

  override setKeepAlive(
    enable?: boolean | KeepAliveOptions,
    initialDelay?: number,
    interval?: number,
    count?: number,
  ): this {
    if (typeof enable === 'object' && enable !== null) {
      const { enable: wanted, initialDelay: delay, interval: pause, count: probes } = enable;
      return this.setKeepAlive(wanted, delay, pause, probes);
    }
    this.keepsAlive = Boolean(enable);
    this.keepAliveDelay = seconds(initialDelay);
    this.keepAliveInterval = seconds(interval) || undefined;
    this.keepAliveProbes = count;
    if (this.link !== undefined && !this.connecting) this.applyKeepAlive();
    return this;
  }

  private applyKeepAlive(): void {
    this.link?.setKeepAlive(this.keepsAlive, this.keepAliveDelay, this.keepAliveInterval, this.keepAliveProbes);
  }

  override ref(): this {
    if (this.link === undefined) super.once('connect', () => this.ref());
    else this.link.ref();
    return this;
  }

  override unref(): this {
    if (this.link === undefined) super.once('connect', () => this.unref());
    else this.link.unref();
    return this;
  }

  override address(): { address: string; family: string; port: number } {
    return (this.link?.localName ?? {}) as SocketName;
  }

  /** For the getters. */
  peerName(): SocketName | undefined {
    if (this.link !== undefined && !this.connecting) this.peerBefore = this.link.peerName;
    return this.peerBefore;
  }

  figure(name: 'bytesRead' | 'bytesWritten'): number {
    if (name === 'bytesRead') return this.link?.bytesRead ?? this.readBefore;
    let bytes = this.link?.bytesWritten ?? this.writtenBefore;
    for (const chunk of this.unwritten) bytes += chunk.length;
    const waiting = (this as unknown as { writableBuffer?: { chunk: Uint8Array | string; encoding: BufferEncoding }[] })
      .writableBuffer;
    for (const { chunk, encoding } of waiting ?? []) bytes += Buffer.byteLength(chunk as string, encoding);
    return bytes;
  }

  /**
   * As everywhere; but who asks once for `connect` on a socket that is connected is told on the next tick: TLS, over a
   * socket without a handle of the system, would wait for ever otherwise.
   */
  // biome-ignore lint/suspicious/noExplicitAny: as Node declares it
  override once(event: string, listener: (...values: any[]) => void): this {
    super.once(event, listener);
    if (event !== 'connect' || this.link === undefined || this.connecting || this.destroyed) return this;
    process.nextTick(() => {
      if (this.destroyed || !this.listeners('connect').includes(listener)) return;
      this.removeListener('connect', listener);
      listener.call(this);
    });
    return this;
  }
}

interface KeepAliveOptions {
  readonly enable?: boolean;
  readonly initialDelay?: number;
  readonly interval?: number;
  readonly count?: number;
}

/** What a `net.Server` keeps of its connections, in all versions of Node. */
interface ServerCount {
  _connections: number;
  _emitCloseIfDrained(): void;
}

defineGetters<UserspaceSocket>(UserspaceSocket.prototype, {
  pending: (socket) => socket.handle === undefined || socket.connecting,
  bufferSize: (socket) => (socket.handle === undefined ? undefined : socket.writableLength),
  bytesRead: (socket) => socket.figure('bytesRead'),
  bytesWritten: (socket) => (socket.writableLength === undefined ? undefined : socket.figure('bytesWritten')),
  localAddress: (socket) => socket.handle?.localName?.address,
  localPort: (socket) => socket.handle?.localName?.port,
  localFamily: (socket) => socket.handle?.localName?.family,
  remoteAddress: (socket) => socket.peerName()?.address,
  remotePort: (socket) => socket.peerName()?.port,
  remoteFamily: (socket) => socket.peerName()?.family,
});

/** For the server: a socket over a connection that it accepted. */
export function acceptedSocket(host: Host, options: UserspaceSocketOptions, accepted: Accepted): UserspaceSocket {
  return new UserspaceSocket(host, { ...options, [ACCEPTED]: accepted } as UserspaceSocketOptions);
}

/** Connects as `net.connect` does, in all its forms, over `host`. */
export function connect(host: Host, ...values: unknown[]): UserspaceSocket {
  const [options, done] = connectArguments(values);
  const socket = new UserspaceSocket(host, options as UserspaceSocketOptions);
  if (CLIENT_CHANNEL.hasSubscribers) CLIENT_CHANNEL.publish({ socket });
  const { timeout } = options as ConnectOptions & { timeout?: number };
  if (timeout) socket.setTimeout(timeout);
  return done === undefined ? socket.connect(options) : socket.connect(options, done);
}

function connectError(code: string, { address, port, localAddress, localPort }: Attempt): Error {
  const local = localAddress && localPort ? `${localAddress}:${localPort}` : undefined;
  const error = systemError(code, 'connect', { address, port, local });
  return local === undefined ? error : Object.assign(error, { localAddress, localPort });
}

function anyAddress(family: number): string {
  return family === 6 ? '::' : '0.0.0.0';
}

function bytesOf(chunk: Uint8Array | string, encoding: BufferEncoding): Uint8Array {
  return typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
}

/** Node counts these delays in whole seconds. */
function seconds(delay: number | undefined): number {
  return Math.max(0, ~~((delay ?? 0) / 1000)) * 1000;
}

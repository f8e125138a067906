import { channel, tracingChannel } from 'node:diagnostics_channel';
import dns from 'node:dns';
import { type BlockList, Server, type ServerOpts } from 'node:net';
import type { MultipathChoice, MultipathOptions } from '../api/multipath.ts';
import type { Stream, StreamHandler, StreamListener } from '../node/stream.ts';
import { SystemError } from '../node/system-error.ts';
import type { SocketSettings } from '../sockets/sockets.ts';
import { Address } from '../wire/address.ts';
import type { Host } from './host.ts';
import { isPort } from './userspace-connect.ts';
import { alreadyListeningError, explainedSystemError, refusalOf, unsupportedOptionError } from './userspace-error.ts';
import { keepAliveSettings, nameOf, type SocketName } from './userspace-handle.ts';
import { multipathOptions } from './userspace-multipath.ts';
import { acceptedSocket, type UserspaceSocket } from './userspace-socket.ts';

export interface UserspaceServerOptions extends ServerOpts {
  readonly blockList?: BlockList | undefined;
  /** False: plain TCP alone. Default true: Multipath TCP with clients that offer it. */
  readonly multipath?: MultipathChoice<Host> | undefined;
}

/** What `listen` may be told, as `node:net` has it. */
interface ListenOptions {
  readonly port?: number | string | null;
  readonly host?: string;
  readonly backlog?: number;
  readonly ipv6Only?: boolean;
  readonly signal?: AbortSignal;
  readonly path?: string;
  readonly fd?: number;
}

/** The part of `net.Server` that all versions of Node share and that keeps count for `close` and `getConnections`. */
interface ServerFields {
  _handle: ServerHandle | null;
  _connections: number;
  _unref: boolean;
  _listeningId: number;
}

const SERVER_CHANNEL = channel('net.server.socket');
const LISTEN_CHANNEL = tracingChannel('net.server.listen');
const BACKLOG = 511;

/**
 * A `net.Server` to whoever uses it, over a host of this package's stack. Its connections are `UserspaceSocket`s. Errors,
 * events and their order are those of `node:net` (docs/node-net.md names the exceptions).
 */
export class UserspaceServer extends Server {
  readonly host: Host;
  declare readonly noDelay: boolean;
  declare readonly keepAlive: boolean;
  declare readonly keepAliveInitialDelay: number;
  declare readonly highWaterMark: number;
  declare readonly allowHalfOpen: boolean;
  declare readonly pauseOnConnect: boolean;
  private readonly speaksMultipath: boolean;
  private readonly asked: MultipathOptions<Host>;
  private readonly blocked: BlockList | undefined;

  /** @throws TypeError as `new net.Server` */
  constructor(host: Host, listener?: (socket: UserspaceSocket) => void);
  constructor(host: Host, options?: UserspaceServerOptions, listener?: (socket: UserspaceSocket) => void);
  constructor(
    host: Host,
    options?: UserspaceServerOptions | ((socket: UserspaceSocket) => void),
    listener?: (socket: UserspaceSocket) => void,
  ) {
    super(options as ServerOpts, listener as () => void);
    this.host = host;
    const given = typeof options === 'object' && options !== null ? options : {};
    this.speaksMultipath = given.multipath !== false;
    this.asked = multipathOptions(given.multipath);
    this.blocked = given.blockList;
  }

  private get fields(): ServerFields {
    return this as unknown as ServerFields;
  }

  // biome-ignore lint/suspicious/noExplicitAny: Node declares nine forms
  override listen(...values: any[]): this {
    const { fields } = this;
    if (fields._handle !== null) throw alreadyListeningError();
    const [options, done] = listenArguments(values);
    if (LISTEN_CHANNEL.asyncStart.hasSubscribers) LISTEN_CHANNEL.asyncStart.publish({ server: this, options });
    if (done !== undefined) this.once('listening', done);
    fields._listeningId++;
    this.obey(options.signal);
    const port = options.port ?? 0;
    const backlog = options.backlog || backlogOf(values);
    if (!options.host) {
      this.begin(undefined, Number(port), backlog, options.ipv6Only === true);
      return this;
    }
    const number = fields._listeningId;
    dns.lookup(options.host, (error, address) => {
      if (number !== fields._listeningId) return;
      if (error) this.emit('error', error);
      else this.begin(address, Number(port), backlog, options.ipv6Only === true);
    });
    return this;
  }

  private obey(signal: AbortSignal | undefined): void {
    if (signal === undefined) return;
    const onAbort = (): void => {
      this.close();
    };
    if (signal.aborted) {
      process.nextTick(onAbort);
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    this.once('close', () => signal.removeEventListener('abort', onAbort));
  }

  /** @param text undefined: any address, of both families */
  private begin(text: string | undefined, port: number, backlog: number, ipv6Only: boolean): void {
    const address = Address.parse(text ?? '::');
    try {
      if (address === undefined) throw new SystemError('EINVAL', 'bind', `${text} is no address`);
      const handle = new ServerHandle(this, address, port, backlog, ipv6Only && address.family === 6);
      this.fields._handle = handle;
      if (this.fields._unref) handle.unref();
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      const shown = explainedSystemError(error.code, 'listen', { address: text ?? '::', port });
      process.nextTick(() => {
        if (LISTEN_CHANNEL.error.hasSubscribers) LISTEN_CHANNEL.error.publish({ server: this, error: shown });
        this.emit('error', shown);
      });
      return;
    }
    process.nextTick(() => {
      // Closed meanwhile: nothing to tell.
      if (this.fields._handle === null) return;
      if (LISTEN_CHANNEL.asyncEnd.hasSubscribers) LISTEN_CHANNEL.asyncEnd.publish({ server: this });
      this.emit('listening');
    });
  }

  /** For the handle: what its connections inherit. */
  get connectionSettings(): SocketSettings {
    return {
      ...(this.noDelay ? { noDelay: true } : {}),
      // Node keeps this delay in seconds.
      ...(this.keepAlive ? { keepAlive: keepAliveSettings(this.keepAliveInitialDelay * 1000) } : {}),
    };
  }

  get offersMultipath(): boolean {
    return this.speaksMultipath;
  }

  /** For the handle: a connection was accepted. Returns who hears of it; undefined when it is not wanted. */
  onAccepted(stream: Stream, mapped: boolean): StreamHandler | undefined {
    const { fields } = this;
    const peer = nameOf(stream.peerEndpoint, mapped);
    if (peer !== undefined && this.blocked?.check(peer.address, peer.family === 'IPv6' ? 'ipv6' : 'ipv4') === true) {
      return undefined;
    }
    if (this.maxConnections && fields._connections >= this.maxConnections) {
      this.emit('drop', dropped(nameOf(stream.localEndpoint, mapped), peer));
      return undefined;
    }
    if (this.asked.required === true && stream.info()?.multipath !== true) return undefined;
    const { allowHalfOpen, highWaterMark, pauseOnConnect: pauses } = this;
    const options = {
      allowHalfOpen,
      multipath: this.asked,
      ...(highWaterMark === undefined
        ? {}
        : { readableHighWaterMark: highWaterMark, writableHighWaterMark: highWaterMark }),
    };
    const socket = acceptedSocket(this.host, options, { stream, mapped, pauses });
    const { handle } = socket;
    if (this.noDelay) socket.setNoDelay(true);
    if (this.keepAlive) socket.setKeepAlive(true, this.keepAliveInitialDelay * 1000);
    fields._connections++;
    Object.assign(socket, { server: this, _server: this });
    this.emit('connection', socket);
    if (SERVER_CHANNEL.hasSubscribers) SERVER_CHANNEL.publish({ socket });
    return handle;
  }
}

/** A listening port with the ways of libuv's handles: `net.Server` itself closes it, counts by it and asks it its name. */
class ServerHandle {
  private readonly server: UserspaceServer;
  private readonly listener: StreamListener;
  private readonly name: SocketName;
  private readonly leaveHost: () => void;
  private isRef = true;
  private isHolding = false;
  private isClosed = false;

  /** @throws SystemError EADDRINUSE, EADDRNOTAVAIL */
  constructor(server: UserspaceServer, address: Address, port: number, backlog: number, ipv6Only: boolean) {
    const { host } = server;
    if (host.closed) throw new SystemError('ENETDOWN', 'listen', 'the host is closed');
    this.server = server;
    const mapped = address.family === 6 && address.isUnspecified && !ipv6Only;
    this.listener = host.userspace.listen(
      {
        address: address.unmapped(),
        port,
        multipath: server.offersMultipath,
        backlog,
        settings: { ipv6Only, ...server.connectionSettings },
      },
      (stream) => {
        const handler = server.onAccepted(stream, mapped);
        if (handler === undefined) stream.close();
        return handler ?? {};
      },
    );
    this.name = nameOf({ address, port: this.listener.port }, false)!;
    this.leaveHost = host.onClose(() => server.close());
    this.update();
  }

  getsockname(out: object): number {
    Object.assign(out, this.name);
    return 0;
  }

  getAsyncId(): number {
    return -1;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.leaveHost();
    this.listener.close();
    this.update();
  }

  ref(): void {
    this.isRef = true;
    this.update();
  }

  unref(): void {
    this.isRef = false;
    this.update();
  }

  private update(): void {
    const holds = this.isRef && !this.isClosed;
    if (holds === this.isHolding) return;
    this.isHolding = holds;
    if (holds) this.server.host.hold();
    else this.server.host.free();
  }
}

/** Serves as `net.createServer` does, in all its forms, over `host`. */
export function createServer(
  host: Host,
  options?: UserspaceServerOptions | ((socket: UserspaceSocket) => void),
  listener?: (socket: UserspaceSocket) => void,
): UserspaceServer {
  return new UserspaceServer(host, options as UserspaceServerOptions, listener);
}

/** `listen(options, done)`, `listen(port, host, backlog, done)` and what is between, as one. @throws as `net.Server.listen` */
function listenArguments(values: readonly unknown[]): [ListenOptions, (() => void) | undefined] {
  const last = values.at(-1);
  const done = typeof last === 'function' ? (last as () => void) : undefined;
  const [first, second] = values;
  let options: ListenOptions;
  if (values.length === 0 || typeof first === 'function' || first === null) options = { port: 0 };
  else if (typeof first === 'object') options = first as ListenOptions;
  else if (typeof first === 'string' && !isPort(first) && Number.isNaN(Number(first))) options = { path: first };
  else options = { port: first as number, ...(typeof second === 'string' ? { host: second } : {}) };
  const { port, path, fd } = options;
  const hasPort = port !== undefined || values.length === 0 || ('port' in options && path === undefined);
  if (typeof fd === 'number' && fd >= 0) {
    throw unsupportedOptionError('fd', 'it listens on addresses of its host; use node:net for descriptors');
  }
  if (typeof path === 'string' && !hasPort) {
    throw unsupportedOptionError('path', 'it listens on addresses and ports; use node:net for paths');
  }
  const isFine = hasPort && (port === undefined || port === null || isPort(port));
  if (!isFine || !isSignal(options.signal)) throw refusal(values);
  return [options, done];
}

function isSignal(signal: unknown): boolean {
  return signal === undefined || signal instanceof AbortSignal;
}

function refusal(values: readonly unknown[]): Error {
  const probe = new Server().on('error', () => {});
  return refusalOf(
    () => probe.listen(...(values as [number])),
    () => probe.close(),
    () => new TypeError('these options of listen cannot be'),
  );
}

/** `listen(port, backlog)` and `listen(port, host, backlog)`. */
function backlogOf(values: readonly unknown[]): number {
  for (const value of values.slice(1, 3)) if (Number(value) > 0) return Number(value);
  return BACKLOG;
}

function dropped(local: SocketName | undefined, peer: SocketName | undefined): object {
  return {
    // As Node's: without a prototype.
    __proto__: null,
    localAddress: local?.address,
    localPort: local?.port,
    localFamily: local?.family,
    remoteAddress: peer?.address,
    remotePort: peer?.port,
    remoteFamily: peer?.family,
  };
}

import { StackError } from '../stack/config.ts';
import type { Connection } from '../stack/connection.ts';
import type { Handle } from '../stack/handle.ts';
import type { Listener } from '../stack/listener.ts';
import type { Stack } from '../stack/stack.ts';
import type { TcpConfig } from '../tcp/config.ts';
import type { TcpConnection } from '../tcp/connection.ts';
import { CloseReason } from '../tcp/seams.ts';
import type { Address } from '../wire/address.ts';
import { Errno, errnoByName } from './errno.ts';
import { type ConnectionInfo, connectionInfo } from './info.ts';

/** Address families, with Linux's numbers. */
export const Family = { Inet: 2, Inet6: 10 } as const;
/** Socket types. */
export const SocketType = { Stream: 1 } as const;
/** Protocols; `Mptcp` is TCP + 0x100 and never on the wire (A2.01). */
export const Protocol = { Default: 0, Tcp: 6, Mptcp: 262 } as const;
/** Flags of `send` and `recv`. */
export const Message = {
  /** Ignored as by Linux's MPTCP: all bytes are in band, and records have no end (D1.11). */
  OutOfBand: 0x1,
  EndOfRecord: 0x80,
  Peek: 0x2,
  WaitAll: 0x100,
  DontWait: 0x40,
  NoSignal: 0x4000,
  More: 0x8000,
  Truncate: 0x20,
  ErrorQueue: 0x2000,
} as const;
/** `shutdown`. */
export const Shutdown = { Read: 0, Write: 1, Both: 2 } as const;
/** `poll`. */
export const Poll = { In: 0x1, Out: 0x4, Err: 0x8, Hup: 0x10, ReadHup: 0x2000, Nval: 0x20 } as const;

/** What may be set on a socket before it connects or listens, and in part afterwards. Bytes and ms. */
export interface SocketSettings {
  /** SO_RCVBUF: fixes the receive buffer, no autotuning. */
  receiveBuffer?: number;
  /** SO_SNDBUF. */
  sendBuffer?: number;
  /** TCP_NODELAY. */
  noDelay?: boolean;
  /** SO_KEEPALIVE with TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT. */
  keepAlive?: { idle: number; interval: number; probes: number } | false;
  /** TCP_MAXSEG. */
  maximumSegmentSize?: number;
  /** TCP_USER_TIMEOUT. */
  userTimeout?: number;
  /** SO_LINGER in ms; 0 makes `close` an abort, undefined leaves the default. */
  linger?: number;
  /** IPV6_V6ONLY: an IPv6 socket that listens on any address takes no IPv4. */
  ipv6Only?: boolean;
  /** TCP_CONGESTION. */
  congestionControl?: TcpConfig['congestionControl'];
}

export interface Endpoint {
  readonly address: Address;
  readonly port: number;
}

/** One open socket. */
class Socket {
  readonly family: number;
  readonly multipath: boolean;
  readonly settings: SocketSettings = {};
  bound: { address: Address | undefined; port: number } | undefined;
  connection: Connection | null = null;
  listener: Listener | null = null;
  /** SO_ERROR. */
  error = 0;
  /** `connect` was called and its outcome not reported yet. */
  connecting = false;
  readShut = false;
  writeShut = false;

  constructor(family: number, multipath: boolean) {
    this.family = family;
    this.multipath = multipath;
  }
}

/**
 * BSD socket calls with Linux's semantics and errno over a `Stack`: the host interface. Everything is non-blocking and
 * synchronous: what cannot be done now returns `-EAGAIN` (`-EINPROGRESS` for `connect`), and `Stack.pollReady` names
 * the descriptor when that may have changed. No call throws; errors are negative numbers.
 */
export class Sockets {
  readonly stack: Stack;
  private readonly table: (Socket | undefined)[] = [];

  constructor(stack: Stack) {
    this.stack = stack;
  }

  /** A new socket; -EAFNOSUPPORT, -EPROTONOSUPPORT, -ENOPROTOOPT (MPTCP disabled, D1.01). */
  socket(family: number, type: number, protocol: number): number {
    if (family !== Family.Inet && family !== Family.Inet6) return -Errno.EAFNOSUPPORT;
    if (type !== SocketType.Stream) return -Errno.EPROTONOSUPPORT;
    if (protocol !== Protocol.Default && protocol !== Protocol.Tcp && protocol !== Protocol.Mptcp) {
      return -Errno.EPROTONOSUPPORT;
    }
    const multipath = protocol === Protocol.Mptcp;
    if (multipath && !this.stack.config.enabled) return -Errno.ENOPROTOOPT;
    return this.open(new Socket(family, multipath));
  }

  private open(socket: Socket): number {
    let descriptor = this.table.indexOf(undefined);
    if (descriptor < 0) descriptor = this.table.length;
    this.table[descriptor] = socket;
    return descriptor;
  }

  /** Sets options; those of a connection that exists apply where they can. 0 or -EBADF, -EINVAL. */
  configure(descriptor: number, settings: SocketSettings): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    for (const value of [settings.receiveBuffer, settings.sendBuffer, settings.userTimeout, settings.linger]) {
      if (value !== undefined && !(value >= 0)) return -Errno.EINVAL;
    }
    Object.assign(socket.settings, settings);
    const { connection, listener } = socket;
    if (listener !== null) listener.tcp = overrides(socket.settings);
    if (connection !== null) {
      connection.tcp = overrides(socket.settings);
      this.apply(connection, settings);
    }
    return 0;
  }

  bind(descriptor: number, address: Address | undefined, port: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.bound !== undefined || socket.connection !== null || socket.listener !== null) return -Errno.EINVAL;
    if (!isPort(port)) return -Errno.EINVAL;
    const specific = address === undefined || address.isUnspecified ? undefined : address;
    if (specific !== undefined && this.stack.interfaces.owner(specific) === undefined) return -Errno.EADDRNOTAVAIL;
    socket.bound = { address: specific, port };
    return 0;
  }

  listen(descriptor: number, backlog: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.connection !== null) return -Errno.EINVAL;
    if (socket.listener !== null) {
      socket.listener.backlog = Math.max(0, backlog);
      return 0;
    }
    try {
      const address = socket.bound?.address;
      socket.listener = this.stack.listen({
        port: socket.bound?.port ?? 0,
        multipath: socket.multipath,
        backlog: Math.max(0, backlog),
        tcp: overrides(socket.settings),
        ...(address === undefined ? familyOf(socket) : { address }),
      });
    } catch (error) {
      return failure(error);
    }
    this.stack.attach(socket.listener, descriptor);
    return 0;
  }

  /** The descriptor of the next connection; -EAGAIN when none waits. */
  accept(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.listener === null) return -Errno.EINVAL;
    const connection = this.stack.accept(socket.listener);
    if (connection === undefined) return -Errno.EAGAIN;
    const accepted = new Socket(socket.family, connection.mptcp !== null);
    accepted.connection = connection;
    Object.assign(accepted.settings, socket.settings);
    const number = this.open(accepted);
    this.stack.attach(connection, number);
    return number;
  }

  /** -EINPROGRESS, or an error; writability tells the outcome (`error`). */
  connect(descriptor: number, address: Address, port: number, now: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.listener !== null) return -Errno.EOPNOTSUPP;
    if (socket.connection !== null) {
      if (socket.connection.established) return -Errno.EISCONN;
      if (!socket.connection.closed) return -Errno.EALREADY;
      const error = this.takeError(socket);
      if (error !== 0) return -error;
      // An attempt that failed, and whose error was told, leaves a socket that may try another address (D1.04).
      socket.connection.close();
      socket.connection = null;
      socket.error = 0;
    }
    if (!isPort(port) || port === 0) return -Errno.EINVAL;
    if (socket.family === Family.Inet && address.family === 6) return -Errno.EAFNOSUPPORT;
    const { bound, settings } = socket;
    try {
      socket.connection = this.stack.connect(now, {
        peer: address,
        peerPort: port,
        multipath: socket.multipath,
        tcp: overrides(settings),
        ...(bound?.address === undefined ? {} : { local: bound.address }),
        localPort: bound?.port ?? 0,
      });
    } catch (error) {
      return failure(error);
    }
    socket.connecting = true;
    this.stack.attach(socket.connection, descriptor);
    return -Errno.EINPROGRESS;
  }

  /** Bytes taken; -EAGAIN when there is no room, -EPIPE after shutdown or the end, the error of the connection once. */
  send(descriptor: number, bytes: Uint8Array, start: number, length: number, _flags = 0): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    const { connection } = socket;
    if (connection === null) return -Errno.ENOTCONN;
    if (socket.writeShut) return -Errno.EPIPE;
    if (connection.closed) {
      const error = this.takeError(socket);
      return error === 0 ? -Errno.EPIPE : -error;
    }
    if (!connection.established) return -Errno.EAGAIN;
    if (length === 0) return 0;
    const taken = connection.write(bytes, start, length);
    return taken === 0 ? -Errno.EAGAIN : taken;
  }

  /**
   * Bytes read; 0 at the end of the stream; -EAGAIN when there are none yet; the error of the connection once. `Peek`
   * leaves them where they are and may show less than there is, `Truncate` throws them away; no call waits, so that
   * `WaitAll` takes what there is; nothing is ever in the error queue (D1.10).
   */
  recv(descriptor: number, target: Uint8Array, start: number, length: number, flags = 0): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    const { connection } = socket;
    if (connection === null) return -Errno.ENOTCONN;
    if ((flags & Message.ErrorQueue) !== 0) return -Errno.EAGAIN;
    if (socket.readShut) return 0;
    if (connection.readable > 0) {
      if ((flags & Message.Truncate) !== 0) return discard(connection, length, (flags & Message.Peek) !== 0);
      if ((flags & Message.Peek) === 0) return connection.read(target, start, length);
      const view = connection.peek();
      const count = Math.min(length, view.length);
      target.set(view.subarray(0, count), start);
      return count;
    }
    if (connection.peerFinished) return 0;
    if (connection.closed) return 0 - this.takeError(socket);
    return -Errno.EAGAIN;
  }

  /** Readable bytes without a copy, valid until the next call; empty when there are none. `consume` gives them up. */
  peek(descriptor: number): Uint8Array {
    return this.table[descriptor]?.connection?.peek() ?? NOTHING;
  }

  consume(descriptor: number, count: number): void {
    this.table[descriptor]?.connection?.consume(count);
  }

  shutdown(descriptor: number, how: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    const { connection } = socket;
    if (connection === null || !connection.established) return -Errno.ENOTCONN;
    if (how !== Shutdown.Write) socket.readShut = true;
    if (how !== Shutdown.Read && !socket.writeShut) {
      socket.writeShut = true;
      connection.shutdown();
    }
    return 0;
  }

  /** The descriptor is free at once; unsent bytes are still delivered, unless `linger` is 0. */
  close(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    this.table[descriptor] = undefined;
    if (socket.listener !== null) this.stack.closeListener(socket.listener);
    const { connection } = socket;
    if (connection === null) return 0;
    if (socket.settings.linger === 0) connection.abort();
    else connection.close();
    return 0;
  }

  /** Ends the connection with MP_FASTCLOSE or RST. */
  abort(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    socket.settings.linger = 0;
    return this.close(descriptor);
  }

  /**
   * `connect` with AF_UNSPEC: the connection ends with MP_FASTCLOSE or RST, a listener is closed, and the socket may
   * connect or listen again (D1.05). 0 or -EBADF.
   */
  disconnect(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.listener !== null) this.stack.closeListener(socket.listener);
    socket.connection?.abort();
    socket.listener = null;
    socket.connection = null;
    socket.error = 0;
    socket.connecting = false;
    socket.readShut = false;
    socket.writeShut = false;
    return 0;
  }

  /**
   * SIOCINQ: bytes that can be read. As in Linux an MPTCP socket says 1 when there are none and none will come, so that
   * the end is worth a read (D1.23). -EBADF, -EINVAL for a listener.
   */
  inputQueue(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.listener !== null) return -Errno.EINVAL;
    const { connection } = socket;
    if (connection === null) return 0;
    if (connection.readable > 0 || !socket.multipath) return connection.readable;
    return socket.readShut || connection.peerFinished || connection.closed ? 1 : 0;
  }

  /** SIOCOUTQNSD: bytes written and not yet sent, behind closed windows for example (D1.25). -EBADF, -EINVAL. */
  unsentQueue(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.listener !== null) return -Errno.EINVAL;
    const { connection } = socket;
    if (connection === null || !connection.established || connection.closed) return 0;
    const { mptcp, stream } = connection;
    if (mptcp === null) return unsentOf(stream!.connection, stream!.source.end);
    const waiting = mptcp.sendQueue.end - mptcp.sendNxt;
    if (!mptcp.fallenBack) return waiting;
    // After fallback what waits in the one subflow counts as well.
    const [subflow] = mptcp.subflows;
    return waiting + unsentOf(subflow?.tcp ?? null, subflow?.end ?? 0);
  }

  /** Bits of `Poll` that hold now. */
  poll(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return Poll.Nval;
    if (socket.listener !== null) return socket.listener.pending > 0 ? Poll.In : 0;
    const { connection } = socket;
    if (connection === null) return Poll.Out | Poll.Hup;
    let bits = 0;
    if (connection.readable > 0) bits |= Poll.In;
    if (connection.peerFinished) bits |= Poll.In | Poll.ReadHup;
    if (connection.closed) {
      bits |= Poll.In | Poll.Out | Poll.Hup | Poll.ReadHup;
      if (errorOf(connection) !== 0 && socket.error >= 0) bits |= Poll.Err;
    } else if (connection.established && connection.writable > 0) bits |= Poll.Out;
    return bits;
  }

  /** SO_ERROR: the pending error, cleared by asking; 0 when there is none. -EBADF. */
  error(descriptor: number): number {
    const socket = this.table[descriptor];
    if (socket === undefined) return -Errno.EBADF;
    if (socket.connection === null || !socket.connection.closed) return 0;
    return this.takeError(socket);
  }

  getsockname(descriptor: number): Endpoint | undefined {
    const socket = this.table[descriptor];
    if (socket === undefined) return undefined;
    if (socket.connection !== null) {
      return { address: socket.connection.tuple.local, port: socket.connection.tuple.localPort };
    }
    if (socket.listener !== null && socket.listener.address !== undefined) {
      return { address: socket.listener.address, port: socket.listener.port };
    }
    return undefined;
  }

  getpeername(descriptor: number): Endpoint | undefined {
    const connection = this.table[descriptor]?.connection;
    if (connection === undefined || connection === null) return undefined;
    return { address: connection.tuple.peer, port: connection.tuple.peerPort };
  }

  /** Port a listener or a bound socket has; 0 when none. */
  localPort(descriptor: number): number {
    const socket = this.table[descriptor];
    return socket?.listener?.port ?? socket?.connection?.tuple.localPort ?? socket?.bound?.port ?? 0;
  }

  /** MPTCP_INFO and TCP_INFO of a connection; undefined without one. */
  info(descriptor: number): ConnectionInfo | undefined {
    const connection = this.table[descriptor]?.connection;
    return connection === undefined || connection === null ? undefined : connectionInfo(connection);
  }

  /** The stack's connection behind a descriptor, for the control plane. */
  connectionOf(descriptor: number): Connection | undefined {
    return this.table[descriptor]?.connection ?? undefined;
  }

  /** A `CloseReason`; -1 while it lives. */
  closeReason(descriptor: number): number {
    return this.table[descriptor]?.connection?.closeReason ?? -1;
  }

  /** Bits of `Ready` that the handle collected since the last call. */
  takeReady(descriptor: number): number {
    const socket = this.table[descriptor];
    const handle: Handle | null | undefined = socket?.connection ?? socket?.listener;
    return handle === null || handle === undefined ? 0 : handle.takeReady();
  }

  /** Reports the connection's error once, as Linux does; afterwards the stream just ends. */
  private takeError(socket: Socket): number {
    if (socket.error < 0) return 0;
    socket.error = -1;
    const { connection } = socket;
    return connection === null ? 0 : errorOf(connection);
  }

  private apply(connection: Connection, settings: SocketSettings): void {
    const { mptcp, stream } = connection;
    if (settings.receiveBuffer !== undefined) (mptcp?.ring ?? stream!.sink).setLimit(settings.receiveBuffer);
    if (settings.sendBuffer !== undefined) (mptcp ?? stream!).setSendBuffer(settings.sendBuffer);
    const tcps = mptcp !== null ? mptcp.subflows.map((subflow) => subflow.tcp) : [stream!.connection];
    for (const tcp of tcps) {
      if (tcp === null) continue;
      if (settings.noDelay !== undefined) tcp.sender.setNagle(this.stack.now, !settings.noDelay);
      if (settings.keepAlive !== undefined) {
        const { idle, interval, probes } = settings.keepAlive || { idle: 0, interval: 0, probes: 0 };
        tcp.setKeepAlive(this.stack.now, settings.keepAlive !== false, idle, interval, probes);
      }
      if (settings.userTimeout !== undefined) {
        tcp.sender.setPersistence(this.stack.tcpConfig.retries, settings.userTimeout);
      }
    }
  }
}

const NOTHING = new Uint8Array(0);

/** Gives up to `length` readable bytes up unread; only counts them with `keep`. */
function discard(connection: Connection, length: number, keep: boolean): number {
  const count = Math.min(length, connection.readable);
  if (!keep)
    for (let left = count; left > 0; ) {
      const run = Math.min(left, connection.peek().length);
      connection.consume(run);
      left -= run;
    }
  return count;
}

/** Bytes up to `end` that `tcp` has not sent. */
function unsentOf(tcp: TcpConnection | null, end: number): number {
  return tcp === null ? 0 : Math.max(0, end - tcp.sender.nxt);
}

/** errno of a connection that ended; 0 when it ended well. */
export function errorOf(connection: Connection): number {
  switch (connection.closeReason) {
    case CloseReason.Refused:
      return Errno.ECONNREFUSED;
    case CloseReason.PeerReset:
    case CloseReason.Extension:
      return Errno.ECONNRESET;
    case CloseReason.TimedOut:
    case CloseReason.KeepAlive:
      return Errno.ETIMEDOUT;
    case CloseReason.Unreachable:
      return Errno.EHOSTUNREACH;
    case CloseReason.AddressGone:
      return Errno.EADDRNOTAVAIL;
    case CloseReason.Aborted:
    case CloseReason.Invariant:
      return Errno.ECONNABORTED;
    default:
      return 0;
  }
}

function overrides(settings: SocketSettings): Partial<TcpConfig> {
  const tcp: Partial<TcpConfig> = {};
  if (settings.receiveBuffer !== undefined) {
    tcp.receiveBuffer = settings.receiveBuffer;
    tcp.maximumReceiveBuffer = settings.receiveBuffer;
  }
  if (settings.sendBuffer !== undefined) {
    tcp.sendBuffer = settings.sendBuffer;
    tcp.maximumSendBuffer = settings.sendBuffer;
  }
  if (settings.noDelay !== undefined) tcp.nagle = !settings.noDelay;
  if (settings.maximumSegmentSize !== undefined) tcp.maximumSegmentSize = settings.maximumSegmentSize;
  if (settings.userTimeout !== undefined) tcp.userTimeout = settings.userTimeout;
  if (settings.congestionControl !== undefined) tcp.congestionControl = settings.congestionControl;
  if (settings.keepAlive !== undefined) {
    tcp.keepAlive = settings.keepAlive !== false;
    if (settings.keepAlive !== false) {
      tcp.keepAliveIdle = settings.keepAlive.idle;
      tcp.keepAliveInterval = settings.keepAlive.interval;
      tcp.keepAliveProbes = settings.keepAlive.probes;
    }
  }
  return tcp;
}

/** What a socket that listens on any address takes: an IPv6 one both families, unless it is told not to. */
function familyOf(socket: Socket): { family?: 4 | 6 } {
  if (socket.family === Family.Inet) return { family: 4 };
  return socket.settings.ipv6Only === true ? { family: 6 } : {};
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 0 && port <= 65_535;
}

function failure(error: unknown): number {
  if (error instanceof StackError) return -errnoByName(error.code);
  throw error;
}

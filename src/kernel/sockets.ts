import { lookup } from 'node:dns/promises';
import net from 'node:net';
import { type Foreign, foreign } from '../node/ffi.ts';
import { errnoName, SystemError } from '../node/system-error.ts';
import { Address } from '../wire/address.ts';
import { AF_INET, AF_INET6, encodeSocketAddress } from './socket-address.ts';
import {
  decodeMptcpInfo,
  decodeSubflowAddresses,
  decodeTcpInfo,
  MPTCP_INFO_BYTES,
  type MptcpInfo,
  SUBFLOW_ADDRESSES_BYTES,
  SUBFLOW_HEADER,
  type SubflowAddresses,
  subflowCount,
  subflowRequest,
  TCP_INFO_BYTES,
  type TcpInfo,
} from './socket-info.ts';

/**
 * The kernel's own MPTCP for Node programs: real `net.Socket`s and `net.Server`s around sockets made with IPPROTO_MPTCP.
 * The one thing Node lacks is the call that makes the socket; everything after it is Node's.
 */

export type Protocol = 'mptcp' | 'tcp';

export interface KernelSocketOptions {
  /** Default `mptcp`. */
  readonly protocol?: Protocol;
  readonly family?: 4 | 6;
}

/** Set before the socket connects or listens; listening sockets pass them on to what they accept. */
export interface KernelSocketSettings {
  /** Bytes, before the kernel doubles them; fixes the buffer's size, which the kernel tunes itself otherwise. */
  readonly receiveBuffer?: number;
  readonly sendBuffer?: number;
  /** Name of a congestion control, such as `cubic`. */
  readonly congestionControl?: string;
}

/**
 * A new non-blocking stream socket of the kernel's, as a descriptor that the caller owns.
 *
 * @throws SystemError with `code` ENOPROTOOPT (MPTCP is switched off: `sysctl net.mptcp.enabled=1`), EPROTONOSUPPORT or
 *   EINVAL (this kernel has none), EAFNOSUPPORT (no such family), EMFILE
 * @throws ForeignFunctionError when C functions cannot be called
 */
export function kernelSocket(options: KernelSocketOptions = {}): number {
  const calls = foreign();
  const domain = options.family === 6 ? AF_INET6 : AF_INET;
  const isMptcp = (options.protocol ?? 'mptcp') === 'mptcp';
  const fd = calls.socket(domain, SOCK_STREAM_NONBLOCK_CLOEXEC, isMptcp ? IPPROTO_MPTCP : IPPROTO_TCP);
  if (fd >= 0) return fd;
  const errno = calls.errno();
  throw SystemError.of(errno, 'socket', isMptcp ? noMptcp(errnoName(errno)) : '');
}

function noMptcp(code: string): string {
  if (code === 'ENOPROTOOPT') return 'MPTCP is switched off in this network namespace (sysctl net.mptcp.enabled=1)';
  if (code === 'EPROTONOSUPPORT' || code === 'EINVAL') return 'this kernel has no MPTCP (Linux 5.6 and later may have)';
  return '';
}

export interface KernelConnectOptions extends KernelSocketOptions, KernelSocketSettings {
  /** Name or address. Names are looked up, and their addresses tried one after the other. */
  readonly host: string;
  readonly port: number;
  readonly localAddress?: string;
  readonly localPort?: number;
  readonly allowHalfOpen?: boolean;
  /** Use plain TCP where the kernel has no MPTCP. Default false. */
  readonly fallback?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Connects. The socket is connected when the promise resolves.
 *
 * @throws SystemError as `kernelSocket`, and Node's own errors: ECONNREFUSED, ETIMEDOUT, ENOTFOUND, ABORT_ERR …
 */
export async function connectKernel(options: KernelConnectOptions): Promise<net.Socket> {
  const literal = net.isIP(options.host);
  const candidates =
    literal === 0
      ? await lookup(options.host, { all: true, family: options.family ?? 0 })
      : [{ address: options.host, family: literal }];
  let failure: unknown;
  for (const { address, family } of candidates) {
    try {
      return await connectOne(options, address, family === 6 ? 6 : 4);
    } catch (error) {
      failure = error;
      if (options.signal?.aborted === true) break;
    }
  }
  throw failure;
}

// One descriptor for each attempt: Node itself would try further addresses with sockets of its own, plain ones.
function connectOne(options: KernelConnectOptions, address: string, family: 4 | 6): Promise<net.Socket> {
  const fd = openSocket(options, family);
  return new Promise((resolve, reject) => {
    const socket = new net.Socket({
      fd,
      readable: true,
      writable: true,
      allowHalfOpen: options.allowHalfOpen ?? false,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    const onError = (error: Error): void => reject(error);
    socket.once('error', onError);
    socket.connect(
      {
        host: address,
        port: options.port,
        family,
        ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
        ...(options.localPort === undefined ? {} : { localPort: options.localPort }),
      },
      () => {
        socket.off('error', onError);
        resolve(socket);
      },
    );
  });
}

export interface KernelListenOptions extends KernelSocketOptions, KernelSocketSettings {
  /** Address to listen on. Default: any, of `family`. */
  readonly host?: string;
  /** 0, the default: any free one. */
  readonly port?: number;
  readonly backlog?: number;
  readonly allowHalfOpen?: boolean;
  readonly pauseOnConnect?: boolean;
  readonly noDelay?: boolean;
  /** Use plain TCP where the kernel has no MPTCP. Default false. */
  readonly fallback?: boolean;
  readonly onConnection?: (socket: net.Socket) => void;
}

/**
 * Listens. A client that speaks plain TCP is accepted too; `mptcpInfo` of its socket is undefined.
 *
 * @throws SystemError as `kernelSocket`; EADDRINUSE, EADDRNOTAVAIL, EACCES from bind
 */
export async function listenKernel(options: KernelListenOptions = {}): Promise<net.Server> {
  const host = options.host ?? (options.family === 6 ? '::' : '0.0.0.0');
  const address = Address.parse(host);
  if (address === undefined) throw new SystemError('EINVAL', 'bind', `not an IP address: ${JSON.stringify(host)}`);
  const calls = foreign();
  const fd = openSocket(options, address.family);
  const name = encodeSocketAddress(address, options.port ?? 0);
  const one = Buffer.alloc(4);
  one.writeInt32LE(1);
  calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, one, 4);
  if (calls.bind(fd, name, name.length) < 0) {
    const errno = calls.errno();
    calls.close(fd);
    throw SystemError.of(errno, 'bind', `cannot listen on ${host} port ${options.port ?? 0}`);
  }
  const server = net.createServer(
    {
      allowHalfOpen: options.allowHalfOpen ?? false,
      pauseOnConnect: options.pauseOnConnect ?? false,
      noDelay: options.noDelay ?? false,
    },
    options.onConnection,
  );
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd, backlog: options.backlog ?? 511 }, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

function openSocket(
  options: KernelSocketOptions & KernelSocketSettings & { readonly fallback?: boolean },
  family: 4 | 6,
): number {
  const fd = openWithFallback(options, family);
  try {
    applySettings(fd, options);
    return fd;
  } catch (error) {
    foreign().close(fd);
    throw error;
  }
}

function openWithFallback(options: KernelSocketOptions & { readonly fallback?: boolean }, family: 4 | 6): number {
  try {
    return kernelSocket({ protocol: options.protocol ?? 'mptcp', family });
  } catch (error) {
    const code = (error as { code?: string }).code ?? '';
    if (options.fallback !== true || !NO_MPTCP_CODES.has(code)) throw error;
    return kernelSocket({ protocol: 'tcp', family });
  }
}

const NO_MPTCP_CODES: ReadonlySet<string> = new Set(['ENOPROTOOPT', 'EPROTONOSUPPORT', 'EINVAL']);

function applySettings(fd: number, settings: KernelSocketSettings): void {
  if (settings.receiveBuffer !== undefined) setNumber(fd, SOL_SOCKET, SO_RCVBUF, settings.receiveBuffer, 'SO_RCVBUF');
  if (settings.sendBuffer !== undefined) setNumber(fd, SOL_SOCKET, SO_SNDBUF, settings.sendBuffer, 'SO_SNDBUF');
  if (settings.congestionControl !== undefined) setCongestionControl(fd, settings.congestionControl);
}

/** A `net.Socket`, or a descriptor. */
export type SocketOrDescriptor = net.Socket | number;

/**
 * The descriptor under a socket of Node's.
 * @throws SystemError EBADF when it has none (any more)
 */
export function descriptorOf(socket: SocketOrDescriptor): number {
  if (typeof socket === 'number') return socket;
  const fd = (socket as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) throw new SystemError('EBADF', 'getsockopt', 'the socket is closed');
  return fd;
}

/**
 * What kind of socket the kernel made; it stays `mptcp` when the connection falls back. Undefined when it is neither.
 * @throws SystemError EBADF when it is closed
 */
export function socketProtocol(socket: SocketOrDescriptor): Protocol | undefined {
  const bytes = getOption(descriptorOf(socket), SOL_SOCKET, SO_PROTOCOL, Buffer.alloc(4), 'SO_PROTOCOL', false)!;
  const number = bytes.readInt32LE(0);
  if (number === IPPROTO_MPTCP) return 'mptcp';
  return number === IPPROTO_TCP ? 'tcp' : undefined;
}

/** The connection as MPTCP sees it; undefined when it is plain TCP, be it from the start or by fallback. */
export function mptcpInfo(socket: SocketOrDescriptor): MptcpInfo | undefined {
  const bytes = getOption(
    descriptorOf(socket),
    SOL_MPTCP,
    MPTCP_INFO,
    Buffer.alloc(MPTCP_INFO_BYTES),
    'MPTCP_INFO',
    true,
  );
  return bytes === undefined ? undefined : decodeMptcpInfo(bytes);
}

/** Addresses of every subflow; empty when the connection is plain TCP. */
export function subflowAddresses(socket: SocketOrDescriptor): SubflowAddresses[] {
  const bytes = subflowArray(descriptorOf(socket), MPTCP_SUBFLOW_ADDRS, SUBFLOW_ADDRESSES_BYTES, 'MPTCP_SUBFLOW_ADDRS');
  return bytes === undefined ? [] : decodeSubflowAddresses(bytes);
}

/** TCP_INFO of every subflow; empty when the connection is plain TCP. */
export function subflowTcpInfo(socket: SocketOrDescriptor): TcpInfo[] {
  const bytes = subflowArray(descriptorOf(socket), MPTCP_TCPINFO, TCP_INFO_BYTES, 'MPTCP_TCPINFO');
  if (bytes === undefined) return [];
  const entry = Math.min(bytes.readUInt32LE(8), TCP_INFO_BYTES);
  const found: TcpInfo[] = [];
  for (let index = 0; index < subflowCount(bytes); index++) {
    // The kernel writes entries of what it has or what it was asked for, whichever is shorter, side by side.
    const at = SUBFLOW_HEADER + index * entry;
    if (at + entry > bytes.length) break;
    found.push(decodeTcpInfo(bytes.subarray(at, at + entry)));
  }
  return found;
}

/** TCP_INFO of a TCP connection, or of the first subflow of an MPTCP connection. */
export function tcpInfo(socket: SocketOrDescriptor): TcpInfo {
  const fd = descriptorOf(socket);
  return decodeTcpInfo(getOption(fd, IPPROTO_TCP, TCP_INFO, Buffer.alloc(TCP_INFO_BYTES), 'TCP_INFO', false)!);
}

function subflowArray(fd: number, option: number, entryBytes: number, name: string): Buffer | undefined {
  for (let room = 16; ; room *= 2) {
    const bytes = getOption(fd, SOL_MPTCP, option, subflowRequest(room, entryBytes), name, true);
    if (bytes === undefined || subflowCount(bytes) <= room || room >= 256) return bytes;
  }
}

/** Sets the time that `close` waits for unsent data, in seconds; undefined: not at all. 0 makes it a reset. */
export function setLinger(socket: SocketOrDescriptor, seconds: number | undefined): void {
  const value = Buffer.alloc(8);
  value.writeInt32LE(seconds === undefined ? 0 : 1, 0);
  value.writeInt32LE(seconds ?? 0, 4);
  setOption(descriptorOf(socket), SOL_SOCKET, SO_LINGER, value, 'SO_LINGER');
}

/** Ends the connection at once with a reset; an MPTCP connection with MP_FASTCLOSE. */
export function abort(socket: net.Socket): void {
  setLinger(socket, 0);
  socket.destroy();
}

/**
 * Sets a connection's congestion control, on all its subflows. An MPTCP socket that has no subflow yet takes any name,
 * and goes on with the default where the name turns out to be wrong: `congestionControl` of a connected one tells.
 *
 * @throws SystemError ENOENT: the kernel has none of that name; EPERM: not for everyone
 */
export function setCongestionControl(socket: SocketOrDescriptor, name: string): void {
  setOption(descriptorOf(socket), IPPROTO_TCP, TCP_CONGESTION, Buffer.from(name), `TCP_CONGESTION ${name}`);
}

export function congestionControl(socket: SocketOrDescriptor): string {
  const fd = descriptorOf(socket);
  const bytes = getOption(fd, IPPROTO_TCP, TCP_CONGESTION, Buffer.alloc(16), 'TCP_CONGESTION', false)!;
  const end = bytes.indexOf(0);
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end);
}

function setNumber(fd: number, level: number, option: number, value: number, name: string): void {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  setOption(fd, level, option, bytes, name);
}

function setOption(fd: number, level: number, option: number, value: Buffer, name: string): void {
  const calls = foreign();
  if (calls.setsockopt(fd, level, option, value, value.length) < 0) throw failed(calls, 'setsockopt', name);
}

/** @returns the part of `value` that the kernel filled; undefined when `mayLack` and the socket is no MPTCP socket */
function getOption(
  fd: number,
  level: number,
  option: number,
  value: Buffer,
  name: string,
  mayLack: boolean,
): Buffer | undefined {
  const calls = foreign();
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  if (calls.getsockopt(fd, level, option, value, length) < 0) {
    const errno = calls.errno();
    // An IPv4 socket that fell back says EOPNOTSUPP, an IPv6 one and a TCP socket ENOPROTOOPT.
    if (mayLack && (errno === EOPNOTSUPP || errno === ENOPROTOOPT)) return undefined;
    throw SystemError.of(errno, 'getsockopt', name);
  }
  return value.subarray(0, length.readUInt32LE(0));
}

function failed(calls: Foreign, call: string, name: string): SystemError {
  return SystemError.of(calls.errno(), call, name);
}

/** SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC */
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const IPPROTO_TCP = 6;
const IPPROTO_MPTCP = 262;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_LINGER = 13;
const SO_PROTOCOL = 38;
const TCP_INFO = 11;
const TCP_CONGESTION = 13;
const SOL_MPTCP = 284;
const MPTCP_INFO = 1;
const MPTCP_TCPINFO = 2;
const MPTCP_SUBFLOW_ADDRS = 3;
const EOPNOTSUPP = 95;
const ENOPROTOOPT = 92;

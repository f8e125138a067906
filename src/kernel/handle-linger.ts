import { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import type { Foreign } from '../node/ffi.ts';
import { ownerOf, type TcpHandle } from './handle-owner.ts';

/**
 * What a TCP connection does and an MPTCP connection of the kernel's does not: data that comes after `close` is answered
 * by a reset at once, so that the peer's writes fail. The kernel lets the peer write on, and resets after a minute.
 *
 * So a closed handle's connection is held on a second descriptor: it has sent its end, and reads. The peer's end lets go
 * of it, the peer's data resets it (MP_FASTCLOSE, RFC 8684 §3.5). This keeps no process alive.
 */

/** Milliseconds that a closed connection waits for its peer's end before it is left to the kernel. */
const PATIENCE = 60_000;
/** How many wait at once, and of how many descriptors that the process may have one; the oldest gives way. */
const MOST = 1024;
const SHARE = 8;

export class HandleLinger {
  private readonly calls: Foreign;
  private readonly shared: SharedHandles;
  private readonly made = new WeakSet<TcpHandle>();
  private readonly waiting = new Set<net.Socket>();
  private readonly most = Math.min(MOST, Math.floor(descriptorLimit() / SHARE));
  private readonly word = Buffer.alloc(8);
  private readonly length = Buffer.alloc(4);
  /** What arrives too late, which nobody reads. */
  private readonly late = Buffer.alloc(1024);

  constructor(calls: Foreign, shared: SharedHandles) {
    this.calls = calls;
    this.shared = shared;
  }

  /** The handle's descriptor was made for it alone. */
  madeHere(handle: TcpHandle): void {
    this.made.add(handle);
  }

  /** Whether the handle holds an MPTCP socket, fallen back or not. */
  isMultipath(handle: TcpHandle): boolean {
    const { calls, word, length } = this;
    length.writeInt32LE(4);
    return calls.getsockopt(handle.fd, SOL_SOCKET, SO_PROTOCOL, word, length) === 0 && word.readInt32LE() === MPTCP;
  }

  /** Nothing that goes wrong here keeps the handle from closing. */
  beforeClose(handle: TcpHandle): void {
    try {
      if (!(handle.fd >= 0) || !this.isOurs(handle) || !this.isMultipath(handle)) return;
      const unread = this.calls.recv(handle.fd, this.word, 1, MSG_PEEK | MSG_DONTWAIT);
      // Closing what holds unread data is a reset for TCP (RFC 1122 §4.2.2.13), and here.
      if (unread > 0) this.abortOnClose(handle.fd);
      else if (unread < 0 && this.calls.errno() === EAGAIN) this.hold(handle.fd);
    } catch {
      // The handle closes as the kernel does it.
    }
  }

  /**
   * Whether the connection belongs to this process and to this handle alone. Another process may hold it too, and would
   * have it ended under its hands.
   */
  private isOurs(handle: TcpHandle): boolean {
    const owner = ownerOf(handle) as Owner | undefined;
    if (owner === undefined || owner.connecting === true || this.shared.has(handle)) return false;
    // A handle that was taken away from its socket was given to another process. TLS has its own around it.
    if (owner._handle !== handle && owner._handle?._parent !== handle) return false;
    return this.made.has(handle) || (owner.server ?? owner._server) instanceof net.Server;
  }

  private abortOnClose(fd: number): void {
    this.word.writeInt32LE(1, 0);
    this.word.writeInt32LE(0, 4);
    this.calls.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.word, 8);
  }

  private hold(original: number): void {
    const fd = this.calls.fcntl(original, F_DUPFD_CLOEXEC, 0);
    // Out of descriptors: the program needs them more.
    if (fd < 0) return;
    if (this.calls.shutdown(fd, SHUT_WR) < 0) {
      this.calls.close(fd);
      return;
    }
    let socket: net.Socket;
    try {
      socket = this.open(fd);
    } catch {
      this.calls.close(fd);
      return;
    }
    this.waiting.add(socket);
    if (this.waiting.size <= this.most) return;
    const [oldest] = this.waiting;
    oldest?.destroy();
  }

  private open(fd: number): net.Socket {
    const options = {
      fd,
      readable: true,
      writable: true,
      allowHalfOpen: true,
      onread: {
        buffer: this.late,
        callback: () => {
          socket.resetAndDestroy();
          return false;
        },
      },
    };
    const socket: net.Socket = new net.Socket(options);
    const release = (): void => {
      socket.destroy();
    };
    socket.unref();
    socket.on('end', release);
    socket.on('error', () => {});
    socket.on('close', () => this.waiting.delete(socket));
    socket.setTimeout(PATIENCE, release);
    return socket;
  }
}

/** RLIMIT_NOFILE, as it is when the process starts. */
function descriptorLimit(): number {
  try {
    const found = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return found === null ? Number.POSITIVE_INFINITY : Number(found[1]);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

interface Owner {
  readonly connecting?: boolean;
  readonly server?: unknown;
  readonly _server?: unknown;
  readonly _handle: (TcpHandle & { readonly _parent?: TcpHandle }) | null;
}

type Write = (this: object, request: unknown, data: unknown, handle?: unknown, ...rest: unknown[]) => unknown;

/** The handles that were given to another process, and may be open there. */
export class SharedHandles {
  private readonly handles = new WeakSet<object>();

  constructor(calls: Foreign) {
    this.watchMessages(calls);
    this.watchSpawn();
  }

  has(handle: object): boolean {
    return this.handles.has(handle);
  }

  /** Messages to other processes are written into a pipe, with the handle that goes along. */
  private watchMessages(calls: Foreign): void {
    const pair = Buffer.alloc(8);
    if (calls.socketpair(AF_UNIX, SOCK_STREAM_NONBLOCK_CLOEXEC, 0, pair) < 0) return;
    calls.close(pair.readInt32LE(4));
    const probe = new net.Socket({ fd: pair.readInt32LE(0), readable: false, writable: false });
    const { _handle } = probe as unknown as { _handle: object };
    probe.destroy();
    const prototype = _handle.constructor.prototype as Record<string, Write>;
    const { handles } = this;
    for (const name of ['writeUtf8String', 'writeBuffer']) {
      const original = prototype[name];
      if (original === undefined) continue;
      const value: Write = function (this: object, request, data, handle, ...rest) {
        if (typeof handle === 'object' && handle !== null) handles.add(handle);
        return original.call(this, request, data, handle, ...rest);
      };
      Object.defineProperty(prototype, name, { value, writable: true, configurable: true, enumerable: true });
    }
  }

  /** A socket may be a child's standard input and output. */
  private watchSpawn(): void {
    const prototype = ChildProcess.prototype as unknown as { spawn?: (options: { stdio?: unknown }) => unknown };
    const original = prototype.spawn;
    if (original === undefined) return;
    const { handles } = this;
    prototype.spawn = function (this: object, options) {
      if (Array.isArray(options?.stdio)) {
        for (const item of options.stdio as ({ _handle?: object | null } | null | undefined)[]) {
          if (typeof item?._handle === 'object' && item._handle !== null) handles.add(item._handle);
        }
      }
      return original.call(this, options);
    };
  }
}

const AF_UNIX = 1;
/** SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC */
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const SO_PROTOCOL = 38;
const MPTCP = 262;
const MSG_PEEK = 2;
const MSG_DONTWAIT = 0x40;
const EAGAIN = 11;
const F_DUPFD_CLOEXEC = 1030;
const SHUT_WR = 1;

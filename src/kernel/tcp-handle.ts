import net from 'node:net';
import { type Foreign, foreign } from '../node/ffi.ts';
import { errnoName } from '../node/system-error.ts';
import { HandleLinger, SharedHandles } from './handle-linger.ts';
import { ownerOf, type TcpHandle } from './handle-owner.ts';
import { AF_INET, AF_INET6 } from './socket-address.ts';

/**
 * Sockets of Node's own that speak the kernel's MPTCP. libuv keeps a descriptor that was put into a TCP handle before
 * it binds or connects: so those methods of Node's handle class are wrapped, once a process, and give the handle an
 * MPTCP socket where a policy asks for one. Everything above a handle is as it was: happy eyeballs, TLS, HTTP, cluster.
 */

/** Says which sockets of this process are MPTCP sockets. Asked on each connect and bind; should be quick. */
export interface HandlePolicy {
  /** @param owner the socket that connects, or binds in order to connect */
  client(owner: net.Socket | undefined): boolean;
  /** For everything that binds in order to listen. */
  server(): boolean;
}

/** What `wrapTcpHandle` returns. */
export interface HandleHook {
  /** Every one is asked: one `true` is enough. */
  readonly policies: Set<HandlePolicy>;
  /** Why there will be no MPTCP in this process; undefined when there may be. */
  readonly reason: string | undefined;
  /** What binds synchronously within `run` in order to listen is MPTCP. */
  asServer<T>(run: () => T): T;
}

type Method = (this: TcpHandle, ...values: unknown[]) => unknown;
type Prototype = Record<string, Method | undefined> & { [WRAPPED]?: HandleHook };

/** Found by any copy of this package in the process. */
const WRAPPED = Symbol.for('mptcp.tcp-handle');

let hook: HandleHook | undefined;
let refusal: { readonly sentence: string | undefined } | undefined;

/** Wraps Node's TCP handle class, the first time that it is called. Never throws: `reason` says what is missing. */
export function wrapTcpHandle(): HandleHook {
  hook ??= install();
  return hook;
}

/** Why this system makes no MPTCP socket, as a sentence; undefined when it does. Asked once. */
export function multipathRefusal(): string | undefined {
  refusal ??= { sentence: ask() };
  return refusal.sentence;
}

function ask(): string | undefined {
  if (process.platform !== 'linux')
    return `only Linux has MPTCP sockets for every program, this is ${process.platform}`;
  let calls: Foreign;
  try {
    calls = foreign();
  } catch (error) {
    return (error as Error).message;
  }
  const fd = calls.socket(AF_INET, SOCK_STREAM_NONBLOCK_CLOEXEC, IPPROTO_MPTCP);
  if (fd < 0) return refusalSentence(errnoName(calls.errno()));
  calls.close(fd);
  return undefined;
}

/** @param code such as `ENOPROTOOPT`: what `socket` failed with */
export function refusalSentence(code: string): string {
  switch (code) {
    case 'ENOPROTOOPT':
      return 'MPTCP is switched off in this network namespace (ENOPROTOOPT); switch it on: sysctl net.mptcp.enabled=1';
    case 'EPROTONOSUPPORT':
    case 'EINVAL':
      return `this kernel has no MPTCP (${code}); Linux 5.6 and later has, if built with CONFIG_MPTCP`;
    case 'EACCES':
    case 'EPERM':
      return `this process may not make MPTCP sockets (${code}): a seccomp filter or a security module is in the way`;
    default:
      return `the kernel makes no MPTCP socket (${code})`;
  }
}

function inert(reason: string): HandleHook {
  return { policies: new Set(), reason, asServer: (run) => run() };
}

function install(): HandleHook {
  const refused = multipathRefusal();
  let calls: Foreign;
  try {
    if (process.platform !== 'linux') return inert(refused!);
    calls = foreign();
  } catch (error) {
    return inert((error as Error).message);
  }
  try {
    const prototype = handlePrototype(calls);
    const present = prototype[WRAPPED];
    if (present !== undefined) return present;
    const wrapped = new Hook(calls, refused, prototype);
    Object.defineProperty(prototype, WRAPPED, { value: wrapped });
    return wrapped;
  } catch (error) {
    return inert(`this Node has no TCP handle of the kind that is known: ${(error as Error).message}`);
  }
}

/** The class is no export of Node's; a socket around a descriptor holds an instance. */
function handlePrototype(calls: Foreign): Prototype {
  const fd = calls.socket(AF_INET, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error(errnoName(calls.errno()));
  const probe = new net.Socket({ fd, readable: false, writable: false });
  const handle = (probe as unknown as { _handle: object })._handle;
  probe.destroy();
  const prototype = handle.constructor.prototype as Prototype;
  for (const name of ['open', 'bind', 'bind6', 'connect', 'connect6', 'close']) {
    if (typeof prototype[name] !== 'function') throw new Error(`${name} is missing`);
  }
  return prototype;
}

class Hook implements HandleHook {
  readonly policies = new Set<HandlePolicy>();
  readonly reason: string | undefined;
  private readonly calls: Foreign;
  private readonly linger: HandleLinger;
  /** Depth of `asServer`. */
  private serving = 0;

  constructor(calls: Foreign, reason: string | undefined, prototype: Prototype) {
    this.calls = calls;
    this.reason = reason;
    this.linger = new HandleLinger(calls, new SharedHandles(calls));
    this.wrap(prototype, 'connect', AF_INET);
    this.wrap(prototype, 'connect6', AF_INET6);
    this.wrap(prototype, 'bind', AF_INET);
    this.wrap(prototype, 'bind6', AF_INET6);
    this.wrapClose(prototype);
    wrapTypeOfService(prototype, this.linger);
  }

  asServer<T>(run: () => T): T {
    this.serving++;
    try {
      return run();
    } finally {
      this.serving--;
    }
  }

  private wrap(prototype: Prototype, name: string, domain: number): void {
    const original = prototype[name]!;
    const isBind = name.startsWith('bind');
    const prepare = (handle: TcpHandle): void => this.prepare(handle, domain, isBind);
    replace(prototype, name, function (this: TcpHandle, ...values) {
      prepare(this);
      return original.apply(this, values);
    });
  }

  /** Whatever goes wrong, the handle then makes a plain socket of its own. */
  private prepare(handle: TcpHandle, domain: number, isBind: boolean): void {
    try {
      // Undefined: not a handle at all, so that Node itself throws what it throws then.
      if (!(handle.fd < 0)) return;
      const owner = ownerOf(handle);
      // A socket is known to its handle before it binds; a server only afterwards.
      const isServer = isBind && owner === undefined;
      if (!(isServer ? this.wantsServer() : this.wantsClient(owner))) return;
      const fd = this.calls.socket(domain, SOCK_STREAM_NONBLOCK_CLOEXEC, IPPROTO_MPTCP);
      if (fd < 0) return;
      if (handle.open(fd) !== 0) {
        this.calls.close(fd);
        return;
      }
      if (!isServer) this.linger.madeHere(handle);
    } catch {
      // A policy that throws has not asked for MPTCP.
    }
  }

  private wantsServer(): boolean {
    if (this.serving > 0) return true;
    for (const policy of this.policies) if (policy.server()) return true;
    return false;
  }

  private wantsClient(owner: net.Socket | undefined): boolean {
    for (const policy of this.policies) if (policy.client(owner)) return true;
    return false;
  }

  private wrapClose(prototype: Prototype): void {
    const original = prototype.close!;
    const { linger } = this;
    replace(prototype, 'close', function (this: TcpHandle, ...values) {
      linger.beforeClose(this);
      return original.apply(this, values);
    });
  }
}

/**
 * An IPv6 MPTCP socket has no traffic class: what Node would throw for it (ENOTSUP) a program that asks for better
 * service over TCP does not expect. The value is kept, and has no effect.
 */
function wrapTypeOfService(prototype: Prototype, linger: HandleLinger): void {
  const set = prototype.setTypeOfService;
  const get = prototype.getTypeOfService;
  if (set === undefined || get === undefined) return;
  const values = new WeakMap<TcpHandle, unknown>();
  replace(prototype, 'setTypeOfService', function (this: TcpHandle, ...given) {
    const status = set.apply(this, given);
    if (typeof status !== 'number' || status >= 0 || !linger.isMultipath(this)) return status;
    values.set(this, given[0]);
    return 0;
  });
  replace(prototype, 'getTypeOfService', function (this: TcpHandle, ...given) {
    const status = get.apply(this, given);
    if (typeof status !== 'number' || status >= 0 || !linger.isMultipath(this)) return status;
    return values.get(this) ?? 0;
  });
}

function replace(prototype: Prototype, name: string, value: Method): void {
  Object.defineProperty(prototype, name, { value, writable: true, configurable: true, enumerable: true });
}

/** SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC */
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const IPPROTO_MPTCP = 262;

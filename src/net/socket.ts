import net from 'node:net';
import type { Multipath, MultipathChoice } from '../api/multipath.ts';
import { setCongestionControl } from '../kernel/sockets.ts';
import { wrapTcpHandle } from '../kernel/tcp-handle.ts';
import { type Choice, chooseBackend } from './choice.ts';
import { CONNECTION, FALLBACK, publish } from './diagnostics.ts';
import type { Host } from './host.ts';
import { kernelMultipath } from './kernel-multipath.ts';
import { KernelWatch } from './kernel-watch.ts';
import { plainError } from './userspace-error.ts';
import { UserspaceSocket, type UserspaceSocketOptions } from './userspace-socket.ts';

export interface SocketOptions extends net.SocketConstructorOpts {
  /** Which connection it will be. Default false, plain TCP: a client asks for multipath. */
  readonly multipath?: MultipathChoice<Host>;
}

const choices = new WeakMap<net.Socket, Choice>();

/**
 * A `net.Socket` whose connection may have several paths: over the kernel's MPTCP, over a host of this package's stack,
 * or plain TCP. `multipath` tells which, and of its paths. Events beyond those of `net.Socket`: `subflow` and
 * `subflowClosed` (with a `SubflowState`), `fallback` (with the reason).
 */
export class Socket extends net.Socket {
  /** @throws TypeError ERR_INVALID_ARG_VALUE, Error ERR_MPTCP_UNAVAILABLE for `multipath` */
  // biome-ignore lint/correctness/noUnreachableSuper: one name for each kind, which `instanceof` knows; those of the userspace stack are made whole by their own class
  constructor(options: SocketOptions = {}) {
    const { multipath, ...rest } = options;
    const choice = chooseBackend(multipath, 'client');
    if (choice.backend === 'userspace') {
      const given = choice.isPlain ? { ...options, multipath: false } : options;
      // biome-ignore lint/correctness/noConstructorReturn: see above
      return new UserspaceSocket(choice.host!, given as UserspaceSocketOptions) as unknown as Socket;
    }
    super(rest);
    choices.set(this, choice);
    if (choice.backend === 'kernel') hook();
  }

  /** Of any kind: a socket of this class, of the userspace stack, or one that a `Server` of this package accepted. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return (
      value instanceof UserspaceSocket ||
      (typeof value === 'object' && value !== null && choices.has(value as net.Socket))
    );
  }

  /** What the connection's paths are; undefined before there is a connection, and once it is over. */
  get multipath(): Multipath | undefined {
    return kernelMultipath(this, choices.get(this)?.options);
  }

  override emit(event: string | symbol, ...values: unknown[]): boolean {
    if (event === 'connect' && !this.destroyed) onConnect(this, choices.get(this)!);
    // Refused as plain TCP while it connected: nobody is told of a connection.
    if ((event === 'connect' || event === 'ready') && this.destroyed) return false;
    return super.emit(event as string, ...values);
  }
}

/** Connected: what was asked for is set and checked before anybody hears of it. */
function onConnect(socket: net.Socket, { options, backend, reason }: Choice): void {
  const multipath = kernelMultipath(socket, options);
  const fallback = reason ?? multipath?.fallback ?? null;
  if (options.required === true && (backend === 'tcp' || fallback !== null)) {
    socket.destroy(plainError(fallback ?? 'that was asked for'));
    return;
  }
  if (options.congestionControl !== undefined) {
    try {
      setCongestionControl(socket, options.congestionControl);
    } catch (error) {
      socket.destroy(error as Error);
      return;
    }
  }
  if (multipath === undefined || backend === 'tcp') return;
  publish(CONNECTION, () => ({ socket, multipath }));
  if (fallback !== null) {
    publish(FALLBACK, () => ({ socket, reason: fallback }));
    socket.emit('fallback', fallback);
  } else new KernelWatch(socket, multipath);
}

/** For servers: `socket` was accepted by one of this package. */
export function adopt(socket: net.Socket, choice: Choice): void {
  choices.set(socket, choice);
  Object.defineProperty(socket, 'multipath', {
    configurable: true,
    get: () => kernelMultipath(socket, choice.options),
  });
  const multipath = kernelMultipath(socket, choice.options);
  if (multipath === undefined || choice.backend === 'tcp') return;
  publish(CONNECTION, () => ({ socket, multipath }));
  if (multipath.fallback === null) new KernelWatch(socket, multipath);
}

let isHooked = false;

/** Sockets that were made with `multipath` get MPTCP descriptors, others stay what they are. */
function hook(): void {
  if (isHooked) return;
  isHooked = true;
  wrapTcpHandle().policies.add({
    client: (owner) => owner !== undefined && choices.get(owner)?.backend === 'kernel',
    server: () => false,
  });
}

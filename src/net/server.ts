import net from 'node:net';
import type { MultipathChoice } from '../api/multipath.ts';
import { wrapTcpHandle } from '../kernel/tcp-handle.ts';
import { type Choice, chooseBackend } from './choice.ts';
import type { Host } from './host.ts';
import { adopt } from './socket.ts';
import { UserspaceServer, type UserspaceServerOptions } from './userspace-server.ts';

export interface ServerOptions extends net.ServerOpts {
  /** What clients may have. Default true: Multipath TCP for those that ask for it, plain TCP for others. */
  readonly multipath?: MultipathChoice<Host>;
}

const choices = new WeakMap<net.Server, Choice>();

type Listen = (this: net.Server, ...values: unknown[]) => unknown;

/**
 * A `net.Server` whose clients may have several paths. Each socket that it accepts has `multipath`, and the events of
 * `Socket`.
 */
export class Server extends net.Server {
  /** @throws TypeError ERR_INVALID_ARG_VALUE, Error ERR_MPTCP_UNAVAILABLE for `multipath` */
  // biome-ignore lint/correctness/noUnreachableSuper: one name for each kind, which `instanceof` knows; those of the userspace stack are made whole by their own class
  constructor(options?: ServerOptions | ((socket: net.Socket) => void), onConnection?: (socket: net.Socket) => void) {
    const [given, listener] = typeof options === 'function' ? [{}, options] : [options ?? {}, onConnection];
    // Node says what is wrong with options that are none.
    const { multipath, ...rest } = typeof given === 'object' ? (given as ServerOptions) : { multipath: false };
    const choice = chooseBackend(multipath, 'server');
    if (choice.backend === 'userspace') {
      const own = choice.isPlain ? { ...given, multipath: false } : given;
      // biome-ignore lint/correctness/noConstructorReturn: see above
      return new UserspaceServer(choice.host!, own as UserspaceServerOptions, listener) as unknown as Server;
    }
    super(typeof given === 'object' ? rest : given, listener);
    choices.set(this, choice);
    if (choice.backend === 'kernel') bindMultipath(this);
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return (
      value instanceof UserspaceServer ||
      (typeof value === 'object' && value !== null && choices.has(value as net.Server))
    );
  }

  override emit(event: string | symbol, ...values: unknown[]): boolean {
    if (event === 'connection') {
      const [socket] = values;
      const choice = choices.get(this)!;
      if (socket instanceof net.Socket && !socket.destroyed) {
        adopt(socket, choice);
        const { fallback } = (socket as unknown as { multipath?: { fallback: string | null } }).multipath ?? {};
        if (choice.options.required === true && (choice.backend === 'tcp' || fallback !== null)) {
          socket.destroy();
          return false;
        }
      }
    }
    return super.emit(event as string, ...values);
  }
}

/**
 * Node makes and binds the listening handle in `_listen2`, after a name was looked up and cluster's primary was asked:
 * what is bound within it is this server's.
 */
export function bindMultipath(server: net.Server): void {
  const hook = wrapTcpHandle();
  const target = server as unknown as { _listen2?: Listen };
  const listen = target._listen2;
  if (listen === undefined) return;
  Object.defineProperty(server, '_listen2', {
    configurable: true,
    writable: true,
    value(this: net.Server, ...values: unknown[]) {
      return hook.asServer(() => listen.apply(this, values));
    },
  });
}

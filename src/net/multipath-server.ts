import net from 'node:net';
import type { MultipathChoice } from '../api/multipath.ts';
import { type Choice, chooseBackend } from './choice.ts';
import type { Host } from './host.ts';
import { bindMultipath } from './server.ts';
import { adopt } from './socket.ts';
import { UserspaceServer } from './userspace-server.ts';

const servers = new WeakSet<net.Server>();

/**
 * Makes a server that exists accept connections of several paths: of `node:http`, `node:https`, `node:http2`,
 * `node:tls`, `node:net`, or of a framework that makes one of these (fastify's `serverFactory`, `ws`). To be called
 * before it listens.
 *
 * @param multipath default true @returns the same server
 * @throws Error ERR_SERVER_ALREADY_LISTEN; as `new Server` for `multipath`
 */
export function multipathServer<S extends net.Server>(server: S, multipath: MultipathChoice<Host> = true): S {
  if (servers.has(server)) return server;
  if (server.listening) {
    const error = new Error('the server listens already: multipathServer is for before');
    throw Object.assign(error, { code: 'ERR_SERVER_ALREADY_LISTEN' });
  }
  const choice = chooseBackend(multipath, 'server');
  servers.add(server);
  if (choice.backend === 'userspace') delegate(server, choice);
  else {
    if (choice.backend === 'kernel') bindMultipath(server);
    server.prependListener('connection', (socket: unknown) => {
      if (socket instanceof net.Socket && !socket.destroyed) adopt(socket, choice);
    });
  }
  // Under TLS programs see another socket: it tells of the paths of the one below.
  server.prependListener('secureConnection', (secure: net.Socket & { _parent?: { multipath?: unknown } }) => {
    const below = secure._parent;
    if (below !== undefined && below !== null && !('multipath' in secure)) {
      Object.defineProperty(secure, 'multipath', { configurable: true, get: () => below.multipath });
    }
  });
  return server;
}

const DELEGATED = ['address', 'getConnections', 'ref', 'unref'] as const;

/** A server of the userspace stack listens, and hands on what it accepts. */
function delegate(server: net.Server, { host, options, isPlain }: Choice): void {
  const settings = server as unknown as { allowHalfOpen?: boolean; pauseOnConnect?: boolean; noDelay?: boolean };
  const own = new UserspaceServer(host!, {
    // Servers of node:http and node:tls want half-open connections; what they were made with is on them.
    allowHalfOpen: settings.allowHalfOpen ?? false,
    pauseOnConnect: settings.pauseOnConnect ?? false,
    noDelay: settings.noDelay ?? false,
    multipath: isPlain ? false : options,
  });
  own.on('connection', (socket) => server.emit('connection', socket));
  own.on('listening', () => server.emit('listening'));
  own.on('error', (error) => server.emit('error', error));
  own.on('drop', (data) => server.emit('drop', data));
  own.on('close', () => server.emit('close'));
  const define = (name: string | symbol, value: unknown): void => {
    Object.defineProperty(server, name, { configurable: true, writable: true, value });
  };
  for (const name of DELEGATED) {
    define(name, (...values: never[]) => {
      const result = (own[name] as (...values: never[]) => unknown)(...values);
      return result === own ? server : result;
    });
  }
  define('listen', (...values: unknown[]) => {
    const last = values.at(-1);
    if (typeof last === 'function') server.once('listening', last as () => void);
    own.maxConnections = server.maxConnections;
    (own.listen as (...values: unknown[]) => unknown)(...(typeof last === 'function' ? values.slice(0, -1) : values));
    return server;
  });
  const closeIdle = (server as unknown as { closeIdleConnections?: () => void }).closeIdleConnections;
  define('close', (done?: (error?: Error) => void) => {
    closeIdle?.call(server);
    own.close(done);
    return server;
  });
  // Node's own looks for a handle, which the other server has.
  define(Symbol.asyncDispose, async () => {
    if (own.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
  });
  Object.defineProperty(server, 'listening', { configurable: true, get: () => own.listening });
}

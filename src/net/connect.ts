import { channel } from 'node:diagnostics_channel';
import type net from 'node:net';
import type { MultipathChoice } from '../api/multipath.ts';
import type { Host } from './host.ts';
import { Server, type ServerOptions } from './server.ts';
import { Socket, type SocketOptions } from './socket.ts';
import { connectArguments } from './userspace-connect.ts';
import { UserspaceSocket } from './userspace-socket.ts';

/** Node's own: tells of sockets that connect. */
const CLIENT_CHANNEL = channel('net.client.socket');

/** What `connect` takes: `node:net`'s options, and `multipath`. */
export type ConnectOptions = net.NetConnectOpts & {
  /** Default false, plain TCP: a client asks for multipath. */
  readonly multipath?: MultipathChoice<Host>;
};

/**
 * Connects, as `net.connect`: `connect(options, done)`, `connect(port, host, done)`, `connect(path, done)`.
 * @throws as `new Socket` and `net.connect`
 */
export function connect(options: ConnectOptions, onConnect?: () => void): Socket;
export function connect(port: number, host?: string, onConnect?: () => void): Socket;
export function connect(port: number, onConnect?: () => void): Socket;
export function connect(path: string, onConnect?: () => void): Socket;
export function connect(...values: unknown[]): Socket {
  const [options, done] = connectArguments(values) as [ConnectOptions, (() => void) | undefined];
  const socket = new Socket(options as SocketOptions);
  if (CLIENT_CHANNEL.hasSubscribers && !(socket instanceof UserspaceSocket)) CLIENT_CHANNEL.publish({ socket });
  const { timeout } = options as { timeout?: number };
  if (timeout) socket.setTimeout(timeout);
  return socket.connect(options, done);
}

export { connect as createConnection };

/** A server, as `net.createServer`. Multipath unless `multipath: false`. @throws as `new Server` */
export function createServer(onConnection?: (socket: net.Socket) => void): Server;
export function createServer(options: ServerOptions, onConnection?: (socket: net.Socket) => void): Server;
export function createServer(
  options?: ServerOptions | ((socket: net.Socket) => void),
  onConnection?: (socket: net.Socket) => void,
): Server {
  return new Server(options, onConnection);
}

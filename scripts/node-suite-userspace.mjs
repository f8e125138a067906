/**
 * Preloaded by `node-suite.ts`: what `node:net` exports becomes sockets of this package's own stack, before the program
 * begins. `connect`, `createConnection`, `createServer`, `Socket`, `Stream` and `Server` belong to one host, which reaches
 * itself as 127.0.0.0/8 and ::1. `node:http`, `node:https`, `node:http2` and `node:tls` take what they need from these
 * exports; what they took when they were loaded (the class that a server inherits from, agents) is given to them here.
 *
 * What cannot be replaced this way, and goes to Node's own sockets:
 * - a `TLSSocket` that is made and connected by hand, without `tls.connect` (its handle wraps one of the system);
 * - what has a descriptor: `fd`, `handle`, paths of Unix sockets, pipes, standard streams;
 * - processes that a program starts without `process.execArgv`, cluster's workers, what is sent between processes;
 * - `internal/net`, `process.binding('tcp_wrap')` and whatever else `--expose-internals` shows;
 * - `socket._handle`, which is null.
 *
 * `MPTCP_NODE_SUITE_BUILD` names the folder of the compiled package, whose own imports of `node:net` are `original-net.js`.
 */
import http from 'node:http';
import http2 from 'node:http2';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import tls from 'node:tls';
import { pathToFileURL } from 'node:url';

const base = pathToFileURL(`${process.env.MPTCP_NODE_SUITE_BUILD}/`);
const { createHost } = await import(new URL('net/host.js', base).href);
const { UserspaceSocket } = await import(new URL('net/userspace-socket.js', base).href);
const { UserspaceServer } = await import(new URL('net/userspace-server.js', base).href);
const { connectArguments } = await import(new URL('net/userspace-connect.js', base).href);

const Original = { Socket: net.Socket, Server: net.Server, tlsConnect: tls.connect };
const host = createHost();

/** What `made` has becomes what `target` has: constructors of `node:net` are functions that others apply to their own. */
function become(target, made) {
  Object.defineProperties(target, Object.getOwnPropertyDescriptors(made));
}

function hasSystemHandle(options) {
  return options !== null && typeof options === 'object' && (options.handle || options.fd !== undefined);
}

function Socket(options) {
  if (new.target === undefined && !(this instanceof Original.Socket)) return new Socket(options);
  if (this instanceof UserspaceSocket && !hasSystemHandle(options)) {
    // Streams bind some of their functions to what they are made for.
    if (new.target !== undefined) return Reflect.construct(UserspaceSocket, [host, options ?? {}], new.target);
    become(this, Reflect.construct(UserspaceSocket, [host, options ?? {}], this.constructor));
    return this;
  }
  if (new.target === Socket) return new Original.Socket(options);
  Original.Socket.call(this, options);
  return this;
}
Object.setPrototypeOf(Socket, Original.Socket);
Socket.prototype = UserspaceSocket.prototype;

function isPath(values) {
  const [first] = values;
  if (typeof first === 'string') return !(Number(first) >= 0);
  if (typeof first !== 'object' || first === null) return false;
  const { path, port, fd, _handle: handle } = first;
  return (typeof path === 'string' && port === undefined) || typeof fd === 'number' || Boolean(handle);
}

const { listen } = UserspaceServer.prototype;
UserspaceServer.prototype.listen = function (...values) {
  return (isPath(values) ? Original.Server.prototype.listen : listen).apply(this, values);
};

function Server(options, listener) {
  if (!(this instanceof Original.Server)) return new Server(options, listener);
  become(this, new UserspaceServer(host, options, listener));
  return this;
}
Object.setPrototypeOf(Server, Original.Server);
Server.prototype = UserspaceServer.prototype;

// As Node's: sockets of either kind are sockets.
for (const [made, original] of [
  [Socket, Original.Socket],
  [Server, Original.Server],
]) {
  Object.defineProperty(made, 'name', { value: original.name });
  Object.defineProperty(made, Symbol.hasInstance, { value: (value) => value instanceof original });
  Object.defineProperty(made.prototype, 'constructor', { configurable: true, writable: true, value: made });
}

function connect(...values) {
  const list = Array.isArray(values[0]) ? values[0] : values;
  const [options, done] = connectArguments(list);
  const socket = isPath([options]) ? new Original.Socket(options) : new Socket(options);
  if (options.timeout) socket.setTimeout(options.timeout);
  return done ? socket.connect(options, done) : socket.connect(options);
}

net.connect = connect;
net.createConnection = connect;
net.createServer = (options, listener) => new Server(options, listener);
net.Socket = Socket;
net.Stream = Socket;
net.Server = Server;

// These took their own before; TLS sockets stay Node's, above one of ours.
Object.setPrototypeOf(http.Server.prototype, Server.prototype);
Object.setPrototypeOf(tls.Server.prototype, Server.prototype);
// A class: what `super` is there is what it inherits from.
const { constructor: Http2Server } = http2.createServer();
Object.setPrototypeOf(Http2Server, Server);
Object.setPrototypeOf(Http2Server.prototype, Server.prototype);
http.Agent.prototype.createConnection = connect;
tls.connect = (...values) => {
  const [options, done] = connectArguments(values);
  const given = typeof values[1] === 'object' && values[1] !== null ? values[1] : values[2];
  const all = { ...options, ...(typeof given === 'object' ? given : {}) };
  if (all.socket || isPath([all])) return Original.tlsConnect(...values);
  const { host: name, servername } = all;
  const socket = connect(all);
  const secure = Original.tlsConnect(
    { ...all, host: name, ...(servername === undefined ? {} : { servername }), socket },
    done,
  );
  if (all.timeout) secure.setTimeout(all.timeout);
  return secure;
};
syncBuiltinESMExports();

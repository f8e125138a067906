import assert from 'node:assert/strict';
import type { EventEmitter } from 'node:events';
import net from 'node:net';
import { after, test } from 'node:test';
import { multipathRefusal } from '../../src/kernel/tcp-handle.ts';
import { createHost, emulate, type Host } from '../../src/net/host.ts';
import * as multipath from '../../src/net/index.ts';
import { connectArguments } from '../../src/net/userspace-connect.ts';
import { createServer, UserspaceServer, type UserspaceServerOptions } from '../../src/net/userspace-server.ts';
import { connect, UserspaceSocket, type UserspaceSocketOptions } from '../../src/net/userspace-socket.ts';

/**
 * Every behaviour is asserted of `node:net` itself and of each stack behind the same interface: what Node does is the
 * truth, and a difference fails.
 */
export interface Backend {
  readonly name: string;
  /** Where servers listen, and where clients come from. */
  readonly address: string;
  readonly clientAddress: string;
  readonly address6: string;
  connect(...values: unknown[]): net.Socket;
  createServer(options?: object, listener?: (socket: net.Socket) => void): net.Server;
  /** An unconnected socket of the client's side. */
  socket(options?: object): net.Socket;
  server(options?: unknown, listener?: unknown): net.Server;
  /** Undefined for the sockets of the operating system. */
  readonly hosts?: { readonly client: Host; readonly server: Host };
}

const node: Backend = {
  name: 'node:net',
  address: '127.0.0.1',
  clientAddress: '127.0.0.1',
  address6: '::1',
  connect: (...values) => net.connect(...(values as [number])),
  createServer: (options, listener) => net.createServer(options ?? {}, listener),
  socket: (options) => new net.Socket(options),
  server: (options, listener) => new net.Server(options as object, listener as () => void),
};

/** The kernel's Multipath TCP: descriptors of Node's own handles, and Node's own sockets above them. */
const kernel: Backend = {
  name: 'kernel',
  address: '127.0.0.1',
  clientAddress: '127.0.0.1',
  address6: '::1',
  connect: (...values) => {
    const [options, done] = connectArguments(values);
    return multipath.connect({ ...options, multipath: true } as multipath.ConnectOptions, done);
  },
  createServer: (options, listener) => multipath.createServer({ ...options, multipath: true }, listener),
  socket: (options) => new multipath.Socket({ ...options, multipath: true }),
  server: (options, listener) => new multipath.Server(options as object, listener as () => void),
};

/** Why the kernel's backend cannot be had here. */
const refusal = multipathRefusal();
if (refusal !== undefined) test('kernel', { skip: refusal }, () => {});

function userspace(name: string, client: Host, server: Host, addresses: [string, string, string]): Backend {
  return {
    name,
    address: addresses[0],
    clientAddress: addresses[1],
    address6: addresses[2],
    connect: (...values) => connect(client, ...values),
    createServer: (options, listener) => createServer(server, options ?? {}, listener),
    socket: (options) => new UserspaceSocket(client, options as UserspaceSocketOptions),
    server: (options, listener) =>
      new UserspaceServer(server, options as UserspaceServerOptions, listener as () => void),
    hosts: { client, server },
  };
}

const alone = createHost();
const pair = emulate([{}, { addresses: ['fd00::1', 'fd00::2'], endpoint: false }]);

after(() => {
  alone.close();
  pair.close();
});

/** `node:net` comes first: a test that is wrong about Node says so there. */
export const BACKENDS: readonly Backend[] = [
  node,
  ...(refusal === undefined ? [kernel] : []),
  userspace('userspace, one host', alone, alone, ['127.0.0.1', '127.0.0.1', '::1']),
  userspace('userspace, two hosts', pair.first, pair.second, ['10.0.1.2', '10.0.1.1', 'fd00::2']),
];

/** The same assertions for every backend. */
export function each(title: string, body: (backend: Backend) => Promise<void> | void): void {
  for (const backend of BACKENDS) test(`${backend.name}: ${title}`, { timeout: 6000 }, () => body(backend));
}

/** The port that `server` listens on, once it does. */
export async function listening(backend: Backend, server: net.Server, options: object = {}): Promise<number> {
  server.listen({ port: 0, host: backend.address, ...options });
  await next(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

/** The values of the next event of that name; rejects when an error comes first. */
export function next(emitter: EventEmitter, name: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => reject(error);
    if (name !== 'error') emitter.once('error', onError);
    emitter.once(name, (...values) => {
      emitter.removeListener('error', onError);
      resolve(values);
    });
  });
}

/** A connection, both of its ends. */
export interface Pair {
  readonly client: net.Socket;
  readonly peer: net.Socket;
  readonly server: net.Server;
  readonly port: number;
  /** Ends what is open. */
  close(): Promise<void>;
}

export async function connected(backend: Backend, options: { client?: object; server?: object } = {}): Promise<Pair> {
  const server = backend.createServer(options.server ?? {});
  const port = await listening(backend, server);
  const client = backend.connect({ port, host: backend.address, ...options.client });
  const [[peer]] = (await Promise.all([next(server, 'connection'), next(client, 'connect')])) as [
    [net.Socket],
    unknown,
  ];
  return {
    client,
    peer,
    server,
    port,
    async close() {
      client.destroy();
      peer.destroy();
      await closed(server);
    },
  };
}

/** `server` is closed and all of its connections are. */
export function closed(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

/** Names of the events that `emitter` emits, in their order. */
export function record(emitter: EventEmitter, names: readonly string[], into: string[] = []): string[] {
  for (const name of names) emitter.on(name, () => into.push(name));
  return into;
}

/** All that a socket sends until its end. */
export async function everything(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Bytes that differ from place to place. */
export function pattern(length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let index = 0; index < length; index++) bytes[index] = (index * 7 + (index >>> 8) * 13) & 255;
  return bytes;
}

/** The fields of an error that programs look at. */
export function fields(error: unknown): Record<string, unknown> {
  assert.ok(error instanceof Error);
  const { message, code, errno, syscall, address, port } = error as NodeJS.ErrnoException & {
    address?: string;
    port?: number;
  };
  return { message, code, errno, syscall, address, port };
}

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import net from 'node:net';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { multipathRefusal } from '../../src/kernel/tcp-handle.ts';
import * as mptcp from '../../src/net/index.ts';
import { next } from './backends.ts';

/**
 * Many sockets at once, and many one after another: nothing is lost, and when they are gone nothing is left of them: no
 * descriptor, no timer, no memory, no entry in a table.
 */

const AT_ONCE = 2000;
const CYCLES = 10_000;
const ABREAST = 100;
const BYTES = 1024;
/** Bytes of heap that a closed connection may leave behind: both of its ends live in this process. */
const LEFT_BEHIND = 100;
/** Milliseconds of TIME-WAIT, so that a test sees it end. */
const TIME_WAIT = 200;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

interface Network extends Disposable {
  readonly name: string;
  connect(port: number): net.Socket;
  createServer(onConnection: (socket: net.Socket) => void): net.Server;
  readonly address: string;
  readonly hosts: readonly mptcp.Host[];
}

function plain(): Network {
  return {
    name: 'node:net',
    address: '127.0.0.1',
    connect: (port) => net.connect(port, '127.0.0.1'),
    createServer: (onConnection) => net.createServer(onConnection),
    hosts: [],
    [Symbol.dispose]() {},
  };
}

function kernel(): Network {
  const multipath = { backend: 'kernel' } as const;
  return {
    name: 'kernel',
    address: '127.0.0.1',
    connect: (port) => mptcp.connect({ port, host: '127.0.0.1', multipath }),
    createServer: (onConnection) => mptcp.createServer({ multipath }, onConnection),
    hosts: [],
    [Symbol.dispose]() {},
  };
}

function userspace(): Network {
  const pair = mptcp.emulate([{}], { host: { tcp: { timeWait: TIME_WAIT } } });
  return {
    name: 'userspace',
    address: '10.0.1.2',
    connect: (port) => mptcp.connect({ port, host: '10.0.1.2', multipath: { host: pair.first } }),
    createServer: (onConnection) => mptcp.createServer({ multipath: { host: pair.second } }, onConnection),
    hosts: [pair.first, pair.second],
    [Symbol.dispose]: () => pair.close(),
  };
}

/** Sends back what comes, and ends when the peer does. */
function echo(socket: net.Socket): void {
  socket.on('error', () => {});
  socket.on('data', (chunk) => socket.write(chunk));
}

async function listen(network: Network, onConnection: (socket: net.Socket) => void): Promise<[net.Server, number]> {
  const server = network.createServer(onConnection);
  server.listen({ port: 0, host: network.address, backlog: 4096 });
  await next(server, 'listening');
  return [server, (server.address() as net.AddressInfo).port];
}

const MESSAGE = Buffer.alloc(BYTES, 'abcdefg');

/** A connection that carried the message both ways. */
function exchange(network: Network, port: number): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = network.connect(port);
    const chunks: Buffer[] = [];
    let length = 0;
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      chunks.push(chunk);
      length += chunk.length;
      if (length < BYTES) return;
      if (Buffer.concat(chunks).equals(MESSAGE)) resolve(socket);
      else reject(new Error('what came back is not what was sent'));
    });
    socket.write(MESSAGE);
  });
}

function gone(socket: net.Socket): Promise<unknown> {
  return socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve));
}

/** `count` connections, `ABREAST` at a time. */
async function cycle(network: Network, port: number, count: number): Promise<void> {
  let left = count;
  const work = async (): Promise<void> => {
    while (left-- > 0) {
      const socket = await exchange(network, port);
      socket.end();
      await gone(socket);
    }
  };
  await Promise.all(Array.from({ length: ABREAST }, work));
}

function closed(server: net.Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
  });
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length;
}

/** What keeps the event loop, of the kinds that connections and their watching make. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of process.getActiveResourcesInfo()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** Bytes in use, when those are gone that a callback or a weak reference held for a turn or two. */
async function heap(): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 4; round++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    collect();
    least = Math.min(least, process.memoryUsage().heapUsed);
  }
  return least;
}

/** Waits until `done` says that nothing is wrong, five seconds at most; what is wrong then fails the test. */
async function eventually(done: () => string | undefined): Promise<void> {
  const until = performance.now() + 5000;
  for (;;) {
    const wrong = done();
    if (wrong === undefined) return;
    assert.ok(performance.now() < until, wrong);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What is more than before. */
function surplus(before: Record<string, number>, now: Record<string, number>): string | undefined {
  for (const [name, count] of Object.entries(now)) {
    if (count > (before[name] ?? 0)) return `${count} ${name}, before ${before[name] ?? 0}`;
  }
  return undefined;
}

/** Nothing is open, half-open, in TIME-WAIT, bound or waiting in the stack of a host. */
function tables(host: mptcp.Host): string | undefined {
  const { stack, sockets, streams } = host.userspace;
  const counts = {
    connections: [...stack.connections()].length,
    endpoints: stack['demux'].size,
    ports: stack.ports['bound'].size,
    tokens: stack['tokens'].size,
    sockets: sockets['table'].filter((socket) => socket !== undefined).length,
    streams: streams.open.length,
    lingering: streams.lingeringCount,
  };
  const left = Object.entries(counts).filter(([, count]) => count > 0);
  return left.length === 0 ? undefined : left.map(([name, count]) => `${count} ${name}`).join(', ');
}

const refusal = multipathRefusal();

for (const [name, make, skip] of [
  ['node:net', plain, false],
  ['kernel', kernel, refusal ?? false],
  ['userspace', userspace, false],
] as const) {
  const cycles = name === 'node:net' ? CYCLES / 2 : CYCLES;
  describe(name, { skip, timeout: 100_000 }, () => {
    test(`${AT_ONCE} sockets at once, each of which is answered`, async () => {
      using network = make();
      const peers = new Set<net.Socket>();
      const [server, port] = await listen(network, (socket) => {
        peers.add(socket);
        socket.once('close', () => peers.delete(socket));
        echo(socket);
      });
      const before = { descriptors: descriptors(), resources: resources() };
      const sockets = await Promise.all(Array.from({ length: AT_ONCE }, () => exchange(network, port)));
      assert.equal(peers.size, AT_ONCE);
      assert.equal(new Set(sockets.map((socket) => socket.localPort)).size, AT_ONCE);
      for (const socket of sockets) socket.end();
      await Promise.all(sockets.map(gone));
      await eventually(() => (peers.size === 0 ? undefined : `${peers.size} sockets of the server are open`));
      await eventually(() => surplus(before.resources, resources()));
      await eventually(() => {
        const now = descriptors();
        return now <= before.descriptors + 4 ? undefined : `${now} descriptors, before ${before.descriptors}`;
      });
      await closed(server);
      for (const host of network.hosts) await eventually(() => tables(host));
    });

    test(`${cycles} connections, ${ABREAST} at a time, leave nothing behind`, async (t) => {
      using network = make();
      const [server, port] = await listen(network, echo);
      const before = { descriptors: descriptors(), resources: resources() };
      const settle = async (): Promise<void> => {
        for (const host of network.hosts) await eventually(() => waits(host));
      };
      await cycle(network, port, cycles / 2);
      await settle();
      const halfway = await heap();
      await cycle(network, port, cycles / 2);
      await settle();
      const growth = ((await heap()) - halfway) / (cycles / 2);
      t.diagnostic(`${growth.toFixed(1)} bytes a connection`);
      await eventually(() => surplus(before.resources, resources()));
      await eventually(() => {
        const now = descriptors();
        return now <= before.descriptors + 4 ? undefined : `${now} descriptors, before ${before.descriptors}`;
      });
      await closed(server);
      for (const host of network.hosts) await eventually(() => tables(host));
      assert.ok(growth < LEFT_BEHIND, `${growth.toFixed(0)} bytes of heap for each connection that is gone`);
    });
  });
}

/** While a server listens. */
function waits(host: mptcp.Host): string | undefined {
  const count = host.userspace.stack['demux'].size;
  return count === 0 ? undefined : `${count} endpoints in the demultiplexer`;
}

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import { Duplex } from 'node:stream';
import { after, test } from 'node:test';
import tls from 'node:tls';
import fastify from 'fastify';
import { Agent, fetch } from 'undici';
import { WebSocket, WebSocketServer } from 'ws';
import type { Multipath, MultipathChoice } from '../../src/api/multipath.ts';
import { multipathRefusal } from '../../src/kernel/tcp-handle.ts';
import {
  connect,
  connector,
  createServer,
  emulate,
  type Host,
  HttpAgent,
  HttpsAgent,
  multipathServer,
} from '../../src/net/index.ts';
import { CERTIFICATE, KEY } from './certificate.ts';

/** What programs put on top of sockets, over each back end: the same lines, and each connection really is multipath. */

interface Side {
  readonly name: string;
  readonly address: string;
  readonly client: MultipathChoice<Host>;
  readonly server: MultipathChoice<Host>;
}

const world = emulate([{}, {}]);
after(() => world.close());

const sides: Side[] = [
  { name: 'userspace', address: '10.0.1.2', client: { host: world.first }, server: { host: world.second } },
];
const refusal = multipathRefusal();
if (refusal === undefined) sides.push({ name: 'kernel', address: '127.0.0.1', client: true, server: true });
else test('over the kernel', { skip: refusal }, () => {});

const secure = { key: KEY, cert: CERTIFICATE };
const trust = { ca: CERTIFICATE, servername: 'mptcp.test' };

async function listening<S extends net.Server>(server: S, side: Side): Promise<number> {
  server.listen(0, side.address);
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

function text(stream: NodeJS.ReadableStream): Promise<string> {
  return new Promise((resolve, reject) => {
    let all = '';
    stream.setEncoding('utf8');
    stream.on('data', (chunk: string) => {
      all += chunk;
    });
    stream.on('end', () => resolve(all));
    stream.on('error', reject);
  });
}

function multipathOf(socket: unknown): Multipath {
  const { multipath } = socket as { multipath?: Multipath };
  assert.ok(multipath !== undefined, 'the socket tells of its paths');
  return multipath;
}

function assertMultipath(socket: unknown, side: Side): void {
  const { backend, fallback, version } = multipathOf(socket);
  assert.deepEqual({ backend, fallback, version }, { backend: side.name, fallback: null, version: 1 });
}

for (const side of sides) {
  test(`${side.name}: http.Server and HttpAgent, kept alive`, async () => {
    const server = multipathServer(http.createServer(), side.server);
    const raw: unknown[] = [];
    server.on('connection', (socket) => raw.push(socket));
    server.on('request', (request, response) => response.end(`got ${request.url}`));
    const port = await listening(server, side);
    const agent = new HttpAgent({ keepAlive: true, maxSockets: 1, multipath: side.client });
    for (const path of ['/1', '/2']) {
      const request = http.get({ host: side.address, port, path, agent });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      assertMultipath(request.socket, side);
      assert.equal(await text(response), `got ${path}`);
    }
    assert.equal(raw.length, 1, 'one connection for both');
    assertMultipath(raw[0], side);
    agent.destroy();
    server.close();
    await once(server, 'close');
  });

  test(`${side.name}: https.Server and HttpsAgent, sessions resumed`, async () => {
    const server = multipathServer(https.createServer(secure), side.server);
    server.on('request', (request, response) => {
      assertMultipath(request.socket, side);
      response.end(request.url);
    });
    const port = await listening(server, side);
    const agent = new HttpsAgent({ ...trust, multipath: side.client, maxCachedSessions: 4 });
    const reused: boolean[] = [];
    for (const path of ['/1', '/2']) {
      const request = https.get({ host: side.address, port, path, agent, ...trust });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      reused.push((request.socket as tls.TLSSocket).isSessionReused());
      assert.equal(await text(response), path);
    }
    assert.equal(reused[0], false);
    agent.destroy();
    server.close();
    await once(server, 'close');
  });

  test(`${side.name}: http2 both ways`, async () => {
    const server = multipathServer(http2.createSecureServer(secure), side.server);
    server.on('stream', (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('two');
    });
    const port = await listening(server, side);
    const raw = connect({ host: side.address, port, multipath: side.client });
    const session = http2.connect(`https://mptcp.test:${port}`, {
      createConnection: () => tls.connect({ socket: raw, ...trust, ALPNProtocols: ['h2'] }),
    });
    const stream = session.request({ ':path': '/' });
    assert.equal(await text(stream), 'two');
    assertMultipath(raw, side);
    session.close();
    await once(session, 'close');
    server.close();
    await once(server, 'close');
  });

  test(`${side.name}: TLS over our sockets, half closed`, async () => {
    const server = multipathServer(tls.createServer({ ...secure, allowHalfOpen: true }), side.server);
    server.on('secureConnection', (socket) => {
      assertMultipath(socket, side);
      socket.pipe(socket);
    });
    const port = await listening(server, side);
    const raw = connect({ host: side.address, port, multipath: side.client });
    const socket = tls.connect({ socket: raw, ...trust });
    await once(socket, 'secureConnect');
    assert.equal(socket.remoteAddress, side.address);
    const big = 'x'.repeat(300_000);
    socket.end(big);
    assert.equal((await text(socket)).length, big.length);
    server.close();
    await once(server, 'close');
  });

  test(`${side.name}: undici, and so fetch, by the connector`, async () => {
    for (const [scheme, server] of [
      ['http', multipathServer(http.createServer(), side.server)],
      ['https', multipathServer(https.createServer(secure), side.server)],
    ] as const) {
      server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) => {
        assertMultipath(request.socket, side);
        response.end(`fetched ${request.url}`);
      });
      const port = await listening(server, side);
      const dispatcher = new Agent({ connect: connector({ multipath: side.client, ...trust }) });
      const response = await fetch(`${scheme}://${side.address}:${port}/${scheme}`, { dispatcher });
      assert.equal(await response.text(), `fetched /${scheme}`);
      await dispatcher.close();
      server.close();
      await once(server, 'close');
    }
  });

  test(`${side.name}: the connector tells why there is no connection`, async () => {
    const dispatcher = new Agent({ connect: connector({ multipath: side.client }) });
    await assert.rejects(
      fetch(`http://${side.address}:1999/`, { dispatcher }),
      (error: Error & { cause: { code: string } }) => error.cause.code === 'ECONNREFUSED',
    );
    await dispatcher.close();
  });

  test(`${side.name}: ws, both ways`, async () => {
    const server = multipathServer(http.createServer(), side.server);
    const sockets = new WebSocketServer({ server });
    sockets.on('connection', (socket, request) => {
      assertMultipath(request.socket, side);
      socket.on('message', (data) => socket.send(`echo ${data}`));
    });
    const port = await listening(server, side);
    const socket = new WebSocket(`ws://${side.address}:${port}`, { agent: new HttpAgent({ multipath: side.client }) });
    await once(socket, 'open');
    socket.send('hello');
    const [answer] = (await once(socket, 'message')) as [Buffer];
    assert.equal(String(answer), 'echo hello');
    socket.close();
    await once(socket, 'close');
    sockets.close();
    server.close();
    await once(server, 'close');
  });

  test(`${side.name}: fastify by serverFactory`, async () => {
    const app = fastify({ serverFactory: (handler) => multipathServer(http.createServer(handler), side.server) });
    app.get('/', async (request) => ({ backend: multipathOf(request.raw.socket).backend }));
    const address = await app.listen({ port: 0, host: side.address });
    const dispatcher = new Agent({ connect: connector({ multipath: side.client }) });
    assert.deepEqual(await (await fetch(address, { dispatcher })).json(), { backend: side.name });
    await dispatcher.close();
    await app.close();
  });

  test(`${side.name}: web streams, async iteration, an AbortSignal, await using`, async () => {
    const server = createServer({ multipath: side.server, allowHalfOpen: true }, (socket) => socket.pipe(socket));
    const port = await listening(server, side);
    const one = connect({ host: side.address, port, multipath: side.client, allowHalfOpen: true });
    await once(one, 'connect');
    const { readable, writable } = Duplex.toWeb(one);
    const writer = writable.getWriter();
    await writer.write(Buffer.from('web'));
    await writer.close();
    let web = '';
    for await (const chunk of readable as AsyncIterable<Uint8Array>) web += Buffer.from(chunk).toString();
    assert.equal(web, 'web');
    const two = connect({ host: side.address, port, multipath: side.client });
    two.end('iterated');
    let read = '';
    for await (const chunk of two) read += chunk;
    assert.equal(read, 'iterated');
    const abort = new AbortController();
    const three = connect({ host: side.address, port, multipath: side.client, signal: abort.signal } as never);
    await once(three, 'connect');
    abort.abort();
    const [error] = (await once(three, 'error')) as [Error];
    assert.equal(error.name, 'AbortError');
    const site = multipathServer(http.createServer(), side.server);
    await listening(site, side);
    for (const each of [server, site]) {
      await each[Symbol.asyncDispose]();
      assert.equal(each.listening, false);
    }
  });
}

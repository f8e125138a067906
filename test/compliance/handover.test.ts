import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import { mbit } from '../../src/link/index.ts';
import { connect, createServer, type Emulation, emulate, HttpAgent, multipathServer } from '../../src/net/index.ts';
import { now } from '../../src/node/clock.ts';
import { CERTIFICATE, KEY } from './certificate.ts';

/** A network goes away under a program: two emulated ones, of which the first, where connections begin, is cut silently. */

const ADDRESS = '10.0.1.2';
/** ms between ticks, until the cut, and until the end. */
const TICK = 10;
const CUT = 1000;
const END = 2500;
/** The longest silence that a program sees. */
const LONGEST = 300;

function networks(): Emulation {
  return emulate([
    { rate: mbit(30), delay: 10 },
    { rate: mbit(20), delay: 25 },
  ]);
}

function cut({ links }: Emulation): void {
  links[0]!.setUp(now(), false);
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, ADDRESS);
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

/** Numbers, one a line; the client notes when each came. */
async function ticks(world: Emulation, multipath: boolean): Promise<{ count: number; gap: number; inOrder: boolean }> {
  const server = createServer({ multipath: { host: world.second } }, (socket) => {
    let count = 0;
    socket.setNoDelay(true);
    const timer = setInterval(() => socket.write(`${count++}\n`), TICK);
    socket.on('close', () => clearInterval(timer));
    socket.on('error', () => {});
  });
  const port = await listening(server);
  const socket = connect({
    host: ADDRESS,
    port,
    multipath: { host: world.first, backend: multipath ? 'userspace' : 'tcp' },
  });
  let text = '';
  let last = -1;
  let gap = 0;
  let count = 0;
  let inOrder = true;
  socket.on('data', (chunk: Buffer) => {
    const at = performance.now();
    if (last >= 0) gap = Math.max(gap, at - last);
    last = at;
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop()!;
    for (const line of lines) inOrder &&= Number(line) === count++;
  });
  await once(socket, 'connect');
  setTimeout(() => cut(world), CUT);
  await new Promise((resolve) => setTimeout(resolve, END));
  gap = Math.max(gap, performance.now() - last);
  socket.destroy();
  server.close();
  world.close();
  return { count, gap, inOrder };
}

test('A9.11 userspace: ticks of 10 ms survive the loss of the network they began on; over plain TCP they stop', async (context) => {
  const [several, one] = await Promise.all([ticks(networks(), true), ticks(networks(), false)]);
  context.diagnostic(`multipath: ${several.count} ticks, longest gap ${several.gap.toFixed(0)} ms`);
  context.diagnostic(`plain TCP: ${one.count} ticks, longest gap ${one.gap.toFixed(0)} ms`);
  assert.ok(several.inOrder && one.inOrder, 'in order');
  assert.ok(several.gap < LONGEST, `a gap of ${several.gap.toFixed(0)} ms`);
  assert.ok(several.count > ((END - LONGEST) / TICK) * 0.9, `${several.count} ticks`);
  assert.ok(one.gap > END - CUT - 200, `plain TCP waits: ${one.gap.toFixed(0)} ms`);
});

test('A9.11 userspace: a download over HTTP goes on', async (context) => {
  const world = networks();
  const body = randomBytes(6_000_000);
  const server = multipathServer(
    http.createServer((_request, response) => response.end(body)),
    { host: world.second },
  );
  const port = await listening(server);
  const agent = new HttpAgent({ multipath: { host: world.first } });
  const request = http.get({ host: ADDRESS, port, agent });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const hash = createHash('sha256');
  let received = 0;
  let last = performance.now();
  let gap = 0;
  response.on('data', (chunk: Buffer) => {
    const at = performance.now();
    gap = Math.max(gap, at - last);
    last = at;
    if (received < body.length / 3 && received + chunk.length >= body.length / 3) cut(world);
    received += chunk.length;
    hash.update(chunk);
  });
  await once(response, 'end');
  context.diagnostic(`longest gap ${gap.toFixed(0)} ms`);
  assert.equal(hash.digest('hex'), createHash('sha256').update(body).digest('hex'));
  assert.ok(gap < LONGEST, `a gap of ${gap.toFixed(0)} ms`);
  agent.destroy();
  server.close();
  world.close();
});

test('A9.11 userspace: a TLS session goes on', async () => {
  const world = networks();
  const server = multipathServer(
    tls.createServer({ key: KEY, cert: CERTIFICATE }, (socket) => socket.on('error', () => {}).pipe(socket)),
    { host: world.second },
  );
  const port = await listening(server);
  const socket = tls.connect({
    socket: connect({ host: ADDRESS, port, multipath: { host: world.first } }),
    ca: CERTIFICATE,
    servername: 'mptcp.test',
  });
  await once(socket, 'secureConnect');
  for (let round = 0; round < 40; round++) {
    if (round === 15) cut(world);
    const from = performance.now();
    socket.write(`round ${round}`);
    const [echo] = (await once(socket, 'data')) as [Buffer];
    assert.equal(String(echo), `round ${round}`);
    assert.ok(performance.now() - from < LONGEST, `round ${round} took ${(performance.now() - from).toFixed(0)} ms`);
  }
  socket.destroy();
  server.close();
  world.close();
});

test('A9.11 userspace: a WebSocket goes on', async () => {
  const world = networks();
  const server = multipathServer(http.createServer(), { host: world.second });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))));
  const port = await listening(server);
  const agent = new HttpAgent({ multipath: { host: world.first } });
  const socket = new WebSocket(`ws://${ADDRESS}:${port}`, { agent });
  await once(socket, 'open');
  for (let round = 0; round < 40; round++) {
    if (round === 15) cut(world);
    const from = performance.now();
    socket.send(`round ${round}`);
    const [echo] = (await once(socket, 'message')) as [Buffer];
    assert.equal(String(echo), `round ${round}`);
    assert.ok(performance.now() - from < LONGEST, `round ${round} took ${(performance.now() - from).toFixed(0)} ms`);
  }
  socket.terminate();
  sockets.close();
  server.close();
  world.close();
});

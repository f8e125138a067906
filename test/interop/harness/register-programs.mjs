/**
 * Programs as users write them, which know nothing of MPTCP: `node --import mptcp/register register-programs.mjs NAME`.
 * Each ends by itself and prints one line of JSON.
 */
import { execFileSync, fork, spawn } from 'node:child_process';
import cluster from 'node:cluster';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

const SELF = fileURLToPath(import.meta.url);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Keeps no process alive. */
const patience = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());

async function listen(server, ...where) {
  server.listen(...where);
  await once(server, 'listening');
  return server.address()?.port;
}

async function collect(stream) {
  let text = '';
  stream.setEncoding('utf8');
  for await (const piece of stream) text += piece;
  return text;
}

function get(options, module = http) {
  return new Promise((resolve, reject) => {
    const request = module.get(options, (response) => collect(response).then(resolve, reject));
    request.on('error', reject);
  });
}

// TLS without certificates: both ends know a key (RFC 4279).
const PSK = Buffer.alloc(16, 7);
const TLS = { ciphers: 'PSK', maxVersion: 'TLSv1.2' };
const TLS_SERVER = { ...TLS, pskCallback: () => PSK };
const TLS_CLIENT = { ...TLS, pskCallback: () => ({ psk: PSK, identity: 'a' }), checkServerIdentity: () => undefined };

/** Sums up what a connection's two ends do when one destroys it and the other writes on. */
async function writeAfterDestroy(destroy, first = 'hello') {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    destroy(socket);
  });
  const port = await listen(server, 0, '127.0.0.1');
  const client = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  client.write(first);
  client.resume();
  const closed = new Promise((resolve) => {
    client.on('error', (error) => resolve({ code: error.code, at: performance.now() }));
  });
  await new Promise((resolve) => {
    client.once('end', resolve);
    client.once('close', resolve);
  });
  await sleep(50);
  const began = performance.now();
  const writing = setInterval(() => client.write('x'), 5);
  const late = patience(3000).then(() => ({ code: 'none', at: performance.now() }));
  const { code, at } = await Promise.race([closed, late]);
  clearInterval(writing);
  client.destroy();
  server.close();
  return { code, after: Math.max(0, Math.round(at - began)) };
}

const programs = {
  async net() {
    const server = net.createServer((socket) => socket.pipe(socket));
    const port = await listen(server, 0, '127.0.0.1');
    const socket = net.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const sockets = execFileSync('ss', ['-HManp'], { encoding: 'utf8' }).trim().split('\n');
    socket.end(Buffer.alloc(1_000_000, 'a'));
    const text = await collect(socket);
    server.close();
    return { bytes: text.length, established: sockets.filter((line) => /ESTAB/.test(line)).length };
  },

  async http() {
    const seen = new Set();
    const server = http.createServer((request, response) => {
      seen.add(request.socket);
      response.end(`you asked for ${request.url}`);
    });
    const port = await listen(server, 0, '127.0.0.1');
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const answers = [];
    for (const path of ['/1', '/2', '/3']) answers.push(await get({ host: '127.0.0.1', port, path, agent }));
    agent.destroy();
    server.close();
    return { answers, connections: seen.size };
  },

  async https() {
    const server = https.createServer(TLS_SERVER, (request, response) => response.end(`secret ${request.url}`));
    const port = await listen(server, 0, '127.0.0.1');
    const answer = await get({ host: '127.0.0.1', port, path: '/a', agent: false, ...TLS_CLIENT }, https);
    server.close();
    return { answer };
  },

  async http2() {
    const server = http2.createSecureServer(TLS_SERVER);
    server.on('stream', (stream, headers) => {
      stream.respond({ ':status': 200 });
      stream.end(`two ${headers[':path']}`);
    });
    const port = await listen(server, 0, '127.0.0.1');
    const session = http2.connect(`https://127.0.0.1:${port}`, TLS_CLIENT);
    const answer = await collect(session.request({ ':path': '/a' }));
    session.close();
    server.close();
    return { answer };
  },

  async tls() {
    const server = tls.createServer(TLS_SERVER, (socket) => socket.end('under tls'));
    const port = await listen(server, 0, '127.0.0.1');
    const answer = await collect(tls.connect({ host: '127.0.0.1', port, ...TLS_CLIENT }));
    server.close();
    return { answer };
  },

  async fetch() {
    const server = http.createServer((request, response) => request.pipe(response));
    const port = await listen(server, 0, '127.0.0.1');
    const response = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'fetched' });
    const answer = await response.text();
    server.close();
    server.closeAllConnections();
    return { answer };
  },

  async eyeballs() {
    const server = net.createServer((socket) => socket.end('hello'));
    const port = await listen(server, 0, '127.0.0.1');
    const lookup = (_name, _options, done) => {
      done(null, [
        { address: '::1', family: 6 },
        { address: '127.0.0.1', family: 4 },
      ]);
    };
    const socket = net.connect({ host: 'both.test', port, lookup, autoSelectFamily: true });
    const answer = await collect(socket);
    server.close();
    return { answer, attempted: socket.autoSelectFamilyAttemptedAddresses.length };
  },

  async ipv6() {
    const server = net.createServer((socket) => socket.end(`hello ${socket.remoteFamily}`));
    const port = await listen(server, 0);
    const answers = [await collect(net.connect(port, '::1')), await collect(net.connect(port, '127.0.0.1'))];
    server.close();
    return { answers };
  },

  async localAddress() {
    const server = net.createServer((socket) => socket.end(socket.remoteAddress));
    const port = await listen(server, 0, '127.0.0.1');
    const answer = await collect(net.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.5' }));
    server.close();
    return { answer };
  },

  async cluster() {
    if (cluster.isWorker) {
      const server = http.createServer((_request, response) => response.end(String(process.pid)));
      await listen(server, Number(process.env.PORT), '127.0.0.1');
      return undefined;
    }
    const port = 8123;
    const workers = [cluster.fork({ PORT: port }), cluster.fork({ PORT: port })];
    await Promise.all(workers.map((worker) => once(worker, 'listening')));
    const pids = new Set();
    for (let count = 0; count < 6; count++) pids.add(await get({ host: '127.0.0.1', port, agent: false }));
    for (const worker of workers) worker.disconnect();
    await Promise.all(workers.map((worker) => once(worker, 'exit')));
    return { workers: pids.size };
  },

  /** A connection is given to a child, which speaks after this process has let go of it. */
  async send() {
    if (process.send !== undefined) {
      process.once('message', async (_message, socket) => {
        socket.write('child ');
        await sleep(300);
        socket.end('later');
        process.disconnect();
      });
      return undefined;
    }
    const answers = {};
    for (const [name, serialization, options] of [
      ['given', 'json', {}],
      ['kept', 'json', { keepOpen: true }],
      ['advanced', 'advanced', { keepOpen: true }],
    ]) {
      const child = fork(SELF, ['send'], { serialization });
      const server = net.createServer((socket) => {
        child.send('here', socket, options, () => {
          if (options.keepOpen === true) socket.destroy();
        });
      });
      const port = await listen(server, 0, '127.0.0.1');
      answers[name] = await collect(net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }));
      server.close();
      // Not every version lets a child end by itself that a connection was kept open for.
      child.kill();
    }
    return answers;
  },

  /** A connection is a child's standard output. */
  async stdio() {
    const server = net.createServer((socket) => {
      spawn('sh', ['-c', 'sleep 0.3; echo from the shell'], { stdio: ['ignore', socket, 'inherit'] });
      socket.destroy();
    });
    const port = await listen(server, 0, '127.0.0.1');
    const answer = await collect(net.connect(port, '127.0.0.1'));
    server.close();
    return { answer };
  },

  async abort() {
    const server = net.createServer((socket) => socket.on('error', () => {}).resume());
    const port = await listen(server, 0, '127.0.0.1');
    const codes = [];
    for (const wait of [0, 50]) {
      const controller = new AbortController();
      const socket = net.connect({ port, host: '127.0.0.1', signal: controller.signal });
      const failed = once(socket, 'close').catch((error) => codes.push(error.code));
      if (wait > 0) await sleep(wait);
      controller.abort();
      await failed;
    }
    server.close();
    return { codes };
  },

  async refused() {
    const socket = net.connect(1, '127.0.0.1');
    const [error] = await once(socket, 'error');
    const taken = net.createServer();
    const port = await listen(taken, 0, '127.0.0.1');
    const second = net.createServer().listen(port, '127.0.0.1');
    const [inUse] = await once(second, 'error');
    taken.close();
    const { code, errno, syscall, address } = error;
    return { code, errno, syscall, address, message: error.message, inUse: inUse.code };
  },

  async pipe() {
    const path = join(tmpdir(), `register-${process.pid}.sock`);
    const server = net.createServer((socket) => socket.end('through a pipe'));
    await listen(server, path);
    const answer = await collect(net.connect(path));
    server.close();
    return { answer };
  },

  /** A listening socket that somebody else made, of plain TCP. */
  async inherited() {
    if (process.env.MPTCP === 'off') {
      const server = net.createServer();
      await listen(server, 0, '127.0.0.1');
      const env = { ...process.env, MPTCP: 'both', PORT: String(server.address().port) };
      const stdio = ['ignore', 'inherit', 'inherit', server._handle.fd];
      const child = spawn(process.execPath, [...process.execArgv, SELF, 'inherited'], { env, stdio });
      // It would accept as well.
      server.close();
      await once(child, 'exit');
      return undefined;
    }
    const server = net.createServer((socket) => socket.end('inherited'));
    await listen(server, { fd: 3 });
    const answer = await collect(net.connect(Number(process.env.PORT), '127.0.0.1'));
    server.close();
    return { answer };
  },

  /** One connection each of this thread, a worker thread and a child process. */
  async everywhere() {
    const port = Number(process.env.PORT ?? workerData);
    if (port > 0) {
      net.connect(port, '127.0.0.1').resume();
      return undefined;
    }
    const server = net.createServer((socket) => socket.end());
    const own = await listen(server, 0, '127.0.0.1');
    await once(net.connect(own, '127.0.0.1').resume(), 'close');
    await once(new Worker(SELF, { workerData: own, argv: ['everywhere'] }), 'exit');
    const child = spawn(process.execPath, [SELF, 'everywhere'], { env: { ...process.env, PORT: String(own) } });
    await once(child, 'exit');
    server.close();
    return { done: true };
  },

  async service() {
    const server = net.createServer((socket) => socket.end());
    const port = await listen(server, 0, '::1');
    const socket = net.connect(port, '::1');
    await once(socket, 'connect');
    let value = 32;
    if (socket.setTypeOfService !== undefined) {
      socket.setTypeOfService(32);
      value = socket.getTypeOfService();
    }
    socket.resume();
    await once(socket, 'close');
    server.close();
    return { value };
  },

  /** Destroyed, and then the other end writes. */
  destroyed: () => writeAfterDestroy((socket) => socket.once('data', () => socket.destroy())),

  /** Destroyed by the end that connected. */
  async clientDestroys() {
    const server = net.createServer({ allowHalfOpen: true });
    const port = await listen(server, 0, '127.0.0.1');
    const client = net.connect(port, '127.0.0.1');
    client.write('hello');
    const [socket] = await once(server, 'connection');
    await once(socket, 'data');
    client.destroy();
    socket.resume();
    await once(socket, 'end');
    const began = performance.now();
    const writing = setInterval(() => socket.write('x'), 5);
    const failed = once(socket, 'close').catch((error) => error.code);
    const code = await Promise.race([failed, patience(3000).then(() => 'none')]);
    clearInterval(writing);
    socket.destroy();
    server.close();
    return { code, after: Math.round(performance.now() - began) };
  },

  /** Under TLS. */
  async tlsDestroyed() {
    const server = tls.createServer(TLS_SERVER, (socket) => {
      socket.on('error', () => {});
      socket.once('data', () => socket.destroy());
    });
    const port = await listen(server, 0, '127.0.0.1');
    const client = tls.connect({ host: '127.0.0.1', port, allowHalfOpen: true, ...TLS_CLIENT });
    await once(client, 'secureConnect');
    client.write('hello');
    client.resume();
    await once(client, 'end');
    const began = performance.now();
    const writing = setInterval(() => client.write('x'), 5);
    const failed = once(client, 'close').catch((error) => error.code);
    const code = await Promise.race([failed, patience(3000).then(() => 'none')]);
    clearInterval(writing);
    client.destroy();
    server.close();
    return { code, after: Math.round(performance.now() - began) };
  },

  /** Destroyed with data that nobody read. */
  unread: () =>
    writeAfterDestroy((socket) => {
      socket.pause();
      setTimeout(() => socket.destroy(), 100);
    }, Buffer.alloc(500_000)),

  /** What was written before `end` and `destroySoon` arrives whole, although the end that sent it is closed. */
  async delivered() {
    const server = net.createServer((socket) => {
      socket.end(Buffer.alloc(3_000_000, 'z'));
      socket.on('finish', () => socket.destroy());
    });
    const port = await listen(server, 0, '127.0.0.1');
    const client = net.connect({ port, host: '127.0.0.1' });
    await once(client, 'connect');
    client.pause();
    await sleep(200);
    const text = await collect(client);
    server.close();
    return { bytes: text.length };
  },

  /** Says a number each 10 ms. */
  async ticker() {
    const server = net.createServer((socket) => {
      let tick = 0;
      const timer = setInterval(() => socket.write(`${tick++}\n`), 10);
      socket.on('error', () => {}).on('close', () => clearInterval(timer));
      socket.resume();
    });
    await listen(server, Number(process.env.PORT), process.env.HOST);
    return 'listening';
  },

  /** Hears them for four seconds. */
  async listener() {
    const socket = net.connect(Number(process.env.PORT), process.env.HOST);
    let [ticks, disorder, largestGap, rest] = [0, 0, 0, ''];
    let last = performance.now();
    socket.setEncoding('utf8').on('data', (text) => {
      const now = performance.now();
      if (ticks > 0) largestGap = Math.max(largestGap, now - last);
      else process.stdout.write('"first"\n');
      last = now;
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) if (Number(line) !== ticks++) disorder++;
    });
    await sleep(4000);
    process.stdout.write(`${JSON.stringify({ ticks, disorder, largestGap: Math.round(largestGap) })}\n`);
    process.exit();
  },

  /** A connection that nobody ends keeps no process alive once this one destroyed it. */
  async exits() {
    const child = spawn(process.execPath, ['-e', LISTENER], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = await once(child.stdout, 'data');
    const socket = net.connect(Number(line), '127.0.0.1');
    socket.write('hello');
    await once(socket, 'data');
    socket.destroy();
    child.stdin.unref();
    child.stdout.destroy();
    child.unref();
    const began = performance.now();
    process.on('exit', () => {
      process.stdout.write(`${JSON.stringify({ waited: Math.round(performance.now() - began) })}\n`);
    });
    return undefined;
  },
};

const LISTENER = `
  const server = require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {}).write('welcome');
    socket.resume();
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  setTimeout(() => process.exit(), 4000);
`;

const name = process.argv[2];
const result = await programs[name]();
if (result !== undefined && isMainThread) process.stdout.write(`${JSON.stringify(result)}\n`);

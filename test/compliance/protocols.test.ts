import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import tls from 'node:tls';
import { type Backend, closed, each, everything, listening, next, pattern } from './backends.ts';
import { CERTIFICATE, KEY } from './certificate.ts';

const SECRET = { key: KEY, cert: CERTIFICATE };

/** A server of `protocol` behind one of the backend's; `run` gets its port. */
async function behind(backend: Backend, protocol: net.Server, run: (port: number) => Promise<void>): Promise<void> {
  const sockets = new Set<net.Socket>();
  const server = backend.createServer({}, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    protocol.emit('connection', socket);
  });
  try {
    await run(await listening(backend, server));
  } finally {
    for (const socket of sockets) socket.destroy();
    await closed(server);
  }
}

/** Connections of one agent, over the backend. */
function agentOf(backend: Backend, options: http.AgentOptions = {}): http.Agent {
  const agent = new http.Agent(options);
  Object.assign(agent, {
    createConnection: ({ port, host }: net.TcpNetConnectOpts) =>
      backend.connect({ port, host: host ?? backend.address }),
  });
  return agent;
}

function request(options: http.RequestOptions, body?: Buffer): Promise<{ status: number; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const made = (options.protocol === 'https:' ? https : http).request(options, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      resolve({ status: response.statusCode!, body: Buffer.concat(chunks) });
    });
    made.on('error', reject);
    made.end(body);
  });
}

each('HTTP: requests over one connection that is kept', (backend) => {
  const ports = new Set<number>();
  const server = http.createServer((incoming, response) => {
    ports.add(incoming.socket.remotePort!);
    incoming.pipe(response);
  });
  const agent = agentOf(backend, { keepAlive: true, maxSockets: 1 });
  return behind(backend, server, async (port) => {
    for (const size of [0, 10, 300_000]) {
      const sent = pattern(size);
      const { status, body } = await request({ host: backend.address, port, agent, method: 'POST' }, sent);
      assert.equal(status, 200);
      assert.equal(Buffer.compare(body, sent), 0);
    }
    assert.equal(ports.size, 1);
    agent.destroy();
  });
});

each('HTTP: many requests at once, and closeAllConnections', (backend) => {
  const server = http.createServer((incoming, response) => response.end(incoming.url));
  const agent = agentOf(backend);
  return behind(backend, server, async (port) => {
    const bodies = await Promise.all(
      Array.from({ length: 20 }, (_, index) => request({ host: backend.address, port, agent, path: `/${index}` })),
    );
    assert.deepEqual(
      bodies.map(({ body }) => String(body)),
      Array.from({ length: 20 }, (_, index) => `/${index}`),
    );
    server.closeAllConnections();
    agent.destroy();
  });
});

each('HTTP: upgrade and CONNECT hand the socket over', (backend) => {
  const server = http.createServer();
  server.on('upgrade', (_incoming, socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.pipe(socket);
  });
  return behind(backend, server, async (port) => {
    const made = http.request({
      host: backend.address,
      port,
      agent: agentOf(backend),
      headers: { connection: 'Upgrade', upgrade: 'echo' },
    });
    made.end();
    const [, socket] = (await next(made, 'upgrade')) as [unknown, net.Socket];
    socket.write('after the upgrade');
    assert.equal(String((await next(socket, 'data'))[0]), 'after the upgrade');
    socket.destroy();
  });
});

each('HTTP: a request that times out, and one whose server goes away', (backend) => {
  const server = http.createServer((incoming, response) => {
    if (incoming.url === '/gone') response.destroy();
  });
  return behind(backend, server, async (port) => {
    const slow = http.request({ host: backend.address, port, agent: agentOf(backend), timeout: 40 });
    slow.end();
    await next(slow, 'timeout');
    slow.on('error', () => {});
    slow.destroy();
    const failed = request({ host: backend.address, port, agent: agentOf(backend), path: '/gone' });
    await assert.rejects(failed, { code: 'ECONNRESET', message: 'socket hang up' });
  });
});

each('TLS: both ends over sockets, with their addresses', async (backend) => {
  const server = tls.createServer(SECRET, (socket) => {
    socket.end(`${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress}`);
  });
  await behind(backend, server as unknown as net.Server, async (port) => {
    for (const waits of [true, false]) {
      const plain = backend.connect(port, backend.address);
      if (waits) await next(plain, 'connect');
      const socket = tls.connect({ socket: plain, ca: CERTIFICATE, servername: 'mptcp.test' });
      await next(socket, 'secureConnect');
      assert.equal(socket.authorized, true);
      assert.equal(socket.encrypted, true);
      if (backend.hosts !== undefined) {
        assert.equal(socket.remoteAddress, backend.address);
        assert.equal(socket.remotePort, port);
      }
      const { localPort } = plain;
      const text = String(await everything(socket));
      if (backend.hosts !== undefined || waits) {
        assert.equal(text, `${backend.clientAddress} ${localPort} ${backend.address}`);
      }
    }
  });
});

each('TLS: 2 MB each way', async (backend) => {
  const server = tls.createServer(SECRET, (socket) => socket.pipe(socket));
  await behind(backend, server as unknown as net.Server, async (port) => {
    const sent = pattern(2 << 20);
    const socket = tls.connect({
      socket: backend.connect(port, backend.address),
      ca: CERTIFICATE,
      servername: 'mptcp.test',
    });
    await next(socket, 'secureConnect');
    const received: Buffer[] = [];
    let length = 0;
    const all = new Promise<void>((resolve) => {
      socket.on('data', (chunk) => {
        received.push(chunk);
        length += chunk.length;
        if (length === sent.length) resolve();
      });
    });
    socket.write(sent);
    await all;
    assert.equal(Buffer.compare(Buffer.concat(received), sent), 0);
    socket.end();
    await next(socket, 'close');
  });
});

each('TLS: a certificate that nobody signed', async (backend) => {
  const server = tls.createServer(SECRET);
  server.on('tlsClientError', () => {});
  await behind(backend, server as unknown as net.Server, async (port) => {
    const socket = tls.connect({ socket: backend.connect(port, backend.address), servername: 'mptcp.test' });
    const [error] = await next(socket, 'error');
    assert.equal((error as NodeJS.ErrnoException).code, 'DEPTH_ZERO_SELF_SIGNED_CERT');
  });
});

each('HTTPS: server and agent', (backend) => {
  const server = https.createServer(SECRET, (incoming, response) => {
    response.end(`${incoming.socket.remoteAddress} ${incoming.method}`);
  });
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  Object.assign(agent, {
    createConnection: ({ port, host }: net.TcpNetConnectOpts) =>
      tls.connect({
        socket: backend.connect({ port, host: host! }),
        ca: CERTIFICATE,
        servername: 'mptcp.test',
      }),
  });
  return behind(backend, server, async (port) => {
    for (let round = 0; round < 2; round++) {
      const { body } = await request({ protocol: 'https:', host: backend.address, port, agent });
      assert.equal(String(body), `${backend.clientAddress} GET`);
    }
    agent.destroy();
  });
});

each('HTTP/2: streams at once over one connection', (backend) => {
  const server = http2.createServer();
  server.on('stream', (stream, headers) => {
    stream.respond({ ':status': 200 });
    if (headers[':method'] === 'POST') stream.pipe(stream);
    else stream.end(headers[':path']);
  });
  return behind(backend, server as unknown as net.Server, async (port) => {
    const session = http2.connect(`http://${backend.address}:${port}`, {
      createConnection: () => backend.connect(port, backend.address),
    });
    const sent = pattern(200_000);
    const bodies = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const isPost = index === 7;
        const stream = session.request({ ':path': `/${index}`, ':method': isPost ? 'POST' : 'GET' });
        stream.end(isPost ? sent : undefined);
        const chunks: Buffer[] = [];
        for await (const chunk of stream) chunks.push(chunk as Buffer);
        return Buffer.concat(chunks);
      }),
    );
    assert.deepEqual(bodies.slice(0, 7).map(String), ['/0', '/1', '/2', '/3', '/4', '/5', '/6']);
    assert.equal(Buffer.compare(bodies[7]!, sent), 0);
    await new Promise<void>((resolve) => session.close(() => resolve()));
  });
});

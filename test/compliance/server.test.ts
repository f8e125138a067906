import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import type net from 'node:net';
import { type Backend, closed, each, listening, next, record } from './backends.ts';

each('listen, address, listening, close: in each of their forms', async (backend) => {
  const forms: unknown[][] = [
    [0, backend.address],
    [{ port: 0, host: backend.address }],
    ['0', backend.address, 10],
    [{ port: undefined, host: backend.address }],
    [{ port: null, host: backend.address }],
  ];
  for (const values of forms) {
    const server = backend.createServer();
    assert.equal(server.listening, false);
    assert.equal(server.address(), null);
    let count = 0;
    const told = record(server, ['listening', 'close']);
    assert.equal(server.listen(...([...values, () => count++] as unknown as [number])), server);
    await next(server, 'listening');
    assert.equal(server.listening, true);
    const { address, family, port } = server.address() as net.AddressInfo;
    assert.deepEqual([address, family, port > 0], [backend.address, 'IPv4', true]);
    let closes = 0;
    server.close((error) => {
      assert.equal(error, undefined);
      closes++;
    });
    assert.equal(server.listening, false);
    await next(server, 'close');
    assert.deepEqual([count, closes, told], [1, 1, ['listening', 'close']]);
  }
});

each('listen without a host takes IPv4 and IPv6, and shows IPv4 as IPv6', async (backend) => {
  for (const values of [[], [0], [() => {}], [{ port: 0 }]]) {
    const server = backend.createServer();
    server.listen(...(values as [number]));
    await next(server, 'listening');
    const { address, family, port } = server.address() as net.AddressInfo;
    assert.deepEqual([address, family], ['::', 'IPv6']);
    for (const host of [backend.address, backend.address6]) {
      const client = backend.connect(port, host);
      const [[peer]] = (await Promise.all([next(server, 'connection'), next(client, 'connect')])) as [
        [net.Socket],
        unknown,
      ];
      assert.equal(peer.localAddress, host === backend.address ? `::ffff:${host}` : host);
      assert.equal(peer.localFamily, 'IPv6');
      assert.equal(peer.remoteFamily, 'IPv6');
      client.destroy();
      peer.destroy();
    }
    await closed(server);
  }
});

each('ipv6Only and 0.0.0.0: one family each, on one port', async (backend) => {
  const six = backend.createServer({}, (socket) => socket.end('six'));
  six.listen({ port: 0, host: '::', ipv6Only: true });
  await next(six, 'listening');
  const { port } = six.address() as net.AddressInfo;
  const refused = backend.connect(port, backend.address);
  const [error] = await next(refused, 'error');
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  const four = backend.createServer({}, (socket) => socket.end('four'));
  four.listen(port, '0.0.0.0');
  await next(four, 'listening');
  const texts = await Promise.all(
    [backend.address, backend.address6].map(async (host) =>
      String((await next(backend.connect(port, host), 'data'))[0]),
    ),
  );
  assert.deepEqual(texts, ['four', 'six']);
  await Promise.all([closed(six), closed(four)]);
});

each('an address in use, and one that is not ours', async (backend) => {
  const first = backend.createServer();
  const port = await listening(backend, first);
  const second = backend.createServer();
  second.listen(port, backend.address);
  const [inUse] = await next(second, 'error');
  const { message, code, errno, syscall, address } = inUse as NodeJS.ErrnoException & { address: string; port: number };
  assert.deepEqual(
    { message, code, errno, syscall, address, port: (inUse as { port: number }).port },
    {
      message: `listen EADDRINUSE: address already in use ${backend.address}:${port}`,
      code: 'EADDRINUSE',
      errno: -98,
      syscall: 'listen',
      address: backend.address,
      port,
    },
  );
  assert.equal(second.listening, false);
  second.listen(0, '203.0.113.9');
  const [notOurs] = await next(second, 'error');
  assert.equal((notOurs as Error).message, 'listen EADDRNOTAVAIL: address not available 203.0.113.9');
  // After its failures it may listen.
  second.listen(0, backend.address);
  await next(second, 'listening');
  await Promise.all([closed(first), closed(second)]);
});

each('what listen cannot take is thrown at once, with Node’s codes', (backend) => {
  const cases: [unknown, string][] = [
    [{ port: -1 }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: 65_536 }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: '' }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: '1.5' }, 'ERR_SOCKET_BAD_PORT'],
    [65_536, 'ERR_SOCKET_BAD_PORT'],
    [{}, 'ERR_INVALID_ARG_VALUE'],
    [{ host: 'x' }, 'ERR_INVALID_ARG_VALUE'],
    [{ port: true }, 'ERR_INVALID_ARG_VALUE'],
    [{ port: 0, signal: 'x' }, 'ERR_INVALID_ARG_TYPE'],
    [true, 'ERR_INVALID_ARG_VALUE'],
  ];
  for (const [options, code] of cases) {
    const server = backend.createServer();
    assert.throws(() => server.listen(options as number), { code }, JSON.stringify(options));
  }
});

each('constructor: without new arguments, with a listener, with what it cannot take', async (backend) => {
  let heard = 0;
  const server = backend.server(() => heard++);
  assert.equal(server.listenerCount('connection'), 1);
  assert.equal(backend.server({}, () => heard++).listenerCount('connection'), 1);
  assert.equal(backend.server().listenerCount('connection'), 0);
  assert.throws(() => backend.server('x'), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(() => backend.server({ keepAliveInitialDelay: 'x' }), { code: 'ERR_INVALID_ARG_TYPE' });
  assert.throws(() => backend.server({ highWaterMark: 'x' }), { code: 'ERR_INVALID_ARG_TYPE' });
});

each('listening twice, closing twice', async (backend) => {
  const server = backend.createServer();
  await listening(backend, server);
  assert.throws(() => server.listen(0), { code: 'ERR_SERVER_ALREADY_LISTEN' });
  await closed(server);
  const error = await new Promise<unknown>((resolve) => server.close(resolve));
  assert.equal((error as NodeJS.ErrnoException).code, 'ERR_SERVER_NOT_RUNNING');
  // And once more from the beginning.
  await listening(backend, server);
  await closed(server);
});

each('closed at once: it never listens', async (backend) => {
  const server = backend.createServer();
  const told = record(server, ['listening', 'close', 'error']);
  server.listen(0, backend.address);
  server.close();
  await next(server, 'close');
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(told, ['close']);
});

async function join(backend: Backend, server: net.Server, port: number): Promise<[net.Socket, net.Socket]> {
  const client = backend.connect(port, backend.address);
  const [[peer]] = (await Promise.all([next(server, 'connection'), next(client, 'connect')])) as [
    [net.Socket],
    unknown,
  ];
  client.on('error', () => {});
  return [client, peer];
}

each('getConnections, and close waits for connections', async (backend) => {
  const server = backend.createServer();
  const port = await listening(backend, server);
  const count = (): Promise<number> =>
    new Promise((resolve, reject) => server.getConnections((error, value) => (error ? reject(error) : resolve(value))));
  assert.equal(await count(), 0);
  const [first, firstPeer] = await join(backend, server, port);
  const [second, secondPeer] = await join(backend, server, port);
  assert.equal(await count(), 2);
  assert.equal((firstPeer as unknown as { server: unknown }).server, server);
  let isClosed = false;
  const closes = closed(server).then(() => {
    isClosed = true;
  });
  const refused = backend.connect(port, backend.address);
  const [error] = await next(refused, 'error');
  assert.equal((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  first.destroy();
  firstPeer.destroy();
  await next(firstPeer, 'close');
  assert.equal(await count(), 1);
  assert.equal(isClosed, false);
  second.write('still works');
  assert.equal(String((await next(secondPeer, 'data'))[0]), 'still works');
  second.destroy();
  secondPeer.destroy();
  await closes;
});

each('maxConnections: more are dropped, and told', async (backend) => {
  const server = backend.createServer();
  server.maxConnections = 1;
  const port = await listening(backend, server);
  const [client, peer] = await join(backend, server, port);
  const drops = next(server, 'drop');
  const extra = backend.connect(port, backend.address);
  extra.on('error', () => {});
  extra.resume();
  const [drop] = await drops;
  assert.deepEqual(
    { ...(drop as object) },
    {
      localAddress: backend.address,
      localPort: port,
      localFamily: 'IPv4',
      remoteAddress: backend.clientAddress,
      remotePort: (drop as { remotePort: number }).remotePort,
      remoteFamily: 'IPv4',
    },
  );
  await next(extra, 'close');
  client.destroy();
  peer.destroy();
  await closed(server);
});

each('pauseOnConnect: nothing is read until resume', async (backend) => {
  const server = backend.createServer({ pauseOnConnect: true });
  const port = await listening(backend, server);
  const [client, peer] = await join(backend, server, port);
  client.write('waits');
  assert.equal(peer.isPaused(), true);
  let text = '';
  peer.on('data', (piece) => {
    text += piece;
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(text, '');
  assert.equal(peer.bytesRead, 0);
  peer.resume();
  await next(peer, 'data');
  assert.equal(text, 'waits');
  client.destroy();
  peer.destroy();
  await closed(server);
});

each('allowHalfOpen and highWaterMark of a server are its sockets’', async (backend) => {
  const server = backend.createServer({ allowHalfOpen: true, highWaterMark: 1234, noDelay: true, keepAlive: true });
  const port = await listening(backend, server);
  const [client, peer] = await join(backend, server, port);
  assert.equal(peer.allowHalfOpen, true);
  assert.equal(peer.readableHighWaterMark, 1234);
  assert.equal(peer.writableHighWaterMark, 1234);
  client.destroy();
  peer.destroy();
  await closed(server);
});

each('a signal closes the server', async (backend) => {
  for (const isEarly of [true, false]) {
    const controller = new AbortController();
    if (isEarly) controller.abort();
    const server = backend.createServer();
    server.listen({ port: 0, host: backend.address, signal: controller.signal });
    if (!isEarly) {
      await next(server, 'listening');
      controller.abort();
    }
    await next(server, 'close');
    assert.equal(server.listening, false);
  }
});

each('asyncDispose of a server', async (backend) => {
  const { asyncDispose } = Symbol as unknown as { asyncDispose: symbol };
  const server = backend.createServer();
  await listening(backend, server);
  await (server as unknown as Record<symbol, () => Promise<void>>)[asyncDispose]!();
  assert.equal(server.listening, false);
});

each('captureRejections: a listener’s rejection ends its connection', async (backend) => {
  const { captureRejectionSymbol } = await import('node:events');
  const server = backend.createServer({});
  const failure = new Error('of the listener');
  const port = await listening(backend, server);
  const [client, peer] = await join(backend, server, port);
  const failed = next(peer, 'error');
  (server as unknown as Record<symbol, (...values: unknown[]) => void>)[captureRejectionSymbol]!(
    failure,
    'connection',
    peer,
  );
  assert.equal((await failed)[0], failure);
  client.destroy();
  await closed(server);
});

each('diagnostics channels tell of clients and of accepted sockets', async (backend) => {
  const clients: unknown[] = [];
  const servers: unknown[] = [];
  const onClient = (message: unknown): void => void clients.push((message as { socket: unknown }).socket);
  const onServer = (message: unknown): void => void servers.push((message as { socket: unknown }).socket);
  channel('net.client.socket').subscribe(onClient);
  channel('net.server.socket').subscribe(onServer);
  try {
    const server = backend.createServer();
    const port = await listening(backend, server);
    const [client, peer] = await join(backend, server, port);
    assert.deepEqual([clients.includes(client), servers.includes(peer)], [true, true]);
    client.destroy();
    peer.destroy();
    await closed(server);
  } finally {
    channel('net.client.socket').unsubscribe(onClient);
    channel('net.server.socket').unsubscribe(onServer);
  }
});

each('a name is looked up, and one that is none is an error', async (backend) => {
  const server = backend.createServer();
  server.listen(0, 'no.such.name.invalid');
  const [error] = await next(server, 'error');
  assert.match((error as NodeJS.ErrnoException).code ?? '', /ENOTFOUND|EAI_AGAIN/);
  server.listen(0, 'localhost');
  await next(server, 'listening');
  await closed(server);
});

import assert from 'node:assert/strict';
import net from 'node:net';
import { type Backend, closed, connected, each, fields, listening, next, record } from './backends.ts';

/** Resolves any name to these addresses. */
function lookupOf(...addresses: string[]) {
  return (_name: string, options: { all?: boolean }, done: (...values: unknown[]) => void): void => {
    const found = addresses.map((address) => ({ address, family: net.isIP(address) }));
    process.nextTick(() =>
      options.all === true ? done(null, found) : done(null, found[0]!.address, found[0]!.family),
    );
  };
}

async function serving(backend: Backend, run: (port: number, server: net.Server) => Promise<void>): Promise<void> {
  const server = backend.createServer({}, (socket) => socket.resume().on('error', () => {}));
  const port = await listening(backend, server);
  try {
    await run(port, server);
  } finally {
    await closed(server);
  }
}

each('events of a connection that succeeds come in their order', (backend) =>
  serving(backend, async (port) => {
    const socket = backend.connect({ port, host: 'some.name', lookup: lookupOf(backend.address) });
    const told = record(socket, ['lookup', 'connectionAttempt', 'connect', 'ready', 'end', 'finish', 'close']);
    assert.equal(socket.connecting, true);
    assert.equal(socket.pending, true);
    assert.equal(socket.readyState, 'opening');
    await next(socket, 'ready');
    assert.equal(socket.connecting, false);
    assert.equal(socket.pending, false);
    assert.equal(socket.readyState, 'open');
    socket.resume().end();
    await next(socket, 'close');
    assert.deepEqual(told.slice(0, 4), ['lookup', 'connectionAttempt', 'connect', 'ready']);
    assert.deepEqual(told.slice(4).sort(), ['close', 'end', 'finish']);
    assert.equal(told.at(-1), 'close');
    assert.equal(socket.readyState, 'closed');
    assert.equal(socket.pending, true);
  }),
);

each('connect(port, host, listener) and connect(options, listener) of a socket', (backend) =>
  serving(backend, async (port) => {
    for (const values of [
      [port, backend.address],
      [{ port, host: backend.address }],
      [String(port), backend.address],
    ]) {
      const socket = backend.socket();
      let count = 0;
      const result = socket.connect(...([...values, () => count++] as unknown as [number]));
      assert.equal(result, socket);
      await next(socket, 'ready');
      assert.equal(count, 1);
      socket.destroy();
      await next(socket, 'close');
    }
  }),
);

each('ends and addresses of both sides agree', async (backend) => {
  const { client, peer, port, close } = await connected(backend);
  assert.deepEqual(client.address(), { address: backend.clientAddress, family: 'IPv4', port: client.localPort });
  assert.equal(client.localAddress, backend.clientAddress);
  assert.equal(client.localFamily, 'IPv4');
  assert.equal(client.remoteAddress, backend.address);
  assert.equal(client.remotePort, port);
  assert.equal(client.remoteFamily, 'IPv4');
  assert.equal(peer.remotePort, client.localPort);
  assert.equal(peer.remoteAddress, client.localAddress);
  assert.equal(peer.localPort, port);
  client.destroy();
  assert.equal(client.localAddress, undefined);
  assert.equal(client.remoteAddress, backend.address, 'what was asked for stays known');
  assert.deepEqual(client.address(), {});
  await close();
});

each('IPv6', async (backend) => {
  const server = backend.createServer({}, (socket) => socket.end(`${socket.remoteFamily} ${socket.localAddress}`));
  const port = await listening(backend, server, { host: backend.address6 });
  const client = backend.connect(port, backend.address6);
  const [text] = await next(client, 'data');
  assert.equal(String(text), `IPv6 ${backend.address6}`);
  assert.equal(client.remoteFamily, 'IPv6');
  assert.equal(client.remoteAddress, backend.address6);
  await closed(server);
});

each('localAddress and localPort', (backend) =>
  serving(backend, async (port) => {
    const spare = backend.connect(port, backend.address);
    await next(spare, 'connect');
    const localPort = spare.localPort! === 40_123 ? 40_124 : 40_123;
    const socket = backend.connect({ port, host: backend.address, localAddress: backend.clientAddress, localPort });
    await next(socket, 'connect');
    assert.equal(socket.localAddress, backend.clientAddress);
    assert.equal(socket.localPort, localPort);
    // A reset, so that no TIME-WAIT keeps the port.
    socket.resetAndDestroy();
    spare.destroy();
  }),
);

each('a local port that is taken for the same peer is refused', (backend) =>
  serving(backend, async (port) => {
    const localPort = 40_125;
    const first = backend.connect({ port, host: backend.address, localAddress: backend.clientAddress, localPort });
    await next(first, 'connect');
    const second = backend.connect({
      port,
      host: backend.address,
      localAddress: backend.clientAddress,
      localPort,
    });
    const [error] = await next(second, 'error');
    assert.deepEqual(fields(error), {
      message: `connect EADDRNOTAVAIL ${backend.address}:${port} - Local (${backend.clientAddress}:${localPort})`,
      code: 'EADDRNOTAVAIL',
      errno: -99,
      syscall: 'connect',
      address: backend.address,
      port,
    });
    first.resetAndDestroy();
  }),
);

each('a refused connection', async (backend) => {
  const socket = backend.connect(1, backend.address);
  const told = record(socket, ['connectionAttempt', 'connectionAttemptFailed', 'connect', 'end', 'error', 'close']);
  let failed: unknown[] = [];
  socket.on('connectionAttemptFailed', (...values) => {
    failed = values;
  });
  const [error] = await next(socket, 'error');
  const [hadError] = await next(socket, 'close');
  assert.equal(hadError, true);
  assert.deepEqual(fields(error), {
    message: `connect ECONNREFUSED ${backend.address}:1`,
    code: 'ECONNREFUSED',
    errno: -111,
    syscall: 'connect',
    address: backend.address,
    port: 1,
  });
  assert.deepEqual(told, ['connectionAttempt', 'connectionAttemptFailed', 'error', 'close']);
  assert.deepEqual(failed.slice(0, 3), [backend.address, 1, 4]);
  assert.equal(socket.destroyed, true);
  assert.equal(socket.connecting, false);
});

each('an address that is not of this host cannot be the source', async (backend) => {
  const socket = backend.connect({ port: 1, host: backend.address, localAddress: '203.0.113.7' });
  const [error] = await next(socket, 'error');
  assert.deepEqual(fields(error), {
    message: 'bind EADDRNOTAVAIL 203.0.113.7',
    code: 'EADDRNOTAVAIL',
    errno: -99,
    syscall: 'bind',
    address: '203.0.113.7',
    port: undefined,
  });
});

each('what connect cannot take is thrown at once, with Node’s codes', (backend) => {
  const cases: [unknown, string][] = [
    [{}, 'ERR_MISSING_ARGS'],
    [{ host: 'x' }, 'ERR_MISSING_ARGS'],
    [{ port: -1 }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: 65_536 }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: 1.5 }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: '' }, 'ERR_SOCKET_BAD_PORT'],
    [{ port: true }, 'ERR_INVALID_ARG_TYPE'],
    [{ port: null }, 'ERR_INVALID_ARG_TYPE'],
    [{ port: 1, localAddress: 'x' }, 'ERR_INVALID_IP_ADDRESS'],
    [{ port: 1, localPort: 'x' }, 'ERR_INVALID_ARG_TYPE'],
    [{ port: 1, host: 'x', lookup: 'x' }, 'ERR_INVALID_ARG_TYPE'],
    [{ port: 1, autoSelectFamily: 'x' }, 'ERR_INVALID_ARG_TYPE'],
    [{ port: 1, autoSelectFamilyAttemptTimeout: -1 }, 'ERR_OUT_OF_RANGE'],
  ];
  for (const [options, code] of cases) {
    const socket = backend.socket();
    socket.on('error', () => {});
    assert.throws(() => socket.connect(options as { port: number }), { code }, JSON.stringify(options));
    socket.destroy();
  }
  const socket = backend.socket();
  assert.throws(() => socket.connect(...([] as unknown as [number])), { code: 'ERR_MISSING_ARGS' });
  // Empty text is no path, but a port that is none.
  for (const text of ['', ' ']) assert.throws(() => socket.connect(text), { code: 'ERR_SOCKET_BAD_PORT' });
  for (const text of ['', ' ']) assert.throws(() => backend.connect(text), { code: 'ERR_SOCKET_BAD_PORT' });
});

each('lookup: its event, its errors, addresses that are none', async (backend) => {
  const cases: [(name: string, options: object, done: (...values: unknown[]) => void) => void, string][] = [
    [(_name, _options, done) => done(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' })), 'ENOTFOUND'],
    [(_name, _options, done) => done(null, 'x', 4), 'ERR_INVALID_IP_ADDRESS'],
    [(_name, _options, done) => done(null, '127.0.0.1', 99), 'ERR_INVALID_ADDRESS_FAMILY'],
  ];
  for (const [lookup, code] of cases) {
    const socket = backend.connect({ port: 1, host: 'some.name', family: 4, lookup });
    const told = record(socket, ['lookup', 'error', 'connectionAttempt']);
    const [error] = await next(socket, 'error');
    assert.equal((error as NodeJS.ErrnoException).code, code);
    await next(socket, 'close');
    // The event came within connect, before anybody could listen.
    assert.deepEqual(told, ['error']);
  }
});

each(
  'happy eyeballs: the second address when the first refuses, and all addresses that were tried',
  async (backend) => {
    const server = backend.createServer({}, (socket) => socket.end());
    const port = await listening(backend, server);
    const socket = backend.connect({
      port,
      host: 'some.name',
      autoSelectFamily: true,
      lookup: lookupOf(backend.address6, backend.address),
    });
    const told = record(socket, ['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'error']);
    await next(socket, 'ready');
    assert.deepEqual(told, [
      'lookup',
      'lookup',
      'connectionAttempt',
      'connectionAttemptFailed',
      'connectionAttempt',
      'connect',
    ]);
    assert.equal(socket.remoteAddress, backend.address);
    assert.deepEqual(socket.autoSelectFamilyAttemptedAddresses, [
      `${backend.address6}:${port}`,
      `${backend.address}:${port}`,
    ]);
    socket.destroy();
    await closed(server);
  },
);

each('happy eyeballs: when all refuse, one error that holds them all', async (backend) => {
  const socket = backend.connect({
    port: 1,
    host: 'some.name',
    autoSelectFamily: true,
    lookup: lookupOf(backend.address, backend.address6),
  });
  const [error] = (await next(socket, 'error')) as [AggregateError & { code: string }];
  assert.equal(error.name, 'AggregateError');
  assert.equal(error.code, 'ECONNREFUSED');
  assert.deepEqual(
    error.errors.map((one: Error) => one.message),
    [`connect ECONNREFUSED ${backend.address}:1`, `connect ECONNREFUSED ${backend.address6}:1`],
  );
});

each('a signal that is aborted before and while a socket connects', (backend) =>
  serving(backend, async (port) => {
    for (const isEarly of [true, false]) {
      const controller = new AbortController();
      if (isEarly) controller.abort();
      const socket = backend.connect({ port, host: backend.address, signal: controller.signal });
      if (!isEarly) controller.abort();
      const [error] = await next(socket, 'error');
      assert.equal((error as Error).name, 'AbortError');
      if (!isEarly) assert.equal(socket.destroyed, true);
      socket.destroy();
    }
  }),
);

each('a socket may connect again after it was destroyed', (backend) =>
  serving(backend, async (port) => {
    const socket = backend.connect(port, backend.address);
    for (let round = 0; round < 3; round++) {
      await next(socket, 'connect');
      socket.write('x');
      socket.destroy();
      await next(socket, 'close');
      assert.equal(socket.destroyed, true);
      if (round < 2) socket.connect(port, backend.address);
    }
  }),
);

each('destroy at once: no connect, one close, without an error', (backend) =>
  serving(backend, async (port) => {
    const socket = backend.connect(port, backend.address);
    const told = record(socket, ['connect', 'ready', 'error', 'close']);
    socket.destroy();
    await next(socket, 'close');
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(told, ['close']);
  }),
);

each('what is written before the connection is there arrives, and is counted', async (backend) => {
  const server = backend.createServer();
  const port = await listening(backend, server);
  const socket = backend.connect(port, backend.address);
  socket.write('one ');
  socket.write('two ');
  assert.equal(socket.bytesWritten, 8);
  assert.equal(socket.writableLength, 8);
  socket.end('three');
  const [peer] = (await next(server, 'connection')) as [net.Socket];
  let text = '';
  for await (const chunk of peer) text += chunk;
  assert.equal(text, 'one two three');
  assert.equal(socket.bytesWritten, 13);
  await closed(server);
});

each('timeout of connect’s options is that of the socket', (backend) =>
  serving(backend, async (port) => {
    const socket = backend.connect({ port, host: backend.address, timeout: 30 });
    assert.equal(socket.timeout, 30);
    await next(socket, 'timeout');
    socket.destroy();
  }),
);

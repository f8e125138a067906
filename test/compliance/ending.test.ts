import assert from 'node:assert/strict';
import type net from 'node:net';
import { closed, connected, each, everything, fields, listening, next, record } from './backends.ts';

const ENDING = ['finish', 'end', 'error', 'close'];

each('end: both sides finish, end and close without an error', async (backend) => {
  const { client, peer, close } = await connected(backend);
  const told = { client: record(client, ENDING), peer: record(peer, ENDING) };
  client.resume();
  peer.resume();
  const closes = Promise.all([next(client, 'close'), next(peer, 'close')]);
  client.end();
  assert.equal(client.writable, false);
  assert.equal(client.readyState, 'readOnly');
  assert.deepEqual(await closes, [[false], [false]]);
  assert.equal(told.client.at(-1), 'close');
  assert.equal(told.client.length, 3);
  assert.deepEqual(told.peer, ['end', 'finish', 'close']);
  await close();
});

each('half-open: who allows it may write on after the peer’s end', async (backend) => {
  const { client, peer, close } = await connected(backend, { server: { allowHalfOpen: true } });
  assert.equal(peer.allowHalfOpen, true);
  assert.equal(client.allowHalfOpen, false);
  const answer = everything(client);
  client.end('question');
  peer.resume();
  await next(peer, 'end');
  assert.equal(peer.readyState, 'writeOnly');
  await new Promise((resolve) => setTimeout(resolve, 20));
  peer.write('first ');
  peer.end('second');
  assert.equal(String(await answer), 'first second');
  await close();
});

each('without half-open a write after the peer’s end is EPIPE', async (backend) => {
  const { client, peer, close } = await connected(backend);
  peer.resume();
  const [, error] = await Promise.all([
    new Promise<void>((resolve) => client.end(() => resolve())),
    new Promise<unknown>((resolve) => {
      peer.on('end', () => {
        setImmediate(() => {
          peer.on('error', () => {});
          peer.write('late', (failure) => resolve(failure));
        });
      });
    }),
  ]);
  const { code } = error as NodeJS.ErrnoException;
  assert.ok(code === 'EPIPE' || code === 'ERR_STREAM_DESTROYED', code);
  await close();
});

each('write after end is an error of the stream', async (backend) => {
  const { client, close } = await connected(backend, { server: { allowHalfOpen: true } });
  client.end();
  const failed = next(client, 'error');
  client.write('late');
  const [error] = await failed;
  assert.equal((error as NodeJS.ErrnoException).code, 'ERR_STREAM_WRITE_AFTER_END');
  await close();
});

each('destroy: close with no error here, the end there', async (backend) => {
  const { client, peer, close } = await connected(backend);
  const told = { client: record(client, ENDING), peer: record(peer, ENDING) };
  peer.resume();
  const closes = Promise.all([next(client, 'close'), next(peer, 'close')]);
  client.destroy();
  assert.equal(client.destroyed, true);
  assert.equal(client.writable, false);
  assert.equal(client.readable, false);
  assert.deepEqual(await closes, [[false], [false]]);
  assert.deepEqual(told.client, ['close']);
  assert.deepEqual(told.peer, ['end', 'finish', 'close']);
  await close();
});

each('destroy with an error: it is told, and close says so', async (backend) => {
  const { client, close } = await connected(backend);
  const told = record(client, ENDING);
  const mine = new Error('mine');
  let seen: unknown;
  client.on('error', (error) => {
    seen = error;
  });
  const closes = new Promise<unknown[]>((resolve) => client.on('close', (...values) => resolve(values)));
  client.destroy(mine);
  client.destroy();
  assert.deepEqual(await closes, [true]);
  assert.equal(seen, mine);
  assert.deepEqual(told, ['error', 'close']);
  await close();
});

each('what was written before destroySoon arrives', async (backend) => {
  const { client, peer, close } = await connected(backend);
  client.write('last words');
  client.destroySoon();
  assert.equal(String(await everything(peer)), 'last words');
  assert.equal(client.destroyed, true);
  await close();
});

each('resetAndDestroy: the peer reads ECONNRESET', async (backend) => {
  const { client, peer, close } = await connected(backend);
  peer.resume();
  const told = record(client, ENDING);
  const failed = new Promise<unknown>((resolve) => peer.once('error', resolve));
  const gone = new Promise<unknown>((resolve) => peer.once('close', resolve));
  assert.equal(client.resetAndDestroy(), client);
  const { message, code, errno, syscall } = fields(await failed);
  assert.deepEqual(
    { message, code, errno, syscall },
    { message: 'read ECONNRESET', code: 'ECONNRESET', errno: -104, syscall: 'read' },
  );
  assert.equal(await gone, true);
  assert.deepEqual(told, ['close']);
  await close();
});

each('resetAndDestroy of a socket that was never connected, and of one that is destroyed', async (backend) => {
  const socket = backend.socket();
  socket.resetAndDestroy();
  const [error] = await next(socket, 'error');
  assert.equal((error as NodeJS.ErrnoException).code, 'ERR_SOCKET_CLOSED');
  const { client, close } = await connected(backend);
  client.destroy();
  client.resetAndDestroy();
  await next(client, 'close');
  await close();
});

each('resetAndDestroy while it connects: first the connection, then its end', async (backend) => {
  const server = backend.createServer();
  const port = await listening(backend, server);
  server.on('connection', (peer) => peer.on('error', () => {}));
  const client = backend.connect(port, backend.address);
  const told = record(client, ['connect', 'error', 'close']);
  client.resetAndDestroy();
  await next(client, 'close');
  assert.deepEqual(told, ['connect', 'close']);
  await closed(server);
});

each('unread data at close resets the peer', async (backend) => {
  const { client, peer, close } = await connected(backend);
  client.pause();
  const failed = new Promise<unknown>((resolve) => peer.once('error', resolve));
  peer.resume();
  peer.write(Buffer.alloc(1 << 20));
  await new Promise((resolve) => setTimeout(resolve, 30));
  client.destroy();
  assert.equal(((await failed) as NodeJS.ErrnoException).code, 'ECONNRESET');
  await close();
});

each('writing to a peer that is gone fails soon', async (backend) => {
  const { client, peer, close } = await connected(backend, { client: { allowHalfOpen: true } });
  client.on('data', () => {});
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => client.once('error', resolve));
  peer.destroy();
  await next(client, 'end');
  const begun = performance.now();
  const timer = setInterval(() => client.write('anybody there?'), 2);
  const error = await failed;
  clearInterval(timer);
  assert.ok(error.code === 'EPIPE' || error.code === 'ECONNRESET', error.code);
  assert.ok(error.syscall === 'write' || error.syscall === 'read', error.syscall);
  assert.equal(error.message, `${error.syscall} ${error.code}`);
  assert.ok(performance.now() - begun < 1000);
  await close();
});

each('a write to a destroyed socket calls back with ERR_STREAM_DESTROYED', async (backend) => {
  const { client, close } = await connected(backend);
  client.destroy();
  const error = await new Promise<unknown>((resolve) => client.write('x', resolve));
  assert.equal((error as NodeJS.ErrnoException).code, 'ERR_STREAM_DESTROYED');
  await close();
});

each('destroyed before it connects: writes that wait call back with an error', async (backend) => {
  const server = backend.createServer();
  const port = await listening(backend, server);
  const socket = backend.connect(port, backend.address);
  const failed = new Promise<unknown>((resolve) => socket.write('x', resolve));
  socket.destroy();
  const { code } = (await failed) as NodeJS.ErrnoException;
  assert.ok(code === 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION' || code === 'ERR_STREAM_DESTROYED', code);
  await closed(server);
});

each('a write on a socket that is not and does not get connected', async (backend) => {
  const socket = backend.socket();
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => socket.once('error', resolve));
  socket.write('x');
  assert.equal((await failed).code, 'ERR_SOCKET_CLOSED');
});

each('after the end everything stays to be asked', async (backend) => {
  const { client, peer, close } = await connected(backend);
  peer.end('12345');
  assert.equal(String(await everything(client)), '12345');
  client.destroy();
  assert.equal(client.bytesRead, 5);
  assert.equal(client.bytesWritten, 0);
  assert.equal(client.bufferSize, undefined);
  assert.equal(client.pending, true);
  assert.equal(client.readyState, 'closed');
  await close();
});

each('asyncDispose of a socket', async (backend) => {
  const { client, close } = await connected(backend);
  const { asyncDispose } = Symbol as unknown as { asyncDispose: symbol };
  const dispose = (client as unknown as Record<symbol, (() => Promise<void>) | undefined>)[asyncDispose];
  if (dispose !== undefined) await dispose.call(client).catch((error: Error) => assert.equal(error.name, 'AbortError'));
  else client.destroy();
  assert.equal(client.destroyed, true);
  await close();
});

each('many connections, each ended by either side', async (backend) => {
  const server = backend.createServer({}, (peer: net.Socket) => {
    peer.on('error', () => {});
    peer.on('data', (text) => (String(text).startsWith('server') ? peer.end('bye') : peer.write('go on')));
  });
  const port = await listening(backend, server);
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, index) => {
      const client = backend.connect(port, backend.address);
      const byServer = index % 2 === 0;
      client.write(byServer ? 'server' : 'client');
      if (byServer) return String(await everything(client));
      const [data] = await next(client, 'data');
      client.end();
      await next(client, 'close');
      return String(data);
    }),
  );
  assert.deepEqual(
    answers,
    Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? 'bye' : 'go on')),
  );
  await closed(server);
});

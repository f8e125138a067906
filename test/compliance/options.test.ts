import assert from 'node:assert/strict';
import net, { BlockList } from 'node:net';
import { closed, connected, each, listening, next, record } from './backends.ts';

const MAJOR = Number(process.versions.node.split('.')[0]);

each('sockets are what programs take them for', async (backend) => {
  const { client, peer, server, close } = await connected(backend);
  assert.ok(client instanceof net.Socket);
  assert.ok(peer instanceof net.Socket);
  assert.ok(server instanceof net.Server);
  await close();
});

each('setTimeout: idleness is told, activity begins it anew, 0 ends it', async (backend) => {
  const { client, peer, close } = await connected(backend);
  peer.resume();
  let count = 0;
  assert.equal(
    client.setTimeout(60, () => count++),
    client,
  );
  assert.equal(client.timeout, 60);
  for (let index = 0; index < 5; index++) {
    await new Promise((resolve) => setTimeout(resolve, 25));
    client.write('x');
  }
  assert.equal(count, 0);
  await next(client, 'timeout');
  assert.equal(count, 1);
  assert.equal(client.destroyed, false, 'only told');
  client.setTimeout(0);
  assert.equal(client.timeout, 0);
  assert.throws(() => client.setTimeout(-1), { code: 'ERR_OUT_OF_RANGE' });
  assert.throws(() => client.setTimeout('x' as unknown as number), { code: 'ERR_INVALID_ARG_TYPE' });
  await close();
});

each('what is received begins a timeout anew', async (backend) => {
  const { client, peer, close } = await connected(backend);
  client.resume();
  const told = record(client, ['timeout']);
  client.setTimeout(80);
  for (let index = 0; index < 5; index++) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    peer.write('x');
  }
  assert.deepEqual(told, []);
  await close();
});

each('a destroyed socket has no timeout any more', async (backend) => {
  const { client, close } = await connected(backend);
  const told = record(client, ['timeout']);
  client.setTimeout(20);
  client.destroy();
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.deepEqual(told, []);
  assert.equal(client.timeout, 20);
  await close();
});

each('setNoDelay and setKeepAlive may be called at any time, and chain', async (backend) => {
  const idle = backend.socket({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 5000 });
  assert.equal(idle.setNoDelay(), idle);
  assert.equal(idle.setKeepAlive(true, 1000), idle);
  const { client, peer, close } = await connected(backend, { client: { noDelay: true, keepAlive: true } });
  assert.equal(client.setNoDelay(false).setNoDelay(true), client);
  assert.equal(client.setKeepAlive(true, 2000).setKeepAlive(false), client);
  client.write('works');
  assert.equal(String((await next(peer, 'data'))[0]), 'works');
  client.destroy();
  assert.equal(client.setNoDelay(), client);
  assert.equal(client.setKeepAlive(), client);
  await close();
});

each('the constructor refuses what Node refuses', (backend) => {
  for (const options of [{ objectMode: true }, { readableObjectMode: true }, { writableObjectMode: true }]) {
    assert.throws(() => backend.socket(options), { code: 'ERR_INVALID_ARG_VALUE' });
  }
  assert.throws(() => backend.socket({ keepAliveInitialDelay: 'x' }), { code: 'ERR_INVALID_ARG_TYPE' });
});

each('a signal of the constructor ends the socket', async (backend) => {
  const controller = new AbortController();
  const { client, close } = await connected(backend, { client: { signal: controller.signal } });
  const failed = next(client, 'error');
  controller.abort();
  assert.equal(((await failed)[0] as Error).name, 'AbortError');
  assert.equal(client.destroyed, true);
  await close();
});

each('an unconnected socket: what it says of itself', (backend) => {
  const socket = backend.socket();
  const { connecting, pending, destroyed, bytesRead, bytesWritten, bufferSize, readyState, timeout } = socket;
  assert.deepEqual(
    { connecting, pending, destroyed, bytesRead, bytesWritten, bufferSize, readyState, timeout },
    {
      connecting: false,
      pending: true,
      destroyed: false,
      bytesRead: 0,
      bytesWritten: 0,
      bufferSize: undefined,
      readyState: 'open',
      timeout: undefined,
    },
  );
  assert.deepEqual(socket.address(), {});
  for (const name of [
    'localAddress',
    'localPort',
    'localFamily',
    'remoteAddress',
    'remotePort',
    'remoteFamily',
  ] as const) {
    assert.equal(socket[name], undefined, name);
  }
  assert.equal(socket.ref(), socket);
  assert.equal(socket.unref(), socket);
});

each('end of a socket that was never connected', async (backend) => {
  const socket = backend.socket();
  assert.equal(socket.end(), socket);
  assert.equal(socket.writable, false);
  socket.destroy();
  await next(socket, 'close');
});

if (MAJOR >= 24) {
  each('a block list of a server drops its connections', async (backend) => {
    const blockList = new BlockList();
    blockList.addAddress(backend.clientAddress);
    const server = backend.createServer({ blockList });
    let count = 0;
    server.on('connection', () => count++);
    const port = await listening(backend, server);
    const client = backend.connect(port, backend.address);
    client.resume().on('error', () => {});
    await next(client, 'close');
    assert.equal(count, 0);
    await closed(server);
  });

  each('a block list of a socket refuses addresses', async (backend) => {
    const blockList = new BlockList();
    blockList.addAddress(backend.address);
    const socket = backend.connect({ port: 1, host: backend.address, blockList });
    const [error] = await next(socket, 'error');
    assert.equal((error as NodeJS.ErrnoException).code, 'ERR_IP_BLOCKED');
    assert.equal((error as Error).message, `IP(${backend.address}) is blocked by net.BlockList`);
  });
}

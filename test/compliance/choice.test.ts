import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { multipathRefusal } from '../../src/kernel/tcp-handle.ts';
import { mbit } from '../../src/link/index.ts';
import { connect, createServer, type Emulation, emulate, Server, Socket } from '../../src/net/index.ts';

/** What `multipath` may be, and what comes of it on each back end. */

const ADDRESS = '10.0.1.2';
const networks = (): Emulation =>
  emulate([
    { rate: mbit(50), delay: 2 },
    { rate: mbit(50), delay: 4 },
  ]);

async function listening(server: net.Server, address: string): Promise<number> {
  server.listen(0, address);
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}

test('D5.24 K34 a client is plain TCP unless it asks, a server multipath for those who do', {
  skip: multipathRefusal() ?? false,
}, async () => {
  const server = createServer((socket) => socket.end());
  const port = await listening(server, '127.0.0.1');
  const seen: string[] = [];
  server.on('connection', (socket: Socket) => seen.push(socket.multipath!.backend));
  for (const multipath of [undefined, false, true] as const) {
    const socket = connect({ host: '127.0.0.1', port, ...(multipath === undefined ? {} : { multipath }) });
    await once(socket, 'connect');
    seen.push(socket.multipath!.backend);
    await once(socket.resume(), 'close');
  }
  assert.deepEqual(seen.sort(), ['kernel', 'kernel', 'tcp', 'tcp', 'tcp', 'tcp']);
  server.close();
});

test('instanceof knows sockets and servers of each kind', async () => {
  const world = networks();
  const ours = createServer({ multipath: { host: world.second } });
  assert.ok(ours instanceof Server && ours instanceof net.Server);
  assert.ok(createServer() instanceof Server && !(net.createServer() instanceof Server));
  const socket = new Socket({ multipath: { host: world.first } });
  assert.ok(socket instanceof Socket && socket instanceof net.Socket);
  assert.ok(new Socket() instanceof Socket && !(new net.Socket() instanceof Socket));
  world.close();
});

test('what is no choice is refused, with what would be one', () => {
  const wrong: [unknown, RegExp][] = [
    ['fast', /'multipath' is invalid: it should be one of handover, interactive, aggregate, redundant, and is "fast"/],
    [7, /'multipath' is invalid: it should be a boolean, .* and is number/],
    [{ backend: 'quic' }, /'multipath\.backend' is invalid/],
    [{ backend: 'userspace' }, /'multipath\.host' is invalid: .* and is undefined/],
    [{ host: {} }, /'multipath\.host' is invalid/],
    [{ congestionControl: '' }, /'multipath\.congestionControl' is invalid/],
  ];
  for (const [multipath, message] of wrong) {
    for (const make of [
      () => new Socket({ multipath: multipath as never }),
      () => createServer({ multipath: multipath as never }),
    ]) {
      assert.throws(make, { code: 'ERR_INVALID_ARG_VALUE', message });
    }
  }
});

test('userspace: handover keeps every path but the first in reserve, at both ends; aggregate uses all', async () => {
  for (const purpose of ['handover', 'aggregate'] as const) {
    const world = networks();
    const accepted: Socket[] = [];
    const server = createServer({ multipath: { host: world.second } }, (socket) => accepted.push(socket as Socket));
    const port = await listening(server, ADDRESS);
    const socket = connect({ host: ADDRESS, port, multipath: { host: world.first, purpose } });
    const joined = once(socket, 'subflow');
    socket.write('hello');
    await joined;
    // MP_PRIO takes a way of its own.
    for (let round = 0; round < 20; round++) {
      socket.write('more');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const expected = purpose === 'handover' ? [false, true] : [false, false];
    assert.deepEqual(
      socket.multipath!.subflows.map(({ backup }) => backup),
      expected,
      purpose,
    );
    accepted[0]!.resume();
    if (purpose === 'handover') {
      const before = accepted[0]!.multipath!.subflows[1]!.bytesSent;
      accepted[0]!.write(Buffer.alloc(500_000));
      let received = 0;
      for await (const chunk of socket) {
        received += (chunk as Buffer).length;
        if (received >= 500_000) break;
      }
      assert.equal(accepted[0]!.multipath?.subflows[1]?.bytesSent ?? before, before, 'the peer heeds it');
    }
    socket.destroy();
    server.close();
    world.close();
  }
});

test('what a back end cannot do is told', async () => {
  const world = networks();
  const server = createServer({ multipath: { host: world.second } }, (socket) => socket.resume());
  const port = await listening(server, ADDRESS);
  const socket = connect({
    host: ADDRESS,
    port,
    multipath: { host: world.first, purpose: 'redundant', scheduler: 'mine', congestionControl: 'vegas' },
  });
  await once(socket, 'connect');
  assert.deepEqual(
    socket.multipath!.unsupported.map((sentence) => sentence.split(':')[0]),
    ['purpose redundant', 'scheduler mine', 'congestionControl vegas'],
  );
  socket.destroy();
  server.close();
  world.close();
});

test('required: plain TCP is an error, before anybody hears of a connection', async () => {
  const world = networks();
  const plain = createServer({ multipath: { host: world.second, backend: 'tcp' } });
  const port = await listening(plain, ADDRESS);
  const sides = [connect({ host: ADDRESS, port, multipath: { host: world.first, required: true } })];
  const kernel = net.createServer();
  if (multipathRefusal() === undefined) {
    sides.push(
      connect({ host: '127.0.0.1', port: await listening(kernel, '127.0.0.1'), multipath: { required: true } }),
    );
  }
  for (const socket of sides) socket.on('connect', () => assert.fail('connected'));
  for (const [error] of (await Promise.all(sides.map((socket) => once(socket, 'error')))) as [
    NodeJS.ErrnoException,
  ][]) {
    assert.equal(error.code, 'ERR_MPTCP_FALLBACK');
    assert.match(error.message, /^the connection is plain TCP: /);
  }
  plain.close();
  kernel.close();
  world.close();
});

test('kernel: the channels tell of connections, and of subflows in the words of every back end', {
  skip: multipathRefusal() ?? false,
}, async () => {
  const told: { socket: unknown; multipath?: { backend: string }; subflow?: { id: number }; event?: string }[] = [];
  const listen = (message: unknown): unknown => told.push(message as (typeof told)[number]);
  for (const name of ['mptcp.connection', 'mptcp.subflow']) subscribe(name, listen);
  try {
    const server = createServer((socket) => socket.pipe(socket));
    const port = await listening(server, '127.0.0.1');
    const socket = connect({ host: '127.0.0.1', port, multipath: true });
    socket.write('hello');
    await once(socket, 'data');
    await new Promise(setImmediate);
    assert.deepEqual(told.map(({ multipath, event }) => multipath?.backend ?? event).sort(), ['kernel', 'kernel']);
    socket.destroy();
    await once(socket, 'close');
    const ends = told.filter((message) => message.socket === socket);
    assert.deepEqual(
      ends.map(({ subflow, event }) => [subflow?.id, event]),
      [
        [undefined, undefined],
        [1, 'subflowClosed'],
      ],
    );
    server.close();
    await once(server, 'close');
  } finally {
    for (const name of ['mptcp.connection', 'mptcp.subflow']) unsubscribe(name, listen);
  }
});

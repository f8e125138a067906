import assert from 'node:assert/strict';
import { once } from 'node:events';
import type net from 'node:net';
import { Duplex, PassThrough } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { connected, each, everything, next, pattern, record } from './backends.ts';

each('strings in each encoding, buffers and typed arrays arrive as they are', async (backend) => {
  const { client, peer, close } = await connected(backend);
  const pieces: [unknown, BufferEncoding?][] = [
    ['grüße ', 'utf8'],
    ['grüße ', 'latin1'],
    ['00ff10', 'hex'],
    ['aGk=', 'base64'],
    ['é', 'utf16le'],
    [Buffer.from([1, 2, 3])],
    [new Uint8Array([4, 5, 6])],
    [new Uint8Array(0)],
  ];
  const expected = Buffer.concat(
    pieces.map(([piece, encoding]) =>
      typeof piece === 'string' ? Buffer.from(piece, encoding) : Buffer.from(piece as Uint8Array),
    ),
  );
  for (const [piece, encoding] of pieces) client.write(piece as string, encoding);
  client.end();
  assert.deepEqual(await everything(peer), expected);
  assert.equal(client.bytesWritten, expected.length);
  assert.equal(peer.bytesRead, expected.length);
  await close();
});

each('each write calls back, in order, once', async (backend) => {
  const { client, peer, close } = await connected(backend);
  peer.resume();
  const told: number[] = [];
  for (let index = 0; index < 20; index++) client.write(`${index}`, () => told.push(index));
  await new Promise<void>((resolve) => client.end(() => resolve()));
  assert.deepEqual(told, [...Array(20).keys()]);
  await close();
});

each('cork and uncork: one write of many chunks', async (backend) => {
  const { client, peer, close } = await connected(backend);
  client.cork();
  client.write('a');
  client.write('b');
  client.write(Buffer.from('c'));
  assert.equal(client.writableLength, 3);
  assert.equal(client.bufferSize, 3);
  process.nextTick(() => client.uncork());
  const [data] = await next(peer, 'data');
  assert.equal(String(data), 'abc');
  assert.equal(client.bytesWritten, 3);
  await close();
});

each('setEncoding: characters are not torn apart', async (backend) => {
  const { client, peer, close } = await connected(backend);
  peer.setEncoding('utf8');
  const bytes = Buffer.from('ä€😀');
  let text = '';
  peer.on('data', (piece) => {
    assert.equal(typeof piece, 'string');
    text += piece;
  });
  client.setNoDelay(true);
  for (const byte of bytes) {
    client.write(Buffer.from([byte]));
    await new Promise((resolve) => setImmediate(resolve));
  }
  client.end();
  await next(peer, 'end');
  assert.equal(text, 'ä€😀');
  await close();
});

each('pause and resume', async (backend) => {
  const { client, peer, close } = await connected(backend);
  let text = '';
  peer.on('data', (piece) => {
    text += piece;
  });
  client.write('one');
  await next(peer, 'data');
  peer.pause();
  assert.equal(peer.isPaused(), true);
  client.write('two');
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(text, 'one');
  peer.resume();
  await next(peer, 'data');
  assert.equal(text, 'onetwo');
  await close();
});

each('readable and read', async (backend) => {
  const { client, peer, close } = await connected(backend);
  client.end('0123456789');
  await next(peer, 'readable');
  const first = peer.read(4) as Buffer;
  assert.equal(String(first), '0123');
  assert.equal(String(peer.read()), '456789');
  assert.equal(peer.read(), null);
  await next(peer, 'end');
  await close();
});

for (const way of ['client to server', 'server to client'] as const) {
  each(`8 MB, ${way}, and an echo of them`, async (backend) => {
    const { client, peer, close } = await connected(backend);
    const [from, to] = way === 'client to server' ? [client, peer] : [peer, client];
    const sent = pattern(8 << 20);
    const [received] = await Promise.all([
      everything(to),
      new Promise<void>((resolve) => from.end(sent, () => resolve())),
    ]);
    assert.equal(Buffer.compare(received, sent), 0);
    assert.equal(to.bytesRead, sent.length);
    assert.equal(from.bytesWritten, sent.length);
    await close();
  });
}

each('both directions at once, through pipe', async (backend) => {
  const { client, peer, close } = await connected(backend, { client: { allowHalfOpen: true } });
  peer.pipe(peer);
  const sent = pattern(2 << 20);
  const [back] = await Promise.all([
    everything(client),
    pipeline(new PassThrough().end(sent), client, { end: true }),
  ]).catch(() => [Buffer.alloc(0)]);
  assert.equal(back.length, sent.length);
  assert.equal(Buffer.compare(back, sent), 0);
  await close();
});

each(
  'back-pressure: a reader that does not read stops the writer, and drain tells when it may go on',
  async (backend) => {
    const { client, peer, close } = await connected(backend);
    peer.pause();
    const chunk = pattern(1 << 20);
    let written = 0;
    let drained = 0;
    client.on('drain', () => drained++);
    // Buffers of both ends hold some, and no more than that.
    for (let count = 0; count < 64; count++) {
      written += chunk.length;
      if (client.write(chunk)) continue;
      const goesOn = await Promise.race([
        once(client, 'drain').then(() => true),
        new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 150)),
      ]);
      if (!goesOn) break;
    }
    assert.ok(client.writableNeedDrain, 'the writer has to wait');
    assert.ok(client.writableLength > 0);
    assert.equal(client.bufferSize, client.writableLength);
    const before = drained;
    const received = everything(peer);
    await once(client, 'drain');
    assert.equal(drained, before + 1);
    client.end();
    assert.equal((await received).length, written);
    await close();
  },
);

each('write returns false beyond the high water mark', async (backend) => {
  const { client, peer, close } = await connected(backend, { client: { highWaterMark: 10 } });
  peer.resume();
  assert.equal(client.writableHighWaterMark, 10);
  client.cork();
  assert.equal(client.write('12345'), true);
  assert.equal(client.write('67890'), false);
  client.uncork();
  await next(client, 'drain');
  assert.equal(client.writableLength, 0);
  await close();
});

each('web streams over a socket', async (backend) => {
  const { client, peer, close } = await connected(backend);
  const { readable, writable } = Duplex.toWeb(client);
  const writer = writable.getWriter();
  await writer.write(Buffer.from('from the web'));
  const [data] = await next(peer, 'data');
  assert.equal(String(data), 'from the web');
  peer.write('to the web');
  const { value } = await readable.getReader().read();
  assert.equal(String(Buffer.from(value as Uint8Array)), 'to the web');
  await close();
});

each('onread: one buffer for all, and a callback that pauses', async (backend) => {
  const buffer = Buffer.alloc(1024);
  let text = '';
  let counted = 0;
  let pauses = 0;
  const callback = (count: number, given: Uint8Array): boolean => {
    assert.equal(given, buffer);
    text += buffer.toString('latin1', 0, count);
    counted += count;
    if (counted < 3000 || pauses > 0) return true;
    pauses++;
    return false;
  };
  const { client, peer, close } = await connected(backend, { client: { onread: { buffer, callback } } });
  const told = record(client, ['data', 'end', 'close']);
  const sent = pattern(10_000).toString('latin1');
  peer.end(sent, 'latin1');
  while (pauses === 0) await new Promise((resolve) => setImmediate(resolve));
  const held = counted;
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(counted, held, 'paused');
  client.resume();
  await next(client, 'end');
  assert.equal(text, sent);
  assert.equal(client.bytesRead, 10_000);
  client.end();
  await next(client, 'close');
  assert.deepEqual(told, ['end', 'close'], 'no data event');
  await close();
});

each('onread: a buffer for each call, and pause within it', async (backend) => {
  const given: Uint8Array[] = [];
  const sizes: number[] = [];
  let socket: net.Socket | undefined;
  const onread = {
    buffer: () => {
      const fresh = Buffer.alloc(100);
      given.push(fresh);
      return fresh;
    },
    callback(this: unknown, count: number, buffer: Uint8Array): boolean {
      assert.equal(this, socket);
      assert.equal(buffer, given[sizes.length]);
      sizes.push(count);
      if (sizes.length === 2) socket!.pause();
      return true;
    },
  };
  const { client, peer, close } = await connected(backend, { client: { onread } });
  socket = client;
  peer.end(pattern(350));
  while (sizes.length < 2) await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(sizes, [100, 100]);
  client.resume();
  await next(client, 'end');
  assert.deepEqual(sizes, [100, 100, 100, 50]);
  assert.equal(given.length, 5);
  await close();
});

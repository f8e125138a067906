import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { mbit, type PathOptions } from '../../src/link/path.ts';
import { type Stream, type StreamHandler, Streams } from '../../src/node/stream.ts';
import type { SystemError } from '../../src/node/system-error.ts';
import { SimulatedHost } from '../../src/sim/host.ts';
import { twoHosts } from '../../src/sim/topology.ts';
import { fillPattern, patternByte } from '../../src/sim/workload.ts';

/** Two hosts with streams, in virtual time. */
function pair(path: PathOptions = { rate: mbit(100), delay: 5 }) {
  let client: Streams | undefined;
  let server: Streams | undefined;
  const built = twoHosts<SimulatedHost>({
    paths: [path],
    family: 4,
    host: (name, interfaces, world) => new SimulatedHost(interfaces, world.random.derive(name)),
    onClient: { onReady: (_, descriptor) => client!.onReady(descriptor) },
    onServer: { onReady: (_, descriptor) => server!.onReady(descriptor) },
  });
  const { world } = built;
  client = new Streams(built.client.sockets, () => world.now);
  server = new Streams(built.server.sockets, () => world.now);
  return { ...built, client, server, address: built.serverAddress(0) };
}

function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  fillPattern(1, 0, bytes, 0, length);
  return bytes;
}

/** Keeps what comes, and what is told. */
class Keeper implements StreamHandler {
  readonly told: string[] = [];
  received = 0;
  wrongAt = -1;
  error: SystemError | undefined;
  /** Bytes used of each view at most. */
  limit = Number.POSITIVE_INFINITY;
  afterEnd: ((stream: Stream) => void) | undefined;

  onConnect(): void {
    this.told.push('connect');
  }

  onData(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.limit);
    for (let index = 0; index < count; index++) {
      if (bytes[index] !== patternByte(1, this.received + index) && this.wrongAt < 0)
        this.wrongAt = this.received + index;
    }
    this.received += count;
    return count;
  }

  onDrain(): void {
    this.told.push('drain');
  }

  onEnd(stream: Stream): void {
    this.told.push('end');
    this.afterEnd?.(stream);
  }

  onClose(error: SystemError | undefined): void {
    this.told.push('close');
    this.error = error;
  }
}

describe('streams over a host', () => {
  test('write keeps what there is no room for and says so; both sides end on their own', () => {
    const { world, client, server, address } = pair();
    const there = new Keeper();
    there.afterEnd = (stream) => stream.end();
    server.listen({ port: 80 }, () => there);
    const here = new Keeper();
    const stream = client.connect({ address, port: 80 }, here);
    const bytes = pattern(1_000_000);
    // Before the handshake is over as well.
    assert.equal(stream.write(bytes), false);
    assert.equal(stream.pending, bytes.length);
    assert.equal(stream.send(bytes), 0, 'nothing overtakes what was kept');
    stream.end();
    assert.equal(stream.write(bytes), false, 'nothing after the end');
    world.run();
    assert.equal(there.received, bytes.length);
    assert.equal(there.wrongAt, -1);
    assert.deepEqual(there.told, ['end', 'close']);
    assert.deepEqual(here.told, ['connect', 'end', 'close']);
    assert.equal(here.error, undefined);
    assert.equal(stream.bytesSent, bytes.length);
    assert.ok(stream.closed && client.open.length === 0 && server.open.length === 0);
    assert.equal(stream.info()?.bytesSent, bytes.length, 'the last figures stay');
  });

  test('send takes what fits, and onDrain asks for more', () => {
    const { world, client, server, address } = pair();
    const there = new Keeper();
    server.listen({ port: 80 }, () => there);
    const bytes = pattern(2_000_000);
    let offset = 0;
    let drains = 0;
    const push = (stream: Stream): void => {
      while (offset < bytes.length) {
        const length = Math.min(65_536, bytes.length - offset);
        const taken = stream.send(bytes, offset, length);
        offset += taken;
        if (taken < length) return;
      }
      stream.end();
    };
    client.connect(
      { address, port: 80 },
      {
        onConnect: push,
        onDrain: (stream) => {
          drains++;
          push(stream);
        },
      },
    );
    world.run({ until: 5000 });
    assert.equal(there.received, bytes.length);
    assert.equal(there.wrongAt, -1);
    assert.ok(drains > 2);
  });

  test('what onData does not use waits, and closes the window until resume', () => {
    const { world, client, server, address } = pair();
    const there = new Keeper();
    there.limit = 0;
    let accepted: Stream | undefined;
    server.listen({ port: 80 }, (stream) => {
      accepted = stream;
      return there;
    });
    const stream = client.connect({ address, port: 80 }, new Keeper());
    stream.write(pattern(3_000_000));
    stream.end();
    world.run({ until: 3000 });
    assert.equal(there.received, 0);
    assert.ok(accepted!.peek().length > 0);
    assert.ok(stream.pending > 0, 'the sender feels it');
    there.limit = Number.POSITIVE_INFINITY;
    accepted!.pause();
    world.run({ until: 4000 });
    assert.equal(there.received, 0);
    accepted!.resume();
    world.touch();
    world.run({ until: 20_000 });
    assert.equal(there.received, 3_000_000);
    assert.deepEqual(there.told, ['end']);
  });

  test('a paused stream hears of the end once it has read what came before', () => {
    const { world, client, server, address } = pair();
    const there = new Keeper();
    let accepted: Stream | undefined;
    server.listen({ port: 80, multipath: false }, (stream) => {
      accepted = stream;
      stream.pause();
      return there;
    });
    const stream = client.connect({ address, port: 80, multipath: false }, {});
    stream.write(pattern(5000));
    world.run({ until: 100 });
    stream.abort();
    world.run({ until: 200 });
    assert.deepEqual(there.told, []);
    accepted!.resume();
    assert.equal(there.received, 5000);
    assert.deepEqual(there.told, ['close']);
    assert.equal(there.error?.code, 'ECONNRESET');
  });

  test('failures have codes and a text for people', () => {
    const { world, client, server, address } = pair();
    const refused = new Keeper();
    client.connect({ address, port: 81 }, refused);
    world.run({ until: 1000 });
    assert.deepEqual(refused.told, ['close']);
    assert.equal(refused.error?.code, 'ECONNREFUSED');
    assert.match(refused.error!.message, /10\.0\.1\.2:81: connection refused/);
    assert.throws(() => client.connect({ address, port: 0 }, {}), { code: 'EINVAL' });
    assert.throws(() => client.connect({ address, port: 80, local: address }, {}), { code: 'EADDRNOTAVAIL' });
    server.listen({ port: 80 }, () => ({}));
    assert.throws(() => server.listen({ port: 80 }, () => ({})), { code: 'EADDRINUSE' });
    assert.equal(client.open.length, 0);
  });

  test('abort ends both ends: the peer sees a reset', () => {
    const { world, client, server, address } = pair();
    const there = new Keeper();
    server.listen({ port: 80 }, () => there);
    const here = new Keeper();
    const stream = client.connect({ address, port: 80 }, here);
    stream.write(pattern(1000));
    world.run({ until: 100 });
    stream.abort();
    stream.abort();
    world.touch();
    world.run({ until: 200 });
    assert.deepEqual(here.told, ['connect', 'drain', 'close']);
    assert.equal(there.error?.code, 'ECONNRESET');
    assert.equal(stream.send(pattern(10)), 0);
  });

  test('a closed listener takes no more; a free port is given out', () => {
    const { world, client, server, address } = pair();
    const listener = server.listen({ port: 0 }, () => ({}));
    const { port } = listener;
    assert.ok(port > 0);
    listener.close();
    listener.close();
    const refused = new Keeper();
    client.connect({ address, port }, refused);
    world.run({ until: 1000 });
    assert.equal(refused.error?.code, 'ECONNREFUSED');
  });
});

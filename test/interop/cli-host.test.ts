import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { CaptureFile } from '../../src/cli/capture-file.ts';
import { summarise } from '../../src/cli/demo.ts';
import { realNetwork } from '../../src/cli/demo-network.ts';
import { DemoTransfer } from '../../src/cli/demo-transfer.ts';
import { Capture } from '../../src/link/capture.ts';
import { mbit, Path } from '../../src/link/path.ts';
import { emulatedPair } from '../../src/node/emulator.ts';
import type { Stream, StreamHandler } from '../../src/node/stream.ts';
import { type HostPath, UserspaceHost } from '../../src/node/userspace-host.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { fillPattern, patternByte } from '../../src/sim/workload.ts';
import { Address } from '../../src/wire/address.ts';

/** Hosts in real time, in this process: no root, no device. */

interface Cable {
  readonly client: HostPath;
  readonly server: HostPath;
}

/** Both ends of path `index`: 10.0.i.1 and 10.0.i.2. */
function cable(index: number, options: { rate?: number; subflow?: boolean } = {}): Cable {
  const random = new SeededRandom(index);
  const path = new Path({ rate: mbit(options.rate ?? 80), delay: 2 }, (purpose) => random.derive(purpose));
  const [near, far] = emulatedPair(path.aToB, path.bToA);
  const address = (host: number) => ({ address: Address.of(`10.0.${index}.${host}`), prefixLength: 24 });
  return {
    client: {
      name: `path${index}`,
      addresses: [address(1)],
      io: near,
      ...(options.subflow === true ? { endpoint: { subflow: true } } : {}),
    },
    server: { name: `path${index}`, addresses: [address(2)], io: far },
  };
}

const SERVER = Address.of('10.0.1.2');

/** Checks what comes against the pattern, and ends when the peer does. */
class Receiver implements StreamHandler {
  received = 0;
  wrongAt = -1;
  stream: Stream | undefined;
  private readonly marks: { bytes: number; reached: () => void }[] = [];
  private over: (error: Error | undefined) => void = () => {};
  readonly closed = new Promise<Error | undefined>((resolve) => {
    this.over = resolve;
  });

  onData(bytes: Uint8Array): number {
    for (let index = 0; index < bytes.length; index++) {
      if (this.wrongAt < 0 && bytes[index] !== patternByte(1, this.received + index))
        this.wrongAt = this.received + index;
    }
    this.received += bytes.length;
    for (const mark of this.marks.splice(0)) {
      if (this.received >= mark.bytes) mark.reached();
      else this.marks.push(mark);
    }
    return bytes.length;
  }

  /** Resolves when so many bytes have come. */
  until(bytes: number): Promise<void> {
    return new Promise((reached) => {
      if (this.received >= bytes) reached();
      else this.marks.push({ bytes, reached });
    });
  }

  onEnd(stream: Stream): void {
    stream.end();
  }

  onClose(error: Error | undefined): void {
    this.over(error);
  }
}

/** Both ends' subflows, while the transfer runs. */
async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 1000; tries++) {
    if (condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.fail(`waited for ${what}`);
}

describe('a userspace host in real time', () => {
  test('paths come and go while a connection lives, and nothing is lost', async () => {
    const bytes = new Uint8Array(4_000_000);
    fillPattern(1, 0, bytes, 0, bytes.length);
    const first = cable(1);
    let captured = 0;
    const capture = new Capture((block) => {
      captured += block.length;
    });
    using server = UserspaceHost.open({ paths: [first.server] });
    using client = UserspaceHost.open({ paths: [first.client], capture });
    const receiver = new Receiver();
    server.listen({ port: 80 }, () => receiver);
    const sender = new Receiver();
    const stream = client.connect({ address: SERVER, port: 80 }, sender);
    stream.write(bytes);
    stream.end();
    await receiver.until(500_000);
    assert.equal(stream.info()?.paths.length, 1);

    const second = cable(2, { subflow: true });
    server.addPath(second.server);
    client.addPath(second.client);
    assert.throws(() => client.addPath(second.client), RangeError);
    await until(
      () => stream.info()?.paths.filter(({ state }) => state === 'established').length === 2,
      'a second subflow',
    );
    await receiver.until(2_000_000);

    assert.equal(client.removePath('path1'), true);
    assert.equal(client.removePath('path1'), false);
    assert.deepEqual(client.pathNames, ['path2']);
    assert.equal(await receiver.closed, undefined);
    assert.equal(await sender.closed, undefined);
    assert.equal(receiver.received, bytes.length);
    assert.equal(receiver.wrongAt, -1);
    assert.deepEqual(
      stream
        .info()
        ?.past.map(({ local }) => local)
        .includes('10.0.1.1'),
      true,
    );
    assert.equal(await client.settle(5000), true);
    assert.equal(client.liveConnections, 0);
    assert.ok(client.driverCounters.sent > 0 && captured > bytes.length);
  });

  test('a path that cannot be opened leaves nothing behind', () => {
    const first = cable(1);
    assert.throws(() => UserspaceHost.open({ paths: [first.client, first.client] }), RangeError);
    assert.throws(() => UserspaceHost.open({ subflows: 9 }), { code: 'EINVAL' });
  });

  test('the demo in real time: as in virtual time, by the real clock', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'mptcp-demo-'));
    const file = new CaptureFile(join(directory, 'demo.pcapng'), 0);
    const network = realNetwork({ seed: '1', capture: file.capture });
    try {
      const plan = { size: 1e6, seed: '1', cutAt: Number.POSITIVE_INFINITY, returnAt: 0.7 };
      const transfer = new DemoTransfer(network, plan);
      transfer.start();
      await network.run(
        20,
        () => transfer.check(),
        () => transfer.isOver,
      );
      transfer.check();
      assert.equal(file.close(), undefined);
      const summary = summarise(transfer, false, file);
      assert.ok(summary.sha256.equal);
      assert.equal(summary.bytes, 1e6);
      // 1 MB cannot be faster than both networks together.
      assert.ok(summary.milliseconds > (1e6 * 8) / 50e3, String(summary.milliseconds));
    } finally {
      network.close();
      rmSync(directory, { recursive: true });
    }
  });
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mbit, type PathOptions } from '../../src/link/index.ts';
import { pair } from './pair.ts';

/** Payload share of a path's rate: 1424 bytes in a packet of 1500, with timestamps and a DSS of 24 bytes. */
const PAYLOAD_SHARE = 1424 / 1500;

interface Transfer {
  readonly paths: readonly PathOptions[];
  readonly bytes: number;
  readonly upload: boolean;
  readonly multipath?: boolean;
  readonly receiveBuffer?: number;
  readonly seed?: number;
}

/** One transfer; when its last byte was read, and how many bytes had been read after `atOnce` ms. */
function transfer(options: Transfer): { time: number; inFirstSecond: number } {
  const { paths, bytes, upload, multipath = true, receiveBuffer, seed = 1 } = options;
  const settings = receiveBuffer === undefined ? {} : { settings: { receiveBuffer } };
  const { world, serverAddress, clientApp, serverApp } = pair({ seed, paths });
  serverApp.listen(80, { toSend: upload ? 0 : bytes, multipath, ...settings });
  const client = clientApp.connect(0, serverAddress(0), 80, { toSend: upload ? bytes : 0, multipath, ...settings });
  const receiver = () => (upload ? serverApp.ends[0] : client);
  let inFirstSecond = 0;
  world.at(1000, () => {
    inFirstSecond = receiver()?.received ?? 0;
  });
  world.run({ until: 600_000, condition: () => client.closed && serverApp.ends[0]?.closed === true });
  const end = receiver()!;
  assert.equal(end.received, bytes);
  assert.equal(end.wrongAt, -1);
  assert.equal(client.error, 0);
  return { time: end.lastByteAt, inFirstSecond };
}

for (const upload of [true, false]) {
  const way = upload ? 'up' : 'down';

  test(`30 and 20 Mbit/s, 20 and 60 ms, carry 0.95 of their sum ${way}`, (context) => {
    const bytes = 64_000_000;
    const paths = [
      { rate: mbit(30), delay: 10 },
      { rate: mbit(20), delay: 30 },
    ];
    const { time, inFirstSecond } = transfer({ paths, bytes, upload });
    const ceiling = mbit(50) * PAYLOAD_SHARE;
    const whole = bytes / time / ceiling;
    const afterwards = (bytes - inFirstSecond) / (time - 1000) / ceiling;
    context.diagnostic(`${whole.toFixed(3)} of the ceiling, ${afterwards.toFixed(3)} after the first second`);
    assert.ok(whole >= 0.95, `${whole.toFixed(3)} of the ceiling, with slow start`);
    assert.ok(afterwards >= 0.98, `${afterwards.toFixed(3)} of the ceiling after the first second`);
  });

  test(`K09 a slow path never costs what the best path alone gives, ${way} with 200 KB to receive into`, (context) => {
    const ratios: string[] = [];
    for (let seed = 1; seed <= 6; seed++) {
      const fast = { rate: mbit(8), delay: 10, jitter: 1 };
      const slow = { rate: mbit(2), delay: 75, jitter: 5 };
      const receiveBuffer = 200_000;
      const bytes = 6_000_000 + 500_000 * seed;
      const alone = transfer({ paths: [fast], bytes, upload, multipath: false, receiveBuffer, seed });
      const both = transfer({ paths: [fast, slow], bytes, upload, receiveBuffer, seed });
      const ratio = alone.time / both.time;
      ratios.push(ratio.toFixed(3));
      assert.ok(ratio >= 0.95, `seed ${seed}: ${ratio.toFixed(3)} of plain TCP on the best path`);
    }
    context.diagnostic(`of plain TCP on the best path: ${ratios.join(' ')}`);
  });

  test(`a slow path joined first, or behind a deep queue, or with buffers to spare, costs nothing ${way}`, (context) => {
    const ratios: string[] = [];
    for (const [first, second, receiveBuffer] of [
      [{ rate: mbit(2), delay: 75 }, { rate: mbit(8), delay: 10 }, 200_000],
      [{ rate: mbit(2), delay: 75 }, { rate: mbit(8), delay: 10 }, undefined],
      [{ rate: mbit(8), delay: 10 }, { rate: mbit(2), delay: 75 }, undefined],
      [{ rate: mbit(8), delay: 10 }, { rate: mbit(8), delay: 75 }, 100_000],
      [{ rate: mbit(8), delay: 10 }, { rate: mbit(1), delay: 20, queue: 100_000 }, 200_000],
    ] as const) {
      const bytes = 8_000_000;
      const best = Math.min(
        ...[first, second].map((path) => {
          const limits = receiveBuffer === undefined ? {} : { receiveBuffer };
          return transfer({ paths: [path], bytes, upload, multipath: false, ...limits }).time;
        }),
      );
      const limits = receiveBuffer === undefined ? {} : { receiveBuffer };
      const ratio = best / transfer({ paths: [first, second], bytes, upload, ...limits }).time;
      ratios.push(ratio.toFixed(3));
      assert.ok(ratio >= 0.95, `${JSON.stringify([first, second, receiveBuffer])}: ${ratio.toFixed(3)}`);
    }
    context.diagnostic(`of plain TCP on the best path: ${ratios.join(' ')}`);
  });
}

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { CaptureFile } from '../../src/cli/capture-file.ts';
import { summarise } from '../../src/cli/demo.ts';
import { DEMO_PATHS, virtualNetwork } from '../../src/cli/demo-network.ts';
import { DemoTransfer } from '../../src/cli/demo-transfer.ts';
import { type DemoSummary, summaryText } from '../../src/cli/demo-view.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { CaptureReader, Frame } from '../../src/trace/capture.ts';
import { FlowTracker } from '../../src/trace/flows.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';

const directory = mkdtempSync(join(tmpdir(), 'mptcp-demo-'));
after(() => rmSync(directory, { recursive: true }));

interface Run {
  readonly summary: DemoSummary;
  readonly capture: Uint8Array;
}

let runs = 0;

async function run(size: number, options: { seed?: string; cut?: boolean } = {}): Promise<Run> {
  const { seed = '1', cut = true } = options;
  const path = join(directory, `${runs++}.pcapng`);
  const file = new CaptureFile(path, 0);
  const network = virtualNetwork({ seed, capture: file.capture });
  try {
    const plan = { size, seed, cutAt: cut ? 0.4 : Number.POSITIVE_INFINITY, returnAt: 0.7 };
    const transfer = new DemoTransfer(network, plan);
    transfer.start();
    await network.run(
      100,
      () => {
        transfer.check();
        transfer.figures();
      },
      () => transfer.isOver,
    );
    transfer.check();
    assert.equal(file.close(), undefined);
    return { summary: summarise(transfer, true, file), capture: readFileSync(path) };
  } finally {
    network.close();
  }
}

/** Interfaces, MPTCP connections, subflows and payload bytes of a capture. */
function read(capture: Uint8Array): {
  interfaces: string[];
  connections: number;
  subflows: Set<number>;
  packets: number;
} {
  const reader = new CaptureReader(capture);
  const frame = new Frame();
  const packet = new Packet(0, 0, capture);
  packet.checksum = ChecksumState.Unverified;
  const ip = new IpHeader();
  const segment = new Segment();
  const flows = new FlowTracker();
  const interfaces = new Set<string>();
  const connections = new Set<number>();
  const subflows = new Set<number>();
  let packets = 0;
  while (reader.next(frame)) {
    packets++;
    interfaces.add(frame.interfaceName);
    packet.start = frame.start;
    packet.end = frame.end;
    assert.ok(frame.end - frame.start <= 1500, 'packets as they are on the wire');
    assert.equal(decodeIp(packet, ip), 0);
    // Verifies the checksum as well.
    assert.equal(decodeTcp(packet, ip, segment), 0);
    const { subflow } = flows.onSegment(segment);
    assert.ok(subflow.connection.isMultipath);
    connections.add(subflow.connection.number);
    subflows.add(subflow.id);
  }
  assert.equal(reader.problem, undefined);
  return { interfaces: [...interfaces], connections: connections.size, subflows, packets };
}

describe('the demo in virtual time', () => {
  test('a cut network does not stop the transfer, and what arrives is what was sent', async () => {
    const { summary, capture } = await run(24e6);
    assert.equal(summary.bytes, 24e6);
    assert.ok(summary.sha256.equal);
    assert.match(summary.sha256.sent, /^[0-9a-f]{64}$/);
    assert.deepEqual(
      summary.events.map(({ path, isUp }) => [path, isUp]),
      [
        ['Wi-Fi', false],
        ['Wi-Fi', true],
      ],
    );
    assert.deepEqual(
      summary.phases.map(({ paths }) => paths),
      ['both', 'LTE', 'both'],
    );
    // Nobody was told, so the sender had to find out: but the stream stood still no longer than that takes.
    assert.ok(
      summary.longestGap.milliseconds > 60 && summary.longestGap.milliseconds < 1500,
      String(summary.longestGap.milliseconds),
    );
    const alone = summary.phases[1]!;
    assert.ok(alone.goodput > 0.6 * alone.capacity, `${alone.goodput} of ${alone.capacity}`);
    assert.ok(summary.goodput < summary.capacityWhileUp && summary.capacityWhileUp < summary.capacity);
    for (const path of summary.paths) assert.ok(path.delivered > 0.2 * 24e6, path.name);

    const seen = read(capture);
    assert.deepEqual(seen.interfaces.sort(), DEMO_PATHS.map(({ name }) => name).sort());
    assert.equal(seen.connections, 1);
    assert.equal(seen.subflows.size, 2);
    assert.equal(seen.packets, summary.capture.packets);
  });

  test('without a cut both networks are filled', async () => {
    const { summary } = await run(24e6, { cut: false });
    assert.deepEqual(summary.events, []);
    assert.ok(summary.sha256.equal);
    assert.ok(summary.goodput > 0.75 * summary.capacity, `${summary.goodput} of ${summary.capacity}`);
    assert.equal(summary.capacityWhileUp, summary.capacity);
  });

  test('the same seed is the same run, to the byte of the capture; another seed is another file', async () => {
    const first = await run(1e6, { seed: 'a' });
    const second = await run(1e6, { seed: 'a' });
    const third = await run(1e6, { seed: 'b' });
    assert.ok(Buffer.from(first.capture).equals(second.capture));
    assert.equal(first.summary.milliseconds, second.summary.milliseconds);
    assert.notEqual(first.summary.sha256.sent, third.summary.sha256.sent);
  });

  test('the summary as text says the same', async () => {
    const { summary } = await run(3e6);
    const text = summaryText(summary, new Terminal({ isTTY: false } as NodeJS.WriteStream, {}));
    assert.ok(text.includes(summary.sha256.received));
    assert.match(text, /3\.00 MB in /);
    assert.match(text, /over LTE alone/);
    assert.match(text, /the same at both ends/);
    assert.ok(!text.includes('\x1b'));
    const lied = summaryText(
      { ...summary, sha256: { ...summary.sha256, equal: false } },
      new Terminal({ isTTY: false } as NodeJS.WriteStream, {}),
    );
    assert.match(lied, /NOT THE SAME/);
  });
});

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import type { MptcpInfo, SubflowAddresses } from '../../src/kernel/socket-info.ts';
import { Chain } from '../../src/link/chain.ts';
import { Delay } from '../../src/link/delay.ts';
import { Pipe } from '../../src/link/pipe.ts';
import { Rate } from '../../src/link/rate.ts';
import type { PeerResult } from './harness/kernel-peer.ts';
import { startKernelPeer } from './harness/namespace.ts';
import { patternDigest } from './harness/pattern.ts';
import { requireRoot } from './harness/root.ts';
import { type EmulatedTopology, emulatedTopology } from './harness/topology.ts';

const skip = requireRoot();

/** 30 Mbit/s. */
const RATE = 3750;

function link(): Chain {
  return new Chain(new Rate({ rate: RATE, queue: 150_000 }), new Delay({ delay: 5 }));
}

async function transfer(
  topology: EmulatedTopology,
  protocol: 'tcp' | 'mptcp',
  bytes: number,
  seed: number,
): Promise<{ result: PeerResult; info: { mptcp: MptcpInfo | null; subflows: SubflowAddresses[] } }> {
  const left = await startKernelPeer(topology.left);
  const right = await startKernelPeer(topology.right);
  for (const peer of [left, right]) await peer.call('setLimits', { subflows: 4, addAddrAccepted: 4 });
  for (const path of topology.paths.slice(1)) {
    await right.call('addEndpoint', { address: path.rightAddress, flags: ['signal'], device: path.rightDevice });
  }
  // On any address: joins come to the announced ones.
  const { port } = await right.call<{ port: number }>('listen', {
    protocol,
    host: topology.paths[0]!.rightAddress.includes(':') ? '::' : '0.0.0.0',
    mode: 'sink',
  });
  const { connection: client } = await left.call<{ connection: number }>('connect', {
    protocol,
    host: topology.paths[0]!.rightAddress,
    port,
    bytes,
    seed,
    end: false,
  });
  const { connection } = await right.event<{ connection: number }>('connection');
  const result = await right.call<PeerResult>('wait', { connection, until: 'bytes', bytes });
  const info = await right.call<{ mptcp: MptcpInfo | null; subflows: SubflowAddresses[] }>('info', { connection });
  await left.call('end', { connection: client });
  await right.call('end', { connection });
  const done = await right.call<PeerResult>('wait', { connection, until: 'end' });
  assert.equal(await left.end(), 0);
  assert.equal(await right.end(), 0);
  return { result: { ...done, elapsed: result.elapsed }, info };
}

describe('an emulated network between two kernels', { skip }, () => {
  const open: EmulatedTopology[] = [];
  after(() => {
    for (const topology of open) topology.close();
  });

  test('a link of 30 Mbit/s gives TCP 30 Mbit/s', async () => {
    const topology = emulatedTopology([{ forward: link(), backward: link() }], {
      ipv6: false,
      congestionControl: 'reno',
    });
    open.push(topology);
    const bytes = 3_000_000;
    const { result } = await transfer(topology, 'tcp', bytes, 11);
    assert.equal(result.received, bytes);
    assert.equal(result.sha256, patternDigest(11, bytes));
    // Headers are 4 % of the rate; slow start takes a few round trips of 10 ms.
    const rate = bytes / result.elapsed;
    assert.ok(rate > RATE * 0.7 && rate < RATE, `${rate.toFixed(0)} bytes per ms`);
    topology.close();
  });

  test('MPTCP of the kernel uses two such links at once', async () => {
    const topology = emulatedTopology(
      [
        { forward: link(), backward: link() },
        { forward: link(), backward: link() },
      ],
      { ipv6: false, congestionControl: 'reno' },
    );
    open.push(topology);
    const bytes = 6_000_000;
    const { result, info } = await transfer(topology, 'mptcp', bytes, 12);
    assert.equal(result.received, bytes);
    assert.equal(result.sha256, patternDigest(12, bytes));
    assert.equal(info.mptcp?.fallback, false);
    assert.deepEqual(
      info.subflows.map(({ local, peer }) => `${local.address} ${peer.address}`).sort(),
      topology.paths.map((path) => `${path.rightAddress} ${path.leftAddress}`),
    );
    const rate = bytes / result.elapsed;
    assert.ok(rate > RATE * 1.2, `${rate.toFixed(0)} bytes per ms`);
    assert.ok(topology.paths[1]!.forward.counters.receivedBytes > bytes / 5);
    topology.close();
  });

  test('large packets and partial checksums pass from one device to the other as they are', async () => {
    for (const family of [4, 6] as const) {
      const topology = emulatedTopology([{ forward: new Pipe(), backward: new Pipe(), offload: true }], {
        family,
        ipv6: family === 6,
      });
      open.push(topology);
      const before = topology.right.counters();
      const bytes = 20_000_000;
      const { result } = await transfer(topology, 'mptcp', bytes, 13);
      assert.equal(result.received, bytes);
      assert.equal(result.sha256, patternDigest(13, bytes));
      const gained = topology.right.countersSince(before);
      assert.equal(gained.get('TcpInCsumErrors') ?? 0, 0);
      assert.equal(gained.get('MPTcpExtMPCapableSYNRX'), 1);
      const { emulator, forward } = topology.paths[0]!;
      assert.ok(emulator.counters.sent * 5000 < bytes, `${emulator.counters.sent} packets for ${bytes} bytes`);
      assert.equal(emulator.counters.lost, 0);
      // A link counts the packets on the wire that a large one stands for.
      assert.ok(forward.counters.sent > bytes / 1500);
      topology.close();
    }
  });
});

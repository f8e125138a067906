import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { TunCounters, TunOptions } from '../../src/node/tun.ts';
import type { Child } from './harness/child.ts';
import type { FakeHostCounters } from './harness/fake-host.ts';
import { Namespace, startKernelPeer } from './harness/namespace.ts';
import { patternDigest } from './harness/pattern.ts';
import { requireRoot } from './harness/root.ts';
import { type TunTopology, tunTopology } from './harness/topology.ts';

const skip = requireRoot();
const CHILD = new URL('./harness/tun-child.ts', import.meta.url);

interface Counters {
  host: FakeHostCounters;
  driver: { received: number; sent: number; down: number; turns: number; refused: number };
  tapped: { received: number; sent: number };
}

for (const family of [4, 6] as const) {
  describe(`TUN with IPv${family}`, { skip }, () => {
    let topology: TunTopology;
    let child: Child;
    let peer: Child;

    before(async () => {
      topology = tunTopology({ paths: 2, family, ipv6: family === 6 });
      child = await topology.host.start(CHILD);
      peer = await startKernelPeer(topology.host);
    });
    after(() => topology.close());

    test('the kernel grants header, checksum and segmentation offload', async () => {
      for (const path of topology.paths) {
        const opened = await child.call<{ name: string; mtu: number; capabilities: object }>('open', {
          id: path.index + 1,
          path,
        });
        assert.equal(opened.name, path.device);
        assert.equal(opened.mtu, 1500);
        assert.deepEqual(opened.capabilities, {
          vnetHeader: true,
          checksumOffload: true,
          segmentationOffload: true,
          udpSegmentationOffload: true,
        });
      }
    });

    test('pings are answered on each device, by the host and through the driver', async () => {
      for (const path of topology.paths) {
        for (const size of [0, 56, 1000]) {
          const time = await child.call<number>('ping', { address: path.localAddress, size });
          assert.ok(time >= 0, `no reply on ${path.device}`);
        }
      }
      const { host, tapped } = await child.call<Counters>('counters');
      assert.equal(host.echoes, 6);
      assert.ok(tapped.received >= 6 && tapped.sent === 6, JSON.stringify(tapped));
    });

    test('kernel TCP arrives in large packets, with gsoSize and partial checksums that are right', async () => {
      const bytes = 8_000_000;
      const connected = await peer.call<{ connection: number }>('connect', {
        protocol: 'tcp',
        host: topology.paths[0]!.localAddress,
        port: 5001,
        bytes,
        seed: family,
      });
      const result = await peer.call<{ ended: boolean; error: string }>('wait', { ...connected, until: 'end' });
      assert.deepEqual({ ended: result.ended, error: result.error }, { ended: true, error: '' });
      const { host } = await child.call<Counters>('counters');
      assert.equal(host.bytes, bytes);
      assert.equal(await child.call('digest'), patternDigest(family, bytes));
      assert.equal(host.badChecksums, 0);
      assert.ok(host.largePackets > 10, `${host.largePackets} large packets`);
      assert.ok(host.largest > 20_000, `the largest had ${host.largest} bytes`);
      assert.ok(host.partial >= host.largePackets, 'a local sender leaves checksums to the link');
    });

    test('deadlines are met within a few milliseconds, and idling costs nothing', async () => {
      const late: number[] = [];
      for (const wait of [0.2, 0.7, 3, 12]) late.push(await child.call<number>('timeout', { wait }));
      // The child looks every millisecond; the rest is the machine being busy with other things.
      assert.ok(Math.min(...late) < 10, `late by ${late} ms`);
      const idle = await child.call<{ cpu: number; turns: number }>('idle', { milliseconds: 300 });
      assert.ok(idle.turns <= 3, `${idle.turns} turns while idle`);
    });

    test('ready descriptors are told in a callback in which promises work', async () => {
      await child.call('ready', { descriptor: 7 });
      assert.equal(await child.event('descriptor', 5000), 7);
    });

    test('a device that goes down is counted and told, and so is its return', async () => {
      const path = topology.paths[1]!;
      const address = path.localAddress;
      topology.host.ip(`link set dev ${path.device} down`);
      // Only a write shows that a device is down.
      await child.call('inject', { id: 2 });
      assert.deepEqual(await child.event('interface', 5000), { interfaceId: 2, isUp: false });
      const counters = await child.call<TunCounters>('deviceCounters', { id: 2 });
      assert.equal(counters.down, 1);
      assert.equal((await child.call<Counters>('counters')).driver.down, 1);
      topology.host.ip(
        `link set dev ${path.device} up`,
        ...(family === 6 ? [`address add ${path.kernelAddress}/64 dev ${path.device} nodad`] : []),
      );
      assert.deepEqual(await child.event('interface', 5000), { interfaceId: 2, isUp: true });
      assert.ok((await child.call<number>('ping', { address, size: 10 })) >= 0);
    });

    test('a device that is deleted is told as down, and the other goes on', async () => {
      topology.host.ip(`link delete dev ${topology.paths[1]!.device}`);
      assert.deepEqual(await child.event('interface', 5000), { interfaceId: 2, isUp: false });
      assert.ok((await child.call<number>('ping', { address: topology.paths[0]!.localAddress, size: 10 })) >= 0);
    });

    test('after close nothing keeps the process alive', async () => {
      await child.call('close');
      assert.equal(await child.end(5000), 0, child.standardError);
      assert.equal(child.standardError, '');
      assert.equal(await peer.end(5000), 0, peer.standardError);
    });
  });
}

for (const family of [4, 6] as const) {
  test(`a kernel behind a router reaches each device over IPv${family}`, { skip }, async () => {
    const topology = tunTopology({ paths: 2, family, routed: true, ipv6: family === 6 });
    try {
      const child = await topology.host.start(CHILD);
      const peer = await startKernelPeer(topology.peer);
      let bytes = 0;
      for (const path of topology.paths) {
        await child.call('open', { id: path.index, path });
        bytes += 300_000;
        const connected = await peer.call<{ connection: number; localAddress: string }>('connect', {
          protocol: 'tcp',
          host: path.localAddress,
          localAddress: path.peerAddress,
          port: 5001,
          bytes: 300_000,
        });
        assert.equal(connected.localAddress, path.peerAddress);
        const result = await peer.call<{ ended: boolean; error: string }>('wait', { ...connected, until: 'end' });
        assert.equal(result.error, '');
        // The peer's own interface of this path carried it.
        const counters = topology.peer.run('ip', ['-s', 'link', 'show', 'dev', `p${path.index}`]);
        assert.ok(Number(/TX:.*\n\s*(\d+)/.exec(counters)![1]) > 300_000, counters);
      }
      const { host } = await child.call<Counters>('counters');
      assert.equal(host.bytes, bytes);
      assert.equal(host.badChecksums, 0);
      assert.equal(await child.end(), 0);
      assert.equal(await peer.end(), 0);
    } finally {
      topology.close();
    }
  });
}

describe('opening a TUN device', { skip }, () => {
  let namespace: Namespace;
  let child: Child;

  before(async () => {
    namespace = Namespace.create('open');
    child = await namespace.start(CHILD);
  });
  after(() => namespace.close());

  const failure = (options: TunOptions): Promise<{ code: string; message: string }> => child.call('tryOpen', options);

  test('a name in use is EBUSY, also when it is no TUN device', async () => {
    const { TunDevice } = await import('../../src/node/tun.ts');
    const held = TunDevice.open({ name: 'taken', namespace: namespace.name });
    try {
      assert.equal((await failure({ name: 'taken' })).code, 'EBUSY');
    } finally {
      held.close();
    }
    namespace.ip('link add veth1 type veth peer name veth2');
    assert.equal((await failure({ name: 'veth1' })).code, 'EBUSY');
  });

  test('bad names, MTUs and addresses are EINVAL before anything is done', async () => {
    for (const name of ['', 'a/b', 'a b', '..', 'a-name-that-is-too-long']) {
      assert.equal((await failure({ name })).code, 'EINVAL', name);
    }
    assert.equal((await failure({ mtu: 20 })).code, 'EINVAL');
    assert.equal((await failure({ addresses: ['10.0.0.1'] })).code, 'EINVAL');
    assert.equal((await failure({ addresses: ['10.0.0.1/24; reboot'] })).code, 'EINVAL');
  });

  test('an address that the kernel refuses says so, and leaves no device behind', async () => {
    const { code, message } = await failure({ name: 'left', addresses: ['10.0.0.1/77'] });
    assert.equal(code, 'ERR_IP_COMMAND');
    assert.match(message, /address add 10\.0\.0\.1\/77/);
    assert.doesNotMatch(namespace.ip('link show'), /left/);
  });

  test('offloads are left out as asked', async () => {
    const { TunDevice } = await import('../../src/node/tun.ts');
    const plain = TunDevice.open({ namespace: namespace.name, vnetHeader: false });
    assert.match(plain.name, /^mptcp\d+$/);
    assert.deepEqual(
      [plain.capabilities.vnetHeader, plain.checksumOffload, plain.segmentationOffload],
      [false, false, false],
    );
    plain.close();
    const header = TunDevice.open({ namespace: namespace.name, offload: false });
    assert.deepEqual([header.capabilities.vnetHeader, header.checksumOffload], [true, false]);
    header.close();
  });

  test('a persistent device keeps its MTU, and is met without header when it was made without', async () => {
    const { TunDevice } = await import('../../src/node/tun.ts');
    namespace.ip('tuntap add dev kept mode tun', 'link set dev kept mtu 1280');
    const device = TunDevice.open({ name: 'kept', namespace: namespace.name });
    assert.equal(device.mtu, 1280);
    device.close();
    assert.match(namespace.ip('link show dev kept'), /kept/);
  });

  test('who may not is told what is needed', () => {
    const script = `
      import { TunDevice } from './src/node/tun.ts';
      try { TunDevice.open({ name: 'forbidden' }); console.log('opened'); }
      catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message, name: error.name })); }
    `;
    const output = withoutCapabilities(script);
    const { code, message, name } = JSON.parse(output);
    assert.equal(name, 'SystemError');
    assert.ok(code === 'EPERM' || code === 'EACCES', code);
    assert.match(message, /CAP_NET_ADMIN/);
  });
});

function withoutCapabilities(script: string): string {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  return execFileSync(
    'setpriv',
    [
      '--bounding-set=-all',
      '--inh-caps=-all',
      process.execPath,
      '--import',
      'tsx',
      '--input-type=module',
      '-e',
      script,
    ],
    { cwd: root, encoding: 'utf8', env: { ...process.env, NODE_TEST_CONTEXT: undefined } },
  ).trim();
}

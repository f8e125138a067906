import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Delay } from '../../src/link/delay.ts';
import { openAlarm } from '../../src/node/alarm.ts';
import { Driver } from '../../src/node/driver.ts';
import { emulatedPair } from '../../src/node/emulator.ts';
import { HEADROOM, IoStatus, ioPacket } from '../../src/node/packet-io.ts';
import { TunDevice } from '../../src/node/tun.ts';
import { Packet } from '../../src/wire/packet.ts';
import { FakeHost } from './harness/fake-host.ts';
import { Namespace } from './harness/namespace.ts';
import { requireRoot } from './harness/root.ts';

// Real time: what the event loop does with deadlines and descriptors.

function evaluate(script: string): string {
  return execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    encoding: 'utf8',
    timeout: 20_000,
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  }).trim();
}

for (const mechanism of ['auto', 'timer'] as const) {
  test(`an alarm (${mechanism}) never rings late by much, and the earliest deadline counts`, async () => {
    const late: number[] = [];
    for (const wait of [0, 0.1, 0.5, 1.5, 4, 20, 2.2, 0.3]) {
      const at = performance.now() + wait;
      await new Promise<void>((resolve) => {
        const alarm = openAlarm(
          () => {
            if (performance.now() < at) {
              alarm.set(at);
              return;
            }
            late.push(performance.now() - at);
            alarm.close();
            resolve();
          },
          { mechanism },
        );
        alarm.set(at + 10_000);
        alarm.set(at);
        // Later ones do not put it off.
        alarm.set(at + 50);
      });
    }
    late.sort((a, b) => a - b);
    assert.ok(late[0]! >= 0);
    // The median; single ones are at the mercy of a busy machine.
    assert.ok(late[4]! < 5, `late by ${late.map((value) => value.toFixed(2))} ms`);
  });
}

test('an alarm holds the process until closed or unreferenced', () => {
  const script = (last: string, mechanism: string): string => `
    import { openAlarm } from './src/node/alarm.ts';
    const alarm = openAlarm(() => { console.log('rang'); alarm.close(); }, { mechanism: '${mechanism}' });
    alarm.set(performance.now() + 60);
    ${last}
  `;
  for (const mechanism of ['auto', 'timer']) {
    assert.equal(evaluate(script('', mechanism)), 'rang');
    assert.equal(evaluate(script('alarm.unref();', mechanism)), '');
    assert.equal(evaluate(script('alarm.unref(); alarm.ref();', mechanism)), 'rang');
    assert.equal(evaluate(script('alarm.close();', mechanism)), '');
  }
});

test('two drivers in one process talk through links, each packet after its delay', async () => {
  const [left, right] = emulatedPair(new Delay({ delay: 4 }), new Delay({ delay: 6 }));
  const host = new FakeHost();
  const answering = new Driver(host);
  answering.attach(1, right);
  const asking = new FakeHost();
  const times: number[] = [];
  const done = new Promise<void>((resolve) => {
    const driver = new Driver(asking, {
      tap: (interfaceId, direction, _packet, now) => {
        assert.equal(interfaceId, 3);
        times.push(now);
        if (direction === 'received') setImmediate(() => resolve(driver.close()));
      },
    });
    driver.attach(3, left);
    asking.send(3, pingPacket());
    driver.wake();
  });
  await done;
  answering.close();
  assert.equal(host.counters.echoes, 1);
  assert.equal(asking.counters.packets, 1);
  const elapsed = times[1]! - times[0]!;
  assert.ok(elapsed >= 10 && elapsed < 100, `${elapsed} ms`);
});

test('what a host throws is thrown again from a callback of Node’s, and does not end the process by itself', () => {
  const output = evaluate(`
    import { Driver } from './src/node/driver.ts';
    import { emulatedPair } from './src/node/emulator.ts';
    import { Pipe } from './src/link/pipe.ts';
    import { FakeHost } from './test/interop/harness/fake-host.ts';
    import { Packet } from './src/wire/packet.ts';
    const [left, right] = emulatedPair(new Pipe(), new Pipe());
    class Broken extends FakeHost { onPacket() { throw new RangeError('broken'); } }
    const broken = new Driver(new Broken());
    broken.attach(0, left);
    process.on('uncaughtException', (error) => {
      console.log(error.name, error.message);
      broken.close();
      right.close();
    });
    const packet = new Packet(100, 16);
    packet.end += 40;
    packet.bytes[16] = 0x45;
    right.start(() => {});
    right.write(packet);
  `);
  assert.equal(output, 'RangeError broken');
});

describe('waiting through the loop, or on a thread where libuv is not to be called', { skip: requireRoot() }, () => {
  for (const mechanism of ['auto', 'thread'])
    test(`${mechanism}: packets arrive, and close, unref and exit end the process`, async () => {
      const namespace = Namespace.create('thread');
      try {
        const script = (last: string): string => `
        import { Driver } from './src/node/driver.ts';
        import { TunDevice } from './src/node/tun.ts';
        import { FakeHost } from './test/interop/harness/fake-host.ts';
        import { createSocket } from 'node:dgram';
        const device = TunDevice.open({ name: 'th0', namespace: '${namespace.name}', addresses: ['10.80.0.1/24'],
          mechanism: '${mechanism}' });
        const host = new FakeHost();
        const driver = new Driver(host, { tap: (id, direction, packet) => {
          if (packet.view.getUint8(packet.start + 9) !== 17) return;
          console.log(direction, packet.end - packet.start);
          setImmediate(() => { ${last} });
        } });
        driver.attach(1, device);
        const { inNetworkNamespace } = await import('./src/node/network-namespace.ts');
        const { foreign } = await import('./src/node/ffi.ts');
        const { encodeSocketAddress } = await import('./src/kernel/socket-address.ts');
        const { Address } = await import('./src/wire/address.ts');
        inNetworkNamespace('${namespace.name}', () => {
          const calls = foreign();
          const fd = calls.socket(2, 2, 0);
          const name = encodeSocketAddress(Address.of('10.80.0.2'), 9);
          calls.connect(fd, name, name.length);
          calls.write(fd, Buffer.alloc(100), 100);
          calls.close(fd);
        });
      `;
        assert.equal(evaluate(script('driver.close();')), 'received 128');
        assert.equal(evaluate(script('driver.unref();')), 'received 128');
        assert.equal(evaluate(script('process.exit(0);')), 'received 128');
      } finally {
        namespace.close();
      }
    });

  test('a TUN device without the header gives real checksums and packets of the MTU', () => {
    const namespace = Namespace.create('plain', { ipv6: false });
    const device = TunDevice.open({ namespace: namespace.name, vnetHeader: false, addresses: ['10.81.0.1/24'] });
    try {
      const packet = ioPacket();
      assert.equal(device.read(packet), IoStatus.Empty);
      const ping = ioPacket();
      ping.copyFrom(pingPacket('10.81.0.2', '10.81.0.1'));
      assert.equal(device.write(ping), IoStatus.Done);
      // The kernel answers in the call.
      assert.equal(device.read(packet), IoStatus.Done);
      assert.equal(packet.start, HEADROOM);
      assert.equal(packet.end - packet.start, 28 + 32);
      assert.equal(packet.view.getUint8(packet.start + 20), 0, 'an echo reply');
      ping.gsoSize = 1000;
      assert.equal(device.write(ping), IoStatus.Refused);
      assert.equal(device.counters.refused, 1);
      assert.equal(device.counters.sent, 1);
    } finally {
      device.close();
      namespace.close();
    }
  });
});

function pingPacket(from = '10.0.0.1', to = '10.0.0.2'): Packet {
  const packet = new Packet(60);
  packet.end = 60;
  const { view } = packet;
  view.setUint32(0, 0x4500_003c);
  view.setUint16(8, 0x4001);
  from.split('.').forEach((part, index) => {
    view.setUint8(12 + index, Number(part));
  });
  to.split('.').forEach((part, index) => {
    view.setUint8(16 + index, Number(part));
  });
  view.setUint16(10, checksum(view, 0, 20));
  view.setUint8(20, 8);
  view.setUint16(22, checksum(view, 20, 60));
  return packet;
}

function checksum(view: DataView, start: number, end: number): number {
  let sum = 0;
  for (let at = start; at < end; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
  return ~sum & 0xffff;
}

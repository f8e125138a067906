import { createHash } from 'node:crypto';
import { encodeSocketAddress } from '../../../src/kernel/socket-address.ts';
import { Driver } from '../../../src/node/driver.ts';
import { foreign } from '../../../src/node/ffi.ts';
import { TunDevice, type TunOptions } from '../../../src/node/tun.ts';
import { Address } from '../../../src/wire/address.ts';
import { Packet } from '../../../src/wire/packet.ts';
import { serve, tell } from './child.ts';
import { FakeHost } from './fake-host.ts';
import { openPath, type TunPath } from './topology.ts';

/** A process with a driver, a fake host and TUN devices, run inside a namespace for the tests of these. */

const host = new FakeHost();
const hash = createHash('sha256');
host.onBytes = (bytes, start, end) => hash.update(bytes.subarray(start, end));
const devices = new Map<number, TunDevice>();
const tapped = { received: 0, sent: 0 };
const driver = new Driver(host, {
  onInterfaceState: (interfaceId, isUp) => tell('interface', { interfaceId, isUp }),
  onReady: (descriptor) => {
    // A promise job has to run soon, as in any callback of Node's.
    void Promise.resolve().then(() => tell('descriptor', descriptor));
  },
  tap: (_, direction) => {
    tapped[direction]++;
  },
});

serve(
  {
    open({ id, path, options }: { id: number; path: TunPath; options?: TunOptions }) {
      const device = openPath(path, options);
      devices.set(id, device);
      driver.attach(id, device);
      return { name: device.name, mtu: device.mtu, capabilities: device.capabilities };
    },
    /** Opens a device and says how that failed. */
    tryOpen(options: TunOptions) {
      try {
        TunDevice.open(options).close();
        return { code: '', message: '' };
      } catch (error) {
        return { code: (error as { code: string }).code, message: (error as Error).message };
      }
    },
    counters() {
      return { host: host.counters, driver: driver.counters, tapped, timeouts: host.timeouts };
    },
    deviceCounters({ id }: { id: number }) {
      return devices.get(id)!.counters;
    },
    digest() {
      return hash.copy().digest('hex');
    },
    /** Sends a ping from the kernel through a raw socket, and returns the milliseconds until the reply; -1 without. */
    async ping({ address, size }: { address: string; size: number }) {
      return await ping(Address.of(address), size);
    },
    /** Makes the host want a timeout, and tells how late it came. */
    async timeout({ wait }: { wait: number }) {
      const before = host.timeouts;
      const at = driver.now() + wait;
      host.deadline = at;
      driver.wake();
      while (host.timeouts === before) await new Promise((resolve) => setTimeout(resolve, 1));
      return driver.now() - at;
    },
    /** Makes the host say that a descriptor is ready. */
    ready({ descriptor }: { descriptor: number }) {
      host.ready.push(descriptor);
      driver.wake();
    },
    /** Lets the host send a packet that nobody waits for: an IPv4 header alone. */
    inject({ id }: { id: number }) {
      const packet = new Packet(64);
      packet.end = 28;
      packet.view.setUint32(0, 0x4500_001c);
      packet.view.setUint8(9, 253);
      host.send(id, packet);
      driver.wake();
    },
    /** CPU milliseconds that this process uses while idle for a while. */
    async idle({ milliseconds }: { milliseconds: number }) {
      const turns = driver.counters.turns;
      const before = process.cpuUsage();
      await new Promise((resolve) => setTimeout(resolve, milliseconds));
      const used = process.cpuUsage(before);
      return { cpu: (used.user + used.system) / 1000, turns: driver.counters.turns - turns };
    },
    /** Closes the driver and leaves the process to end by itself. */
    close() {
      driver.close();
      process.stdin.destroy();
    },
  },
  () => driver.close(),
);

async function ping(address: Address, size: number): Promise<number> {
  const calls = foreign();
  const isV4 = address.family === 4;
  const fd = calls.socket(isV4 ? 2 : 10, SOCK_RAW | 0o2004000, isV4 ? 1 : 58);
  if (fd < 0) throw new Error(`raw socket: error ${calls.errno()}`);
  try {
    const name = encodeSocketAddress(address, 0);
    if (calls.connect(fd, name, name.length) < 0) throw new Error(`connect: error ${calls.errno()}`);
    const request = Buffer.alloc(8 + size, 0x5a);
    request.writeUInt8(isV4 ? 8 : 128, 0);
    request.writeUInt8(0, 1);
    request.writeUInt16BE(0, 2);
    request.writeUInt16BE(process.pid & 0xffff, 4);
    request.writeUInt16BE(1, 6);
    // The kernel computes the checksum of ICMPv6 itself.
    if (isV4) {
      let sum = 0;
      for (let at = 0; at < request.length; at += 2) sum += request.readUInt16BE(at);
      while (sum > 0xffff) sum = (sum >>> 16) + (sum & 0xffff);
      request.writeUInt16BE(~sum & 0xffff, 2);
    }
    const start = performance.now();
    if (calls.write(fd, request, request.length) < 0) throw new Error(`write: error ${calls.errno()}`);
    const reply = Buffer.alloc(2048);
    const entry = Buffer.alloc(8);
    entry.writeInt32LE(fd, 0);
    entry.writeInt16LE(1, 4);
    while (performance.now() - start < 2000) {
      await new Promise((resolve) => calls.pollAsync(entry, 1, 500, resolve));
      const length = calls.read(fd, reply, reply.length);
      if (length <= 0) continue;
      const icmp = isV4 ? (reply.readUInt8(0) & 15) * 4 : 0;
      const isReply = reply.readUInt8(icmp) === (isV4 ? 0 : 129);
      if (isReply && length - icmp === request.length && reply.subarray(icmp + 8, length).equals(request.subarray(8))) {
        return performance.now() - start;
      }
    }
    return -1;
  } finally {
    calls.close(fd);
  }
}

const SOCK_RAW = 3;

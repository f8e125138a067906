import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { encodeSocketAddress } from '../src/kernel/socket-address.ts';
import { Pipe } from '../src/link/pipe.ts';
import { openAlarm } from '../src/node/alarm.ts';
import { Driver } from '../src/node/driver.ts';
import { Emulator } from '../src/node/emulator.ts';
import { foreign } from '../src/node/ffi.ts';
import { HEADROOM, IoStatus, ioPacket } from '../src/node/packet-io.ts';
import { TunDevice } from '../src/node/tun.ts';
import type { PacketHost } from '../src/stack/seams.ts';
import { Address } from '../src/wire/address.ts';
import { Packet } from '../src/wire/packet.ts';
import { FakeHost } from '../test/interop/harness/fake-host.ts';
import { Namespace } from '../test/interop/harness/namespace.ts';
import { requireRoot } from '../test/interop/harness/root.ts';

/**
 * What a TUN device, the driver and the event loop cost: needs root, and gcc for the kernel's ends. Each figure is the
 * median of a few runs with the best behind it.
 *
 *     npx tsx bench/tun.ts [milliseconds per run] [runs]
 */

const skip = requireRoot();
if (skip !== false) {
  console.log(`not run: ${skip}`);
  process.exit(0);
}
const duration = Number(process.argv[2] ?? 1000);
const runs = Number(process.argv[3] ?? 3);
const directory = mkdtempSync(join(tmpdir(), 'mptcp-bench-'));
const peerProgram = join(directory, 'tun-peer');

async function main(): Promise<void> {
  console.log(`alarm: ${await alarmLateness()}`);
  for (const size of [48, 1448, 65_000]) console.log(await packetCost(size));
  for (const offload of [true, false]) {
    const name = offload ? 'large packets' : '1500 bytes';
    await report(`kernel TCP -> driver, sink, ${name}`, () => sink(offload, 0));
    await report(`kernel TCP -> driver -> kernel TCP, ${name}`, () => bridge(offload, 0, 'driver'));
    await report(`kernel TCP -> emulator, no link -> kernel TCP, ${name}`, () => bridge(offload, 0, 'emulator'));
    await report(`kernel MPTCP -> driver -> kernel MPTCP, ${name}`, () => bridge(offload, MPTCP, 'driver'));
  }
}

const MPTCP = 262;

async function report(name: string, run: () => Promise<{ rate: number; note: string }>): Promise<void> {
  const rates: number[] = [];
  let note = '';
  for (let count = 0; count < runs; count++) {
    const result = await run();
    rates.push(result.rate);
    note = result.note;
  }
  rates.sort((a, b) => a - b);
  const median = rates[rates.length >> 1]!;
  console.log(`${name}: ${median.toFixed(2)} Gbit/s (${rates.at(-1)!.toFixed(2)}) ${note}`);
}

/** How late the kernel's timer descriptor and Node's timers ring, for waits of a fraction of a millisecond. */
async function alarmLateness(): Promise<string> {
  const texts: string[] = [];
  for (const mechanism of ['auto', 'timer'] as const) {
    const late: number[] = [];
    const before = process.cpuUsage();
    const began = performance.now();
    await new Promise<void>((resolve) => {
      let at = performance.now() + 0.7;
      const alarm = openAlarm(
        () => {
          const instant = performance.now();
          if (instant >= at) {
            late.push(instant - at);
            at = instant + 0.7;
          }
          if (late.length < 1000) alarm.set(at);
          else resolve(alarm.close());
        },
        { mechanism },
      );
      alarm.set(at);
    });
    const { user, system } = process.cpuUsage(before);
    const busy = (user + system) / 1000 / (performance.now() - began);
    late.sort((a, b) => a - b);
    const text = [0.5, 0.9, 0.99].map((share) => `${(late[Math.floor(late.length * share)]! * 1000).toFixed(0)}`);
    texts.push(`${mechanism} p50/p90/p99 ${text.join('/')} µs late, ${(busy * 100).toFixed(0)} % CPU`);
  }
  return texts.join('; ');
}

/** Nanoseconds for one read and one write through `TunDevice`. */
async function packetCost(size: number): Promise<string> {
  using namespace = Namespace.create('cost', { ipv6: false });
  const device = TunDevice.open({
    name: 'cost0',
    namespace: namespace.name,
    addresses: ['10.85.0.1/24'],
    mtu: 65_535,
  });
  namespace.ip('link set dev cost0 txqueuelen 1000');
  const calls = foreign();
  const fd = namespace.within(() => calls.socket(2, 2, 0));
  const name = encodeSocketAddress(Address.of('10.85.0.2'), 9);
  calls.connect(fd, name, name.length);
  const payload = Buffer.alloc(size - 28);
  const packet = ioPacket();
  const reads: number[] = [];
  const writes: number[] = [];
  for (let round = 0; round < 60; round++) {
    // As many as the sending socket's buffer admits.
    const count = Math.min(400, Math.floor(200_000 / (size + 700)));
    for (let index = 0; index < count; index++) calls.write(fd, payload, payload.length);
    let done = 0;
    const start = performance.now();
    for (;;) {
      packet.start = HEADROOM;
      if (device.read(packet) !== IoStatus.Done) break;
      done++;
    }
    if (done > 0) reads.push(((performance.now() - start) * 1e6) / done);
    // Back to where it came from, for an address that the kernel does not have: dropped when it was looked up.
    packet.view.setUint32(packet.start + 16, 0x0a55_0063);
    packet.checksum = 0;
    const again = performance.now();
    for (let index = 0; index < 400; index++) device.write(packet);
    writes.push(((performance.now() - again) * 1e6) / 400);
  }
  calls.close(fd);
  device.close();
  const median = (values: number[]): string => values.sort((a, b) => a - b)[values.length >> 1]!.toFixed(0);
  return `${size} B: read ${median(reads)} ns, write ${median(writes)} ns`;
}

interface Peer {
  readonly lines: AsyncIterator<string>;
  kill(): void;
}

function startPeer(namespace: Namespace, ...words: readonly (string | number)[]): Peer {
  const child = spawn('ip', ['netns', 'exec', namespace.name, peerProgram, ...words.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { lines, kill: () => child.kill('SIGKILL') };
}

async function sink(offload: boolean, protocol: number): Promise<{ rate: number; note: string }> {
  using namespace = Namespace.create('sink', { ipv6: false, congestionControl: 'reno' });
  const host = new FakeHost(1460, false, offload ? 9 : 3);
  using driver = new Driver(host);
  driver.attach(0, TunDevice.open({ name: 'k0', namespace: namespace.name, addresses: ['10.86.0.1/24'], offload }));
  let first = 0;
  let last = 0;
  host.onBytes = () => {
    last = performance.now();
    if (first === 0) first = last;
  };
  const source = startPeer(namespace, 'source', '10.86.0.2', 5001, protocol, duration);
  await source.lines.next();
  const { bytes, packets } = host.counters;
  return { rate: (bytes * 8) / (last - first) / 1e6, note: `average packet ${(bytes / packets).toFixed(0)} B` };
}

async function bridge(
  offload: boolean,
  protocol: number,
  through: 'driver' | 'emulator',
): Promise<{ rate: number; note: string }> {
  using left = Namespace.create('left', { ipv6: false, congestionControl: 'reno' });
  using right = Namespace.create('right', { ipv6: false, congestionControl: 'reno' });
  const near = TunDevice.open({ name: 'b0', namespace: left.name, addresses: ['10.87.0.1/24'], offload });
  const far = TunDevice.open({ name: 'b1', namespace: right.name, addresses: ['10.87.0.2/24'], offload });
  let running: Disposable;
  if (through === 'driver') {
    const driver = new Driver(new Bridge());
    driver.attach(0, near);
    driver.attach(1, far);
    running = driver;
  } else {
    running = new Emulator(near, far, new Pipe(), new Pipe());
  }
  const receiver = startPeer(right, 'sink', '10.87.0.2', 5001, protocol);
  try {
    await receiver.lines.next();
    const sender = startPeer(left, 'source', '10.87.0.2', 5001, protocol, duration);
    await sender.lines.next();
    const { value } = await receiver.lines.next();
    const [bytes, elapsed] = String(value).split(' ').map(Number);
    const size = far.counters.sentBytes / far.counters.sent;
    return { rate: (bytes! * 8) / elapsed!, note: `average packet ${size.toFixed(0)} B` };
  } finally {
    receiver.kill();
    running[Symbol.dispose]();
  }
}

/** A host that passes each packet of one interface on to the other. */
class Bridge implements PacketHost {
  private readonly ring: Packet[] = [];
  private readonly ids: number[] = [];
  private head = 0;
  private tail = 0;

  onPacket(_now: number, interfaceId: number, packet: Packet): void {
    const at = this.tail++ & 255;
    this.ring[at] ??= new Packet(66_000);
    this.ring[at].copyFrom(packet);
    this.ids[at] = 1 - interfaceId;
  }

  onTimeout(): void {}

  pollTransmit(_now: number, out: Packet): number {
    if (this.head === this.tail) return -1;
    const at = this.head++ & 255;
    out.copyFrom(this.ring[at]!);
    // Begin again at the front, whose memory is still in the cache.
    if (this.head === this.tail) this.head = this.tail = 0;
    return this.ids[at]!;
  }

  pollTimeout(): number {
    return Infinity;
  }

  pollReady(): number {
    return -1;
  }
}

try {
  execFileSync('gcc', ['-O2', '-o', peerProgram, fileURLToPath(new URL('./tun-peer.c', import.meta.url))]);
  await main();
} finally {
  rmSync(directory, { recursive: true, force: true });
}

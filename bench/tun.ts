import { encodeSocketAddress } from '../src/kernel/socket-address.ts';
import { openAlarm } from '../src/node/alarm.ts';
import { foreign } from '../src/node/ffi.ts';
import { HEADROOM, IoStatus, ioPacket } from '../src/node/packet-io.ts';
import { TunDevice } from '../src/node/tun.ts';
import { Address } from '../src/wire/address.ts';
import { Namespace } from '../test/interop/harness/namespace.ts';
import { requireRoot } from '../test/interop/harness/root.ts';
import { kernelProtocol, PeerProgram } from './peer.ts';
import { bridge, type Reference, sink, source } from './reference.ts';

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
const program = new PeerProgram();

async function main(): Promise<void> {
  console.log(`alarm: ${await alarmLateness()}`);
  for (const size of [48, 1448, 65_000]) console.log(await packetCost(size));
  for (const offload of [true, false]) {
    const name = offload ? 'large packets' : '1500 bytes';
    await report(`kernel TCP -> driver, sink, ${name}`, () => sink(program, offload, 0, duration));
    await report(`driver, source -> kernel TCP, ${name}`, () => source(program, offload, duration));
    await report(`kernel TCP -> driver -> kernel TCP, ${name}`, () => bridge(program, offload, 0, 'driver', duration));
    await report(`kernel TCP -> emulator, no link -> kernel TCP, ${name}`, () =>
      bridge(program, offload, 0, 'emulator', duration),
    );
    await report(`kernel MPTCP -> driver -> kernel MPTCP, ${name}`, () =>
      bridge(program, offload, kernelProtocol(true), 'driver', duration),
    );
  }
}

async function report(name: string, run: () => Promise<Reference>): Promise<void> {
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

try {
  await main();
} finally {
  program[Symbol.dispose]();
}

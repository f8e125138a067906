import { Pipe } from '../src/link/pipe.ts';
import { Driver } from '../src/node/driver.ts';
import { Emulator } from '../src/node/emulator.ts';
import { TunDevice } from '../src/node/tun.ts';
import type { PacketHost } from '../src/stack/seams.ts';
import { Packet } from '../src/wire/packet.ts';
import { FakeHost } from '../test/interop/harness/fake-host.ts';
import { Namespace } from '../test/interop/harness/namespace.ts';
import { FakeSource } from './fake-source.ts';
import type { PeerProgram } from './peer.ts';

/*
 * What our stack is measured against in the same run: endpoints and a bridge that do next to nothing with a packet, over
 * the same driver and devices. What they reach is the most that a host in Node can.
 */

/** What one run of a reference gave. */
export interface Reference {
  /** Gbit/s of payload. */
  readonly rate: number;
  readonly note: string;
}

/** From the kernel to an endpoint that acknowledges what comes in order and looks at nothing else. */
export async function sink(program: PeerProgram, offload: boolean, protocol: number, ms: number): Promise<Reference> {
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
  const source = program.start(namespace, 'source', '10.86.0.2', 5001, protocol, ms);
  await source.lines.next();
  const { bytes, packets } = host.counters;
  return { rate: (bytes * 8) / (last - first) / 1e6, note: `average packet ${(bytes / packets).toFixed(0)} B` };
}

/** To the kernel from an endpoint that fills the peer's window with the same packet, and keeps nothing to send again. */
export async function source(program: PeerProgram, offload: boolean, ms: number): Promise<Reference> {
  using namespace = Namespace.create('source', { ipv6: false, congestionControl: 'reno' });
  const host = new FakeSource('10.86.0.2', '10.86.0.1', 5001, offload);
  using driver = new Driver(host);
  const device = TunDevice.open({ name: 'k0', namespace: namespace.name, addresses: ['10.86.0.1/24'], offload });
  driver.attach(0, device);
  const receiver = program.start(namespace, 'sink', '10.86.0.1', 5001, 0);
  await receiver.lines.next();
  host.start(performance.now() + ms);
  driver.wake();
  const { value } = await receiver.lines.next();
  const [bytes, elapsed] = String(value).split(' ').map(Number);
  const size = device.counters.sentBytes / device.counters.sent;
  return { rate: (bytes! * 8) / elapsed!, note: `average packet ${size.toFixed(0)} B, ${host.rewinds} rewinds` };
}

/** From kernel to kernel through a process that carries packets from one device to the other. */
export async function bridge(
  program: PeerProgram,
  offload: boolean,
  protocol: number,
  through: 'driver' | 'emulator',
  ms: number,
): Promise<Reference> {
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
  const receiver = program.start(right, 'sink', '10.87.0.2', 5001, protocol);
  try {
    await receiver.lines.next();
    const sender = program.start(left, 'source', '10.87.0.2', 5001, protocol, ms);
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

/**
 * Packets per second through a world: a host that keeps a window of 1500-byte packets under way, a host that answers
 * each second one with 40 bytes, and one path between them with a rate, a delay and a queue. Prints one line.
 */
import { mbit } from '../src/link/path.ts';
import { World } from '../src/sim/world.ts';
import type { PacketHost } from '../src/stack/seams.ts';
import type { Packet } from '../src/wire/packet.ts';

class Source implements PacketHost {
  private credit: number;

  constructor(window: number) {
    this.credit = window;
  }

  onPacket(): void {
    this.credit += 2;
  }

  onTimeout(): void {}

  pollTransmit(_now: number, out: Packet): number {
    if (this.credit === 0) return -1;
    this.credit--;
    out.view.setUint32(out.start, 0x4500_05dc);
    out.view.setUint32(out.start + 8, 0x4011_0000);
    out.end = out.start + 1500;
    return 0;
  }

  pollTimeout(): number {
    return Number.POSITIVE_INFINITY;
  }

  pollReady(): number {
    return -1;
  }
}

class Sink implements PacketHost {
  private seen = 0;
  private owed = 0;

  onPacket(): void {
    if ((++this.seen & 1) === 0) this.owed++;
  }

  onTimeout(): void {}

  pollTransmit(_now: number, out: Packet): number {
    if (this.owed === 0) return -1;
    this.owed--;
    out.view.setUint32(out.start, 0x4500_0028);
    out.end = out.start + 40;
    return 0;
  }

  pollTimeout(): number {
    return Number.POSITIVE_INFINITY;
  }

  pollReady(): number {
    return -1;
  }
}

function measure(duration: number, digests: boolean): { packets: number; seconds: number; digest: string } {
  const world = new World({ seed: 1, digests });
  const source = world.addHost(new Source(200), { name: 'source' });
  const sink = world.addHost(new Sink(), { name: 'sink' });
  const path = { rate: mbit(100), delay: 10, queue: 300_000 };
  world.connect({ host: source, interfaceId: 0 }, { host: sink, interfaceId: 0 }, path);
  const started = process.cpuUsage();
  world.run({ until: duration });
  const used = process.cpuUsage(started);
  return { packets: world.counters.delivered, seconds: (used.user + used.system) / 1e6, digest: world.digest() };
}

measure(5_000, true);
measure(5_000, false);
const full = measure(50_000, true);
const again = measure(50_000, true);
const bare = measure(50_000, false);
if (full.digest !== again.digest) throw new Error(`one seed, two digests: ${full.digest} and ${again.digest}`);
const rate = (run: { packets: number; seconds: number }): string => (run.packets / run.seconds / 1000).toFixed(0);
console.log(
  `simulation-links: ${rate(again)} k packets/s of CPU time (${rate(bare)} k without digest), ` +
    `${again.packets} packets of 1500 and 40 bytes, 2:1, one path of 100 Mbit/s`,
);

import type { PacketHost } from '../../src/stack/seams.ts';
import type { Packet } from '../../src/wire/packet.ts';

/** Small hosts for tests of worlds: they speak no protocol but numbers in the first word of a packet. */

/** Keeps what arrives; sends what it is told to. */
export class Scribe implements PacketHost {
  readonly seen: { at: number; interfaceId: number; number: number; length: number; gsoSize: number }[] = [];
  readonly timeouts: number[] = [];
  readonly ready: number[] = [];
  alarm = Number.POSITIVE_INFINITY;
  private readonly outbox: { interfaceId: number; write: (out: Packet) => void }[] = [];

  send(interfaceId: number, number: number, length = 1000): void {
    this.outbox.push({
      interfaceId,
      write: (out) => {
        out.bytes.fill(0, out.start, out.start + length);
        out.view.setUint32(out.start, number);
        out.end = out.start + length;
      },
    });
  }

  /** Sends a copy of a packet as it is. */
  sendPacket(interfaceId: number, packet: Packet): void {
    this.outbox.push({ interfaceId, write: (out) => out.copyFrom(packet) });
  }

  onPacket(now: number, interfaceId: number, packet: Packet): void {
    const { length, gsoSize } = packet;
    this.seen.push({ at: now, interfaceId, number: packet.view.getUint32(packet.start), length, gsoSize });
  }

  onTimeout(now: number): void {
    this.timeouts.push(now);
    if (this.alarm <= now) this.alarm = Number.POSITIVE_INFINITY;
  }

  pollTransmit(_now: number, out: Packet): number {
    const next = this.outbox.shift();
    if (next === undefined) return -1;
    next.write(out);
    return next.interfaceId;
  }

  pollTimeout(): number {
    return this.alarm;
  }

  pollReady(): number {
    return this.ready.shift() ?? -1;
  }

  /** `[time, interface, number]` of what arrived. */
  get brief(): [number, number, number][] {
    return this.seen.map(({ at, interfaceId, number }) => [at, interfaceId, number]);
  }
}

/** Sends everything back where it came from. */
export class Echo extends Scribe {
  override onPacket(now: number, interfaceId: number, packet: Packet): void {
    super.onPacket(now, interfaceId, packet);
    this.send(interfaceId, packet.view.getUint32(packet.start), packet.length);
  }
}

/** Sends packets at a steady pace over its interfaces in turn. */
export class Blaster extends Scribe {
  private next = 0;
  private number = 0;
  private readonly interval: number;
  private readonly count: number;
  private readonly interfaces: number;

  constructor(interval: number, count: number, interfaces = 1) {
    super();
    this.interval = interval;
    this.count = count;
    this.interfaces = interfaces;
  }

  override onTimeout(now: number): void {
    while (this.next <= now && this.number < this.count) {
      this.send(this.number % this.interfaces, this.number, 100 + ((this.number * 37) % 1300));
      this.number++;
      this.next += this.interval;
    }
  }

  override pollTimeout(): number {
    return this.number < this.count ? this.next : Number.POSITIVE_INFINITY;
  }
}

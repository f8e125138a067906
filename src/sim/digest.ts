import type { Packet } from '../wire/packet.ts';

/**
 * A running digest of packets and times: four polynomial sums modulo 2^32 over the words of each packet, mixed into 64
 * bits at its end. It tells runs apart; it is no defence against anybody. The same on every platform.
 */
export class Digest {
  private high = 0x6a09e667 | 0;
  private low = 0xbb67ae85 | 0;
  private readonly scratch: DataView = new DataView(new ArrayBuffer(8));

  addWord(word: number): void {
    this.high = mix(this.high ^ word);
    this.low = (Math.imul(this.low, 0x9e3779b1) + this.high) | 0;
  }

  /** A time, to its last bit. */
  addTime(time: number): void {
    this.scratch.setFloat64(0, time);
    this.addWord(this.scratch.getInt32(0));
    this.addWord(this.scratch.getInt32(4));
  }

  /** The bytes of a packet and their number. Odd multipliers: a change of any one word changes its sum. */
  addPacket(packet: Packet): void {
    const view = packet.view;
    const end = packet.end;
    let at = packet.start;
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (; at + 16 <= end; at += 16) {
      a = (Math.imul(a, 0x9e3779b1) + view.getInt32(at, true)) | 0;
      b = (Math.imul(b, 0x85ebca77) + view.getInt32(at + 4, true)) | 0;
      c = (Math.imul(c, 0xc2b2ae3d) + view.getInt32(at + 8, true)) | 0;
      d = (Math.imul(d, 0x27d4eb2f) + view.getInt32(at + 12, true)) | 0;
    }
    for (; at + 4 <= end; at += 4) a = (Math.imul(a, 0x9e3779b1) + view.getInt32(at, true)) | 0;
    for (; at < end; at++) b = (Math.imul(b, 0x85ebca77) + view.getUint8(at)) | 0;
    this.addWord(end - packet.start);
    this.addWord(a);
    this.addWord(b);
    this.addWord(c);
    this.addWord(d);
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    return hex(mix(this.high ^ (this.low >>> 16))) + hex(mix(this.low ^ this.high));
  }
}

/** The finaliser of MurmurHash3 (public domain, Appleby): every bit of the input reaches every bit of the result. */
function mix(word: number): number {
  let mixed = word;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}

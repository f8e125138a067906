import { packetBytes } from '../wire/checksum.ts';
import { ChecksumState, MAX_PACKET, PACKET_CAPACITY, Packet } from '../wire/packet.ts';
import { Flag } from '../wire/segment.ts';
import { Headers, isIntact, isIpIntact, writeIpChecksum } from './headers.ts';

/** What became of a packet that a `Merger` was shown. */
export const Merging = {
  /** It is part of `packet` now. */
  Merged: 0,
  /** It is `packet` now, which was empty; more may join it. */
  Begun: 1,
  /** Nothing can join it and it can join nothing. */
  Alone: 2,
  /** It cannot join `packet`, and may be the next to be joined: flush, then ask again. */
  Next: 3,
} as const;

/**
 * Makes one large packet of TCP segments that follow each other, as GRO does where a device hands over every packet of
 * the wire: what a stack does per packet is done once for many. The inverse of `Segmenter`; what comes out could have
 * been cut into what went in.
 *
 *     for each packet: read it into `room`, then `take()`
 *     at the end of the batch: `packet` has what was begun, until `clear()`
 *
 * Only segments with the same headers are merged: addresses, traffic class, hop limit, acknowledgment, window and every
 * byte of the options, so that timestamps, SACK blocks and DSS mappings (RFC 8684 §3.3: a mapping may stand on each of
 * its segments) mean the same for all. Checksums are verified here; a wrong one keeps a segment alone, for the stack to
 * count. A segment that is shorter than those before it, or that has PSH, is the last of its packet.
 */
export class Merger {
  private current: Packet;
  private spare: Packet;
  private readonly whole: Headers = new Headers();
  private readonly piece: Headers = new Headers();
  private isOpen = false;
  private isBegun = false;
  private count = 0;
  private segmentSize = 0;
  /** Sequence number that follows. */
  private next = 0;

  /** @param headroom bytes to keep free before each packet */
  constructor(headroom: number) {
    // One array for both: then payload moves without a new view for each packet.
    const size = headroom + PACKET_CAPACITY;
    const bytes = packetBytes(2 * size);
    this.current = new Packet(PACKET_CAPACITY, headroom, bytes);
    this.spare = new Packet(PACKET_CAPACITY, size + headroom, bytes);
  }

  /** Where the next packet is to be read to, from its `start` on. */
  get room(): Packet {
    return this.isBegun ? this.spare : this.current;
  }

  /** What was begun, complete with its headers; null when nothing was. Valid until `clear` and the next `take`. */
  get packet(): Packet | null {
    if (!this.isBegun) return null;
    if (this.count > 1) this.complete();
    return this.current;
  }

  /** `packet` was handed on. */
  clear(): void {
    this.isBegun = false;
    this.isOpen = false;
  }

  /** Judges the packet in `room`. @returns a `Merging` */
  take(): number {
    if (!this.isBegun) {
      if (!this.isCandidate(this.current, this.whole)) return Merging.Alone;
      this.begin();
      return Merging.Begun;
    }
    if (!this.isCandidate(this.spare, this.piece)) return Merging.Alone;
    if (!this.isOpen || !this.follows()) return Merging.Next;
    this.append();
    return Merging.Merged;
  }

  /** After `Merging.Next` and `clear`: the packet that did not fit is the first of the next. */
  takeNext(): void {
    const { current } = this;
    this.current = this.spare;
    this.spare = current;
    this.whole.locate(this.current);
    this.begin();
  }

  private begin(): void {
    const { whole, current } = this;
    this.isBegun = true;
    this.count = 1;
    this.segmentSize = whole.end - whole.payload;
    this.next = (current.view.getUint32(whole.tcp + 4) + this.segmentSize) >>> 0;
    this.isOpen = (current.view.getUint8(whole.tcp + 13) & Flag.Psh) === 0;
  }

  /** A whole TCP segment with data and no flags but ACK and PSH, whose checksum is right. */
  private isCandidate(packet: Packet, headers: Headers): boolean {
    if (packet.gsoSize > 0 || !headers.locate(packet) || headers.end !== packet.end) return false;
    // With options each packet may differ in ways that are not looked at; and a wrong header must not be made right.
    if (headers.family === 4 && (headers.tcp - headers.ip !== 20 || !isIpIntact(packet, headers.ip))) return false;
    if (headers.payload === headers.end) return false;
    const flags = packet.view.getUint16(headers.tcp + 12) & 0x1ff;
    if ((flags & ~Flag.Psh) !== Flag.Ack || !isIntact(packet, headers)) return false;
    packet.checksum = ChecksumState.Verified;
    return true;
  }

  private follows(): boolean {
    const { whole, piece, current, spare } = this;
    const view = current.view;
    const a = whole.tcp;
    const b = piece.tcp;
    if (view.getUint32(b + 4) !== this.next || view.getUint32(a) !== view.getUint32(b)) return false;
    const length = piece.end - piece.payload;
    if (length > this.segmentSize || current.end - current.start + length > MAX_PACKET) return false;
    if (whole.family !== piece.family || whole.payload - a !== piece.payload - b) return false;
    if (view.getUint32(a + 8) !== view.getUint32(b + 8) || view.getUint16(a + 14) !== view.getUint16(b + 14))
      return false;
    const from = current.start;
    const to = spare.start;
    if (whole.family === 4) {
      // RFC 791 §3.1: type of service, don't fragment, time to live; identification and checksum may differ.
      if (view.getUint8(from + 1) !== view.getUint8(to + 1) || view.getUint32(from + 12) !== view.getUint32(to + 12))
        return false;
      if (view.getUint16(from + 6) !== view.getUint16(to + 6) || view.getUint8(from + 8) !== view.getUint8(to + 8))
        return false;
      if (view.getUint32(from + 16) !== view.getUint32(to + 16)) return false;
    } else {
      if (view.getUint32(from) !== view.getUint32(to) || view.getUint8(from + 7) !== view.getUint8(to + 7))
        return false;
      for (let at = 8; at < 40; at += 4) if (view.getUint32(from + at) !== view.getUint32(to + at)) return false;
    }
    for (let at = 20; a + at < whole.payload; at += 4) {
      if (view.getUint32(a + at) !== view.getUint32(b + at)) return false;
    }
    return true;
  }

  private append(): void {
    const { whole, piece, current } = this;
    const length = piece.end - piece.payload;
    current.bytes.copyWithin(current.end, piece.payload, piece.end);
    current.end += length;
    this.count++;
    this.next = (this.next + length) >>> 0;
    const flags = current.view.getUint8(piece.tcp + 13) & Flag.Psh;
    if (flags !== 0) current.view.setUint8(whole.tcp + 13, current.view.getUint8(whole.tcp + 13) | flags);
    if (flags !== 0 || length < this.segmentSize) this.isOpen = false;
  }

  private complete(): void {
    const { whole, current } = this;
    current.gsoSize = this.segmentSize;
    if (whole.family === 4) {
      current.view.setUint16(whole.ip + 2, current.end - current.start);
      writeIpChecksum(current, whole.ip);
    } else {
      current.view.setUint16(whole.ip + 4, current.end - current.start - 40);
    }
  }
}

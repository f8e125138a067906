import { ChecksumState, type Packet } from '../wire/packet.ts';
import { Flag } from '../wire/segment.ts';
import { Headers, writeIpChecksum, writePartialChecksum, writeTcpChecksum } from './headers.ts';
import { copyBytes, type PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

/**
 * Cuts a large TCP packet into the packets that go on the wire, as TSO hardware does: headers and options are repeated
 * (so one DSS mapping stands in each, RFC 8684 §3.3), sequence numbers and IPv4 identifications count on, FIN and PSH
 * are kept for the last segment and CWR for the first (RFC 3168 §6.1.2).
 *
 *     start(packet)   next(out) until false
 *
 * The packet must stay as it is in between.
 */
export class Segmenter {
  /** Finish checksums even where the large packet left them to the link. */
  private readonly completes: boolean;
  private readonly whole: Headers = new Headers();
  private readonly piece: Headers = new Headers();
  private packet: Packet | null = null;
  private at = 0;
  private index = 0;

  /** @param completes finish each checksum; otherwise a packet with `ChecksumState.Partial` gives such packets */
  constructor(completes = false) {
    this.completes = completes;
  }

  /** Begins with a packet; false when it is none that can be cut (no `gsoSize`, or not TCP). */
  start(packet: Packet): boolean {
    this.packet = null;
    if (packet.gsoSize <= 0 || !this.whole.locate(packet)) return false;
    this.packet = packet;
    this.at = this.whole.payload;
    this.index = 0;
    return true;
  }

  /** Bytes of the next packet; 0 when there is none. */
  get nextLength(): number {
    if (this.packet === null) return 0;
    const whole = this.whole;
    return whole.payload - whole.ip + Math.min(this.packet.gsoSize, whole.end - this.at);
  }

  /** Writes the next packet at `out.start`; false when there is none. */
  next(out: Packet): boolean {
    const packet = this.packet;
    if (packet === null) return false;
    const whole = this.whole;
    const headerLength = whole.payload - whole.ip;
    const length = Math.min(packet.gsoSize, whole.end - this.at);
    const isLast = this.at + length >= whole.end;
    copyBytes(packet, whole.ip, headerLength, out, out.start);
    copyBytes(packet, this.at, length, out, out.start + headerLength);
    out.end = out.start + headerLength + length;
    out.gsoSize = 0;
    out.checksum = packet.checksum;

    const piece = this.piece;
    const view = out.view;
    const ip = out.start;
    const tcp = ip + (whole.tcp - whole.ip);
    piece.family = whole.family;
    piece.ip = ip;
    piece.tcp = tcp;
    piece.options = tcp + 20;
    piece.payload = ip + headerLength;
    piece.end = out.end;
    if (whole.family === 4) {
      view.setUint16(ip + 2, headerLength + length);
      view.setUint16(ip + 4, (view.getUint16(ip + 4) + this.index) & 0xffff);
      writeIpChecksum(out, ip);
    } else {
      view.setUint16(ip + 4, headerLength + length - 40);
    }
    view.setUint32(tcp + 4, (view.getUint32(tcp + 4) + (this.at - whole.payload)) >>> 0);
    let flags = view.getUint8(tcp + 13);
    if (!isLast) flags &= ~(Flag.Fin | Flag.Psh);
    if (this.index > 0) flags &= ~Flag.Cwr;
    view.setUint8(tcp + 13, flags);
    if (packet.checksum === ChecksumState.Partial && !this.completes) writePartialChecksum(out, piece);
    else writeTcpChecksum(out, piece);

    this.index++;
    this.at += length;
    if (isLast) this.packet = null;
    return true;
  }
}

/** Cuts large packets that exceed the link's MTU; lets them through whole where the MTU admits them. */
export class Segmentation extends Stage {
  private readonly segmenter: Segmenter = new Segmenter();
  /** Bytes of the largest IP packet; may be changed at any time. */
  mtu: number;

  constructor(mtu = 0) {
    super();
    this.mtu = mtu;
  }

  onPacket(now: number, packet: PooledPacket): void {
    if (packet.gsoSize === 0 || packet.end - packet.start <= this.mtu || !this.segmenter.start(packet)) {
      this.emit(now, packet);
      return;
    }
    const segmenter = this.segmenter;
    for (let length = segmenter.nextLength; length > 0; length = segmenter.nextLength) {
      const piece = packet.pool.take(length);
      segmenter.next(piece);
      this.emit(now, piece);
    }
    packet.release();
  }
}

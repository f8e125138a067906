import { complement, fold, sumPacket } from '../wire/checksum.ts';
import { ChecksumState, type Packet } from '../wire/packet.ts';
import { Flag } from '../wire/segment.ts';

/**
 * Where the headers of one TCP segment are in its packet: what links need that work on bytes in place. Offsets are
 * into `packet.bytes`; one record is reused for packet after packet.
 */
export class Headers {
  family: 4 | 6 = 4;
  /** The IP header. */
  ip = 0;
  tcp = 0;
  /** The options are `[options, payload)`. */
  options = 0;
  payload = 0;
  end = 0;

  /** Finds the headers; false for what is not one whole, well-formed TCP segment. */
  locate(packet: Packet): boolean {
    const view = packet.view;
    const start = packet.start;
    const length = packet.end - start;
    if (length < 40) return false;
    const version = view.getUint8(start) >>> 4;
    let tcp: number;
    let end: number;
    if (version === 4) {
      // RFC 791 §3.1: header length in words; a fragment has an offset or says that more follow.
      const headerLength = (view.getUint8(start) & 15) * 4;
      if (headerLength < 20 || view.getUint8(start + 9) !== TCP || (view.getUint16(start + 6) & 0x3fff) !== 0)
        return false;
      tcp = start + headerLength;
      const total = view.getUint16(start + 2);
      end = packet.gsoSize > 0 ? packet.end : start + total;
      this.family = 4;
    } else if (version === 6) {
      if (length < 60 || view.getUint8(start + 6) !== TCP) return false;
      tcp = start + 40;
      const payloadLength = view.getUint16(start + 4);
      end = packet.gsoSize > 0 ? packet.end : tcp + payloadLength;
      this.family = 6;
    } else {
      return false;
    }
    if (end > packet.end || tcp + 20 > end) return false;
    const payload = tcp + (view.getUint8(tcp + 12) >>> 4) * 4;
    if (payload < tcp + 20 || payload > end) return false;
    this.ip = start;
    this.tcp = tcp;
    this.options = tcp + 20;
    this.payload = payload;
    this.end = end;
    return true;
  }
}

/** The 9 flags of the TCP header, as `wire/segment`'s `Flag`. */
export function flagsOf(packet: Packet, headers: Headers): number {
  return packet.view.getUint16(headers.tcp + 12) & 0x1ff;
}

/** Octets of sequence space that a segment covers. */
export function spanOf(packet: Packet, headers: Headers): number {
  const flags = packet.view.getUint8(headers.tcp + 13);
  return headers.end - headers.payload + ((flags & Flag.Syn) >> 1) + (flags & Flag.Fin);
}

/** The sum under the transport checksum, pseudo-header included (RFC 9293 §3.1, RFC 8200 §8.1). */
export function transportSum(packet: Packet, headers: Headers): number {
  return sumPacket(packet, headers.tcp, headers.end, pseudoSum(packet, headers));
}

/** The sum of a TCP segment's pseudo-header, from the bytes of its IP header. */
export function pseudoSum(packet: Packet, headers: Headers): number {
  const addresses = headers.family === 4 ? headers.ip + 12 : headers.ip + 8;
  return sumPacket(packet, addresses, addresses + (headers.family === 4 ? 8 : 32), TCP + (headers.end - headers.tcp));
}

/** Whether the TCP checksum fits the segment. */
export function isIntact(packet: Packet, headers: Headers): boolean {
  return packet.checksum !== ChecksumState.Unverified || fold(transportSum(packet, headers)) === 0xffff;
}

/** Writes the TCP checksum in full. */
export function writeTcpChecksum(packet: Packet, headers: Headers): void {
  packet.view.setUint16(headers.tcp + 16, 0);
  packet.view.setUint16(headers.tcp + 16, complement(transportSum(packet, headers)));
  if (packet.checksum === ChecksumState.Partial) packet.checksum = ChecksumState.Unverified;
}

/** Leaves the pseudo-header's sum in the TCP checksum field: the mark of `ChecksumState.Partial`. */
export function writePartialChecksum(packet: Packet, headers: Headers): void {
  packet.view.setUint16(headers.tcp + 16, fold(pseudoSum(packet, headers)));
  packet.checksum = ChecksumState.Partial;
}

/** Finishes a checksum that was left to the link. */
export function completeChecksum(packet: Packet, headers: Headers): void {
  if (packet.checksum === ChecksumState.Partial && headers.locate(packet)) writeTcpChecksum(packet, headers);
}

/**
 * How far a TCP checksum is from right, to hand to `restoreChecksum` after the segment was changed: an error that was
 * there stays there, as when the field is updated by difference (RFC 1624) and not computed anew.
 */
export function checksumResidue(packet: Packet, headers: Headers): number {
  return fold(transportSum(packet, headers));
}

export function restoreChecksum(packet: Packet, headers: Headers, residue: number): void {
  packet.view.setUint16(headers.tcp + 16, 0);
  // field + rest = residue in one's complement arithmetic, so field = residue - rest = residue + ~rest.
  packet.view.setUint16(headers.tcp + 16, fold(residue + (~fold(transportSum(packet, headers)) & 0xffff)));
}

/** After the end of the packet moved: the length fields, `headers.end` and IPv4's header checksum. */
export function writeLength(packet: Packet, headers: Headers): void {
  headers.end = packet.end;
  if (headers.family === 4) {
    packet.view.setUint16(headers.ip + 2, packet.end - headers.ip);
    writeIpChecksum(packet, headers.ip);
  } else {
    packet.view.setUint16(headers.ip + 4, packet.end - headers.ip - 40);
  }
}

/** IPv4's header checksum, of the header at `ip` (RFC 791 §3.1). */
export function writeIpChecksum(packet: Packet, ip: number): void {
  const view = packet.view;
  view.setUint16(ip + 10, 0);
  view.setUint16(ip + 10, complement(sumPacket(packet, ip, ip + (view.getUint8(ip) & 15) * 4, 0)));
}

/** Whether the checksum of the IPv4 header at `ip` is right (RFC 791 §3.1). */
export function isIpIntact(packet: Packet, ip: number): boolean {
  return fold(sumPacket(packet, ip, ip + (packet.view.getUint8(ip) & 15) * 4, 0)) === 0xffff;
}

/** Packets on the wire that a large packet stands for; 1 for any other. */
export function packetCount(packet: Packet): number {
  if (packet.gsoSize === 0 || !counting.locate(packet)) return 1;
  return Math.max(1, Math.ceil((counting.end - counting.payload) / packet.gsoSize));
}

const counting = new Headers();
export const TCP = 6;

import { complement, fold, pseudoSum, sumPacket } from './checksum.ts';
import { Drop } from './drop.ts';
import type { IpHeader } from './ip.ts';
import { IPV4_HEADER, writeIpv4Header } from './ipv4.ts';
import { IPV6_HEADER, writeIpv6Header } from './ipv6.ts';
import { MAX_OPTIONS, optionsLength, readOptions, writeOptions } from './options.ts';
import { ChecksumState, MAX_PACKET, type Packet } from './packet.ts';
import type { Segment } from './segment.ts';

export { optionsLength } from './options.ts';

/** TCP segments (RFC 9293 §3.1): bytes to a `Segment` and back. Nothing here allocates. */

/** IP protocol number. */
const TCP = 6;
/** Bytes of a TCP header without options. */
export const TCP_HEADER = 20;

/**
 * Reads the TCP segment that `ip` found in `packet`: header and all options. The checksum is verified when nobody has
 * done so (`packet.checksum` is `Unverified`).
 *
 * @returns a `Drop`; `segment` is meaningful for `Drop.None` alone
 */
export function decodeTcp(packet: Packet, ip: IpHeader, segment: Segment): number {
  const view = packet.view;
  const start = ip.payloadStart;
  const end = ip.payloadEnd;
  if (end - start < TCP_HEADER) return Drop.Truncated;
  const offsetAndFlags = view.getUint16(start + 12);
  const payloadStart = start + ((offsetAndFlags >> 12) << 2);
  if (payloadStart < start + TCP_HEADER || payloadStart > end) return Drop.BadTcpHeader;
  // RFC 9293 §3.1, MUST-3: the receiver must check the checksum.
  if (
    packet.checksum === ChecksumState.Unverified &&
    fold(sumPacket(packet, start, end, pseudoSum(ip, TCP, end - start))) !== 0xffff
  ) {
    return Drop.BadTcpChecksum;
  }
  segment.family = ip.family;
  segment.source0 = ip.source0;
  segment.source1 = ip.source1;
  segment.source2 = ip.source2;
  segment.source3 = ip.source3;
  segment.destination0 = ip.destination0;
  segment.destination1 = ip.destination1;
  segment.destination2 = ip.destination2;
  segment.destination3 = ip.destination3;
  segment.hopLimit = ip.hopLimit;
  segment.trafficClass = ip.trafficClass;
  segment.flowLabel = ip.flowLabel;
  segment.identification = ip.identification;
  segment.sourcePort = view.getUint16(start);
  segment.destinationPort = view.getUint16(start + 2);
  segment.sequence = view.getUint32(start + 4);
  segment.acknowledgment = view.getUint32(start + 8);
  segment.flags = offsetAndFlags & 0x1ff;
  segment.window = view.getUint16(start + 14);
  segment.urgent = view.getUint16(start + 18);
  segment.payloadStart = payloadStart;
  segment.payloadEnd = end;
  segment.options = 0;
  segment.sackCount = 0;
  segment.mptcp.present = 0;
  if (payloadStart !== start + TCP_HEADER) readOptions(view, start + TCP_HEADER, payloadStart, segment);
  return Drop.None;
}

/** Bytes of IP header, TCP header and options of `segment`: where its payload stands after `packet.start`. */
export function headerLength(segment: Segment): number {
  return (segment.family === 4 ? IPV4_HEADER : IPV6_HEADER) + TCP_HEADER + optionsLength(segment);
}

/**
 * Writes the headers of `segment` at `packet.start`, before the `payloadLength` bytes that already stand at
 * `packet.start + headerLength(segment)`, and sets `packet.end`. With `offload` the checksum field gets the
 * pseudo-header's sum alone and the packet is marked `Partial`; otherwise it gets the full checksum and the packet is
 * marked `Unverified`. A packet with `gsoSize` set is described as the large packet that it is.
 *
 * @throws RangeError when the options need more than 40 bytes or the packet is larger than IP can say: the caller asks
 *   `optionsLength` first
 */
export function encodeSegment(segment: Segment, packet: Packet, payloadLength: number, offload: boolean): void {
  const view = packet.view;
  const start = packet.start;
  const tcp = start + (segment.family === 4 ? IPV4_HEADER : IPV6_HEADER);
  const options = optionsLength(segment);
  const length = TCP_HEADER + options + payloadLength;
  if (options > MAX_OPTIONS) throw new RangeError(`TCP options of ${options} bytes`);
  if (segment.family === 4) {
    if (IPV4_HEADER + length > MAX_PACKET) throw new RangeError(`IPv4 packet of ${IPV4_HEADER + length} bytes`);
    writeIpv4Header(view, start, segment, TCP, IPV4_HEADER + length);
  } else {
    if (length > MAX_PACKET) throw new RangeError(`IPv6 payload of ${length} bytes`);
    writeIpv6Header(view, start, segment, TCP, length);
  }
  view.setUint32(tcp, (segment.sourcePort << 16) | segment.destinationPort);
  view.setUint32(tcp + 4, segment.sequence);
  view.setUint32(tcp + 8, segment.acknowledgment);
  view.setUint32(tcp + 12, (((TCP_HEADER + options) >> 2) << 28) | ((segment.flags & 0x1ff) << 16) | segment.window);
  view.setUint32(tcp + 16, segment.urgent);
  if (options !== 0) writeOptions(view, tcp + TCP_HEADER, segment);
  packet.end = tcp + length;
  const pseudo = pseudoSum(segment, TCP, length);
  if (offload) {
    view.setUint16(tcp + 16, fold(pseudo));
    packet.checksum = ChecksumState.Partial;
  } else {
    view.setUint16(tcp + 16, complement(sumPacket(packet, tcp, packet.end, pseudo)));
    packet.checksum = ChecksumState.Unverified;
  }
}

import { Drop } from './drop.ts';
import { decodeIpv4, IPV4_HEADER, writeIpv4Header } from './ipv4.ts';
import { decodeIpv6, IPV6_HEADER, writeIpv6Header } from './ipv6.ts';
import { MAX_PACKET, type Packet } from './packet.ts';

/** IP protocol numbers that this stack knows. */
export const Protocol = { HopByHop: 0, Icmp: 1, Tcp: 6, Udp: 17, Icmp6: 58 } as const;

/** The fields of one IP header. One record is reused for every packet. */
export class IpHeader {
  family: 4 | 6 = 4;
  /** Addresses: four unsigned words each, as in `Address`. */
  source0 = 0;
  source1 = 0;
  source2 = 0;
  source3 = 0;
  destination0 = 0;
  destination1 = 0;
  destination2 = 0;
  destination3 = 0;
  /** Of the payload, behind all extension headers. */
  protocol = 0;
  /** TTL or hop limit. */
  hopLimit = 64;
  /** TOS byte or traffic class. */
  trafficClass = 0;
  /** IPv6, 20 bits. */
  flowLabel = 0;
  /** IPv4. */
  identification = 0;
  /** Where the payload stands in the packet's bytes. */
  payloadStart = 0;
  payloadEnd = 0;
}

/**
 * Reads the IP header of `packet`. Bytes behind the IP length (padding of a short frame) are left outside the payload.
 *
 * @returns a `Drop`; `header` is meaningful for `Drop.None` alone
 */
export function decodeIp(packet: Packet, header: IpHeader): number {
  if (packet.end - packet.start < IPV4_HEADER) return Drop.Truncated;
  const version = packet.view.getUint8(packet.start) >> 4;
  if (version === 4) return decodeIpv4(packet, header);
  if (version === 6) return decodeIpv6(packet, header);
  return Drop.BadIpVersion;
}

/** Bytes of the IP header that `encodeIp` writes. */
export function ipHeaderLength(family: 4 | 6): number {
  return family === 4 ? IPV4_HEADER : IPV6_HEADER;
}

/**
 * Writes an IP header at `packet.start`, before the `payloadLength` bytes that already stand behind it, and sets
 * `packet.end`. IPv4 has DF set.
 *
 * @throws RangeError when the packet would be larger than IP can say
 */
export function encodeIp(header: IpHeader, packet: Packet, payloadLength: number): void {
  const length = ipHeaderLength(header.family) + payloadLength;
  if (length > MAX_PACKET + (header.family === 4 ? 0 : IPV6_HEADER))
    throw new RangeError(`IP packet of ${length} bytes`);
  if (header.family === 4) writeIpv4Header(packet.view, packet.start, header, header.protocol, length);
  else writeIpv6Header(packet.view, packet.start, header, header.protocol, payloadLength);
  packet.end = packet.start + length;
}

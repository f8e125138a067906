import { Drop } from './drop.ts';
import type { IpHeader } from './ip.ts';
import type { Packet } from './packet.ts';

/** IPv6 (RFC 8200): reads a header and the extension headers behind it; writes the 40-byte header alone. */

export const IPV6_HEADER = 40;

const Next = { HopByHop: 0, Routing: 43, Fragment: 44, Authentication: 51, Destination: 60 } as const;

/** More extension headers than this in one packet are an attack: a packet has each at most once, or twice. */
const MAX_EXTENSIONS = 8;

/** @returns a `Drop` */
export function decodeIpv6(packet: Packet, header: IpHeader): number {
  const view = packet.view;
  const start = packet.start;
  if (packet.end - start < IPV6_HEADER) return Drop.Truncated;
  const first = view.getUint32(start);
  const payloadEnd = start + IPV6_HEADER + view.getUint16(start + 4);
  if (payloadEnd > packet.end) return Drop.Truncated;
  header.family = 6;
  header.trafficClass = (first >>> 20) & 0xff;
  header.flowLabel = first & 0xf_ffff;
  header.identification = 0;
  header.hopLimit = view.getUint8(start + 7);
  header.source0 = view.getUint32(start + 8);
  header.source1 = view.getUint32(start + 12);
  header.source2 = view.getUint32(start + 16);
  header.source3 = view.getUint32(start + 20);
  header.destination0 = view.getUint32(start + 24);
  header.destination1 = view.getUint32(start + 28);
  header.destination2 = view.getUint32(start + 32);
  header.destination3 = view.getUint32(start + 36);
  header.protocol = view.getUint8(start + 6);
  header.payloadStart = start + IPV6_HEADER;
  header.payloadEnd = payloadEnd;
  return isExtension(header.protocol) ? skipExtensions(view, header) : Drop.None;
}

function isExtension(next: number): boolean {
  return (
    next === Next.HopByHop ||
    next === Next.Routing ||
    next === Next.Fragment ||
    next === Next.Authentication ||
    next === Next.Destination
  );
}

function skipExtensions(view: DataView, header: IpHeader): number {
  const end = header.payloadEnd;
  let at = header.payloadStart;
  let next = header.protocol;
  for (let count = 0; isExtension(next); count++) {
    if (count === MAX_EXTENSIONS || end - at < 8) return Drop.BadExtensionHeader;
    let length = (view.getUint8(at + 1) + 1) << 3;
    switch (next) {
      case Next.HopByHop:
        // RFC 8200 §4.1: it comes first or not at all.
        if (count !== 0 || !optionsAllowed(view, at, length, end)) return Drop.BadExtensionHeader;
        break;
      case Next.Destination:
        if (!optionsAllowed(view, at, length, end)) return Drop.BadExtensionHeader;
        break;
      case Next.Routing:
        // RFC 8200 §4.4: no type is known here; one that has segments left makes the packet invalid.
        if (view.getUint8(at + 3) !== 0) return Drop.BadExtensionHeader;
        break;
      case Next.Fragment:
        length = 8;
        // RFC 8200 §4.5, RFC 6946: offset 0 and no more to come is a whole packet.
        if ((view.getUint16(at + 2) & 0xfff9) !== 0) return Drop.Fragment;
        break;
      case Next.Authentication:
        // RFC 4302 §2.2: counted in 4-byte units, minus 2.
        length = (view.getUint8(at + 1) + 2) << 2;
        break;
    }
    if (length > end - at) return Drop.BadExtensionHeader;
    next = view.getUint8(at);
    at += length;
  }
  header.protocol = next;
  header.payloadStart = at;
  return Drop.None;
}

/**
 * Whether all options of a hop-by-hop or destination header may be skipped: the two high bits of an unknown option's
 * type say whether the packet lives (RFC 8200 §4.2).
 */
function optionsAllowed(view: DataView, start: number, length: number, end: number): boolean {
  if (length > end - start) return false;
  let at = start + 2;
  while (at < start + length) {
    const type = view.getUint8(at);
    if (type === 0) {
      at++;
      continue;
    }
    if (type >> 6 !== 0 || at + 2 > start + length) return false;
    at += 2 + view.getUint8(at + 1);
  }
  return at === start + length;
}

/** What an IPv6 header is written from; `Segment` and `IpHeader` both have it. */
export interface Ipv6Fields {
  source0: number;
  source1: number;
  source2: number;
  source3: number;
  destination0: number;
  destination1: number;
  destination2: number;
  destination3: number;
  hopLimit: number;
  trafficClass: number;
  flowLabel: number;
}

/** Writes 40 bytes at `start`. `payloadLength` does not count them. */
export function writeIpv6Header(
  view: DataView,
  start: number,
  fields: Ipv6Fields,
  protocol: number,
  payloadLength: number,
): void {
  view.setUint32(start, 0x6000_0000 | (fields.trafficClass << 20) | fields.flowLabel);
  view.setUint32(start + 4, (payloadLength << 16) | (protocol << 8) | fields.hopLimit);
  view.setUint32(start + 8, fields.source0);
  view.setUint32(start + 12, fields.source1);
  view.setUint32(start + 16, fields.source2);
  view.setUint32(start + 20, fields.source3);
  view.setUint32(start + 24, fields.destination0);
  view.setUint32(start + 28, fields.destination1);
  view.setUint32(start + 32, fields.destination2);
  view.setUint32(start + 36, fields.destination3);
}

import { complement, fold, halves } from './checksum.ts';
import { Drop } from './drop.ts';
import type { IpHeader } from './ip.ts';
import type { Packet } from './packet.ts';

/** IPv4 (RFC 791): reads any header, options included; writes the 20-byte one with DF set. */

export const IPV4_HEADER = 20;

const DONT_FRAGMENT = 0x4000;
/** MF and the offset. */
const FRAGMENT = 0x3fff;

/** @returns a `Drop` */
export function decodeIpv4(packet: Packet, header: IpHeader): number {
  const view = packet.view;
  const start = packet.start;
  const headerLength = (view.getUint8(start) & 0xf) << 2;
  const total = view.getUint16(start + 2);
  if (headerLength < IPV4_HEADER || total < headerLength) return Drop.BadIpHeader;
  if (total > packet.end - start) return Drop.Truncated;
  let sum =
    halves(view.getUint32(start)) +
    halves(view.getUint32(start + 4)) +
    halves(view.getUint32(start + 8)) +
    halves(view.getUint32(start + 12)) +
    halves(view.getUint32(start + 16));
  for (let at = start + IPV4_HEADER; at < start + headerLength; at += 4) sum += halves(view.getUint32(at));
  if (fold(sum) !== 0xffff) return Drop.BadIpChecksum;
  if ((view.getUint16(start + 6) & FRAGMENT) !== 0) return Drop.Fragment;
  header.family = 4;
  header.source0 = 0;
  header.source1 = 0;
  header.source2 = 0;
  header.source3 = view.getUint32(start + 12);
  header.destination0 = 0;
  header.destination1 = 0;
  header.destination2 = 0;
  header.destination3 = view.getUint32(start + 16);
  header.protocol = view.getUint8(start + 9);
  header.hopLimit = view.getUint8(start + 8);
  header.trafficClass = view.getUint8(start + 1);
  header.flowLabel = 0;
  header.identification = view.getUint16(start + 4);
  header.payloadStart = start + headerLength;
  header.payloadEnd = start + total;
  return Drop.None;
}

/** What an IPv4 header is written from; `Segment` and `IpHeader` both have it. */
export interface Ipv4Fields {
  source3: number;
  destination3: number;
  hopLimit: number;
  trafficClass: number;
  identification: number;
}

/** Writes 20 bytes at `start`, checksum and DF included. `totalLength` counts them too. */
export function writeIpv4Header(
  view: DataView,
  start: number,
  fields: Ipv4Fields,
  protocol: number,
  totalLength: number,
): void {
  const first = 0x4500_0000 | (fields.trafficClass << 16) | totalLength;
  const second = (fields.identification << 16) | DONT_FRAGMENT;
  const third = (fields.hopLimit << 24) | (protocol << 16);
  const sum = halves(first) + halves(second) + halves(third) + halves(fields.source3) + halves(fields.destination3);
  view.setUint32(start, first);
  view.setUint32(start + 4, second);
  view.setUint32(start + 8, third | complement(sum));
  view.setUint32(start + 12, fields.source3);
  view.setUint32(start + 16, fields.destination3);
}

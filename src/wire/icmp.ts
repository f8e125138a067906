import type { Address } from './address.ts';
import { complement, fold, pseudoSum, sumPacket } from './checksum.ts';
import { Drop } from './drop.ts';
import { encodeIp, IpHeader, ipHeaderLength, Protocol } from './ip.ts';
import { ChecksumState, type Packet } from './packet.ts';

/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443): echoes, and the errors that a TCP connection hears of, with what they quote
 * of the packet that caused them.
 */

/** ICMPv4 types (RFC 792). */
export const Icmp4 = {
  EchoReply: 0,
  Unreachable: 3,
  SourceQuench: 4,
  Redirect: 5,
  EchoRequest: 8,
  TimeExceeded: 11,
  ParameterProblem: 12,
} as const;

/** ICMPv6 types (RFC 4443 §2.1). Errors are below 128. */
export const Icmp6 = {
  Unreachable: 1,
  PacketTooBig: 2,
  TimeExceeded: 3,
  ParameterProblem: 4,
  EchoRequest: 128,
  EchoReply: 129,
} as const;

/** Code of ICMPv4 Unreachable: the packet did not fit and had DF set (RFC 1191 §4). */
export const FRAGMENTATION_NEEDED = 4;

const ICMP_HEADER = 8;
/** RFC 1812 §4.3.2.3: an ICMPv4 error quotes as much as fits into 576 bytes. */
const MAX_ERROR_4 = 576;
/** RFC 4443 §2.4 (c): an ICMPv6 error fits the minimum MTU. */
const MAX_ERROR_6 = 1280;

/** One ICMP message. One record is reused for every packet. */
export class IcmpMessage {
  family: 4 | 6 = 4;
  type = 0;
  code = 0;
  /** MTU of the next hop for "fragmentation needed" (0 from old routers, RFC 1191 §5) and "packet too big". */
  mtu = 0;
  /** An error that quotes a packet: the `quoted…` fields are set. */
  isError = false;
  /** An echo request or reply: `identifier`, `sequence` and the data's place are set. */
  isEcho = false;
  /** Of the two echo types, the request. */
  isRequest = false;
  identifier = 0;
  sequence = 0;
  /** Echo data: `packet.bytes[dataStart, dataEnd)`. */
  dataStart = 0;
  dataEnd = 0;
  /** Parameter problem: the offset in the quoted packet. */
  pointer = 0;

  /** Addresses of the quoted packet: for us to believe it, its source must be ours. */
  quotedSource0 = 0;
  quotedSource1 = 0;
  quotedSource2 = 0;
  quotedSource3 = 0;
  quotedDestination0 = 0;
  quotedDestination1 = 0;
  quotedDestination2 = 0;
  quotedDestination3 = 0;
  quotedProtocol = 0;
  quotedSourcePort = 0;
  quotedDestinationPort = 0;
  /** TCP sequence number of the quoted packet. */
  quotedSequence = 0;
}

/**
 * Reads the ICMP message that `ip` found in `packet`. The checksum is verified when nobody has done so.
 *
 * @returns a `Drop`: `BadIcmp` also for an error that quotes less than the addresses, ports and sequence number
 */
export function decodeIcmp(packet: Packet, ip: IpHeader, message: IcmpMessage): number {
  const view = packet.view;
  const start = ip.payloadStart;
  const end = ip.payloadEnd;
  if (ip.protocol !== (ip.family === 4 ? Protocol.Icmp : Protocol.Icmp6)) return Drop.UnknownProtocol;
  if (end - start < ICMP_HEADER) return Drop.Truncated;
  // RFC 792 sums the message alone, RFC 4443 §2.3 the pseudo-header too.
  const pseudo = ip.family === 4 ? 0 : pseudoSum(ip, Protocol.Icmp6, end - start);
  if (packet.checksum === ChecksumState.Unverified && fold(sumPacket(packet, start, end, pseudo)) !== 0xffff) {
    return Drop.BadIcmpChecksum;
  }
  const type = view.getUint8(start);
  message.family = ip.family;
  message.type = type;
  message.code = view.getUint8(start + 1);
  message.mtu = 0;
  message.pointer = 0;
  message.isRequest = type === (ip.family === 4 ? Icmp4.EchoRequest : Icmp6.EchoRequest);
  message.isEcho = message.isRequest || type === (ip.family === 4 ? Icmp4.EchoReply : Icmp6.EchoReply);
  message.isError = ip.family === 4 ? quotes4(type) : type < Icmp6.EchoRequest;
  if (message.isEcho) {
    message.identifier = view.getUint16(start + 4);
    message.sequence = view.getUint16(start + 6);
    message.dataStart = start + ICMP_HEADER;
    message.dataEnd = end;
    return Drop.None;
  }
  if (!message.isError) return Drop.None;
  if (ip.family === 4) {
    if (type === Icmp4.Unreachable && message.code === FRAGMENTATION_NEEDED) message.mtu = view.getUint16(start + 6);
    if (type === Icmp4.ParameterProblem) message.pointer = view.getUint8(start + 4);
    return quoted4(view, start + ICMP_HEADER, end, message);
  }
  if (type === Icmp6.PacketTooBig) message.mtu = view.getUint32(start + 4);
  if (type === Icmp6.ParameterProblem) message.pointer = view.getUint32(start + 4);
  return quoted6(view, start + ICMP_HEADER, end, message);
}

function quotes4(type: number): boolean {
  return (
    type === Icmp4.Unreachable ||
    type === Icmp4.SourceQuench ||
    type === Icmp4.Redirect ||
    type === Icmp4.TimeExceeded ||
    type === Icmp4.ParameterProblem
  );
}

/** The quoted header's checksum and length say nothing: routers change and cut what they quote. */
function quoted4(view: DataView, start: number, end: number, message: IcmpMessage): number {
  if (end - start < 20) return Drop.BadIcmp;
  const headerLength = (view.getUint8(start) & 0xf) << 2;
  if (view.getUint8(start) >> 4 !== 4 || headerLength < 20) return Drop.BadIcmp;
  // Only a first fragment has ports.
  if ((view.getUint16(start + 6) & 0x1fff) !== 0) return Drop.BadIcmp;
  message.quotedSource0 = 0;
  message.quotedSource1 = 0;
  message.quotedSource2 = 0;
  message.quotedSource3 = view.getUint32(start + 12);
  message.quotedDestination0 = 0;
  message.quotedDestination1 = 0;
  message.quotedDestination2 = 0;
  message.quotedDestination3 = view.getUint32(start + 16);
  message.quotedProtocol = view.getUint8(start + 9);
  return quotedPorts(view, start + headerLength, end, message);
}

function quoted6(view: DataView, start: number, end: number, message: IcmpMessage): number {
  if (end - start < 40 || view.getUint8(start) >> 4 !== 6) return Drop.BadIcmp;
  message.quotedSource0 = view.getUint32(start + 8);
  message.quotedSource1 = view.getUint32(start + 12);
  message.quotedSource2 = view.getUint32(start + 16);
  message.quotedSource3 = view.getUint32(start + 20);
  message.quotedDestination0 = view.getUint32(start + 24);
  message.quotedDestination1 = view.getUint32(start + 28);
  message.quotedDestination2 = view.getUint32(start + 32);
  message.quotedDestination3 = view.getUint32(start + 36);
  // Our own packets have no extension headers: one that does was not sent by us.
  message.quotedProtocol = view.getUint8(start + 6);
  return quotedPorts(view, start + 40, end, message);
}

/** RFC 792: eight bytes behind the header are quoted at least: ports and, for TCP, the sequence number. */
function quotedPorts(view: DataView, start: number, end: number, message: IcmpMessage): number {
  if (end - start < 8) return Drop.BadIcmp;
  message.quotedSourcePort = view.getUint16(start);
  message.quotedDestinationPort = view.getUint16(start + 2);
  message.quotedSequence = view.getUint32(start + 4);
  return Drop.None;
}

/** For building: the header of what is written next. */
const outgoing = new IpHeader();

/** Answers `request` (an echo request that `ip` and `packet` brought) into `out` at `out.start`. */
export function encodeEchoReply(packet: Packet, ip: IpHeader, request: IcmpMessage, out: Packet): void {
  answer(ip, undefined);
  const start = out.start + ipHeaderLength(ip.family);
  const length = ICMP_HEADER + request.dataEnd - request.dataStart;
  out.bytes.set(packet.bytes.subarray(request.dataStart, request.dataEnd), start + ICMP_HEADER);
  out.view.setUint32(start, (ip.family === 4 ? Icmp4.EchoReply : Icmp6.EchoReply) << 24);
  out.view.setUint32(start + 4, (request.identifier << 16) | request.sequence);
  finish(out, start, length);
}

/**
 * Builds an error about `packet`, whose header is `ip`, to its source.
 *
 * @param value the second word of the message: the MTU for "fragmentation needed" and "packet too big", the pointer
 *   for a parameter problem (in ICMPv4 its first byte), 0 otherwise
 * @param source the address of who complains; the packet's destination unless given
 */
export function encodeIcmpError(
  packet: Packet,
  ip: IpHeader,
  type: number,
  code: number,
  value: number,
  out: Packet,
  source: Address | undefined = undefined,
): void {
  answer(ip, source);
  const start = out.start + ipHeaderLength(ip.family);
  const room = (ip.family === 4 ? MAX_ERROR_4 : MAX_ERROR_6) - ipHeaderLength(ip.family) - ICMP_HEADER;
  const quoted = Math.min(ip.payloadEnd - packet.start, room);
  out.bytes.set(packet.bytes.subarray(packet.start, packet.start + quoted), start + ICMP_HEADER);
  out.view.setUint32(start, (type << 24) | (code << 16));
  out.view.setUint32(start + 4, ip.family === 4 && type === Icmp4.ParameterProblem ? value << 24 : value);
  finish(out, start, ICMP_HEADER + quoted);
}

/**
 * Whether an ICMP error may be sent about the packet (RFC 1122 §3.2.2, RFC 4443 §2.4 (e)): not about an ICMP error,
 * and not to or from an address that is no single host's.
 */
export function mayDrawError(packet: Packet, ip: IpHeader): boolean {
  if (ip.protocol === (ip.family === 4 ? Protocol.Icmp : Protocol.Icmp6)) {
    if (ip.payloadEnd === ip.payloadStart) return false;
    const type = packet.view.getUint8(ip.payloadStart);
    if (ip.family === 4 ? quotes4(type) : type < Icmp6.EchoRequest) return false;
  }
  if (ip.family === 4) return ip.source3 !== 0 && ip.source3 >>> 28 < 0xe && ip.destination3 >>> 28 < 0xe;
  const unspecified = (ip.source0 | ip.source1 | ip.source2 | ip.source3) === 0;
  return !unspecified && ip.source0 >>> 24 !== 0xff && ip.destination0 >>> 24 !== 0xff;
}

/** Addresses `outgoing` back to the sender of `ip`. */
function answer(ip: IpHeader, source: Address | undefined): void {
  outgoing.family = ip.family;
  outgoing.source0 = source === undefined ? ip.destination0 : source.w0;
  outgoing.source1 = source === undefined ? ip.destination1 : source.w1;
  outgoing.source2 = source === undefined ? ip.destination2 : source.w2;
  outgoing.source3 = source === undefined ? ip.destination3 : source.w3;
  outgoing.destination0 = ip.source0;
  outgoing.destination1 = ip.source1;
  outgoing.destination2 = ip.source2;
  outgoing.destination3 = ip.source3;
  outgoing.protocol = ip.family === 4 ? Protocol.Icmp : Protocol.Icmp6;
  outgoing.hopLimit = 64;
  outgoing.trafficClass = 0;
  outgoing.flowLabel = 0;
  outgoing.identification = 0;
}

/** IP header and checksum around the `length` bytes of ICMP message at `start`. */
function finish(out: Packet, start: number, length: number): void {
  encodeIp(outgoing, out, length);
  const pseudo = outgoing.family === 4 ? 0 : pseudoSum(outgoing, Protocol.Icmp6, length);
  out.view.setUint16(start + 2, 0);
  out.view.setUint16(start + 2, complement(sumPacket(out, start, out.end, pseudo)));
  out.gsoSize = 0;
  out.checksum = ChecksumState.Unverified;
}

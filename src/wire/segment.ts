import { MptcpOptions } from './mptcp-options.ts';

/** TCP header flags (RFC 9293 §3.1, RFC 3168). */
export const Flag = {
  Fin: 0x01,
  Syn: 0x02,
  Rst: 0x04,
  Psh: 0x08,
  Ack: 0x10,
  Urg: 0x20,
  Ece: 0x40,
  Cwr: 0x80,
  Ae: 0x100,
} as const;

/** Which TCP options a segment has, as bits of `Segment.options`. MPTCP's are in `Segment.mptcp.present`. */
export const Option = {
  MaximumSegmentSize: 0x01,
  WindowScale: 0x02,
  SackPermitted: 0x04,
  Sack: 0x08,
  Timestamps: 0x10,
  /** TCP Fast Open, RFC 7413, kind 34; the cookie is not kept here yet. */
  FastOpen: 0x20,
  /** RFC 2385 or RFC 5925: signed segments, which this stack never accepts. */
  Authentication: 0x40,
} as const;

/**
 * The fields of one TCP segment and of the IP header that carried it. One record is reused for every decode, another
 * for every encode: copy what must outlive the call.
 *
 * Wire numbers are unsigned. For a decoded segment the payload is `packet.bytes[payloadStart, payloadEnd)`.
 */
export class Segment {
  // IP
  family: 4 | 6 = 4;
  /** Source address, four unsigned words as in `Address`. */
  source0 = 0;
  source1 = 0;
  source2 = 0;
  source3 = 0;
  destination0 = 0;
  destination1 = 0;
  destination2 = 0;
  destination3 = 0;
  /** TTL or hop limit. */
  hopLimit = 64;
  /** TOS byte or traffic class, its ECN bits included. */
  trafficClass = 0;
  /** IPv6 flow label, 20 bits. */
  flowLabel = 0;
  /** IPv4 identification; written with DF set, so 0 is fine (RFC 6864 §4.1). */
  identification = 0;

  // TCP
  sourcePort = 0;
  destinationPort = 0;
  sequence = 0;
  acknowledgment = 0;
  flags = 0;
  /** The 16-bit field as it stands on the wire. */
  window = 0;
  urgent = 0;
  payloadStart = 0;
  payloadEnd = 0;

  // options
  options = 0;
  mss = 0;
  windowScale = 0;
  timestampValue = 0;
  timestampEcho = 0;
  sackCount = 0;
  /** Left and right edges in turn, wire numbers, `sackCount` pairs, at most 4. */
  readonly sackEdges: Uint32Array = new Uint32Array(8);
  readonly mptcp: MptcpOptions = new MptcpOptions();

  // Set by the connection that takes a received segment; meaningless before.
  /** Offset of the first octet (the SYN, if there is one) in the peer's sequence space. */
  offset = 0;
  /** Offset that is acknowledged, in our own sequence space. */
  ackOffset = 0;
  /** Window in bytes, scaled. */
  scaledWindow = 0;

  /** Payload bytes. */
  get length(): number {
    return this.payloadEnd - this.payloadStart;
  }

  /** Octets of sequence space: payload, SYN and FIN. */
  get span(): number {
    return this.payloadEnd - this.payloadStart + ((this.flags >> 1) & 1) + (this.flags & 1);
  }

  /** Forgets flags and options, for building another segment of the same connection. */
  reset(): void {
    this.flags = 0;
    this.urgent = 0;
    this.options = 0;
    this.sackCount = 0;
    this.payloadStart = 0;
    this.payloadEnd = 0;
    this.mptcp.present = 0;
  }
}

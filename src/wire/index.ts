/**
 * Bytes to fields and back: IPv4, IPv6, TCP with all its options and Multipath TCP's, ICMP, checksums and the two
 * hashes, and a packet as one line of text. It owns the layouts and the wire's numbers; it knows no connection, no
 * time and no state between two packets. Start with `Packet` and `Segment`, then `decodeIp`, `decodeTcp` and
 * `encodeSegment`.
 */
export { Address } from './address.ts';
export {
  type Addressed,
  complement,
  fold,
  halves,
  packetBytes,
  pseudoSum,
  pseudoSum4,
  sum,
  sumPacket,
  swapped,
  updated,
  updated32,
} from './checksum.ts';
export { Drop } from './drop.ts';
export {
  decodeIcmp,
  encodeEchoReply,
  encodeIcmpError,
  FRAGMENTATION_NEEDED,
  Icmp4,
  Icmp6,
  IcmpMessage,
  mayDrawError,
} from './icmp.ts';
export { decodeIp, encodeIp, IpHeader, ipHeaderLength, Protocol } from './ip.ts';
export {
  capableUsable,
  MPTCP_KIND,
  MPTCP_VERSION,
  mptcpOptionsLength,
  readMptcpOption,
  Subtype,
  writeMptcpOptions,
} from './mptcp-codec.ts';
export { Capable, Dss, Mptcp, MptcpOptions, ResetFlag, ResetReason } from './mptcp-options.ts';
export {
  ABSOLUTE,
  buildPacket,
  describePacket,
  emptyPacket,
  formatPacket,
  NotationProblem,
  type NotationStyle,
  type Origins,
  parsePacket,
  type TcpPacket,
} from './notation.ts';
export { Kind, MAX_OPTIONS, optionsLength } from './options.ts';
export { ChecksumState, MAX_PACKET, PACKET_CAPACITY, Packet } from './packet.ts';
export { Flag, Option, Segment } from './segment.ts';
export { DataSequenceSpace, SequenceSpace } from './sequence.ts';
export { hmacSha1, sha1 } from './sha1.ts';
export { hmacSha256, sha256 } from './sha256.ts';
export { decodeTcp, encodeSegment, headerLength, TCP_HEADER } from './tcp.ts';

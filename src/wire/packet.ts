import { slabBuffer } from './slab.ts';

/** How far a packet's transport checksum can be trusted, or what remains to be done to it. */
export const ChecksumState = {
  /** The field holds a full checksum that nobody has verified. */
  Unverified: 0,
  /** The field holds the pseudo-header sum alone: a local sender's offload mark. Nothing to verify. */
  Partial: 1,
  /** The link vouches that the checksum was right. */
  Verified: 2,
} as const;

/**
 * One IP packet in a buffer that is reused: bytes `start` to `end` of `bytes`.
 *
 * A packet may be larger than the link's MTU: then `gsoSize` is the TCP payload that each packet on the wire will
 * carry, and the link (or `link/segmenter`) cuts it. Valid until the call it was passed to returns; whoever needs it
 * longer copies it.
 */
export class Packet {
  readonly bytes: Uint8Array;
  /** Where `bytes` begins in the memory that `slabSum` sums; -1 when it is not there. */
  readonly slabStart: number;
  /** One lasting view over `bytes`. */
  readonly view: DataView;
  /** Offset of the IP header. Producers leave headroom before it for the device's own header. */
  start: number;
  /** Offset one past the last byte of the IP packet. */
  end: number;
  /** Payload bytes of each TCP segment on the wire; 0 for a packet that goes out as it is. */
  gsoSize: number;
  /** A `ChecksumState`. */
  checksum: number;

  /** @param capacity bytes of room after `headroom` @param headroom bytes kept free before the IP header */
  constructor(capacity: number, headroom = 0, bytes: Uint8Array = new Uint8Array(headroom + capacity)) {
    this.bytes = bytes;
    this.slabStart = bytes.buffer === slabBuffer ? bytes.byteOffset : -1;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.start = headroom;
    this.end = headroom;
    this.gsoSize = 0;
    this.checksum = 0;
  }

  /** Bytes of the IP packet. */
  get length(): number {
    return this.end - this.start;
  }

  /** Becomes a copy of `other`, keeping its own headroom. */
  copyFrom(other: Packet): void {
    const length = other.end - other.start;
    this.bytes.set(other.bytes.subarray(other.start, other.end), this.start);
    this.end = this.start + length;
    this.gsoSize = other.gsoSize;
    this.checksum = other.checksum;
  }
}

/** The largest IP packet that can be described: an IPv4 total length, or an IPv6 payload of the same size. */
export const MAX_PACKET = 65_535;
/** Room to allocate for any packet, IPv6 header included. */
export const PACKET_CAPACITY = 65_536 + 40;

/**
 * Sequence numbers are offsets inside the stack: doubles counted from the initial number, so that the SYN is 0, the
 * first byte is 1 and nothing wraps. Wire numbers exist only in `wire/` and through these two classes.
 */

/** One direction of one TCP connection (RFC 9293 §3.4). */
export class SequenceSpace {
  readonly initial: number;

  constructor(initial: number) {
    this.initial = initial >>> 0;
  }

  toWire(offset: number): number {
    return (this.initial + offset) >>> 0;
  }

  /** The offset with wire value `wire` nearest to `near`: a signed 32-bit distance. */
  fromWire(wire: number, near: number): number {
    return near + ((wire - (this.initial + near)) | 0);
  }
}

const TWO_32 = 4_294_967_296;
/** Distances beyond this are no data sequence numbers of this connection. */
const PLAUSIBLE = 2 ** 48;

/**
 * One direction of an MPTCP connection (RFC 8684 §3.3): offset 0 is the initial data sequence number (IDSN), the
 * first byte is 1. Wire numbers are 64 bits as two unsigned 32-bit halves.
 */
export class DataSequenceSpace {
  readonly initialHigh: number;
  readonly initialLow: number;

  constructor(initialHigh: number, initialLow: number) {
    this.initialHigh = initialHigh >>> 0;
    this.initialLow = initialLow >>> 0;
  }

  /** Low half of the wire number of `offset`. */
  toWireLow(offset: number): number {
    return (this.initialLow + offset) % TWO_32;
  }

  /** High half of the wire number of `offset`. */
  toWireHigh(offset: number): number {
    return (this.initialHigh + Math.floor((this.initialLow + offset) / TWO_32)) >>> 0;
  }

  /**
   * The offset of a 64-bit wire number; may be negative. NaN when it is further than 2^48 from the IDSN, which no
   * connection reaches: such a number belongs to no window.
   */
  fromWire64(high: number, low: number): number {
    const carryless = low - this.initialLow;
    const offset = ((high - this.initialHigh) | 0) * TWO_32 + carryless;
    return offset > PLAUSIBLE || offset < -PLAUSIBLE ? Number.NaN : offset;
  }

  /** The offset nearest to `near` whose low half is `low` (RFC 8684 §3.3.1: 32-bit numbers use the expected upper half). */
  fromWire32(low: number, near: number): number {
    return near + ((low - this.toWireLow(near)) | 0);
  }
}

import type { Packet } from './packet.ts';
import { slabBuffer, slabSum } from './slab.ts';

export { packetBytes } from './slab.ts';

/**
 * The Internet checksum (RFC 1071): one's complement sums that are partial, combinable and of any alignment.
 *
 * A *sum* is a plain number below 2^53 that `fold` brings to 16 bits; sums of adjacent pieces add up with `+` as long
 * as each piece but the last has an even number of bytes. The byte at `start` is the high half of the first word,
 * whatever its address. A lone last byte counts as a high half (RFC 1071 §2).
 */

/** Shorter pieces are summed here: the call into WebAssembly costs as much. */
const SLAB_FROM = 64;
/** Shorter pieces are summed from bytes; longer ones are worth a DataView. */
const VIEW_FROM = 256;

/** The sum of `bytes[start, end)`, added to `initial`. */
export function sum(bytes: Uint8Array, start: number, end: number, initial: number): number {
  if (end - start >= SLAB_FROM) {
    if (bytes.buffer === slabBuffer) return initial + slabSum(bytes.byteOffset + start, bytes.byteOffset + end);
    if (end - start >= VIEW_FROM) {
      return sumView(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), start, end, initial);
    }
  }
  let total = initial;
  let at = start;
  for (const pairs = end - 1; at < pairs; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  return at < end ? total + (bytes[at]! << 8) : total;
}

/** `sum` over a packet's bytes, which needs no new view. */
export function sumPacket(packet: Packet, start: number, end: number, initial: number): number {
  const base = packet.slabStart;
  if (base >= 0 && end - start >= SLAB_FROM) return initial + slabSum(base + start, base + end);
  return sumView(packet.view, start, end, initial);
}

/** `sum` in plain JavaScript, four bytes at a time: the low and the high halves of the words apart. */
export function sumView(view: DataView, start: number, end: number, initial: number): number {
  let total = initial;
  let at = start;
  for (const words = end - 3; at < words; at += 4) {
    const word = view.getUint32(at);
    total += (word >>> 16) + (word & 0xffff);
  }
  if (end - at >= 2) {
    total += view.getUint16(at);
    at += 2;
  }
  return at < end ? total + (view.getUint8(at) << 8) : total;
}

/** A sum brought to 16 bits, end-around carries included. Its complement is the checksum. */
export function fold(total: number): number {
  let small = total;
  if (small > 0xffff_ffff) small = Math.floor(small / 65_536) + (small % 65_536);
  while (small > 0xffff_ffff) small = Math.floor(small / 65_536) + (small % 65_536);
  small = (small >>> 16) + (small & 0xffff);
  return (small >>> 16) + (small & 0xffff);
}

/** What stands in a checksum field: the complement of the folded sum. */
export function complement(total: number): number {
  return ~fold(total) & 0xffff;
}

/** The sum of a piece as it counts when an odd number of bytes precedes it (RFC 1071 §2 (B): byte order). */
export function swapped(total: number): number {
  const folded = fold(total);
  return ((folded & 0xff) << 8) | (folded >>> 8);
}

/** The pseudo-header's sum for IPv4 (RFC 9293 §3.1). `length` is of the transport header and payload. */
export function pseudoSum4(source: number, destination: number, protocol: number, length: number): number {
  return halves(source) + halves(destination) + protocol + length;
}

/** What carries two addresses, as unsigned words. */
export interface Addressed {
  family: 4 | 6;
  source0: number;
  source1: number;
  source2: number;
  source3: number;
  destination0: number;
  destination1: number;
  destination2: number;
  destination3: number;
}

/** The pseudo-header's sum for either family (RFC 9293 §3.1, RFC 8200 §8.1). */
export function pseudoSum(addresses: Addressed, protocol: number, length: number): number {
  const low = halves(addresses.source3) + halves(addresses.destination3) + protocol + length;
  if (addresses.family === 4) return low;
  return (
    low +
    halves(addresses.source0) +
    halves(addresses.source1) +
    halves(addresses.source2) +
    halves(addresses.destination0) +
    halves(addresses.destination1) +
    halves(addresses.destination2)
  );
}

/** The sum of one 32-bit word. */
export function halves(word: number): number {
  return (word >>> 16) + (word & 0xffff);
}

/**
 * The checksum field after a 16-bit word under it changed: HC' = ~(~HC + ~m + m') (RFC 1624 §3, equation 3).
 */
export function updated(field: number, before: number, after: number): number {
  return complement((~field & 0xffff) + (~before & 0xffff) + after);
}

/** `updated` for a 32-bit word that stands at an even offset. */
export function updated32(field: number, before: number, after: number): number {
  return complement((~field & 0xffff) + halves(~before) + halves(after));
}

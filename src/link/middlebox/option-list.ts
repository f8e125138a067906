import type { Packet } from '../../wire/packet.ts';
import { checksumResidue, type Headers, restoreChecksum, writeLength } from '../headers.ts';

/** TCP options in place (RFC 9293 §3.1). */

/** Offset of the next option at or after `at`, NOPs skipped; -1 at the end of the list or where it is malformed. */
export function optionAt(packet: Packet, headers: Headers, at: number): number {
  const view = packet.view;
  for (let next = at; next < headers.payload; next++) {
    const kind = view.getUint8(next);
    if (kind === NOP) continue;
    if (kind === END || next + 1 >= headers.payload) return -1;
    const length = view.getUint8(next + 1);
    return length < 2 || next + length > headers.payload ? -1 : next;
  }
  return -1;
}

/** Offset of the first option of a kind (and MPTCP subtype, unless -1) at or after `from`; -1 when there is none. */
export function findOption(
  packet: Packet,
  headers: Headers,
  kind: number,
  subtype = -1,
  from = headers.options,
): number {
  const view = packet.view;
  for (let at = optionAt(packet, headers, from); at >= 0; at = optionAt(packet, headers, at + view.getUint8(at + 1))) {
    if (view.getUint8(at) !== kind) continue;
    if (subtype < 0 || (view.getUint8(at + 1) > 2 && view.getUint8(at + 2) >>> 4 === subtype)) return at;
  }
  return -1;
}

/** Overwrites an option with one byte value, checksum kept as right or wrong as it was. */
export function blankOption(packet: Packet, headers: Headers, at: number, filler: number): void {
  const residue = checksumResidue(packet, headers);
  packet.bytes.fill(filler, at, at + packet.view.getUint8(at + 1));
  restoreChecksum(packet, headers, residue);
}

/** Bytes of options that mean something: the list without what follows its end, and without trailing NOPs. */
export function optionsEnd(packet: Packet, headers: Headers): number {
  let end = headers.options;
  for (let at = optionAt(packet, headers, end); at >= 0; at = optionAt(packet, headers, end)) {
    end = at + packet.view.getUint8(at + 1);
  }
  return end;
}

/**
 * Appends an option, NOPs before it to make it end on a word; false when there is no room in the header.
 * Checksum kept as right or wrong as it was.
 */
export function appendOption(
  packet: Packet,
  headers: Headers,
  option: Uint8Array,
  start: number,
  length: number,
): boolean {
  const used = optionsEnd(packet, headers) - headers.options;
  const size = (used + length + 3) & ~3;
  if (size > MAX_OPTIONS) return false;
  const residue = checksumResidue(packet, headers);
  const grow = size - (headers.payload - headers.options);
  if (grow > 0) {
    packet.bytes.copyWithin(headers.payload + grow, headers.payload, headers.end);
    packet.end = headers.end + grow;
    headers.payload += grow;
    packet.view.setUint8(headers.tcp + 12, (packet.view.getUint8(headers.tcp + 12) & 15) | ((5 + size / 4) << 4));
    writeLength(packet, headers);
  }
  const at = headers.payload - length;
  packet.bytes.fill(NOP, headers.options + used, at);
  for (let index = 0; index < length; index++) packet.bytes[at + index] = option[start + index]!;
  restoreChecksum(packet, headers, residue);
  return true;
}

export const END = 0;
export const NOP = 1;
export const MSS = 2;
export const WINDOW_SCALE = 3;
export const SACK = 5;
export const TIMESTAMPS = 8;
export const MPTCP = 30;
const MAX_OPTIONS = 40;

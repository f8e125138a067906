import { Capable, Mptcp, type MptcpOptions } from '../wire/mptcp-options.ts';

/**
 * Whether `options` has an MP_CAPABLE of the given form that may be acted upon: version 1, no B flag, HMAC-SHA256 as
 * the only algorithm (A1.08, A1.10 to A1.12). Any other counts as absent (A8.06).
 *
 * RFC 8684 §3.1 lets a listener answer a SYN of a later version with its own; so does Linux.
 */
export function usableCapable(options: MptcpOptions, form: number): boolean {
  if ((options.present & form) === 0) return false;
  if (form === Mptcp.CapableSyn ? options.version < 1 : options.version !== 1) return false;
  if ((options.capableFlags & Capable.Extensible) !== 0) return false;
  return (options.capableFlags & ALGORITHMS) === Capable.HmacSha256;
}

/** The flags of an MP_CAPABLE of ours (A1.07, A1.09, A1.12). */
export function capableFlags(checksums: boolean, allowJoinInitial: boolean): number {
  return Capable.HmacSha256 | (checksums ? Capable.Checksum : 0) | (allowJoinInitial ? 0 : Capable.DenyJoinInitial);
}

/** Bits D to H. */
const ALGORITHMS = 0x1f;

import { baseHeader, type EndpointEnvironment } from './endpoint.ts';

/** What a path is taken to carry, and what that leaves for payload. Sizes in bytes of IP packets unless said. */

/** RFC 1191 §6.3, RFC 8201 §4: ms until a larger MTU is tried again. */
export const MTU_LIFETIME = 600_000;
/** Linux's net.ipv4.route.min_pmtu: a router that says less is more likely an attacker (RFC 5927 §7). */
const MINIMUM_4 = 552;
/** RFC 8201 §4: a node must not go below the minimum link MTU of IPv6. */
const MINIMUM_6 = 1280;
/** RFC 1191 §7.1: MTUs that links of the past had. */
const PLATEAUS: readonly number[] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508];
/** Payload of a segment is at least this, whatever MTU, MSS and options say. */
const MINIMUM_PAYLOAD = 8;
/** Payload of the largest packet that either IP can describe, with full options. */
export const LARGEST_PAYLOAD = 65_535 - 60 - 40;

/**
 * The MTU to go on with when a router reported `reported` (0 from those older than RFC 1191) for packets of up to
 * `mtu`. Not less than 552 (IPv4) or 1280 (IPv6); may be no less than `mtu`, and is then to be ignored.
 */
export function reducedMtu(family: 4 | 6, mtu: number, reported: number): number {
  return Math.max(reported === 0 ? plateauBelow(mtu) : reported, family === 4 ? MINIMUM_4 : MINIMUM_6);
}

/** The MTU to try when full packets vanish without a word (RFC 4821 §7.7); `mtu` itself when there is none smaller. */
export function blackHoleMtu(family: 4 | 6, mtu: number): number {
  if (mtu > MINIMUM_6) return MINIMUM_6;
  return family === 4 ? Math.min(mtu, MINIMUM_4) : mtu;
}

/**
 * Payload of a full segment: what the peer takes and the path carries, less the options of a data segment (RFC 6691
 * §2).
 *
 * @param peerMss the peer's MSS option @param options bytes of options on a data segment
 */
export function segmentSizeFor(
  environment: EndpointEnvironment,
  family: 4 | 6,
  mtu: number,
  peerMss: number,
  options: number,
): number {
  const { maximumSegmentSize } = environment.config;
  let mss = Math.min(peerMss, mtu - baseHeader(family));
  if (maximumSegmentSize > 0 && maximumSegmentSize < mss) mss = maximumSegmentSize;
  return Math.max(mss - options, MINIMUM_PAYLOAD);
}

function plateauBelow(mtu: number): number {
  for (let index = 0; index < PLATEAUS.length; index++) if (PLATEAUS[index]! < mtu) return PLATEAUS[index]!;
  return MINIMUM_4;
}

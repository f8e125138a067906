import { baseHeader, type EndpointEnvironment } from './endpoint.ts';
import type { Handshake } from './handshake.ts';

/** What a path is taken to carry, and what that leaves for payload. Sizes in bytes; an MTU is that of IP packets. */
export class PathMtu {
  mtu: number;
  private readonly environment: EndpointEnvironment;
  private readonly family: 4 | 6;
  private readonly peerMss: number;
  /** When a lowered MTU is forgotten. */
  private expires = Number.POSITIVE_INFINITY;
  /** How long the next suspicion of a black hole is believed, ms. */
  private suspicion = SUSPICION;
  /** It was lowered on suspicion, and not because a router said so. */
  private isSuspected = false;

  /** @param peerMss the peer's MSS option */
  constructor(environment: EndpointEnvironment, family: 4 | 6, peerMss: number) {
    this.environment = environment;
    this.family = family;
    this.peerMss = peerMss;
    this.mtu = environment.mtu;
  }

  /** Payload of a full segment beside `options` bytes of options (RFC 6691 §2). */
  segmentSize(options: number): number {
    return segmentSizeFor(this.environment, this.family, this.mtu, this.peerMss, options);
  }

  /** The largest payload of one packet: many segments where the link cuts them, one elsewhere. */
  largestPayload(segmentSize: number): number {
    if (!this.environment.segmentationOffload) return segmentSize;
    return Math.max(Math.floor(LARGEST_PAYLOAD / segmentSize), 1) * segmentSize;
  }

  /**
   * A router could forward no more than `reported` bytes (0 from those older than RFC 1191). RFC 1191 §3, RFC 8201 §4:
   * believed down to 552 bytes (IPv4) or 1280 (IPv6), and only if less than now. Returns whether the MTU changed.
   */
  onPacketTooBig(now: number, reported: number): boolean {
    const floor = this.family === 4 ? MINIMUM_4 : MINIMUM_6;
    if (!this.lower(now, Math.max(reported === 0 ? plateauBelow(this.mtu) : reported, floor))) {
      this.environment.counters.OutOfWindowIcmps++;
      return false;
    }
    this.environment.counters.TCPPmtuReduced++;
    return true;
  }

  /**
   * Full packets vanish without a word (RFC 4821 §7.7): a smaller MTU may pass. When not even the smallest did, it is
   * the first one's turn again: the path may have been away altogether, and large packets not be the reason. Returns
   * whether it changed.
   *
   * RFC 4821 asks to search upwards from there with probes of single packets. We have no such probes: a suspicion is
   * forgotten after half a minute, and after twice the time with each that follows, up to the ten minutes of RFC 1191.
   * Linux starts from 1024 bytes and probes upwards (net.ipv4.tcp_base_mss, tcp_probe_interval).
   */
  onBlackHole(now: number): boolean {
    const { environment } = this;
    if (this.mtu <= (this.family === 4 ? MINIMUM_4 : MINIMUM_6) && this.mtu < environment.mtu) {
      this.mtu = environment.mtu;
      this.expires = Number.POSITIVE_INFINITY;
      return true;
    }
    if (!this.lower(now, this.family === 6 || this.mtu > MINIMUM_6 ? MINIMUM_6 : MINIMUM_4)) return false;
    this.expires = now + this.suspicion;
    this.isSuspected = true;
    environment.counters.TCPMTUPFail++;
    return true;
  }

  /** RFC 1191 §6.3, RFC 8201 §4: a lowered MTU is given up after a while. Returns whether it was. */
  expire(now: number): boolean {
    if (now < this.expires) return false;
    this.expires = Number.POSITIVE_INFINITY;
    if (this.isSuspected) this.suspicion = Math.min(2 * this.suspicion, LIFETIME);
    this.mtu = this.environment.mtu;
    return true;
  }

  private lower(now: number, mtu: number): boolean {
    if (mtu >= this.mtu) return false;
    this.mtu = mtu;
    this.expires = now + LIFETIME;
    this.isSuspected = false;
    return true;
  }
}

/** Payload of a full segment of the connection that `handshake` will become: for making its congestion control. */
export function initialSegmentSize(handshake: Handshake): number {
  const { established, environment, extension, tuple } = handshake;
  if (established === null) throw new RangeError('initialSegmentSize: the handshake is not complete');
  const options = (established.timestamps ? TIMESTAMPS_LENGTH : 0) + extension.overhead;
  return segmentSizeFor(environment, tuple.local.family, environment.mtu, established.peerMss, options);
}

/** Payload of a full segment: what the peer takes and the path carries, less `options` bytes (RFC 6691 §2). */
function segmentSizeFor(
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

/** Bytes of options that a TCP header has room for, and of them the timestamps with their padding. */
export const MAXIMUM_OPTIONS = 40;
export const TIMESTAMPS_LENGTH = 12;
/** Payload of the largest packet that either IP can describe, with full options. */
export const LARGEST_PAYLOAD = 65_535 - 60 - 40;
/** ms for which the first suspicion of a black hole is believed. */
const SUSPICION = 30_000;
/** Ten minutes, as RFC 1191 §6.3 recommends. */
const LIFETIME = 600_000;
/** Linux's net.ipv4.route.min_pmtu: a router that says less is more likely an attacker (RFC 5927 §7). */
const MINIMUM_4 = 552;
/** RFC 8201 §4: a node must not go below the minimum link MTU of IPv6. */
const MINIMUM_6 = 1280;
/** RFC 1191 §7.1: MTUs that links of the past had. */
const PLATEAUS: readonly number[] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508];
/** Payload of a segment is at least this, whatever MTU, MSS and options say. */
const MINIMUM_PAYLOAD = 8;

import type { Address } from '../wire/address.ts';
import type { Packet } from '../wire/packet.ts';

/**
 * A host as the world outside sees it: packets, time and commands in; packets, a deadline and ready sockets out.
 * One turn serves real and virtual time alike:
 *
 *     onPacket*  onTimeout  (commands)  pollTransmit until -1  pollReady until undefined  sleep until pollTimeout
 *
 * `now` is in milliseconds from any origin and never goes backwards. Nothing is called back from inside.
 */
export interface PacketHost {
  /** One IP packet that arrived on an interface. The packet is the caller's again when this returns. */
  onPacket(now: number, interfaceId: number, packet: Packet): void;
  /** Runs what has become due. A spurious call is harmless. */
  onTimeout(now: number): void;
  /** Writes the next packet into `out` at `out.start`; returns the interface it leaves by, or -1. */
  pollTransmit(now: number, out: Packet): number;
  /** When `onTimeout` wants to be called; Infinity when nothing is armed. */
  pollTimeout(): number;
  /** A socket whose readiness changed since it was last returned, by descriptor number; -1 when there is none. */
  pollReady(): number;
}

/** What a host knows about one of its network interfaces. */
export interface InterfaceConfig {
  readonly name: string;
  /** Bytes of the largest IP packet on the wire. At least 576 (IPv4), 1280 (IPv6). */
  readonly mtu: number;
  readonly addresses: readonly InterfaceAddress[];
  /** The next hop is on the link for every destination unless given here. */
  readonly routes?: readonly RouteConfig[];
  /** The link takes packets of up to 64 KB with `gsoSize` set and cuts them itself. */
  readonly segmentationOffload?: boolean;
  /** The link completes (or needs no) transport checksums: packets may leave with `ChecksumState.Partial`. */
  readonly checksumOffload?: boolean;
  /** The way of this host to itself: its addresses, and all of 127.0.0.0/8 with one of them, are reached through it. */
  readonly loopback?: boolean;
}

export interface InterfaceAddress {
  readonly address: Address;
  /** Bits of the prefix that is on the link. */
  readonly prefixLength: number;
}

/** Destinations that are reached through this interface. */
export interface RouteConfig {
  readonly destination: Address;
  readonly prefixLength: number;
  /** Lower is preferred among equally long prefixes; 0 unless given. */
  readonly metric?: number;
}

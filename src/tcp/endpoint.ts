import type { Address } from '../wire/address.ts';
import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';
import { encodeSegment } from '../wire/tcp.ts';
import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';

/** The addresses and ports of one connection, seen from this host. Immutable. */
export class Tuple {
  readonly local: Address;
  readonly localPort: number;
  readonly peer: Address;
  readonly peerPort: number;

  constructor(local: Address, localPort: number, peer: Address, peerPort: number) {
    this.local = local;
    this.localPort = localPort;
    this.peer = peer;
    this.peerPort = peerPort;
  }

  toString(): string {
    const bracket = (address: Address) => (address.family === 6 ? `[${address}]` : `${address}`);
    return `${bracket(this.local)}:${this.localPort} ${bracket(this.peer)}:${this.peerPort}`;
  }
}

/** Bits of `Endpoint.events`: what the owner has not read yet. */
export const EndpointEvent = {
  /** The connection exists: the third segment of the handshake was sent or received. */
  Established: 0x01,
  /** The sink holds more in order than before. */
  Readable: 0x02,
  /** The source was relieved of acknowledged bytes. */
  Writable: 0x04,
  /** The peer will send no more: its FIN was received in order. */
  PeerFin: 0x08,
  /** The life is over (for a connection: TIME-WAIT or CLOSED was entered); `closeReason` tells why. */
  Closed: 0x10,
  /** A handshake failed; `closeReason` tells why. */
  Failed: 0x20,
  /** A handshake completed: `Handshake.established` is set; build the connection and replay the segment into it. */
  Promoted: 0x40,
  /** A connection has nothing left but to linger: replace it by `TimeWait.fromConnection`. */
  TimeWait: 0x80,
  /** All bytes and the FIN of ours are acknowledged. */
  FinAcknowledged: 0x100,
  /** A soft error was recorded (`softError`): reported if the connection fails later (RFC 9293 §3.9.2.2). */
  SoftError: 0x200,
} as const;

/** What an ICMP or ICMPv6 error said about a segment of ours, the same for both families. */
export const IcmpKind = {
  /** ICMPv4 3/0, 3/6, 3/9, 3/11; ICMPv6 1/0. Soft (RFC 9293 §3.9.2.2). */
  NetUnreachable: 0,
  /** ICMPv4 3/1, 3/5, 3/7, 3/8, 3/10, 3/12; ICMPv6 1/3. Soft. */
  HostUnreachable: 1,
  /** ICMPv4 3/2; ICMPv6 4/1. Hard. */
  ProtocolUnreachable: 2,
  /** ICMPv4 3/3; ICMPv6 1/4. Hard. */
  PortUnreachable: 3,
  /** ICMPv4 3/4; ICMPv6 2/0: with an MTU, or 0 from routers older than RFC 1191. */
  PacketTooBig: 4,
  /** ICMPv4 3/13 to 3/15; ICMPv6 1/1, 1/5, 1/6. Hard as in Linux. */
  Prohibited: 5,
  /** ICMPv4 11/0; ICMPv6 3/0. Soft. */
  TimeExceeded: 6,
  /** ICMPv4 12; ICMPv6 4/0, 4/2. Soft. */
  ParameterProblem: 7,
} as const;
export type IcmpKind = (typeof IcmpKind)[keyof typeof IcmpKind];

/** Errors that abort a connection which is not yet synchronized even when soft ones do not (RFC 5461 §2). */
export function isHardError(kind: number): boolean {
  return kind === IcmpKind.ProtocolUnreachable || kind === IcmpKind.PortUnreachable || kind === IcmpKind.Prohibited;
}

/**
 * RFC 5961 §7: challenge ACKs per second and host. The budget of each second is random between half of the limit and
 * one and a half of it, as Linux has it, so that an attacker off the path learns nothing by counting what is left.
 */
export class ChallengeLimiter {
  readonly limit: number;
  private random: number;
  private second = -1;
  private left = 0;

  /** @param limit mean number of challenge ACKs per second @param seed any number, unknown to the outside */
  constructor(limit: number, seed: number) {
    this.limit = limit;
    this.random = seed >>> 0 || 0x9e3779b9;
  }

  /** Whether one more may be sent now; takes it from the budget. */
  allow(now: number): boolean {
    const second = Math.floor(now / 1000);
    if (second !== this.second) {
      this.second = second;
      this.random ^= this.random << 13;
      this.random ^= this.random >>> 17;
      this.random ^= this.random << 5;
      this.left = ((this.limit + 1) >> 1) + Math.floor(((this.random >>> 0) / 4_294_967_296) * this.limit);
    }
    if (this.left <= 0) return false;
    this.left--;
    return true;
  }
}

/** What an endpoint must know of its host and of the interface it uses. Shared by the endpoints of one interface. */
export interface EndpointEnvironment {
  /** Bytes of the largest IP packet of the interface. */
  readonly mtu: number;
  /** The link cuts large packets (`Packet.gsoSize`). */
  readonly segmentationOffload: boolean;
  /** The link completes checksums (`ChecksumState.Partial`). */
  readonly checksumOffload: boolean;
  readonly config: TcpConfig;
  readonly counters: TcpCounters;
  readonly challenge: ChallengeLimiter;
  /** Added to `now` for TSval, secret per pair of hosts (RFC 7323 §5.4). */
  readonly timestampOffset: number;
  /** TTL or hop limit of what is sent. */
  readonly hopLimit: number;
  /** TOS byte or traffic class of what is sent. */
  readonly trafficClass: number;
}

/** Which of its three lives a tuple is in: the class of an `Endpoint`, where asking for the class would cost. */
export const EndpointKind = { Handshake: 0, Connection: 1, TimeWait: 2 } as const;
export type EndpointKind = (typeof EndpointKind)[keyof typeof EndpointKind];

/**
 * What the demultiplexer holds for a tuple: a `Handshake`, a `TcpConnection` or a `TimeWait`, one after the other.
 *
 * Output is pulled: after each `on…` or command the stack polls `pollTransmit` until false if `wantsTransmit`, reads
 * and clears `events`, and files `deadline`. When `isFinished` it forgets the endpoint.
 */
export abstract class Endpoint {
  readonly kind: EndpointKind;
  readonly tuple: Tuple;
  interfaceId = -1;
  readonly environment: EndpointEnvironment;
  hopLimit: number;
  trafficClass: number;
  flowLabel = 0;
  /** Bits of `EndpointEvent`, accumulated; whoever reads clears. */
  events = 0;
  /** Why it ended, a `CloseReason`; -1 while it lives. */
  closeReason = -1;
  /** The last ICMP error, an `IcmpKind`; -1 when there was none. */
  softError = -1;
  /** Which invariant of ours broke, when `closeReason` is `Invariant`. */
  invariant = '';

  // The stack's: kept here so that its tables, lists and heap need no nodes.
  hashNext: Endpoint | null = null;
  readyNext: Endpoint | null = null;
  queued = false;
  heapIndex = -1;
  heapDeadline = Number.POSITIVE_INFINITY;
  owner: object | null = null;

  constructor(kind: EndpointKind, tuple: Tuple, environment: EndpointEnvironment) {
    this.kind = kind;
    this.tuple = tuple;
    this.environment = environment;
    this.hopLimit = environment.hopLimit;
    this.trafficClass = environment.trafficClass;
  }

  /** A segment of this tuple, checksum verified; `packet` holds its payload. Both are the caller's again on return. */
  abstract onSegment(now: number, segment: Segment, packet: Packet): void;
  /** Runs what is due. A spurious call is harmless. */
  abstract onTimeout(now: number): void;
  /** Builds the next IP packet in `packet` (from `packet.start`), with `out` as scratch; false: nothing to send now. */
  abstract pollTransmit(now: number, out: Segment, packet: Packet): boolean;
  /** When `onTimeout` wants to be called; Infinity when nothing is armed. */
  abstract get deadline(): number;
  /** A `State`. */
  abstract get state(): number;
  /** `pollTransmit` may have something. False is certain. */
  abstract get wantsTransmit(): boolean;
  /** An ICMP error quoting a segment of ours. `mtu` for PacketTooBig; `quotedSequence` is the wire number quoted. */
  abstract onIcmp(now: number, kind: IcmpKind, mtu: number, quotedSequence: number): void;

  /** CLOSED with nothing left to send: forget it. */
  get isFinished(): boolean {
    return this.state === 0 && !this.wantsTransmit;
  }

  /** Fills the addresses, ports and IP fields of a segment of this tuple and forgets its flags and options. */
  address(out: Segment): void {
    const { local, peer } = this.tuple;
    out.reset();
    out.family = local.family;
    out.source0 = local.w0;
    out.source1 = local.w1;
    out.source2 = local.w2;
    out.source3 = local.w3;
    out.destination0 = peer.w0;
    out.destination1 = peer.w1;
    out.destination2 = peer.w2;
    out.destination3 = peer.w3;
    out.sourcePort = this.tuple.localPort;
    out.destinationPort = this.tuple.peerPort;
    out.hopLimit = this.hopLimit;
    out.trafficClass = this.trafficClass;
    out.flowLabel = this.flowLabel;
    out.identification = 0;
  }

  /** Encodes `out` around the `length` bytes of payload that stand in `packet`, and counts it. */
  emit(out: Segment, packet: Packet, length: number, gsoSize: number): void {
    packet.gsoSize = gsoSize;
    encodeSegment(out, packet, length, this.environment.checksumOffload);
    this.environment.counters.OutSegs += gsoSize > 0 ? Math.ceil(length / gsoSize) : 1;
  }

  /** TSval of now: milliseconds (RFC 7323 §5.4 wants 1 ms to 1 s). */
  timestamp(now: number): number {
    return (Math.floor(now) + this.environment.timestampOffset) >>> 0;
  }
}

/** Bytes of IP and TCP headers without options. */
export function baseHeader(family: 4 | 6): number {
  return family === 4 ? 40 : 60;
}

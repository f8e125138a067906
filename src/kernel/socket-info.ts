import { decodeSocketAddress, type SocketAddress } from './socket-address.ts';

/**
 * What the kernel says of a connection, decoded. A kernel that knows fewer fields gives a shorter structure: the fields
 * behind its end are undefined.
 */

/** `struct mptcp_info` (getsockopt SOL_MPTCP, MPTCP_INFO). */
export interface MptcpInfo {
  /** Subflows now, without the initial one. */
  readonly subflows: number;
  readonly addAddrSignal: number;
  readonly addAddrAccepted: number;
  readonly subflowsMax: number;
  readonly addAddrSignalMax: number;
  readonly addAddrAcceptedMax: number;
  /** The connection goes on as plain TCP. */
  readonly fallback: boolean;
  readonly remoteKeyReceived: boolean;
  readonly token: number;
  /** 64-bit data sequence numbers. */
  readonly writeSequence: bigint;
  readonly unacknowledged: bigint;
  readonly receiveNext: bigint;
  readonly localAddressesUsed: number | undefined;
  readonly localAddressesMax: number | undefined;
  readonly checksumEnabled: boolean | undefined;
  /** Times that the data-level retransmission timer fired. */
  readonly retransmits: number | undefined;
  /** Data-level totals in bytes. */
  readonly bytesRetransmitted: number | undefined;
  readonly bytesSent: number | undefined;
  readonly bytesReceived: number | undefined;
  readonly bytesAcknowledged: number | undefined;
  /** Subflows now, the initial one included. */
  readonly subflowsTotal: number | undefined;
  /** Milliseconds ago. */
  readonly lastDataSent: number | undefined;
  readonly lastDataReceived: number | undefined;
  readonly lastAckReceived: number | undefined;
}

/** Bytes to offer for a `struct mptcp_info`; more than any kernel fills. */
export const MPTCP_INFO_BYTES = 128;

export function decodeMptcpInfo(bytes: Buffer): MptcpInfo {
  const flags = bytes.length >= 12 ? bytes.readUInt32LE(8) : 0;
  return {
    subflows: byte(bytes, 0) ?? 0,
    addAddrSignal: byte(bytes, 1) ?? 0,
    addAddrAccepted: byte(bytes, 2) ?? 0,
    subflowsMax: byte(bytes, 3) ?? 0,
    addAddrSignalMax: byte(bytes, 4) ?? 0,
    addAddrAcceptedMax: byte(bytes, 5) ?? 0,
    fallback: (flags & 1) !== 0,
    remoteKeyReceived: (flags & 2) !== 0,
    token: word(bytes, 12) ?? 0,
    writeSequence: long(bytes, 16) ?? 0n,
    unacknowledged: long(bytes, 24) ?? 0n,
    receiveNext: long(bytes, 32) ?? 0n,
    localAddressesUsed: byte(bytes, 40),
    localAddressesMax: byte(bytes, 41),
    checksumEnabled: bytes.length > 42 ? bytes[42] !== 0 : undefined,
    retransmits: word(bytes, 44),
    bytesRetransmitted: total(bytes, 48),
    bytesSent: total(bytes, 56),
    bytesReceived: total(bytes, 64),
    bytesAcknowledged: total(bytes, 72),
    subflowsTotal: byte(bytes, 80),
    lastDataSent: word(bytes, 84),
    lastDataReceived: word(bytes, 88),
    lastAckReceived: word(bytes, 92),
  };
}

/** The part of `struct tcp_info` that is of use here. Times in milliseconds, sizes in bytes, windows in packets. */
export interface TcpInfo {
  /** The kernel's number of the state; 1 is ESTABLISHED. */
  readonly state: number;
  readonly congestionState: number;
  /** Negotiated options by name. */
  readonly options: readonly string[];
  readonly sentWindowScale: number;
  readonly receivedWindowScale: number;
  readonly retransmissionTimeout: number;
  readonly sentMss: number;
  readonly receivedMss: number;
  /** Packets. */
  readonly unacknowledged: number;
  readonly lost: number;
  readonly retransmitting: number;
  readonly pathMtu: number;
  readonly roundTripTime: number;
  readonly roundTripVariance: number;
  readonly slowStartThreshold: number;
  readonly congestionWindow: number;
  readonly retransmissions: number;
  /** Bytes per second. */
  readonly pacingRate: number | undefined;
  readonly deliveryRate: number | undefined;
  readonly bytesAcknowledged: number | undefined;
  readonly bytesReceived: number | undefined;
  readonly bytesSent: number | undefined;
  readonly bytesRetransmitted: number | undefined;
  readonly segmentsSent: number | undefined;
  readonly segmentsReceived: number | undefined;
  readonly notSentBytes: number | undefined;
  readonly leastRoundTripTime: number | undefined;
  readonly sentWindow: number | undefined;
  readonly receivedWindow: number | undefined;
}

/** Bytes to offer for a `struct tcp_info`; more than any kernel fills. */
export const TCP_INFO_BYTES = 512;

const TCP_OPTIONS: readonly (readonly [number, string])[] = [
  [1, 'timestamps'],
  [2, 'sack'],
  [4, 'window-scale'],
  [8, 'ecn'],
  [16, 'ecn-seen'],
  [32, 'syn-data'],
];

export function decodeTcpInfo(bytes: Buffer): TcpInfo {
  const options = byte(bytes, 5) ?? 0;
  const scales = byte(bytes, 6) ?? 0;
  return {
    state: byte(bytes, 0) ?? 0,
    congestionState: byte(bytes, 1) ?? 0,
    options: TCP_OPTIONS.filter(([bit]) => (options & bit) !== 0).map(([, name]) => name),
    sentWindowScale: scales & 15,
    receivedWindowScale: scales >>> 4,
    retransmissionTimeout: (word(bytes, 8) ?? 0) / 1000,
    sentMss: word(bytes, 16) ?? 0,
    receivedMss: word(bytes, 20) ?? 0,
    unacknowledged: word(bytes, 24) ?? 0,
    lost: word(bytes, 32) ?? 0,
    retransmitting: word(bytes, 36) ?? 0,
    pathMtu: word(bytes, 60) ?? 0,
    roundTripTime: (word(bytes, 68) ?? 0) / 1000,
    roundTripVariance: (word(bytes, 72) ?? 0) / 1000,
    slowStartThreshold: word(bytes, 76) ?? 0,
    congestionWindow: word(bytes, 80) ?? 0,
    retransmissions: word(bytes, 100) ?? 0,
    pacingRate: total(bytes, 104),
    bytesAcknowledged: total(bytes, 120),
    bytesReceived: total(bytes, 128),
    segmentsSent: word(bytes, 136),
    segmentsReceived: word(bytes, 140),
    notSentBytes: word(bytes, 144),
    leastRoundTripTime: scaled(word(bytes, 148)),
    deliveryRate: total(bytes, 160),
    bytesSent: total(bytes, 200),
    bytesRetransmitted: total(bytes, 208),
    sentWindow: word(bytes, 228),
    receivedWindow: word(bytes, 232),
  };
}

export interface SubflowAddresses {
  readonly local: SocketAddress;
  readonly peer: SocketAddress;
}

/**
 * `struct mptcp_subflow_data`: its own size, how many subflows there are, and the size of one entry to the kernel and
 * to us. The array follows.
 */
export const SUBFLOW_HEADER = 16;
/** Two `struct __kernel_sockaddr_storage`. */
export const SUBFLOW_ADDRESSES_BYTES = 256;
const STORAGE = 128;

/** The request for an array of `entryBytes` each. */
export function subflowRequest(entries: number, entryBytes: number): Buffer {
  const bytes = Buffer.alloc(SUBFLOW_HEADER + entries * entryBytes);
  bytes.writeUInt32LE(SUBFLOW_HEADER, 0);
  bytes.writeUInt32LE(entryBytes, 12);
  return bytes;
}

/** The kernel's number of subflows, which may be more than it had room for. */
export function subflowCount(bytes: Buffer): number {
  return bytes.readUInt32LE(4);
}

export function decodeSubflowAddresses(bytes: Buffer): SubflowAddresses[] {
  const found: SubflowAddresses[] = [];
  const count = Math.min(subflowCount(bytes), Math.floor((bytes.length - SUBFLOW_HEADER) / SUBFLOW_ADDRESSES_BYTES));
  for (let index = 0; index < count; index++) {
    const at = SUBFLOW_HEADER + index * SUBFLOW_ADDRESSES_BYTES;
    const local = decodeSocketAddress(bytes, at);
    const peer = decodeSocketAddress(bytes, at + STORAGE);
    if (local !== undefined && peer !== undefined) found.push({ local, peer });
  }
  return found;
}

function byte(bytes: Buffer, at: number): number | undefined {
  return bytes.length > at ? bytes[at] : undefined;
}

function word(bytes: Buffer, at: number): number | undefined {
  return bytes.length >= at + 4 ? bytes.readUInt32LE(at) : undefined;
}

function long(bytes: Buffer, at: number): bigint | undefined {
  return bytes.length >= at + 8 ? bytes.readBigUInt64LE(at) : undefined;
}

function total(bytes: Buffer, at: number): number | undefined {
  const value = long(bytes, at);
  return value === undefined ? undefined : Number(value);
}

function scaled(microseconds: number | undefined): number | undefined {
  return microseconds === undefined ? undefined : microseconds / 1000;
}

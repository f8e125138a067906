/**
 * What two `mptcp perf` say to each other, on the measured connections themselves; numbers are big-endian, times
 * milliseconds, `double` is IEEE 754 binary64.
 *
 *     client to server:  header, payload, trailer, end of stream
 *     server to client:          payload, trailer, end of stream
 *
 * The payload is of any length, and of none in a direction that is not measured. The header says which directions
 * are, and when their senders stop: after so many bytes, or after so long, counted from their own first byte.
 *
 *     header (64)                                trailer (64)
 *      0  "mptcprf1"                              0  "mptcpend"
 *      8  byte: 1 client sends, 2 server sends    8  double: payload bytes sent in this direction
 *     10  uint16: connections in this test       16  double: time from the first send to the last
 *     12  uint16: number of this one, from 1     24  double: payload bytes received in the other direction, as far
 *     16  16 bytes: the test                         as known; NaN: the direction is not over
 *     32  double: duration; 0: none              32  double: time from the first byte received to the last
 *     40  double: bytes; 0: no limit             40  double: bytes sent again; NaN: not known
 *     48  zero                                   48  uint32: subflows that the connection had, as the sender knows
 *                                                52  zero
 *
 * A client that only receives sends its trailer when the server's stream has ended, so that the connection stays fully
 * open: an MPTCP connection that is half closed takes no new subflows.
 */

export const RECORD_BYTES = 64;

export const Direction = { Up: 1, Down: 2 } as const;

/** What the client asks for. */
export interface PerfHeader {
  /** Bits of `Direction`. */
  readonly directions: number;
  readonly connections: number;
  readonly number: number;
  /** 32 hexadecimal digits. */
  readonly test: string;
  /** Milliseconds; 0: no limit. */
  readonly duration: number;
  /** Of this connection, in each direction; 0: no limit. */
  readonly bytes: number;
}

/** What one end knows when its sending is over. */
export interface PerfTrailer {
  readonly sent: number;
  readonly sendTime: number;
  readonly received: number;
  readonly receiveTime: number;
  readonly retransmitted: number;
  readonly subflows: number;
}

const HEADER_MAGIC = 'mptcprf1';
const TRAILER_MAGIC = 'mptcpend';

export function encodeHeader(header: PerfHeader): Uint8Array {
  const bytes = Buffer.alloc(RECORD_BYTES);
  bytes.write(HEADER_MAGIC, 0, 'latin1');
  bytes.writeUInt8(header.directions, 8);
  bytes.writeUInt16BE(header.connections, 10);
  bytes.writeUInt16BE(header.number, 12);
  bytes.write(header.test, 16, 16, 'hex');
  bytes.writeDoubleBE(header.duration, 32);
  bytes.writeDoubleBE(header.bytes, 40);
  return bytes;
}

/** Undefined for bytes that are no header, or one that asks for nothing. */
export function decodeHeader(record: Uint8Array): PerfHeader | undefined {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  if (bytes.length < RECORD_BYTES || bytes.toString('latin1', 0, 8) !== HEADER_MAGIC) return undefined;
  const directions = bytes.readUInt8(8);
  const duration = bytes.readDoubleBE(32);
  const size = bytes.readDoubleBE(40);
  if (directions < 1 || directions > 3) return undefined;
  if (!(duration >= 0 && duration <= LONGEST) || !(size >= 0) || !Number.isFinite(size)) return undefined;
  if (duration === 0 && size === 0) return undefined;
  return {
    directions,
    connections: bytes.readUInt16BE(10),
    number: bytes.readUInt16BE(12),
    test: bytes.toString('hex', 16, 32),
    duration,
    bytes: size,
  };
}

/** What a timer can wait. */
const LONGEST = 2 ** 31 - 1;

export function encodeTrailer(trailer: PerfTrailer): Uint8Array {
  const bytes = Buffer.alloc(RECORD_BYTES);
  bytes.write(TRAILER_MAGIC, 0, 'latin1');
  bytes.writeDoubleBE(trailer.sent, 8);
  bytes.writeDoubleBE(trailer.sendTime, 16);
  bytes.writeDoubleBE(trailer.received, 24);
  bytes.writeDoubleBE(trailer.receiveTime, 32);
  bytes.writeDoubleBE(trailer.retransmitted, 40);
  bytes.writeUInt32BE(trailer.subflows, 48);
  return bytes;
}

/** Undefined for bytes that are no trailer. */
export function decodeTrailer(record: Uint8Array): PerfTrailer | undefined {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  if (bytes.length < RECORD_BYTES || bytes.toString('latin1', 0, 8) !== TRAILER_MAGIC) return undefined;
  return {
    sent: bytes.readDoubleBE(8),
    sendTime: bytes.readDoubleBE(16),
    received: bytes.readDoubleBE(24),
    receiveTime: bytes.readDoubleBE(32),
    retransmitted: bytes.readDoubleBE(40),
    subflows: bytes.readUInt32BE(48),
  };
}

import type { Address } from '../wire/address.ts';
import { hmacSha256, sha256 } from '../wire/sha256.ts';

/**
 * Keys and what is derived from them (RFC 8684 §3.1, §3.2): used at handshakes only, so allocation is fine here.
 */

/** A 64-bit key as two unsigned halves, with its token and IDSN. Immutable. */
export class Key {
  readonly high: number;
  readonly low: number;
  /** First 32 bits of SHA-256(key). */
  readonly token: number;
  /** Last 64 bits of SHA-256(key): the initial data sequence number. */
  readonly idsnHigh: number;
  readonly idsnLow: number;

  constructor(high: number, low: number) {
    this.high = high >>> 0;
    this.low = low >>> 0;
    const bytes = new Uint8Array(8);
    putWord(bytes, 0, this.high);
    putWord(bytes, 4, this.low);
    const digest = sha256(bytes);
    this.token = word(digest, 0);
    this.idsnHigh = word(digest, 24);
    this.idsnLow = word(digest, 28);
  }
}

/**
 * HMAC of a join (RFC 8684 §3.2): key = own key then peer key, message = own nonce then peer nonce. All 32 bytes; the
 * SYN/ACK carries the leftmost 8, the ACK the leftmost 20.
 */
export function joinHmac(own: Key, peer: Key, ownNonce: number, peerNonce: number): Uint8Array {
  const message = new Uint8Array(8);
  putWord(message, 0, ownNonce);
  putWord(message, 4, peerNonce);
  return hmacSha256(keyPair(own, peer), message);
}

/**
 * HMAC of ADD_ADDR (RFC 8684 §3.4.1): key = announcer's key then the other's; message = address id, address, port
 * (two zero bytes when there is none). The option carries the rightmost 8 bytes.
 */
export function addAddressHmac(announcer: Key, other: Key, id: number, address: Address, port: number): Uint8Array {
  const size = address.family === 4 ? 4 : 16;
  const message = new Uint8Array(1 + size + 2);
  message[0] = id;
  if (size === 16) {
    putWord(message, 1, address.w0);
    putWord(message, 5, address.w1);
    putWord(message, 9, address.w2);
  }
  putWord(message, size - 3, address.w3);
  message[1 + size] = port >> 8;
  message[2 + size] = port & 0xff;
  return hmacSha256(keyPair(announcer, other), message).subarray(24);
}

/** Compares without telling by its duration where the first difference is (A3.10). */
export function equalConstantTime(a: Uint8Array, b: Uint8Array, length: number): boolean {
  let difference = 0;
  for (let index = 0; index < length; index++) difference |= a[index]! ^ b[index]!;
  return difference === 0;
}

/** The unsigned big-endian word at `at`. */
export function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function putWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function keyPair(first: Key, second: Key): Uint8Array {
  const bytes = new Uint8Array(16);
  putWord(bytes, 0, first.high);
  putWord(bytes, 4, first.low);
  putWord(bytes, 8, second.high);
  putWord(bytes, 12, second.low);
  return bytes;
}

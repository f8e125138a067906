import assert from 'node:assert/strict';
import { Address } from '../../src/wire/address.ts';
import {
  buildPacket,
  describePacket,
  emptyPacket,
  formatPacket,
  NotationProblem,
  parsePacket,
} from '../../src/wire/notation.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';

/** Packets for the tests of links, written and read in the notation of `wire/notation`. */

export const A = '10.0.1.1:40000 > 10.0.1.2:80';
export const B = '10.0.1.2:80 > 10.0.1.1:40000';
export const A6 = '[fd00::1]:40000 > [fd00::2]:80';

/** A packet from a line; its payload counts up from the low byte of its sequence number, unless given. */
export function packet(line: string, payload?: Uint8Array | string): Packet {
  const described = parsePacket(line, {
    ...emptyPacket(),
    source: Address.of('10.0.1.1'),
    destination: Address.of('10.0.1.2'),
  });
  assert.ok(!(described instanceof NotationProblem), `${line}: ${(described as NotationProblem).message}`);
  const data =
    payload === undefined
      ? Uint8Array.from({ length: described.payloadLength }, (_, index) => described.sequence + index)
      : typeof payload === 'string'
        ? Uint8Array.from(payload, (character) => character.charCodeAt(0))
        : payload;
  return wrap(buildPacket(described, data));
}

export function wrap(bytes: Uint8Array): Packet {
  const out = new Packet(Math.max(bytes.length, 2048), 16);
  out.bytes.set(bytes, out.start);
  out.end = out.start + bytes.length;
  return out;
}

export function bytesOf(from: Packet): Uint8Array {
  return from.bytes.slice(from.start, from.end);
}

/** A packet as a line, addresses included; a wrong checksum shows as `sum`. */
export function line(from: Packet): string {
  assert.notEqual(from.checksum, ChecksumState.Partial, 'a checksum was not finished');
  const described = describePacket(bytesOf(from));
  if (typeof described === 'number') return `drop ${described}`;
  return formatPacket(described);
}

/** Payload bytes of a TCP packet. */
export function payload(from: Packet): Uint8Array {
  const described = describePacket(bytesOf(from));
  assert.equal(typeof described, 'object');
  return from.bytes.slice(from.end - (described as { payloadLength: number }).payloadLength, from.end);
}

/** A raw packet that carries its number, `length` bytes long; no IP header to speak of. */
export function numbered(number: number, length = 1000): Packet {
  const out = new Packet(Math.max(length, 64));
  out.view.setUint32(0, number);
  out.end = length;
  return out;
}

export function numberOf(from: Packet): number {
  return from.view.getUint32(from.start);
}

import type { Packet } from '../../wire/packet.ts';
import { checksumResidue, isIntact, restoreChecksum, writeLength, writeTcpChecksum } from '../headers.ts';
import { pool } from '../pool.ts';
import { type Emitter, flowKey, pass, TcpMiddlebox } from './middlebox.ts';
import { shiftNumbers } from './rewrite.ts';

/** Middleboxes that act on payload. */

/**
 * An application-level gateway: replaces bytes wherever it finds them within one segment, both ways. When the length
 * changes it also corrects sequence and acknowledgment numbers, as gateways for FTP do (RFC 8684 §3.7).
 */
export class RewritePayload extends TcpMiddlebox {
  readonly name = 'rewrite-payload';
  private readonly pattern: Uint8Array;
  private readonly replacement: Uint8Array;
  private readonly corrections: Map<string, Correction[]> = new Map();

  /** @param pattern bytes to find (a string: its low bytes) @param replacement bytes that take their place */
  constructor(pattern: string | Uint8Array, replacement: string | Uint8Array) {
    super();
    this.pattern = bytesOf(pattern);
    this.replacement = bytesOf(replacement);
    if (this.pattern.length === 0) throw new RangeError('the pattern must not be empty');
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const key = flowKey(packet, headers, way);
    const own = this.correctionsOf(`${way}${key}`);
    const other = this.correctionsOf(`${1 - way}${key}`);
    const sequence = packet.view.getUint32(headers.tcp + 4);
    const found = isIntact(packet, headers) ? indexOf(packet.bytes, this.pattern, headers.payload, headers.end) : -1;
    if (found >= 0) {
      const difference = this.replacement.length - this.pattern.length;
      if (difference !== 0) this.remember(own, (sequence + found - headers.payload) >>> 0);
      const longer = pool.take(packet.length + Math.max(0, difference));
      longer.copyFrom(packet);
      headers.locate(longer);
      const at = found - packet.start + longer.start;
      longer.bytes.copyWithin(at + this.replacement.length, at + this.pattern.length, headers.end);
      longer.bytes.set(this.replacement, at);
      longer.end = headers.end + difference;
      writeLength(longer, headers);
      writeTcpChecksum(longer, headers);
      this.acted++;
      this.correct(longer, sequence, own, other);
      pass(longer, way, emit);
      longer.release();
      return;
    }
    this.correct(packet, sequence, own, other);
    pass(packet, way, emit);
  }

  private correct(packet: Packet, sequence: number, own: Correction[], other: Correction[]): void {
    if (own.length === 0 && other.length === 0) return;
    const acknowledgment = packet.view.getUint32(this.headers.tcp + 8);
    shiftNumbers(packet, this.headers, shiftAt(own, sequence), -shiftBefore(other, acknowledgment));
  }

  private remember(corrections: Correction[], at: number): void {
    // A retransmission of what was replaced already is replaced again but counted once.
    if (corrections.some((correction) => correction.at === at)) return;
    let place = corrections.length;
    while (place > 0 && ((corrections[place - 1]!.at - at) | 0) > 0) place--;
    corrections.splice(place, 0, { at, before: this.pattern.length, after: this.replacement.length });
  }

  private correctionsOf(key: string): Correction[] {
    let corrections = this.corrections.get(key);
    if (corrections === undefined) {
      corrections = [];
      this.corrections.set(key, corrections);
    }
    return corrections;
  }
}

/** One replacement: where it began, in its sender's numbers, and how many bytes became how many. */
interface Correction {
  readonly at: number;
  readonly before: number;
  readonly after: number;
}

/** How far the receiver's number of a byte is from its sender's. */
function shiftAt(corrections: readonly Correction[], sequence: number): number {
  let shift = 0;
  for (const { at, before, after } of corrections) if (((sequence - at) | 0) >= before) shift += after - before;
  return shift;
}

/** How far an acknowledgment is from what the sender expects; one within a replacement counts as before it. */
function shiftBefore(corrections: readonly Correction[], acknowledgment: number): number {
  let shift = 0;
  for (const { at, before, after } of corrections) {
    const beyond = (acknowledgment - shift - at) | 0;
    if (beyond >= after) shift += after - before;
    else if (beyond > 0) return shift + beyond;
  }
  return shift;
}

/**
 * A normaliser: remembers what was sent and makes every retransmission say the same again (RFC 8684 §3.3: why data
 * must be retransmitted unchanged on its subflow).
 */
export class NormaliseRetransmissions extends TcpMiddlebox {
  readonly name = 'normalise-retransmissions';
  private readonly flows: Map<string, SentBytes> = new Map();
  private readonly memory: number;

  /** @param memory bytes remembered per direction of a connection; a power of two */
  constructor(memory = 262_144) {
    super();
    if (memory < 1 || (memory & (memory - 1)) !== 0) throw new RangeError(`memory must be a power of two: ${memory}`);
    this.memory = memory;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    if (headers.end > headers.payload && isIntact(packet, headers)) {
      const key = `${way}${flowKey(packet, headers, way)}`;
      const sequence = packet.view.getUint32(headers.tcp + 4);
      let sent = this.flows.get(key);
      if (sent === undefined) {
        sent = new SentBytes(this.memory, sequence);
        this.flows.set(key, sent);
      }
      const residue = checksumResidue(packet, headers);
      if (sent.impose(sequence, packet.bytes, headers.payload, headers.end)) {
        restoreChecksum(packet, headers, residue);
        this.acted++;
      }
    }
    pass(packet, way, emit);
  }
}

/** The latest bytes of one direction, with holes. */
class SentBytes {
  private readonly bytes: Uint8Array;
  private readonly isKnown: Uint8Array;
  private readonly initial: number;
  /** Offset one past the highest byte seen. */
  private top = 0;

  constructor(size: number, initial: number) {
    this.bytes = new Uint8Array(size);
    this.isKnown = new Uint8Array(size);
    this.initial = initial;
  }

  /** Remembers bytes that are new and overwrites those that are not with what they were; true when that changed one. */
  impose(sequence: number, bytes: Uint8Array, start: number, end: number): boolean {
    const size = this.bytes.length;
    let offset = this.top + ((sequence - (this.initial + this.top)) | 0);
    let hasChanged = false;
    for (let at = start; at < end; at++, offset++) {
      if (offset < 0 || offset < this.top - size) continue;
      for (; this.top <= offset; this.top++) this.isKnown[this.top & (size - 1)] = 0;
      const slot = offset & (size - 1);
      if (this.isKnown[slot] === 0) {
        this.isKnown[slot] = 1;
        this.bytes[slot] = bytes[at]!;
      } else if (this.bytes[slot] !== bytes[at]) {
        bytes[at] = this.bytes[slot]!;
        hasChanged = true;
      }
    }
    return hasChanged;
  }
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  if (typeof text !== 'string') return text;
  return Uint8Array.from(text, (character) => character.charCodeAt(0) & 255);
}

function indexOf(bytes: Uint8Array, pattern: Uint8Array, start: number, end: number): number {
  search: for (let at = start; at + pattern.length <= end; at++) {
    for (let index = 0; index < pattern.length; index++) {
      if (bytes[at + index] !== pattern[index]) continue search;
    }
    return at;
  }
  return -1;
}

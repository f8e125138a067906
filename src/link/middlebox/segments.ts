import type { Packet } from '../../wire/packet.ts';
import { Flag } from '../../wire/segment.ts';
import { flagsOf, isIntact, writeLength, writeTcpChecksum } from '../headers.ts';
import { copyBytes, type PooledPacket, pool } from '../pool.ts';
import { Segmenter } from '../segmenter.ts';
import { type Emitter, flowKey, pass, TcpMiddlebox, Way } from './middlebox.ts';
import { blankOption, findOption, MPTCP, NOP } from './option-list.ts';

/** Middleboxes that cut segments apart and join them. Segments with a wrong checksum pass as they are. */

/** Cuts segments with more than `size` bytes of payload (RFC 8684 §3.3.1: a mapping outlives that). */
export class SplitSegments extends TcpMiddlebox {
  readonly name = 'split-segments';
  private readonly size: number;
  private readonly options: 'copy' | 'first' | 'last';
  private readonly segmenter: Segmenter = new Segmenter(true);

  /** @param options which pieces carry the MPTCP options: all of them, or one alone */
  constructor(size: number, options: 'copy' | 'first' | 'last' = 'copy') {
    super();
    if (!(size >= 1)) throw new RangeError(`size must be at least 1 byte: ${size}`);
    this.size = size;
    this.options = options;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const isSyn = (flagsOf(packet, headers) & Flag.Syn) !== 0;
    if (isSyn || headers.end - headers.payload <= this.size || !isIntact(packet, headers)) {
      pass(packet, way, emit);
      return;
    }
    packet.gsoSize = this.size;
    this.segmenter.start(packet);
    let isFirst = true;
    for (let length = this.segmenter.nextLength; length > 0; length = this.segmenter.nextLength) {
      const piece = pool.take(length);
      this.segmenter.next(piece);
      const isLast = this.segmenter.nextLength === 0;
      if ((this.options === 'first' && !isFirst) || (this.options === 'last' && !isLast)) this.strip(piece);
      pass(piece, way, emit);
      piece.release();
      isFirst = false;
    }
    packet.gsoSize = 0;
    this.acted++;
  }

  private strip(packet: Packet): void {
    if (!this.headers.locate(packet)) return;
    for (let at = findOption(packet, this.headers, MPTCP); at >= 0; at = findOption(packet, this.headers, MPTCP)) {
      blankOption(packet, this.headers, at, NOP);
    }
  }
}

/** Joins consecutive data segments of a connection into one that keeps the first one's options alone. */
export class CoalesceSegments extends TcpMiddlebox {
  readonly name = 'coalesce-segments';
  private readonly limit: number;
  private readonly wait: number;
  /** One segment per direction of a connection, waiting for its successor; `due` says how long. */
  private readonly held: Map<string, PooledPacket> = new Map();

  /** @param limit payload bytes of the longest segment it makes @param wait the longest it waits, in milliseconds */
  constructor(limit: number, wait = 1) {
    super();
    this.limit = limit;
    this.wait = wait;
  }

  protected onSegment(now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const key = `${way === Way.Forward ? '>' : '<'}${flowKey(packet, headers, way)}`;
    const flags = flagsOf(packet, headers);
    const length = headers.end - headers.payload;
    const isPlainData =
      length > 0 && (flags & (Flag.Syn | Flag.Fin | Flag.Rst | Flag.Urg)) === 0 && isIntact(packet, headers);
    const first = this.held.get(key);
    if (first !== undefined) {
      if (isPlainData && this.join(first, packet)) {
        this.acted++;
        return;
      }
      this.release(key, first, emit);
      headers.locate(packet);
    }
    if (isPlainData && length < this.limit) {
      const copy = pool.take(headers.payload - headers.ip + this.limit);
      copyBytes(packet, headers.ip, headers.end - headers.ip, copy, copy.start);
      copy.end = copy.start + headers.end - headers.ip;
      copy.due = now + this.wait;
      this.held.set(key, copy);
      return;
    }
    pass(packet, way, emit);
  }

  override pollTimeout(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const packet of this.held.values()) next = Math.min(next, packet.due);
    return next;
  }

  override onTimeout(now: number, emit: Emitter): void {
    for (const [key, packet] of this.held) if (packet.due <= now) this.release(key, packet, emit);
  }

  /** Appends the payload of `packet`, which `headers` describes, to `first` if it follows on it and fits. */
  private join(first: Packet, packet: Packet): boolean {
    const headers = this.headers;
    const from = headers.payload;
    const length = headers.end - from;
    const sequence = packet.view.getUint32(headers.tcp + 4);
    const acknowledgment = packet.view.getUint32(headers.tcp + 8);
    const flags = packet.view.getUint8(headers.tcp + 13);
    const window = packet.view.getUint16(headers.tcp + 14);
    if (!headers.locate(first)) return false;
    const has = headers.end - headers.payload;
    const follows = (first.view.getUint32(headers.tcp + 4) + has) >>> 0 === sequence;
    if (!follows || has + length > this.limit) return false;
    copyBytes(packet, from, length, first, headers.end);
    first.end = headers.end + length;
    writeLength(first, headers);
    first.view.setUint32(headers.tcp + 8, acknowledgment);
    first.view.setUint8(headers.tcp + 13, first.view.getUint8(headers.tcp + 13) | flags);
    first.view.setUint16(headers.tcp + 14, window);
    writeTcpChecksum(first, headers);
    return true;
  }

  private release(key: string, packet: PooledPacket, emit: Emitter): void {
    this.held.delete(key);
    pass(packet, key.charAt(0) === '>' ? Way.Forward : Way.Backward, emit);
    packet.release();
  }
}

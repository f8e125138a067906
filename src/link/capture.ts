import { ChecksumState, type Packet } from '../wire/packet.ts';
import { completeChecksum, Headers } from './headers.ts';
import { type PooledPacket, pool } from './pool.ts';
import { Segmenter } from './segmenter.ts';

export interface CaptureOptions {
  /** Cut large packets into those that go on the wire; true unless given. Otherwise they are written whole. */
  readonly cutsLargePackets?: boolean;
  /** The time of `now` 0, in milliseconds since 1970; 0 unless given. */
  readonly epoch?: number;
  /** Bytes kept of each packet; all unless given. */
  readonly snapLength?: number;
  /** What made the capture, for the section header; 'mptcp' unless given. */
  readonly application?: string;
}

/** Which way a packet went, seen from the interface. */
export const CaptureDirection = { Unknown: 0, Inbound: 1, Outbound: 2 } as const;

/**
 * Writes a capture in pcapng (draft-ietf-opsawg-pcapng): one section, an interface block for each path or interface,
 * an enhanced packet block for each packet, times in nanoseconds. Blocks go to the sink as they are made, each valid
 * during the call only. Checksums that were left to the link are finished in what is written.
 */
export class Capture {
  private readonly sink: (chunk: Uint8Array) => void;
  private readonly cuts: boolean;
  private readonly epoch: number;
  private readonly snapLength: number;
  private readonly segmenter: Segmenter = new Segmenter(true);
  private readonly headers: Headers = new Headers();
  private readonly block: Uint8Array = new Uint8Array(BLOCK_ROOM + 65_600);
  private readonly view: DataView = new DataView(this.block.buffer);
  private interfaceCount = 0;
  /** Packets written. */
  packets = 0;

  /** @param sink takes the bytes of one block after the other, copying what it keeps */
  constructor(sink: (chunk: Uint8Array) => void, options: CaptureOptions = {}) {
    this.sink = sink;
    this.cuts = options.cutsLargePackets ?? true;
    this.epoch = options.epoch ?? 0;
    this.snapLength = options.snapLength ?? 0;
    this.writeSection(options.application ?? 'mptcp');
  }

  /** Adds an interface, in name and description; returns its number. May be called at any time. */
  addInterface(name: string, description = ''): number {
    this.view.setUint16(8, LINKTYPE_RAW, true);
    this.view.setUint16(10, 0, true);
    this.view.setUint32(12, this.snapLength, true);
    let at = this.text(16, IF_NAME, name);
    if (description !== '') at = this.text(at, IF_DESCRIPTION, description);
    at = this.optionHeader(at, IF_TSRESOL, 1);
    this.view.setUint32(at, 9, true);
    this.finish(INTERFACE_DESCRIPTION, this.endOfOptions(at + 4));
    return this.interfaceCount++;
  }

  /** Writes a packet. The packet is not changed. @param comment shown by readers beside the packet */
  write(now: number, interfaceNumber: number, packet: Packet, direction: number, comment = ''): void {
    if (!(interfaceNumber >= 0 && interfaceNumber < this.interfaceCount)) {
      throw new RangeError(`no interface ${interfaceNumber} in this capture`);
    }
    if (packet.gsoSize > 0 && this.cuts && this.segmenter.start(packet)) {
      for (let length = this.segmenter.nextLength; length > 0; length = this.segmenter.nextLength) {
        const piece = pool.take(length);
        this.segmenter.next(piece);
        this.writePacket(now, interfaceNumber, piece, direction, comment);
        piece.release();
      }
    } else if (packet.checksum === ChecksumState.Partial) {
      const copy: PooledPacket = pool.copy(packet);
      completeChecksum(copy, this.headers);
      this.writePacket(now, interfaceNumber, copy, direction, comment);
      copy.release();
    } else {
      this.writePacket(now, interfaceNumber, packet, direction, comment);
    }
  }

  private writePacket(now: number, interfaceNumber: number, packet: Packet, direction: number, comment: string): void {
    const view = this.view;
    const length = packet.end - packet.start;
    const kept = this.snapLength > 0 && this.snapLength < length ? this.snapLength : length;
    view.setUint32(8, interfaceNumber, true);
    this.writeTime(now);
    view.setUint32(20, kept, true);
    view.setUint32(24, length, true);
    this.block.set(packet.bytes.subarray(packet.start, packet.start + kept), 28);
    let at = 28 + kept;
    while ((at & 3) !== 0) this.block[at++] = 0;
    if (direction !== CaptureDirection.Unknown) {
      at = this.optionHeader(at, EPB_FLAGS, 4);
      // Bits 0-1: 01 inbound, 10 outbound.
      view.setUint32(at, direction, true);
      at += 4;
    }
    if (comment !== '') at = this.text(at, COMMENT, comment);
    const hasOptions = direction !== CaptureDirection.Unknown || comment !== '';
    this.finish(ENHANCED_PACKET, hasOptions ? this.endOfOptions(at) : at);
    this.packets++;
  }

  /** Nanoseconds as two words. They may exceed 2^53, so whole milliseconds and the rest are multiplied apart. */
  private writeTime(now: number): void {
    const wholes = Math.floor(this.epoch) + Math.floor(now);
    const parts = this.epoch - Math.floor(this.epoch) + (now - Math.floor(now));
    const low = (wholes % TWO_32) * 1e6;
    const rest = Math.round(parts * 1e6);
    const carried = low + rest;
    const high = Math.floor(wholes / TWO_32) * 1e6 + Math.floor(carried / TWO_32);
    this.view.setUint32(12, high >>> 0, true);
    this.view.setUint32(16, carried % TWO_32, true);
  }

  private writeSection(application: string): void {
    this.view.setUint32(8, 0x1a2b3c4d, true);
    this.view.setUint16(12, 1, true);
    this.view.setUint16(14, 0, true);
    // Section length: not known.
    this.view.setUint32(16, 0xffff_ffff, true);
    this.view.setUint32(20, 0xffff_ffff, true);
    this.finish(SECTION_HEADER, this.endOfOptions(this.text(24, SHB_USERAPPL, application)));
  }

  private text(at: number, code: number, text: string): number {
    const bytes = utf8(text);
    let end = this.optionHeader(at, code, bytes.length);
    this.block.set(bytes, end);
    end += bytes.length;
    while ((end & 3) !== 0) this.block[end++] = 0;
    return end;
  }

  private optionHeader(at: number, code: number, length: number): number {
    this.view.setUint16(at, code, true);
    this.view.setUint16(at + 2, length, true);
    return at + 4;
  }

  private endOfOptions(at: number): number {
    this.view.setUint32(at, 0, true);
    return at + 4;
  }

  /** Writes type and both lengths of the block whose body ends at `at`. */
  private finish(type: number, at: number): void {
    this.view.setUint32(0, type, true);
    this.view.setUint32(4, at + 4, true);
    this.view.setUint32(at, at + 4, true);
    this.sink(this.block.subarray(0, at + 4));
  }
}

/** UTF-8 of a text, shortened to what there is room for. */
function utf8(text: string): number[] {
  const bytes: number[] = [];
  for (const character of text) {
    const point = character.codePointAt(0)!;
    if (bytes.length + 4 > MAX_TEXT) break;
    if (point < 0x80) bytes.push(point);
    else if (point < 0x800) bytes.push(0xc0 | (point >> 6), 0x80 | (point & 63));
    else if (point < 0x10000) bytes.push(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    else {
      bytes.push(0xf0 | (point >> 18), 0x80 | ((point >> 12) & 63), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63));
    }
  }
  return bytes;
}

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
/** Raw IP, version in the first nibble. */
const LINKTYPE_RAW = 101;
const COMMENT = 1;
const SHB_USERAPPL = 4;
const IF_NAME = 2;
const IF_DESCRIPTION = 3;
const IF_TSRESOL = 9;
const EPB_FLAGS = 2;
const TWO_32 = 4_294_967_296;
const MAX_TEXT = 512;
const BLOCK_ROOM = 2048;

/**
 * Packet captures: classic pcap and pcapng, of either byte order. A reader over a whole file in memory that gives one
 * frame at a time and never throws: what it cannot go on from becomes a `CaptureProblem`.
 */

/** Why reading ended early. */
export interface CaptureProblem {
  readonly code: 'not-a-capture' | 'truncated' | 'malformed' | 'unsupported-version';
  /** One line for people. */
  readonly message: string;
  /** Offset in the file. */
  readonly offset: number;
}

/** One captured frame. One record is reused for all: bytes `start` to `end` of the file. */
export class Frame {
  /** Since the epoch, or since whatever the capturing clock counts from. */
  seconds = 0;
  nanoseconds = 0;
  /** Index of the interface within its section; 0 in classic pcap. */
  interfaceId = 0;
  /** `if_name` of pcapng; empty when unknown. */
  interfaceName = '';
  /** Link type: see `locateIp`. */
  linkType = 0;
  start = 0;
  end = 0;
  /** Bytes that the frame had on the wire. */
  originalLength = 0;
  /** `opt_comment` of pcapng; empty when there is none. */
  comment = '';
}

interface CapturedInterface {
  readonly name: string;
  readonly linkType: number;
  readonly snapLength: number;
  /** Time stamp units in a second. */
  readonly unitsPerSecond: number;
  /** Added to time stamps, in seconds. */
  readonly offset: number;
}

const PCAP_MICRO = 0xa1b2_c3d4;
const PCAP_NANO = 0xa1b2_3c4d;
const SECTION_HEADER = 0x0a0d_0d0a;
const BYTE_ORDER = 0x1a2b_3c4d;

/** Block types of pcapng that are understood; all others are skipped. */
const Block = { Interface: 1, OldPacket: 2, SimplePacket: 3, EnhancedPacket: 6 } as const;
/** Options of pcapng blocks. */
const OptionCode = { End: 0, Comment: 1, Name: 2, TimeResolution: 9, TimeOffset: 14 } as const;

/** More than any capture has; a file that claims more is hostile. */
const MAX_INTERFACES = 65_536;

/** Reads frames until `next` says false; then `problem` tells whether the file was whole. */
export class CaptureReader {
  readonly bytes: Uint8Array;
  /** Set when reading ended for another reason than the end of the file. */
  problem: CaptureProblem | undefined;
  /** `undefined` until the format is known. */
  readonly format: 'pcap' | 'pcapng' | undefined;

  readonly #view: DataView;
  #at = 0;
  #little = false;
  /** Classic pcap: nanoseconds in the fraction's unit. */
  #fraction = 1000;
  #interfaces: CapturedInterface[] = [];

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.format = this.#open();
  }

  /** Fills `frame` with the next one; false at the end or after a problem. */
  next(frame: Frame): boolean {
    if (this.problem !== undefined || this.format === undefined) return false;
    return this.format === 'pcap' ? this.#nextRecord(frame) : this.#nextBlock(frame);
  }

  #open(): 'pcap' | 'pcapng' | undefined {
    if (this.bytes.length < 4) return this.#stop('not-a-capture', 'too short for a capture', 0);
    const magic = this.#view.getUint32(0);
    if (magic === SECTION_HEADER) return 'pcapng';
    const swapped = this.#view.getUint32(0, true);
    this.#little = swapped === PCAP_MICRO || swapped === PCAP_NANO;
    const order = this.#little ? swapped : magic;
    if (order !== PCAP_MICRO && order !== PCAP_NANO) {
      return this.#stop('not-a-capture', 'neither pcap nor pcapng: unknown magic number', 0);
    }
    if (this.bytes.length < 24) return this.#stop('truncated', 'the file header is cut', 0);
    if (this.#u16(4) !== 2) return this.#stop('unsupported-version', `pcap version ${this.#u16(4)}`, 4);
    this.#fraction = order === PCAP_NANO ? 1 : 1000;
    // The upper bits of the field say whether frames end with a checksum.
    const linkType = this.#u32(20) & 0xffff;
    this.#interfaces = [{ name: '', linkType, snapLength: this.#u32(16), unitsPerSecond: 0, offset: 0 }];
    this.#at = 24;
    return 'pcap';
  }

  #nextRecord(frame: Frame): boolean {
    const at = this.#at;
    const left = this.bytes.length - at;
    if (left === 0) return false;
    if (left < 16) return this.#end('truncated', 'the last record is cut', at);
    const captured = this.#u32(at + 8);
    if (captured > left - 16) return this.#end('truncated', 'the last frame is cut', at);
    frame.seconds = this.#u32(at);
    frame.nanoseconds = this.#u32(at + 4) * this.#fraction;
    frame.interfaceId = 0;
    frame.interfaceName = '';
    frame.linkType = this.#interfaces[0]!.linkType;
    frame.start = at + 16;
    frame.end = at + 16 + captured;
    frame.originalLength = this.#u32(at + 12);
    frame.comment = '';
    this.#at = frame.end;
    return true;
  }

  #nextBlock(frame: Frame): boolean {
    for (;;) {
      const at = this.#at;
      const left = this.bytes.length - at;
      if (left === 0) return false;
      if (left < 12) return this.#end('truncated', 'the last block is cut', at);
      if (this.#view.getUint32(at) === SECTION_HEADER && !this.#beginSection(at)) return false;
      const length = this.#u32(at + 4);
      if (length < 12 || length % 4 !== 0) return this.#end('malformed', `a block of ${length} bytes`, at);
      if (length > left) return this.#end('truncated', 'the last block is cut', at);
      if (this.#u32(at + length - 4) !== length) return this.#end('malformed', 'the two lengths of a block differ', at);
      this.#at = at + length;
      const found = this.#readBlock(this.#u32(at), at + 8, at + length - 4, frame);
      if (found || this.problem !== undefined) return found;
    }
  }

  #beginSection(at: number): boolean {
    if (this.bytes.length - at < 28) return this.#end('truncated', 'the section header is cut', at);
    this.#little = this.#view.getUint32(at + 8, true) === BYTE_ORDER;
    if (this.#u32(at + 8) !== BYTE_ORDER) return this.#end('malformed', 'no byte-order magic', at + 8);
    if (this.#u16(at + 12) !== 1) return this.#end('unsupported-version', `pcapng version ${this.#u16(at + 12)}`, at);
    this.#interfaces = [];
    return true;
  }

  /** Whether the block holds a frame, which is then in `frame`. */
  #readBlock(type: number, at: number, end: number, frame: Frame): boolean {
    switch (type) {
      case Block.Interface:
        this.#readInterface(at, end);
        return false;
      case Block.EnhancedPacket:
        if (end - at < 20) return this.#end('malformed', 'a packet block without its fields', at);
        return this.#readPacket(this.#u32(at), at, end, frame);
      case Block.OldPacket:
        if (end - at < 20) return this.#end('malformed', 'a packet block without its fields', at);
        return this.#readPacket(this.#u16(at), at, end, frame);
      case Block.SimplePacket:
        return this.#readSimple(at, end, frame);
      default:
        return false;
    }
  }

  #readInterface(at: number, end: number): void {
    if (end - at < 8 || this.#interfaces.length === MAX_INTERFACES) {
      this.#end('malformed', 'an interface block without its fields', at);
      return;
    }
    let name = '';
    let unitsPerSecond = 1e6;
    let offset = 0;
    this.#eachOption(at + 8, end, (code, start, length) => {
      if (code === OptionCode.Name) name = this.#text(start, length);
      else if (code === OptionCode.TimeResolution && length === 1) {
        const exponent = this.bytes[start]! & 0x7f;
        unitsPerSecond = (this.bytes[start]! & 0x80) === 0 ? 10 ** exponent : 2 ** exponent;
      } else if (code === OptionCode.TimeOffset && length === 8) {
        const high = this.#u32(this.#little ? start + 4 : start) | 0;
        offset = high * 2 ** 32 + this.#u32(this.#little ? start : start + 4);
      }
    });
    const linkType = this.#u16(at);
    this.#interfaces.push({ name, linkType, snapLength: this.#u32(at + 4), unitsPerSecond, offset });
  }

  #readPacket(interfaceId: number, at: number, end: number, frame: Frame): boolean {
    const from = this.#interfaces[interfaceId];
    const captured = this.#u32(at + 12);
    if (from === undefined) return this.#end('malformed', `no interface ${interfaceId}`, at);
    if (captured > end - at - 20) return this.#end('malformed', 'a frame larger than its block', at);
    this.#setTime(frame, this.#u32(at + 4), this.#u32(at + 8), from);
    frame.interfaceId = interfaceId;
    frame.interfaceName = from.name;
    frame.linkType = from.linkType;
    frame.start = at + 20;
    frame.end = at + 20 + captured;
    frame.originalLength = this.#u32(at + 16);
    frame.comment = '';
    this.#eachOption(padded(frame.end), end, (code, start, length) => {
      if (code === OptionCode.Comment) frame.comment = this.#text(start, length);
    });
    return true;
  }

  #readSimple(at: number, end: number, frame: Frame): boolean {
    const from = this.#interfaces[0];
    if (from === undefined || end - at < 4) return this.#end('malformed', 'a simple packet without an interface', at);
    const original = this.#u32(at);
    const snapped = from.snapLength === 0 ? original : Math.min(original, from.snapLength);
    frame.seconds = 0;
    frame.nanoseconds = 0;
    frame.interfaceId = 0;
    frame.interfaceName = from.name;
    frame.linkType = from.linkType;
    frame.start = at + 4;
    frame.end = at + 4 + Math.min(snapped, end - at - 4);
    frame.originalLength = original;
    frame.comment = '';
    return true;
  }

  #setTime(frame: Frame, high: number, low: number, from: CapturedInterface): void {
    const units = from.unitsPerSecond;
    // high * 2^32 + low may pass 2^53: divided with remainders, so that nanoseconds stay exact.
    const highSeconds = Math.floor((high * 2 ** 32) / units);
    const rest = high * 2 ** 32 - highSeconds * units + low;
    const seconds = highSeconds + Math.floor(rest / units);
    const fraction = rest - Math.floor(rest / units) * units;
    const nanoseconds = Math.round((fraction / units) * 1e9);
    frame.seconds = seconds + from.offset + (nanoseconds === 1e9 ? 1 : 0);
    frame.nanoseconds = nanoseconds === 1e9 ? 0 : nanoseconds;
  }

  /** Visits the options from `at` to `end`: code, where the value stands, its length. */
  #eachOption(at: number, end: number, visit: (code: number, start: number, length: number) => void): void {
    let next = at;
    while (end - next >= 4) {
      const code = this.#u16(next);
      const length = this.#u16(next + 2);
      if (code === OptionCode.End || length > end - next - 4) return;
      visit(code, next + 4, length);
      next = padded(next + 4 + length);
    }
  }

  #text(start: number, length: number): string {
    return utf8(this.bytes.subarray(start, start + length));
  }

  #u16(at: number): number {
    return this.#view.getUint16(at, this.#little);
  }

  #u32(at: number): number {
    return this.#view.getUint32(at, this.#little);
  }

  #stop(code: CaptureProblem['code'], message: string, offset: number): undefined {
    this.problem = { code, message, offset };
    return undefined;
  }

  #end(code: CaptureProblem['code'], message: string, offset: number): false {
    this.#stop(code, message, offset);
    return false;
  }
}

/** Blocks and options are padded to 4 bytes, counted from the start of the file. */
function padded(offset: number): number {
  return Math.ceil(offset / 4) * 4;
}

const decoder = new TextDecoder();

/** Up to the first NUL, as some writers end strings in C's way. */
function utf8(bytes: Uint8Array): string {
  return decoder.decode(bytes).split('\0', 1)[0]!;
}

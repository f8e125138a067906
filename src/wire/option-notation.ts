import { Address } from './address.ts';
import { MPTCP_KIND, readMptcpOption, writeMptcpOptions } from './mptcp-codec.ts';
import { Capable, Dss, Mptcp, MptcpOptions, ResetFlag } from './mptcp-options.ts';
import { Kind, readOption } from './options.ts';
import { Flag, Option, Segment } from './segment.ts';

/**
 * One TCP option as text and back, in packetdrill's words where it has some. What the words cannot say exactly (reserved
 * bits, odd lengths, unknown kinds) is written as `opt KIND 0xHEX`, so that nothing is lost either way.
 */

/** What numbers are printed relative to; all zero: as they stand on the wire. */
export interface Origins {
  /** Subtracted from sequence numbers. */
  readonly sequence: number;
  /** Subtracted from acknowledgments and SACK edges. */
  readonly acknowledgment: number;
  /** Subtracted from data sequence numbers. */
  readonly dataSequenceHigh: number;
  readonly dataSequenceLow: number;
  /** Subtracted from data acknowledgments. */
  readonly dataAckHigh: number;
  readonly dataAckLow: number;
}

export const ABSOLUTE: Origins = {
  sequence: 0,
  acknowledgment: 0,
  dataSequenceHigh: 0,
  dataSequenceLow: 0,
  dataAckHigh: 0,
  dataAckLow: 0,
};

/** Why a text was not understood. */
export class NotationProblem {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

/** One option, or what stands in an option's place: kind and length included. */
export type OptionBytes = Uint8Array;

const scratch = new Uint8Array(512);
const scratchView = new DataView(scratch.buffer);

/**
 * Cuts a header's option area into options, NOPs and ends. A tail that is no option (bad length, or anything but zeros
 * behind an end) becomes one last piece, which `formatOption` prints as `raw 0xHEX`.
 */
export function splitOptions(bytes: Uint8Array): OptionBytes[] {
  const out: OptionBytes[] = [];
  let at = 0;
  while (at < bytes.length) {
    const kind = bytes[at]!;
    let length = 1;
    if (kind === Kind.End) {
      if (bytes.subarray(at).some((byte) => byte !== 0)) length = bytes.length - at;
    } else if (kind !== Kind.Nop) {
      length = at + 1 < bytes.length ? bytes[at + 1]! : 0;
      if (length < 2 || length > bytes.length - at) length = bytes.length - at;
    }
    out.push(new Uint8Array(bytes.subarray(at, at + length)));
    at += length;
  }
  return out;
}

/** @param flags the TCP flags, on which the forms of MP_CAPABLE and MP_JOIN depend */
export function formatOption(option: OptionBytes, flags: number, origins: Origins): string {
  const text = words(option, flags, origins);
  if (text !== undefined) {
    const again = parseOption(text, origins);
    if (!(again instanceof NotationProblem) && equal(again, option)) return text;
  }
  const whole = option.length >= 2 && option[0]! > 1 && option[1] === option.length;
  return whole ? `opt ${option[0]} 0x${hex(option.subarray(2))}` : `raw 0x${hex(option)}`;
}

function words(option: OptionBytes, flags: number, origins: Origins): string | undefined {
  const kind = option[0]!;
  if (option.length === 1) return kind === Kind.Nop ? 'nop' : 'eol';
  if (option[1] !== option.length) return undefined;
  scratch.set(option);
  if (kind === MPTCP_KIND) {
    const mptcp = new MptcpOptions();
    readMptcpOption(scratchView, 0, option.length, flags, mptcp);
    return mptcpWords(mptcp, origins);
  }
  if (kind === Kind.FastOpen) return option.length === 2 ? 'FO' : `FO 0x${hex(option.subarray(2))}`;
  const segment = new Segment();
  segment.flags = Flag.Syn;
  readOption(scratchView, 0, kind, option.length, segment);
  switch (segment.options) {
    case Option.MaximumSegmentSize:
      return `mss ${segment.mss}`;
    case Option.WindowScale:
      return `wscale ${segment.windowScale}`;
    case Option.SackPermitted:
      return 'sackOK';
    case Option.Timestamps:
      return `TS val ${segment.timestampValue} ecr ${segment.timestampEcho}`;
    case Option.Sack: {
      const blocks: string[] = [];
      for (let index = 0; index < segment.sackCount; index++) {
        const left = (segment.sackEdges[2 * index]! - origins.acknowledgment) >>> 0;
        const right = (segment.sackEdges[2 * index + 1]! - origins.acknowledgment) >>> 0;
        blocks.push(`${left}:${right}`);
      }
      return `sack ${blocks.join(' ')}`;
    }
    default:
      return undefined;
  }
}

function mptcpWords(options: MptcpOptions, origins: Origins): string | undefined {
  switch (options.present) {
    case Mptcp.CapableSyn:
      return `${capableWords(options)} nokey`;
    case Mptcp.CapableSynAck:
      return `${capableWords(options)} key[${wide(options.senderKeyHigh, options.senderKeyLow)}]`;
    case Mptcp.CapableAck:
    case Mptcp.CapableAck | Mptcp.CapableData: {
      const sender = wide(options.senderKeyHigh, options.senderKeyLow);
      const text = `${capableWords(options)} key[${sender},${wide(options.receiverKeyHigh, options.receiverKeyLow)}]`;
      if (options.present === Mptcp.CapableAck) return text;
      return `${text} mpcdatalen ${options.dataLength}${options.hasChecksum ? ` cksum ${short(options.checksum)}` : ''}`;
    }
    case Mptcp.JoinSyn:
      return `mp_join_syn ${joinWords(options)} token=${word(options.joinToken)} nonce=${word(options.joinNonce)}`;
    case Mptcp.JoinSynAck:
      return `mp_join_syn_ack ${joinWords(options)} sender_hmac=0x${hex(options.joinHmac.subarray(0, 8))} nonce=${word(options.joinNonce)}`;
    case Mptcp.JoinAck:
      return `mp_join_ack sender_hmac=0x${hex(options.joinHmac)}`;
    case Mptcp.Dss:
      return dssWords(options, origins);
    case Mptcp.AddAddress: {
      const address = new Address(options.addFamily, options.add0, options.add1, options.add2, options.add3);
      const port = options.addPort === 0 ? '' : ` port=${options.addPort}`;
      const end = options.addEcho ? '' : ` hmac=${wide(options.addHmacHigh, options.addHmacLow)}`;
      return `add_address ${options.addEcho ? 'echo ' : ''}address_id=${options.addId} addr=${address}${port}${end}`;
    }
    case Mptcp.RemoveAddress:
      return `remove_address address_id=[${options.removeIds.subarray(0, options.removeCount).join(',')}]`;
    case Mptcp.Priority:
      return `mp_prio backup=${options.priorityBackup ? 1 : 0}`;
    case Mptcp.Fail: {
      const high = relativeHigh(options.failHigh, options.failLow, origins.dataSequenceHigh, origins.dataSequenceLow);
      return `mp_fail dsn8=${number64(high, (options.failLow - origins.dataSequenceLow) >>> 0)}`;
    }
    case Mptcp.FastClose:
      return `mp_fastclose key=${wide(options.fastCloseKeyHigh, options.fastCloseKeyLow)}`;
    case Mptcp.Reset:
      return `mp_reset ${options.resetReason}${options.resetFlags & ResetFlag.Transient ? ' transient' : ''}`;
    default:
      return undefined;
  }
}

/** Bits A to H. */
const CAPABLE_LETTERS = 'abcdefgh';

function capableWords(options: MptcpOptions): string {
  const names: string[] = [];
  for (let bit = 0; bit < 8; bit++) {
    if ((options.capableFlags & (Capable.Checksum >> bit)) !== 0) names.push(`flag_${CAPABLE_LETTERS[bit]}`);
  }
  return `mpcapable v${options.version} flags[${names.join(',')}]`;
}

function joinWords(options: MptcpOptions): string {
  return `${options.joinBackup ? 'backup=1 ' : ''}address_id=${options.joinAddressId}`;
}

function dssWords(options: MptcpOptions, origins: Origins): string {
  const flags = options.dssFlags;
  const parts = ['dss'];
  if ((flags & Dss.Ack) !== 0) {
    const low = (options.dataAckLow - origins.dataAckLow) >>> 0;
    const high = relativeHigh(options.dataAckHigh, options.dataAckLow, origins.dataAckHigh, origins.dataAckLow);
    parts.push((flags & Dss.Ack64) !== 0 ? `dack8=${number64(high, low)}` : `dack4=${low}`);
  }
  if ((flags & Dss.Map) !== 0) {
    // RFC 8684 §3.3: the infinite mapping alone has length 0; its numbers mean the same.
    const low = (options.dataSequenceLow - origins.dataSequenceLow) >>> 0;
    const high = relativeHigh(
      options.dataSequenceHigh,
      options.dataSequenceLow,
      origins.dataSequenceHigh,
      origins.dataSequenceLow,
    );
    parts.push((flags & Dss.Map64) !== 0 ? `dsn8=${number64(high, low)}` : `dsn4=${low}`);
    parts.push(`ssn=${options.subflowSequence}`, `dll=${options.dataLength}`);
    parts.push(options.hasChecksum ? `cksum=${short(options.checksum)}` : 'nocs');
  }
  if ((flags & Dss.Fin) !== 0) parts.push('fin');
  return parts.join(' ');
}

/** The bytes of one option's text, or why there are none. */
export function parseOption(text: string, origins: Origins): OptionBytes | NotationProblem {
  const tokens = text.trim().split(/\s+/);
  const problem = new NotationProblem(`not a TCP option: ${JSON.stringify(text)}`);
  switch (tokens[0]) {
    case 'nop':
      return tokens.length === 1 ? Uint8Array.of(1) : problem;
    case 'eol':
      return tokens.length === 1 ? Uint8Array.of(0) : problem;
    case 'raw':
      return (tokens.length === 2 ? bytesOf(tokens[1]!, 1, 40) : undefined) ?? problem;
    case 'opt': {
      const kind = integer(tokens[1], 255);
      const data = tokens.length === 3 ? bytesOf(tokens[2]!, 0, 38) : undefined;
      return kind !== undefined && kind > 1 && data !== undefined ? plain(kind, ...data) : problem;
    }
    case 'mss': {
      const mss = integer(tokens[1], 0xffff);
      return mss !== undefined && tokens.length === 2 ? plain(Kind.MaximumSegmentSize, mss >> 8, mss & 255) : problem;
    }
    case 'wscale': {
      const shift = integer(tokens[1], 255);
      return shift !== undefined && tokens.length === 2 ? plain(Kind.WindowScale, shift) : problem;
    }
    case 'sackOK':
      return tokens.length === 1 ? plain(Kind.SackPermitted) : problem;
    case 'FO': {
      const cookie = tokens.length === 1 ? new Uint8Array(0) : bytesOf(tokens[1]!, 1, 38);
      return cookie !== undefined && tokens.length <= 2 ? plain(Kind.FastOpen, ...cookie) : problem;
    }
    case 'TS': {
      const value = integer(tokens[2], 0xffff_ffff);
      const echo = integer(tokens[4], 0xffff_ffff);
      if (tokens.length !== 5 || tokens[1] !== 'val' || tokens[3] !== 'ecr') return problem;
      if (value === undefined || echo === undefined) return problem;
      return plain(Kind.Timestamps, ...wordBytes(value), ...wordBytes(echo));
    }
    case 'sack': {
      const data: number[] = [];
      if (tokens.length < 2 || tokens.length > 5) return problem;
      for (const block of tokens.slice(1)) {
        const match = /^(\d+):(\d+)$/.exec(block);
        const left = integer(match?.[1], 0xffff_ffff);
        const right = integer(match?.[2], 0xffff_ffff);
        if (left === undefined || right === undefined) return problem;
        data.push(...wordBytes((left + origins.acknowledgment) >>> 0));
        data.push(...wordBytes((right + origins.acknowledgment) >>> 0));
      }
      return plain(Kind.Sack, ...data);
    }
    default: {
      const options = new MptcpOptions();
      if (!parseMptcp(tokens, options, origins)) return problem;
      writeMptcpOptions(scratchView, 0, options);
      return scratch.slice(0, scratch[1]!);
    }
  }
}

/** `word=value` pairs, bare words and `key[…]` lists of an MPTCP option, each at most once. */
class Words {
  readonly #values = new Map<string, string>();
  valid = true;

  constructor(tokens: readonly string[]) {
    for (let index = 0; index < tokens.length; index++) {
      const token = tokens[index]!;
      const match = /^([a-z_0-9]+)(?:=(.+)|\[(.*)\])?$/.exec(token);
      const name = match?.[1];
      if (name === undefined || this.#values.has(name)) this.valid = false;
      else if (name === 'mpcdatalen' || name === 'cksum') {
        // packetdrill writes this one without "=".
        this.#values.set(name, match?.[2] ?? tokens[++index] ?? '');
      } else this.#values.set(name, match?.[2] ?? match?.[3] ?? '');
    }
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  take(name: string): string | undefined {
    const value = this.#values.get(name);
    this.#values.delete(name);
    return value;
  }

  /** An integer from 0 to `most`; absent or wrong clears `valid` unless there is an `otherwise`. */
  integer(name: string, most: number, otherwise: number | undefined = undefined): number {
    const value = this.take(name);
    const read = value === undefined ? otherwise : integer(value, most);
    if (read === undefined) this.valid = false;
    return read ?? 0;
  }

  /** A 64-bit number as its two halves. */
  wide(name: string): readonly [number, number] {
    const read = integer64(this.take(name));
    if (read === undefined) this.valid = false;
    return read ?? [0, 0];
  }

  /** Whether all was well and nothing is left over. */
  get done(): boolean {
    return this.valid && this.#values.size === 0;
  }
}

function parseMptcp(tokens: readonly string[], options: MptcpOptions, origins: Origins): boolean {
  if (tokens[0] === 'mpcapable') return parseCapable(tokens, options);
  if (tokens[0] === 'mp_reset') {
    const reason = integer(tokens[1], 255);
    if (reason === undefined || tokens.length > 3 || (tokens.length === 3 && tokens[2] !== 'transient')) return false;
    options.present = Mptcp.Reset;
    options.resetReason = reason;
    options.resetFlags = tokens.length === 3 ? ResetFlag.Transient : 0;
    return true;
  }
  const words = new Words(tokens.slice(1));
  switch (tokens[0]) {
    case 'mp_join_syn':
      options.present = Mptcp.JoinSyn;
      options.joinBackup = words.integer('backup', 1, 0) === 1;
      options.joinAddressId = words.integer('address_id', 255);
      options.joinToken = words.integer('token', 0xffff_ffff);
      options.joinNonce = words.integer('nonce', 0xffff_ffff);
      return words.done;
    case 'mp_join_syn_ack':
      options.present = Mptcp.JoinSynAck;
      options.joinBackup = words.integer('backup', 1, 0) === 1;
      options.joinAddressId = words.integer('address_id', 255);
      options.joinNonce = words.integer('nonce', 0xffff_ffff);
      return parseHmac(words, options, 8) && words.done;
    case 'mp_join_ack':
      options.present = Mptcp.JoinAck;
      return parseHmac(words, options, 20) && words.done;
    case 'dss':
      return parseDss(words, options, origins);
    case 'add_address':
      return parseAddAddress(words, options);
    case 'remove_address': {
      const match = /^\[(\d+(?:,\d+){0,7})\]$/.exec(words.take('address_id') ?? '');
      const ids = (match?.[1] ?? '').split(',').map((id) => integer(id, 255));
      if (match === null || ids.includes(undefined)) return false;
      options.present = Mptcp.RemoveAddress;
      options.removeCount = ids.length;
      options.removeIds.set(ids as number[]);
      return words.done;
    }
    case 'mp_prio':
      options.present = Mptcp.Priority;
      options.priorityBackup = words.integer('backup', 1) === 1;
      return words.done;
    case 'mp_fail': {
      const [high, low] = words.wide('dsn8');
      options.present = Mptcp.Fail;
      options.failLow = (low + origins.dataSequenceLow) >>> 0;
      options.failHigh = absoluteHigh(high, low, origins.dataSequenceHigh, origins.dataSequenceLow);
      return words.done;
    }
    case 'mp_fastclose': {
      const [high, low] = words.wide('key');
      options.present = Mptcp.FastClose;
      options.fastCloseKeyHigh = high;
      options.fastCloseKeyLow = low;
      return words.done;
    }
    default:
      return false;
  }
}

function parseCapable(tokens: readonly string[], options: MptcpOptions): boolean {
  const version = /^v(\d+)$/.exec(tokens[1] ?? '');
  const words = new Words(tokens.slice(2));
  options.version = integer(version?.[1], 15) ?? -1;
  for (const name of (words.take('flags') ?? '').split(',')) {
    if (name === '') continue;
    const bit = /^flag_[a-h]$/.test(name) ? CAPABLE_LETTERS.indexOf(name.slice(-1)) : -1;
    if (bit < 0) return false;
    options.capableFlags |= Capable.Checksum >> bit;
  }
  if (options.version < 0) return false;
  if (words.take('nokey') !== undefined) {
    options.present = Mptcp.CapableSyn;
    return words.done;
  }
  const keys = (words.take('key') ?? '').split(',').map(integer64);
  if (keys.includes(undefined) || keys.length > 2) return false;
  [options.senderKeyHigh, options.senderKeyLow] = keys[0]!;
  options.present = Mptcp.CapableSynAck;
  if (keys.length === 1) return words.done;
  [options.receiverKeyHigh, options.receiverKeyLow] = keys[1]!;
  options.present = Mptcp.CapableAck;
  if (words.has('mpcdatalen')) {
    options.present |= Mptcp.CapableData;
    options.dataLength = words.integer('mpcdatalen', 0xffff);
    options.hasChecksum = words.has('cksum');
    options.checksum = words.integer('cksum', 0xffff, 0);
  }
  return words.done;
}

function parseHmac(words: Words, options: MptcpOptions, length: number): boolean {
  const bytes = bytesOf(words.take('sender_hmac') ?? '', length, length);
  if (bytes === undefined) return false;
  options.joinHmac.set(bytes);
  return true;
}

function parseDss(words: Words, options: MptcpOptions, origins: Origins): boolean {
  options.present = Mptcp.Dss;
  if (words.has('dack8')) {
    const [high, low] = words.wide('dack8');
    options.dssFlags |= Dss.Ack | Dss.Ack64;
    options.dataAckLow = (low + origins.dataAckLow) >>> 0;
    options.dataAckHigh = absoluteHigh(high, low, origins.dataAckHigh, origins.dataAckLow);
  } else if (words.has('dack4')) {
    options.dssFlags |= Dss.Ack;
    options.dataAckLow = (words.integer('dack4', 0xffff_ffff) + origins.dataAckLow) >>> 0;
  }
  if (words.has('dsn8') || words.has('dsn4')) {
    options.dssFlags |= Dss.Map;
    if (words.has('dsn8')) {
      const [high, low] = words.wide('dsn8');
      options.dssFlags |= Dss.Map64;
      options.dataSequenceLow = (low + origins.dataSequenceLow) >>> 0;
      options.dataSequenceHigh = absoluteHigh(high, low, origins.dataSequenceHigh, origins.dataSequenceLow);
    } else options.dataSequenceLow = (words.integer('dsn4', 0xffff_ffff) + origins.dataSequenceLow) >>> 0;
    options.subflowSequence = words.integer('ssn', 0xffff_ffff);
    options.dataLength = words.integer('dll', 0xffff);
    options.hasChecksum = words.has('cksum');
    if (options.hasChecksum) options.checksum = words.integer('cksum', 0xffff);
    else words.take('nocs');
  }
  if (words.take('fin') !== undefined) options.dssFlags |= Dss.Fin;
  return words.done;
}

function parseAddAddress(words: Words, options: MptcpOptions): boolean {
  const address = Address.parse(words.take('addr') ?? '');
  if (address === undefined) return false;
  options.present = Mptcp.AddAddress;
  options.addEcho = words.take('echo') !== undefined;
  options.addId = words.integer('address_id', 255);
  options.addFamily = address.family;
  options.add0 = address.w0;
  options.add1 = address.w1;
  options.add2 = address.w2;
  options.add3 = address.w3;
  options.addPort = words.integer('port', 0xffff, 0);
  if (!options.addEcho) [options.addHmacHigh, options.addHmacLow] = words.wide('hmac');
  return words.done;
}

/** High half of (high, low) - (originHigh, originLow). */
function relativeHigh(high: number, low: number, originHigh: number, originLow: number): number {
  return (high - originHigh - (low < originLow ? 1 : 0)) >>> 0;
}

/** High half of (high, low) + (originHigh, originLow). */
function absoluteHigh(high: number, low: number, originHigh: number, originLow: number): number {
  return (high + originHigh + (low + originLow > 0xffff_ffff ? 1 : 0)) >>> 0;
}

/** Decimal where a double is exact, hexadecimal beyond. */
function number64(high: number, low: number): string {
  return high < 0x20_0000 ? String(high * 2 ** 32 + low) : wide(high, low);
}

function wide(high: number, low: number): string {
  return `0x${high.toString(16).padStart(8, '0')}${low.toString(16).padStart(8, '0')}`;
}

function word(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

function short(value: number): string {
  return `0x${value.toString(16).padStart(4, '0')}`;
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** `0xHEX` of `least` to `most` whole bytes. */
export function bytesOf(text: string, least: number, most: number): Uint8Array | undefined {
  const match = /^0x((?:[0-9a-f]{2})*)$/i.exec(text);
  if (match === null || match[1]!.length < 2 * least || match[1]!.length > 2 * most) return undefined;
  return Uint8Array.from(match[1]!.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

/** A decimal or 0x number from 0 to `most`. */
export function integer(text: string | undefined, most: number): number | undefined {
  if (text === undefined || !/^(?:\d{1,16}|0x[0-9a-f]{1,13})$/i.test(text)) return undefined;
  const value = Number(text);
  return value <= most ? value : undefined;
}

function integer64(text: string | undefined): readonly [number, number] | undefined {
  if (text === undefined) return undefined;
  const digits = /^0x([0-9a-f]{1,16})$/i.exec(text)?.[1]?.padStart(16, '0');
  if (digits !== undefined) return [Number.parseInt(digits.slice(0, 8), 16), Number.parseInt(digits.slice(8), 16)];
  const value = integer(text, Number.MAX_SAFE_INTEGER);
  return value === undefined ? undefined : [Math.floor(value / 2 ** 32), value % 2 ** 32];
}

function plain(kind: number, ...data: readonly number[]): OptionBytes {
  return Uint8Array.of(kind, data.length + 2, ...data);
}

function wordBytes(value: number): readonly number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

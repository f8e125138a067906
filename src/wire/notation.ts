import { Address } from './address.ts';
import { complement, fold, pseudoSum, sum } from './checksum.ts';
import { Drop } from './drop.ts';
import { decodeIp, IpHeader, Protocol } from './ip.ts';
import { IPV4_HEADER } from './ipv4.ts';
import { IPV6_HEADER } from './ipv6.ts';
import {
  ABSOLUTE,
  bytesOf,
  formatOption,
  hex,
  integer,
  NotationProblem,
  type OptionBytes,
  type Origins,
  parseOption,
  splitOptions,
} from './option-notation.ts';
import { Packet } from './packet.ts';
import { Flag } from './segment.ts';
import { TCP_HEADER } from './tcp.ts';

export { ABSOLUTE, NotationProblem, type Origins } from './option-notation.ts';

/**
 * A TCP packet as one line of text, and back without loss (payload bytes apart):
 *
 *     10.0.0.1:40000 > 10.0.0.2:80 [id 7] S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 8>
 *
 * The addresses and the bracket may be left out. Fields that have their usual value are not written. For traces, tests
 * and tools: readable, not fast.
 */

/** Every field of one TCP packet, in the order of the wire; plain data. */
export interface TcpPacket {
  source: Address;
  destination: Address;
  /** 0 to 255; usually 0. */
  trafficClass: number;
  /** Usually 64. */
  hopLimit: number;
  /** IPv6; usually 0. */
  flowLabel: number;
  /** IPv4; usually 0. */
  identification: number;
  /** IPv4: usually true. */
  dontFragment: boolean;
  /** IPv4: the reserved bit of the flags. */
  reservedFlag: boolean;
  /** IPv4: the header checksum as it stands, when it is wrong; -1: it is right. */
  ipChecksum: number;
  /** IPv4 options; or the IPv6 extension headers, preceded by the number of the first. Usually empty. */
  ipOptions: Uint8Array;
  sourcePort: number;
  destinationPort: number;
  sequence: number;
  acknowledgment: number;
  /** `Flag` bits. */
  flags: number;
  /** The three reserved bits between data offset and flags. */
  reserved: number;
  window: number;
  urgent: number;
  /** The checksum as it stands, when it is wrong; -1: it is right. */
  checksum: number;
  options: readonly OptionBytes[];
  payloadLength: number;
}

/** What `parsePacket` assumes of what the line does not say. */
export function emptyPacket(): TcpPacket {
  return {
    source: Address.v4(0),
    destination: Address.v4(0),
    trafficClass: 0,
    hopLimit: 64,
    flowLabel: 0,
    identification: 0,
    dontFragment: true,
    reservedFlag: false,
    ipChecksum: -1,
    ipOptions: new Uint8Array(0),
    sourcePort: 0,
    destinationPort: 0,
    sequence: 0,
    acknowledgment: 0,
    flags: 0,
    reserved: 0,
    window: 0,
    urgent: 0,
    checksum: -1,
    options: [],
    payloadLength: 0,
  };
}

/** Reads the IP packet `bytes`, wrong checksums included; a `Drop` when it holds no TCP header. */
export function describePacket(bytes: Uint8Array): TcpPacket | number {
  const packet = new Packet(bytes.length);
  packet.bytes.set(bytes);
  packet.end = bytes.length;
  const view = packet.view;
  const ip = new IpHeader();
  const out = emptyPacket();
  let drop = decodeIp(packet, ip);
  if (drop === Drop.BadIpChecksum) {
    out.ipChecksum = view.getUint16(10);
    repairHeader(packet.bytes, view);
    drop = decodeIp(packet, ip);
  }
  if (drop !== Drop.None) return drop;
  if (ip.protocol !== Protocol.Tcp) return Drop.UnknownProtocol;
  const start = ip.payloadStart;
  const length = ip.payloadEnd - start;
  if (length < TCP_HEADER) return Drop.Truncated;
  const headerLength = (view.getUint8(start + 12) >> 4) << 2;
  if (headerLength < TCP_HEADER || headerLength > length) return Drop.BadTcpHeader;
  out.source = new Address(ip.family, ip.source0, ip.source1, ip.source2, ip.source3);
  out.destination = new Address(ip.family, ip.destination0, ip.destination1, ip.destination2, ip.destination3);
  out.trafficClass = ip.trafficClass;
  out.hopLimit = ip.hopLimit;
  out.flowLabel = ip.flowLabel;
  out.identification = ip.identification;
  if (ip.family === 4) {
    out.dontFragment = (view.getUint8(6) & 0x40) !== 0;
    out.reservedFlag = (view.getUint8(6) & 0x80) !== 0;
    out.ipOptions = packet.bytes.slice(IPV4_HEADER, start);
  } else if (start > IPV6_HEADER) {
    out.ipOptions = Uint8Array.of(bytes[6]!, ...bytes.subarray(IPV6_HEADER, start));
  }
  out.sourcePort = view.getUint16(start);
  out.destinationPort = view.getUint16(start + 2);
  out.sequence = view.getUint32(start + 4);
  out.acknowledgment = view.getUint32(start + 8);
  out.flags = view.getUint16(start + 12) & 0x1ff;
  out.reserved = (view.getUint8(start + 12) >> 1) & 7;
  out.window = view.getUint16(start + 14);
  out.urgent = view.getUint16(start + 18);
  const total = sum(packet.bytes, start, ip.payloadEnd, pseudoSum(ip, Protocol.Tcp, length));
  if (fold(total) !== 0xffff) out.checksum = view.getUint16(start + 16);
  else {
    // Of the two zeros of one's complement (0x0000 and 0xffff) only one is what a sender computes.
    const field = view.getUint16(start + 16);
    if (complement(total - field) !== field) out.checksum = field;
  }
  out.options = splitOptions(packet.bytes.slice(start + TCP_HEADER, start + headerLength));
  out.payloadLength = length - headerLength;
  return out;
}

/** The IP packet of `packet` around `payload`. @throws RangeError when the payload has another length, or no IP packet can hold it */
export function buildPacket(packet: TcpPacket, payload: Uint8Array): Uint8Array {
  const family = packet.source.family;
  const optionBytes = packet.options.reduce((bytes, option) => bytes + option.length, 0);
  const tcpHeader = (TCP_HEADER + optionBytes + 3) & ~3;
  const extensions = Math.max(0, packet.ipOptions.length - (family === 4 ? 0 : 1));
  const start = (family === 4 ? IPV4_HEADER : IPV6_HEADER) + extensions;
  const length = tcpHeader + payload.length;
  if (payload.length !== packet.payloadLength) throw new RangeError(`payload of ${payload.length} bytes`);
  if (packet.destination.family !== family) throw new RangeError('addresses of two families');
  if (tcpHeader > 60 || start + length - (family === 4 ? 0 : IPV6_HEADER) > 0xffff)
    throw new RangeError('no such packet');
  const bytes = new Uint8Array(start + length);
  const view = new DataView(bytes.buffer);
  if (family === 4) writeHeader4(packet, bytes, view);
  else writeHeader6(packet, bytes, view, extensions + length);
  view.setUint16(start, packet.sourcePort);
  view.setUint16(start + 2, packet.destinationPort);
  view.setUint32(start + 4, packet.sequence);
  view.setUint32(start + 8, packet.acknowledgment);
  view.setUint16(start + 12, ((tcpHeader >> 2) << 12) | (packet.reserved << 9) | packet.flags);
  view.setUint16(start + 14, packet.window);
  view.setUint16(start + 18, packet.urgent);
  let at = start + TCP_HEADER;
  for (const option of packet.options) {
    bytes.set(option, at);
    at += option.length;
  }
  bytes.set(payload, start + tcpHeader);
  const addresses = new IpHeader();
  addresses.family = family;
  addresses.source0 = packet.source.w0;
  addresses.source1 = packet.source.w1;
  addresses.source2 = packet.source.w2;
  addresses.source3 = packet.source.w3;
  addresses.destination0 = packet.destination.w0;
  addresses.destination1 = packet.destination.w1;
  addresses.destination2 = packet.destination.w2;
  addresses.destination3 = packet.destination.w3;
  const total = sum(bytes, start, bytes.length, pseudoSum(addresses, Protocol.Tcp, length));
  view.setUint16(start + 16, packet.checksum < 0 ? complement(total) : packet.checksum);
  return bytes;
}

function writeHeader4(packet: TcpPacket, bytes: Uint8Array, view: DataView): void {
  view.setUint8(0, 0x40 | ((IPV4_HEADER + packet.ipOptions.length) >> 2));
  view.setUint8(1, packet.trafficClass);
  view.setUint16(2, bytes.length);
  view.setUint16(4, packet.identification);
  view.setUint8(6, (packet.dontFragment ? 0x40 : 0) | (packet.reservedFlag ? 0x80 : 0));
  view.setUint8(8, packet.hopLimit);
  view.setUint8(9, Protocol.Tcp);
  view.setUint32(12, packet.source.w3);
  view.setUint32(16, packet.destination.w3);
  bytes.set(packet.ipOptions, IPV4_HEADER);
  repairHeader(bytes, view);
  if (packet.ipChecksum >= 0) view.setUint16(10, packet.ipChecksum);
}

function writeHeader6(packet: TcpPacket, bytes: Uint8Array, view: DataView, payloadLength: number): void {
  const { source, destination, ipOptions } = packet;
  view.setUint32(0, 0x6000_0000 | (packet.trafficClass << 20) | packet.flowLabel);
  view.setUint16(4, payloadLength);
  view.setUint8(6, ipOptions[0] ?? Protocol.Tcp);
  view.setUint8(7, packet.hopLimit);
  const words = [source.w0, source.w1, source.w2, source.w3];
  words.push(destination.w0, destination.w1, destination.w2, destination.w3);
  for (let index = 0; index < 8; index++) view.setUint32(8 + (index << 2), words[index]!);
  bytes.set(ipOptions.subarray(1), IPV6_HEADER);
}

/** Puts the right checksum into the IPv4 header at 0. */
function repairHeader(bytes: Uint8Array, view: DataView): void {
  view.setUint16(10, 0);
  view.setUint16(10, complement(sum(bytes, 0, (bytes[0]! & 0xf) << 2, 0)));
}

/** Letters of the flags, in tcpdump's order. */
const LETTERS = [
  ['F', Flag.Fin],
  ['S', Flag.Syn],
  ['R', Flag.Rst],
  ['P', Flag.Psh],
  ['.', Flag.Ack],
  ['U', Flag.Urg],
  ['E', Flag.Ece],
  ['W', Flag.Cwr],
  ['A', Flag.Ae],
] as const;

/** How much of a line is wanted. */
export interface NotationStyle {
  /** Print the addresses and the bracket of IP fields; true unless given. */
  readonly addresses?: boolean;
  /** What numbers are relative to; absolute unless given. */
  readonly origins?: Origins;
}

export function formatPacket(packet: TcpPacket, style: NotationStyle = {}): string {
  const origins = style.origins ?? ABSOLUTE;
  const parts: string[] = [];
  if (style.addresses !== false) {
    parts.push(endpoint(packet.source, packet.sourcePort), '>', endpoint(packet.destination, packet.destinationPort));
    const fields = ipFields(packet);
    if (fields.length > 0) parts.push(`[${fields.join(',')}]`);
  }
  const flags = LETTERS.map(([letter, bit]) => ((packet.flags & bit) !== 0 ? letter : '')).join('');
  const start = (packet.sequence - origins.sequence) >>> 0;
  parts.push(flags === '' ? '-' : flags);
  parts.push(`${start}:${(start + packet.payloadLength) >>> 0}(${packet.payloadLength})`);
  if ((packet.flags & Flag.Ack) !== 0) parts.push(`ack ${(packet.acknowledgment - origins.acknowledgment) >>> 0}`);
  else if (packet.acknowledgment !== 0) parts.push(`rawack ${packet.acknowledgment}`);
  parts.push(`win ${packet.window}`);
  if (packet.urgent !== 0) parts.push(`urg ${packet.urgent}`);
  if (packet.reserved !== 0) parts.push(`res ${packet.reserved}`);
  if (packet.checksum >= 0) parts.push(`sum 0x${packet.checksum.toString(16).padStart(4, '0')}`);
  if (packet.options.length > 0) {
    parts.push(`<${packet.options.map((option) => formatOption(option, packet.flags, origins)).join(',')}>`);
  }
  return parts.join(' ');
}

function endpoint(address: Address, port: number): string {
  return address.family === 4 ? `${address}:${port}` : `[${address}]:${port}`;
}

function ipFields(packet: TcpPacket): string[] {
  const fields: string[] = [];
  if (packet.hopLimit !== 64) fields.push(`ttl ${packet.hopLimit}`);
  if (packet.trafficClass !== 0) fields.push(`tos 0x${packet.trafficClass.toString(16)}`);
  if (packet.flowLabel !== 0) fields.push(`flow 0x${packet.flowLabel.toString(16)}`);
  if (packet.identification !== 0) fields.push(`id ${packet.identification}`);
  if (!packet.dontFragment) fields.push('nodf');
  if (packet.reservedFlag) fields.push('reserved');
  if (packet.ipOptions.length > 0) fields.push(`options 0x${hex(packet.ipOptions)}`);
  if (packet.ipChecksum >= 0) fields.push(`sum 0x${packet.ipChecksum.toString(16).padStart(4, '0')}`);
  return fields;
}

const ENDPOINTS =
  /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+)\s+>\s+(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+)(?:\s+\[([^\]]*)\])?\s+/i;
const SEGMENT = /^([FSRPU.EWA]{1,9}|-)\s+(\d+):(\d+)\((\d+)\)((?:\s+[a-z]+\s+\w+)*)\s*(?:<([^>]*)>)?\s*$/;

/** No packet needs a longer line; keeps the expressions above from working long on what is none. */
const LONGEST = 8192;

/**
 * Reads a line of `formatPacket`. What it leaves out is taken from `defaults` (addresses, ports, window and so on); its
 * sequence numbers are relative to `origins`.
 */
export function parsePacket(
  text: string,
  defaults: TcpPacket = emptyPacket(),
  origins: Origins = ABSOLUTE,
): TcpPacket | NotationProblem {
  const out: TcpPacket = { ...defaults };
  if (text.length > LONGEST) return new NotationProblem(`a line of ${text.length} characters`);
  let rest = text.trim();
  const head = ENDPOINTS.exec(rest);
  if (head !== null) {
    const source = Address.parse(head[1] ?? head[2]!);
    const destination = Address.parse(head[4] ?? head[5]!);
    const sourcePort = integer(head[3], 0xffff);
    const destinationPort = integer(head[6], 0xffff);
    if (source === undefined || destination === undefined || source.family !== destination.family) {
      return new NotationProblem('addresses not understood');
    }
    if (sourcePort === undefined || destinationPort === undefined) return new NotationProblem('no such port');
    out.source = source;
    out.destination = destination;
    out.sourcePort = sourcePort;
    out.destinationPort = destinationPort;
    if (head[7] !== undefined) {
      const problem = parseIpFields(head[7], out);
      if (problem !== undefined) return problem;
    }
    rest = rest.slice(head[0].length);
  }
  const match = SEGMENT.exec(rest);
  if (match === null) return new NotationProblem('not FLAGS FIRST:LAST(LENGTH) … <OPTIONS>');
  out.flags = 0;
  for (const [letter, bit] of LETTERS) if (match[1]!.includes(letter)) out.flags |= bit;
  const first = integer(match[2], 0xffff_ffff);
  const last = integer(match[3], 0xffff_ffff);
  const length = integer(match[4], 0xffff);
  if (first === undefined || last === undefined || length === undefined || (first + length) >>> 0 !== last) {
    return new NotationProblem('sequence numbers and length disagree');
  }
  out.sequence = (first + origins.sequence) >>> 0;
  out.payloadLength = length;
  const problem = parseFields(match[5]!, out, origins) ?? parseOptions(match[6] ?? '', out, origins);
  return problem ?? out;
}

function parseFields(text: string, out: TcpPacket, origins: Origins): NotationProblem | undefined {
  const tokens = text.trim().split(/\s+/);
  for (let index = 0; index + 1 < tokens.length; index += 2) {
    const name = tokens[index]!;
    const value = integer(
      tokens[index + 1],
      name === 'ack' || name === 'rawack' ? 0xffff_ffff : name === 'res' ? 7 : 0xffff,
    );
    if (value === undefined) return new NotationProblem(`${name} ${tokens[index + 1]}: no such value`);
    if (name === 'ack') out.acknowledgment = (value + origins.acknowledgment) >>> 0;
    else if (name === 'rawack') out.acknowledgment = value;
    else if (name === 'win') out.window = value;
    else if (name === 'urg') out.urgent = value;
    else if (name === 'res') out.reserved = value;
    else if (name === 'sum') out.checksum = value;
    else return new NotationProblem(`${name}: no such field`);
  }
  return undefined;
}

function parseOptions(text: string, out: TcpPacket, origins: Origins): NotationProblem | undefined {
  const options: OptionBytes[] = [];
  let bytes = 0;
  // Commas inside [] belong to lists.
  for (const item of text.trim() === '' ? [] : text.split(/,(?![^[]*\])/)) {
    const option = parseOption(item, origins);
    if (option instanceof NotationProblem) return option;
    options.push(option);
    bytes += option.length;
  }
  if (bytes > 40) return new NotationProblem(`${bytes} bytes of options, of at most 40`);
  out.options = options;
  return undefined;
}

function parseIpFields(text: string, out: TcpPacket): NotationProblem | undefined {
  for (const field of text.trim() === '' ? [] : text.split(',')) {
    const [name, value, ...more] = field.trim().split(/\s+/);
    const problem = new NotationProblem(`${field}: no such IP field`);
    if (more.length > 0) return problem;
    if (name === 'nodf' && value === undefined) out.dontFragment = false;
    else if (name === 'reserved' && value === undefined) out.reservedFlag = true;
    else if (name === 'options') {
      const bytes = bytesOf(value ?? '', 1, out.source.family === 4 ? 40 : 2048);
      if (bytes === undefined || (out.source.family === 4 && bytes.length % 4 !== 0)) return problem;
      out.ipOptions = bytes;
    } else {
      const most = name === 'flow' ? 0xf_ffff : name === 'id' || name === 'sum' ? 0xffff : 255;
      const number = integer(value, most);
      if (number === undefined) return problem;
      if (name === 'ttl') out.hopLimit = number;
      else if (name === 'tos') out.trafficClass = number;
      else if (name === 'flow') out.flowLabel = number;
      else if (name === 'id') out.identification = number;
      else if (name === 'sum') out.ipChecksum = number;
      else return problem;
    }
  }
  return undefined;
}

import { readFileSync } from 'node:fs';
import { type CaptureProblem, CaptureReader, Frame } from '../trace/capture.ts';
import { FlowTracker, type TracedSegment } from '../trace/flows.ts';
import { locateIp } from '../trace/link-layer.ts';
import { Address } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { decodeIcmp, IcmpMessage } from '../wire/icmp.ts';
import { decodeIp, IpHeader, Protocol } from '../wire/ip.ts';
import { describePacket, formatPacket } from '../wire/notation.ts';
import { ChecksumState, Packet } from '../wire/packet.ts';
import { Segment } from '../wire/segment.ts';
import { decodeTcp } from '../wire/tcp.ts';

/** `mptcp decode`: a capture as one line of text, or one JSON object, a packet. */

const HELP = `usage: mptcp decode FILE [--json] [--absolute]

Prints one line a packet of a pcap or pcapng file ("-": standard input): time since the first packet in
seconds, interface (when the file names it), connection.subflow, addresses, and the TCP header with all
options, MPTCP's among them. Sequence numbers, acknowledgments and data sequence numbers count from the
connection's start, as far as its handshake is in the file.

  --json      one JSON object a line
  --absolute  numbers as they stand on the wire
  --help      this text
`;

/** Runs the command. @returns the exit code: 0, 1 for a file that cannot be read to its end, 2 for wrong usage */
export async function decode(args: string[]): Promise<number> {
  const options = args.filter((argument) => argument.startsWith('-') && argument !== '-');
  const files = args.filter((argument) => !argument.startsWith('-') || argument === '-');
  if (options.includes('--help') || options.includes('-h')) {
    await print(HELP);
    return 0;
  }
  const unknown = options.find((option) => option !== '--json' && option !== '--absolute');
  if (unknown !== undefined) return complain(`unknown option ${unknown}; try mptcp decode --help`, 2);
  if (files.length !== 1) return complain('one capture file, please; try mptcp decode --help', 2);
  const file = files[0]!;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(file === '-' ? 0 : file);
  } catch (error) {
    return complain(`${file}: ${reason(error)}`, 1);
  }
  const json = options.includes('--json');
  const printer = new Decoder(bytes, options.includes('--absolute'));
  let text = '';
  for (let line = printer.next(); line !== undefined; line = printer.next()) {
    text += `${json ? JSON.stringify(line) : lineText(line)}\n`;
    if (text.length < CHUNK) continue;
    if (!(await print(text))) return 0;
    text = '';
  }
  if (!(await print(text))) return 0;
  const problem = printer.problem;
  return problem === undefined ? 0 : complain(`${file}: ${problem.message} (offset ${problem.offset})`, 1);
}

const CHUNK = 65_536;
/** A jumbogram aside, no IP packet is longer with its link header. */
const LARGEST_FRAME = 65_536 + 256;
/** An IPv4 and a TCP header without options: with less there is nothing to tell about a packet. */
const LEAST_HEADERS = 40;
const CUT_HEADERS = { text: 'headers were not captured whole' };
/** Of an ICMP message no more is read: its header, the quoted IPv6 header and the first 8 bytes behind it. */
const ICMP_READ = 56;

/** One packet, as `--json` prints it. */
export interface DecodedLine {
  /** Counted from 1. */
  readonly frame: number;
  /** Seconds since the first frame, exact to the nanosecond. */
  readonly time: string;
  readonly interface?: string;
  readonly connection?: number;
  readonly subflow?: number;
  readonly multipath?: boolean;
  readonly source?: string;
  readonly destination?: string;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly payloadLength?: number;
  /** The rest in notation; or what the packet is, when it is no TCP. */
  readonly text: string;
  readonly comment?: string;
}

/** Decodes a capture, a packet at a time. */
export class Decoder {
  readonly #reader: CaptureReader;
  readonly #absolute: boolean;
  readonly #frame = new Frame();
  readonly #flows = new FlowTracker();
  readonly #ip = new IpHeader();
  readonly #segment = new Segment();
  readonly #icmp = new IcmpMessage();
  readonly #packet: Packet;
  /** Where a frame of which only the beginning was captured gets the rest of its length, as zeros. */
  readonly #whole: Packet;
  #count = 0;
  #firstSeconds = 0;
  #firstNanoseconds = 0;

  constructor(bytes: Uint8Array, absolute: boolean) {
    this.#reader = new CaptureReader(bytes);
    this.#absolute = absolute;
    this.#packet = new Packet(0, 0, bytes);
    this.#packet.checksum = ChecksumState.Verified;
    this.#whole = new Packet(0, 0, new Uint8Array(LARGEST_FRAME));
    this.#whole.checksum = ChecksumState.Verified;
  }

  get problem(): CaptureProblem | undefined {
    return this.#reader.problem;
  }

  next(): DecodedLine | undefined {
    const frame = this.#frame;
    if (!this.#reader.next(frame)) return undefined;
    this.#count++;
    if (this.#count === 1) {
      this.#firstSeconds = frame.seconds;
      this.#firstNanoseconds = frame.nanoseconds;
    }
    return {
      frame: this.#count,
      time: elapsed(frame.seconds - this.#firstSeconds, frame.nanoseconds - this.#firstNanoseconds),
      ...(frame.interfaceName === '' ? {} : { interface: frame.interfaceName }),
      ...this.#decodeFrame(frame),
      ...(frame.comment === '' ? {} : { comment: frame.comment }),
    };
  }

  #decodeFrame(frame: Frame): Omit<DecodedLine, 'frame' | 'time'> {
    const start = locateIp(this.#packet.bytes, frame.start, frame.end, frame.linkType);
    if (start < 0) return { text: `no IP (link type ${frame.linkType}, ${frame.end - frame.start} bytes)` };
    const packet = this.#packetOf(frame, start);
    const ip = this.#ip;
    const captured = packet.start + frame.end - start;
    if (packet.end > captured && captured - packet.start < LEAST_HEADERS) return CUT_HEADERS;
    const drop = decodeIp(packet, ip);
    if (drop !== Drop.None && drop !== Drop.BadIpChecksum) return { text: `IP: ${dropName(drop)}` };
    if (drop === Drop.None && ip.protocol !== Protocol.Tcp) return this.#decodeOther(packet, captured);
    const described = describePacket(packet.bytes.subarray(packet.start, packet.end));
    if (typeof described === 'number') return { text: `TCP: ${dropName(described)}` };
    if (packet.end > captured) {
      const headersEnd = (drop === Drop.None ? ip.payloadEnd : packet.end) - described.payloadLength;
      if (headersEnd > captured) return CUT_HEADERS;
      // A checksum over bytes that are missing says nothing.
      described.checksum = -1;
    }
    const text = (placed: TracedSegment | undefined): string =>
      formatPacket(described, {
        addresses: false,
        ...(placed === undefined || this.#absolute ? {} : { origins: placed.origins }),
      });
    const place = {
      source: described.source.toString(),
      destination: described.destination.toString(),
      sourcePort: described.sourcePort,
      destinationPort: described.destinationPort,
      payloadLength: described.payloadLength,
    };
    if (drop !== Drop.None || decodeTcp(packet, ip, this.#segment) !== Drop.None) {
      return { ...place, text: `${text(undefined)} (bad header checksum)` };
    }
    const placed = this.#flows.onSegment(this.#segment);
    const { connection, id } = placed.subflow;
    return {
      connection: connection.number,
      subflow: id,
      multipath: connection.isMultipath,
      ...place,
      text: text(placed),
    };
  }

  /** The frame from its IP header on; as long as it was on the wire, whatever of it was captured. */
  #packetOf(frame: Frame, start: number): Packet {
    const captured = frame.end - start;
    const length = captured + Math.max(0, frame.originalLength - (frame.end - frame.start));
    if (length === captured || length > LARGEST_FRAME) {
      this.#packet.start = start;
      this.#packet.end = frame.end;
      return this.#packet;
    }
    const whole = this.#whole;
    whole.bytes.set(this.#packet.bytes.subarray(start, frame.end));
    whole.bytes.fill(0, captured, length);
    whole.end = length;
    return whole;
  }

  #decodeOther(packet: Packet, captured: number): Omit<DecodedLine, 'frame' | 'time'> {
    const ip = this.#ip;
    const place = {
      source: new Address(ip.family, ip.source0, ip.source1, ip.source2, ip.source3).toString(),
      destination: new Address(
        ip.family,
        ip.destination0,
        ip.destination1,
        ip.destination2,
        ip.destination3,
      ).toString(),
    };
    const length = ip.payloadEnd - ip.payloadStart;
    if (ip.protocol !== Protocol.Icmp && ip.protocol !== Protocol.Icmp6) {
      return { ...place, text: `IP protocol ${ip.protocol}, ${length} bytes` };
    }
    if (captured < Math.min(ip.payloadEnd, ip.payloadStart + ICMP_READ)) {
      return { ...place, text: 'icmp: was not captured whole' };
    }
    const drop = decodeIcmp(packet, ip, this.#icmp);
    const name = ip.protocol === Protocol.Icmp ? 'icmp' : 'icmp6';
    return { ...place, text: drop === Drop.None ? `${name} ${icmpText(this.#icmp)}` : `${name}: ${dropName(drop)}` };
  }
}

function icmpText(message: IcmpMessage): string {
  if (message.isEcho) {
    const kind = message.isRequest ? 'echo request' : 'echo reply';
    return `${kind} id ${message.identifier} seq ${message.sequence} (${message.dataEnd - message.dataStart})`;
  }
  const head = `type ${message.type} code ${message.code}`;
  if (!message.isError) return head;
  const mtu = message.mtu === 0 ? '' : ` mtu ${message.mtu}`;
  const ports = `ports ${message.quotedSourcePort} > ${message.quotedDestinationPort}`;
  return `${head}${mtu} about protocol ${message.quotedProtocol} ${ports}`;
}

/** `2.000000001`, and `-0.5…` for a frame that is older than the first. */
function elapsed(seconds: number, nanoseconds: number): string {
  const negative = seconds < 0 || (seconds === 0 && nanoseconds < 0);
  let whole = negative ? -seconds : seconds;
  let rest = negative ? -nanoseconds : nanoseconds;
  if (rest < 0) {
    whole -= 1;
    rest += 1e9;
  }
  const digits = rest % 1000 === 0 ? String(rest / 1000).padStart(6, '0') : String(rest).padStart(9, '0');
  return `${negative ? '-' : ''}${whole}.${digits}`;
}

function lineText(line: DecodedLine): string {
  const parts = [line.time];
  if (line.interface !== undefined) parts.push(line.interface);
  if (line.connection !== undefined) parts.push(`${line.connection}.${line.subflow}`);
  if (line.source !== undefined) {
    parts.push(endpoint(line.source, line.sourcePort), '>', endpoint(line.destination!, line.destinationPort));
  }
  parts.push(line.text);
  if (line.comment !== undefined) parts.push(`# ${printable(line.comment)}`);
  return parts.join(' ');
}

function endpoint(address: string, port: number | undefined): string {
  if (port === undefined) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** One line, and nothing that a terminal obeys. */
function printable(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ');
}

function dropName(drop: number): string {
  const name = Object.entries(Drop).find(([, value]) => value === drop)?.[0] ?? 'Unknown';
  return name.replace(/(?<=[a-z])[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).toLowerCase();
}

function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'no such file';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'EISDIR') return 'is a directory';
  return error instanceof Error ? error.message : String(error);
}

function complain(message: string, code: number): number {
  process.stderr.write(`mptcp decode: ${message}\n`);
  return code;
}

/** Whether the reader is still there: `mptcp decode FILE | head` ends quietly. */
function print(text: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      if (error.code === 'EPIPE') resolve(false);
      else reject(error);
    };
    process.stdout.once('error', onError);
    process.stdout.write(text, (error) => {
      if (error !== undefined && error !== null) return;
      process.stdout.removeListener('error', onError);
      resolve(true);
    });
  });
}

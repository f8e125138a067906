import { checksumResidue, Headers, restoreChecksum } from '../../../src/link/headers.ts';
import { HEADROOM, IoStatus, type PacketIo } from '../../../src/node/packet-io.ts';
import { Drop } from '../../../src/wire/drop.ts';
import { decodeIp, IpHeader, Protocol } from '../../../src/wire/ip.ts';
import { Dss, Mptcp } from '../../../src/wire/mptcp-options.ts';
import { ChecksumState, type Packet } from '../../../src/wire/packet.ts';
import { Flag, Segment } from '../../../src/wire/segment.ts';
import { decodeTcp } from '../../../src/wire/tcp.ts';

/** Which packets a rule is about. */
export type Match =
  | 'all'
  /** Without payload, SYN, FIN and RST. */
  | 'pure-ack'
  /** With payload. */
  | 'data'
  | 'syn'
  | 'mp-capable-syn'
  | 'mp-join-syn'
  | 'mp-join-ack'
  | 'add-addr'
  | 'add-addr-echo'
  | 'remove-addr'
  | 'mp-prio'
  | 'mp-fail'
  | 'fastclose'
  /** DATA_FIN, with data or without. */
  | 'data-fin'
  | 'fin'
  | 'rst';

export interface FilterRule {
  /** Seen from our stack. */
  readonly direction: 'in' | 'out';
  readonly match: Match;
  /** `corrupt` changes a byte of the payload so that only a DSS checksum can tell. */
  readonly action: 'drop' | 'corrupt';
  /** Matching packets to spare first. Default 0. */
  readonly skip?: number;
  /** Matching packets to act on, then the rule is spent. Default: all. */
  readonly count?: number;
}

interface ActiveRule {
  readonly id: number;
  readonly rule: FilterRule;
  seen: number;
  hits: number;
}

/** A device whose packets may get lost or damaged on the way, silently, as rules say. */
export class FilteredIo implements PacketIo {
  private readonly device: PacketIo;
  private readonly rules: ActiveRule[] = [];
  private readonly ip = new IpHeader();
  private readonly segment = new Segment();
  private readonly headers = new Headers();
  private nextId = 1;

  constructor(device: PacketIo) {
    this.device = device;
  }

  get name(): string {
    return this.device.name;
  }

  get mtu(): number {
    return this.device.mtu;
  }

  get segmentationOffload(): boolean {
    return this.device.segmentationOffload;
  }

  get checksumOffload(): boolean {
    return this.device.checksumOffload;
  }

  /** @returns a number to ask and to remove it by */
  add(rule: FilterRule): number {
    const id = this.nextId++;
    this.rules.push({ id, rule, seen: 0, hits: 0 });
    return id;
  }

  remove(id: number): void {
    const index = this.rules.findIndex((entry) => entry.id === id);
    if (index >= 0) this.rules.splice(index, 1);
  }

  /** Packets that the rule acted on. */
  hits(id: number): number {
    return this.rules.find((entry) => entry.id === id)?.hits ?? 0;
  }

  read(packet: Packet): number {
    for (;;) {
      const status = this.device.read(packet);
      if (status !== IoStatus.Done || this.rules.length === 0 || this.passes('in', packet)) return status;
      packet.start = HEADROOM;
    }
  }

  write(packet: Packet): number {
    if (this.rules.length > 0 && !this.passes('out', packet)) return IoStatus.Done;
    return this.device.write(packet);
  }

  private passes(direction: 'in' | 'out', packet: Packet): boolean {
    for (const entry of this.rules) {
      const { rule } = entry;
      if (rule.direction !== direction || !this.matches(rule.match, packet)) continue;
      entry.seen++;
      if (entry.seen <= (rule.skip ?? 0)) continue;
      if (rule.count !== undefined && entry.hits >= rule.count) continue;
      entry.hits++;
      if (rule.action === 'drop') return false;
      this.corrupt(packet);
    }
    return true;
  }

  private matches(match: Match, packet: Packet): boolean {
    if (match === 'all') return true;
    if (decodeIp(packet, this.ip) !== Drop.None || this.ip.protocol !== Protocol.Tcp) return false;
    const { segment } = this;
    if (decodeTcp(packet, this.ip, segment) !== Drop.None) return false;
    const length = segment.payloadEnd - segment.payloadStart;
    const { flags, mptcp } = segment;
    switch (match) {
      case 'pure-ack':
        return length === 0 && (flags & (Flag.Syn | Flag.Fin | Flag.Rst)) === 0;
      case 'data':
        return length > 0;
      case 'syn':
        return (flags & Flag.Syn) !== 0;
      case 'mp-capable-syn':
        return (mptcp.present & Mptcp.CapableSyn) !== 0;
      case 'mp-join-syn':
        return (mptcp.present & Mptcp.JoinSyn) !== 0;
      case 'mp-join-ack':
        return (mptcp.present & Mptcp.JoinAck) !== 0;
      case 'add-addr':
        return (mptcp.present & Mptcp.AddAddress) !== 0 && !mptcp.addEcho;
      case 'add-addr-echo':
        return (mptcp.present & Mptcp.AddAddress) !== 0 && mptcp.addEcho;
      case 'remove-addr':
        return (mptcp.present & Mptcp.RemoveAddress) !== 0;
      case 'mp-prio':
        return (mptcp.present & Mptcp.Priority) !== 0;
      case 'mp-fail':
        return (mptcp.present & Mptcp.Fail) !== 0;
      case 'fastclose':
        return (mptcp.present & Mptcp.FastClose) !== 0;
      case 'data-fin':
        return (mptcp.present & Mptcp.Dss) !== 0 && (mptcp.dssFlags & Dss.Fin) !== 0;
      case 'fin':
        return (flags & Flag.Fin) !== 0;
      default:
        return (flags & Flag.Rst) !== 0;
    }
  }

  /** Flips bits of the payload's middle byte; a TCP checksum that is there already is made to fit. */
  private corrupt(packet: Packet): void {
    const { headers } = this;
    if (!headers.locate(packet) || headers.payload === headers.end) return;
    const isComplete = packet.checksum === ChecksumState.Unverified;
    const residue = isComplete ? checksumResidue(packet, headers) : 0;
    const at = (headers.payload + headers.end) >>> 1;
    packet.bytes[at] = packet.bytes[at]! ^ 0x55;
    if (isComplete) restoreChecksum(packet, headers, residue);
  }

  start(onReady: (readiness: number) => void): void {
    this.device.start(onReady);
  }

  awaitWritable(): void {
    this.device.awaitWritable();
  }

  ref(): void {
    this.device.ref();
  }

  unref(): void {
    this.device.unref();
  }

  close(): void {
    this.device.close();
  }
}

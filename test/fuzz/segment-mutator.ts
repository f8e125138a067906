import type { MptcpConnection } from '../../src/mptcp/connection.ts';
import { Subflow } from '../../src/mptcp/subflow.ts';
import type { SeededRandom } from '../../src/sim/random.ts';
import { TcpConnection } from '../../src/tcp/connection.ts';
import type { Endpoint } from '../../src/tcp/endpoint.ts';
import { Handshake } from '../../src/tcp/handshake.ts';
import { Drop } from '../../src/wire/drop.ts';
import { encodeIcmpError } from '../../src/wire/icmp.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { ChecksumState, PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength, optionsLength } from '../../src/wire/tcp.ts';

const MAX_OPTIONS = 40;
/** Distances at which sequence numbers have their edges. */
const DISTANCES = [0, 1, -1, 2, 3, -3, 10, 100, 1399, 1400, -1400, 14_000, 65_535, 65_536, -65_536, 131_072, 2 ** 24];
const LENGTHS = [0, 1, 2, 10, 100, 1380, 1400, 3000, 65_535];
const SMALL_FLAGS = [Flag.Ack, Flag.Ack | Flag.Psh, Flag.Ack | Flag.Fin, Flag.Ack | Flag.Psh | Flag.Fin | Flag.Urg];
const ALL_MPTCP = [
  Mptcp.CapableSyn,
  Mptcp.CapableSynAck,
  Mptcp.CapableAck,
  Mptcp.CapableAck | Mptcp.CapableData,
  Mptcp.JoinSyn,
  Mptcp.JoinSynAck,
  Mptcp.JoinAck,
  Mptcp.Dss,
  Mptcp.Dss,
  Mptcp.Dss,
  Mptcp.AddAddress,
  Mptcp.RemoveAddress,
  Mptcp.Priority,
  Mptcp.Fail,
  Mptcp.FastClose,
  Mptcp.Reset,
];

/**
 * Turns valid packets into packets that get far: most look like the next segment of the connection in all fields but
 * one to four, some are cut up as bytes. All are what a peer could send; their checksums are right or vouched for.
 */
export class SegmentMutator {
  readonly packet: Packet = new Packet(PACKET_CAPACITY, 0);
  private readonly random: SeededRandom;
  private readonly segment = new Segment();
  private readonly ip = new IpHeader();
  private readonly spare = new Packet(PACKET_CAPACITY, 0);
  private readonly payload = new Uint8Array(PACKET_CAPACITY);
  private endpoint: Endpoint | null = null;

  constructor(random: SeededRandom) {
    this.random = random;
  }

  /**
   * Fills `packet` with a mutant of `base`, sent to `endpoint` (null: to none in particular). `other` is a further
   * packet whose options may be mixed in; `quoted` one that the receiver sent, for ICMP errors.
   */
  mutate(base: Uint8Array, endpoint: Endpoint | null, other: Uint8Array, quoted: Uint8Array | undefined): void {
    const { random, packet } = this;
    this.endpoint = endpoint;
    const kind = random.below(100);
    if (kind < 3 && quoted !== undefined) {
      this.icmp(quoted);
      return;
    }
    this.load(base, packet);
    if (decodeIp(packet, this.ip) !== Drop.None || decodeTcp(packet, this.ip, this.segment) !== Drop.None) return;
    let length = this.segment.length;
    this.payload.set(packet.bytes.subarray(this.segment.payloadStart, this.segment.payloadEnd));
    if (random.below(100) < 70) length = this.follow(length);
    for (let count = random.below(4); count > 0; count--) length = this.change(length);
    this.encode(length);
    if (kind < 12) this.damage(other);
    if (random.below(40) === 0) packet.gsoSize = [1, 100, 1400, 65_535][random.below(4)]!;
  }

  private load(bytes: Uint8Array, packet: Packet): void {
    packet.start = 0;
    packet.end = bytes.length;
    packet.bytes.set(bytes);
    packet.gsoSize = 0;
    packet.checksum = ChecksumState.Verified;
  }

  private encode(wanted: number): void {
    const { segment, packet } = this;
    while (optionsLength(segment) > MAX_OPTIONS) {
      if (segment.mptcp.present !== 0 && this.random.below(3) === 0) segment.options = 0;
      else segment.mptcp.present &= segment.mptcp.present - 1;
      if (segment.mptcp.present === 0) segment.options &= ~Option.Sack;
    }
    const header = headerLength(segment);
    const length = Math.min(wanted, 65_535 - header);
    packet.start = 0;
    packet.gsoSize = 0;
    packet.bytes.set(this.payload.subarray(0, length), header);
    encodeSegment(segment, packet, length, false);
    packet.checksum = this.random.below(4) === 0 ? ChecksumState.Unverified : ChecksumState.Verified;
  }

  /** A number near `from`, or anywhere. */
  private near(from: number): number {
    const { random } = this;
    const kind = random.below(16);
    if (kind === 0) return random.word();
    if (kind === 1) return (from + 0x8000_0000 + random.below(3) - 1) >>> 0;
    if (kind === 2) return (from + random.below(70_000)) >>> 0;
    return (from + DISTANCES[random.below(DISTANCES.length)]!) >>> 0;
  }

  private length(): number {
    return LENGTHS[this.random.below(LENGTHS.length)]!;
  }

  /** Makes the segment the one that its receiver waits for. */
  private follow(length: number): number {
    const { segment, endpoint, random } = this;
    if (endpoint instanceof TcpConnection) {
      const { receiver, sender } = endpoint;
      segment.sequence = receiver.space.toWire(receiver.nxt);
      segment.acknowledgment =
        (endpoint.negotiated.localInitial + (random.below(2) === 0 ? sender.nxt : sender.una)) >>> 0;
      if (random.below(8) !== 0) segment.flags &= ~(Flag.Syn | Flag.Rst);
      if (random.below(6) !== 0) segment.flags &= ~Flag.Fin;
      segment.flags |= Flag.Ack;
      if (endpoint.timestamps.inUse) {
        segment.options |= Option.Timestamps;
        segment.timestampValue = (endpoint.timestamps.recent + random.below(3)) >>> 0;
        segment.timestampEcho = this.near(segment.timestampEcho);
      }
      if (endpoint.extension instanceof Subflow) this.followData(endpoint.extension, receiver.nxt, length);
    } else if (endpoint instanceof Handshake) {
      if (random.below(2) === 0) segment.flags &= ~Flag.Rst;
      if (random.below(8) === 0) segment.flags &= ~Flag.Ack;
    } else if (endpoint === null && random.below(4) === 0) {
      if (random.below(2) === 0) segment.flags = Flag.Syn;
      // A client of its own: a listener has to do with many.
      segment.sourcePort = 1024 + random.below(64);
    }
    return length;
  }

  private followData(subflow: Subflow, nxt: number, length: number): void {
    const { segment, random } = this;
    const options = segment.mptcp;
    const { connection } = subflow;
    if (random.below(4) === 0) options.present = Mptcp.Dss;
    if ((options.present & Mptcp.Dss) === 0) return;
    if (random.below(6) === 0) options.dssFlags = random.below(32);
    else if (length > 0) options.dssFlags |= Dss.Map;
    if (connection.receiveSpace !== null) {
      const from = connection.receiveNext;
      options.dataSequenceLow = connection.receiveSpace.toWireLow(from);
      options.dataSequenceHigh = connection.receiveSpace.toWireHigh(from);
    }
    const acknowledged = random.below(2) === 0 ? connection.sendUna : connection.sendNxt;
    options.dataAckLow = connection.sendSpace.toWireLow(acknowledged);
    options.dataAckHigh = connection.sendSpace.toWireHigh(acknowledged);
    options.subflowSequence = nxt >>> 0;
    options.dataLength = length & 0xffff;
    options.hasChecksum = connection.checksums;
  }

  /** Changes one thing. Returns the payload's length. */
  private change(length: number): number {
    const { segment, random, endpoint } = this;
    switch (random.below(24)) {
      case 0:
        segment.flags ^= 1 << random.below(9);
        return length;
      case 1:
        segment.flags = random.below(4) === 0 ? random.below(512) : SMALL_FLAGS[random.below(SMALL_FLAGS.length)]!;
        return length;
      case 2:
      case 3:
        segment.sequence = this.near(segment.sequence);
        return length;
      case 4:
      case 5:
        segment.acknowledgment = this.near(segment.acknowledgment);
        return length;
      case 6:
        segment.window = [0, 1, 2, 100, 1000, 65_535, random.below(65_536)][random.below(7)]!;
        return length;
      case 7:
        return this.length();
      case 8:
        segment.options ^= [1, 2, 4, 8, 16, 32][random.below(6)]!;
        if ((segment.options & Option.Sack) !== 0 && segment.sackCount === 0) this.sack();
        return length;
      case 9:
        segment.timestampValue = this.near(segment.timestampValue);
        segment.timestampEcho = this.near(segment.timestampEcho);
        return length;
      case 10:
      case 11:
        this.sack();
        return length;
      case 12:
        segment.mss = [0, 1, 88, 536, 1460, 65_535][random.below(6)]!;
        segment.windowScale = random.below(16);
        segment.options |= Option.MaximumSegmentSize | Option.WindowScale;
        return length;
      case 13:
        segment.urgent = random.below(65_536);
        segment.flags |= Flag.Urg;
        return length;
      case 14:
        if (random.below(20) === 0) segment.sourcePort = random.below(65_536);
        else segment.trafficClass = random.below(256);
        return length;
      case 15:
        // As if it came from the receiver's past or future: its own numbers.
        if (endpoint instanceof TcpConnection)
          segment.sequence = endpoint.receiver.space.toWire(endpoint.receiver.edge);
        return length;
      case 16:
        segment.mptcp.present = random.below(2) === 0 ? 0 : ALL_MPTCP[random.below(ALL_MPTCP.length)]!;
        this.changeMptcp();
        return length;
      case 17:
        segment.mptcp.present |= ALL_MPTCP[random.below(ALL_MPTCP.length)]!;
        this.changeMptcp();
        return length;
      default:
        this.changeMptcp();
        return length;
    }
  }

  private sack(): void {
    const { segment, random, endpoint } = this;
    segment.options |= Option.Sack;
    segment.sackCount = 1 + random.below(4);
    let from = segment.acknowledgment;
    let flight = 3000;
    if (endpoint instanceof TcpConnection && random.below(8) !== 0) {
      from = (endpoint.negotiated.localInitial + endpoint.sender.una) >>> 0;
      flight = endpoint.sender.nxt - endpoint.sender.una + 2;
    }
    for (let index = 0; index < segment.sackCount; index++) {
      const left = random.below(8) === 0 ? this.near(from) : (from + random.below(flight)) >>> 0;
      segment.sackEdges[2 * index] = left;
      segment.sackEdges[2 * index + 1] = random.below(8) === 0 ? this.near(left) : (left + random.below(3000)) >>> 0;
    }
  }

  private get connection(): MptcpConnection | null {
    const extension =
      this.endpoint instanceof TcpConnection || this.endpoint instanceof Handshake ? this.endpoint.extension : null;
    return extension instanceof Subflow ? extension.connection : null;
  }

  private changeMptcp(): void {
    const { random } = this;
    const options = this.segment.mptcp;
    const { present } = options;
    const { connection } = this;
    if ((present & Mptcp.Dss) !== 0) this.changeDss();
    if ((present & 0x000f) !== 0) {
      if (random.below(3) === 0) options.version = random.below(4);
      if (random.below(3) === 0) options.capableFlags = random.below(256);
      if (random.below(3) === 0) options.senderKeyLow = random.word();
      if (random.below(6) === 0) options.receiverKeyLow = random.word();
      options.dataLength = random.below(4) === 0 ? this.length() & 0xffff : options.dataLength;
      options.hasChecksum = random.below(2) === 0;
    }
    if ((present & 0x0070) !== 0) {
      if (connection !== null && random.below(4) !== 0) options.joinToken = connection.token;
      else options.joinToken = random.word();
      options.joinNonce = random.word();
      options.joinBackup = random.below(2) === 0;
      options.joinAddressId = random.below(256);
      if (random.below(2) === 0) options.joinHmac[random.below(20)] = random.below(256);
      if ((present & Mptcp.JoinSyn) !== 0 && random.below(2) === 0) {
        this.segment.flags = Flag.Syn;
        if (random.below(2) === 0) this.segment.sourcePort = 1024 + random.below(64);
      }
    }
    if ((present & Mptcp.AddAddress) !== 0) {
      options.addEcho = random.below(2) === 0;
      options.addId = random.below(12);
      options.addFamily = random.below(2) === 0 ? 4 : 6;
      if (random.below(2) === 0) options.add3 = random.word();
      options.addPort = random.below(3) === 0 ? random.below(65_536) : 0;
    }
    if ((present & Mptcp.RemoveAddress) !== 0) {
      options.removeCount = 1 + random.below(8);
      for (let index = 0; index < options.removeCount; index++) options.removeIds[index] = random.below(6);
    }
    if ((present & Mptcp.Priority) !== 0) options.priorityBackup = random.below(2) === 0;
    if ((present & Mptcp.Fail) !== 0) {
      options.failLow = this.near(options.dataAckLow);
      options.failHigh = options.dataAckHigh;
    }
    if ((present & Mptcp.FastClose) !== 0 && connection !== null && random.below(8) === 0) {
      options.fastCloseKeyHigh = connection.localKey.high;
      options.fastCloseKeyLow = connection.localKey.low;
    }
    if ((present & Mptcp.Reset) !== 0) {
      options.resetFlags = random.below(16);
      options.resetReason = random.below(9);
    }
  }

  private changeDss(): void {
    const { random } = this;
    const options = this.segment.mptcp;
    switch (random.below(8)) {
      case 0:
        options.dssFlags = random.below(32);
        break;
      case 1:
        options.dataSequenceLow = this.near(options.dataSequenceLow);
        break;
      case 2:
        options.dataSequenceHigh = random.below(2) === 0 ? random.word() : (options.dataSequenceHigh + 1) >>> 0;
        break;
      case 3:
        options.subflowSequence = this.near(options.subflowSequence);
        break;
      case 4:
        options.dataLength = random.below(2) === 0 ? 0 : this.length() & 0xffff;
        break;
      case 5:
        options.hasChecksum = !options.hasChecksum;
        options.checksum = random.below(65_536);
        break;
      case 6:
        options.dataAckLow = this.near(options.dataAckLow);
        break;
      default:
        options.dssFlags ^= 1 << random.below(5);
    }
  }

  /** Cuts the packet's bytes up: option areas doubled, truncated and extended, bits turned, ends cut off. */
  private damage(other: Uint8Array): void {
    const { packet, random } = this;
    const { bytes, view } = packet;
    packet.checksum = ChecksumState.Verified;
    const tcp = (bytes[0]! >> 4 === 4 ? 20 : 40) + packet.start;
    switch (random.below(5)) {
      case 0: {
        // The options of another segment behind, or before, its own.
        this.load(other, this.spare);
        const theirs = (other[0]! >> 4 === 4 ? 20 : 40) + 20;
        const room = Math.min(MAX_OPTIONS, packet.end - tcp - 20);
        const at = tcp + 20 + (random.below(room + 1) & ~3);
        const end = Math.min(tcp + 20 + MAX_OPTIONS, packet.end);
        for (let index = 0; at + index < end && theirs + index < other.length; index++)
          bytes[at + index] = other[theirs + index]!;
        bytes[tcp + 12] = ((5 + random.below(11)) << 4) | (bytes[tcp + 12]! & 0xf);
        break;
      }
      case 1:
        bytes[tcp + 12] = (random.below(16) << 4) | (bytes[tcp + 12]! & 0xf);
        break;
      case 2:
        for (let count = 1 + random.below(6); count > 0; count--) {
          bytes[tcp + random.below(Math.min(60, packet.end - tcp))] = random.below(256);
        }
        break;
      case 3:
        packet.end = packet.start + random.below(packet.end - packet.start + 1);
        if (random.below(2) === 0 && packet.end - packet.start >= tcp + 20) this.relength(view, tcp);
        break;
      default:
        this.flip(tcp + 20 + random.below(MAX_OPTIONS));
    }
  }

  private flip(at: number): void {
    const { bytes } = this.packet;
    bytes[at] = bytes[at]! ^ (1 << this.random.below(8));
  }

  /** The IP length is what is left. */
  private relength(view: DataView, tcp: number): void {
    const { packet } = this;
    if (tcp === 40) {
      view.setUint16(4, packet.end - 40);
      return;
    }
    view.setUint16(2, packet.end);
    view.setUint16(10, 0);
    let sum = 0;
    for (let at = 0; at < 20; at += 2) sum += view.getUint16(at);
    while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
    view.setUint16(10, ~sum & 0xffff);
  }

  /** A router complains about `quoted`, which the receiver sent, or would have. */
  private icmp(quoted: Uint8Array): void {
    const { random, packet, spare } = this;
    this.load(quoted, spare);
    if (decodeIp(spare, this.ip) !== Drop.None) return;
    const tcp = this.ip.payloadStart;
    if (random.below(2) === 0) spare.view.setUint32(tcp + 4, this.near(spare.view.getUint32(tcp + 4)));
    packet.start = 0;
    const four = this.ip.family === 4;
    const type = four ? [3, 3, 3, 4, 5, 11, 12][random.below(7)]! : 1 + random.below(4);
    const value = [0, 1, 67, 68, 576, 1279, 1280, 1400, 1500, 70_000][random.below(10)]!;
    // Soft ones mostly; hard ones would end every handshake at once.
    const tooBig = four ? type === 3 : type === 2;
    encodeIcmpError(
      spare,
      this.ip,
      type,
      tooBig && random.below(8) !== 0 ? (four ? 4 : 0) : random.below(16),
      value,
      packet,
    );
    if (random.below(4) === 0) packet.end -= random.below(packet.end - packet.start);
  }
}

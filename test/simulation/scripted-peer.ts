import { equal, ok } from 'node:assert/strict';
import { addAddressHmac, joinHmac, Key, word } from '../../src/mptcp/keys.ts';
import { type HostSettings, SimulatedHost } from '../../src/sim/host.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Family, Protocol, SocketType } from '../../src/sockets/sockets.ts';
import type { Connection } from '../../src/stack/connection.ts';
import { Address } from '../../src/wire/address.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Capable, Dss, Mptcp, type MptcpOptions } from '../../src/wire/mptcp-options.ts';
import { ChecksumState, PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { DataSequenceSpace } from '../../src/wire/sequence.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';

/** Values of `MptcpOptions` for one segment. */
export type OptionFields = Partial<MptcpOptions>;

/** One segment of the peer's. Offsets: its SYN is 0, its first byte 1. */
export interface Spoken {
  /** Subflow offset; the line's next unless given. */
  readonly at?: number;
  /** Offset acknowledged; all that came unless given. */
  readonly ack?: number;
  /** `Flag`s; ACK unless given. */
  readonly flags?: number;
  readonly window?: number;
  readonly urgent?: number;
  readonly payload?: Uint8Array;
  readonly options?: OptionFields;
  /** Changes the packet before it is delivered: its bytes, and the offset of its first MPTCP option. */
  readonly patch?: (bytes: Uint8Array, option: number) => void;
}

/** One segment of the host's. */
export interface Heard {
  readonly at: number;
  readonly line: Line | undefined;
  readonly interfaceId: number;
  readonly segment: Segment;
  /** Subflow offset of its first octet. */
  readonly offset: number;
  /** The peer's offset that it acknowledges. */
  readonly ack: number;
  readonly length: number;
  readonly payload: Uint8Array;
}

/** The byte at data offset `offset`, from the peer. */
export function byteAt(offset: number): number {
  return (offset * 7 + (offset >> 8) * 31) & 0xff;
}

export function dataFrom(offset: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_nothing, index) => byteAt(offset + index));
}

/** One TCP connection between the peer and the host. */
export class Line {
  readonly peer: ScriptedPeer;
  readonly interfaceId: number;
  readonly hostPort: number;
  readonly port: number;
  readonly initial: number;
  /** The peer's address on this line. */
  address: Address;
  hostInitial = 0;
  /** The peer's next offset. */
  next = 0;
  /** All of the host's octets below it have come. */
  received = 0;
  window = 65_535;
  nonce = 0x0bad_cafe;

  constructor(peer: ScriptedPeer, interfaceId: number, port: number, hostPort: number, initial: number) {
    this.peer = peer;
    this.interfaceId = interfaceId;
    this.port = port;
    this.hostPort = hostPort;
    this.initial = initial;
    this.address = addressOf(4, interfaceId, 2);
  }

  /** Sends a segment, and returns what the host says at once. */
  sends(spoken: Spoken = {}): Heard[] {
    const { peer, interfaceId } = this;
    const segment = new Segment();
    const from = this.address;
    const to = addressOf(4, interfaceId, 1);
    segment.source0 = from.w0;
    segment.source1 = from.w1;
    segment.source2 = from.w2;
    segment.source3 = from.w3;
    segment.destination0 = to.w0;
    segment.destination1 = to.w1;
    segment.destination2 = to.w2;
    segment.destination3 = to.w3;
    segment.sourcePort = this.port;
    segment.destinationPort = this.hostPort;
    const at = spoken.at ?? this.next;
    segment.sequence = (this.initial + at) >>> 0;
    segment.flags = spoken.flags ?? Flag.Ack;
    if ((segment.flags & Flag.Ack) !== 0) {
      segment.acknowledgment = (this.hostInitial + (spoken.ack ?? this.received)) >>> 0;
    }
    segment.window = spoken.window ?? this.window;
    segment.urgent = spoken.urgent ?? 0;
    if ((segment.flags & Flag.Syn) !== 0) {
      segment.options = Option.MaximumSegmentSize | Option.SackPermitted;
      segment.mss = 1460;
    }
    const { options = {}, payload = new Uint8Array(0) } = spoken;
    Object.assign(segment.mptcp, options);
    const packet = new Packet(PACKET_CAPACITY, 0);
    const header = headerLength(segment);
    packet.bytes.set(payload, header);
    encodeSegment(segment, packet, payload.length, false);
    if (spoken.patch !== undefined) {
      const option = packet.bytes.indexOf(30, 40);
      ok(option > 0 && option < header, 'there is an MPTCP option');
      spoken.patch(packet.bytes, option);
      packet.checksum = ChecksumState.Verified;
    }
    const octets = payload.length + ((segment.flags >> 1) & 1) + (segment.flags & 1);
    this.next = Math.max(this.next, at + octets);
    peer.host.onPacket(peer.now, interfaceId, packet);
    return peer.hears();
  }

  /** A mapping of `length` bytes: data offset `data` at subflow offset `sub`, and a DATA_ACK unless it is -1. */
  maps(data: number, sub: number, length: number, more: { fin?: boolean; low?: boolean; ack?: number } = {}) {
    const { peer } = this;
    const ack = more.ack ?? peer.dataReceived;
    let flags: number = Dss.Map | (more.low === true ? 0 : Dss.Map64) | (more.fin === true ? Dss.Fin : 0);
    if (ack >= 0) flags |= Dss.Ack | Dss.Ack64;
    return {
      present: Mptcp.Dss,
      dssFlags: flags,
      dataSequenceHigh: peer.space.toWireHigh(data),
      dataSequenceLow: peer.space.toWireLow(data),
      subflowSequence: sub,
      dataLength: length + (more.fin === true ? 1 : 0),
      ...(ack >= 0 ? { dataAckHigh: peer.hostSpace.toWireHigh(ack), dataAckLow: peer.hostSpace.toWireLow(ack) } : {}),
    } satisfies OptionFields;
  }

  /** A DATA_ACK of all below `ack`. */
  acknowledges(ack = this.peer.dataReceived): OptionFields {
    const { hostSpace } = this.peer;
    return {
      present: Mptcp.Dss,
      dssFlags: Dss.Ack | Dss.Ack64,
      dataAckHigh: hostSpace.toWireHigh(ack),
      dataAckLow: hostSpace.toWireLow(ack),
    };
  }

  /** `length` right bytes from data offset `data`, at the line's next offset, under a mapping of their own. */
  data(data: number, length: number): Heard[] {
    return this.sends({ payload: dataFrom(data, length), options: this.maps(data, this.next, length) });
  }
}

/**
 * A peer that the test plays segment by segment against one real host, in virtual time. Interface i of the host has
 * address 10.0.(i+1).1, the peer 10.0.(i+1).2.
 */
export class ScriptedPeer {
  now = 0;
  readonly host: SimulatedHost;
  readonly random: SeededRandom;
  readonly lines: Line[] = [];
  readonly key: Key;
  readonly space: DataSequenceSpace;
  hostKey!: Key;
  hostSpace!: DataSequenceSpace;
  /** All of the host's data below it has come. */
  dataReceived = 1;
  /** Everything the host ever said. */
  readonly heard: Heard[] = [];
  listener = -1;
  descriptor = -1;
  private ports = 5000;
  private readonly out = new Packet(PACKET_CAPACITY, 0);

  constructor(settings: HostSettings = {}, key: Key = new Key(0x0102_0304, 0x0506_0708)) {
    this.random = new SeededRandom('scripted peer');
    const interfaces = [0, 1, 2].map((index) => ({
      name: `eth${index}`,
      mtu: 1500,
      addresses: [{ address: addressOf(4, index, 1), prefixLength: 24 }],
    }));
    this.host = new SimulatedHost(interfaces, this.random.derive('host'), { subflowLimit: 8, ...settings });
    this.key = key;
    this.space = new DataSequenceSpace(key.idsnHigh, key.idsnLow);
  }

  get counters() {
    return this.host.stack.counters;
  }

  get connection(): Connection {
    const connection = this.host.sockets.connectionOf(this.descriptor);
    ok(connection !== undefined, 'there is a connection');
    return connection;
  }

  get mptcp() {
    const { mptcp } = this.connection;
    ok(mptcp !== null, 'it began as multipath');
    return mptcp;
  }

  line(interfaceId: number, hostPort: number, port = this.ports++): Line {
    const line = new Line(this, interfaceId, port, hostPort, 0x7fff_0000 + this.lines.length * 0x1000_0000);
    this.lines.push(line);
    return line;
  }

  /** What the host sends now. */
  hears(): Heard[] {
    const { out } = this;
    const heard: Heard[] = [];
    const header = new IpHeader();
    for (let count = 0; ; count++) {
      ok(count < 10_000, 'the host comes to an end');
      out.start = 0;
      out.end = 0;
      out.gsoSize = 0;
      out.checksum = 0;
      const interfaceId = this.host.pollTransmit(this.now, out);
      if (interfaceId < 0) break;
      const segment = new Segment();
      equal(decodeIp(out, header), 0);
      equal(decodeTcp(out, header, segment), 0);
      const line = this.lines.find(
        (known) =>
          known.interfaceId === interfaceId &&
          known.port === segment.destinationPort &&
          known.hostPort === segment.sourcePort,
      );
      if (line !== undefined && (segment.flags & Flag.Syn) !== 0) line.hostInitial = segment.sequence;
      const offset = line === undefined ? 0 : (segment.sequence - line.hostInitial) | 0;
      if (line !== undefined && offset <= line.received) {
        line.received = Math.max(line.received, offset + segment.span);
      }
      const payload = out.bytes.slice(segment.payloadStart, segment.payloadEnd);
      const ack = line === undefined ? 0 : (segment.acknowledgment - line.initial) | 0;
      heard.push({ at: this.now, line, interfaceId, segment, offset, ack, length: payload.length, payload });
    }
    this.heard.push(...heard);
    return heard;
  }

  /** Lets `duration` ms pass; returns what the host said meanwhile. */
  waits(duration: number): Heard[] {
    const until = this.now + duration;
    const heard = this.hears();
    for (let turns = 0; ; turns++) {
      ok(turns < 10_000, 'time goes on');
      const next = this.host.pollTimeout();
      if (next > until) break;
      this.now = Math.max(this.now, next);
      this.host.onTimeout(this.now);
      heard.push(...this.hears());
    }
    this.now = until;
    return heard;
  }

  /** All that the host's application can read. */
  reads(): Uint8Array {
    const target = new Uint8Array(1_000_000);
    let count = 0;
    for (;;) {
      const got = this.host.sockets.recv(this.descriptor, target, count, target.length - count);
      if (got <= 0) return target.slice(0, count);
      count += got;
    }
  }

  writes(length: number): Heard[] {
    equal(this.host.sockets.send(this.descriptor, new Uint8Array(length).fill(0x61), 0, length), length);
    return this.hears();
  }

  /** DATA_ACK of the last segment that had one, as a data offset of the peer's. */
  get dataAcknowledged(): number {
    for (let index = this.heard.length - 1; index >= 0; index--) {
      const { mptcp } = this.heard[index]!.segment;
      if ((mptcp.present & Mptcp.Dss) === 0 || (mptcp.dssFlags & Dss.Ack) === 0) continue;
      return (mptcp.dssFlags & Dss.Ack64) !== 0
        ? this.space.fromWire64(mptcp.dataAckHigh, mptcp.dataAckLow)
        : this.space.fromWire32(mptcp.dataAckLow, 1);
    }
    return 0;
  }

  listens(): void {
    const { sockets } = this.host;
    this.listener = sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
    equal(sockets.bind(this.listener, undefined, 80), 0);
    equal(sockets.listen(this.listener, 8), 0);
  }

  accepts(): void {
    this.descriptor = this.host.sockets.accept(this.listener);
    ok(this.descriptor >= 0, 'a connection waits at the listener');
  }

  setHostKey(high: number, low: number): void {
    this.hostKey = new Key(high, low);
    this.hostSpace = new DataSequenceSpace(this.hostKey.idsnHigh, this.hostKey.idsnLow);
  }

  /** MP_CAPABLE of the third segment. */
  capable(length = 0): OptionFields {
    return {
      present: Mptcp.CapableAck | (length > 0 ? Mptcp.CapableData : 0),
      version: 1,
      capableFlags: Capable.HmacSha256,
      senderKeyHigh: this.key.high,
      senderKeyLow: this.key.low,
      receiverKeyHigh: this.hostKey.high,
      receiverKeyLow: this.hostKey.low,
      dataLength: length,
    };
  }

  /** SYN and SYN/ACK, with the peer as client: the host's answer was heard. */
  opens(flags: number = Capable.HmacSha256): Line {
    this.listens();
    const line = this.line(0, 80);
    const [answer] = line.sends({
      flags: Flag.Syn,
      options: { present: Mptcp.CapableSyn, version: 1, capableFlags: flags },
    });
    ok(answer !== undefined, 'a SYN/ACK');
    const { mptcp } = answer.segment;
    if ((mptcp.present & Mptcp.CapableSynAck) !== 0) this.setHostKey(mptcp.senderKeyHigh, mptcp.senderKeyLow);
    return line;
  }

  /** The host as server; the peer's third segment was sent. Nothing is proven yet. */
  connects(): Line {
    const line = this.opens();
    line.sends({ options: this.capable() });
    this.accepts();
    return line;
  }

  /** The host as client, its SYN heard: the line and the SYN. */
  isCalled(): { line: Line; syn: Heard } {
    const { sockets } = this.host;
    this.descriptor = sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
    sockets.connect(this.descriptor, addressOf(4, 0, 2), 80, this.now);
    const [syn] = this.hears();
    ok(syn !== undefined, 'a SYN');
    return { line: this.answers(syn), syn };
  }

  /** The line on which the host's SYN came. */
  answers(syn: Heard): Line {
    const line = this.line(syn.interfaceId, syn.segment.sourcePort, syn.segment.destinationPort);
    const { destination3 } = syn.segment;
    line.address = Address.v4(destination3);
    line.hostInitial = syn.segment.sequence;
    line.received = 1;
    return line;
  }

  /** The host as client, established; its third segment was heard. */
  serves(): Line {
    const { line } = this.isCalled();
    const options = {
      present: Mptcp.CapableSynAck,
      version: 1,
      capableFlags: Capable.HmacSha256,
      senderKeyHigh: this.key.high,
      senderKeyLow: this.key.low,
    };
    const [third] = line.sends({ flags: Flag.Syn | Flag.Ack, options });
    ok(third !== undefined, 'a third segment');
    this.setHostKey(third.segment.mptcp.senderKeyHigh, third.segment.mptcp.senderKeyLow);
    return line;
  }

  /** SYN and SYN/ACK of a join by the peer: the line and the HMAC of its third segment. */
  beginsJoin(interfaceId: number, id = 7, hostPort = 80): { line: Line; heard: Heard[]; hmac: Uint8Array } {
    const line = this.line(interfaceId, hostPort);
    const heard = line.sends({
      flags: Flag.Syn,
      options: { present: Mptcp.JoinSyn, joinAddressId: id, joinToken: this.hostKey.token, joinNonce: line.nonce },
    });
    const nonce = heard[0]?.segment.mptcp.joinNonce ?? 0;
    return { line, heard, hmac: joinHmac(this.key, this.hostKey, line.nonce, nonce) };
  }

  /** The third segment's options of a join. */
  joinAck(hmac: Uint8Array): OptionFields {
    return { present: Mptcp.JoinAck, joinHmac: hmac.slice(0, 20) };
  }

  /** A whole join by the peer. */
  joins(interfaceId: number, id = 7): Line {
    const { line, hmac } = this.beginsJoin(interfaceId, id);
    line.sends({ options: this.joinAck(hmac) });
    return line;
  }

  /** ADD_ADDR of one of the peer's addresses; port 0: none. */
  announcement(id: number, address: Address, port: number): OptionFields {
    const hmac = addAddressHmac(this.key, this.hostKey, id, address, port);
    return {
      present: Mptcp.AddAddress,
      addEcho: false,
      addId: id,
      addFamily: address.family,
      add3: address.w3,
      addPort: port,
      addHmacHigh: word(hmac, 0),
      addHmacLow: word(hmac, 4),
    };
  }

  /** SYN/ACK of a join of the host's. */
  acceptsJoin(syn: Heard, id = 7): { line: Line; heard: Heard[] } {
    const line = this.answers(syn);
    const hmac = joinHmac(this.key, this.hostKey, line.nonce, syn.segment.mptcp.joinNonce);
    const heard = line.sends({
      flags: Flag.Syn | Flag.Ack,
      options: { present: Mptcp.JoinSynAck, joinAddressId: id, joinNonce: line.nonce, joinHmac: hmac.slice(0, 20) },
    });
    return { line, heard };
  }
}

import { Packet } from '../../wire/packet.ts';
import { Flag } from '../../wire/segment.ts';
import { flagsOf, Headers, isIntact, spanOf, writeLength, writeTcpChecksum } from '../headers.ts';
import type { Random } from '../link.ts';
import { copyBytes, type PooledPacket, pool } from '../pool.ts';
import { type Emitter, flowKey, pass, TcpMiddlebox, Way } from './middlebox.ts';
import { findOption, MSS, TIMESTAMPS } from './option-list.ts';
import { shiftNumbers } from './rewrite.ts';

/** Middleboxes that keep connections of their own, or a record of them. */

export interface EarlyAcknowledgerOptions {
  /** Picks data segments that are lost after they were acknowledged, by number of data segment, from 0. */
  readonly loses?: (index: number) => boolean;
}

/**
 * A performance-enhancing proxy: acknowledges data from A itself, before B has it, and may lose it thereafter
 * (RFC 8684 §3.3.2: why there is a data-level acknowledgment).
 */
export class EarlyAcknowledger extends TcpMiddlebox {
  readonly name = 'early-acknowledger';
  /** Segments it acknowledged and then lost. */
  lost = 0;
  private readonly loses: (index: number) => boolean;
  private readonly flows: Map<string, EarlyFlow> = new Map();
  private readonly built: Headers = new Headers();
  private index = 0;

  constructor(options: EarlyAcknowledgerOptions = {}) {
    super();
    this.loses = options.loses ?? (() => false);
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const view = packet.view;
    const flags = flagsOf(packet, headers);
    const key = flowKey(packet, headers, way);
    let flow = this.flows.get(key);
    if (flow === undefined) {
      flow = { expected: -1, window: 0xffff, timestamp: 0, hasTimestamps: false };
      this.flows.set(key, flow);
    }
    if (way === Way.Backward) {
      flow.window = view.getUint16(headers.tcp + 14);
      const at = findOption(packet, headers, TIMESTAMPS);
      flow.hasTimestamps = at >= 0;
      if (at >= 0) flow.timestamp = view.getUint32(at + 2);
      emit.backward(packet);
      return;
    }
    const sequence = view.getUint32(headers.tcp + 4);
    const end = (sequence + spanOf(packet, headers)) >>> 0;
    if ((flags & Flag.Syn) !== 0) flow.expected = end;
    const hasData = headers.end > headers.payload && (flags & Flag.Syn) === 0;
    if (!hasData || flow.expected < 0 || !isIntact(packet, headers)) {
      emit.forward(packet);
      return;
    }
    const isNew = ((end - flow.expected) | 0) > 0;
    if (isNew && ((sequence - flow.expected) | 0) <= 0)
      flow.expected = (sequence + headers.end - headers.payload) >>> 0;
    this.acknowledge(packet, flow, emit);
    if (isNew && this.loses(this.index++)) {
      this.lost++;
      emit.drop();
      return;
    }
    emit.forward(packet);
  }

  /** Answers `packet`, which `headers` describes, with an ACK from B. */
  private acknowledge(packet: Packet, flow: EarlyFlow, emit: Emitter): void {
    const headers = this.headers;
    const timestamps = flow.hasTimestamps ? findOption(packet, headers, TIMESTAMPS) : -1;
    const echo = timestamps >= 0 ? packet.view.getUint32(timestamps + 2) : 0;
    const out = bareSegment(packet, headers, true, timestamps >= 0 ? 12 : 0);
    this.built.locate(out);
    const at = this.built.tcp;
    writeFields(out, this.built, packet.view.getUint32(headers.tcp + 8), flow.expected, Flag.Ack, flow.window);
    if (timestamps >= 0) {
      out.view.setUint32(at + 20, 0x0101_080a);
      out.view.setUint32(at + 24, flow.timestamp);
      out.view.setUint32(at + 28, echo);
    }
    writeTcpChecksum(out, this.built);
    this.acted++;
    emit.backward(out);
    out.release();
  }
}

interface EarlyFlow {
  /** A's next sequence number as the proxy has acknowledged it; -1 before its SYN. */
  expected: number;
  window: number;
  timestamp: number;
  hasTimestamps: boolean;
}

export interface SynProxyOptions {
  /** The maximum segment size it announces to either side; 1400 unless given. */
  readonly mss?: number;
}

/**
 * A SYN proxy in front of B: answers A's SYN itself, without any option but the maximum segment size, and opens the
 * connection to B only when A has proved its address. Sequence numbers of B are translated from then on. What A sends
 * before B has answered is dropped, for A to retransmit.
 */
export class SynProxy extends TcpMiddlebox {
  readonly name = 'syn-proxy';
  private readonly mss: number;
  private readonly random: Random;
  private readonly flows: Map<string, ProxiedFlow> = new Map();
  private readonly out: Packet = new Packet(64);
  private readonly built: Headers = new Headers();

  constructor(random: Random, options: SynProxyOptions = {}) {
    super();
    this.random = random;
    this.mss = options.mss ?? 1400;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const key = flowKey(packet, this.headers, way);
    const flow = this.flows.get(key);
    if (way === Way.Forward) this.fromA(packet, key, flow, emit);
    else if (flow === undefined) emit.drop();
    else this.fromB(packet, flow, emit);
  }

  private fromA(packet: Packet, key: string, known: ProxiedFlow | undefined, emit: Emitter): void {
    const headers = this.headers;
    const view = packet.view;
    const flags = flagsOf(packet, headers);
    const sequence = view.getUint32(headers.tcp + 4);
    if ((flags & Flag.Syn) !== 0) {
      let flow = known;
      if (flow === undefined || flow.clientInitial !== sequence) {
        flow = { clientInitial: sequence, ownInitial: this.random.word(), shift: 0, window: 0, state: PROVING };
        this.flows.set(key, flow);
      }
      // A window of 0 keeps A's data back until B is there.
      this.build(packet, true, flow.ownInitial, sequence + 1, Flag.Syn | Flag.Ack, 0);
      emit.backward(this.out);
    } else if (known === undefined) {
      emit.drop();
    } else if (known.state === OPEN) {
      shiftNumbers(packet, headers, 0, known.shift);
      emit.forward(packet);
    } else {
      const isProof = (flags & Flag.Ack) !== 0 && view.getUint32(headers.tcp + 8) === (known.ownInitial + 1) >>> 0;
      if (isProof && (flags & Flag.Rst) === 0) {
        // Again on each retransmission of A's: the SYN to B may have been lost.
        known.state = OPENING;
        known.window = view.getUint16(headers.tcp + 14);
        this.build(packet, false, known.clientInitial, 0, Flag.Syn, known.window);
        emit.forward(this.out);
      }
      emit.drop();
    }
  }

  private fromB(packet: Packet, flow: ProxiedFlow, emit: Emitter): void {
    const headers = this.headers;
    const flags = flagsOf(packet, headers);
    const sequence = packet.view.getUint32(headers.tcp + 4);
    const isSynAck = (flags & (Flag.Syn | Flag.Ack)) === (Flag.Syn | Flag.Ack);
    if (isSynAck && flow.state !== PROVING) {
      flow.state = OPEN;
      flow.shift = (sequence - flow.ownInitial) | 0;
      // Completes the handshake with B in A's name, and tells A B's window in B's name.
      const window = packet.view.getUint16(headers.tcp + 14);
      this.build(packet, true, flow.clientInitial + 1, sequence + 1, Flag.Ack, flow.window);
      emit.forward(this.out);
      this.build(packet, false, flow.ownInitial + 1, flow.clientInitial + 1, Flag.Ack, window);
      emit.backward(this.out);
      emit.drop();
    } else if (flow.state === OPEN) {
      shiftNumbers(packet, headers, -flow.shift, 0);
      emit.backward(packet);
    } else {
      emit.drop();
    }
  }

  /** Makes a segment of its own in `out`, in answer to `packet` or in its sender's name. */
  private build(
    packet: Packet,
    isReply: boolean,
    sequence: number,
    acknowledgment: number,
    flags: number,
    window: number,
  ): void {
    const isSyn = (flags & Flag.Syn) !== 0;
    const segment = bareSegment(packet, this.headers, isReply, isSyn ? 4 : 0);
    this.built.locate(segment);
    writeFields(segment, this.built, sequence >>> 0, acknowledgment >>> 0, flags, window);
    if (isSyn) segment.view.setUint32(this.built.tcp + 20, (MSS << 24) | (4 << 16) | this.mss);
    writeTcpChecksum(segment, this.built);
    this.out.copyFrom(segment);
    segment.release();
    this.acted++;
  }
}

interface ProxiedFlow {
  readonly clientInitial: number;
  readonly ownInitial: number;
  /** B's numbers less the proxy's. */
  shift: number;
  /** A's window, for the handshake with B. */
  window: number;
  state: number;
}

const PROVING = 0;
const OPENING = 1;
const OPEN = 2;

export interface StatefulFirewallOptions {
  /** Whether B may open connections too; false unless given. */
  readonly allowsInbound?: boolean;
  /** Milliseconds without a segment after which a connection is forgotten; Infinity unless given. */
  readonly idle?: number;
}

/**
 * A firewall that knows TCP and nothing of MPTCP: a segment passes only if it belongs to a connection whose
 * handshake it saw, in order; data only after that.
 */
export class StatefulFirewall extends TcpMiddlebox {
  readonly name = 'stateful-firewall';
  private readonly allowsInbound: boolean;
  private readonly idle: number;
  private readonly flows: Map<string, FirewallFlow> = new Map();

  constructor(options: StatefulFirewallOptions = {}) {
    super();
    this.allowsInbound = options.allowsInbound ?? false;
    this.idle = options.idle ?? Number.POSITIVE_INFINITY;
  }

  protected onSegment(now: number, packet: Packet, way: number, emit: Emitter): void {
    if (this.admits(now, packet, way)) {
      pass(packet, way, emit);
    } else {
      this.acted++;
      emit.drop();
    }
  }

  private admits(now: number, packet: Packet, way: number): boolean {
    const headers = this.headers;
    const key = flowKey(packet, headers, way);
    const flags = flagsOf(packet, headers);
    const isSyn = (flags & Flag.Syn) !== 0;
    const isAck = (flags & Flag.Ack) !== 0;
    let flow = this.flows.get(key);
    if (flow !== undefined && now - flow.lastSeen > this.idle) {
      this.flows.delete(key);
      flow = undefined;
    }
    if (isSyn && !isAck) {
      if (flow === undefined || flow.state === CLOSED) {
        if (way === Way.Backward && !this.allowsInbound) return false;
        this.flows.set(key, { opener: way, state: SYN_SEEN, lastSeen: now });
        return true;
      }
      flow.lastSeen = now;
      return flow.opener === way && flow.state === SYN_SEEN;
    }
    if (flow === undefined) return false;
    flow.lastSeen = now;
    if (isSyn) {
      if (flow.opener === way || flow.state === CLOSED) return false;
      if (flow.state === SYN_SEEN) flow.state = SYN_ACK_SEEN;
      return true;
    }
    if ((flags & Flag.Rst) !== 0) {
      flow.state = CLOSED;
      return true;
    }
    if (flow.state === SYN_ACK_SEEN && flow.opener === way && isAck) flow.state = ESTABLISHED;
    // Data of the passive side may come before the third ACK (RFC 8684 §3.1 lets it); bare ACKs harm nobody.
    return flow.state === ESTABLISHED || (flow.state === SYN_ACK_SEEN && isAck);
  }
}

interface FirewallFlow {
  readonly opener: number;
  state: number;
  lastSeen: number;
}

const SYN_SEEN = 0;
const SYN_ACK_SEEN = 1;
const ESTABLISHED = 2;
const CLOSED = 3;

/** An empty segment of the same connection, or of its other direction, with zeroed TCP fields and room for options. */
function bareSegment(packet: Packet, headers: Headers, isReply: boolean, optionBytes: number): PooledPacket {
  const ipLength = headers.family === 4 ? 20 : 40;
  const length = ipLength + 20 + optionBytes;
  const out = pool.take(length);
  const ip = out.start;
  out.end = ip + length;
  const size = headers.family === 4 ? 4 : 16;
  const addresses = headers.family === 4 ? 12 : 8;
  if (headers.family === 4) {
    out.view.setUint32(ip, 0x4500_0000);
    out.view.setUint32(ip + 4, 0x0000_4000);
    out.view.setUint32(ip + 8, 0x4006_0000);
  } else {
    out.view.setUint32(ip, 0x6000_0000);
    out.view.setUint32(ip + 4, 0x0000_0640);
  }
  const source = headers.ip + addresses;
  copyBytes(packet, isReply ? source + size : source, size, out, ip + addresses);
  copyBytes(packet, isReply ? source : source + size, size, out, ip + addresses + size);
  const tcp = ip + ipLength;
  out.bytes.fill(0, tcp, out.end);
  out.view.setUint16(tcp, packet.view.getUint16(isReply ? headers.tcp + 2 : headers.tcp));
  out.view.setUint16(tcp + 2, packet.view.getUint16(isReply ? headers.tcp : headers.tcp + 2));
  out.view.setUint8(tcp + 12, (5 + optionBytes / 4) << 4);
  lengths.family = headers.family;
  lengths.ip = ip;
  writeLength(out, lengths);
  return out;
}

function writeFields(
  packet: Packet,
  headers: Headers,
  sequence: number,
  acknowledgment: number,
  flags: number,
  window: number,
): void {
  packet.view.setUint32(headers.tcp + 4, sequence);
  packet.view.setUint32(headers.tcp + 8, acknowledgment);
  packet.view.setUint8(headers.tcp + 13, flags);
  packet.view.setUint16(headers.tcp + 14, window);
}

const lengths = new Headers();

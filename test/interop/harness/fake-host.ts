import type { PacketHost } from '../../../src/stack/seams.ts';
import { complement, fold, pseudoSum4, sumPacket } from '../../../src/wire/checksum.ts';
import { ChecksumState, Packet } from '../../../src/wire/packet.ts';
import { Flag } from '../../../src/wire/segment.ts';

/** What a `FakeHost` has seen. */
export class FakeHostCounters {
  packets = 0;
  echoes = 0;
  tcpSegments = 0;
  /** Packets with `gsoSize`, and the largest of them in bytes. */
  largePackets = 0;
  largest = 0;
  /** Packets by `ChecksumState`. */
  unverified = 0;
  partial = 0;
  verified = 0;
  /** Transport checksums that the state leaves to us and that are wrong, and pseudo-header sums that are wrong. */
  badChecksums = 0;
  /** TCP payload in order. */
  bytes = 0;
  /** TCP segments out of order, which are not kept. */
  outOfOrder = 0;
}

/** One TCP connection to the sink, IPv4 or IPv6. */
class Flow {
  readonly interfaceId: number;
  readonly ports: number;
  /** The last word of the peer's address. */
  readonly source: number;
  /** The peer's IP and TCP header, addresses and ports exchanged: what replies begin with. */
  readonly template: Uint8Array;
  readonly ipLength: number;
  nxt = 0;
  /** Our next sequence number. */
  sent = 1;
  owesAck = false;
  owesSynAck = false;
  owesFin = false;
  hasFin = false;

  constructor(interfaceId: number, ports: number, source: number, template: Uint8Array, ipLength: number) {
    this.interfaceId = interfaceId;
    this.ports = ports;
    this.source = source;
    this.template = template;
    this.ipLength = ipLength;
  }
}

/**
 * The smallest host that a kernel will talk to: answers pings, and takes TCP connections as a sink that acknowledges
 * what comes in order and forgets the rest. For testing and measuring devices and drivers, not stacks.
 */
export class FakeHost implements PacketHost {
  readonly counters: FakeHostCounters = new FakeHostCounters();
  /** Told of payload in order: `bytes[start, end)`. */
  onBytes: ((bytes: Uint8Array, start: number, end: number) => void) | undefined;
  /** When `onTimeout` is wanted; a test sets it. */
  deadline = Infinity;
  timeouts = 0;
  /** Descriptors that `pollReady` gives out. */
  readonly ready: number[] = [];
  private readonly replies: { packet: Packet; interfaceId: number }[] = [];
  private readonly flows = new Map<string, Flow>();
  private last: Flow | undefined;
  private readonly owing: Flow[] = [];
  private readonly mss: number;
  private readonly windowScale: number;
  private readonly verifies: boolean;

  /**
   * @param verifies check every checksum that the link does not vouch for
   * @param windowScale 3: a window of 512 KiB, less than a device's queue of 500 small packets holds
   */
  constructor(mss = 1460, verifies = true, windowScale = 3) {
    this.windowScale = windowScale;
    this.mss = mss;
    this.verifies = verifies;
  }

  onPacket(_now: number, interfaceId: number, packet: Packet): void {
    const { counters } = this;
    counters.packets++;
    if (packet.gsoSize > 0) {
      counters.largePackets++;
      counters.largest = Math.max(counters.largest, packet.end - packet.start);
    }
    if (packet.checksum === ChecksumState.Partial) counters.partial++;
    else if (packet.checksum === ChecksumState.Verified) counters.verified++;
    else counters.unverified++;
    const isV4 = packet.view.getUint8(packet.start) >>> 4 === 4;
    const ipLength = isV4 ? (packet.view.getUint8(packet.start) & 15) * 4 : 40;
    const protocol = packet.view.getUint8(packet.start + (isV4 ? 9 : 6));
    if (protocol === (isV4 ? 1 : 58)) this.onIcmp(interfaceId, packet, isV4, ipLength);
    else if (protocol === 6) this.onTcp(interfaceId, packet, isV4, ipLength);
  }

  private onIcmp(interfaceId: number, packet: Packet, isV4: boolean, ipLength: number): void {
    const icmp = packet.start + ipLength;
    if (packet.view.getUint8(icmp) !== (isV4 ? 8 : 128)) return;
    this.counters.echoes++;
    const reply = new Packet(packet.end - packet.start);
    reply.copyFrom(packet);
    reply.checksum = ChecksumState.Unverified;
    exchange(reply.bytes, isV4 ? 12 : 8, isV4 ? 4 : 16);
    reply.view.setUint8(ipLength, isV4 ? 0 : 129);
    reply.view.setUint16(ipLength + 2, 0);
    const initial = isV4 ? 0 : sumPacket(reply, 8, 40, 58 + reply.end - ipLength);
    reply.view.setUint16(ipLength + 2, complement(sumPacket(reply, ipLength, reply.end, initial)));
    this.replies.push({ packet: reply, interfaceId });
  }

  private onTcp(interfaceId: number, packet: Packet, isV4: boolean, ipLength: number): void {
    const { counters } = this;
    const view = packet.view;
    const tcp = packet.start + ipLength;
    counters.tcpSegments++;
    if (this.verifies && !checksumIsRight(packet, isV4, tcp)) counters.badChecksums++;
    const flags = view.getUint8(tcp + 13);
    // One flow at a time is the rule when speed matters, so the last one is looked at first.
    const ports = view.getUint32(tcp);
    const source = view.getUint32(isV4 ? tcp - 8 : tcp - 20);
    let flow = this.last;
    if (flow === undefined || flow.ports !== ports || flow.source !== source || flow.interfaceId !== interfaceId) {
      flow = this.flows.get(`${interfaceId} ${ports} ${source}`);
      this.last = flow;
    }
    if ((flags & Flag.Syn) !== 0) {
      const template = packet.bytes.slice(packet.start, packet.start + ipLength + 20);
      exchange(template, isV4 ? 12 : 8, isV4 ? 4 : 16);
      exchange(template, ipLength, 2);
      flow = new Flow(interfaceId, ports, source, template, ipLength);
      flow.nxt = (view.getUint32(tcp + 4) + 1) >>> 0;
      flow.owesSynAck = true;
      this.flows.set(`${interfaceId} ${ports} ${source}`, flow);
      this.owing.push(flow);
      return;
    }
    if (flow === undefined) return;
    if ((flags & Flag.Rst) !== 0) {
      this.flows.delete(`${interfaceId} ${ports} ${source}`);
      this.last = undefined;
      return;
    }
    const start = tcp + (view.getUint8(tcp + 12) >>> 4) * 4;
    const length = packet.end - start;
    if (length === 0 && (flags & Flag.Fin) === 0) return;
    if (view.getUint32(tcp + 4) === flow.nxt) {
      counters.bytes += length;
      flow.nxt = (flow.nxt + length) >>> 0;
      if (length > 0) this.onBytes?.(packet.bytes, start, packet.end);
      if ((flags & Flag.Fin) !== 0) {
        flow.nxt = (flow.nxt + 1) >>> 0;
        flow.owesFin = true;
      }
    } else {
      counters.outOfOrder++;
    }
    if (flow.owesAck) return;
    flow.owesAck = true;
    this.owing.push(flow);
  }

  /** Lets the host send a packet. It is kept. */
  send(interfaceId: number, packet: Packet): void {
    this.replies.push({ packet, interfaceId });
  }

  onTimeout(now: number): void {
    if (now < this.deadline) return;
    this.timeouts++;
    this.deadline = Infinity;
  }

  pollTransmit(_now: number, out: Packet): number {
    const reply = this.replies.shift();
    if (reply !== undefined) {
      out.copyFrom(reply.packet);
      return reply.interfaceId;
    }
    const flow = this.owing.pop();
    if (flow === undefined) return -1;
    this.write(flow, out);
    return flow.interfaceId;
  }

  private write(flow: Flow, out: Packet): void {
    const { view, start } = out;
    const { ipLength } = flow;
    const tcp = start + ipLength;
    const isV4 = flow.template[0]! >>> 4 === 4;
    const headerLength = flow.owesSynAck ? 28 : 20;
    out.bytes.set(flow.template, start);
    out.end = tcp + headerLength;
    let flags: number = Flag.Ack;
    if (flow.owesSynAck) flags |= Flag.Syn;
    else if (flow.owesFin) flags |= Flag.Fin;
    view.setUint32(tcp + 4, flow.owesSynAck ? 0 : flow.sent);
    view.setUint32(tcp + 8, flow.nxt);
    view.setUint16(tcp + 12, (headerLength << 10) | flags);
    view.setUint16(tcp + 14, 0xffff);
    view.setUint32(tcp + 16, 0);
    if (flow.owesSynAck) {
      // Options: MSS, and the window scale behind a NOP.
      view.setUint32(tcp + 20, 0x0204_0000 | this.mss);
      view.setUint32(tcp + 24, 0x0103_0300 | this.windowScale);
    }
    if (isV4) {
      view.setUint16(start + 2, out.end - start);
      view.setUint16(start + 10, 0);
      view.setUint16(start + 10, complement(sumPacket(out, start, tcp, 0)));
    } else {
      view.setUint16(start + 4, out.end - tcp);
    }
    view.setUint16(tcp + 16, complement(sumPacket(out, tcp, out.end, pseudo(out, isV4, tcp))));
    out.checksum = ChecksumState.Unverified;
    if (flow.owesFin && !flow.owesSynAck) flow.sent++;
    if (flow.owesFin && !flow.owesSynAck) flow.owesFin = false;
    flow.owesSynAck = false;
    flow.owesAck = false;
  }

  pollTimeout(): number {
    return this.deadline;
  }

  pollReady(): number {
    return this.ready.shift() ?? -1;
  }
}

function pseudo(packet: Packet, isV4: boolean, transport: number): number {
  const length = packet.end - transport;
  if (!isV4) return sumPacket(packet, packet.start + 8, packet.start + 40, 6 + length);
  return pseudoSum4(packet.view.getUint32(packet.start + 12), packet.view.getUint32(packet.start + 16), 6, length);
}

function checksumIsRight(packet: Packet, isV4: boolean, tcp: number): boolean {
  if (packet.checksum === ChecksumState.Verified) return true;
  const initial = pseudo(packet, isV4, tcp);
  if (packet.checksum === ChecksumState.Partial) return packet.view.getUint16(tcp + 16) === fold(initial);
  return fold(sumPacket(packet, tcp, packet.end, initial)) === 0xffff;
}

function exchange(bytes: Uint8Array, at: number, length: number): void {
  for (let index = at; index < at + length; index++) {
    const byte = bytes[index]!;
    bytes[index] = bytes[index + length]!;
    bytes[index + length] = byte;
  }
}

import type { TcpCounters } from '../tcp/counters.ts';
import { encodeEchoReply, type IcmpMessage } from '../wire/icmp.ts';
import type { IpHeader } from '../wire/ip.ts';
import { Mptcp } from '../wire/mptcp-options.ts';
import { Packet } from '../wire/packet.ts';
import { Flag, Segment } from '../wire/segment.ts';
import { encodeSegment } from '../wire/tcp.ts';
import type { IpCounters } from './counters.ts';

/** Answers that wait at most: what comes beyond is dropped, and nobody can make us hold more. */
const CAPACITY = 64;

/** Answers that belong to no connection: RST to segments nobody wants, echo replies. */
export class Replies {
  private readonly ip: IpCounters;
  private readonly tcp: TcpCounters;
  private readonly packets: Uint8Array[] = [];
  private readonly interfaces: number[] = [];
  private readonly segment = new Segment();
  private scratch: Packet | null = null;

  constructor(ip: IpCounters, tcp: TcpCounters) {
    this.ip = ip;
    this.tcp = tcp;
  }

  get count(): number {
    return this.packets.length;
  }

  /** RFC 9293 §3.10.7.1. `reason`: an MP_TCPRST reason to go with it, -1 for none. */
  reset(received: Segment, interfaceId: number, reason: number): void {
    if (this.isFull()) return;
    const out = this.segment;
    out.reset();
    out.family = received.family;
    out.source0 = received.destination0;
    out.source1 = received.destination1;
    out.source2 = received.destination2;
    out.source3 = received.destination3;
    out.destination0 = received.source0;
    out.destination1 = received.source1;
    out.destination2 = received.source2;
    out.destination3 = received.source3;
    out.sourcePort = received.destinationPort;
    out.destinationPort = received.sourcePort;
    out.window = 0;
    if ((received.flags & Flag.Ack) !== 0) {
      // "<SEQ=SEG.ACK><CTL=RST>"
      out.flags = Flag.Rst;
      out.sequence = received.acknowledgment;
      out.acknowledgment = 0;
    } else {
      // "<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>"
      out.flags = Flag.Rst | Flag.Ack;
      out.sequence = 0;
      out.acknowledgment = (received.sequence + received.span) >>> 0;
    }
    if (reason >= 0) {
      out.mptcp.present = Mptcp.Reset;
      out.mptcp.resetFlags = 0;
      out.mptcp.resetReason = reason;
    }
    const packet = this.buffer();
    encodeSegment(out, packet, 0, false);
    this.push(packet, interfaceId);
    this.tcp.OutSegs++;
    this.tcp.OutRsts++;
  }

  echo(packet: Packet, header: IpHeader, request: IcmpMessage, interfaceId: number): void {
    if (this.isFull()) return;
    const out = this.buffer();
    encodeEchoReply(packet, header, request, out);
    this.push(out, interfaceId);
    this.ip.IcmpOutEchoReps++;
  }

  /** Copies the next answer into `out`; returns its interface, -1 when there is none. */
  poll(out: Packet): number {
    if (this.packets.length === 0) return -1;
    const bytes = this.packets.shift()!;
    out.bytes.set(bytes, out.start);
    out.end = out.start + bytes.length;
    out.gsoSize = 0;
    out.checksum = 0;
    return this.interfaces.shift()!;
  }

  private isFull(): boolean {
    if (this.packets.length < CAPACITY) return false;
    this.ip.ReplyQueueFull++;
    return true;
  }

  private buffer(): Packet {
    this.scratch ??= new Packet(65_575);
    this.scratch.end = this.scratch.start;
    return this.scratch;
  }

  private push(packet: Packet, interfaceId: number): void {
    this.packets.push(packet.bytes.slice(packet.start, packet.end));
    this.interfaces.push(interfaceId);
  }
}

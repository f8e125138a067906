import { IcmpKind } from '../tcp/endpoint.ts';
import { Address } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { decodeIcmp, Icmp4, Icmp6, IcmpMessage } from '../wire/icmp.ts';
import { type IpHeader, Protocol } from '../wire/ip.ts';
import type { Packet } from '../wire/packet.ts';
import type { IpCounters } from './counters.ts';
import type { Replies } from './replies.ts';

/** Input of ICMP and ICMPv6: echoes are answered, errors about TCP are put into one vocabulary. */
export class IcmpInput {
  private readonly counters: IpCounters;
  private readonly replies: Replies;
  private readonly message = new IcmpMessage();

  /** The last packet was an error about a TCP segment; the fields below describe it. */
  concernsTcp = false;
  kind: IcmpKind = IcmpKind.NetUnreachable;
  mtu = 0;
  quotedSequence = 0;
  quotedLocalPort = 0;
  quotedPeerPort = 0;

  constructor(counters: IpCounters, replies: Replies) {
    this.counters = counters;
    this.replies = replies;
  }

  get quotedLocal(): Address {
    const { message } = this;
    return new Address(
      message.family,
      message.quotedSource0,
      message.quotedSource1,
      message.quotedSource2,
      message.quotedSource3,
    );
  }

  get quotedPeer(): Address {
    const { message } = this;
    return new Address(
      message.family,
      message.quotedDestination0,
      message.quotedDestination1,
      message.quotedDestination2,
      message.quotedDestination3,
    );
  }

  /** Returns a `Drop`. */
  onPacket(packet: Packet, header: IpHeader, interfaceId: number): number {
    const { message, counters } = this;
    this.concernsTcp = false;
    counters.IcmpInMsgs++;
    const drop = decodeIcmp(packet, header, message);
    if (drop !== Drop.None) return drop;
    if (message.isEcho) {
      if (!message.isRequest) return Drop.None;
      counters.IcmpInEchos++;
      this.replies.echo(packet, header, message, interfaceId);
      return Drop.None;
    }
    if (!message.isError || message.quotedProtocol !== Protocol.Tcp) return Drop.None;
    const kind = message.family === 4 ? kind4(message.type, message.code) : kind6(message.type, message.code);
    if (kind < 0) return Drop.None;
    this.kind = kind as IcmpKind;
    this.mtu = message.mtu;
    this.quotedSequence = message.quotedSequence;
    this.quotedLocalPort = message.quotedSourcePort;
    this.quotedPeerPort = message.quotedDestinationPort;
    this.concernsTcp = true;
    return Drop.None;
  }
}

/** RFC 1122 §3.2.2.1 names the codes; -1: nothing a connection needs to know (source quench: RFC 6633). */
function kind4(type: number, code: number): number {
  if (type === Icmp4.TimeExceeded) return code === 0 ? IcmpKind.TimeExceeded : -1;
  if (type === Icmp4.ParameterProblem) return IcmpKind.ParameterProblem;
  if (type !== Icmp4.Unreachable) return -1;
  switch (code) {
    case 0:
    case 6:
    case 9:
    case 11:
      return IcmpKind.NetUnreachable;
    case 2:
      return IcmpKind.ProtocolUnreachable;
    case 3:
      return IcmpKind.PortUnreachable;
    case 4:
      return IcmpKind.PacketTooBig;
    case 13:
    case 14:
    case 15:
      return IcmpKind.Prohibited;
    default:
      return IcmpKind.HostUnreachable;
  }
}

/** RFC 4443 §3. */
function kind6(type: number, code: number): number {
  switch (type) {
    case Icmp6.PacketTooBig:
      return IcmpKind.PacketTooBig;
    case Icmp6.TimeExceeded:
      return code === 0 ? IcmpKind.TimeExceeded : -1;
    case Icmp6.ParameterProblem:
      return code === 1 ? IcmpKind.ProtocolUnreachable : IcmpKind.ParameterProblem;
    case Icmp6.Unreachable:
      if (code === 0) return IcmpKind.NetUnreachable;
      if (code === 4) return IcmpKind.PortUnreachable;
      return code === 1 || code === 5 || code === 6 ? IcmpKind.Prohibited : IcmpKind.HostUnreachable;
    default:
      return -1;
  }
}

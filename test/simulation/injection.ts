import { equal } from 'node:assert/strict';
import { type Emitter, TcpMiddlebox } from '../../src/link/middlebox/index.ts';
import { pass } from '../../src/link/middlebox/middlebox.ts';
import { addAddressHmac, word } from '../../src/mptcp/keys.ts';
import type { Subflow } from '../../src/mptcp/subflow.ts';
import type { SimulatedHost } from '../../src/sim/host.ts';
import type { Address } from '../../src/wire/address.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';

/**
 * Hands `host` a segment made by hand, as the peer of `subflow`, a subflow of `host`, might send it: an ACK where both
 * ends stand, which `change` makes something else of.
 */
export function inject(
  now: number,
  host: SimulatedHost,
  subflow: Subflow,
  change: (segment: Segment) => void,
  payload: Uint8Array = new Uint8Array(0),
): void {
  const tcp = subflow.tcp!;
  const { local, peer } = subflow;
  const segment = new Segment();
  Object.assign(segment, {
    family: local.family,
    source0: peer.w0,
    source1: peer.w1,
    source2: peer.w2,
    source3: peer.w3,
    destination0: local.w0,
    destination1: local.w1,
    destination2: local.w2,
    destination3: local.w3,
    sourcePort: subflow.peerPort,
    destinationPort: subflow.localPort,
    sequence: tcp.receiver.space.toWire(tcp.receiver.nxt),
    acknowledgment: tcp['space'].toWire(tcp.sender.una),
    flags: Flag.Ack,
    window: Math.floor(tcp.sender.wnd / tcp['peerUnit']),
    options: Option.Timestamps,
    timestampValue: tcp.timestamps.recent,
    timestampEcho: 0,
  });
  change(segment);
  const packet = new Packet(4096);
  packet.bytes.set(payload, packet.start + headerLength(segment));
  encodeSegment(segment, packet, payload.length, false);
  host.onPacket(now, tcp.interfaceId, packet);
}

/** ADD_ADDR as the peer of `subflow` would sign it. */
export function announcing(subflow: Subflow, id: number, address: Address, port = 0): (segment: Segment) => void {
  const { peerKey, localKey } = subflow.connection;
  const hmac = addAddressHmac(peerKey!, localKey, id, address, port);
  return ({ mptcp }) => {
    mptcp.present = Mptcp.AddAddress;
    mptcp.addEcho = false;
    mptcp.addId = id;
    mptcp.addFamily = address.family;
    mptcp.add0 = address.w0;
    mptcp.add1 = address.w1;
    mptcp.add2 = address.w2;
    mptcp.add3 = address.w3;
    mptcp.addPort = port;
    mptcp.addHmacHigh = word(hmac, 0);
    mptcp.addHmacLow = word(hmac, 4);
  };
}

/** A middlebox that changes the fields of segments: `change` says true of those it changed. */
export class Tampering extends TcpMiddlebox {
  readonly name = 'tampering';
  private readonly change: (segment: Segment, way: number) => boolean;
  private readonly header = new IpHeader();
  private readonly segment = new Segment();

  constructor(change: (segment: Segment, way: number) => boolean) {
    super();
    this.change = change;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const { segment, header } = this;
    equal(decodeIp(packet, header), 0);
    equal(decodeTcp(packet, header, segment), 0);
    const payload = packet.bytes.slice(segment.payloadStart, segment.payloadEnd);
    if (!this.change(segment, way)) {
      pass(packet, way, emit);
      return;
    }
    this.acted++;
    const out = new Packet(4096);
    out.bytes.set(payload, out.start + headerLength(segment));
    encodeSegment(segment, out, payload.length, false);
    pass(out, way, emit);
  }
}

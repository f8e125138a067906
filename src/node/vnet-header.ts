import { complement, fold, sumPacket } from '../wire/checksum.ts';
import { ChecksumState, type Packet } from '../wire/packet.ts';
import { Flag } from '../wire/segment.ts';

/**
 * The header that TUN puts before each packet when asked for (virtio 1.2 §5.1.6, `struct virtio_net_hdr`):
 *
 *     flags  gso type  header length (2)  gso size (2)  checksum start (2)  checksum offset (2)
 *
 * It carries what `Packet.gsoSize` and `Packet.checksum` say, in the byte order asked for with TUNSETVNETLE.
 */
export const VNET_HEADER = 10;

const NEEDS_CSUM = 1;
const DATA_VALID = 2;

const GsoType = { None: 0, Tcp4: 1, Tcp6: 4, UdpSegments: 5, Ecn: 0x80 } as const;

const TCP = 6;
const UDP = 17;

/** Reads the header at `packet.start - VNET_HEADER` into the packet's marks. */
export function readVnetHeader(packet: Packet): void {
  const view = packet.view;
  const at = packet.start - VNET_HEADER;
  const flags = view.getUint8(at);
  if ((flags & NEEDS_CSUM) !== 0) packet.checksum = ChecksumState.Partial;
  else packet.checksum = (flags & DATA_VALID) !== 0 ? ChecksumState.Verified : ChecksumState.Unverified;
  packet.gsoSize = view.getUint8(at + 1) === GsoType.None ? 0 : view.getUint16(at + 4, true);
}

/**
 * Writes the header at `packet.start - VNET_HEADER`. A large packet whose checksum is complete is brought to
 * `ChecksumState.Partial`, without which the kernel would not cut it.
 *
 * @returns false when the packet asks for what cannot be said of it: neither TCP nor UDP, or too short
 */
export function writeVnetHeader(packet: Packet): boolean {
  const view = packet.view;
  const at = packet.start - VNET_HEADER;
  if (packet.gsoSize === 0 && packet.checksum !== ChecksumState.Partial) {
    view.setUint8(at, packet.checksum === ChecksumState.Verified ? DATA_VALID : 0);
    view.setUint8(at + 1, GsoType.None);
    view.setUint32(at + 2, 0);
    view.setUint32(at + 6, 0);
    return true;
  }
  const transport = transportOffset(packet);
  if (transport < 0) return false;
  const protocol = transportProtocol;
  if (packet.checksum !== ChecksumState.Partial) writePartial(packet, transport, protocol);
  const isTcp = protocol === TCP;
  const header = isTcp ? (view.getUint8(transport + 12) >>> 4) * 4 : 8;
  const headerLength = transport - packet.start + header;
  let type: number = GsoType.None;
  // A packet that needs no cutting must not ask for it.
  if (packet.gsoSize !== 0 && packet.end - packet.start - headerLength > packet.gsoSize) {
    if (isTcp) {
      type = view.getUint8(packet.start) >>> 4 === 4 ? GsoType.Tcp4 : GsoType.Tcp6;
      // RFC 3168 §6.1.2: CWR goes on the first data packet only, which whoever cuts has to know.
      if ((view.getUint8(transport + 13) & Flag.Cwr) !== 0) type |= GsoType.Ecn;
    } else {
      type = GsoType.UdpSegments;
    }
  }
  view.setUint8(at, NEEDS_CSUM);
  view.setUint8(at + 1, type);
  view.setUint16(at + 2, type === GsoType.None ? 0 : headerLength, true);
  view.setUint16(at + 4, type === GsoType.None ? 0 : packet.gsoSize, true);
  view.setUint16(at + 6, transport - packet.start, true);
  view.setUint16(at + 8, isTcp ? 16 : 6, true);
  return true;
}

/** Computes a checksum that was left to the link, for links that have no header to say so. */
export function completeTransportChecksum(packet: Packet): boolean {
  if (packet.checksum !== ChecksumState.Partial) return true;
  const transport = transportOffset(packet);
  if (transport < 0) return false;
  const field = transport + (transportProtocol === TCP ? 16 : 6);
  writePartial(packet, transport, transportProtocol);
  const sum = complement(sumPacket(packet, transport, packet.end, 0));
  // RFC 768: a UDP checksum that computes to zero is sent as all ones.
  packet.view.setUint16(field, sum === 0 && transportProtocol === UDP ? 0xffff : sum);
  packet.checksum = ChecksumState.Unverified;
  return true;
}

function writePartial(packet: Packet, transport: number, protocol: number): void {
  const isV4 = packet.view.getUint8(packet.start) >>> 4 === 4;
  const addresses = packet.start + (isV4 ? 12 : 8);
  const sum = sumPacket(packet, addresses, addresses + (isV4 ? 8 : 32), protocol + (packet.end - transport));
  packet.view.setUint16(transport + (protocol === TCP ? 16 : 6), fold(sum));
  packet.checksum = ChecksumState.Partial;
}

/** The second result of `transportOffset`. */
let transportProtocol = 0;

/** Where the TCP or UDP header stands; -1 when there is none in whole. Sets `transportProtocol`. */
function transportOffset(packet: Packet): number {
  const view = packet.view;
  const start = packet.start;
  const length = packet.end - start;
  if (length < 28) return -1;
  let at: number;
  let protocol: number;
  if (view.getUint8(start) >>> 4 === 4) {
    at = start + (view.getUint8(start) & 15) * 4;
    protocol = view.getUint8(start + 9);
  } else {
    if (length < 48) return -1;
    at = start + 40;
    protocol = view.getUint8(start + 6);
    // RFC 8200 §4: hop-by-hop, routing and destination options may stand before the transport header.
    while ((protocol === 0 || protocol === 43 || protocol === 60) && at + 8 <= packet.end) {
      protocol = view.getUint8(at);
      at += (view.getUint8(at + 1) + 1) * 8;
    }
  }
  transportProtocol = protocol;
  if (protocol === TCP) return at + 20 <= packet.end ? at : -1;
  return protocol === UDP && at + 8 <= packet.end ? at : -1;
}

import { Drop } from '../wire/drop.ts';
import { encodeIcmpError, FRAGMENTATION_NEEDED, Icmp4, Icmp6, mayDrawError } from '../wire/icmp.ts';
import { decodeIp, IpHeader } from '../wire/ip.ts';
import type { Packet } from '../wire/packet.ts';
import { type PooledPacket, pool } from './pool.ts';
import { Stage } from './stage.ts';

/**
 * Drops packets larger than the MTU. With `reports` set, each drop is answered as a router does: ICMP "fragmentation
 * needed" (RFC 1191 §4) or ICMPv6 "packet too big" (RFC 4443 §3.2), entering the `reports` stage, which leads back to
 * the sender. Packets without DF are dropped too: nothing is fragmented here.
 */
export class Mtu extends Stage {
  /** Where reports go; null: drops are silent (a path-MTU black hole). */
  reports: Stage | null = null;
  /** Bytes of the largest IP packet; may be changed at any time. */
  mtu: number;

  constructor(mtu: number) {
    super();
    if (!(mtu >= 68)) throw new RangeError(`mtu must be at least 68 bytes: ${mtu}`);
    this.mtu = mtu;
  }

  onPacket(now: number, packet: PooledPacket): void {
    if (packet.end - packet.start <= this.mtu) {
      this.emit(now, packet);
      return;
    }
    this.counts.tooBig += packet.count;
    if (this.reports !== null) {
      const report = packetTooBig(packet, this.mtu);
      if (report !== null) {
        this.counts.added++;
        this.reports.onPacket(now, report);
      }
    }
    packet.release();
  }
}

/** What a router answers to a packet that does not fit; null for what must not be answered. */
export function packetTooBig(packet: Packet, mtu: number): PooledPacket | null {
  if (decodeIp(packet, header) !== Drop.None || !mayDrawError(packet, header)) return null;
  const report = pool.take(LARGEST_REPORT);
  // The answer bears the address of the packet's destination: this router has no address of its own.
  if (header.family === 4) {
    // RFC 1191 §4: the MTU of the next hop stands in the low half of the second word.
    const nextHop = Math.min(mtu, 0xffff);
    encodeIcmpError(packet, header, Icmp4.Unreachable, FRAGMENTATION_NEEDED, nextHop, report);
  } else {
    encodeIcmpError(packet, header, Icmp6.PacketTooBig, 0, mtu, report);
  }
  return report;
}

const header = new IpHeader();
/** RFC 4443 §2.4 (c): ICMPv6 errors keep within the minimum MTU; ICMPv4's are shorter. */
const LARGEST_REPORT = 1280;

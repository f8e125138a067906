import { complement, sumPacket } from '../wire/checksum.ts';
import { writeIpChecksum } from './headers.ts';
import { copyBytes, type PooledPacket, pool } from './pool.ts';
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

  protected onPacket(now: number, packet: PooledPacket): void {
    if (packet.end - packet.start <= this.mtu) {
      this.emit(now, packet);
      return;
    }
    this.counts.tooBig += packet.count;
    if (this.reports !== null) {
      const report = packetTooBig(packet, this.mtu);
      if (report !== null) {
        this.counts.added++;
        this.reports.enter(now, report);
      }
    }
    packet.release();
  }
}

/** What a router answers to a packet that does not fit; null for packets that are not answered (ICMP errors, non-IP). */
export function packetTooBig(packet: PooledPacket, mtu: number): PooledPacket | null {
  const version = packet.view.getUint8(packet.start) >>> 4;
  if (version === 4) return fragmentationNeeded(packet, mtu);
  if (version === 6) return packetTooBig6(packet, mtu);
  return null;
}

function fragmentationNeeded(packet: PooledPacket, mtu: number): PooledPacket | null {
  // RFC 1122 §3.2.2: no ICMP error about an ICMP error. Ours all are small; other ICMP is not worth an answer here.
  if (packet.view.getUint8(packet.start + 9) === ICMP) return null;
  // RFC 1812 §4.3.2.3: as much of the original as fits in 576 bytes.
  const quoted = Math.min(packet.end - packet.start, 576 - 28);
  const report = pool.take(28 + quoted);
  const view = report.view;
  const ip = report.start;
  report.end = ip + 28 + quoted;
  view.setUint32(ip, 0x45c0_0000 + 28 + quoted);
  view.setUint32(ip + 4, 0x0000_4000);
  view.setUint32(ip + 8, 0x4001_0000);
  // The answer bears the address of the packet's destination: this router has no address of its own.
  view.setUint32(ip + 12, packet.view.getUint32(packet.start + 16));
  view.setUint32(ip + 16, packet.view.getUint32(packet.start + 12));
  writeIpChecksum(report, ip);
  // RFC 1191 §4: type 3, code 4, the MTU of the next hop in the low half of the second word.
  view.setUint32(ip + 20, 0x0304_0000);
  view.setUint32(ip + 24, Math.min(mtu, 0xffff));
  copyBytes(packet, packet.start, quoted, report, ip + 28);
  view.setUint16(ip + 22, complement(sumPacket(report, ip + 20, report.end, 0)));
  return report;
}

function packetTooBig6(packet: PooledPacket, mtu: number): PooledPacket | null {
  if (packet.view.getUint8(packet.start + 6) === ICMP6) return null;
  // RFC 4443 §3.2: as much of the original as fits in the minimum MTU of 1280 bytes.
  const quoted = Math.min(packet.end - packet.start, 1280 - 48);
  const report = pool.take(48 + quoted);
  const view = report.view;
  const ip = report.start;
  report.end = ip + 48 + quoted;
  view.setUint32(ip, 0x6000_0000);
  view.setUint32(ip + 4, ((8 + quoted) << 16) | (ICMP6 << 8) | 64);
  copyBytes(packet, packet.start + 24, 16, report, ip + 8);
  copyBytes(packet, packet.start + 8, 16, report, ip + 24);
  view.setUint32(ip + 40, 0x0200_0000);
  view.setUint32(ip + 44, mtu);
  copyBytes(packet, packet.start, quoted, report, ip + 48);
  const pseudo = sumPacket(report, ip + 8, ip + 40, ICMP6 + 8 + quoted);
  view.setUint16(ip + 42, complement(sumPacket(report, ip + 40, report.end, pseudo)));
  return report;
}

const ICMP = 1;
const ICMP6 = 58;

import type { Address } from '../../wire/address.ts';
import { complement, sumPacket } from '../../wire/checksum.ts';
import type { Packet } from '../../wire/packet.ts';
import { Flag } from '../../wire/segment.ts';
import { checksumResidue, flagsOf, type Headers, restoreChecksum, writeIpChecksum } from '../headers.ts';
import type { Random } from '../link.ts';
import { type Emitter, flowKey, pass, TcpMiddlebox, Way } from './middlebox.ts';
import { findOption, SACK, WINDOW_SCALE } from './option-list.ts';

/** Middleboxes that rewrite header fields and keep the connection consistent for both sides. */

/**
 * A NAPT: connections from A leave with another address and a port of its own; what comes back is translated back,
 * ICMP errors that quote a translated packet included (RFC 5508 §4). What B sends unasked is dropped.
 */
export class AddressTranslator extends TcpMiddlebox {
  readonly name = 'address-translator';
  private readonly outside: Address;
  private nextPort: number;
  /** Inside address and port, by outside port; and the other way. */
  private readonly inside: Map<number, { readonly words: readonly number[]; readonly port: number }> = new Map();
  private readonly ports: Map<string, number> = new Map();

  /** @param outside the address that B sees @param firstPort the first port given out, then counted up */
  constructor(outside: Address, firstPort = 40_000) {
    super();
    this.outside = outside;
    this.nextPort = firstPort;
  }

  /** Forgets every binding, as a NAT that restarts. */
  forget(): void {
    this.inside.clear();
    this.ports.clear();
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    if (headers.family !== this.outside.family) {
      pass(packet, way, emit);
      return;
    }
    const view = packet.view;
    const residue = checksumResidue(packet, headers);
    const source = headers.ip + (headers.family === 4 ? 12 : 8);
    const size = headers.family === 4 ? 4 : 16;
    if (way === Way.Forward) {
      const words = readWords(view, source, size);
      const port = view.getUint16(headers.tcp);
      writeWords(view, source, outsideWords(this.outside));
      view.setUint16(headers.tcp, this.bind(words, port));
    } else {
      const binding = this.inside.get(view.getUint16(headers.tcp + 2));
      if (binding === undefined || !isAt(view, source + size, outsideWords(this.outside))) {
        emit.drop();
        return;
      }
      writeWords(view, source + size, binding.words);
      view.setUint16(headers.tcp + 2, binding.port);
    }
    if (headers.family === 4) writeIpChecksum(packet, headers.ip);
    restoreChecksum(packet, headers, residue);
    this.acted++;
    pass(packet, way, emit);
  }

  /** ICMP errors about what we translated come to the outside address and quote it. */
  protected override onOther(_now: number, packet: Packet, way: number, emit: Emitter): void {
    if (way === Way.Backward) this.translateError(packet);
    pass(packet, way, emit);
  }

  private translateError(packet: Packet): void {
    const view = packet.view;
    const ip = packet.start;
    const isFour = this.outside.family === 4;
    const icmp = isFour ? ip + (view.getUint8(ip) & 15) * 4 : ip + 40;
    const quoted = icmp + 8;
    const size = isFour ? 4 : 16;
    if (packet.end < quoted + (isFour ? 28 : 48)) return;
    if (view.getUint8(ip) >>> 4 !== this.outside.family || view.getUint8(ip + (isFour ? 9 : 6)) !== (isFour ? 1 : 58))
      return;
    const quotedSource = quoted + (isFour ? 12 : 8);
    const quotedTcp = isFour ? quoted + (view.getUint8(quoted) & 15) * 4 : quoted + 40;
    if (view.getUint8(quoted + (isFour ? 9 : 6)) !== 6 || quotedTcp + 8 > packet.end) return;
    const binding = this.inside.get(view.getUint16(quotedTcp));
    if (binding === undefined || !isAt(view, quotedSource, outsideWords(this.outside))) return;
    writeWords(view, quotedSource, binding.words);
    view.setUint16(quotedTcp, binding.port);
    if (isFour) writeIpChecksum(packet, quoted);
    writeWords(view, ip + (isFour ? 16 : 24), binding.words);
    view.setUint16(icmp + 2, 0);
    const pseudo = isFour ? 0 : sumPacket(packet, ip + 8, ip + 8 + 2 * size, 58 + packet.end - icmp);
    view.setUint16(icmp + 2, complement(sumPacket(packet, icmp, packet.end, pseudo)));
    if (isFour) writeIpChecksum(packet, ip);
    this.acted++;
  }

  private bind(words: readonly number[], port: number): number {
    const key = `${words.join('.')}:${port}`;
    let outsidePort = this.ports.get(key);
    if (outsidePort === undefined) {
      outsidePort = this.nextPort++;
      this.ports.set(key, outsidePort);
      this.inside.set(outsidePort, { words, port });
    }
    return outsidePort;
  }
}

/**
 * A firewall that hides initial sequence numbers: each direction of each connection is shifted by a random amount,
 * acknowledgments and SACK edges the other way (RFC 8684 §3.3.1: why subflow numbers are relative).
 */
export class SequenceRewriter extends TcpMiddlebox {
  readonly name = 'sequence-rewriter';
  private readonly random: Random;
  private readonly shifts: Map<string, { readonly forward: number; readonly backward: number }> = new Map();

  constructor(random: Random) {
    super();
    this.random = random;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const key = flowKey(packet, headers, way);
    let shift = this.shifts.get(key);
    if (shift === undefined) {
      // A connection that was there before the firewall keeps its numbers.
      if ((flagsOf(packet, headers) & Flag.Syn) === 0) {
        pass(packet, way, emit);
        return;
      }
      shift = { forward: this.random.word(), backward: this.random.word() };
      this.shifts.set(key, shift);
    }
    const own = way === Way.Forward ? shift.forward : shift.backward;
    const other = way === Way.Forward ? shift.backward : shift.forward;
    shiftNumbers(packet, headers, own, -other);
    this.acted++;
    pass(packet, way, emit);
  }
}

/** Adds to the sequence number, and to the acknowledgment number and SACK edges if they mean something. */
export function shiftNumbers(packet: Packet, headers: Headers, sequence: number, acknowledgment: number): void {
  const view = packet.view;
  const residue = checksumResidue(packet, headers);
  view.setUint32(headers.tcp + 4, (view.getUint32(headers.tcp + 4) + sequence) >>> 0);
  if ((flagsOf(packet, headers) & Flag.Ack) !== 0) {
    view.setUint32(headers.tcp + 8, (view.getUint32(headers.tcp + 8) + acknowledgment) >>> 0);
    const sack = findOption(packet, headers, SACK);
    if (sack >= 0) {
      const end = sack + view.getUint8(sack + 1);
      for (let at = sack + 2; at + 4 <= end; at += 4) {
        view.setUint32(at, (view.getUint32(at) + acknowledgment) >>> 0);
      }
    }
  }
  restoreChecksum(packet, headers, residue);
}

/** Never lets a side offer a window above a limit. */
export class ShrinkWindow extends TcpMiddlebox {
  readonly name = 'shrink-window';
  /** Bytes; may be changed at any time. */
  limit: number;
  /** The shift that each direction of each connection announced in its SYN (RFC 7323 §2.2). */
  private readonly scales: Map<string, number> = new Map();

  constructor(limit: number) {
    super();
    this.limit = limit;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const view = packet.view;
    const key = flowKey(packet, headers, way);
    const isSyn = (flagsOf(packet, headers) & Flag.Syn) !== 0;
    if (isSyn) {
      const at = findOption(packet, headers, WINDOW_SCALE);
      // -1: this side cannot scale, so neither does (RFC 7323 §2.2).
      this.scales.set(`${way}${key}`, at < 0 ? -1 : Math.min(14, view.getUint8(at + 2)));
    }
    const own = this.scales.get(`${way}${key}`) ?? -1;
    const other = this.scales.get(`${1 - way}${key}`) ?? -1;
    const scale = isSyn || own < 0 || other < 0 ? 0 : own;
    const most = Math.min(0xffff, Math.floor(this.limit / 2 ** scale));
    if (view.getUint16(headers.tcp + 14) > most) {
      const residue = checksumResidue(packet, headers);
      view.setUint16(headers.tcp + 14, most);
      restoreChecksum(packet, headers, residue);
      this.acted++;
    }
    pass(packet, way, emit);
  }
}

function outsideWords(address: Address): readonly number[] {
  return address.family === 4 ? [address.w3] : [address.w0, address.w1, address.w2, address.w3];
}

function readWords(view: DataView, at: number, size: number): readonly number[] {
  const words: number[] = [];
  for (let offset = 0; offset < size; offset += 4) words.push(view.getUint32(at + offset));
  return words;
}

function writeWords(view: DataView, at: number, words: readonly number[]): void {
  for (let index = 0; index < words.length; index++) view.setUint32(at + 4 * index, words[index]!);
}

function isAt(view: DataView, at: number, words: readonly number[]): boolean {
  return words.every((word, index) => view.getUint32(at + 4 * index) === word);
}

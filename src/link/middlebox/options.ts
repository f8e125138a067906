import type { Packet } from '../../wire/packet.ts';
import { Flag } from '../../wire/segment.ts';
import { checksumResidue, flagsOf, restoreChecksum, writeLength, writeTcpChecksum } from '../headers.ts';
import { copyBytes, pool } from '../pool.ts';
import { type Emitter, flowKey, pass, TcpMiddlebox } from './middlebox.ts';
import { appendOption, blankOption, END, findOption, MPTCP, MSS, NOP, optionAt } from './option-list.ts';

/** Middleboxes that act on TCP options. */

export interface StripOptions {
  /** Option kind; 30 (MPTCP) unless given. */
  readonly kind?: number;
  /** MPTCP subtype: only options of that subtype are stripped. 0 MP_CAPABLE, 1 MP_JOIN, 2 DSS, ... */
  readonly subtype?: number;
  /** Segments it applies to; all unless given. */
  readonly on?: 'all' | 'syn' | 'syn-ack' | 'third-ack' | 'non-syn' | 'data';
  /** Leaves the first so many segments that it would apply to alone. */
  readonly after?: number;
  /** What takes the option's place: NOPs (1), or zeros, that is end-of-list (0), which hides what follows it too. */
  readonly filler?: 'nop' | 'end';
}

/** Strips options of a kind (RFC 8684 §3.7: middleboxes that remove MPTCP options). */
export class StripOption extends TcpMiddlebox {
  readonly name = 'strip-option';
  private readonly kind: number;
  private readonly subtype: number;
  private readonly on: Required<StripOptions>['on'];
  private readonly after: number;
  private readonly filler: number;
  private seen = 0;
  /** Connections whose third ACK is yet to come. */
  private readonly opening: Set<string> = new Set();

  constructor(options: StripOptions = {}) {
    super();
    this.kind = options.kind ?? MPTCP;
    this.subtype = options.subtype ?? -1;
    this.on = options.on ?? 'all';
    this.after = options.after ?? 0;
    this.filler = options.filler === 'end' ? END : NOP;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    if (this.applies(packet, way) && this.seen++ >= this.after) {
      let hasActed = false;
      for (
        let at = findOption(packet, this.headers, this.kind, this.subtype);
        at >= 0;
        at = findOption(packet, this.headers, this.kind, this.subtype)
      ) {
        blankOption(packet, this.headers, at, this.filler);
        hasActed = true;
      }
      if (hasActed) this.acted++;
    }
    pass(packet, way, emit);
  }

  private applies(packet: Packet, way: number): boolean {
    const flags = flagsOf(packet, this.headers);
    const isSyn = (flags & Flag.Syn) !== 0;
    const isAck = (flags & Flag.Ack) !== 0;
    switch (this.on) {
      case 'all':
        return true;
      case 'syn':
        return isSyn && !isAck;
      case 'syn-ack':
        return isSyn && isAck;
      case 'non-syn':
        return !isSyn;
      case 'data':
        return !isSyn && this.headers.end > this.headers.payload;
      case 'third-ack': {
        // The first segment after the SYN in the direction of the SYN; its retransmissions go through.
        const key = `${way}${flowKey(packet, this.headers, way)}`;
        if (isSyn && !isAck) this.opening.add(key);
        return !isSyn && this.opening.delete(key);
      }
    }
  }
}

/** Drops SYNs that carry an option it does not know. */
export class DropUnknownOptions extends TcpMiddlebox {
  readonly name = 'drop-unknown-options';
  private readonly known: ReadonlySet<number>;

  /** @param known option kinds that pass; those of RFC 9293, RFC 7323 and RFC 2018 unless given */
  constructor(known: Iterable<number> = [2, 3, 4, 5, 8]) {
    super();
    this.known = new Set(known);
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const view = packet.view;
    if ((flagsOf(packet, this.headers) & Flag.Syn) !== 0) {
      for (
        let at = optionAt(packet, this.headers, this.headers.options);
        at >= 0;
        at = optionAt(packet, this.headers, at + view.getUint8(at + 1))
      ) {
        if (this.known.has(view.getUint8(at))) continue;
        this.acted++;
        emit.drop();
        return;
      }
    }
    pass(packet, way, emit);
  }
}

/** Lowers the maximum segment size that SYNs announce, both ways. */
export class ClampMss extends TcpMiddlebox {
  readonly name = 'clamp-mss';
  private readonly mss: number;

  constructor(mss: number) {
    super();
    this.mss = mss;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    if ((flagsOf(packet, this.headers) & Flag.Syn) !== 0) {
      const at = findOption(packet, this.headers, MSS);
      if (at >= 0 && packet.view.getUint16(at + 2) > this.mss) {
        const residue = checksumResidue(packet, this.headers);
        packet.view.setUint16(at + 2, this.mss);
        restoreChecksum(packet, this.headers, residue);
        this.acted++;
      }
    }
    pass(packet, way, emit);
  }
}

/**
 * Repeats a data segment's MPTCP options on other segments: on an empty one sent right behind it ('bare'), or on the
 * next data segment of that direction if that has no MPTCP option and has room ('next').
 */
export class DuplicateOption extends TcpMiddlebox {
  readonly name = 'duplicate-option';
  private readonly mode: 'bare' | 'next';
  private readonly last: Map<string, Uint8Array> = new Map();

  constructor(mode: 'bare' | 'next' = 'bare') {
    super();
    this.mode = mode;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const hasData = headers.end > headers.payload && (flagsOf(packet, headers) & Flag.Syn) === 0;
    const at = hasData ? findOption(packet, headers, MPTCP) : -1;
    if (this.mode === 'bare') {
      pass(packet, way, emit);
      if (at >= 0) this.repeatBare(packet, way, emit);
      return;
    }
    if (hasData) {
      const key = `${way}${flowKey(packet, headers, way)}`;
      if (at >= 0) {
        this.last.set(key, packet.bytes.slice(at, at + packet.view.getUint8(at + 1)));
      } else {
        const option = this.last.get(key);
        if (option !== undefined && appendOption(packet, headers, option, 0, option.length)) this.acted++;
      }
    }
    pass(packet, way, emit);
  }

  private repeatBare(packet: Packet, way: number, emit: Emitter): void {
    const headers = this.headers;
    const length = headers.payload - headers.ip;
    const sequence = (packet.view.getUint32(headers.tcp + 4) + (headers.end - headers.payload)) >>> 0;
    const bare = pool.take(length);
    copyBytes(packet, headers.ip, length, bare, bare.start);
    bare.end = bare.start + length;
    // The headers of a packet without its payload: the length fields have to say so before they can be found.
    if (headers.family === 4) bare.view.setUint16(bare.start + 2, length);
    else bare.view.setUint16(bare.start + 4, length - 40);
    if (headers.locate(bare)) {
      bare.view.setUint32(headers.tcp + 4, sequence);
      bare.view.setUint8(headers.tcp + 13, Flag.Ack);
      writeLength(bare, headers);
      writeTcpChecksum(bare, headers);
      this.acted++;
      pass(bare, way, emit);
    }
    bare.release();
  }
}

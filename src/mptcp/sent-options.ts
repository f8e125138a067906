import { Capable, Dss, Mptcp, type MptcpOptions, ResetReason } from '../wire/mptcp-options.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import type { MptcpConnection } from './connection.ts';
import { pseudoChecksum } from './dss-checksum.ts';
import type { JoinHandshake } from './join-handshake.ts';
import { NO_MAPPING } from './mappings.ts';
import { Phase } from './phase.ts';
import type { SentData } from './sent-data.ts';
import { SignalPacing } from './signal-pacing.ts';
import type { Subflow } from './subflow.ts';

/**
 * The MPTCP options of the segments that a subflow sends: what a data segment, a pure ACK and a RST say. Owns what waits to
 * be said.
 */
export class SentOptions {
  private readonly subflow: Subflow;
  private readonly connection: MptcpConnection;
  private readonly sent: SentData;
  private readonly join: JoinHandshake;
  readonly pacing: SignalPacing;

  // What a pure ACK should say
  /** The last word of the handshake: MP_CAPABLE with both keys, or MP_JOIN with the HMAC. */
  wantsHandshakeAck = false;
  /** DATA_FIN alone. */
  wantsDataFin = false;
  wantsPriority = false;
  wantsDataAck = false;
  private failHigh = -1;
  private failLow = 0;

  // What data says after fallback
  /** The next data segment carries the infinite mapping. */
  private infinitePending = false;
  /** Subflow offset at which it was sent first: it is part of that segment whenever it is sent again. -1: none. */
  private infiniteStart = -1;
  /** Bytes below this subflow offset still travel with their mappings. */
  private plainStart = 0;

  // What a RST says
  private resetReason = 0;
  private resetTransient = false;
  private resetFastClose = false;
  private resetFail = false;

  constructor(subflow: Subflow, sent: SentData, join: JoinHandshake) {
    this.subflow = subflow;
    this.connection = subflow.connection;
    this.sent = sent;
    this.join = join;
    this.pacing = new SignalPacing(subflow);
  }

  /** What the next RST says. */
  setReset(reason: number, transient: boolean): void {
    this.resetReason = reason;
    this.resetTransient = transient;
  }

  /** The next RST carries MP_FASTCLOSE. */
  setFastClose(): void {
    this.resetFastClose = true;
    this.resetReason = ResetReason.Unspecified;
  }

  /** The next ACK carries MP_FAIL for `dataOffset`. */
  setFail(dataOffset: number): void {
    const { space } = this.connection.receiver;
    this.failHigh = space!.toWireHigh(dataOffset);
    this.failLow = space!.toWireLow(dataOffset);
  }

  /** The next RST carries MP_FAIL for `dataOffset`. */
  setFailReset(dataOffset: number): void {
    this.setFail(dataOffset);
    this.resetFail = true;
  }

  /**
   * The connection fell back.
   *
   * @param announce say so with an infinite mapping (RFC 8684 §3.7)
   * @param keepsMappings what is mapped goes out with its mapping, for the peer is multipath until the infinite one
   */
  enterPlain(announce: boolean, keepsMappings: boolean): void {
    this.wantsHandshakeAck = false;
    this.wantsDataFin = false;
    this.wantsDataAck = false;
    this.wantsPriority = false;
    this.infinitePending = announce;
    if (keepsMappings) this.plainStart = this.sent.end;
  }

  /** A pure ACK has something to say. */
  get wantsAcknowledgment(): boolean {
    // Until it is proven, the side that opened it says nothing but the handshake's last word: the rest waits.
    if (this.isOpening) return this.wantsHandshakeAck || (this.wantsDataFin && !this.subflow.joined);
    if (this.wantsHandshakeAck || this.wantsDataFin || this.wantsDataAck) return true;
    if (this.pacing.isHeld) return false;
    return this.wantsPriority || this.failHigh >= 0 || this.connection.announcements.wants(this.subflow);
  }

  /** We opened it, and RFC 8684 §3.1, §3.2 do not yet allow to rely on it. */
  private get isOpening(): boolean {
    return this.subflow.phase === Phase.Unproven && this.subflow.active;
  }

  /**
   * What the segment with `length` bytes from `offset` says, in `room` bytes of options. Returns how many of the bytes it
   * may carry.
   */
  write(now: number, segment: Segment, offset: number, length: number, room: number): number {
    const allowed = this.fill(now, segment, offset, length, room);
    this.pacing.onTransmit(now, segment, allowed > 0 || (segment.flags & Flag.Fin) !== 0);
    return allowed;
  }

  private fill(now: number, segment: Segment, offset: number, length: number, room: number): number {
    const { connection } = this;
    const options = segment.mptcp;
    if ((segment.flags & Flag.Rst) !== 0) {
      this.writeReset(options);
      return 0;
    }
    if (connection.fallenBack && (length === 0 || offset >= this.plainStart)) {
      return this.writePlain(options, offset, length, room);
    }
    if (this.isOpening) {
      if (this.subflow.joined) {
        this.writeJoinAck(now, options);
        return 0;
      }
      if (length === 0 && !this.wantsDataFin) {
        this.wantsHandshakeAck = false;
        this.wantsDataAck = false;
        this.writeCapableAck(options);
        return 0;
      }
      if (length > 0 && offset === 1) return this.writeCapableData(options, length);
    }
    if (length === 0) {
      this.writePureAck(now, segment, room);
      return 0;
    }
    const allowed = this.writeMapping(options, offset, length);
    if (allowed > 0 && this.wantsPriority && room >= 32) this.writePriority(options);
    return allowed;
  }

  /** The DSS of a data segment. */
  private writeMapping(options: MptcpOptions, offset: number, length: number): number {
    const { space } = this.connection.sender;
    const { mappings } = this.sent;
    const mapping = mappings.find(offset);
    if (mapping === NO_MAPPING) return 0;
    const start = mappings.subflowStart(mapping);
    options.present |= Mptcp.Dss;
    options.dssFlags = Dss.Map | Dss.Map64;
    this.writeDataAck(options);
    const dataStart = mappings.dataStart(mapping);
    options.dataSequenceHigh = space.toWireHigh(dataStart);
    options.dataSequenceLow = space.toWireLow(dataStart);
    options.subflowSequence = start;
    options.dataLength = mappings.length(mapping);
    if (mappings.fin(mapping)) {
      options.dssFlags |= Dss.Fin;
      options.dataLength++;
    }
    this.writeChecksum(options, mapping);
    return Math.min(length, start + mappings.length(mapping) - offset);
  }

  /** After fallback: at most the infinite mapping, once (RFC 8684 §3.7). */
  private writePlain(options: MptcpOptions, offset: number, length: number, room: number): number {
    if (length === 0) {
      if (this.failHigh >= 0 && room >= 12 && !this.pacing.isHeld) this.writeFail(options);
      return 0;
    }
    if ((this.infinitePending || offset === this.infiniteStart) && room >= 20) {
      this.writeInfiniteMapping(options, offset);
    }
    return length;
  }

  private writeInfiniteMapping(options: MptcpOptions, offset: number): void {
    const { checksums, counters, sender } = this.connection;
    const { mappings } = this.sent;
    const mapping = mappings.find(offset);
    if (mapping === NO_MAPPING) return;
    if (this.infinitePending) counters.InfiniteMapTx++;
    this.infinitePending = false;
    this.infiniteStart = offset;
    const dataStart = mappings.dataStart(mapping) + (offset - mappings.subflowStart(mapping));
    options.present |= Mptcp.Dss;
    options.dssFlags = Dss.Map | Dss.Map64;
    options.dataSequenceHigh = sender.space.toWireHigh(dataStart);
    options.dataSequenceLow = sender.space.toWireLow(dataStart);
    options.subflowSequence = offset;
    options.dataLength = 0;
    options.hasChecksum = checksums;
    options.checksum = 0;
  }

  private writeCapableData(options: MptcpOptions, length: number): number {
    const { mappings } = this.sent;
    const mapping = mappings.find(1);
    if (mapping === NO_MAPPING) return 0;
    // RFC 8684 §3.1: the first data carries both keys in place of a DSS, and an implicit mapping (A2.05).
    this.writeCapableAck(options);
    options.present |= Mptcp.CapableData;
    options.dataLength = mappings.length(mapping);
    this.writeChecksum(options, mapping);
    this.wantsHandshakeAck = false;
    // MP_CAPABLE has no place for the DATA_FIN that the mapping ends with: it follows on its own.
    if (mappings.fin(mapping)) this.wantsDataFin = true;
    return Math.min(length, mappings.length(mapping));
  }

  private writeCapableAck(options: MptcpOptions): void {
    const { localKey, peerKey, checksums } = this.connection;
    options.present |= Mptcp.CapableAck;
    options.version = 1;
    options.capableFlags = Capable.HmacSha256 | (checksums ? Capable.Checksum : 0);
    options.senderKeyHigh = localKey.high;
    options.senderKeyLow = localKey.low;
    options.receiverKeyHigh = peerKey!.high;
    options.receiverKeyLow = peerKey!.low;
  }

  private writeJoinAck(now: number, options: MptcpOptions): void {
    this.join.writeAck(options);
    if (this.wantsHandshakeAck) {
      this.wantsHandshakeAck = false;
      this.join.armAck(now);
    }
    this.wantsDataAck = false;
  }

  private writePureAck(now: number, segment: Segment, room: number): void {
    const options = segment.mptcp;
    const { announcements, checksums, sender } = this.connection;
    const isFin = (segment.flags & Flag.Fin) !== 0;
    const maySignal = isFin || !this.pacing.isHeld;
    // A1.41: an announcement travels alone, without DSS, so that an IPv6 address fits.
    if (!isFin && maySignal && announcements.write(now, this.subflow, options, room)) return;
    options.present |= Mptcp.Dss;
    options.dssFlags = 0;
    options.hasChecksum = false;
    this.writeDataAck(options);
    this.wantsDataAck = false;
    this.wantsHandshakeAck = false;
    if (this.wantsDataFin) {
      this.wantsDataFin = false;
      if (sender.isShut) {
        // RFC 8684 §3.3.3: a DATA_FIN without data has subflow sequence number 0 and length 1.
        options.dssFlags |= Dss.Map | Dss.Map64 | Dss.Fin;
        options.dataSequenceHigh = sender.space.toWireHigh(sender.finOffset);
        options.dataSequenceLow = sender.space.toWireLow(sender.finOffset);
        options.subflowSequence = 0;
        options.dataLength = 1;
        options.hasChecksum = checksums;
        if (checksums) options.checksum = pseudoChecksum(options, 0);
      }
    }
    if (!maySignal) return;
    let used = 12 + ((options.dssFlags & Dss.Map) !== 0 ? 16 : 0);
    if (this.failHigh >= 0 && used + 12 <= room) {
      this.writeFail(options);
      used += 12;
    }
    if (this.wantsPriority && used + 4 <= room) {
      this.writePriority(options);
      used += 4;
    }
    if (used + 12 <= room) announcements.writeRemoval(this.subflow, options);
  }

  private writePriority(options: MptcpOptions): void {
    this.wantsPriority = false;
    options.present |= Mptcp.Priority;
    options.priorityBackup = this.subflow.localBackup;
    this.connection.counters.MPPrioTx++;
  }

  private writeFail(options: MptcpOptions): void {
    options.present |= Mptcp.Fail;
    options.failHigh = this.failHigh;
    options.failLow = this.failLow;
    this.failHigh = -1;
    this.connection.counters.MPFailTx++;
  }

  private writeDataAck(options: MptcpOptions): void {
    const { next, peerUses64, space } = this.connection.receiver;
    if (space === null) return;
    options.dssFlags |= Dss.Ack;
    // A5.10: a peer that sends 64-bit DSNs is answered with 64-bit DATA_ACKs (RFC 8684 §3.3.1).
    if (peerUses64) {
      options.dssFlags |= Dss.Ack64;
      options.dataAckHigh = space.toWireHigh(next);
    }
    options.dataAckLow = space.toWireLow(next);
  }

  private writeChecksum(options: MptcpOptions, mapping: number): void {
    options.hasChecksum = this.connection.checksums;
    if (!options.hasChecksum) return;
    if ((options.present & Mptcp.CapableData) !== 0) {
      const first = this.sent.mappings.dataStart(mapping);
      options.dataSequenceHigh = this.connection.sender.space.toWireHigh(first);
      options.dataSequenceLow = this.connection.sender.space.toWireLow(first);
      options.subflowSequence = 1;
    }
    options.checksum = pseudoChecksum(options, this.sent.sumOf(mapping));
  }

  private writeReset(options: MptcpOptions): void {
    const { connection } = this;
    if (!this.subflow.joined && (connection.fallenBack || this.subflow.phase === Phase.Connecting)) return;
    if (this.resetFastClose && connection.peerKey !== null) {
      options.present |= Mptcp.FastClose;
      options.fastCloseKeyHigh = connection.peerKey.high;
      options.fastCloseKeyLow = connection.peerKey.low;
      connection.counters.MPFastcloseTx++;
    } else if (this.resetFail) {
      options.present |= Mptcp.Fail;
      options.failHigh = this.failHigh;
      options.failLow = this.failLow;
      connection.counters.MPFailTx++;
    }
    options.present |= Mptcp.Reset;
    options.resetReason = this.resetReason;
    options.resetFlags = this.resetTransient ? 1 : 0;
    connection.counters.MPRstTx++;
  }
}

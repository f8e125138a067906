import type { TcpConnection } from '../tcp/connection.ts';
import type { ByteSink, ByteSource, Extension } from '../tcp/seams.ts';
import { Verdict } from '../tcp/seams.ts';
import type { Address } from '../wire/address.ts';
import { Dss, Mptcp, type MptcpOptions, ResetReason } from '../wire/mptcp-options.ts';
import type { Packet } from '../wire/packet.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import type { MptcpConnection } from './connection.ts';
import { ConnectionEvent } from './connection-event.ts';
import { pseudoChecksum } from './dss-checksum.ts';
import { FallbackReason } from './fallback.ts';
import { JoinHandshake } from './join-handshake.ts';
import { Ending, Phase } from './phase.ts';
import { ReceivedData } from './received-data.ts';
import type { PathView } from './seams.ts';
import { SentData } from './sent-data.ts';
import { SentOptions } from './sent-options.ts';
import { SubflowPicture } from './subflow-picture.ts';

export { Phase };

/** What of a handshake or a connection a subflow's ending needs. */
export interface Abortable {
  abort(now: number): void;
}

/**
 * A TCP connection that is part of an MPTCP connection: its extension, its byte source and its byte sink in one. It
 * turns subflow offsets into data offsets and options into calls of the connection; it decides nothing about paths. Owns
 * the life of the subflow, its addresses and figures; what it sends, receives, says and how it joined are its parts'.
 *
 * Subflow offsets are RFC 8684's relative subflow sequence numbers: the SYN is 0, the first byte 1.
 */
export class Subflow implements Extension, ByteSource, ByteSink, PathView {
  readonly connection: MptcpConnection;
  /** Number within the connection, never reused; the initial one is 1. */
  readonly id: number;
  readonly local: Address;
  readonly localPort: number;
  readonly peer: Address;
  readonly peerPort: number;
  localId: number;
  peerId: number;
  /** We sent the SYN. */
  readonly active: boolean;
  /** It began with MP_JOIN. */
  readonly joined: boolean;
  phase: number = Phase.Connecting;
  /** Its TCP connection, once the handshake is over. */
  tcp: TcpConnection | null = null;
  /** Whoever runs it now: the handshake, then `tcp`. Set by the host. */
  endpoint: Abortable | null = null;
  /** An `Ending` that was decided and not yet carried out. */
  ending: number = Ending.None;
  readonly picture: SubflowPicture = new SubflowPicture();

  /** We asked the peer not to send here (B in our MP_JOIN or MP_PRIO). */
  localBackup: boolean;
  /** The peer asked us not to send here. */
  peerBackup = false;
  /** The retransmission timer fired, nothing acknowledged since. */
  lossy = false;
  /** Data-level timeouts without progress here (G1.13). */
  staleCount = 0;
  stale = false;
  /** Why it ended, a `CloseReason`; -1 while it lives. */
  closeReason = -1;
  /** MP_TCPRST reason and flags that ended it, sent or received; -1 without. */
  resetReason = -1;
  resetFlags = 0;
  /** Bytes first sent here, sent again here for another subflow, received here (duplicates included). */
  bytesSent = 0;
  bytesReinjected = 0;
  bytesReceived = 0;
  establishedAt = -1;

  /** When the peer last acknowledged something on it; -1 before. */
  acknowledgedAt = -1;
  /** The segment at hand came without any MPTCP option. */
  private bare = false;
  /** Nothing sent here was acknowledged with a DATA_ACK yet, and something has to be (A8.09). */
  private untried: boolean;

  readonly sent: SentData;
  readonly received: ReceivedData;
  readonly join: JoinHandshake;
  readonly options: SentOptions;

  constructor(
    connection: MptcpConnection,
    id: number,
    tuple: { local: Address; localPort: number; peer: Address; peerPort: number },
    role: { active: boolean; joined: boolean; localId: number; peerId: number; backup: boolean },
  ) {
    this.connection = connection;
    this.id = id;
    this.local = tuple.local;
    this.localPort = tuple.localPort;
    this.peer = tuple.peer;
    this.peerPort = tuple.peerPort;
    this.active = role.active;
    this.joined = role.joined;
    this.untried = role.joined;
    this.localId = role.localId;
    this.peerId = role.peerId;
    this.localBackup = role.backup;
    this.picture.id = id;
    this.sent = new SentData(connection.sender.queue);
    this.received = new ReceivedData(this);
    this.join = new JoinHandshake(this);
    this.options = new SentOptions(this, this.sent, this.join);
  }

  get established(): boolean {
    return this.phase === Phase.Unproven || this.phase === Phase.Proven;
  }

  get closed(): boolean {
    return this.phase === Phase.Closed;
  }

  get backup(): boolean {
    return this.localBackup || this.peerBackup;
  }

  /** Data may be mapped to it. */
  get usable(): boolean {
    if (this.tcp === null) return false;
    if (this.phase === Phase.Proven) return true;
    // The initial subflow of a client may send before it is proven: its first data proves it (A2.05).
    return this.phase === Phase.Unproven && !this.joined;
  }

  /** How well it carries signals, from 0: not at all, over 1: it is ending, to 3. */
  get signalRank(): number {
    if (this.phase === Phase.Closing) return 1;
    // A server may speak on its initial subflow as soon as the third ACK is there.
    const early = this.phase === Phase.Unproven && !this.active && !this.joined;
    if (this.phase !== Phase.Proven && !early) return 0;
    if (this.ending !== Ending.None) return 1;
    return this.lossy || this.stale ? 2 : 3;
  }

  // ---------------------------------------------------------------------------------------------- ByteSource

  /** One past the last subflow offset mapped (`ByteSource.end`). */
  get end(): number {
    return this.sent.end;
  }

  /** Maps `length` bytes of data from `dataStart` to the end of this subflow. */
  map(dataStart: number, length: number, reinjection: boolean): void {
    const { connection } = this;
    const fin = dataStart + length === connection.sender.finOffset && !connection.fallenBack;
    this.sent.map(this.tcp!.sender.nxt, dataStart, length, fin);
    if (reinjection) this.bytesReinjected += length;
    else this.bytesSent += length;
  }

  copyTo(offset: number, length: number, target: Uint8Array, at: number): void {
    this.sent.copyTo(offset, length, target, at);
  }

  release(now: number, offset: number): void {
    const { connection } = this;
    if (connection.fallenBack) connection.sender.onPlainAcknowledged(this.sent.dataEnd(offset));
    this.sent.release(offset, this.dataUna);
    connection.sender.release(now);
  }

  /** Data was acknowledged: what was mapped here may be forgotten. */
  forget(): void {
    this.sent.forget(this.dataUna);
  }

  /** Data offset below which nobody asks for what was mapped here; after fallback TCP alone does. */
  private get dataUna(): number {
    return this.connection.fallenBack ? Number.POSITIVE_INFINITY : this.connection.sender.una;
  }

  // ---------------------------------------------------------------------------------------------- handshake

  onTransmitSyn(_now: number, segment: Segment, attempt: number): void {
    const options = segment.mptcp;
    if (this.joined) {
      this.join.writeSyn(options, attempt);
      return;
    }
    const { counters, negotiation } = this.connection;
    if (!negotiation.offersCapable(attempt)) return;
    options.present |= Mptcp.CapableSyn;
    options.version = 1;
    options.capableFlags = negotiation.offeredFlags;
    if (attempt === 0) counters.MPCapableSYNTX++;
  }

  onHandshakeSegment(now: number, segment: Segment): number {
    // The SYN of a passive join was judged before this subflow existed.
    if (!this.active && (segment.flags & Flag.Syn) !== 0) return Verdict.Accept;
    if (!this.joined) return this.connection.negotiation.onSynAck(segment);
    return this.active ? this.join.onSynAck(segment.mptcp) : this.join.onAck(now, segment.mptcp);
  }

  /** What the next RST of this subflow says. */
  setReset(reason: number, transient: boolean): void {
    this.options.setReset(reason, transient);
    this.resetReason = reason;
  }

  onEstablished(now: number): void {
    this.phase = Phase.Unproven;
    this.establishedAt = now;
    if (this.connection.fallenBack) {
      this.phase = Phase.Proven;
      this.received.startPlain();
    } else if (this.joined && !this.active) {
      this.phase = Phase.Proven;
      this.options.wantsDataAck = true; // A4.10: the fourth packet goes out at once.
    } else if (this.active) {
      this.options.wantsHandshakeAck = true;
    }
    this.connection.onSubflowTcpEstablished(now, this);
  }

  /** When the join's third ACK goes out again, or signals that had to wait go out; Infinity when nothing is to come. */
  get deadline(): number {
    return Math.min(this.join.deadline, this.options.pacing.deadline);
  }

  onTimeout(now: number): void {
    this.options.pacing.onTimeout(now);
    if (now < this.join.deadline) return;
    this.join.disarm();
    if (this.join.isExhausted) {
      this.setReset(ResetReason.Unspecified, true);
      this.connection.group.end(this, Ending.Abort);
    } else {
      this.options.wantsHandshakeAck = true;
    }
  }

  // ---------------------------------------------------------------------------------------------- transmitting

  get overhead(): number {
    if (this.connection.fallenBack) return 0;
    // DATA_ACK of 4 or 8 bytes, DSN of 8, subflow sequence, length, checksum or padding (A1.19, A1.20).
    return this.connection.receiver.peerUses64 ? 28 : 24;
  }

  get wantsAcknowledgment(): boolean {
    return this.options.wantsAcknowledgment;
  }

  /** A pure ACK goes out now for a signal that waits, unless there were enough of them (A5.27). */
  demandSignal(now: number): void {
    const { pacing } = this.options;
    pacing.onTimeout(now);
    if (this.tcp !== null && !pacing.isHeld) this.tcp.demandAcknowledgment(now);
  }

  onTransmit(now: number, segment: Segment, offset: number, length: number, room: number): number {
    return this.options.write(now, segment, offset, length, room);
  }

  // ---------------------------------------------------------------------------------------------- receiving

  onSegment(now: number, segment: Segment, _packet: Packet): number {
    if (this.received.isPlain) return this.receivePlain(now, segment);
    this.bare = segment.mptcp.present === 0;
    if (this.lossy) this.onPathAlive(now);
    if (this.connection.sender.hasWaiting) this.connection.wantsUpdate = true;
    const options = segment.mptcp;
    const present = options.present;
    let verdict: number = (present & SIGNALS) !== 0 ? Verdict.NotDuplicate : Verdict.Accept;
    if (this.phase < Phase.Proven) {
      const outcome = this.prove(now, segment);
      if (outcome >= 0) return outcome;
    }
    if (this.untried && this.phase === Phase.Proven && this.end > 1 && segment.ackOffset > 1) {
      const outcome = this.tryPath(segment);
      if (outcome !== Verdict.Accept) return outcome;
    }
    if ((present & SIGNALS) !== 0) {
      verdict |= this.onSignals(now, options);
      if ((verdict & Verdict.Reset) !== 0) return verdict;
      if (this.received.isPlain) return verdict;
    }
    if ((present & Mptcp.Dss) !== 0) {
      if ((options.dssFlags & Dss.Ack) !== 0) this.onDataAck(now, segment);
      if ((options.dssFlags & Dss.Map) !== 0) {
        const outcome = this.onMapping(now, segment);
        if (outcome !== Verdict.Accept) return verdict | outcome;
      }
    } else if ((present & Mptcp.CapableData) !== 0 && segment.length > 0) {
      // A2.06: the implicit mapping of the first data, on however many segments it shows.
      const outcome = this.onCapableData(now, segment);
      if (outcome !== Verdict.Accept) return verdict | outcome;
    }
    // What the mapping made of the connection may be plain TCP: then payload needs none.
    if (segment.length > 0 && !this.received.isPlain) verdict |= this.received.requireMapping(now, segment);
    return verdict;
  }

  /** After fallback the stream is TCP's; options are ignored (A8.19). */
  private receivePlain(now: number, segment: Segment): number {
    const { connection } = this;
    connection.wantsUpdate = true;
    if ((segment.mptcp.present & Mptcp.Fail) !== 0) connection.fallback.onFail(now, this);
    return Verdict.Accept;
  }

  /** What the first segments after the handshake must show (A2.09, A2.10, A4.08). -1: go on with the segment. */
  private prove(now: number, segment: Segment): number {
    const { connection } = this;
    const options = segment.mptcp;
    const present = options.present;
    if ((segment.flags & Flag.Syn) !== 0) return -1;
    if (this.joined) {
      if (!this.active) return -1;
      const acknowledged = (present & Mptcp.Dss) !== 0 && (options.dssFlags & Dss.Ack) !== 0;
      if (!acknowledged && (present & Mptcp.AddAddress) === 0) {
        // A4.11: data or anything else before the fourth packet breaks RFC 8684 §3.2.
        return this.fail(ResetReason.MptcpSpecific);
      }
      this.becomeProven(now);
      return -1;
    }
    const dataAck = (present & Mptcp.Dss) !== 0 && (options.dssFlags & Dss.Ack) !== 0;
    const announced = (present & Mptcp.AddAddress) !== 0;
    if (this.active) {
      if (dataAck || announced) {
        this.becomeProven(now);
        return -1;
      }
      if ((present & Mptcp.CapableSynAck) !== 0) return -1;
      if (segment.offset !== this.tcp!.receiver.nxt) return -1;
      // The peer answers without MPTCP: it, or something on the path, does not speak it.
      return this.fallBackUnproven(now);
    }
    if (dataAck || announced || (present & Mptcp.CapableData) !== 0) {
      this.becomeProven(now);
      return -1;
    }
    if ((present & Mptcp.CapableAck) !== 0) {
      connection.onKeyConfirmed(now);
      return -1;
    }
    if (segment.offset !== this.tcp!.receiver.nxt) return -1;
    return this.fallBackUnproven(now);
  }

  /** A8.08, A8.10: the initial subflow carries no MPTCP; with others at work that is the end of it alone. */
  private fallBackUnproven(now: number): number {
    const { connection } = this;
    if (!connection.fallback.isPossible(this)) {
      connection.counters.FallbackFailed++;
      return this.fail(ResetReason.Middlebox);
    }
    connection.counters.MPCapableDataFallback++;
    connection.fallback.enter(now, FallbackReason.FirstData);
    return Verdict.Accept;
  }

  /**
   * RFC 8684 §3.7, of a joined subflow: "if [..] an ACK is received for data (not just for the SYN) without a DSS option
   * containing a Data ACK", before the first that has one, the path is not for MPTCP: "the host MUST close the subflow
   * with a RST" that names middlebox interference. Its data goes to the others. (Linux waits for the data-level timer
   * and keeps the subflow.)
   *
   * What has any other MPTCP option shows that options pass: an announcement leaves no room for the DSS (A1.41). A
   * segment with payload may be the second half of one that had them (A12.09); if not, the payload tells (A8.12).
   */
  private tryPath(segment: Segment): number {
    const { mptcp } = segment;
    if ((mptcp.present & Mptcp.Dss) !== 0 && (mptcp.dssFlags & Dss.Ack) !== 0) {
      this.untried = false;
      return Verdict.Accept;
    }
    if (!this.bare || segment.length > 0) return Verdict.Accept;
    this.connection.counters.DataAckMissing++;
    return this.fail(ResetReason.Middlebox);
  }

  private becomeProven(now: number): void {
    this.phase = Phase.Proven;
    this.join.disarm();
    this.options.wantsHandshakeAck = false;
    this.connection.onSubflowProven(now, this);
  }

  private onSignals(now: number, options: MptcpOptions): number {
    const { connection } = this;
    const present = options.present;
    if ((present & Mptcp.FastClose) !== 0 && connection.onFastClose(now, options)) {
      return Verdict.Reset | Verdict.IgnorePayload;
    }
    if ((present & Mptcp.AddAddress) !== 0) connection.peers.onAddAddress(now, this, options);
    if ((present & Mptcp.RemoveAddress) !== 0) connection.peers.onRemoveAddress(now, options);
    if ((present & Mptcp.Priority) !== 0) {
      connection.counters.MPPrioRx++;
      this.peerBackup = options.priorityBackup;
      connection.wantsUpdate = true;
      connection.events |= ConnectionEvent.SubflowsChanged;
    }
    if ((present & Mptcp.Fail) !== 0) connection.fallback.onFail(now, this);
    if ((present & Mptcp.JoinAck) !== 0 && this.joined && !this.active) return Verdict.AcknowledgeNow;
    return Verdict.Accept;
  }

  private onDataAck(now: number, segment: Segment): void {
    const { sender } = this.connection;
    const options = segment.mptcp;
    const ack =
      (options.dssFlags & Dss.Ack64) !== 0
        ? sender.space.fromWire64(options.dataAckHigh, options.dataAckLow)
        : sender.space.fromWire32(options.dataAckLow, sender.una);
    sender.onDataAck(now, ack, segment.scaledWindow);
  }

  private onCapableData(now: number, segment: Segment): number {
    const { connection } = this;
    const options = segment.mptcp;
    connection.receiver.peerUses64 = true;
    if (options.hasChecksum !== connection.checksums) return this.fail(ResetReason.MptcpSpecific);
    return this.received.addMapping(now, segment, 1, 1, options.dataLength);
  }

  private onMapping(now: number, segment: Segment): number {
    const { connection } = this;
    const options = segment.mptcp;
    const { space } = connection.receiver;
    if (space === null) return Verdict.Accept;
    let dataStart: number;
    if ((options.dssFlags & Dss.Map64) !== 0) {
      connection.receiver.peerUses64 = true;
      dataStart = space.fromWire64(options.dataSequenceHigh, options.dataSequenceLow);
      if (Number.isNaN(dataStart)) {
        connection.counters.NoDSSInWindow++;
        return Verdict.IgnorePayload;
      }
    } else {
      dataStart = space.fromWire32(options.dataSequenceLow, connection.receiver.next);
    }
    let length = options.dataLength;
    if (length === 0) {
      // RFC 8684 §3.7: data length 0 is the infinite mapping.
      if (segment.offset > this.tcp!.receiver.nxt) {
        // It stands for what follows all that was mapped: first that has to be here.
        connection.counters.UnmappedAhead++;
        return Verdict.IgnorePayload;
      }
      connection.counters.InfiniteMapRx++;
      if (!connection.fallback.isPossible(this)) {
        connection.counters.FallbackFailed++;
        return this.fail(ResetReason.Middlebox);
      }
      connection.fallback.onInfiniteMapping(now);
      return Verdict.Accept;
    }
    // A1.24: a checksum where none was negotiated, or none where one was: RFC 8684 §3.3.1 leaves no way on.
    if (options.hasChecksum !== connection.checksums) return this.fail(ResetReason.MptcpSpecific);
    if ((options.dssFlags & Dss.Fin) !== 0) {
      length--;
      if (length === 0 && connection.checksums && pseudoChecksum(options, 0) !== options.checksum) {
        connection.counters.DataCsumErr++;
        return Verdict.Accept;
      }
      connection.receiver.onDataFin(now, this, dataStart + length);
    }
    if (length === 0) return Verdict.Accept;
    // RFC 8684 §3.3.1: the relative subflow sequence number has 32 bits and goes round; it is near the segment's own.
    const { offset } = segment;
    return this.received.addMapping(now, segment, offset + ((options.subflowSequence - offset) | 0), dataStart, length);
  }

  /** Resets this subflow; the connection lives on others. Returns a `Verdict`. */
  fail(reason: number): number {
    this.setReset(reason, false);
    return Verdict.Reset | Verdict.IgnorePayload;
  }

  // ---------------------------------------------------------------------------------------------- ByteSink

  write(now: number, offset: number, bytes: Uint8Array, start: number, length: number): number {
    this.bytesReceived += length;
    return this.received.write(now, offset, bytes, start, length);
  }

  advance(_now: number, offset: number): void {
    this.received.advance(offset);
    if (offset > 1 && this.connection.fallenBack) this.connection.wantsUpdate = true;
  }

  /** RFC 8684 §3.3.1: one receive window for all subflows, until fallback leaves one. */
  get sharesWindow(): boolean {
    return !this.connection.fallenBack;
  }

  window(_next: number): number {
    return this.connection.receiver.window;
  }

  // ---------------------------------------------------------------------------------------------- fallback

  /**
   * The connection fell back on this subflow: received bytes are the stream itself from here on.
   *
   * @param announce say so with an infinite mapping (RFC 8684 §3.7)
   * @param keepsMappings what is mapped goes out with its mapping, for the peer is multipath until the infinite one
   */
  enterPlain(now: number, announce: boolean, keepsMappings: boolean): void {
    this.received.enterPlain(now);
    this.phase = Math.max(this.phase, Phase.Proven);
    this.join.disarm();
    this.options.enterPlain(announce, keepsMappings);
    // From now on the subflow's acknowledgments are the stream's, those that came before as well.
    this.release(now, this.sent.acknowledged);
  }

  // ---------------------------------------------------------------------------------------------- life

  onAcknowledged(now: number, una: number): void {
    this.acknowledgedAt = now;
    const { connection } = this;
    // RFC 8684 §3.7: "if an ACK is received for data (not just for the SYN) without a DSS option containing a Data ACK",
    // the path does not carry MPTCP, although its options once came through the other way (A8.08, A8.26).
    if (this.bare && una > 1 && this.end > 1 && connection.sender.una === 1 && connection.fallback.isPossible(this)) {
      connection.counters.MPCapableDataFallback++;
      connection.fallback.enter(now, FallbackReason.FirstData);
    }
    this.lossy = false;
    this.staleCount = 0;
    if (this.stale) {
      this.stale = false;
      this.connection.counters.SubflowRecover++;
    }
    this.connection.wantsUpdate = true;
  }

  /** Something came from the peer, or the link below came up. With nothing in flight no acknowledgment will follow. */
  onPathAlive(now: number): void {
    const { sender } = this.tcp!;
    sender.onPathAlive(now);
    if (sender.una === sender.nxt) this.lossy = false;
  }

  onRetransmissionTimeout(now: number, _count: number): void {
    this.lossy = true;
    this.connection.onSubflowTimeout(now, this);
  }

  onReset(now: number, segment: Segment): void {
    const options = segment.mptcp;
    const { connection } = this;
    if ((options.present & Mptcp.Reset) !== 0) {
      connection.counters.MPRstRx++;
      this.resetReason = options.resetReason;
      this.resetFlags = options.resetFlags;
    }
    if ((options.present & Mptcp.Fail) !== 0) connection.fallback.onFail(now, this);
    if ((options.present & Mptcp.FastClose) !== 0) connection.onFastClose(now, options);
  }

  onPeerFin(now: number, _offset: number): void {
    if (this.connection.fallenBack) this.connection.receiver.finish(now);
    else this.connection.onSubflowFinished(now, this);
  }

  onClosed(now: number, reason: number): void {
    if (this.phase === Phase.Closed) return;
    this.phase = Phase.Closed;
    this.closeReason = reason;
    this.join.disarm();
    this.connection.onSubflowClosed(now, this);
    this.sent.clear();
  }
}

const SIGNALS =
  Mptcp.AddAddress |
  Mptcp.RemoveAddress |
  Mptcp.Priority |
  Mptcp.Fail |
  Mptcp.FastClose |
  Mptcp.JoinAck |
  Mptcp.CapableAck |
  Mptcp.CapableData;

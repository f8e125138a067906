import type { TcpConnection } from '../tcp/connection.ts';
import type { ByteSink, ByteSource, Extension } from '../tcp/seams.ts';
import { Verdict } from '../tcp/seams.ts';
import type { Address } from '../wire/address.ts';
import { fold, sum } from '../wire/checksum.ts';
import { Capable, Dss, Mptcp, type MptcpOptions, ResetReason } from '../wire/mptcp-options.ts';
import type { Packet } from '../wire/packet.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import type { MptcpConnection } from './connection.ts';
import { ConnectionEvent } from './connection-event.ts';
import { FallbackReason } from './fallback.ts';
import { equalConstantTime, joinHmac } from './keys.ts';
import { MAXIMUM_MAPPING, Mappings, NO_MAPPING } from './mappings.ts';
import { Ending, Phase } from './phase.ts';
import type { PathView } from './seams.ts';
import { SubflowPicture } from './subflow-picture.ts';

export { Ending, Phase };

/** What of a handshake or a connection a subflow's ending needs. */
export interface Abortable {
  abort(now: number): void;
}

/** Attempts to get a join's third ACK acknowledged before the subflow is given up. */
const JOIN_ACK_ATTEMPTS = 6;
/** Mappings a peer may make us hold ahead of the data that they map. */
const HELD_MAPPINGS = 8192;

/**
 * A TCP connection that is part of an MPTCP connection: its extension, its byte source and its byte sink in one. It
 * turns subflow offsets into data offsets and options into calls of the connection; it decides nothing about paths.
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

  /** One past the last subflow offset mapped (`ByteSource.end`). */
  end = 1;
  private readonly sent = new Mappings();
  /** When the peer last acknowledged something on it; -1 before. */
  acknowledgedAt = -1;
  /** Subflow offset up to which the peer acknowledged. */
  private acknowledged = 1;
  private readonly received = new Mappings();
  /** Sent mappings are not in the order of data: something was reinjected here. */
  private unordered = false;
  /** Bytes [ownStart, ownStart + own.length) are kept here, no longer in the connection's rope. */
  private own: Uint8Array | null = null;
  private ownStart = 0;

  // Joins
  private nonce = 0;
  private peerNonce = 0;
  /** The HMAC to send: 8 bytes of it in a SYN/ACK, 20 in an ACK. */
  private hmac: Uint8Array | null = null;
  private joinAckAttempts = 0;
  /** `Extension.deadline`: when the join's third ACK goes out again. */
  deadline = Number.POSITIVE_INFINITY;

  // What a pure ACK should say
  private wantsHandshakeAck = false;
  /** DATA_FIN alone. */
  wantsDataFin = false;
  wantsPriority = false;
  wantsDataAck = false;
  private failHigh = -1;
  private failLow = 0;
  /** The next data segment carries the infinite mapping. */
  private infinitePending = false;
  /** Subflow offset at which it was sent first: it is part of that segment whenever it is sent again. -1: none. */
  private infiniteStart = -1;
  /** After fallback: bytes below this subflow offset still travel with their mappings. */
  private plainStart = 0;

  // What a RST says
  private rstReason = 0;
  private rstTransient = false;
  private rstFastClose = false;
  private rstFail = false;

  /** The segment at hand came without any MPTCP option. */
  private bare = false;
  /** Receiving side after fallback: data offset = subflow offset + shift, from `plainFrom` on. NaN before. */
  private plainShift = Number.NaN;
  /** Checksum mode: bytes of incomplete mappings, by subflow offset of the mapping. */
  private readonly staging = new Map<number, Staging>();

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
    this.localId = role.localId;
    this.peerId = role.peerId;
    this.localBackup = role.backup;
    this.picture.id = id;
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

  /** Maps `length` bytes of data from `dataStart` to the end of this subflow. */
  map(dataStart: number, length: number, reinjection: boolean): void {
    const last = this.sent.count - 1;
    const fin = dataStart + length === this.connection.sender.finOffset && !this.connection.fallenBack;
    const nxt = this.tcp!.sender.nxt;
    if (
      last >= 0 &&
      this.sent.subflowStart(last) >= nxt &&
      this.sent.dataStart(last) + this.sent.length(last) === dataStart &&
      this.sent.length(last) + length <= MAXIMUM_MAPPING
    ) {
      // A5.07: the last mapping grows while no byte of it was sent.
      this.sent.extendLast(length);
    } else {
      if (last >= 0 && dataStart < this.sent.dataStart(last) + this.sent.length(last)) this.unordered = true;
      this.sent.push(this.end, dataStart, length);
    }
    if (fin) this.sent.markFin(this.sent.count - 1);
    this.end += length;
    if (reinjection) this.bytesReinjected += length;
    else this.bytesSent += length;
  }

  copyTo(offset: number, length: number, target: Uint8Array, at: number): void {
    let from = offset;
    let to = at;
    let left = length;
    while (left > 0) {
      if (this.own !== null && from < this.ownStart + this.own.length) {
        const start = from - this.ownStart;
        const count = Math.min(left, this.own.length - start);
        for (let index = 0; index < count; index++) target[to + index] = this.own[start + index]!;
        from += count;
        to += count;
        left -= count;
        continue;
      }
      const mapping = this.sent.find(from);
      const inside = from - this.sent.subflowStart(mapping);
      const count = Math.min(left, this.sent.length(mapping) - inside);
      this.connection.sender.queue.copyTo(this.sent.dataStart(mapping) + inside, count, target, to);
      from += count;
      to += count;
      left -= count;
    }
  }

  release(now: number, offset: number): void {
    if (this.connection.fallenBack) {
      const mapping = this.sent.find(offset - 1);
      if (mapping !== NO_MAPPING) {
        const acknowledged = this.sent.dataStart(mapping) + (offset - this.sent.subflowStart(mapping));
        this.connection.sender.onPlainAcknowledged(acknowledged);
      }
    }
    this.acknowledged = offset;
    this.forget();
    if (this.own !== null && offset >= this.ownStart + this.own.length) this.own = null;
    this.connection.sender.release(now);
  }

  /**
   * Forgets mappings that nobody can ask for any more. A peer may acknowledge bytes on a subflow and drop them with it
   * before they count as data: until the DATA_ACK it is to be known what went here (RFC 8684 §3.3.6, A9.12).
   */
  forget(): void {
    const { sender, fallenBack } = this.connection;
    this.sent.releaseBelow(this.acknowledged, fallenBack ? Number.POSITIVE_INFINITY : sender.una);
    if (this.sent.count === 0) this.unordered = false;
  }

  /** Lowest data offset whose bytes this subflow may still need from the rope; Infinity when none. */
  get lowestHeld(): number {
    const count = this.sent.count;
    if (count === 0) return Number.POSITIVE_INFINITY;
    const ownEnd = this.own === null ? 0 : this.ownStart + this.own.length;
    const needed = Math.max(this.acknowledged, ownEnd);
    let lowest = Number.POSITIVE_INFINITY;
    for (let index = 0; index < count; index++) {
      const begin = this.sent.subflowStart(index);
      if (begin + this.sent.length(index) <= needed) continue;
      // A mapping may have grown since its bytes were copied.
      const start = this.sent.dataStart(index) + Math.max(0, needed - begin);
      if (start < lowest) lowest = start;
      if (!this.unordered) break;
    }
    return lowest;
  }

  /**
   * Its data goes to others, or went there and was acknowledged. RFC 8684 §3.3.6 wants the original bytes resent here
   * all the same, so they are copied: at most what is in flight, and the rope is free to go on.
   */
  keepOwnCopy(): void {
    const una = this.tcp!.sender.una;
    if (this.end <= una || this.sent.count === 0) return;
    if (this.own !== null && this.ownStart + this.own.length === this.end) return;
    const bytes = new Uint8Array(this.end - una);
    this.copyTo(una, bytes.length, bytes, 0);
    this.own = bytes;
    this.ownStart = una;
  }

  /**
   * Hands every mapping that is not DATA_ACKed to `take(dataStart, dataEnd)`; with `travelling` only those that the
   * subflow has not delivered either.
   */
  forEachUnacknowledged(travelling: boolean, take: (dataStart: number, dataEnd: number) => void): void {
    for (let index = 0; index < this.sent.count; index++) {
      if (travelling && this.sent.subflowStart(index) + this.sent.length(index) <= this.acknowledged) continue;
      take(this.sent.dataStart(index), this.sent.dataStart(index) + this.sent.length(index));
    }
  }

  /** Bytes from `dataOffset` to the end of the mapping that still has to bring it here; 0 when none has. */
  runFrom(dataOffset: number): number {
    for (let index = 0; index < this.sent.count; index++) {
      const start = this.sent.dataStart(index);
      const end = start + this.sent.length(index);
      if (dataOffset < start || dataOffset >= end) continue;
      if (this.sent.subflowStart(index) + (dataOffset - start) >= this.acknowledged) return end - dataOffset;
    }
    return 0;
  }

  /** Whether the byte at `dataOffset` is mapped here, acknowledged at subflow level or not. */
  carried(dataOffset: number): boolean {
    for (let index = 0; index < this.sent.count; index++) {
      const start = this.sent.dataStart(index);
      if (dataOffset >= start && dataOffset < start + this.sent.length(index)) return true;
    }
    return false;
  }

  /** Whether the byte at `dataOffset` is mapped here and not yet acknowledged at subflow level. */
  holds(dataOffset: number): boolean {
    return this.runFrom(dataOffset) > 0;
  }

  // ---------------------------------------------------------------------------------------------- handshake

  /** A passive join: the SYN was checked by the connection. */
  acceptJoin(nonce: number, peerNonce: number): void {
    this.nonce = nonce;
    this.peerNonce = peerNonce;
    const { localKey, peerKey } = this.connection;
    this.hmac = joinHmac(localKey, peerKey!, nonce, peerNonce);
  }

  /** An active join. */
  startJoin(nonce: number): void {
    this.nonce = nonce;
  }

  onTransmitSyn(_now: number, segment: Segment, attempt: number): void {
    const options = segment.mptcp;
    const { connection } = this;
    if (this.joined) {
      if (this.active) {
        options.present |= Mptcp.JoinSyn;
        options.joinBackup = this.localBackup;
        options.joinAddressId = this.localId;
        options.joinToken = connection.peerKey!.token;
        options.joinNonce = this.nonce;
        if (attempt === 0) connection.counters.MPJoinSynTx++;
      } else {
        options.present |= Mptcp.JoinSynAck;
        options.joinBackup = this.localBackup;
        options.joinAddressId = this.localId;
        options.joinNonce = this.nonce;
        options.joinHmac.set(this.hmac!.subarray(0, 8));
      }
      return;
    }
    if (!connection.negotiation.offersCapable(attempt)) return;
    options.present |= Mptcp.CapableSyn;
    options.version = 1;
    options.capableFlags = connection.negotiation.offeredFlags;
    if (attempt === 0) connection.counters.MPCapableSYNTX++;
  }

  onHandshakeSegment(now: number, segment: Segment): number {
    // The SYN of a passive join was judged before this subflow existed.
    if (!this.active && (segment.flags & Flag.Syn) !== 0) return Verdict.Accept;
    const options = segment.mptcp;
    const { connection } = this;
    const { counters } = connection;
    if (!this.joined) return connection.negotiation.onSynAck(segment);
    if (this.active) {
      // RFC 8684 §3.2: the SYN/ACK of a join without MP_JOIN, or with a wrong HMAC, is answered with a RST.
      if ((options.present & Mptcp.JoinSynAck) === 0) {
        counters.MPJoinSynAckMissing++;
        return this.refuse(ResetReason.MptcpSpecific);
      }
      counters.MPJoinSynAckRx++;
      if (options.joinBackup) counters.MPJoinSynAckBackupRx++;
      if (this.peerPort !== connection.initialPeerPort) counters.MPJoinPortSynAckRx++;
      this.peerNonce = options.joinNonce;
      const expected = joinHmac(connection.peerKey!, connection.localKey, options.joinNonce, this.nonce);
      if (!equalConstantTime(expected, options.joinHmac, 8)) {
        counters.MPJoinSynAckHMacFailure++;
        return this.refuse(ResetReason.MptcpSpecific);
      }
      this.peerId = options.joinAddressId;
      this.peerBackup = options.joinBackup;
      this.hmac = joinHmac(connection.localKey, connection.peerKey!, this.nonce, this.peerNonce);
      this.wantsHandshakeAck = true;
      return Verdict.Accept;
    }
    // The third ACK. RFC 8684 §3.2: it MUST carry MP_JOIN; a segment without it that arrives first is no handshake.
    if ((options.present & Mptcp.JoinAck) === 0) {
      counters.MPJoinAckMissing++;
      return this.refuse(ResetReason.MptcpSpecific);
    }
    const expected = joinHmac(connection.peerKey!, connection.localKey, this.peerNonce, this.nonce);
    if (!equalConstantTime(expected, options.joinHmac, 20)) {
      counters.MPJoinAckHMacFailure++;
      return this.refuse(ResetReason.MptcpSpecific);
    }
    const refusal = connection.admitsJoin(now, this);
    if (refusal !== 0) {
      counters.MPJoinRejected++;
      return this.refuse(refusal);
    }
    counters.MPJoinAckRx++;
    if (this.localPort !== connection.initialLocalPort) counters.MPJoinPortAckRx++;
    return Verdict.Accept;
  }

  private refuse(reason: number): number {
    this.setReset(reason, false);
    return Verdict.Reset;
  }

  /** What the next RST of this subflow says. */
  setReset(reason: number, transient: boolean): void {
    this.rstReason = reason;
    this.rstTransient = transient;
    this.resetReason = reason;
  }

  setFastClose(): void {
    this.rstFastClose = true;
    this.rstReason = ResetReason.Unspecified;
  }

  onEstablished(now: number): void {
    this.phase = Phase.Unproven;
    this.establishedAt = now;
    if (this.connection.fallenBack) {
      this.phase = Phase.Proven;
      this.plainShift = 0;
    } else if (this.joined && !this.active) {
      this.phase = Phase.Proven;
      this.wantsDataAck = true; // A4.10: the fourth packet goes out at once.
    } else if (this.active) {
      this.wantsHandshakeAck = true;
    }
    this.connection.onSubflowTcpEstablished(now, this);
  }

  onTimeout(now: number): void {
    if (now < this.deadline) return;
    // RFC 8684 §3.2: the ACK with the HMAC is retransmitted until it is acknowledged by the fourth packet.
    if (this.joinAckAttempts >= JOIN_ACK_ATTEMPTS) {
      this.deadline = Number.POSITIVE_INFINITY;
      this.setReset(ResetReason.Unspecified, true);
      this.connection.group.end(this, Ending.Abort);
      return;
    }
    this.deadline = Number.POSITIVE_INFINITY;
    this.wantsHandshakeAck = true;
  }

  // ---------------------------------------------------------------------------------------------- transmitting

  get overhead(): number {
    if (this.connection.fallenBack) return 0;
    // DATA_ACK of 4 or 8 bytes, DSN of 8, subflow sequence, length, checksum or padding (A1.19, A1.20).
    return this.connection.receiver.peerUses64 ? 28 : 24;
  }

  get wantsAcknowledgment(): boolean {
    // Until it is proven, the side that opened it says nothing but the handshake's last word: the rest waits.
    if (this.phase === Phase.Unproven && this.active) {
      return this.wantsHandshakeAck || (this.wantsDataFin && !this.joined);
    }
    return (
      this.wantsHandshakeAck ||
      this.wantsDataFin ||
      this.wantsPriority ||
      this.wantsDataAck ||
      this.failHigh >= 0 ||
      this.connection.announcements.wants(this)
    );
  }

  onTransmit(now: number, segment: Segment, offset: number, length: number, room: number): number {
    const { connection } = this;
    const options = segment.mptcp;
    if ((segment.flags & Flag.Rst) !== 0) {
      this.writeReset(options);
      return 0;
    }
    if (connection.fallenBack && (length === 0 || offset >= this.plainStart)) {
      return this.transmitPlain(options, offset, length, room);
    }
    if (this.phase === Phase.Unproven && this.active) {
      if (this.joined) {
        this.writeJoinAck(now, options);
        return 0;
      }
      if (length === 0 && !this.wantsDataFin) {
        this.wantsHandshakeAck = false;
        this.wantsDataAck = false;
        this.writeCapableAck(options);
        return 0;
      }
      if (length > 0 && offset === 1) return this.transmitCapableData(options, length);
    }
    if (length === 0) {
      this.transmitPureAck(now, segment, room);
      return 0;
    }
    const mapping = this.sent.find(offset);
    if (mapping === NO_MAPPING) return 0;
    const allowed = Math.min(length, this.sent.subflowStart(mapping) + this.sent.length(mapping) - offset);
    options.present |= Mptcp.Dss;
    options.dssFlags = Dss.Map | Dss.Map64;
    this.writeDataAck(options);
    const dataStart = this.sent.dataStart(mapping);
    options.dataSequenceHigh = connection.sender.space.toWireHigh(dataStart);
    options.dataSequenceLow = connection.sender.space.toWireLow(dataStart);
    options.subflowSequence = this.sent.subflowStart(mapping);
    options.dataLength = this.sent.length(mapping);
    if (this.sent.fin(mapping)) {
      options.dssFlags |= Dss.Fin;
      options.dataLength++;
    }
    this.writeChecksum(options, mapping);
    if (this.wantsPriority && room >= 32) this.writePriority(options);
    return allowed;
  }

  /** After fallback: at most the infinite mapping, once (RFC 8684 §3.7). */
  private transmitPlain(options: MptcpOptions, offset: number, length: number, room: number): number {
    if (length === 0) {
      if (this.failHigh >= 0 && room >= 12) this.writeFail(options);
      return 0;
    }
    if ((this.infinitePending || offset === this.infiniteStart) && room >= 20) {
      const mapping = this.sent.find(offset);
      if (mapping !== NO_MAPPING) {
        if (this.infinitePending) this.connection.counters.InfiniteMapTx++;
        this.infinitePending = false;
        this.infiniteStart = offset;
        const { connection } = this;
        const dataStart = this.sent.dataStart(mapping) + (offset - this.sent.subflowStart(mapping));
        options.present |= Mptcp.Dss;
        options.dssFlags = Dss.Map | Dss.Map64;
        options.dataSequenceHigh = connection.sender.space.toWireHigh(dataStart);
        options.dataSequenceLow = connection.sender.space.toWireLow(dataStart);
        options.subflowSequence = offset;
        options.dataLength = 0;
        options.hasChecksum = connection.checksums;
        options.checksum = 0;
      }
    }
    return length;
  }

  private transmitCapableData(options: MptcpOptions, length: number): number {
    const mapping = this.sent.find(1);
    if (mapping === NO_MAPPING) return 0;
    // RFC 8684 §3.1: the first data carries both keys in place of a DSS, and an implicit mapping (A2.05).
    this.writeCapableAck(options);
    options.present |= Mptcp.CapableData;
    options.dataLength = this.sent.length(mapping);
    this.writeChecksum(options, mapping);
    this.wantsHandshakeAck = false;
    // MP_CAPABLE has no place for the DATA_FIN that the mapping ends with: it follows on its own.
    if (this.sent.fin(mapping)) this.wantsDataFin = true;
    return Math.min(length, this.sent.length(mapping));
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
    options.present |= Mptcp.JoinAck;
    options.joinHmac.set(this.hmac!.subarray(0, 20));
    if (this.wantsHandshakeAck) {
      this.wantsHandshakeAck = false;
      const rtt = this.tcp === null ? 0 : this.tcp.sender.rtt.rto;
      this.deadline = now + (rtt > 0 ? rtt : 1000) * 2 ** this.joinAckAttempts;
      this.joinAckAttempts++;
    }
    this.wantsDataAck = false;
  }

  private transmitPureAck(now: number, segment: Segment, room: number): void {
    const options = segment.mptcp;
    const { connection } = this;
    // A1.41: an announcement travels alone, without DSS, so that an IPv6 address fits.
    if ((segment.flags & Flag.Fin) === 0 && connection.announcements.write(now, this, options, room)) return;
    options.present |= Mptcp.Dss;
    options.dssFlags = 0;
    options.hasChecksum = false;
    this.writeDataAck(options);
    this.wantsDataAck = false;
    this.wantsHandshakeAck = false;
    if (this.wantsDataFin) {
      this.wantsDataFin = false;
      if (connection.sender.finOffset !== Number.POSITIVE_INFINITY) {
        // RFC 8684 §3.3.3: a DATA_FIN without data has subflow sequence number 0 and length 1.
        options.dssFlags |= Dss.Map | Dss.Map64 | Dss.Fin;
        options.dataSequenceHigh = connection.sender.space.toWireHigh(connection.sender.finOffset);
        options.dataSequenceLow = connection.sender.space.toWireLow(connection.sender.finOffset);
        options.subflowSequence = 0;
        options.dataLength = 1;
        options.hasChecksum = connection.checksums;
        if (connection.checksums) options.checksum = pseudoChecksum(options, 0);
      }
    }
    let used = 12 + ((options.dssFlags & Dss.Map) !== 0 ? 16 : 0);
    if (this.failHigh >= 0 && used + 12 <= room) {
      this.writeFail(options);
      used += 12;
    }
    if (this.wantsPriority && used + 4 <= room) {
      this.writePriority(options);
      used += 4;
    }
    if (used + 12 <= room) connection.announcements.writeRemoval(this, options);
  }

  private writePriority(options: MptcpOptions): void {
    this.wantsPriority = false;
    options.present |= Mptcp.Priority;
    options.priorityBackup = this.localBackup;
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
    const { connection } = this;
    if (connection.receiver.space === null) return;
    const next = connection.receiver.next;
    options.dssFlags |= Dss.Ack;
    // A5.10: a peer that sends 64-bit DSNs is answered with 64-bit DATA_ACKs (RFC 8684 §3.3.1).
    if (connection.receiver.peerUses64) {
      options.dssFlags |= Dss.Ack64;
      options.dataAckHigh = connection.receiver.space.toWireHigh(next);
    }
    options.dataAckLow = connection.receiver.space.toWireLow(next);
  }

  /** The checksum of a whole mapping, computed once: it is the same on each of its segments (A5.20). */
  private writeChecksum(options: MptcpOptions, mapping: number): void {
    options.hasChecksum = this.connection.checksums;
    if (!options.hasChecksum) return;
    if ((options.present & Mptcp.CapableData) !== 0) {
      const first = this.sent.dataStart(mapping);
      options.dataSequenceHigh = this.connection.sender.space.toWireHigh(first);
      options.dataSequenceLow = this.connection.sender.space.toWireLow(first);
      options.subflowSequence = 1;
    }
    let payload = this.sent.note(mapping);
    if (payload < 0) {
      const length = this.sent.length(mapping);
      const bytes = new Uint8Array(length);
      this.copyTo(this.sent.subflowStart(mapping), length, bytes, 0);
      payload = fold(sum(bytes, 0, length, 0));
      this.sent.setNote(mapping, payload);
    }
    options.checksum = pseudoChecksum(options, payload);
  }

  private writeReset(options: MptcpOptions): void {
    const { connection } = this;
    if (!this.joined && (connection.fallenBack || this.phase === Phase.Connecting)) return;
    if (this.rstFastClose && connection.peerKey !== null) {
      options.present |= Mptcp.FastClose;
      options.fastCloseKeyHigh = connection.peerKey.high;
      options.fastCloseKeyLow = connection.peerKey.low;
      connection.counters.MPFastcloseTx++;
    } else if (this.rstFail) {
      options.present |= Mptcp.Fail;
      options.failHigh = this.failHigh;
      options.failLow = this.failLow;
      connection.counters.MPFailTx++;
    }
    options.present |= Mptcp.Reset;
    options.resetReason = this.rstReason;
    options.resetFlags = this.rstTransient ? 1 : 0;
    connection.counters.MPRstTx++;
  }

  // ---------------------------------------------------------------------------------------------- receiving

  onSegment(now: number, segment: Segment, _packet: Packet): number {
    if (!Number.isNaN(this.plainShift)) return this.receivePlain(now, segment);
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
    if ((present & SIGNALS) !== 0) {
      verdict |= this.onSignals(now, options);
      if ((verdict & Verdict.Reset) !== 0) return verdict;
      if (!Number.isNaN(this.plainShift)) return verdict;
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
    if (segment.length > 0 && Number.isNaN(this.plainShift)) verdict |= this.requireMapping(now, segment);
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
        return this.fail(now, ResetReason.MptcpSpecific);
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
      return this.fail(now, ResetReason.Middlebox);
    }
    connection.counters.MPCapableDataFallback++;
    connection.fallback.enter(now, FallbackReason.FirstData);
    return Verdict.Accept;
  }

  private becomeProven(now: number): void {
    this.phase = Phase.Proven;
    this.deadline = Number.POSITIVE_INFINITY;
    this.wantsHandshakeAck = false;
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
    const { connection } = this;
    const options = segment.mptcp;
    const ack =
      (options.dssFlags & Dss.Ack64) !== 0
        ? connection.sender.space.fromWire64(options.dataAckHigh, options.dataAckLow)
        : connection.sender.space.fromWire32(options.dataAckLow, connection.sender.una);
    connection.sender.onDataAck(now, ack, segment.scaledWindow);
  }

  private onCapableData(now: number, segment: Segment): number {
    const { connection } = this;
    const options = segment.mptcp;
    connection.receiver.peerUses64 = true;
    if (options.hasChecksum !== connection.checksums) return this.fail(now, ResetReason.MptcpSpecific);
    return this.addMapping(now, segment, 1, 1, options.dataLength);
  }

  private onMapping(now: number, segment: Segment): number {
    const { connection } = this;
    const options = segment.mptcp;
    const { space: receiveSpace } = connection.receiver;
    if (receiveSpace === null) return Verdict.Accept;
    let dataStart: number;
    if ((options.dssFlags & Dss.Map64) !== 0) {
      connection.receiver.peerUses64 = true;
      dataStart = receiveSpace.fromWire64(options.dataSequenceHigh, options.dataSequenceLow);
      if (Number.isNaN(dataStart)) {
        connection.counters.NoDSSInWindow++;
        return Verdict.IgnorePayload;
      }
    } else {
      dataStart = receiveSpace.fromWire32(options.dataSequenceLow, connection.receiver.next);
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
        return this.fail(now, ResetReason.Middlebox);
      }
      connection.fallback.onInfiniteMapping(now);
      return Verdict.Accept;
    }
    // A1.24: a checksum where none was negotiated, or none where one was: RFC 8684 §3.3.1 leaves no way on.
    if (options.hasChecksum !== connection.checksums) return this.fail(now, ResetReason.MptcpSpecific);
    if ((options.dssFlags & Dss.Fin) !== 0) {
      length--;
      if (length === 0 && this.connection.checksums && pseudoChecksum(options, 0) !== options.checksum) {
        connection.counters.DataCsumErr++;
        return Verdict.Accept;
      }
      connection.receiver.onDataFin(now, this, dataStart + length);
    }
    if (length === 0) return Verdict.Accept;
    return this.addMapping(now, segment, options.subflowSequence, dataStart, length);
  }

  private addMapping(now: number, segment: Segment, subflowStart: number, dataStart: number, length: number): number {
    const { connection } = this;
    const nxt = this.tcp!.receiver.nxt;
    if (subflowStart + length <= nxt) return Verdict.Accept;
    if (segment.length > 0 && (subflowStart > segment.offset || subflowStart + length <= segment.offset)) {
      // A5.05: the mapping does not cover the bytes it came with.
      connection.counters.DSSNoMatchTCP++;
      return this.corrupt(now);
    }
    // What begins beyond the window maps bytes that may not be sent yet; without this bound a peer could have us keep
    // room for as many mappings as it likes to make up.
    if (this.received.count >= HELD_MAPPINGS || subflowStart >= this.tcp!.receiver.limit) {
      connection.counters.UnmappedAhead++;
      return Verdict.IgnorePayload;
    }
    // Data and subflow offsets of the initial subflow agree until something came twice or went elsewhere.
    if (dataStart !== subflowStart) connection.fallback.bar();
    if (connection.checksums) return this.addChecked(now, segment, subflowStart, dataStart, length);
    if (this.received.insert(subflowStart, dataStart, length) === NO_MAPPING) {
      connection.counters.DSSNotMatching++;
      return this.corrupt(now);
    }
    return Verdict.Accept;
  }

  /** Checksum mode: a mapping stands or falls as a whole, so only exact repeats may overlap it. */
  private addChecked(now: number, segment: Segment, subflowStart: number, dataStart: number, length: number): number {
    const { connection } = this;
    const options = segment.mptcp;
    const known = this.received.find(subflowStart);
    if (known !== NO_MAPPING) {
      const same =
        this.received.subflowStart(known) === subflowStart &&
        this.received.dataStart(known) === dataStart &&
        this.received.length(known) === length;
      if (same) return Verdict.Accept;
      connection.counters.DSSNotMatching++;
      return this.corrupt(now);
    }
    const before = this.received.count;
    const index = this.received.insert(subflowStart, dataStart, length);
    if (index === NO_MAPPING || this.received.count !== before + 1 || this.received.length(index) !== length) {
      connection.counters.DSSNotMatching++;
      return this.corrupt(now);
    }
    const header = pseudoSum(
      connection.receiver.space!.toWireHigh(dataStart),
      connection.receiver.space!.toWireLow(dataStart),
      subflowStart,
      options.dataLength,
    );
    this.staging.set(subflowStart, new Staging(dataStart, length, header, options.checksum));
    return Verdict.Accept;
  }

  /** A8.13: a mapping that cannot be true: plain TCP while that is possible, a reset of this subflow otherwise. */
  private corrupt(now: number): number {
    const { connection } = this;
    if (connection.fallback.isPossible(this)) {
      connection.counters.DSSCorruptionFallback++;
      connection.fallback.enter(now, FallbackReason.Corruption);
      return Verdict.Accept;
    }
    connection.counters.DSSCorruptionReset++;
    return this.fail(now, ResetReason.Middlebox);
  }

  /** Payload may enter only with a mapping for its first new byte; else A8.11, A8.12. */
  private requireMapping(now: number, segment: Segment): number {
    const { connection } = this;
    const nxt = this.tcp!.receiver.nxt;
    const first = Math.max(segment.offset + ((segment.flags >> 1) & 1), nxt);
    if (first >= segment.offset + segment.length) return Verdict.Accept; // nothing new
    if (this.received.find(first) !== NO_MAPPING) return Verdict.Accept;
    if (first > nxt) {
      // Its mapping may come with an earlier segment; TCP will send these bytes again.
      connection.counters.UnmappedAhead++;
      return Verdict.IgnorePayload;
    }
    if (connection.fallback.isPossible(this)) {
      connection.counters.DssFallback++;
      connection.fallback.enter(now, FallbackReason.NoMapping);
      return Verdict.Accept;
    }
    connection.counters.FallbackFailed++;
    return this.fail(now, ResetReason.Middlebox);
  }

  /** Resets this subflow; the connection lives on others. */
  private fail(_now: number, reason: number): number {
    this.setReset(reason, false);
    return Verdict.Reset | Verdict.IgnorePayload;
  }

  // ---------------------------------------------------------------------------------------------- ByteSink

  write(now: number, offset: number, bytes: Uint8Array, start: number, length: number): number {
    const { connection } = this;
    this.bytesReceived += length;
    if (!Number.isNaN(this.plainShift)) {
      return connection.receiver.onData(now, offset + this.plainShift, bytes, start, length);
    }
    let done = 0;
    while (done < length) {
      const at = offset + done;
      const mapping = this.received.find(at);
      if (mapping === NO_MAPPING) {
        if (done === 0) connection.counters.UnmappedAhead++;
        break;
      }
      const inside = at - this.received.subflowStart(mapping);
      const count = Math.min(length - done, this.received.length(mapping) - inside);
      if (connection.checksums) {
        this.stage(now, at, bytes, start + done, count);
        done += count;
      } else {
        const taken = connection.receiver.onData(
          now,
          this.received.dataStart(mapping) + inside,
          bytes,
          start + done,
          count,
        );
        done += taken;
        if (taken < count) break;
      }
    }
    return done;
  }

  /** Checksum mode: bytes wait until their mapping is complete and its sum is right (A5.21). */
  private stage(now: number, at: number, bytes: Uint8Array, start: number, length: number): void {
    for (const [begin, staging] of this.staging) {
      if (at < begin || at >= begin + staging.bytes.length) continue;
      staging.bytes.set(bytes.subarray(start, start + length), at - begin);
      staging.missing -= length;
      if (staging.missing > 0) return;
      this.staging.delete(begin);
      if (staging.isRight) {
        this.connection.receiver.onData(now, staging.dataStart, staging.bytes, 0, staging.bytes.length);
      } else {
        this.connection.fallback.onChecksumFailure(now, this, staging.dataStart, staging.bytes);
      }
      return;
    }
  }

  advance(_now: number, offset: number): void {
    this.received.releaseBelow(offset, Number.POSITIVE_INFINITY);
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
    if (Number.isNaN(this.plainShift)) {
      this.deliverStaged(now);
      this.plainShift = this.connection.receiver.next - this.tcp!.receiver.nxt;
    }
    this.staging.clear();
    this.phase = Math.max(this.phase, Phase.Proven);
    this.deadline = Number.POSITIVE_INFINITY;
    this.wantsHandshakeAck = false;
    this.wantsDataFin = false;
    this.wantsDataAck = false;
    this.wantsPriority = false;
    this.infinitePending = announce;
    if (keepsMappings) this.plainStart = this.end;
    // From now on the subflow's acknowledgments are the stream's, those that came before as well.
    this.release(now, this.acknowledged);
  }

  /** What TCP acknowledged of a mapping that will never be whole is part of the plain stream. */
  private deliverStaged(now: number): void {
    const { nxt } = this.tcp!.receiver;
    for (const [begin, staging] of this.staging) {
      const here = Math.min(staging.bytes.length, nxt - begin);
      if (here > 0) this.connection.receiver.onData(now, staging.dataStart, staging.bytes, 0, here);
    }
  }

  /** Bytes behind a gap wait for their checksum: no place to become plain TCP at (RFC 8684 §3.7: contiguous). */
  get hasUncheckedAhead(): boolean {
    return this.staging.size > 0 && this.tcp!.receiver.held.count > 0;
  }

  /** Sends MP_FAIL on the next ACK. */
  sendFail(dataOffset: number): void {
    this.failHigh = this.connection.receiver.space!.toWireHigh(dataOffset);
    this.failLow = this.connection.receiver.space!.toWireLow(dataOffset);
  }

  /** The RST that follows carries MP_FAIL for `dataOffset`. */
  setFailReset(dataOffset: number): void {
    this.sendFail(dataOffset);
    this.rstFail = true;
    this.setReset(ResetReason.Middlebox, false);
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
  }

  onClosed(now: number, reason: number): void {
    if (this.phase === Phase.Closed) return;
    this.phase = Phase.Closed;
    this.closeReason = reason;
    this.deadline = Number.POSITIVE_INFINITY;
    this.connection.onSubflowClosed(now, this);
    this.sent.clear();
    this.own = null;
  }
}

/** Bytes of one incomplete mapping whose checksum is to be checked. */
class Staging {
  readonly dataStart: number;
  readonly bytes: Uint8Array;
  missing: number;
  private readonly header: number;
  private readonly checksum: number;

  constructor(dataStart: number, length: number, header: number, checksum: number) {
    this.dataStart = dataStart;
    this.bytes = new Uint8Array(length);
    this.missing = length;
    this.header = header;
    this.checksum = checksum;
  }

  get isRight(): boolean {
    return fold(sum(this.bytes, 0, this.bytes.length, this.header + this.checksum)) === 0xffff;
  }
}

/** Unfolded sum of the DSS pseudo-header (RFC 8684 §3.3.1): DSN, subflow sequence number, length, zeros. */
function pseudoSum(high: number, low: number, subflowSequence: number, length: number): number {
  return (
    (high >>> 16) +
    (high & 0xffff) +
    (low >>> 16) +
    (low & 0xffff) +
    (subflowSequence >>> 16) +
    (subflowSequence & 0xffff) +
    length
  );
}

/** The DSS checksum field for `options`, given the folded sum of the payload. */
export function pseudoChecksum(options: MptcpOptions, payload: number): number {
  const total =
    pseudoSum(options.dataSequenceHigh, options.dataSequenceLow, options.subflowSequence, options.dataLength) + payload;
  return ~fold(total) & 0xffff;
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

import { ResetReason } from '../wire/mptcp-options.ts';
import type { MptcpConnection } from './connection.ts';
import type { MptcpCounters } from './counters.ts';
import { Ending, Phase } from './phase.ts';
import type { Subflow } from './subflow.ts';

/** Why a connection is plain TCP (RFC 8684 §3.7): data, kept on the connection and shown to users. */
export const FallbackReason = {
  None: 0,
  /** The SYN/ACK had no usable MP_CAPABLE (A8.02). */
  SynAck: 1,
  /** The third ACK had none (A8.03). */
  ThirdAck: 2,
  /** MP_CAPABLE was left out after SYNs that carried it went unanswered (A8.04). */
  SynDropped: 3,
  /** The destination is remembered as a black hole for MP_CAPABLE (A8.05). */
  BlackHole: 4,
  /** No free token (A8.07). */
  Token: 5,
  /** The first segment after the handshake proved nothing (A8.10). */
  FirstData: 6,
  /** Data without a usable mapping (A8.11). */
  NoMapping: 7,
  /** A mapping disagreed with TCP's sequence numbers (A8.13). */
  Corruption: 8,
  /** A DSS checksum failed (A8.15). */
  Checksum: 9,
  /** The peer sent MP_FAIL (A8.17). */
  PeerFail: 10,
  /** The peer sent an infinite mapping (A8.23). */
  InfiniteMapping: 11,
  /** Simultaneous open (A8.22). */
  SimultaneousOpen: 12,
  /** The peer never asked for MPTCP (A8.01). */
  PeerPlain: 13,
} as const;

const NAMES: readonly string[] = [
  'none',
  'syn-ack-without-mp-capable',
  'third-ack-without-mp-capable',
  'syn-with-mp-capable-unanswered',
  'black-hole-remembered',
  'no-free-token',
  'first-data-without-mptcp',
  'data-without-mapping',
  'mapping-corrupt',
  'checksum-failed',
  'mp-fail-received',
  'infinite-mapping-received',
  'simultaneous-open',
  'peer-is-plain-tcp',
];

export function fallbackName(reason: number): string {
  return NAMES[reason] ?? `fallback-${reason}`;
}

/** MP_FAILs of a peer that are answered with one of our own. */
const FAIL_ANSWERS = 3;

/**
 * A connection's way to plain TCP (RFC 8684 §3.7): whether it is still open, the MP_FAILs that were said and heard, and
 * in the end the reason why it was taken.
 */
export class Fallback {
  private readonly connection: MptcpConnection;
  private readonly counters: MptcpCounters;
  /** A `FallbackReason`; `None` while the connection is multipath. */
  reason: number = FallbackReason.None;
  /** RFC 8684 §3.7 allows plain TCP only before joins, reordering and data-level retransmission (A8.18). */
  private allowed = true;
  /** MP_FAIL was said or heard: an infinite mapping will come of it. */
  failing = false;
  /** MP_FAILs of the peer's that were answered. */
  private answers = 0;
  /** When MP_FAIL was sent last; an ACK that carries it may be lost. */
  private failedAt = 0;
  /** Our checksums found the damage first. */
  private complained = false;
  /** The peer said it: our next new data carries the infinite mapping. */
  private infiniteDue = false;
  /** Until when the answer to our MP_FAIL may take; Infinity when none is awaited. */
  deadline = Number.POSITIVE_INFINITY;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
    this.counters = connection.counters;
  }

  /** RFC 8684 §3.7, A8.18. */
  isPossible(subflow: Subflow): boolean {
    return this.isContiguous(subflow) && !subflow.received.hasUncheckedAhead;
  }

  /** A8.18: what the initial subflow carries is not the stream itself any more. */
  bar(): void {
    this.allowed = false;
  }

  /** Everything travels on `subflow` alone, in order, and always did; joins may be under way. */
  private isContiguous(subflow: Subflow): boolean {
    if (!this.allowed || subflow.joined) return false;
    const { subflows } = this.connection;
    for (let index = 0; index < subflows.length; index++) {
      const other = subflows[index]!;
      // With its third ACK on the way the peer may already count on it.
      if (other !== subflow && other.phase !== Phase.Connecting) return false;
    }
    return true;
  }

  /** Becomes plain TCP on its only subflow. */
  enter(now: number, reason: number): void {
    const { connection } = this;
    if (this.reason !== FallbackReason.None) return;
    this.reason = reason;
    this.allowed = false;
    this.deadline = Number.POSITIVE_INFINITY;
    connection.onFellBack();
    const { subflows } = connection;
    const subflow = subflows[0];
    // A8.20: joins under way are for nothing now.
    for (let index = 1; index < subflows.length; index++) connection.group.end(subflows[index]!, Ending.Abort);
    const agreed = reason === FallbackReason.PeerFail || reason === FallbackReason.Checksum;
    subflow?.enterPlain(now, reason >= FallbackReason.FirstData, agreed);
    if (connection.sender.isShut) connection.sender.mapPlain(now);
    connection.wantsUpdate = true;
  }

  /**
   * What an MP_FAIL of the peer's asked for: the stream is plain from new data on, if there is any. False: it stays as
   * it is.
   */
  revert(now: number): boolean {
    const { connection } = this;
    if (!this.infiniteDue || !connection.sender.hasNew || connection.subflows.length === 0) return false;
    if (!this.isPossible(connection.subflows[0]!)) return false;
    this.enter(now, this.complained ? FallbackReason.Checksum : FallbackReason.PeerFail);
    return true;
  }

  /** MP_FAIL (RFC 8684 §3.7, A8.17). */
  onFail(now: number, subflow: Subflow): void {
    const { connection } = this;
    this.counters.MPFailRx++;
    const isAnswer = this.deadline !== Number.POSITIVE_INFINITY;
    this.deadline = Number.POSITIVE_INFINITY;
    if (this.reason !== FallbackReason.None || !this.isContiguous(subflow)) return;
    // RFC 8684 §3.7: an MP_FAIL is answered with one, and both ends "entirely revert": with an infinite mapping "on the
    // first new packet". Until there is one all stays as it is, as with Linux: the peer goes on to need our DATA_ACKs.
    this.infiniteDue = true;
    connection.wantsUpdate = true;
    // An answer may be lost, but two ends that take each other's answers for questions must come to an end.
    if (isAnswer || this.answers >= FAIL_ANSWERS) return;
    this.answers++;
    this.failing = true;
    subflow.options.setFail(connection.receiver.next);
    subflow.demandSignal(now);
  }

  /** The peer's stream is plain from here on. */
  onInfiniteMapping(now: number): void {
    this.enter(now, this.complained ? FallbackReason.Checksum : FallbackReason.InfiniteMapping);
  }

  /** The checksum of a mapping is wrong: something on the path changes data (A8.14 to A8.16). */
  onChecksumFailure(now: number, subflow: Subflow, dataStart: number, bytes: Uint8Array): void {
    const { connection } = this;
    const { receiver } = connection;
    this.counters.DataCsumErr++;
    if (this.isContiguous(subflow) && (this.failing || dataStart <= receiver.next)) {
      // One contiguous path: RFC 8684 §3.7 lets the middlebox have its way. The sender will make this the stream by an
      // infinite mapping; like Linux we take it as that right away, because DATA_ACKs that stop would stop the sender.
      const isUnanswered =
        this.deadline !== Number.POSITIVE_INFINITY && now - this.failedAt >= connection.group.largestRto;
      if (!this.failing || isUnanswered) {
        this.failing = true;
        this.complained = true;
        this.failedAt = now;
        this.deadline = now + connection.config.failTimeout;
        subflow.options.setFail(dataStart);
        subflow.demandSignal(now);
      }
      receiver.onData(now, dataStart, bytes, 0, bytes.length);
      return;
    }
    subflow.options.setFailReset(dataStart);
    subflow.setReset(ResetReason.Middlebox, false);
    connection.group.end(subflow, Ending.Abort);
  }

  /**
   * A8.26: when options vanish on the way to the peer alone, it reads a plain stream from here on and has no data to say
   * so with. Sent again, bytes would be in that stream twice: it was asked a few times, and is believed. Where the
   * streams are no longer the same (A8.18) that path is of no use.
   */
  suspect(now: number, subflow: Subflow): void {
    const { connection } = this;
    if (!this.isPossible(subflow)) {
      this.counters.FallbackFailed++;
      subflow.setReset(ResetReason.Middlebox, false);
      connection.group.end(subflow, Ending.Abort);
      return;
    }
    this.counters.DssFallback++;
    const delivered = subflow.sent.lowestHeld;
    this.enter(now, FallbackReason.NoMapping);
    connection.sender.onPlainAcknowledged(delivered);
  }

  /** A7.08: the answer to MP_FAIL did not come. */
  onTimeout(now: number): void {
    if (now < this.deadline) return;
    this.deadline = Number.POSITIVE_INFINITY;
    this.connection.group.abort();
  }
}

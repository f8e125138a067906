import { Verdict } from '../tcp/seams.ts';
import { Mptcp, type MptcpOptions, ResetReason } from '../wire/mptcp-options.ts';
import type { MptcpConnection } from './connection.ts';
import { equalConstantTime, joinHmac } from './keys.ts';
import type { Subflow } from './subflow.ts';

/** Attempts to get a join's third ACK acknowledged before the subflow is given up. */
const JOIN_ACK_ATTEMPTS = 6;

/**
 * The handshake that adds a subflow to a connection with MP_JOIN (RFC 8684 §3.2): nonces, HMACs, and the third ACK, which
 * is said again until the fourth packet acknowledges it.
 */
export class JoinHandshake {
  private readonly subflow: Subflow;
  private readonly connection: MptcpConnection;
  private nonce = 0;
  private peerNonce = 0;
  /** The HMAC to send: 8 bytes of it in a SYN/ACK, 20 in an ACK. */
  private hmac: Uint8Array | null = null;
  private attempts = 0;
  /** When the third ACK goes out again; Infinity when it need not. */
  deadline = Number.POSITIVE_INFINITY;

  constructor(subflow: Subflow) {
    this.subflow = subflow;
    this.connection = subflow.connection;
  }

  /** An active join. */
  start(nonce: number): void {
    this.nonce = nonce;
  }

  /** A passive join: the SYN was checked by the connection. */
  accept(nonce: number, peerNonce: number): void {
    this.nonce = nonce;
    this.peerNonce = peerNonce;
    const { localKey, peerKey } = this.connection;
    this.hmac = joinHmac(localKey, peerKey!, nonce, peerNonce);
  }

  /** Our SYN, or SYN/ACK. */
  writeSyn(options: MptcpOptions, attempt: number): void {
    const { subflow, connection } = this;
    options.joinBackup = subflow.localBackup;
    options.joinAddressId = subflow.localId;
    options.joinNonce = this.nonce;
    if (subflow.active) {
      options.present |= Mptcp.JoinSyn;
      options.joinToken = connection.peerKey!.token;
      if (attempt === 0) connection.counters.MPJoinSynTx++;
    } else {
      options.present |= Mptcp.JoinSynAck;
      options.joinHmac.set(this.hmac!.subarray(0, 8));
    }
  }

  /** The answer to our SYN. Returns a `Verdict`. */
  onSynAck(options: MptcpOptions): number {
    const { subflow, connection } = this;
    const { counters, localKey, peerKey } = connection;
    // RFC 8684 §3.2: the SYN/ACK of a join without MP_JOIN, or with a wrong HMAC, is answered with a RST.
    if ((options.present & Mptcp.JoinSynAck) === 0) {
      counters.MPJoinSynAckMissing++;
      return this.refuse(ResetReason.MptcpSpecific);
    }
    counters.MPJoinSynAckRx++;
    if (options.joinBackup) counters.MPJoinSynAckBackupRx++;
    if (subflow.peerPort !== connection.initialPeerPort) counters.MPJoinPortSynAckRx++;
    this.peerNonce = options.joinNonce;
    const expected = joinHmac(peerKey!, localKey, options.joinNonce, this.nonce);
    if (!equalConstantTime(expected, options.joinHmac, 8)) {
      counters.MPJoinSynAckHMacFailure++;
      return this.refuse(ResetReason.MptcpSpecific);
    }
    subflow.peerId = options.joinAddressId;
    subflow.peerBackup = options.joinBackup;
    this.hmac = joinHmac(localKey, peerKey!, this.nonce, this.peerNonce);
    subflow.options.wantsHandshakeAck = true;
    return Verdict.Accept;
  }

  /** The third ACK of a passive join. Returns a `Verdict`. */
  onAck(now: number, options: MptcpOptions): number {
    const { subflow, connection } = this;
    const { counters, localKey, peerKey } = connection;
    // RFC 8684 §3.2: it MUST carry MP_JOIN; a segment without it that arrives first is no handshake.
    if ((options.present & Mptcp.JoinAck) === 0) {
      counters.MPJoinAckMissing++;
      return this.refuse(ResetReason.MptcpSpecific);
    }
    const expected = joinHmac(peerKey!, localKey, this.peerNonce, this.nonce);
    if (!equalConstantTime(expected, options.joinHmac, 20)) {
      counters.MPJoinAckHMacFailure++;
      return this.refuse(ResetReason.MptcpSpecific);
    }
    const refusal = connection.admitsJoin(now, subflow);
    if (refusal !== 0) {
      counters.MPJoinRejected++;
      return this.refuse(refusal);
    }
    if (subflow.localPort !== connection.initialLocalPort) {
      // A4.16: what invited it may have been withdrawn since its SYN.
      if (!connection.announcements.invites(subflow.local, subflow.localPort)) {
        counters.MismatchPortAckRx++;
        return this.refuse(ResetReason.Prohibited);
      }
      counters.MPJoinPortAckRx++;
    }
    counters.MPJoinAckRx++;
    return Verdict.Accept;
  }

  private refuse(reason: number): number {
    this.subflow.setReset(reason, false);
    return Verdict.Reset;
  }

  /** Our third ACK. */
  writeAck(options: MptcpOptions): void {
    options.present |= Mptcp.JoinAck;
    options.joinHmac.set(this.hmac!.subarray(0, 20));
  }

  /** The third ACK went out: RFC 8684 §3.2 has it retransmitted until it is acknowledged by the fourth packet. */
  armAck(now: number): void {
    const { tcp } = this.subflow;
    const rto = tcp === null ? 0 : tcp.sender.rtt.rto;
    this.deadline = now + (rto > 0 ? rto : 1000) * 2 ** this.attempts;
    this.attempts++;
  }

  /** The third ACK went out often enough. */
  get isExhausted(): boolean {
    return this.attempts >= JOIN_ACK_ATTEMPTS;
  }

  /** The third ACK is not to go out again by itself. */
  disarm(): void {
    this.deadline = Number.POSITIVE_INFINITY;
  }
}

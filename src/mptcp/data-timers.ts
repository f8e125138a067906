import type { MptcpConfig } from './config.ts';
import type { MptcpConnection } from './connection.ts';
import { ConnectionEvent } from './connection-event.ts';
import type { MptcpCounters } from './counters.ts';
import type { DataSender } from './data-sender.ts';
import { MAXIMUM_MAPPING } from './mappings.ts';
import { Phase } from './phase.ts';
import type { Subflow } from './subflow.ts';

/** Times in a row that an overdue DATA_ACK is asked for before the data-level timer takes over. */
const SOLICITATIONS = 6;
/** Data-level timeouts in a row before a path without DSS options is taken for plain TCP. */
const DOUBTS = 3;

/**
 * What happens when no DATA_ACK comes: it is asked for, then the data is sent again (RFC 8684 §3.3.6); and paths that look
 * dead are asked for a sign of life. Owns these three deadlines and their back-off.
 */
export class DataTimers {
  private readonly connection: MptcpConnection;
  private readonly config: MptcpConfig;
  private readonly counters: MptcpCounters;
  private readonly sender: DataSender;
  private retransmitDeadline = Number.POSITIVE_INFINITY;
  private retransmitBackoff = 0;
  /** When a DATA_ACK that is overdue is asked for; Infinity when none is. */
  private solicitDeadline = Number.POSITIVE_INFINITY;
  private solicitations = 0;
  /** When paths that look dead are asked for a sign of life; Infinity while none does. */
  private probeDeadline = Number.POSITIVE_INFINITY;
  /** Data-level timeouts so far. */
  retransmits = 0;

  constructor(connection: MptcpConnection, sender: DataSender) {
    this.connection = connection;
    this.config = connection.config;
    this.counters = connection.counters;
    this.sender = sender;
  }

  /** When `onTimeout` wants to be called; Infinity when nothing is armed. */
  get deadline(): number {
    return Math.min(this.retransmitDeadline, this.solicitDeadline, this.probeDeadline, this.sender.scheduling.deadline);
  }

  onTimeout(now: number): void {
    if (now >= this.solicitDeadline) this.solicit();
    if (now >= this.probeDeadline) this.probeLossy(now);
    if (now >= this.sender.scheduling.deadline) this.sender.scheduling.onTimeout();
    if (now >= this.retransmitDeadline) this.onRetransmitTimeout(now);
  }

  /** Waiting data was mapped, as far as that was possible. */
  update(now: number): void {
    const { sender } = this;
    if (sender.una < sender.nxt || sender.finSent) {
      if (this.retransmitDeadline === Number.POSITIVE_INFINITY && !sender.finAcknowledged) this.armRetransmit(now);
    }
    this.watchDataAck(now);
  }

  /** A DATA_ACK acknowledged something; with `all` there is nothing more to wait for. */
  onProgress(now: number, all: boolean): void {
    this.solicitations = 0;
    this.solicitDeadline = Number.POSITIVE_INFINITY;
    this.retransmitBackoff = 0;
    if (all) this.retransmitDeadline = Number.POSITIVE_INFINITY;
    else this.armRetransmit(now);
  }

  /** Nothing is sent again at data level from now on. */
  stopRetransmitting(): void {
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
  }

  stop(): void {
    this.probeDeadline = Number.POSITIVE_INFINITY;
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
    this.solicitDeadline = Number.POSITIVE_INFINITY;
    this.sender.scheduling.deadline = Number.POSITIVE_INFINITY;
  }

  /**
   * TCP acknowledged everything and the DATA_ACK lags behind: Linux processes data level later than TCP level when the
   * receiver is busy, and says nothing of it until the next segment. Rather than wait for the data-level timer
   * (200 ms of silence, seen between two Linux hosts as well), ask for an ACK.
   */
  private watchDataAck(now: number): void {
    if (this.sender.una >= this.sender.nxt) {
      this.solicitDeadline = Number.POSITIVE_INFINITY;
      this.solicitations = 0;
      return;
    }
    for (let index = 0; index < this.connection.subflows.length; index++) {
      const subflow = this.connection.subflows[index]!;
      if (subflow.tcp !== null && subflow.end > subflow.tcp.sender.una) {
        this.solicitDeadline = Number.POSITIVE_INFINITY;
        return;
      }
    }
    if (this.solicitDeadline !== Number.POSITIVE_INFINITY || this.solicitations >= SOLICITATIONS) return;
    const roundTrip = this.connection.group.largestRtt;
    this.solicitDeadline = now + Math.max(1, roundTrip) * 2 ** this.solicitations;
  }

  private solicit(): void {
    this.solicitDeadline = Number.POSITIVE_INFINITY;
    this.solicitations++;
    let chosen: Subflow | undefined;
    for (const subflow of this.connection.subflows) {
      if (subflow.tcp === null || !subflow.usable || subflow.lossy) continue;
      if (chosen === undefined || subflow.tcp.sender.rtt.smoothed < chosen.tcp!.sender.rtt.smoothed) chosen = subflow;
    }
    chosen?.tcp?.solicitAcknowledgment();
    this.connection.wantsUpdate = true;
  }

  /**
   * K08: RFC 6298's back-off would leave a path that came back unused for as long as it was away. While others carry
   * the data an octet a second costs nothing, and its ACK says that the path lives.
   */
  armLossyProbe(now: number): void {
    const { lossyProbeInterval } = this.config;
    if (lossyProbeInterval > 0 && this.probeDeadline === Number.POSITIVE_INFINITY) {
      this.probeDeadline = now + lossyProbeInterval;
    }
  }

  private probeLossy(now: number): void {
    this.probeDeadline = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.connection.subflows.length; index++) {
      const subflow = this.connection.subflows[index]!;
      if (!subflow.lossy || subflow.tcp === null || subflow.closed) continue;
      subflow.tcp.solicitAcknowledgment();
      this.connection.wantsUpdate = true;
      this.armLossyProbe(now);
    }
  }

  private armRetransmit(now: number): void {
    const wait = Math.min(this.connection.group.largestRto * 2 ** Math.min(this.retransmitBackoff, 10), 120_000);
    this.retransmitDeadline = now + wait;
  }

  /** RFC 8684 §3.3.6: what no DATA_ACK came for is sent again; a DATA_FIN too (A9.09, A9.13, A9.18). */
  private onRetransmitTimeout(now: number): void {
    const { connection, sender } = this;
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
    if (connection.fallenBack || connection.closeReason >= 0) return;
    this.retransmits++;
    this.retransmitBackoff++;
    const head = sender.una;
    if (head < sender.nxt) {
      let holder: Subflow | undefined;
      // A9.18: where it was acknowledged and did not arrive, it would not arrive again either.
      let carrier = 0;
      let carriers = 0;
      for (const subflow of connection.subflows) {
        if (subflow.sent.carried(head)) {
          carrier = subflow.id;
          carriers++;
        }
        if (!subflow.sent.holds(head)) continue;
        // What waits behind a closed window of that path alone may wait for ever. With nowhere else to go it is TCP's to
        // deliver: sent twice on one subflow, it would be read twice if the mappings get lost.
        const travels = subflow.tcp !== null && subflow.tcp.sender.nxt > subflow.tcp.sender.una;
        if (subflow.lossy) this.countStale(now, subflow);
        if (connection.group.isAlone(subflow) || (travels && !subflow.lossy)) holder = subflow;
      }
      const { doubted } = this;
      if (holder === undefined && doubted !== undefined) {
        if (this.retransmitBackoff >= DOUBTS) {
          connection.fallback.suspect(now, doubted);
        } else {
          this.solicit();
          this.armRetransmit(now);
        }
        return;
      }
      // While a living subflow still has to deliver it, TCP's own retransmission is at work. And before the peer has
      // shown that it heeds data sequence numbers, what is sent twice may be read twice (A8.08).
      if (holder === undefined && connection.fullyEstablished) {
        sender.reinjections.add(head, Math.min(sender.nxt, head + MAXIMUM_MAPPING), carriers === 1 ? carrier : 0);
      }
    } else if (sender.finSent && !sender.finAcknowledged) {
      for (const subflow of connection.subflows) {
        if (subflow.phase === Phase.Closing) continue;
        subflow.options.wantsDataFin = true;
        subflow.tcp?.demandAcknowledgment(now);
        // A peer that took it for plain TCP has nothing to say to pure ACKs: let it show what it is (A8.08).
        if (subflow.phase === Phase.Unproven) subflow.tcp?.solicitAcknowledgment();
      }
    }
    connection.wantsUpdate = true;
    this.armRetransmit(now);
  }

  /** The only subflow that could carry more delivered what waits for its DATA_ACK, and was answered without DSS options. */
  private get doubted(): Subflow | undefined {
    for (const subflow of this.connection.subflows) {
      if (subflow.usable && this.connection.group.isAlone(subflow))
        return subflow.acknowledgedAt > this.sender.lastAckReceived ? subflow : undefined;
    }
    return undefined;
  }

  /** G1.13: a subflow that stays silent while another works leaves the scheduler until it shows life. */
  private countStale(now: number, subflow: Subflow): void {
    subflow.staleCount++;
    if (subflow.stale || subflow.staleCount <= this.config.staleLossCount) return;
    for (const other of this.connection.subflows) {
      if (other === subflow || !other.usable || other.staleCount >= subflow.staleCount) continue;
      subflow.stale = true;
      this.counters.SubflowStale++;
      this.connection.events |= ConnectionEvent.SubflowsChanged;
      this.sender.reinject(now, subflow, true);
      return;
    }
  }
}

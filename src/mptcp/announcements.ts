import type { Address } from '../wire/address.ts';
import { Mptcp, type MptcpOptions } from '../wire/mptcp-options.ts';
import type { MptcpConnection } from './connection.ts';
import { addAddressHmac, word } from './keys.ts';
import type { Subflow } from './subflow.ts';

/** Retransmissions of an ADD_ADDR that is not echoed (A6.04: Linux's number). */
const RETRIES = 3;
/** Ids in one REMOVE_ADDR (A1.31). */
const REMOVALS = 8;

interface Announcement {
  readonly id: number;
  readonly address: Address;
  readonly port: number;
  readonly hmac: Uint8Array;
  /** Transmissions so far. */
  attempts: number;
  echoed: boolean;
  /** When it goes out again; Infinity when settled or waiting for its turn. */
  deadline: number;
  wanted: boolean;
  /** It fits into no segment of this connection. */
  tooLong: boolean;
}

interface Echo {
  readonly id: number;
  readonly address: Address;
  readonly port: number;
}

/**
 * What a connection says about addresses (RFC 8684 §3.4): announcements until they are echoed, echoes of the peer's,
 * withdrawals. Says it through whichever subflow is asked to send a pure ACK and is allowed to carry it.
 */
export class Announcements {
  private readonly connection: MptcpConnection;
  private readonly announced: Announcement[] = [];
  private readonly echoes: Echo[] = [];
  private readonly removals: number[] = [];
  /** When the next retransmission is due; Infinity when none is. */
  deadline = Number.POSITIVE_INFINITY;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  /** Addresses announced and not withdrawn, echoed or not. */
  get count(): number {
    return this.announced.length;
  }

  /** A REMOVE_ADDR is to be sent. */
  get hasRemovals(): boolean {
    return this.removals.length > 0;
  }

  has(id: number): boolean {
    return this.announced.some((entry) => entry.id === id);
  }

  /** Whether joins to this local port were invited by an announcement (A4.16). */
  invites(address: Address, port: number): boolean {
    return this.announced.some((entry) => entry.port === port && entry.address.equals(address));
  }

  announce(id: number, address: Address, port: number): void {
    if (this.has(id)) return;
    const { localKey, peerKey } = this.connection;
    const hmac = addAddressHmac(localKey, peerKey!, id, address, port);
    const deadline = Number.POSITIVE_INFINITY;
    this.announced.push({
      id,
      address,
      port,
      hmac,
      attempts: 0,
      echoed: false,
      deadline,
      wanted: true,
      tooLong: false,
    });
  }

  /** REMOVE_ADDR for these ids; their announcements are forgotten. */
  withdraw(ids: readonly number[]): void {
    for (const id of ids) {
      const index = this.announced.findIndex((entry) => entry.id === id);
      if (index >= 0) this.announced.splice(index, 1);
      if (!this.removals.includes(id)) this.removals.push(id);
    }
    this.refreshDeadline();
  }

  /** `id` is in use again: a REMOVE_ADDR that waited for a subflow to carry it would hit the new one. */
  keep(id: number): void {
    const index = this.removals.indexOf(id);
    if (index >= 0) this.removals.splice(index, 1);
  }

  /** Every fresh ADD_ADDR is answered with the same content (A6.02). */
  echo(id: number, address: Address, port: number): void {
    if (this.echoes.some((entry) => entry.id === id && entry.port === port && entry.address.equals(address))) return;
    if (this.echoes.length >= REMOVALS) {
      this.connection.counters.EchoAddTxDrop++;
      return;
    }
    this.echoes.push({ id, address, port });
  }

  /** The peer echoed one of ours. */
  onEcho(now: number, id: number, address: Address): void {
    const entry = this.announced.find((candidate) => candidate.id === id && candidate.address.equals(address));
    if (entry === undefined || entry.echoed) return;
    entry.echoed = true;
    entry.wanted = false;
    entry.deadline = Number.POSITIVE_INFINITY;
    this.refreshDeadline();
    this.settle(now, id, true);
  }

  private settle(now: number, id: number, echoed: boolean): void {
    this.connection.host.pathManager.onAnnouncementSettled(now, this.connection, id, echoed);
  }

  /** A signal may ride on `subflow`: it is one that stays, if any does, and of these one that is alive (A6.15). */
  private carries(subflow: Subflow): boolean {
    const rank = subflow.signalRank;
    if (rank === 0) return false;
    for (const other of this.connection.subflows) if (other !== subflow && other.signalRank > rank) return false;
    return true;
  }

  /** Has a subflow that may carry them say what waits to be said. */
  demand(now: number): void {
    for (const subflow of this.connection.subflows) {
      if (!this.carries(subflow) || subflow.options.pacing.isHeld) continue;
      subflow.demandSignal(now);
      return;
    }
  }

  /** A pure ACK on `subflow` would have something to say. */
  wants(subflow: Subflow): boolean {
    if (this.echoes.length === 0 && this.removals.length === 0 && !this.wantsAnnounce()) return false;
    return this.carries(subflow);
  }

  private wantsAnnounce(): boolean {
    for (let index = 0; index < this.announced.length; index++) if (this.announced[index]!.wanted) return true;
    return false;
  }

  /** Puts an echo or an announcement, alone, on a pure ACK. False when there is none. */
  write(now: number, subflow: Subflow, options: MptcpOptions, room: number): boolean {
    if (this.echoes.length === 0 && !this.wantsAnnounce()) return false;
    if (!this.carries(subflow)) return false;
    const { counters } = this.connection;
    while (this.echoes.length > 0) {
      const entry = this.echoes.shift()!;
      if (paddedLength(entry.address, entry.port, true) > room) {
        counters.EchoAddTxDrop++;
        continue;
      }
      this.fill(options, entry, true);
      counters.EchoAddTx++;
      return true;
    }
    for (const entry of this.announced) {
      if (!entry.wanted) continue;
      entry.wanted = false;
      if (paddedLength(entry.address, entry.port, false) > room) {
        // A1.29: an IPv6 address with a port does not fit beside timestamps. Linux never sends it then; neither do we.
        counters.AddAddrTxDrop++;
        entry.tooLong = true;
        entry.deadline = now;
        this.refreshDeadline();
        continue;
      }
      this.fill(options, entry, false);
      options.addHmacHigh = word(entry.hmac, 0);
      options.addHmacLow = word(entry.hmac, 4);
      counters.AddAddrTx++;
      entry.attempts++;
      const base = this.timeout;
      entry.deadline = base > 0 ? now + base * 2 ** (entry.attempts - 1) : Number.POSITIVE_INFINITY;
      this.refreshDeadline();
      return true;
    }
    return false;
  }

  /** Adds a REMOVE_ADDR beside what else the segment says. */
  writeRemoval(subflow: Subflow, options: MptcpOptions): void {
    if (this.removals.length === 0 || !this.carries(subflow)) return;
    const count = Math.min(this.removals.length, REMOVALS);
    options.present |= Mptcp.RemoveAddress;
    options.removeCount = count;
    for (let index = 0; index < count; index++) options.removeIds[index] = this.removals[index]!;
    this.removals.splice(0, count);
    this.connection.counters.RmAddrTx++;
    if (this.connection.group.hasEndings) this.connection.wantsUpdate = true;
  }

  /** A timer of the connection fired, of this or of another part. */
  onTimeout(now: number): void {
    if (now >= this.deadline) this.expire(now);
    if (this.deadline !== Number.POSITIVE_INFINITY) this.demand(now);
  }

  private expire(now: number): void {
    for (const entry of this.announced) {
      if (entry.deadline > now) continue;
      entry.deadline = Number.POSITIVE_INFINITY;
      if (entry.attempts > RETRIES || entry.tooLong) {
        if (!entry.tooLong) this.connection.counters.AddAddrTimeout++;
        this.settle(now, entry.id, false);
      } else {
        entry.wanted = true;
      }
    }
    this.refreshDeadline();
  }

  clear(): void {
    this.announced.length = 0;
    this.echoes.length = 0;
    this.removals.length = 0;
    this.deadline = Number.POSITIVE_INFINITY;
  }

  /** Retransmission base in ms (A6.04): the largest subflow RTO, at most the configured time; 0: never. */
  private get timeout(): number {
    const { config, group } = this.connection;
    return config.addAddrTimeout === 0 ? 0 : Math.min(config.addAddrTimeout, group.largestRto);
  }

  private fill(options: MptcpOptions, entry: Echo, echo: boolean): void {
    options.present |= Mptcp.AddAddress;
    options.addEcho = echo;
    options.addId = entry.id;
    options.addFamily = entry.address.family;
    options.add0 = entry.address.w0;
    options.add1 = entry.address.w1;
    options.add2 = entry.address.w2;
    options.add3 = entry.address.w3;
    options.addPort = entry.port;
  }

  private refreshDeadline(): void {
    let earliest = Number.POSITIVE_INFINITY;
    for (const entry of this.announced) earliest = Math.min(earliest, entry.deadline);
    this.deadline = earliest;
  }
}

/** Bytes of the option on the wire, padded (A1.25 to A1.30). */
function paddedLength(address: Address, port: number, echo: boolean): number {
  const length = 4 + (address.family === 4 ? 4 : 16) + (port === 0 ? 0 : 2) + (echo ? 0 : 8);
  return (length + 3) & ~3;
}

import { CloseReason } from '../tcp/seams.ts';
import type { Address } from '../wire/address.ts';
import { ResetReason } from '../wire/mptcp-options.ts';
import type { MptcpConnection } from './connection.ts';
import { Ending, Phase } from './phase.ts';
import { Subflow } from './subflow.ts';

/** Subflows that are over and remembered for their figures. */
const PAST_SUBFLOWS = 8;

/**
 * The subflows of a connection: those that live, those that ended, and the endings that were decided and are not carried
 * out. What the connection wants to know of all of them together is asked here.
 */
export class SubflowGroup {
  private readonly connection: MptcpConnection;
  /** Those that live, in the order in which they came. */
  readonly live: Subflow[] = [];
  /** Subflows that ended since the host asked last; it lets their endpoints say their last word. */
  readonly ended: Subflow[] = [];
  /** Subflows that are over, the latest last, for their figures; no more than `PAST_SUBFLOWS`. */
  readonly past: Subflow[] = [];
  /** Subflows that TCP established, so far. */
  established = 0;
  private nextId = 1;
  /** Endings are to be carried out. */
  hasEndings = false;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  add(
    tuple: { local: Address; localPort: number; peer: Address; peerPort: number },
    role: { active: boolean; joined: boolean; localId: number; peerId: number; backup: boolean },
  ): Subflow {
    const subflow = new Subflow(this.connection, this.nextId++, tuple, role);
    this.live.push(subflow);
    return subflow;
  }

  /** `subflow` is over. Returns its former index; -1 when it was over already. */
  remove(subflow: Subflow): number {
    const index = this.live.indexOf(subflow);
    if (index < 0) return index;
    this.live.splice(index, 1);
    this.ended.push(subflow);
    this.past.push(subflow);
    if (this.past.length > PAST_SUBFLOWS) this.past.shift();
    return index;
  }

  /** The living subflow with this id. */
  find(id: number): Subflow | undefined {
    return this.live.find((candidate) => candidate.id === id);
  }

  /** No other subflow could take its data. */
  isAlone(subflow: Subflow): boolean {
    for (const other of this.live) if (other !== subflow && other.usable) return false;
    return true;
  }

  /** Another subflow could take its data and looks alive. */
  hasAlternative(subflow: Subflow): boolean {
    for (const other of this.live) if (other !== subflow && other.usable && !other.lossy) return true;
    return false;
  }

  /** Joins whose handshake is under way. */
  get halfOpenJoins(): number {
    let count = 0;
    for (const subflow of this.live) if (subflow.joined && subflow.phase === Phase.Connecting) count++;
    return count;
  }

  /** A9.14: from the largest RTO in use, without its back-off. */
  get largestRto(): number {
    let largest = this.connection.config.minimumRto;
    for (let index = 0; index < this.live.length; index++) {
      const subflow = this.live[index]!;
      if (subflow.tcp === null || subflow.lossy || subflow.stale) continue;
      const rto = subflow.tcp.sender.rtt.rto;
      if (rto > largest) largest = rto;
    }
    return largest;
  }

  /** Largest smoothed RTT of the subflows, for the receive buffer (A9.07). */
  get largestRtt(): number {
    let largest = 0;
    for (let index = 0; index < this.live.length; index++) {
      const tcp = this.live[index]!.tcp;
      if (tcp !== null && tcp.sender.rtt.smoothed > largest) largest = tcp.sender.rtt.smoothed;
    }
    return largest;
  }

  /** Ends a subflow with the connection's next `update`: never from within its own segment processing. */
  end(subflow: Subflow, ending: number): void {
    if (subflow.closed || subflow.ending >= ending) return;
    subflow.ending = ending;
    this.hasEndings = true;
    this.connection.wantsUpdate = true;
  }

  /** Ends them all with RST. */
  abort(): void {
    for (const subflow of this.live) this.end(subflow, Ending.Abort);
  }

  /** Ends them all with RST and `reason`, an MP_TCPRST reason. */
  reset(reason: number): void {
    for (const subflow of this.live) {
      subflow.setReset(reason, false);
      this.end(subflow, Ending.Abort);
    }
  }

  /** Ends them all with FIN; those that are not established yet with RST. */
  shutdown(): void {
    for (const subflow of this.live) {
      const connecting = subflow.phase === Phase.Connecting;
      if (connecting) subflow.setReset(ResetReason.Unspecified, false);
      this.end(subflow, connecting ? Ending.Abort : Ending.Shutdown);
    }
  }

  /** Ends them all with MP_FASTCLOSE and RST (RFC 8684 §3.5, A7.10), with a plain RST after fallback. */
  fastClose(): void {
    for (const subflow of this.live) {
      if (!this.connection.fallenBack) subflow.options.setFastClose();
      this.end(subflow, Ending.Abort);
    }
  }

  carryOutEndings(now: number): void {
    this.hasEndings = false;
    // A6.15: the peer hears of an address's end before its subflows go, as long as another one can tell it.
    const { announcements } = this.connection;
    const first = announcements.hasRemovals && this.live.some((subflow) => subflow.signalRank > 1);
    for (const subflow of [...this.live]) {
      if (subflow.ending === Ending.None || subflow.closed) continue;
      const { ending } = subflow;
      if (ending === Ending.Shutdown && first) {
        this.hasEndings = true;
        continue;
      }
      if (ending === Ending.Abort) {
        if (subflow.endpoint !== null) subflow.endpoint.abort(now);
        else subflow.onClosed(now, CloseReason.Aborted);
      } else if (subflow.tcp !== null && subflow.phase !== Phase.Connecting) {
        subflow.phase = Phase.Closing;
        subflow.tcp.shutdown(now);
      }
    }
  }
}

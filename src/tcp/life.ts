import type { TcpConfig } from './config.ts';
import type { TcpCounters } from './counters.ts';
import { isLegal, State } from './state.ts';

/**
 * How far a synchronized connection has come: its state, changed through one door, and when one of the states that
 * nothing need end ends by itself.
 */
export class Life {
  /** A `State`. */
  state: number = State.Established;
  /** Nobody owns the connection any more: it only winds down. */
  orphaned = false;
  /** When FIN-WAIT-2 or TIME-WAIT ends, ms; Infinity while nothing does. */
  deadline = Number.POSITIVE_INFINITY;

  private readonly config: TcpConfig;
  private readonly counters: TcpCounters;

  constructor(config: TcpConfig, counters: TcpCounters) {
    this.config = config;
    this.counters = counters;
    counters.CurrEstab++;
  }

  /** TIME-WAIT counts: there is nothing left to say or to hear. */
  get hasEnded(): boolean {
    return this.state === State.Closed || this.state === State.TimeWait;
  }

  /** We have not closed: ESTABLISHED and CLOSE-WAIT, which the MIB counts as established (tcpCurrEstab, RFC 4022). */
  get isOpen(): boolean {
    return this.state === State.Established || this.state === State.CloseWait;
  }

  /** The one door. False: the step is illegal, a defect of ours, which is counted; the state is CLOSED instead. */
  enter(next: number): boolean {
    const { counters, isOpen } = this;
    const legal = isLegal(this.state, next);
    if (!legal) counters.TCPInvariant++;
    this.state = legal ? next : State.Closed;
    if (isOpen && !this.isOpen) counters.CurrEstab--;
    return legal;
  }

  /** RFC 9293 allows FIN-WAIT-2 forever; with nobody to read, Linux waits tcp_fin_timeout, and so do we. */
  armFinWait2(now: number): void {
    if (this.state === State.FinWait2 && this.orphaned && this.deadline === Number.POSITIVE_INFINITY) {
      this.deadline = now + this.config.finTimeout;
    }
  }

  /** TIME-WAIT begins, or begins anew. */
  armTimeWait(now: number): void {
    this.deadline = now + this.config.timeWait;
  }
}

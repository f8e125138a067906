import type { TcpConfig } from './config.ts';

/** What `KeepAlive.onTimeout` asks for. */
export const KeepAliveOutcome = {
  None: 0,
  /** Send a probe. */
  Probe: 1,
  /** The peer left all probes unanswered. */
  Dead: 2,
} as const;

/**
 * RFC 9293 §3.8.4: whether the peer of an idle connection is still there. Off unless asked for. The deadline is moved
 * when it is reached, not with each segment.
 */
export class KeepAlive {
  /** ms; Infinity while off. */
  deadline = Number.POSITIVE_INFINITY;
  private idle: number;
  private interval: number;
  private probes: number;
  private heardAt: number;
  private sent = 0;

  constructor(now: number, config: TcpConfig) {
    this.idle = config.keepAliveIdle;
    this.interval = config.keepAliveInterval;
    this.probes = config.keepAliveProbes;
    this.heardAt = now;
    if (config.keepAlive) this.deadline = now + this.idle;
  }

  /** Times in ms. A connection that was idle for longer than `idle` is probed at once. */
  set(now: number, on: boolean, idle: number, interval: number, probes: number): void {
    this.idle = idle;
    this.interval = interval;
    this.probes = probes;
    this.sent = 0;
    this.deadline = on ? Math.max(now, this.heardAt + idle) : Number.POSITIVE_INFINITY;
  }

  /** A segment came that the peer must have sent. */
  onHeard(now: number): void {
    this.heardAt = now;
    this.sent = 0;
  }

  /** @param busy something is in flight or waits to be sent: the retransmission timer watches the peer */
  onTimeout(now: number, busy: boolean): number {
    if (busy) {
      this.sent = 0;
      this.deadline = now + this.idle;
      return KeepAliveOutcome.None;
    }
    const due = this.heardAt + this.idle + this.sent * this.interval;
    if (due > now && this.sent === 0) {
      this.deadline = due;
      return KeepAliveOutcome.None;
    }
    if (this.sent >= this.probes) return KeepAliveOutcome.Dead;
    this.sent++;
    this.deadline = now + this.interval;
    return KeepAliveOutcome.Probe;
  }
}

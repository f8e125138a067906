import { Option, type Segment } from '../wire/segment.ts';

/** RFC 7323 §3 to §5 for one connection: the value to echo, and protection against wrapped sequence numbers. */
export class Timestamps {
  /** Both SYNs had the option. */
  readonly inUse: boolean;
  /** TS.Recent. */
  recent: number;
  private recentAt: number;

  constructor(now: number, inUse: boolean, recent: number) {
    this.inUse = inUse;
    this.recent = recent;
    this.recentAt = now;
  }

  /** PAWS, §5.3 R1: the timestamp is older than TS.Recent, and that is not itself older than 24 days (§5.5). */
  isOld(now: number, segment: Segment): boolean {
    return ((segment.timestampValue - this.recent) | 0) < 0 && now - this.recentAt <= PAWS_IDLE;
  }

  /** §4.3 (2), for an acceptable segment that begins at or before Last.ACK.sent: its TSval is the one to echo. */
  onSegment(now: number, segment: Segment): void {
    if (((segment.timestampValue - this.recent) | 0) < 0 && now - this.recentAt <= PAWS_IDLE) return;
    this.recent = segment.timestampValue;
    this.recentAt = now;
  }

  /** Adds the option; `value` is TSval. */
  write(out: Segment, value: number): void {
    out.options |= Option.Timestamps;
    out.timestampValue = value;
    out.timestampEcho = this.recent;
  }
}

/** RFC 7323 §5.5: 24 days in ms. */
const PAWS_IDLE = 24 * 24 * 3600 * 1000;

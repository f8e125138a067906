/**
 * A fixed set of deadlines, addressed by small integers. Timers are data, not callbacks: whoever owns the table asks
 * which have passed when it is woken, so that a late or a needless wake-up is harmless.
 */
export class TimerTable {
  /** Deadline of each timer in ms; Infinity when it is unarmed. */
  private readonly deadlines: Float64Array;
  /** The earliest of them; Infinity when none is armed. */
  earliest = Number.POSITIVE_INFINITY;

  /** `count` timers, 0 to `count` - 1. */
  constructor(count: number) {
    this.deadlines = new Float64Array(count).fill(Number.POSITIVE_INFINITY);
  }

  /** Arms `timer`, in place of what it was set to before. */
  set(timer: number, deadline: number): void {
    const former = this.deadlines[timer]!;
    if (former === deadline) return;
    this.deadlines[timer] = deadline;
    if (deadline <= this.earliest) this.earliest = deadline;
    else if (former === this.earliest) this.recompute();
  }

  clear(timer: number): void {
    this.set(timer, Number.POSITIVE_INFINITY);
  }

  clearAll(): void {
    this.deadlines.fill(Number.POSITIVE_INFINITY);
    this.earliest = Number.POSITIVE_INFINITY;
  }

  /** Its deadline in ms, Infinity when unarmed. */
  deadline(timer: number): number {
    return this.deadlines[timer]!;
  }

  isArmed(timer: number): boolean {
    return this.deadlines[timer]! !== Number.POSITIVE_INFINITY;
  }

  /** Whether `timer` is due at `now`; if it is, it is disarmed. */
  take(timer: number, now: number): boolean {
    if (this.deadlines[timer]! > now) return false;
    this.clear(timer);
    return true;
  }

  private recompute(): void {
    const { deadlines } = this;
    let earliest = deadlines[0]!;
    for (let timer = 1; timer < deadlines.length; timer++) {
      const deadline = deadlines[timer]!;
      if (deadline < earliest) earliest = deadline;
    }
    this.earliest = earliest;
  }
}

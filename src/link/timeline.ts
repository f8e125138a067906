/**
 * A number that changes at known times: a rate, a delay, up or down. Read in order of time; written at the present or
 * a later time, which replaces whatever was planned from then on.
 */
export class Timeline {
  private readonly times: number[];
  private readonly values: number[];
  private cursor = 0;

  /** @param changes `[time, value]` pairs in order of time, after the `initial` value */
  constructor(initial: number, changes: readonly (readonly [at: number, value: number])[] = []) {
    this.times = [Number.NEGATIVE_INFINITY];
    this.values = [initial];
    for (const [at, value] of changes) {
      if (!(at >= this.times[this.times.length - 1]!)) throw new RangeError(`changes must be in order of time: ${at}`);
      this.times.push(at);
      this.values.push(value);
    }
  }

  /** The value at `now`, which is not before the time of the last call. */
  at(now: number): number {
    while (this.cursor + 1 < this.times.length && this.times[this.cursor + 1]! <= now) this.cursor++;
    return this.values[this.cursor]!;
  }

  /** The smallest value from the time of the last `at` on. */
  get least(): number {
    let least = this.values[this.cursor]!;
    for (let index = this.cursor + 1; index < this.values.length; index++) least = Math.min(least, this.values[index]!);
    return least;
  }

  set(now: number, value: number): void {
    while (this.times.length > this.cursor + 1 && this.times[this.times.length - 1]! >= now) {
      this.times.pop();
      this.values.pop();
    }
    this.times.push(now);
    this.values.push(value);
  }

  /** When the integral of the value from `start` on reaches `amount`; `start` is not before the last `at`. */
  reach(start: number, amount: number): number {
    let index = this.cursor;
    while (index + 1 < this.times.length && this.times[index + 1]! <= start) index++;
    let at = start;
    let rest = amount;
    for (;;) {
      const value = this.values[index]!;
      const until = index + 1 < this.times.length ? this.times[index + 1]! : Number.POSITIVE_INFINITY;
      if (value > 0) {
        const done = at + rest / value;
        if (done <= until) return done;
        rest -= value * (until - at);
      }
      if (until === Number.POSITIVE_INFINITY) return until;
      at = until;
      index++;
    }
  }
}

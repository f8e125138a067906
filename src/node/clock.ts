/** Milliseconds since the process's time origin: monotonic, with a resolution of about a microsecond. */
export function now(): number {
  return performance.now();
}

/** Milliseconds since 1970 at instant 0 of `now`: what turns its instants into dates, in captures for one. */
export function timeOrigin(): number {
  return performance.timeOrigin;
}

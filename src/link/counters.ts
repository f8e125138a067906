import type { LinkCounters } from './link.ts';

/** A link's counters, all zero. */
export class Counters implements LinkCounters {
  sent = 0;
  sentBytes = 0;
  received = 0;
  receivedBytes = 0;
  queueFull = 0;
  lost = 0;
  down = 0;
  tooBig = 0;
  filtered = 0;
  reordered = 0;
  duplicated = 0;
  corrupted = 0;
  added = 0;
}

/** Everything that went in or came to be and did not, or will not, come out. */
export function dropped(counters: LinkCounters): number {
  return counters.queueFull + counters.lost + counters.down + counters.tooBig + counters.filtered;
}

/** Adds what happened inside one link to `total`, leaving `sent` and `received`, which are counted at the ends. */
export function addEvents(total: Counters, one: LinkCounters): void {
  total.queueFull += one.queueFull;
  total.lost += one.lost;
  total.down += one.down;
  total.tooBig += one.tooBig;
  total.filtered += one.filtered;
  total.reordered += one.reordered;
  total.duplicated += one.duplicated;
  total.corrupted += one.corrupted;
  total.added += one.added;
}

export function clearEvents(total: Counters): void {
  total.queueFull = 0;
  total.lost = 0;
  total.down = 0;
  total.tooBig = 0;
  total.filtered = 0;
  total.reordered = 0;
  total.duplicated = 0;
  total.corrupted = 0;
  total.added = 0;
}

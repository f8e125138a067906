import { type Channel, channel } from 'node:diagnostics_channel';

/** Channels of `node:diagnostics_channel`, for those who watch a whole process. */

/** A connection with `multipath` stands: `{ socket, multipath }`. */
export const CONNECTION = channel('mptcp.connection');
/** A subflow came or went: `{ socket, subflow, event }`, the event `subflow` or `subflowClosed`. */
export const SUBFLOW = channel('mptcp.subflow');
/** A connection is plain TCP: `{ socket, reason }`. */
export const FALLBACK = channel('mptcp.fallback');

/** Makes the message only if somebody listens. */
export function publish(to: Channel, message: () => object): void {
  if (to.hasSubscribers) to.publish(message());
}

/**
 * One MPTCP connection (RFC 8684) over many TCP connections: data offsets, mappings, reinjection, fallback, signals. Each
 * subflow is an extension of a TCP connection, which does not know what it carries. Hosts and tables are `stack`'s;
 * which path carries what, and which paths there are, is for `policy` to decide. Start at `connection.ts` and
 * its parts, then `subflow.ts` and its; the interfaces of plug-ins are in `seams.ts`.
 */
export { type MptcpConfig, mptcpDefaults } from './config.ts';
export { ConnectionEvent, InvariantError, MptcpConnection, type MptcpHost } from './connection.ts';
export { MptcpCounters } from './counters.ts';
export { FallbackReason, fallbackName } from './fallback.ts';
export { addAddressHmac, joinHmac, Key } from './keys.ts';
export type {
  JoinRequest,
  PathCommands,
  PathManager,
  PathView,
  PeerAddress,
  RandomWords,
  ScheduleRequest,
  Scheduler,
  SchedulerFactory,
  SubflowView,
} from './seams.ts';
export { Phase, Subflow } from './subflow.ts';

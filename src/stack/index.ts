/**
 * A host: many connections over several interfaces. It owns the tables (tuples, tokens, ports, listeners, deadlines) and
 * takes part in one turn (`PacketHost`); what a connection does is the connection's. It knows no clock, no random
 * numbers and no device. Start at `seams.ts`, then `stack.ts`; programs mostly want `sockets` on top.
 */
export type { ConnectRequest } from './active-opens.ts';
export { StackError, type StackOptions } from './config.ts';
export { Connection } from './connection.ts';
export { IpCounters } from './counters.ts';
export { Handle, Ready } from './handle.ts';
export { Interface, Interfaces, type Route } from './interfaces.ts';
export { Listener } from './listener.ts';
export type { ListenRequest } from './listeners.ts';
export type { InterfaceAddress, InterfaceConfig, PacketHost, RouteConfig } from './seams.ts';
export { Stack } from './stack.ts';

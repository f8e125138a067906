/** `mptcp`: what programs need, in the manner of `node:net`. */

export type {
  Backend,
  Multipath,
  MultipathChoice,
  MultipathControl,
  MultipathOptions,
  MultipathState,
  Purpose,
  SubflowAddress,
  SubflowState,
} from '../api/multipath.ts';
export {
  type ConnectorDone,
  type ConnectorOptions,
  type ConnectorRequest,
  connector,
  HttpAgent,
  HttpsAgent,
  type MultipathSetting,
} from './agents.ts';
export { type ConnectOptions, connect, createConnection, createServer } from './connect.ts';
export {
  createHost,
  type EmulatedLink,
  type EmulateOptions,
  type Emulation,
  emulate,
  Host,
  type HostOptions,
} from './host.ts';
export { multipathServer } from './multipath-server.ts';
export { Server, type ServerOptions } from './server.ts';
export { Socket, type SocketOptions } from './socket.ts';
export { systemPaths } from './system-paths.ts';

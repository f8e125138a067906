/**
 * BSD socket calls with Linux's semantics and error numbers over a `Stack`: non-blocking and synchronous, so that they
 * serve real and virtual time alike. They know sockets and nothing of packets. Start at `sockets.ts`.
 */
export { Errno, errnoByName, errnoName } from './errno.ts';
export { type ConnectionInfo, closeReasonName, connectionInfo, type PathInfo } from './info.ts';
export {
  type Endpoint,
  Family,
  Message,
  Poll,
  Protocol,
  Shutdown,
  type SocketSettings,
  Sockets,
  SocketType,
} from './sockets.ts';

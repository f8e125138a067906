export { type TcpConfig, tcpDefaults } from './config.ts';
export { TcpConnection } from './connection.ts';
export { TcpCounters } from './counters.ts';
export {
  ChallengeLimiter,
  Endpoint,
  type EndpointEnvironment,
  EndpointEvent,
  IcmpKind,
  isHardError,
  Tuple,
} from './endpoint.ts';
export { Handshake, type HandshakeResult } from './handshake.ts';
export { NULL_EXTENSION, NullExtension } from './null-extension.ts';
export { initialSegmentSize } from './path-mtu.ts';
export { ReceiveRing } from './receive-ring.ts';
export { Receiver } from './receiver.ts';
export {
  type AckSample,
  type ByteSink,
  type ByteSource,
  CloseReason,
  type CongestionControl,
  type CongestionControlFactory,
  type Extension,
  Verdict,
} from './seams.ts';
export { isLegal, STATE_NAMES, State } from './state.ts';
export { TcpStream } from './stream.ts';
export { TimeWait } from './time-wait.ts';

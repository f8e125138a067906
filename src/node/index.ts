export { type Alarm, openAlarm } from './alarm.ts';
export { now, timeOrigin } from './clock.ts';
export { Driver, DriverCounters, DriverError, type DriverOptions, type PacketTap } from './driver.ts';
export { EmulatedIo, type EmulatedOptions, Emulator, EmulatorCounters, emulatedPair } from './emulator.ts';
export { Entropy } from './entropy.ts';
export { ForeignFunctionError } from './ffi.ts';
export { inNetworkNamespace } from './network-namespace.ts';
export { HEADROOM, IoStatus, ioPacket, type PacketIo, Readiness } from './packet-io.ts';
export {
  type ConnectRequest,
  type ListenRequest,
  Stream,
  type StreamHandler,
  StreamListener,
  Streams,
} from './stream.ts';
export { SystemError } from './system-error.ts';
export { type TunCapabilities, type TunCounters, TunDevice, type TunOptions } from './tun.ts';
export { type HostPath, type PathEndpoint, UserspaceHost, type UserspaceHostOptions } from './userspace-host.ts';

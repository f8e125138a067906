/**
 * Captures in, connections out: reads pcap and pcapng, finds the IP packet in a frame, and files each segment under its
 * connection and subflow. It knows bytes and no files; whoever has a file reads it and hands over the contents. Start
 * with `CaptureReader`.
 */
export { type CaptureProblem, CaptureReader, Frame } from './capture.ts';
export {
  FlowTracker,
  type TracedConnection,
  type TracedKey,
  type TracedSegment,
  type TracedSubflow,
  tracedKey,
} from './flows.ts';
export { LinkType, locateIp } from './link-layer.ts';

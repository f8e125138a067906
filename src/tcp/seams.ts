import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';

/**
 * What a TCP connection asks of others. Plain TCP is the same code with a `SendQueue`, a `ReceiveRing` and the null
 * extension; a subflow brings its own three.
 *
 * Stream offsets: in each direction the SYN is 0, the first byte is 1, and the FIN stands behind the last byte.
 */

/** The bytes a sender sends. Held by the source until `release`. */
export interface ByteSource {
  /** Offset one past the last byte that may be sent. Grows; never shrinks. */
  readonly end: number;
  /** Copies `length` bytes from stream offset `offset` into `target` at `at`. The range was not released. */
  copyTo(offset: number, length: number, target: Uint8Array, at: number): void;
  /** Everything below `offset` was acknowledged and will not be asked for again. */
  release(now: number, offset: number): void;
}

/** Where received bytes go. The receiver calls with each byte once, trimmed to what is new. */
export interface ByteSink {
  /**
   * Others draw on the same window (RFC 8684 §3.3.1): then what is offered here follows `window`, and may shrink when
   * they have used it up; what was offered before is still accepted.
   */
  readonly sharesWindow: boolean;
  /**
   * `length` new bytes of `bytes` from `start`, with stream offset `offset`; may be ahead of earlier ones.
   * Returns the bytes taken from the front: fewer than `length` when there is no room, and the rest stays unreceived.
   */
  write(now: number, offset: number, bytes: Uint8Array, start: number, length: number): number;
  /** Everything below `offset` has been written. */
  advance(now: number, offset: number): void;
  /** Bytes beyond `next` (the offset of the next byte expected in order) that may be offered to the peer now. */
  window(next: number): number;
}

/** Bits that `Extension.onSegment` returns. */
export const Verdict = {
  Accept: 0,
  /** Never count this ACK as a duplicate (RFC 8684 §3.4: signals are no congestion signs). */
  NotDuplicate: 0x1,
  /** Drop the payload; it stays unreceived and unacknowledged. */
  IgnorePayload: 0x2,
  /** Answer with an ACK at once. */
  AcknowledgeNow: 0x4,
  /** Reset this connection: a RST goes out carrying what the extension adds to it. */
  Reset: 0x8,
} as const;

/** Rides on a connection: reads and writes options, hears of its life. Nothing here may re-enter the connection. */
export interface Extension {
  /** Option bytes that a full data segment will need, padded: keeps the segment size steady. */
  readonly overhead: number;
  /** A pure ACK should go out now, for what this extension has to say. Cleared by the `onTransmit` that says it. */
  readonly wantsAcknowledgment: boolean;
  /** The extension's own timer; Infinity when unarmed. `onTimeout` is called at or after it. */
  readonly deadline: number;
  onTimeout(now: number): void;

  /** Adds options to a SYN or SYN/ACK under construction. `attempt` counts its transmissions from 0. */
  onTransmitSyn(now: number, segment: Segment, attempt: number): void;
  /**
   * Options of a SYN, SYN/ACK or handshake ACK that was received and found acceptable by TCP.
   * Returns Verdict bits; `Reset` fails the handshake.
   */
  onHandshakeSegment(now: number, segment: Segment): number;

  /**
   * Adds options to any later segment under construction (flags are set; RST included). `length` bytes from stream
   * `offset` are on offer (0 for a pure ACK, a FIN alone or a RST). Returns how many of them this segment may carry:
   * fewer when a mapping ends, and 0 forbids sending data now. At most `room` bytes of options may be added.
   */
  onTransmit(now: number, segment: Segment, offset: number, length: number, room: number): number;

  /**
   * A segment that passed RFC 9293's sequence, RST, SYN and ACK checks, before its ACK and payload are processed;
   * `offset`, `ackOffset`, `scaledWindow` are set. Payload is `packet.bytes` of the segment. Returns Verdict bits.
   */
  onSegment(now: number, segment: Segment, packet: Packet): number;
  /** An acceptable RST arrived. */
  onReset(now: number, segment: Segment): void;
  /** The handshake is over: data may flow as far as TCP is concerned. */
  onEstablished(now: number): void;
  /** Our octets below `una` are acknowledged (after `ByteSource.release`). */
  onAcknowledged(now: number, una: number): void;
  /** The retransmission timer fired for the `count`-th time in a row without progress. */
  onRetransmissionTimeout(now: number, count: number): void;
  /** The peer's FIN was received in order; `offset` is one past it. */
  onPeerFin(now: number, offset: number): void;
  /** The connection is over (TIME-WAIT included). `reason` is a `CloseReason`. Called once. */
  onClosed(now: number, reason: number): void;
}

/** Why a connection ended: plain data, kept. */
export const CloseReason = {
  /** Both FINs exchanged. */
  Finished: 0,
  /** The peer's RST. */
  PeerReset: 1,
  /** RST in answer to our SYN. */
  Refused: 2,
  /** Retransmissions or SYNs went unanswered (RFC 9293 §3.8.3 R2), or the user timeout passed. */
  TimedOut: 3,
  /** Keep-alive probes went unanswered (RFC 9293 §3.8.4). */
  KeepAlive: 4,
  /** We aborted it. */
  Aborted: 5,
  /** A hard ICMP error (RFC 9293 §3.9.2.2): unreachable. */
  Unreachable: 6,
  /** The extension demanded a reset. */
  Extension: 7,
  /** The interface or the address it used went away. */
  AddressGone: 8,
  /** A defect of this stack: the invariant that broke was logged by name. */
  Invariant: 9,
} as const;

/** What a congestion control is told about one ACK. One record is reused. */
export interface AckSample {
  /** Bytes newly known to be delivered, cumulatively or selectively. */
  delivered: number;
  /** Bytes newly acknowledged cumulatively. */
  acknowledged: number;
  /** Bytes in flight before this ACK. */
  priorInFlight: number;
  /** Bytes in flight after it. */
  inFlight: number;
  /** RTT measured by this ACK in ms; -1 when it measured none. */
  rtt: number;
  /** Smoothed RTT in ms; 0 before the first. */
  smoothedRtt: number;
  /** The window, not the application or the peer, limited sending. */
  windowLimited: boolean;
  /** Offset acknowledged cumulatively. */
  una: number;
  /** Next offset to send. */
  nxt: number;
}

/**
 * Told what was sent, acknowledged and lost; answers with a window and a rate. Touches nothing.
 * All figures in bytes and ms.
 */
export interface CongestionControl {
  readonly name: string;
  /** cwnd in bytes. While the sender is in recovery PRR governs instead, from what `onLoss` made of these. */
  readonly window: number;
  readonly slowStartThreshold: number;
  /** Bytes per ms to pace at; 0 leaves pacing to the sender (or off). */
  readonly pacingRate: number;
  /** Segment size or path MTU changed. */
  onSegmentSize(size: number): void;
  /** An ACK outside loss recovery. */
  onAck(now: number, sample: AckSample): void;
  /** A loss was found: entering fast recovery. Sets `slowStartThreshold` (and `window`, for when recovery ends). */
  onLoss(now: number, inFlight: number): void;
  /** Recovery ended. */
  onRecovered(now: number): void;
  /** The retransmission timer fired (`first` of its series). Sets `slowStartThreshold`, `window` to one segment. */
  onTimeout(now: number, inFlight: number, first: boolean): void;
  /** The last reduction was spurious: restore what stood before it (RFC 5682, RFC 4015, D-SACK). */
  onUndo(now: number): void;
  /** Sending resumes after `idle` ms of silence, longer than one RTO (RFC 5681 §4.1). */
  onIdle(now: number, idle: number): void;
}

/** Makes one per connection. `initialWindow` in bytes (RFC 6928). */
export type CongestionControlFactory = (segmentSize: number, initialWindow: number) => CongestionControl;

import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';
import { Endpoint, type EndpointEnvironment, type IcmpKind, type Tuple } from './endpoint.ts';
import type { Extension } from './seams.ts';
import { State } from './state.ts';

/** What a handshake settled: all that a connection is built from. */
export interface HandshakeResult {
  /** We sent the first SYN. */
  readonly active: boolean;
  /** Initial sequence numbers, as on the wire. */
  readonly localInitial: number;
  readonly peerInitial: number;
  /** The peer's MSS option, or the default of RFC 9293 §3.7.1: bytes of payload and options. */
  readonly peerMss: number;
  /** Shift of the windows we send, and of those we receive; 0 without the option. */
  readonly localWindowScale: number;
  readonly peerWindowScale: number;
  readonly windowScaling: boolean;
  readonly sackPermitted: boolean;
  readonly timestamps: boolean;
  /** TS.Recent and when it was set. */
  readonly timestampRecent: number;
  readonly timestampRecentAt: number;
  /** Window of the peer in bytes. */
  readonly peerWindow: number;
  /** Window that our SYN offered: bytes from offset 1 on. */
  readonly offeredWindow: number;
  /** RTT in ms; -1 when it was not measured. */
  readonly rtt: number;
  /** Our SYN or SYN/ACK was sent more than once. */
  readonly retransmitted: boolean;
}

export class Handshake extends Endpoint {
  readonly active: boolean;
  readonly extension: Extension;
  /** Set with the event `Promoted`. */
  established: HandshakeResult | undefined = undefined;
  private current: number = State.SynSent;

  private constructor(
    _now: number,
    environment: EndpointEnvironment,
    tuple: Tuple,
    _initialSequence: number,
    extension: Extension,
    active: boolean,
  ) {
    super(tuple, environment);
    this.active = active;
    this.extension = extension;
  }

  /** SYN-SENT: a SYN goes out with the next `pollTransmit`. `initialSequence` is a wire number (RFC 6528). */
  static connect(
    now: number,
    environment: EndpointEnvironment,
    tuple: Tuple,
    initialSequence: number,
    extension: Extension,
  ): Handshake {
    return new Handshake(now, environment, tuple, initialSequence, extension, true);
  }

  /** SYN-RECEIVED, for a SYN that a listener takes: a SYN/ACK goes out with the next `pollTransmit`. */
  static accept(
    now: number,
    environment: EndpointEnvironment,
    tuple: Tuple,
    initialSequence: number,
    extension: Extension,
    _syn: Segment,
  ): Handshake {
    const handshake = new Handshake(now, environment, tuple, initialSequence, extension, false);
    handshake.current = State.SynReceived;
    return handshake;
  }

  get deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  get state(): number {
    return this.current;
  }

  get wantsTransmit(): boolean {
    return false;
  }

  onSegment(_now: number, _segment: Segment, _packet: Packet): void {}
  onTimeout(_now: number): void {}

  pollTransmit(_now: number, _out: Segment, _packet: Packet): boolean {
    return false;
  }

  onIcmp(_now: number, _kind: IcmpKind, _mtu: number, _quotedSequence: number): void {}

  /** Gives up: in SYN-RECEIVED a RST goes out (RFC 9293 §3.10.5), in SYN-SENT nothing. */
  abort(_now: number): void {}
  /** Ends without a word on the wire. `reason` is a `CloseReason`. */
  closeSilently(_now: number, _reason: number): void {}
}

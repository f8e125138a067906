import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';
import type { TcpConnection } from './connection.ts';
import { Endpoint, type EndpointEnvironment, type IcmpKind, type Tuple } from './endpoint.ts';
import { State } from './state.ts';

export class TimeWait extends Endpoint {
  private constructor(_now: number, environment: EndpointEnvironment, tuple: Tuple) {
    super(tuple, environment);
  }

  /** Takes over from a connection whose event `TimeWait` is set. */
  static fromConnection(now: number, connection: TcpConnection): TimeWait {
    return new TimeWait(now, connection.environment, connection.tuple);
  }

  /** Whether a SYN for this tuple may begin a new connection now (RFC 6191; RFC 9293 §3.6.1). */
  acceptsSyn(_segment: Segment): boolean {
    return false;
  }

  /** A wire number beyond everything the old connection sent: for the new one's initial sequence (RFC 9293 §3.6.1). */
  get nextInitialSequence(): number {
    return 0;
  }

  get deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  get state(): number {
    return State.TimeWait;
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
}

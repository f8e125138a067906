import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';
import type { Extension } from './seams.ts';

/** Plain TCP: adds nothing, objects to nothing. Has no state, so one serves every connection. */
export class NullExtension implements Extension {
  readonly overhead = 0;
  readonly wantsAcknowledgment = false;
  readonly deadline = Number.POSITIVE_INFINITY;

  onTimeout(_now: number): void {}
  onTransmitSyn(_now: number, _segment: Segment, _attempt: number): void {}

  onHandshakeSegment(_now: number, _segment: Segment): number {
    return 0;
  }

  onTransmit(_now: number, _segment: Segment, _offset: number, length: number, _room: number): number {
    return length;
  }

  onSegment(_now: number, _segment: Segment, _packet: Packet): number {
    return 0;
  }

  onReset(_now: number, _segment: Segment): void {}
  onEstablished(_now: number): void {}
  onAcknowledged(_now: number, _una: number): void {}
  onRetransmissionTimeout(_now: number, _count: number): void {}
  onPeerFin(_now: number, _offset: number): void {}
  onClosed(_now: number, _reason: number): void {}
}

export const NULL_EXTENSION: Extension = new NullExtension();

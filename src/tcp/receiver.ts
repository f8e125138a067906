import type { SequenceSpace } from '../wire/sequence.ts';
import type { ByteSink } from './seams.ts';

/** The receiving half of a connection: what came, what is offered, what is to be acknowledged and when. */
export class Receiver {
  /** RCV.NXT. */
  nxt = 1;
  /** Offset one past the last octet ever offered to the peer: never shrinks. */
  edge = 1;
  /** Offset of the peer's FIN; Infinity until a FIN was seen in the window. */
  finOffset = Number.POSITIVE_INFINITY;
  readonly space: SequenceSpace;
  readonly sink: ByteSink;

  constructor(space: SequenceSpace, sink: ByteSink) {
    this.space = space;
    this.sink = sink;
  }
}

import type { SubflowView } from './seams.ts';

/** The picture of a subflow that schedulers see; refilled before each question, never handed the subflow itself. */
export class SubflowPicture implements SubflowView {
  id = 0;
  active = false;
  backup = false;
  lossy = false;
  /** It made no progress for longer than a first loss takes to repair. */
  stalled = false;
  queued = 0;
  room = 0;
  congestionWindow = 0;
  smoothedRtt = 0;
  minimumRtt = Number.POSITIVE_INFINITY;
  pacingRate = 0;
  holdups = 0;
  segmentSize = 0;
}

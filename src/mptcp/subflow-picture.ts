import type { SubflowView } from './seams.ts';

/** The picture of a subflow that schedulers see; refilled before each question, never handed the subflow itself. */
export class SubflowPicture implements SubflowView {
  id = 0;
  active = false;
  backup = false;
  lossy = false;
  queued = 0;
  room = 0;
  congestionWindow = 0;
  smoothedRtt = 0;
  minimumRtt = Number.POSITIVE_INFINITY;
  pacingRate = 0;
  holdups = 0;
  segmentSize = 0;
}

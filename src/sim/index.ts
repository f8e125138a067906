/**
 * Many hosts, one clock: worlds in virtual time. A `World` knows hosts by `PacketHost`, paths by `Link`, and nothing of
 * connections; `twoHosts` builds the world that most tests want. Start at `world.ts`.
 */
export { DeadlineHeap } from './deadline-heap.ts';
export { Digest } from './digest.ts';
export { type HostSettings, SimulatedHost } from './host.ts';
export { SeededRandom } from './random.ts';
export { goodput, type LinkReport, printReport, printTable, report, type WorldReport } from './report.ts';
export { balanced, byPrefix, type Forwarding, Router, type RouterRoute } from './router.ts';
export { addressOf, type HostFactory, type TwoHosts, type TwoHostsOptions, twoHosts } from './topology.ts';
export { TransferApplication, TransferEnd } from './workload.ts';
export {
  type Attachment,
  type HostOptions,
  InvariantError,
  type RunEnd,
  type RunOptions,
  type TwoLinks,
  World,
  WorldCounters,
  WorldHost,
  type WorldObserver,
  type WorldOptions,
  WorldPath,
} from './world.ts';
export { captureWorld } from './world-capture.ts';

/**
 * What packets pass through. Each link is one impairment, one direction, and usable by itself; `Chain` puts links in a
 * row, `Path` makes both directions of a whole path from a description, `middlebox/` has what meddles with packets.
 * Links know packets and the times they are given: no clock, no hosts, no connections. Start at `link.ts`, then
 * `stage.ts`, which all but a foreign link are built on.
 */
export { Capture, CaptureDirection, type CaptureOptions } from './capture.ts';
export { Chain } from './chain.ts';
export { Corrupt, type CorruptOptions } from './corrupt.ts';
export { Counters, dropped } from './counters.ts';
export { Delay, type DelayOptions } from './delay.ts';
export { Duplicate } from './duplicate.ts';
export { Headers } from './headers.ts';
export type { Link, LinkCounters, Random } from './link.ts';
export { BurstLoss, type BurstOptions, ListLoss, Loss, PredicateLoss, RandomLoss } from './loss.ts';
export { Merger, Merging } from './merger.ts';
export * from './middlebox/index.ts';
export { Mtu, packetTooBig } from './mtu.ts';
export { Direction, type DirectionOptions, mbit, Path, type PathOptions, type RandomStreams } from './path.ts';
export { Pipe } from './pipe.ts';
export { PacketPool, PooledPacket } from './pool.ts';
export { Rate, type RateOptions } from './rate.ts';
export { Reorder, type ReorderOptions } from './reorder.ts';
export { Schedule } from './schedule.ts';
export { Segmentation, Segmenter } from './segmenter.ts';
export { Stage } from './stage.ts';
export { Timeline } from './timeline.ts';
export { type PacketObserver, Trace, traced } from './trace.ts';

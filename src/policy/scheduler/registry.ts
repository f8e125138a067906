import type { SchedulerFactory } from '../../mptcp/seams.ts';
import { LowestLinger } from './lowest-linger.ts';

const SCHEDULERS = new Map<string, SchedulerFactory>([['default', () => new LowestLinger()]]);

/** The scheduler of that name (net.mptcp.scheduler); undefined when there is none. */
export function schedulerByName(name: string): SchedulerFactory | undefined {
  return SCHEDULERS.get(name);
}

/** Names that `schedulerByName` knows (net.mptcp.available_schedulers). */
export function availableSchedulers(): string[] {
  return [...SCHEDULERS.keys()];
}

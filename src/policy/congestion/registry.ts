import type { CongestionControlFactory } from '../../tcp/seams.ts';
import { cubic } from './cubic.ts';
import { reno } from './reno.ts';

const CONTROLS = new Map<string, CongestionControlFactory>([
  ['cubic', cubic],
  ['reno', reno],
]);

/** The congestion control of that name (net.ipv4.tcp_congestion_control); undefined when there is none. */
export function congestionControlByName(name: string): CongestionControlFactory | undefined {
  return CONTROLS.get(name);
}

/** Names that `congestionControlByName` knows (net.ipv4.tcp_available_congestion_control). */
export function availableCongestionControls(): string[] {
  return [...CONTROLS.keys()];
}

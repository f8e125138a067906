import type { Address } from '../wire/address.ts';

/** Destinations remembered at most; the oldest is forgotten first. */
const CAPACITY = 256;

/**
 * Where SYNs with MP_CAPABLE vanished while plain ones got through (A2.16). For a while, doubling with each time, no
 * MP_CAPABLE is offered there. Linux remembers one black hole for its whole namespace; here each destination has its
 * own memory, so that one bad path costs the others nothing.
 */
export class BlackHoles {
  private readonly entries = new Map<string, { times: number; until: number }>();

  /** MP_CAPABLE must not be offered to `peer` now. */
  isActive(now: number, peer: Address): boolean {
    const entry = this.entries.get(peer.toString());
    return entry !== undefined && now < entry.until;
  }

  /** A plain SYN worked after those with MP_CAPABLE had not. `timeout` in ms; 0 disables this memory. */
  record(now: number, peer: Address, timeout: number): void {
    if (timeout === 0) return;
    const key = peer.toString();
    const times = (this.entries.get(key)?.times ?? 0) + 1;
    this.entries.delete(key);
    this.entries.set(key, { times, until: now + timeout * 2 ** Math.min(times - 1, 6) });
    if (this.entries.size > CAPACITY) this.entries.delete(this.entries.keys().next().value!);
  }

  /** MP_CAPABLE was answered by `peer`. */
  clear(peer: Address): void {
    this.entries.delete(peer.toString());
  }
}

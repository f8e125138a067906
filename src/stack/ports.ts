import type { RandomWords } from '../mptcp/seams.ts';
import type { Address } from '../wire/address.ts';

/** Linux's net.ipv4.ip_local_port_range. */
const FIRST = 32_768;
const LAST = 60_999;

/**
 * Local ports: which are bound, and the choice of an ephemeral one (RFC 6056 §3.3.1: random, then the next free).
 * A port may serve many connections; whether a choice is free is the caller's question.
 */
export class Ports {
  private readonly random: RandomWords;
  private readonly bound = new Map<number, { address: Address | undefined; shared: boolean; family: number }[]>();

  constructor(random: RandomWords) {
    this.random = random;
  }

  /**
   * Takes `port` for `address` (undefined: any of `family`, 4 or 6, or of both with 0). False when somebody else has it.
   */
  bind(address: Address | undefined, port: number, shared: boolean, family: number = address?.family ?? 0): boolean {
    const holders = this.bound.get(port) ?? [];
    for (const holder of holders) {
      const meets = holder.family === 0 || family === 0 || holder.family === family;
      const clash = meets && (holder.address === undefined || address === undefined || holder.address.equals(address));
      if (clash && !(holder.shared && shared)) return false;
    }
    holders.push({ address, shared, family });
    this.bound.set(port, holders);
    return true;
  }

  release(address: Address | undefined, port: number, family: number = address?.family ?? 0): void {
    const holders = this.bound.get(port);
    if (holders === undefined) return;
    const index = holders.findIndex((holder) => {
      if (holder.family !== family) return false;
      return holder.address === undefined
        ? address === undefined
        : address !== undefined && holder.address.equals(address);
    });
    if (index >= 0) holders.splice(index, 1);
    if (holders.length === 0) this.bound.delete(port);
  }

  /** An ephemeral port that nobody bound and of which `isFree` approves; 0 when all are taken. */
  ephemeral(isFree: (port: number) => boolean): number {
    const count = LAST - FIRST + 1;
    const start = this.random.word() % count;
    for (let offset = 0; offset < count; offset++) {
      const port = FIRST + ((start + offset) % count);
      if (!this.bound.has(port) && isFree(port)) return port;
    }
    return 0;
  }
}

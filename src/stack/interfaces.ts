import type { Address } from '../wire/address.ts';
import type { InterfaceAddress, InterfaceConfig, RouteConfig } from './seams.ts';

/** One network interface of a host; comes, goes and changes while connections live. */
export class Interface {
  readonly id: number;
  readonly name: string;
  mtu: number;
  up = true;
  readonly segmentationOffload: boolean;
  readonly checksumOffload: boolean;
  readonly loopback: boolean;
  readonly addresses: InterfaceAddress[];
  readonly routes: readonly RouteConfig[];

  constructor(id: number, config: InterfaceConfig) {
    this.id = id;
    this.name = config.name;
    this.mtu = config.mtu;
    this.segmentationOffload = config.segmentationOffload ?? false;
    this.checksumOffload = config.checksumOffload ?? false;
    this.loopback = config.loopback ?? false;
    this.addresses = [...config.addresses];
    this.routes = config.routes ?? [];
  }

  has(address: Address): boolean {
    // RFC 1122 §3.2.1.3 (g): all of 127.0.0.0/8 is this host.
    if (this.loopback && address.family === 4 && address.isLoopback) return true;
    for (let index = 0; index < this.addresses.length; index++) {
      if (this.addresses[index]!.address.equals(address)) return true;
    }
    return false;
  }
}

/** Where a packet leaves and with which source. */
export interface Route {
  readonly interface: Interface;
  readonly local: Address;
}

/** All interfaces of a host, and the choice among them. */
export class Interfaces {
  private readonly list: Interface[] = [];
  private nextId = 0;
  private loopback: Interface | undefined;

  get all(): readonly Interface[] {
    return this.list;
  }

  add(config: InterfaceConfig): Interface {
    const added = new Interface(this.nextId++, config);
    this.list.push(added);
    if (added.loopback) this.loopback ??= added;
    return added;
  }

  remove(id: number): void {
    const index = this.list.findIndex((entry) => entry.id === id);
    if (index >= 0) this.list.splice(index, 1);
    this.loopback = this.list.find((entry) => entry.loopback);
  }

  byId(id: number): Interface | undefined {
    for (let index = 0; index < this.list.length; index++) {
      if (this.list[index]!.id === id) return this.list[index];
    }
    return undefined;
  }

  byName(name: string): Interface | undefined {
    return this.list.find((entry) => entry.name === name);
  }

  /** The interface that owns `address`. */
  owner(address: Address): Interface | undefined {
    return this.list.find((entry) => entry.has(address));
  }

  /**
   * Whether a packet to these address words is ours (any interface's: the weak host model of RFC 1122 §3.3.4.2).
   * @param inside it came over the loopback interface
   */
  owns(family: number, w0: number, w1: number, w2: number, w3: number, inside = false): boolean {
    // RFC 1122 §3.2.1.3 (g): addresses of 127.0.0.0/8 must not appear outside a host.
    if (this.loopback !== undefined && family === 4 && w3 >>> 24 === 127) return inside;
    for (let index = 0; index < this.list.length; index++) {
      const { addresses } = this.list[index]!;
      for (let at = 0; at < addresses.length; at++) {
        const { address } = addresses[at]!;
        if (
          address.w3 === w3 &&
          address.family === family &&
          address.w0 === w0 &&
          address.w1 === w1 &&
          address.w2 === w2
        ) {
          return true;
        }
      }
    }
    return false;
  }

  /**
   * The way to `peer`. A given source address pins the interface that owns it, so that two subflows really take two
   * paths; otherwise the longest matching prefix decides, then the metric, then the order of the interfaces
   * (RFC 6724 rules 2 and 8 choose among the addresses of one interface).
   */
  route(peer: Address, local?: Address): Route | undefined {
    const { loopback } = this;
    // Packets to this host never leave it, whatever address they come from.
    if (loopback?.up === true && this.owner(peer) !== undefined) {
      if (local === undefined || local.isUnspecified) return { interface: loopback, local: peer };
      const isOurs = local.family === peer.family && this.owner(local) !== undefined;
      return isOurs ? { interface: loopback, local } : undefined;
    }
    if (local !== undefined && !local.isUnspecified) {
      const owner = this.owner(local);
      return owner?.up === true && local.family === peer.family ? { interface: owner, local } : undefined;
    }
    let best: Route | undefined;
    let bestLength = -1;
    let bestMetric = 0;
    for (const candidate of this.list) {
      if (!candidate.up || candidate.loopback) continue;
      const source = sourceFor(candidate, peer);
      if (source === undefined) continue;
      let length = 0;
      let metric = DEFAULT_METRIC;
      for (const { address, prefixLength } of candidate.addresses) {
        if (prefixLength >= length && address.inPrefix(peer, prefixLength)) {
          length = prefixLength;
          metric = 0;
        }
      }
      for (const route of candidate.routes) {
        const own = route.metric ?? 0;
        if (!route.destination.inPrefix(peer, route.prefixLength)) continue;
        if (route.prefixLength > length || (route.prefixLength === length && own < metric)) {
          length = route.prefixLength;
          metric = own;
        }
      }
      if (length > bestLength || (length === bestLength && metric < bestMetric)) {
        best = { interface: candidate, local: source };
        bestLength = length;
        bestMetric = metric;
      }
    }
    return best;
  }
}

/** Metric of the implied default route of an interface: behind every configured one. */
const DEFAULT_METRIC = 1_000_000;

function sourceFor(candidate: Interface, peer: Address): Address | undefined {
  let best: Address | undefined;
  let bestLength = -1;
  for (const { address, prefixLength } of candidate.addresses) {
    if (address.family !== peer.family) continue;
    const length = address.inPrefix(peer, prefixLength) ? prefixLength : 0;
    if (length > bestLength) {
      best = address;
      bestLength = length;
    }
  }
  return best;
}

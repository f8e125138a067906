import { PacketQueue, pool } from '../link/pool.ts';
import type { PacketHost } from '../stack/seams.ts';
import { Address } from '../wire/address.ts';
import { updated } from '../wire/checksum.ts';
import type { Packet } from '../wire/packet.ts';

/** Decides by which interface a packet leaves; -1 drops it. */
export type Forwarding = (packet: Packet, interfaceId: number) => number;

/**
 * A host that only forwards: for shared bottlenecks and for networks of more than one hop. Hop limits count down.
 */
export class Router implements PacketHost {
  /** Packets dropped for want of a route, or of hops. */
  unroutable = 0;
  expired = 0;
  forwarded = 0;
  private readonly forwarding: Forwarding;
  private readonly queue: PacketQueue = new PacketQueue();

  constructor(forwarding: Forwarding) {
    this.forwarding = forwarding;
  }

  onPacket(_now: number, interfaceId: number, packet: Packet): void {
    const out = this.forwarding(packet, interfaceId);
    if (out < 0) {
      this.unroutable++;
      return;
    }
    const view = packet.view;
    const at = packet.start;
    const isFour = view.getUint8(at) >>> 4 === 4;
    const hops = view.getUint8(at + (isFour ? 8 : 7));
    if (hops <= 1) {
      this.expired++;
      return;
    }
    const copy = pool.copy(packet);
    const hopAt = copy.start + (isFour ? 8 : 7);
    if (isFour) {
      const word = copy.view.getUint16(hopAt);
      copy.view.setUint8(hopAt, hops - 1);
      const sumAt = copy.start + 10;
      copy.view.setUint16(sumAt, updated(copy.view.getUint16(sumAt), word, word - 0x100));
    } else {
      copy.view.setUint8(hopAt, hops - 1);
    }
    copy.order = out;
    this.queue.push(copy);
    this.forwarded++;
  }

  onTimeout(): void {}

  pollTransmit(_now: number, out: Packet): number {
    const packet = this.queue.shift();
    if (packet === null) return -1;
    out.copyFrom(packet);
    const interfaceId = packet.order;
    packet.release();
    return interfaceId;
  }

  pollTimeout(): number {
    return Number.POSITIVE_INFINITY;
  }

  pollReady(): number {
    return -1;
  }
}

export interface RouterRoute {
  readonly destination: Address;
  readonly prefixLength: number;
  readonly interfaceId: number;
}

/** Forwards by the longest prefix of the destination. */
export function byPrefix(routes: readonly RouterRoute[]): Forwarding {
  const sorted = [...routes].sort((one, other) => other.prefixLength - one.prefixLength);
  return (packet) => {
    const destination = destinationOf(packet);
    for (const route of sorted)
      if (destination.inPrefix(route.destination, route.prefixLength)) return route.interfaceId;
    return -1;
  };
}

/**
 * An L4 load balancer without address translation: what goes to the shared address goes to one of several backends,
 * chosen by the connection's addresses and ports, so that an additional subflow (which is another connection to it) may
 * meet another host than the first (RFC 8684 §3.1, flag C). The backends answer directly through interface 0.
 *
 * @param shared the address that all backends have
 * @param backends their interfaces here
 * @param others routes for everything else, such as the backends' own addresses
 */
export function balanced(shared: Address, backends: readonly number[], others: Forwarding): Forwarding {
  return (packet, interfaceId) => {
    if (interfaceId !== 0) return 0;
    if (!destinationOf(packet).equals(shared)) return others(packet, interfaceId);
    return backends[flowHash(packet) % backends.length]!;
  };
}

function destinationOf(packet: Packet): Address {
  const view = packet.view;
  const at = packet.start;
  if (view.getUint8(at) >>> 4 === 4) return Address.v4(view.getUint32(at + 16));
  return new Address(
    6,
    view.getUint32(at + 24),
    view.getUint32(at + 28),
    view.getUint32(at + 32),
    view.getUint32(at + 36),
  );
}

/** Over addresses and ports. */
function flowHash(packet: Packet): number {
  const view = packet.view;
  const isFour = view.getUint8(packet.start) >>> 4 === 4;
  const from = packet.start + (isFour ? 12 : 8);
  const ports = isFour ? packet.start + (view.getUint8(packet.start) & 15) * 4 : packet.start + 40;
  let hash = view.getUint32(ports);
  for (let at = from; at < from + (isFour ? 8 : 32); at += 4) hash = Math.imul(hash ^ view.getUint32(at), 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

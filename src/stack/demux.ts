import type { Endpoint } from '../tcp/endpoint.ts';
import type { Address } from '../wire/address.ts';
import type { Segment } from '../wire/segment.ts';

/** Finds the endpoint of a segment by its addresses and ports: chains threaded through the endpoints themselves. */
export class Demux {
  private buckets: (Endpoint | null)[] = new Array<Endpoint | null>(64).fill(null);
  private mask = 63;
  /** Mixed into the hash, so that nobody can aim at one chain. */
  private readonly seed: number;
  size = 0;

  constructor(seed: number) {
    this.seed = seed | 0;
  }

  find(segment: Segment): Endpoint | null {
    const hash = this.hash(
      segment.destination3,
      segment.source0 ^ segment.source1 ^ segment.source2 ^ segment.source3,
      segment.destinationPort,
      segment.sourcePort,
    );
    let endpoint = this.buckets[hash & this.mask] as Endpoint | null;
    while (endpoint !== null) {
      const { tuple } = endpoint;
      const { peer, local } = tuple;
      if (
        tuple.peerPort === segment.sourcePort &&
        tuple.localPort === segment.destinationPort &&
        peer.w3 === segment.source3 &&
        local.w3 === segment.destination3 &&
        peer.family === segment.family &&
        peer.w0 === segment.source0 &&
        peer.w1 === segment.source1 &&
        peer.w2 === segment.source2 &&
        local.w0 === segment.destination0 &&
        local.w1 === segment.destination1 &&
        local.w2 === segment.destination2
      ) {
        return endpoint;
      }
      endpoint = endpoint.hashNext;
    }
    return null;
  }

  has(local: Address, localPort: number, peer: Address, peerPort: number): boolean {
    return this.get(local, localPort, peer, peerPort) !== null;
  }

  get(local: Address, localPort: number, peer: Address, peerPort: number): Endpoint | null {
    const hash = this.hash(local.w3, peer.w0 ^ peer.w1 ^ peer.w2 ^ peer.w3, localPort, peerPort);
    let endpoint = this.buckets[hash & this.mask] as Endpoint | null;
    while (endpoint !== null) {
      const { tuple } = endpoint;
      if (
        tuple.localPort === localPort &&
        tuple.peerPort === peerPort &&
        tuple.local.equals(local) &&
        tuple.peer.equals(peer)
      ) {
        return endpoint;
      }
      endpoint = endpoint.hashNext;
    }
    return null;
  }

  insert(endpoint: Endpoint): void {
    if (this.size > this.mask) this.grow();
    const at = this.bucketOf(endpoint);
    endpoint.hashNext = this.buckets[at]!;
    this.buckets[at] = endpoint;
    this.size++;
  }

  remove(endpoint: Endpoint): void {
    const at = this.bucketOf(endpoint);
    let previous: Endpoint | null = null;
    let current = this.buckets[at] as Endpoint | null;
    while (current !== null && current !== endpoint) {
      previous = current;
      current = current.hashNext;
    }
    if (current === null) return;
    if (previous === null) this.buckets[at] = endpoint.hashNext;
    else previous.hashNext = endpoint.hashNext;
    endpoint.hashNext = null;
    this.size--;
  }

  /** Every endpoint, for listings and shut-down: not for per-packet work. */
  *[Symbol.iterator](): Generator<Endpoint> {
    for (const head of this.buckets) {
      let endpoint = head;
      while (endpoint !== null) {
        const next = endpoint.hashNext;
        yield endpoint;
        endpoint = next;
      }
    }
  }

  private bucketOf(endpoint: Endpoint): number {
    const { local, peer, localPort, peerPort } = endpoint.tuple;
    return this.hash(local.w3, peer.w0 ^ peer.w1 ^ peer.w2 ^ peer.w3, localPort, peerPort) & this.mask;
  }

  private hash(local: number, peer: number, localPort: number, peerPort: number): number {
    let hash = Math.imul(local ^ this.seed, 0x9e3779b1);
    hash = Math.imul(hash ^ peer ^ (hash >>> 15), 0x85ebca6b);
    hash = Math.imul(hash ^ ((localPort << 16) | peerPort) ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }

  private grow(): void {
    const old = this.buckets;
    this.mask = this.mask * 2 + 1;
    this.buckets = new Array<Endpoint | null>(this.mask + 1).fill(null);
    for (const head of old) {
      let endpoint = head;
      while (endpoint !== null) {
        const next = endpoint.hashNext;
        const at = this.bucketOf(endpoint);
        endpoint.hashNext = this.buckets[at]!;
        this.buckets[at] = endpoint;
        endpoint = next;
      }
    }
  }
}

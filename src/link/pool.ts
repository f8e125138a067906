import { Packet } from '../wire/packet.ts';
import { packetBytes } from '../wire/slab.ts';
import { packetCount } from './headers.ts';

/**
 * Packets under way live in pooled buffers of three sizes and pass from stage to stage by reference: a packet is
 * copied when it enters a link and again, at most, when it leaves, however many stages there are between.
 *
 * Ownership: whoever holds a pooled packet either passes it on or releases it, once.
 */
export class PooledPacket extends Packet {
  readonly pool: PacketPool;
  readonly sizeClass: number;
  /** The array that `bytes` is a window of, and where in it: copies within one array need no view. */
  readonly slab: Uint8Array;
  readonly base: number;
  /** The next packet of the queue this one is in. */
  next: PooledPacket | null;
  /** When the present stage lets it go. */
  due: number;
  /** Order of arrival among packets that are due together. */
  order: number;
  /** Packets on the wire that it stands for: more than 1 for a large packet. */
  count: number;
  isFree: boolean;

  constructor(pool: PacketPool, sizeClass: number, bytes: Uint8Array) {
    super(bytes.length - HEADROOM, HEADROOM, bytes);
    const isInSlab = this.slabStart >= 0;
    if (isInSlab && slab === null) slab = new Uint8Array(bytes.buffer);
    this.pool = pool;
    this.sizeClass = sizeClass;
    this.slab = isInSlab ? slab! : bytes;
    this.base = isInSlab ? this.slabStart : 0;
    this.next = null;
    this.due = 0.5;
    this.order = 0;
    this.count = 1;
    this.isFree = false;
  }

  /** Gives the buffer back. The packet must not be used again. */
  release(): void {
    this.pool.give(this);
  }
}

export class PacketPool {
  private small: PooledPacket | null = null;
  private jumbo: PooledPacket | null = null;
  private large: PooledPacket | null = null;
  /** How many more packets may be put into WebAssembly memory, which is shared and finite. */
  private slots: number;
  /** Buffers taken and not yet given back. */
  taken = 0;

  /** @param slots packets that may be where copies and checksums are cheapest; the others are ordinary arrays */
  constructor(slots = 4096) {
    this.slots = slots;
  }

  /** A buffer with room for an IP packet of `length` bytes, empty. */
  take(length: number): PooledPacket {
    this.taken++;
    const sizeClass = length <= SMALL ? 0 : length <= JUMBO ? 1 : 2;
    const packet = sizeClass === 0 ? this.small : sizeClass === 1 ? this.jumbo : this.large;
    if (packet === null) return this.allocate(sizeClass);
    if (sizeClass === 0) this.small = packet.next;
    else if (sizeClass === 1) this.jumbo = packet.next;
    else this.large = packet.next;
    packet.next = null;
    packet.isFree = false;
    packet.start = HEADROOM;
    packet.end = HEADROOM;
    packet.gsoSize = 0;
    packet.checksum = 0;
    packet.count = 1;
    return packet;
  }

  give(packet: PooledPacket): void {
    if (packet.isFree) throw new RangeError('a pooled packet was released twice');
    packet.isFree = true;
    this.taken--;
    if (packet.sizeClass === 0) {
      packet.next = this.small;
      this.small = packet;
    } else if (packet.sizeClass === 1) {
      packet.next = this.jumbo;
      this.jumbo = packet;
    } else {
      packet.next = this.large;
      this.large = packet;
    }
  }

  /** A pooled copy of any packet. */
  copy(packet: Packet): PooledPacket {
    const length = packet.end - packet.start;
    const copy = this.take(length);
    copyBytes(packet, packet.start, length, copy, copy.start);
    copy.end = copy.start + length;
    copy.gsoSize = packet.gsoSize;
    copy.checksum = packet.checksum;
    copy.count = packet.gsoSize === 0 ? 1 : packetCount(packet);
    return copy;
  }

  /** A packet with room for the largest, for one owner's lasting use. */
  scratch(): PooledPacket {
    return new PooledPacket(this, 2, packetBytes(HEADROOM + LARGE));
  }

  private allocate(sizeClass: number): PooledPacket {
    const size = HEADROOM + (sizeClass === 0 ? SMALL : sizeClass === 1 ? JUMBO : LARGE);
    if (sizeClass === 0 && this.slots > 0) {
      this.slots--;
      return new PooledPacket(this, sizeClass, packetBytes(size));
    }
    return new PooledPacket(this, sizeClass, new Uint8Array(size));
  }
}

/** Copies bytes between packets. `copyWithin` in a shared array costs half of `set(subarray)` and makes no garbage. */
export function copyBytes(from: Packet, fromAt: number, length: number, to: Packet, toAt: number): void {
  if (from instanceof PooledPacket && to instanceof PooledPacket && from.slab === to.slab) {
    const start = from.base + fromAt;
    to.slab.copyWithin(to.base + toAt, start, start + length);
  } else {
    to.bytes.set(from.bytes.subarray(fromAt, fromAt + length), toAt);
  }
}

/** A queue of pooled packets, linked through the packets themselves. */
export class PacketQueue {
  head: PooledPacket | null = null;
  private tail: PooledPacket | null = null;
  length = 0;

  push(packet: PooledPacket): void {
    packet.next = null;
    if (this.tail === null) this.head = packet;
    else this.tail.next = packet;
    this.tail = packet;
    this.length++;
  }

  shift(): PooledPacket | null {
    const packet = this.head;
    if (packet === null) return null;
    this.head = packet.next;
    if (this.head === null) this.tail = null;
    packet.next = null;
    this.length--;
    return packet;
  }
}

/**
 * A queue of pooled packets, each with the time at which it leaves, in order of these times. They stand together and
 * not in the packets: whoever asks for the time touches no packet that has been under way for long.
 */
export class TimedQueue {
  private packets: (PooledPacket | null)[] = new Array<PooledPacket | null>(16).fill(null);
  private times: Float64Array = new Float64Array(16);
  private head = 0;
  private length = 0;

  /** When the first packet leaves; Infinity when there is none. */
  get due(): number {
    return this.length === 0 ? Number.POSITIVE_INFINITY : this.times[this.head]!;
  }

  push(packet: PooledPacket, due: number): void {
    if (this.length === this.packets.length) this.grow();
    const at = (this.head + this.length) & (this.packets.length - 1);
    this.packets[at] = packet;
    this.times[at] = due;
    this.length++;
  }

  shift(): PooledPacket | null {
    if (this.length === 0) return null;
    const at = this.head;
    const packet = this.packets[at]!;
    this.packets[at] = null;
    this.head = (at + 1) & (this.packets.length - 1);
    this.length--;
    return packet;
  }

  private grow(): void {
    const { packets, times, head } = this;
    const capacity = packets.length;
    this.packets = [...packets.slice(head), ...packets.slice(0, head), ...new Array<null>(capacity).fill(null)];
    this.times = new Float64Array(2 * capacity);
    this.times.set(times.subarray(head));
    this.times.set(times.subarray(0, head), capacity - head);
    this.head = 0;
  }
}

/** A heap of pooled packets, earliest `due` first, equals in order of arrival. */
export class PacketHeap {
  private readonly packets: PooledPacket[] = [];
  private arrivals = 0;

  get length(): number {
    return this.packets.length;
  }

  get head(): PooledPacket | null {
    return this.packets.length === 0 ? null : this.packets[0]!;
  }

  push(packet: PooledPacket): void {
    packet.order = this.arrivals++;
    const packets = this.packets;
    let at = packets.length;
    packets.push(packet);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = packets[parent]!;
      if (!isBefore(packet, above)) break;
      packets[at] = above;
      at = parent;
    }
    packets[at] = packet;
  }

  shift(): PooledPacket | null {
    const packets = this.packets;
    if (packets.length === 0) return null;
    const first = packets[0]!;
    const last = packets.pop()!;
    const length = packets.length;
    if (length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= length) break;
      if (child + 1 < length && isBefore(packets[child + 1]!, packets[child]!)) child++;
      if (!isBefore(packets[child]!, last)) break;
      packets[at] = packets[child]!;
      at = child;
    }
    packets[at] = last;
    return first;
  }
}

function isBefore(a: PooledPacket, b: PooledPacket): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}

const HEADROOM = 64;
const SMALL = 1984;
const JUMBO = 9216;
const LARGE = 65_600;

/** All of WebAssembly's memory for packets, once a packet is in it. */
let slab: Uint8Array | null = null;

/** The pool that all links share: buffers, no state. */
export const pool: PacketPool = new PacketPool();

import type { Packet } from '../wire/packet.ts';

/**
 * What packets pass through, in one direction: takes a packet at a time, gives packets at later times. A link keeps
 * its own copy, never calls anyone, and is driven like a host:
 *
 *     send(now, packet)*   receive(now, out) until false   sleep until pollTimeout
 *
 * Links compose: `Chain` is a link made of links. `now` never goes backwards.
 */
export interface Link {
  /** Takes a copy of `packet`, or drops it (and counts that under a name). */
  send(now: number, packet: Packet): void;
  /** Copies the next packet that is due at `now` into `out`; false when none is due. */
  receive(now: number, out: Packet): boolean;
  /** When the next packet will be due; Infinity when none is under way. */
  pollTimeout(): number;
  /** What happened to packets here, by name. */
  readonly counters: LinkCounters;
}

export interface LinkCounters {
  /** Packets taken, a large packet counting as the packets it stands for. */
  sent: number;
  sentBytes: number;
  received: number;
  receivedBytes: number;
  /** Dropped because the queue was full. */
  queueFull: number;
  /** Dropped by the loss model. */
  lost: number;
  /** Dropped because the link was down. */
  down: number;
  /** Dropped as larger than the MTU. */
  tooBig: number;
  /** Dropped by a middlebox. */
  filtered: number;
  reordered: number;
  duplicated: number;
  corrupted: number;
  /** ICMP reports made about packets that were too big. What middleboxes make is in their own counts. */
  added: number;
}

/** A seeded source of random numbers; never the platform's. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A uniform unsigned 32-bit integer. */
  word(): number;
}

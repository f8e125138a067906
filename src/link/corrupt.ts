import { fold, sumPacket } from '../wire/checksum.ts';
import { checksumResidue, completeChecksum, Headers, restoreChecksum } from './headers.ts';
import type { Random } from './link.ts';
import { checkProbability } from './loss.ts';
import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

export interface CorruptOptions {
  /** Probability that a packet is corrupted, 0 to 1. */
  readonly probability: number;
  /** Bits that are flipped, each anywhere in the chosen part; 1 unless given. */
  readonly bits?: number;
  /** The TCP payload alone (packets without one pass), or the whole IP packet; the payload unless given. */
  readonly where?: 'payload' | 'anywhere';
  /** Makes the TCP checksum fit again, so that only a checksum of the data itself can tell. Payload only. */
  readonly repairsChecksum?: boolean;
}

/** Flips bits. A checksum that was left to the link is finished before, so that the receiver can tell. */
export class Corrupt extends Stage {
  private readonly options: Required<CorruptOptions>;
  private readonly random: Random;
  private readonly headers: Headers = new Headers();

  constructor(options: CorruptOptions, random: Random) {
    super();
    this.options = { bits: 1, where: 'payload', repairsChecksum: false, ...options };
    checkProbability(options.probability, 'corrupt');
    if (this.options.repairsChecksum && this.options.where !== 'payload') {
      throw new RangeError('the checksum can be repaired only when the payload alone is corrupted');
    }
    this.random = random;
  }

  onPacket(now: number, packet: PooledPacket): void {
    if (this.random.next() < this.options.probability) this.corrupt(packet);
    this.emit(now, packet);
  }

  private corrupt(packet: PooledPacket): void {
    const headers = this.headers;
    const isTcp = headers.locate(packet);
    const inPayload = this.options.where === 'payload';
    if (inPayload && (!isTcp || headers.payload === headers.end)) return;
    completeChecksum(packet, headers);
    packet.checksum = 0;
    const start = inPayload ? headers.payload : packet.start;
    const length = (inPayload ? headers.end : packet.end) - start;
    const residue = this.options.repairsChecksum ? checksumResidue(packet, headers) : 0;
    const before = fold(sumPacket(packet, start, start + length, 0));
    do {
      for (let bit = 0; bit < this.options.bits; bit++) {
        const at = start + (this.random.word() % length);
        packet.bytes[at] = packet.bytes[at]! ^ (1 << (this.random.word() & 7));
      }
      // Bits that cancel out, or changes that leave the sum as it was, would corrupt unseen: flip more.
    } while (fold(sumPacket(packet, start, start + length, 0)) === before);
    if (this.options.repairsChecksum) restoreChecksum(packet, headers, residue);
    this.counts.corrupted += packet.count;
  }
}

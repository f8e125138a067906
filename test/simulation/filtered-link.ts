import { Loss } from '../../src/link/loss.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import type { Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';

/** Loses the TCP segments that `loses` names; the segment is valid during the call. */
export class FilteredLink extends Loss {
  private readonly loses: (segment: Segment) => boolean;
  private readonly header: IpHeader = new IpHeader();
  private readonly segment: Segment = new Segment();

  constructor(loses: (segment: Segment) => boolean) {
    super();
    this.loses = loses;
  }

  protected isLost(_now: number, packet: Packet): boolean {
    if (decodeIp(packet, this.header) !== 0 || decodeTcp(packet, this.header, this.segment) !== 0) return false;
    return this.loses(this.segment);
  }
}

import { Drop } from '../wire/drop.ts';

/** Events of IP and ICMP on one host, with the names of Linux's MIB where the event is the same; and every drop. */
export class IpCounters {
  InReceives = 0;
  InHdrErrors = 0;
  InAddrErrors = 0;
  InUnknownProtos = 0;
  InTruncatedPkts = 0;
  InDelivers = 0;
  OutRequests = 0;
  OutNoRoutes = 0;
  IcmpInMsgs = 0;
  IcmpInErrors = 0;
  IcmpInCsumErrors = 0;
  IcmpInEchos = 0;
  IcmpOutEchoReps = 0;
  /** Stateless answers (RST, echo replies) that were not made because too many were waiting. */
  ReplyQueueFull = 0;
  /** Packets that came or would have left while their interface was down or gone. */
  InterfaceDown = 0;
  /** Packets dropped, by `Drop`. */
  readonly drops: Float64Array = new Float64Array(Object.keys(Drop).length);

  /** Counts one dropped packet under its own name and under Linux's. */
  onDrop(drop: number): void {
    this.drops[drop]!++;
    switch (drop) {
      case Drop.Truncated:
        this.InTruncatedPkts++;
        break;
      case Drop.NotForUs:
      case Drop.BadSource:
        this.InAddrErrors++;
        break;
      case Drop.UnknownProtocol:
        this.InUnknownProtos++;
        break;
      case Drop.BadIcmp:
        this.IcmpInErrors++;
        break;
      case Drop.BadIcmpChecksum:
        this.IcmpInCsumErrors++;
        break;
      case Drop.InterfaceDown:
        this.InterfaceDown++;
        break;
      case Drop.BadIpVersion:
      case Drop.BadIpHeader:
      case Drop.BadIpChecksum:
      case Drop.Fragment:
      case Drop.BadExtensionHeader:
        this.InHdrErrors++;
        break;
    }
  }
}

import { Verdict } from '../tcp/seams.ts';
import { Capable, Mptcp } from '../wire/mptcp-options.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import { capableFlags, usableCapable } from './capable.ts';
import type { MptcpConnection } from './connection.ts';
import { ConnectionEvent } from './connection-event.ts';
import { FallbackReason } from './fallback.ts';
import { Key } from './keys.ts';

/**
 * What both ends agree on with MP_CAPABLE (RFC 8684 §3.1): the peer's key, checksums, joins to its initial address; and
 * what a client makes of the answer to its SYN. The server's side is `CapableRequest`'s until both keys are known.
 */
export class Negotiation {
  private readonly connection: MptcpConnection;
  /** Null until it is known. */
  peerKey: Key | null = null;
  /** DSS checksums were negotiated. */
  checksums = false;
  /** The peer set flag C. */
  peerDeniesJoinInitial = false;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  /** Whether this SYN offers MP_CAPABLE: not after too many lost ones (A2.15), not towards a black hole (A2.16). */
  offersCapable(attempt: number): boolean {
    const { config, counters, fallback } = this.connection;
    if (fallback.reason !== FallbackReason.None) return false;
    if (attempt <= config.synRetransBeforeFallback) return true;
    counters.MPCapableSYNTXDrop++;
    fallback.reason = FallbackReason.SynDropped;
    return false;
  }

  /** Flags of our MP_CAPABLE. */
  get offeredFlags(): number {
    const { config } = this.connection;
    return capableFlags(config.checksums, config.allowJoinInitial);
  }

  /** The client's view of the SYN/ACK. Returns a `Verdict`. */
  onSynAck(segment: Segment): number {
    const { connection } = this;
    const { counters, fallback } = connection;
    const options = segment.mptcp;
    if ((segment.flags & Flag.Ack) === 0) {
      // A bare SYN: simultaneous open (A2.22).
      counters.SimultConnectFallback++;
      fallback.reason = FallbackReason.SimultaneousOpen;
      return Verdict.Accept;
    }
    if (fallback.reason !== FallbackReason.None) return Verdict.Accept;
    if (!usableCapable(options, Mptcp.CapableSynAck)) {
      counters.MPCapableFallbackSYNACK++;
      fallback.reason = FallbackReason.SynAck;
      connection.events |= ConnectionEvent.FellBack;
      return Verdict.Accept;
    }
    counters.MPCapableSYNACKRX++;
    this.setPeerKey(new Key(options.senderKeyHigh, options.senderKeyLow), options.capableFlags);
    return Verdict.Accept;
  }

  /** Both keys are known. `flags`: those of the peer's MP_CAPABLE. */
  setPeerKey(key: Key, flags: number): void {
    this.peerKey = key;
    this.connection.receiver.setPeerKey(key);
    this.checksums = this.connection.config.checksums || (flags & Capable.Checksum) !== 0;
    this.peerDeniesJoinInitial = (flags & Capable.DenyJoinInitial) !== 0;
  }
}

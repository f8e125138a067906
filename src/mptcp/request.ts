import { type Extension, Verdict } from '../tcp/seams.ts';
import { Capable, Mptcp } from '../wire/mptcp-options.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import { capableFlags, usableCapable } from './capable.ts';
import type { MptcpConfig } from './config.ts';
import type { MptcpCounters } from './counters.ts';
import { Key } from './keys.ts';

/**
 * The server's side of MP_CAPABLE while TCP's handshake lasts (RFC 8684 §3.1): a key, flags, nothing else, so that a
 * flood of SYNs costs little. When the third ACK proves both keys the host makes the connection from it.
 */
export class CapableRequest implements Extension {
  readonly localKey: Key;
  /** Flags of the client's SYN. */
  readonly synFlags: number;
  /** The client's key, once the third ACK told it; null: plain TCP. */
  peerKey: Key | null = null;
  private readonly config: MptcpConfig;
  private readonly counters: MptcpCounters;

  readonly overhead = 0;
  readonly wantsAcknowledgment = false;
  readonly deadline = Number.POSITIVE_INFINITY;

  constructor(localKey: Key, synFlags: number, config: MptcpConfig, counters: MptcpCounters) {
    this.localKey = localKey;
    this.synFlags = synFlags;
    this.config = config;
    this.counters = counters;
  }

  /** A1.07: checksums are used when either side asks for them. */
  get checksums(): boolean {
    return this.config.checksums || (this.synFlags & Capable.Checksum) !== 0;
  }

  onTransmitSyn(_now: number, segment: Segment, _attempt: number): void {
    const options = segment.mptcp;
    options.present |= Mptcp.CapableSynAck;
    options.version = 1;
    options.capableFlags = capableFlags(this.checksums, this.config.allowJoinInitial);
    options.senderKeyHigh = this.localKey.high;
    options.senderKeyLow = this.localKey.low;
  }

  onHandshakeSegment(_now: number, segment: Segment): number {
    if ((segment.flags & Flag.Syn) !== 0) return Verdict.Accept;
    const options = segment.mptcp;
    const ours =
      usableCapable(options, Mptcp.CapableAck) &&
      options.receiverKeyHigh === this.localKey.high &&
      options.receiverKeyLow === this.localKey.low;
    if (!ours) {
      // A8.03: the presence of MP_CAPABLE in the third ACK decides (A2.17).
      this.counters.MPCapableFallbackACK++;
      return Verdict.Accept;
    }
    this.counters.MPCapableACKRX++;
    this.peerKey = new Key(options.senderKeyHigh, options.senderKeyLow);
    return Verdict.Accept;
  }

  onTimeout(_now: number): void {}
  onTransmit(_now: number, _segment: Segment, _offset: number, length: number, _room: number): number {
    return length;
  }
  onSegment(): number {
    return Verdict.Accept;
  }
  onReset(): void {}
  onEstablished(): void {}
  onAcknowledged(): void {}
  onRetransmissionTimeout(): void {}
  onPeerFin(): void {}
  onClosed(): void {}
}

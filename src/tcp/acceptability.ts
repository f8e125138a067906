import { Flag, Option, type Segment } from '../wire/segment.ts';
import type { EndpointEnvironment } from './endpoint.ts';
import type { Receiver } from './receiver.ts';
import type { Sender } from './sender.ts';
import type { Timestamps } from './timestamps.ts';

/** What `Acceptability.check` found. Whatever it is, the answer it calls for is owed by then. */
export const Finding = {
  /** On to the rest of the fifth step. */
  Acceptable: 0,
  /** Dealt with. */
  Dropped: 1,
  /** Dealt with; not acceptable, but it carries text or a FIN: the peer repeats something. */
  Repeated: 2,
  /** An acceptable RST. */
  Reset: 3,
} as const;

/**
 * Which segments a synchronized connection takes: the first four steps of RFC 9293 §3.10.7.4 and the range of the ACK
 * of the fifth, with RFC 7323's PAWS before them and RFC 5961's challenges in them. Counts what it turns away and has
 * it answered; what follows from that for the connection's state is the connection's.
 */
export class Acceptability {
  /** The largest window the peer ever offered, bytes (MAX.SND.WND of RFC 5961 §5.2). */
  maximumPeerWindow: number;

  private readonly environment: EndpointEnvironment;
  private readonly sender: Sender;
  private readonly receiver: Receiver;
  private readonly timestamps: Timestamps;
  /** When a segment without text was last answered for not being acceptable. */
  private answeredAt = Number.NEGATIVE_INFINITY;

  /** @param peerWindow what the handshake's last segment offered, bytes */
  constructor(
    environment: EndpointEnvironment,
    sender: Sender,
    receiver: Receiver,
    timestamps: Timestamps,
    peerWindow: number,
  ) {
    this.environment = environment;
    this.sender = sender;
    this.receiver = receiver;
    this.timestamps = timestamps;
    this.maximumPeerWindow = peerWindow;
  }

  /**
   * Judges a segment whose `offset`, `ackOffset` and `scaledWindow` are set; returns a `Finding`. Of an acceptable one
   * it keeps the timestamp and the window.
   *
   * @param lingering the connection is in TIME-WAIT
   */
  check(now: number, segment: Segment, lingering: boolean): number {
    const { receiver, sender } = this;
    const { flags, offset } = segment;
    if (this.timestamps.inUse && (flags & Flag.Rst) === 0 && !this.passesTimestamps(now, segment)) {
      return Finding.Dropped;
    }

    // First, the sequence number.
    if (!receiver.accepts(offset, offset + segment.span) && !this.isWindowProbe(offset, flags)) {
      return this.onUnacceptable(now, segment);
    }
    if ((flags & (Flag.Rst | Flag.Syn)) !== 0) return this.onResetOrSyn(now, segment, lingering);

    // Fifth, the ACK field: "if the ACK bit is off, drop the segment and return".
    if ((flags & Flag.Ack) === 0) {
      this.environment.counters.TCPNoAck++;
      return Finding.Dropped;
    }
    const { ackOffset } = segment;
    if (ackOffset > sender.nxt) {
      // "If the ACK acks something not yet sent (SEG.ACK > SND.NXT), then send an ACK, drop the segment".
      this.environment.counters.TCPAckOfUnsent++;
      this.challengeAck(now, segment);
      return Finding.Dropped;
    }
    if (ackOffset < sender.una - this.maximumPeerWindow) {
      // RFC 5961 §5.2: acceptable is (SND.UNA - MAX.SND.WND) =< SEG.ACK =< SND.NXT.
      this.environment.counters.TCPAckTooOld++;
      this.challengeAck(now, segment);
      return Finding.Dropped;
    }
    // RFC 7323 §4.3 (2): a segment that begins beyond Last.ACK.sent is not echoed.
    if (this.timestamps.inUse && offset <= receiver.acknowledged) this.timestamps.onSegment(now, segment);
    if (segment.scaledWindow > this.maximumPeerWindow) this.maximumPeerWindow = segment.scaledWindow;
    return Finding.Acceptable;
  }

  /** PAWS (RFC 7323 §5) and the presence of the option (§3.2). False: the segment is dealt with. */
  private passesTimestamps(now: number, segment: Segment): boolean {
    const { counters } = this.environment;
    if ((segment.options & Option.Timestamps) === 0) {
      // "If a non-<RST> segment is received without a TSopt, a TCP SHOULD silently drop the segment". Not a SYN: that
      // is for RFC 5961 §4 to answer, or a peer that restarted would wait for us forever.
      if ((segment.flags & Flag.Syn) !== 0) return true;
      counters.TCPTimestampMissing++;
      return false;
    }
    if (!this.timestamps.isOld(now, segment)) return true;
    counters.PAWSEstab++;
    this.answerUnacceptable(now, segment);
    return false;
  }

  /** RFC 9293 §3.10.7.4: with a closed window "special allowance should be made to accept valid ACKs". */
  private isWindowProbe(offset: number, flags: number): boolean {
    const { receiver } = this;
    return offset === receiver.nxt && (flags & (Flag.Syn | Flag.Rst)) === 0 && receiver.limit === receiver.nxt;
  }

  private onUnacceptable(now: number, segment: Segment): number {
    const { counters } = this.environment;
    if ((segment.flags & Flag.Rst) !== 0) {
      // RFC 5961 §3.2, 1: "silently drop the segment".
      counters.TCPResetOutOfWindow++;
      return Finding.Dropped;
    }
    counters.TCPOutOfWindow++;
    if ((segment.flags & Flag.Syn) !== 0) {
      // RFC 5961 §4.2: "irrespective of the sequence number".
      counters.TCPSYNChallenge++;
      this.challenge(now);
      return Finding.Dropped;
    }
    this.answerUnacceptable(now, segment);
    return segment.span > 0 ? Finding.Repeated : Finding.Dropped;
  }

  /** Second and fourth step, as RFC 5961 §3.2 and §4.2 have them. */
  private onResetOrSyn(now: number, segment: Segment, lingering: boolean): number {
    const { counters } = this.environment;
    if ((segment.flags & Flag.Rst) === 0) {
      counters.TCPSYNChallenge++;
      this.challenge(now);
      return Finding.Dropped;
    }
    if (lingering) {
      // RFC 1337 §3 (fix F1): RST is ignored in TIME-WAIT; RFC 9293 would close. Linux has net.ipv4.tcp_rfc1337.
      counters.TCPTimeWaitResetIgnored++;
      return Finding.Dropped;
    }
    if (segment.offset < this.receiver.nxt) {
      counters.TCPResetOutOfWindow++;
      return Finding.Dropped;
    }
    if (segment.offset !== this.receiver.nxt) {
      this.challenge(now);
      return Finding.Dropped;
    }
    return Finding.Reset;
  }

  /** <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>. */
  private answerUnacceptable(now: number, segment: Segment): void {
    if (!this.mayAnswer(now, segment)) return;
    this.receiver.onUnacceptable(segment.offset, segment.payloadEnd - segment.payloadStart);
  }

  /** Answers an ACK of what was never sent, or that is too old. */
  private challengeAck(now: number, segment: Segment): void {
    if (this.mayAnswer(now, segment)) this.challenge(now);
  }

  /** Segments without octets are answered twice a second at most, lest two stacks play ping-pong. */
  private mayAnswer(now: number, segment: Segment): boolean {
    if (segment.span !== 0) return true;
    if (now - this.answeredAt < ANSWER_INTERVAL) {
      this.environment.counters.TCPACKSkippedChallenge++;
      return false;
    }
    this.answeredAt = now;
    return true;
  }

  /** RFC 5961 §7: an ACK that costs an attacker more than us. */
  private challenge(now: number): void {
    const { counters, challenge } = this.environment;
    if (!challenge.allow(now)) {
      counters.TCPACKSkippedChallenge++;
      return;
    }
    counters.TCPChallengeACK++;
    this.receiver.ackNow = true;
  }
}

/** ms between answers to unacceptable segments that carry nothing (net.ipv4.tcp_invalid_ratelimit). */
const ANSWER_INTERVAL = 500;

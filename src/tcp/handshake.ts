import type { Packet } from '../wire/packet.ts';
import { Flag, Option, type Segment } from '../wire/segment.ts';
import type { TcpConfig } from './config.ts';
import {
  baseHeader,
  Endpoint,
  type EndpointEnvironment,
  EndpointEvent,
  EndpointKind,
  IcmpKind,
  isHardError,
  type Tuple,
} from './endpoint.ts';
import { MAXIMUM_OPTIONS, TIMESTAMPS_LENGTH } from './path-mtu.ts';
import { CloseReason, type Extension, Verdict } from './seams.ts';
import { isLegal, STATE_NAMES, State } from './state.ts';

/** What a handshake settled: all that a connection is built from. */
export interface HandshakeResult {
  /** We sent the first SYN. */
  readonly active: boolean;
  /** Initial sequence numbers, as on the wire. */
  readonly localInitial: number;
  readonly peerInitial: number;
  /** The peer's MSS option, or the default of RFC 9293 §3.7.1: bytes of payload and options. */
  readonly peerMss: number;
  /** Shift of the windows we send, and of those we receive; 0 without the option. */
  readonly localWindowScale: number;
  readonly peerWindowScale: number;
  readonly windowScaling: boolean;
  readonly sackPermitted: boolean;
  readonly timestamps: boolean;
  /** TS.Recent and when it was set. */
  readonly timestampRecent: number;
  readonly timestampRecentAt: number;
  /** Window of the peer in bytes, as the segment that completed the handshake told it. */
  readonly peerWindow: number;
  /** Window that our SYN offered: bytes from offset 1 on. */
  readonly offeredWindow: number;
  /** RTT in ms; -1 when it was not measured. */
  readonly rtt: number;
  /** Our SYN or SYN/ACK was sent more than once. */
  readonly retransmitted: boolean;
}

/** What `pollTransmit` owes, as bits. */
const Owed = {
  /** SYN or SYN/ACK, by the state. */
  Syn: 0x1,
  Ack: 0x2,
  /** RST in answer to a segment with an unacceptable ACK; the handshake goes on. */
  Rejection: 0x4,
  /** RST that ends the handshake. */
  Reset: 0x8,
} as const;

/**
 * SYN-SENT and SYN-RECEIVED: negotiates options and nothing else. Owns no queue and no buffer, so that a flood of
 * SYNs costs little.
 *
 * When the third segment comes (for an active open the SYN/ACK), `established` is set, the event `Promoted` is raised
 * and the handshake is inert. The owner builds the `TcpConnection`, puts it in this one's place and passes it the
 * *same* segment once more, so that its ACK, payload, FIN and options are processed by the connection alone.
 *
 * The extension hears of each segment it may judge through `onHandshakeSegment`: of the SYN in `accept`, of the SYN/ACK
 * (or of the SYN, when both sides open at once) in SYN-SENT, of the ACK that completes in SYN-RECEIVED. There it may
 * only accept or refuse. It sees the third ACK again, in `onSegment`, as the first ordinary segment. It sees the
 * SYN/ACK again only if that carries payload; its SYN flag is still set then.
 */
export class Handshake extends Endpoint {
  readonly active: boolean;
  /** The owner may exchange it when the handshake is promoted, before the connection is made. */
  extension: Extension;
  /** Set with the event `Promoted`. */
  established: HandshakeResult | null = null;

  private current: number = State.Closed;
  private owed = 0;
  private readonly initial: number;
  private peerInitial = 0;
  private readonly offered: number;
  private readonly localScale: number;
  private peerScale = 0;
  private windowScaling: boolean;
  private sack: boolean;
  private timestamps: boolean;
  private timestampRecent = 0;
  private timestampRecentAt = 0;
  private peerMss = 0;
  private peerWindow = 0;
  /** Times the SYN or SYN/ACK was sent. */
  private attempts = 0;
  /** Times the retransmission timer fired. */
  private timeouts = 0;
  private firstSentAt = 0;
  private lastSentAt = 0;
  /** When a SYN of the peer was last answered again, for the limit of RFC 5961 §7's idea. */
  private answeredAt = Number.NEGATIVE_INFINITY;
  private timer = Number.POSITIVE_INFINITY;
  private rto: number;
  /** Wire number of the RST that `Owed.Rejection` stands for. */
  private rejectionSequence = 0;

  private constructor(
    environment: EndpointEnvironment,
    tuple: Tuple,
    initialSequence: number,
    extension: Extension,
    active: boolean,
  ) {
    super(EndpointKind.Handshake, tuple, environment);
    const { config } = environment;
    this.active = active;
    this.extension = extension;
    this.initial = initialSequence >>> 0;
    this.offered = Math.min(config.receiveBuffer, 65_535);
    this.localScale = windowScaleFor(config);
    this.windowScaling = config.windowScaling;
    this.sack = config.sack;
    this.timestamps = config.timestamps;
    this.rto = config.initialRto;
  }

  /** SYN-SENT: a SYN goes out with the next `pollTransmit`. `initialSequence` is a wire number (RFC 6528). */
  static connect(
    _now: number,
    environment: EndpointEnvironment,
    tuple: Tuple,
    initialSequence: number,
    extension: Extension,
  ): Handshake {
    const handshake = new Handshake(environment, tuple, initialSequence, extension, true);
    environment.counters.ActiveOpens++;
    handshake.enter(State.SynSent);
    handshake.owed = Owed.Syn;
    return handshake;
  }

  /**
   * SYN-RECEIVED, for a SYN that a listener takes: a SYN/ACK goes out with the next `pollTransmit`. Text and FIN of
   * the SYN are left to be retransmitted, as in Linux (RFC 9293 §3.10.7.2 would queue them). When the extension
   * refuses the SYN the handshake is over at once, with a RST to send.
   */
  static accept(
    now: number,
    environment: EndpointEnvironment,
    tuple: Tuple,
    initialSequence: number,
    extension: Extension,
    syn: Segment,
  ): Handshake {
    const handshake = new Handshake(environment, tuple, initialSequence, extension, false);
    environment.counters.PassiveOpens++;
    handshake.enter(State.Listen);
    handshake.enter(State.SynReceived);
    handshake.takeSyn(now, syn);
    syn.offset = 0;
    syn.ackOffset = 0;
    if ((extension.onHandshakeSegment(now, syn) & Verdict.Reset) !== 0) {
      handshake.fail(now, CloseReason.Extension, Owed.Reset);
    } else {
      handshake.owed = Owed.Syn;
    }
    return handshake;
  }

  get deadline(): number {
    const extension = this.current === State.Closed ? Number.POSITIVE_INFINITY : this.extension.deadline;
    return Math.min(extension, this.timer);
  }

  get state(): number {
    return this.current;
  }

  get wantsTransmit(): boolean {
    return this.owed !== 0;
  }

  /** The peer's initial sequence number as a wire number; meaningful in SYN-RECEIVED. */
  get peerInitialSequence(): number {
    return this.peerInitial;
  }

  /** Our own. */
  get initialSequence(): number {
    return this.initial;
  }

  onSegment(now: number, segment: Segment, _packet: Packet): void {
    switch (this.current) {
      case State.SynSent:
        this.onSegmentInSynSent(now, segment);
        break;
      case State.SynReceived:
        this.onSegmentInSynReceived(now, segment);
        break;
      default:
        this.environment.counters.TCPHandshakeDrop++;
    }
  }

  /** RFC 9293 §3.10.7.3. */
  private onSegmentInSynSent(now: number, segment: Segment): void {
    const { counters } = this.environment;
    const flags = segment.flags;
    const hasAck = (flags & Flag.Ack) !== 0;
    // First, the ACK bit: "If SEG.ACK =< ISS or SEG.ACK > SND.NXT, send a reset (unless the RST bit is set)".
    if (hasAck && segment.acknowledgment !== (this.initial + 1) >>> 0) {
      counters.TCPHandshakeDrop++;
      if ((flags & Flag.Rst) === 0) this.reject(segment);
      return;
    }
    // RFC 7323 §3.2 and appendix of Linux: an echo of what we never sent belongs to another incarnation.
    if (
      hasAck &&
      this.timestamps &&
      (segment.options & Option.Timestamps) !== 0 &&
      !this.isEchoSince(now, segment, this.firstSentAt)
    ) {
      counters.PAWSActive++;
      if ((flags & Flag.Rst) === 0) this.reject(segment);
      return;
    }
    // Second, the RST bit: acceptable only with an acceptable ACK (RFC 5961 §3.2 changes nothing here).
    if ((flags & Flag.Rst) !== 0) {
      if (!hasAck) {
        counters.TCPHandshakeDrop++;
        return;
      }
      this.extension.onReset(now, segment);
      this.fail(now, CloseReason.Refused, 0);
      return;
    }
    // Fourth, the SYN bit. Fifth: "if neither of the SYN or RST bits is set, then drop the segment".
    if ((flags & Flag.Syn) === 0) {
      counters.TCPHandshakeDrop++;
      return;
    }
    this.takeSyn(now, segment);
    segment.offset = 0;
    segment.ackOffset = hasAck ? 1 : 0;
    segment.scaledWindow = segment.window;
    const verdict = this.extension.onHandshakeSegment(now, segment);
    if ((verdict & Verdict.Reset) !== 0) {
      this.fail(now, CloseReason.Extension, Owed.Reset);
      return;
    }
    if (hasAck) {
      this.complete(now, segment);
      return;
    }
    // Simultaneous open: SYN-RECEIVED, and our SYN goes out again with an ACK (figure 8 of RFC 9293).
    this.enter(State.SynReceived);
    this.owed |= Owed.Syn;
  }

  /** RFC 9293 §3.10.7.4 as far as SYN-RECEIVED is concerned. */
  private onSegmentInSynReceived(now: number, segment: Segment): void {
    const { counters, challenge } = this.environment;
    const flags = segment.flags;
    const offset = 1 + ((segment.sequence - this.peerInitial - 1) | 0);
    // The peer's SYN again: our SYN/ACK was lost. Linux sends it at once, at most twice a second.
    if ((flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === Flag.Syn && offset === 0) {
      if (now - this.answeredAt >= ANSWER_INTERVAL) {
        this.answeredAt = now;
        this.owed |= Owed.Syn;
      } else {
        counters.TCPACKSkippedChallenge++;
      }
      return;
    }
    if (this.timestamps && (flags & Flag.Rst) === 0) {
      if ((segment.options & Option.Timestamps) === 0) {
        // RFC 7323 §3.2: a non-RST segment without the option that was negotiated is silently dropped.
        counters.TCPTimestampMissing++;
        return;
      }
      if (((segment.timestampValue - this.timestampRecent) | 0) < 0) {
        // RFC 7323 §5.3, R1.
        counters.PAWSEstab++;
        this.answer(now);
        return;
      }
    }
    // In a simultaneous open the peer's SYN/ACK has its SYN at offset 0, before the window, and completes the
    // handshake (figure 8 of RFC 9293); Linux lets just this one pass.
    const completesSimultaneous =
      this.active && offset === 0 && (flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === (Flag.Syn | Flag.Ack);
    if (!completesSimultaneous) {
      const span = segment.span;
      const acceptable =
        (offset >= 1 && offset <= 1 + this.offered) || (offset < 1 && offset + span > 1 && span <= this.offered);
      // First, the sequence number: "an acknowledgment should be sent in reply (unless the RST bit is set)".
      if (!acceptable) {
        counters.TCPOutOfWindow++;
        if ((flags & Flag.Rst) === 0) this.answer(now);
        return;
      }
      if ((flags & Flag.Rst) !== 0) {
        // RFC 5961 §3.2: only the exact number resets.
        if (offset !== 1) {
          this.challenge(now);
          return;
        }
        this.extension.onReset(now, segment);
        this.fail(now, this.active ? CloseReason.Refused : CloseReason.PeerReset, 0);
        return;
      }
      if ((flags & Flag.Syn) !== 0) {
        // Fourth: after a passive open "return this connection to the LISTEN state"; else RFC 5961 §4.2.
        counters.TCPSYNChallenge++;
        if (this.active) this.challenge(now);
        else this.fail(now, CloseReason.PeerReset, 0);
        return;
      }
    }
    if ((flags & Flag.Ack) === 0) {
      counters.TCPNoAck++;
      return;
    }
    // Fifth: an ACK that is not acceptable draws <SEQ=SEG.ACK><CTL=RST>. Data cannot have been sent yet.
    if (segment.acknowledgment !== (this.initial + 1) >>> 0) {
      counters.TCPAckOfUnsent++;
      if (challenge.allow(now)) this.reject(segment);
      else counters.TCPACKSkippedChallenge++;
      return;
    }
    segment.offset = offset;
    segment.ackOffset = 1;
    segment.scaledWindow = (flags & Flag.Syn) !== 0 ? segment.window : segment.window * 2 ** this.peerScale;
    if ((this.extension.onHandshakeSegment(now, segment) & Verdict.Reset) !== 0) {
      this.fail(now, CloseReason.Extension, Owed.Reset);
      return;
    }
    if (this.timestamps && offset <= 1) this.recordTimestamp(now, segment);
    this.peerWindow = segment.scaledWindow;
    this.complete(now, segment);
  }

  onTimeout(now: number): void {
    const { config, counters } = this.environment;
    if (this.current === State.Closed) return;
    if (this.extension.deadline <= now) this.extension.onTimeout(now);
    if (this.timer > now) return;
    const passive = this.current === State.SynReceived;
    if (this.timeouts >= (passive ? config.synAckRetries : config.synRetries)) {
      counters.TCPAbortOnTimeout++;
      this.fail(now, CloseReason.TimedOut, 0);
      return;
    }
    this.timeouts++;
    counters.TCPTimeouts++;
    // RFC 6298 §5.5: "RTO <- RTO * 2".
    this.rto = Math.min(this.rto * 2, config.maximumRto);
    this.timer = Number.POSITIVE_INFINITY;
    this.owed |= Owed.Syn;
  }

  /** RFC 5461 §4.1, RFC 5927: what ICMP may do before the connection is synchronized. */
  onIcmp(now: number, kind: IcmpKind, mtu: number, quotedSequence: number): void {
    const { counters, mtu: ours } = this.environment;
    if (this.current === State.Closed || this.established !== null) return;
    // RFC 5927 §4.1: what is quoted must be in flight, and that is the SYN.
    if (this.attempts === 0 || quotedSequence >>> 0 !== this.initial) {
      counters.OutOfWindowIcmps++;
      return;
    }
    // A SYN is never too big; the connection will meet the MTU when it sends data.
    if (kind === IcmpKind.PacketTooBig) {
      if (mtu > 0 && mtu < ours) counters.TCPPmtuReduced++;
      return;
    }
    this.softError = kind;
    this.events |= EndpointEvent.SoftError;
    // RFC 9293 §3.9.2.2 says soft errors must not abort; RFC 5461 §4.1 describes that stacks abort for them in
    // SYN-SENT all the same, so that the next address is tried at once. Linux does, and so do we. A passive
    // handshake heeds hard errors alone.
    if (this.active || isHardError(kind)) {
      this.fail(now, kind === IcmpKind.PortUnreachable ? CloseReason.Refused : CloseReason.Unreachable, 0);
    }
  }

  /** Gives up: in SYN-RECEIVED a RST goes out (RFC 9293 §3.10.5), in SYN-SENT nothing. */
  abort(now: number): void {
    if (this.established !== null) return;
    this.fail(now, CloseReason.Aborted, this.current === State.SynReceived ? Owed.Reset : 0);
  }

  /** Ends without a word on the wire. `reason` is a `CloseReason`. */
  closeSilently(now: number, reason: number): void {
    if (this.established === null) this.fail(now, reason, 0);
  }

  pollTransmit(now: number, out: Segment, packet: Packet): boolean {
    if (this.owed === 0) return false;
    const { counters } = this.environment;
    this.address(out);
    if ((this.owed & Owed.Rejection) !== 0) {
      this.owed &= ~Owed.Rejection;
      // <SEQ=SEG.ACK><CTL=RST>: no option belongs on it.
      out.flags = Flag.Rst;
      out.sequence = this.rejectionSequence;
      out.acknowledgment = 0;
      out.window = 0;
      counters.OutRsts++;
    } else if ((this.owed & Owed.Reset) !== 0) {
      this.owed &= ~Owed.Reset;
      this.fillAck(now, out, Flag.Rst | Flag.Ack);
      out.window = 0;
      this.extension.onTransmit(now, out, 1, 0, this.optionRoom);
      counters.OutRsts++;
    } else if ((this.owed & Owed.Syn) !== 0) {
      this.owed &= ~(Owed.Syn | Owed.Ack);
      this.fillSyn(now, out);
    } else {
      this.owed &= ~Owed.Ack;
      this.fillAck(now, out, Flag.Ack);
      this.extension.onTransmit(now, out, 1, 0, this.optionRoom);
    }
    this.emit(out, packet, 0, 0);
    return true;
  }

  private fillSyn(now: number, out: Segment): void {
    const { config, counters, mtu } = this.environment;
    const answering = this.current === State.SynReceived;
    out.flags = answering ? Flag.Syn | Flag.Ack : Flag.Syn;
    out.sequence = this.initial;
    out.acknowledgment = answering ? (this.peerInitial + 1) >>> 0 : 0;
    // RFC 7323 §2.2: "The window field in a segment where the SYN bit is set must not be scaled."
    out.window = this.offered;
    // RFC 6691 §2: the MSS does not count options, and is the MTU less the fixed headers.
    const mss = Math.min(mtu - baseHeader(out.family), 65_535);
    out.options = Option.MaximumSegmentSize;
    out.mss = config.maximumSegmentSize > 0 ? Math.min(mss, config.maximumSegmentSize) : mss;
    if (this.windowScaling) {
      out.options |= Option.WindowScale;
      out.windowScale = this.localScale;
    }
    if (this.sack) out.options |= Option.SackPermitted;
    if (this.timestamps) {
      out.options |= Option.Timestamps;
      out.timestampValue = this.timestamp(now);
      out.timestampEcho = answering ? this.timestampRecent : 0;
    }
    this.extension.onTransmitSyn(now, out, this.attempts);
    this.lastSentAt = now;
    if (this.attempts === 0) this.firstSentAt = now;
    else {
      counters.RetransSegs++;
      counters.TCPSynRetrans++;
    }
    this.attempts++;
    if (this.timer === Number.POSITIVE_INFINITY) this.timer = now + this.rto;
  }

  /** Bytes of options that are not TCP's own, on segments other than SYNs. */
  private get optionRoom(): number {
    return this.timestamps ? MAXIMUM_OPTIONS - TIMESTAMPS_LENGTH : MAXIMUM_OPTIONS;
  }

  /** A segment without payload after the SYN: <SEQ=SND.NXT><ACK=RCV.NXT>. */
  private fillAck(now: number, out: Segment, flags: number): void {
    out.flags = flags;
    out.sequence = (this.initial + 1) >>> 0;
    out.acknowledgment = (this.peerInitial + 1) >>> 0;
    out.window = Math.min(this.offered >> (this.windowScaling ? this.localScale : 0), 65_535);
    if (this.timestamps) {
      out.options |= Option.Timestamps;
      out.timestampValue = this.timestamp(now);
      out.timestampEcho = this.timestampRecent;
    }
  }

  /** Takes over the options of the peer's SYN; what it lacks is off on both sides. */
  private takeSyn(now: number, segment: Segment): void {
    const { options } = segment;
    this.peerInitial = segment.sequence;
    // RFC 9293 §3.7.1: without the option "a default send MSS of 536 (1220 for IPv6)"; a zero means the same.
    const announced = (options & Option.MaximumSegmentSize) !== 0 ? segment.mss : 0;
    const fallback = this.tuple.local.family === 4 ? 536 : 1220;
    this.peerMss = announced === 0 ? fallback : Math.max(announced, MINIMUM_MSS);
    this.windowScaling &&= (options & Option.WindowScale) !== 0;
    this.peerScale = this.windowScaling ? segment.windowScale : 0;
    this.sack &&= (options & Option.SackPermitted) !== 0;
    this.timestamps &&= (options & Option.Timestamps) !== 0;
    if (this.timestamps) {
      this.timestampRecent = segment.timestampValue;
      this.timestampRecentAt = now;
    }
    this.peerWindow = segment.window;
  }

  private recordTimestamp(now: number, segment: Segment): void {
    this.timestampRecent = segment.timestampValue;
    this.timestampRecentAt = now;
  }

  /** The echo lies between the TSval of the SYN sent at `sentAt` and now. */
  private isEchoSince(now: number, segment: Segment, sentAt: number): boolean {
    const echo = segment.timestampEcho;
    return ((echo - this.timestamp(sentAt)) | 0) >= 0 && ((this.timestamp(now) - echo) | 0) >= 0;
  }

  private complete(now: number, segment: Segment): void {
    // RFC 6298 §3 (Karn): a SYN that was sent twice is measured by timestamps or not at all; and not by an answer to an
    // earlier one, which the peer may have sent before and in vain.
    let rtt = -1;
    if (this.attempts === 1) rtt = now - this.firstSentAt;
    else if (this.timestamps && this.isEchoSince(now, segment, this.lastSentAt)) {
      rtt = (this.timestamp(now) - segment.timestampEcho) >>> 0;
    }
    this.established = {
      active: this.active,
      localInitial: this.initial,
      peerInitial: this.peerInitial,
      peerMss: this.peerMss,
      localWindowScale: this.windowScaling ? this.localScale : 0,
      peerWindowScale: this.peerScale,
      windowScaling: this.windowScaling,
      sackPermitted: this.sack,
      timestamps: this.timestamps,
      timestampRecent: this.timestampRecent,
      timestampRecentAt: this.timestampRecentAt,
      peerWindow: this.peerWindow,
      offeredWindow: this.offered,
      rtt,
      retransmitted: this.attempts > 1,
    };
    this.enter(State.Established);
    this.owed = 0;
    this.timer = Number.POSITIVE_INFINITY;
    this.events |= EndpointEvent.Promoted;
  }

  /** The end of a handshake that did not succeed, with `last` still to be sent. */
  private fail(now: number, reason: number, last: number): void {
    if (this.current === State.Closed) return;
    this.environment.counters.AttemptFails++;
    this.enter(State.Closed);
    this.owed = last;
    this.timer = Number.POSITIVE_INFINITY;
    this.closeReason = reason;
    this.events |= EndpointEvent.Failed;
    this.extension.onClosed(now, reason);
  }

  /** The one door of the state. An illegal step is a defect of ours: counted, and it ends this handshake alone. */
  private enter(next: number): void {
    if (!isLegal(this.current, next)) {
      this.environment.counters.TCPInvariant++;
      this.closeReason = CloseReason.Invariant;
      this.invariant = `${STATE_NAMES[this.current]} -> ${STATE_NAMES[next]}`;
      this.events |= EndpointEvent.Failed;
      this.current = State.Closed;
      return;
    }
    this.current = next;
  }

  private reject(segment: Segment): void {
    this.rejectionSequence = segment.acknowledgment;
    this.owed |= Owed.Rejection;
  }

  /** An ACK in reply to a segment that is not acceptable, within the limit of RFC 5961 §7. */
  private answer(now: number): void {
    const { counters, challenge } = this.environment;
    if (now - this.answeredAt < ANSWER_INTERVAL || !challenge.allow(now)) {
      counters.TCPACKSkippedChallenge++;
      return;
    }
    this.answeredAt = now;
    this.owed |= Owed.Ack;
  }

  private challenge(now: number): void {
    const { counters, challenge } = this.environment;
    if (!challenge.allow(now)) {
      counters.TCPACKSkippedChallenge++;
      return;
    }
    counters.TCPChallengeACK++;
    this.owed |= Owed.Ack;
  }
}

/** ms between two answers to segments that carry nothing new (net.ipv4.tcp_invalid_ratelimit). */
const ANSWER_INTERVAL = 500;
/** Smallest MSS that is believed (net.ipv4.tcp_min_snd_mss): 40 bytes of options leave 8 of payload. */
export const MINIMUM_MSS = 48;

/** RFC 7323 §2.3: the shift that lets 16 bits describe the largest buffer we may ever offer; at most 14. */
export function windowScaleFor(config: TcpConfig): number {
  let shift = 0;
  const largest = Math.max(config.receiveBuffer, config.maximumReceiveBuffer);
  while (shift < 14 && Math.floor(largest / 2 ** shift) > 65_535) shift++;
  return shift;
}

import type { Packet } from '../wire/packet.ts';
import { Flag, Option, type Segment } from '../wire/segment.ts';
import type { TcpConnection } from './connection.ts';
import { Endpoint, type EndpointEnvironment, EndpointKind, type IcmpKind, type Tuple } from './endpoint.ts';
import { CloseReason } from './seams.ts';
import { State } from './state.ts';

/**
 * TIME-WAIT after its connection is gone: remembers four numbers, acknowledges what the peer repeats, and keeps old
 * segments out of new connections for twice the segment lifetime.
 */
export class TimeWait extends Endpoint {
  /** SND.NXT and RCV.NXT, wire numbers. */
  private readonly sendNext: number;
  private readonly receiveNext: number;
  /** Window field of its ACKs. */
  private readonly window: number;
  private readonly timestamps: boolean;
  private timestampRecent: number;
  private expires: number;
  private ackOwed = false;
  /** When a bare segment that does not belong was last answered. */
  private answeredAt = Number.NEGATIVE_INFINITY;
  private current: number = State.TimeWait;

  private constructor(
    environment: EndpointEnvironment,
    tuple: Tuple,
    sendNext: number,
    receiveNext: number,
    window: number,
    timestamps: boolean,
    timestampRecent: number,
    expires: number,
  ) {
    super(EndpointKind.TimeWait, tuple, environment);
    this.sendNext = sendNext;
    this.receiveNext = receiveNext;
    this.window = window;
    this.timestamps = timestamps;
    this.timestampRecent = timestampRecent;
    this.expires = expires;
    this.closeReason = CloseReason.Finished;
  }

  /** Takes over from a connection whose event `TimeWait` is set; an ACK it still owes is taken over too. */
  static fromConnection(now: number, connection: TcpConnection): TimeWait {
    const { environment, sender, receiver, negotiated } = connection;
    const scale = 2 ** negotiated.localWindowScale;
    const taken = new TimeWait(
      environment,
      connection.tuple,
      (negotiated.localInitial + sender.nxt) >>> 0,
      receiver.space.toWire(receiver.nxt),
      Math.min(Math.floor(Math.max(receiver.edge - receiver.nxt, 0) / scale), 65_535),
      negotiated.timestamps,
      connection.timestamps.recent,
      Math.min(connection.deadline, now + environment.config.timeWait),
    );
    taken.interfaceId = connection.interfaceId;
    taken.hopLimit = connection.hopLimit;
    taken.trafficClass = connection.trafficClass;
    taken.flowLabel = connection.flowLabel;
    taken.ackOwed = receiver.ackNow;
    return taken;
  }

  /**
   * Whether a SYN for this tuple may begin a new connection now. RFC 6191 §2: with a greater timestamp than the last
   * seen, or an equal one and a greater sequence number; without timestamps, with a greater sequence number
   * (RFC 9293 §3.6.1, MAY-2). The caller then forgets this endpoint and opens from `nextInitialSequence`.
   */
  acceptsSyn(segment: Segment): boolean {
    if ((segment.flags & (Flag.Syn | Flag.Rst | Flag.Ack | Flag.Fin)) !== Flag.Syn) return false;
    const greater = ((segment.sequence - this.receiveNext) | 0) > 0;
    if (this.timestamps && (segment.options & Option.Timestamps) !== 0) {
      const age = (segment.timestampValue - this.timestampRecent) | 0;
      if (age > 0) return true;
      return age === 0 && greater;
    }
    return greater;
  }

  /**
   * A wire number beyond everything the old connection sent: "larger than the largest sequence number it used on the
   * previous connection incarnation" (RFC 9293 §3.6.1); with a window's distance, as Linux has it.
   */
  get nextInitialSequence(): number {
    return (this.sendNext + 65_535 + 2) >>> 0;
  }

  get deadline(): number {
    return this.expires;
  }

  get state(): number {
    return this.current;
  }

  get wantsTransmit(): boolean {
    return this.ackOwed;
  }

  /** RFC 9293 §3.10.7.4 as far as TIME-WAIT is concerned. A SYN that `acceptsSyn` takes does not come here. */
  onSegment(now: number, segment: Segment, _packet: Packet): void {
    const { counters, config } = this.environment;
    if (this.current === State.Closed) {
      counters.TCPClosedDrop++;
      return;
    }
    // RFC 1337 §3, fix F1: an old duplicate RST must not end TIME-WAIT early.
    if ((segment.flags & Flag.Rst) !== 0) {
      counters.TCPTimeWaitResetIgnored++;
      return;
    }
    if ((segment.flags & Flag.Syn) !== 0) {
      // RFC 5961 §4.2.
      counters.TCPSYNChallenge++;
      this.challenge(now);
      return;
    }
    const offset = (segment.sequence - this.receiveNext) | 0;
    if (this.timestamps && (segment.options & Option.Timestamps) !== 0) {
      if (((segment.timestampValue - this.timestampRecent) | 0) < 0) {
        counters.PAWSEstab++;
        this.answer(now, segment);
        return;
      }
      if (offset <= 0) this.timestampRecent = segment.timestampValue;
    }
    if (segment.span === 0) {
      // A bare ACK where it belongs needs no answer; elsewhere it gets one.
      if (offset !== 0) this.answer(now, segment);
      return;
    }
    // "The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge it, and
    // restart the 2 MSL timeout."
    counters.TCPTimeWaitAck++;
    this.expires = now + config.timeWait;
    this.ackOwed = true;
  }

  onTimeout(now: number): void {
    if (now < this.expires || this.current === State.Closed) return;
    this.current = State.Closed;
    this.expires = Number.POSITIVE_INFINITY;
    this.ackOwed = false;
  }

  /** Ends it now: the host needs the place, or the address is gone. */
  close(): void {
    this.current = State.Closed;
    this.expires = Number.POSITIVE_INFINITY;
    this.ackOwed = false;
  }

  pollTransmit(now: number, out: Segment, packet: Packet): boolean {
    if (!this.ackOwed) return false;
    this.ackOwed = false;
    this.address(out);
    out.flags = Flag.Ack;
    out.sequence = this.sendNext;
    out.acknowledgment = this.receiveNext;
    out.window = this.window;
    if (this.timestamps) {
      out.options = Option.Timestamps;
      out.timestampValue = this.timestamp(now);
      out.timestampEcho = this.timestampRecent;
    }
    this.emit(out, packet, 0, 0);
    this.environment.counters.TCPPureAcks++;
    return true;
  }

  /** Nothing is in flight: whatever is quoted is old. */
  onIcmp(_now: number, kind: IcmpKind, _mtu: number, _quotedSequence: number): void {
    this.environment.counters.OutOfWindowIcmps++;
    this.softError = kind;
  }

  /** Answers what does not belong; a bare ACK twice a second at most, lest a peer that disagrees play ping-pong. */
  private answer(now: number, segment: Segment): void {
    if (segment.span === 0) {
      if (now - this.answeredAt < ANSWER_INTERVAL) {
        this.environment.counters.TCPACKSkippedChallenge++;
        return;
      }
      this.answeredAt = now;
    }
    this.challenge(now);
  }

  private challenge(now: number): void {
    const { counters, challenge } = this.environment;
    if (!challenge.allow(now)) {
      counters.TCPACKSkippedChallenge++;
      return;
    }
    counters.TCPChallengeACK++;
    this.ackOwed = true;
  }
}

/** ms between answers to bare segments that do not belong (net.ipv4.tcp_invalid_ratelimit). */
const ANSWER_INTERVAL = 500;

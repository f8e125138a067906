import type { Packet } from '../wire/packet.ts';
import { Flag, Option, type Segment } from '../wire/segment.ts';
import { SequenceSpace } from '../wire/sequence.ts';
import { headerLength, optionsLength } from '../wire/tcp.ts';
import { Endpoint, EndpointEvent, IcmpKind } from './endpoint.ts';
import type { Handshake, HandshakeResult } from './handshake.ts';
import { KeepAlive, KeepAliveOutcome } from './keep-alive.ts';
import { LARGEST_PAYLOAD, MAXIMUM_OPTIONS, PathMtu, TIMESTAMPS_LENGTH } from './path-mtu.ts';
import { Receiver } from './receiver.ts';
import {
  type ByteSink,
  type ByteSource,
  CloseReason,
  type CongestionControl,
  type Extension,
  Verdict,
} from './seams.ts';
import { AckOutcome, Sender, SendKind, TimeoutOutcome } from './sender.ts';
import { isLegal, STATE_NAMES, State } from './state.ts';
import { Timestamps } from './timestamps.ts';

export { initialSegmentSize } from './path-mtu.ts';

/**
 * A synchronized TCP connection, ESTABLISHED to TIME-WAIT (RFC 9293). Owns its state, its timers but the sender's, and
 * the order in which the sender, the receiver and the extension hear of things. Decides no byte to send (`Sender`)
 * and keeps none (`ByteSource`, `ByteSink`).
 *
 * Order of calls: `fromHandshake`, at once `onSegment` with the segment that completed the handshake, then anything.
 * After each call `wantsTransmit` and `events` tell what is new. The extension may call `abort`, `closeSilently` and
 * `demandAcknowledgment` from inside its own callbacks, and nothing else.
 */
export class TcpConnection extends Endpoint {
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly extension: Extension;
  /** What the handshake settled. */
  readonly negotiated: HandshakeResult;
  /** Nobody owns the connection any more: it only winds down. */
  orphaned = false;
  /** The largest window the peer ever offered, bytes (MAX.SND.WND of RFC 5961 §5.2). */
  maximumPeerWindow: number;
  readonly timestamps: Timestamps;

  private readonly source: ByteSource;
  private current: number = State.Established;
  /** The segment that completed the handshake has not been replayed yet. */
  private awaiting = true;
  /** The sender may have something. */
  private polling = false;
  private resetOwed = false;
  private probeOwed = false;
  /** An acknowledged octet goes out again, to draw an ACK. */
  private solicitationOwed = false;
  /** The furthest octet sent, and the offset behind it; 0 before any. */
  private lastOctet = 0;
  private lastOctetEnd = 0;
  private readonly path: PathMtu;
  private readonly keepAlive: KeepAlive;
  private readonly space: SequenceSpace;
  /** Bytes that one unit of the peer's window field stands for. */
  private readonly peerUnit: number;
  /** `extension.overhead` that the sender's segment size allows for. */
  private overhead: number;
  /** FIN-WAIT-2 or TIME-WAIT ends. */
  private lifeDeadline = Number.POSITIVE_INFINITY;
  /** When a segment without text was last answered for not being acceptable. */
  private answeredAt = Number.NEGATIVE_INFINITY;
  /** ACKs the extension asked for since something happened last. */
  private extensionAcks = 0;

  private constructor(
    now: number,
    handshake: Handshake,
    result: HandshakeResult,
    source: ByteSource,
    sink: ByteSink,
    congestion: CongestionControl,
  ) {
    super(handshake.tuple, handshake.environment);
    const { config, counters } = handshake.environment;
    this.interfaceId = handshake.interfaceId;
    this.hopLimit = handshake.hopLimit;
    this.trafficClass = handshake.trafficClass;
    this.flowLabel = handshake.flowLabel;
    this.source = source;
    this.extension = handshake.extension;
    this.negotiated = result;
    this.maximumPeerWindow = result.peerWindow;
    this.timestamps = new Timestamps(result.timestampRecentAt, result.timestamps, result.timestampRecent);
    this.path = new PathMtu(handshake.environment, handshake.tuple.local.family, result.peerMss);
    this.keepAlive = new KeepAlive(now, config);
    this.peerUnit = 2 ** result.peerWindowScale;
    this.overhead = this.extension.overhead;
    this.space = new SequenceSpace(result.localInitial);
    const segmentSize = this.path.segmentSize(MAXIMUM_OPTIONS - this.optionRoom + this.overhead);
    this.sender = new Sender(now, config, source, congestion, counters, {
      space: this.space,
      segmentSize,
      sackPermitted: result.sackPermitted,
      timestamps: result.timestamps,
      timestampOffset: this.environment.timestampOffset,
      peerWindow: result.peerWindow,
      handshakeRtt: result.rtt,
      handshakeRetransmitted: result.retransmitted,
    });
    this.sender.setGsoMaximum(this.path.largestPayload(segmentSize));
    this.receiver = new Receiver(config, counters, this.sender.rtt, sink, {
      space: new SequenceSpace(result.peerInitial),
      offeredWindow: result.offeredWindow,
      windowScale: result.localWindowScale,
      sackPermitted: result.sackPermitted,
      segmentSize,
    });
    counters.CurrEstab++;
  }

  /**
   * The connection that a completed handshake becomes (`handshake.established` is set). The caller puts it in the
   * handshake's place and at once passes it the segment that completed the handshake. `congestion` was made for
   * `initialSegmentSize(handshake)`.
   */
  static fromHandshake(
    now: number,
    handshake: Handshake,
    source: ByteSource,
    sink: ByteSink,
    congestion: CongestionControl,
  ): TcpConnection {
    const result = handshake.established;
    if (result === null) throw new RangeError('fromHandshake: the handshake is not complete');
    return new TcpConnection(now, handshake, result, source, sink, congestion);
  }

  get deadline(): number {
    if (this.current === State.Closed) return Number.POSITIVE_INFINITY;
    let earliest = this.lifeDeadline;
    if (this.current === State.TimeWait) return earliest;
    const sender = this.sender.deadline;
    if (sender < earliest) earliest = sender;
    const ack = this.receiver.ackDeadline;
    if (ack < earliest) earliest = ack;
    const extension = this.extension.deadline;
    if (extension < earliest) earliest = extension;
    return Math.min(this.keepAlive.deadline, earliest);
  }

  get state(): number {
    return this.current;
  }

  get wantsTransmit(): boolean {
    if (this.resetOwed) return true;
    if (this.current === State.Closed) return false;
    if (this.polling || this.receiver.ackNow || this.probeOwed || this.solicitationOwed) return true;
    if (this.current === State.TimeWait || this.extensionAcks > MAXIMUM_EXTENSION_ACKS) return false;
    return this.extension.wantsAcknowledgment;
  }

  /** The peer sent its FIN and all before it. */
  get peerFinished(): boolean {
    return this.receiver.finished;
  }

  // ------------------------------------------------------------------------------------------------- receiving

  /** RFC 9293 §3.10.7.4, in its order, with RFC 7323's PAWS before it and RFC 5961's checks in it. */
  onSegment(now: number, segment: Segment, packet: Packet): void {
    const { receiver, sender } = this;
    const { counters } = this.environment;
    if (this.current === State.Closed) {
      counters.TCPClosedDrop++;
      return;
    }
    this.extensionAcks = 0;
    if (this.awaiting && this.begin(now, segment, packet)) return;

    const flags = segment.flags;
    const length = segment.payloadEnd - segment.payloadStart;
    const offset = receiver.space.fromWire(segment.sequence, receiver.nxt);
    const end = offset + length + (flags & Flag.Fin) + ((flags & Flag.Syn) >> 1);
    segment.offset = offset;
    segment.ackOffset = this.space.fromWire(segment.acknowledgment, sender.una);
    segment.scaledWindow = (flags & Flag.Syn) !== 0 ? segment.window : segment.window * this.peerUnit;

    if (this.timestamps.inUse && (flags & Flag.Rst) === 0 && !this.passesTimestamps(now, segment, offset, length))
      return;

    // First, the sequence number.
    if (!receiver.accepts(offset, end) && !this.isWindowProbe(offset, flags)) {
      this.onUnacceptable(now, segment, offset, end, length);
      return;
    }
    if ((flags & (Flag.Rst | Flag.Syn)) !== 0) {
      this.onResetOrSyn(now, segment, offset);
      return;
    }

    // Fifth, the ACK field: "if the ACK bit is off, drop the segment and return".
    if ((flags & Flag.Ack) === 0) {
      counters.TCPNoAck++;
      return;
    }
    const ackOffset = segment.ackOffset;
    if (ackOffset > sender.nxt) {
      // "If the ACK acks something not yet sent (SEG.ACK > SND.NXT), then send an ACK, drop the segment".
      counters.TCPAckOfUnsent++;
      this.challengeAck(now, segment);
      return;
    }
    if (ackOffset < sender.una - this.maximumPeerWindow) {
      // RFC 5961 §5.2: acceptable is (SND.UNA - MAX.SND.WND) =< SEG.ACK =< SND.NXT.
      counters.TCPAckTooOld++;
      this.challengeAck(now, segment);
      return;
    }
    this.keepAlive.onHeard(now);
    // RFC 7323 §4.3 (2): a segment that begins beyond Last.ACK.sent is not echoed.
    if (this.timestamps.inUse && offset <= receiver.acknowledged) this.timestamps.onSegment(now, segment);
    if (segment.scaledWindow > this.maximumPeerWindow) this.maximumPeerWindow = segment.scaledWindow;
    if (this.current === State.TimeWait) {
      this.onSegmentInTimeWait(now, end > offset);
      return;
    }

    const verdict = this.extension.onSegment(now, segment, packet);
    if (!this.survives(now, verdict)) return;
    this.onAck(now, segment, verdict);
    if (this.hasEnded) return;

    // Sixth, the URG bit: urgent data stays in the stream, where it stands (RFC 6093 §3 advises as much).
    this.onText(now, segment, packet, offset, length, verdict);
  }

  /**
   * The segment that completed the handshake, seen for the second time. Returns whether it is done with: a third ACK
   * is an ordinary segment, a SYN/ACK goes on at the sixth step (RFC 9293 §3.10.7.3).
   */
  private begin(now: number, segment: Segment, packet: Packet): boolean {
    this.awaiting = false;
    this.events |= EndpointEvent.Established;
    this.polling = true;
    this.extension.onEstablished(now);
    if (this.hasEnded) return true;
    if ((segment.flags & Flag.Syn) === 0) return false;
    segment.offset = 0;
    segment.ackOffset = 1;
    segment.scaledWindow = segment.window;
    this.receiver.ackNow = true;
    const length = segment.payloadEnd - segment.payloadStart;
    if (length === 0 && (segment.flags & Flag.Fin) === 0) return true;
    const verdict = length > 0 ? this.extension.onSegment(now, segment, packet) : 0;
    if (this.survives(now, verdict)) this.onText(now, segment, packet, 1, length, verdict);
    return true;
  }

  /** PAWS (RFC 7323 §5) and the presence of the option (§3.2). False: the segment is dealt with. */
  private passesTimestamps(now: number, segment: Segment, offset: number, length: number): boolean {
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
    this.answerUnacceptable(now, segment, offset, length);
    return false;
  }

  /** RFC 9293 §3.10.7.4: with a closed window "special allowance should be made to accept valid ACKs". */
  private isWindowProbe(offset: number, flags: number): boolean {
    const { receiver } = this;
    return offset === receiver.nxt && (flags & (Flag.Syn | Flag.Rst)) === 0 && receiver.limit === receiver.nxt;
  }

  private onUnacceptable(now: number, segment: Segment, offset: number, end: number, length: number): void {
    const { counters } = this.environment;
    if ((segment.flags & Flag.Rst) !== 0) {
      // RFC 5961 §3.2, 1: "silently drop the segment".
      counters.TCPResetOutOfWindow++;
      return;
    }
    counters.TCPOutOfWindow++;
    if ((segment.flags & Flag.Syn) !== 0) {
      // RFC 5961 §4.2: "irrespective of the sequence number".
      counters.TCPSYNChallenge++;
      this.challenge(now);
      return;
    }
    // A retransmission of the peer's FIN: "Acknowledge it, and restart the 2 MSL timeout".
    if (this.current === State.TimeWait && end > offset) this.lifeDeadline = now + this.environment.config.timeWait;
    this.answerUnacceptable(now, segment, offset, length);
  }

  /** <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>; for segments without octets twice a second, lest two stacks play ping-pong. */
  private answerUnacceptable(now: number, segment: Segment, offset: number, length: number): void {
    if (segment.span === 0) {
      if (now - this.answeredAt < ANSWER_INTERVAL) {
        this.environment.counters.TCPACKSkippedChallenge++;
        return;
      }
      this.answeredAt = now;
    }
    this.receiver.onUnacceptable(offset, length);
  }

  /** Answers an ACK of what was never sent, or that is too old; a bare one no more often than `answerUnacceptable`. */
  private challengeAck(now: number, segment: Segment): void {
    if (segment.span === 0) {
      if (now - this.answeredAt < ANSWER_INTERVAL) {
        this.environment.counters.TCPACKSkippedChallenge++;
        return;
      }
      this.answeredAt = now;
    }
    this.challenge(now);
  }

  /** Second and fourth step, as RFC 5961 §3.2 and §4.2 have them. */
  private onResetOrSyn(now: number, segment: Segment, offset: number): void {
    const { counters } = this.environment;
    if ((segment.flags & Flag.Rst) === 0) {
      counters.TCPSYNChallenge++;
      this.challenge(now);
      return;
    }
    if (this.current === State.TimeWait) {
      // RFC 1337 §3 (fix F1): RST is ignored in TIME-WAIT; RFC 9293 would close. Linux has net.ipv4.tcp_rfc1337.
      counters.TCPTimeWaitResetIgnored++;
      return;
    }
    if (offset < this.receiver.nxt) {
      counters.TCPResetOutOfWindow++;
      return;
    }
    if (offset !== this.receiver.nxt) {
      this.challenge(now);
      return;
    }
    this.extension.onReset(now, segment);
    this.finish(now, CloseReason.PeerReset, false);
  }

  private onSegmentInTimeWait(now: number, octets: boolean): void {
    if (!octets) return;
    this.environment.counters.TCPTextAfterFin++;
    this.lifeDeadline = now + this.environment.config.timeWait;
    this.receiver.ackNow = true;
  }

  /** Heeds what the extension said of a segment; false when the connection is over. */
  private survives(now: number, verdict: number): boolean {
    if ((verdict & Verdict.Reset) !== 0) this.abort(now, CloseReason.Extension);
    else if ((verdict & Verdict.AcknowledgeNow) !== 0) this.receiver.ackNow = true;
    return !this.hasEnded;
  }

  /** Fifth step. */
  private onAck(now: number, segment: Segment, verdict: number): void {
    const { sender } = this;
    const outcome = sender.onAck(now, segment, verdict);
    this.polling = true;
    if ((outcome & AckOutcome.Advanced) === 0) return;
    this.events |= EndpointEvent.Writable;
    this.extension.onAcknowledged(now, sender.una);
    if (this.hasEnded || (outcome & AckOutcome.FinAcknowledged) === 0) return;
    this.events |= EndpointEvent.FinAcknowledged;
    switch (this.current) {
      case State.FinWait1:
        this.enter(now, State.FinWait2);
        this.armFinWait2(now);
        break;
      case State.Closing:
        this.enterTimeWait(now);
        break;
      case State.LastAck:
        this.finish(now, CloseReason.Finished, false);
        break;
    }
  }

  /** Seventh and eighth step: text from `offset`, then the FIN. */
  private onText(now: number, segment: Segment, packet: Packet, offset: number, length: number, verdict: number): void {
    const { receiver } = this;
    const hasFin = (segment.flags & Flag.Fin) !== 0;
    if (length === 0 && !hasFin) return;
    if (receiver.finished) {
      // "This should not occur since a FIN has been received from the remote side. Ignore the segment text."
      this.environment.counters.TCPTextAfterFin++;
      return;
    }
    if (length > 0) {
      if ((verdict & Verdict.IgnorePayload) !== 0) {
        // It stays unacknowledged, and so does a FIN behind it.
      } else if (this.orphaned && offset + length > receiver.nxt) {
        // RFC 9293 §3.6.1: after CLOSE, with nobody to read, new data means data lost: "a RST should be sent".
        this.environment.counters.TCPAbortOnData++;
        this.abort(now, CloseReason.Aborted);
        return;
      } else {
        const size = packet.gsoSize > 0 && packet.gsoSize < length ? packet.gsoSize : length;
        if (receiver.limit === receiver.nxt) {
          this.environment.counters.TCPZeroWindowDrop++;
          receiver.ackNow = true;
        } else if (receiver.onData(now, offset, packet.bytes, segment.payloadStart, length, size)) {
          this.events |= EndpointEvent.Readable;
        }
      }
    }
    if (hasFin ? receiver.onFin(offset + length) : receiver.takeFin()) this.onPeerFin(now);
  }

  private onPeerFin(now: number): void {
    this.events |= EndpointEvent.PeerFin | EndpointEvent.Readable;
    this.extension.onPeerFin(now, this.receiver.nxt);
    switch (this.current) {
      case State.Established:
        this.enter(now, State.CloseWait);
        break;
      case State.FinWait1:
        this.enter(now, State.Closing);
        break;
      case State.FinWait2:
        this.enterTimeWait(now);
        break;
    }
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

  // ---------------------------------------------------------------------------------------------------- timers

  onTimeout(now: number): void {
    if (this.current === State.Closed) return;
    this.extensionAcks = 0;
    if (this.lifeDeadline <= now) {
      // FIN-WAIT-2 of an orphan: the peer never closed. TIME-WAIT: done.
      this.finish(now, CloseReason.TimedOut, false);
      return;
    }
    if (this.current === State.TimeWait) return;
    if (this.extension.deadline <= now) {
      this.extension.onTimeout(now);
      if (this.hasEnded) return;
    }
    if (this.receiver.ackDeadline <= now) this.receiver.onTimeout(now);
    if (this.sender.deadline <= now && !this.onSenderTimeout(now)) return;
    if (this.keepAlive.deadline <= now) this.onKeepAlive(now);
  }

  /** False: the connection is over. */
  private onSenderTimeout(now: number): boolean {
    const { sender } = this;
    const outcome = sender.onTimeout(now);
    this.polling = true;
    if ((outcome & TimeoutOutcome.Abort) !== 0) {
      // RFC 9293 §3.8.3: R2 was reached, "close the connection".
      this.environment.counters.TCPAbortOnTimeout++;
      this.finish(now, CloseReason.TimedOut, false);
      return false;
    }
    if (
      (outcome & TimeoutOutcome.BlackHole) !== 0 &&
      this.environment.config.mtuProbing &&
      this.path.onBlackHole(now)
    ) {
      this.updateSegmentSize(now, true);
    }
    if ((outcome & TimeoutOutcome.RetransmissionTimeout) !== 0) {
      this.extension.onRetransmissionTimeout(now, sender.timeouts);
    }
    return !this.hasEnded;
  }

  private onKeepAlive(now: number): void {
    const { sender } = this;
    const outcome = this.keepAlive.onTimeout(now, sender.una !== sender.nxt || sender.unsent > 0);
    if (outcome === KeepAliveOutcome.Probe) this.probeOwed = true;
    if (outcome !== KeepAliveOutcome.Dead) return;
    // As Linux: the peer may be there and not hear us, so it is told.
    this.environment.counters.TCPAbortOnTimeout++;
    this.abort(now, CloseReason.KeepAlive);
  }

  // -------------------------------------------------------------------------------------------------- commands

  /** The source has grown. */
  onData(now: number): void {
    if (this.hasEnded) return;
    this.extensionAcks = 0;
    this.sender.onData(now);
    this.polling = true;
  }

  /** The application consumed bytes of the sink: the window may have to be told. */
  onRead(_now: number): void {
    if (!this.hasEnded && !this.receiver.finished) this.receiver.onRead();
  }

  /** No more bytes will come: a FIN follows `source.end` (RFC 9293 §3.10.4). A second call changes nothing. */
  shutdown(now: number): void {
    if (this.current !== State.Established && this.current !== State.CloseWait) return;
    this.enter(now, this.current === State.Established ? State.FinWait1 : State.LastAck);
    this.sender.shutdown(now);
    this.polling = true;
  }

  /**
   * Nobody reads or writes any more: a FIN follows `source.end`, and data that comes later is answered by a RST.
   * With bytes left unread the RST goes out at once, as the peer must learn that they were lost (RFC 9293 §3.6.1).
   */
  close(now: number, unread = false): void {
    if (this.hasEnded) return;
    if (unread) {
      this.environment.counters.TCPAbortOnClose++;
      this.abort(now, CloseReason.Aborted);
      return;
    }
    this.orphaned = true;
    const { config } = this.environment;
    this.sender.setPersistence(config.orphanRetries, config.userTimeout);
    this.shutdown(now);
    this.armFinWait2(now);
  }

  /**
   * Ends the connection with a RST, which passes through `Extension.onTransmit` (RFC 9293 §3.10.5). From CLOSING,
   * LAST-ACK and TIME-WAIT on nothing is sent: the peer has finished, too.
   *
   * @param reason a `CloseReason`
   */
  abort(now: number, reason: number = CloseReason.Aborted): void {
    const silent = this.current === State.Closing || this.current === State.LastAck || this.current === State.TimeWait;
    this.finish(now, reason, !silent || reason === CloseReason.Extension);
  }

  /** Ends without a word on the wire. `reason` is a `CloseReason`. */
  closeSilently(now: number, reason: number): void {
    this.finish(now, reason, false);
  }

  /** The local address or its interface is gone: ends silently. */
  onAddressGone(now: number): void {
    this.finish(now, CloseReason.AddressGone, false);
  }

  /** A pure ACK goes out now, though nothing came. */
  demandAcknowledgment(_now: number): void {
    if (this.current !== State.Closed) this.receiver.ackNow = true;
  }

  /** Makes the peer send an ACK now, with what its options say by now. */
  solicitAcknowledgment(): void {
    if (this.hasEnded) return;
    // Before the first octet there is none to repeat: an ACK from before the window is answered as well.
    if (this.sender.una > 1) this.solicitationOwed = true;
    else this.probeOwed = true;
  }

  /** Times in ms (RFC 9293 §3.8.4: off unless asked for, two hours or more by default). */
  setKeepAlive(now: number, on: boolean, idle: number, interval: number, probes: number): void {
    this.keepAlive.set(now, on, idle, interval, probes);
  }

  // ----------------------------------------------------------------------------------------------- path MTU, ICMP

  onIcmp(now: number, kind: IcmpKind, mtu: number, quotedSequence: number): void {
    const { sender, environment } = this;
    if (this.hasEnded) return;
    const quoted = this.space.fromWire(quotedSequence, sender.una);
    // RFC 5927 §4.1: what is quoted must be in flight, or anyone could have sent this.
    if (quoted < sender.una || quoted >= sender.nxt) {
      environment.counters.OutOfWindowIcmps++;
      return;
    }
    if (kind === IcmpKind.PacketTooBig) {
      if (this.path.onPacketTooBig(now, mtu)) this.updateSegmentSize(now, true);
      return;
    }
    // RFC 5927 §5.2, RFC 5461 §2: a synchronized connection takes hard errors for soft ones. If the path is really
    // gone, the retransmission timer will find out, and the error tells why.
    this.softError = kind;
    this.events |= EndpointEvent.SoftError;
  }

  /** Bytes of the largest IP packet of the path, as far as known. */
  get mtu(): number {
    return this.path.mtu;
  }

  /** The path takes packets of `mtu` bytes: what the interface says now, or what was learned elsewhere. */
  setMtu(now: number, mtu: number): void {
    this.path.mtu = mtu;
    this.updateSegmentSize(now, false);
  }

  private updateSegmentSize(now: number, tooBig: boolean): void {
    this.overhead = this.extension.overhead;
    const size = this.path.segmentSize(MAXIMUM_OPTIONS - this.optionRoom + this.overhead);
    if (size !== this.sender.segmentSize) {
      if (tooBig) this.sender.onPacketTooBig(now, size);
      else this.sender.setSegmentSize(now, size);
    }
    this.sender.setGsoMaximum(this.path.largestPayload(size));
    this.polling = true;
  }

  // ------------------------------------------------------------------------------------------------- transmitting

  pollTransmit(now: number, out: Segment, packet: Packet): boolean {
    if (this.resetOwed) {
      this.transmitReset(now, out, packet);
      return true;
    }
    if (this.current === State.Closed) return false;
    const { receiver, extension } = this;
    // SACK blocks go on an ACK of their own, so that data segments keep their size (RFC 2018 §4 wants them at once).
    if (receiver.ackNow && receiver.hasBlocks) {
      this.transmitAck(now, out, packet);
      return true;
    }
    if (this.polling) {
      if (this.path.expire(now)) this.updateSegmentSize(now, false);
      if (extension.overhead !== this.overhead) this.updateSegmentSize(now, false);
      for (let attempt = 0; attempt < MAXIMUM_REFUSALS; attempt++) {
        if (this.sender.poll(now) === SendKind.None) break;
        if (this.transmitPlan(now, out, packet)) return true;
        if (this.hasEnded) return false;
      }
      this.polling = false;
    }
    if (receiver.ackNow) {
      this.transmitAck(now, out, packet);
      return true;
    }
    if (this.current !== State.TimeWait && extension.wantsAcknowledgment) {
      if (this.extensionAcks < MAXIMUM_EXTENSION_ACKS) {
        this.extensionAcks++;
        this.transmitAck(now, out, packet);
        return true;
      }
      if (this.extensionAcks === MAXIMUM_EXTENSION_ACKS) {
        this.extensionAcks++;
        this.environment.counters.TCPInvariant++;
        this.invariant = 'extension wants ACKs without end';
      }
    }
    // Last: the peer heeds neither acknowledgment nor options of a segment that lies before its window.
    if (this.probeOwed) {
      this.transmitKeepAlive(now, out, packet);
      return true;
    }
    if (this.solicitationOwed) {
      this.transmitSolicitation(now, out, packet);
      return true;
    }
    return false;
  }

  /** What the sender planned. False when the extension forbade it and had nothing to say itself. */
  private transmitPlan(now: number, out: Segment, packet: Packet): boolean {
    const { sender, environment } = this;
    const offset = sender.planOffset;
    let length = sender.planLength;
    let fin = sender.planFin;
    this.fill(now, out, offset, Flag.Ack | (fin ? Flag.Fin : 0) | (sender.planPush ? Flag.Psh : 0));
    const room = this.optionRoom;
    const allowed = this.extension.onTransmit(now, out, offset, length, room);
    if (length > 0 && allowed <= 0) {
      sender.onUnsendable(now);
      if (optionsLength(out) === MAXIMUM_OPTIONS - room) return false;
      // The extension used the occasion to say something: that goes out alone.
      out.flags = Flag.Ack;
      out.sequence = this.space.toWire(sender.nxt);
      environment.counters.TCPPureAcks++;
      this.send(now, out, packet, 0, 0);
      return true;
    }
    if (allowed < length) {
      length = allowed;
      fin = false;
    }
    const capacity = this.path.segmentSize(optionsLength(out));
    let gsoSize = 0;
    if (length > capacity || (environment.segmentationOffload && length > sender.segmentSize)) {
      if (environment.segmentationOffload) {
        gsoSize = Math.min(capacity, sender.segmentSize);
        if (length > LARGEST_PAYLOAD) {
          length = LARGEST_PAYLOAD;
          fin = false;
        }
      } else {
        // More options than `overhead` announced: what does not fit waits.
        length = capacity;
        fin = false;
      }
    }
    if (!fin) out.flags &= ~Flag.Fin;
    if (length < sender.planLength) out.flags &= ~Flag.Psh;
    if (length > 0) {
      const at = packet.start + headerLength(out);
      this.source.copyTo(offset, length, packet.bytes, at);
      if (offset + length > this.lastOctetEnd) {
        this.lastOctetEnd = offset + length;
        this.lastOctet = packet.bytes[at + length - 1]!;
      }
    }
    this.send(now, out, packet, length, gsoSize);
    sender.onSent(now, length, fin);
    return true;
  }

  private transmitAck(now: number, out: Segment, packet: Packet): void {
    const { sender, receiver, environment } = this;
    this.fill(now, out, sender.nxt, Flag.Ack);
    if (this.current !== State.TimeWait) {
      this.extension.onTransmit(now, out, sender.nxt, 0, this.optionRoom);
    }
    // The extension's options come first, SACK blocks get what is left.
    receiver.fillBlocks(out, MAXIMUM_OPTIONS - optionsLength(out));
    environment.counters.TCPPureAcks++;
    this.send(now, out, packet, 0, 0);
  }

  /** RFC 9293 §3.8.4: SEG.SEQ = SND.NXT-1 draws an ACK from a peer that is alive. No garbage octet. */
  private transmitKeepAlive(now: number, out: Segment, packet: Packet): void {
    this.probeOwed = false;
    this.environment.counters.TCPKeepAlive++;
    this.fill(now, out, this.sender.nxt - 1, Flag.Ack);
    this.extension.onTransmit(now, out, this.sender.nxt, 0, this.optionRoom);
    this.send(now, out, packet, 0, 0);
  }

  /**
   * RFC 9293 §3.8.4 allows a probe with one octet that was acknowledged already: unlike an empty one it draws an ACK past
   * every rate limit (Linux: tcp_invalid_ratelimit). It must be the very octet, for whoever acknowledged it on the
   * peer's behalf may have lost it; when that is no longer known the probe is empty.
   */
  private transmitSolicitation(now: number, out: Segment, packet: Packet): void {
    this.solicitationOwed = false;
    this.environment.counters.TCPSolicitedAck++;
    const { una } = this.sender;
    this.fill(now, out, una - 1, Flag.Ack);
    this.extension.onTransmit(now, out, this.sender.nxt, 0, this.optionRoom);
    const known = this.lastOctetEnd === una;
    if (known) packet.bytes[packet.start + headerLength(out)] = this.lastOctet;
    this.send(now, out, packet, known ? 1 : 0, 0);
  }

  private transmitReset(now: number, out: Segment, packet: Packet): void {
    this.resetOwed = false;
    this.fill(now, out, this.sender.nxt, Flag.Rst | Flag.Ack);
    this.extension.onTransmit(now, out, this.sender.nxt, 0, this.optionRoom);
    this.emit(out, packet, 0, 0);
    this.environment.counters.OutRsts++;
  }

  /** Bytes of options that are not TCP's own. */
  private get optionRoom(): number {
    return this.timestamps.inUse ? MAXIMUM_OPTIONS - TIMESTAMPS_LENGTH : MAXIMUM_OPTIONS;
  }

  private fill(now: number, out: Segment, offset: number, flags: number): void {
    this.address(out);
    out.flags = flags;
    out.sequence = this.space.toWire(offset);
    out.acknowledgment = this.receiver.space.toWire(this.receiver.nxt);
    out.window = (flags & Flag.Rst) !== 0 ? 0 : this.receiver.advertise();
    if (this.timestamps.inUse) this.timestamps.write(out, this.timestamp(now));
  }

  private send(now: number, out: Segment, packet: Packet, length: number, gsoSize: number): void {
    this.emit(out, packet, length, gsoSize);
    this.receiver.onAckSent(now, length > 0);
    if (this.current === State.TimeWait) this.events |= EndpointEvent.TimeWait;
  }

  // -------------------------------------------------------------------------------------------------------- state

  private get hasEnded(): boolean {
    return this.current === State.Closed || this.current === State.TimeWait;
  }

  private armFinWait2(now: number): void {
    // RFC 9293 allows waiting forever; with nobody to read, Linux waits tcp_fin_timeout, and so do we.
    if (this.current === State.FinWait2 && this.orphaned && this.lifeDeadline === Number.POSITIVE_INFINITY) {
      this.lifeDeadline = now + this.environment.config.finTimeout;
    }
  }

  private enterTimeWait(now: number): void {
    const { config, counters } = this.environment;
    this.enter(now, State.TimeWait);
    if (this.current !== State.TimeWait) return;
    counters.TW++;
    this.lifeDeadline = now + config.timeWait;
    this.polling = false;
    this.probeOwed = false;
    this.closeReason = CloseReason.Finished;
    this.events |= EndpointEvent.Closed;
    if (!this.receiver.ackNow) this.events |= EndpointEvent.TimeWait;
    this.extension.onClosed(now, CloseReason.Finished);
  }

  /** The end, once. With `reset` a RST goes out. */
  private finish(now: number, reason: number, reset: boolean): void {
    if (this.current === State.Closed) return;
    const lingering = this.current === State.TimeWait;
    if (this.current === State.Established || this.current === State.CloseWait) {
      this.environment.counters.EstabResets++;
    }
    this.enter(now, State.Closed);
    this.resetOwed = reset;
    this.polling = false;
    this.probeOwed = false;
    if (lingering || this.closeReason >= 0) return;
    this.closeReason = reason;
    this.events |= EndpointEvent.Closed;
    this.extension.onClosed(now, reason);
  }

  /** The one door of the state. An illegal step is a defect of ours: it is counted, and ends this connection alone. */
  private enter(now: number, next: number): void {
    const { counters } = this.environment;
    const previous = this.current;
    const counted = previous === State.Established || previous === State.CloseWait;
    if (!isLegal(previous, next)) {
      counters.TCPInvariant++;
      this.invariant = `${STATE_NAMES[previous]} -> ${STATE_NAMES[next]}`;
      this.current = State.Closed;
      this.resetOwed = true;
      if (this.closeReason < 0) {
        this.closeReason = CloseReason.Invariant;
        this.events |= EndpointEvent.Closed;
        this.extension.onClosed(now, CloseReason.Invariant);
      }
    } else {
      this.current = next;
    }
    if (counted && this.current !== State.Established && this.current !== State.CloseWait) counters.CurrEstab--;
  }
}

/** ms between answers to unacceptable segments that carry nothing (net.ipv4.tcp_invalid_ratelimit). */
const ANSWER_INTERVAL = 500;
/** Plans in a row that an extension may refuse before the sender is left alone. */
const MAXIMUM_REFUSALS = 4;
/** ACKs in a row that an extension may ask for while nothing happens. */
const MAXIMUM_EXTENSION_ACKS = 32;

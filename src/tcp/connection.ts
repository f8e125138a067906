import type { Packet } from '../wire/packet.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import { SequenceSpace } from '../wire/sequence.ts';
import { Acceptability, Finding } from './acceptability.ts';
import { Endpoint, EndpointEvent, EndpointKind, IcmpKind } from './endpoint.ts';
import type { Handshake, HandshakeResult } from './handshake.ts';
import { KeepAlive, KeepAliveOutcome } from './keep-alive.ts';
import { Life } from './life.ts';
import { Output } from './output.ts';
import { initialSegmentSize, PathMtu } from './path-mtu.ts';
import { Receiver } from './receiver.ts';
import {
  type ByteSink,
  type ByteSource,
  CloseReason,
  type CongestionControl,
  type Extension,
  Verdict,
} from './seams.ts';
import { AckOutcome, Sender, TimeoutOutcome } from './sender.ts';
import { STATE_NAMES, State } from './state.ts';
import { Timestamps } from './timestamps.ts';

export { initialSegmentSize } from './path-mtu.ts';

/**
 * A synchronized TCP connection, ESTABLISHED to TIME-WAIT (RFC 9293). Owns its state, its timers but the sender's, and
 * the order in which the sender, the receiver and the extension hear of things. Which segments count is
 * `Acceptability`'s, which segments go out `Output`'s. Decides no byte to send (`Sender`) and keeps none (`ByteSource`,
 * `ByteSink`).
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
  readonly timestamps: Timestamps;

  private readonly life: Life;
  private readonly acceptability: Acceptability;
  private readonly output: Output;
  private readonly keepAlive: KeepAlive;
  private readonly space: SequenceSpace;
  /** Bytes that one unit of the peer's window field stands for. */
  private readonly peerUnit: number;
  /** The segment that completed the handshake has not been replayed yet. */
  private awaiting = true;

  private constructor(
    now: number,
    handshake: Handshake,
    result: HandshakeResult,
    source: ByteSource,
    sink: ByteSink,
    congestion: CongestionControl,
  ) {
    super(EndpointKind.Connection, handshake.tuple, handshake.environment);
    const { config, counters } = handshake.environment;
    this.interfaceId = handshake.interfaceId;
    this.hopLimit = handshake.hopLimit;
    this.trafficClass = handshake.trafficClass;
    this.flowLabel = handshake.flowLabel;
    this.extension = handshake.extension;
    this.negotiated = result;
    this.timestamps = new Timestamps(result.timestampRecentAt, result.timestamps, result.timestampRecent);
    this.life = new Life(config, counters);
    this.keepAlive = new KeepAlive(now, config);
    this.peerUnit = 2 ** result.peerWindowScale;
    this.space = new SequenceSpace(result.localInitial);
    const segmentSize = initialSegmentSize(handshake);
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
    this.receiver = new Receiver(config, counters, this.sender.rtt, sink, {
      space: new SequenceSpace(result.peerInitial),
      offeredWindow: result.offeredWindow,
      windowScale: result.localWindowScale,
      sackPermitted: result.sackPermitted,
      segmentSize,
    });
    this.acceptability = new Acceptability(
      handshake.environment,
      this.sender,
      this.receiver,
      this.timestamps,
      result.peerWindow,
    );
    this.output = new Output(
      this,
      new PathMtu(handshake.environment, handshake.tuple.local.family, result.peerMss),
      this.sender,
      this.receiver,
      this.extension,
      source,
      this.space,
      this.timestamps,
    );
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
    const { life } = this;
    if (life.state === State.Closed) return Number.POSITIVE_INFINITY;
    let earliest = life.deadline;
    if (life.state === State.TimeWait) return earliest;
    const sender = this.sender.deadline;
    if (sender < earliest) earliest = sender;
    const ack = this.receiver.ackDeadline;
    if (ack < earliest) earliest = ack;
    const extension = this.extension.deadline;
    if (extension < earliest) earliest = extension;
    return Math.min(this.keepAlive.deadline, earliest);
  }

  get state(): number {
    return this.life.state;
  }

  /** Nobody owns the connection any more: it only winds down. */
  get orphaned(): boolean {
    return this.life.orphaned;
  }

  get wantsTransmit(): boolean {
    return this.output.isWanted;
  }

  /** The largest window the peer ever offered, bytes (MAX.SND.WND of RFC 5961 §5.2). */
  get maximumPeerWindow(): number {
    return this.acceptability.maximumPeerWindow;
  }

  /** The peer sent its FIN and all before it. */
  get peerFinished(): boolean {
    return this.receiver.finished;
  }

  // ------------------------------------------------------------------------------------------------- receiving

  /** RFC 9293 §3.10.7.4, in its order. */
  onSegment(now: number, segment: Segment, packet: Packet): void {
    if (this.life.state === State.Closed) {
      this.environment.counters.TCPClosedDrop++;
      return;
    }
    this.output.onEvent();
    if (this.awaiting && this.begin(now, segment, packet)) return;

    const { receiver } = this;
    segment.offset = receiver.space.fromWire(segment.sequence, receiver.nxt);
    segment.ackOffset = this.space.fromWire(segment.acknowledgment, this.sender.una);
    segment.scaledWindow = (segment.flags & Flag.Syn) !== 0 ? segment.window : segment.window * this.peerUnit;

    const finding = this.acceptability.check(now, segment, this.life.state === State.TimeWait);
    if (finding !== Finding.Acceptable) {
      this.onUnacceptable(now, segment, finding);
      return;
    }
    this.keepAlive.onHeard(now);
    if (this.life.state === State.TimeWait) {
      this.onSegmentInTimeWait(now, segment);
      return;
    }

    const verdict = this.extension.onSegment(now, segment, packet);
    if (!this.survives(now, verdict)) return;
    this.onAck(now, segment, verdict);
    if (this.life.hasEnded) return;

    // Sixth, the URG bit: urgent data stays in the stream, where it stands (RFC 6093 §3 advises as much).
    this.onText(now, segment, packet, segment.offset, segment.payloadEnd - segment.payloadStart, verdict);
  }

  /**
   * The segment that completed the handshake, seen for the second time. Returns whether it is done with: a third ACK
   * is an ordinary segment, a SYN/ACK goes on at the sixth step (RFC 9293 §3.10.7.3).
   */
  private begin(now: number, segment: Segment, packet: Packet): boolean {
    this.awaiting = false;
    this.events |= EndpointEvent.Established;
    this.output.polling = true;
    this.extension.onEstablished(now);
    if (this.life.hasEnded) return true;
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

  private onUnacceptable(now: number, segment: Segment, finding: number): void {
    if (finding === Finding.Reset) {
      this.extension.onReset(now, segment);
      this.finish(now, CloseReason.PeerReset, false);
    } else if (finding === Finding.Repeated && this.life.state === State.TimeWait) {
      // A retransmission of the peer's FIN: "Acknowledge it, and restart the 2 MSL timeout".
      this.life.armTimeWait(now);
    }
  }

  private onSegmentInTimeWait(now: number, segment: Segment): void {
    if (segment.span === 0) return;
    this.environment.counters.TCPTextAfterFin++;
    this.life.armTimeWait(now);
    this.receiver.ackNow = true;
  }

  /** Heeds what the extension said of a segment; false when the connection is over. */
  private survives(now: number, verdict: number): boolean {
    if ((verdict & Verdict.Reset) !== 0) this.abort(now, CloseReason.Extension);
    else if ((verdict & Verdict.AcknowledgeNow) !== 0) this.receiver.ackNow = true;
    return !this.life.hasEnded;
  }

  /** Fifth step. */
  private onAck(now: number, segment: Segment, verdict: number): void {
    const { sender } = this;
    const outcome = sender.onAck(now, segment, verdict);
    this.output.polling = true;
    if ((outcome & AckOutcome.Advanced) === 0) return;
    this.events |= EndpointEvent.Writable;
    this.extension.onAcknowledged(now, sender.una);
    if (this.life.hasEnded || (outcome & AckOutcome.FinAcknowledged) === 0) return;
    this.events |= EndpointEvent.FinAcknowledged;
    switch (this.life.state) {
      case State.FinWait1:
        this.enter(now, State.FinWait2);
        this.life.armFinWait2(now);
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
      } else if (this.life.orphaned && offset + length > receiver.nxt) {
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
    switch (this.life.state) {
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

  // ---------------------------------------------------------------------------------------------------- timers

  onTimeout(now: number): void {
    if (this.life.state === State.Closed) return;
    this.output.onEvent();
    if (this.life.deadline <= now) {
      // FIN-WAIT-2 of an orphan: the peer never closed. TIME-WAIT: done.
      this.finish(now, CloseReason.TimedOut, false);
      return;
    }
    if (this.life.state === State.TimeWait) return;
    if (this.extension.deadline <= now) {
      this.extension.onTimeout(now);
      if (this.life.hasEnded) return;
    }
    if (this.receiver.ackDeadline <= now) this.receiver.onTimeout(now);
    if (this.sender.deadline <= now && !this.onSenderTimeout(now)) return;
    if (this.keepAlive.deadline <= now) this.onKeepAlive(now);
  }

  /** False: the connection is over. */
  private onSenderTimeout(now: number): boolean {
    const { sender } = this;
    const outcome = sender.onTimeout(now);
    this.output.polling = true;
    if ((outcome & TimeoutOutcome.Abort) !== 0) {
      // RFC 9293 §3.8.3: R2 was reached, "close the connection".
      this.environment.counters.TCPAbortOnTimeout++;
      this.finish(now, CloseReason.TimedOut, false);
      return false;
    }
    if ((outcome & TimeoutOutcome.BlackHole) !== 0 && this.environment.config.mtuProbing) this.output.onBlackHole(now);
    if ((outcome & TimeoutOutcome.RetransmissionTimeout) !== 0) {
      this.extension.onRetransmissionTimeout(now, sender.timeouts);
    }
    return !this.life.hasEnded;
  }

  private onKeepAlive(now: number): void {
    const { sender } = this;
    const outcome = this.keepAlive.onTimeout(now, sender.una !== sender.nxt || sender.unsent > 0);
    if (outcome === KeepAliveOutcome.Probe) this.output.probeOwed = true;
    if (outcome !== KeepAliveOutcome.Dead) return;
    // As Linux: the peer may be there and not hear us, so it is told.
    this.environment.counters.TCPAbortOnTimeout++;
    this.abort(now, CloseReason.KeepAlive);
  }

  // -------------------------------------------------------------------------------------------------- commands

  /** The source has grown. */
  onData(now: number): void {
    if (this.life.hasEnded) return;
    this.output.onEvent();
    this.sender.onData(now);
    this.output.polling = true;
  }

  /** The application consumed bytes of the sink: the window may have to be told. */
  onRead(_now: number): void {
    if (!this.life.hasEnded && !this.receiver.finished) this.receiver.onRead();
  }

  /** No more bytes will come: a FIN follows `source.end` (RFC 9293 §3.10.4). A second call changes nothing. */
  shutdown(now: number): void {
    if (!this.life.isOpen) return;
    this.enter(now, this.life.state === State.Established ? State.FinWait1 : State.LastAck);
    this.sender.shutdown(now);
    this.output.polling = true;
  }

  /**
   * Nobody reads or writes any more: a FIN follows `source.end`, and data that comes later is answered by a RST.
   * With bytes left unread the RST goes out at once, as the peer must learn that they were lost (RFC 9293 §3.6.1).
   */
  close(now: number, unread = false): void {
    if (this.life.hasEnded) return;
    if (unread) {
      this.environment.counters.TCPAbortOnClose++;
      this.abort(now, CloseReason.Aborted);
      return;
    }
    this.life.orphaned = true;
    const { config } = this.environment;
    this.sender.setPersistence(config.orphanRetries, config.userTimeout);
    this.shutdown(now);
    this.life.armFinWait2(now);
  }

  /**
   * Ends the connection with a RST, which passes through `Extension.onTransmit` (RFC 9293 §3.10.5). From CLOSING,
   * LAST-ACK and TIME-WAIT on nothing is sent: the peer has finished, too.
   *
   * @param reason a `CloseReason`
   */
  abort(now: number, reason: number = CloseReason.Aborted): void {
    const { state } = this.life;
    const silent = state === State.Closing || state === State.LastAck || state === State.TimeWait;
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
    if (this.life.state !== State.Closed) this.receiver.ackNow = true;
  }

  /** Makes the peer send an ACK now, with what its options say by now. */
  solicitAcknowledgment(): void {
    if (!this.life.hasEnded) this.output.solicit();
  }

  /** Times in ms (RFC 9293 §3.8.4: off unless asked for, two hours or more by default). */
  setKeepAlive(now: number, on: boolean, idle: number, interval: number, probes: number): void {
    this.keepAlive.set(now, on, idle, interval, probes);
  }

  // ----------------------------------------------------------------------------------------------- path MTU, ICMP

  onIcmp(now: number, kind: IcmpKind, mtu: number, quotedSequence: number): void {
    const { sender, environment } = this;
    if (this.life.hasEnded) return;
    const quoted = this.space.fromWire(quotedSequence, sender.una);
    // RFC 5927 §4.1: what is quoted must be in flight, or anyone could have sent this.
    if (quoted < sender.una || quoted >= sender.nxt) {
      environment.counters.OutOfWindowIcmps++;
      return;
    }
    if (kind === IcmpKind.PacketTooBig) {
      this.output.onPacketTooBig(now, mtu);
      return;
    }
    // RFC 5927 §5.2, RFC 5461 §2: a synchronized connection takes hard errors for soft ones. If the path is really
    // gone, the retransmission timer will find out, and the error tells why.
    this.softError = kind;
    this.events |= EndpointEvent.SoftError;
  }

  /** Bytes of the largest IP packet of the path, as far as known. */
  get mtu(): number {
    return this.output.mtu;
  }

  /** The path takes packets of `mtu` bytes: what the interface says now, or what was learned elsewhere. */
  setMtu(now: number, mtu: number): void {
    this.output.setMtu(now, mtu);
  }

  // ------------------------------------------------------------------------------------------------- transmitting

  pollTransmit(now: number, out: Segment, packet: Packet): boolean {
    if (!this.output.poll(now, out, packet)) return false;
    if (this.life.state === State.TimeWait) this.events |= EndpointEvent.TimeWait;
    return true;
  }

  // -------------------------------------------------------------------------------------------------------- state

  private enterTimeWait(now: number): void {
    if (!this.enter(now, State.TimeWait)) return;
    this.environment.counters.TW++;
    this.output.linger();
    this.life.armTimeWait(now);
    this.closeReason = CloseReason.Finished;
    this.events |= EndpointEvent.Closed;
    if (!this.receiver.ackNow) this.events |= EndpointEvent.TimeWait;
    this.extension.onClosed(now, CloseReason.Finished);
  }

  /** The end, once. With `reset` a RST goes out. */
  private finish(now: number, reason: number, reset: boolean): void {
    if (this.life.state === State.Closed) return;
    const lingering = this.life.state === State.TimeWait;
    if (this.life.isOpen) this.environment.counters.EstabResets++;
    this.enter(now, State.Closed);
    this.output.close(reset);
    if (lingering || this.closeReason >= 0) return;
    this.closeReason = reason;
    this.events |= EndpointEvent.Closed;
    this.extension.onClosed(now, reason);
  }

  /** False when the step was illegal: a defect of ours, which ends this connection alone. */
  private enter(now: number, next: number): boolean {
    const previous = this.life.state;
    if (this.life.enter(next)) return true;
    this.invariant = `${STATE_NAMES[previous]} -> ${STATE_NAMES[next]}`;
    this.output.close(true);
    if (this.closeReason < 0) {
      this.closeReason = CloseReason.Invariant;
      this.events |= EndpointEvent.Closed;
      this.extension.onClosed(now, CloseReason.Invariant);
    }
    return false;
  }
}

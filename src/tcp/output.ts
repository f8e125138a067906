import type { Packet } from '../wire/packet.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import type { SequenceSpace } from '../wire/sequence.ts';
import { headerLength, optionsLength } from '../wire/tcp.ts';
import type { Endpoint } from './endpoint.ts';
import { LARGEST_PAYLOAD, MAXIMUM_OPTIONS, type PathMtu, TIMESTAMPS_LENGTH } from './path-mtu.ts';
import type { Receiver } from './receiver.ts';
import type { ByteSource, Extension } from './seams.ts';
import { type Sender, SendKind } from './sender.ts';
import type { Timestamps } from './timestamps.ts';

/** What may still be said. */
const Phase = {
  Open: 0,
  /** TIME-WAIT: nothing new, and nothing of the extension's. */
  Lingering: 1,
  /** CLOSED: a RST at most. */
  Closed: 2,
} as const;

/**
 * The segments of a synchronized connection: which comes next of what `Sender` plans, `Receiver` owes and the extension
 * wants to say, how large it may be on the path, and how it is made.
 */
export class Output {
  /** The sender may have something. */
  polling = false;
  /** A segment from before the peer's window goes out, to draw an ACK. */
  probeOwed = false;

  private readonly endpoint: Endpoint;
  private readonly path: PathMtu;
  private readonly sender: Sender;
  private readonly receiver: Receiver;
  private readonly extension: Extension;
  private readonly source: ByteSource;
  private readonly space: SequenceSpace;
  private readonly timestamps: Timestamps;
  private phase: number = Phase.Open;
  private resetOwed = false;
  /** An acknowledged octet goes out again, to draw an ACK. */
  private solicitationOwed = false;
  /** The furthest octet sent, and the offset behind it; 0 before any. */
  private lastOctet = 0;
  private lastOctetEnd = 0;
  /** `extension.overhead` that the sender's segment size allows for. */
  private overhead: number;
  /** Bytes of options that are not TCP's own. */
  private readonly optionRoom: number;
  /** ACKs the extension asked for since something happened last. */
  private extensionAcks = 0;

  /** @param endpoint whose addresses, counters and environment the segments have @param space numbers of what we send */
  constructor(
    endpoint: Endpoint,
    path: PathMtu,
    sender: Sender,
    receiver: Receiver,
    extension: Extension,
    source: ByteSource,
    space: SequenceSpace,
    timestamps: Timestamps,
  ) {
    this.endpoint = endpoint;
    this.path = path;
    this.sender = sender;
    this.receiver = receiver;
    this.extension = extension;
    this.source = source;
    this.space = space;
    this.timestamps = timestamps;
    this.overhead = extension.overhead;
    this.optionRoom = timestamps.inUse ? MAXIMUM_OPTIONS - TIMESTAMPS_LENGTH : MAXIMUM_OPTIONS;
    sender.setGsoMaximum(path.largestPayload(sender.segmentSize));
  }

  /** `poll` may have something. False is certain. */
  get isWanted(): boolean {
    if (this.resetOwed) return true;
    if (this.phase === Phase.Closed) return false;
    if (this.polling || this.receiver.ackNow || this.probeOwed || this.solicitationOwed) return true;
    if (this.phase === Phase.Lingering || this.extensionAcks > MAXIMUM_EXTENSION_ACKS) return false;
    return this.extension.wantsAcknowledgment;
  }

  /** Something happened: the extension may ask for ACKs anew. */
  onEvent(): void {
    this.extensionAcks = 0;
  }

  /** Makes the peer send an ACK now, with what its options say by now. */
  solicit(): void {
    // Before the first octet there is none to repeat: an ACK from before the window is answered as well.
    if (this.sender.una > 1) this.solicitationOwed = true;
    else this.probeOwed = true;
  }

  /** TIME-WAIT: only ACKs are left to send. */
  linger(): void {
    this.phase = Phase.Lingering;
    this.polling = false;
    this.probeOwed = false;
  }

  /** CLOSED. With `reset` a RST goes out. */
  close(reset: boolean): void {
    this.phase = Phase.Closed;
    this.resetOwed = reset;
    this.polling = false;
    this.probeOwed = false;
  }

  // ---------------------------------------------------------------------------------------------------- path MTU

  /** Bytes of the largest IP packet of the path, as far as known. */
  get mtu(): number {
    return this.path.mtu;
  }

  setMtu(now: number, mtu: number): void {
    this.path.mtu = mtu;
    this.updateSegmentSize(now, false);
  }

  /** A router reported `mtu`; 0 when it did not say. */
  onPacketTooBig(now: number, mtu: number): void {
    if (this.path.onPacketTooBig(now, mtu)) this.updateSegmentSize(now, true);
  }

  /** Full packets vanish without a word. */
  onBlackHole(now: number): void {
    if (this.path.onBlackHole(now)) this.updateSegmentSize(now, true);
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

  // ---------------------------------------------------------------------------------------------------- what next

  /** Builds the next packet in `packet`, with `out` as scratch; false: nothing to send now. */
  poll(now: number, out: Segment, packet: Packet): boolean {
    if (this.resetOwed) {
      this.transmitReset(now, out, packet);
      return true;
    }
    if (this.phase === Phase.Closed) return false;
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
        if (this.phase !== Phase.Open) return false;
      }
      this.polling = false;
    }
    if (receiver.ackNow) {
      this.transmitAck(now, out, packet);
      return true;
    }
    if (this.phase !== Phase.Lingering && extension.wantsAcknowledgment) {
      if (this.extensionAcks < MAXIMUM_EXTENSION_ACKS) {
        this.extensionAcks++;
        this.transmitAck(now, out, packet);
        return true;
      }
      if (this.extensionAcks === MAXIMUM_EXTENSION_ACKS) {
        this.extensionAcks++;
        this.endpoint.environment.counters.TCPInvariant++;
        this.endpoint.invariant = 'extension wants ACKs without end';
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

  // ---------------------------------------------------------------------------------------------------- segments

  /** What the sender planned. False when the extension forbade it and had nothing to say itself. */
  private transmitPlan(now: number, out: Segment, packet: Packet): boolean {
    const { sender, optionRoom } = this;
    const { environment } = this.endpoint;
    const offset = sender.planOffset;
    let length = sender.planLength;
    let fin = sender.planFin;
    this.fill(now, out, offset, Flag.Ack | (fin ? Flag.Fin : 0) | (sender.planPush ? Flag.Psh : 0));
    const allowed = this.extension.onTransmit(now, out, offset, length, optionRoom);
    if (length > 0 && allowed <= 0) {
      sender.onUnsendable(now);
      if (optionsLength(out) === MAXIMUM_OPTIONS - optionRoom) return false;
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
    const { sender, receiver } = this;
    this.fill(now, out, sender.nxt, Flag.Ack);
    if (this.phase !== Phase.Lingering) this.extension.onTransmit(now, out, sender.nxt, 0, this.optionRoom);
    // The extension's options come first, SACK blocks get what is left.
    receiver.fillBlocks(out, MAXIMUM_OPTIONS - optionsLength(out));
    this.endpoint.environment.counters.TCPPureAcks++;
    this.send(now, out, packet, 0, 0);
  }

  /** RFC 9293 §3.8.4: SEG.SEQ = SND.NXT-1 draws an ACK from a peer that is alive. No garbage octet. */
  private transmitKeepAlive(now: number, out: Segment, packet: Packet): void {
    this.probeOwed = false;
    this.endpoint.environment.counters.TCPKeepAlive++;
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
    this.endpoint.environment.counters.TCPSolicitedAck++;
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
    this.endpoint.emit(out, packet, 0, 0);
    this.endpoint.environment.counters.OutRsts++;
  }

  private fill(now: number, out: Segment, offset: number, flags: number): void {
    const { endpoint, receiver } = this;
    endpoint.address(out);
    out.flags = flags;
    out.sequence = this.space.toWire(offset);
    out.acknowledgment = receiver.space.toWire(receiver.nxt);
    out.window = (flags & Flag.Rst) !== 0 ? 0 : receiver.advertise();
    if (this.timestamps.inUse) this.timestamps.write(out, endpoint.timestamp(now));
  }

  private send(now: number, out: Segment, packet: Packet, length: number, gsoSize: number): void {
    this.endpoint.emit(out, packet, length, gsoSize);
    this.receiver.onAckSent(now, length > 0);
  }
}

/** Plans in a row that an extension may refuse before the sender is left alone. */
const MAXIMUM_REFUSALS = 4;
/** ACKs in a row that an extension may ask for while nothing happens. */
const MAXIMUM_EXTENSION_ACKS = 32;

import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';
import { SequenceSpace } from '../wire/sequence.ts';
import { Endpoint, type IcmpKind } from './endpoint.ts';
import type { Handshake, HandshakeResult } from './handshake.ts';
import { Receiver } from './receiver.ts';
import type { ByteSink, ByteSource, CongestionControl, Extension } from './seams.ts';
import { Sender } from './sender.ts';
import { State } from './state.ts';

export class TcpConnection extends Endpoint {
  readonly sender: Sender;
  readonly receiver: Receiver;
  readonly extension: Extension;
  /** Bytes of the largest IP packet of the path, as far as known. */
  mtu: number;
  private current: number = State.Established;

  private constructor(
    now: number,
    handshake: Handshake,
    result: HandshakeResult,
    source: ByteSource,
    sink: ByteSink,
    congestion: CongestionControl,
  ) {
    super(handshake.tuple, handshake.environment);
    this.extension = handshake.extension;
    this.mtu = handshake.environment.mtu;
    const space = new SequenceSpace(result.localInitial);
    this.receiver = new Receiver(new SequenceSpace(result.peerInitial), sink);
    this.sender = new Sender(now, this.environment.config, source, congestion, this.environment.counters, {
      space,
      segmentSize: result.peerMss,
      sackPermitted: result.sackPermitted,
      timestamps: result.timestamps,
      timestampOffset: this.environment.timestampOffset,
      peerWindow: result.peerWindow,
      handshakeRtt: result.rtt,
      handshakeRetransmitted: result.retransmitted,
    });
  }

  /**
   * The connection that a completed handshake becomes (`handshake.established` is set). The caller puts it in the
   * handshake's place and at once passes it the segment that completed the handshake.
   */
  static fromHandshake(
    now: number,
    handshake: Handshake,
    source: ByteSource,
    sink: ByteSink,
    congestion: CongestionControl,
  ): TcpConnection {
    return new TcpConnection(now, handshake, handshake.established!, source, sink, congestion);
  }

  get deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  get state(): number {
    return this.current;
  }

  get wantsTransmit(): boolean {
    return this.extension.wantsAcknowledgment;
  }

  onSegment(_now: number, _segment: Segment, _packet: Packet): void {}
  onTimeout(_now: number): void {}

  pollTransmit(_now: number, _out: Segment, _packet: Packet): boolean {
    return false;
  }

  onIcmp(_now: number, _kind: IcmpKind, _mtu: number, _quotedSequence: number): void {}

  /** The source has grown. */
  onData(_now: number): void {}
  /** The application consumed bytes of the sink: the window may have to be told. */
  onRead(_now: number): void {}
  /** No more bytes will come: a FIN follows `source.end`. */
  shutdown(_now: number): void {}
  /** A RST goes out, with what the extension adds to it. `reason` is a `CloseReason`. */
  abort(_now: number, _reason = 5): void {}
  /** Nobody reads any more: FIN after `source.end`; data that comes later is answered by a RST. */
  close(_now: number): void {}
  /** Ends without a word on the wire. */
  closeSilently(_now: number, _reason: number): void {}
  /** The local address or its interface is gone: ends silently. */
  onAddressGone(_now: number): void {}
  /** A pure ACK goes out now. */
  demandAcknowledgment(_now: number): void {}
  /** The path takes packets of `mtu` bytes. */
  setMtu(_now: number, _mtu: number): void {}
  /** Times in ms. */
  setKeepAlive(_now: number, _on: boolean, _idle: number, _interval: number, _probes: number): void {}
}

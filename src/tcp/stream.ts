import type { Segment } from '../wire/segment.ts';
import { TcpConnection } from './connection.ts';
import type { EndpointEnvironment, Tuple } from './endpoint.ts';
import { Handshake } from './handshake.ts';
import { NULL_EXTENSION } from './null-extension.ts';
import { initialSegmentSize } from './path-mtu.ts';
import { ReceiveRing } from './receive-ring.ts';
import { CloseReason } from './seams.ts';
import { SendQueue } from './send-queue.ts';
import { SendTuning } from './send-tuning.ts';
import { initialWindow } from './sender.ts';

/**
 * A plain TCP connection as its user sees it: bytes in, bytes out, from the handshake to the end. Owns the two queues;
 * the protocol is in `handshake` and then in `connection`, which the stack holds and drives.
 *
 *     connect | fromHandshake   establish (when the handshake is promoted)   write read shutdown close abort
 */
export class TcpStream {
  readonly handshake: Handshake;
  /** Null until `establish`. */
  connection: TcpConnection | null = null;
  readonly source: SendQueue;
  readonly sink: ReceiveRing;
  /** `shutdown` or `close` was called: nothing more can be written. */
  writeFinished = false;
  /** `close` or `abort` was called. */
  released = false;
  private readonly tuning = new SendTuning();
  private maximumSendBuffer: number;
  private adjustedAt = 0;

  private constructor(handshake: Handshake) {
    const { config } = handshake.environment;
    this.handshake = handshake;
    this.source = new SendQueue(config.sendBuffer);
    this.maximumSendBuffer = config.maximumSendBuffer;
    this.sink = new ReceiveRing(config.receiveBuffer, config.maximumReceiveBuffer);
  }

  /** An active open; `handshake` is what the stack puts into its table. */
  static connect(now: number, environment: EndpointEnvironment, tuple: Tuple, initialSequence: number): TcpStream {
    return new TcpStream(Handshake.connect(now, environment, tuple, initialSequence, NULL_EXTENSION));
  }

  /** A passive open whose buffers exist from the SYN on. A listener rather keeps the `Handshake` alone. */
  static accept(
    now: number,
    environment: EndpointEnvironment,
    tuple: Tuple,
    initialSequence: number,
    syn: Segment,
  ): TcpStream {
    return new TcpStream(Handshake.accept(now, environment, tuple, initialSequence, NULL_EXTENSION, syn));
  }

  /** The stream of a handshake that a listener kept; call `establish` next. */
  static fromHandshake(handshake: Handshake): TcpStream {
    return new TcpStream(handshake);
  }

  /**
   * The handshake was promoted: makes the connection. The caller puts it in the handshake's place and passes it the
   * segment that completed the handshake.
   */
  establish(now: number): TcpConnection {
    const { handshake } = this;
    const { config } = handshake.environment;
    const size = initialSegmentSize(handshake);
    const congestion = config.congestionControl(size, initialWindow(size, config.initialWindowSegments));
    const connection = TcpConnection.fromHandshake(now, handshake, this.source, this.sink, congestion);
    this.connection = connection;
    if (this.source.end > 1) connection.onData(now);
    if (this.released) connection.close(now, this.sink.readable > 0);
    else if (this.writeFinished) connection.shutdown(now);
    return connection;
  }

  /** What the stack drives: the handshake, then the connection. */
  get endpoint(): Handshake | TcpConnection {
    return this.connection ?? this.handshake;
  }

  /** Takes up to `length` bytes from `bytes` at `start`, before the handshake is over too; returns how many. */
  write(now: number, bytes: Uint8Array, start: number, length: number): number {
    if (this.writeFinished || this.closed) return 0;
    this.adjustedAt = now;
    this.adjust();
    const taken = this.source.write(bytes, start, length);
    if (taken > 0) this.connection?.onData(now);
    return taken;
  }

  /** Reads up to `length` bytes into `target` from `start` on; returns how many, 0 when none are there. */
  read(now: number, target: Uint8Array, start: number, length: number): number {
    const count = this.sink.readInto(target, start, length);
    if (count > 0) this.onRead(now);
    return count;
  }

  /** The first bytes that can be read, as a view good until the next call; `consume` gives them up. */
  peek(): Uint8Array {
    return this.sink.peek();
  }

  consume(now: number, count: number): void {
    this.sink.consume(count);
    this.onRead(now);
  }

  /** Bytes that can be read now. */
  get readable(): number {
    return this.sink.readable;
  }

  /** Bytes that `write` would take now. */
  get writable(): number {
    if (this.writeFinished || this.closed) return 0;
    this.adjust();
    return this.source.free;
  }

  /** The peer will send no more than what is readable. */
  get peerFinished(): boolean {
    return this.connection?.peerFinished === true;
  }

  /** Over: TIME-WAIT, CLOSED, or a handshake that failed. What was received can still be read. */
  get closed(): boolean {
    return this.closeReason >= 0;
  }

  /** A `CloseReason`; -1 while it lives. */
  get closeReason(): number {
    return this.endpoint.closeReason;
  }

  /** Bytes the send buffer may hold, from now on without autotuning (SO_SNDBUF). */
  setSendBuffer(bytes: number): void {
    this.maximumSendBuffer = bytes;
    this.source.setLimit(bytes);
  }

  /** Half-close: the FIN follows what was written. */
  shutdown(now: number): void {
    if (this.writeFinished) return;
    this.writeFinished = true;
    this.connection?.shutdown(now);
  }

  /** The user goes: the FIN follows what was written; bytes unread, or that come later, cost the peer a RST. */
  close(now: number): void {
    if (this.released) return;
    this.released = true;
    this.writeFinished = true;
    if (this.closed) this.onEnded(now);
    else if (this.connection !== null) this.connection.close(now, this.sink.readable > 0);
    // RFC 9293 §3.10.4: CLOSE in SYN-SENT deletes the connection; in SYN-RECEIVED the FIN waits for ESTABLISHED.
    else if (this.handshake.active) this.handshake.closeSilently(now, CloseReason.Aborted);
  }

  /** Ends it with a RST. */
  abort(now: number): void {
    this.released = true;
    this.writeFinished = true;
    if (this.closed) this.onEnded(now);
    else if (this.connection !== null) this.connection.abort(now);
    else this.handshake.abort(now);
  }

  /** The connection is over: gives back the memory that nobody can have any more use for. */
  onEnded(now: number): void {
    this.source.clear(now);
    // What was received can still be read, as long as there is a reader.
    if (this.released) this.sink.close();
  }

  private adjust(): void {
    const { connection, source } = this;
    if (connection === null) return;
    const { sender } = connection;
    const { maximumSendBuffer } = this;
    const limit = this.tuning.limit(this.adjustedAt, sender.una, sender.cwnd, sender.rtt.minimum, maximumSendBuffer);
    if (limit > source.limit) source.setLimit(limit);
  }

  private onRead(now: number): void {
    const { connection } = this;
    if (connection === null) return;
    // An RTT below the clock of timestamps, or not measured at all, counts as one tick.
    this.sink.adjust(now, Math.max(1, connection.sender.rtt.smoothed));
    connection.onRead(now);
  }
}

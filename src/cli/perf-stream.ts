import type { ConnectionFigures, PerfConnection, PerfListener } from './perf-backend.ts';
import {
  Direction,
  decodeHeader,
  decodeTrailer,
  encodeHeader,
  encodeTrailer,
  type PerfHeader,
  type PerfTrailer,
  RECORD_BYTES,
} from './perf-protocol.ts';

/** Bytes and milliseconds of one direction as one end saw it. */
export interface PerfAmount {
  readonly bytes: number;
  readonly milliseconds: number;
}

/** What is sent: written again and again, never changed. */
const BLOCK = new Uint8Array(131_072);
for (let index = 0; index < BLOCK.length; index++) BLOCK[index] = (index * 31 + (index >>> 8) * 7) & 0xff;

const Sending = { Header: 0, Waiting: 1, Payload: 2, Trailer: 3, Over: 4 } as const;

export interface PerfStreamEvents {
  /** A server has read what the client wants; undefined: that was no request. */
  onHeader?(stream: PerfStream, header: PerfHeader | undefined): void;
  onClose(stream: PerfStream, error: Error | undefined): void;
}

/** One measured connection, at either end. */
export class PerfStream implements PerfListener {
  readonly connection: PerfConnection;
  readonly isClient: boolean;
  /** What is measured; a server knows when the header came. */
  header: PerfHeader | undefined;
  /** Payload. */
  sent = 0;
  received = 0;
  /** The peer's last words. */
  trailer: PerfTrailer | undefined;
  isClosed = false;
  error: Error | undefined;
  private readonly events: PerfStreamEvents;
  private sending: number = Sending.Waiting;
  private record: Uint8Array = NOTHING;
  private recordSent = 0;
  private timeIsUp = false;
  private timer: NodeJS.Timeout | undefined;
  private sendFirst = -1;
  private sendLast = -1;
  private receiveFirst = -1;
  private receiveLast = -1;
  private readonly head = new Uint8Array(RECORD_BYTES);
  private headLength = 0;
  /** The last bytes that came: a trailer, once the stream has ended. */
  private readonly tail = new Uint8Array(RECORD_BYTES);
  private tailLength = 0;
  private receiveEnded = false;

  constructor(connection: PerfConnection, events: PerfStreamEvents, header?: PerfHeader) {
    this.connection = connection;
    this.events = events;
    this.header = header;
    this.isClient = header !== undefined;
    connection.listener = this;
  }

  /** For clients: begins. */
  start(): void {
    this.record = encodeHeader(this.header!);
    this.sending = Sending.Header;
    this.pump();
  }

  /** Stops sending before its time. */
  stop(): void {
    this.timeIsUp = true;
    this.pump();
  }

  abort(): void {
    clearTimeout(this.timer);
    this.connection.look();
    this.connection.abort();
  }

  /** Whether this end sends payload. */
  get isSender(): boolean {
    return (
      this.header !== undefined && (this.header.directions & (this.isClient ? Direction.Up : Direction.Down)) !== 0
    );
  }

  get isReceiver(): boolean {
    return (
      this.header !== undefined && (this.header.directions & (this.isClient ? Direction.Down : Direction.Up)) !== 0
    );
  }

  get sentAmount(): PerfAmount {
    return { bytes: this.sent, milliseconds: Math.max(0, this.sendLast - this.sendFirst) };
  }

  get receivedAmount(): PerfAmount {
    return { bytes: this.received, milliseconds: Math.max(0, this.receiveLast - this.receiveFirst) };
  }

  /** What the peer says of the direction that we send in. */
  get peerReceived(): PerfAmount | undefined {
    if (this.trailer === undefined || Number.isNaN(this.trailer.received)) return undefined;
    return { bytes: this.trailer.received, milliseconds: this.trailer.receiveTime };
  }

  get peerSent(): PerfAmount | undefined {
    return this.trailer === undefined ? undefined : { bytes: this.trailer.sent, milliseconds: this.trailer.sendTime };
  }

  figures(): ConnectionFigures {
    return this.connection.look();
  }

  // ---------------------------------------------------------------------------------------------- PerfListener

  onData(bytes: Uint8Array): void {
    let start = 0;
    if (this.header === undefined) {
      start = Math.min(bytes.length, RECORD_BYTES - this.headLength);
      this.head.set(bytes.subarray(0, start), this.headLength);
      this.headLength += start;
      if (this.headLength < RECORD_BYTES) return;
      this.header = decodeHeader(this.head);
      this.events.onHeader?.(this, this.header);
      if (this.header === undefined) return;
      this.begin();
    }
    const length = bytes.length - start;
    if (length === 0) return;
    const now = performance.now();
    if (this.receiveFirst < 0) this.receiveFirst = now;
    this.receiveLast = now;
    // Of what came, the last 64 bytes may be the trailer: they are held back from the count.
    this.received += length;
    this.keepTail(bytes, start, length);
  }

  private keepTail(bytes: Uint8Array, start: number, length: number): void {
    const { tail } = this;
    const kept = Math.min(length, RECORD_BYTES);
    const moved = Math.min(this.tailLength, RECORD_BYTES - kept);
    tail.copyWithin(0, this.tailLength - moved, this.tailLength);
    const from = start + length - kept;
    for (let index = 0; index < kept; index++) tail[moved + index] = bytes[from + index]!;
    this.tailLength = moved + kept;
  }

  onRoom(): void {
    this.pump();
  }

  onEnd(): void {
    this.receiveEnded = true;
    this.trailer = this.tailLength === RECORD_BYTES ? decodeTrailer(this.tail) : undefined;
    if (this.trailer !== undefined) this.received -= RECORD_BYTES;
    this.pump();
  }

  onClose(error: Error | undefined): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.error = error;
    clearTimeout(this.timer);
    this.connection.look();
    this.events.onClose(this, error);
  }

  // ---------------------------------------------------------------------------------------------- sending

  /** The header was sent, or has come: payload may flow. */
  private begin(): void {
    if (this.isSender) {
      this.sending = Sending.Payload;
      this.sendFirst = performance.now();
      this.sendLast = this.sendFirst;
      const { duration } = this.header!;
      if (duration > 0) this.timer = setTimeout(() => this.stop(), duration);
    }
    this.pump();
  }

  private pump(): void {
    if (this.isClosed) return;
    if (this.sending === Sending.Header) {
      if (!this.sendRecord()) return;
      this.sending = Sending.Waiting;
      this.begin();
      return;
    }
    if (this.sending === Sending.Payload && this.sendPayload()) this.sending = Sending.Waiting;
    if (this.sending === Sending.Waiting && this.mayEnd()) {
      const { received, receiveLast, receiveFirst } = this;
      this.record = encodeTrailer({
        sent: this.sent,
        sendTime: Math.max(0, this.sendLast - this.sendFirst),
        received: this.receiveEnded ? received : Number.NaN,
        receiveTime: Math.max(0, receiveLast - receiveFirst),
        ...this.sendingFigures(),
      });
      this.recordSent = 0;
      this.sending = Sending.Trailer;
    }
    if (this.sending === Sending.Trailer && this.sendRecord()) {
      this.sending = Sending.Over;
      this.connection.end();
    }
  }

  /** Whether nothing keeps us from the trailer. */
  private mayEnd(): boolean {
    if (this.header === undefined) return false;
    const isSent = !this.isSender || this.isPayloadOver;
    // A client that only receives, and a server whose client sends, wait for the other's end.
    const waits = this.isClient ? !this.isSender : this.isReceiver;
    return isSent && (!waits || this.receiveEnded);
  }

  private get isPayloadOver(): boolean {
    const { bytes } = this.header!;
    return this.timeIsUp || (bytes > 0 && this.sent >= bytes);
  }

  /** @returns whether all has been sent */
  private sendPayload(): boolean {
    const { connection } = this;
    const limit = this.header!.bytes > 0 ? this.header!.bytes : Number.POSITIVE_INFINITY;
    while (!this.isPayloadOver) {
      const length = Math.min(BLOCK.length, limit - this.sent);
      const taken = connection.send(BLOCK, 0, length);
      if (taken > 0) {
        this.sent += taken;
        this.sendLast = performance.now();
      }
      if (taken < length) break;
    }
    return this.isPayloadOver;
  }

  /** @returns whether the record has been sent */
  private sendRecord(): boolean {
    const { record } = this;
    this.recordSent += this.connection.send(record, this.recordSent, record.length - this.recordSent);
    return this.recordSent === record.length;
  }

  private sendingFigures(): { retransmitted: number; subflows: number } {
    const { paths } = this.connection.look();
    return {
      retransmitted: paths.reduce((sum, path) => sum + path.retransmitted, 0),
      subflows: paths.length,
    };
  }
}

const NOTHING = new Uint8Array(0);

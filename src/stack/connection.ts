import { ConnectionEvent, MptcpConnection, type MptcpHost } from '../mptcp/connection.ts';
import { FallbackReason } from '../mptcp/fallback.ts';
import type { Key } from '../mptcp/keys.ts';
import type { SchedulerFactory } from '../mptcp/seams.ts';
import type { TcpConfig } from '../tcp/config.ts';
import { type Endpoint, EndpointEvent, type Tuple } from '../tcp/endpoint.ts';
import { ReceiveRing } from '../tcp/receive-ring.ts';
import { SendQueue } from '../tcp/send-queue.ts';
import type { TcpStream } from '../tcp/stream.ts';
import { Handle, Ready } from './handle.ts';
import type { Listener } from './listener.ts';

/** What a connection asks of its stack. */
export interface ConnectionHost {
  readonly now: number;
  touch(connection: Connection): void;
  release(connection: Connection): void;
}

/** What the opening of a connection asks of the stack, for the connection and for itself. */
export interface OpeningHost extends ConnectionHost, MptcpHost {
  readonly scheduler: SchedulerFactory;
}

/**
 * A byte stream of this host, plain TCP or multipath, as sockets use it. Commands take effect at once and are sent
 * with the next `Stack.pollTransmit`.
 */
export class Connection extends Handle {
  /** Exactly one of these two is set. */
  readonly stream: TcpStream | null;
  readonly mptcp: MptcpConnection | null;
  readonly tuple: Tuple;
  /** The listener it came from, until it is accepted. */
  listener: Listener | null = null;
  established = false;
  /** Settings that differ from the stack's, for its further subflows too; undefined for none. */
  tcp: Partial<TcpConfig> | undefined = undefined;
  /** Waits in the stack's list for an update, and which is behind it there. */
  dirty = false;
  dirtyNext: Connection | null = null;
  private readonly host: ConnectionHost;

  constructor(host: ConnectionHost, tuple: Tuple, stream: TcpStream | null, mptcp: MptcpConnection | null) {
    super();
    this.host = host;
    this.tuple = tuple;
    this.stream = stream;
    this.mptcp = mptcp;
  }

  /** A multipath connection without subflows, with queues and a scheduler of its own. */
  static multipath(host: OpeningHost, key: Key, tuple: Tuple, serverSide: boolean, config: TcpConfig): Connection {
    const mptcp = new MptcpConnection(host, key, tuple, {
      sendQueue: new SendQueue(config.sendBuffer),
      maximumSendBuffer: config.maximumSendBuffer,
      ring: new ReceiveRing(config.receiveBuffer, config.maximumReceiveBuffer),
      scheduler: host.scheduler(),
      serverSide,
    });
    return new Connection(host, tuple, null, mptcp);
  }

  get isMultipath(): boolean {
    return this.mptcp !== null && !this.mptcp.fallenBack;
  }

  /** A `FallbackReason`; `PeerPlain` for a connection that was plain from the start. */
  get fallbackReason(): number {
    return this.mptcp === null ? FallbackReason.PeerPlain : this.mptcp.fallbackReason;
  }

  get readable(): number {
    return this.mptcp !== null ? this.mptcp.readable : this.stream!.readable;
  }

  /** Bytes that `write` would take now. */
  get writable(): number {
    if (!this.established) return 0;
    return this.mptcp !== null ? this.mptcp.writable : this.stream!.writable;
  }

  /** Bytes written and not acknowledged by the peer (SIOCOUTQ). */
  get unacknowledged(): number {
    return this.mptcp !== null ? this.mptcp.unacknowledged : this.stream!.source.length;
  }

  /** The peer sent its end of stream; what came before may still be readable. */
  get peerFinished(): boolean {
    return this.mptcp !== null ? this.mptcp.hasPeerFinished : this.stream!.peerFinished;
  }

  get closed(): boolean {
    return this.closeReason >= 0;
  }

  /** A `CloseReason`; -1 while it lives. */
  get closeReason(): number {
    return this.mptcp !== null ? this.mptcp.closeReason : this.stream!.closeReason;
  }

  /** Takes up to `length` bytes of `bytes` from `start`; returns how many. */
  write(bytes: Uint8Array, start: number, length: number): number {
    if (!this.established) return 0;
    const taken =
      this.mptcp !== null
        ? this.mptcp.write(bytes, start, length)
        : this.stream!.write(this.host.now, bytes, start, length);
    if (taken > 0) this.host.touch(this);
    return taken;
  }

  /** Copies up to `length` readable bytes into `target` at `start`; returns how many. */
  read(target: Uint8Array, start: number, length: number): number {
    const count =
      this.mptcp !== null
        ? this.mptcp.read(this.host.now, target, start, length)
        : this.stream!.read(this.host.now, target, start, length);
    if (count > 0) this.host.touch(this);
    return count;
  }

  /** The first run of readable bytes without a copy, valid until the next call on this stack. */
  peek(): Uint8Array {
    return this.mptcp !== null ? this.mptcp.ring.peek() : this.stream!.peek();
  }

  /** Gives up the first `count` readable bytes. */
  consume(count: number): void {
    if (this.mptcp !== null) {
      this.mptcp.ring.consume(count);
      this.mptcp.onRead(this.host.now);
    } else {
      this.stream!.consume(this.host.now, count);
    }
    this.host.touch(this);
  }

  /** No more bytes will be written. */
  shutdown(): void {
    if (this.mptcp !== null) this.mptcp.shutdown(this.host.now);
    else this.stream!.shutdown(this.host.now);
    this.host.touch(this);
  }

  /** The user leaves; the rest winds down by itself. */
  close(): void {
    if (this.mptcp !== null) this.mptcp.close(this.host.now);
    else this.stream!.close(this.host.now);
    this.host.release(this);
    this.host.touch(this);
  }

  /** Ends it at once, by MP_FASTCLOSE or RST. */
  abort(): void {
    if (this.mptcp !== null) this.mptcp.abort(this.host.now);
    else this.stream!.abort(this.host.now);
    this.host.release(this);
    this.host.touch(this);
  }

  /** Events of the plain connection's endpoint, for the stack. */
  onEndpointEvents(endpoint: Endpoint, events: number): void {
    let bits = 0;
    if ((events & EndpointEvent.Established) !== 0) {
      this.established = true;
      bits |= Ready.Connected | Ready.Writable;
    }
    if ((events & EndpointEvent.Readable) !== 0) bits |= Ready.Readable;
    if ((events & EndpointEvent.Writable) !== 0) bits |= Ready.Writable;
    if ((events & EndpointEvent.PeerFin) !== 0) bits |= Ready.PeerFinished | Ready.Readable;
    if ((events & (EndpointEvent.Closed | EndpointEvent.Failed)) !== 0) {
      // TIME-WAIT is the end for the user only once the peer's bytes are read; the bit says that nothing follows.
      bits |= Ready.Closed | Ready.Readable | Ready.Writable;
      if (this.stream !== null && endpoint === this.stream.endpoint) this.stream.onEnded(this.host.now);
    }
    if (bits !== 0 && this.stream !== null && endpoint === this.stream.endpoint) this.raise(bits);
  }

  /** Events of the multipath connection, for the stack. */
  takeMptcpEvents(): void {
    const mptcp = this.mptcp!;
    const { events } = mptcp;
    if (events === 0) return;
    mptcp.events = 0;
    let bits = 0;
    if ((events & ConnectionEvent.Established) !== 0) {
      this.established = true;
      bits |= Ready.Connected | Ready.Writable;
    }
    if ((events & ConnectionEvent.Readable) !== 0) bits |= Ready.Readable;
    if ((events & ConnectionEvent.Writable) !== 0) bits |= Ready.Writable;
    if ((events & ConnectionEvent.PeerFinished) !== 0) bits |= Ready.PeerFinished | Ready.Readable;
    if ((events & ConnectionEvent.Closed) !== 0) bits |= Ready.Closed | Ready.Readable | Ready.Writable;
    if ((events & ConnectionEvent.FellBack) !== 0) bits |= Ready.FellBack;
    if ((events & ConnectionEvent.SubflowsChanged) !== 0) bits |= Ready.Subflows;
    this.raise(bits);
  }
}

/** The connection that `endpoint` belongs to; null for one that has none yet, or none any more. */
export function ownerOf(endpoint: Endpoint): Connection | null {
  return endpoint.owner as Connection | null;
}

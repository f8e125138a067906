import type { TcpConfig } from '../tcp/config.ts';
import type { Address } from '../wire/address.ts';
import type { Connection } from './connection.ts';
import { Handle } from './handle.ts';

/** Handshakes under way that a listener allows at least, whatever its backlog. */
const MINIMUM_HALF_OPEN = 8;

/** A port that takes connections: bounds for those under way and for those that wait to be accepted (C43). */
export class Listener extends Handle {
  /** Undefined: any address. */
  readonly address: Address | undefined;
  readonly port: number;
  /** MP_CAPABLE is answered; plain clients are served all the same (A2.24). */
  readonly multipath: boolean;
  backlog: number;
  /** Settings of its connections that differ from the stack's; undefined for none. */
  tcp: Partial<TcpConfig> | undefined = undefined;
  /** 4 or 6: takes connections of this family alone; 0: of both. */
  family = 0;
  /** Handshakes in SYN-RECEIVED. */
  halfOpen = 0;
  closed = false;
  private readonly waiting: Connection[] = [];

  constructor(address: Address | undefined, port: number, multipath: boolean, backlog: number) {
    super();
    this.address = address;
    this.port = port;
    this.multipath = multipath;
    this.backlog = backlog;
  }

  /** No handshake may begin: too many are under way, or nobody accepts what completes (RFC 4987 §3). */
  get isCrowded(): boolean {
    return this.halfOpen >= Math.max(MINIMUM_HALF_OPEN, this.backlog) || this.isFull;
  }

  /** The queue for `accept` is full; as in Linux it takes one more than the backlog. */
  get isFull(): boolean {
    return this.waiting.length > this.backlog;
  }

  /** Connections that wait to be accepted. */
  get pending(): number {
    return this.waiting.length;
  }

  enqueue(connection: Connection): void {
    this.waiting.push(connection);
  }

  dequeue(): Connection | undefined {
    return this.waiting.shift();
  }

  matches(address: Address): boolean {
    return this.address === undefined || this.address.equals(address);
  }
}

import type { TcpConfig } from '../tcp/config.ts';
import type { Handshake } from '../tcp/handshake.ts';
import type { Address } from '../wire/address.ts';
import { StackError } from './config.ts';
import type { Interfaces } from './interfaces.ts';
import { Listener } from './listener.ts';
import type { Ports } from './ports.ts';

export interface ListenRequest {
  /** Undefined: any. */
  readonly address?: Address;
  /** With no address: connections of this family alone; absent: of both. */
  readonly family?: 4 | 6;
  /** 0: an ephemeral one. */
  readonly port: number;
  readonly multipath: boolean;
  readonly backlog: number;
  /** What its connections inherit. */
  readonly tcp?: Partial<TcpConfig>;
}

/** The listeners of a host by port, and the handshakes that are under way at each. */
export class Listeners {
  private readonly interfaces: Interfaces;
  private readonly ports: Ports;
  private readonly byPort = new Map<number, Listener[]>();
  /** Handshakes of servers: their listener. */
  private readonly requests = new Map<Handshake, Listener>();

  constructor(interfaces: Interfaces, ports: Ports) {
    this.interfaces = interfaces;
    this.ports = ports;
  }

  /** @param multipath whether this host speaks MPTCP at all @throws StackError EADDRINUSE, EADDRNOTAVAIL */
  open(request: ListenRequest, multipath: boolean): Listener {
    if (request.address !== undefined && this.interfaces.owner(request.address) === undefined) {
      throw new StackError('EADDRNOTAVAIL', `${request.address} is no address of this host`);
    }
    const port = request.port === 0 ? this.ports.ephemeral(() => true) : request.port;
    if (port === 0) throw new StackError('EADDRINUSE', 'no free port to listen on');
    const family = request.address?.family ?? request.family ?? 0;
    if (!this.ports.bind(request.address, port, false, family)) {
      throw new StackError('EADDRINUSE', `port ${port} is in use`);
    }
    const listener = new Listener(request.address, port, request.multipath && multipath, request.backlog);
    listener.tcp = request.tcp;
    listener.family = family;
    const others = this.byPort.get(port);
    if (others === undefined) this.byPort.set(port, [listener]);
    else others.push(listener);
    return listener;
  }

  /** Frees the port. What waits at `listener` and what is under way there is the caller's to end. */
  close(listener: Listener): void {
    listener.closed = true;
    const others = this.byPort.get(listener.port)?.filter((other) => other !== listener) ?? [];
    if (others.length === 0) this.byPort.delete(listener.port);
    else this.byPort.set(listener.port, others);
    this.ports.release(listener.address, listener.port, listener.family);
  }

  /** Who takes connections to `local` and `port`: one for that very address before one for any. */
  find(local: Address, port: number): Listener | undefined {
    const candidates = this.byPort.get(port);
    if (candidates === undefined) return undefined;
    return (
      candidates.find((listener) => listener.address?.equals(local)) ??
      candidates.find((listener) => listener.address === undefined && listener.family === local.family) ??
      candidates.find((listener) => listener.address === undefined && listener.family === 0)
    );
  }

  /** `handshake` began at `listener`. */
  begin(handshake: Handshake, listener: Listener): void {
    listener.halfOpen++;
    this.requests.set(handshake, listener);
  }

  /** Where `handshake` is under way; undefined for those of clients and of joins. */
  of(handshake: Handshake): Listener | undefined {
    return this.requests.get(handshake);
  }

  /** `handshake` is over, one way or the other; returns where it was under way. */
  end(handshake: Handshake): Listener | undefined {
    const listener = this.requests.get(handshake);
    if (listener === undefined) return undefined;
    this.requests.delete(handshake);
    listener.halfOpen--;
    return listener;
  }

  /** Those under way at `listener`; each may end while the others are told. */
  *handshakes(listener: Listener): Generator<Handshake> {
    for (const [handshake, owner] of this.requests) if (owner === listener) yield handshake;
  }
}

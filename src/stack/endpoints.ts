import { CapableRequest } from '../mptcp/request.ts';
import type { TokenTable } from '../mptcp/tokens.ts';
import type { TcpConnection } from '../tcp/connection.ts';
import type { TcpCounters } from '../tcp/counters.ts';
import { type Endpoint, EndpointEvent, EndpointKind } from '../tcp/endpoint.ts';
import type { Handshake } from '../tcp/handshake.ts';
import { TimeWait } from '../tcp/time-wait.ts';
import { type Connection, ownerOf } from './connection.ts';
import { Deadlines } from './deadlines.ts';
import type { Demux } from './demux.ts';
import type { Listeners } from './listeners.ts';
import type { ReadyQueue } from './ready-queue.ts';
import { TransmitQueue } from './transmit-queue.ts';

/** Descriptions of broken invariants that are kept. */
const DEFECTS = 32;

/**
 * The endpoints of a host: found by their tuple, woken at their deadline, asked in their turn. After everything that
 * happens to one, `after` reads what it says and files it anew; multipath connections are only marked, and settled later
 * (`Settlement`), once per burst and not once per segment.
 */
export class Endpoints {
  readonly deadlines = new Deadlines();
  readonly transmit = new TransmitQueue();
  /** Descriptions of invariants that broke, the latest last: our defects, each closed one connection. */
  readonly defects: string[] = [];

  private readonly demux: Demux;
  private readonly tokens: TokenTable<Connection>;
  private readonly listeners: Listeners;
  private readonly ready: ReadyQueue;
  private readonly counters: TcpCounters;
  private readonly maximumTimeWaits: number;
  private timeWaits = 0;
  private firstDirty: Connection | null = null;
  private lastDirty: Connection | null = null;

  constructor(
    demux: Demux,
    tokens: TokenTable<Connection>,
    listeners: Listeners,
    ready: ReadyQueue,
    counters: TcpCounters,
    maximumTimeWaits: number,
  ) {
    this.demux = demux;
    this.tokens = tokens;
    this.listeners = listeners;
    this.ready = ready;
    this.counters = counters;
    this.maximumTimeWaits = maximumTimeWaits;
  }

  /** A handshake begins on an interface; `owner` is null while it has no connection. */
  adopt(now: number, handshake: Handshake, owner: Connection | null, interfaceId: number): void {
    handshake.interfaceId = interfaceId;
    handshake.owner = owner;
    this.demux.insert(handshake);
    this.after(now, handshake);
  }

  /** `next` takes the place of `previous`: the next life of the same tuple. */
  replace(previous: Endpoint, next: Endpoint): void {
    this.demux.remove(previous);
    this.deadlines.remove(previous);
    this.transmit.remove(previous);
    next.interfaceId = previous.interfaceId;
    this.demux.insert(next);
  }

  forget(endpoint: Endpoint): void {
    this.demux.remove(endpoint);
    this.deadlines.remove(endpoint);
    this.transmit.remove(endpoint);
    if (endpoint.kind === EndpointKind.TimeWait) this.timeWaits--;
  }

  /** Something happened to `endpoint`: reads its events, files its deadline, queues it if it has something to send. */
  after(now: number, endpoint: Endpoint): void {
    const { events } = endpoint;
    if (events !== 0) {
      endpoint.events = 0;
      if ((events & EndpointEvent.Failed) !== 0) this.onHandshakeFailed(endpoint as Handshake);
      const owner = ownerOf(endpoint);
      if (owner !== null && owner.stream !== null) {
        owner.onEndpointEvents(endpoint, events);
        if (owner.hasReady) this.ready.add(owner);
      }
      if ((events & EndpointEvent.TimeWait) !== 0) {
        this.enterTimeWait(now, endpoint as TcpConnection);
        return;
      }
    }
    if (endpoint.invariant !== '') this.recordDefect(endpoint);
    const owner = ownerOf(endpoint);
    if (owner !== null && owner.mptcp !== null) this.markDirty(owner);
    if (endpoint.isFinished) {
      this.forget(endpoint);
      return;
    }
    this.file(endpoint);
  }

  /**
   * `endpoint` has nothing more to send at this instant. Its connection is settled anew only when it says that it has changed:
   * what went out is no news to the other subflows.
   */
  afterTransmit(now: number, endpoint: Endpoint): void {
    const owner = ownerOf(endpoint);
    const mptcp = owner === null ? null : owner.mptcp;
    if (
      mptcp === null ||
      endpoint.events !== 0 ||
      mptcp.events !== 0 ||
      mptcp.wantsUpdate ||
      endpoint.invariant !== '' ||
      endpoint.isFinished
    ) {
      this.after(now, endpoint);
      return;
    }
    this.file(endpoint);
    this.deadlines.update(mptcp);
  }

  /** Its deadline and its wish to send are known. */
  private file(endpoint: Endpoint): void {
    this.deadlines.update(endpoint);
    if (!endpoint.queued && endpoint.wantsTransmit) this.transmit.add(endpoint);
  }

  private onHandshakeFailed(handshake: Handshake): void {
    if (this.listeners.end(handshake) === undefined) return;
    if (handshake.extension instanceof CapableRequest) this.tokens.release(handshake.extension.localKey.token);
  }

  private enterTimeWait(now: number, endpoint: TcpConnection): void {
    const owner = ownerOf(endpoint);
    if (this.timeWaits >= this.maximumTimeWaits) {
      this.counters.TCPTimeWaitOverflow++;
      this.forget(endpoint);
    } else {
      const waiting = TimeWait.fromConnection(now, endpoint);
      this.replace(endpoint, waiting);
      this.timeWaits++;
      this.after(now, waiting);
    }
    if (owner !== null && owner.mptcp !== null) this.markDirty(owner);
  }

  private recordDefect(endpoint: Endpoint): void {
    this.defects.push(`${endpoint.tuple}: ${endpoint.invariant}`);
    endpoint.invariant = '';
    if (this.defects.length > DEFECTS) this.defects.shift();
  }

  /** A command or an event concerned `connection`. */
  touch(now: number, connection: Connection): void {
    if (connection.mptcp !== null) this.markDirty(connection);
    else this.after(now, connection.stream!.endpoint);
  }

  /** Something concerned whoever `endpoint` belongs to. */
  touchOwner(now: number, endpoint: Endpoint): void {
    const owner = ownerOf(endpoint);
    if (owner !== null && owner.mptcp !== null) this.markDirty(owner);
    else this.after(now, endpoint);
  }

  /** Something concerned all connections. */
  touchAll(now: number): void {
    for (const endpoint of this.demux) this.touchOwner(now, endpoint);
    // Between two subflows a connection has no endpoint (A10.06).
    for (const connection of this.tokens.owners()) this.markDirty(connection);
  }

  /** A multipath connection is settled before the next output. */
  markDirty(connection: Connection): void {
    if (connection.dirty) return;
    connection.dirty = true;
    if (this.lastDirty === null) this.firstDirty = connection;
    else this.lastDirty.dirtyNext = connection;
    this.lastDirty = connection;
  }

  /** The next multipath connection to settle; null when all are. */
  takeDirty(): Connection | null {
    const connection = this.firstDirty;
    if (connection === null) return null;
    this.firstDirty = connection.dirtyNext;
    if (this.firstDirty === null) this.lastDirty = null;
    connection.dirtyNext = null;
    connection.dirty = false;
    return connection;
  }
}

import { type MptcpConfig, mptcpDefaults } from '../mptcp/config.ts';
import { MptcpConnection } from '../mptcp/connection.ts';
import { MptcpCounters } from '../mptcp/counters.ts';
import type { PathManager, RandomWords, SchedulerFactory } from '../mptcp/seams.ts';
import { Subflow } from '../mptcp/subflow.ts';
import { TokenTable } from '../mptcp/tokens.ts';
import { cubic } from '../policy/congestion/cubic.ts';
import { EndpointPathManager } from '../policy/path-manager/endpoints.ts';
import { LowestLinger } from '../policy/scheduler/lowest-linger.ts';
import { type TcpConfig, tcpDefaults } from '../tcp/config.ts';
import { TcpConnection } from '../tcp/connection.ts';
import { TcpCounters } from '../tcp/counters.ts';
import { type Endpoint, EndpointEvent, EndpointKind } from '../tcp/endpoint.ts';
import { Handshake } from '../tcp/handshake.ts';
import { CloseReason } from '../tcp/seams.ts';
import type { TimeWait } from '../tcp/time-wait.ts';
import type { Address } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { decodeIp, IpHeader, Protocol } from '../wire/ip.ts';
import type { Packet } from '../wire/packet.ts';
import { Option, Segment } from '../wire/segment.ts';
import { decodeTcp } from '../wire/tcp.ts';
import { ActiveOpens, type ConnectRequest } from './active-opens.ts';
import { BlackHoles } from './black-hole.ts';
import type { StackOptions } from './config.ts';
import { type Connection, type OpeningHost, ownerOf } from './connection.ts';
import { IpCounters } from './counters.ts';
import type { Timed } from './deadlines.ts';
import { Demux } from './demux.ts';
import { Endpoints } from './endpoints.ts';
import { Environments } from './environments.ts';
import type { Handle } from './handle.ts';
import { IcmpInput } from './icmp.ts';
import { InitialSequences } from './initial-sequence.ts';
import { type Interface, Interfaces } from './interfaces.ts';
import type { Listener } from './listener.ts';
import { Listeners, type ListenRequest } from './listeners.ts';
import { PassiveOpens } from './passive-opens.ts';
import { Ports } from './ports.ts';
import { Promotion } from './promotion.ts';
import { ReadyQueue } from './ready-queue.ts';
import { Replies } from './replies.ts';
import type { InterfaceAddress, InterfaceConfig, PacketHost } from './seams.ts';
import { Settlement } from './settlement.ts';

/**
 * A host: several interfaces, many connections. See `PacketHost` for the turn it takes part in. Owns what the parts of a
 * host share (interfaces, ports, tokens, the table of tuples) and who hears of what: a packet, a deadline, a command.
 * How connections begin is `ActiveOpens`', `PassiveOpens`' and `Promotion`'s; what a connection does is the connection's.
 */
export class Stack implements PacketHost, OpeningHost {
  /** Time of the last call from outside; commands between calls happen at it. */
  now = 0;
  readonly interfaces = new Interfaces();
  readonly tcpConfig: TcpConfig;
  readonly config: MptcpConfig;
  readonly tcpCounters = new TcpCounters();
  readonly counters = new MptcpCounters();
  readonly ipCounters = new IpCounters();
  readonly random: RandomWords;
  readonly pathManager: PathManager;
  readonly scheduler: SchedulerFactory;
  readonly ports: Ports;
  readonly blackHoles = new BlackHoles();
  /** Descriptions of invariants that broke, the latest last: our defects, each closed one connection. */
  readonly defects: string[];

  private readonly tokens = new TokenTable<Connection>();
  private readonly demux: Demux;
  private readonly listeners: Listeners;
  private readonly endpoints: Endpoints;
  private readonly ready = new ReadyQueue();
  private readonly activeOpens: ActiveOpens;
  private readonly passiveOpens: PassiveOpens;
  private readonly promotion: Promotion;
  private readonly settlement: Settlement;
  private readonly replies: Replies;
  private readonly icmp: IcmpInput;

  private readonly header = new IpHeader();
  private readonly received = new Segment();
  private readonly sending = new Segment();

  constructor(options: StackOptions) {
    this.random = options.random;
    this.tcpConfig = { ...tcpDefaults(cubic), ...options.tcp };
    this.config = { ...mptcpDefaults(), ...options.mptcp };
    this.scheduler = options.scheduler ?? (() => new LowestLinger());
    this.pathManager = options.pathManager ?? new EndpointPathManager();
    const { interfaces, tokens, ready, blackHoles, tcpCounters } = this;
    const sequences = new InitialSequences(this.random);
    this.demux = new Demux(this.random.word());
    this.ports = new Ports(this.random);
    const hopLimit = options.hopLimit ?? 64;
    const environments = new Environments(this.tcpConfig, tcpCounters, sequences, this.random, hopLimit);
    this.replies = new Replies(this.ipCounters, tcpCounters);
    this.icmp = new IcmpInput(this.ipCounters, this.replies);

    const { demux, ports, replies } = this;
    const listeners = new Listeners(interfaces, ports);
    const maximumTimeWaits = options.maximumTimeWaits ?? 65_536;
    const endpoints = new Endpoints(demux, tokens, listeners, ready, tcpCounters, maximumTimeWaits);
    this.listeners = listeners;
    this.endpoints = endpoints;
    this.defects = endpoints.defects;
    this.activeOpens = new ActiveOpens(this, interfaces, ports, demux, tokens, environments, endpoints, blackHoles);
    this.passiveOpens = new PassiveOpens(this, listeners, tokens, environments, endpoints, replies, tcpCounters);
    this.promotion = new Promotion(this, listeners, tokens, endpoints, ready, blackHoles);
    this.settlement = new Settlement(endpoints, this.activeOpens, tokens, ready);
  }

  // ---------------------------------------------------------------------------------------------- interfaces

  /** Adds an interface, up. Its id is what `onPacket` and `pollTransmit` speak of. */
  addInterface(config: InterfaceConfig): number {
    const added = this.interfaces.add(config);
    for (const { address } of added.addresses) this.announceAddress(address);
    return added.id;
  }

  /** Removes an interface with its addresses: paths over it are given up politely. */
  removeInterface(now: number, id: number): void {
    this.now = now;
    const removed = this.interfaces.byId(id);
    if (removed === undefined) return;
    for (const { address } of [...removed.addresses]) this.removeAddress(now, id, address);
    this.interfaces.remove(id);
  }

  /** Link up or down. Nothing is told to peers; paths over a link that is down stop being used at once. */
  setInterfaceUp(now: number, id: number, up: boolean): void {
    this.now = now;
    const changed = this.interfaces.byId(id);
    if (changed === undefined || changed.up === up) return;
    changed.up = up;
    for (const endpoint of [...this.demux]) {
      if (endpoint.interfaceId !== id || !(endpoint instanceof TcpConnection)) continue;
      if (endpoint.extension instanceof Subflow) endpoint.extension.connection.onPathState(now, endpoint.extension, up);
      this.endpoints.touchOwner(now, endpoint);
    }
  }

  addAddress(now: number, id: number, address: InterfaceAddress): void {
    this.now = now;
    const target = this.interfaces.byId(id);
    if (target === undefined || target.has(address.address)) return;
    target.addresses.push(address);
    this.announceAddress(address.address);
  }

  /** The address is gone: its subflows end, their data goes elsewhere, peers are told by REMOVE_ADDR. */
  removeAddress(now: number, id: number, address: Address): void {
    this.now = now;
    const target = this.interfaces.byId(id);
    const index = target?.addresses.findIndex((entry) => entry.address.equals(address)) ?? -1;
    if (target === undefined || index < 0) return;
    target.addresses.splice(index, 1);
    if (this.pathManager instanceof EndpointPathManager) this.pathManager.onAddressRemoved(now, address);
    for (const endpoint of [...this.demux]) {
      if (!endpoint.tuple.local.equals(address)) continue;
      if (endpoint instanceof TcpConnection) {
        if (endpoint.extension instanceof Subflow) this.counters.RmSubflow++;
        endpoint.onAddressGone(now);
      } else if (endpoint instanceof Handshake) endpoint.closeSilently(now, CloseReason.AddressGone);
      this.endpoints.after(now, endpoint);
    }
  }

  private announceAddress(address: Address): void {
    if (this.pathManager instanceof EndpointPathManager) this.pathManager.onAddressAdded(this.now, address);
    this.touchAll();
  }

  /** Endpoints or limits of the path manager changed: connections may have something to say. */
  touchAll(): void {
    this.endpoints.touchAll(this.now);
  }

  // ---------------------------------------------------------------------------------------------- commands

  /** Starts a connection. @throws StackError ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE */
  connect(now: number, request: ConnectRequest): Connection {
    this.now = now;
    return this.activeOpens.connect(now, request);
  }

  /** Opens a port. @throws StackError EADDRINUSE, EADDRNOTAVAIL */
  listen(request: ListenRequest): Listener {
    return this.listeners.open(request, this.config.enabled);
  }

  /** Closes a listener; connections that nobody accepted are reset (RFC 9293 §3.10.4). */
  closeListener(listener: Listener): void {
    if (listener.closed) return;
    this.listeners.close(listener);
    for (let waiting = listener.dequeue(); waiting !== undefined; waiting = listener.dequeue()) waiting.abort();
    for (const handshake of this.listeners.handshakes(listener)) {
      handshake.abort(this.now);
      this.endpoints.after(this.now, handshake);
    }
    listener.descriptor = -1;
  }

  /** The next connection that waits at `listener`. */
  accept(listener: Listener): Connection | undefined {
    const connection = listener.dequeue();
    if (connection !== undefined) connection.listener = null;
    return connection;
  }

  /** Gives `handle` the number under which `pollReady` names it. */
  attach(handle: Handle, descriptor: number): void {
    handle.descriptor = descriptor;
    if (handle.hasReady) this.ready.add(handle);
  }

  /** The user of `connection` left. */
  release(connection: Connection): void {
    connection.descriptor = -1;
  }

  /** A command or an event concerned `connection`. */
  touch(connection: Connection): void {
    this.endpoints.touch(this.now, connection);
  }

  /** Every connection, for listings. */
  *connections(): Generator<Connection> {
    const seen = new Set<Connection>();
    for (const endpoint of this.demux) {
      const owner = ownerOf(endpoint);
      if (owner === null || seen.has(owner)) continue;
      seen.add(owner);
      yield owner;
    }
    // Between two subflows a connection has no endpoint (A10.06).
    for (const owner of this.tokens.owners()) if (!seen.has(owner)) yield owner;
  }

  /** Endpoints in the table, TIME-WAITs included. */
  get endpointCount(): number {
    return this.demux.size;
  }

  /** Tokens in use, those of handshakes under way included. */
  get tokenCount(): number {
    return this.tokens.size;
  }

  // ---------------------------------------------------------------------------------------------- PacketHost

  onPacket(now: number, interfaceId: number, packet: Packet): void {
    this.now = now;
    this.ipCounters.InReceives++;
    const drop = this.input(now, interfaceId, packet);
    if (drop !== Drop.None) this.ipCounters.onDrop(drop);
  }

  private input(now: number, interfaceId: number, packet: Packet): number {
    const arrival = this.interfaces.byId(interfaceId);
    if (arrival === undefined || !arrival.up) return Drop.InterfaceDown;
    const { header } = this;
    const drop = decodeIp(packet, header);
    if (drop !== Drop.None) return drop;
    if (
      !this.interfaces.owns(
        header.family,
        header.destination0,
        header.destination1,
        header.destination2,
        header.destination3,
        arrival.loopback,
      )
    ) {
      return Drop.NotForUs;
    }
    if (header.protocol === Protocol.Tcp) return this.inputTcp(now, arrival, packet);
    if (header.protocol === (header.family === 4 ? Protocol.Icmp : Protocol.Icmp6)) {
      return this.inputIcmp(now, interfaceId, packet);
    }
    return Drop.UnknownProtocol;
  }

  private inputTcp(now: number, arrival: Interface, packet: Packet): number {
    const segment = this.received;
    const { tcpCounters } = this;
    const drop = decodeTcp(packet, this.header, segment);
    if (drop !== Drop.None) {
      tcpCounters.InErrs++;
      if (drop === Drop.BadTcpChecksum) tcpCounters.InCsumErrors++;
      return drop;
    }
    this.ipCounters.InDelivers++;
    tcpCounters.InSegs += packet.gsoSize > 0 ? Math.ceil(segment.length / packet.gsoSize) : 1;
    if ((segment.options & Option.Authentication) !== 0) return Drop.Authentication;
    const endpoint = this.demux.find(segment);
    if (endpoint !== null && this.deliver(now, endpoint, segment, packet)) return Drop.None;
    this.passiveOpens.onSegment(now, arrival, segment);
    return Drop.None;
  }

  /** False when the segment is for a new connection after all: TIME-WAIT gives way to a newer SYN. */
  private deliver(now: number, endpoint: Endpoint, segment: Segment, packet: Packet): boolean {
    if (endpoint.kind === EndpointKind.TimeWait) {
      if ((endpoint as TimeWait).acceptsSyn(segment)) {
        this.tcpCounters.TWRecycled++;
        this.endpoints.forget(endpoint);
        return false;
      }
    } else if (endpoint.kind === EndpointKind.Handshake) {
      if (this.passiveOpens.isHeldUp(endpoint as Handshake, segment)) return true;
    }
    endpoint.onSegment(now, segment, packet);
    if ((endpoint.events & EndpointEvent.Promoted) === 0) this.endpoints.after(now, endpoint);
    else this.promotion.promote(now, endpoint as Handshake, segment, packet);
    return true;
  }

  onTimeout(now: number): void {
    this.now = now;
    const { deadlines } = this.endpoints;
    for (let due = deadlines.pop(now); due !== null; due = deadlines.pop(now)) this.run(now, due);
  }

  private run(now: number, due: Timed): void {
    if (due instanceof MptcpConnection) {
      due.onTimeout(now);
      const connection = this.tokens.find(due.token);
      if (connection !== undefined) this.endpoints.markDirty(connection);
      this.endpoints.deadlines.update(due);
      return;
    }
    const endpoint = due as unknown as Endpoint;
    endpoint.onTimeout(now);
    this.endpoints.after(now, endpoint);
  }

  pollTransmit(now: number, out: Packet): number {
    if (now > this.now) this.now = now;
    const { endpoints, settlement } = this;
    const { transmit } = endpoints;
    settlement.settle(this.now);
    const reply = this.replies.poll(out);
    if (reply >= 0) {
      this.ipCounters.OutRequests++;
      return reply;
    }
    for (let endpoint = transmit.head; endpoint !== null; endpoint = transmit.head) {
      if (endpoint.pollTransmit(now, this.sending, out)) {
        // One at a time from each: many connections share a link fairly.
        transmit.rotate();
        const { interfaceId } = endpoint;
        if (endpoint.events !== 0) endpoints.after(this.now, endpoint);
        const target = this.interfaces.byId(interfaceId);
        if (target === undefined || !target.up) {
          this.ipCounters.onDrop(Drop.InterfaceDown);
          continue;
        }
        this.ipCounters.OutRequests++;
        return interfaceId;
      }
      transmit.shift();
      endpoints.afterTransmit(this.now, endpoint);
      settlement.settle(this.now);
    }
    return -1;
  }

  pollTimeout(): number {
    this.settlement.settle(this.now);
    if (this.endpoints.transmit.head !== null || this.replies.count > 0) return this.now;
    return this.endpoints.deadlines.earliest;
  }

  pollReady(): number {
    this.settlement.settle(this.now);
    return this.ready.poll();
  }

  private inputIcmp(now: number, interfaceId: number, packet: Packet): number {
    const drop = this.icmp.onPacket(packet, this.header, interfaceId);
    if (drop !== Drop.None || !this.icmp.concernsTcp) return drop;
    const endpoint = this.demux.get(
      this.icmp.quotedLocal,
      this.icmp.quotedLocalPort,
      this.icmp.quotedPeer,
      this.icmp.quotedPeerPort,
    );
    if (endpoint === null) {
      this.tcpCounters.OutOfWindowIcmps++;
      return Drop.None;
    }
    endpoint.onIcmp(now, this.icmp.kind, this.icmp.mtu, this.icmp.quotedSequence);
    this.endpoints.after(now, endpoint);
    return Drop.None;
  }
}

import { usableCapable } from '../mptcp/capable.ts';
import { type MptcpConfig, mptcpDefaults } from '../mptcp/config.ts';
import { InvariantError, MptcpConnection, type MptcpHost } from '../mptcp/connection.ts';
import { MptcpCounters } from '../mptcp/counters.ts';
import { FallbackReason } from '../mptcp/fallback.ts';
import { CapableRequest } from '../mptcp/request.ts';
import type { JoinRequest, PathManager, RandomWords, SchedulerFactory } from '../mptcp/seams.ts';
import { Subflow } from '../mptcp/subflow.ts';
import { TokenTable } from '../mptcp/tokens.ts';
import { cubic } from '../policy/congestion/cubic.ts';
import { EndpointPathManager } from '../policy/path-manager/endpoints.ts';
import { LowestLinger } from '../policy/scheduler/lowest-linger.ts';
import { type TcpConfig, tcpDefaults } from '../tcp/config.ts';
import { initialSegmentSize, TcpConnection } from '../tcp/connection.ts';
import { TcpCounters } from '../tcp/counters.ts';
import { ChallengeLimiter, type Endpoint, type EndpointEnvironment, EndpointEvent, Tuple } from '../tcp/endpoint.ts';
import { Handshake } from '../tcp/handshake.ts';
import { NULL_EXTENSION } from '../tcp/null-extension.ts';
import { ReceiveRing } from '../tcp/receive-ring.ts';
import { CloseReason } from '../tcp/seams.ts';
import { SendQueue } from '../tcp/send-queue.ts';
import { initialWindow } from '../tcp/sender.ts';
import { TcpStream } from '../tcp/stream.ts';
import { TimeWait } from '../tcp/time-wait.ts';
import { Address } from '../wire/address.ts';
import { Drop } from '../wire/drop.ts';
import { decodeIp, IpHeader, Protocol } from '../wire/ip.ts';
import { Mptcp, ResetReason } from '../wire/mptcp-options.ts';
import type { Packet } from '../wire/packet.ts';
import { Flag, Option, Segment } from '../wire/segment.ts';
import { decodeTcp } from '../wire/tcp.ts';
import { BlackHoles } from './black-hole.ts';
import { StackError, type StackOptions } from './config.ts';
import { Connection, type ConnectionHost } from './connection.ts';
import { IpCounters } from './counters.ts';
import { Deadlines, type Timed } from './deadlines.ts';
import { Demux } from './demux.ts';
import type { Handle } from './handle.ts';
import { Ready } from './handle.ts';
import { IcmpInput } from './icmp.ts';
import { InitialSequences } from './initial-sequence.ts';
import { type Interface, Interfaces } from './interfaces.ts';
import { Listener } from './listener.ts';
import { Ports } from './ports.ts';
import { Replies } from './replies.ts';
import type { InterfaceAddress, InterfaceConfig, PacketHost } from './seams.ts';

/** A request for a connection. */
export interface ConnectRequest {
  readonly peer: Address;
  readonly peerPort: number;
  /** Undefined: chosen by routing. */
  readonly local?: Address;
  /** 0 or absent: an ephemeral one. */
  readonly localPort?: number;
  /** Offer MP_CAPABLE. */
  readonly multipath: boolean;
  readonly tcp?: Partial<TcpConfig>;
}

export interface ListenRequest {
  /** Undefined: any. */
  readonly address?: Address;
  /** 0: an ephemeral one. */
  readonly port: number;
  readonly multipath: boolean;
  readonly backlog: number;
  /** What its connections inherit. */
  readonly tcp?: Partial<TcpConfig>;
}

/**
 * A host: several interfaces, many connections. See `PacketHost` for the turn it takes part in. Owns the tables
 * (tuples, tokens, ports, listeners, deadlines); what a connection does is the connection's.
 */
export class Stack implements PacketHost, ConnectionHost, MptcpHost {
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
  readonly defects: string[] = [];

  private readonly tokens = new TokenTable<Connection>();
  private readonly demux: Demux;
  private readonly deadlines = new Deadlines();
  private readonly sequences: InitialSequences;
  private readonly challenge: ChallengeLimiter;
  private readonly hopLimit: number;
  private readonly maximumTimeWaits: number;
  private timeWaits = 0;
  private readonly listeners = new Map<number, Listener[]>();
  private readonly ready: Handle[] = [];
  private readyHead = 0;
  private dirty: Connection[] = [];
  private settling: Connection[] = [];
  private transmitHead: Endpoint | null = null;
  private transmitTail: Endpoint | null = null;
  private readonly replies: Replies;
  private readonly icmp: IcmpInput;
  /** Handshakes of servers by endpoint: their listener. */
  private readonly requests = new Map<Handshake, Listener>();

  private readonly header = new IpHeader();
  private readonly received = new Segment();
  private readonly sending = new Segment();

  constructor(options: StackOptions) {
    this.random = options.random;
    this.tcpConfig = { ...tcpDefaults(cubic), ...options.tcp };
    this.config = { ...mptcpDefaults(), ...options.mptcp };
    this.scheduler = options.scheduler ?? (() => new LowestLinger());
    this.pathManager = options.pathManager ?? new EndpointPathManager();
    this.hopLimit = options.hopLimit ?? 64;
    this.maximumTimeWaits = options.maximumTimeWaits ?? 65_536;
    this.sequences = new InitialSequences(this.random);
    this.demux = new Demux(this.random.word());
    this.ports = new Ports(this.random);
    this.challenge = new ChallengeLimiter(this.tcpConfig.challengeAckLimit, this.random.word());
    this.replies = new Replies(this.ipCounters, this.tcpCounters);
    this.icmp = new IcmpInput(this.ipCounters, this.replies);
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
      this.touchOwner(endpoint);
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
      this.after(endpoint);
    }
  }

  private announceAddress(address: Address): void {
    if (this.pathManager instanceof EndpointPathManager) this.pathManager.onAddressAdded(this.now, address);
    this.touchAll();
  }

  /** Endpoints or limits of the path manager changed: connections may have something to say. */
  touchAll(): void {
    for (const endpoint of this.demux) this.touchOwner(endpoint);
    // Between two subflows a connection has no endpoint (A10.06).
    for (const connection of this.tokens.owners()) this.markDirty(connection);
  }

  // ---------------------------------------------------------------------------------------------- commands

  /** Starts a connection. @throws StackError ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE */
  connect(now: number, request: ConnectRequest): Connection {
    this.now = now;
    const route = this.interfaces.route(request.peer, request.local);
    if (route === undefined) {
      if (request.local !== undefined && this.interfaces.owner(request.local) === undefined) {
        throw new StackError('EADDRNOTAVAIL', `${request.local} is no address of this host`);
      }
      throw new StackError('ENETUNREACH', `no interface leads to ${request.peer}`);
    }
    const { local } = route;
    const isFree = (port: number) => !this.demux.has(local, port, request.peer, request.peerPort);
    const wanted = request.localPort ?? 0;
    const localPort = wanted === 0 ? this.ports.ephemeral(isFree) : wanted;
    if (localPort === 0) throw new StackError('EADDRNOTAVAIL', 'no free local port');
    if (!isFree(localPort)) throw new StackError('EADDRINUSE', `${local}:${localPort} is in use`);
    const tuple = new Tuple(local, localPort, request.peer, request.peerPort);
    const environment = this.environment(route.interface, tuple, request.tcp);
    const sequence = this.sequences.isn(now, tuple);
    if (!request.multipath || !this.config.enabled) {
      const stream = TcpStream.connect(now, environment, tuple, sequence);
      const connection = new Connection(this, tuple, stream, null);
      this.adopt(stream.handshake, connection, route.interface.id);
      return connection;
    }
    const connection = this.connectMultipath(now, tuple, environment, sequence, route.interface.id);
    connection.tcp = request.tcp;
    return connection;
  }

  private connectMultipath(
    now: number,
    tuple: Tuple,
    environment: EndpointEnvironment,
    sequence: number,
    interfaceId: number,
  ): Connection {
    const key = this.tokens.reserve(this.random);
    if (key === undefined) {
      this.counters.MPFallbackTokenInit++;
      const stream = TcpStream.connect(now, environment, tuple, sequence);
      const connection = new Connection(this, tuple, stream, null);
      this.adopt(stream.handshake, connection, interfaceId);
      return connection;
    }
    const mptcp = new MptcpConnection(this, key, tuple, this.queues(false, environment.config));
    const connection = new Connection(this, tuple, null, mptcp);
    this.tokens.own(key.token, connection);
    if (this.blackHoles.isActive(now, tuple.peer)) {
      this.counters.MPCapableSYNTXDisabled++;
      mptcp.fallbackReason = FallbackReason.BlackHole;
    }
    const subflow = mptcp.addSubflow(tuple, { active: true, joined: false, localId: 0, peerId: 0, backup: false });
    const handshake = Handshake.connect(now, environment, tuple, sequence, subflow);
    subflow.endpoint = handshake;
    this.adopt(handshake, connection, interfaceId);
    return connection;
  }

  /** Opens a port. @throws StackError EADDRINUSE, EADDRNOTAVAIL */
  listen(request: ListenRequest): Listener {
    if (request.address !== undefined && this.interfaces.owner(request.address) === undefined) {
      throw new StackError('EADDRNOTAVAIL', `${request.address} is no address of this host`);
    }
    const port = request.port === 0 ? this.ports.ephemeral(() => true) : request.port;
    if (port === 0) throw new StackError('EADDRINUSE', 'no free port to listen on');
    if (!this.ports.bind(request.address, port, false)) {
      throw new StackError('EADDRINUSE', `port ${port} is in use`);
    }
    const listener = new Listener(request.address, port, request.multipath && this.config.enabled, request.backlog);
    listener.tcp = request.tcp;
    const others = this.listeners.get(port);
    if (others === undefined) this.listeners.set(port, [listener]);
    else others.push(listener);
    return listener;
  }

  /** Closes a listener; connections that nobody accepted are reset (RFC 9293 §3.10.4). */
  closeListener(listener: Listener): void {
    if (listener.closed) return;
    listener.closed = true;
    const others = this.listeners.get(listener.port)?.filter((other) => other !== listener) ?? [];
    if (others.length === 0) this.listeners.delete(listener.port);
    else this.listeners.set(listener.port, others);
    this.ports.release(listener.address, listener.port);
    for (let waiting = listener.dequeue(); waiting !== undefined; waiting = listener.dequeue()) waiting.abort();
    for (const [handshake, owner] of this.requests) {
      if (owner !== listener) continue;
      handshake.abort(this.now);
      this.after(handshake);
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
    if (handle.hasReady) this.queueReady(handle);
  }

  /** The user of `connection` left. */
  release(connection: Connection): void {
    connection.descriptor = -1;
  }

  /** Every connection, for listings. */
  *connections(): Generator<Connection> {
    const seen = new Set<Connection>();
    for (const endpoint of this.demux) {
      const { owner } = endpoint;
      if (!(owner instanceof Connection) || seen.has(owner)) continue;
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
    if ((segment.flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === Flag.Syn) this.onSyn(now, arrival, segment);
    else if ((segment.flags & Flag.Rst) === 0) this.replies.reset(segment, arrival.id, -1);
    return Drop.None;
  }

  /** False when the segment is for a new connection after all: TIME-WAIT gives way to a newer SYN. */
  private deliver(now: number, endpoint: Endpoint, segment: Segment, packet: Packet): boolean {
    if (endpoint instanceof TimeWait) {
      if (endpoint.acceptsSyn(segment)) {
        this.tcpCounters.TWRecycled++;
        this.forget(endpoint);
        return false;
      }
    } else if (endpoint instanceof Handshake && !endpoint.active && (segment.flags & (Flag.Syn | Flag.Rst)) === 0) {
      const listener = this.requests.get(endpoint);
      if (listener?.isFull === true) {
        // As Linux: the handshake waits for room, the client retransmits.
        this.tcpCounters.ListenOverflows++;
        this.tcpCounters.ListenDrops++;
        return true;
      }
    }
    endpoint.onSegment(now, segment, packet);
    if ((endpoint.events & EndpointEvent.Promoted) !== 0) this.promote(now, endpoint as Handshake, segment, packet);
    else this.after(endpoint);
    return true;
  }

  onTimeout(now: number): void {
    this.now = now;
    for (let due = this.deadlines.pop(now); due !== null; due = this.deadlines.pop(now)) this.run(now, due);
  }

  private run(now: number, due: Timed): void {
    if (due instanceof MptcpConnection) {
      due.onTimeout(now);
      const connection = this.tokens.find(due.token);
      if (connection !== undefined) this.markDirty(connection);
      this.deadlines.update(due);
      return;
    }
    const endpoint = due as unknown as Endpoint;
    endpoint.onTimeout(now);
    this.after(endpoint);
  }

  pollTransmit(now: number, out: Packet): number {
    if (now > this.now) this.now = now;
    this.settle();
    const reply = this.replies.poll(out);
    if (reply >= 0) {
      this.ipCounters.OutRequests++;
      return reply;
    }
    for (let endpoint = this.transmitHead; endpoint !== null; endpoint = this.transmitHead) {
      if (endpoint.pollTransmit(now, this.sending, out)) {
        // One at a time from each: many connections share a link fairly.
        if (this.transmitHead !== this.transmitTail) this.rotate(endpoint);
        const { interfaceId } = endpoint;
        if (endpoint.events !== 0) this.after(endpoint);
        const target = this.interfaces.byId(interfaceId);
        if (target === undefined || !target.up) {
          this.ipCounters.onDrop(Drop.InterfaceDown);
          continue;
        }
        this.ipCounters.OutRequests++;
        return interfaceId;
      }
      this.transmitHead = endpoint.readyNext;
      if (this.transmitHead === null) this.transmitTail = null;
      endpoint.readyNext = null;
      endpoint.queued = false;
      this.after(endpoint);
      if (this.dirty.length > 0) this.settle();
    }
    return -1;
  }

  pollTimeout(): number {
    this.settle();
    if (this.transmitHead !== null || this.replies.count > 0) return this.now;
    return this.deadlines.earliest;
  }

  pollReady(): number {
    this.settle();
    while (this.readyHead < this.ready.length) {
      const handle = this.ready[this.readyHead++]!;
      if (this.readyHead > 64 && this.readyHead * 2 > this.ready.length) {
        this.ready.splice(0, this.readyHead);
        this.readyHead = 0;
      }
      handle.queued = false;
      if (handle.descriptor >= 0 && handle.hasReady) return handle.descriptor;
    }
    this.ready.length = 0;
    this.readyHead = 0;
    return -1;
  }

  // ---------------------------------------------------------------------------------------------- passive opens

  private onSyn(now: number, arrival: Interface, segment: Segment): void {
    const local = addressOf(
      segment.family,
      segment.destination0,
      segment.destination1,
      segment.destination2,
      segment.destination3,
    );
    const peer = addressOf(segment.family, segment.source0, segment.source1, segment.source2, segment.source3);
    const tuple = new Tuple(local, segment.destinationPort, peer, segment.sourcePort);
    if ((segment.mptcp.present & Mptcp.JoinSyn) !== 0) {
      this.onJoinSyn(now, arrival, tuple, segment);
      return;
    }
    const listener = this.listenerFor(local, segment.destinationPort);
    if (listener === undefined) {
      this.replies.reset(segment, arrival.id, -1);
      return;
    }
    if (listener.isCrowded) {
      if (listener.isFull) this.tcpCounters.ListenOverflows++;
      else this.tcpCounters.TCPReqQFullDrop++;
      this.tcpCounters.ListenDrops++;
      return;
    }
    const capable = (segment.mptcp.present & Mptcp.CapableSyn) !== 0;
    if (capable) this.counters.MPCapableSYNRX++;
    let extension = NULL_EXTENSION as typeof NULL_EXTENSION | CapableRequest;
    if (listener.multipath && usableCapable(segment.mptcp, Mptcp.CapableSyn)) {
      const key = this.tokens.reserve(this.random);
      if (key === undefined) this.counters.MPFallbackTokenInit++;
      else extension = new CapableRequest(key, segment.mptcp.capableFlags, this.config, this.counters);
    }
    const environment = this.environment(arrival, tuple, listener.tcp);
    const handshake = Handshake.accept(now, environment, tuple, this.sequences.isn(now, tuple), extension, segment);
    handshake.interfaceId = arrival.id;
    listener.halfOpen++;
    this.requests.set(handshake, listener);
    this.demux.insert(handshake);
    this.after(handshake);
  }

  private onJoinSyn(now: number, arrival: Interface, tuple: Tuple, segment: Segment): void {
    const { counters } = this;
    const options = segment.mptcp;
    counters.MPJoinSynRx++;
    if (options.joinBackup) counters.MPJoinSynBackupRx++;
    const connection = this.tokens.find(options.joinToken);
    const mptcp = connection?.mptcp ?? null;
    if (connection === undefined || mptcp === null) {
      // RFC 8684 §3.2: an unknown token is answered with a RST (A4.03).
      counters.MPJoinNoTokenFound++;
      this.replies.reset(segment, arrival.id, ResetReason.MptcpSpecific);
      counters.MPRstTx++;
      return;
    }
    if (tuple.localPort !== mptcp.initialLocalPort) {
      counters.MPJoinPortSynRx++;
      // A4.16: another port than the initial one must have been announced.
      if (!mptcp.announcements.invites(tuple.local, tuple.localPort)) {
        counters.MismatchPortSynRx++;
        this.replies.reset(segment, arrival.id, ResetReason.Prohibited);
        counters.MPRstTx++;
        return;
      }
    }
    const refused =
      mptcp.fallenBack ||
      mptcp.closeReason >= 0 ||
      mptcp.peerKey === null ||
      mptcp.halfOpenJoins >= this.config.maximumHalfOpenJoins;
    if (refused) {
      counters.MPJoinRefused++;
      this.replies.reset(segment, arrival.id, ResetReason.Prohibited);
      counters.MPRstTx++;
      return;
    }
    const subflow = mptcp.addSubflow(tuple, {
      active: false,
      joined: true,
      localId: this.pathManager.localId(mptcp, tuple.local),
      peerId: options.joinAddressId,
      backup: this.pathManager.localBackup(mptcp, tuple.local),
    });
    subflow.peerBackup = options.joinBackup;
    mptcp.acceptJoin(subflow, options.joinNonce);
    const environment = this.environment(arrival, tuple, connection.tcp);
    const handshake = Handshake.accept(now, environment, tuple, this.sequences.isn(now, tuple), subflow, segment);
    subflow.endpoint = handshake;
    this.adopt(handshake, connection, arrival.id);
  }

  private listenerFor(local: Address, port: number): Listener | undefined {
    const candidates = this.listeners.get(port);
    if (candidates === undefined) return undefined;
    return (
      candidates.find((listener) => listener.address?.equals(local)) ??
      candidates.find((listener) => listener.address === undefined)
    );
  }

  /** A handshake completed: its connection takes its place and sees the completing segment again. */
  private promote(now: number, handshake: Handshake, segment: Segment, packet: Packet): void {
    handshake.events = 0;
    const listener = this.requests.get(handshake);
    let connection = handshake.owner as Connection | null;
    if (listener !== undefined) {
      this.requests.delete(handshake);
      listener.halfOpen--;
      connection = this.serve(handshake, listener);
    }
    if (connection === null) throw new InvariantError('a handshake completed that nobody owns');
    const { extension } = handshake;
    let endpoint: TcpConnection;
    if (extension instanceof Subflow) {
      const { config } = handshake.environment;
      const size = initialSegmentSize(handshake);
      const congestion = config.congestionControl(size, initialWindow(size, config.initialWindowSegments));
      endpoint = TcpConnection.fromHandshake(now, handshake, extension, extension, congestion);
      extension.tcp = endpoint;
      extension.endpoint = endpoint;
      if (extension.active && !extension.joined) this.noteNegotiation(now, extension);
    } else {
      endpoint = connection.stream!.establish(now);
    }
    this.replace(handshake, endpoint);
    endpoint.owner = connection;
    endpoint.onSegment(now, segment, packet);
    this.after(endpoint);
    if (listener !== undefined) this.offer(listener, connection);
  }

  /** What a client's SYNs taught about the path (A2.16). */
  private noteNegotiation(now: number, subflow: Subflow): void {
    const { connection } = subflow;
    if (connection.fallbackReason === FallbackReason.SynDropped) {
      this.counters.Blackhole++;
      this.blackHoles.record(now, subflow.peer, this.config.blackholeTimeout);
    } else if (!connection.fallenBack && !subflow.peer.isLoopback) {
      this.blackHoles.clear(subflow.peer);
    }
  }

  /** Makes the connection that a listener's handshake became. */
  private serve(handshake: Handshake, listener: Listener): Connection {
    const { extension, tuple } = handshake;
    if (extension instanceof CapableRequest) {
      const { localKey, peerKey } = extension;
      if (peerKey !== null) {
        const mptcp = new MptcpConnection(this, localKey, tuple, this.queues(true, handshake.environment.config));
        mptcp.setPeerKey(peerKey, extension.synFlags);
        const connection = new Connection(this, tuple, null, mptcp);
        this.tokens.own(localKey.token, connection);
        const role = { active: false, joined: false, localId: 0, peerId: 0, backup: false };
        handshake.extension = mptcp.addSubflow(tuple, role);
        connection.listener = listener;
        connection.tcp = listener.tcp;
        return connection;
      }
      this.tokens.release(localKey.token);
      handshake.extension = NULL_EXTENSION;
    }
    const connection = new Connection(this, tuple, TcpStream.fromHandshake(handshake), null);
    connection.listener = listener;
    connection.tcp = listener.tcp;
    return connection;
  }

  private offer(listener: Listener, connection: Connection): void {
    if (listener.closed) {
      connection.abort();
      return;
    }
    listener.enqueue(connection);
    listener.raise(Ready.Acceptable);
    this.queueReady(listener);
  }

  // ---------------------------------------------------------------------------------------------- joins

  private startJoin(now: number, connection: Connection, request: JoinRequest): void {
    const mptcp = connection.mptcp!;
    const { counters } = this;
    const route = this.interfaces.route(request.peer, request.local);
    if (route === undefined) {
      counters.MPJoinSynTxBindErr++;
      return;
    }
    if (mptcp.halfOpenJoins >= this.config.maximumHalfOpenJoins) {
      counters.MPJoinRefused++;
      return;
    }
    const { local } = route;
    const localId = request.local === undefined ? this.pathManager.localId(mptcp, local) : request.localId;
    const isFree = (port: number) => !this.demux.has(local, port, request.peer, request.peerPort);
    const localPort = this.ports.ephemeral(isFree);
    if (localPort === 0) {
      counters.MPJoinSynTxConnectErr++;
      return;
    }
    const tuple = new Tuple(local, localPort, request.peer, request.peerPort);
    const environment = this.environment(route.interface, tuple, connection.tcp);
    const subflow = mptcp.addSubflow(tuple, {
      active: true,
      joined: true,
      localId,
      peerId: request.peerId,
      backup: request.backup,
    });
    const handshake = Handshake.connect(now, environment, tuple, this.sequences.isn(now, tuple), subflow);
    subflow.endpoint = handshake;
    this.adopt(handshake, connection, route.interface.id);
  }

  // ---------------------------------------------------------------------------------------------- bookkeeping

  private queues(serverSide: boolean, tcp: TcpConfig) {
    return {
      sendQueue: new SendQueue(tcp.sendBuffer),
      maximumSendBuffer: tcp.maximumSendBuffer,
      ring: new ReceiveRing(tcp.receiveBuffer, tcp.maximumReceiveBuffer),
      scheduler: this.scheduler(),
      serverSide,
    };
  }

  private environment(via: Interface, tuple: Tuple, overrides: Partial<TcpConfig> | undefined): EndpointEnvironment {
    return {
      mtu: via.mtu,
      segmentationOffload: via.segmentationOffload,
      checksumOffload: via.checksumOffload,
      config: overrides === undefined ? this.tcpConfig : { ...this.tcpConfig, ...overrides },
      counters: this.tcpCounters,
      challenge: this.challenge,
      timestampOffset: this.sequences.timestampOffset(tuple),
      hopLimit: this.hopLimit,
      trafficClass: 0,
    };
  }

  private adopt(handshake: Handshake, connection: Connection, interfaceId: number): void {
    handshake.interfaceId = interfaceId;
    handshake.owner = connection;
    this.demux.insert(handshake);
    this.after(handshake);
  }

  private replace(before: Endpoint, after: Endpoint): void {
    this.demux.remove(before);
    this.deadlines.remove(before);
    this.unqueue(before);
    after.interfaceId = before.interfaceId;
    this.demux.insert(after);
  }

  private forget(endpoint: Endpoint): void {
    this.demux.remove(endpoint);
    this.deadlines.remove(endpoint);
    this.unqueue(endpoint);
    if (endpoint instanceof TimeWait) this.timeWaits--;
  }

  /** Something happened to `endpoint`: reads its events, files its deadline, queues it if it has something to send. */
  private after(endpoint: Endpoint): void {
    const { events } = endpoint;
    if (events !== 0) {
      endpoint.events = 0;
      if ((events & EndpointEvent.Failed) !== 0) this.onHandshakeFailed(endpoint as Handshake);
      const { owner } = endpoint;
      if (owner instanceof Connection && owner.stream !== null) {
        owner.onEndpointEvents(endpoint, events);
        if (owner.hasReady) this.queueReady(owner);
      }
      if ((events & EndpointEvent.TimeWait) !== 0) {
        this.enterTimeWait(endpoint as TcpConnection);
        return;
      }
    }
    if (endpoint.invariant !== '') this.recordDefect(endpoint);
    const { owner } = endpoint;
    if (owner instanceof Connection && owner.mptcp !== null) this.markDirty(owner);
    if (endpoint.isFinished) {
      this.forget(endpoint);
      return;
    }
    this.deadlines.update(endpoint);
    if (endpoint.wantsTransmit) this.queue(endpoint);
  }

  private recordDefect(endpoint: Endpoint): void {
    this.defects.push(`${endpoint.tuple}: ${endpoint.invariant}`);
    endpoint.invariant = '';
    if (this.defects.length > 32) this.defects.shift();
  }

  private onHandshakeFailed(handshake: Handshake): void {
    const listener = this.requests.get(handshake);
    if (listener === undefined) return;
    this.requests.delete(handshake);
    listener.halfOpen--;
    if (handshake.extension instanceof CapableRequest) this.tokens.release(handshake.extension.localKey.token);
  }

  private enterTimeWait(endpoint: TcpConnection): void {
    const { owner } = endpoint;
    if (this.timeWaits >= this.maximumTimeWaits) {
      this.tcpCounters.TCPTimeWaitOverflow++;
      this.forget(endpoint);
    } else {
      const waiting = TimeWait.fromConnection(this.now, endpoint);
      this.replace(endpoint, waiting);
      this.timeWaits++;
      this.after(waiting);
    }
    if (owner instanceof Connection && owner.mptcp !== null) this.markDirty(owner);
  }

  /** A command or an event concerned `connection`. */
  touch(connection: Connection): void {
    if (connection.mptcp !== null) this.markDirty(connection);
    else this.after(connection.stream!.endpoint);
  }

  private touchOwner(endpoint: Endpoint): void {
    const { owner } = endpoint;
    if (owner instanceof Connection && owner.mptcp !== null) this.markDirty(owner);
    else this.after(endpoint);
  }

  private markDirty(connection: Connection): void {
    if (connection.dirty) return;
    connection.dirty = true;
    this.dirty.push(connection);
  }

  /** Updates the multipath connections that something happened to: once per burst, not once per segment. */
  private settle(): void {
    while (this.dirty.length > 0) {
      const batch = this.dirty;
      this.dirty = this.settling;
      this.settling = batch;
      for (let index = 0; index < batch.length; index++) this.update(batch[index]!);
      batch.length = 0;
    }
  }

  private update(connection: Connection): void {
    connection.dirty = false;
    const mptcp = connection.mptcp!;
    const { now } = this;
    if (mptcp.wantsUpdate) mptcp.update(now);
    for (let join = mptcp.takeJoin(); join !== undefined; join = mptcp.takeJoin()) {
      this.startJoin(now, connection, join);
    }
    const { subflows } = mptcp;
    for (let index = 0; index < subflows.length; index++) {
      const endpoint = subflows[index]!.endpoint as Endpoint | null;
      if (endpoint === null) continue;
      this.deadlines.update(endpoint);
      if (endpoint.wantsTransmit) this.queue(endpoint);
    }
    const ended = mptcp.takeEnded();
    for (let index = 0; index < ended.length; index++) {
      const endpoint = ended[index]!.endpoint as Endpoint | null;
      if (endpoint === null) continue;
      if (endpoint.isFinished) this.forget(endpoint);
      else if (endpoint.wantsTransmit) this.queue(endpoint);
    }
    ended.length = 0;
    if (mptcp.wantsUpdate) this.markDirty(connection);
    this.deadlines.update(mptcp);
    connection.takeMptcpEvents();
    if (connection.hasReady) this.queueReady(connection);
    if (mptcp.isFinished) {
      this.tokens.release(mptcp.token);
      this.deadlines.remove(mptcp);
    }
  }

  private queueReady(handle: Handle): void {
    if (handle.queued || handle.descriptor < 0) return;
    handle.queued = true;
    this.ready.push(handle);
  }

  private queue(endpoint: Endpoint): void {
    if (endpoint.queued) return;
    endpoint.queued = true;
    endpoint.readyNext = null;
    if (this.transmitTail === null) this.transmitHead = endpoint;
    else this.transmitTail.readyNext = endpoint;
    this.transmitTail = endpoint;
  }

  private rotate(endpoint: Endpoint): void {
    this.transmitHead = endpoint.readyNext;
    endpoint.readyNext = null;
    this.transmitTail!.readyNext = endpoint;
    this.transmitTail = endpoint;
  }

  private unqueue(endpoint: Endpoint): void {
    if (!endpoint.queued) return;
    endpoint.queued = false;
    let previous: Endpoint | null = null;
    let current = this.transmitHead;
    while (current !== null && current !== endpoint) {
      previous = current;
      current = current.readyNext;
    }
    if (current === null) return;
    if (previous === null) this.transmitHead = endpoint.readyNext;
    else previous.readyNext = endpoint.readyNext;
    if (this.transmitTail === endpoint) this.transmitTail = previous;
    endpoint.readyNext = null;
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
    this.after(endpoint);
    return Drop.None;
  }
}

function addressOf(family: 4 | 6, w0: number, w1: number, w2: number, w3: number): Address {
  return new Address(family, w0, w1, w2, w3);
}

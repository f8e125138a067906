import { FallbackReason } from '../mptcp/fallback.ts';
import type { JoinRequest } from '../mptcp/seams.ts';
import type { TokenTable } from '../mptcp/tokens.ts';
import type { TcpConfig } from '../tcp/config.ts';
import { type EndpointEnvironment, Tuple } from '../tcp/endpoint.ts';
import { Handshake } from '../tcp/handshake.ts';
import { TcpStream } from '../tcp/stream.ts';
import type { Address } from '../wire/address.ts';
import type { BlackHoles } from './black-hole.ts';
import { StackError } from './config.ts';
import { Connection, type OpeningHost } from './connection.ts';
import type { Demux } from './demux.ts';
import type { Endpoints } from './endpoints.ts';
import type { Environments } from './environments.ts';
import type { Interfaces } from './interfaces.ts';
import type { Ports } from './ports.ts';

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

/** Connections and subflows that this host begins: where from, with which key, or why not. */
export class ActiveOpens {
  private readonly host: OpeningHost;
  private readonly interfaces: Interfaces;
  private readonly ports: Ports;
  private readonly demux: Demux;
  private readonly tokens: TokenTable<Connection>;
  private readonly environments: Environments;
  private readonly endpoints: Endpoints;
  private readonly blackHoles: BlackHoles;

  constructor(
    host: OpeningHost,
    interfaces: Interfaces,
    ports: Ports,
    demux: Demux,
    tokens: TokenTable<Connection>,
    environments: Environments,
    endpoints: Endpoints,
    blackHoles: BlackHoles,
  ) {
    this.host = host;
    this.interfaces = interfaces;
    this.ports = ports;
    this.demux = demux;
    this.tokens = tokens;
    this.environments = environments;
    this.endpoints = endpoints;
    this.blackHoles = blackHoles;
  }

  /** Starts a connection. @throws StackError ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE */
  connect(now: number, request: ConnectRequest): Connection {
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
    const environment = this.environments.of(route.interface, tuple, request.tcp);
    if (!request.multipath || !this.host.config.enabled) {
      return this.connectPlain(now, tuple, environment, route.interface.id);
    }
    const connection = this.connectMultipath(now, tuple, environment, route.interface.id);
    connection.tcp = request.tcp;
    return connection;
  }

  private connectPlain(now: number, tuple: Tuple, environment: EndpointEnvironment, interfaceId: number): Connection {
    const stream = TcpStream.connect(now, environment, tuple, this.environments.initialSequence(now, tuple));
    const connection = new Connection(this.host, tuple, stream, null);
    this.endpoints.adopt(now, stream.handshake, connection, interfaceId);
    return connection;
  }

  private connectMultipath(
    now: number,
    tuple: Tuple,
    environment: EndpointEnvironment,
    interfaceId: number,
  ): Connection {
    const { counters } = this.host;
    const key = this.tokens.reserve(this.host.random);
    if (key === undefined) {
      counters.MPFallbackTokenInit++;
      return this.connectPlain(now, tuple, environment, interfaceId);
    }
    const connection = Connection.multipath(this.host, key, tuple, false, environment.config);
    const mptcp = connection.mptcp!;
    this.tokens.own(key.token, connection);
    if (this.blackHoles.isActive(now, tuple.peer)) {
      counters.MPCapableSYNTXDisabled++;
      mptcp.fallbackReason = FallbackReason.BlackHole;
    }
    const subflow = mptcp.addSubflow(tuple, { active: true, joined: false, localId: 0, peerId: 0, backup: false });
    const sequence = this.environments.initialSequence(now, tuple);
    const handshake = Handshake.connect(now, environment, tuple, sequence, subflow);
    subflow.endpoint = handshake;
    this.endpoints.adopt(now, handshake, connection, interfaceId);
    return connection;
  }

  /** Starts a further subflow of `connection`, or counts why there is none. */
  join(now: number, connection: Connection, request: JoinRequest): void {
    const mptcp = connection.mptcp!;
    const { config, counters, pathManager } = this.host;
    // A6.06: the path manager knows endpoints and subflows; that another address of ours was announced is seen here. (On
    // a connection of this host with itself the addresses of both ends are ours.)
    if (this.interfaces.owner(request.peer) !== undefined && this.interfaces.owner(mptcp.initialPeer) === undefined) {
      counters.MPJoinOwnAddress++;
      return;
    }
    const route = this.interfaces.route(request.peer, request.local);
    if (route === undefined) {
      // As Linux: an address that is not here cannot be bound; from one that is, nothing leads there.
      const isOurs = request.local === undefined || this.interfaces.owner(request.local) !== undefined;
      if (isOurs) counters.MPJoinSynTxConnectErr++;
      else counters.MPJoinSynTxBindErr++;
      return;
    }
    if (mptcp.halfOpenJoins >= config.maximumHalfOpenJoins) {
      counters.MPJoinRefused++;
      return;
    }
    const { local } = route;
    const localId = request.local === undefined ? pathManager.localId(mptcp, local) : request.localId;
    const isFree = (port: number) => !this.demux.has(local, port, request.peer, request.peerPort);
    const localPort = this.ports.ephemeral(isFree);
    if (localPort === 0) {
      counters.MPJoinSynTxConnectErr++;
      return;
    }
    const tuple = new Tuple(local, localPort, request.peer, request.peerPort);
    const environment = this.environments.of(route.interface, tuple, connection.tcp);
    const subflow = mptcp.addSubflow(tuple, {
      active: true,
      joined: true,
      localId,
      peerId: request.peerId,
      backup: request.backup,
    });
    const sequence = this.environments.initialSequence(now, tuple);
    const handshake = Handshake.connect(now, environment, tuple, sequence, subflow);
    subflow.endpoint = handshake;
    this.endpoints.adopt(now, handshake, connection, route.interface.id);
  }
}

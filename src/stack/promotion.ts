import { InvariantError } from '../mptcp/connection.ts';
import { FallbackReason } from '../mptcp/fallback.ts';
import { CapableRequest } from '../mptcp/request.ts';
import { Subflow } from '../mptcp/subflow.ts';
import type { TokenTable } from '../mptcp/tokens.ts';
import { initialSegmentSize, TcpConnection } from '../tcp/connection.ts';
import type { Handshake } from '../tcp/handshake.ts';
import { NULL_EXTENSION } from '../tcp/null-extension.ts';
import { initialWindow } from '../tcp/sender.ts';
import { TcpStream } from '../tcp/stream.ts';
import type { Packet } from '../wire/packet.ts';
import type { Segment } from '../wire/segment.ts';
import type { BlackHoles } from './black-hole.ts';
import { Connection, type OpeningHost } from './connection.ts';
import type { Endpoints } from './endpoints.ts';
import { Ready } from './handle.ts';
import type { Listener } from './listener.ts';
import type { Listeners } from './listeners.ts';
import type { ReadyQueue } from './ready-queue.ts';

/** Handshakes that completed: each becomes a TCP connection, and a server's only now a connection of the host. */
export class Promotion {
  private readonly host: OpeningHost;
  private readonly listeners: Listeners;
  private readonly tokens: TokenTable<Connection>;
  private readonly endpoints: Endpoints;
  private readonly ready: ReadyQueue;
  private readonly blackHoles: BlackHoles;

  constructor(
    host: OpeningHost,
    listeners: Listeners,
    tokens: TokenTable<Connection>,
    endpoints: Endpoints,
    ready: ReadyQueue,
    blackHoles: BlackHoles,
  ) {
    this.host = host;
    this.listeners = listeners;
    this.tokens = tokens;
    this.endpoints = endpoints;
    this.ready = ready;
    this.blackHoles = blackHoles;
  }

  /** A handshake completed: its connection takes its place and sees the completing segment again. */
  promote(now: number, handshake: Handshake, segment: Segment, packet: Packet): void {
    handshake.events = 0;
    const listener = this.listeners.end(handshake);
    const connection =
      listener === undefined ? (handshake.owner as Connection | null) : this.serve(handshake, listener);
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
    this.endpoints.replace(handshake, endpoint);
    endpoint.owner = connection;
    endpoint.onSegment(now, segment, packet);
    this.endpoints.after(now, endpoint);
    if (listener !== undefined) this.offer(listener, connection);
  }

  /** What a client's SYNs taught about the path (A2.16). */
  private noteNegotiation(now: number, subflow: Subflow): void {
    const { connection } = subflow;
    if (connection.fallbackReason === FallbackReason.SynDropped) {
      this.host.counters.Blackhole++;
      this.blackHoles.record(now, subflow.peer, this.host.config.blackholeTimeout);
    } else if (!connection.fallenBack && !subflow.peer.isLoopback) {
      this.blackHoles.clear(subflow.peer);
    }
  }

  /** Makes the connection that a listener's handshake became. */
  private serve(handshake: Handshake, listener: Listener): Connection {
    const connection = this.serveMultipath(handshake) ?? this.servePlain(handshake);
    connection.listener = listener;
    connection.tcp = listener.tcp;
    return connection;
  }

  /** Undefined when the client did not prove its key: plain TCP. */
  private serveMultipath(handshake: Handshake): Connection | undefined {
    const { extension, tuple } = handshake;
    if (!(extension instanceof CapableRequest)) return undefined;
    const { localKey, peerKey } = extension;
    if (peerKey === null) {
      this.tokens.release(localKey.token);
      handshake.extension = NULL_EXTENSION;
      return undefined;
    }
    const connection = Connection.multipath(this.host, localKey, tuple, true, handshake.environment.config);
    const mptcp = connection.mptcp!;
    mptcp.setPeerKey(peerKey, extension.synFlags);
    this.tokens.own(localKey.token, connection);
    const role = { active: false, joined: false, localId: 0, peerId: 0, backup: false };
    handshake.extension = mptcp.addSubflow(tuple, role);
    return connection;
  }

  private servePlain(handshake: Handshake): Connection {
    return new Connection(this.host, handshake.tuple, TcpStream.fromHandshake(handshake), null);
  }

  /** Puts a server's connection where `accept` finds it. */
  private offer(listener: Listener, connection: Connection): void {
    if (listener.closed) {
      connection.abort();
      return;
    }
    listener.enqueue(connection);
    listener.raise(Ready.Acceptable);
    this.ready.add(listener);
  }
}

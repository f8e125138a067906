import { usableCapable } from '../mptcp/capable.ts';
import { CapableRequest } from '../mptcp/request.ts';
import type { TokenTable } from '../mptcp/tokens.ts';
import type { TcpCounters } from '../tcp/counters.ts';
import { Tuple } from '../tcp/endpoint.ts';
import { Handshake } from '../tcp/handshake.ts';
import { NULL_EXTENSION } from '../tcp/null-extension.ts';
import type { Extension } from '../tcp/seams.ts';
import { Address } from '../wire/address.ts';
import { Mptcp, ResetReason } from '../wire/mptcp-options.ts';
import { Flag, type Segment } from '../wire/segment.ts';
import type { Connection, OpeningHost } from './connection.ts';
import type { Endpoints } from './endpoints.ts';
import type { Environments } from './environments.ts';
import type { Interface } from './interfaces.ts';
import type { Listeners } from './listeners.ts';
import type { Replies } from './replies.ts';

/** Connections and subflows that peers begin: a SYN finds its listener, or by its token the connection it joins. */
export class PassiveOpens {
  private readonly host: OpeningHost;
  private readonly listeners: Listeners;
  private readonly tokens: TokenTable<Connection>;
  private readonly environments: Environments;
  private readonly endpoints: Endpoints;
  private readonly replies: Replies;
  private readonly tcpCounters: TcpCounters;

  constructor(
    host: OpeningHost,
    listeners: Listeners,
    tokens: TokenTable<Connection>,
    environments: Environments,
    endpoints: Endpoints,
    replies: Replies,
    tcpCounters: TcpCounters,
  ) {
    this.host = host;
    this.listeners = listeners;
    this.tokens = tokens;
    this.environments = environments;
    this.endpoints = endpoints;
    this.replies = replies;
    this.tcpCounters = tcpCounters;
  }

  /** A segment that belongs to no endpoint, or to none any more: a SYN may begin one, anything else draws a RST. */
  onSegment(now: number, arrival: Interface, segment: Segment): void {
    if ((segment.flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === Flag.Syn) this.onSyn(now, arrival, segment);
    else if ((segment.flags & Flag.Rst) === 0) this.replies.reset(segment, arrival.id, -1);
  }

  /**
   * Whether a server's handshake may not take `segment`, which could complete it, for want of room in the queue for
   * `accept`. As Linux: the handshake waits for room, the client retransmits.
   */
  isHeldUp(handshake: Handshake, segment: Segment): boolean {
    if (handshake.active || (segment.flags & (Flag.Syn | Flag.Rst)) !== 0) return false;
    if (this.listeners.of(handshake)?.isFull !== true) return false;
    this.tcpCounters.ListenOverflows++;
    this.tcpCounters.ListenDrops++;
    return true;
  }

  private onSyn(now: number, arrival: Interface, segment: Segment): void {
    const { family } = segment;
    const local = new Address(
      family,
      segment.destination0,
      segment.destination1,
      segment.destination2,
      segment.destination3,
    );
    const peer = new Address(family, segment.source0, segment.source1, segment.source2, segment.source3);
    const tuple = new Tuple(local, segment.destinationPort, peer, segment.sourcePort);
    if ((segment.mptcp.present & Mptcp.JoinSyn) !== 0) {
      this.onJoinSyn(now, arrival, tuple, segment);
      return;
    }
    const listener = this.listeners.find(local, segment.destinationPort);
    if (listener === undefined) {
      this.refuseOpen(arrival, tuple, segment);
      return;
    }
    if (listener.isCrowded) {
      if (listener.isFull) this.tcpCounters.ListenOverflows++;
      else this.tcpCounters.TCPReqQFullDrop++;
      this.tcpCounters.ListenDrops++;
      return;
    }
    const { config, counters, random } = this.host;
    if ((segment.mptcp.present & Mptcp.CapableSyn) !== 0) counters.MPCapableSYNRX++;
    let extension: Extension = NULL_EXTENSION;
    if (listener.multipath && usableCapable(segment.mptcp, Mptcp.CapableSyn)) {
      const key = this.tokens.reserve(random);
      if (key === undefined) counters.MPFallbackTokenInit++;
      else extension = new CapableRequest(key, segment.mptcp.capableFlags, config, counters);
    }
    const environment = this.environments.of(arrival, tuple, listener.tcp);
    const sequence = this.environments.initialSequence(now, tuple);
    const handshake = Handshake.accept(now, environment, tuple, sequence, extension, segment);
    this.listeners.begin(handshake, listener);
    this.endpoints.adopt(now, handshake, null, arrival.id);
  }

  /** RFC 9293 §3.10.7.1: where nobody listens a SYN draws a RST. A port that was announced for joins has a reason to give. */
  private refuseOpen(arrival: Interface, tuple: Tuple, segment: Segment): void {
    const { counters, pathManager } = this.host;
    const isCapable = usableCapable(segment.mptcp, Mptcp.CapableSyn);
    if (!isCapable || !pathManager.awaitsJoins(tuple.local, tuple.localPort)) {
      this.replies.reset(segment, arrival.id, -1);
      return;
    }
    counters.MPCapableEndpAttempt++;
    this.refuse(segment, arrival, ResetReason.Prohibited);
  }

  private onJoinSyn(now: number, arrival: Interface, tuple: Tuple, segment: Segment): void {
    const { config, counters, pathManager } = this.host;
    const options = segment.mptcp;
    counters.MPJoinSynRx++;
    if (options.joinBackup) counters.MPJoinSynBackupRx++;
    const connection = this.tokens.find(options.joinToken);
    const mptcp = connection?.mptcp ?? null;
    if (connection === undefined || mptcp === null) {
      // RFC 8684 §3.2: an unknown token is answered with a RST (A4.03).
      counters.MPJoinNoTokenFound++;
      this.refuse(segment, arrival, ResetReason.MptcpSpecific);
      return;
    }
    if (tuple.localPort !== mptcp.initialLocalPort) {
      counters.MPJoinPortSynRx++;
      // A4.16: another port than the initial one must have been announced.
      if (!mptcp.announcements.invites(tuple.local, tuple.localPort)) {
        counters.MismatchPortSynRx++;
        this.refuse(segment, arrival, ResetReason.Prohibited);
        return;
      }
    }
    const refused =
      mptcp.fallenBack ||
      mptcp.closeReason >= 0 ||
      mptcp.peerKey === null ||
      mptcp.halfOpenJoins >= config.maximumHalfOpenJoins;
    if (refused) {
      counters.MPJoinRefused++;
      this.refuse(segment, arrival, ResetReason.Prohibited);
      return;
    }
    const subflow = mptcp.addSubflow(tuple, {
      active: false,
      joined: true,
      localId: pathManager.localId(mptcp, tuple.local),
      peerId: options.joinAddressId,
      backup: pathManager.localBackup(mptcp, tuple.local),
    });
    subflow.peerBackup = options.joinBackup;
    mptcp.acceptJoin(subflow, options.joinNonce);
    const environment = this.environments.of(arrival, tuple, connection.tcp);
    const sequence = this.environments.initialSequence(now, tuple);
    const handshake = Handshake.accept(now, environment, tuple, sequence, subflow, segment);
    subflow.endpoint = handshake;
    this.endpoints.adopt(now, handshake, connection, arrival.id);
  }

  /** Answers a SYN by a RST with `reason`, for MP_TCPRST. */
  private refuse(segment: Segment, arrival: Interface, reason: number): void {
    this.replies.reset(segment, arrival.id, reason);
    this.host.counters.MPRstTx++;
  }
}

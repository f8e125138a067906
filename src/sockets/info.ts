import { fallbackName } from '../mptcp/fallback.ts';
import { Phase, type Subflow } from '../mptcp/subflow.ts';
import type { Connection } from '../stack/connection.ts';
import type { TcpConnection } from '../tcp/connection.ts';
import { CloseReason } from '../tcp/seams.ts';

/** Figures of one TCP connection or subflow: bytes, ms, bytes per ms. */
export interface PathInfo {
  /** Number within the connection; the initial one is 1. */
  readonly id: number;
  readonly local: string;
  readonly localPort: number;
  readonly localId: number;
  readonly peer: string;
  readonly peerPort: number;
  readonly peerId: number;
  readonly backup: boolean;
  readonly state: 'connecting' | 'unproven' | 'established' | 'closing' | 'closed';
  /** No progress since its retransmission timer fired; others carry the data. */
  readonly lossy: boolean;
  readonly stale: boolean;
  /** Why it ended, as `closeReasonName` has it; undefined while it lives. */
  readonly reason: string | undefined;
  readonly smoothedRtt: number;
  readonly minimumRtt: number;
  readonly rto: number;
  readonly congestionWindow: number;
  readonly slowStartThreshold: number;
  readonly inFlight: number;
  readonly segmentSize: number;
  readonly pacingRate: number;
  readonly sent: number;
  /** Octets sent again on this path. */
  readonly retransmitted: number;
  readonly reinjected: number;
  readonly received: number;
}

/** What a socket says of its connection: Linux's MPTCP_INFO and the subflows' figures in one. */
export interface ConnectionInfo {
  readonly multipath: boolean;
  /** Why it is plain TCP; undefined while it is multipath. */
  readonly fallback: string | undefined;
  readonly token: number;
  readonly checksums: boolean;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly bytesRetransmitted: number;
  readonly bytesAcknowledged: number;
  /** Data-level timer firings. */
  readonly retransmits: number;
  /** Subflows ever, the initial one included. */
  readonly subflowsTotal: number;
  readonly paths: readonly PathInfo[];
  /** The last figures of subflows that are over; of the eight that ended last. */
  readonly past: readonly PathInfo[];
}

const PHASES = ['connecting', 'unproven', 'established', 'closing', 'closed'] as const;

export function connectionInfo(connection: Connection): ConnectionInfo {
  const { mptcp, stream } = connection;
  if (mptcp !== null) {
    return {
      multipath: !mptcp.fallenBack,
      fallback: mptcp.fallenBack ? fallbackName(mptcp.fallbackReason) : undefined,
      token: mptcp.token,
      checksums: mptcp.checksums,
      bytesSent: mptcp.bytesSent,
      bytesReceived: mptcp.bytesReceived,
      bytesRetransmitted: mptcp.bytesRetransmitted,
      bytesAcknowledged: mptcp.sendUna - 1,
      retransmits: mptcp.retransmits,
      subflowsTotal: mptcp.subflowsTotal,
      paths: mptcp.subflows.map(subflowInfo),
      past: mptcp.past.map(subflowInfo),
    };
  }
  const tcp = stream!.connection;
  const sent = stream!.source.end - 1;
  const received = stream!.sink.next - 1;
  const { tuple } = connection;
  return {
    multipath: false,
    fallback: fallbackName(connection.fallbackReason),
    token: 0,
    checksums: false,
    bytesSent: sent,
    bytesReceived: received,
    bytesRetransmitted: 0,
    bytesAcknowledged: tcp === null ? 0 : tcp.sender.una - 1,
    retransmits: 0,
    subflowsTotal: 1,
    paths: [
      {
        id: 1,
        local: tuple.local.toString(),
        localPort: tuple.localPort,
        localId: 0,
        peer: tuple.peer.toString(),
        peerPort: tuple.peerPort,
        peerId: 0,
        backup: false,
        state: tcp === null ? 'connecting' : tcp.closeReason >= 0 ? 'closed' : 'established',
        lossy: false,
        stale: false,
        reason: connection.closeReason < 0 ? undefined : closeReasonName(connection.closeReason),
        sent,
        reinjected: 0,
        received,
        ...senderFigures(tcp),
      },
    ],
    past: [],
  };
}

function subflowInfo(subflow: Subflow): PathInfo {
  return {
    id: subflow.id,
    local: subflow.local.toString(),
    localPort: subflow.localPort,
    localId: subflow.localId,
    peer: subflow.peer.toString(),
    peerPort: subflow.peerPort,
    peerId: subflow.peerId,
    backup: subflow.backup,
    state: PHASES[subflow.phase] ?? PHASES[Phase.Closed],
    lossy: subflow.lossy,
    stale: subflow.stale,
    reason: subflow.closeReason < 0 ? undefined : closeReasonName(subflow.closeReason),
    sent: subflow.bytesSent,
    reinjected: subflow.bytesReinjected,
    received: subflow.bytesReceived,
    ...senderFigures(subflow.tcp),
  };
}

function senderFigures(tcp: TcpConnection | null) {
  if (tcp === null) {
    return {
      smoothedRtt: 0,
      minimumRtt: 0,
      rto: 0,
      congestionWindow: 0,
      slowStartThreshold: 0,
      inFlight: 0,
      retransmitted: 0,
      segmentSize: 0,
      pacingRate: 0,
    };
  }
  const { sender } = tcp;
  return {
    smoothedRtt: sender.rtt.smoothed,
    minimumRtt: sender.rtt.minimum,
    rto: sender.rtt.rto,
    congestionWindow: sender.congestion.window,
    slowStartThreshold: sender.congestion.slowStartThreshold,
    inFlight: sender.inFlight,
    retransmitted: sender.retransmitted,
    segmentSize: sender.segmentSize,
    pacingRate: sender.pacingRate,
  };
}

const REASONS: readonly string[] = Object.entries(CloseReason)
  .sort((a, b) => a[1] - b[1])
  .map(([name]) => name.replace(/(?<!^)[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).toLowerCase());

/** "peer-reset" for `CloseReason.PeerReset`. */
export function closeReasonName(reason: number): string {
  return REASONS[reason] ?? (reason < 0 ? 'open' : `reason-${reason}`);
}

import type { Address } from '../wire/address.ts';

/** Random words; unguessable ones in production, seeded ones in simulation. */
export interface RandomWords {
  /** A uniform unsigned 32-bit integer. */
  word(): number;
}

/**
 * What a scheduler sees of one subflow: a picture that is refreshed before each question. Bytes, ms, bytes per ms.
 */
export interface SubflowView {
  /** Number of the subflow within its connection, never reused; the initial one is 1. */
  readonly id: number;
  /** Data may be mapped to it: established, proven, not closing, not stale. */
  readonly active: boolean;
  /** Either side's B bit. */
  readonly backup: boolean;
  /** The retransmission timer fired and nothing was acknowledged since. */
  readonly lossy: boolean;
  /** Bytes mapped to it and not acknowledged by it. */
  readonly queued: number;
  /** Bytes its congestion and peer windows would let out at once beyond what is mapped. */
  readonly room: number;
  readonly congestionWindow: number;
  readonly smoothedRtt: number;
  /** Shortest RTT of late; Infinity while unknown. */
  readonly minimumRtt: number;
  /** 0 while unknown. */
  readonly pacingRate: number;
  /** Times that everyone waited for bytes of this one, so far. */
  readonly holdups: number;
  /** Payload bytes per segment on the wire. */
  readonly segmentSize: number;
}

/** What a scheduler is told about the data. */
export interface ScheduleRequest {
  /** Bytes that wait to be mapped. */
  readonly waiting: number;
  /** More than that will come: whoever writes finds the send buffer full. */
  readonly more: boolean;
  /** Bytes of the peer's data window that are free. */
  readonly window: number;
  /** Bytes mapped and not yet DATA_ACKed. */
  readonly outstanding: number;
  /** Most bytes to map by this pick: Infinity when `pick` is called, which may lower it. */
  limit: number;
}

/**
 * Chooses who carries the next bytes. `pick` returns an index into `subflows`, or -1 to wait. One object serves one
 * connection; `retransmit` chooses for data that is sent again.
 */
export interface Scheduler {
  readonly name: string;
  pick(now: number, subflows: readonly SubflowView[], request: ScheduleRequest): number;
  /** `except`: id of the subflow that had the data before, 0 for none. */
  retransmit(now: number, subflows: readonly SubflowView[], request: ScheduleRequest, except: number): number;
}

export type SchedulerFactory = () => Scheduler;

/** What a path manager sees of a connection, and what it may ask of it. */
export interface PathCommands {
  readonly token: number;
  readonly serverSide: boolean;
  /** The peer set flag C: no joins to its initial address and port (RFC 8684 §3.1). */
  readonly peerDeniesJoinInitial: boolean;
  readonly paths: readonly PathView[];
  /** Joins asked for by `createSubflow` that have not begun. */
  readonly pendingJoins: number;
  /** Addresses that the peer announced and did not withdraw. */
  readonly peerAddresses: readonly PeerAddress[];
  /** The initial subflow's addresses; they stay after it died. */
  readonly initialLocal: Address;
  readonly initialPeer: Address;
  readonly initialPeerPort: number;

  /** Starts a join. False when it cannot be (fallen back, closing, no room). */
  createSubflow(now: number, request: JoinRequest): boolean;
  /** Sends ADD_ADDR until echoed. `port` 0: none. */
  announce(now: number, id: number, address: Address, port: number): void;
  /** Sends REMOVE_ADDR for these ids and forgets their announcements. */
  withdraw(now: number, ids: readonly number[]): void;
  /** Closes a subflow with RST and a reason, its data going to the others. */
  closeSubflow(now: number, id: number, reason: number): void;
  /** Closes a subflow with FIN, its data going to the others. */
  retireSubflow(now: number, id: number): void;
  /** Sends MP_PRIO on a subflow. */
  setBackup(now: number, id: number, backup: boolean): void;
}

/** What a path manager sees of one subflow. */
export interface PathView {
  readonly id: number;
  readonly local: Address;
  readonly localPort: number;
  readonly localId: number;
  readonly peer: Address;
  readonly peerPort: number;
  readonly peerId: number;
  readonly backup: boolean;
  readonly established: boolean;
  readonly closed: boolean;
  /** We started it. */
  readonly active: boolean;
}

export interface PeerAddress {
  readonly id: number;
  readonly address: Address;
  /** 0: none announced. */
  readonly port: number;
}

export interface JoinRequest {
  /** Undefined: whatever routing chooses. */
  readonly local: Address | undefined;
  readonly localId: number;
  readonly peer: Address;
  readonly peerPort: number;
  readonly peerId: number;
  readonly backup: boolean;
}

/** Decides about addresses and paths of all connections of a host. Told events; asks through `PathCommands`. */
export interface PathManager {
  readonly name: string;
  /** The peer is known to speak MPTCP: addresses may be announced, joins asked for; they start when A2.09 lets them. */
  onEstablished(now: number, connection: PathCommands): void;
  /** An ADD_ADDR with a right HMAC arrived; it is echoed whatever happens here. */
  onAnnounced(now: number, connection: PathCommands, announced: PeerAddress): void;
  /** Our ADD_ADDR `id` was echoed, or given up after its last retransmission. */
  onAnnouncementSettled(now: number, connection: PathCommands, id: number, echoed: boolean): void;
  /** The peer withdrew an id; its subflows are already closing. */
  onWithdrawn(now: number, connection: PathCommands, peerId: number): void;
  onSubflowEstablished(now: number, connection: PathCommands, path: PathView): void;
  onSubflowClosed(now: number, connection: PathCommands, path: PathView): void;
  onClosed(now: number, connection: PathCommands): void;
  /** May a join that arrived be accepted? The MP_TCPRST reason otherwise goes out with a RST (A4.04). */
  acceptsJoin(now: number, connection: PathCommands, local: Address, localPort: number): boolean;
  /** Whether nothing but joins may come to a local address and port where nobody listens: it is an endpoint's (E1.11). */
  awaitsJoins(local: Address, localPort: number): boolean;
  /** The id of a local address in joins we answer (A4.12), and whether we ask for it to be a backup. */
  localId(connection: PathCommands, local: Address): number;
  localBackup(connection: PathCommands, local: Address): boolean;
}

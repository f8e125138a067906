import { Ranges } from '../tcp/ranges.ts';
import type { ReceiveRing } from '../tcp/receive-ring.ts';
import { CloseReason, Verdict } from '../tcp/seams.ts';
import type { SendQueue } from '../tcp/send-queue.ts';
import { SendTuning } from '../tcp/send-tuning.ts';
import type { Sender } from '../tcp/sender.ts';
import { isLegal, State } from '../tcp/state.ts';
import type { Address } from '../wire/address.ts';
import { Capable, Mptcp, type MptcpOptions, ResetReason } from '../wire/mptcp-options.ts';
import type { Segment } from '../wire/segment.ts';
import { DataSequenceSpace } from '../wire/sequence.ts';
import { Announcements } from './announcements.ts';
import { usableCapable } from './capable.ts';
import type { MptcpConfig } from './config.ts';
import type { MptcpCounters } from './counters.ts';
import { FallbackReason } from './fallback.ts';
import { addAddressHmac, Key } from './keys.ts';
import { Reinjections } from './reinjection.ts';
import type { JoinRequest, PathCommands, PathManager, PeerAddress, RandomWords, Scheduler } from './seams.ts';
import { announcedAddress, announcedHmacIs, Ending, MAXIMUM_MAPPING, Phase, Subflow } from './subflow.ts';
import type { SubflowPicture } from './subflow-picture.ts';

/** Bits of `MptcpConnection.events`: what the owner has not read yet. */
export const ConnectionEvent = {
  Established: 0x01,
  Readable: 0x02,
  Writable: 0x04,
  /** The peer will send no more. */
  PeerFinished: 0x08,
  /** Over: `closeReason` tells why. */
  Closed: 0x10,
  FellBack: 0x20,
  SubflowsChanged: 0x40,
} as const;

/** What a connection shares with its host. */
export interface MptcpHost {
  readonly config: MptcpConfig;
  readonly counters: MptcpCounters;
  readonly pathManager: PathManager;
  readonly random: RandomWords;
}

/** An invariant of this connection broke: our defect. Closes the connection, never the process. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** Addresses that a peer may announce and have kept. */
const PEER_ADDRESSES = 8;
/** Times in a row that an overdue DATA_ACK is asked for before the data-level timer takes over. */
const SOLICITATIONS = 6;
/** MP_FAILs of a peer that are answered with one of our own. */
const FAIL_ANSWERS = 3;
/** Joins that wait to be started. */
const JOIN_REQUESTS = 16;
/** Subflows that are over and remembered for their figures. */
const PAST_SUBFLOWS = 8;

/**
 * One MPTCP connection (RFC 8684): a byte stream in data offsets over its subflows. Owns the rope of unacknowledged
 * bytes, the ring of received ones, the data-level windows, and which bytes were given to which subflow.
 *
 * Data offsets: the IDSN is 0, the first byte 1, the DATA_FIN stands behind the last byte.
 *
 * Order of calls: subflows call `on…` while their TCP connections process segments; then the host calls `update(now)`,
 * which maps waiting data to subflows, and polls the subflows' TCP connections for packets.
 */
export class MptcpConnection implements PathCommands {
  readonly host: MptcpHost;
  readonly config: MptcpConfig;
  readonly counters: MptcpCounters;
  readonly serverSide: boolean;
  readonly scheduler: Scheduler;
  readonly localKey: Key;
  peerKey: Key | null = null;
  readonly initialLocal: Address;
  readonly initialLocalPort: number;
  readonly initialPeer: Address;
  readonly initialPeerPort: number;

  /** `State` of the byte stream (A10.01). */
  state: number = State.SynSent;
  /** Bits of `ConnectionEvent`; the owner reads and clears. */
  events = 0;
  /** A `CloseReason`; -1 while it lives. */
  closeReason = -1;
  /** A `FallbackReason`; `None` while it is multipath. */
  fallbackReason: number = FallbackReason.None;
  /** DSS checksums were negotiated. */
  checksums = false;
  /** The peer sends 64-bit DSNs, so our DATA_ACKs have 64 bits. */
  peerUses64 = false;
  peerDeniesJoinInitial = false;
  /** A subflow was proven: joins may start (A2.09). */
  fullyEstablished = false;
  /** The path manager knows of it. */
  private managed = false;

  // Sending
  readonly sendSpace: DataSequenceSpace;
  readonly sendQueue: SendQueue;
  /** Lowest data offset not DATA_ACKed. */
  sendUna = 1;
  /** Next data offset to be mapped for the first time. */
  sendNxt = 1;
  /** Right edge of the peer's data window. */
  sendWindowEnd = 1;
  /** Data offset of the DATA_FIN; Infinity until `shutdown`. */
  finOffset = Number.POSITIVE_INFINITY;
  private finSent = false;
  private readonly tuning = new SendTuning();
  private maximumSendBuffer: number;
  private readonly reinjections = new Reinjections();
  private retransmitDeadline = Number.POSITIVE_INFINITY;
  private retransmitBackoff = 0;
  /** When a DATA_ACK that is overdue is asked for; Infinity when none is. */
  private solicitDeadline = Number.POSITIVE_INFINITY;
  private solicitations = 0;
  /** When paths that look dead are asked for a sign of life; Infinity while none does. */
  private probeDeadline = Number.POSITIVE_INFINITY;
  private needsUpdate = false;
  /** Subflows have an ending to be carried out by `update`. */
  private endings = false;
  /** `abort` is to be carried out by `update`: data came for a reader who left. */
  private abortWanted = false;

  // Receiving
  receiveSpace: DataSequenceSpace | null = null;
  readonly ring: ReceiveRing;
  /** Next data offset expected; past a DATA_FIN that was received in order. */
  receiveNext = 1;
  private readonly outOfOrder = new Ranges();
  /** Data offset of the peer's DATA_FIN; Infinity while unknown. */
  private peerFinOffset = Number.POSITIVE_INFINITY;
  private peerFinished = false;
  /** Nobody reads any more. */
  private orphaned = false;

  // Paths
  readonly subflows: Subflow[] = [];
  private readonly pictures: SubflowPicture[] = [];
  private nextSubflowId = 1;
  /** Subflows that ended since the host asked last; it lets their endpoints say their last word. */
  private readonly ended: Subflow[] = [];
  /** Subflows that are over, the latest last, for their figures; no more than `PAST_SUBFLOWS`. */
  readonly past: Subflow[] = [];
  readonly announcements: Announcements;
  readonly peerAddresses: PeerAddress[] = [];
  /** Joins the path manager asked for; the host takes them with `takeJoin`. */
  private readonly joinRequests: JoinRequest[] = [];
  /** RFC 8684 §3.7 allows plain TCP only before joins, reordering and data-level retransmission (A8.18). */
  private fallbackAllowed = true;
  /** MP_FAIL was said or heard: an infinite mapping will come of it. */
  private failing = false;
  /** MP_FAILs of the peer's that were answered. */
  private failAnswers = 0;
  /** When MP_FAIL was sent last; an ACK that carries it may be lost. */
  private failedAt = 0;
  /** Our checksums found the damage first. */
  private complained = false;
  /** The peer said it: our next new data carries the infinite mapping. */
  private infiniteDue = false;
  /** Until when the answer to our MP_FAIL may take; Infinity when none is awaited. */
  private failDeadline = Number.POSITIVE_INFINITY;
  private closeDeadline = Number.POSITIVE_INFINITY;
  private countedEstablished = false;

  // Figures (MPTCP_INFO, D5)
  bytesSent = 0;
  bytesRetransmitted = 0;
  bytesReceived = 0;
  retransmits = 0;
  subflowsTotal = 0;
  lastDataSent = -1;
  lastDataReceived = -1;
  lastAckReceived = -1;
  /** The subflow of the first flight, which is sent before any DATA_ACK was received. */
  private opener: Subflow | null = null;

  // The host's: deadline heap
  heapIndex = -1;
  heapDeadline = Number.POSITIVE_INFINITY;

  constructor(
    host: MptcpHost,
    localKey: Key,
    tuple: { local: Address; localPort: number; peer: Address; peerPort: number },
    queues: {
      sendQueue: SendQueue;
      maximumSendBuffer: number;
      ring: ReceiveRing;
      scheduler: Scheduler;
      serverSide: boolean;
    },
  ) {
    this.host = host;
    this.config = host.config;
    this.counters = host.counters;
    this.localKey = localKey;
    this.serverSide = queues.serverSide;
    this.sendQueue = queues.sendQueue;
    this.maximumSendBuffer = Math.min(queues.maximumSendBuffer, host.config.maximumSendBuffer);
    this.ring = queues.ring;
    this.scheduler = queues.scheduler;
    this.initialLocal = tuple.local;
    this.initialLocalPort = tuple.localPort;
    this.initialPeer = tuple.peer;
    this.initialPeerPort = tuple.peerPort;
    this.sendSpace = new DataSequenceSpace(localKey.idsnHigh, localKey.idsnLow);
    this.announcements = new Announcements(this);
    if (queues.serverSide) this.state = State.SynReceived;
  }

  // ---------------------------------------------------------------------------------------------- getters

  get token(): number {
    return this.localKey.token;
  }

  get fallenBack(): boolean {
    return this.fallbackReason !== FallbackReason.None;
  }

  get paths(): readonly Subflow[] {
    return this.subflows;
  }

  /** Bytes that may be read now. */
  get readable(): number {
    return this.ring.readable;
  }

  /** The peer's DATA_FIN, and all before it, was received. */
  get hasPeerFinished(): boolean {
    return this.peerFinished;
  }

  /** The peer finished and everything was read. */
  get isAtEnd(): boolean {
    return this.peerFinished && this.ring.readable === 0;
  }

  /** Bytes that `write` would take now. */
  get writable(): number {
    if (this.finOffset !== Number.POSITIVE_INFINITY || this.closeReason >= 0) return 0;
    return this.sendQueue.free;
  }

  /** Bytes accepted and not yet DATA_ACKed. */
  get unacknowledged(): number {
    return this.sendQueue.end - this.sendUna;
  }

  /** Data-level bytes offered to the peer beyond `receiveNext` (A9.01). */
  get receiveWindow(): number {
    return this.peerFinished ? this.ring.window(this.ring.next) : this.ring.window(this.receiveNext);
  }

  /** ADD_ADDR retransmission base in ms (A6.04): the largest subflow RTO, at most the configured time; 0: never. */
  get announceTimeout(): number {
    const ceiling = this.config.addAddrTimeout;
    return ceiling === 0 ? 0 : Math.min(ceiling, this.largestRto);
  }

  /** When `onTimeout` wants to be called; Infinity when nothing is armed. */
  get deadline(): number {
    return Math.min(
      this.retransmitDeadline,
      this.solicitDeadline,
      this.probeDeadline,
      this.announcements.deadline,
      this.failDeadline,
      this.closeDeadline,
    );
  }

  /** `update` has something to do. */
  get wantsUpdate(): boolean {
    return this.needsUpdate;
  }

  /** Nothing is left of it. */
  get isFinished(): boolean {
    return this.state === State.Closed && this.subflows.length === 0;
  }

  // ---------------------------------------------------------------------------------------------- commands

  /** Takes up to `length` bytes; returns how many. 0: no room. @throws InvariantError after `shutdown` */
  write(bytes: Uint8Array, start: number, length: number): number {
    if (this.finOffset !== Number.POSITIVE_INFINITY) throw new InvariantError('write after shutdown');
    const room = this.writable;
    if (room === 0) return 0;
    const taken = this.sendQueue.write(bytes, start, Math.min(length, room));
    if (taken > 0) this.needsUpdate = true;
    return taken;
  }

  /** Copies up to `length` readable bytes to `target` from `start` on. */
  read(now: number, target: Uint8Array, start: number, length: number): number {
    const count = this.ring.readInto(target, start, length);
    if (count > 0) this.onRead(now);
    return count;
  }

  /** The application took bytes from the ring (by `read` or `ring.consume`): windows may be worth announcing. */
  onRead(now: number): void {
    this.ring.adjust(now, Math.max(1, this.largestRtt));
    for (let index = 0; index < this.subflows.length; index++) this.subflows[index]!.tcp?.onRead(now);
  }

  /** Bytes the send buffer may hold, from now on without autotuning (SO_SNDBUF). */
  setSendBuffer(bytes: number): void {
    this.maximumSendBuffer = bytes;
    this.sendQueue.setLimit(bytes);
  }

  /** No more bytes will be written: DATA_FIN after the last (RFC 8684 §3.3.3). */
  shutdown(now: number): void {
    if (this.finOffset !== Number.POSITIVE_INFINITY || this.closeReason >= 0) return;
    this.finOffset = this.sendQueue.end;
    if (this.state === State.Established || this.state === State.SynReceived) this.enter(State.FinWait1);
    else if (this.state === State.CloseWait) this.enter(State.LastAck);
    this.needsUpdate = true;
    if (this.fallenBack) this.shutdownPlain(now);
  }

  /** Nobody will read or write any more. Unread input turns it into `abort` (A10.13). */
  close(now: number): void {
    this.orphaned = true;
    if (this.closeReason >= 0) {
      this.maybeForget(now);
      return;
    }
    if (this.ring.readable > 0) {
      this.abort(now);
      return;
    }
    if (this.state === State.SynSent) {
      this.finish(now, CloseReason.Aborted);
      for (const subflow of this.subflows) this.end(subflow, Ending.Abort);
      return;
    }
    this.shutdown(now);
    if (this.subflows.every((subflow) => subflow.closed)) this.finish(now, CloseReason.Finished);
    // After fallback TCP has its own ways with orphans.
    else if (this.fallenBack) this.mapPlain(now);
    else this.closeDeadline = Math.min(this.closeDeadline, now + this.config.closeTimeout);
  }

  /** Ends it at once: MP_FASTCLOSE and RST on every subflow (RFC 8684 §3.5, A7.10), plain RST after fallback. */
  abort(now: number): void {
    this.orphaned = true;
    if (this.closeReason >= 0) {
      this.maybeForget(now);
      return;
    }
    this.finish(now, CloseReason.Aborted);
    for (const subflow of this.subflows) {
      if (!this.fallenBack) subflow.setFastClose();
      this.end(subflow, Ending.Abort);
    }
  }

  /** Ends a subflow with the next `update`: never from within its own segment processing. */
  private end(subflow: Subflow, ending: number): void {
    if (subflow.closed || subflow.ending >= ending) return;
    subflow.ending = ending;
    this.endings = true;
    this.needsUpdate = true;
  }

  /** `subflow` resets itself: it never came to be. */
  giveUp(_now: number, subflow: Subflow): void {
    this.end(subflow, Ending.Abort);
  }

  private carryOutEndings(now: number): void {
    this.endings = false;
    // A6.15: the peer hears of an address's end before its subflows go, as long as another one can tell it.
    const first = this.announcements.hasRemovals && this.subflows.some((subflow) => signalRank(subflow) > 1);
    for (const subflow of [...this.subflows]) {
      if (subflow.ending === Ending.None || subflow.closed) continue;
      const { ending } = subflow;
      if (ending === Ending.Shutdown && first) {
        this.endings = true;
        continue;
      }
      if (ending === Ending.Abort) {
        if (subflow.endpoint !== null) subflow.endpoint.abort(now);
        else subflow.onClosed(now, CloseReason.Aborted);
      } else if (subflow.tcp !== null && subflow.phase !== Phase.Connecting) {
        subflow.phase = Phase.Closing;
        subflow.tcp.shutdown(now);
      }
    }
  }

  // ---------------------------------------------------------------------------------------------- PathCommands

  createSubflow(_now: number, request: JoinRequest): boolean {
    if (this.fallenBack || this.failing || this.closeReason >= 0) return false;
    // A half-closed connection may need a path as much as any other, but not one that only waits for its end.
    if (this.peerFinished && this.finOffset !== Number.POSITIVE_INFINITY && this.sendUna >= this.finOffset)
      return false;
    if (this.peerKey === null || this.joinRequests.length >= JOIN_REQUESTS) return false;
    this.joinRequests.push(request);
    return true;
  }

  announce(now: number, id: number, address: Address, port: number): void {
    if (this.fallenBack || this.peerKey === null || this.closeReason >= 0) return;
    this.announcements.announce(id, address, port);
    this.demandSignal(now);
  }

  withdraw(now: number, ids: readonly number[]): void {
    if (this.fallenBack || this.closeReason >= 0) return;
    this.announcements.withdraw(ids);
    this.demandSignal(now);
  }

  closeSubflow(_now: number, id: number, reason: number): void {
    const subflow = this.subflow(id);
    if (subflow === undefined || subflow.closed) return;
    this.counters.RmSubflow++;
    subflow.setReset(reason, false);
    this.end(subflow, Ending.Abort);
  }

  retireSubflow(now: number, id: number): void {
    const subflow = this.subflow(id);
    if (subflow === undefined || subflow.closed) return;
    this.counters.RmSubflow++;
    this.retire(now, subflow);
  }

  setBackup(now: number, id: number, backup: boolean): void {
    const subflow = this.subflow(id);
    if (subflow === undefined || subflow.closed || this.fallenBack) return;
    subflow.localBackup = backup;
    subflow.wantsPriority = true;
    subflow.tcp?.demandAcknowledgment(now);
    this.needsUpdate = true;
  }

  get pendingJoins(): number {
    return this.joinRequests.length;
  }

  /** The next join to start, for the host; undefined when there is none. */
  takeJoin(): JoinRequest | undefined {
    return this.fullyEstablished ? this.joinRequests.shift() : undefined;
  }

  /** Subflows that ended since the last call; the host empties the list. */
  takeEnded(): Subflow[] {
    return this.ended;
  }

  /** Joins whose handshake is under way. */
  get halfOpenJoins(): number {
    let count = 0;
    for (const subflow of this.subflows) if (subflow.joined && subflow.phase === Phase.Connecting) count++;
    return count;
  }

  // ---------------------------------------------------------------------------------------------- subflows

  /** A new subflow; its handshake is the host's to run. */
  addSubflow(
    tuple: { local: Address; localPort: number; peer: Address; peerPort: number },
    role: { active: boolean; joined: boolean; localId: number; peerId: number; backup: boolean },
  ): Subflow {
    const subflow = new Subflow(this, this.nextSubflowId++, tuple, role);
    this.subflows.push(subflow);
    this.pictures.push(subflow.picture);
    this.announcements.keep(role.localId);
    if (role.joined && role.active) subflow.startJoin(this.host.random.word());
    return subflow;
  }

  /** Prepares the answer to a join that arrived. */
  acceptJoin(subflow: Subflow, peerNonce: number): void {
    subflow.acceptJoin(this.host.random.word(), peerNonce);
  }

  /** 0 when a join may be established now, else the MP_TCPRST reason of the refusal (A4.04, E2.14). */
  admitsJoin(now: number, subflow: Subflow): number {
    if (this.fallenBack || this.failing || this.closeReason >= 0) return ResetReason.Prohibited;
    if (!this.host.pathManager.acceptsJoin(now, this, subflow.local, subflow.localPort)) return ResetReason.Prohibited;
    return 0;
  }

  private subflow(id: number): Subflow | undefined {
    return this.subflows.find((candidate) => candidate.id === id);
  }

  /** TCP's handshake is over on `subflow`. */
  onSubflowTcpEstablished(now: number, subflow: Subflow): void {
    this.subflowsTotal++;
    this.events |= ConnectionEvent.SubflowsChanged;
    if (subflow.joined) {
      // A8.18: an active join counts from the fourth packet on; before, nothing depends on it.
      if (subflow.phase === Phase.Proven) this.fallbackAllowed = false;
      this.closeDeadline = this.orphaned ? this.closeDeadline : Number.POSITIVE_INFINITY;
      if (subflow.phase === Phase.Proven) this.host.pathManager.onSubflowEstablished(now, this, subflow);
    } else {
      const early = this.state === State.FinWait1;
      if (!early) this.enter(State.Established);
      this.events |= ConnectionEvent.Established | ConnectionEvent.Writable;
      if (!this.fallenBack) {
        this.countedEstablished = true;
        this.counters.MPCurrEstab++;
        this.sendWindowEnd = Math.max(this.sendWindowEnd, this.sendUna + subflow.tcp!.sender.wnd);
      } else if (this.finOffset !== Number.POSITIVE_INFINITY) {
        this.shutdownPlain(now);
      }
    }
    this.needsUpdate = true;
  }

  onSubflowProven(now: number, subflow: Subflow): void {
    this.needsUpdate = true;
    if (subflow.joined) {
      this.fallbackAllowed = false;
      this.host.pathManager.onSubflowEstablished(now, this, subflow);
      return;
    }
    this.fullyEstablished = true;
    if (this.managed) this.host.pathManager.onSubflowEstablished(now, this, subflow);
    else this.startManaging(now);
  }

  /**
   * The third ACK brought the client's key. Like Linux a server may announce addresses from now on; RFC 8684 §3.1 lets
   * joins wait until a DSS option has come across the path, so `takeJoin` holds them back.
   */
  onKeyConfirmed(now: number): void {
    if (!this.managed) this.startManaging(now);
  }

  private startManaging(now: number): void {
    this.managed = true;
    this.host.pathManager.onEstablished(now, this);
  }

  /** A subflow heard of its peer: SACK or duplicate ACKs may have opened its window, though nothing advanced. */
  onSubflowHeard(): void {
    if (this.sendNxt < this.sendQueue.end || !this.reinjections.isEmpty) this.needsUpdate = true;
  }

  /** Bytes were acknowledged on `subflow`. */
  onSubflowProgress(_now: number, _subflow: Subflow): void {
    this.needsUpdate = true;
  }

  /** The rope can be released below what every subflow may still resend. */
  onSubflowReleased(now: number): void {
    let lowest = this.sendUna;
    for (let index = 0; index < this.subflows.length; index++) {
      const held = this.subflows[index]!.lowestHeld;
      if (held < lowest) lowest = held;
    }
    if (lowest <= this.sendQueue.start) return;
    this.sendQueue.release(now, lowest);
    this.events |= ConnectionEvent.Writable;
  }

  /**
   * Bytes that a slow path still has to bring, though they arrived otherwise, must not take the room of new ones: it
   * gets a copy of its own. Looked at after segments were processed, when both levels have heard of the same ACK.
   */
  private relieve(now: number): void {
    const half = this.sendQueue.limit / 2;
    if (this.subflows.length < 2 || this.sendQueue.free >= half) return;
    let copied = false;
    for (let index = 0; index < this.subflows.length; index++) {
      const subflow = this.subflows[index]!;
      // A path whose ACK is merely on its way holds little, and not for long.
      if (subflow.tcp === null || this.sendUna - subflow.lowestHeld < half) continue;
      subflow.keepOwnCopy();
      copied = true;
    }
    if (copied) this.onSubflowReleased(now);
  }

  /** `subflow`'s retransmission timer fired: its data goes to the others, if there are others (A9.11, K07). */
  onSubflowTimeout(now: number, subflow: Subflow): void {
    if (this.fallenBack) return;
    let alternative = false;
    for (const other of this.subflows) if (other !== subflow && other.usable && !other.lossy) alternative = true;
    if (!alternative) return;
    this.reinject(subflow, true);
    subflow.keepOwnCopy();
    this.onSubflowReleased(now);
    this.needsUpdate = true;
    this.armLossyProbe(now);
  }

  /**
   * K08: RFC 6298's back-off would leave a path that came back unused for as long as it was away. While others carry
   * the data an octet a second costs nothing, and its ACK says that the path lives.
   */
  private armLossyProbe(now: number): void {
    const { lossyProbeInterval } = this.config;
    if (lossyProbeInterval > 0 && this.probeDeadline === Number.POSITIVE_INFINITY) {
      this.probeDeadline = now + lossyProbeInterval;
    }
  }

  private probeLossy(now: number): void {
    this.probeDeadline = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.subflows.length; index++) {
      const subflow = this.subflows[index]!;
      if (!subflow.lossy || subflow.tcp === null || subflow.closed) continue;
      subflow.tcp.solicitAcknowledgment();
      this.needsUpdate = true;
      this.armLossyProbe(now);
    }
  }

  /** The link under `subflow` went down or came up: no need to wait for a timeout to find out. */
  onPathState(now: number, subflow: Subflow, up: boolean): void {
    if (subflow.tcp === null || subflow.closed) return;
    if (!up) {
      subflow.lossy = true;
      this.onSubflowTimeout(now, subflow);
    } else {
      subflow.onPathAlive(now);
    }
    this.needsUpdate = true;
  }

  /**
   * What `subflow` has to bring is to be sent again: with `travelling` what it did not deliver, otherwise everything
   * that was not DATA_ACKed, for what a peer acknowledges on a subflow that it is about to give up may never count.
   */
  private reinject(subflow: Subflow, travelling: boolean): void {
    subflow.forEachUnacknowledged(travelling, (start, end) => {
      const from = Math.max(start, this.sendUna);
      if (from < end) this.reinjections.add(from, end, subflow.id);
    });
  }

  onSubflowPeerFin(now: number, _subflow: Subflow): void {
    if (!this.fallenBack) return;
    this.finishReceiving(now);
  }

  onSubflowClosed(now: number, subflow: Subflow): void {
    this.events |= ConnectionEvent.SubflowsChanged;
    const index = this.subflows.indexOf(subflow);
    if (index >= 0) {
      this.subflows.splice(index, 1);
      this.pictures.splice(index, 1);
      this.ended.push(subflow);
      this.past.push(subflow);
      if (this.past.length > PAST_SUBFLOWS) this.past.shift();
      this.needsUpdate = true;
    }
    if (this.closeReason >= 0 || this.state === State.Closed) {
      this.maybeForget(now);
      return;
    }
    const clean = subflow.closeReason === CloseReason.Finished;
    if (this.fallenBack) {
      // A join that was under way when the connection fell back is not the stream.
      if (subflow.joined) return;
      if (clean) this.finishPlain(now);
      else this.finish(now, subflow.closeReason);
      return;
    }
    if (!subflow.joined && !this.fullyEstablished && subflow.establishedAt < 0) {
      this.finish(now, subflow.closeReason);
      return;
    }
    this.reinject(subflow, false);
    this.onSubflowReleased(now);
    this.needsUpdate = true;
    this.host.pathManager.onSubflowClosed(now, this, subflow);
    if (this.subflows.length > 0) return;
    if (this.state === State.TimeWait || (this.orphaned && this.state === State.Closed)) {
      this.finish(now, CloseReason.Finished);
      return;
    }
    // A10.06: break before make. RFC 8684 §3.3.3 keeps the connection for a while; without more than one subflow
    // ever, a reset of the only one is the end of it, as in Linux; that its address went away here is not.
    if (this.subflowsTotal <= 1 && !clean && subflow.closeReason !== CloseReason.AddressGone) {
      this.finish(now, subflow.closeReason);
      return;
    }
    this.closeDeadline = Math.min(this.closeDeadline, now + this.config.closeTimeout);
  }

  /** A signal may ride on `subflow`: it is one that stays, if any does, and of these one that is alive (A6.15). */
  carriesSignals(subflow: Subflow): boolean {
    const rank = signalRank(subflow);
    if (rank === 0) return false;
    for (const other of this.subflows) if (other !== subflow && signalRank(other) > rank) return false;
    return true;
  }

  private demandSignal(now: number): void {
    for (const subflow of this.subflows) {
      if (!this.carriesSignals(subflow)) continue;
      subflow.tcp?.demandAcknowledgment(now);
      return;
    }
  }

  // ---------------------------------------------------------------------------------------------- negotiation

  /** Whether this SYN offers MP_CAPABLE: not after too many lost ones (A2.15), not towards a black hole (A2.16). */
  offersCapable(attempt: number): boolean {
    if (this.fallenBack) return false;
    if (attempt <= this.config.synRetransBeforeFallback) return true;
    this.counters.MPCapableSYNTXDrop++;
    this.fallbackReason = FallbackReason.SynDropped;
    return false;
  }

  /** Flags of our MP_CAPABLE. */
  get offeredFlags(): number {
    return (
      Capable.HmacSha256 |
      (this.config.checksums ? Capable.Checksum : 0) |
      (this.config.allowJoinInitial ? 0 : Capable.DenyJoinInitial)
    );
  }

  /** The client's view of the SYN/ACK. */
  onCapableSynAck(_now: number, segment: Segment): number {
    const options = segment.mptcp;
    if ((segment.flags & 0x10) === 0) {
      // A bare SYN: simultaneous open (A2.22).
      this.counters.SimultConnectFallback++;
      this.fallbackReason = FallbackReason.SimultaneousOpen;
      return Verdict.Accept;
    }
    if (this.fallenBack) return Verdict.Accept;
    if (!usableCapable(options, Mptcp.CapableSynAck)) {
      this.counters.MPCapableFallbackSYNACK++;
      this.fallbackReason = FallbackReason.SynAck;
      this.events |= ConnectionEvent.FellBack;
      return Verdict.Accept;
    }
    this.counters.MPCapableSYNACKRX++;
    this.setPeerKey(new Key(options.senderKeyHigh, options.senderKeyLow), options.capableFlags);
    return Verdict.Accept;
  }

  /** Both keys are known. `flags`: those of the peer's MP_CAPABLE. */
  setPeerKey(key: Key, flags: number): void {
    this.peerKey = key;
    this.receiveSpace = new DataSequenceSpace(key.idsnHigh, key.idsnLow);
    this.checksums = this.config.checksums || (flags & Capable.Checksum) !== 0;
    this.peerDeniesJoinInitial = (flags & Capable.DenyJoinInitial) !== 0;
  }

  // ---------------------------------------------------------------------------------------------- sending

  /** Maps waiting data to subflows, as far as windows and the scheduler allow. The host calls it after events. */
  update(now: number): void {
    this.needsUpdate = false;
    if (this.abortWanted) {
      this.abortWanted = false;
      this.abort(now);
    }
    if (this.endings) this.carryOutEndings(now);
    if (this.closeReason >= 0) {
      this.needsUpdate = false;
      return;
    }
    if (this.fallenBack) {
      this.mapPlain(now);
      return;
    }
    this.relieve(now);
    if (this.infiniteDue && this.sendNxt < this.sendQueue.end && this.subflows.length > 0) {
      if (this.mayFallBack(this.subflows[0]!)) {
        this.fallBack(now, this.complained ? FallbackReason.Checksum : FallbackReason.PeerFail);
        this.mapPlain(now);
        return;
      }
    }
    this.grow(now);
    this.schedule(now);
    if (this.finOffset !== Number.POSITIVE_INFINITY && !this.finSent && this.sendNxt === this.finOffset) {
      this.sendDataFin(now);
    }
    if (this.sendUna < this.sendNxt || this.finSent) {
      if (this.retransmitDeadline === Number.POSITIVE_INFINITY && !this.finAcknowledged) this.armRetransmit(now);
    }
    this.watchDataAck(now);
  }

  /**
   * TCP acknowledged everything and the DATA_ACK lags behind: Linux processes data level later than TCP level when the
   * receiver is busy, and says nothing of it until the next segment. Rather than wait for the data-level timer
   * (200 ms of silence, seen between two Linux hosts as well), ask for an ACK.
   */
  private watchDataAck(now: number): void {
    if (this.sendUna >= this.sendNxt) {
      this.solicitDeadline = Number.POSITIVE_INFINITY;
      this.solicitations = 0;
      return;
    }
    for (let index = 0; index < this.subflows.length; index++) {
      const subflow = this.subflows[index]!;
      if (subflow.tcp !== null && subflow.end > subflow.tcp.sender.una) {
        this.solicitDeadline = Number.POSITIVE_INFINITY;
        return;
      }
    }
    if (this.solicitDeadline !== Number.POSITIVE_INFINITY || this.solicitations >= SOLICITATIONS) return;
    const roundTrip = this.largestRtt;
    this.solicitDeadline = now + Math.max(1, roundTrip) * 2 ** this.solicitations;
  }

  private solicit(): void {
    this.solicitDeadline = Number.POSITIVE_INFINITY;
    this.solicitations++;
    let chosen: Subflow | undefined;
    for (const subflow of this.subflows) {
      if (subflow.tcp === null || !subflow.usable || subflow.lossy) continue;
      if (chosen === undefined || subflow.tcp.sender.rtt.smoothed < chosen.tcp!.sender.rtt.smoothed) chosen = subflow;
    }
    chosen?.tcp?.solicitAcknowledgment();
    this.needsUpdate = true;
  }

  private get finAcknowledged(): boolean {
    return this.finSent && this.sendUna > this.finOffset;
  }

  /** Send buffer autotuning, for all subflows in sum; data waits for the slowest of them (A9.08). */
  private grow(now: number): void {
    let window = 0;
    let rate = 0;
    let roundTrip = 0;
    for (let index = 0; index < this.subflows.length; index++) {
      const tcp = this.subflows[index]!.tcp;
      if (tcp === null) continue;
      const { sender } = tcp;
      window += sender.congestion.window;
      if (sender.rtt.smoothed > 0) rate += sender.congestion.window / sender.rtt.smoothed;
      const own = this.subflows.length === 1 ? sender.rtt.minimum : sender.rtt.smoothed;
      if (own > roundTrip) roundTrip = own;
    }
    // While a slow path brings its bytes, the fast ones fill many windows.
    if (this.subflows.length > 1) window = Math.max(window, rate * roundTrip);
    const limit = this.tuning.limit(now, this.sendUna, window, roundTrip, this.maximumSendBuffer);
    if (limit > this.sendQueue.limit) {
      this.sendQueue.setLimit(limit);
      this.events |= ConnectionEvent.Writable;
    }
  }

  private refreshPictures(now: number): boolean {
    let any = false;
    for (let index = 0; index < this.subflows.length; index++) {
      const subflow = this.subflows[index]!;
      const picture = subflow.picture;
      const tcp = subflow.tcp;
      picture.active =
        subflow.usable && !subflow.stale && tcp !== null && tcp.sender.finOffset === Number.POSITIVE_INFINITY;
      if (!picture.active || tcp === null) {
        picture.room = 0;
        continue;
      }
      any = true;
      const sender = tcp.sender;
      picture.backup = subflow.backup;
      picture.lossy = subflow.lossy;
      picture.queued = subflow.end - sender.una;
      picture.congestionWindow = sender.congestion.window;
      picture.smoothedRtt = sender.rtt.smoothed;
      picture.minimumRtt = sender.rtt.minimum;
      picture.pacingRate = sender.pacingRate;
      picture.segmentSize = sender.segmentSize;
      this.shareWindow(now, subflow, sender);
      picture.room = subflow.lossy ? 0 : Math.max(0, Math.floor(sender.availableWindow) - (subflow.end - sender.nxt));
    }
    if (this.lastAckReceived < 0) this.confineToOpener();
    return any;
  }

  /**
   * Before its first DATA_ACK a peer may not be ready for data out of order: Linux, which learns its own data window
   * with the first DSS option it sends, acknowledges such data on the subflow and drops it (MPTcpExtNoDSSInWindow). So
   * the first flight of a server keeps to one subflow while that one works.
   */
  private confineToOpener(): void {
    const { opener } = this;
    if (opener === null || !opener.usable || opener.lossy) return;
    for (let index = 0; index < this.subflows.length; index++) {
      if (this.subflows[index] === opener) continue;
      this.pictures[index]!.active = false;
      this.pictures[index]!.room = 0;
    }
  }

  /** A subflow with nothing in flight has an old idea of the window: the connection's newer one counts (A9.05). */
  private shareWindow(now: number, subflow: Subflow, sender: Sender): void {
    if (sender.una !== sender.nxt) return;
    const shared = this.sendWindowEnd - this.sendUna;
    if (shared <= sender.wnd) return;
    sender.raiseWindow(shared);
    this.counters.SndWndShared++;
    if (subflow.end > sender.nxt) subflow.tcp!.onData(now);
  }

  private readonly request = { waiting: 0, more: false, window: 0, outstanding: 0, limit: 0 };

  private schedule(now: number): void {
    if (this.reinjections.isEmpty && this.sendNxt >= this.sendQueue.end) {
      this.hurryTail(now);
      return;
    }
    if (!this.refreshPictures(now)) return;
    const { request } = this;
    request.more = this.finOffset === Number.POSITIVE_INFINITY && this.sendQueue.free < this.sendQueue.limit / 4;
    this.scheduleReinjections(now);
    while (this.sendNxt < this.sendQueue.end) {
      const waiting = this.sendQueue.end - this.sendNxt;
      const window = this.sendWindowEnd - this.sendNxt;
      request.waiting = waiting;
      request.outstanding = this.sendNxt - this.sendUna;
      // Our own buffer bounds what may be outstanding as much as the peer's does.
      request.window = Math.max(0, Math.min(window, this.sendQueue.limit - request.outstanding));
      if (window <= 0 && request.outstanding > 0) {
        this.retransmitOpportunistically(now, false);
        return;
      }
      request.limit = Number.POSITIVE_INFINITY;
      const index = this.scheduler.pick(now, this.pictures, request);
      if (index < 0) return;
      const picture = this.pictures[index]!;
      let length: number;
      if (window <= 0) {
        // RFC 9293 §3.8.6.1 at data level: one byte behind a closed window, so that TCP probes (A9.06, G1.08).
        this.counters.WinProbe++;
        length = 1;
      } else {
        length = Math.min(waiting, window, picture.room, request.limit, MAXIMUM_MAPPING);
        if (length > picture.segmentSize && length < waiting) length -= length % picture.segmentSize;
        if (length < picture.segmentSize && length < waiting && picture.queued > 0) {
          // RFC 9293 §3.8.6.2.1: no silly segments: this subflow waits for room for a whole one.
          if (length === window) {
            this.retransmitOpportunistically(now, false);
            return;
          }
          picture.room = 0;
          continue;
        }
      }
      if (length <= 0) return;
      this.mapNew(now, this.subflows[index]!, picture, length);
      if (window <= 0) return;
    }
  }

  private mapNew(now: number, subflow: Subflow, picture: SubflowPicture, length: number): void {
    subflow.map(this.sendNxt, length, false);
    this.sendNxt += length;
    this.bytesSent += length;
    this.lastDataSent = now;
    if (this.sendNxt === this.finOffset) this.finSent = true;
    picture.queued += length;
    picture.room = Math.max(0, picture.room - length);
    if (this.lastAckReceived < 0) {
      this.opener = subflow;
      this.confineToOpener();
    }
    subflow.tcp!.onData(now);
  }

  private scheduleReinjections(now: number): void {
    const { request } = this;
    this.reinjections.releaseBelow(this.sendUna);
    while (!this.reinjections.isEmpty) {
      const start = this.reinjections.start;
      const size = this.reinjections.end - start;
      request.waiting = size;
      request.window = Math.max(0, this.sendWindowEnd - start);
      request.outstanding = this.sendNxt - this.sendUna;
      const index = this.scheduler.retransmit(now, this.pictures, request, this.reinjections.owner);
      if (index < 0) return;
      const picture = this.pictures[index]!;
      const length = Math.min(size, Math.max(picture.room, picture.segmentSize), MAXIMUM_MAPPING);
      this.mapAgain(now, this.subflows[index]!, picture, start, length);
      this.reinjections.take(length);
    }
  }

  private mapAgain(now: number, subflow: Subflow, picture: SubflowPicture, start: number, length: number): void {
    this.fallbackAllowed = false;
    subflow.map(start, length, true);
    this.counters.MPTCPRetrans++;
    this.bytesRetransmitted += length;
    this.lastDataSent = now;
    picture.queued += length;
    picture.room = Math.max(0, picture.room - length);
    subflow.tcp!.onData(now);
  }

  /**
   * The window is full and its first bytes travel on a slow path while a faster one idles: send them there too, so
   * that a slow path never holds the connection below what its best path alone would do (K09).
   */
  private retransmitOpportunistically(now: number, tail: boolean): void {
    if (!this.config.opportunisticRetransmission || this.subflows.length < 2) return;
    const head = this.sendUna;
    if (this.opportunisticHead >= head) return;
    let holder = -1;
    for (let index = 0; index < this.subflows.length; index++) {
      if (this.pictures[index]!.active && this.subflows[index]!.holds(head)) {
        if (holder >= 0) return; // on its way twice already
        holder = index;
      }
    }
    if (holder < 0) return;
    const slow = this.pictures[holder]!;
    let best = -1;
    for (let index = 0; index < this.pictures.length; index++) {
      const picture = this.pictures[index]!;
      if (index === holder || !picture.active || picture.lossy || picture.backup || picture.room === 0) continue;
      if (picture.smoothedRtt >= slow.smoothedRtt) continue;
      if (best < 0 || picture.smoothedRtt < this.pictures[best]!.smoothedRtt) best = index;
    }
    if (best < 0) return;
    const picture = this.pictures[best]!;
    if (tail && (picture.queued > 0 || drainTime(slow) < 2 * picture.smoothedRtt)) return;
    const length = Math.min(picture.room, this.sendNxt - head, this.subflows[holder]!.runFrom(head));
    if (length <= 0) return;
    slow.holdups++;
    this.opportunisticHead = head + length - 1;
    this.counters.OpportunisticRetrans++;
    this.mapAgain(now, this.subflows[best]!, picture, head, length);
  }

  private opportunisticHead = 0;

  /** Nothing waits any more, and a fast path idles while a slow one is long in bringing the last bytes (K09). */
  private hurryTail(now: number): void {
    if (this.sendUna >= this.sendNxt || this.subflows.length < 2 || this.opportunisticHead >= this.sendUna) return;
    if (this.refreshPictures(now)) this.retransmitOpportunistically(now, true);
  }

  private sendDataFin(now: number): void {
    this.finSent = true;
    for (const subflow of this.subflows) {
      if (subflow.phase !== Phase.Proven && !(subflow.phase === Phase.Unproven && !subflow.joined)) continue;
      subflow.wantsDataFin = true;
      subflow.tcp?.demandAcknowledgment(now);
    }
  }

  /** A DATA_ACK up to `ack`, with `window` bytes behind it (RFC 8684 §3.3.2, §3.3.4). */
  onDataAck(now: number, ack: number, window: number): void {
    this.lastAckReceived = now;
    const limit = this.finSent ? this.finOffset + 1 : this.sendNxt;
    if (!(ack <= limit)) {
      // A5.13: nothing of that was sent. NaN comes here too.
      this.counters.DataAckInvalid++;
      return;
    }
    const edge = ack + window;
    const opens = edge > this.sendWindowEnd;
    if (opens) {
      this.sendWindowEnd = edge;
      this.needsUpdate = true;
    }
    // A10.07: an orphan has so long without progress. (Linux: so long, and what is unsent by then is lost.)
    if ((opens || ack > this.sendUna) && this.orphaned && this.closeReason < 0) {
      this.closeDeadline = now + this.config.closeTimeout;
    }
    if (ack <= this.sendUna) {
      if (ack < this.sendUna) this.counters.DataAckOld++;
      return;
    }
    this.sendUna = ack;
    this.solicitations = 0;
    this.solicitDeadline = Number.POSITIVE_INFINITY;
    this.retransmitBackoff = 0;
    this.reinjections.releaseBelow(ack);
    for (let index = 0; index < this.subflows.length; index++) this.subflows[index]!.forget();
    this.onSubflowReleased(now);
    this.events |= ConnectionEvent.Writable;
    this.needsUpdate = true;
    if (this.sendUna >= limit) this.retransmitDeadline = Number.POSITIVE_INFINITY;
    else this.armRetransmit(now);
    if (this.finAcknowledged) this.onFinAcknowledged(now);
  }

  private onFinAcknowledged(now: number): void {
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
    for (const subflow of this.subflows) subflow.wantsDataFin = false;
    if (this.state === State.FinWait1) this.enter(State.FinWait2);
    else if (this.state === State.Closing) this.enterTimeWait(now);
    else if (this.state === State.LastAck) this.finishSubflows(now);
  }

  // ---------------------------------------------------------------------------------------------- receiving

  /** Bytes with data offset `start`, from `subflow`. Returns how many are done with (taken, or rightly dropped). */
  onData(now: number, _subflow: Subflow, start: number, bytes: Uint8Array, at: number, length: number): number {
    this.lastDataReceived = now;
    if (this.orphaned || this.closeReason >= 0) {
      // Nobody will read it: the peer is told so (A7.14). What was read before and comes once more is no reason.
      if (this.closeReason < 0 && start + length > this.receiveNext) {
        this.abortWanted = true;
        this.needsUpdate = true;
      }
      return length;
    }
    let from = start;
    let offset = at;
    let left = length;
    if (from < this.receiveNext) {
      const known = Math.min(left, this.receiveNext - from);
      this.counters.DuplicateData++;
      from += known;
      offset += known;
      left -= known;
      if (left === 0) return length;
    }
    const limit = Math.min(this.receiveNext + this.receiveWindow, this.peerFinOffset);
    if (from >= limit) {
      // RFC 8684 §3.8: data outside of the window is dropped and not DATA_ACKed.
      this.counters.NoDSSInWindow++;
      return length;
    }
    if (from + left > limit) {
      this.counters.NoDSSInWindow++;
      left = limit - from;
    }
    if (from > this.receiveNext) {
      this.storeAhead(now, from, bytes, offset, left);
      return length;
    }
    this.ring.write(now, from, bytes, offset, left);
    this.bytesReceived += left;
    this.receiveNext = from + left;
    if (this.outOfOrder.count > 0) this.mergeOutOfOrder();
    this.ring.advance(now, this.receiveNext);
    this.events |= ConnectionEvent.Readable;
    if (this.receiveNext === this.peerFinOffset) this.finishReceiving(now);
    return length;
  }

  /** Ahead of a gap: put where it belongs, first copy wins (A5.15, A5.17). */
  private storeAhead(now: number, from: number, bytes: Uint8Array, at: number, length: number): void {
    const { outOfOrder } = this;
    const end = from + length;
    const runs = outOfOrder.count;
    if (runs === 0 || from >= outOfOrder.end(runs - 1)) this.counters.OFOQueueTail++;
    else this.counters.OFOQueue++;
    let position = from;
    while (position < end) {
      const missing = outOfOrder.firstMissing(position);
      if (missing > position) {
        this.counters.DuplicateData++;
        position = missing;
        continue;
      }
      const stop = Math.min(end, outOfOrder.firstPresent(position));
      this.ring.write(now, position, bytes, at + (position - from), stop - position);
      this.bytesReceived += stop - position;
      position = stop;
    }
    outOfOrder.insert(from, end);
    if (outOfOrder.count <= runs) this.counters.OFOMerge++;
  }

  private mergeOutOfOrder(): void {
    const { outOfOrder } = this;
    this.receiveNext = outOfOrder.firstMissing(this.receiveNext);
    outOfOrder.removeBelow(this.receiveNext);
  }

  /** A DATA_FIN with data offset `offset`. */
  onDataFin(now: number, subflow: Subflow, offset: number): void {
    if (this.peerFinished) {
      if (offset === this.peerFinOffset) {
        // A10.12: acknowledged again.
        this.counters.DataFinDuplicate++;
        subflow.wantsDataAck = true;
      } else this.counters.DataFinMismatch++;
      return;
    }
    if (this.peerFinOffset !== Number.POSITIVE_INFINITY && this.peerFinOffset !== offset) {
      this.counters.DataFinMismatch++;
      return;
    }
    if (offset < this.receiveNext || offset > this.receiveNext + this.receiveWindow) {
      this.counters.NoDSSInWindow++;
      return;
    }
    this.peerFinOffset = offset;
    // A10.02, A10.11: it counts once everything before it is here.
    if (offset === this.receiveNext) {
      this.finishReceiving(now);
      subflow.wantsDataAck = true;
    }
  }

  private finishReceiving(now: number): void {
    if (this.peerFinished) return;
    this.peerFinished = true;
    // A peer that finished before what it had sent already: none of that belongs to the stream.
    this.outOfOrder.clear();
    if (!this.fallenBack) this.receiveNext = this.peerFinOffset + 1;
    this.events |= ConnectionEvent.PeerFinished | ConnectionEvent.Readable;
    if (!this.fallenBack) {
      for (const subflow of this.subflows) {
        subflow.wantsDataAck = true;
        subflow.tcp?.demandAcknowledgment(now);
      }
    }
    if (this.state === State.Established) this.enter(State.CloseWait);
    else if (this.state === State.FinWait1) this.enter(State.Closing);
    else if (this.state === State.FinWait2) this.enterTimeWait(now);
  }

  // ---------------------------------------------------------------------------------------------- signals received

  onAddAddress(now: number, subflow: Subflow, options: MptcpOptions): void {
    const address = announcedAddress(options);
    if (options.addEcho) {
      this.counters.EchoAdd++;
      if (this.announcements.onEcho(options.addId, address)) {
        this.onAnnouncementSettled(now, options.addId, true);
      }
      return;
    }
    this.counters.AddAddr++;
    if (options.addPort !== 0) this.counters.PortAdd++;
    const expected = addAddressHmac(this.peerKey!, this.localKey, options.addId, address, options.addPort);
    if (!announcedHmacIs(options, expected)) {
      this.counters.AddAddrDrop++;
      return;
    }
    this.announcements.echo(options.addId, address, options.addPort);
    subflow.tcp?.demandAcknowledgment(now);
    this.learnPeerAddress(now, options.addId, address, options.addPort);
  }

  private learnPeerAddress(now: number, id: number, address: Address, port: number): void {
    const index = this.peerAddresses.findIndex((entry) => entry.id === id);
    const known = index >= 0 ? this.peerAddresses[index]! : undefined;
    // RFC 8684 §3.4.1: an id keeps its address; only a new port is news (A6.08). Id 0 is the initial address (A6.07).
    if (known !== undefined && (!known.address.equals(address) || known.port === port)) return;
    if (id === 0 && !address.equals(this.initialPeer)) return;
    if (address.isUnspecified || address.isMulticast) return;
    const entry: PeerAddress = { id, address, port };
    if (index >= 0) this.peerAddresses[index] = entry;
    else if (this.peerAddresses.length < PEER_ADDRESSES) this.peerAddresses.push(entry);
    else {
      this.counters.AddAddrDrop++;
      return;
    }
    this.host.pathManager.onAnnounced(now, this, entry);
  }

  /** A REMOVE_ADDR went out. */
  onWithdrawn(): void {
    if (this.endings) this.needsUpdate = true;
  }

  onAnnouncementSettled(now: number, id: number, echoed: boolean): void {
    this.host.pathManager.onAnnouncementSettled(now, this, id, echoed);
  }

  onRemoveAddress(now: number, options: MptcpOptions): void {
    for (let at = 0; at < options.removeCount; at++) {
      const id = options.removeIds[at]!;
      this.counters.RmAddr++;
      const index = this.peerAddresses.findIndex((entry) => entry.id === id);
      if (index >= 0) this.peerAddresses.splice(index, 1);
      let used = false;
      for (const subflow of [...this.subflows]) {
        if (subflow.peerId !== id || subflow.closed || subflow.phase === Phase.Connecting) continue;
        used = true;
        this.retire(now, subflow);
      }
      if (index >= 0 || used) this.host.pathManager.onWithdrawn(now, this, id);
      else this.counters.RmAddrDrop++;
    }
  }

  /** A path is given up in an orderly way: its data goes to the others at once. */
  retire(now: number, subflow: Subflow): void {
    this.reinject(subflow, false);
    subflow.keepOwnCopy();
    this.onSubflowReleased(now);
    this.end(subflow, Ending.Shutdown);
  }

  onPriority(_now: number, _subflow: Subflow): void {
    this.needsUpdate = true;
    this.events |= ConnectionEvent.SubflowsChanged;
  }

  /** True when it is for us: every subflow is reset (A7.11). */
  onFastClose(now: number, options: MptcpOptions): boolean {
    if (options.fastCloseKeyHigh !== this.localKey.high || options.fastCloseKeyLow !== this.localKey.low) {
      this.counters.FastcloseKeyMismatch++;
      return false;
    }
    this.counters.MPFastcloseRx++;
    if (this.closeReason < 0) {
      this.finish(now, CloseReason.PeerReset);
      for (const subflow of this.subflows) {
        subflow.setReset(ResetReason.Unspecified, false);
        this.end(subflow, Ending.Abort);
      }
    }
    return true;
  }

  // ---------------------------------------------------------------------------------------------- fallback

  /** RFC 8684 §3.7, A8.18. */
  mayFallBack(subflow: Subflow): boolean {
    return this.isContiguous(subflow) && !subflow.hasUncheckedAhead;
  }

  /** A8.18: what the initial subflow carries is not the stream itself any more. */
  barFallback(): void {
    this.fallbackAllowed = false;
  }

  /** Everything travels on `subflow` alone, in order, and always did; joins may be under way. */
  private isContiguous(subflow: Subflow): boolean {
    if (!this.fallbackAllowed || subflow.joined) return false;
    for (let index = 0; index < this.subflows.length; index++) {
      const other = this.subflows[index]!;
      // With its third ACK on the way the peer may already count on it.
      if (other !== subflow && other.phase !== Phase.Connecting) return false;
    }
    return true;
  }

  /** Becomes plain TCP on its only subflow. */
  fallBack(now: number, reason: number): void {
    if (this.fallenBack) return;
    this.fallbackReason = reason;
    this.fallbackAllowed = false;
    this.events |= ConnectionEvent.FellBack;
    if (this.countedEstablished) {
      this.countedEstablished = false;
      this.counters.MPCurrEstab--;
    }
    this.announcements.clear();
    this.joinRequests.length = 0;
    this.reinjections.clear();
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
    this.failDeadline = Number.POSITIVE_INFINITY;
    if (this.orphaned) this.closeDeadline = Number.POSITIVE_INFINITY;
    const subflow = this.subflows[0];
    // A8.20: joins under way are for nothing now.
    for (let index = 1; index < this.subflows.length; index++) this.end(this.subflows[index]!, Ending.Abort);
    const agreed = reason === FallbackReason.PeerFail || reason === FallbackReason.Checksum;
    subflow?.enterPlain(now, reason >= FallbackReason.FirstData, agreed);
    if (this.finOffset !== Number.POSITIVE_INFINITY) this.shutdownPlain(now);
    this.needsUpdate = true;
  }

  /** After fallback all waiting data belongs to the one subflow. */
  private mapPlain(now: number): void {
    const subflow = this.subflows[0];
    if (subflow === undefined || subflow.tcp === null) return;
    if (!subflow.established) {
      // Its own FIN went out before the fallback. With nobody to read any more TCP does not wait for the peer's for ever.
      if (this.orphaned && subflow.ending !== Ending.None) subflow.tcp.close(now);
      return;
    }
    this.grow(now);
    const length = this.sendQueue.end - this.sendNxt;
    if (length > 0) {
      subflow.map(this.sendNxt, length, false);
      this.sendNxt += length;
      this.bytesSent += length;
      this.lastDataSent = now;
    }
    subflow.tcp.onData(now);
    if (this.finOffset === Number.POSITIVE_INFINITY || this.sendNxt !== this.finOffset) return;
    if (this.orphaned) subflow.tcp.close(now);
    else subflow.tcp.shutdown(now);
  }

  private shutdownPlain(now: number): void {
    this.needsUpdate = true;
    this.mapPlain(now);
  }

  /** Subflow acknowledgments are the stream's after fallback. */
  onPlainAcknowledged(_now: number, dataOffset: number): void {
    if (dataOffset <= this.sendUna) return;
    this.sendUna = Math.min(dataOffset, this.sendNxt);
    this.events |= ConnectionEvent.Writable;
    this.needsUpdate = true;
  }

  onPlainWindow(_now: number): void {
    this.needsUpdate = true;
  }

  /** MP_FAIL (RFC 8684 §3.7, A8.17). */
  onFail(now: number, subflow: Subflow): void {
    this.counters.MPFailRx++;
    const isAnswer = this.failDeadline !== Number.POSITIVE_INFINITY;
    this.failDeadline = Number.POSITIVE_INFINITY;
    if (this.fallenBack || !this.isContiguous(subflow)) return;
    // RFC 8684 §3.7: an MP_FAIL is answered with one, and both ends "entirely revert": with an infinite mapping "on the
    // first new packet". Until there is one all stays as it is, as with Linux: the peer goes on to need our DATA_ACKs.
    this.infiniteDue = true;
    this.needsUpdate = true;
    // An answer may be lost, but two ends that take each other's answers for questions must come to an end.
    if (isAnswer || this.failAnswers >= FAIL_ANSWERS) return;
    this.failAnswers++;
    this.failing = true;
    subflow.sendFail(this.receiveNext);
    subflow.tcp?.demandAcknowledgment(now);
  }

  /** The peer's stream is plain from here on. */
  onInfiniteMapping(now: number): void {
    this.fallBack(now, this.complained ? FallbackReason.Checksum : FallbackReason.InfiniteMapping);
  }

  /** The checksum of a mapping is wrong: something on the path changes data (A8.14 to A8.16). */
  onChecksumFailure(now: number, subflow: Subflow, dataStart: number, bytes: Uint8Array): void {
    this.counters.DataCsumErr++;
    if (this.isContiguous(subflow) && (this.failing || dataStart <= this.receiveNext)) {
      // One contiguous path: RFC 8684 §3.7 lets the middlebox have its way. The sender will make this the stream by an
      // infinite mapping; like Linux we take it as that right away, because DATA_ACKs that stop would stop the sender.
      const isUnanswered = this.failDeadline !== Number.POSITIVE_INFINITY && now - this.failedAt >= this.largestRto;
      if (!this.failing || isUnanswered) {
        this.failing = true;
        this.complained = true;
        this.failedAt = now;
        this.failDeadline = now + this.config.failTimeout;
        subflow.sendFail(dataStart);
        subflow.tcp?.demandAcknowledgment(now);
      }
      this.onData(now, subflow, dataStart, bytes, 0, bytes.length);
      return;
    }
    subflow.setFailReset(dataStart);
    this.end(subflow, Ending.Abort);
  }

  // ---------------------------------------------------------------------------------------------- timers

  onTimeout(now: number): void {
    this.announcements.onTimeout(now);
    if (this.announcements.deadline !== Number.POSITIVE_INFINITY) this.demandSignal(now);
    if (now >= this.solicitDeadline) this.solicit();
    if (now >= this.probeDeadline) this.probeLossy(now);
    if (now >= this.retransmitDeadline) this.onRetransmitTimeout(now);
    if (now >= this.failDeadline) {
      // A7.08: the answer to MP_FAIL did not come.
      this.failDeadline = Number.POSITIVE_INFINITY;
      for (const subflow of this.subflows) this.end(subflow, Ending.Abort);
    }
    if (now >= this.closeDeadline) {
      this.closeDeadline = Number.POSITIVE_INFINITY;
      this.counters.CloseTimeout++;
      this.finish(now, this.orphaned ? CloseReason.Finished : CloseReason.TimedOut);
      for (const subflow of this.subflows) {
        if (!this.fallenBack) subflow.setFastClose();
        this.end(subflow, Ending.Abort);
      }
    }
  }

  /** RFC 8684 §3.3.6: what no DATA_ACK came for is sent again; a DATA_FIN too (A9.09, A9.13, A9.18). */
  private onRetransmitTimeout(now: number): void {
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
    if (this.fallenBack || this.closeReason >= 0) return;
    this.retransmits++;
    this.retransmitBackoff++;
    const head = this.sendUna;
    if (head < this.sendNxt) {
      let holder: Subflow | undefined;
      // A9.18: where it was acknowledged and did not arrive, it would not arrive again either.
      let carrier = 0;
      let carriers = 0;
      for (const subflow of this.subflows) {
        if (subflow.carried(head)) {
          carrier = subflow.id;
          carriers++;
        }
        if (!subflow.holds(head)) continue;
        // What waits behind a closed window of that path alone may wait for ever. With nowhere else to go it is TCP's to
        // deliver: sent twice on one subflow, it would be read twice if the mappings get lost.
        const travels = subflow.tcp !== null && subflow.tcp.sender.nxt > subflow.tcp.sender.una;
        if (subflow.lossy) this.countStale(now, subflow);
        if (this.isAlone(subflow) || (travels && !subflow.lossy)) holder = subflow;
      }
      const { doubted } = this;
      if (holder === undefined && doubted !== undefined) {
        this.suspectPlain(now, doubted);
        return;
      }
      // While a living subflow still has to deliver it, TCP's own retransmission is at work. And before the peer has
      // shown that it heeds data sequence numbers, what is sent twice may be read twice (A8.08).
      if (holder === undefined && this.fullyEstablished)
        this.reinjections.add(head, Math.min(this.sendNxt, head + MAXIMUM_MAPPING), carriers === 1 ? carrier : 0);
    } else if (this.finSent && !this.finAcknowledged) {
      for (const subflow of this.subflows) {
        if (subflow.phase === Phase.Closing) continue;
        subflow.wantsDataFin = true;
        subflow.tcp?.demandAcknowledgment(now);
        // A peer that took it for plain TCP has nothing to say to pure ACKs: let it show what it is (A8.08).
        if (subflow.phase === Phase.Unproven) subflow.tcp?.solicitAcknowledgment();
      }
    }
    this.needsUpdate = true;
    this.armRetransmit(now);
  }

  /** No other subflow could take its data. */
  private isAlone(subflow: Subflow): boolean {
    for (const other of this.subflows) if (other !== subflow && other.usable) return false;
    return true;
  }

  /** The only subflow that could carry more delivered what waits for its DATA_ACK, and was answered without DSS options. */
  private get doubted(): Subflow | undefined {
    for (const subflow of this.subflows) {
      if (subflow.usable && this.isAlone(subflow))
        return subflow.acknowledgedAt > this.lastAckReceived ? subflow : undefined;
    }
    return undefined;
  }

  /**
   * A8.26: when options vanish on the way to the peer alone, it reads a plain stream from here on and has no data to say
   * so with. Sent again, bytes would be in that stream twice: it is asked a few times, and believed. Where the streams
   * are no longer the same (A8.18) that path is of no use.
   */
  private suspectPlain(now: number, subflow: Subflow): void {
    if (this.retransmitBackoff < 3) {
      this.solicit();
      this.armRetransmit(now);
      return;
    }
    if (!this.mayFallBack(subflow)) {
      this.counters.FallbackFailed++;
      subflow.setReset(ResetReason.Middlebox, false);
      this.end(subflow, Ending.Abort);
      return;
    }
    this.counters.DssFallback++;
    const delivered = subflow.lowestHeld;
    this.fallBack(now, FallbackReason.NoMapping);
    this.onPlainAcknowledged(now, delivered);
  }

  /** G1.13: a subflow that stays silent while another works leaves the scheduler until it shows life. */
  private countStale(now: number, subflow: Subflow): void {
    subflow.staleCount++;
    if (subflow.stale || subflow.staleCount <= this.config.staleLossCount) return;
    for (const other of this.subflows) {
      if (other === subflow || !other.usable || other.staleCount >= subflow.staleCount) continue;
      subflow.stale = true;
      this.counters.SubflowStale++;
      this.events |= ConnectionEvent.SubflowsChanged;
      this.reinject(subflow, true);
      subflow.keepOwnCopy();
      this.onSubflowReleased(now);
      return;
    }
  }

  private armRetransmit(now: number): void {
    const wait = Math.min(this.largestRto * 2 ** Math.min(this.retransmitBackoff, 10), 120_000);
    this.retransmitDeadline = now + wait;
  }

  /** A9.14: from the largest RTO in use, without its back-off. */
  private get largestRto(): number {
    let largest = this.config.minimumRto;
    for (let index = 0; index < this.subflows.length; index++) {
      const subflow = this.subflows[index]!;
      if (subflow.tcp === null || subflow.lossy || subflow.stale) continue;
      const rto = subflow.tcp.sender.rtt.rto;
      if (rto > largest) largest = rto;
    }
    return largest;
  }

  /** Largest smoothed RTT of the subflows, for the receive buffer (A9.07). */
  private get largestRtt(): number {
    let largest = 0;
    for (let index = 0; index < this.subflows.length; index++) {
      const tcp = this.subflows[index]!.tcp;
      if (tcp !== null && tcp.sender.rtt.smoothed > largest) largest = tcp.sender.rtt.smoothed;
    }
    return largest;
  }

  // ---------------------------------------------------------------------------------------------- end

  /** The one door for state changes. */
  private enter(next: number): void {
    if (this.state === next) return;
    if (!isLegal(this.state, next)) throw new InvariantError(`connection state ${this.state} to ${next}`);
    this.state = next;
  }

  private enterTimeWait(now: number): void {
    this.enter(State.TimeWait);
    this.finishSubflows(now);
  }

  /** A10.03: both directions are done: the subflows may go. */
  private finishSubflows(now: number): void {
    const done = this.state === State.LastAck;
    for (const subflow of this.subflows) {
      if (subflow.phase === Phase.Connecting) subflow.setReset(ResetReason.Unspecified, false);
      this.end(subflow, subflow.phase === Phase.Connecting ? Ending.Abort : Ending.Shutdown);
    }
    this.closeDeadline = Math.min(this.closeDeadline, now + this.config.closeTimeout);
    this.setClosed(now, CloseReason.Finished);
    if (done) this.enter(State.Closed);
  }

  private finishPlain(now: number): void {
    this.setClosed(now, CloseReason.Finished);
    this.state = State.Closed;
    this.maybeForget(now);
  }

  private finish(now: number, reason: number): void {
    this.setClosed(now, reason);
    this.state = State.Closed;
    this.maybeForget(now);
  }

  private setClosed(now: number, reason: number): void {
    if (this.closeReason >= 0) return;
    this.closeReason = reason;
    this.probeDeadline = Number.POSITIVE_INFINITY;
    this.retransmitDeadline = Number.POSITIVE_INFINITY;
    this.solicitDeadline = Number.POSITIVE_INFINITY;
    this.failDeadline = Number.POSITIVE_INFINITY;
    this.announcements.clear();
    this.joinRequests.length = 0;
    this.reinjections.clear();
    this.events |= ConnectionEvent.Closed;
    if (this.countedEstablished) {
      this.countedEstablished = false;
      this.counters.MPCurrEstab--;
    }
    this.host.pathManager.onClosed(now, this);
  }

  private maybeForget(now: number): void {
    if (this.subflows.length > 0) return;
    this.closeDeadline = Number.POSITIVE_INFINITY;
    this.state = State.Closed;
    this.sendQueue.clear(now);
    // What was received can still be read, as long as there is a reader.
    if (this.orphaned) this.ring.close();
  }
}

/** How well a subflow carries signals, from 0: not at all, over 1: it is ending, to 3. */
function signalRank(subflow: Subflow): number {
  if (subflow.phase === Phase.Closing) return 1;
  // A server may speak on its initial subflow as soon as the third ACK is there.
  const early = subflow.phase === Phase.Unproven && !subflow.active && !subflow.joined;
  if (subflow.phase !== Phase.Proven && !early) return 0;
  if (subflow.ending !== Ending.None) return 1;
  return subflow.lossy || subflow.stale ? 2 : 3;
}

/** ms until `view` will have delivered what it has, as far as its window and RTT tell. */
function drainTime(view: SubflowPicture): number {
  return view.congestionWindow > 0 ? (view.queued * view.smoothedRtt) / view.congestionWindow : 0;
}

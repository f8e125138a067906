import type { ReceiveRing } from '../tcp/receive-ring.ts';
import { CloseReason } from '../tcp/seams.ts';
import type { SendQueue } from '../tcp/send-queue.ts';
import { isLegal, State } from '../tcp/state.ts';
import type { Address } from '../wire/address.ts';
import { type MptcpOptions, ResetReason } from '../wire/mptcp-options.ts';
import type { DataSequenceSpace } from '../wire/sequence.ts';
import { Announcements } from './announcements.ts';
import type { MptcpConfig } from './config.ts';
import { ConnectionEvent } from './connection-event.ts';
import type { MptcpCounters } from './counters.ts';
import { DataReceiver } from './data-receiver.ts';
import { DataSender } from './data-sender.ts';
import { Fallback, FallbackReason } from './fallback.ts';
import type { Key } from './keys.ts';
import { Negotiation } from './negotiation.ts';
import { PeerAddresses } from './peer-addresses.ts';
import { Ending, Phase } from './phase.ts';
import type { JoinRequest, PathCommands, PathManager, PeerAddress, RandomWords, Scheduler } from './seams.ts';
import type { Subflow } from './subflow.ts';
import { SubflowGroup } from './subflow-group.ts';

export { ConnectionEvent };

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

/** Joins that wait to be started. */
const JOIN_REQUESTS = 16;

/**
 * One MPTCP connection (RFC 8684): a byte stream in data offsets over its subflows. Owns the state of that stream, how it
 * comes to its end, and the joins that wait; what it sends, receives, negotiates and hears is owned by its parts.
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
  readonly localKey: Key;
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
  /** A subflow was proven: joins may start (A2.09). */
  fullyEstablished = false;
  /** The path manager knows of it. */
  private managed = false;
  /** `update` has something to do. */
  wantsUpdate = false;
  /** `abort` is to be carried out by `update`: data came for a reader who left. */
  private abortWanted = false;
  /** Nobody reads any more. */
  orphaned = false;
  /** When it ends for want of subflows, of progress or of the peer's last word; Infinity when nothing is awaited. */
  private closeDeadline = Number.POSITIVE_INFINITY;
  private countedEstablished = false;

  readonly negotiation: Negotiation;
  readonly sender: DataSender;
  readonly receiver: DataReceiver;
  readonly fallback: Fallback;
  readonly group: SubflowGroup;
  readonly announcements: Announcements;
  readonly peers: PeerAddresses;
  /** Joins the path manager asked for; the host takes them with `takeJoin`. */
  private readonly joinRequests: JoinRequest[] = [];

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
    this.initialLocal = tuple.local;
    this.initialLocalPort = tuple.localPort;
    this.initialPeer = tuple.peer;
    this.initialPeerPort = tuple.peerPort;
    this.negotiation = new Negotiation(this);
    this.sender = new DataSender(this, queues.sendQueue, queues.maximumSendBuffer, queues.scheduler);
    this.receiver = new DataReceiver(this, queues.ring);
    this.fallback = new Fallback(this);
    this.group = new SubflowGroup(this);
    this.announcements = new Announcements(this);
    this.peers = new PeerAddresses(this);
    if (queues.serverSide) this.state = State.SynReceived;
  }

  // ---------------------------------------------------------------------------------------------- getters

  get token(): number {
    return this.localKey.token;
  }

  get fallenBack(): boolean {
    return this.fallback.reason !== FallbackReason.None;
  }

  /** A `FallbackReason`; `None` while it is multipath. Whoever opens it may know from the start. */
  get fallbackReason(): number {
    return this.fallback.reason;
  }

  set fallbackReason(reason: number) {
    this.fallback.reason = reason;
  }

  get peerKey(): Key | null {
    return this.negotiation.peerKey;
  }

  get checksums(): boolean {
    return this.negotiation.checksums;
  }

  get peerDeniesJoinInitial(): boolean {
    return this.negotiation.peerDeniesJoinInitial;
  }

  get subflows(): readonly Subflow[] {
    return this.group.live;
  }

  get paths(): readonly Subflow[] {
    return this.group.live;
  }

  /** Subflows that are over, the latest last. */
  get past(): readonly Subflow[] {
    return this.group.past;
  }

  /** Subflows that TCP established, so far. */
  get subflowsTotal(): number {
    return this.group.established;
  }

  /** Joins whose handshake is under way. */
  get halfOpenJoins(): number {
    return this.group.halfOpenJoins;
  }

  get peerAddresses(): readonly PeerAddress[] {
    return this.peers.list;
  }

  get sendQueue(): SendQueue {
    return this.sender.queue;
  }

  get sendUna(): number {
    return this.sender.una;
  }

  get sendNxt(): number {
    return this.sender.nxt;
  }

  get sendWindowEnd(): number {
    return this.sender.windowEnd;
  }

  get finOffset(): number {
    return this.sender.finOffset;
  }

  get sendSpace(): DataSequenceSpace {
    return this.sender.space;
  }

  get receiveSpace(): DataSequenceSpace | null {
    return this.receiver.space;
  }

  get receiveNext(): number {
    return this.receiver.next;
  }

  get receiveWindow(): number {
    return this.receiver.window;
  }

  get ring(): ReceiveRing {
    return this.receiver.ring;
  }

  get bytesSent(): number {
    return this.sender.bytesSent;
  }

  get bytesRetransmitted(): number {
    return this.sender.bytesRetransmitted;
  }

  get bytesReceived(): number {
    return this.receiver.bytesReceived;
  }

  get retransmits(): number {
    return this.sender.timers.retransmits;
  }

  /** Bytes that may be read now. */
  get readable(): number {
    return this.receiver.ring.readable;
  }

  /** The peer's DATA_FIN, and all before it, was received. */
  get hasPeerFinished(): boolean {
    return this.receiver.finished;
  }

  /** Bytes that `write` would take now. */
  get writable(): number {
    if (this.sender.isShut || this.closeReason >= 0) return 0;
    return this.sender.queue.free;
  }

  /** Bytes accepted and not yet DATA_ACKed. */
  get unacknowledged(): number {
    return this.sender.unacknowledged;
  }

  /** When `onTimeout` wants to be called; Infinity when nothing is armed. */
  get deadline(): number {
    const { sender, announcements, fallback } = this;
    return Math.min(sender.timers.deadline, announcements.deadline, fallback.deadline, this.closeDeadline);
  }

  /** Nothing is left of it. */
  get isFinished(): boolean {
    return this.state === State.Closed && this.subflows.length === 0;
  }

  // ---------------------------------------------------------------------------------------------- commands

  /** Takes up to `length` bytes; returns how many. 0: no room. @throws InvariantError after `shutdown` */
  write(bytes: Uint8Array, start: number, length: number): number {
    if (this.sender.isShut) throw new InvariantError('write after shutdown');
    const room = this.writable;
    if (room === 0) return 0;
    const taken = this.sender.queue.write(bytes, start, Math.min(length, room));
    if (taken > 0) this.wantsUpdate = true;
    return taken;
  }

  /** Copies up to `length` readable bytes to `target` from `start` on. */
  read(now: number, target: Uint8Array, start: number, length: number): number {
    const count = this.receiver.ring.readInto(target, start, length);
    if (count > 0) this.onRead(now);
    return count;
  }

  /** The application took bytes from the ring (by `read` or `ring.consume`): windows may be worth announcing. */
  onRead(now: number): void {
    this.receiver.ring.adjust(now, Math.max(1, this.group.largestRtt));
    for (let index = 0; index < this.subflows.length; index++) this.subflows[index]!.tcp?.onRead(now);
  }

  /** Bytes the send buffer may hold, from now on without autotuning (SO_SNDBUF). */
  setSendBuffer(bytes: number): void {
    this.sender.setBuffer(bytes);
  }

  /** No more bytes will be written: DATA_FIN after the last (RFC 8684 §3.3.3). */
  shutdown(now: number): void {
    if (this.sender.isShut || this.closeReason >= 0) return;
    this.sender.shutdown();
    if (this.state === State.Established || this.state === State.SynReceived) this.enter(State.FinWait1);
    else if (this.state === State.CloseWait) this.enter(State.LastAck);
    this.wantsUpdate = true;
    if (this.fallenBack) this.sender.mapPlain(now);
  }

  /** Nobody will read or write any more. Unread input turns it into `abort` (A10.13). */
  close(now: number): void {
    this.orphaned = true;
    if (this.closeReason >= 0) {
      this.maybeForget(now);
      return;
    }
    if (this.receiver.ring.readable > 0) {
      this.abort(now);
      return;
    }
    if (this.state === State.SynSent) {
      this.finish(now, CloseReason.Aborted);
      this.group.abort();
      return;
    }
    this.shutdown(now);
    if (this.subflows.every((subflow) => subflow.closed)) this.finish(now, CloseReason.Finished);
    // After fallback TCP has its own ways with orphans.
    else if (this.fallenBack) this.sender.mapPlain(now);
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
    this.group.fastClose();
  }

  /** Both keys are known. `flags`: those of the peer's MP_CAPABLE. */
  setPeerKey(key: Key, flags: number): void {
    this.negotiation.setPeerKey(key, flags);
  }

  // ---------------------------------------------------------------------------------------------- PathCommands

  createSubflow(_now: number, request: JoinRequest): boolean {
    if (this.fallenBack || this.fallback.failing || this.closeReason >= 0) return false;
    // A half-closed connection may need a path as much as any other, but not one that only waits for its end.
    if (this.receiver.finished && this.sender.isShut && this.sender.una >= this.sender.finOffset) return false;
    if (this.peerKey === null || this.joinRequests.length >= JOIN_REQUESTS) return false;
    this.joinRequests.push(request);
    return true;
  }

  announce(now: number, id: number, address: Address, port: number): void {
    if (this.fallenBack || this.peerKey === null || this.closeReason >= 0) return;
    this.announcements.announce(id, address, port);
    this.announcements.demand(now);
  }

  withdraw(now: number, ids: readonly number[]): void {
    if (this.fallenBack || this.closeReason >= 0) return;
    this.announcements.withdraw(ids);
    this.announcements.demand(now);
  }

  closeSubflow(_now: number, id: number, reason: number): void {
    const subflow = this.group.find(id);
    if (subflow === undefined || subflow.closed) return;
    this.counters.RmSubflow++;
    subflow.setReset(reason, false);
    this.group.end(subflow, Ending.Abort);
  }

  retireSubflow(now: number, id: number): void {
    const subflow = this.group.find(id);
    if (subflow === undefined || subflow.closed) return;
    this.counters.RmSubflow++;
    this.retire(now, subflow);
  }

  setBackup(now: number, id: number, backup: boolean): void {
    const subflow = this.group.find(id);
    if (subflow === undefined || subflow.closed || this.fallenBack) return;
    subflow.localBackup = backup;
    subflow.options.wantsPriority = true;
    subflow.demandSignal(now);
    this.wantsUpdate = true;
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
    return this.group.ended;
  }

  // ---------------------------------------------------------------------------------------------- subflows

  /** A new subflow; its handshake is the host's to run. */
  addSubflow(
    tuple: { local: Address; localPort: number; peer: Address; peerPort: number },
    role: { active: boolean; joined: boolean; localId: number; peerId: number; backup: boolean },
  ): Subflow {
    const subflow = this.group.add(tuple, role);
    this.sender.scheduling.add(subflow);
    this.announcements.keep(role.localId);
    if (role.joined && role.active) subflow.join.start(this.host.random.word());
    return subflow;
  }

  /** Prepares the answer to a join that arrived. */
  acceptJoin(subflow: Subflow, peerNonce: number): void {
    subflow.join.accept(this.host.random.word(), peerNonce);
  }

  /** 0 when a join may be established now, else the MP_TCPRST reason of the refusal (A4.04, E2.14). */
  admitsJoin(now: number, subflow: Subflow): number {
    if (this.fallenBack || this.fallback.failing || this.closeReason >= 0) return ResetReason.Prohibited;
    if (!this.host.pathManager.acceptsJoin(now, this, subflow.local, subflow.localPort)) return ResetReason.Prohibited;
    return 0;
  }

  /** TCP's handshake is over on `subflow`. */
  onSubflowTcpEstablished(now: number, subflow: Subflow): void {
    this.group.established++;
    this.events |= ConnectionEvent.SubflowsChanged;
    if (subflow.joined) {
      // A8.18: an active join counts from the fourth packet on; before, nothing depends on it.
      if (subflow.phase === Phase.Proven) this.fallback.bar();
      this.closeDeadline = this.orphaned ? this.closeDeadline : Number.POSITIVE_INFINITY;
      if (subflow.phase === Phase.Proven) this.host.pathManager.onSubflowEstablished(now, this, subflow);
    } else {
      const early = this.state === State.FinWait1;
      if (!early) this.enter(State.Established);
      this.events |= ConnectionEvent.Established | ConnectionEvent.Writable;
      if (!this.fallenBack) {
        this.countedEstablished = true;
        this.counters.MPCurrEstab++;
        this.sender.openWindow(subflow.tcp!.sender.wnd);
      } else if (this.sender.isShut) this.sender.mapPlain(now);
    }
    this.wantsUpdate = true;
  }

  onSubflowProven(now: number, subflow: Subflow): void {
    this.events |= ConnectionEvent.SubflowsChanged;
    this.wantsUpdate = true;
    if (subflow.joined) {
      this.fallback.bar();
      this.host.pathManager.onSubflowEstablished(now, this, subflow);
      return;
    }
    this.fullyEstablished = true;
    if (this.managed) this.host.pathManager.onSubflowEstablished(now, this, subflow);
    else this.onKeyConfirmed(now);
  }

  /**
   * The third ACK brought the client's key. Like Linux a server may announce addresses from now on; RFC 8684 §3.1 lets
   * joins wait until a DSS option has come across the path, so `takeJoin` holds them back.
   */
  onKeyConfirmed(now: number): void {
    if (this.managed) return;
    this.managed = true;
    this.host.pathManager.onEstablished(now, this);
  }

  /** `subflow`'s retransmission timer fired: its data goes to the others, if there are others (A9.11, K07). */
  onSubflowTimeout(now: number, subflow: Subflow): void {
    if (this.fallenBack || !this.group.hasAlternative(subflow)) return;
    this.sender.reinject(now, subflow, true);
    this.wantsUpdate = true;
    this.sender.timers.armLossyProbe(now);
  }

  /** The link under `subflow` went down or came up: no need to wait for a timeout to find out. */
  onPathState(now: number, subflow: Subflow, up: boolean): void {
    if (subflow.tcp === null || subflow.closed) return;
    if (up) subflow.onPathAlive(now);
    else {
      subflow.lossy = true;
      this.onSubflowTimeout(now, subflow);
    }
    this.wantsUpdate = true;
  }

  onSubflowClosed(now: number, subflow: Subflow): void {
    this.events |= ConnectionEvent.SubflowsChanged;
    const index = this.group.remove(subflow);
    if (index >= 0) {
      this.sender.scheduling.remove(index);
      this.wantsUpdate = true;
    }
    if (this.closeReason >= 0 || this.state === State.Closed) {
      this.maybeForget(now);
      return;
    }
    if (this.fallenBack) {
      // A join that was under way when the connection fell back is not the stream.
      if (!subflow.joined) this.finish(now, subflow.closeReason);
      return;
    }
    if (!subflow.joined && !this.fullyEstablished && subflow.establishedAt < 0) {
      this.finish(now, subflow.closeReason);
      return;
    }
    this.sender.reinject(now, subflow, false);
    this.wantsUpdate = true;
    this.host.pathManager.onSubflowClosed(now, this, subflow);
    if (this.subflows.length > 0) return;
    if (this.state === State.TimeWait || (this.orphaned && this.state === State.Closed)) {
      this.finish(now, CloseReason.Finished);
      return;
    }
    // A10.06: break before make. RFC 8684 §3.3.3 keeps the connection for a while; without more than one subflow
    // ever, a reset of the only one is the end of it, as in Linux; that its address went away here is not.
    const { closeReason } = subflow;
    const isPassing = closeReason === CloseReason.Finished || closeReason === CloseReason.AddressGone;
    if (this.group.established <= 1 && !isPassing) {
      this.finish(now, closeReason);
      return;
    }
    this.closeDeadline = Math.min(this.closeDeadline, now + this.config.closeTimeout);
  }

  // ---------------------------------------------------------------------------------------------- the host's turn

  /** Maps waiting data to subflows, as far as windows and the scheduler allow. The host calls it after events. */
  update(now: number): void {
    this.wantsUpdate = false;
    if (this.abortWanted) {
      this.abortWanted = false;
      this.abort(now);
    }
    if (this.group.hasEndings) this.group.carryOutEndings(now);
    if (this.closeReason >= 0) {
      this.wantsUpdate = false;
      return;
    }
    if (this.fallenBack) {
      this.sender.mapPlain(now);
      return;
    }
    this.sender.relieve(now);
    if (this.fallback.revert(now)) this.sender.mapPlain(now);
    else this.sender.update(now);
  }

  onTimeout(now: number): void {
    this.announcements.onTimeout(now);
    this.sender.timers.onTimeout(now);
    this.fallback.onTimeout(now);
    if (now >= this.closeDeadline) {
      this.closeDeadline = Number.POSITIVE_INFINITY;
      this.counters.CloseTimeout++;
      if (this.closeReason === CloseReason.Finished && !this.fallenBack) {
        // RFC 8684 §3.3.3: subflows that still have to deliver what others delivered MAY be reset (A10.09).
        this.group.reset(ResetReason.TooMuchData);
      } else {
        this.finish(now, this.orphaned ? CloseReason.Finished : CloseReason.TimedOut);
        this.group.fastClose();
      }
    }
  }

  // ---------------------------------------------------------------------------------------------- data

  /** The peer's window opened, or it acknowledged data. */
  onDataProgress(now: number): void {
    // A10.07: an orphan has so long without progress. (Linux: so long, and what is unsent by then is lost.)
    if (this.orphaned && this.closeReason < 0) this.closeDeadline = now + this.config.closeTimeout;
  }

  /** All we had to say arrived, the DATA_FIN included. */
  onFinAcknowledged(now: number): void {
    for (const subflow of this.subflows) subflow.options.wantsDataFin = false;
    if (this.state === State.FinWait1) this.enter(State.FinWait2);
    else if (this.state === State.Closing) this.enterTimeWait(now);
    else if (this.state === State.LastAck) this.finishSubflows(now);
  }

  /** Data came for a reader who left. */
  onUnwantedData(): void {
    this.abortWanted = true;
    this.wantsUpdate = true;
  }

  /** All that the peer had to say is here. */
  onPeerFinished(now: number): void {
    this.events |= ConnectionEvent.PeerFinished | ConnectionEvent.Readable;
    if (!this.fallenBack) {
      for (const subflow of this.subflows) {
        subflow.options.wantsDataAck = true;
        subflow.tcp?.demandAcknowledgment(now);
      }
    }
    if (this.state === State.Established) this.enter(State.CloseWait);
    else if (this.state === State.FinWait1) this.enter(State.Closing);
    else if (this.state === State.FinWait2) this.enterTimeWait(now);
  }

  // ---------------------------------------------------------------------------------------------- signals

  /** A path is given up in an orderly way: its data goes to the others at once. */
  retire(now: number, subflow: Subflow): void {
    if (subflow.tcp === null) {
      // Its handshake is under way: nothing to bring, nothing to end in order.
      subflow.setReset(ResetReason.Unspecified, false);
      this.group.end(subflow, Ending.Abort);
      return;
    }
    this.sender.reinject(now, subflow, false);
    this.group.end(subflow, Ending.Shutdown);
  }

  /**
   * The peer ended its side of one subflow while the connection goes on. RFC 8684 §3.3.3 lets ours live on, to carry data
   * one way. But who gives up a path, as for an address that is gone, does not read there either: Linux's socket is closed
   * and answers data with a reset, and its REMOVE_ADDR, which nobody repeats, may be lost. So, as Linux, we end it too
   * when there is another.
   */
  onSubflowFinished(now: number, subflow: Subflow): void {
    if (this.state !== State.Established || subflow.ending !== Ending.None) return;
    if (!this.subflows.some((other) => other !== subflow && other.usable)) return;
    this.retire(now, subflow);
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
      this.group.reset(ResetReason.Unspecified);
    }
    return true;
  }

  /** It is plain TCP from now on: other paths, and what was said about them, are over. */
  onFellBack(): void {
    this.events |= ConnectionEvent.FellBack;
    this.discountEstablished();
    this.announcements.clear();
    this.joinRequests.length = 0;
    this.sender.onFellBack();
    if (this.orphaned) this.closeDeadline = Number.POSITIVE_INFINITY;
  }

  private discountEstablished(): void {
    if (!this.countedEstablished) return;
    this.countedEstablished = false;
    this.counters.MPCurrEstab--;
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
    this.group.shutdown();
    this.closeDeadline = Math.min(this.closeDeadline, now + this.config.closeTimeout);
    this.setClosed(now, CloseReason.Finished);
    if (done) this.enter(State.Closed);
  }

  private finish(now: number, reason: number): void {
    this.setClosed(now, reason);
    this.state = State.Closed;
    this.maybeForget(now);
  }

  private setClosed(now: number, reason: number): void {
    if (this.closeReason >= 0) return;
    this.closeReason = reason;
    this.sender.stop();
    this.fallback.deadline = Number.POSITIVE_INFINITY;
    this.announcements.clear();
    this.joinRequests.length = 0;
    this.events |= ConnectionEvent.Closed;
    this.discountEstablished();
    this.host.pathManager.onClosed(now, this);
  }

  private maybeForget(now: number): void {
    if (this.subflows.length > 0) return;
    this.closeDeadline = Number.POSITIVE_INFINITY;
    this.state = State.Closed;
    this.sender.queue.clear(now);
    // What was received can still be read, as long as there is a reader.
    if (this.orphaned) this.receiver.ring.close();
  }
}

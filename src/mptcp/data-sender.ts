import type { SendQueue } from '../tcp/send-queue.ts';
import { SendTuning } from '../tcp/send-tuning.ts';
import { DataSequenceSpace } from '../wire/sequence.ts';
import type { MptcpConnection } from './connection.ts';
import { ConnectionEvent } from './connection-event.ts';
import type { MptcpCounters } from './counters.ts';
import { DataTimers } from './data-timers.ts';
import { Ending, Phase } from './phase.ts';
import { Reinjections } from './reinjection.ts';
import { Scheduling } from './scheduling.ts';
import type { Scheduler } from './seams.ts';
import type { Subflow } from './subflow.ts';

/**
 * The sending half of a connection: the rope of bytes that are not DATA_ACKed or that a subflow may still resend, how
 * far they are mapped and acknowledged, the peer's data window, our DATA_FIN, and what is to be sent again. Which
 * subflow carries what is `scheduling`'s, and what happens without a DATA_ACK `timers`'.
 */
export class DataSender {
  private readonly connection: MptcpConnection;
  private readonly counters: MptcpCounters;
  /** Between data offsets and our DSNs. */
  readonly space: DataSequenceSpace;
  readonly queue: SendQueue;
  /** Lowest data offset not DATA_ACKed. */
  una = 1;
  /** Next data offset to be mapped for the first time. */
  nxt = 1;
  /** Right edge of the peer's data window. */
  windowEnd = 1;
  /** Data offset of the DATA_FIN; Infinity until `shutdown`. */
  finOffset = Number.POSITIVE_INFINITY;
  /** The DATA_FIN was sent, alone or with the last mapping. */
  finSent = false;
  /** What goes to another subflow than the one that has it. */
  readonly reinjections = new Reinjections();
  readonly scheduling: Scheduling;
  readonly timers: DataTimers;
  private readonly tuning = new SendTuning();
  private maximumBuffer: number;
  /** Bytes mapped for the first time, and again. */
  bytesSent = 0;
  bytesRetransmitted = 0;
  lastDataSent = -1;
  /** When the last DATA_ACK came; -1 before the first. */
  lastAckReceived = -1;

  constructor(connection: MptcpConnection, queue: SendQueue, maximumBuffer: number, scheduler: Scheduler) {
    this.connection = connection;
    this.counters = connection.counters;
    this.space = new DataSequenceSpace(connection.localKey.idsnHigh, connection.localKey.idsnLow);
    this.queue = queue;
    this.maximumBuffer = Math.min(maximumBuffer, connection.config.maximumSendBuffer);
    this.scheduling = new Scheduling(connection, this, scheduler);
    this.timers = new DataTimers(connection, this);
  }

  /** Bytes accepted and not yet DATA_ACKed. */
  get unacknowledged(): number {
    return this.queue.end - this.una;
  }

  /** There are bytes that no subflow has. */
  get hasNew(): boolean {
    return this.nxt < this.queue.end;
  }

  /** There are bytes to be mapped, for the first time or again. */
  get hasWaiting(): boolean {
    return this.nxt < this.queue.end || !this.reinjections.isEmpty;
  }

  /** `shutdown` was called. */
  get isShut(): boolean {
    return this.finOffset !== Number.POSITIVE_INFINITY;
  }

  /** All bytes and the DATA_FIN were DATA_ACKed. */
  get finAcknowledged(): boolean {
    return this.finSent && this.una > this.finOffset;
  }

  /** No more bytes will be written. */
  shutdown(): void {
    this.finOffset = this.queue.end;
  }

  /** Bytes the buffer may hold, from now on without autotuning. */
  setBuffer(bytes: number): void {
    this.maximumBuffer = bytes;
    this.queue.setLimit(bytes);
  }

  /** Maps waiting data to subflows, as far as windows and the scheduler allow. */
  update(now: number): void {
    this.grow(now);
    this.scheduling.schedule(now);
    if (this.isShut && !this.finSent && this.nxt === this.finOffset) this.sendDataFin(now);
    this.timers.update(now);
  }

  /** The initial subflow is established: its window is the first that is known. */
  openWindow(window: number): void {
    this.windowEnd = Math.max(this.windowEnd, this.una + window);
  }

  /** Gives the next `length` bytes to `subflow`, which is to be told. */
  map(now: number, subflow: Subflow, length: number): void {
    subflow.map(this.nxt, length, false);
    this.nxt += length;
    this.bytesSent += length;
    this.lastDataSent = now;
    if (this.nxt === this.finOffset) this.finSent = true;
  }

  /** Gives `length` bytes from `start` to `subflow` too, which is to be told. */
  mapAgain(now: number, subflow: Subflow, start: number, length: number): void {
    this.connection.fallback.bar();
    subflow.map(start, length, true);
    this.counters.MPTCPRetrans++;
    this.bytesRetransmitted += length;
    this.lastDataSent = now;
  }

  private sendDataFin(now: number): void {
    this.finSent = true;
    for (const subflow of this.connection.subflows) {
      if (subflow.phase !== Phase.Proven && !(subflow.phase === Phase.Unproven && !subflow.joined)) continue;
      subflow.options.wantsDataFin = true;
      subflow.tcp?.demandAcknowledgment(now);
    }
  }

  /** Send buffer autotuning, for all subflows in sum; data waits for the slowest of them (A9.08). */
  private grow(now: number): void {
    const { subflows } = this.connection;
    let window = 0;
    let rate = 0;
    let roundTrip = 0;
    for (let index = 0; index < subflows.length; index++) {
      const tcp = subflows[index]!.tcp;
      if (tcp === null) continue;
      const { sender } = tcp;
      window += sender.congestion.window;
      if (sender.rtt.smoothed > 0) rate += sender.congestion.window / sender.rtt.smoothed;
      const own = subflows.length === 1 ? sender.rtt.minimum : sender.rtt.smoothed;
      if (own > roundTrip) roundTrip = own;
    }
    // While a slow path brings its bytes, the fast ones fill many windows.
    if (subflows.length > 1) window = Math.max(window, rate * roundTrip);
    const limit = this.tuning.limit(now, this.una, window, roundTrip, this.maximumBuffer);
    if (limit > this.queue.limit) {
      this.queue.setLimit(limit);
      this.connection.events |= ConnectionEvent.Writable;
    }
  }

  /** A DATA_ACK up to `ack`, with `window` bytes behind it (RFC 8684 §3.3.2, §3.3.4). */
  onDataAck(now: number, ack: number, window: number): void {
    const { connection } = this;
    this.lastAckReceived = now;
    const limit = this.finSent ? this.finOffset + 1 : this.nxt;
    if (!(ack <= limit)) {
      // A5.13: nothing of that was sent. NaN comes here too.
      this.counters.DataAckInvalid++;
      return;
    }
    const edge = ack + window;
    const opens = edge > this.windowEnd;
    if (opens) {
      this.windowEnd = edge;
      connection.wantsUpdate = true;
    }
    if (opens || ack > this.una) connection.onDataProgress(now);
    if (ack <= this.una) {
      if (ack < this.una) this.counters.DataAckOld++;
      return;
    }
    this.una = ack;
    this.reinjections.releaseBelow(ack);
    const { subflows } = connection;
    for (let index = 0; index < subflows.length; index++) subflows[index]!.forget();
    this.release(now);
    connection.events |= ConnectionEvent.Writable;
    connection.wantsUpdate = true;
    this.timers.onProgress(now, ack >= limit);
    if (this.finAcknowledged) connection.onFinAcknowledged(now);
  }

  /** The rope can be released below what every subflow may still resend. */
  release(now: number): void {
    const { subflows } = this.connection;
    let lowest = this.una;
    for (let index = 0; index < subflows.length; index++) {
      const held = subflows[index]!.sent.lowestHeld;
      if (held < lowest) lowest = held;
    }
    if (lowest <= this.queue.start) return;
    this.queue.release(now, lowest);
    this.connection.events |= ConnectionEvent.Writable;
  }

  /**
   * Bytes that a slow path still has to bring, though they arrived otherwise, must not take the room of new ones: it
   * gets a copy of its own. Looked at after segments were processed, when both levels have heard of the same ACK.
   */
  relieve(now: number): void {
    const { subflows } = this.connection;
    const half = this.queue.limit / 2;
    if (subflows.length < 2 || this.queue.free >= half) return;
    let copied = false;
    for (let index = 0; index < subflows.length; index++) {
      const subflow = subflows[index]!;
      // A path whose ACK is merely on its way holds little, and not for long.
      if (subflow.tcp === null || this.una - subflow.sent.lowestHeld < half) continue;
      subflow.sent.keepOwnCopy(subflow.tcp.sender.una);
      copied = true;
    }
    if (copied) this.release(now);
  }

  /**
   * What `subflow` has to bring is to be sent again: with `travelling` what it did not deliver, otherwise everything
   * that was not DATA_ACKed, for what a peer acknowledges on a subflow that it is about to give up may never count. A
   * subflow that lives on keeps a copy.
   */
  reinject(now: number, subflow: Subflow, travelling: boolean): void {
    subflow.sent.forEachUnacknowledged(travelling, (start, end) => {
      const from = Math.max(start, this.una);
      if (from < end) this.reinjections.add(from, end, subflow.id);
    });
    if (!subflow.closed && subflow.tcp !== null) subflow.sent.keepOwnCopy(subflow.tcp.sender.una);
    this.release(now);
  }

  // ---------------------------------------------------------------------------------------------- after fallback

  /** Sending again is TCP's from now on. */
  onFellBack(): void {
    this.reinjections.clear();
    this.timers.stopRetransmitting();
  }

  /** After fallback all waiting data belongs to the one subflow. */
  mapPlain(now: number): void {
    const { connection } = this;
    const subflow = connection.subflows[0];
    if (subflow === undefined || subflow.tcp === null) return;
    if (!subflow.established) {
      // Its own FIN went out before the fallback. With nobody to read any more TCP does not wait for the peer's for ever.
      if (connection.orphaned && subflow.ending !== Ending.None) subflow.tcp.close(now);
      return;
    }
    this.grow(now);
    const length = this.queue.end - this.nxt;
    if (length > 0) this.map(now, subflow, length);
    subflow.tcp.onData(now);
    if (!this.isShut || this.nxt !== this.finOffset) return;
    if (connection.orphaned) subflow.tcp.close(now);
    else subflow.tcp.shutdown(now);
  }

  /** Subflow acknowledgments are the stream's after fallback. */
  onPlainAcknowledged(dataOffset: number): void {
    if (dataOffset <= this.una) return;
    this.una = Math.min(dataOffset, this.nxt);
    this.connection.events |= ConnectionEvent.Writable;
    this.connection.wantsUpdate = true;
  }

  /** The connection is over: nothing goes out any more. */
  stop(): void {
    this.reinjections.clear();
    this.timers.stop();
  }
}

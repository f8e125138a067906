import { Merger, Merging } from '../link/merger.ts';
import type { PacketHost } from '../stack/seams.ts';
import { Packet } from '../wire/packet.ts';
import { type Alarm, openAlarm } from './alarm.ts';
import { now as systemClock } from './clock.ts';
import { HEADROOM, IoStatus, ioPacket, type PacketIo, Readiness } from './packet-io.ts';

export interface DriverOptions {
  /** A socket of the host is ready. Called from Node's own callback, so promises may be settled in it. */
  readonly onReady?: (descriptor: number) => void;
  /** A device went down or away, or came back. */
  readonly onInterfaceState?: (interfaceId: number, isUp: boolean) => void;
  /** Sees each packet that was read or is about to be written. It may not keep or change it, nor throw. */
  readonly tap?: PacketTap;
  /** Packets read from one device before the others, the host's output and the event loop get their turn. Default 64. */
  readonly receiveBatch?: number;
  /** Bytes read from one device likewise. Default 128 KiB: larger batches leave the processor's cache (`bench/tun`). */
  readonly receiveBatchBytes?: number;
  /**
   * Gives the host TCP segments that follow each other as one large packet, with `gsoSize`, from devices without
   * segmentation offload. For hosts that are stacks; one that passes packets on needs them as they were. Default false.
   */
  readonly mergesSegments?: boolean;
  /** Packets written before the event loop gets its turn. Default 64. */
  readonly transmitBatch?: number;
  /**
   * Bytes written before the event loop gets its turn. Default 256 KiB: the kernel at the other end of a TUN device
   * answers within the write, and its ACKs are better taken before the next megabytes go out.
   */
  readonly transmitBatchBytes?: number;
  /** Packets kept for a device that takes none at the moment; the rest is dropped and counted. Default 64. */
  readonly backlog?: number;
  /** Milliseconds, monotonic. Default `performance.now`. Must be the same origin as the host is told elsewhere. */
  readonly clock?: () => number;
}

export type PacketTap = (interfaceId: number, direction: 'received' | 'sent', packet: Packet, now: number) => void;

export class DriverCounters {
  /** Turns taken: drains of input, timers and output. */
  turns = 0;
  received = 0;
  receivedBytes = 0;
  sent = 0;
  sentBytes = 0;
  timeouts = 0;
  /** Packets that reached the host as part of the one before. */
  merged = 0;
  /** Packets put aside because a device took none. */
  deferred = 0;
  /** Packets dropped because too many were put aside already. */
  backlogFull = 0;
  /** Packets dropped because their device was down or gone. */
  down = 0;
  /** Packets that a device refused. */
  refused = 0;
  /** Packets dropped because the kernel had no memory. */
  noMemory = 0;
  /** Packets for an interface that has no device. */
  unattached = 0;
  /** Turns that ended with more to write. */
  yields = 0;
}

const TurnState = { Idle: 0, Running: 1, Closed: 2 } as const;

/**
 * Runs one host in real time: packets from devices, the clock and output, on Node's event loop.
 *
 * Each wake-up is one turn: read until empty (or a bound), run due timers, write until empty (or a bound), arm one
 * alarm, and hand ready sockets to the application in a callback of Node's own. Nothing is done while nothing happens.
 * An open driver keeps the process alive, unless `unref`.
 */
export class Driver {
  readonly host: PacketHost;
  readonly counters: DriverCounters = new DriverCounters();
  private readonly options: DriverOptions;
  private readonly clock: () => number;
  private readonly ports: Port[] = [];
  private readonly byId: (Port | undefined)[] = [];
  private readonly alarm: Alarm;
  private readonly input: Packet = ioPacket();
  private readonly output: Packet = ioPacket();
  private readonly merger: Merger | null;
  private readonly receiveBatch: number;
  private readonly receiveBatchBytes: number;
  private readonly transmitBatch: number;
  private readonly transmitBatchBytes: number;
  private readonly backlogLimit: number;
  private state: number = TurnState.Idle;
  private immediate: NodeJS.Immediate | undefined;
  /** Ready descriptors and interface changes that the application has not been told of. */
  private readonly ready: number[] = [];
  private readonly changes: InterfaceChange[] = [];
  private isRef = true;

  constructor(host: PacketHost, options: DriverOptions = {}) {
    this.host = host;
    this.options = options;
    this.clock = options.clock ?? systemClock;
    this.merger = options.mergesSegments === true ? new Merger(HEADROOM) : null;
    this.receiveBatch = options.receiveBatch ?? 64;
    this.receiveBatchBytes = options.receiveBatchBytes ?? 131_072;
    this.transmitBatch = options.transmitBatch ?? 64;
    this.transmitBatchBytes = options.transmitBatchBytes ?? 262_144;
    this.backlogLimit = options.backlog ?? 64;
    this.alarm = openAlarm(this.onAlarm, { clock: this.clock });
  }

  /** The instant to give to the host with a command. */
  now(): number {
    return this.clock();
  }

  /** Lets the device be the host's interface `interfaceId`, and begins to read. The driver closes it in the end. */
  attach(interfaceId: number, io: PacketIo): void {
    if (this.state === TurnState.Closed) throw new DriverError('ERR_DRIVER_CLOSED', 'the driver is closed');
    if (this.byId[interfaceId] !== undefined) {
      throw new DriverError('ERR_INTERFACE_IN_USE', `interface ${interfaceId} has a device already`);
    }
    const port = new Port(interfaceId, io);
    this.ports.push(port);
    this.byId[interfaceId] = port;
    if (this.isRef) io.ref();
    else io.unref();
    io.start((readiness) => this.onReadiness(port, readiness));
    this.wake();
  }

  /** Takes the device away, open as it is; undefined when there was none. */
  detach(interfaceId: number): PacketIo | undefined {
    const port = this.byId[interfaceId];
    if (port === undefined) return undefined;
    this.byId[interfaceId] = undefined;
    this.ports.splice(this.ports.indexOf(port), 1);
    port.isDetached = true;
    return port.io;
  }

  /**
   * The application gave the host a command: its output and deadlines are looked at soon. Calls until then count as
   * one.
   */
  wake(): void {
    if (this.immediate === undefined && this.state !== TurnState.Closed) {
      this.immediate = setImmediate(this.onImmediate);
    }
  }

  ref(): void {
    this.isRef = true;
    this.alarm.ref();
    for (const port of this.ports) port.io.ref();
  }

  unref(): void {
    this.isRef = false;
    this.alarm.unref();
    for (const port of this.ports) port.io.unref();
  }

  /** Writes what the host still has to say, then closes the devices. No callback comes after it. */
  close(): void {
    if (this.state === TurnState.Closed) return;
    if (this.state === TurnState.Idle) {
      this.state = TurnState.Running;
      this.transmit(this.clock());
    }
    this.state = TurnState.Closed;
    if (this.immediate !== undefined) clearImmediate(this.immediate);
    this.immediate = undefined;
    this.alarm.close();
    for (const port of this.ports) port.io.close();
    this.ports.length = 0;
    this.byId.length = 0;
    this.ready.length = 0;
    this.changes.length = 0;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private readonly onAlarm = (): void => {
    this.turn();
  };

  private readonly onImmediate = (): void => {
    this.immediate = undefined;
    try {
      this.deliver();
    } finally {
      // Also when the application threw: the other connections go on if it survives that.
      this.turn();
    }
  };

  private onReadiness(port: Port, readiness: number): void {
    if (port.isDetached || this.state === TurnState.Closed) return;
    if ((readiness & Readiness.Gone) !== 0) {
      port.isGone = true;
      this.setUp(port, false);
    }
    if ((readiness & Readiness.Writable) !== 0) {
      port.awaits = false;
      // A device that is down is not writable: so it is up again.
      if (!port.isUp && !port.isGone) this.setUp(port, true);
    }
    if ((readiness & Readiness.Readable) !== 0) port.isReadable = true;
    this.turn();
  }

  /** Must not let application code run: it may be called by libuv directly, and not through Node. */
  private turn(): void {
    // The host's code may wake the driver through a command of a tap or callback: never nested.
    if (this.state !== TurnState.Idle) {
      this.wake();
      return;
    }
    this.state = TurnState.Running;
    this.counters.turns++;
    try {
      const now = this.clock();
      for (let index = 0; index < this.ports.length; index++) {
        const port = this.ports[index]!;
        if (port.isReadable) this.receive(now, port);
      }
      if (this.host.pollTimeout() <= now) {
        this.counters.timeouts++;
        this.host.onTimeout(now);
      }
      if (this.transmit(now)) {
        this.counters.yields++;
        this.wake();
      } else {
        const deadline = this.host.pollTimeout();
        if (deadline <= now) this.wake();
        else if (deadline !== Infinity) this.alarm.set(deadline);
      }
      this.collectReady();
    } finally {
      if (this.state === TurnState.Running) this.state = TurnState.Idle;
    }
  }

  private receive(now: number, port: Port): void {
    // Of a device that gives every packet of the wire, those that make one go to the host as one.
    const merger = port.io.segmentationOffload ? null : this.merger;
    const { tap } = this.options;
    const { id } = port;
    let bytes = 0;
    for (let count = 0; count < this.receiveBatch && bytes < this.receiveBatchBytes; count++) {
      const input = merger === null ? this.input : merger.room;
      if (merger === null) input.start = HEADROOM;
      const status = port.io.read(input);
      if (status === IoStatus.Done) {
        const length = input.end - input.start;
        bytes += length;
        this.counters.received++;
        this.counters.receivedBytes += length;
        if (!port.isUp) this.setUp(port, true);
        if (tap !== undefined) tap(id, 'received', input, now);
        if (merger === null) this.host.onPacket(now, id, input);
        else this.merge(now, id, merger, input);
      } else if (status === IoStatus.Refused) {
        this.counters.refused++;
      } else {
        if (status === IoStatus.Gone) port.isGone = true;
        if (status !== IoStatus.Empty) this.setUp(port, false);
        break;
      }
    }
    // Also when a bound was reached: readiness is told again as long as there is more.
    port.isReadable = false;
    if (merger !== null) this.flushMerged(now, id, merger);
  }

  /** `input`, the merger's room, was filled. */
  private merge(now: number, id: number, merger: Merger, input: Packet): void {
    const verdict = merger.take();
    if (verdict === Merging.Merged) this.counters.merged++;
    if (verdict === Merging.Merged || verdict === Merging.Begun) return;
    this.flushMerged(now, id, merger);
    if (verdict === Merging.Next) merger.takeNext();
    else this.host.onPacket(now, id, input);
  }

  private flushMerged(now: number, id: number, merger: Merger): void {
    const { packet } = merger;
    if (packet === null) return;
    merger.clear();
    this.host.onPacket(now, id, packet);
  }

  /** Writes the host's packets. @returns whether there may be more */
  private transmit(now: number): boolean {
    for (let index = 0; index < this.ports.length; index++) {
      const port = this.ports[index]!;
      if (port.backlog.length > 0 && !port.awaits) this.flush(port);
    }
    const output = this.output;
    let bytes = 0;
    for (let count = 0; count < this.transmitBatch && bytes < this.transmitBatchBytes; count++) {
      output.start = HEADROOM;
      output.end = HEADROOM;
      output.gsoSize = 0;
      output.checksum = 0;
      const id = this.host.pollTransmit(now, output);
      if (id < 0) return false;
      bytes += output.end - output.start;
      const port = this.byId[id];
      if (port === undefined) {
        this.counters.unattached++;
        continue;
      }
      const tap = this.options.tap;
      if (tap !== undefined) tap(id, 'sent', output, now);
      if (port.backlog.length > 0) this.defer(port, output);
      else if (!this.write(port, output)) this.defer(port, output);
    }
    return true;
  }

  /** @returns false when the device takes none at the moment */
  private write(port: Port, packet: Packet): boolean {
    const length = packet.end - packet.start;
    const status = port.io.write(packet);
    switch (status) {
      case IoStatus.Done:
        this.counters.sent++;
        this.counters.sentBytes += length;
        if (!port.isUp) this.setUp(port, true);
        return true;
      case IoStatus.Empty:
        return false;
      case IoStatus.Refused:
        this.counters.refused++;
        return true;
      case IoStatus.NoMemory:
        this.counters.noMemory++;
        return true;
      default:
        this.counters.down++;
        if (status === IoStatus.Gone) port.isGone = true;
        this.setUp(port, false);
        return true;
    }
  }

  private defer(port: Port, packet: Packet): void {
    if (!port.awaits) {
      port.awaits = true;
      port.io.awaitWritable();
    }
    if (port.backlog.length >= this.backlogLimit) {
      this.counters.backlogFull++;
      return;
    }
    this.counters.deferred++;
    port.backlog.push(ioCopy(packet));
  }

  private flush(port: Port): void {
    let written = 0;
    while (written < port.backlog.length && this.write(port, port.backlog[written]!)) written++;
    port.backlog.splice(0, written);
    if (port.backlog.length > 0) {
      port.awaits = true;
      port.io.awaitWritable();
    }
  }

  private setUp(port: Port, isUp: boolean): void {
    if (port.isUp === isUp) return;
    port.isUp = isUp;
    if (!isUp) {
      this.counters.down += port.backlog.length;
      port.backlog.length = 0;
      if (!port.isGone && !port.awaits) {
        port.awaits = true;
        port.io.awaitWritable();
      }
    }
    if (this.options.onInterfaceState === undefined) return;
    this.changes.push({ id: port.id, isUp });
    this.wake();
  }

  private collectReady(): void {
    const onReady = this.options.onReady;
    let descriptor = this.host.pollReady();
    if (descriptor < 0) return;
    for (; descriptor >= 0; descriptor = this.host.pollReady()) if (onReady !== undefined) this.ready.push(descriptor);
    if (onReady !== undefined) this.wake();
  }

  /** Tells the application. Runs in a callback of Node's, so that promises and `nextTick` work as everywhere. */
  private deliver(): void {
    const { onReady, onInterfaceState } = this.options;
    if (this.changes.length > 0 && onInterfaceState !== undefined) {
      for (const change of this.changes.splice(0)) onInterfaceState(change.id, change.isUp);
    }
    const count = this.ready.length;
    if (count === 0 || onReady === undefined) return;
    let index = 0;
    try {
      // Callbacks may close the driver, which empties the list.
      while (index < count && index < this.ready.length) onReady(this.ready[index++]!);
    } finally {
      this.ready.splice(0, index);
      if (this.ready.length > 0) this.wake();
    }
  }
}

/** The driver was used against its rules. */
export class DriverError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(`${code}: ${message}`);
    this.name = 'DriverError';
    this.code = code;
  }
}

interface InterfaceChange {
  readonly id: number;
  readonly isUp: boolean;
}

/** One interface's device and what is known of it. */
class Port {
  readonly id: number;
  readonly io: PacketIo;
  readonly backlog: Packet[] = [];
  isReadable = false;
  isUp = true;
  isGone = false;
  isDetached = false;
  /** Writability has been asked for. */
  awaits = false;

  constructor(id: number, io: PacketIo) {
    this.id = id;
    this.io = io;
  }
}

/** A copy that a device can write from. */
function ioCopy(packet: Packet): Packet {
  const copy = new Packet(packet.end - packet.start, HEADROOM);
  copy.copyFrom(packet);
  return copy;
}

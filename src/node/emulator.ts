import type { Link } from '../link/link.ts';
import type { Packet } from '../wire/packet.ts';
import { type Alarm, openAlarm } from './alarm.ts';
import { now } from './clock.ts';
import { HEADROOM, IoStatus, ioPacket, type PacketIo, Readiness } from './packet-io.ts';

export interface EmulatedOptions {
  readonly names?: readonly [string, string];
  /** Bytes of the largest IP packet. Default 1500. */
  readonly mtu?: number;
  /** What the ends say of themselves: whether the links take packets of up to 64 KB with `gsoSize` set. Default false. */
  readonly segmentationOffload?: boolean;
  /** Whether packets may leave their checksum to the link, which does not look at it. Default false. */
  readonly checksumOffload?: boolean;
}

/**
 * A cable inside the process: what is written to one end passes a link, in real time, and is read at the other.
 *
 * @param forward from the first end to the second
 * @param backward from the second end to the first
 */
export function emulatedPair(forward: Link, backward: Link, options: EmulatedOptions = {}): [EmulatedIo, EmulatedIo] {
  const names = options.names ?? ['left', 'right'];
  const first = new EmulatedIo(names[0], forward, backward, options);
  const second = new EmulatedIo(names[1], backward, forward, options);
  first.connect(second);
  second.connect(first);
  return [first, second];
}

/** One end of an `emulatedPair`. */
export class EmulatedIo implements PacketIo {
  readonly name: string;
  readonly mtu: number;
  readonly segmentationOffload: boolean;
  readonly checksumOffload: boolean;
  private readonly output: Link;
  private readonly input: Link;
  private peer: EmulatedIo = this;
  private alarm: Alarm | undefined;
  private immediate: NodeJS.Immediate | undefined;
  private onReady: ((readiness: number) => void) | undefined;
  private isRef = true;
  private isClosed = false;

  constructor(name: string, output: Link, input: Link, options: EmulatedOptions) {
    this.name = name;
    this.mtu = options.mtu ?? 1500;
    this.segmentationOffload = options.segmentationOffload ?? false;
    this.checksumOffload = options.checksumOffload ?? false;
    this.output = output;
    this.input = input;
  }

  connect(peer: EmulatedIo): void {
    this.peer = peer;
  }

  read(packet: Packet): number {
    if (this.isClosed) return IoStatus.Gone;
    return this.input.receive(now(), packet) ? IoStatus.Done : IoStatus.Empty;
  }

  write(packet: Packet): number {
    if (this.isClosed) return IoStatus.Gone;
    this.output.send(now(), packet);
    this.peer.schedule();
    return IoStatus.Done;
  }

  start(onReady: (readiness: number) => void): void {
    if (this.isClosed || this.onReady !== undefined) return;
    this.onReady = onReady;
    this.alarm = openAlarm(this.onDue);
    if (!this.isRef) this.alarm.unref();
    this.schedule();
  }

  awaitWritable(): void {
    // A link takes any packet at any time.
    const onReady = this.onReady;
    setImmediate(() => {
      if (!this.isClosed) onReady?.(Readiness.Writable);
    });
  }

  /** Somebody gave the link a packet, or it has more. */
  private schedule(): void {
    if (this.alarm === undefined || this.immediate !== undefined) return;
    const due = this.input.pollTimeout();
    if (due === Infinity) return;
    if (due > now()) this.alarm.set(due);
    else this.immediate = setImmediate(this.onDue);
  }

  private readonly onDue = (): void => {
    clearImmediate(this.immediate);
    this.immediate = undefined;
    if (this.isClosed) return;
    if (this.input.pollTimeout() <= now()) this.onReady?.(Readiness.Readable);
    if (!this.isClosed) this.schedule();
  };

  ref(): void {
    this.isRef = true;
    this.alarm?.ref();
  }

  unref(): void {
    this.isRef = false;
    this.alarm?.unref();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.alarm?.close();
    clearImmediate(this.immediate);
  }
}

export class EmulatorCounters {
  /** Packets taken from the devices and given to them. */
  received = 0;
  sent = 0;
  /** Packets that came out of a link and that the device did not take: down, gone, or refused. */
  lost = 0;
}

/** Packets read from one device before the other direction and the event loop get their turn. */
const BATCH = 64;

/**
 * A network between two devices, in real time: each packet that is read from one passes a link and is written to the
 * other. With links of the `link` folder this is a path with a rate, a delay and losses for two kernels, or for a
 * kernel and this stack. Packets leave 0.1 ms late (median); rates are exact, since links keep their own schedule.
 */
export class Emulator {
  readonly counters: EmulatorCounters = new EmulatorCounters();
  private readonly sides: readonly [Side, Side];
  private readonly alarm: Alarm;
  private readonly input: Packet = ioPacket();
  private isClosed = false;

  /** @param forward from `left` to `right` @param backward from `right` to `left` */
  constructor(left: PacketIo, right: PacketIo, forward: Link, backward: Link) {
    const first = new Side(left, forward, right);
    const second = new Side(right, backward, left);
    this.sides = [first, second];
    this.alarm = openAlarm(() => this.turn());
    left.start((readiness) => this.onReadiness(first, second, readiness));
    right.start((readiness) => this.onReadiness(second, first, readiness));
  }

  ref(): void {
    this.alarm.ref();
    for (const side of this.sides) side.source.ref();
  }

  unref(): void {
    this.alarm.unref();
    for (const side of this.sides) side.source.unref();
  }

  /** Closes the devices as well. What is under way is lost. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.alarm.close();
    for (const side of this.sides) side.source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @param side of the device that is ready @param into the one whose packets it takes */
  private onReadiness(side: Side, into: Side, readiness: number): void {
    if (this.isClosed) return;
    if ((readiness & Readiness.Writable) !== 0) into.isBlocked = false;
    if ((readiness & Readiness.Readable) !== 0) {
      const instant = now();
      for (let count = 0; count < BATCH; count++) {
        this.input.start = HEADROOM;
        if (side.source.read(this.input) !== IoStatus.Done) break;
        this.counters.received++;
        side.link.send(instant, this.input);
      }
    }
    this.turn();
  }

  private turn(): void {
    if (this.isClosed) return;
    let next = Infinity;
    for (let index = 0; index < 2; index++) {
      const side = this.sides[index]!;
      this.drain(side);
      // A blocked device says itself when it takes packets again.
      if (!side.isBlocked) next = Math.min(next, side.link.pollTimeout());
    }
    if (next !== Infinity) this.alarm.set(next);
  }

  private drain(side: Side): void {
    const instant = now();
    const output = side.output;
    for (let count = 0; count < BATCH && !side.isBlocked; count++) {
      if (!side.isHeld) {
        output.start = HEADROOM;
        if (!side.link.receive(instant, output)) return;
      }
      const status = side.sink.write(output);
      side.isHeld = status === IoStatus.Empty;
      if (side.isHeld) {
        side.isBlocked = true;
        side.sink.awaitWritable();
      } else if (status === IoStatus.Done) {
        this.counters.sent++;
      } else {
        this.counters.lost++;
      }
    }
  }
}

/** One direction of an emulator. */
class Side {
  readonly source: PacketIo;
  readonly link: Link;
  readonly sink: PacketIo;
  readonly output: Packet = ioPacket();
  /** `output` holds a packet that the sink did not take. */
  isHeld = false;
  isBlocked = false;

  constructor(source: PacketIo, link: Link, sink: PacketIo) {
    this.source = source;
    this.link = link;
    this.sink = sink;
  }
}

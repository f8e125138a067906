import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { tcpDefaults } from '../../src/tcp/config.ts';
import { TcpCounters } from '../../src/tcp/counters.ts';
import { Ranges } from '../../src/tcp/ranges.ts';
import { SendQueue } from '../../src/tcp/send-queue.ts';
import { initialWindow, Sender, SendKind, TimeoutOutcome } from '../../src/tcp/sender.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { SequenceSpace } from '../../src/wire/sequence.ts';
import { checkInvariants, cubic, reno } from './tcp-sender-harness.ts';

/** xorshift: the same numbers for the same seed everywhere. */
function random(seed: number): () => number {
  let state = (Math.imul(seed, 2_654_435_761) ^ 0x9e3779b9) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 4_294_967_296;
  };
}

interface Event {
  at: number;
  order: number;
  /** Data towards the receiver, or -1 for an ACK towards the sender. */
  start: number;
  end: number;
  fin: boolean;
  timestamp: number;
  ack: number;
  window: number;
  blocks: [number, number][];
}

class World {
  readonly die: () => number;
  now = 0;
  readonly events: Event[] = [];
  order = 0;
  readonly counters = new TcpCounters();
  readonly queue = new SendQueue(30_000);
  readonly sender: Sender;
  readonly space = new SequenceSpace(4_294_950_000);
  readonly segment = new Segment();
  readonly received = new Ranges();
  readonly bytes: Uint8Array;
  readonly sack: boolean;
  readonly timestamps: boolean;
  readonly loss: number;
  readonly reorder: number;
  readonly duplicate: number;
  readonly delay: number;
  readonly total: number;
  written = 0;
  next = 1;
  finAt = -1;
  recent: [number, number][] = [];
  owed = 0;
  lastWindow: number;
  readonly buffer: number;
  readonly slowReader: boolean;
  read = 1;

  constructor(seed: number) {
    const die = random(seed);
    this.die = die;
    this.total = 1 + Math.floor(die() ** 2 * 120_000);
    this.bytes = new Uint8Array(this.total + 1);
    this.sack = die() < 0.75;
    this.timestamps = die() < 0.5;
    this.loss = die() < 0.2 ? 0 : die() ** 2 * 0.3;
    this.reorder = die() < 0.4 ? 0 : die() * 0.3;
    this.duplicate = die() < 0.5 ? 0 : die() * 0.1;
    this.delay = 0.5 + die() * 100;
    this.buffer = 1000 + Math.floor(die() * 60_000);
    this.slowReader = die() < 0.3;
    this.lastWindow = this.buffer;
    const size = 100 + Math.floor(die() * 1400);
    const config = {
      ...tcpDefaults(die() < 0.5 ? reno : cubic),
      rack: die() < 0.7,
      nagle: die() < 0.7,
      pacing: die() < 0.3,
      retries: 1000,
    };
    this.sender = new Sender(
      0,
      config,
      this.queue,
      config.congestionControl(size, initialWindow(size, 10)),
      this.counters,
      {
        space: this.space,
        segmentSize: size,
        sackPermitted: this.sack,
        timestamps: this.timestamps,
        timestampOffset: 4_294_960_000,
        peerWindow: this.buffer,
        handshakeRtt: die() < 0.5 ? -1 : 2 * this.delay,
        handshakeRetransmitted: false,
      },
    );
    if (die() < 0.5) this.sender.setGsoMaximum(size * Math.floor(1 + die() * 20));
  }

  post(event: Omit<Event, 'at' | 'order'>): void {
    const { die } = this;
    if (die() < this.loss) return;
    const copies = die() < this.duplicate ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const late = die() < this.reorder ? die() * this.delay : 0;
      this.events.push({ ...event, at: this.now + this.delay + late, order: this.order++ });
    }
  }

  pump(): void {
    const { sender, die } = this;
    // The application writes in pieces of any size.
    while (this.written < this.total) {
      const length = Math.min(this.total - this.written, 1 + Math.floor(die() ** 3 * 20_000));
      const piece = new Uint8Array(length);
      for (let index = 0; index < length; index++) piece[index] = value(this.written + index + 1);
      const taken = this.queue.write(piece, 0, length);
      this.written += taken;
      if (taken > 0) sender.onData(this.now);
      if (this.written === this.total) sender.shutdown(this.now);
      if (taken < length || die() < 0.2) break;
    }
    for (let turn = 0; ; turn++) {
      ok(turn < 10_000, 'the sender never stops');
      const pipe = sender.inFlight;
      const { cwnd } = sender;
      const kind = sender.poll(this.now);
      if (kind === SendKind.None) return;
      if (die() < 0.02) {
        sender.onUnsendable(this.now);
        // Whoever refuses tells when it is over.
        sender.onData(this.now);
        continue;
      }
      const offset = sender.planOffset;
      let length = sender.planLength;
      let fin = sender.planFin;
      if (length > 1 && die() < 0.1) {
        length = 1 + Math.floor(die() * (length - 1));
        fin = false;
      }
      if (kind === SendKind.Data) {
        ok(offset + length + (fin ? 1 : 0) <= sender.una + sender.wnd, 'beyond the peer’s window');
        ok(pipe === 0 || pipe + length <= cwnd, 'beyond the congestion window');
      }
      const size = sender.segmentSize;
      const stamp = Math.floor(this.now);
      const payload = new Uint8Array(length);
      if (length > 0) this.queue.copyTo(offset, length, payload, 0);
      for (let index = 0; index < length; index++) {
        if (payload[index] !== value(offset + index)) throw new Error(`byte ${offset + index} is another`);
      }
      for (let at = 0; at === 0 || at < length; at += size) {
        const end = Math.min(length, at + size);
        this.post({
          start: offset + at,
          end: offset + end,
          fin: fin && end === length,
          timestamp: stamp,
          ack: 0,
          window: 0,
          blocks: [],
        });
      }
      sender.onSent(this.now, length, fin);
      checkInvariants(sender);
    }
  }

  /** The ideal receiver: takes what fits, answers everything, reports duplicates. */
  deliver(event: Event): void {
    let { end } = event;
    const edge = this.next + this.lastWindow;
    if (event.fin) this.finAt = event.end;
    if (end > edge) end = Math.max(event.start, edge);
    let duplicate: [number, number] | undefined;
    const start = Math.max(event.start, 1);
    if (end > start) {
      if (this.received.covers(start, end) || end <= this.next) duplicate = [start, end];
      else {
        this.received.insert(start, end);
        this.recent = [[start, end], ...this.recent].slice(0, 8) as [number, number][];
      }
    }
    this.next = this.received.firstMissing(1);
    const done = this.finAt >= 0 && this.next === this.finAt;
    this.owed++;
    if (this.owed < 2 && duplicate === undefined && this.recent.length === 0 && !done && this.die() < 0.3) return;
    this.owed = 0;
    this.respond(duplicate, event.timestamp);
  }

  respond(duplicate: [number, number] | undefined, timestamp: number): void {
    const blocks: [number, number][] = [];
    if (duplicate !== undefined) blocks.push(duplicate);
    for (const [start] of this.recent) {
      const index = this.received.indexOf(start);
      const block: [number, number] = [this.received.start(index), this.received.end(index)];
      if (block[1] <= this.next) continue;
      if (
        blocks.length < 3 &&
        !blocks.some(([left, right], at) => (at > 0 || !duplicate) && left === block[0] && right === block[1])
      ) {
        blocks.push(block);
      }
    }
    this.recent = this.recent.filter(([start]) => start >= this.next);
    if (!this.slowReader || this.die() < 0.5) this.read = this.next;
    this.lastWindow = Math.max(0, this.read + this.buffer - this.next);
    const done = this.finAt >= 0 && this.next === this.finAt ? 1 : 0;
    this.post({
      start: -1,
      end: 0,
      fin: false,
      timestamp,
      ack: this.next + done,
      window: this.lastWindow,
      blocks: this.sack ? blocks : [],
    });
  }

  acknowledge(event: Event): void {
    const { segment, sender } = this;
    segment.reset();
    segment.flags = Flag.Ack;
    segment.offset = 1;
    segment.ackOffset = event.ack;
    segment.scaledWindow = event.window;
    if (this.timestamps) {
      segment.options |= Option.Timestamps;
      segment.timestampEcho = (4_294_960_000 + event.timestamp) >>> 0;
    }
    segment.sackCount = event.blocks.length;
    if (event.blocks.length > 0) segment.options |= Option.Sack;
    event.blocks.forEach(([start, end], index) => {
      segment.sackEdges[2 * index] = this.space.toWire(start);
      segment.sackEdges[2 * index + 1] = this.space.toWire(end);
    });
    sender.onAck(this.now, segment, 0);
  }

  get isOver(): boolean {
    return this.written === this.total && this.sender.una > this.sender.finOffset;
  }

  run(): void {
    this.pump();
    let steps = 0;
    while (!this.isOver) {
      ok(++steps < 200_000, 'no end');
      let first = 0;
      for (let index = 1; index < this.events.length; index++) {
        const one = this.events[index]!;
        const other = this.events[first]!;
        if (one.at < other.at || (one.at === other.at && one.order < other.order)) first = index;
      }
      const event = this.events[first];
      const { deadline } = this.sender;
      if (event === undefined || deadline < event.at) {
        ok(deadline < Number.POSITIVE_INFINITY, 'stalled: no timer, no packet');
        this.now = Math.max(this.now, deadline);
        const outcome = this.sender.onTimeout(this.now);
        ok((outcome & TimeoutOutcome.Abort) === 0, 'given up');
      } else {
        this.events.splice(first, 1);
        this.now = event.at;
        if (event.start >= 0) this.deliver(event);
        else this.acknowledge(event);
      }
      checkInvariants(this.sender);
      this.pump();
      checkInvariants(this.sender);
    }
    equal(this.next, this.total + 1);
    equal(this.queue.length, 0);
    equal(this.sender.inFlight, 0);
  }
}

function value(offset: number): number {
  return (offset * 31 + (offset >>> 8)) & 0xff;
}

test('C14 C15 C16 C17 C19 C21 C33 C39 any loss, reordering and duplication: every byte arrives, figures hold after each step', () => {
  const from = Number(process.env.SEED ?? 1);
  const count = process.env.SEED === undefined ? 1500 : 1;
  for (let seed = from; seed < from + count; seed++) {
    const world = new World(seed);
    try {
      world.run();
    } catch (error) {
      throw new Error(`SEED=${seed} at ${world.now} ms, una ${world.sender.una} of ${world.total}`, { cause: error });
    }
  }
});

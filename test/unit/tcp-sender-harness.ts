import { equal, ok } from 'node:assert/strict';
import { cubic } from '../../src/policy/congestion/cubic.ts';
import { reno } from '../../src/policy/congestion/reno.ts';
import { type TcpConfig, tcpDefaults } from '../../src/tcp/config.ts';
import { TcpCounters } from '../../src/tcp/counters.ts';
import { Mark, type Transmission } from '../../src/tcp/scoreboard.ts';
import { SendQueue } from '../../src/tcp/send-queue.ts';
import { initialWindow, Sender, SendKind, TimeoutOutcome } from '../../src/tcp/sender.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { SequenceSpace } from '../../src/wire/sequence.ts';

/** One transmission, as the script sees it. */
export interface Sent {
  at: number;
  kind: number;
  offset: number;
  length: number;
  fin: boolean;
}

export interface ScriptOptions {
  config?: Partial<TcpConfig>;
  size?: number;
  sack?: boolean;
  timestamps?: boolean;
  window?: number;
  rtt?: number;
  gso?: number;
  initial?: number;
  retransmittedSyn?: boolean;
}

export interface Ack {
  sack?: [number, number][];
  window?: number;
  /** Time of transmission that the timestamp echoes. */
  echo?: number;
  /** The peer's sequence offset and payload. */
  offset?: number;
  length?: number;
  verdict?: number;
}

/** A `Sender` alone, in virtual time, with ACKs by hand. Segments are 1000 bytes unless said otherwise. */
export class Script {
  now = 0;
  readonly counters = new TcpCounters();
  readonly queue: SendQueue;
  readonly sender: Sender;
  readonly space = new SequenceSpace(4_294_960_000);
  readonly sent: Sent[] = [];
  window: number;
  outcome = 0;
  private readonly segment = new Segment();
  private readonly timestamps: boolean;

  constructor(options: ScriptOptions = {}) {
    const size = options.size ?? 1000;
    const config = { ...tcpDefaults(options.config?.congestionControl ?? reno), ...options.config };
    this.window = options.window ?? 1_000_000;
    this.timestamps = options.timestamps ?? false;
    this.queue = new SendQueue(10_000_000);
    this.sender = new Sender(
      this.now,
      config,
      this.queue,
      config.congestionControl(size, options.initial ?? initialWindow(size, config.initialWindowSegments)),
      this.counters,
      {
        space: this.space,
        segmentSize: size,
        sackPermitted: options.sack ?? true,
        timestamps: this.timestamps,
        timestampOffset: 77_000,
        peerWindow: this.window,
        handshakeRtt: options.rtt ?? 100,
        handshakeRetransmitted: options.retransmittedSyn ?? false,
      },
    );
    if (options.gso !== undefined) this.sender.setGsoMaximum(options.gso);
  }

  /** The application writes; what may go goes. Returns what went. */
  write(length: number): Sent[] {
    equal(this.queue.write(new Uint8Array(length), 0, length), length);
    this.sender.onData(this.now);
    return this.pump();
  }

  /** Sends what the sender plans until it plans nothing; returns it. */
  pump(): Sent[] {
    const from = this.sent.length;
    const { sender } = this;
    for (let turns = 0; ; turns++) {
      ok(turns < 100_000, 'the sender never stops');
      const pipe = sender.inFlight;
      const cwnd = sender.cwnd;
      const kind = sender.poll(this.now);
      if (kind === SendKind.None) break;
      const { planOffset: offset, planLength: length, planFin: fin } = sender;
      if (kind === SendKind.Data) {
        ok(offset + length + (fin ? 1 : 0) <= sender.una + sender.wnd, 'beyond the peer’s window');
        ok(pipe === 0 || pipe + length <= cwnd, `beyond the congestion window: ${pipe} + ${length} > ${cwnd}`);
      }
      ok(length <= sender.gsoMaximum, 'larger than one transmission may be');
      sender.onSent(this.now, length, fin);
      this.sent.push({ at: this.now, kind, offset, length, fin });
      checkInvariants(sender);
    }
    return this.sent.slice(from);
  }

  /** An ACK arrives; returns what it makes the sender send. */
  ack(offset: number, ack: Ack = {}): Sent[] {
    this.receive(offset, ack);
    return this.pump();
  }

  /** An ACK for each of the next `count` segments above `una`; returns the last offset acknowledged. */
  ackEach(una: number, count: number): number {
    for (let index = 1; index <= count; index++) this.ack(una + 1000 * index);
    return una + 1000 * count;
  }

  /** An ACK arrives, and nothing is sent yet. */
  receive(offset: number, ack: Ack = {}): number {
    const { segment, space } = this;
    segment.reset();
    segment.flags = Flag.Ack;
    segment.payloadStart = 0;
    segment.payloadEnd = ack.length ?? 0;
    segment.offset = ack.offset ?? 1;
    segment.ackOffset = offset;
    this.window = ack.window ?? this.window;
    segment.scaledWindow = this.window;
    if (this.timestamps) {
      segment.options |= Option.Timestamps;
      segment.timestampEcho = (77_000 + Math.floor(ack.echo ?? this.now)) >>> 0;
    }
    const blocks = ack.sack ?? [];
    segment.sackCount = blocks.length;
    if (blocks.length > 0) segment.options |= Option.Sack;
    blocks.forEach(([start, end], index) => {
      segment.sackEdges[2 * index] = space.toWire(start);
      segment.sackEdges[2 * index + 1] = space.toWire(end);
    });
    this.outcome = this.sender.onAck(this.now, segment, ack.verdict ?? 0);
    checkInvariants(this.sender);
    return this.outcome;
  }

  /** Time passes to `time`, timers fire; returns what was sent. */
  at(time: number): Sent[] {
    const from = this.sent.length;
    for (let turns = 0; this.sender.deadline <= time; turns++) {
      ok(turns < 10_000, `timers fire for ever at ${this.now}`);
      this.now = Math.max(this.now, this.sender.deadline);
      this.outcome = this.sender.onTimeout(this.now);
      if ((this.outcome & TimeoutOutcome.Abort) !== 0) return this.sent.slice(from);
      checkInvariants(this.sender);
      this.pump();
    }
    this.now = time;
    return this.sent.slice(from);
  }
}

/** `offset+length` of each, for terse comparisons; R marks retransmissions, P loss probes, W window probes, F the FIN. */
export function brief(sent: Sent[]): string {
  const letters = ['', '', 'R', '', 'W', 'P', 'R'];
  return sent.map((one) => `${letters[one.kind]}${one.offset}+${one.length}${one.fin ? 'F' : ''}`).join(' ');
}

/** Recomputes from scratch what the sender keeps incrementally. */
export function checkInvariants(sender: Sender): void {
  ok(sender.una <= sender.nxt, 'una beyond nxt');
  const board = sender.board;
  let expected = sender.una;
  let count = 0;
  let sacked = 0;
  let lost = 0;
  let retransmitted = 0;
  const flying = new Set<Transmission>();
  const waiting = new Set<Transmission>();
  let previous: Transmission | null = null;
  for (let record = board.head; record !== null; record = record.next) {
    equal(record.start, expected, 'a gap between records');
    ok(record.end > record.start, 'an empty record');
    equal(record.previous, previous, 'links of the sequence');
    expected = record.end;
    count++;
    const length = record.end - record.start;
    if ((record.marks & Mark.Sacked) !== 0) {
      equal(record.marks, Mark.Sacked);
      sacked += length;
      ok(previous === null || (previous.marks & Mark.Sacked) === 0, 'acknowledged neighbours merge');
    } else if ((record.marks & (Mark.Lost | Mark.Retransmitted)) === Mark.Lost) waiting.add(record);
    else flying.add(record);
    if ((record.marks & Mark.Lost) !== 0) lost += length;
    if ((record.marks & Mark.Retransmitted) !== 0) retransmitted += length;
    previous = record;
  }
  equal(board.tail, previous);
  equal(expected, sender.nxt, 'records up to nxt');
  equal(board.count, count);
  equal(board.sacked, sacked, 'sacked');
  equal(board.lost, lost, 'lost');
  equal(board.retransmitted, retransmitted, 'retransmitted');
  ok(board.presumed >= 0 && board.presumed <= Math.max(0, sender.nxt - sender.una - lost), 'presumed');
  equal(sender.inFlight, sender.nxt - sender.una - sacked - board.presumed - lost + retransmitted, 'pipe');
  let time = Number.NEGATIVE_INFINITY;
  let earlier: Transmission | null = null;
  for (let record = board.oldest; record !== null; record = record.later) {
    ok(flying.delete(record), 'in the timeline though not in the network');
    ok(record.sentAt >= time, 'the timeline is out of order');
    equal(record.earlier, earlier);
    time = record.sentAt;
    earlier = record;
  }
  equal(board.newest, earlier);
  equal(flying.size, 0, 'in the network though not in the timeline');
  let offset = 0;
  earlier = null;
  for (let record = board.pending; record !== null; record = record.later) {
    ok(waiting.delete(record), 'waits though it need not');
    ok(record.start > offset, 'what waits is out of order');
    equal(record.earlier, earlier);
    offset = record.start;
    earlier = record;
  }
  equal(waiting.size, 0, 'lost but not waiting');
  if (sender.una < sender.nxt) ok(sender.deadline < Number.POSITIVE_INFINITY, 'in flight without a timer');
}

export { cubic, reno };

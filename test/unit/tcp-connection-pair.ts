import assert from 'node:assert/strict';
import type { TcpConfig } from '../../src/tcp/config.ts';
import { TcpCounters } from '../../src/tcp/counters.ts';
import {
  ChallengeLimiter,
  type Endpoint,
  type EndpointEnvironment,
  EndpointEvent,
  Tuple,
} from '../../src/tcp/endpoint.ts';
import { Handshake } from '../../src/tcp/handshake.ts';
import { NULL_EXTENSION } from '../../src/tcp/null-extension.ts';
import type { Extension } from '../../src/tcp/seams.ts';
import { TcpStream } from '../../src/tcp/stream.ts';
import { TimeWait } from '../../src/tcp/time-wait.ts';
import { Address } from '../../src/wire/address.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';
import { bytesFrom, testConfig } from '../script/harness.ts';

/** A seeded generator (xorshift32). */
export class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0 || 1;
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.state ^= this.state << 13;
    this.state ^= this.state >>> 17;
    this.state ^= this.state << 5;
    return (this.state >>> 0) / 4_294_967_296;
  }
}

export interface PairOptions {
  seed?: number;
  config?: Partial<TcpConfig>;
  /** One way, ms. */
  delay?: number;
  /** Shares of packets lost, delivered twice, and held back by up to 20 ms. */
  loss?: number;
  duplication?: number;
  reordering?: number;
  segmentationOffload?: boolean;
  mtu?: number;
  extensions?: readonly [Extension, Extension];
}

/** One host with one connection: what a stack does, without the stack. */
export class End {
  stream: TcpStream | null = null;
  endpoint: Endpoint | null = null;
  readonly counters = new TcpCounters();
  readonly environment: EndpointEnvironment;
  readonly tuple: Tuple;
  readonly extension: Extension;
  events = 0;
  written = 1;
  consumed = 1;
  private readonly initial: number;
  private readonly segment = new Segment();
  private readonly ip = new IpHeader();
  private readonly inbound = new Packet(PACKET_CAPACITY);

  constructor(options: PairOptions, tuple: Tuple, initial: number, extension: Extension) {
    const config = testConfig(options.config);
    this.tuple = tuple;
    this.initial = initial;
    this.extension = extension;
    this.environment = {
      mtu: options.mtu ?? 1500,
      segmentationOffload: options.segmentationOffload ?? false,
      checksumOffload: false,
      config,
      counters: this.counters,
      challenge: new ChallengeLimiter(config.challengeAckLimit, 7),
      timestampOffset: initial,
      hopLimit: 64,
      trafficClass: 0,
    };
  }

  connect(now: number): void {
    const handshake = Handshake.connect(now, this.environment, this.tuple, this.initial, this.extension);
    this.stream = TcpStream.fromHandshake(handshake);
    this.endpoint = handshake;
  }

  receive(now: number, bytes: Uint8Array, gsoSize: number): void {
    const { inbound, segment } = this;
    inbound.bytes.set(bytes);
    inbound.start = 0;
    inbound.end = bytes.length;
    inbound.checksum = 0;
    inbound.gsoSize = gsoSize;
    assert.equal(decodeIp(inbound, this.ip), Drop.None);
    assert.equal(decodeTcp(inbound, this.ip, segment), Drop.None);
    if (this.endpoint === null) {
      if ((segment.flags & (Flag.Syn | Flag.Ack | Flag.Rst)) !== Flag.Syn) return;
      const handshake = Handshake.accept(now, this.environment, this.tuple, this.initial, this.extension, segment);
      this.stream = TcpStream.fromHandshake(handshake);
      this.endpoint = handshake;
      return;
    }
    const { endpoint } = this;
    endpoint.onSegment(now, segment, inbound);
    if ((endpoint.events & EndpointEvent.Promoted) !== 0) {
      endpoint.events = 0;
      const connection = this.stream!.establish(now);
      this.endpoint = connection;
      connection.onSegment(now, segment, inbound);
    }
  }

  collect(now: number): void {
    const { endpoint } = this;
    if (endpoint === null) return;
    const events = endpoint.events;
    endpoint.events = 0;
    this.events |= events;
    if ((events & EndpointEvent.TimeWait) !== 0) {
      this.endpoint = TimeWait.fromConnection(now, this.stream!.connection!);
    }
  }

  /** Writes up to offset `end`; the bytes are a function of their offsets. */
  writeTo(now: number, end: number): void {
    const room = Math.min(this.stream?.writable ?? 0, end - this.written, 65_536);
    if (room > 0) this.written += this.stream!.write(now, bytesFrom(this.written, room), 0, room);
  }

  /** Reads at most `most` bytes and checks each. */
  read(now: number, most: number): void {
    if (this.stream === null) return;
    const target = new Uint8Array(Math.min(most, this.stream.readable));
    const count = this.stream.read(now, target, 0, target.length);
    assert.deepEqual(target.subarray(0, count), bytesFrom(this.consumed, count));
    this.consumed += count;
  }
}

interface Flight {
  due: number;
  order: number;
  to: End;
  bytes: Uint8Array;
  gsoSize: number;
}

/** Two ends and a pipe that loses, repeats and delays by a seed, in virtual time. */
export class Pair {
  now = 0;
  readonly a: End;
  readonly b: End;
  readonly dice: Dice;
  /** Decides whether a packet passes; may be set by a test. */
  filter: (from: End, bytes: Uint8Array) => boolean = () => true;
  private readonly options: PairOptions;
  private readonly flights: Flight[] = [];
  private order = 0;
  private readonly out = new Packet(PACKET_CAPACITY);
  private readonly segment = new Segment();

  constructor(options: PairOptions = {}) {
    this.options = options;
    const one = Address.of('192.0.2.1');
    const two = Address.of('192.0.2.2');
    const [first, second] = options.extensions ?? [NULL_EXTENSION, NULL_EXTENSION];
    this.a = new End(options, new Tuple(one, 1000, two, 2000), 0xffff_f000, first);
    this.b = new End(options, new Tuple(two, 2000, one, 1000), 0x7fff_fff0, second);
    this.dice = new Dice(options.seed ?? 1);
  }

  /** Sends all that wants to be sent. */
  flush(): void {
    for (const end of [this.a, this.b]) {
      end.collect(this.now);
      for (let count = 0; end.endpoint?.wantsTransmit; count++) {
        assert.ok(count < 10_000, 'output has an end');
        this.out.start = 0;
        if (!end.endpoint.pollTransmit(this.now, this.segment, this.out)) break;
        const { mtu } = end.environment;
        assert.ok(this.out.end <= mtu || this.out.gsoSize > 0, 'no packet is larger than the MTU');
        this.launch(end, this.out.bytes.slice(0, this.out.end), this.out.gsoSize);
        end.collect(this.now);
      }
    }
  }

  /** Goes on until `done`, or fails at `limit` ms. `turn` is what the applications do after each event. */
  run(turn: () => void, done: () => boolean, limit: number): void {
    for (;;) {
      turn();
      this.flush();
      if (done()) return;
      let next = Math.min(this.a.endpoint?.deadline ?? Infinity, this.b.endpoint?.deadline ?? Infinity);
      let first: Flight | undefined;
      for (const flight of this.flights) {
        if (first === undefined || flight.due < first.due || (flight.due === first.due && flight.order < first.order)) {
          first = flight;
        }
      }
      if (first !== undefined && first.due <= next) next = first.due;
      else first = undefined;
      assert.ok(next < limit, `not done at ${this.now} ms (seed ${this.options.seed ?? 1})`);
      this.now = Math.max(this.now, next);
      if (first !== undefined) {
        this.flights.splice(this.flights.indexOf(first), 1);
        first.to.receive(this.now, first.bytes, first.gsoSize);
      } else {
        for (const end of [this.a, this.b]) {
          if (end.endpoint !== null && end.endpoint.deadline <= this.now) end.endpoint.onTimeout(this.now);
        }
      }
    }
  }

  private launch(from: End, bytes: Uint8Array, gsoSize: number): void {
    const { options, dice } = this;
    if (!this.filter(from, bytes) || dice.next() < (options.loss ?? 0)) return;
    const copies = dice.next() < (options.duplication ?? 0) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const late = dice.next() < (options.reordering ?? 0) ? dice.next() * 20 : 0;
      const due = this.now + (options.delay ?? 10) + late;
      this.flights.push({ due, order: this.order++, to: from === this.a ? this.b : this.a, bytes, gsoSize });
    }
  }
}

import assert from 'node:assert/strict';
import { type TcpConfig, tcpDefaults } from '../../src/tcp/config.ts';
import type { TcpConnection } from '../../src/tcp/connection.ts';
import { TcpCounters } from '../../src/tcp/counters.ts';
import { ChallengeLimiter, type Endpoint, EndpointEvent, type IcmpKind, Tuple } from '../../src/tcp/endpoint.ts';
import { Handshake } from '../../src/tcp/handshake.ts';
import { NULL_EXTENSION as NOTHING } from '../../src/tcp/null-extension.ts';
import type { AckSample, CongestionControl, Extension } from '../../src/tcp/seams.ts';
import { STATE_NAMES, State } from '../../src/tcp/state.ts';
import { TcpStream } from '../../src/tcp/stream.ts';
import { TimeWait } from '../../src/tcp/time-wait.ts';
import { Address } from '../../src/wire/address.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import {
  ABSOLUTE,
  buildPacket,
  describePacket,
  emptyPacket,
  formatPacket,
  NotationProblem,
  parsePacket,
  type TcpPacket,
} from '../../src/wire/notation.ts';
import { PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';

/**
 * Scripts: one TCP endpoint of ours against a peer that the test plays, packet by packet, in virtual time. Packets are
 * written in the notation of `wire/notation`, numbers relative to the two initial sequence numbers:
 *
 *     const { peer, app, at } = established();
 *     peer.sends('. 1:101(100) ack 1 win 1000');
 *     at(40).expects('. 1:1(0) ack 101');
 *
 * Payload bytes are a function of their offset, so that whatever is read can be checked.
 */
export interface ScriptOptions {
  config?: Partial<TcpConfig>;
  /** Options of the peer's SYN or SYN/ACK, as between the angle brackets; `mss 1460,sackOK` unless given. */
  options?: string;
  /** Window of the peer's SYN and ACK. */
  window?: number;
  family?: 4 | 6;
  mtu?: number;
  segmentationOffload?: boolean;
  localInitial?: number;
  peerInitial?: number;
  extension?: Extension;
}

/** Reno's slow start and nothing else: these scripts are about the connection. */
class PlainWindow implements CongestionControl {
  readonly name = 'plain';
  window: number;
  slowStartThreshold = Number.POSITIVE_INFINITY;
  readonly pacingRate = 0;
  private size: number;

  constructor(size: number, window: number) {
    this.size = size;
    this.window = window;
  }

  onSegmentSize(size: number): void {
    this.size = size;
  }

  onAck(_now: number, sample: AckSample): void {
    if (!sample.windowLimited) return;
    if (this.window < this.slowStartThreshold) this.window += Math.min(sample.acknowledged, this.size);
    else this.window += (this.size * this.size) / this.window;
  }

  onLoss(_now: number, inFlight: number): void {
    this.slowStartThreshold = Math.max(inFlight / 2, 2 * this.size);
    this.window = this.slowStartThreshold;
  }

  onRecovered(): void {}

  onTimeout(_now: number, inFlight: number, first: boolean): void {
    if (first) this.slowStartThreshold = Math.max(inFlight / 2, 2 * this.size);
    this.window = this.size;
  }

  onUndo(): void {}
  onIdle(): void {}
}

export function testConfig(overrides: Partial<TcpConfig> = {}): TcpConfig {
  return { ...tcpDefaults((size, window) => new PlainWindow(size, window)), ...overrides };
}

/** The byte at stream offset `offset` in either direction. */
export function byteAt(offset: number): number {
  return (offset * 7 + (offset >> 8) * 31) & 0xff;
}

export function bytesFrom(offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = byteAt(offset + index);
  return bytes;
}

const LOCAL_INITIAL = 0xffff_fff0;
const PEER_INITIAL = 0x7fff_ffff;

/** What the peer does and expects. */
export interface Peer {
  /** A packet from the peer arrives now. */
  sends(line: string): void;
  /** The next packet we sent matches `line`: flags, numbers and length; window and options if the line has them. */
  expects(line: string): void;
  /** We sent nothing (more). */
  expectsNothing(): void;
  /** The next packet we sent, as text. */
  next(): string;
  /** Forgets what we sent. */
  ignores(): void;
}

export class Script {
  now = 0;
  readonly counters = new TcpCounters();
  readonly config: TcpConfig;
  readonly tuple: Tuple;
  readonly localInitial: number;
  readonly peerInitial: number;
  /** What the host's table holds for the tuple. */
  endpoint!: Endpoint;
  stream!: TcpStream;
  /** Events since the last look, handshake and connection together. */
  events = 0;
  readonly sent: TcpPacket[] = [];
  readonly environment;
  private readonly options: ScriptOptions;
  private readonly inbound = new Packet(PACKET_CAPACITY);
  private readonly outbound = new Packet(PACKET_CAPACITY);
  private readonly ip = new IpHeader();
  private readonly segment = new Segment();
  private readonly out = new Segment();
  private written = 1;
  private consumed = 1;

  constructor(options: ScriptOptions = {}) {
    this.options = options;
    this.config = testConfig({ timestamps: false, windowScaling: false, receiveBuffer: 65_535, ...options.config });
    const family = options.family ?? 4;
    this.tuple =
      family === 4
        ? new Tuple(Address.of('192.0.2.1'), 4000, Address.of('192.0.2.2'), 80)
        : new Tuple(Address.of('2001:db8::1'), 4000, Address.of('2001:db8::2'), 80);
    this.localInitial = options.localInitial ?? LOCAL_INITIAL;
    this.peerInitial = options.peerInitial ?? PEER_INITIAL;
    this.environment = {
      mtu: options.mtu ?? 1500,
      segmentationOffload: options.segmentationOffload ?? false,
      checksumOffload: false,
      config: this.config,
      counters: this.counters,
      challenge: new ChallengeLimiter(this.config.challengeAckLimit, 1),
      timestampOffset: 0,
      hopLimit: 64,
      trafficClass: 0,
    };
  }

  /** Active open; the SYN is in `sent`. */
  connect(): void {
    const { extension = NOTHING } = this.options;
    const handshake = Handshake.connect(this.now, this.environment, this.tuple, this.localInitial, extension);
    this.stream = TcpStream.fromHandshake(handshake);
    this.endpoint = handshake;
    this.settle();
  }

  /** Passive open by the peer's SYN; the SYN/ACK is in `sent`. */
  accept(line: string): void {
    const segment = this.decode(this.build(line));
    const { extension = NOTHING } = this.options;
    const handshake = Handshake.accept(this.now, this.environment, this.tuple, this.localInitial, extension, segment);
    this.stream = TcpStream.fromHandshake(handshake);
    this.endpoint = handshake;
    this.settle();
  }

  get connection(): TcpConnection {
    assert.ok(this.stream.connection !== null, 'there is a connection');
    return this.stream.connection;
  }

  get state(): string {
    return STATE_NAMES[this.endpoint.state]!;
  }

  readonly peer: Peer = {
    sends: (line) => this.receive(this.build(line)),
    expects: (line) => this.expect(line),
    expectsNothing: () =>
      assert.deepEqual(
        this.sent.map((packet) => this.print(packet)),
        [],
        this.context('nothing'),
      ),
    next: () => {
      const packet = this.sent.shift();
      assert.ok(packet !== undefined, this.context('a packet'));
      return this.print(packet);
    },
    ignores: () => {
      this.sent.length = 0;
    },
  };

  /** The application. */
  readonly app = {
    /** Writes `length` bytes; returns how many were taken. */
    writes: (length: number): number => {
      const taken = this.stream.write(this.now, bytesFrom(this.written, length), 0, length);
      this.written += taken;
      this.settle();
      return taken;
    },
    /** Reads what is there (at most `most`), checks each byte, returns how many. */
    reads: (most = Number.POSITIVE_INFINITY): number => {
      const target = new Uint8Array(Math.min(most, this.stream.readable));
      const count = this.stream.read(this.now, target, 0, target.length);
      assert.deepEqual(target.subarray(0, count), bytesFrom(this.consumed, count));
      this.consumed += count;
      this.settle();
      return count;
    },
    shutdown: (): void => {
      this.stream.shutdown(this.now);
      this.settle();
    },
    close: (): void => {
      this.stream.close(this.now);
      this.settle();
    },
    abort: (): void => {
      this.stream.abort(this.now);
      this.settle();
    },
  };

  /** Goes on to `time`, running timers when they are due. Returns the peer, for what is expected then. */
  readonly at = (time: number): Peer => {
    assert.ok(time >= this.now, `time goes back from ${this.now} to ${time}`);
    for (let turns = 0; (this.endpoint?.deadline ?? Number.POSITIVE_INFINITY) <= time; turns++) {
      assert.ok(turns < 10_000, `timers do not advance at ${this.now}`);
      this.now = Math.max(this.now, this.endpoint.deadline);
      this.endpoint.onTimeout(this.now);
      this.settle();
    }
    this.now = time;
    return this.peer;
  };

  /** An ICMP error quotes our segment at `offset`. */
  icmp(kind: IcmpKind, mtu: number, offset: number): void {
    this.endpoint.onIcmp(this.now, kind, mtu, (this.localInitial + offset) >>> 0);
    this.settle();
  }

  /** What a command outside of `app` led to. */
  settle(): void {
    this.collect();
    for (let packets = 0; this.endpoint.wantsTransmit; packets++) {
      assert.ok(packets < 1000, 'output has an end');
      this.outbound.start = 0;
      this.outbound.end = 0;
      if (!this.endpoint.pollTransmit(this.now, this.out, this.outbound)) break;
      const described = describePacket(this.outbound.bytes.slice(0, this.outbound.end));
      assert.ok(typeof described !== 'number', `what we sent decodes (drop ${described})`);
      assert.equal(described.checksum, -1, 'the checksum is right');
      const payload = this.outbound.bytes.subarray(this.outbound.end - described.payloadLength, this.outbound.end);
      const offset = described.sequence - this.localInitial;
      assert.deepEqual(payload, bytesFrom(offset > 0 ? offset : offset + 2 ** 32, payload.length), 'payload');
      this.sent.push(described);
      this.collect();
    }
  }

  /** As the stack does: replaces lives and keeps events. */
  private collect(): void {
    const { endpoint } = this;
    const events = endpoint.events;
    endpoint.events = 0;
    this.events |= events;
    if ((events & EndpointEvent.TimeWait) !== 0) {
      this.endpoint = TimeWait.fromConnection(this.now, this.connection);
    }
  }

  private receive(bytes: Uint8Array): void {
    const segment = this.decode(bytes);
    const { endpoint } = this;
    endpoint.onSegment(this.now, segment, this.inbound);
    if ((endpoint.events & EndpointEvent.Promoted) !== 0) {
      endpoint.events = 0;
      this.endpoint = this.stream.establish(this.now);
      this.endpoint.onSegment(this.now, segment, this.inbound);
    }
    this.settle();
  }

  private decode(bytes: Uint8Array): Segment {
    this.inbound.bytes.set(bytes);
    this.inbound.start = 0;
    this.inbound.end = bytes.length;
    this.inbound.checksum = 0;
    assert.equal(decodeIp(this.inbound, this.ip), Drop.None);
    assert.equal(decodeTcp(this.inbound, this.ip, this.segment), Drop.None);
    return this.segment;
  }

  private build(line: string): Uint8Array {
    const defaults = emptyPacket();
    defaults.source = this.tuple.peer;
    defaults.destination = this.tuple.local;
    defaults.sourcePort = this.tuple.peerPort;
    defaults.destinationPort = this.tuple.localPort;
    defaults.window = this.options.window ?? 65_535;
    const packet = parsePacket(line, defaults, {
      ...ABSOLUTE,
      sequence: this.peerInitial,
      acknowledgment: this.localInitial,
    });
    if (packet instanceof NotationProblem) throw packet;
    // A SYN may choose another initial number than the script's, and stands before its text.
    const syn = (packet.flags & Flag.Syn) >> 1;
    const { connection, handshake } = this.stream ?? {};
    let initial = syn === 1 ? packet.sequence : this.peerInitial;
    if (connection != null) initial = connection.receiver.space.initial;
    else if (handshake?.state === State.SynReceived) initial = handshake.peerInitialSequence;
    const offset = ((packet.sequence - initial) | 0) + syn;
    return buildPacket(packet, bytesFrom(offset, packet.payloadLength));
  }

  private expect(line: string): void {
    const found = this.sent.shift();
    assert.ok(found !== undefined, this.context(line));
    const wanted = parsePacket(line, emptyPacket(), {
      ...ABSOLUTE,
      sequence: this.localInitial,
      acknowledgment: this.peerInitial,
    });
    if (wanted instanceof NotationProblem) throw wanted;
    const picture = { ...found, source: wanted.source, destination: wanted.destination };
    picture.sourcePort = 0;
    picture.destinationPort = 0;
    picture.hopLimit = wanted.hopLimit;
    if (!/ win /.test(line)) picture.window = wanted.window;
    if (!line.includes('<')) picture.options = [];
    // A PSH is an opinion; it is compared when the line has one.
    if ((wanted.flags & Flag.Psh) === 0) picture.flags &= ~Flag.Psh;
    const strip = (packet: TcpPacket): string => this.print(packet).replaceAll('nop,', '').replaceAll(',nop', '');
    assert.equal(strip(picture), strip(wanted), this.context(line));
  }

  private print(packet: TcpPacket): string {
    return formatPacket(packet, {
      addresses: false,
      origins: { ...ABSOLUTE, sequence: this.localInitial, acknowledgment: this.peerInitial },
    });
  }

  private context(wanted: string): string {
    const rest = this.sent.map((packet) => this.print(packet)).join('\n  ');
    return `at ${this.now} ms in ${this.state}: expected ${wanted}; also sent:\n  ${rest}`;
  }
}

const DEFAULT_OPTIONS = 'mss 1460,sackOK';

/** SYN-SENT; our SYN was sent and taken off `sent`. */
export function synSent(options: ScriptOptions = {}): Script {
  const script = new Script(options);
  script.connect();
  script.peer.ignores();
  return script;
}

/** SYN-RECEIVED from LISTEN; our SYN/ACK was sent. */
export function synReceived(options: ScriptOptions = {}): Script {
  const script = new Script(options);
  script.accept(`S 0:0(0) win ${options.window ?? 65_535} <${options.options ?? DEFAULT_OPTIONS}>`);
  script.peer.ignores();
  return script;
}

/** ESTABLISHED by a passive open. */
export function established(options: ScriptOptions = {}): Script {
  const script = synReceived(options);
  const timestamps = (options.options ?? '').includes('TS') ? ' <nop,nop,TS val 1000 ecr 0>' : '';
  script.peer.sends(`. 1:1(0) ack 1 win ${options.window ?? 65_535}${timestamps}`);
  assert.equal(script.state, 'ESTABLISHED');
  script.peer.expectsNothing();
  return script;
}

/** ESTABLISHED by an active open. */
export function connected(options: ScriptOptions = {}): Script {
  const script = synSent(options);
  script.peer.sends(`S. 0:0(0) ack 1 win ${options.window ?? 65_535} <${options.options ?? DEFAULT_OPTIONS}>`);
  assert.equal(script.state, 'ESTABLISHED');
  script.peer.ignores();
  return script;
}

/** We closed; our FIN at 1 is not acknowledged. */
export function finWait1(options: ScriptOptions = {}): Script {
  const script = established(options);
  script.app.shutdown();
  script.peer.expects('F. 1:1(0) ack 1');
  assert.equal(script.state, 'FIN-WAIT-1');
  return script;
}

export function finWait2(options: ScriptOptions = {}): Script {
  const script = finWait1(options);
  script.peer.sends('. 1:1(0) ack 2');
  assert.equal(script.state, 'FIN-WAIT-2');
  return script;
}

/** The peer closed; its FIN at 1 is acknowledged. */
export function closeWait(options: ScriptOptions = {}): Script {
  const script = established(options);
  script.peer.sends('F. 1:1(0) ack 1');
  script.peer.expects('. 1:1(0) ack 2');
  assert.equal(script.state, 'CLOSE-WAIT');
  return script;
}

/** Both FINs crossed; ours is not acknowledged. */
export function closing(options: ScriptOptions = {}): Script {
  const script = finWait1(options);
  script.peer.sends('F. 1:1(0) ack 1');
  script.peer.expects('. 2:2(0) ack 2');
  assert.equal(script.state, 'CLOSING');
  return script;
}

export function lastAck(options: ScriptOptions = {}): Script {
  const script = closeWait(options);
  script.app.shutdown();
  script.peer.expects('F. 1:1(0) ack 2');
  assert.equal(script.state, 'LAST-ACK');
  return script;
}

export function timeWait(options: ScriptOptions = {}): Script {
  const script = finWait2(options);
  script.peer.sends('F. 1:1(0) ack 2');
  script.peer.expects('. 2:2(0) ack 2');
  assert.equal(script.state, 'TIME-WAIT');
  assert.ok(script.endpoint instanceof TimeWait, 'the connection was replaced');
  return script;
}

import assert from 'node:assert/strict';
import { type HostSettings, SimulatedHost } from '../../src/sim/host.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Family, Protocol, Shutdown, SocketType } from '../../src/sockets/sockets.ts';
import type { Connection } from '../../src/stack/connection.ts';
import { Ready } from '../../src/stack/handle.ts';
import type { Endpoint } from '../../src/tcp/endpoint.ts';
import { PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';

/** 0 the client, 1 the server. */
export type Side = 0 | 1;

export const PORT = 80;
/** One way, ms. */
const DELAY = 5;
/** Packets that one turn of a host may send: more would be output without end. */
const TURN_PACKETS = 10_000;
/** Happenings at one instant after which time is taken to stand still. */
const INSTANT_EVENTS = 20_000;
/** Packets remembered of each receiver: the first ones, and the last ones. */
const FIRST_KEPT = 16;
const KEPT = 80;

const BYTES = new Uint8Array(65_536).fill(0x61);
const READ = new Uint8Array(65_536);

/** One packet under way or remembered. */
export interface Carried {
  readonly at: number;
  readonly to: Side;
  readonly interfaceId: number;
  readonly bytes: Uint8Array;
  readonly gsoSize: number;
}

export interface BenchOptions {
  readonly seed: string;
  readonly family: 4 | 6;
  readonly paths: number;
  readonly multipath: readonly [boolean, boolean];
  readonly offload: boolean;
  readonly settings: HostSettings;
}

/**
 * Two hosts and a wire that can be stopped: every packet is remembered with its receiver, and may be kept from it, so
 * that a connection stays in the state in which it is.
 */
export class Bench {
  now = 0;
  readonly seed: string;
  readonly family: 4 | 6;
  readonly multipath: readonly [boolean, boolean];
  readonly hosts: readonly [SimulatedHost, SimulatedHost];
  readonly random: SeededRandom;
  /** Whether a packet is lost on its way; it is remembered all the same. */
  holds: (packet: Carried) => boolean = () => false;
  /** May change a packet on its way. */
  tamper: (packet: Carried) => void = () => {};
  /** What each side was sent. */
  readonly corpus: readonly [Carried[], Carried[]] = [[], []];
  readonly descriptors: [number, number] = [-1, -1];
  readonly connections: [Connection | undefined, Connection | undefined] = [undefined, undefined];
  listener = -1;
  /** Each side reads what arrives. */
  readonly reads: [boolean, boolean] = [true, true];
  /** Packets sent. */
  sent = 0;
  private readonly wire: Carried[] = [];
  private readonly out = new Packet(PACKET_CAPACITY, 0);
  private instantEvents = 0;

  constructor(options: BenchOptions) {
    this.seed = options.seed;
    this.family = options.family;
    this.multipath = options.multipath;
    this.random = new SeededRandom(options.seed);
    const host = (side: Side) => {
      const interfaces = Array.from({ length: options.paths }, (_nothing, index) => ({
        name: `eth${index}`,
        mtu: 1500,
        addresses: [
          { address: addressOf(options.family, index, side + 1), prefixLength: options.family === 4 ? 24 : 64 },
        ],
        segmentationOffload: options.offload,
        checksumOffload: options.offload,
      }));
      const endpoints = interfaces.slice(1).map((entry) => ({
        address: entry.addresses[0]!.address,
        ...(side === 0 ? { subflow: true } : { signal: true }),
      }));
      return new SimulatedHost(interfaces, this.random.derive(`host ${side}`), {
        endpoints,
        subflowLimit: 8,
        addAddrAcceptedLimit: 4,
        ...options.settings,
      });
    };
    this.hosts = [host(0), host(1)];
  }

  listen(): void {
    const { sockets } = this.hosts[1];
    this.listener = this.open(1);
    assert.equal(sockets.bind(this.listener, undefined, PORT), 0);
    assert.equal(sockets.listen(this.listener, 4), 0);
  }

  connect(): void {
    const { sockets } = this.hosts[0];
    const descriptor = this.open(0);
    this.descriptors[0] = descriptor;
    assert.equal(sockets.connect(descriptor, addressOf(this.family, 0, 2), PORT, this.now), -115);
    this.connections[0] = sockets.connectionOf(descriptor);
    this.turn(0);
  }

  private open(side: Side): number {
    const protocol = this.multipath[side] ? Protocol.Mptcp : Protocol.Tcp;
    const descriptor = this.hosts[side].sockets.socket(
      this.family === 4 ? Family.Inet : Family.Inet6,
      SocketType.Stream,
      protocol,
    );
    assert.ok(descriptor >= 0);
    return descriptor;
  }

  write(side: Side, length: number): void {
    const descriptor = this.descriptors[side];
    if (descriptor >= 0) this.hosts[side].sockets.send(descriptor, BYTES, 0, length);
    this.turn(side);
  }

  shutdown(side: Side): void {
    if (this.descriptors[side] >= 0) this.hosts[side].sockets.shutdown(this.descriptors[side], Shutdown.Write);
    this.turn(side);
  }

  close(side: Side, abort: boolean): void {
    const { sockets } = this.hosts[side];
    const descriptor = this.descriptors[side];
    this.descriptors[side] = -1;
    if (descriptor >= 0) assert.equal(abort ? sockets.abort(descriptor) : sockets.close(descriptor), 0);
    this.turn(side);
  }

  /** Hands a packet to a host now. */
  inject(side: Side, interfaceId: number, packet: Packet): void {
    this.hosts[side].onPacket(this.now, interfaceId, packet);
  }

  /** Lets a host send and its application act until neither has anything to do. */
  turn(side: Side): void {
    const host = this.hosts[side];
    const { out } = this;
    for (let packets = 0; ; ) {
      out.end = out.start;
      out.gsoSize = 0;
      out.checksum = 0;
      const interfaceId = host.pollTransmit(this.now, out);
      if (interfaceId >= 0) {
        assert.ok(++packets < TURN_PACKETS, `side ${side} sends without end`);
        this.carry(side, interfaceId, out);
        continue;
      }
      const descriptor = host.pollReady();
      if (descriptor < 0) return;
      assert.ok(++packets < TURN_PACKETS, `side ${side} is ready without end`);
      this.act(side, descriptor);
    }
  }

  private act(side: Side, descriptor: number): void {
    const { sockets } = this.hosts[side];
    const ready = sockets.takeReady(descriptor);
    if (side === 1 && descriptor === this.listener) {
      if ((ready & Ready.Acceptable) === 0 || this.descriptors[1] >= 0 || this.connections[1] !== undefined) return;
      const accepted = sockets.accept(descriptor);
      if (accepted < 0) return;
      this.descriptors[1] = accepted;
      this.connections[1] = sockets.connectionOf(accepted);
    }
    this.read(side);
  }

  read(side: Side): void {
    const descriptor = this.descriptors[side];
    if (descriptor < 0 || !this.reads[side]) return;
    const { sockets } = this.hosts[side];
    for (let rounds = 0; sockets.recv(descriptor, READ, 0, READ.length) > 0; rounds++) {
      assert.ok(rounds < TURN_PACKETS, 'reading ends');
    }
  }

  private carry(from: Side, interfaceId: number, out: Packet): void {
    this.sent++;
    const to = (1 - from) as Side;
    const bytes = out.bytes.slice(out.start, out.end);
    const carried = { at: this.now + DELAY, to, interfaceId, bytes, gsoSize: out.gsoSize };
    this.tamper(carried);
    const corpus = this.corpus[to];
    corpus.push(carried);
    if (corpus.length > KEPT) corpus.splice(FIRST_KEPT, KEPT >> 1);
    if (!this.holds(carried)) this.wire.push(carried);
  }

  /** Lets `duration` ms pass, or stops as soon as `condition` holds; returns whether it did. */
  advance(duration: number, condition: () => boolean = () => false): boolean {
    const until = this.now + duration;
    for (;;) {
      if (condition()) return true;
      const arrival = this.wire.length > 0 ? this.wire[0]!.at : Number.POSITIVE_INFINITY;
      const next = Math.min(arrival, this.hosts[0].pollTimeout(), this.hosts[1].pollTimeout());
      if (next > until) break;
      if (next > this.now) {
        this.now = next;
        this.instantEvents = 0;
      } else assert.ok(++this.instantEvents < INSTANT_EVENTS, `time stands still at ${this.now} ms`);
      if (arrival <= this.now) {
        const carried = this.wire.shift()!;
        this.deliver(carried);
        this.turn(carried.to);
        continue;
      }
      for (const side of [0, 1] as const) {
        if (this.hosts[side].pollTimeout() > this.now) continue;
        this.hosts[side].onTimeout(this.now);
        this.turn(side);
      }
    }
    if (until > this.now) this.instantEvents = 0;
    this.now = Math.max(this.now, until);
    return condition();
  }

  /** When something happens next; Infinity: never again. */
  get nextEvent(): number {
    const arrival = this.wire.length > 0 ? this.wire[0]!.at : Number.POSITIVE_INFINITY;
    return Math.min(arrival, this.hosts[0].pollTimeout(), this.hosts[1].pollTimeout());
  }

  private deliver(carried: Carried): void {
    const { out } = this;
    out.bytes.set(carried.bytes, out.start);
    out.end = out.start + carried.bytes.length;
    out.gsoSize = carried.gsoSize;
    // Offload leaves checksums unfinished; on this wire nothing is damaged by chance.
    out.checksum = 2;
    this.inject(carried.to, carried.interfaceId, out);
  }

  /** What the demultiplexer of a host holds. */
  endpoints(side: Side): Endpoint[] {
    return [...this.hosts[side].stack['demux']];
  }
}

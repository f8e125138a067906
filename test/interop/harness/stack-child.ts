import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { Capture, CaptureDirection } from '../../../src/link/capture.ts';
import { Chain } from '../../../src/link/chain.ts';
import { Delay } from '../../../src/link/delay.ts';
import type { Link } from '../../../src/link/link.ts';
import { Pipe } from '../../../src/link/pipe.ts';
import { Rate } from '../../../src/link/rate.ts';
import type { MptcpConfig } from '../../../src/mptcp/config.ts';
import { Driver } from '../../../src/node/driver.ts';
import { Emulator, emulatedPair } from '../../../src/node/emulator.ts';
import { Entropy } from '../../../src/node/entropy.ts';
import { ipCommands } from '../../../src/node/ip-command.ts';
import type { PacketIo } from '../../../src/node/packet-io.ts';
import { TunDevice } from '../../../src/node/tun.ts';
import { cubic } from '../../../src/policy/congestion/cubic.ts';
import { reno } from '../../../src/policy/congestion/reno.ts';
import { EndpointPathManager } from '../../../src/policy/path-manager/endpoints.ts';
import { Errno, errnoName } from '../../../src/sockets/errno.ts';
import type { ConnectionInfo } from '../../../src/sockets/info.ts';
import { closeReasonName } from '../../../src/sockets/info.ts';
import { Family, Protocol, Shutdown, Sockets, SocketType } from '../../../src/sockets/sockets.ts';
import { Ready } from '../../../src/stack/handle.ts';
import { Stack } from '../../../src/stack/stack.ts';
import type { TcpConfig } from '../../../src/tcp/config.ts';
import { Address } from '../../../src/wire/address.ts';
import { serve, tell } from './child.ts';
import { FilteredIo, type FilterRule } from './filtered-io.ts';
import type { Behaviour, PeerResult } from './kernel-peer.ts';
import { Pattern } from './pattern.ts';

/**
 * A program on our own stack that a test tells what to do, run inside a namespace: the twin of kernel-peer.ts, with the
 * same methods for connections and more for paths. `start` comes first, then `open` for each path.
 */

export interface StackSettings {
  readonly mptcp?: Partial<MptcpConfig>;
  readonly tcp?: Partial<Omit<TcpConfig, 'congestionControl'>>;
  /** Default `reno`. */
  readonly congestionControl?: 'reno' | 'cubic';
  /** File for a capture of the first bytes of each packet. */
  readonly capture?: string;
}

export interface StackPath {
  /** 0, 1, … in this order: it is the interface's number. */
  readonly index: number;
  readonly device: string;
  readonly mtu: number;
  readonly offload: boolean;
  /** Pairs of our address and the kernel's, one for each family. */
  readonly addresses: readonly { readonly ours: string; readonly kernel: string; readonly prefixLength: number }[];
  /** Rate in bytes per millisecond, one-way delay in milliseconds, queue in bytes; both directions. */
  readonly shape?: { readonly rate: number; readonly delay: number; readonly queue: number };
}

export interface StackInfo {
  readonly info: ConnectionInfo | null;
  /** Empty while it lives. */
  readonly closeReason: string;
}

interface OpenPath {
  readonly filter: FilteredIo;
  readonly emulator: Emulator | undefined;
  readonly settings: StackPath;
}

interface Sending {
  readonly pattern: Pattern;
  left: number;
  readonly end: boolean;
  readonly done: () => void;
}

const CHUNK = 65_536;
/** Bytes an echo holds back before it stops reading. */
const ECHO_LIMIT = 262_144;

let stack: Stack;
let sockets: Sockets;
let driver: Driver;
const manager = new EndpointPathManager();
const paths: OpenPath[] = [];
let recorder: Recorder | undefined;
let nextId = 1;
const connections = new Map<number, Connection>();
const byDescriptor = new Map<number, Connection>();
const listeners = new Map<number, { descriptor: number; behaviour: Behaviour }>();

/** Writes the capture, a block at a time. */
class Recorder {
  readonly capture: Capture;
  private readonly file: number;
  private readonly buffer = Buffer.alloc(262_144);
  private used = 0;

  constructor(path: string) {
    this.file = openSync(path, 'w');
    this.capture = new Capture((chunk) => this.add(chunk), {
      cutsLargePackets: false,
      snapLength: 128,
      epoch: performance.timeOrigin,
    });
  }

  private add(chunk: Uint8Array): void {
    if (this.used + chunk.length > this.buffer.length) this.flush();
    this.buffer.set(chunk, this.used);
    this.used += chunk.length;
  }

  flush(): void {
    if (this.used > 0) writeSync(this.file, this.buffer, 0, this.used);
    this.used = 0;
  }

  close(): void {
    this.flush();
    closeSync(this.file);
  }
}

/** One connection and what the test wants of it. */
class Connection {
  readonly id: number;
  readonly descriptor: number;
  private readonly behaviour: Behaviour;
  private readonly hash: Hash | undefined;
  private readonly sending: Sending[] = [];
  private readonly echoes: Uint8Array[] = [];
  private echoed = 0;
  private readonly piece = new Uint8Array(CHUNK);
  private pieceAt = 0;
  private pieceEnd = 0;
  private paused: boolean;
  private readonly waiting: (() => void)[] = [];
  private lastInfo: ConnectionInfo | null = null;
  private reason = '';
  connected = false;
  received = 0;
  sent = 0;
  ended = false;
  finished = false;
  closed = false;
  error = '';
  private firstAt = 0;
  private lastAt = 0;
  private markedAt = 0;
  private longestGap = 0;

  constructor(id: number, descriptor: number, behaviour: Behaviour) {
    this.id = id;
    this.descriptor = descriptor;
    this.behaviour = behaviour;
    this.hash = behaviour.mode === 'discard' ? undefined : createHash('sha256');
    this.paused = behaviour.paused ?? false;
    if (behaviour.bytes !== undefined) {
      void this.source(behaviour.seed ?? 1, behaviour.bytes, behaviour.end !== false);
    }
  }

  source(seed: number, bytes: number, end: boolean): Promise<void> {
    return new Promise((resolve) => {
      this.sending.push({ pattern: new Pattern(seed), left: bytes, end, done: resolve });
      this.run();
    });
  }

  /** Does what can be done now, and lets the driver send what came of it. */
  run(): void {
    this.work();
    driver.wake();
  }

  private work(): void {
    if (this.closed) return;
    const connection = sockets.connectionOf(this.descriptor);
    if (connection === undefined) return;
    this.connected ||= connection.established;
    if (this.connected) {
      this.send();
      this.receive();
    }
    if (connection.closed && !(this.ended && this.finished)) this.fail();
    if (this.ended && this.finished) this.close();
    this.changed();
  }

  private send(): void {
    for (;;) {
      if (this.pieceAt === this.pieceEnd && !this.nextPiece()) return;
      const taken = sockets.send(this.descriptor, this.piece, this.pieceAt, this.pieceEnd - this.pieceAt);
      if (taken === -Errno.EAGAIN) return;
      if (taken < 0) {
        this.error ||= errnoName(-taken);
        return;
      }
      this.pieceAt += taken;
      this.sent += taken;
    }
  }

  /** Fills `piece` with what is to be sent next; false when there is nothing. */
  private nextPiece(): boolean {
    const echo = this.echoes.shift();
    if (echo !== undefined) {
      this.piece.set(echo);
      this.pieceAt = 0;
      this.pieceEnd = echo.length;
      this.echoed -= echo.length;
      return true;
    }
    for (let current = this.sending[0]; current !== undefined; current = this.sending[0]) {
      if (current.left > 0) {
        this.pieceAt = 0;
        this.pieceEnd = Math.min(CHUNK, current.left);
        current.pattern.fill(this.piece, this.sent, 0, this.pieceEnd);
        current.left -= this.pieceEnd;
        return true;
      }
      this.sending.shift();
      if (current.end) this.finish();
      current.done();
    }
    if (this.behaviour.mode === 'echo' && this.ended && this.behaviour.end !== false) this.finish();
    return false;
  }

  private receive(): void {
    while (!this.ended && !(this.paused && this.error === '')) {
      if (this.behaviour.mode === 'echo' && this.echoed >= ECHO_LIMIT) return;
      const view = sockets.peek(this.descriptor);
      if (view.length === 0) {
        const outcome = sockets.recv(this.descriptor, this.piece, 0, 0);
        if (outcome < 0 && outcome !== -Errno.EAGAIN) this.error ||= errnoName(-outcome);
        if (outcome === 0) {
          this.ended = true;
          this.send();
        }
        return;
      }
      const count = Math.min(view.length, CHUNK);
      const bytes = view.subarray(0, count);
      this.lastAt = this.note(performance.now());
      this.received += count;
      this.hash?.update(bytes);
      if (this.behaviour.mode === 'echo') {
        this.echoes.push(bytes.slice());
        this.echoed += count;
      }
      sockets.consume(this.descriptor, count);
      if (this.behaviour.mode === 'echo') this.send();
    }
  }

  private note(now: number): number {
    if (this.received === 0) this.firstAt = now;
    else this.longestGap = Math.max(this.longestGap, now - Math.max(this.lastAt, this.markedAt));
    return now;
  }

  /** Gaps are measured from now on. */
  mark(): void {
    this.markedAt = performance.now();
    this.longestGap = 0;
  }

  private fail(): void {
    const error = sockets.error(this.descriptor);
    if (error > 0) this.error ||= errnoName(error);
    this.close();
  }

  finish(): void {
    if (this.finished) return;
    this.finished = true;
    sockets.shutdown(this.descriptor, Shutdown.Write);
    driver.wake();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.run();
  }

  close(abort = false): void {
    if (this.closed) return;
    this.closed = true;
    this.lastInfo = sockets.info(this.descriptor) ?? null;
    this.reason = closeReasonName(sockets.closeReason(this.descriptor));
    byDescriptor.delete(this.descriptor);
    if (abort) sockets.abort(this.descriptor);
    else sockets.close(this.descriptor);
    for (const { done } of this.sending.splice(0)) done();
    this.changed();
    driver.wake();
  }

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (condition()) resolve();
        else this.waiting.push(check);
      };
      check();
    });
  }

  private changed(): void {
    for (const check of this.waiting.splice(0)) check();
  }

  info(): StackInfo {
    if (this.closed) return { info: this.lastInfo, closeReason: this.reason };
    return { info: sockets.info(this.descriptor) ?? null, closeReason: '' };
  }

  result(): PeerResult {
    return {
      connection: this.id,
      received: this.received,
      sent: this.sent,
      sha256: this.hash?.copy().digest('hex') ?? '',
      ended: this.ended,
      closed: this.closed,
      error: this.error,
      elapsed: this.lastAt - this.firstAt,
      longestGap: this.longestGap,
    };
  }
}

function find(id: number): Connection {
  const connection = connections.get(id);
  if (connection === undefined) throw new RangeError(`no connection ${id}`);
  return connection;
}

function adopt(descriptor: number, behaviour: Behaviour): Connection {
  const connection = new Connection(nextId++, descriptor, behaviour);
  connections.set(connection.id, connection);
  byDescriptor.set(descriptor, connection);
  return connection;
}

function onReady(descriptor: number): void {
  const ready = sockets.takeReady(descriptor);
  if ((ready & Ready.Acceptable) !== 0) {
    for (const [id, listener] of listeners) if (listener.descriptor === descriptor) acceptAll(id, listener);
    return;
  }
  byDescriptor.get(descriptor)?.run();
}

function acceptAll(id: number, listener: { descriptor: number; behaviour: Behaviour }): void {
  for (;;) {
    const descriptor = sockets.accept(listener.descriptor);
    if (descriptor < 0) return;
    const connection = adopt(descriptor, listener.behaviour);
    const peer = sockets.getpeername(descriptor);
    tell('connection', {
      listener: id,
      connection: connection.id,
      remoteAddress: String(peer?.address),
      remotePort: peer?.port,
    });
    connection.run();
  }
}

function link(shape: NonNullable<StackPath['shape']>): Link {
  return new Chain(new Rate({ rate: shape.rate, queue: shape.queue }), new Delay({ delay: shape.delay }));
}

/** What leads back by this path, and by no other while it is down. Path 0 has the main table. */
function routes(path: StackPath): void {
  if (path.index === 0) return;
  for (const { kernel } of path.addresses) {
    const table = 100 + path.index;
    const family = kernel.includes(':') ? '-6' : '-4';
    ipCommands([`route replace default dev ${path.device} table ${table}`], [family]);
  }
}

function rules(path: StackPath): void {
  if (path.index === 0) return;
  for (const { kernel } of path.addresses) {
    const table = 100 + path.index;
    const family = kernel.includes(':') ? '-6' : '-4';
    ipCommands(
      [`route add unreachable default metric 4000 table ${table}`, `rule add from ${kernel} lookup ${table}`],
      [family],
    );
  }
}

/** @throws an error with `code`, as the kernel's programs report theirs */
function check(outcome: number, call: string): number {
  if (outcome >= 0) return outcome;
  throw Object.assign(new Error(`${call}: ${errnoName(-outcome)}`), { code: errnoName(-outcome) });
}

function open(protocol: 'tcp' | 'mptcp' | undefined, family: 4 | 6): number {
  const isMptcp = (protocol ?? 'mptcp') === 'mptcp';
  const number = isMptcp ? Protocol.Mptcp : Protocol.Tcp;
  return check(sockets.socket(family === 4 ? Family.Inet : Family.Inet6, SocketType.Stream, number), 'socket');
}

/** A command of the path manager was given: connections may have something to say. */
function act<T>(command: (now: number) => T): T {
  const now = driver.now();
  stack.now = now;
  const result = command(now);
  stack.touchAll();
  driver.wake();
  return result;
}

function inside(descriptor: number): object {
  const mptcp = sockets.connectionOf(descriptor)?.mptcp ?? null;
  if (mptcp === null) return {};
  const { state, sendUna, sendNxt, sendWindowEnd, sendQueue, finOffset, receiveNext, receiveWindow, deadline } = mptcp;
  const queue = { start: sendQueue.start, end: sendQueue.end, limit: sendQueue.limit };
  return { state, sendUna, sendNxt, sendWindowEnd, queue, finOffset, receiveNext, receiveWindow, deadline };
}

interface StackEndpoint {
  readonly address: string;
  readonly id?: number;
  readonly signal?: boolean;
  readonly subflow?: boolean;
  readonly backup?: boolean;
  readonly fullmesh?: boolean;
  readonly port?: number;
}

serve(
  {
    start(settings: StackSettings) {
      stack = new Stack({
        random: new Entropy(),
        pathManager: manager,
        mptcp: settings.mptcp ?? {},
        tcp: { ...settings.tcp, congestionControl: settings.congestionControl === 'cubic' ? cubic : reno },
      });
      sockets = new Sockets(stack);
      if (settings.capture !== undefined) recorder = new Recorder(settings.capture);
      const { capture } = recorder ?? {};
      driver = new Driver(stack, {
        onReady,
        onInterfaceState: (id, isUp) => {
          act((now) => stack.setInterfaceUp(now, id, isUp));
          tell('interface', { id, isUp });
        },
        ...(capture === undefined
          ? {}
          : {
              tap: (id, direction, packet, now) =>
                capture.write(
                  now,
                  id,
                  packet,
                  direction === 'sent' ? CaptureDirection.Outbound : CaptureDirection.Inbound,
                ),
            }),
      });
    },
    /** Makes a path's device, with the kernel's addresses on its end, and our interface on ours. */
    open(path: StackPath) {
      const device = TunDevice.open({
        name: path.device,
        mtu: path.mtu,
        offload: path.offload,
        addresses: path.addresses.map(({ kernel, prefixLength }) => `${kernel}/${prefixLength}`),
      });
      // Room for what the kernel sends in one go: losses are the business of filters and shapes.
      ipCommands([`link set dev ${path.device} txqueuelen 10000`]);
      rules(path);
      routes(path);
      const filter = new FilteredIo(device);
      let io: PacketIo = filter;
      let emulator: Emulator | undefined;
      if (path.shape !== undefined) {
        const [near, far] = emulatedPair(new Pipe(), new Pipe(), { mtu: path.mtu });
        emulator = new Emulator(filter, far, link(path.shape), link(path.shape));
        io = near;
      }
      const id = stack.addInterface({
        name: path.device,
        mtu: path.mtu,
        addresses: path.addresses.map(({ ours, prefixLength }) => ({ address: Address.of(ours), prefixLength })),
        segmentationOffload: io.segmentationOffload,
        checksumOffload: io.checksumOffload,
      });
      recorder?.capture.addInterface(path.device);
      paths[id] = { filter, emulator, settings: path };
      driver.attach(id, io);
      return { id };
    },
    /** Lets the kernel's end of a path carry packets again after it was down. */
    routes({ path }: { path: number }) {
      routes(paths[path]!.settings);
    },
    filter({ path, ...rule }: FilterRule & { path: number }) {
      return paths[path]!.filter.add(rule);
    },
    unfilter({ path, id }: { path: number; id: number }) {
      paths[path]!.filter.remove(id);
    },
    filtered({ path, id }: { path: number; id: number }) {
      return paths[path]!.filter.hits(id);
    },
    setInterfaceUp({ path, isUp }: { path: number; isUp: boolean }) {
      act((now) => stack.setInterfaceUp(now, path, isUp));
    },
    removeAddress({ path, address }: { path: number; address: string }) {
      act((now) => stack.removeAddress(now, path, Address.of(address)));
    },
    addAddress({ path, address, prefixLength }: { path: number; address: string; prefixLength: number }) {
      act((now) => stack.addAddress(now, path, { address: Address.of(address), prefixLength }));
    },
    /** Listens; each accepted connection is told as the event `connection`. */
    listen(options: Behaviour & { protocol?: 'tcp' | 'mptcp'; host?: string; port?: number; backlog?: number }) {
      const address = options.host === undefined ? undefined : Address.of(options.host);
      const descriptor = open(options.protocol, address?.family ?? 6);
      check(sockets.bind(descriptor, address, options.port ?? 0), 'bind');
      check(sockets.listen(descriptor, options.backlog ?? 511), 'listen');
      const id = nextId++;
      listeners.set(id, { descriptor, behaviour: options });
      return { listener: id, address: options.host ?? '::', port: sockets.localPort(descriptor) };
    },
    unlisten({ listener }: { listener: number }) {
      const found = listeners.get(listener);
      if (found !== undefined) act(() => sockets.close(found.descriptor));
      listeners.delete(listener);
    },
    async connect(
      options: Behaviour & { protocol?: 'tcp' | 'mptcp'; host: string; port: number; localAddress?: string },
    ) {
      const peer = Address.of(options.host);
      const descriptor = open(options.protocol, peer.family);
      if (options.localAddress !== undefined) {
        check(sockets.bind(descriptor, Address.of(options.localAddress), 0), 'bind');
      }
      const outcome = act((now) => sockets.connect(descriptor, peer, options.port, now));
      if (outcome !== -Errno.EINPROGRESS) check(outcome, 'connect');
      const connection = adopt(descriptor, options);
      await connection.until(() => connection.connected || connection.closed);
      if (!connection.connected) throw Object.assign(new Error('connect failed'), { code: connection.error });
      const own = sockets.getsockname(descriptor);
      return { connection: connection.id, localAddress: String(own?.address), localPort: own?.port };
    },
    async source({ connection, seed, bytes, end }: { connection: number; seed: number; bytes: number; end?: boolean }) {
      await find(connection).source(seed, bytes, end ?? true);
    },
    end({ connection }: { connection: number }) {
      const found = find(connection);
      found.finish();
      found.run();
    },
    reset({ connection }: { connection: number }) {
      find(connection).close(true);
    },
    destroy({ connection }: { connection: number }) {
      find(connection).close();
    },
    pause({ connection }: { connection: number }) {
      find(connection).pause();
    },
    resume({ connection }: { connection: number }) {
      find(connection).resume();
    },
    mark({ connection }: { connection: number }) {
      find(connection).mark();
    },
    async wait({ connection, until, bytes }: { connection: number; until: 'end' | 'close' | 'bytes'; bytes?: number }) {
      const found = find(connection);
      await found.until(() => {
        if (found.closed || found.error !== '') return true;
        if (until === 'end') return found.ended;
        return until === 'bytes' && found.received >= (bytes ?? 1);
      });
      return found.result();
    },
    result({ connection }: { connection: number }) {
      return find(connection).result();
    },
    info({ connection }: { connection: number }): StackInfo {
      return find(connection).info();
    },
    /** What is known of every connection that is open, for a reader of a failure. */
    connections() {
      return [...connections.values()]
        .filter((connection) => !connection.closed)
        .map((connection) => ({ result: connection.result(), ...connection.info(), ...inside(connection.descriptor) }));
    },
    counters() {
      return {
        mptcp: stack.counters,
        tcp: stack.tcpCounters,
        ip: stack.ipCounters,
        driver: driver.counters,
        defects: stack.defects,
        endpoints: stack.endpointCount,
      };
    },
    addEndpoint({ address, ...request }: StackEndpoint) {
      return act((now) => manager.add(now, { address: Address.of(address), ...request })).id;
    },
    removeEndpoint({ id }: { id: number }) {
      act((now) => manager.remove(now, id));
    },
    setBackup({ id, backup }: { id: number; backup: boolean }) {
      act((now) => manager.setBackup(now, id, backup));
    },
    setLimits({ subflows, addAddrAccepted }: { subflows: number; addAddrAccepted: number }) {
      manager.setLimits(subflows, addAddrAccepted);
    },
    /** Closes what is open without a word to anybody, and the capture. */
    stop() {
      recorder?.close();
      recorder = undefined;
      process.exitCode = 0;
      setImmediate(() => process.exit());
    },
  },
  () => process.exit(),
);

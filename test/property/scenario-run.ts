import assert from 'node:assert/strict';
import {
  AddressTranslator,
  ClampMss,
  CoalesceSegments,
  DropUnknownOptions,
  DuplicateOption,
  type Middlebox,
  NormaliseRetransmissions,
  SequenceRewriter,
  ShrinkWindow,
  SplitSegments,
  StatefulFirewall,
  StripOption,
  SynProxy,
} from '../../src/link/middlebox/index.ts';
import { pool } from '../../src/link/pool.ts';
import { cubic } from '../../src/policy/congestion/cubic.ts';
import { reno } from '../../src/policy/congestion/reno.ts';
import { SimulatedHost } from '../../src/sim/host.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf, twoHosts } from '../../src/sim/topology.ts';
import { checkPattern, fillPattern } from '../../src/sim/workload.ts';
import type { RunEnd, World } from '../../src/sim/world.ts';
import { Errno, errnoName } from '../../src/sockets/errno.ts';
import {
  Family,
  Protocol,
  Shutdown,
  type SocketSettings,
  type Sockets,
  SocketType,
} from '../../src/sockets/sockets.ts';
import type { Connection } from '../../src/stack/connection.ts';
import { Ready } from '../../src/stack/handle.ts';
import { describePacket, formatPacket } from '../../src/wire/notation.ts';
import type { Box, EndPlan, Happening, Scenario } from './scenario.ts';

const PORT = 80;
const CLIENT_PORT = 40_000;
/** Nobody waits longer for a peer that may be gone without a trace, ms. */
const PATIENCE = 1_200_000;
/** By then every timer of every connection has had its last word, ms. */
const END_OF_TIME = 2 * PATIENCE + 600_000;

/** The errors that a connection may end with: typed, never silence. */
const ERRORS = [
  Errno.ECONNRESET,
  Errno.ECONNREFUSED,
  Errno.ETIMEDOUT,
  Errno.ECONNABORTED,
  Errno.EADDRNOTAVAIL,
  Errno.EPIPE,
];

/** One end at work: follows its plan, checks every byte it reads. */
export class Actor {
  readonly sockets: Sockets;
  readonly plan: EndPlan;
  readonly descriptor: number;
  readonly sendSeed: number;
  readonly receiveSeed: number;
  readonly connection: Connection;
  sent = 0;
  received = 0;
  /** Offset of the first wrong byte; -1 while all are right. */
  wrongAt = -1;
  connected = false;
  /** The peer's end of stream was read. */
  ended = false;
  finishedSending = false;
  aborted = false;
  /** Closed by plan, not because it was done. */
  closedEarly = false;
  closed = false;
  /** It had to be closed at last because nothing happened any more. */
  gaveUp = false;
  error = 0;
  doneAt = -1;
  private nextRead = 0;
  private nextWrite = 0;
  private readonly world: World;
  private readonly buffer = SCRATCH;

  constructor(
    world: World,
    sockets: Sockets,
    descriptor: number,
    plan: EndPlan,
    seeds: readonly [send: number, receive: number],
  ) {
    this.world = world;
    this.sockets = sockets;
    this.descriptor = descriptor;
    this.plan = plan;
    this.sendSeed = seeds[0];
    this.receiveSeed = seeds[1];
    this.connection = sockets.connectionOf(descriptor)!;
    const { now } = world;
    if (plan.abortAt !== Number.POSITIVE_INFINITY) world.at(now + plan.abortAt, () => this.abort());
    if (plan.closeAt !== Number.POSITIVE_INFINITY) world.at(now + plan.closeAt, () => this.closeEarly());
    world.at(now + PATIENCE, () => this.giveUp());
  }

  work(): void {
    if (this.closed) return;
    const { sockets, connection } = this;
    this.connected = this.connected || connection.established;
    if (this.connected) {
      this.write();
      this.read();
      this.write();
    }
    if (this.error === 0 && connection.closed && !(this.ended && this.finishedSending)) {
      // What came before an error may still be read; a slow reader takes its time.
      if (connection.readable === 0) this.error = sockets.error(this.descriptor);
    }
    if (this.error !== 0 || (this.ended && this.finishedSending)) this.close();
  }

  private write(): void {
    const { plan, sockets, descriptor, world } = this;
    while (this.sent < plan.toSend && this.error === 0) {
      if (world.now < this.nextWrite) return;
      const length = Math.min(plan.chunk, plan.toSend - this.sent, SCRATCH.length);
      fillPattern(this.sendSeed, this.sent, this.buffer, 0, length);
      const taken = sockets.send(descriptor, this.buffer, 0, length);
      if (taken < 0) {
        if (taken !== -Errno.EAGAIN) this.fail(-taken);
        return;
      }
      this.sent += taken;
      if (plan.writeEvery > 0) {
        this.nextWrite = world.now + plan.writeEvery;
        world.at(this.nextWrite, () => this.work());
      }
    }
    if (this.finishedSending || this.error !== 0 || this.sent < plan.toSend) return;
    if (plan.finishesLast && !this.ended) return;
    this.finishedSending = true;
    sockets.shutdown(descriptor, Shutdown.Write);
  }

  private read(): void {
    const { plan, sockets, descriptor, world } = this;
    while (!this.ended && this.error === 0) {
      if (world.now < this.nextRead) return;
      const view = sockets.peek(descriptor);
      if (view.length === 0) {
        const outcome = sockets.recv(descriptor, this.buffer, 0, 1);
        if (outcome === 0) this.ended = true;
        else if (outcome < 0 && outcome !== -Errno.EAGAIN) this.fail(-outcome);
        return;
      }
      const count = Math.min(view.length, plan.readChunk);
      const wrong = checkPattern(this.receiveSeed, this.received, view.subarray(0, count));
      if (wrong >= 0 && this.wrongAt < 0) this.wrongAt = this.received + wrong;
      this.received += count;
      sockets.consume(descriptor, count);
      if (plan.readEvery > 0) {
        this.nextRead = world.now + plan.readEvery;
        world.at(this.nextRead, () => this.work());
        return;
      }
    }
  }

  /** An error of `send` may come while there is still something to read. */
  private fail(error: number): void {
    if (this.connection.readable === 0 || this.plan.readEvery === 0) this.error = error;
  }

  private close(): void {
    this.closed = true;
    this.doneAt = this.world.now;
    this.sockets.close(this.descriptor);
  }

  private closeEarly(): void {
    if (this.closed) return;
    this.closedEarly = true;
    this.close();
  }

  private abort(): void {
    if (this.closed) return;
    this.aborted = true;
    this.closed = true;
    this.doneAt = this.world.now;
    this.sockets.abort(this.descriptor);
  }

  private giveUp(): void {
    if (this.closed) return;
    this.gaveUp = true;
    this.close();
  }

  toString(): string {
    const { plan } = this;
    const how = this.aborted ? ' aborted' : this.closedEarly ? ' closed early' : this.gaveUp ? ' gave up' : '';
    const end = this.ended ? ', end' : '';
    const error = this.error === 0 ? '' : `, ${errnoName(this.error)}`;
    return `sent ${this.sent}/${plan.toSend}, received ${this.received}${end}${error}${how} at ${this.doneAt.toFixed(1)}`;
  }
}

const SCRATCH = new Uint8Array(65_536);

/** What became of a scenario. */
export interface Outcome {
  readonly scenario: Scenario;
  readonly world: World;
  readonly hosts: readonly [client: SimulatedHost, server: SimulatedHost];
  readonly client: Actor;
  /** Undefined when nothing was ever accepted. */
  readonly server: Actor | undefined;
  readonly end: RunEnd;
  /** Packets of the links' pool that were taken and not given back. */
  readonly leaked: number;
  readonly digest: string;
}

/** Plays a scenario to its end. `trace` gets a line for each packet. */
export function play(scenario: Scenario, trace?: (line: string) => void): Outcome {
  const takenBefore = pool.taken;
  const { family } = scenario;
  let client: Actor | undefined;
  let server: Actor | undefined;
  let listener = -1;
  const built = twoHosts<SimulatedHost>({
    seed: scenario.seed,
    paths: scenario.paths.map((path, index) => {
      const boxes = scenario.boxes[index] ?? [];
      return boxes.length === 0 ? path : { ...path, middleboxes: boxes.map((box) => middlebox(box, scenario, index)) };
    }),
    segmentationOffload: scenario.segmentationOffload,
    checksumOffload: scenario.checksumOffload,
    digests: true,
    isolatesApplications: true,
    host: (name, interfaces, world) => {
      const at = name === 'client' ? 0 : 1;
      return new SimulatedHost(interfaces, world.random.derive(name), {
        endpoints: at === 0 ? scenario.clientEndpoints : scenario.serverEndpoints,
        subflowLimit: 8,
        addAddrAcceptedLimit: at === 0 ? scenario.addAddrAcceptedLimit : 0,
        mptcp: { checksums: scenario.checksums[at], allowJoinInitial: !scenario.deniesJoinInitial[at] },
        tcp: {
          timestamps: scenario.timestamps,
          sack: scenario.sack,
          windowScaling: scenario.windowScaling,
          congestionControl: scenario.congestionControl === 'cubic' ? cubic : reno,
        },
      });
    },
    onClient: {
      onReady: (_now, descriptor) => {
        built.client.sockets.takeReady(descriptor);
        if (client !== undefined && descriptor === client.descriptor) client.work();
      },
    },
    onServer: {
      onReady: (_now, descriptor) => {
        const ready = built.server.sockets.takeReady(descriptor);
        if (descriptor === listener && (ready & Ready.Acceptable) !== 0) accept();
        else if (server !== undefined && descriptor === server.descriptor) server.work();
      },
    },
  });
  const { world } = built;
  const hosts = [built.client, built.server] as const;
  if (trace !== undefined) observe(world, trace);

  const accept = (): void => {
    const descriptor = built.server.sockets.accept(listener);
    if (descriptor < 0) return;
    assert.equal(server, undefined, 'one connection was made and two were accepted');
    server = new Actor(world, built.server.sockets, descriptor, scenario.server, [2, 1]);
    server.work();
  };
  const open = (sockets: Sockets, at: 0 | 1): number => {
    const protocol = scenario.multipath[at] ? Protocol.Mptcp : Protocol.Tcp;
    const descriptor = sockets.socket(family === 4 ? Family.Inet : Family.Inet6, SocketType.Stream, protocol);
    const settings: SocketSettings = { noDelay: scenario.noDelay };
    if (scenario.receiveBuffer[at]! > 0) settings.receiveBuffer = scenario.receiveBuffer[at]!;
    if (scenario.sendBuffer[at]! > 0) settings.sendBuffer = scenario.sendBuffer[at]!;
    if (scenario.userTimeout > 0) settings.userTimeout = scenario.userTimeout;
    if (scenario.keepsAlive) settings.keepAlive = { idle: 500, interval: 300, probes: 3 };
    sockets.configure(descriptor, settings);
    return descriptor;
  };
  const connect = (sockets: Sockets, at: 0 | 1): number => {
    const descriptor = open(sockets, at);
    const peer = addressOf(family, 0, at === 0 ? 2 : 1);
    if (scenario.crossed) sockets.bind(descriptor, addressOf(family, 0, at + 1), at === 0 ? CLIENT_PORT : PORT);
    const port = scenario.crossed && at === 1 ? CLIENT_PORT : PORT;
    assert.equal(sockets.connect(descriptor, peer, port, world.now), -Errno.EINPROGRESS);
    return descriptor;
  };

  if (scenario.crossed) {
    server = new Actor(world, built.server.sockets, connect(built.server.sockets, 1), scenario.server, [2, 1]);
  } else {
    listener = open(built.server.sockets, 1);
    built.server.sockets.bind(listener, undefined, PORT);
    assert.equal(built.server.sockets.listen(listener, 8), 0);
  }
  client = new Actor(world, built.client.sockets, connect(built.client.sockets, 0), scenario.client, [1, 2]);
  for (const happening of scenario.happenings) {
    world.at(happening.at, () => happen(world, hosts[happening.side === 'client' ? 0 : 1], happening, trace));
  }
  const end = world.run({ until: END_OF_TIME });
  return { scenario, world, hosts, client, server, end, leaked: pool.taken - takenBefore, digest: world.digest() };
}

function middlebox(box: Box, scenario: Scenario, path: number): Middlebox {
  const random = new SeededRandom(`box ${scenario.seed} ${path}`);
  switch (box.kind) {
    case 'split':
      return new SplitSegments(box.size, box.options);
    case 'coalesce':
      return new CoalesceSegments(box.limit, box.wait);
    case 'sequence':
      return new SequenceRewriter(random);
    case 'normalise':
      return new NormaliseRetransmissions();
    case 'nat':
      return new AddressTranslator(addressOf(scenario.family, path, 99));
    case 'clamp':
      return new ClampMss(box.size);
    case 'shrink':
      return new ShrinkWindow(box.size);
    case 'firewall':
      return new StatefulFirewall({ allowsInbound: box.inbound, idle: box.idle });
    case 'repeat options':
      return new DuplicateOption(box.mode);
    case 'drop unknown':
      return new DropUnknownOptions();
    case 'syn proxy':
      return new SynProxy(random);
    case 'strip':
      return new StripOption(box.options);
  }
}

function happen(world: World, host: SimulatedHost, happening: Happening, trace?: (line: string) => void): void {
  const { path, side } = happening;
  const { now } = world;
  const { stack, endpoints } = host;
  trace?.(`${now.toFixed(3)} -- ${side}, path ${path + 1}: ${happening.kind}`);
  for (const family of [4, 6] as const) {
    const address = addressOf(family, path, side === 'client' ? 1 : 2);
    if (happening.kind === 'remove address') stack.removeAddress(now, path, address);
    if (happening.kind === 'add address') {
      stack.addAddress(now, path, { address, prefixLength: family === 4 ? 24 : 64 });
    }
    if (happening.kind === 'backup' || happening.kind === 'no backup') {
      const endpoint = endpoints.endpoints.find((entry) => entry.address.equals(address));
      if (endpoint !== undefined) endpoints.setBackup(now, endpoint.id, happening.kind === 'backup');
      stack.touchAll();
    }
  }
  if (happening.kind === 'interface down') stack.setInterfaceUp(now, path, false);
  if (happening.kind === 'interface up') stack.setInterfaceUp(now, path, true);
}

function observe(world: World, trace: (line: string) => void): void {
  const line = (now: number, verb: string, name: string, fromA: boolean, bytes: Uint8Array, gsoSize: number): void => {
    const described = describePacket(bytes);
    const text = typeof described === 'number' ? `not TCP (drop ${described})` : formatPacket(described);
    trace(`${now.toFixed(3)} ${fromA ? '>' : '<'} ${verb} ${name} ${text}${gsoSize > 0 ? ` (gso ${gsoSize})` : ''}`);
  };
  world.observe({
    onSend: (now, path, fromA, packet) =>
      line(now, 'sent     ', path.name, fromA, packet.bytes.subarray(packet.start, packet.end), packet.gsoSize),
    onDeliver: (now, path, fromA, packet) =>
      line(now, 'delivered', path.name, fromA, packet.bytes.subarray(packet.start, packet.end), packet.gsoSize),
  });
}

/** Throws when a law of delivery was broken. */
export function verify(outcome: Outcome): void {
  const { scenario, client, server, end, hosts } = outcome;
  const summary = `client ${client}; server ${server ?? 'accepted nothing'}`;
  const check = (holds: boolean, what: string): void => assert.ok(holds, `${what} (${summary})`);
  // Large packets may take a minute to be found out where nobody says that they vanish: too long for an orphan.
  const orphanLost = hosts.some((host) => host.stack.counters.CloseTimeout > 0);
  const swallows = scenario.paths.some((path) => path.reportsTooBig === false && path.aToB?.mtu !== undefined);
  const mustSucceed = scenario.mustSucceed && !(orphanLost && swallows);

  for (const [name, actor, peer] of [
    ['client', client, server],
    ['server', server, client],
  ] as const) {
    if (actor === undefined) continue;
    check(actor.wrongAt === -1, `${name}: byte ${actor.wrongAt} is wrong`);
    check(actor.received <= (peer?.sent ?? 0), `${name} received what was never sent`);
    if (actor.ended) {
      if (peer === undefined) assert.fail(`${name} read the end of a stream that nobody opened (${summary})`);
      check(actor.received === peer.sent, `${name} read the end before all bytes`);
      check(
        peer.finishedSending || peer.closedEarly || peer.gaveUp || peer.closed,
        `${name} read an end that was never sent`,
      );
      check(!peer.aborted || peer.finishedSending, `${name} took an abort for an end`);
    }
    if (actor.error !== 0)
      check((ERRORS as readonly number[]).includes(actor.error), `${name}: an error without a type`);
    check(actor.closed, `${name} never ended`);
    if (mustSucceed) {
      check(actor.ended && actor.finishedSending && actor.error === 0, `${name} failed without a reason`);
    }
    const { connection } = actor;
    check(connection.closed, `${name}: the connection never closed`);
    const { mptcp } = connection;
    if (mptcp !== null) {
      check(mptcp.subflows.length === 0, `${name}: ${mptcp.subflows.length} subflows are left`);
      check(mptcp.deadline === Number.POSITIVE_INFINITY, `${name}: a deadline is armed`);
      check(mptcp.sendQueue.reserved === 0, `${name}: ${mptcp.sendQueue.reserved} bytes of the send queue are held`);
      check(mptcp.ring.capacity === 0, `${name}: ${mptcp.ring.capacity} bytes of the receive ring are held`);
      check(mptcp.pendingJoins === 0, `${name}: joins are waiting`);
    }
    const { stream } = connection;
    if (stream !== null) {
      check(stream.source.reserved === 0, `${name}: ${stream.source.reserved} bytes of the send queue are held`);
      check(stream.sink.capacity === 0, `${name}: ${stream.sink.capacity} bytes of the receive ring are held`);
    }
  }
  if (mustSucceed) check(server !== undefined, 'nothing was accepted');
  check(end === 'idle', `the world does not come to rest: ${end}`);
  check(outcome.leaked === 0, `${outcome.leaked} packets leaked`);
  for (const host of hosts) {
    const name = host === hosts[0] ? 'client' : 'server';
    const { stack } = host;
    check(stack.defects.length === 0, `${name}: defects: ${stack.defects.join('; ')}`);
    check(stack.tcpCounters.TCPInvariant === 0, `${name}: TCPInvariant is ${stack.tcpCounters.TCPInvariant}`);
    check(stack.endpointCount === 0, `${name}: ${stack.endpointCount} endpoints are left`);
    check(stack.tokenCount === 0, `${name}: ${stack.tokenCount} tokens are left`);
    check(stack.pollTimeout() === Number.POSITIVE_INFINITY, `${name}: something is armed`);
    check(stack.counters.MPCurrEstab === 0, `${name}: MPCurrEstab is ${stack.counters.MPCurrEstab}`);
    check(stack.tcpCounters.CurrEstab === 0, `${name}: CurrEstab is ${stack.tcpCounters.CurrEstab}`);
    check(host.endpoints.connectionCount === 0, `${name}: the path manager remembers a connection`);
  }
}

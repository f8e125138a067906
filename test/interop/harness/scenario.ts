import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { MptcpInfo, SubflowAddresses, TcpInfo } from '../../../src/kernel/socket-info.ts';
import type { Child } from './child.ts';
import type { FilterRule } from './filtered-io.ts';
import type { Behaviour, PeerResult } from './kernel-peer.ts';
import { Namespace, startKernelPeer } from './namespace.ts';
import { patternDigest } from './pattern.ts';
import { requireRoot } from './root.ts';
import type { StackInfo, StackPath, StackSettings } from './stack-child.ts';

/**
 * Stories about this stack and the kernel's: one namespace, one TUN device for each path, a program on either side. On
 * path n the kernel has 10.77.n.1 and fd77:n+1::1, and we 10.77.n.2 and fd77:n+1::2.
 */

export type Family = 4 | 6;

export interface Shape {
  /** Megabits per second. */
  readonly rate: number;
  /** One way, in milliseconds. */
  readonly delay: number;
  /** Bytes. Default: twice what the path holds, 20 packets at least. */
  readonly queue?: number;
}

export interface ScenarioOptions extends Omit<StackSettings, 'capture'> {
  /** Their number, or what each is like; default 1, as fast as it goes. */
  readonly paths?: number | readonly Shape[];
  /** Default IPv4 alone; the first is the one that is meant where none is named. */
  readonly families?: readonly Family[];
  /** Packets of up to 64 KB between the stacks. Default true; never on paths with a rate. */
  readonly offload?: boolean;
  /** Extra subflows and accepted announcements on both sides. Default 8. */
  readonly limit?: number;
  /** Of the kernel. */
  readonly sysctls?: Readonly<Record<string, number>>;
  /** Default true: keep one, deleted when the story ends well. */
  readonly capture?: boolean;
  /** Milliseconds. Default 20 000. */
  readonly timeout?: number;
}

/** One subflow as either side describes it. */
export interface Way {
  readonly local: string;
  readonly peer: string;
  readonly localPort: number;
  readonly peerPort: number;
  /** Bytes of payload. */
  readonly sent: number;
  readonly received: number;
  /** Milliseconds. */
  readonly rto: number;
  readonly roundTripTime: number;
  readonly backup: boolean | undefined;
}

export interface ConnectOptions {
  readonly family?: Family;
  /** The kernel's client opens a socket for both families and connects to an IPv4 address. */
  readonly dual?: boolean;
  /** What each side opens. Default MPTCP. */
  readonly client?: 'tcp' | 'mptcp';
  readonly server?: 'tcp' | 'mptcp';
  readonly clientDoes?: Behaviour;
  readonly serverDoes?: Behaviour;
  /** The client sends a byte, so that both are fully established. Default: when neither does anything by itself. */
  readonly greet?: boolean;
  readonly timeout?: number;
}

export interface EndpointOptions {
  readonly signal?: boolean;
  readonly subflow?: boolean;
  readonly backup?: boolean;
  readonly fullmesh?: boolean;
  readonly port?: number;
  readonly family?: Family;
}

/** One end of a connection. */
export class Stream {
  readonly side: Side;
  readonly id: number;
  /** Bytes given to `send` so far. */
  given = 0;

  constructor(side: Side, id: number) {
    this.side = side;
    this.id = id;
  }

  private call<T>(method: string, params: object = {}, timeout?: number): Promise<T> {
    return this.side.child.call<T>(method, { connection: this.id, ...params }, timeout);
  }

  /** Sends bytes of the pattern. Resolves when they have been handed over, not when they have arrived. */
  async send(bytes: number, options: { seed?: number; end?: boolean; timeout?: number } = {}): Promise<void> {
    this.given += bytes;
    await this.call('source', { bytes, seed: options.seed ?? 1, end: options.end ?? false }, options.timeout);
  }

  /** Half-closes. */
  async finish(): Promise<void> {
    await this.call('end');
  }

  /** MP_FASTCLOSE or RST. */
  async reset(): Promise<void> {
    await this.call('reset');
  }

  async close(): Promise<void> {
    await this.call('destroy');
  }

  async pause(): Promise<void> {
    await this.call('pause');
  }

  async resume(): Promise<void> {
    await this.call('resume');
  }

  /** `longestGap` counts from now on. */
  async mark(): Promise<void> {
    await this.call('mark');
  }

  async received(bytes: number, timeout?: number): Promise<PeerResult> {
    return await this.call('wait', { until: 'bytes', bytes }, timeout);
  }

  async ended(timeout?: number): Promise<PeerResult> {
    return await this.call('wait', { until: 'end' }, timeout);
  }

  async closed(timeout?: number): Promise<PeerResult> {
    return await this.call('wait', { until: 'close' }, timeout);
  }

  async result(): Promise<PeerResult> {
    return await this.call('result');
  }

  /** Established subflows. */
  async ways(): Promise<Way[]> {
    return this.side.isKernel ? kernelWays(await this.kernelInfo()) : ourWays(await this.stackInfo());
  }

  /** Bytes that the peer has acknowledged as data. */
  async acknowledged(): Promise<number> {
    if (!this.side.isKernel) return (await this.stackInfo()).info?.bytesAcknowledged ?? 0;
    return (await this.kernelInfo()).mptcp?.bytesAcknowledged ?? 0;
  }

  /** Bytes given to `send` and not acknowledged by the peer. */
  async unsent(): Promise<number> {
    return this.given - (await this.acknowledged());
  }

  /** False once it is plain TCP. */
  async isMultipath(): Promise<boolean> {
    if (!this.side.isKernel) return (await this.stackInfo()).info?.multipath === true;
    const { mptcp } = await this.kernelInfo();
    return mptcp !== null && !mptcp.fallback;
  }

  async usesChecksums(): Promise<boolean> {
    if (!this.side.isKernel) return (await this.stackInfo()).info?.checksums === true;
    return (await this.kernelInfo()).mptcp?.checksumEnabled === true;
  }

  async stackInfo(): Promise<StackInfo> {
    return await this.call('info');
  }

  async kernelInfo(): Promise<KernelInfo> {
    return await this.call('info');
  }
}

interface KernelInfo {
  readonly mptcp: MptcpInfo | null;
  readonly subflows: readonly SubflowAddresses[];
  readonly subflowTcp: readonly TcpInfo[];
}

function kernelWays(info: KernelInfo): Way[] {
  return info.subflows.flatMap(({ local, peer }, index) => {
    const tcp = info.subflowTcp[index];
    // Those that end stay in the kernel's list for a while, the initial one for good.
    if (tcp !== undefined && tcp.state !== ESTABLISHED) return [];
    const way: Way = {
      local: unmapped(local.address),
      peer: unmapped(peer.address),
      localPort: local.port,
      peerPort: peer.port,
      sent: tcp?.bytesSent ?? 0,
      received: tcp?.bytesReceived ?? 0,
      rto: tcp?.retransmissionTimeout ?? 0,
      roundTripTime: tcp?.roundTripTime ?? 0,
      backup: undefined,
    };
    return [way];
  });
}

/** The kernel's number of the state. */
const ESTABLISHED = 1;

/** IPv4 addresses of a socket for both families look like IPv6 ones. */
function unmapped(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}

function ourWays({ info }: StackInfo): Way[] {
  return (info?.paths ?? [])
    .filter(({ state }) => state === 'established' || state === 'unproven')
    .map((path) => ({
      local: path.local,
      peer: path.peer,
      localPort: path.localPort,
      peerPort: path.peerPort,
      sent: path.sent + path.reinjected,
      received: path.received,
      rto: path.rto,
      roundTripTime: path.smoothedRtt,
      backup: path.backup,
    }));
}

/** One of the two stacks, with a program on it. */
export class Side {
  readonly name: 'ours' | 'kernel';
  readonly child: Child;
  private readonly before: Readonly<Record<string, number>>;
  private nextId = 1;

  constructor(name: 'ours' | 'kernel', child: Child, before: Readonly<Record<string, number>>) {
    this.name = name;
    this.child = child;
    this.before = before;
  }

  get isKernel(): boolean {
    return this.name === 'kernel';
  }

  address(path: number, family: Family = 4): string {
    const last = this.isKernel ? 1 : 2;
    return family === 4 ? `10.77.${path}.${last}` : `fd77:${path + 1}::${last}`;
  }

  async listen(options: Behaviour & { protocol?: 'tcp' | 'mptcp'; port?: number } = {}): Promise<number> {
    // On any address of either family.
    const { port } = await this.child.call<{ port: number }>('listen', {
      ...(this.isKernel ? { host: '::' } : {}),
      ...options,
    });
    return port;
  }

  async accept(timeout?: number): Promise<Stream> {
    return new Stream(this, (await this.child.event<{ connection: number }>('connection', timeout)).connection);
  }

  /** @returns its id */
  async addEndpoint(path: number, options: EndpointOptions): Promise<number> {
    const { family = 4, port, ...flags } = options;
    const id = this.nextId++;
    await this.child.call('addEndpoint', {
      address: this.address(path, family),
      id,
      ...(port === undefined ? {} : { port }),
      ...(this.isKernel
        ? { flags: Object.keys(flags).filter((flag) => flags[flag as keyof typeof flags] === true) }
        : flags),
    });
    return id;
  }

  async removeEndpoint(id: number, address?: string): Promise<void> {
    await this.child.call('removeEndpoint', { id, address });
  }

  async setBackup(id: number, backup: boolean): Promise<void> {
    await this.child.call('setBackup', { id, backup });
  }

  async setLimits(subflows: number, addAddrAccepted: number): Promise<void> {
    await this.child.call('setLimits', { subflows, addAddrAccepted });
  }

  /** What MPTCP's counters gained since the story began, by nstat's names without their prefix. */
  async counters(): Promise<Record<string, number>> {
    const now = await mptcpCounters(this.child, this.isKernel);
    const gained: Record<string, number> = {};
    for (const [name, value] of Object.entries(now)) {
      const difference = value - (this.before[name] ?? 0);
      if (difference !== 0) gained[name] = difference;
    }
    return gained;
  }

  async counter(name: string): Promise<number> {
    return (await this.counters())[name] ?? 0;
  }

  /** Waits until the counters are these; others do not matter. */
  async counts(expected: Readonly<Record<string, number>>): Promise<void> {
    let actual: Record<string, number> = {};
    const reached = await until(async () => {
      const counters = await this.counters();
      actual = Object.fromEntries(Object.keys(expected).map((name) => [name, counters[name] ?? 0]));
      return Object.entries(expected).every(([name, value]) => actual[name] === value);
    });
    if (!reached) assert.deepEqual(actual, expected, `counters of ${this.name}`);
  }
}

async function mptcpCounters(child: Child, isKernel: boolean): Promise<Record<string, number>> {
  if (!isKernel) return (await child.call<{ mptcp: Record<string, number> }>('counters')).mptcp;
  const all = await child.call<Record<string, number>>('counters');
  const found: Record<string, number> = {};
  for (const [name, value] of Object.entries(all)) {
    if (name.startsWith('MPTcpExt')) found[name.slice('MPTcpExt'.length)] = value;
  }
  return found;
}

export class Scenario {
  readonly ours: Side;
  readonly kernel: Side;
  readonly namespace: Namespace;
  private readonly context: TestContext;
  private readonly paths: readonly StackPath[];

  constructor(context: TestContext, namespace: Namespace, ours: Side, kernel: Side, paths: readonly StackPath[]) {
    this.context = context;
    this.namespace = namespace;
    this.ours = ours;
    this.kernel = kernel;
    this.paths = paths;
  }

  /** A connection from one side to the other, both ends. */
  async connect(from: Side, to: Side, options: ConnectOptions = {}): Promise<{ client: Stream; server: Stream }> {
    const family = options.family ?? (this.paths[0]!.addresses[0]!.ours.includes(':') ? 6 : 4);
    const port = await to.listen({ protocol: options.server ?? 'mptcp', ...options.serverDoes });
    const mapped = options.dual === true && from.isKernel && family === 4 ? '::ffff:' : '';
    const { connection } = await from.child.call<{ connection: number }>(
      'connect',
      { protocol: options.client ?? 'mptcp', host: mapped + to.address(0, family), port, ...options.clientDoes },
      options.timeout,
    );
    const client = new Stream(from, connection);
    const server = await to.accept();
    if (options.greet ?? (options.clientDoes === undefined && options.serverDoes === undefined)) {
      await this.transfer(client, server, 1);
    }
    return { client, server };
  }

  /** Waits until either end has so many subflows. */
  async subflows(count: number, ...streams: Stream[]): Promise<void> {
    for (const stream of streams) {
      await this.eventually(`${count} subflows of ${stream.side.name}`, async () => {
        return (await stream.ways()).length === count;
      });
    }
  }

  /** Sends so many bytes more one way, and checks that all sent so far have arrived as they are. */
  async transfer(
    from: Stream,
    to: Stream,
    bytes: number,
    options: { seed?: number; end?: boolean; timeout?: number; digest?: string } = {},
  ): Promise<PeerResult> {
    const seed = options.seed ?? 1;
    const total = from.given + bytes;
    const [, result] = await Promise.all([
      from.send(bytes, { seed, end: options.end ?? false, ...only(options.timeout) }),
      options.end === true ? to.ended(options.timeout) : to.received(total, options.timeout),
    ]);
    this.check(result, seed, total, options.digest);
    return result;
  }

  check(result: PeerResult, seed: number, bytes: number, digest = patternDigest(seed, bytes)): void {
    assert.equal(result.error, '');
    assert.equal(result.received, bytes);
    assert.equal(result.sha256, digest);
  }

  /** Half-closes what is open, and waits until both ends know. */
  async close(...streams: Stream[]): Promise<void> {
    for (const stream of streams) await stream.finish();
    for (const stream of streams) {
      const { error, ended } = await stream.closed();
      assert.equal(error, '', `${stream.side.name} closes without an error`);
      assert.equal(ended, true);
    }
  }

  /** Waits until a condition holds. */
  async eventually(what: string, probe: () => Promise<boolean>, timeout = 5000): Promise<void> {
    if (!(await until(probe, timeout))) assert.fail(`not within ${timeout} ms: ${what}`);
  }

  /** Packets are dropped or changed on a path from now on. @returns a number for `unfilter` and `filtered` */
  async filter(path: number, rule: FilterRule): Promise<number> {
    return await this.ours.child.call('filter', { path, ...rule });
  }

  async unfilter(path: number, id: number): Promise<void> {
    await this.ours.child.call('unfilter', { path, id });
  }

  /** Packets that a rule acted on. */
  async filtered(path: number, id: number): Promise<number> {
    return await this.ours.child.call('filtered', { path, id });
  }

  /** The path swallows everything, and nobody is told. @returns what to `unfilter` when it comes back */
  async kill(path: number): Promise<number[]> {
    return [
      await this.filter(path, { direction: 'in', match: 'all', action: 'drop' }),
      await this.filter(path, { direction: 'out', match: 'all', action: 'drop' }),
    ];
  }

  /** The device under a path goes down or comes up again, as `ip link set` does it. */
  async setDevice(path: number, isUp: boolean): Promise<void> {
    this.namespace.ip(`link set dev ${this.paths[path]!.device} ${isUp ? 'up' : 'down'}`);
    if (isUp) await this.ours.child.call('routes', { path });
  }

  /** Our address of a path goes or comes. */
  async removeAddress(path: number, family: Family = 4): Promise<void> {
    await this.ours.child.call('removeAddress', { path, address: this.ours.address(path, family) });
  }

  async addAddress(path: number, family: Family = 4): Promise<void> {
    const prefixLength = family === 4 ? 24 : 64;
    await this.ours.child.call('addAddress', { path, address: this.ours.address(path, family), prefixLength });
  }

  /** Tells the reader of the test's output, a measurement for instance. */
  note(text: string): void {
    this.context.diagnostic(text);
  }

  pause(milliseconds: number): Promise<void> {
    return delay(milliseconds);
  }
}

function only(timeout: number | undefined): { timeout?: number } {
  return timeout === undefined ? {} : { timeout };
}

async function until(probe: () => Promise<boolean>, timeout = 5000): Promise<boolean> {
  const deadline = performance.now() + timeout;
  for (;;) {
    if (await probe()) return true;
    if (performance.now() > deadline) return false;
    await delay(10);
  }
}

/** Who opens the connection: most stories are told both ways. */
export const ROLES = [
  {
    title: "our client, the kernel's server",
    of: ({ ours, kernel }: Scenario): [from: Side, to: Side] => [ours, kernel],
  },
  {
    title: "the kernel's client, our server",
    of: ({ ours, kernel }: Scenario): [from: Side, to: Side] => [kernel, ours],
  },
] as const;

/** A test between this stack and the kernel's. */
export function interop(title: string, options: ScenarioOptions, story: (scenario: Scenario) => Promise<void>): void {
  test(title, { skip: requireRoot(), timeout: (options.timeout ?? 20_000) + 10_000 }, async (context) => {
    await run(context, title, options, story);
  });
}

async function run(
  context: TestContext,
  title: string,
  options: ScenarioOptions,
  story: (scenario: Scenario) => Promise<void>,
): Promise<void> {
  const namespace = Namespace.create('interop', { congestionControl: 'reno' });
  const capture = options.capture === false ? undefined : captureFile(title);
  let scenario: Scenario | undefined;
  try {
    scenario = await build(context, namespace, options, capture);
    await story(scenario);
    const { defects } = await scenario.ours.child.call<{ defects: string[] }>('counters');
    assert.deepEqual(defects, [], 'invariants of our stack');
    await scenario.ours.child.call('stop');
    if (capture !== undefined && process.env.MPTCP_INTEROP_CAPTURES === undefined) rmSync(capture, { force: true });
  } catch (error) {
    if (scenario !== undefined) await explain(scenario, capture);
    throw error;
  } finally {
    namespace.close();
  }
}

async function build(
  context: TestContext,
  namespace: Namespace,
  options: ScenarioOptions,
  capture: string | undefined,
): Promise<Scenario> {
  const { limit = 8, timeout = 20_000 } = options;
  for (const [name, value] of Object.entries(options.sysctls ?? {})) namespace.sysctl(name, value);
  const [ours, kernel] = await Promise.all([
    namespace.start(new URL('./stack-child.ts', import.meta.url), [], { timeout }),
    startKernelPeer(namespace, { timeout }),
  ]);
  const { mptcp = {}, tcp = {}, congestionControl = 'reno' } = options;
  await ours.call('start', { mptcp, tcp, congestionControl, capture });
  const paths = stackPaths(options);
  for (const path of paths) await ours.call('open', path);
  for (const child of [ours, kernel]) await child.call('setLimits', { subflows: limit, addAddrAccepted: limit });
  return new Scenario(
    context,
    namespace,
    new Side('ours', ours, {}),
    new Side('kernel', kernel, await mptcpCounters(kernel, true)),
    paths,
  );
}

function stackPaths(options: ScenarioOptions): StackPath[] {
  const { paths = 1, families = [4], offload = true } = options;
  const shapes = typeof paths === 'number' ? Array.from({ length: paths }, () => undefined) : paths;
  return shapes.map((shape, index) => ({
    index,
    device: `t${index}`,
    mtu: 1500,
    offload: offload && shape === undefined,
    addresses: families.map((family) =>
      family === 4
        ? { ours: `10.77.${index}.2`, kernel: `10.77.${index}.1`, prefixLength: 24 }
        : { ours: `fd77:${index + 1}::2`, kernel: `fd77:${index + 1}::1`, prefixLength: 64 },
    ),
    ...(shape === undefined ? {} : { shape: bytesAndMilliseconds(shape) }),
  }));
}

function bytesAndMilliseconds(shape: Shape): NonNullable<StackPath['shape']> {
  const rate = (shape.rate * 1e6) / 8 / 1000;
  return { rate, delay: shape.delay, queue: shape.queue ?? Math.max(30_000, rate * 4 * shape.delay) };
}

/** Where MPTCP_INTEROP_CAPTURES says, and kept whatever happens; or else among temporary files. */
function captureFile(title: string): string {
  const directory = process.env.MPTCP_INTEROP_CAPTURES ?? join(tmpdir(), 'mptcp-interop');
  mkdirSync(directory, { recursive: true });
  const name = title.replaceAll(/[^A-Za-z0-9.]+/g, '-').slice(0, 100);
  return join(directory, `${name}-${process.pid}.pcapng`);
}

/** What there is to know after a failure. */
async function explain(scenario: Scenario, capture: string | undefined): Promise<void> {
  const tell = async (what: string, ask: () => Promise<unknown>): Promise<void> => {
    try {
      scenario.note(`${what}: ${asText(await ask())}`);
    } catch (error) {
      scenario.note(`${what}: ${String(error)}`);
    }
  };
  if (capture !== undefined) scenario.note(`capture: ${capture}`);
  await tell('our counters', () => scenario.ours.child.call('counters', {}, 2000));
  await tell('our connections', () => scenario.ours.child.call('connections', {}, 2000));
  await tell("the kernel's connections", () => scenario.kernel.child.call('connections', {}, 2000));
  await tell("the kernel's counters", () => scenario.kernel.counters());
  await tell("the kernel's sockets", () => sockets(scenario.namespace.name));
  await tell('stop', () => scenario.ours.child.call('stop', {}, 2000));
  scenario.note(`standard error: ${scenario.ours.child.standardError}`);
}

function asText(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value, (_, field: unknown) => (field === 0 ? undefined : field));
}

function sockets(namespace: string): Promise<string> {
  return new Promise((resolve) => {
    execFile('ip', ['netns', 'exec', namespace, 'ss', '-HOMtaeni'], { timeout: 2000 }, (_error, stdout) =>
      resolve(stdout.slice(0, 8000)),
    );
  });
}

import { execFileSync } from 'node:child_process';
import { Driver } from '../src/node/driver.ts';
import { Entropy } from '../src/node/entropy.ts';
import { TunDevice } from '../src/node/tun.ts';
import { EndpointPathManager } from '../src/policy/path-manager/endpoints.ts';
import { Errno } from '../src/sockets/errno.ts';
import { Family, Protocol, Sockets, SocketType } from '../src/sockets/sockets.ts';
import { Ready } from '../src/stack/handle.ts';
import { Stack } from '../src/stack/stack.ts';
import { Address } from '../src/wire/address.ts';
import { Namespace } from '../test/interop/harness/namespace.ts';
import { requireRoot } from '../test/interop/harness/root.ts';
import { kernelProtocol, PeerProgram } from './peer.ts';
import { bridge, sink, source } from './reference.ts';

/**
 * Our stack with the Linux kernel over TUN devices, beside the kernel with itself over veth, endpoints and a bridge that do
 * nothing but move packets (the limit of Node): goodput both ways, TCP
 * and MPTCP, with and without segmentation offload, one path and two; request/response latency; connections per
 * second. Needs root and gcc. Medians, the best behind them in brackets.
 *
 *     npx tsx bench/kernel.ts [--ms 1000] [--runs 3] [--only TEXT] [--no-merging] [--json]
 */

const skip = requireRoot();
if (skip !== false) {
  console.log(`not run: ${skip}`);
  process.exit(0);
}
const duration = Number(option('--ms') ?? 1000);
const runs = Number(option('--runs') ?? 3);
const only = option('--only');
const json = process.argv.includes('--json');
const program = new PeerProgram();
const results: { name: string; median: number; best: number; unit: string }[] = [];

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

interface Shape {
  readonly multipath: boolean;
  readonly offload: boolean;
  readonly paths: number;
}

/** Our host in a namespace, with the kernel at the other end of each TUN device. */
class Bench implements Disposable {
  readonly namespace: Namespace;
  readonly stack: Stack;
  readonly sockets: Sockets;
  readonly driver: Driver;
  onReady: (descriptor: number, ready: number) => void = () => {};

  constructor(shape: Shape) {
    this.namespace = Namespace.create('bench', { ipv6: false, congestionControl: 'reno' });
    if (shape.paths > 1) {
      execFileSync('ip', [
        '-n',
        this.namespace.name,
        'mptcp',
        'limits',
        'set',
        'subflow',
        '8',
        'add_addr_accepted',
        '8',
      ]);
    }
    const manager = new EndpointPathManager();
    manager.setLimits(8, 8);
    this.stack = new Stack({ random: new Entropy(), pathManager: manager });
    this.sockets = new Sockets(this.stack);
    this.driver = new Driver(this.stack, {
      mergesSegments: !process.argv.includes('--no-merging'),
      onReady: (descriptor) => {
        this.onReady(descriptor, this.sockets.takeReady(descriptor));
        this.driver.wake();
      },
    });
    for (let index = 0; index < shape.paths; index++) {
      const device = TunDevice.open({
        name: `u${index}`,
        namespace: this.namespace.name,
        addresses: [`10.90.${index}.1/24`],
        offload: shape.offload,
      });
      const address = Address.of(`10.90.${index}.2`);
      const id = this.stack.addInterface({
        name: `u${index}`,
        mtu: 1500,
        addresses: [{ address, prefixLength: 24 }],
        segmentationOffload: shape.offload,
        checksumOffload: shape.offload,
      });
      this.driver.attach(id, device);
      // Either end may start the second subflow: as a client we do, as a server we announce.
      if (index > 0) manager.add(0, { address, subflow: true, signal: true });
    }
  }

  listen(multipath: boolean): number {
    const descriptor = this.sockets.socket(Family.Inet, SocketType.Stream, multipath ? Protocol.Mptcp : Protocol.Tcp);
    this.sockets.bind(descriptor, undefined, 5001);
    this.sockets.listen(descriptor, 128);
    return descriptor;
  }

  [Symbol.dispose](): void {
    this.driver.close();
    this.namespace.close();
  }
}

/** Gbit/s from the kernel to us. */
async function receive(shape: Shape): Promise<number> {
  using bench = new Bench(shape);
  const { sockets } = bench;
  const listener = bench.listen(shape.multipath);
  let bytes = 0;
  let first = 0;
  let last = 0;
  let done: () => void = () => {};
  const finished = new Promise<void>((resolve) => {
    done = resolve;
  });
  bench.onReady = (descriptor) => {
    if (descriptor === listener) {
      sockets.accept(listener);
      return;
    }
    for (let view = sockets.peek(descriptor); view.length > 0; view = sockets.peek(descriptor)) {
      bytes += view.length;
      sockets.consume(descriptor, view.length);
      last = performance.now();
      if (first === 0) first = last;
    }
    if (sockets.recv(descriptor, EMPTY, 0, 1) === 0) {
      sockets.close(descriptor);
      done();
    }
  };
  const source = program.start(bench.namespace, 'source', '10.90.0.2', 5001, kernelProtocol(shape.multipath), duration);
  await Promise.race([finished, source.lines.next().then(() => new Promise((resolve) => setTimeout(resolve, 500)))]);
  source.kill();
  return (bytes * 8) / (last - first) / 1e6;
}

const EMPTY = new Uint8Array(1);

/** Gbit/s from us to the kernel. */
async function send(shape: Shape): Promise<number> {
  using bench = new Bench(shape);
  const { sockets } = bench;
  const sink = program.start(bench.namespace, 'sink', '10.90.0.1', 5001, kernelProtocol(shape.multipath));
  await sink.lines.next();
  const chunk = new Uint8Array(262_144);
  const descriptor = sockets.socket(Family.Inet, SocketType.Stream, shape.multipath ? Protocol.Mptcp : Protocol.Tcp);
  let until = Number.POSITIVE_INFINITY;
  let closed = false;
  bench.onReady = (_, ready) => {
    if ((ready & Ready.Connected) !== 0) until = performance.now() + duration;
    while (!closed) {
      if (performance.now() >= until) {
        closed = true;
        sockets.close(descriptor);
        return;
      }
      const taken = sockets.send(descriptor, chunk, 0, chunk.length);
      if (taken === -Errno.EAGAIN) return;
      if (taken < 0) throw new Error(`send: errno ${-taken}`);
    }
  };
  sockets.connect(descriptor, Address.of('10.90.0.1'), 5001, bench.driver.now());
  bench.driver.wake();
  const { value } = await sink.lines.next();
  const [bytes, elapsed] = String(value).split(' ').map(Number);
  return (bytes! * 8) / elapsed!;
}

function echo(bench: Bench, multipath: boolean): void {
  const { sockets } = bench;
  const listener = bench.listen(multipath);
  const buffer = new Uint8Array(4096);
  bench.onReady = (descriptor) => {
    if (descriptor === listener) {
      while (sockets.accept(listener) >= 0);
      return;
    }
    for (;;) {
      const count = sockets.recv(descriptor, buffer, 0, buffer.length);
      if (count > 0) {
        sockets.send(descriptor, buffer, 0, count);
        continue;
      }
      if (count !== -Errno.EAGAIN) sockets.close(descriptor);
      return;
    }
  };
}

/** p50 and p99 in microseconds of a byte there and back. */
async function ping(multipath: boolean): Promise<readonly [number, number]> {
  using bench = new Bench({ multipath, offload: true, paths: 1 });
  echo(bench, multipath);
  const client = program.start(bench.namespace, 'ping', '10.90.0.2', 5001, kernelProtocol(multipath), 5000);
  const { value } = await client.lines.next();
  const [p50, p99] = String(value).split(' ').map(Number);
  return [p50! / 1000, p99! / 1000];
}

/** Connections per second, one at a time. */
async function open(multipath: boolean): Promise<number> {
  using bench = new Bench({ multipath, offload: true, paths: 1 });
  echo(bench, multipath);
  const client = program.start(bench.namespace, 'open', '10.90.0.2', 5001, kernelProtocol(multipath), duration);
  const { value } = await client.lines.next();
  return (Number(value) / duration) * 1000;
}

/** Runs `run` with two namespaces joined by veth. */
async function overVeth(
  offload: boolean,
  run: (left: Namespace, right: Namespace) => Promise<number>,
): Promise<number> {
  using left = Namespace.create('left', { ipv6: false, congestionControl: 'reno' });
  using right = Namespace.create('right', { ipv6: false, congestionControl: 'reno' });
  execFileSync('ip', [
    'link',
    'add',
    'v0',
    'netns',
    left.name,
    'type',
    'veth',
    'peer',
    'name',
    'v1',
    'netns',
    right.name,
  ]);
  for (const [namespace, device, address] of [
    [left, 'v0', '10.91.0.1/24'],
    [right, 'v1', '10.91.0.2/24'],
  ] as const) {
    execFileSync('ip', ['-n', namespace.name, 'addr', 'add', address, 'dev', device]);
    execFileSync('ip', ['-n', namespace.name, 'link', 'set', device, 'up']);
    if (!offload) {
      const off = ['tso', 'off', 'gso', 'off', 'gro', 'off', 'tx', 'off'];
      execFileSync('ip', ['netns', 'exec', namespace.name, 'ethtool', '-K', device, ...off], { stdio: 'ignore' });
    }
  }
  return await run(left, right);
}

/** Gbit/s from kernel to kernel over veth. */
function kernelPair(multipath: boolean, offload: boolean): Promise<number> {
  return overVeth(offload, async (left, right) => {
    const receiver = program.start(right, 'sink', '10.91.0.2', 5001, kernelProtocol(multipath));
    await receiver.lines.next();
    program.start(left, 'source', '10.91.0.2', 5001, kernelProtocol(multipath), duration);
    const { value } = await receiver.lines.next();
    const [bytes, elapsed] = String(value).split(' ').map(Number);
    return (bytes! * 8) / elapsed!;
  });
}

/** The first figure that a client prints against the kernel's echo. */
function kernelEcho(multipath: boolean, what: 'ping' | 'open', amount: number): Promise<number> {
  return overVeth(true, async (left, right) => {
    const echoing = program.start(right, 'echo', '10.91.0.2', 5001, kernelProtocol(multipath));
    try {
      await echoing.lines.next();
      const client = program.start(left, what, '10.91.0.2', 5001, kernelProtocol(multipath), amount);
      const { value } = await client.lines.next();
      return Number.parseFloat(String(value));
    } finally {
      echoing.kill();
    }
  });
}

async function measure(name: string, unit: string, run: () => Promise<number>): Promise<void> {
  if (only !== undefined && !name.includes(only)) return;
  const values: number[] = [];
  for (let count = 0; count < runs; count++) values.push(await run());
  values.sort((a, b) => a - b);
  const median = values[values.length >> 1]!;
  const best = unit === 'us' ? values[0]! : values.at(-1)!;
  results.push({ name, median, best, unit });
  if (!json) console.log(`${name}: ${digits(median)} ${unit} (${digits(best)})`);
}

function digits(value: number): string {
  return value >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

async function main(): Promise<void> {
  for (const offload of [true, false]) {
    const size = offload ? 'offload' : '1500 bytes';
    await measure(`kernel TCP to kernel TCP over veth, ${size}`, 'Gbit/s', () => kernelPair(false, offload));
    await measure(`kernel MPTCP to kernel MPTCP over veth, ${size}`, 'Gbit/s', () => kernelPair(true, offload));
    await measure(
      `limit of Node, receive, ${size}`,
      'Gbit/s',
      async () => (await sink(program, offload, 0, duration)).rate,
    );
    await measure(
      `limit of Node, send, ${size}`,
      'Gbit/s',
      async () => (await source(program, offload, duration)).rate,
    );
    await measure(`packet bridge, kernel TCP through two TUNs, ${size}`, 'Gbit/s', async () => {
      return (await bridge(program, offload, 0, 'driver', duration)).rate;
    });
    for (const multipath of [false, true]) {
      const what = multipath ? 'MPTCP' : 'TCP';
      for (const paths of multipath ? [1, 2] : [1]) {
        const over = paths === 1 ? 'one TUN' : 'two TUNs';
        const shape = { multipath, offload, paths };
        await measure(`receive ${what}, ${over}, ${size}`, 'Gbit/s', () => receive(shape));
        await measure(`send ${what}, ${over}, ${size}`, 'Gbit/s', () => send(shape));
      }
    }
  }
  for (const multipath of [false, true]) {
    const what = multipath ? 'MPTCP' : 'TCP';
    await measure(`kernel request/response over veth, ${what} p50`, 'us', async () => {
      return (await kernelEcho(multipath, 'ping', 5000)) / 1000;
    });
    await measure(`kernel connections per second over veth, ${what}`, '/s', async () => {
      return ((await kernelEcho(multipath, 'open', duration)) / duration) * 1000;
    });
    await measure(`request/response ${what} p50`, 'us', async () => (await ping(multipath))[0]);
    await measure(`request/response ${what} p99`, 'us', async () => (await ping(multipath))[1]);
    await measure(`connections per second ${what}, one at a time`, '/s', () => open(multipath));
  }
  if (json) console.log(JSON.stringify(results, undefined, 2));
}

try {
  await main();
} finally {
  program[Symbol.dispose]();
}

import { mbit } from '../src/link/path.ts';
import { EndpointPathManager } from '../src/policy/path-manager/endpoints.ts';
import { SimulatedHost } from '../src/sim/host.ts';
import { SeededRandom } from '../src/sim/random.ts';
import { addressOf, twoHosts } from '../src/sim/topology.ts';
import { Errno } from '../src/sockets/errno.ts';
import { Family, Protocol, Sockets, SocketType } from '../src/sockets/sockets.ts';
import { Ready } from '../src/stack/handle.ts';
import { Stack } from '../src/stack/stack.ts';
import { packetBytes } from '../src/wire/checksum.ts';
import { PACKET_CAPACITY, Packet } from '../src/wire/packet.ts';

/**
 * Our stack with itself in one process, no device: goodput with large and with 1500-byte packets, heap bytes allocated
 * per segment, bytes per idle connection, simulated packets per second.
 *
 *     node --expose-gc --import tsx bench/stack.ts [--ms 1000] [--idle 10000] [--json]
 */

const duration = Number(option('--ms') ?? 1000);
const idleCount = Number(option('--idle') ?? 10_000);
const json = process.argv.includes('--json');
const results: { name: string; value: number; unit: string }[] = [];

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

/** Two hosts whose packets pass directly from one to the other. */
class Pair {
  readonly hosts: readonly [Stack, Stack];
  readonly sockets: readonly [Sockets, Sockets];
  now = 0;
  packets = 0;
  segments = 0;
  private readonly packet: Packet;

  constructor(paths: number, offload: boolean) {
    const make = (host: number): Stack => {
      const manager = new EndpointPathManager();
      manager.setLimits(8, 8);
      const stack = new Stack({ random: new SeededRandom(host), pathManager: manager });
      for (let index = 0; index < paths; index++) {
        const address = addressOf(4, index, host);
        stack.addInterface({
          name: `p${index}`,
          mtu: 1500,
          addresses: [{ address, prefixLength: 24 }],
          segmentationOffload: offload,
          // As over TUN: nobody computes checksums between two hosts of one machine.
          checksumOffload: offload,
        });
        if (host === 1 && index > 0) manager.add(0, { address, subflow: true });
      }
      return stack;
    };
    this.hosts = [make(1), make(2)];
    this.sockets = [new Sockets(this.hosts[0]), new Sockets(this.hosts[1])];
    this.packet = new Packet(PACKET_CAPACITY, 0, packetBytes(PACKET_CAPACITY));
  }

  /** Lets both hosts send what they have, in bursts, until neither has any. */
  turn(): void {
    this.now = performance.now();
    let busy = true;
    while (busy) {
      busy = false;
      for (let from = 0; from < 2; from++) {
        const host = this.hosts[from]!;
        const peer = this.hosts[1 - from]!;
        if (host.pollTimeout() <= this.now) host.onTimeout(this.now);
        for (let burst = 0; burst < 16; burst++) {
          this.packet.start = 0;
          this.packet.gsoSize = 0;
          this.packet.checksum = 0;
          const id = host.pollTransmit(this.now, this.packet);
          if (id < 0) break;
          busy = true;
          this.packets++;
          this.segments += this.packet.gsoSize > 0 ? Math.ceil(this.packet.length / this.packet.gsoSize) : 1;
          peer.onPacket(this.now, id, this.packet);
        }
      }
    }
  }
}

function connect(pair: Pair, multipath: boolean): readonly [number, number] {
  const protocol = multipath ? Protocol.Mptcp : Protocol.Tcp;
  const [client, server] = pair.sockets;
  const listener = server.socket(Family.Inet, SocketType.Stream, protocol);
  server.bind(listener, undefined, 80);
  server.listen(listener, 128);
  const descriptor = client.socket(Family.Inet, SocketType.Stream, protocol);
  client.connect(descriptor, addressOf(4, 0, 2), 80, performance.now());
  pair.turn();
  const accepted = server.accept(listener);
  if (accepted < 0) throw new Error('no connection');
  pair.turn();
  return [descriptor, accepted];
}

/** Sends for `milliseconds`; returns bytes received. */
function transfer(pair: Pair, ends: readonly [number, number], milliseconds: number): number {
  const [client, server] = pair.sockets;
  const chunk = new Uint8Array(262_144);
  const until = performance.now() + milliseconds;
  let received = 0;
  while (performance.now() < until) {
    while (client.send(ends[0], chunk, 0, chunk.length) !== -Errno.EAGAIN);
    pair.turn();
    for (let view = server.peek(ends[1]); view.length > 0; view = server.peek(ends[1])) {
      received += view.length;
      server.consume(ends[1], view.length);
    }
    pair.turn();
  }
  return received;
}

function goodput(multipath: boolean, paths: number, offload: boolean): void {
  const pair = new Pair(paths, offload);
  const ends = connect(pair, multipath);
  transfer(pair, ends, 300);
  collect();
  const before = process.memoryUsage().heapUsed;
  const segments = pair.segments;
  const packets = pair.packets;
  const start = performance.now();
  const bytes = transfer(pair, ends, duration);
  const elapsed = performance.now() - start;
  const allocated = allocatedSince(before);
  const name = `${multipath ? 'MPTCP' : 'TCP'}, ${paths} path${paths > 1 ? 's' : ''}, ${offload ? '64 KB' : '1500-byte'} packets`;
  report(`stack to stack, ${name}`, (bytes * 8) / elapsed / 1e6, 'Gbit/s');
  report(`  packets per second, ${name}`, ((pair.packets - packets) / elapsed) * 1000, '/s');
  if (allocated >= 0) report(`  heap bytes per segment, ${name}`, allocated / (pair.segments - segments), 'B');
  collect();
}

/** Heap growth plus what the collector took meanwhile, as far as it tells: -1 when a collection hid it. */
function allocatedSince(before: number): number {
  return process.memoryUsage().heapUsed - before;
}

function collect(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** Heap and buffer bytes of one idle connection, both ends and its socket counted as two connections. */
function idle(multipath: boolean): void {
  const pair = new Pair(1, true);
  const protocol = multipath ? Protocol.Mptcp : Protocol.Tcp;
  const [client, server] = pair.sockets;
  const listener = server.socket(Family.Inet, SocketType.Stream, protocol);
  server.bind(listener, undefined, 80);
  server.listen(listener, 1024);
  collect();
  const before = memory();
  const descriptors: number[] = [];
  const byte = new Uint8Array(1);
  for (let count = 0; count < idleCount; count++) {
    const descriptor = client.socket(Family.Inet, SocketType.Stream, protocol);
    client.connect(descriptor, addressOf(4, 0, 2), 80, performance.now());
    pair.turn();
    const accepted = server.accept(listener);
    // A byte each way, so that every connection has really been used.
    client.send(descriptor, byte, 0, 1);
    pair.turn();
    server.recv(accepted, byte, 0, 1);
    server.send(accepted, byte, 0, 1);
    pair.turn();
    client.recv(descriptor, byte, 0, 1);
    descriptors.push(descriptor);
  }
  for (const host of pair.hosts) while (host.pollReady() >= 0);
  collect();
  const taken = memory() - before;
  // Also keeps them from being collected before they were counted.
  for (const host of pair.hosts) {
    if (host.endpointCount < idleCount) throw new Error(`${host.endpointCount} of ${idleCount} connections are open`);
  }
  report(
    `bytes per idle connection end, ${multipath ? 'MPTCP' : 'TCP'}, ${idleCount} connections`,
    taken / (2 * idleCount),
    'B',
  );
}

function memory(): number {
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Packets per second of processor time through a world with two real hosts and two emulated paths. */
function simulation(): void {
  let client: SimulatedHost | undefined;
  let server: SimulatedHost | undefined;
  let accepted = -1;
  const chunk = new Uint8Array(65_536);
  const built = twoHosts<SimulatedHost>({
    seed: 7,
    digests: false,
    family: 4,
    paths: [
      { rate: mbit(300), delay: 10 },
      { rate: mbit(200), delay: 30 },
    ],
    host: (name, interfaces, world) =>
      new SimulatedHost(interfaces, world.random.derive(name), {
        subflowLimit: 8,
        endpoints: name === 'client' ? [{ address: addressOf(4, 1, 1), subflow: true }] : [],
      }),
    onClient: {
      onReady: (_now, descriptor) => {
        client!.sockets.takeReady(descriptor);
        while (client!.sockets.send(descriptor, chunk, 0, chunk.length) > 0);
      },
    },
    onServer: {
      onReady: (_now, descriptor) => {
        const { sockets } = server!;
        if ((sockets.takeReady(descriptor) & Ready.Acceptable) !== 0) accepted = sockets.accept(descriptor);
        if (accepted < 0) return;
        for (let view = sockets.peek(accepted); view.length > 0; view = sockets.peek(accepted)) {
          sockets.consume(accepted, view.length);
        }
      },
    },
  });
  client = built.client;
  server = built.server;
  const listener = server.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  server.sockets.bind(listener, undefined, 80);
  server.sockets.listen(listener, 8);
  const descriptor = client.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  client.sockets.connect(descriptor, built.serverAddress(0), 80, 0);
  built.world.run({ until: 1000 });
  const before = built.world.counters.delivered;
  const cpu = process.cpuUsage();
  const start = performance.now();
  let until = 1000;
  while (performance.now() - start < duration * 2) {
    until += 200;
    built.world.run({ until });
  }
  const { user, system } = process.cpuUsage(cpu);
  const packets = built.world.counters.delivered - before;
  report(
    'simulated packets per second of processor time, MPTCP over two paths',
    packets / ((user + system) / 1e6),
    '/s',
  );
}

function report(name: string, value: number, unit: string): void {
  results.push({ name, value, unit });
  if (!json) console.log(`${name}: ${value >= 1000 ? value.toFixed(0) : value.toPrecision(3)} ${unit}`);
}

for (const offload of [true, false]) {
  goodput(false, 1, offload);
  goodput(true, 1, offload);
  goodput(true, 2, offload);
}
simulation();
if ((globalThis as { gc?: () => void }).gc !== undefined) {
  idle(false);
  idle(true);
} else if (!json) {
  console.log('idle connections: not measured without --expose-gc');
}
if (json) console.log(JSON.stringify(results, undefined, 2));

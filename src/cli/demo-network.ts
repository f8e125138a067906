import type { Capture } from '../link/capture.ts';
import { mbit, Path } from '../link/path.ts';
import { emulatedPair } from '../node/emulator.ts';
import { Streams } from '../node/stream.ts';
import { type HostPath, UserspaceHost } from '../node/userspace-host.ts';
import { SimulatedHost } from '../sim/host.ts';
import { SeededRandom } from '../sim/random.ts';
import { World } from '../sim/world.ts';
import { captureWorld } from '../sim/world-capture.ts';
import { Address } from '../wire/address.ts';

/** One of the demo's networks. */
export interface DemoPath {
  readonly name: string;
  /** Mbit/s each way. */
  readonly rate: number;
  /** Milliseconds there and back. */
  readonly roundTrip: number;
  readonly client: Address;
  readonly server: Address;
}

export const DEMO_PATHS: readonly DemoPath[] = [
  { name: 'Wi-Fi', rate: 30, roundTrip: 20, client: Address.of('10.0.1.1'), server: Address.of('10.0.1.2') },
  { name: 'LTE', rate: 20, roundTrip: 60, client: Address.of('10.0.2.1'), server: Address.of('10.0.2.2') },
];

/** Two hosts with a path for each network between them, and a clock: the real one, or the world's. */
export interface DemoNetwork {
  readonly client: Streams;
  readonly server: Streams;
  /** In the order of `DEMO_PATHS`. */
  readonly paths: readonly Path[];
  /** Milliseconds. */
  now(): number;
  /** Lets time pass until `isOver`, and calls `onTick` every `interval` milliseconds of this network's time. */
  run(interval: number, onTick: () => void, isOver: () => boolean): Promise<void>;
  close(): void;
}

export interface DemoNetworkOptions {
  readonly seed: string;
  readonly capture: Capture;
}

/**
 * A path that answers nothing is tried again with growing pauses, of up to two minutes. With at most a second (as with
 * Linux's net.ipv4.tcp_rto_max_ms) a demo sees it come back. And it is no path of small packets: no search for their
 * size, as in Linux unless net.ipv4.tcp_mtu_probing is set.
 */
const TCP = { maximumRto: 1000, mtuProbing: false };

const PREFIX = 24;

/** Addresses of the client, beyond the first path's, that subflows may come from. */
const ENDPOINTS = DEMO_PATHS.slice(1).map(({ client }) => ({ address: client, subflow: true }));

function makePaths(random: SeededRandom): Path[] {
  return DEMO_PATHS.map(
    ({ name, rate, roundTrip }) =>
      new Path({ name, rate: mbit(rate), delay: roundTrip / 2 }, (purpose) => random.derive(`${name}/${purpose}`)),
  );
}

/** In virtual time: as fast as the processor can, and the same each time. */
export function virtualNetwork(options: DemoNetworkOptions): DemoNetwork {
  const world = new World({ seed: options.seed, digests: false });
  const paths = makePaths(world.random);
  const makeHost = (side: 'client' | 'server'): SimulatedHost =>
    new SimulatedHost(
      DEMO_PATHS.map((path) => ({
        name: path.name,
        mtu: 1500,
        addresses: [{ address: path[side], prefixLength: PREFIX }],
      })),
      world.random.derive(side),
      { tcp: TCP, subflowLimit: 8, endpoints: side === 'client' ? ENDPOINTS : [] },
    );
  const hosts = { client: makeHost('client'), server: makeHost('server') };
  const clock = (): number => world.now;
  const client = new Streams(hosts.client.sockets, clock);
  const server = new Streams(hosts.server.sockets, clock);
  const left = world.addHost(hosts.client, { name: 'client', onReady: (_, descriptor) => client.onReady(descriptor) });
  const right = world.addHost(hosts.server, { name: 'server', onReady: (_, descriptor) => server.onReady(descriptor) });
  for (const [interfaceId, path] of paths.entries()) {
    world.connect({ host: left, interfaceId }, { host: right, interfaceId }, path);
  }
  captureWorld(world, options.capture);
  return {
    client,
    server,
    paths,
    now: clock,
    async run(interval, onTick, isOver) {
      for (let next = world.now + interval; !isOver(); next += interval) {
        world.run({ until: next, condition: isOver });
        onTick();
        // The terminal and signals get their turn.
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    close() {},
  };
}

/** In real time, in this process: no device, no privilege. */
export function realNetwork(options: DemoNetworkOptions): DemoNetwork {
  const paths = makePaths(new SeededRandom(options.seed));
  const ends = paths.map(({ name, aToB, bToA }) => emulatedPair(aToB, bToA, { names: [name, name] }));
  const hostPaths = (side: 'client' | 'server'): HostPath[] =>
    DEMO_PATHS.map((path, index) => ({
      name: path.name,
      addresses: [{ address: path[side], prefixLength: PREFIX }],
      io: ends[index]![side === 'client' ? 0 : 1],
      ...(side === 'client' && index > 0 ? { endpoint: { subflow: true } } : {}),
    }));
  const server = UserspaceHost.open({ paths: hostPaths('server'), tcp: TCP });
  const client = UserspaceHost.open({ paths: hostPaths('client'), tcp: TCP, capture: options.capture });
  return {
    client: client.streams,
    server: server.streams,
    paths,
    now: () => client.now(),
    run(interval, onTick, isOver) {
      return new Promise((resolve, reject) => {
        const timer = setInterval(() => {
          try {
            onTick();
            if (!isOver()) return;
            clearInterval(timer);
            resolve();
          } catch (error) {
            clearInterval(timer);
            reject(error);
          }
        }, interval);
      });
    },
    close() {
      client.close();
      server.close();
    },
  };
}

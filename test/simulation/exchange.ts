import { equal, ok } from 'node:assert/strict';
import { mbit, type PathOptions } from '../../src/link/index.ts';
import type { Middlebox } from '../../src/link/middlebox/index.ts';
import { SimulatedHost } from '../../src/sim/host.ts';
import { addressOf, twoHosts } from '../../src/sim/topology.ts';
import type { TransferEnd } from '../../src/sim/workload.ts';
import { Family, Protocol, SocketType } from '../../src/sockets/sockets.ts';
import type { Connection } from '../../src/stack/connection.ts';
import type { Segment } from '../../src/wire/segment.ts';
import { type PairOptions, pair } from './pair.ts';
import { observe } from './segments.ts';

/** A path of 50 Mbit/s and 20 ms there and back. */
export function path(middleboxes: readonly Middlebox[] = [], options: PathOptions = {}): PathOptions {
  return { rate: mbit(50), delay: 10, middleboxes, ...options };
}

export interface ExchangeOptions extends PairOptions {
  /** Bytes in each direction; 300 000 unless given. */
  readonly size?: number;
  /** Virtual ms it may take; a minute unless given. */
  readonly until?: number;
}

/** One connection that carries `size` bytes in both directions, and what became of it at both ends. */
export function exchange(options: ExchangeOptions) {
  const size = options.size ?? 300_000;
  const both = pair(options);
  const { world, clientApp, serverApp, client, server, serverAddress } = both;
  const listener = serverApp.listen(80, { toSend: size });
  const clientEnd = clientApp.connect(0, serverAddress(0), 80, { toSend: size });
  const clientSide = client.sockets.connectionOf(clientEnd.descriptor)!;
  let serverSide: Connection | undefined;
  world.run({
    until: options.until ?? 60_000,
    condition: () => {
      const end = serverApp.ends[0];
      if (end !== undefined) serverSide ??= server.sockets.connectionOf(end.descriptor);
      return clientEnd.closed && end?.closed === true;
    },
  });
  equal(client.stack.defects.length + server.stack.defects.length, 0);
  const serverEnd: TransferEnd | undefined = serverApp.ends[0];
  return { ...both, size, listener, clientEnd, serverEnd: serverEnd!, clientSide, serverSide: serverSide! };
}

export type Exchanged = ReturnType<typeof exchange>;

/** Every byte of both directions arrived as it was sent, and both ends were closed in order. */
export function intact(result: Exchanged): void {
  for (const end of [result.clientEnd, result.serverEnd]) {
    equal(end.error, 0);
    equal(end.wrongAt, -1);
    equal(end.received, result.size);
    equal(end.closed, true);
  }
}

export interface ConnectedOptions extends Partial<Omit<PairOptions, 'family'>> {
  readonly family?: 4 | 6 | 'both';
  /** Shown every segment that arrives; the segment is valid during the call. `path` counts from 0. */
  readonly onSegment?: (now: number, fromA: boolean, segment: Segment, path: number) => void;
}

/** A connection between two sockets that do nothing by themselves; `subflows` of them are there after a second. */
export function connected(options: ConnectedOptions = {}, subflows = 2) {
  const { paths = [path(), path([], { delay: 20 })], seed = 1, family = 4 } = options;
  const endpoints = paths
    .slice(1)
    .map((_path, index) => ({ address: addressOf(family === 6 ? 6 : 4, index + 1, 1), subflow: true }));
  const both = twoHosts<SimulatedHost>({
    seed,
    paths,
    ...(family === 'both' ? {} : { family }),
    host: (name, interfaces, world) => {
      const settings =
        name === 'client' ? { endpoints, subflowLimit: 8, ...options.client } : { subflowLimit: 8, ...options.server };
      return new SimulatedHost(interfaces, world.random.derive(name), settings);
    },
  });
  const { world, client, server, serverAddress } = both;
  const { onSegment } = options;
  if (onSegment !== undefined) {
    observe(world, (fromA, segment, index) => onSegment(world.now, fromA, segment, index));
  }
  const listener = server.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  server.sockets.bind(listener, undefined, 80);
  server.sockets.listen(listener, 8);
  const near = client.sockets.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  client.sockets.connect(near, serverAddress(0, family === 6 ? 6 : 4), 80, 0);
  world.run({ until: 200 });
  // The first data proves the initial subflow: joins follow.
  client.sockets.send(near, Uint8Array.of(1), 0, 1);
  world.run({ until: 1000 });
  const far = server.sockets.accept(listener);
  ok(far >= 0);
  const target = new Uint8Array(70_000);
  equal(server.sockets.recv(far, target, 0, 10), 1);
  const clientSide = client.sockets.connectionOf(near)!;
  const serverSide = server.sockets.connectionOf(far)!;
  equal(clientSide.mptcp!.subflows.length, subflows);
  world.run({ until: 1100 });
  return { ...both, near, far, target, clientSide, serverSide };
}

import type { PathOptions } from '../../src/link/index.ts';
import { type HostSettings, SimulatedHost } from '../../src/sim/host.ts';
import { addressOf, twoHosts } from '../../src/sim/topology.ts';
import { TransferApplication } from '../../src/sim/workload.ts';

export interface PairOptions {
  readonly seed?: number;
  readonly paths: readonly PathOptions[];
  readonly client?: HostSettings;
  readonly server?: HostSettings;
  readonly family?: 4 | 6;
  readonly segmentationOffload?: boolean;
}

/** Two hosts of our stack, each with a transfer application; the client joins from its further addresses. */
export function pair(options: PairOptions) {
  let client: TransferApplication | undefined;
  let server: TransferApplication | undefined;
  const family = options.family ?? 4;
  const endpoints = options.paths
    .slice(1)
    .map((_path, index) => ({ address: addressOf(family, index + 1, 1), subflow: true }));
  const built = twoHosts<SimulatedHost>({
    seed: options.seed ?? 1,
    paths: options.paths,
    family,
    segmentationOffload: options.segmentationOffload ?? false,
    host: (name, interfaces, world) => {
      const settings =
        name === 'client' ? { endpoints, subflowLimit: 8, ...options.client } : { subflowLimit: 8, ...options.server };
      return new SimulatedHost(interfaces, world.random.derive(name), settings);
    },
    onClient: { onReady: (now, descriptor) => client!.onReady(now, descriptor) },
    onServer: { onReady: (now, descriptor) => server!.onReady(now, descriptor) },
  });
  client = new TransferApplication(built.client.sockets);
  server = new TransferApplication(built.server.sockets);
  return { ...built, clientApp: client, serverApp: server };
}

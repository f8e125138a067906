import type { Path, PathOptions } from '../link/path.ts';
import type { InterfaceAddress, InterfaceConfig, PacketHost } from '../stack/seams.ts';
import { Address } from '../wire/address.ts';
import { type HostOptions, World, type WorldHost, type WorldOptions, type WorldPath } from './world.ts';

/** Makes a host; interface ids are indexes into `interfaces`. */
export type HostFactory<Host extends PacketHost> = (
  name: string,
  interfaces: readonly InterfaceConfig[],
  world: World,
) => Host;

export interface TwoHostsOptions<Client extends PacketHost, Server extends PacketHost = Client> extends WorldOptions {
  /** The paths between them; path i has addresses 10.0.i.1 and 10.0.i.2, fd00:0:0:i::1 and fd00:0:0:i::2, i from 1. */
  readonly paths: readonly PathOptions[];
  /** Makes both hosts, unless `server` is given. */
  readonly host: HostFactory<Client>;
  readonly server?: HostFactory<Server>;
  /** Which addresses interfaces have: both unless given. */
  readonly family?: 4 | 6;
  /** Interfaces take packets of up to 64 KB, which the path cuts; false unless given. */
  readonly segmentationOffload?: boolean;
  /** Interfaces take packets with unfinished checksums; false unless given. */
  readonly checksumOffload?: boolean;
  readonly onClient?: Omit<HostOptions, 'name'>;
  readonly onServer?: Omit<HostOptions, 'name'>;
}

export interface TwoHosts<Client extends PacketHost, Server extends PacketHost = Client> {
  readonly world: World;
  readonly client: Client;
  readonly server: Server;
  readonly clientNode: WorldHost;
  readonly serverNode: WorldHost;
  /** In the order of the options; end A is the client. */
  readonly paths: readonly Path[];
  readonly worldPaths: readonly WorldPath[];
  /** The client's address on path `index`, from 0. */
  clientAddress(index: number, family?: 4 | 6): Address;
  serverAddress(index: number, family?: 4 | 6): Address;
}

/**
 * A client and a server with a path for each of their interfaces:
 *
 *     const { world, client, server } = twoHosts({ host, paths: [{ rate: mbit(30), delay: 10 }, { delay: 40 }] });
 *     world.run({ until: 1000 });
 *
 * Each destination is reached by the interface whose prefix it is in; other addresses of the peer are reached through
 * every interface alike, as from a host with several uplinks.
 */
export function twoHosts<Client extends PacketHost, Server extends PacketHost = Client>(
  options: TwoHostsOptions<Client, Server>,
): TwoHosts<Client, Server> {
  const world = new World(options);
  const makeServer = (options.server ?? options.host) as HostFactory<Server>;
  const client = options.host('client', interfacesOf(options, 1), world);
  const server = makeServer('server', interfacesOf(options, 2), world);
  const clientNode = world.addHost(client, { name: 'client', ...options.onClient });
  const serverNode = world.addHost(server, { name: 'server', ...options.onServer });
  const worldPaths = options.paths.map((path, interfaceId) =>
    world.connect({ host: clientNode, interfaceId }, { host: serverNode, interfaceId }, path),
  );
  return {
    world,
    client,
    server,
    clientNode,
    serverNode,
    worldPaths,
    paths: worldPaths.map((path) => path.links as Path),
    clientAddress: (index, family = options.family ?? 4) => addressOf(family, index, 1),
    serverAddress: (index, family = options.family ?? 4) => addressOf(family, index, 2),
  };
}

/** 10.0.i.h or fd00:0:0:i::h, where i is `index` + 1. */
export function addressOf(family: 4 | 6, index: number, host: number): Address {
  return family === 4
    ? Address.v4((10 << 24) | ((index + 1) << 8) | host)
    : new Address(6, 0xfd00_0000, index + 1, 0, host);
}

function interfacesOf(
  options: Pick<TwoHostsOptions<PacketHost>, 'paths' | 'family' | 'segmentationOffload' | 'checksumOffload'>,
  host: number,
): InterfaceConfig[] {
  return options.paths.map((path, index) => {
    const addresses: InterfaceAddress[] = [];
    if (options.family !== 6) addresses.push({ address: addressOf(4, index, host), prefixLength: 24 });
    if (options.family !== 4) addresses.push({ address: addressOf(6, index, host), prefixLength: 64 });
    return {
      name: `eth${index}`,
      mtu: path.mtu ?? 1500,
      addresses,
      segmentationOffload: options.segmentationOffload ?? false,
      checksumOffload: options.checksumOffload ?? false,
    };
  });
}

import { ipCommands } from '../../../src/node/ip-command.ts';
import { TunDevice, type TunOptions } from '../../../src/node/tun.ts';
import { connectNamespaces, Namespace, type NamespaceOptions } from './namespace.ts';

/** One path between this stack and the kernel's: a TUN device, and behind it perhaps a router's cable. */
export interface TunPath {
  readonly index: number;
  readonly device: string;
  readonly mtu: number;
  readonly prefixLength: number;
  /** Of our stack. */
  readonly localAddress: string;
  /** Of the kernel's end of the TUN device. */
  readonly kernelAddress: string;
  /** Where the kernel's peer program is reached: `kernelAddress`, or its own address behind the router. */
  readonly peerAddress: string;
}

export interface TunTopologyOptions extends NamespaceOptions {
  readonly paths?: number;
  readonly family?: 4 | 6;
  /** Put the kernel's peer into a namespace of its own behind a router, so that it has interfaces of its own. */
  readonly routed?: boolean;
  /** Bytes. Default 1500. */
  readonly mtu?: number;
}

export interface TunTopology {
  /** Where the TUN devices belong: our stack's process is started in here. */
  readonly host: Namespace;
  /** Where the kernel's peer runs; the same unless `routed`. */
  readonly peer: Namespace;
  readonly paths: readonly TunPath[];
  close(): void;
}

/**
 * Namespaces with room for `paths` TUN devices t0, t1 … between our stack and a kernel's. On each path the kernel has
 * the first address of a network of its own and we the second; replies leave by the path whose address they carry.
 * The devices are opened by the process that runs the stack, with `openPath`.
 */
export function tunTopology(options: TunTopologyOptions = {}): TunTopology {
  const count = options.paths ?? 1;
  const family = options.family ?? 4;
  const routed = options.routed ?? false;
  const host = Namespace.create('host', { ...options, forwarding: routed || (options.forwarding ?? false) });
  let peer = host;
  try {
    if (routed) peer = Namespace.create('peer', options);
    const paths: TunPath[] = [];
    for (let index = 0; index < count; index++) {
      const path: TunPath = {
        index,
        device: `t${index}`,
        mtu: options.mtu ?? 1500,
        prefixLength: family === 4 ? 24 : 64,
        localAddress: family === 4 ? `10.77.${index}.2` : `fd77:0:0:${index}::2`,
        kernelAddress: family === 4 ? `10.77.${index}.1` : `fd77:0:0:${index}::1`,
        peerAddress: routed
          ? family === 4
            ? `10.78.${index}.1`
            : `fd78:0:0:${index}::1`
          : family === 4
            ? `10.77.${index}.1`
            : `fd77:0:0:${index}::1`,
      };
      paths.push(path);
      if (routed) connectPeer(host, peer, path, family);
    }
    return {
      host,
      peer,
      paths,
      close: () => {
        if (routed) peer.close();
        host.close();
      },
    };
  } catch (error) {
    if (routed && peer !== host) peer.close();
    host.close();
    throw error;
  }
}

function connectPeer(router: Namespace, peer: Namespace, path: TunPath, family: 4 | 6): void {
  const gateway = family === 4 ? `10.78.${path.index}.254` : `fd78:0:0:${path.index}::fe`;
  connectNamespaces(
    { namespace: router, device: `r${path.index}`, address: `${gateway}/${path.prefixLength}` },
    { namespace: peer, device: `p${path.index}`, address: `${path.peerAddress}/${path.prefixLength}` },
  );
  const table = TABLE + path.index;
  const lines = [
    `route add default via ${gateway} dev p${path.index} table ${table}`,
    `rule add from ${path.peerAddress} lookup ${table}`,
    // For what has no source address yet: the first path is preferred.
    `route add default via ${gateway} dev p${path.index} metric ${100 + path.index}`,
  ];
  ipCommands(lines, [`-${family}`, '-n', peer.name]);
}

/** Number of the first path's routing table. */
const TABLE = 100;

/** Opens a path's TUN device, in the namespace that this process runs in unless `options.namespace` names another. */
export function openPath(path: TunPath, options: Omit<TunOptions, 'name' | 'addresses' | 'mtu'> = {}): TunDevice {
  const device = TunDevice.open({
    ...options,
    name: path.device,
    mtu: path.mtu,
    addresses: [`${path.kernelAddress}/${path.prefixLength}`],
  });
  try {
    const table = TABLE + path.index;
    ipCommands(
      [`route add default dev ${path.device} table ${table}`, `rule add from ${path.kernelAddress} lookup ${table}`],
      [
        path.kernelAddress.includes(':') ? '-6' : '-4',
        ...(options.namespace === undefined ? [] : ['-n', options.namespace]),
      ],
    );
    return device;
  } catch (error) {
    device.close();
    throw error;
  }
}

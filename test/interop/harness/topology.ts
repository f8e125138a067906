import type { Link } from '../../../src/link/link.ts';
import { Emulator } from '../../../src/node/emulator.ts';
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
        localAddress: family === 4 ? `10.77.${index}.2` : `fd77:${index + 1}::2`,
        kernelAddress: family === 4 ? `10.77.${index}.1` : `fd77:${index + 1}::1`,
        peerAddress: routed
          ? family === 4
            ? `10.78.${index}.1`
            : `fd78:${index + 1}::1`
          : family === 4
            ? `10.77.${index}.1`
            : `fd77:${index + 1}::1`,
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
  const gateway = family === 4 ? `10.78.${path.index}.254` : `fd78:${path.index + 1}::fe`;
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

/** One path of an emulated network between two kernels. */
export interface EmulatedPath {
  readonly index: number;
  readonly leftDevice: string;
  readonly rightDevice: string;
  readonly leftAddress: string;
  readonly rightAddress: string;
  readonly prefixLength: number;
  readonly emulator: Emulator;
  readonly forward: Link;
  readonly backward: Link;
}

export interface EmulatedPathOptions {
  /** What packets pass from left to right, and back. */
  readonly forward: Link;
  readonly backward: Link;
  /** Bytes. Default 1500. */
  readonly mtu?: number;
  /** Packets of up to 64 KB. Default false: as on a wire, which is what rates and losses of links are about. */
  readonly offload?: boolean;
}

export interface EmulatedTopology {
  readonly left: Namespace;
  readonly right: Namespace;
  readonly paths: readonly EmulatedPath[];
  close(): void;
}

/**
 * Two namespaces with a path for each pair of links: the kernels on both sides talk through this process, which plays
 * the network. Replies leave by the path whose address they carry.
 */
export function emulatedTopology(
  links: readonly EmulatedPathOptions[],
  options: NamespaceOptions & { readonly family?: 4 | 6 } = {},
): EmulatedTopology {
  const family = options.family ?? 4;
  const left = Namespace.create('left', options);
  let right = left;
  const paths: EmulatedPath[] = [];
  const close = (): void => {
    for (const path of paths) path.emulator.close();
    if (right !== left) right.close();
    left.close();
  };
  try {
    right = Namespace.create('right', options);
    for (let index = 0; index < links.length; index++) {
      const { forward, backward, mtu, offload } = links[index]!;
      const network = family === 4 ? `10.79.${index}.` : `fd79:${index + 1}::`;
      const ends = [left, right].map((namespace, side) =>
        openPath(
          {
            index,
            device: `${side === 0 ? 'l' : 'r'}${index}`,
            mtu: mtu ?? 1500,
            prefixLength: family === 4 ? 24 : 64,
            kernelAddress: `${network}${side + 1}`,
            localAddress: '',
            peerAddress: '',
          },
          { namespace: namespace.name, offload: offload ?? false },
        ),
      );
      paths.push({
        index,
        leftDevice: `l${index}`,
        rightDevice: `r${index}`,
        leftAddress: `${network}1`,
        rightAddress: `${network}2`,
        prefixLength: family === 4 ? 24 : 64,
        emulator: new Emulator(ends[0]!, ends[1]!, forward, backward),
        forward,
        backward,
      });
    }
    return { left, right, paths, close };
  } catch (error) {
    close();
    throw error;
  }
}

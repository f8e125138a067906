import type { HostPath, PathEndpoint } from '../node/userspace-host.ts';
import type { InterfaceAddress } from '../stack/seams.ts';
import { Address } from '../wire/address.ts';
import { type OptionSpec, UsageError } from './options.ts';
import { parseSize } from './units.ts';

/** `--path` of `nc` and `perf`: a TUN device that this stack uses as one of its networks. */
export const PATH_OPTION: OptionSpec = {
  value: 'NAME=ADDR/LEN,...',
  multiple: true,
  text: 'a network for our stack, as a TUN device; once for each (see below)',
};

export const PATH_HELP = `Paths:
  --path NAME=ADDR/LEN,peer=KERNELADDR[,FLAG]...

  Makes the TUN device NAME in the current network namespace. Our stack has ADDR on it; the kernel gets
  KERNELADDR/LEN, and the device is up. Without "peer=" an existing device is used as it is. The same NAME
  again adds another address, of the other family for instance. The first path's address is the first that
  connections use.

  subflow    connections of ours use the path as well; clients do so unless another flag is given
  signal     peers are told of the address, and may connect to it
  fullmesh   as subflow, to every address that the peer has
  backup     used only while no other path works
  mtu=BYTES  of the device; 1500 unless given

  Example: --path wifi=10.1.0.2/24,peer=10.1.0.1 --path lte=10.2.0.2/24,peer=10.2.0.1,backup
`;

/** One `--path` as it was written. */
interface ParsedPath {
  readonly name: string;
  readonly address: InterfaceAddress;
  readonly kernelAddress: string | undefined;
  readonly endpoint: PathEndpoint;
  readonly mtu: number | undefined;
}

export interface PathDefaults {
  /** Further paths without a flag are used for subflows. */
  readonly isClient: boolean;
  readonly offload: boolean;
  /** For devices that do not say. */
  readonly mtu?: number;
}

/** @throws UsageError for what is no path */
export function hostPaths(texts: readonly string[], defaults: PathDefaults): HostPath[] {
  const groups = new Map<string, ParsedPath[]>();
  for (const text of texts) {
    const parsed = parsePath(text);
    const group = groups.get(parsed.name);
    if (group === undefined) groups.set(parsed.name, [parsed]);
    else group.push(parsed);
  }
  const paths: HostPath[] = [];
  for (const [name, group] of groups) {
    const isFirst = paths.length === 0;
    const kernelAddresses = group.flatMap(({ kernelAddress }) => (kernelAddress === undefined ? [] : [kernelAddress]));
    const mtu = group.find((path) => path.mtu !== undefined)?.mtu ?? defaults.mtu;
    const endpoint: PathEndpoint = Object.assign({}, ...group.map((path) => path.endpoint));
    const hasRole = endpoint.signal === true || endpoint.subflow === true || endpoint.fullmesh === true;
    const isSubflow = !hasRole && !isFirst && defaults.isClient;
    if (endpoint.signal === true && endpoint.fullmesh === true) {
      throw new UsageError(`--path ${name}: signal and fullmesh exclude each other`);
    }
    paths.push({
      name,
      addresses: group.map(({ address }) => address),
      kernelAddresses,
      offload: defaults.offload,
      ...(mtu === undefined ? {} : { mtu }),
      ...(hasRole || isSubflow || endpoint.backup === true
        ? { endpoint: isSubflow ? { ...endpoint, subflow: true } : endpoint }
        : {}),
    });
  }
  return paths;
}

const FLAGS: ReadonlySet<string> = new Set(['subflow', 'signal', 'fullmesh', 'backup']);

function parsePath(text: string): ParsedPath {
  const wrong = (what: string): UsageError => new UsageError(`--path ${text}: ${what}`);
  const [head = '', ...words] = text.split(',');
  const match = /^([^=]+)=([^/]+)\/(\d+)$/.exec(head);
  if (match === null) throw wrong('expected NAME=ADDR/LEN');
  const name = match[1]!;
  if (!/^[^\s/:]{1,15}$/.test(name) || name === '.' || name === '..') throw wrong(`${name} cannot name a device`);
  const address = Address.parse(match[2]!);
  if (address === undefined) throw wrong(`${match[2]} is no IP address`);
  const prefixLength = Number(match[3]);
  if (prefixLength > (address.family === 4 ? 32 : 128)) throw wrong(`/${prefixLength} is no prefix length`);
  let kernelAddress: string | undefined;
  let mtu: number | undefined;
  const endpoint: Record<string, boolean> = {};
  for (const word of words) {
    if (FLAGS.has(word)) {
      endpoint[word] = true;
    } else if (word.startsWith('peer=')) {
      const peer = Address.parse(word.slice(5));
      if (peer === undefined) throw wrong(`${word.slice(5)} is no IP address`);
      if (peer.family !== address.family) throw wrong(`${peer} is of another family than ${address}`);
      if (peer.equals(address)) throw wrong('both ends cannot have the same address');
      kernelAddress = `${peer}/${prefixLength}`;
    } else if (word.startsWith('mtu=')) {
      mtu = parseMtu(word.slice(4), address.family);
      if (mtu === undefined) throw wrong(`${word.slice(4)} is no MTU`);
    } else {
      throw wrong(`unknown word ${word === '' ? 'between commas' : word}`);
    }
  }
  return { name, address: { address, prefixLength }, kernelAddress, endpoint, mtu };
}

/** Bytes; undefined for what no interface of that family can have. */
export function parseMtu(text: string, family: 4 | 6): number | undefined {
  const mtu = parseSize(text);
  return mtu !== undefined && mtu >= (family === 4 ? 576 : 1280) && mtu <= 65_535 ? mtu : undefined;
}

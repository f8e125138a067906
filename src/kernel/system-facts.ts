import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { release } from 'node:os';
import { foreign } from '../node/ffi.ts';
import { ipCommands } from '../node/ip-command.ts';
import { type KernelEndpoint, type KernelLimits, parseEndpoints } from './endpoints.ts';
import { readControl } from './sysctl.ts';

/** What of a Linux system decides whether Multipath TCP works: read, not judged. `diagnosis.ts` judges. */

export interface SystemFacts {
  /** `linux`, or what else. */
  readonly platform: string;
  /** `6.18.0-…`. */
  readonly release: string;
  /** By name without `net.`: `mptcp.enabled`, `ipv4.conf.eth0.rp_filter`. Missing: there is no such control. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Whether network settings may be changed (CAP_NET_ADMIN). */
  readonly isAdministrator: boolean;
  /** Undefined: `ip mptcp` cannot be asked, for the reason in `endpointsProblem`. */
  readonly endpoints: readonly KernelEndpoint[] | undefined;
  readonly limits: KernelLimits | undefined;
  readonly endpointsProblem: string | undefined;
  readonly interfaces: readonly InterfaceFacts[];
  /** Which way packets to `PROBE` go that leave from an address; by the address. */
  readonly ways: ReadonlyMap<string, Way>;
  /** The same for sockets that are bound to the device of the address, as the subflows of an endpoint with `dev` are. */
  readonly boundWays: ReadonlyMap<string, Way>;
  readonly defaultRoutes: readonly DefaultRoute[];
  /** Names of routing tables in use, as numbers or words. */
  readonly tables: ReadonlySet<string>;
  /** Programs that manage endpoints, by their process names. */
  readonly managers: readonly string[];
  readonly selinux: boolean;
  /** Why C functions cannot be called from Node, so that `mptcp/register` cannot work; undefined when they can. */
  readonly foreignProblem: string | undefined;
}

export interface InterfaceFacts {
  readonly name: string;
  readonly index: number;
  readonly isUp: boolean;
  readonly isLoopback: boolean;
  readonly addresses: readonly AddressFacts[];
}

export interface AddressFacts {
  readonly address: string;
  readonly prefixLength: number;
  readonly family: 4 | 6;
  /** `global`, `link`, `host`. */
  readonly scope: string;
  /** IPv6 addresses that change by themselves. */
  readonly isTemporary: boolean;
}

/** Where a route leads: a device, or nowhere with what the kernel says. */
export type Way = { readonly device: string; readonly gateway: string | undefined } | { readonly problem: string };

export interface DefaultRoute {
  readonly family: 4 | 6;
  readonly device: string;
  readonly gateway: string | undefined;
  readonly table: string;
}

/** Addresses that routes are asked for: of documentation (RFC 5737, RFC 3849), nobody's, so that defaults decide. */
export const PROBE = { 4: '198.51.100.1', 6: '2001:db8::1' } as const;

/** Reads the facts of the network namespace that this process is in. Needs iproute2 for most of them. */
export function readSystemFacts(): SystemFacts {
  const isLinux = process.platform === 'linux';
  const interfaces = isLinux ? readInterfaces() : [];
  const { endpoints, limits, problem } = readPathManager();
  const addresses = new Set<string>();
  for (const one of interfaces)
    for (const { address, scope } of one.addresses) if (scope === 'global') addresses.add(address);
  for (const { address } of endpoints ?? []) addresses.add(address);
  return {
    platform: process.platform,
    release: release(),
    sysctls: readSysctls(interfaces.map(({ name }) => name)),
    isAdministrator: hasNetAdmin(),
    endpoints,
    limits,
    endpointsProblem: problem,
    interfaces,
    ways: new Map([...addresses].map((address) => [address, readWay(address)])),
    boundWays: new Map(
      (endpoints ?? []).flatMap(({ address, device }) =>
        device === undefined ? [] : [[address, readWay(address, device)] as const],
      ),
    ),
    defaultRoutes: readDefaultRoutes(),
    tables: readTables(),
    managers: readManagers(),
    selinux: text('/sys/fs/selinux/enforce') === '1',
    foreignProblem: readForeign(),
  };
}

function readForeign(): string | undefined {
  try {
    foreign();
    return undefined;
  } catch (error) {
    return (error as Error).message.replace(/^ERR_NO_FFI: /, '');
  }
}

function text(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}

const MPTCP_CONTROLS = [
  'enabled',
  'path_manager',
  'pm_type',
  'scheduler',
  'checksum_enabled',
  'allow_join_initial_addr_port',
  'blackhole_timeout',
  'syn_retrans_before_tcp_fallback',
];

function readSysctls(devices: readonly string[]): Map<string, string> {
  const names = MPTCP_CONTROLS.map((name) => `mptcp.${name}`);
  for (const device of ['all', ...devices]) names.push(`ipv4.conf.${device}.rp_filter`);
  const found = new Map<string, string>();
  for (const name of names) {
    const value = readControl(`net.${name}`);
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** Bit 12 of the effective capabilities. */
export function hasNetAdmin(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(text('/proc/self/status') ?? '');
  return line !== null && ((BigInt(`0x${line[1]}`) >> 12n) & 1n) === 1n;
}

/** What `ip WORDS` prints. @throws SystemError with what it complains */
function ip(...words: string[]): string {
  return ipCommands([words.join(' ')]);
}

function ipJson(options: readonly string[], ...words: string[]): readonly Record<string, unknown>[] {
  try {
    const printed = ipCommands([words.join(' ')], ['-j', ...options]).trim();
    return printed === '' ? [] : (JSON.parse(printed) as Record<string, unknown>[]);
  } catch {
    return [];
  }
}

function readPathManager(): {
  readonly endpoints: readonly KernelEndpoint[] | undefined;
  readonly limits: KernelLimits | undefined;
  readonly problem: string | undefined;
} {
  try {
    const endpoints = parseEndpoints(ip('mptcp', 'endpoint', 'show'));
    const words = ip('mptcp', 'limits', 'show').trim().split(/\s+/);
    const after = (name: string): number => Number(words[words.indexOf(name) + 1] ?? 0);
    return {
      endpoints,
      limits: { subflows: after('subflows'), addAddrAccepted: after('add_addr_accepted') },
      problem: undefined,
    };
  } catch (error) {
    return { endpoints: undefined, limits: undefined, problem: (error as Error).message };
  }
}

export function readInterfaces(): InterfaceFacts[] {
  return ipJson([], 'address', 'show').map((one) => {
    const flags = (one.flags ?? []) as string[];
    const addresses = ((one.addr_info ?? []) as Record<string, unknown>[]).filter(({ local }) => local !== undefined);
    return {
      name: String(one.ifname),
      index: Number(one.ifindex),
      isUp: flags.includes('UP'),
      isLoopback: flags.includes('LOOPBACK'),
      addresses: addresses.map((each) => ({
        address: String(each.local),
        prefixLength: Number(each.prefixlen),
        family: each.family === 'inet6' ? (6 as const) : (4 as const),
        scope: String(each.scope),
        isTemporary: each.temporary === true,
      })),
    };
  });
}

function readWay(address: string, device?: string): Way {
  const words = ['route', 'get', PROBE[address.includes(':') ? 6 : 4], 'from', address];
  if (device !== undefined) words.push('oif', device);
  try {
    const [route] = JSON.parse(ipCommands([words.join(' ')], ['-j'])) as Record<string, unknown>[];
    if (route?.dev === undefined) return { problem: 'the kernel names no device' };
    return { device: String(route.dev), gateway: route.gateway === undefined ? undefined : String(route.gateway) };
  } catch (error) {
    return { problem: /RTNETLINK answers: ([^\n,]+)/.exec((error as Error).message)?.[1] ?? (error as Error).message };
  }
}

export function readDefaultRoutes(): DefaultRoute[] {
  const found: DefaultRoute[] = [];
  for (const family of [4, 6] as const) {
    for (const route of ipJson([`-${family}`], 'route', 'show', 'table', 'all')) {
      if (route.dst !== 'default' || route.dev === undefined || (route.type ?? 'unicast') !== 'unicast') continue;
      found.push({
        family,
        device: String(route.dev),
        gateway: route.gateway === undefined ? undefined : String(route.gateway),
        table: String(route.table ?? 'main'),
      });
    }
  }
  return found;
}

function readTables(): Set<string> {
  const found = new Set<string>();
  for (const family of ['-4', '-6']) {
    for (const route of ipJson([family], 'route', 'show', 'table', 'all')) found.add(String(route.table ?? 'main'));
    for (const rule of ipJson([family], 'rule', 'show')) found.add(String(rule.table ?? 'main'));
  }
  return found;
}

/** Processes that set endpoints; those of other network namespaces are not ours to count. */
function readManagers(): string[] {
  const own = link('/proc/self/ns/net');
  const found = new Set<string>();
  for (const entry of processes()) {
    const name = text(`/proc/${entry}/comm`);
    if (name !== 'mptcpd' && name !== 'NetworkManager') continue;
    const other = link(`/proc/${entry}/ns/net`);
    if (other === undefined || other === own) found.add(name);
  }
  return [...found];
}

function processes(): string[] {
  try {
    return readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

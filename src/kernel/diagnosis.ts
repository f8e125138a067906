import type { KernelEndpoint } from './endpoints.ts';
import type { AddressFacts, InterfaceFacts, SystemFacts, Way } from './system-facts.ts';

/** What keeps Multipath TCP from working, or from using every path, judged from the facts of a system. */

export interface Finding {
  /** One word for scripts, as `no-source-route`. */
  readonly id: string;
  /** `error`: there is no Multipath TCP, or a path is never used. `warning`: it may not be. `note`: worth knowing. */
  readonly severity: 'error' | 'warning' | 'note';
  readonly what: string;
  readonly why: string;
  /** What mends it, one command each, as root; none when only people can. */
  readonly commands: readonly string[];
}

export function diagnose(facts: SystemFacts): Finding[] {
  const basic = kernelFindings(facts);
  // Without MPTCP in the kernel nothing else matters.
  if (basic.some(({ id }) => id === 'no-linux' || id === 'no-kernel-mptcp')) return basic;
  return [
    ...basic,
    ...managerFindings(facts),
    ...endpointFindings(facts),
    ...routeFindings(facts),
    ...noteFindings(facts),
  ];
}

function kernelFindings({ platform, release, sysctls, isAdministrator }: SystemFacts): Finding[] {
  if (platform !== 'linux') {
    return [
      finding(
        'no-linux',
        'error',
        `${platform} has no Multipath TCP sockets`,
        'Programs here can use the stack of this package over emulated links, or plain TCP.',
      ),
    ];
  }
  const enabled = sysctls.get('mptcp.enabled');
  if (enabled === undefined) {
    return [
      finding(
        'no-kernel-mptcp',
        'error',
        `the running kernel ${release} has no Multipath TCP`,
        'It needs Linux 5.6 or later, built with CONFIG_MPTCP. Programs go on over TCP, or over the stack of this package: mptcp paths.',
      ),
    ];
  }
  const found: Finding[] = [];
  if (enabled === '0') {
    found.push(
      finding(
        'disabled',
        'error',
        'Multipath TCP is switched off',
        'socket(…, IPPROTO_MPTCP) fails with ENOPROTOOPT in this network namespace.',
        'sysctl -w net.mptcp.enabled=1',
      ),
    );
  }
  const [major = 0, minor = 0] = release.split('.').map(Number);
  if (major < 5 || (major === 5 && minor < 19)) {
    found.push(
      finding(
        'old-kernel',
        'warning',
        `Linux ${release} is early Multipath TCP`,
        'Before 5.19 there are no userspace path managers, fewer socket options and no fallback of single subflows.',
      ),
    );
  }
  if (!isAdministrator) {
    found.push(
      finding(
        'no-rights',
        'note',
        'this process may not change network settings',
        'It lacks CAP_NET_ADMIN: run mptcp doctor --fix as root. Using Multipath TCP needs no rights.',
      ),
    );
  }
  return found;
}

function managerFindings({ sysctls, managers, endpointsProblem }: SystemFacts): Finding[] {
  const found: Finding[] = [];
  if (endpointsProblem !== undefined) {
    found.push(finding('no-ip-mptcp', 'warning', 'endpoints cannot be read', `ip mptcp: ${endpointsProblem}`));
  }
  const isUserspace = sysctls.get('mptcp.path_manager') === 'userspace' || sysctls.get('mptcp.pm_type') === '1';
  if (isUserspace && !managers.includes('mptcpd')) {
    found.push(
      finding(
        'no-daemon',
        'error',
        'path management is left to a daemon, and none runs',
        'With net.mptcp.path_manager=userspace the kernel ignores endpoints and opens no subflow by itself.',
        sysctls.has('mptcp.path_manager') ? 'sysctl -w net.mptcp.path_manager=kernel' : 'sysctl -w net.mptcp.pm_type=0',
      ),
    );
  }
  if (!isUserspace && managers.length > 1) {
    found.push(
      finding(
        'two-managers',
        'warning',
        `${managers.join(' and ')} both set endpoints`,
        'Each removes or duplicates what the other added. In NetworkManager connection.mptcp-flags=1 (disabled) leaves them to mptcpd; or stop mptcpd.',
      ),
    );
  }
  return found;
}

function endpointFindings(facts: SystemFacts): Finding[] {
  const { endpoints, limits } = facts;
  if (endpoints === undefined || limits === undefined) return [];
  const found: Finding[] = [];
  const uplinks = uplinkAddresses(facts);
  const openers = endpoints.filter(({ flags }) => flags.includes('subflow') || flags.includes('fullmesh'));
  if (new Set(uplinks.map(({ device }) => device)).size > 1 && endpoints.length === 0) {
    found.push(
      finding(
        'no-endpoints',
        'error',
        `none of the ${uplinks.length} addresses with a way out is an endpoint`,
        'The kernel opens further subflows from endpoints only.',
        ...uplinks.map(({ device, address }) => `ip mptcp endpoint add ${address} dev ${device} subflow`),
      ),
    );
  }
  for (const endpoint of endpoints) {
    const owner = ownerOf(facts, endpoint.address);
    if (owner === undefined) {
      found.push(
        finding(
          'stale-endpoint',
          'warning',
          `endpoint ${endpoint.id} is ${endpoint.address}, which no interface has`,
          'No subflow can start from it, but it takes a place in the limits.',
          `ip mptcp endpoint delete id ${endpoint.id}`,
        ),
      );
    } else if (endpoint.device !== undefined && endpoint.device !== owner.name) {
      found.push(
        finding(
          'wrong-device',
          'error',
          `endpoint ${endpoint.id} names ${endpoint.device}, but ${endpoint.address} is on ${owner.name}`,
          'Its subflows are bound to a device that does not carry the address.',
          ...replaced(endpoint, owner.name),
        ),
      );
    } else if (!owner.isUp) {
      found.push(
        finding(
          'device-down',
          'warning',
          `endpoint ${endpoint.id} is on ${owner.name}, which is down`,
          'Nothing leaves by it.',
          `ip link set dev ${owner.name} up`,
        ),
      );
    }
  }
  const wanted = Math.min(8, openers.length);
  if (limits.subflows < wanted) {
    found.push(
      finding(
        'low-subflow-limit',
        limits.subflows === 0 ? 'error' : 'warning',
        `${openers.length} endpoints open subflows, and a connection may have ${limits.subflows} beyond its first`,
        'The limit counts subflows that are being opened too, even those that never come up.',
        `ip mptcp limits set subflow ${wanted}`,
      ),
    );
  }
  const announced = endpoints.filter(({ flags }) => flags.includes('signal'));
  for (const { id, address } of announced.filter((one) => isPrivate(one.address))) {
    found.push(
      finding(
        'private-signal',
        'warning',
        `endpoint ${id} announces ${address}, a private address`,
        'Peers outside of this network cannot reach it. Behind NAT use subflow instead of signal.',
      ),
    );
  }
  for (const { id, address } of announced.filter(({ flags }) => flags.includes('subflow'))) {
    found.push(
      finding(
        'signal-and-subflow',
        'note',
        `endpoint ${id} (${address}) both announces and opens`,
        'Servers announce (signal), clients open (subflow): with both, peers may do the same work twice.',
      ),
    );
  }
  return found;
}

function routeFindings(facts: SystemFacts): Finding[] {
  const found: Finding[] = [];
  const endpoints = new Map((facts.endpoints ?? []).map((endpoint) => [endpoint.address, endpoint]));
  const uplinks = uplinkAddresses(facts);
  const several = new Set(uplinks.map(({ device }) => device)).size > 1;
  const addresses = new Map(uplinks.map(({ device, address }) => [address, device]));
  for (const { address } of endpoints.values()) {
    const owner = ownerOf(facts, address);
    if (owner !== undefined && !owner.isLoopback) addresses.set(address, owner.name);
  }
  const taken = new Set(facts.tables);
  for (const [address, device] of addresses) {
    const endpoint = endpoints.get(address);
    if (endpoint === undefined && !several) continue;
    const family = address.includes(':') ? 6 : 4;
    if (!facts.defaultRoutes.some((route) => route.family === family)) continue;
    const way = facts.ways.get(address);
    if (way === undefined || leadsTo(way, device)) continue;
    const gateway = facts.defaultRoutes.find((route) => route.family === family && route.device === device);
    // The subflows of an endpoint with `dev` are bound to it: a route of that device is enough, whatever its metric.
    const bound = facts.boundWays.get(address);
    const isOpener = endpoint !== undefined && !endpoint.flags.includes('signal');
    if (isOpener && bound !== undefined && leadsTo(bound, device)) continue;
    const goes = 'problem' in way ? `nowhere (${way.problem})` : `by ${way.device}`;
    if (isOpener && endpoint.device === undefined && gateway !== undefined) {
      found.push(
        finding(
          'no-device',
          'error',
          `packets from ${address}, which is on ${device}, leave ${goes}`,
          `Endpoint ${endpoint.id} names no device, so that the route to the peer alone decides.`,
          ...replaced(endpoint, device),
        ),
      );
    } else {
      found.push(
        finding(
          'no-source-route',
          endpoint === undefined ? 'warning' : 'error',
          `packets from ${address}, which is on ${device}, leave ${goes}`,
          gateway === undefined
            ? `There is no default route by ${device}: add one in a table of its own, and a rule that sends what comes from ${address} there.`
            : 'A rule for the address and a table for the device give each path its own way.',
          ...(gateway === undefined ? [] : sourceRoute(facts, address, device, gateway.gateway, taken)),
        ),
      );
    }
    const filter = strictFilter(facts, device);
    if (family === 4 && filter !== undefined) {
      found.push(
        finding(
          'strict-rp-filter',
          'error',
          `${device} drops packets whose answers would leave by another device`,
          `${filter} is 1, strict (RFC 3704): what arrives for ${address} does not get through.`,
          `sysctl -w net.ipv4.conf.${device}.rp_filter=2`,
        ),
      );
    }
  }
  return found;
}

function noteFindings({ limits, endpoints, sysctls, selinux, foreignProblem }: SystemFacts): Finding[] {
  const found: Finding[] = [];
  if (limits?.addAddrAccepted === 0 && (endpoints ?? []).every(({ flags }) => !flags.includes('fullmesh'))) {
    found.push(
      finding(
        'announcements-unused',
        'note',
        'addresses that servers announce are not used',
        'The limit add_addr_accepted is 0; own endpoints are joined from all the same.',
        'ip mptcp limits set add_addr_accepted 2',
      ),
    );
  }
  if (sysctls.get('mptcp.checksum_enabled') === '1') {
    found.push(
      finding(
        'checksums',
        'note',
        'data is summed (net.mptcp.checksum_enabled=1)',
        'It finds middleboxes that change payload, and costs processor time.',
        'sysctl -w net.mptcp.checksum_enabled=0',
      ),
    );
  }
  if (selinux) {
    found.push(
      finding(
        'selinux',
        'note',
        'SELinux is enforcing',
        'Policies written for TCP sockets may refuse MPTCP ones: look for "mptcp" in the audit log.',
      ),
    );
  }
  if (foreignProblem !== undefined) {
    found.push(
      finding(
        'no-ffi',
        'warning',
        'Node programs cannot make Multipath TCP sockets by themselves',
        `mptcp/register needs a way to call C: ${foreignProblem}`,
        'npm install koffi',
      ),
    );
  }
  return found;
}

function finding(id: string, severity: Finding['severity'], what: string, why: string, ...commands: string[]): Finding {
  return { id, severity, what, why, commands };
}

/** Global addresses of devices that are up and have a default route in some table. */
function uplinkAddresses({ interfaces, defaultRoutes }: SystemFacts): { device: string; address: string }[] {
  const found: { device: string; address: string }[] = [];
  for (const { name, isUp, isLoopback, addresses } of interfaces) {
    if (!isUp || isLoopback) continue;
    for (const family of [4, 6] as const) {
      if (!defaultRoutes.some((route) => route.family === family && route.device === name)) continue;
      const usable = addresses.filter((one) => one.family === family && isUsable(one));
      // One address of a family and device makes one path.
      if (usable[0] !== undefined) found.push({ device: name, address: usable[0].address });
    }
  }
  return found;
}

const isUsable = ({ scope, isTemporary }: AddressFacts): boolean => scope === 'global' && !isTemporary;

const leadsTo = (way: Way, device: string): boolean => 'device' in way && way.device === device;

function ownerOf({ interfaces }: SystemFacts, address: string): InterfaceFacts | undefined {
  return interfaces.find(({ addresses }) => addresses.some((one) => one.address === address));
}

/** The endpoint again, with its device: one that exists cannot be given one. */
function replaced({ id, address, flags, port }: KernelEndpoint, device: string): string[] {
  const kept = flags.filter((flag) => flag !== 'implicit').join(' ');
  return [
    `ip mptcp endpoint delete id ${id}`,
    `ip mptcp endpoint add ${address}${port === undefined ? '' : ` port ${port}`} dev ${device} id ${id} ${kept}`.trimEnd(),
  ];
}

/** A table for what leaves from `address`, with the device's own network and its gateway. */
function sourceRoute(
  { interfaces }: SystemFacts,
  address: string,
  device: string,
  gateway: string | undefined,
  taken: Set<string>,
): string[] {
  const owner = interfaces.find(({ name }) => name === device);
  let table = 1000 + (owner?.index ?? 0);
  while (taken.has(String(table))) table++;
  taken.add(String(table));
  const ip = address.includes(':') ? 'ip -6' : 'ip';
  return [
    `${ip} route add default ${gateway === undefined ? '' : `via ${gateway} `}dev ${device} table ${table}`,
    `${ip} rule add from ${address} table ${table}`,
  ];
}

/** The control that makes reverse path filtering strict on `device`; undefined when it is not. The larger value counts. */
function strictFilter({ sysctls }: SystemFacts, device: string): string | undefined {
  const all = Number(sysctls.get('ipv4.conf.all.rp_filter') ?? 0);
  const own = Number(sysctls.get(`ipv4.conf.${device}.rp_filter`) ?? 0);
  if (Math.max(all, own) !== 1) return undefined;
  return `net.ipv4.conf.${own === 1 ? device : 'all'}.rp_filter`;
}

/** RFC 1918, RFC 6598 (carrier NAT), RFC 4193. */
function isPrivate(address: string): boolean {
  if (address.includes(':')) return /^f[cd]/i.test(address);
  const [first = 0, second = 0] = address.split('.').map(Number);
  if (first === 10 || (first === 192 && second === 168)) return true;
  return (first === 172 && second >= 16 && second < 32) || (first === 100 && second >= 64 && second < 128);
}

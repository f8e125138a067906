import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { diagnose } from '../../src/kernel/diagnosis.ts';
import type { InterfaceFacts, SystemFacts } from '../../src/kernel/system-facts.ts';

/** A device with one address of each family. */
function device(name: string, index: number): InterfaceFacts {
  const address = (text: string, family: 4 | 6, prefixLength: number) => ({
    address: text,
    prefixLength,
    family,
    scope: 'global',
    isTemporary: false,
  });
  return {
    name,
    index,
    isUp: true,
    isLoopback: false,
    addresses: [address(`198.18.${index}.2`, 4, 24), address(`2001:db8:${index}::2`, 6, 64)],
  };
}

/** A system where all is well: two uplinks, an endpoint on each, source routes. */
function healthy(): SystemFacts {
  const devices = [device('eth0', 2), device('wwan0', 3)];
  const ways = new Map(
    devices.flatMap(({ name, addresses }) =>
      addresses.map(({ address }) => [address, { device: name, gateway: undefined }] as const),
    ),
  );
  return {
    platform: 'linux',
    release: '6.18.0',
    sysctls: new Map([
      ['mptcp.enabled', '1'],
      ['mptcp.path_manager', 'kernel'],
      ['mptcp.pm_type', '0'],
      ['ipv4.conf.all.rp_filter', '0'],
    ]),
    isAdministrator: true,
    endpoints: devices.map(({ name, index, addresses }) => ({
      id: index,
      address: addresses[0]!.address,
      flags: ['subflow' as const],
      device: name,
      port: undefined,
    })),
    limits: { subflows: 2, addAddrAccepted: 1 },
    endpointsProblem: undefined,
    interfaces: devices,
    ways,
    boundWays: ways,
    defaultRoutes: devices.flatMap(({ name }) =>
      [4, 6].map((family) => ({ family: family as 4 | 6, device: name, gateway: undefined, table: 'main' })),
    ),
    tables: new Set(['main', 'local', '1003']),
    managers: [],
    selinux: false,
    foreignProblem: undefined,
  };
}

const ids = (changes: Partial<SystemFacts>): string[] => diagnose({ ...healthy(), ...changes }).map(({ id }) => id);
const controls = (changes: Readonly<Record<string, string>>): Partial<SystemFacts> => ({
  sysctls: new Map([...healthy().sysctls, ...Object.entries(changes)]),
});

test('K42 a system in order has no findings', () => {
  deepEqual(diagnose(healthy()), []);
});

test('K42 without MPTCP in the kernel nothing else is said', () => {
  deepEqual(ids({ platform: 'darwin' }), ['no-linux']);
  deepEqual(ids({ sysctls: new Map(), endpoints: [], limits: { subflows: 0, addAddrAccepted: 0 } }), [
    'no-kernel-mptcp',
  ]);
});

test('K42 each point by itself', () => {
  deepEqual(ids(controls({ 'mptcp.enabled': '0' })), ['disabled']);
  deepEqual(ids({ release: '5.15.0' }), ['old-kernel']);
  deepEqual(ids({ isAdministrator: false }), ['no-rights']);
  deepEqual(ids(controls({ 'mptcp.path_manager': 'userspace' })), ['no-daemon']);
  deepEqual(ids({ ...controls({ 'mptcp.pm_type': '1' }), managers: ['mptcpd'] }), [], 'a daemon that runs');
  deepEqual(ids({ managers: ['mptcpd', 'NetworkManager'] }), ['two-managers']);
  deepEqual(ids({ limits: { subflows: 1, addAddrAccepted: 1 } }), ['low-subflow-limit']);
  deepEqual(ids({ limits: { subflows: 2, addAddrAccepted: 0 } }), ['announcements-unused']);
  deepEqual(ids(controls({ 'mptcp.checksum_enabled': '1' })), ['checksums']);
  deepEqual(ids({ selinux: true }), ['selinux']);
  deepEqual(ids({ foreignProblem: 'no koffi' }), ['no-ffi']);
  deepEqual(ids({ endpoints: undefined, limits: undefined, endpointsProblem: 'no ip' }), ['no-ip-mptcp']);
});

test('K42 an endpoint that names its device needs no source route, one that does not gets it', () => {
  const { ways, endpoints } = healthy();
  const wrong = new Map([...ways, ['198.18.3.2', { device: 'eth0', gateway: undefined }] as const]);
  deepEqual(ids({ ways: wrong }), [], 'bound to wwan0');
  const unnamed = endpoints!.map((endpoint) => ({ ...endpoint, device: undefined }));
  const [finding, ...others] = diagnose({ ...healthy(), ways: wrong, boundWays: new Map(), endpoints: unnamed });
  deepEqual(others, []);
  equal(finding?.id, 'no-device');
  deepEqual(finding?.commands, [
    'ip mptcp endpoint delete id 3',
    'ip mptcp endpoint add 198.18.3.2 dev wwan0 id 3 subflow',
  ]);
});

test('K42 an address that is announced needs its own way out, in a table that nobody uses', () => {
  const { ways, endpoints } = healthy();
  const [first, second] = endpoints!;
  const found = diagnose({
    ...healthy(),
    ...controls({ 'ipv4.conf.all.rp_filter': '1' }),
    ways: new Map([...ways, ['198.18.3.2', { problem: 'Network is unreachable' }] as const]),
    endpoints: [first!, { ...second!, flags: ['signal'] }],
  });
  deepEqual(
    found.map(({ id }) => id),
    ['no-source-route', 'strict-rp-filter'],
  );
  deepEqual(found[0]!.commands, [
    'ip route add default dev wwan0 table 1004',
    'ip rule add from 198.18.3.2 table 1004',
  ]);
  ok(found[0]!.what.includes('nowhere (Network is unreachable)'));
  equal(found[1]!.commands[0], 'sysctl -w net.ipv4.conf.wwan0.rp_filter=2');
});

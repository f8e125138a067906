import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ipCommands } from '../node/ip-command.ts';
import { SystemError } from '../node/system-error.ts';
import { readControl, writeControl } from './sysctl.ts';
import {
  type DefaultRoute,
  hasNetAdmin,
  type InterfaceFacts,
  readDefaultRoutes,
  readInterfaces,
} from './system-facts.ts';

/**
 * A way to the outside for a stack in userspace, over each uplink of the system: a TUN device, an address behind it, a
 * routing table that sends what comes from that address out by the uplink alone, and masquerading. All of it is written
 * down before it is made, so that it can be taken away whatever happened in between.
 */

export interface UplinkPath {
  /** Of the TUN device. */
  readonly device: string;
  readonly uplink: string;
  /** The stack's own address, and the kernel's on the device; IPv4. */
  readonly address: string;
  readonly kernelAddress: string;
  readonly prefixLength: number;
  readonly mtu: number;
}

interface Record {
  readonly paths: readonly UplinkPath[];
  /** Commands that take everything away, in their order; each may find its work done. */
  readonly undo: readonly (readonly string[])[];
}

/** The device of each path begins so. */
const PREFIX = 'mptcp';
/** Networks of four addresses, from here on; of those that nobody should route (RFC 1918). */
const FIRST_NETWORK = [172, 31, 240, 0] as const;
const NETWORKS = 64;
const FIRST_TABLE = 4200;
const NFT_TABLE = 'mptcp_paths';

/**
 * Makes the paths, after taking away what an earlier call left.
 *
 * @param wanted names of uplinks; all that have a default route when there is none
 * @throws SystemError EPERM; ENODEV for a name without a default route, or when there is no uplink at all; ENOENT when ip or
 *   nft is missing; ERR_COMMAND or ERR_IP_COMMAND with what they say
 */
export function makeUplinkPaths(wanted: readonly string[] = []): readonly UplinkPath[] {
  removeUplinkPaths();
  if (!hasNetAdmin()) throw new SystemError('EPERM', 'paths', 'making paths takes CAP_NET_ADMIN: run as root');
  const interfaces = readInterfaces();
  const uplinks = chooseUplinks(interfaces, readDefaultRoutes(), wanted);
  const make: string[][] = [];
  const undo: string[][] = [];
  const paths: UplinkPath[] = [];
  const networks = freeNetworks(interfaces);
  let masquerade = '';
  for (const [index, { device: uplink, gateway }] of uplinks.entries()) {
    const network = networks[index];
    if (network === undefined)
      throw new SystemError('EADDRNOTAVAIL', 'paths', 'no network is left for so many uplinks');
    const [a, b, c, d] = network;
    const at = (offset: number): string => `${a}.${b}.${c}.${d + offset}`;
    const device = `${PREFIX}${index}`;
    const path = { device, uplink, address: at(2), kernelAddress: at(1), prefixLength: 30, mtu: 1500 };
    paths.push(path);
    const table = String(FIRST_TABLE + index);
    const via = gateway === undefined ? [] : ['via', gateway];
    make.push(
      ['ip', 'tuntap', 'add', 'dev', device, 'mode', 'tun'],
      ['ip', 'address', 'add', `${path.kernelAddress}/30`, 'dev', device],
      ['ip', 'link', 'set', 'dev', device, 'mtu', '1500', 'up'],
      ['ip', 'route', 'add', 'default', ...via, 'dev', uplink, 'table', table],
      ['ip', 'rule', 'add', 'from', path.address, 'lookup', table, 'priority', table],
    );
    undo.push(
      ['ip', 'rule', 'delete', 'priority', table],
      ['ip', 'route', 'flush', 'table', table],
      ['ip', 'link', 'delete', 'dev', device],
    );
    // What is forwarded enters by either; the settings of a device of ours go with it.
    const forwarding = `net.ipv4.conf.${uplink}.forwarding`;
    make.push(['sysctl', forwarding, '1'], ['sysctl', `net.ipv4.conf.${device}.forwarding`, '1']);
    undo.push(['sysctl', forwarding, readControl(forwarding) ?? '0']);
    make.push(['sysctl', `net.ipv4.conf.${device}.rp_filter`, '0']);
    masquerade += `    ip saddr ${path.address} oifname "${uplink}" masquerade\n`;
  }
  make.push([
    'nft',
    `table ip ${NFT_TABLE} {\n  chain post {\n    type nat hook postrouting priority srcnat;\n${masquerade}  }\n}\n`,
  ]);
  undo.unshift(['nft', `delete table ip ${NFT_TABLE}\n`]);
  remember({ paths, undo });
  try {
    for (const command of make) run(command);
  } catch (error) {
    removeUplinkPaths();
    throw error;
  }
  return paths;
}

/** Takes away what `makeUplinkPaths` made, as far as it is there. @returns the paths there were */
export function removeUplinkPaths(): readonly UplinkPath[] {
  const record = recall();
  if (record === undefined) return [];
  let failure: unknown;
  for (const command of record.undo) {
    try {
      run(command);
    } catch (error) {
      if ((error as SystemError).code === 'EPERM') failure = error;
      // Anything else was not there any more, or never.
    }
  }
  if (failure !== undefined) throw failure;
  rmSync(recordPath(), { force: true });
  return record.paths;
}

/** The paths that are there, of this network namespace. */
export function uplinkPaths(): readonly UplinkPath[] {
  return recall()?.paths ?? [];
}

function chooseUplinks(
  interfaces: readonly InterfaceFacts[],
  routes: readonly DefaultRoute[],
  wanted: readonly string[],
): DefaultRoute[] {
  const found: DefaultRoute[] = [];
  for (const route of routes) {
    if (route.family !== 4 || found.some(({ device }) => device === route.device)) continue;
    if (wanted.length > 0 && !wanted.includes(route.device)) continue;
    if (interfaces.find(({ name }) => name === route.device)?.isUp !== true) continue;
    found.push(route);
  }
  const missing = wanted.find((name) => !found.some(({ device }) => device === name));
  if (missing !== undefined) {
    throw new SystemError('ENODEV', 'paths', `${missing} is not there, is down, or has no IPv4 default route`);
  }
  if (found.length === 0) throw new SystemError('ENODEV', 'paths', 'no interface has an IPv4 default route');
  return found;
}

/** First addresses of networks that overlap none of the system's. */
function freeNetworks(interfaces: readonly InterfaceFacts[]): (readonly [number, number, number, number])[] {
  const taken = interfaces.flatMap(({ addresses }) =>
    addresses
      .filter(({ family }) => family === 4)
      .map(({ address, prefixLength }) => ({ number: numberOf(address), prefixLength })),
  );
  const found: (readonly [number, number, number, number])[] = [];
  const first = numberOf(FIRST_NETWORK.join('.'));
  for (let index = 0; index < NETWORKS; index++) {
    const number = first + 4 * index;
    const overlaps = taken.some(({ number: other, prefixLength }) => {
      const size = 2 ** (32 - Math.min(30, prefixLength));
      return Math.floor(number / size) === Math.floor(other / size);
    });
    if (!overlaps) found.push([number >>> 24, (number >>> 16) & 255, (number >>> 8) & 255, number & 255]);
  }
  return found;
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** One command of a record. @throws SystemError */
function run([program = '', ...words]: readonly string[]): void {
  if (program === 'ip') {
    ipCommands([words.join(' ')]);
    return;
  }
  try {
    if (program === 'sysctl') writeControl(words[0] ?? '', words[1] ?? '');
    else execFileSync('nft', ['-f', '-'], { input: words[0], stdio: ['pipe', 'ignore', 'pipe'], timeout: 10_000 });
  } catch (error) {
    const { code, stderr, message } = error as NodeJS.ErrnoException & { stderr?: Buffer };
    if (code === 'ENOENT' && program === 'nft') {
      throw new SystemError('ENOENT', program, 'the command nft (package nftables) is not installed');
    }
    const said = stderr?.toString().trim().split('\n')[0] ?? message;
    const denied = code === 'EACCES' || code === 'EPERM' || said.includes('not permitted');
    throw new SystemError(denied ? 'EPERM' : 'ERR_COMMAND', program, `${words.join(' ').trim()}: ${said}`);
  }
}

/** By network namespace: `/run` may be shared between several. */
function recordPath(): string {
  const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/net'))?.[0] ?? '0';
  return join('/run/mptcp', `paths-${namespace}.json`);
}

function remember(record: Record): void {
  try {
    mkdirSync('/run/mptcp', { recursive: true });
    writeFileSync(recordPath(), JSON.stringify(record));
  } catch (error) {
    throw new SystemError(
      (error as NodeJS.ErrnoException).code ?? 'EIO',
      'paths',
      'what is made cannot be written down in /run/mptcp',
    );
  }
}

function recall(): Record | undefined {
  try {
    return JSON.parse(readFileSync(recordPath(), 'utf8')) as Record;
  } catch {
    return undefined;
  }
}

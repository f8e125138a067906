import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** Whether tests against the kernel can run here. */
export interface Interop {
  /** For people, one line. */
  readonly description: string;
  /** A test that cannot run is a failure. */
  readonly required: boolean;
  /** What they would need and is not here. */
  readonly missing: readonly string[];
}

/** Files that tests need, commands by their names, with the Debian packages that hold them. */
const FILES = {
  ip: 'iproute2',
  setpriv: 'util-linux',
  nft: 'nftables',
  // Programs that are put onto MPTCP, and what makes static ones.
  curl: 'curl',
  python3: 'python3',
  gcc: 'gcc',
  '/usr/include/stdio.h': 'libc6-dev',
} as const;

/**
 * Looks for root, namespaces, /dev/net/tun and commands; where root may, makes and installs what is missing. Interop is
 * required when the caller, or CI, says so, or when everything it needs is here.
 */
export function prepareInterop(environment: NodeJS.ProcessEnv): Interop {
  const isDemanded = environment.MPTCP_INTEROP === 'required' || isSet(environment.CI);
  const missing: string[] = [];
  const notes: string[] = [];
  const isRoot = process.getuid?.() === 0;
  if (process.platform !== 'linux') missing.push('Linux');
  else if (!isRoot) missing.push('root');
  else {
    if (!existsSync('/dev/net/tun')) makeTunDevice(notes);
    if (!existsSync('/dev/net/tun')) missing.push('/dev/net/tun');
    const packages = lackingPackages();
    if (packages.length > 0) installPackages(packages, notes);
    for (const name of lackingPackages()) missing.push(`the Debian package ${name}`);
    if (missing.length === 0 && !canMakeNamespaces()) missing.push('the right to make network namespaces');
    const multipath = '/proc/sys/net/mptcp/enabled';
    if (!existsSync(multipath)) missing.push('a kernel with MPTCP');
  }
  const isComplete = missing.length === 0;
  const required = isDemanded || isComplete;
  const parts = [
    isComplete ? 'interop with the kernel: all there is' : `interop with the kernel: ${missing.join(', ')} missing`,
    required ? 'nothing may be skipped' : 'its tests are skipped',
    ...notes,
  ];
  return { description: parts.join('; '), required, missing };
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && value !== '' && value !== '0' && value !== 'false';
}

function lackingPackages(): string[] {
  const lacking = new Set<string>();
  for (const [file, name] of Object.entries(FILES)) {
    if (file.startsWith('/') ? !existsSync(file) : !isInstalled(file)) lacking.add(name);
  }
  return [...lacking];
}

function isInstalled(command: string): boolean {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  return folders.some((folder) => existsSync(join(folder, command)));
}

function installPackages(packages: readonly string[], notes: string[]): void {
  if (!isInstalled('apt-get')) return;
  const apt = (...words: string[]): void => {
    execFileSync('apt-get', words, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'ignore'],
      timeout: 180_000,
    });
  };
  const install = () => apt('install', '-y', '--no-install-recommends', ...packages);
  try {
    try {
      install();
    } catch {
      // Package lists of a fresh image are empty or old.
      apt('update');
      install();
    }
    notes.push(`installed ${packages.join(', ')}`);
  } catch {
    notes.push(`apt-get could not install ${packages.join(', ')}`);
  }
}

function makeTunDevice(notes: string[]): void {
  try {
    mkdirSync('/dev/net', { recursive: true });
    // Character device 10:200 (Linux Documentation/admin-guide/devices.txt).
    execFileSync('mknod', ['/dev/net/tun', 'c', '10', '200'], { stdio: 'ignore' });
    notes.push('made /dev/net/tun');
  } catch {
    notes.push('/dev/net/tun could not be made');
  }
}

function canMakeNamespaces(): boolean {
  const name = `mp-${process.pid}-check`;
  try {
    execFileSync('ip', ['netns', 'add', name], { stdio: 'ignore' });
    execFileSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { counterChanges, type KernelCounters, readKernelCounters } from '../../../src/kernel/counters.ts';
import { ipCommands } from '../../../src/node/ip-command.ts';
import { inNetworkNamespace } from '../../../src/node/network-namespace.ts';
import { type Child, type ChildOptions, startChild } from './child.ts';

export interface NamespaceOptions {
  /** Congestion control of new sockets. The kernel's default unless given. */
  readonly congestionControl?: string;
  /** Packets may pass through. Default false. */
  readonly forwarding?: boolean;
  /** Without IPv6 nothing is sent that no test asked for. Default true: with IPv6. */
  readonly ipv6?: boolean;
}

/** A network namespace of our own, with a unique name, loopback up and MPTCP on. Removed in the end, come what may. */
export class Namespace {
  readonly name: string;
  private readonly children: Child[] = [];
  private isClosed = false;

  private constructor(name: string) {
    this.name = name;
  }

  static create(label = 'ns', options: NamespaceOptions = {}): Namespace {
    hookExit();
    const name = `mp-${process.pid}-${++created}-${label}`;
    execFileSync('ip', ['netns', 'add', name], { stdio: 'pipe' });
    const namespace = new Namespace(name);
    open.add(namespace);
    try {
      namespace.configure(options);
      return namespace;
    } catch (error) {
      namespace.close();
      throw error;
    }
  }

  private configure(options: NamespaceOptions): void {
    this.ip('link set lo up');
    this.sysctl('net.mptcp.enabled', 1);
    // Several paths lead to the same host, so replies may leave by another way than requests came.
    this.sysctl('net.ipv4.conf.all.rp_filter', 0);
    this.sysctl('net.ipv4.conf.default.rp_filter', 0);
    if (options.ipv6 === false) {
      this.sysctl('net.ipv6.conf.all.disable_ipv6', 1);
      this.sysctl('net.ipv6.conf.default.disable_ipv6', 1);
    } else {
      this.sysctl('net.ipv6.conf.default.accept_dad', 0);
      this.sysctl('net.ipv6.conf.default.router_solicitations', 0);
      // No link-local addresses, and so no chatter about them.
      this.sysctl('net.ipv6.conf.default.addr_gen_mode', 1);
    }
    if (options.forwarding === true) {
      this.sysctl('net.ipv4.ip_forward', 1);
      if (options.ipv6 !== false) this.sysctl('net.ipv6.conf.all.forwarding', 1);
    }
    if (options.congestionControl !== undefined) this.setCongestionControl(options.congestionControl);
  }

  /**
   * Sets the namespace's default congestion control. `reno` works everywhere. Others only if the initial namespace
   * lists them: a namespace may not use a restricted one as its default, though a single socket of root's may.
   */
  setCongestionControl(name: string): void {
    try {
      this.sysctl('net.ipv4.tcp_congestion_control', name);
    } catch (error) {
      throw new Error(
        `the kernel refuses ${name} as default of a namespace; add it to net.ipv4.tcp_allowed_congestion_control in the ` +
          'initial namespace, or set it per socket',
        { cause: error },
      );
    }
    const actual = this.readSysctl('net.ipv4.tcp_congestion_control');
    if (actual !== name) throw new Error(`asked for congestion control ${name}, got ${actual}`);
  }

  /** Runs commands of `ip` in here. */
  ip(...lines: string[]): string {
    return ipCommands(lines, ['-n', this.name]);
  }

  sysctl(name: string, value: string | number): void {
    this.within(() => writeFileSync(sysctlPath(name), String(value)));
  }

  readSysctl(name: string): string {
    return this.within(() => readFileSync(sysctlPath(name), 'utf8').trim());
  }

  /** Runs a synchronous function of this process in here. */
  within<T>(body: () => T): T {
    return inNetworkNamespace(this.name, body);
  }

  /** Runs a program in here and returns its output. */
  run(program: string, args: readonly string[] = [], timeout = 10_000): string {
    return execFileSync('ip', ['netns', 'exec', this.name, program, ...args], {
      encoding: 'utf8',
      timeout,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** Counters of this namespace by nstat's names. */
  counters(): KernelCounters {
    return this.within(readKernelCounters);
  }

  /** What the counters gained since `before`. */
  countersSince(before: KernelCounters): Map<string, number> {
    return counterChanges(before, this.counters());
  }

  /** Starts a module that serves calls (`serve` in child.ts) as a process in here. */
  async start(modulePath: string | URL, args: readonly string[] = [], options: ChildOptions = {}): Promise<Child> {
    const child = startChild(modulePath, args, { ...options, prefix: ['ip', 'netns', 'exec', this.name] });
    this.children.push(child);
    await child.ready();
    return child;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    open.delete(this);
    for (const child of this.children) child.kill();
    try {
      execFileSync('ip', ['netns', 'delete', this.name], { stdio: 'ignore' });
    } catch {
      // It has gone already; there is nothing left to give back.
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Starts the kernel peer program (kernel-peer.ts) in the namespace. */
export function startKernelPeer(namespace: Namespace, options: ChildOptions = {}): Promise<Child> {
  return namespace.start(new URL('./kernel-peer.ts', import.meta.url), [], options);
}

export interface VethOptions {
  readonly mtu?: number;
  /** False: single segments as on a wire. Default: the kernel's large ones, of up to 64 KB. */
  readonly offload?: boolean;
}

/** A cable between two namespaces: `address` with prefix length on each end, both up. */
export function connectNamespaces(
  left: { namespace: Namespace; device: string; address: string },
  right: { namespace: Namespace; device: string; address: string },
  options: VethOptions = {},
): void {
  left.namespace.ip(`link add ${left.device} type veth peer name ${right.device} netns ${right.namespace.name}`);
  for (const end of [left, right]) {
    end.namespace.ip(
      `address add ${end.address} dev ${end.device}${end.address.includes(':') ? ' nodad' : ''}`,
      `link set dev ${end.device} mtu ${options.mtu ?? 1500} up`,
    );
    if (options.offload === false) {
      end.namespace.ip(`link set dev ${end.device} gso_max_segs 1`);
    }
  }
}

function sysctlPath(name: string): string {
  return `/proc/sys/${name.replaceAll('.', '/')}`;
}

const open = new Set<Namespace>();
let created = 0;
let hooked = false;

function hookExit(): void {
  if (hooked) return;
  hooked = true;
  process.on('exit', () => {
    for (const namespace of [...open]) namespace.close();
  });
  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.once(signal, () => process.exit(128 + number));
  }
}

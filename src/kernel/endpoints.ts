import { ipCommands } from '../node/ip-command.ts';

/** The in-kernel path manager's endpoints and limits, of this network namespace, through `ip mptcp`. */

export type EndpointFlag = 'signal' | 'subflow' | 'backup' | 'fullmesh' | 'laminar' | 'implicit';

export interface KernelEndpoint {
  readonly address: string;
  readonly id: number;
  readonly flags: readonly EndpointFlag[];
  readonly device: string | undefined;
  readonly port: number | undefined;
}

export interface KernelLimits {
  /** Additional subflows per connection. */
  readonly subflows: number;
  /** Announced addresses that a connection accepts. */
  readonly addAddrAccepted: number;
}

export interface AddEndpointOptions {
  readonly address: string;
  readonly flags: readonly EndpointFlag[];
  readonly device?: string;
  readonly id?: number;
  /** Only with `signal`. */
  readonly port?: number;
}

/** @throws SystemError EPERM, ENOENT (no `ip`), or ERR_IP_COMMAND with what the command says */
export function addEndpoint(options: AddEndpointOptions): void {
  const words = ['mptcp endpoint add', options.address];
  if (options.port !== undefined) words.push(`port ${options.port}`);
  if (options.device !== undefined) words.push(`dev ${options.device}`);
  if (options.id !== undefined) words.push(`id ${options.id}`);
  ipCommands([[...words, ...options.flags].join(' ')]);
}

/** An endpoint of id 0, which connections have for their first address, is named by its address as well. */
export function removeEndpoint(id: number, address?: string): void {
  ipCommands([`mptcp endpoint delete id ${id}${address === undefined ? '' : ` ${address}`}`]);
}

/** Sets or clears `backup` or `fullmesh`; connections that exist follow. */
export function changeEndpoint(id: number, change: 'backup' | 'nobackup' | 'fullmesh' | 'nofullmesh'): void {
  ipCommands([`mptcp endpoint change id ${id} ${change}`]);
}

export function setLimits(limits: Partial<KernelLimits>): void {
  const words = ['mptcp limits set'];
  if (limits.subflows !== undefined) words.push(`subflow ${limits.subflows}`);
  if (limits.addAddrAccepted !== undefined) words.push(`add_addr_accepted ${limits.addAddrAccepted}`);
  ipCommands([words.join(' ')]);
}

/** Reads lines such as `10.0.0.1 port 80 id 1 signal dev eth0`. */
export function parseEndpoints(text: string): KernelEndpoint[] {
  const found: KernelEndpoint[] = [];
  for (const line of text.split('\n')) {
    const words = line.trim().split(/\s+/);
    const address = words[0];
    if (address === undefined || address === '') continue;
    const after = (name: string): string | undefined => {
      const at = words.indexOf(name);
      return at < 0 ? undefined : words[at + 1];
    };
    const port = after('port');
    found.push({
      address,
      id: Number(after('id') ?? 0),
      flags: FLAGS.filter((flag) => words.includes(flag)),
      device: after('dev'),
      port: port === undefined ? undefined : Number(port),
    });
  }
  return found;
}

const FLAGS: readonly EndpointFlag[] = ['signal', 'subflow', 'backup', 'fullmesh', 'laminar', 'implicit'];

import { readFileSync } from 'node:fs';
import net from 'node:net';
import type { Backend, Multipath, MultipathControl, MultipathOptions, SubflowState } from '../api/multipath.ts';
import type { MptcpInfo, SubflowAddresses, TcpInfo } from '../kernel/socket-info.ts';
import {
  descriptorOf,
  mptcpInfo,
  socketProtocol,
  subflowAddresses,
  subflowTcpInfo,
  tcpInfo,
} from '../kernel/sockets.ts';
import { multipathRefusal } from '../kernel/tcp-handle.ts';
import { SystemError } from '../node/system-error.ts';

/**
 * The paths of a socket of Node's, as the kernel tells of them: of any TCP socket, whoever made it, without privileges.
 *
 * @param asked what the program wanted; what of it the kernel cannot do is in `unsupported`
 * @returns the same object each time; undefined for what is no TCP socket (yet), and where the kernel cannot be asked
 */
export function kernelMultipath(socket: net.Socket, asked: MultipathOptions = {}): Multipath | undefined {
  const known = multipaths.get(socket);
  if (known !== undefined) return known;
  let backend: Backend;
  try {
    const protocol = socketProtocol(socket);
    if (protocol === undefined) return undefined;
    backend = protocol === 'mptcp' ? 'kernel' : 'tcp';
  } catch {
    return undefined;
  }
  const multipath = new KernelMultipath(socket, backend, asked);
  multipaths.set(socket, multipath);
  return multipath;
}

const multipaths = new WeakMap<net.Socket, KernelMultipath>();

class KernelMultipath implements Multipath {
  readonly backend: Backend;
  private readonly socket: net.Socket;
  private readonly asked: MultipathOptions;
  private lastToken: number | undefined;
  private lastFallback: string | null = null;
  /** Numbers of subflows by their addresses: the kernel's own numbers are not told by every version of it. */
  private readonly numbers = new Map<string, number>();
  /** How many subflows were seen so far. */
  private appeared = 0;

  constructor(socket: net.Socket, backend: Backend, asked: MultipathOptions) {
    this.socket = socket;
    this.backend = backend;
    this.asked = asked;
    this.ask();
  }

  /** Undefined for plain TCP, and for a socket that is closed. */
  private ask(): MptcpInfo | undefined {
    if (this.backend === 'tcp') {
      this.lastFallback ??= plainReason(this.socket);
      return undefined;
    }
    if (!isOpen(this.socket)) return undefined;
    try {
      const info = mptcpInfo(this.socket);
      if (info === undefined || info.fallback) {
        this.lastFallback = this.socket.connecting ? null : NOT_SPOKEN;
        this.lastToken = undefined;
        return undefined;
      }
      this.lastFallback = null;
      this.lastToken = info.token === 0 ? undefined : info.token;
      return info;
    } catch {
      // Closed between the two lines.
      return undefined;
    }
  }

  get version(): number {
    this.ask();
    return this.lastFallback === null ? 1 : 0;
  }

  get token(): number | undefined {
    this.ask();
    return this.lastToken;
  }

  get fallback(): string | null {
    this.ask();
    return this.lastFallback;
  }

  get subflows(): readonly SubflowState[] {
    if (!isOpen(this.socket)) return [];
    try {
      return this.ask() === undefined ? this.single() : this.several();
    } catch {
      return [];
    }
  }

  private several(): SubflowState[] {
    const addresses = subflowAddresses(this.socket);
    const figures = subflowTcpInfo(this.socket);
    // Two questions: between them a subflow may have come or gone, and then nobody knows whose figures are whose.
    const match = figures.length === addresses.length;
    const keys = addresses.map(keyOf);
    for (const key of this.numbers.keys()) if (!keys.includes(key)) this.numbers.delete(key);
    return addresses.map((pair, index) => this.subflow(pair, keys[index]!, match ? figures[index] : undefined));
  }

  private single(): SubflowState[] {
    const { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily } = this.socket;
    if (localAddress === undefined || remoteAddress === undefined) return [];
    const pair = {
      local: { address: localAddress, port: localPort ?? 0, family: family(localFamily) },
      peer: { address: remoteAddress, port: remotePort ?? 0, family: family(remoteFamily) },
    };
    return [this.subflow(pair, keyOf(pair), tcpInfo(this.socket))];
  }

  private subflow(pair: SubflowAddresses, key: string, figures: TcpInfo | undefined): SubflowState {
    let id = this.numbers.get(key);
    if (id === undefined) {
      id = this.appeared + 1;
      this.appeared = id;
      this.numbers.set(key, id);
    }
    const retransmitted = figures?.bytesRetransmitted ?? 0;
    return {
      id,
      local: pair.local,
      remote: pair.peer,
      backup: undefined,
      state: stateOf(figures?.state ?? ESTABLISHED),
      srtt: figures?.roundTripTime ?? 0,
      cwnd: (figures?.congestionWindow ?? 0) * (figures?.sentMss ?? 0),
      bytesSent: figures?.bytesSent ?? 0,
      bytesReceived: figures?.bytesReceived ?? 0,
      bytesRetransmitted: retransmitted,
      reason: undefined,
    };
  }

  get bytesSent(): number {
    return this.ask()?.bytesSent ?? this.socket.bytesWritten;
  }

  get bytesReceived(): number {
    return this.ask()?.bytesReceived ?? this.socket.bytesRead;
  }

  get bytesRetransmitted(): number {
    return this.ask()?.bytesRetransmitted ?? 0;
  }

  get unsupported(): readonly string[] {
    const { purpose, scheduler, host } = this.asked;
    const found = [CONTROL];
    if (purpose === 'redundant') found.push('purpose redundant: the scheduler of the kernel sends nothing twice');
    if (purpose === 'handover') {
      found.push(
        'purpose handover: which paths stand by is set for all connections alike (ip mptcp endpoint change id … backup)',
      );
    }
    if (scheduler !== undefined && scheduler !== kernelScheduler()) {
      found.push(
        `scheduler ${scheduler}: the kernel has one for the whole network namespace (sysctl net.mptcp.scheduler)`,
      );
    }
    if (host !== undefined) found.push('host: this connection is not carried by a stack of this package');
    return found;
  }

  addSubflow(options: Parameters<MultipathControl['addSubflow']>[0]): Promise<void> {
    return refuse('addSubflow', `ip mptcp endpoint add ${options.localAddress} subflow`);
  }

  removeSubflow(_id: number): Promise<void> {
    return refuse('removeSubflow', 'ip mptcp endpoint delete');
  }

  setBackup(_id: number, backup: boolean): Promise<void> {
    return refuse('setBackup', `ip mptcp endpoint change id … ${backup ? 'backup' : 'nobackup'}`);
  }

  announce(address: string, port?: number): Promise<void> {
    const suffix = port === undefined ? '' : ` port ${port}`;
    return refuse('announce', `ip mptcp endpoint add ${address}${suffix} signal`);
  }
}

const CONTROL =
  'subflows of one connection: the path manager of the kernel decides for all connections of the network namespace ' +
  'alike (ip mptcp endpoint, ip mptcp limits)';
const NOT_SPOKEN = 'the peer does not speak MPTCP, or something on the way took its options away';

function refuse(call: string, instead: string): Promise<never> {
  const detail = `the kernel cannot do this for one connection alone; for all of the network namespace: ${instead}`;
  return Promise.reject(new SystemError('ENOTSUP', call, detail));
}

/** Why a socket that is no MPTCP socket is none. */
function plainReason(socket: net.Socket): string {
  const { server } = socket as unknown as { server?: unknown };
  if (server instanceof net.Server && isMultipathListener(server)) {
    return 'the client did not ask for MPTCP, or something on the way took its options away';
  }
  return multipathRefusal() ?? 'the socket was made for plain TCP';
}

function isMultipathListener(server: net.Server): boolean {
  try {
    return socketProtocol(server as unknown as net.Socket) === 'mptcp';
  } catch {
    return false;
  }
}

function isOpen(socket: net.Socket): boolean {
  try {
    descriptorOf(socket);
    return true;
  } catch {
    return false;
  }
}

function kernelScheduler(): string | undefined {
  try {
    return readFileSync('/proc/sys/net/mptcp/scheduler', 'utf8').trim();
  } catch {
    return undefined;
  }
}

function keyOf({ local, peer }: SubflowAddresses): string {
  return `${local.address} ${local.port} ${peer.address} ${peer.port}`;
}

function family(name: string | undefined): 'IPv4' | 'IPv6' {
  return name === 'IPv6' ? 'IPv6' : 'IPv4';
}

const ESTABLISHED = 1;
const SYN_SENT = 2;
const SYN_RECEIVED = 3;
const CLOSED = 7;

function stateOf(state: number): SubflowState['state'] {
  if (state === ESTABLISHED) return 'established';
  if (state === SYN_SENT || state === SYN_RECEIVED) return 'connecting';
  return state === CLOSED ? 'closed' : 'closing';
}

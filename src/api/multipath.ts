/**
 * What a program says of the paths it wants and is told of those it has: the same words whichever stack carries the
 * connection. Interfaces alone; who can do what says `MultipathState.unsupported`.
 */

/** Who carries a connection: Linux's MPTCP sockets, the stack of this package, or plain TCP of the system. */
export type Backend = 'kernel' | 'userspace' | 'tcp';

/**
 * What the paths are for. `handover`: one carries the data, the others stand by. `interactive`: the quickest of those
 * that work. `aggregate`: all at once. `redundant`: everything on each.
 */
export type Purpose = 'handover' | 'interactive' | 'aggregate' | 'redundant';

/** What `multipath` of a socket or server may be: `true` is `{}`, `false` plain TCP, a word `{ purpose }`. */
export type MultipathChoice<Host = unknown> = boolean | Purpose | MultipathOptions<Host>;

export interface MultipathOptions<Host = unknown> {
  /** Default `auto`: the given `host`, else the kernel where it has MPTCP, else plain TCP. */
  readonly backend?: Backend | 'auto';
  /** Default: what the backend does by itself. */
  readonly purpose?: Purpose;
  /** A host of this package's stack: implies `backend: 'userspace'`; with `tcp` its stack carries plain TCP. */
  readonly host?: Host;
  /** Name of a scheduler of the stack. */
  readonly scheduler?: string;
  /** Name of a congestion control, such as `cubic` or `reno`. */
  readonly congestionControl?: string;
  /** An error, ERR_MPTCP_FALLBACK, instead of a connection that is plain TCP. Default false. */
  readonly required?: boolean;
}

/** One subflow as it is now. Times in milliseconds, sizes in bytes. */
export interface SubflowState {
  /** Number within the connection, from 1 in the order of appearance. */
  readonly id: number;
  readonly local: SubflowAddress;
  readonly remote: SubflowAddress;
  /** Used while no other works. Undefined where the backend does not tell. */
  readonly backup: boolean | undefined;
  readonly state: 'connecting' | 'established' | 'closing' | 'closed';
  /** Smoothed round trip time; 0 before the first measurement. */
  readonly srtt: number;
  readonly cwnd: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly bytesRetransmitted: number;
  /** Why it ended; undefined while it lives, or where the backend does not tell. */
  readonly reason: string | undefined;
}

export interface SubflowAddress {
  readonly address: string;
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6';
}

/** What `socket.multipath` says. A snapshot each time that it is asked. */
export interface MultipathState {
  readonly backend: Backend;
  /** Version of the protocol: 1 (RFC 8684), or 0 for plain TCP. */
  readonly version: number;
  /** Of the local side (RFC 8684 §3.2); undefined for plain TCP. */
  readonly token: number | undefined;
  /** Why the connection is plain TCP; null while it is multipath. */
  readonly fallback: string | null;
  readonly subflows: readonly SubflowState[];
  /** Bytes of the stream, each counted once whatever the number of its copies. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Bytes of the stream that went out again at data level. */
  readonly bytesRetransmitted: number;
  /** What this backend cannot do of what was asked for, and of what `multipath` offers; a sentence each. */
  readonly unsupported: readonly string[];
}

/** What can be done to the paths of a connection. Each rejects with ENOTSUP where the backend cannot. */
export interface MultipathControl {
  /** Opens a subflow from a local address, to the peer's address or one that it announced. */
  addSubflow(options: {
    readonly localAddress: string;
    readonly remoteAddress?: string;
    readonly backup?: boolean;
  }): Promise<void>;
  removeSubflow(id: number): Promise<void>;
  /** Asks the peer to use the subflow as a backup, or not to, and does so here (MP_PRIO, RFC 8684 §3.3.8). */
  setBackup(id: number, backup: boolean): Promise<void>;
  /** Tells the peer of an address of ours (ADD_ADDR, RFC 8684 §3.4.1). */
  announce(address: string, port?: number): Promise<void>;
}

export interface Multipath extends MultipathState, MultipathControl {}

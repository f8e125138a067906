import type { ConnectionInfo, PathInfo } from '../sockets/info.ts';
import { table } from './table.ts';
import { formatBytes, formatMilliseconds, formatShare } from './units.ts';

/** One subflow's figures, whoever's stack it was. Bytes and ms; NaN for what is not known. */
export interface PathFigures {
  /** Name of the path, or the local address. */
  readonly name: string;
  readonly local: string;
  readonly peer: string;
  readonly backup: boolean;
  readonly state: string;
  readonly sent: number;
  readonly received: number;
  readonly roundTrip: number;
  readonly congestionWindow: number;
  /** Bytes sent again on this path. */
  readonly retransmitted: number;
}

/** Names the path that owns a local address. */
export type PathNames = (localAddress: string) => string | undefined;

/** Keeps the figures of every subflow that a connection ever had, the last ones of those that are gone. */
export class PathLedger {
  private readonly names: PathNames;
  private readonly byId = new Map<number, PathFigures>();

  constructor(names: PathNames) {
    this.names = names;
  }

  update(info: ConnectionInfo | undefined): void {
    if (info === undefined) return;
    for (const path of info.paths) this.byId.set(path.id, this.figuresOf(path));
  }

  get figures(): readonly PathFigures[] {
    return [...this.byId.values()];
  }

  private figuresOf(path: PathInfo): PathFigures {
    const before = this.byId.get(path.id);
    // A subflow that ended has no sender any more: its last figures stand.
    const isOver = path.segmentSize === 0 && before !== undefined;
    return {
      name: this.names(path.local) ?? path.local,
      local: withPort(path.local, path.localPort),
      peer: withPort(path.peer, path.peerPort),
      backup: path.backup,
      state: path.state,
      sent: path.sent,
      received: path.received,
      roundTrip: isOver ? before.roundTrip : path.smoothedRtt,
      congestionWindow: isOver ? before.congestionWindow : path.congestionWindow,
      retransmitted: isOver ? before.retransmitted : path.retransmitted,
    };
  }
}

export function withPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** One line for each subflow. */
export function pathTable(paths: readonly PathFigures[], indent = ''): string {
  const sent = paths.reduce((sum, path) => sum + path.sent, 0);
  const received = paths.reduce((sum, path) => sum + path.received, 0);
  const rows = paths.map((path) => [
    path.name === path.local.replace(/:\d+$/, '').replace(/[[\]]/g, '') ? '' : path.name,
    path.local,
    path.peer,
    formatBytes(path.sent),
    formatShare(path.sent, sent),
    formatBytes(path.received),
    formatShare(path.received, received),
    path.roundTrip > 0 ? formatMilliseconds(path.roundTrip) : '-',
    path.congestionWindow > 0 ? formatBytes(path.congestionWindow) : '-',
    Number.isNaN(path.retransmitted) ? '-' : formatBytes(path.retransmitted),
    [path.state, ...(path.backup ? ['backup'] : [])].join(', '),
  ]);
  const heads = ['path', 'local', 'peer', 'sent', 'share', 'received', 'share', 'rtt', 'cwnd', 'resent', 'state'];
  const isNamed = rows.some((row) => row[0] !== '');
  return isNamed
    ? table(heads, rows, indent)
    : table(
        heads.slice(1),
        rows.map((row) => row.slice(1)),
        indent,
      );
}

import type { ConnectionInfo, PathInfo } from '../sockets/info.ts';
import { table } from './table.ts';
import { formatBytes, formatMilliseconds, formatRate, formatShare } from './units.ts';

/** One subflow's figures, whosever stack it was. Bytes and ms; NaN for what is not known. */
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
  private readonly byTuple = new Map<string, PathFigures>();

  constructor(names: PathNames) {
    this.names = names;
  }

  update(info: ConnectionInfo | undefined): void {
    if (info === undefined) return;
    for (const path of [...info.past, ...info.paths]) {
      const key = `${path.local} ${path.localPort} ${path.peer} ${path.peerPort}`;
      this.byTuple.set(key, this.figuresOf(path));
    }
  }

  get figures(): readonly PathFigures[] {
    return [...this.byTuple.values()];
  }

  private figuresOf(path: PathInfo): PathFigures {
    return {
      name: this.names(path.local) ?? path.local,
      local: withPort(path.local, path.localPort),
      peer: withPort(path.peer, path.peerPort),
      backup: path.backup,
      state: path.state,
      sent: path.sent,
      received: path.received,
      roundTrip: path.smoothedRtt,
      congestionWindow: path.congestionWindow,
      retransmitted: path.retransmitted,
    };
  }
}

export function withPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/**
 * One line for each subflow.
 *
 * @param directions to show @param milliseconds that the figures are of; 0: no rates
 */
export function pathTable(
  paths: readonly PathFigures[],
  directions: readonly ('sent' | 'received')[],
  milliseconds = 0,
  indent = '',
): string {
  const columns: { head: string; cells: string[] }[] = [];
  const add = (head: string, cell: (path: PathFigures) => string): void => {
    columns.push({ head, cells: paths.map(cell) });
  };
  if (paths.some((path) => !path.local.includes(path.name))) add('path', (path) => path.name);
  add('local', (path) => path.local);
  add('peer', (path) => path.peer);
  for (const direction of directions) {
    const whole = paths.reduce((sum, path) => sum + path[direction], 0);
    add(direction, (path) => formatBytes(path[direction]));
    if (milliseconds > 0) add('rate', (path) => formatRate(path[direction], milliseconds));
    add('share', (path) => formatShare(path[direction], whole));
  }
  add('rtt', (path) => (path.roundTrip > 0 ? formatMilliseconds(path.roundTrip) : '-'));
  add('cwnd', (path) => (path.congestionWindow > 0 ? formatBytes(path.congestionWindow) : '-'));
  add('resent', (path) => (Number.isNaN(path.retransmitted) ? '-' : formatBytes(path.retransmitted)));
  add('state', (path) => [path.state, ...(path.backup ? ['backup'] : [])].join(', '));
  return table(
    columns.map(({ head }) => head),
    paths.map((_, row) => columns.map(({ cells }) => cells[row]!)),
    indent,
  );
}

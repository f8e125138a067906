import { dropped } from '../link/counters.ts';
import type { Link } from '../link/link.ts';
import { Direction } from '../link/path.ts';
import type { World } from './world.ts';

/** Figures of one direction of one path. */
export interface LinkReport {
  readonly path: string;
  readonly from: string;
  readonly to: string;
  readonly sent: number;
  readonly received: number;
  readonly receivedBytes: number;
  /** Of all reasons together. */
  readonly dropped: number;
  readonly queueFull: number;
  readonly lost: number;
  readonly down: number;
  readonly tooBig: number;
  readonly filtered: number;
  readonly reordered: number;
  readonly duplicated: number;
  readonly corrupted: number;
  /** Share of the time that the transmitter was busy, 0 to 1; NaN for a link without one. */
  readonly utilisation: number;
  /** The longest that its queue has been, in bytes. */
  readonly maxQueue: number;
  /** Bytes of IP packets that came out per millisecond. */
  readonly throughput: number;
}

export interface WorldReport {
  /** Milliseconds of the world's time. */
  readonly duration: number;
  readonly events: number;
  readonly delivered: number;
  readonly digest: string;
  readonly links: readonly LinkReport[];
}

/** The figures of a world's run so far. */
export function report(world: World): WorldReport {
  const links: LinkReport[] = [];
  for (const path of world.paths) {
    links.push(linkReport(path.name, path.a.host.name, path.b.host.name, path.links.aToB, world.now));
    links.push(linkReport(path.name, path.b.host.name, path.a.host.name, path.links.bToA, world.now));
  }
  const { events, delivered } = world.counters;
  return { duration: world.now, events, delivered, digest: world.digest(), links };
}

function linkReport(path: string, from: string, to: string, link: Link, duration: number): LinkReport {
  const { sent, received, receivedBytes, queueFull, lost, down, tooBig, filtered } = link.counters;
  const { reordered, duplicated, corrupted } = link.counters;
  const transmitter = link instanceof Direction ? link.transmitter : null;
  return {
    path,
    from,
    to,
    sent,
    received,
    receivedBytes,
    dropped: dropped(link.counters),
    queueFull,
    lost,
    down,
    tooBig,
    filtered,
    reordered,
    duplicated,
    corrupted,
    utilisation: transmitter === null || duration === 0 ? Number.NaN : transmitter.busyTime / duration,
    maxQueue: transmitter === null ? 0 : transmitter.maxQueuedBytes,
    throughput: duration === 0 ? 0 : receivedBytes / duration,
  };
}

/** Mbit/s of so many bytes in so many milliseconds: what a table shows of a transfer. */
export function goodput(bytes: number, duration: number): number {
  return duration === 0 ? 0 : (bytes * 8) / duration / 1000;
}

/** A report as a table of text, a link a line. */
export function printReport(figures: WorldReport): string {
  const rows = figures.links.map((link) => [
    link.path,
    `${link.from} > ${link.to}`,
    String(link.sent),
    String(link.received),
    String(link.dropped),
    goodput(link.receivedBytes, figures.duration).toFixed(2),
    Number.isNaN(link.utilisation) ? '-' : `${(link.utilisation * 100).toFixed(0)} %`,
    String(link.maxQueue),
  ]);
  const table = printTable(['path', 'direction', 'sent', 'received', 'dropped', 'Mbit/s', 'busy', 'max queue'], rows);
  return `${table}${figures.duration.toFixed(1)} ms, ${figures.delivered} packets delivered, digest ${figures.digest}\n`;
}

/** Columns as wide as their widest cell, numbers to the right. */
export function printTable(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) =>
        /^[\d.,-]+( %)?$/.test(cell) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd();
  return `${[line(heads), ...rows.map(line)].join('\n')}\n`;
}

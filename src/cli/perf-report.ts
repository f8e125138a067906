import { pathTable } from './path-figures.ts';
import { Direction } from './perf-protocol.ts';
import type { PerfAmount, PerfStream } from './perf-stream.ts';
import { pairs, table } from './table.ts';
import type { Terminal } from './terminal.ts';
import { formatBytes, formatCount, formatRate } from './units.ts';

export interface ReportOptions {
  readonly role: 'client' | 'server';
  readonly backend: string;
  readonly json: boolean;
  /** Milliseconds; 0: no lines. */
  readonly interval: number;
}

/** Bytes of one connection and direction in one interval. */
interface IntervalRow {
  readonly id: number;
  readonly direction: 'up' | 'down';
  readonly bytes: number;
}

interface Interval {
  /** Milliseconds since the beginning. */
  readonly from: number;
  readonly to: number;
  readonly rows: readonly IntervalRow[];
}

/** Milliseconds between two looks at the subflows. */
const WATCH_INTERVAL = 200;

/** What one test prints: a line for each connection and interval, then sums, subflows and counters; or JSON. */
export class PerfReport {
  private readonly terminal: Terminal;
  private readonly options: ReportOptions;
  private streams: readonly PerfStream[] = [];
  private readonly intervals: Interval[] = [];
  private readonly before = new Map<PerfStream, { sent: number; received: number }>();
  private beganAt = 0;
  private lastAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private watch: NodeJS.Timeout | undefined;
  private cpu = process.cpuUsage();
  private elapsed = 0;

  constructor(terminal: Terminal, options: ReportOptions) {
    this.terminal = terminal;
    this.options = options;
  }

  /** @param streams the test's connections; more may join the list */
  begin(streams: readonly PerfStream[]): void {
    this.streams = streams;
    this.beganAt = performance.now();
    this.lastAt = this.beganAt;
    this.cpu = process.cpuUsage();
    const { interval, json } = this.options;
    if (interval > 0) this.timer = setInterval(() => this.tick(), interval);
    // Subflows come and go: their figures are kept while they can be had.
    this.watch = setInterval(() => this.look(), WATCH_INTERVAL);
    if (json) return;
    const { connection, header } = streams[0]!;
    const { multipath, fallback } = connection.look();
    const count = header!.connections;
    const what = [
      `${count} ${multipath ? 'Multipath TCP' : 'TCP'} connection${count === 1 ? '' : 's'}${fallback === undefined ? '' : ` (${fallback})`}`,
      directionText(header!.directions, this.options.role),
      header!.duration > 0
        ? `${header!.duration / 1000} s`
        : `${formatBytes(header!.bytes)}${count === 1 ? '' : ' each'}`,
      `${this.options.backend} stack`,
    ];
    const peer = this.options.role === 'client' ? `to ${connection.peer}` : `from ${connection.peer}`;
    this.terminal.write(`${this.terminal.bold(peer)}: ${what.join(', ')}\n`);
  }

  stop(): void {
    clearInterval(this.timer);
    clearInterval(this.watch);
    // What came after the last whole interval, if that is worth a line.
    const { interval } = this.options;
    if (this.timer !== undefined && performance.now() - this.lastAt > interval / 10) this.tick(true);
    this.timer = undefined;
    this.elapsed = performance.now() - this.beganAt;
  }

  private look(): void {
    for (const stream of this.streams) if (!stream.isClosed) stream.figures();
  }

  private tick(isLast = false): void {
    this.look();
    const now = performance.now();
    const interval: Interval = { from: this.lastAt - this.beganAt, to: now - this.beganAt, rows: this.rows() };
    if (isLast && interval.rows.every(({ bytes }) => bytes === 0)) return;
    this.lastAt = now;
    this.intervals.push(interval);
    if (this.options.json) return;
    const { rows } = interval;
    const all = [...rows];
    for (const direction of ['up', 'down'] as const) {
      const same = rows.filter((row) => row.direction === direction);
      if (same.length > 1) all.push({ id: 0, direction, bytes: same.reduce((sum, row) => sum + row.bytes, 0) });
    }
    const span = `${(interval.from / 1000).toFixed(1).padStart(5)} -${(interval.to / 1000).toFixed(1).padStart(5)} s`;
    const milliseconds = interval.to - interval.from;
    for (const { id, direction, bytes } of all) {
      const rate = formatRate(bytes, milliseconds).padStart(11);
      const line = `${idText(id)}  ${direction.padEnd(4)}  ${span}  ${formatBytes(bytes).padStart(9)}  ${rate}`;
      this.terminal.write(`${id === 0 ? this.terminal.bold(line) : line}\n`);
    }
  }

  private rows(): IntervalRow[] {
    const rows: IntervalRow[] = [];
    for (const stream of this.streams) {
      const before = this.before.get(stream) ?? { sent: 0, received: 0 };
      const { sent, received } = stream;
      this.before.set(stream, { sent, received });
      const id = stream.header!.number;
      const [mine, others] = stream.isClient ? (['up', 'down'] as const) : (['down', 'up'] as const);
      if (stream.isSender) rows.push({ id, direction: mine, bytes: sent - before.sent });
      if (stream.isReceiver) rows.push({ id, direction: others, bytes: Math.max(0, received - before.received) });
    }
    return rows;
  }

  /** @param counters of the stack, if they are wanted */
  finish(counters: Record<string, number> | undefined): void {
    const { user, system } = process.cpuUsage(this.cpu);
    const cpu = (user + system) / 1000 / Math.max(1, this.elapsed);
    if (this.options.json) this.terminal.write(`${JSON.stringify(this.json(cpu, counters))}\n`);
    else this.terminal.write(this.text(cpu, counters));
  }

  private text(cpu: number, counters: Record<string, number> | undefined): string {
    const rows: string[][] = [];
    for (const direction of ['up', 'down'] as const) {
      const results = this.streams.map((stream) => ({ stream, ...resultOf(stream, direction) }));
      const measured = results.filter(({ isMeasured }) => isMeasured);
      for (const { stream, sent, received, resent } of measured) {
        rows.push([
          idText(stream.header!.number),
          direction,
          ...amountCells(sent),
          ...amountCells(received),
          resentCell(resent),
        ]);
      }
      if (measured.length < 2) continue;
      const resent = measured.reduce((sum, result) => sum + result.resent, 0);
      const sent = sumOf(measured.map((result) => result.sent));
      const received = sumOf(measured.map((result) => result.received));
      rows.push([idText(0), direction, ...amountCells(sent), ...amountCells(received), resentCell(resent)]);
    }
    const heads = ['id', 'dir', 'sent', 'rate', 'received', 'rate', 'resent'];
    let text = `\n${table(heads, rows)}\n`;
    for (const stream of this.streams) {
      const { multipath, fallback, paths } = stream.figures();
      const kind = multipath ? 'Multipath TCP' : `TCP${fallback === undefined ? '' : ` (${fallback})`}`;
      const plural = paths.length === 1 ? '' : 's';
      text += `${idText(stream.header!.number)}  ${kind}, ${paths.length} ${multipath ? `subflow${plural}` : `path${plural}`}\n`;
      const directions = [
        ...(stream.isSender ? (['sent'] as const) : []),
        ...(stream.isReceiver ? (['received'] as const) : []),
      ];
      text += pathTable(paths, directions, durationOf(stream), '  ');
    }
    text += `processor: ${(cpu * 100).toFixed(0)} % of one core\n`;
    if (counters !== undefined) {
      text += pairs(Object.entries(counters).map(([name, value]) => [name, formatCount(value)] as const));
    }
    return text;
  }

  private json(cpu: number, counters: Record<string, number> | undefined): object {
    const { role, backend } = this.options;
    const { header, connection } = this.streams[0]!;
    return {
      role,
      backend,
      local: connection.local,
      peer: connection.peer,
      connections: header!.connections,
      duration: header!.duration,
      bytes: header!.bytes,
      processor: cpu,
      intervals: this.intervals.map(({ from, to, rows }) => ({
        from,
        to,
        streams: rows.map((row) => ({ ...row, bitsPerSecond: perSecond(row.bytes, to - from) })),
      })),
      streams: this.streams.map((stream) => {
        const { multipath, fallback = null, paths } = stream.figures();
        const results = Object.fromEntries(
          (['up', 'down'] as const).flatMap((direction) => {
            const { isMeasured, sent, received, resent } = resultOf(stream, direction);
            return isMeasured ? [[direction, { sent: amountJson(sent), received: amountJson(received), resent }]] : [];
          }),
        );
        return { id: stream.header!.number, multipath, fallback, ...results, paths };
      }),
      sum: Object.fromEntries(
        (['up', 'down'] as const).flatMap((direction) => {
          const measured = this.streams
            .map((stream) => resultOf(stream, direction))
            .filter(({ isMeasured }) => isMeasured);
          if (measured.length === 0) return [];
          const sent = amountJson(sumOf(measured.map((result) => result.sent)));
          const received = amountJson(sumOf(measured.map((result) => result.received)));
          return [[direction, { sent, received }]];
        }),
      ),
      ...(counters === undefined ? {} : { counters }),
    };
  }
}

interface Result {
  readonly isMeasured: boolean;
  readonly sent: PerfAmount | undefined;
  readonly received: PerfAmount | undefined;
  /** Bytes; NaN: not known. */
  readonly resent: number;
}

/** What both ends say of one direction, as far as this one knows. */
function resultOf(stream: PerfStream, direction: 'up' | 'down'): Result {
  const isOurs = (direction === 'up') === stream.isClient;
  const isMeasured = isOurs ? stream.isSender : stream.isReceiver;
  if (isOurs) {
    const resent = stream.figures().paths.reduce((sum, path) => sum + path.retransmitted, 0);
    return { isMeasured, sent: stream.sentAmount, received: stream.peerReceived, resent };
  }
  const resent = stream.trailer?.retransmitted ?? Number.NaN;
  return { isMeasured, sent: stream.peerSent, received: stream.receivedAmount, resent };
}

/** The time that a connection's figures are of. */
function durationOf(stream: PerfStream): number {
  return Math.max(
    stream.isSender ? stream.sentAmount.milliseconds : 0,
    stream.isReceiver ? stream.receivedAmount.milliseconds : 0,
  );
}

function sumOf(amounts: readonly (PerfAmount | undefined)[]): PerfAmount | undefined {
  let bytes = 0;
  let milliseconds = 0;
  for (const amount of amounts) {
    if (amount === undefined) return undefined;
    bytes += amount.bytes;
    milliseconds = Math.max(milliseconds, amount.milliseconds);
  }
  return { bytes, milliseconds };
}

function amountCells(amount: PerfAmount | undefined): [string, string] {
  return amount === undefined ? ['-', '-'] : [formatBytes(amount.bytes), formatRate(amount.bytes, amount.milliseconds)];
}

function resentCell(resent: number): string {
  return Number.isNaN(resent) ? '-' : formatBytes(resent);
}

function amountJson(amount: PerfAmount | undefined): object | null {
  return amount === undefined ? null : { ...amount, bitsPerSecond: perSecond(amount.bytes, amount.milliseconds) };
}

function perSecond(bytes: number, milliseconds: number): number {
  return milliseconds > 0 ? (bytes * 8000) / milliseconds : 0;
}

function idText(id: number): string {
  return id === 0 ? '[sum]' : `[${String(id).padStart(3)}]`;
}

function directionText(directions: number, role: 'client' | 'server'): string {
  if (directions === (Direction.Up | Direction.Down)) return 'both send';
  const isSender = (directions === Direction.Up) === (role === 'client');
  return isSender ? 'sending' : 'receiving';
}

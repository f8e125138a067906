import { DEMO_PATHS } from './demo-network.ts';
import type { DemoEvent, DemoPathFigures, DemoTransfer } from './demo-transfer.ts';
import { pairs } from './table.ts';
import type { Terminal } from './terminal.ts';
import { formatBitRate, formatBytes, formatCount, formatMilliseconds, formatRate, formatShare } from './units.ts';

/** What the demo found out. Bits per second, bytes, milliseconds. */
export interface DemoSummary {
  readonly time: 'virtual' | 'real';
  readonly seed: string;
  readonly bytes: number;
  readonly milliseconds: number;
  readonly goodput: number;
  /** Of both paths together. */
  readonly capacity: number;
  /** Of the paths that were up, on average over the transfer. */
  readonly capacityWhileUp: number;
  readonly phases: readonly {
    readonly from: number;
    readonly milliseconds: number;
    readonly paths: string;
    readonly goodput: number;
    readonly capacity: number;
  }[];
  /** The longest time without data reaching the application. */
  readonly longestGap: { readonly milliseconds: number; readonly at: number };
  readonly events: readonly DemoEvent[];
  readonly paths: readonly DemoPathFigures[];
  readonly sha256: { readonly sent: string; readonly received: string; readonly equal: boolean };
  readonly capture: { readonly file: string; readonly packets: number; readonly interfaces: number };
}

/** Milliseconds over which a rate is measured. */
const WINDOW = 500;
/** Milliseconds between the plain lines of what is no terminal. */
const LINE_INTERVAL = 1000;

interface Sample {
  readonly at: number;
  readonly delivered: readonly number[];
}

/** Shows a transfer while it runs: a picture that is redrawn on a terminal, plain lines elsewhere. */
export class DemoView {
  private readonly terminal: Terminal;
  private readonly transfer: DemoTransfer;
  private readonly isVirtual: boolean;
  private readonly isSilent: boolean;
  private readonly samples: Sample[] = [];
  private readonly history: number[][] = DEMO_PATHS.map(() => []);
  private readonly nameWidth = Math.max(...DEMO_PATHS.map(({ name }) => name.length));
  private shownEvents = 0;
  private lastLineAt = 0;

  constructor(terminal: Terminal, transfer: DemoTransfer, isVirtual: boolean, isSilent: boolean) {
    this.terminal = terminal;
    this.transfer = transfer;
    this.isVirtual = isVirtual;
    this.isSilent = isSilent;
  }

  begin(): void {
    if (this.isSilent) return;
    const { terminal } = this;
    const paths = DEMO_PATHS.map(({ name, rate, roundTrip }) => `${name} ${rate} Mbit/s, ${roundTrip} ms`);
    const time = this.isVirtual ? 'virtual time' : 'real time';
    const size = formatBytes(this.transfer.plan.size);
    terminal.write(`${terminal.bold('mptcp demo')}: ${size} over two networks, in ${time}\n`);
    terminal.write(`${paths.join('; ')}\n\n`);
  }

  update(): void {
    if (this.isSilent) return;
    const { transfer } = this;
    const figures = transfer.figures();
    this.samples.push({ at: transfer.elapsed, delivered: figures.map(({ delivered }) => delivered) });
    while (this.samples.length > 2 && this.samples[1]!.at <= transfer.elapsed - WINDOW) this.samples.shift();
    for (const [index, values] of this.history.entries()) {
      values.push(this.rate(index, 2));
      if (values.length > 200) values.shift();
    }
    this.showEvents(figures);
    if (this.terminal.isTerminal) {
      this.terminal.redraw(this.picture(figures));
    } else if (transfer.elapsed - this.lastLineAt >= LINE_INTERVAL - 1) {
      this.lastLineAt = transfer.elapsed;
      for (const line of this.lines(figures)) this.terminal.write(`${line}\n`);
    }
  }

  end(): void {
    if (this.isSilent) return;
    const figures = this.transfer.figures();
    this.showEvents(figures);
    if (this.terminal.isTerminal) {
      this.terminal.redraw(this.picture(figures));
      this.terminal.keep();
    }
    this.terminal.write('\n');
  }

  /** Bytes per ms over the last samples; over the whole window unless fewer are asked for. */
  private rate(index: number, count = this.samples.length): number {
    const last = this.samples.at(-1);
    const first = this.samples.at(-Math.min(count, this.samples.length));
    if (last === undefined || first === undefined || last.at <= first.at) return 0;
    return (last.delivered[index]! - first.delivered[index]!) / (last.at - first.at);
  }

  private showEvents(figures: readonly DemoPathFigures[]): void {
    const { terminal, transfer } = this;
    for (; this.shownEvents < transfer.events.length; this.shownEvents++) {
      const line = eventText(transfer.events[this.shownEvents]!, terminal);
      if (terminal.isTerminal) terminal.above(line, this.picture(figures));
      else terminal.write(`${line}\n`);
    }
  }

  private picture(figures: readonly DemoPathFigures[]): string[] {
    const { terminal, transfer } = this;
    const chartWidth = Math.max(8, Math.min(48, terminal.columns - this.nameWidth - 58));
    const delivered = figures.reduce((sum, path) => sum + path.delivered, 0);
    const lines = figures.map((path, index) => {
      const { name, rate } = DEMO_PATHS[index]!;
      const chart = terminal.sparkline(this.history[index]!, (rate * 1e6) / 8000, chartWidth);
      const cells = [
        terminal.bold(name.padEnd(this.nameWidth)),
        path.isUp ? (index === 0 ? terminal.cyan(chart) : terminal.magenta(chart)) : terminal.red(chart),
        formatRate(this.rate(index), 1).padStart(11),
        `rtt ${milliseconds(path.roundTrip).padStart(7)}`,
        `cwnd ${size(path.congestionWindow).padStart(7)}`,
        path.isUp ? `${formatShare(path.delivered, delivered).padStart(5)}` : terminal.red('  cut'),
      ];
      return cells.join('  ');
    });
    const rate = figures.reduce((sum, _, index) => sum + this.rate(index), 0);
    lines.push(
      [
        'all'.padEnd(this.nameWidth),
        terminal.green(terminal.bar(transfer.share, chartWidth)),
        formatRate(rate, 1).padStart(11),
        `${formatBytes(transfer.delivered)} of ${formatBytes(transfer.plan.size)}`.padEnd(20),
        seconds(transfer.elapsed),
      ].join('  '),
    );
    return lines;
  }

  private lines(figures: readonly DemoPathFigures[]): string[] {
    const { transfer } = this;
    const delivered = figures.reduce((sum, path) => sum + path.delivered, 0);
    return figures.map((path, index) =>
      [
        seconds(transfer.elapsed),
        path.name.padEnd(this.nameWidth),
        formatRate(this.rate(index), 1).padStart(11),
        `rtt ${milliseconds(path.roundTrip).padStart(7)}`,
        `cwnd ${size(path.congestionWindow).padStart(7)}`,
        `share ${formatShare(path.delivered, delivered).padStart(5)}`,
        path.isUp ? 'up' : 'cut',
      ].join('  '),
    );
  }
}

function eventText(event: DemoEvent, terminal: Terminal): string {
  const text = event.isUp
    ? terminal.green(`${event.path} is back`)
    : terminal.yellow(`${event.path} falls silent: its packets vanish, and nobody is told`);
  return `${seconds(event.at)}  ${text}`;
}

function seconds(value: number): string {
  return `${(value / 1000).toFixed(1).padStart(5)} s`;
}

function milliseconds(value: number): string {
  return value > 0 ? formatMilliseconds(value) : '-';
}

function size(bytes: number): string {
  return bytes > 0 ? formatBytes(bytes) : '-';
}

export function summaryText(summary: DemoSummary, terminal: Terminal): string {
  const rows: [string, string][] = [];
  const { bytes, milliseconds: elapsed, goodput, capacityWhileUp } = summary;
  rows.push(['delivered', `${formatBytes(bytes)} in ${formatMilliseconds(elapsed)}, ${formatBitRate(goodput)}`]);
  const share = formatShare(goodput, capacityWhileUp);
  rows.push(['', `${share} of the ${formatBitRate(capacityWhileUp)} that the networks offered while up`]);
  for (const [index, phase] of summary.phases.entries()) {
    const span = `${formatBitRate(phase.goodput)} of ${formatBitRate(phase.capacity)}`;
    const when = `${seconds(phase.from).trim()} to ${seconds(phase.from + phase.milliseconds).trim()}`;
    const which = phase.paths === 'both' ? 'over both' : `over ${phase.paths} alone`;
    rows.push([
      index === 0 ? 'goodput' : '',
      `${which}, ${when}: ${span} (${formatShare(phase.goodput, phase.capacity)})`,
    ]);
  }
  const delivered = summary.paths.reduce((sum, path) => sum + path.delivered, 0);
  for (const [index, path] of summary.paths.entries()) {
    const resent = path.retransmitted > 0 ? `, ${formatBytes(path.retransmitted)} sent again` : '';
    const text = `${path.name}: ${formatBytes(path.delivered)} (${formatShare(path.delivered, delivered)})${resent}`;
    rows.push([index === 0 ? 'networks' : '', text]);
  }
  const { longestGap, events } = summary;
  const cut = events.find(({ isUp }) => !isUp);
  const after = cut === undefined ? '' : `; ${cut.path} fell silent at ${(cut.at / 1000).toFixed(2)} s`;
  rows.push([
    'longest gap',
    `${formatMilliseconds(longestGap.milliseconds)} without data, from ${(longestGap.at / 1000).toFixed(2)} s on${after}`,
  ]);
  const { sent, received, equal } = summary.sha256;
  rows.push(['sha-256', sent]);
  rows.push([
    '',
    equal ? terminal.green('the same at both ends') : `${received} ${terminal.red('RECEIVED: NOT THE SAME')}`,
  ]);
  const { file, packets } = summary.capture;
  rows.push(['capture', `${file}: ${formatCount(packets)} packets, for Wireshark or mptcp decode`]);
  return pairs(rows);
}

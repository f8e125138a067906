import type { WriteStream } from 'node:tty';

/** How a stream is written to: whether it is a terminal, in colour, with more than ASCII. */
export class Terminal {
  readonly stream: NodeJS.WriteStream;
  readonly isTerminal: boolean;
  readonly hasColour: boolean;
  readonly hasUnicode: boolean;
  /** Lines that `redraw` wrote last, to be overwritten. */
  private drawn = 0;

  constructor(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv = process.env) {
    this.stream = stream;
    this.isTerminal = stream.isTTY === true && environment.TERM !== 'dumb';
    // NO_COLOR counts when it is set and not empty (no-color.org).
    const refused = (environment.NO_COLOR ?? '') !== '';
    const forced = (environment.FORCE_COLOR ?? '0') !== '0';
    this.hasColour = !refused && (this.isTerminal || forced);
    const locale = environment.LC_ALL || environment.LC_CTYPE || environment.LANG || '';
    this.hasUnicode = /utf-?8/i.test(locale);
  }

  get columns(): number {
    return (this.stream as WriteStream).columns ?? 80;
  }

  write(text: string): void {
    this.stream.write(text);
  }

  /** Writes lines in the place of those that it wrote last. Only for terminals. */
  redraw(lines: readonly string[]): void {
    const width = this.columns;
    let text = this.drawn > 0 ? `\x1b[${this.drawn}A` : '';
    for (const line of lines) text += `\r${clip(line, width)}\x1b[K\n`;
    // What the last picture had more is wiped, and the cursor goes behind the new one.
    const surplus = this.drawn - lines.length;
    if (surplus > 0) text += `${'\r\x1b[K\n'.repeat(surplus)}\x1b[${surplus}A`;
    this.drawn = lines.length;
    this.stream.write(text);
  }

  /** Writes a line above what `redraw` shows. */
  above(line: string, picture: readonly string[]): void {
    this.redraw([line, ...picture]);
    this.drawn = picture.length;
  }

  /** What `redraw` wrote stays; the next picture begins below it. */
  keep(): void {
    this.drawn = 0;
  }

  bold(text: string): string {
    return this.style(text, 1, 22);
  }

  dim(text: string): string {
    return this.style(text, 2, 22);
  }

  red(text: string): string {
    return this.style(text, 31, 39);
  }

  green(text: string): string {
    return this.style(text, 32, 39);
  }

  yellow(text: string): string {
    return this.style(text, 33, 39);
  }

  cyan(text: string): string {
    return this.style(text, 36, 39);
  }

  magenta(text: string): string {
    return this.style(text, 35, 39);
  }

  private style(text: string, on: number, off: number): string {
    return this.hasColour ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  }

  /** The last values as one character each, 0 the lowest and `top` the highest; the newest to the right. */
  sparkline(values: readonly number[], top: number, width: number): string {
    const steps = this.hasUnicode ? ' ▁▂▃▄▅▆▇█' : ' .:-=+*#@';
    let text = '';
    for (const value of values.slice(-width)) {
      const share = top > 0 ? Math.min(1, value / top) : 0;
      text += steps[Math.ceil(share * (steps.length - 1) - 0.25)] ?? steps[0];
    }
    return text.padStart(width);
  }

  bar(share: number, width: number): string {
    const filled = Math.round(Math.max(0, Math.min(1, share)) * width);
    return this.hasUnicode
      ? '█'.repeat(filled) + '░'.repeat(width - filled)
      : '#'.repeat(filled) + '.'.repeat(width - filled);
  }
}

const ESCAPE = '\x1b';

/** At most `width` characters of a line, escape sequences not counted. */
export function clip(line: string, width: number): string {
  let shown = 0;
  let at = 0;
  while (at < line.length) {
    if (line[at] === ESCAPE) {
      const end = line.indexOf('m', at);
      if (end < 0) break;
      at = end + 1;
    } else if (shown === width) {
      return line.slice(0, at) + (line.includes(ESCAPE) ? '\x1b[0m' : '');
    } else {
      shown++;
      at++;
    }
  }
  return line;
}

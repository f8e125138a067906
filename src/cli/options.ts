import { parseArgs } from 'node:util';
import { parsePort, parseSeconds, parseSize } from './units.ts';

/** The command was called wrongly: one line, and exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** One option, as it is parsed and as `--help` shows it. */
export interface OptionSpec {
  /** One letter or digit. */
  readonly short?: string;
  /** Name of its value, as `SECONDS`; without it the option is a switch. */
  readonly value?: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  /** What it does; lines are broken as needed. */
  readonly text: string;
}

export type OptionTable = Readonly<Record<string, OptionSpec>>;

/** Options and operands of one call, checked. */
export class Options<Name extends string> {
  readonly operands: readonly string[];
  private readonly values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>, operands: readonly string[]) {
    this.values = values;
    this.operands = operands;
  }

  has(name: Name): boolean {
    return this.values[name] !== undefined;
  }

  text(name: Name): string | undefined {
    const value = this.values[name];
    return typeof value === 'string' ? value : undefined;
  }

  all(name: Name): readonly string[] {
    const value = this.values[name];
    return Array.isArray(value) ? (value as string[]) : [];
  }

  /** A whole number from `least` to `most`. */
  integer(name: Name, otherwise: number, least: number, most: number): number {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= least && value <= most)) {
      throw new UsageError(`--${name} takes a whole number from ${least} to ${most}, not "${text}"`);
    }
    return value;
  }

  /** Bytes, given as `64M`, `1.5 GB`, `512KiB` … */
  size(name: Name, otherwise: number): number {
    return this.converted(name, otherwise, parseSize, 'a size such as 64M or 512KiB');
  }

  /** Milliseconds, given as seconds: `10`, `0.5`, `500ms`. */
  duration(name: Name, otherwise: number): number {
    return this.converted(name, otherwise, parseSeconds, 'seconds, such as 10 or 0.5');
  }

  port(name: Name, otherwise: number): number {
    return this.converted(name, otherwise, parsePort, 'a port from 0 to 65535');
  }

  private converted(
    name: Name,
    otherwise: number,
    parse: (text: string) => number | undefined,
    expected: string,
  ): number {
    const text = this.text(name);
    if (text === undefined) return otherwise;
    const value = parse(text);
    if (value === undefined) throw new UsageError(`--${name} takes ${expected}, not "${text}"`);
    return value;
  }
}

/** @throws UsageError for what is no option, lacks its value, or has one too many */
export function parseOptions<Table extends OptionTable>(
  args: readonly string[],
  table: Table,
): Options<Extract<keyof Table, string>> {
  const options = Object.fromEntries(
    Object.entries(table).map(([name, spec]) => [
      name,
      {
        type: spec.value === undefined ? ('boolean' as const) : ('string' as const),
        multiple: spec.multiple ?? false,
        ...(spec.short === undefined ? {} : { short: spec.short }),
      },
    ]),
  );
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
    return new Options(values, positionals);
  } catch (error) {
    throw new UsageError(usageText(error as NodeJS.ErrnoException));
  }
}

/** The first sentence of Node's message, without its advice. */
function usageText(error: NodeJS.ErrnoException): string {
  const unknown = /^Unknown option '([^']+)'/.exec(error.message);
  if (unknown !== null) return `unknown option ${unknown[1]}`;
  const missing = /^Option '([^']+)' argument (missing|is ambiguous)/.exec(error.message);
  if (missing !== null) return `option ${optionName(missing[1]!)} needs a value`;
  const surplus = /^Option '([^']+)' does not take an argument/.exec(error.message);
  if (surplus !== null) return `option ${optionName(surplus[1]!)} takes no value`;
  return error.message.split(/[.\n]/, 1)[0]!;
}

/** `-w, --timeout <value>` becomes `-w, --timeout`. */
function optionName(text: string): string {
  return text.replace(/ <value>$/, '');
}

export const HELP_OPTION: OptionSpec = { short: 'h', text: 'this text' };

/** What `--help` prints: usage lines, what it is about, and the options in two columns. */
export function helpText(usage: readonly string[], about: string, table: OptionTable, after = ''): string {
  const rows = Object.entries(table).map(([name, spec]) => {
    const value = spec.value === undefined ? '' : ` ${spec.value}`;
    const short = spec.short === undefined ? '    ' : `-${spec.short}, `;
    return { left: `  ${short}--${name}${value}`, text: spec.text };
  });
  const column = Math.min(34, Math.max(...rows.map(({ left }) => left.length)) + 2);
  let text = usage.map((line, index) => `${index === 0 ? 'usage: ' : '       '}${line}\n`).join('');
  text += `\n${wrap(about, 0, WIDTH)}\n`;
  for (const row of rows) {
    const [first = '', ...rest] = wrap(row.text, 0, WIDTH - column)
      .trimEnd()
      .split('\n');
    const left = row.left.length > column - 2 ? `${row.left}\n${' '.repeat(column)}` : row.left.padEnd(column);
    text += `${left}${first}\n`;
    for (const line of rest) text += `${' '.repeat(column)}${line}\n`;
  }
  return after === '' ? text : `${text}\n${after}`;
}

const WIDTH = 100;

/** Breaks paragraphs, which blank lines divide, at spaces. */
function wrap(text: string, indent: number, width: number): string {
  const lines: string[] = [];
  for (const paragraph of text.trim().split(/\n\s*\n/)) {
    if (lines.length > 0) lines.push('');
    let line = '';
    for (const word of paragraph.split(/\s+/)) {
      if (line !== '' && line.length + 1 + word.length > width - indent) {
        lines.push(line);
        line = '';
      }
      line += line === '' ? word : ` ${word}`;
    }
    lines.push(line);
  }
  return `${lines.map((line) => (line === '' ? '' : ' '.repeat(indent) + line)).join('\n')}\n`;
}

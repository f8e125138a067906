/** Sizes, rates and times as people write and read them. Prefixes are decimal unless an `i` says otherwise. */

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  m: 1e6,
  g: 1e9,
  t: 1e12,
  ki: 1024,
  mi: 1024 ** 2,
  gi: 1024 ** 3,
  ti: 1024 ** 4,
};

/** Bytes of `64M`, `1.5 GB`, `512KiB` or `4096`; undefined for what is no size. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?$/i.exec(text.trim());
  const factor = match === null ? undefined : FACTORS[match[2]!.toLowerCase()];
  if (match === null || factor === undefined) return undefined;
  const bytes = Math.round(Number(match[1]) * factor);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Milliseconds of `10`, `0.5`, `10s`, `500ms` or `2min`; undefined for what is no time. */
export function parseSeconds(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|min)?$/.exec(text.trim());
  if (match === null) return undefined;
  const factor = match[2] === 'ms' ? 1 : match[2] === 'min' ? 60_000 : 1000;
  const milliseconds = Number(match[1]) * factor;
  return milliseconds <= LONGEST ? milliseconds : undefined;
}

/** What Node's timers can wait. */
const LONGEST = 2 ** 31 - 1;

export function parsePort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return port <= 65_535 ? port : undefined;
}

/** `1.25 GB`: three digits that count. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, ['B', 'kB', 'MB', 'GB', 'TB']);
}

/** Of bytes in milliseconds: `9.41 Gbit/s`. */
export function formatRate(bytes: number, milliseconds: number): string {
  return formatBitRate(milliseconds > 0 ? (bytes * 8000) / milliseconds : 0);
}

/** Of bits per second. */
export function formatBitRate(bits: number): string {
  return scaled(bits, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s']);
}

function scaled(value: number, units: readonly string[]): string {
  let unit = 0;
  let rest = value;
  // Not 1000: what rounds to 1000 belongs to the next unit.
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  return `${unit === 0 ? String(Math.round(rest)) : digits(rest)} ${units[unit]}`;
}

function digits(value: number): string {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** `23.1 ms`, `4.31 s`. */
export function formatMilliseconds(milliseconds: number): string {
  if (milliseconds >= 999.5) return `${digits(milliseconds / 1000)} s`;
  return milliseconds < 1 ? `${milliseconds.toFixed(3)} ms` : `${digits(milliseconds)} ms`;
}

/** `61 %`; `-` of nothing. */
export function formatShare(part: number, whole: number, decimals = 0): string {
  return whole > 0 ? `${((part / whole) * 100).toFixed(decimals)} %` : '-';
}

/** `1,234,567`. */
export function formatCount(count: number): string {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

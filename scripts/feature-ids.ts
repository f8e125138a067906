import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The inventory of features, and which of them the titles of tests claim. */

export interface Feature {
  readonly id: string;
  /** `A1` of `A1.03`, `C` of `C14`. */
  readonly table: string;
  readonly name: string;
}

export interface Claim {
  readonly id: string;
  readonly file: string;
  readonly title: string;
}

const FOLDER = 'docs/features';
const ID = '(?:[ADEFGHIJ]\\d{1,2}\\.\\d{2}|[BCKL]\\d{2})';

function readTable(name: string): string[][] {
  const lines = readFileSync(join(FOLDER, name), 'utf8').split('\n');
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split('\t'));
}

export function tableOf(id: string): string {
  return id.includes('.') ? id.slice(0, id.indexOf('.')) : id.slice(0, 1);
}

export function readInventory(): Feature[] {
  return readTable('inventory.tsv').map(([id = '', name = '']) => ({ id, table: tableOf(id), name }));
}

/** Names of the tables, in their order. */
export function readTableNames(): Map<string, string> {
  return new Map(readTable('tables.tsv').map(([table = '', name = '']) => [table, name]));
}

export interface Reasons {
  /** Why a row is deliberately not done, by id. */
  readonly rows: ReadonlyMap<string, string>;
  /** The same for what is unclaimed in a whole table. */
  readonly tables: ReadonlyMap<string, string>;
}

/** `reasons.tsv`: an id, a range, or `TABLE.*`, and why. */
export function readReasons(): Reasons {
  const rows = new Map<string, string>();
  const tables = new Map<string, string>();
  for (const [what = '', reason = ''] of readTable('reasons.tsv')) {
    if (what.endsWith('.*')) tables.set(what.slice(0, -2), reason);
    else for (const id of citedIds(what)) rows.set(id, reason);
  }
  return { rows, tables };
}

/** The ids that a text cites: `A1.05`, lists `C14, C15`, ranges `A1.25 to A1.30`, `A1.25-30`. */
export function citedIds(text: string): string[] {
  const ids = new Set<string>();
  const pattern = new RegExp(
    `(?<![\\w.])(${ID})(?:\\s*(?:to|-|–|\\.\\.)\\s*(${ID}|\\d{2})(?![\\w.]*\\w))?(?!\\w)`,
    'g',
  );
  for (const match of text.matchAll(pattern)) {
    const first = match[1]!;
    const last = match[2];
    ids.add(first);
    if (last === undefined) continue;
    const stem = first.slice(0, -2);
    const end = last.length === 2 ? stem + last : last;
    if (end.slice(0, -2) !== stem || end < first) {
      // No range: two ids of their own.
      ids.add(end);
      continue;
    }
    for (let number = Number(first.slice(-2)); number <= Number(end.slice(-2)); number++) {
      ids.add(stem + String(number).padStart(2, '0'));
    }
  }
  return [...ids];
}

const TEXT = String.raw`('(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|\`(?:[^\`\\]|\\.)*\`)`;

/** Calls that make a test or a suite, `interop` of the harness among them; and the `title:` of a row in a table of tests. */
const TITLE = new RegExp(
  String.raw`(?:(?<![\w.])(?:t\.)?(?:test|it|describe|suite|interop)(?:\.only)?\(|(?<![\w.])title:)\s*${TEXT}`,
  'g',
);

/** Titles of tests and suites in a source text; of a template, its text with the holes left in. */
export function titlesIn(text: string): string[] {
  return [...text.matchAll(TITLE)].map((match) => match[1]!.slice(1, -1));
}

/** What the sources of the tests claim. */
export function readClaims(folder = 'test'): Claim[] {
  const claims: Claim[] = [];
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()) {
    if (!name.endsWith('.ts')) continue;
    const file = join(folder, name);
    for (const title of titlesIn(readFileSync(file, 'utf8'))) {
      for (const id of citedIds(title)) claims.push({ id, file, title });
    }
  }
  return claims;
}

/** What a run claims: the tests that passed, as `npm test -- --results FILE` wrote them down. */
export function claimsOfRun(path: string): Claim[] {
  const claims: Claim[] = [];
  for (const line of readFileSync(path, 'utf8').split('\n').filter(Boolean)) {
    const { file, name, outcome } = JSON.parse(line) as { file: string; name: string; outcome: string };
    if (outcome !== 'passed') continue;
    for (const id of citedIds(name)) claims.push({ id, file, title: name });
  }
  return claims;
}

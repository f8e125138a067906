/**
 * Which rows of the feature inventory the titles of tests claim, and which are missing and why.
 *
 *     npm run coverage:features                       figures per table
 *     npm run coverage:features -- --missing A5       what is missing in a table (or in `all`), with reasons
 *     npm run coverage:features -- --claimed A5       what is claimed there, with the tests that do
 *     npm run coverage:features -- --results FILE     only tests that passed, from `npm test -- --results FILE`
 *     npm run coverage:features -- --json
 *     npm run coverage:features -- --check            nothing but faults
 *
 * Fails when an id is cited that does not exist, or when a row counts as not done and a test claims it.
 */
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Claim,
  claimsOfRun,
  type Feature,
  readClaims,
  readInventory,
  readReasons,
  readTableNames,
} from './feature-ids.ts';

// Whoever reads only the first lines need not hear of it.
process.stdout.on('error', () => process.exit());
process.chdir(resolve(import.meta.dirname, '..'));

const { values: options } = parseArgs({
  options: {
    missing: { type: 'string' },
    claimed: { type: 'string' },
    results: { type: 'string' },
    json: { type: 'boolean', default: false },
    check: { type: 'boolean', default: false },
  },
});

const inventory = readInventory();
const names = readTableNames();
const reasons = readReasons();
const known = new Set(inventory.map((feature) => feature.id));
const claims = options.results === undefined ? readClaims() : claimsOfRun(options.results);
const claimants = new Map<string, Claim[]>();
for (const claim of claims) claimants.set(claim.id, [...(claimants.get(claim.id) ?? []), claim]);

const faults: string[] = [];
if (known.size !== inventory.length) faults.push('the inventory names an id twice');
for (const feature of inventory) {
  if (!names.has(feature.table)) faults.push(`${feature.id} belongs to a table without a name`);
}
for (const { id, file, title } of claims) if (!known.has(id)) faults.push(`${file}: ${id} does not exist: ${title}`);
for (const id of reasons.rows.keys()) {
  if (!known.has(id)) faults.push(`reasons.tsv: ${id} does not exist`);
  const claim = claimants.get(id)?.[0];
  if (claim !== undefined) faults.push(`reasons.tsv: ${id} is said to be missing, and ${claim.file} claims it`);
}
for (const table of reasons.tables.keys()) if (!names.has(table)) faults.push(`reasons.tsv: no table ${table}`);

const isClaimed = (feature: Feature): boolean => claimants.has(feature.id);
const reasonOf = (feature: Feature): string | undefined =>
  reasons.rows.get(feature.id) ?? reasons.tables.get(feature.table);

/** Whether a feature is in the table, or all tables of the letter, that the command line asks for. */
const isIn = (feature: Feature, wanted: string): boolean =>
  wanted === 'all' || feature.table === wanted || feature.table.replace(/\d+$/, '') === wanted;

function figures(features: readonly Feature[]): { rows: number; claimed: number; reasoned: number; missing: number } {
  const claimed = features.filter(isClaimed).length;
  const reasoned = features.filter((feature) => !isClaimed(feature) && reasonOf(feature) !== undefined).length;
  return { rows: features.length, claimed, reasoned, missing: features.length - claimed - reasoned };
}

function printFigures(): void {
  const line = (table: string, cells: readonly (string | number)[], name: string): void =>
    console.log(`${table.padEnd(6)}${cells.map((cell) => String(cell).padStart(9)).join('')}   ${name}`);
  line('table', ['rows', 'claimed', 'not yet', 'missing'], '');
  for (const [table, name] of names) {
    const { rows, claimed, reasoned, missing } = figures(inventory.filter((feature) => feature.table === table));
    line(table, [rows, claimed, reasoned, missing], name);
  }
  const { rows, claimed, reasoned, missing } = figures(inventory);
  line('all', [rows, claimed, reasoned, missing], '');
  console.log(
    '\nclaimed: a test names it; not yet: left out with a reason; missing: neither (--missing TABLE lists them)',
  );
}

if (options.check) {
  // Faults alone, below.
} else if (options.json) {
  const rows = inventory.map((feature) => ({
    ...feature,
    tests: [...new Set((claimants.get(feature.id) ?? []).map((claim) => claim.file))],
    ...(isClaimed(feature) ? {} : { reason: reasonOf(feature) ?? null }),
  }));
  console.log(JSON.stringify({ figures: figures(inventory), rows, faults }, null, 1));
} else if (options.missing !== undefined) {
  const { missing } = options;
  for (const feature of inventory) {
    if (!isIn(feature, missing) || isClaimed(feature)) continue;
    console.log(`${feature.id.padEnd(8)}${feature.name.padEnd(46)} ${reasonOf(feature) ?? 'no test claims it'}`);
  }
} else if (options.claimed !== undefined) {
  const { claimed } = options;
  for (const feature of inventory) {
    if (!isIn(feature, claimed)) continue;
    for (const { file, title } of claimants.get(feature.id) ?? []) {
      console.log(`${feature.id.padEnd(8)}${feature.name.padEnd(46)} ${file}: ${title}`);
    }
  }
} else {
  printFigures();
}
for (const fault of new Set(faults)) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;

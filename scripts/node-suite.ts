/**
 * Runs Node's own tests of sockets on plain Node, and on this package in Node's place, and compares.
 *
 *     npm run test:node-suite -- FOLDER                     all modes
 *     npm run test:node-suite -- FOLDER --filter 'net-conn' names that match a regular expression
 *     npm run test:node-suite -- FOLDER --mode register     plain, register, userspace; several with commas
 *     npm run test:node-suite -- FOLDER --jobs 4            of parallel/ at once; default 2
 *     npm run test:node-suite -- FOLDER --limit 30          seconds for one file; default 120
 *     npm run test:node-suite -- FOLDER --json              one JSON object
 *
 * FOLDER is `test` of a checkout of nodejs/node, of the version that runs this: common, fixtures, parallel, sequential.
 * The files are test-net-*, test-http-*, test-https-*, test-tls-* and test-http2-*, each in a process of its own.
 *
 * plain      Node alone; always run, since the others are compared with it
 * register   with `--import mptcp/register`: every TCP socket is the kernel's MPTCP
 * userspace  what node:net exports are sockets of this package's stack, see scripts/node-suite-userspace.mjs
 *
 * As root on Linux all runs in a network namespace of its own with nothing but loopback, otherwise on this machine's
 * loopback. What differs from plain is run a second time, alone, and counts when it differs again. Exit code 1 when a
 * mode fails what plain Node passes, 2 when it cannot run.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { SuiteFile } from './node-suite-run.ts';
import {
  Build,
  endRunning,
  GROUPS,
  MODES,
  type Mode,
  type Outcome,
  type RunOptions,
  runFile,
  suiteFiles,
} from './node-suite-run.ts';

/** In the environment: this process is in the namespace already. */
const INSIDE = 'MPTCP_NODE_SUITE_NAMESPACE';

/** One file in one mode that does not end as on plain Node. */
interface Difference {
  readonly file: string;
  readonly mode: Mode;
  readonly plain: Outcome['state'];
  readonly state: Outcome['state'];
  readonly reason: string;
}

type Results = Map<string, Map<Mode, Outcome>>;

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

function arguments_(): { folder: string; filter: RegExp | undefined; modes: Mode[]; json: boolean } & Limits {
  let parsed: ReturnType<typeof parse>;
  try {
    parsed = parse();
  } catch (error) {
    fail((error as Error).message);
  }
  const { values, positionals } = parsed;
  if (values.help) {
    const comment = /\/\*\*(.*?)\*\//s.exec(readFileSync(import.meta.filename, 'utf8'))![1]!;
    console.log(comment.replaceAll(/^ ?\* ?/gm, '').trim());
    process.exit(0);
  }
  if (positionals.length !== 1) fail('which folder? test/ of a checkout of nodejs/node; --help tells more');
  const wanted = values.mode.split(',').filter(Boolean);
  const unknown = wanted.find((mode) => !MODES.includes(mode as Mode));
  if (unknown !== undefined) fail(`no mode is called ${unknown}; there are ${MODES.join(', ')}`);
  let filter: RegExp | undefined;
  try {
    filter = values.filter === undefined ? undefined : new RegExp(values.filter);
  } catch (error) {
    fail((error as Error).message);
  }
  return {
    folder: resolve(positionals[0]!),
    filter,
    modes: MODES.filter((mode) => mode === 'plain' || wanted.includes(mode)),
    json: values.json,
    jobs: positive('--jobs', values.jobs),
    limit: positive('--limit', values.limit) * 1000,
  };
}

interface Limits {
  readonly jobs: number;
  readonly limit: number;
}

function parse() {
  return parseArgs({
    allowPositionals: true,
    options: {
      filter: { type: 'string' },
      mode: { type: 'string', default: MODES.join(',') },
      jobs: { type: 'string', default: '2' },
      limit: { type: 'string', default: '120' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(Number.isInteger(value) && value > 0)) fail(`${name} is a whole number from 1, not ${text}`);
  return value;
}

/** Runs this program again in a network namespace of its own, where that is possible. */
function enterNamespace(): void {
  if (process.env[INSIDE] !== undefined || process.platform !== 'linux' || process.getuid?.() !== 0) return;
  const up = ['-n', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  if (spawnSync('unshare', [...up, 'true'], { stdio: 'ignore' }).status !== 0) return;
  const words = [...up, process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status } = spawnSync('unshare', words, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  process.exit(status ?? 2);
}

/** Those of parallel/ `jobs` at once, then the others one by one. */
async function runAll(files: readonly SuiteFile[], modes: readonly Mode[], jobs: number, options: RunOptions) {
  const results: Results = new Map(files.map((file) => [file.name, new Map<Mode, Outcome>()]));
  const run = async (file: SuiteFile, mode: Mode, slot: number): Promise<void> => {
    results.get(file.name)!.set(mode, await runFile(file, mode, slot, options));
  };
  for (const mode of modes) {
    const queue = files.filter((file) => !file.isAlone);
    const work = async (slot: number): Promise<void> => {
      for (let file = queue.shift(); file !== undefined; file = queue.shift()) await run(file, mode, slot);
    };
    await Promise.all(Array.from({ length: jobs }, (_, slot) => work(slot + 1)));
    for (const file of files) if (file.isAlone) await run(file, mode, 0);
  }
  for (const file of files) {
    const outcomes = results.get(file.name)!;
    const differing = modes.filter((mode) => outcomes.get(mode)!.state !== outcomes.get('plain')!.state);
    if (differing.length === 0) continue;
    for (const mode of ['plain' as const, ...differing]) await run(file, mode, 0);
  }
  return results;
}

function differences(results: Results): Difference[] {
  const found: Difference[] = [];
  for (const [file, outcomes] of results) {
    const plain = outcomes.get('plain')!;
    for (const [mode, { state, reason }] of outcomes) {
      if (state !== plain.state) found.push({ file, mode, plain: plain.state, state, reason: reason || plain.reason });
    }
  }
  return found;
}

function count(files: readonly SuiteFile[], results: Results, mode: Mode): Record<Outcome['state'], number> {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { name } of files) counts[results.get(name)!.get(mode)!.state]++;
  return counts;
}

function table(files: readonly SuiteFile[], results: Results, modes: readonly Mode[]): string[] {
  const lines = [
    `${'group'.padEnd(8)}${'mode'.padEnd(12)}${'passed'.padStart(8)}${'failed'.padStart(8)}${'skipped'.padStart(9)}`,
  ];
  for (const group of [...GROUPS, 'all' as const]) {
    const own = files.filter((file) => group === 'all' || file.group === group);
    if (own.length === 0) continue;
    for (const mode of modes) {
      const { passed, failed, skipped } = count(own, results, mode);
      const figures = `${String(passed).padStart(8)}${String(failed).padStart(8)}${String(skipped).padStart(9)}`;
      lines.push(`${group.padEnd(8)}${mode.padEnd(12)}${figures}`);
    }
  }
  return lines;
}

const { folder, filter, modes, json, jobs, limit } = arguments_();
let files: SuiteFile[] = [];
try {
  files = suiteFiles(folder, filter);
} catch (error) {
  fail((error as Error).message);
}
if (files.length === 0) fail(`no test of sockets in ${folder} has such a name`);
enterNamespace();
const isPrivate = process.env[INSIDE] !== undefined;
const scratch = mkdtempSync(join(tmpdir(), 'node-suite-'));
let build: Build | undefined;
process.once('exit', () => {
  endRunning();
  build?.remove();
  rmSync(scratch, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
try {
  build = new Build(resolve(import.meta.dirname, '..'));
  const results = await runAll(files, modes, jobs, { folder, build, limit, scratch });
  const found = differences(results);
  const worse = found.filter(({ plain, state }) => plain === 'passed' && state !== 'passed');
  if (json) {
    const rows = files.map(({ name, group }) => ({ name, group, ...Object.fromEntries(results.get(name)!) }));
    console.log(JSON.stringify({ node: process.version, isPrivate, modes, files: rows, differences: found }, null, 1));
  } else {
    const where = isPrivate ? 'a network namespace of its own' : "this machine's loopback";
    console.log(`node ${process.version}, ${files.length} files, ${where}\n`);
    for (const line of table(files, results, modes)) console.log(line);
    for (const { file, mode, plain, state, reason } of found) {
      console.log(`\n${mode}: ${file} ${state}, plain ${plain}\n  ${reason}`);
    }
    console.log(`\n${worse.length === 0 ? 'no mode is worse than plain' : `worse than plain: ${worse.length}`}`);
  }
  process.exitCode = worse.length === 0 ? 0 : 1;
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 2;
}

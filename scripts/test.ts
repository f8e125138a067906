/**
 * Runs the tests: each file in a process of its own under node:test, two at a time, what needs the kernel one at a time.
 *
 *     npm test                          everything
 *     npm test -- unit simulation       groups
 *     npm test -- test/unit/x.test.ts   files
 *     npm test -- --list                what there is
 *     npm test -- --name PATTERN        only tests whose names match
 *     npm test -- --results FILE        one JSON line per test into FILE
 *
 * The last line is `N passed, N failed, N skipped`. A file that crashes, hangs or holds no test counts as a failure.
 */
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Interop, prepareInterop } from './interop-environment.ts';
import type { TestRecord } from './test-reporter.ts';

interface Group {
  readonly name: string;
  readonly files: readonly string[];
  /** Seconds that one file may take. */
  readonly limit: number;
  /** One file at a time: it measures time, or fills the machine. */
  readonly serial: boolean;
}

interface FileResult {
  readonly group: string;
  readonly file: string;
  readonly records: readonly TestRecord[];
  /** What went wrong with the file as a whole; empty when nothing did. */
  readonly problem: string;
  readonly seconds: number;
}

const root = resolve(import.meta.dirname, '..');
process.chdir(root);

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    list: { type: 'boolean', default: false },
    name: { type: 'string' },
    results: { type: 'string' },
    concurrency: { type: 'string', default: String(Math.min(2, availableParallelism())) },
    /** Multiplies the time limits: for slow machines. */
    patience: { type: 'string', default: process.env.MPTCP_TEST_PATIENCE ?? '1' },
    /** Minutes for everything. */
    limit: { type: 'string', default: '28' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const patience = Number(options.patience);
const deadline = performance.now() + Number(options.limit) * 60_000 * patience;

function filesUnder(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(folder, name))
    .sort();
}

function allGroups(): Group[] {
  const folder = (name: string, limit: number, serial = false): Group => {
    return { name, files: filesUnder(`test/${name}`), limit, serial };
  };
  const layers = readdirSync('test').filter((name) => name.endsWith('.test.ts'));
  return [
    { name: 'layers', files: layers.map((name) => join('test', name)).sort(), limit: 60, serial: false },
    folder('unit', 120),
    folder('script', 120),
    folder('property', 600),
    folder('simulation', 400),
    folder('compliance', 240),
    folder('fuzz', 180),
    folder('interop', 300, true),
  ];
}

/** The groups, cut down to what the command line names. */
function chosenGroups(groups: readonly Group[]): Group[] {
  if (positionals.length === 0) return groups.filter((group) => group.files.length > 0);
  const chosen = new Map<Group, Set<string>>();
  for (const wanted of positionals) {
    const name = wanted.replace(/^\.\//, '').replace(/\/$/, '');
    let found = false;
    for (const group of groups) {
      const isWhole = group.name === name || `test/${group.name}` === name;
      const files = group.files.filter((file) => isWhole || file === name || file.startsWith(`${name}/`));
      if (files.length === 0 && !isWhole) continue;
      found = true;
      const set = chosen.get(group) ?? new Set();
      for (const file of files) set.add(file);
      chosen.set(group, set);
    }
    if (!found) {
      console.error(`no group and no test file is called ${wanted}; npm test -- --list shows what there is`);
      process.exit(2);
    }
  }
  return groups
    .filter((group) => chosen.has(group))
    .map((group) => ({ ...group, files: [...chosen.get(group)!].sort() }));
}

const running = new Set<number>();

/** Kills a test file's process with all that it started. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It is gone already.
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    for (const pid of running) killGroup(pid);
    process.exit(130);
  });
}

const directory = mkdtempSync(join(tmpdir(), 'mptcp-test-'));
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
let counter = 0;

function runFile(group: Group, file: string, environment: NodeJS.ProcessEnv): Promise<FileResult> {
  const records = join(directory, `${counter++}.jsonl`);
  writeFileSync(records, '');
  const began = performance.now();
  const limit = Math.min(group.limit * 1000 * patience, deadline - began);
  if (limit <= 0) {
    return Promise.resolve({ group: group.name, file, records: [], problem: 'not run: no time was left', seconds: 0 });
  }
  const words = [
    ...['--import', 'tsx', '--enable-source-maps'],
    ...['--test-reporter=./scripts/test-reporter.ts', `--test-reporter-destination=${records}`],
    ...['--test-reporter=spec', '--test-reporter-destination=stdout'],
    ...(options.name === undefined ? [] : [`--test-name-pattern=${options.name}`]),
    file,
  ];
  return new Promise((done) => {
    const child = spawn(process.execPath, words, {
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const { pid } = child;
    if (pid !== undefined) running.add(pid);
    let output = '';
    const keep = (chunk: Buffer): void => {
      if (output.length < 400_000) output += chunk.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      if (pid !== undefined) killGroup(pid);
    }, limit);
    child.on('error', (error) => {
      output += String(error);
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (pid !== undefined) {
        running.delete(pid);
        // What it left running would disturb the files after it.
        killGroup(pid);
      }
      const lines = readFileSync(records, 'utf8').split('\n').filter(Boolean);
      const list = lines.map((line) => JSON.parse(line) as TestRecord);
      const failed = list.some((record) => record.outcome === 'failed');
      let problem = '';
      if (late) problem = `killed after ${(limit / 1000).toFixed(0)} s`;
      else if (signal !== null) problem = `ended by ${signal}`;
      else if (code !== 0 && !failed) problem = `exit code ${code}`;
      else if (list.length === 0 && options.name === undefined) problem = 'holds no test';
      const result = { group: group.name, file, records: list, problem, seconds: (performance.now() - began) / 1000 };
      announce(result, output);
      done(result);
    });
  });
}

const count = (records: readonly TestRecord[], outcome: TestRecord['outcome']): number =>
  records.reduce((sum, record) => sum + (record.outcome === outcome ? 1 : 0), 0);

function announce(result: FileResult, output: string): void {
  const failed = count(result.records, 'failed');
  const skipped = count(result.records, 'skipped');
  const isBad = failed > 0 || result.problem !== '';
  const parts = [`${count(result.records, 'passed')} passed`];
  if (failed > 0) parts.push(`${failed} failed`);
  if (skipped > 0) parts.push(`${skipped} skipped`);
  if (result.problem !== '') parts.push(result.problem);
  const mark = isBad ? 'FAIL' : 'ok  ';
  console.log(`${mark} ${result.file.padEnd(48)} ${`${result.seconds.toFixed(1)} s`.padStart(8)}  ${parts.join(', ')}`);
  if (isBad) console.log(output.trimEnd().replace(/^/gm, '     | '));
}

async function runGroups(groups: readonly Group[], environment: NodeJS.ProcessEnv): Promise<FileResult[]> {
  const results: FileResult[] = [];
  const parallel: [Group, string][] = [];
  const serial: [Group, string][] = [];
  // What may take longest comes first, so that the others fill the time beside it.
  for (const group of [...groups].sort((one, other) => other.limit - one.limit)) {
    for (const file of group.files) (group.serial ? serial : parallel).push([group, file]);
  }
  const work = async (queue: [Group, string][]): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      results.push(await runFile(next[0], next[1], environment));
    }
  };
  const workers = Math.max(1, Number(options.concurrency));
  await Promise.all(Array.from({ length: workers }, () => work(parallel)));
  await work(serial);
  return results;
}

function summarise(groups: readonly Group[], results: readonly FileResult[], interop: Interop | undefined): number {
  console.log(
    `\n${'group'.padEnd(12)} ${['files', 'passed', 'failed', 'skipped', 'seconds'].map((name) => name.padStart(8)).join('')}`,
  );
  let [passed, failed, skipped] = [0, 0, 0];
  const problems: string[] = [];
  const reasons = new Map<string, number>();
  for (const group of groups) {
    const own = results.filter((result) => result.group === group.name);
    const records = own.flatMap((result) => result.records);
    for (const record of records) {
      if (record.outcome !== 'skipped') continue;
      const reason = record.reason === '' ? 'no reason given' : record.reason;
      reasons.set(`${group.name}: ${reason}`, (reasons.get(`${group.name}: ${reason}`) ?? 0) + 1);
    }
    for (const result of own) {
      if (result.problem !== '') problems.push(`${result.file}: ${result.problem}`);
      for (const record of result.records) {
        if (record.outcome === 'failed') problems.push(`${result.file}: ${record.name}`);
      }
    }
    const broken = own.filter((result) => result.problem !== '').length;
    const figures = [count(records, 'passed'), count(records, 'failed') + broken, count(records, 'skipped')];
    const seconds = own.reduce((sum, result) => sum + result.seconds, 0);
    const cells = [own.length, ...figures, seconds.toFixed(1)].map((cell) => String(cell).padStart(8));
    console.log(`${group.name.padEnd(12)} ${cells.join('')}`);
    passed += figures[0]!;
    failed += figures[1]!;
    skipped += figures[2]!;
    if (group.name === 'interop' && interop?.required === true && figures[2]! > 0) {
      problems.push(`${figures[2]} interop tests were skipped although they are required`);
      failed++;
    }
  }
  if (interop !== undefined && interop.missing.length > 0)
    console.log(`\ninterop lacks: ${interop.missing.join('; ')}`);
  if (reasons.size > 0) {
    console.log('\nskipped:');
    for (const [reason, times] of reasons) console.log(`  ${String(times).padStart(4)}  ${reason}`);
  }
  if (problems.length > 0) {
    console.log('\nfailed:');
    for (const problem of problems) console.log(`  ${problem}`);
  }
  console.log(`\n${passed} passed, ${failed} failed, ${skipped} skipped`);
  return failed > 0 || passed === 0 ? 1 : 0;
}

if (options.help) {
  console.log(
    /\/\*\*(.*?)\*\//s
      .exec(readFileSync(import.meta.filename, 'utf8'))![1]!
      .replaceAll(/^ \* ?/gm, '')
      .trim(),
  );
  process.exit(0);
}
const chosen = chosenGroups(allGroups());
if (options.list) {
  for (const group of chosen) {
    console.log(`${group.name}  (${group.limit} s per file${group.serial ? ', one at a time' : ''})`);
    for (const file of group.files) console.log(`  ${file}`);
  }
  process.exit(0);
}
const environment: NodeJS.ProcessEnv = { ...process.env };
// Set when one test runner starts another; it would change what the files print.
delete environment.NODE_TEST_CONTEXT;
let interop: Interop | undefined;
console.log(`node ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} CPUs`);
if (chosen.some((group) => group.name === 'interop')) {
  interop = prepareInterop(environment);
  console.log(interop.description);
  if (interop.required) environment.MPTCP_INTEROP = 'required';
}
console.log('');
const results = await runGroups(chosen, environment);
if (options.results !== undefined) {
  writeFileSync(options.results, '');
  for (const { file, records } of results) {
    for (const record of records) appendFileSync(options.results, `${JSON.stringify({ file, ...record })}\n`);
  }
}
process.exitCode = summarise(chosen, results, interop);

/**
 * Runs the benches, one after another, and prints what they print below a line about the machine.
 *
 *     npm run bench                      all
 *     npm run bench -- codec queue       some
 *     npm run bench -- --quick           shorter runs: to see that they work, not for figures
 *     npm run bench -- --json            one JSON object
 *     npm run bench -- --list
 *     npm run bench -- tun -- 2000 5     with words for the bench itself
 *
 * A bench is a program in `bench/`: it prints lines, or with `--json` JSON objects, and ends with code 0. `--quick`
 * reaches it as MPTCP_BENCH_QUICK=1 in the environment.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, type as systemName } from 'node:os';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';

interface BenchResult {
  readonly name: string;
  readonly lines: readonly string[];
  readonly seconds: number;
  /** Empty when it ended well. */
  readonly problem: string;
}

process.chdir(resolve(import.meta.dirname, '..'));

const separator = process.argv.indexOf('--', 2);
const own = separator < 0 ? process.argv.slice(2) : process.argv.slice(2, separator);
const words = separator < 0 ? [] : process.argv.slice(separator + 1);
const { values: options, positionals } = parseArgs({
  args: own,
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
    /** Seconds that one bench may take. */
    limit: { type: 'string', default: '600' },
  },
});

/** How benches that do not look at the environment are made short. */
const QUICK_WORDS: Readonly<Record<string, readonly string[]>> = {
  tun: ['200', '1'],
  kernel: ['--ms', '200', '--runs', '1'],
};

function machineLine(): string {
  const model = cpus()[0]?.model.trim() ?? process.arch;
  return `${availableParallelism()} x ${model}, ${systemName()} ${release()}, node ${process.version}`;
}

/** A header comment of a program, without its marks; its first sentence when `brief`. */
function summaryOf(path: string, brief: boolean): string {
  const comment = /\/\*\*(.*?)\*\//s.exec(readFileSync(path, 'utf8'))?.[1] ?? '';
  const text = comment.replaceAll(/^ ?\* ?/gm, '').trim();
  return brief
    ? text
        .replaceAll(/\s+/g, ' ')
        .replace(/(?<=[.:;]) .*/, '')
        .slice(0, 110)
    : text;
}

function run(name: string): Promise<BenchResult> {
  const began = performance.now();
  const quickWords = options.quick ? (QUICK_WORDS[name] ?? []) : [];
  const program = [`bench/${name}.ts`, ...(words.length > 0 ? words : quickWords), ...(options.json ? ['--json'] : [])];
  return new Promise((done) => {
    const child = spawn(process.execPath, ['--expose-gc', '--import', 'tsx', ...program], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: options.quick ? { ...process.env, MPTCP_BENCH_QUICK: '1' } : process.env,
    });
    const lines: string[] = [];
    let rest = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const parts = (rest + chunk.toString()).split('\n');
      rest = parts.pop()!;
      for (const line of parts) {
        lines.push(line);
        if (!options.json) console.log(`  ${line}`);
      }
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errors += chunk.toString();
    });
    const timer = setTimeout(() => child.kill('SIGTERM'), Number(options.limit) * 1000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (rest !== '') {
        lines.push(rest);
        if (!options.json) console.log(`  ${rest}`);
      }
      const seconds = (performance.now() - began) / 1000;
      const ending = signal === null ? `exit code ${code}` : `ended by ${signal}`;
      const problem = code === 0 ? '' : `${ending}\n${errors.trimEnd()}`;
      if (problem !== '' && !options.json) console.log(problem.replace(/^/gm, '  ! '));
      done({ name, lines, seconds, problem });
    });
  });
}

const available = readdirSync('bench')
  .filter((name) => name.endsWith('.ts'))
  .map((name) => name.slice(0, -'.ts'.length))
  .sort();
if (options.help) {
  console.log(summaryOf(import.meta.filename, false));
  process.exit(0);
}
if (options.list) {
  for (const name of available) console.log(`${name.padEnd(20)} ${summaryOf(`bench/${name}.ts`, true)}`);
  process.exit(0);
}
for (const name of positionals) {
  if (!available.includes(name)) {
    console.error(`no bench is called ${name}; there are ${available.join(', ')}`);
    process.exit(2);
  }
}
const results: BenchResult[] = [];
if (!options.json) console.log(`${machineLine()}${options.quick ? ', short runs' : ''}`);
for (const name of positionals.length > 0 ? positionals : available) {
  if (!options.json) console.log(`\n${name}`);
  const result = await run(name);
  if (!options.json) console.log(`  (${result.seconds.toFixed(1)} s)`);
  results.push(result);
}
if (options.json) {
  const parsed = results.map((result) => ({ ...result, lines: result.lines.map(parseLine) }));
  console.log(JSON.stringify({ machine: machineLine(), quick: options.quick, benches: parsed }, null, 1));
}
const failed = results.filter((result) => result.problem !== '');
if (failed.length > 0) console.error(`\nfailed: ${failed.map((result) => result.name).join(', ')}`);
process.exitCode = failed.length > 0 ? 1 : 0;

function parseLine(line: string): unknown {
  if (!line.startsWith('{')) return line;
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}

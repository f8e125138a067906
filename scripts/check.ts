/**
 * What can be said of the sources without running them: types, style, layers, unused exports, the package's faces,
 * the package as npm would publish it, feature ids, links of documents, sizes of files.
 *
 *     npm run check                everything
 *     npm run check -- types links some of it
 *     npm run check -- --list
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { brokenLinks } from './document-links.ts';
import { packPackage } from './published.ts';

interface Outcome {
  /** What is wrong, one line each; nothing when all is well. */
  readonly faults: readonly string[];
  /** Worth knowing, and no reason to fail. */
  readonly warnings: readonly string[];
}

const root = resolve(import.meta.dirname, '..');
process.chdir(root);

/** Lines from which on a source file deserves a hard look. */
const LONG_FILE = 800;

/** Lines of one check that are printed. */
const MOST_LINES = 100;

const CHECKS: Readonly<Record<string, () => Promise<Outcome> | Outcome>> = {
  types: () => run('node_modules/.bin/tsc', ['--noEmit', '--pretty', 'false']),
  style: () =>
    run('node_modules/.bin/biome', ['check', '--colors=off', '--max-diagnostics=200', '--error-on-warnings']),
  layers: () => run(process.execPath, ['--import', 'tsx', '--test-reporter=spec', 'test/layers.test.ts']),
  exports: () => run('node_modules/.bin/knip', ['--no-progress', '--no-config-hints', '--reporter', 'compact']),
  package: packageFaces,
  published,
  features: () => run(process.execPath, ['--import', 'tsx', 'scripts/coverage-features.ts', '--check']),
  links: () => ({ faults: documents().flatMap((path) => brokenLinks(path)), warnings: [] }),
  sizes,
};

/** Runs a program; its output is the fault when it fails. */
function run(program: string, words: readonly string[]): Promise<Outcome> {
  return new Promise((done) => {
    const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1' } });
    let output = '';
    const keep = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const timer = setTimeout(() => {
      output += '\nkilled after 120 s';
      child.kill('SIGKILL');
    }, 120_000);
    child.on('error', (error) => {
      clearTimeout(timer);
      done({ faults: [String(error)], warnings: [] });
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      const lines = output.split('\n').filter((line) => line.trim() !== '');
      if (code === 0) done({ faults: [], warnings: [] });
      else done({ faults: lines.length > 0 ? lines : [`exit code ${code}`], warnings: [] });
    });
  });
}

interface Manifest {
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly files: readonly string[];
}

/** Each face of the package has a source. */
function packageFaces(): Outcome {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
  const faults: string[] = [];
  const expect = (face: string, target: string): void => {
    const source = target.replace(/^\.?\/?dist\//, 'src/').replace(/(\.d)?\.[jt]s$/, '.ts');
    const probe = source.includes('*') ? dirname(source.slice(0, source.indexOf('*') + 1)) : source;
    if (!existsSync(probe)) faults.push(`package.json: ${face} leads to ${target}, and there is no ${probe}`);
  };
  for (const [name, target] of Object.entries(manifest.bin)) expect(`command ${name}`, target);
  for (const [name, target] of Object.entries(manifest.exports)) {
    for (const path of typeof target === 'string' ? [target] : Object.values(target)) expect(`export ${name}`, path);
  }
  for (const name of manifest.files) {
    if (name !== 'dist' && !existsSync(name)) faults.push(`package.json: files names ${name}, which does not exist`);
  }
  return { faults: [...new Set(faults)], warnings: [] };
}

/** The tarball as others' tools see it; CommonJS reaches it by `require` of ES modules, which attw's profile is for. */
async function published(): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'mptcp-published-'));
  try {
    const tarball = packPackage(folder);
    const outcomes = [
      await run('node_modules/.bin/publint', ['run', tarball, '--strict']),
      await run('node_modules/.bin/attw', [tarball, '--profile', 'esm-only', '--format', 'ascii']),
    ];
    return { faults: outcomes.flatMap(({ faults }) => faults), warnings: [] };
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as Error & { stdout?: string; stderr?: string };
    return {
      faults: [message, ...`${stdout}\n${stderr}`.split('\n').filter((line) => line.trim() !== '')],
      warnings: [],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const SKIPPED = new Set(['node_modules', 'dist', '.git', 'coverage']);

function* walk(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (SKIPPED.has(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else yield relative(root, resolve(path));
  }
}

function documents(): string[] {
  return [...walk('.')].filter((path) => path.endsWith('.md')).sort();
}

function sizes(): Outcome {
  const warnings: string[] = [];
  for (const path of walk('.')) {
    if (!path.endsWith('.ts') || !statSync(path).isFile()) continue;
    const lines = readFileSync(path, 'utf8').split('\n').length - 1;
    if (lines > LONG_FILE) warnings.push(`${path}: ${lines} lines`);
  }
  return { faults: [], warnings: warnings.sort() };
}

const words = process.argv.slice(2);
if (words.includes('--list')) {
  console.log(Object.keys(CHECKS).join('\n'));
  process.exit(0);
}
for (const word of words) {
  if (CHECKS[word] === undefined) {
    console.error(`no check is called ${word}; there are ${Object.keys(CHECKS).join(', ')}`);
    process.exit(2);
  }
}
const chosen = Object.keys(CHECKS).filter((name) => words.length === 0 || words.includes(name));
const failed: string[] = [];
for (const name of chosen) {
  const began = performance.now();
  const { faults, warnings } = await CHECKS[name]!();
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const remark = warnings.length > 0 ? `${warnings.length} warning${warnings.length > 1 ? 's' : ''}` : '';
  console.log(
    `${faults.length === 0 ? 'ok  ' : 'FAIL'} ${name.padEnd(10)} ${`${seconds} s`.padStart(8)}  ${remark}`.trimEnd(),
  );
  const lines = [...faults, ...warnings];
  for (const line of lines.slice(0, MOST_LINES)) console.log(`     | ${line}`);
  if (lines.length > MOST_LINES) console.log(`     | and ${lines.length - MOST_LINES} lines more`);
  if (faults.length > 0) failed.push(name);
}
console.log(failed.length === 0 ? '\nall checks passed' : `\nfailed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;

import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

export const MODES = ['plain', 'register', 'userspace'] as const;
export type Mode = (typeof MODES)[number];

export const GROUPS = ['net', 'http', 'https', 'tls', 'http2'] as const;
export type Group = (typeof GROUPS)[number];

/** One file of Node's `test/`. */
export interface SuiteFile {
  /** Such as `parallel/test-net-binary.js`. */
  readonly name: string;
  readonly group: Group;
  /** Of `sequential/`: nothing else runs beside it. */
  readonly isAlone: boolean;
  /** What its comments `// Flags:` ask Node for. */
  readonly flags: readonly string[];
}

export interface Outcome {
  readonly state: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped, one line. */
  readonly reason: string;
  readonly milliseconds: number;
}

const NAME = /^test-(net|https|http2|http|tls)(-.*)?\.(js|cjs|mjs)$/;

/** The tests of sockets in Node's `test/`, in the order of their names. @throws Error when `folder` is no such folder */
export function suiteFiles(folder: string, filter: RegExp | undefined): SuiteFile[] {
  const found: SuiteFile[] = [];
  let isSuite = false;
  for (const kind of ['parallel', 'sequential']) {
    let names: string[];
    try {
      names = readdirSync(join(folder, kind)).sort();
    } catch {
      continue;
    }
    isSuite = true;
    for (const file of names) {
      const group = NAME.exec(file)?.[1];
      const name = `${kind}/${file}`;
      if (group === undefined || filter?.test(name) === false) continue;
      const flags = flagsOf(readFileSync(join(folder, name), 'utf8'));
      found.push({ name, group: group as Group, isAlone: kind === 'sequential', flags });
    }
  }
  if (!isSuite) throw new Error(`${folder} has neither parallel/ nor sequential/: it is not Node's test folder`);
  return found;
}

function flagsOf(text: string): string[] {
  return [...text.matchAll(/^\/\/ Flags:(.*)$/gm)].flatMap((match) => match[1]!.trim().split(/\s+/)).filter(Boolean);
}

/** The package, compiled for one run: as it is, and with `node:net` as it was before the preload replaced it. */
export class Build {
  private readonly folder: string;

  /** @throws Error when it does not compile */
  constructor(root: string) {
    const parent = join(root, 'node_modules/.cache');
    mkdirSync(parent, { recursive: true });
    this.folder = mkdtempSync(join(parent, 'node-suite-'));
    const plain = join(this.folder, 'plain');
    const compiler = join(root, 'node_modules/.bin/tsc');
    const words = ['-p', join(root, 'tsconfig.build.json'), '--outDir', plain, '--declaration', 'false'];
    const { status, stdout, error } = spawnSync(compiler, words, { encoding: 'utf8' });
    if (status !== 0) {
      this.remove();
      throw new Error(`the package does not compile: ${error?.message ?? stdout.split('\n')[0]}`);
    }
    writeFileSync(join(this.folder, 'package.json'), '{ "type": "module" }\n');
    const own = this.userspace;
    cpSync(plain, own, { recursive: true });
    writeFileSync(
      join(own, 'original-net.js'),
      "import net from 'node:net';\nconst original = { ...net };\nexport default original;\nexport const {\n" +
        '  Socket, Server, Stream, connect, createConnection, createServer, isIP, isIPv4, isIPv6, BlockList,\n' +
        '  SocketAddress, getDefaultAutoSelectFamily, getDefaultAutoSelectFamilyAttemptTimeout,\n} = original;\n',
    );
    const replacement = JSON.stringify(pathToFileURL(join(own, 'original-net.js')).href);
    for (const entry of readdirSync(own, { recursive: true, encoding: 'utf8' })) {
      if (!entry.endsWith('.js') || entry === 'original-net.js') continue;
      const text = readFileSync(join(own, entry), 'utf8');
      const replaced = text.replaceAll(/(from |import )(["'])node:net\2/g, `$1${replacement}`);
      if (replaced !== text) writeFileSync(join(own, entry), replaced);
    }
  }

  get userspace(): string {
    return join(this.folder, 'userspace');
  }

  /** What Node is told before the file's own flags. */
  words(mode: Mode): string[] {
    if (mode === 'plain') return [];
    const preload =
      mode === 'register'
        ? join(this.folder, 'plain/net/register.js')
        : resolve(import.meta.dirname, 'node-suite-userspace.mjs');
    return ['--import', pathToFileURL(preload).href];
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface RunOptions {
  readonly folder: string;
  readonly build: Build;
  /** Milliseconds that one file may take. */
  readonly limit: number;
  /** Where tests may write. */
  readonly scratch: string;
}

/** Bytes of a test's output that are looked at, of either stream. */
const OUTPUT_MOST = 262_144;

/** What ends each process that runs now, with all that it started. */
const running = new Set<() => void>();

/** For a run that is given up. */
export function endRunning(): void {
  for (const end of running) end();
}

/** Runs one file in one process. @param slot tests that run at the same time have different ones */
export function runFile(file: SuiteFile, mode: Mode, slot: number, options: RunOptions): Promise<Outcome> {
  const { folder, build, limit, scratch } = options;
  const began = performance.now();
  return new Promise((done) => {
    const child = spawn(process.execPath, [...build.words(mode), ...file.flags, join(folder, file.name)], {
      cwd: folder,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...environment(),
        NODE_TEST_DIR: scratch,
        TEST_THREAD_ID: String(slot),
        MPTCP_NODE_SUITE_BUILD: build.userspace,
      },
    });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (output.length < OUTPUT_MOST) output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (errors.length < OUTPUT_MOST) errors += chunk.toString();
    });
    let isLate = false;
    // With everything it started: processes that outlive it hold its output open.
    const end = (): void => {
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // Nothing is left of it.
      }
    };
    running.add(end);
    const timer = setTimeout(() => {
      isLate = true;
      end();
    }, limit);
    const finish = (code: number | null, signal: string | null): void => {
      clearTimeout(timer);
      running.delete(end);
      const milliseconds = performance.now() - began;
      const skipped = /^1\.\.0 # skip(?:ped)?:?\s*(.*)$/im.exec(output);
      if (isLate) done({ state: 'failed', reason: `not over after ${limit / 1000} s`, milliseconds });
      else if (code === 0 && skipped !== null) done({ state: 'skipped', reason: skipped[1]!, milliseconds });
      else if (code === 0) done({ state: 'passed', reason: '', milliseconds });
      else done({ state: 'failed', reason: firstLine(output, errors, code, signal), milliseconds });
    };
    child.on('error', (error) => finish(-1, error.message));
    child.on('exit', () => setTimeout(end, 200));
    child.on('close', finish);
  });
}

/** Words of the environment that belong to a test runner of Node or npm, or would make every mode another one. */
const UNWANTED = ['NODE_OPTIONS', 'NODE_TEST_CONTEXT', 'NODE_V8_COVERAGE', 'MPTCP'];

function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !UNWANTED.includes(name)));
}

/** What went wrong: the message of an error, a count that was not reached, or how the process ended. */
function firstLine(output: string, errors: string, code: number | null, signal: string | null): string {
  const lines = `${errors}\n${output}`.split('\n').map((line) => line.trim());
  const error = lines.findIndex((line) => /^(Uncaught )?\w*(Error|Exception)\b.*:/.test(line));
  const fault = error >= 0 ? error : lines.findIndex((line) => /^Mismatched |^not ok |^FATAL|fatal error/i.test(line));
  if (fault < 0) return signal === null ? `exit code ${code}` : `ended by ${signal}`;
  const text = lines[fault]!;
  // A heading alone says little: what it heads comes next.
  const next = /:$/.test(text) ? lines.slice(fault + 1).find((line) => line !== '') : undefined;
  return (next === undefined ? text : `${text} ${next}`).slice(0, 200);
}

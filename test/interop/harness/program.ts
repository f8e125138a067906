import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Namespace } from './namespace.ts';

/** The program `mptcp`, as its source. */
export const MAIN = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url));

/** ms after which a program is taken to hang. */
const PATIENCE = 40_000;

/** A program that runs, and what it has said so far. */
export interface Program {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly out: string;
  readonly err: string;
  /** When it has ended: its exit code, null after a signal. */
  readonly exit: Promise<number | null>;
}

/** What a program said, and its exit code. */
export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Starts Node with `words` behind `--import tsx`, in a namespace or here. */
export function startNode(namespace: Namespace | undefined, ...words: string[]): Program {
  const prefix = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace.name];
  const [command, ...args] = [...prefix, process.execPath, '--import', 'tsx', ...words];
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: PATIENCE });
  const said = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text;
  });
  const exit = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  return {
    child,
    exit,
    get out() {
      return said.out;
    },
    get err() {
      return said.err;
    },
  };
}

/** The same, to its end. */
export async function runNode(namespace: Namespace | undefined, ...words: string[]): Promise<Outcome> {
  const program = startNode(namespace, ...words);
  const code = await program.exit;
  return { code, out: program.out, err: program.err };
}

/** `mptcp` with `words`, to its end. */
export function mptcp(namespace: Namespace | undefined, ...words: string[]): Promise<Outcome> {
  return runNode(namespace, MAIN, ...words);
}

import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Foreign } from '../node/ffi.ts';
import { SystemError } from '../node/system-error.ts';
import { sendDescriptor } from './descriptor-passing.ts';
import { installSocketFilter } from './seccomp.ts';
import { type SystemCallNumbers, setSignal } from './system-calls.ts';

/**
 * How this process becomes another program, as `exec` of a shell does: same process id, same parent, same terminal, so
 * that nobody has to pass on signals, job control or an exit code. What Node changed of a process at its start is
 * changed back first.
 */

/** What to execute. Texts hold a byte a character (latin1), so that what is no UTF-8 arrives as it was. */
export interface Execution {
  readonly path: string;
  /** With the program's name, which comes first. */
  readonly args: readonly string[];
  /** `NAME=value` each. */
  readonly environment: readonly string[];
}

/**
 * Becomes the program. What this process has open above descriptor 2 and did not open itself goes along.
 * @param supervisor ready to get the listener: the program comes under the seccomp filter
 * @throws SystemError when it cannot be executed: ENOENT, EACCES …; or no filter be installed: EBUSY …
 */
export function becomeProgram(
  calls: Foreign,
  numbers: SystemCallNumbers,
  execution: Execution,
  supervisor: Supervisor | undefined,
): never {
  const path = terminated(execution.path);
  const execute = (file: Uint8Array, args: readonly string[]): number => {
    const argumentList = new TextList(calls, args);
    const environment = new TextList(calls, execution.environment);
    calls.syscall(
      numbers.execve,
      calls.address(file),
      calls.address(argumentList.pointers),
      calls.address(environment.pointers),
      0,
      0,
      0,
    );
    return calls.errno();
  };
  inheritDescriptors(calls, supervisor);
  restoreStreams(calls);
  restoreSignals(calls, numbers);
  restoreFileLimit(calls, numbers);
  if (supervisor !== undefined) {
    const listener = installSocketFilter(calls);
    sendDescriptor(calls, numbers, supervisor.control, listener);
    calls.close(listener);
  }
  let errno = execute(path, execution.args);
  // A script that does not say what runs it is the shell's, as for every `execvp`.
  if (errno === constants.errno.ENOEXEC) {
    errno = execute(terminated('/bin/sh'), ['sh', execution.path, ...execution.args.slice(1)]);
  }
  throw SystemError.of(errno, 'execve');
}

function terminated(text: string): Buffer {
  return Buffer.from(`${text}\0`, 'latin1');
}

/** A `char *[]` with its texts, which it keeps alive. */
class TextList {
  readonly pointers: Uint8Array;
  readonly texts: readonly Uint8Array[];

  constructor(calls: Foreign, texts: readonly string[]) {
    this.texts = texts.map(terminated);
    const pointers = Buffer.alloc((texts.length + 1) * 8);
    for (const [index, text] of this.texts.entries()) pointers.writeBigUInt64LE(calls.address(text), index * 8);
    this.pointers = pointers;
  }
}

const F_GETFD = 1;
const F_SETFD = 2;
const F_GETFL = 3;
const FD_CLOEXEC = 1;
const O_ACCMODE = 3;
/** Up to here Node marks all it finds open at its start close-on-exec, and further on where there is no gap. */
const LAST_MARKED = 16;

/**
 * Takes Node's mark off what was open at the start: the standard streams and, for socket activation and the like, those
 * above. What Node opened since has the mark too, and keeps it: event queues and the like, pipes of which both ends are
 * here, and spare descriptors, which read /dev/null.
 */
function inheritDescriptors(calls: Foreign, supervisor: Supervisor | undefined): void {
  const targets = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      targets.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that the directory was read through.
    }
  }
  const all = [...targets.values()];
  for (const [fd, target] of targets) {
    if (fd > LAST_MARKED || (calls.fcntl(fd, F_GETFD, 0) & FD_CLOEXEC) === 0) continue;
    const isOwn =
      fd === supervisor?.control ||
      target.startsWith('anon_inode:') ||
      (target === '/dev/null' && (calls.fcntl(fd, F_GETFL, 0) & O_ACCMODE) === 0) ||
      (target.startsWith('pipe:') && all.indexOf(target) !== all.lastIndexOf(target));
    if (fd <= 2 || !isOwn) calls.fcntl(fd, F_SETFD, 0);
  }
}

const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/**
 * `process.stdout` and its like make pipes and sockets non-blocking, which most programs do not expect. Nothing here
 * uses them; a module that was loaded before us (`--import`, NODE_OPTIONS) may have, so streams block again if there is
 * one. Without one they are as they were found.
 */
function restoreStreams(calls: Foreign): void {
  if (process.execArgv.length === 0 && process.env.NODE_OPTIONS === undefined) return;
  for (const fd of [0, 1, 2]) {
    const flags = calls.fcntl(fd, F_GETFL, 0);
    if (flags >= 0 && (flags & O_NONBLOCK) !== 0) calls.fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
  }
}

/** Node ignores these two. Handlers of its own vanish by themselves. */
function restoreSignals(calls: Foreign, numbers: SystemCallNumbers): void {
  for (const signal of [constants.signals.SIGPIPE, SIGXFSZ]) setSignal(calls, numbers, signal, 'default');
}

const SIGXFSZ = 25;
const RLIMIT_NOFILE = 7;

/**
 * Node raises its limit of open files to the hard one, and programs that use `select`, or close all descriptors there
 * may be, suffer from that. What it was is not recorded anywhere; the parent's is what it nearly always was.
 */
function restoreFileLimit(calls: Foreign, numbers: SystemCallNumbers): void {
  try {
    const pattern = /^Max open files +(\d+) /m;
    const before = pattern.exec(readFileSync(`/proc/${process.ppid}/limits`, 'latin1'))?.[1];
    const now = /^Max open files +(\d+) +(\d+) /m.exec(readFileSync('/proc/self/limits', 'latin1'));
    if (before === undefined || now === null || BigInt(before) >= BigInt(now[1]!)) return;
    const limit = Buffer.alloc(16);
    limit.writeBigUInt64LE(BigInt(before), 0);
    limit.writeBigUInt64LE(BigInt(now[2]!), 8);
    calls.syscall(numbers.prlimit64, 0, RLIMIT_NOFILE, calls.address(limit), 0, 0, 0);
  } catch {
    // The parent is none of ours, or out of sight: the raised limit stays.
  }
}

/** The last of this process's arguments, byte for byte as it got them: `words` is what Node made of them. */
export function ownArguments(words: readonly string[]): string[] {
  const own = texts('/proc/self/cmdline').slice(-words.length);
  // A process may write over its arguments (`--title`).
  return words.map((word, index) => (decoded(own[index] ?? '') === word ? own[index]! : utf8Bytes(word)));
}

/** This process's environment, byte for byte as it got it, with changes made in it. */
export function ownEnvironment(changes: Readonly<Record<string, string>>): string[] {
  const wanted = new Map(Object.entries({ ...process.env, ...changes }));
  const entries: string[] = [];
  for (const entry of texts('/proc/self/environ')) {
    const text = decoded(entry);
    const name = text.slice(0, text.indexOf('='));
    if (`${name}=${wanted.get(name)}` !== text) continue;
    entries.push(entry);
    wanted.delete(name);
  }
  // What was changed since: here, or before us by Node's own options.
  for (const [name, value] of wanted) entries.push(utf8Bytes(`${name}=${value}`));
  return entries;
}

/** UTF-8, a byte a character. */
export function utf8Bytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

function decoded(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/** What a file of /proc lists, a byte a character; nothing where it may not be read. */
function texts(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\0').slice(0, -1);
  } catch {
    return [];
  }
}

/** The process that will answer for the filter. */
export interface Supervisor {
  /** Our end of the socket that it gets the listener over. It ends when this is closed before. */
  readonly control: number;
}

/** Milliseconds that the supervisor may take to start. */
const START_LIMIT = 20_000;
const AF_UNIX = 1;
const SOCK_SEQPACKET_CLOEXEC = 5 | 0o2000000;
const POLLIN = 1;

/**
 * Starts the supervisor and waits until it is ready. It is no child of this process, nor of what that becomes: a
 * program that waits for all its children would wait for it.
 * @param debug it tells of each call on our standard error, which it holds open as long as there are programs
 * @throws Error when it does not start
 */
export async function startSupervisor(calls: Foreign, debug: boolean): Promise<Supervisor> {
  const pair = Buffer.alloc(8);
  if (calls.socketpair(AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0, pair) < 0) throw SystemError.of(calls.errno(), 'socketpair');
  const control = pair.readInt32LE(0);
  const peer = pair.readInt32LE(4);
  const extension = extname(fileURLToPath(import.meta.url));
  const module = fileURLToPath(new URL(`./seccomp-supervisor${extension}`, import.meta.url));
  const command = [
    process.execPath,
    // Whatever loads TypeScript for us must do so for it.
    ...(extension === '.ts' ? process.execArgv : []),
    module,
    ...(debug ? ['--debug'] : []),
  ];
  try {
    try {
      await startOrphan('/bin/sh', ['-c', '"$@" &', 'sh', ...command], peer, debug);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      await startOrphan(process.execPath, ['-e', ORPHAN_SCRIPT, ...command], peer, debug);
    }
  } finally {
    calls.close(peer);
  }
  const entry = Buffer.alloc(8);
  entry.writeInt32LE(control, 0);
  entry.writeInt16LE(POLLIN, 4);
  const isReady = calls.poll(entry, 1, START_LIMIT) > 0 && calls.read(control, Buffer.alloc(1), 1) === 1;
  if (!isReady) {
    calls.close(control);
    throw new Error('the process that makes the sockets did not start');
  }
  return { control };
}

/** What the shell does with `&`, for systems that have none. */
const ORPHAN_SCRIPT = `const [file, ...args] = process.argv.slice(1);
require('child_process').spawn(file, args, { stdio: ['ignore', 'ignore', 2, 3], detached: true }).unref();`;

/** Runs a command that starts another and ends, in a session of its own. */
function startOrphan(file: string, args: readonly string[], control: number, debug: boolean): Promise<void> {
  const { NODE_OPTIONS: _, ...env } = process.env;
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      detached: true,
      env,
      stdio: ['ignore', 'ignore', debug ? 'inherit' : 'ignore', control],
    });
    child.on('error', reject);
    child.on('exit', () => resolve());
  });
}

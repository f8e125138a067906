import { spawn } from 'node:child_process';
import { existsSync, writeSync } from 'node:fs';
import { constants, release } from 'node:os';
import { resolve } from 'node:path';
import { isatty } from 'node:tty';
import {
  becomeProgram,
  ownArguments,
  ownEnvironment,
  type Supervisor,
  startSupervisor,
  utf8Bytes,
} from '../kernel/launcher.ts';
import {
  chooseMeans,
  examineProgram,
  findProgram,
  findWrapperLibrary,
  isMptcpOn,
  type Means,
  type MeansAvailable,
  whyNot,
} from '../kernel/program.ts';
import { systemCallNumbers } from '../kernel/system-calls.ts';
import { type Foreign, foreign } from '../node/ffi.ts';
import { SystemError } from '../node/system-error.ts';
import { CommandError, failureText } from './failure.ts';
import { extended, meansVariable, NOT_PREPARED } from './means-environment.ts';
import { HELP_OPTION, helpText, type Options, parseOptions, UsageError } from './options.ts';

/** `mptcp run`: a program that knows nothing of MPTCP, with MPTCP sockets of the kernel's. */

const TABLE = {
  via: { value: 'MEANS', text: 'auto (the default), register, go, preload or seccomp: see below' },
  library: { value: 'FILE', text: 'the library for preload, where it is in no usual place' },
  debug: {
    short: 'd',
    text: 'say on standard error what was chosen and why, and (preload, seccomp) tell of each socket',
  },
  help: HELP_OPTION,
} as const;

const MEANS: readonly Means[] = ['register', 'go', 'preload', 'seccomp'];

const AFTER = `By means of:
  register  NODE_OPTIONS=--import=...: Node programs, and those they start
  go        GODEBUG=multipathtcp=1: programs of Go 1.21 and later that leave the choice to the system
  preload   LD_PRELOAD of mptcpize's libmptcpwrap.so: dynamically linked programs
  seccomp   user notification (Linux 5.14): every program, and every one that it starts
auto takes the first that fits the program.

With seccomp a process of its own makes the sockets; it ends by itself after the last program that
needs it. If it is killed all the same, those programs cannot make sockets any more. Without
CAP_SYS_ADMIN, set-user-id programs started from there gain no privileges. 32-bit programs that go
through socketcall(2) keep TCP.

The program takes the place of this one: same process, same signals, same exit code. Where C functions
cannot be called (neither Node 26.1 nor koffi) it is a child instead, to which signals are passed on,
and seccomp cannot be had. "nohup mptcp run" forgets nohup: write mptcp run nohup PROGRAM.

Exit code: the program's; 125 when it could not be prepared, 126 when it may not be executed, 127 when
there is no such program, 2 for wrong usage.
`;

function help(): string {
  return helpText(
    ['mptcp run [--via MEANS] [-d] [--] PROGRAM [ARGUMENT]...'],
    `Runs a program with Multipath TCP where it asks for TCP: its stream sockets of IPv4 and IPv6 become MPTCP sockets
     of the kernel, which speak TCP with peers that know no better. The program need not know, and nobody need be root.
     Where the kernel makes no MPTCP socket, the program gets the TCP socket that it asked for (except by preload).`,
    TABLE,
    AFTER,
  );
}

/** Exit codes of `env`, `nohup` and their like. */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;

/** Runs the command. It comes back only when it failed, or when the program had to be a child. @returns the exit code */
export async function run(args: string[]): Promise<number> {
  const count = ownOptions(args);
  const options = parseOptions(args.slice(0, count), TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  const command = args.slice(args[count] === '--' ? count + 1 : count);
  if (command.length === 0) throw new UsageError('a program is needed');
  const wanted = options.text('via') ?? 'auto';
  if (wanted !== 'auto' && !MEANS.includes(wanted as Means)) {
    throw new UsageError(`--via takes auto, ${MEANS.join(', ')}, not "${wanted}"`);
  }
  if (process.platform !== 'linux')
    throw new CommandError('only Linux has MPTCP sockets to run programs with', NOT_PREPARED);
  return await new Launch(options, command).start(wanted as Means | 'auto');
}

/** How many of the words are ours: those before the program's name, or before `--`. */
function ownOptions(args: readonly string[]): number {
  let index = 0;
  while (index < args.length) {
    const word = args[index]!;
    if (word === '--' || word === '-' || !word.startsWith('-')) break;
    index += word === '--via' || word === '--library' ? 2 : 1;
  }
  return Math.min(index, args.length);
}

/** One program about to be run. */
class Launch {
  private readonly debug: boolean;
  private readonly command: readonly string[];
  private readonly library: string | undefined;

  constructor(options: Options<keyof typeof TABLE>, command: readonly string[]) {
    this.debug = options.has('debug');
    this.command = command;
    const library = options.text('library');
    if (library !== undefined && !existsSync(library)) throw new CommandError(`${library}: no such file`, NOT_PREPARED);
    // The program, or one that it starts, may go to another folder.
    this.library = library === undefined ? undefined : resolve(library);
  }

  async start(wanted: Means | 'auto'): Promise<number> {
    const path = this.find();
    const facts = examineProgram(path);
    const available = { library: this.library ?? findWrapperLibrary(), isMptcpOn: isMptcpOn() };
    const { means, reason } =
      wanted === 'auto' ? chooseMeans(facts, available) : { means: wanted, reason: 'as asked for' };
    const objection = wanted === 'auto' ? undefined : whyNot(means, facts, available);
    if (objection !== undefined) throw new CommandError(`--via=${means} cannot be: ${objection}`, NOT_PREPARED);
    this.say(`${path} by ${means}: ${reason}`);
    if (!available.isMptcpOn) this.say('MPTCP is off here (sysctl net.mptcp.enabled=1 switches it on)');
    const changes = this.environment(means, available);
    let calls: Foreign | undefined;
    try {
      calls = foreign();
    } catch (error) {
      if (means === 'seccomp') throw new CommandError(`seccomp cannot be had: ${failureText(error)}`, NOT_PREPARED);
      this.say('C functions cannot be called: the program is a child of this process');
    }
    if (calls === undefined || systemCallNumbers() === undefined) {
      if (means === 'seccomp') {
        throw new CommandError(`seccomp cannot be had: there are no rules for ${process.arch} machines`, NOT_PREPARED);
      }
      return await this.runAsChild(path, changes);
    }
    return await this.become(calls, path, means, changes);
  }

  private find(): string {
    try {
      return findProgram(this.command[0]!);
    } catch (error) {
      const isMissing = (error as SystemError).code === 'ENOENT';
      throw new CommandError(failureText(error), isMissing ? NOT_FOUND : NOT_EXECUTABLE);
    }
  }

  /** What changes in the environment. */
  private environment(means: Means, available: MeansAvailable): Record<string, string> {
    const changes: Record<string, string> = {};
    const variable = meansVariable(means, available.library);
    if (variable !== undefined) changes[variable.name] = extended(process.env[variable.name], variable);
    if (means === 'seccomp') changes[MARK] = 'seccomp';
    if (means === 'preload' && this.debug) changes.MPTCPWRAP_DEBUG = '1';
    return changes;
  }

  private async become(
    calls: Foreign,
    path: string,
    means: Means,
    changes: Readonly<Record<string, string>>,
  ): Promise<number> {
    let supervisor: Supervisor | undefined;
    if (means === 'seccomp') {
      if (!isKernelAtLeast(5, 14)) {
        throw new CommandError(`seccomp cannot be had: it takes Linux 5.14, and this is ${release()}`, NOT_PREPARED);
      }
      try {
        supervisor = await startSupervisor(calls, this.debug);
      } catch (error) {
        throw new CommandError(`seccomp cannot be had: ${failureText(error)}`, NOT_PREPARED);
      }
    }
    const execution = {
      path: utf8Bytes(path),
      args: ownArguments(this.command),
      environment: ownEnvironment(changes),
    };
    try {
      becomeProgram(calls, systemCallNumbers()!, execution, supervisor);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      if (error.syscall === 'execve') throw new CommandError(`${this.command[0]}: ${error.code}`, NOT_EXECUTABLE);
      if (error.code !== 'EBUSY') throw new CommandError(`seccomp cannot be had: ${error.code}`, NOT_PREPARED);
    }
    // There is a listener already, and a process can have one only.
    calls.close(supervisor!.control);
    if (process.env[MARK] !== 'seccomp') {
      throw new CommandError('seccomp cannot be had: another program supervises this one that way', NOT_PREPARED);
    }
    this.say('the mptcp run around this one makes the sockets');
    try {
      return becomeProgram(calls, systemCallNumbers()!, execution, undefined);
    } catch (error) {
      throw new CommandError(`${this.command[0]}: ${(error as SystemError).code}`, NOT_EXECUTABLE);
    }
  }

  /** The way without C functions. */
  private runAsChild(path: string, changes: Readonly<Record<string, string>>): Promise<number> {
    return new Promise((done, reject) => {
      const child = spawn(path, this.command.slice(1), {
        argv0: this.command[0]!,
        env: { ...process.env, ...changes },
        stdio: 'inherit',
      });
      // What a terminal sends, it sends to the child as well.
      const isOnTerminal = isatty(0) || isatty(2);
      for (const signal of PASSED_ON) {
        process.on(signal, () => {
          if (!isOnTerminal || !FROM_TERMINAL.has(signal)) child.kill(signal);
        });
      }
      child.on('error', (error: NodeJS.ErrnoException) =>
        reject(new CommandError(`${this.command[0]}: ${error.code}`, NOT_EXECUTABLE)),
      );
      child.on('exit', (code, signal) => {
        if (signal === null) return done(code ?? NOT_PREPARED);
        for (const name of PASSED_ON) process.removeAllListeners(name);
        process.kill(process.pid, signal);
        // Where that does not end us: what a shell would say.
        setTimeout(() => done(128 + constants.signals[signal]), 100);
      });
    });
  }

  private say(text: string): void {
    if (this.debug) writeSync(2, `mptcp run: ${text}\n`);
  }
}

/** In the environment of programs under the filter, so that a `mptcp run` among them knows. */
const MARK = 'MPTCP_RUN';

const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH', 'SIGCONT'] as const;
const FROM_TERMINAL = new Set<string>(['SIGINT', 'SIGQUIT', 'SIGWINCH']);

function isKernelAtLeast(major: number, minor: number): boolean {
  const [ownMajor = 0, ownMinor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return ownMajor > major || (ownMajor === major && ownMinor >= minor);
}

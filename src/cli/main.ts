#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { CommandError, failureText } from './failure.ts';
import { UsageError } from './options.ts';

/** One command: what it is for, and how it is run. Commands are loaded when they are called. */
interface Command {
  readonly summary: string;
  /** @returns the exit code */
  readonly run: (args: string[]) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  demo: {
    summary: 'two networks, one connection: watch a transfer survive the loss of one of them',
    run: async (args) => (await import('./demo.ts')).demo(args),
  },
  nc: {
    summary: 'connect standard input and output with a peer, or listen for one',
    run: async (args) => (await import('./nc.ts')).nc(args),
  },
  perf: {
    summary: 'measure what connections carry, over this stack or the kernel',
    run: async (args) => (await import('./perf.ts')).perf(args),
  },
  run: {
    summary: 'run any program with Multipath TCP where it asks for TCP',
    run: async (args) => (await import('./run.ts')).run(args),
  },
  enable: {
    summary: 'bring a service of systemd onto Multipath TCP',
    run: async (args) => (await import('./service.ts')).enable(args),
  },
  disable: {
    summary: 'take back what enable did',
    run: async (args) => (await import('./service.ts')).disable(args),
  },
  decode: {
    summary: 'print a capture, a line a packet, MPTCP options included',
    run: async (args) => (await import('./decode.ts')).decode(args),
  },
  check: {
    summary: 'is it really Multipath TCP? of this system, or of a connection to a server',
    run: async (args) => (await import('./check.ts')).check(args),
  },
  paths: {
    summary: 'a way out for the userspace stack over every uplink, where the kernel has no Multipath TCP',
    run: async (args) => (await import('./paths.ts')).paths(args),
  },
  doctor: {
    summary: 'what keeps this system from Multipath TCP, and the commands that mend it',
    run: async (args) => (await import('./doctor.ts')).doctor(args),
  },
};

function helpText(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return `usage: mptcp COMMAND [OPTION]...

Multipath TCP: connections that use several networks at once and survive the loss of any.

${lines.join('\n')}

  mptcp help COMMAND   what a command does, and its options
  mptcp --version      the version

Try it: mptcp demo
`;
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

async function run(words: string[]): Promise<number> {
  const [word = '', ...rest] = words;
  if (word === '') {
    process.stderr.write(helpText());
    return 2;
  }
  if (word === '--version' || word === '-V' || word === 'version') return print(`mptcp ${version()}\n`);
  const isHelp = word === '--help' || word === '-h' || word === 'help';
  if (isHelp && rest.length === 0) return print(helpText());
  const name = isHelp ? rest[0]! : word;
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined;
  if (command === undefined) {
    const kind = name.startsWith('-') ? 'option' : 'command';
    process.stderr.write(`mptcp: unknown ${kind} ${name}; try mptcp help\n`);
    return 2;
  }
  try {
    return await command.run(isHelp ? ['--help'] : rest);
  } catch (error) {
    if (process.env.MPTCP_DEBUG !== undefined) process.stderr.write(`${(error as Error).stack}\n`);
    if (error instanceof UsageError) {
      process.stderr.write(`mptcp ${name}: ${error.message}; try mptcp help ${name}\n`);
      return 2;
    }
    process.stderr.write(`mptcp ${name}: ${failureText(error)}\n`);
    return error instanceof CommandError ? error.exitCode : 1;
  }
}

// `mptcp ... | head`: whoever closed our output wants no more, and no complaint either.
function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.stderr.write(`mptcp: standard output: ${failureText(error)}\n`);
    process.exit(error.code === 'EPIPE' ? 0 : 1);
  });
}

// `run` leaves its streams to a program, so they must not be opened here: that alone makes pipes non-blocking.
if (process.argv[2] !== 'run') watchOutput();

process.exitCode = await run(process.argv.slice(2));

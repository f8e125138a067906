import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chooseMeans, examineProgram, findWrapperLibrary, type Means, whyNot } from '../kernel/program.ts';
import { quoteWord, ServiceUnit, splitCommand, UnitError } from '../kernel/service-unit.ts';
import { CommandError, failureText } from './failure.ts';
import { extended, meansVariable } from './means-environment.ts';
import { HELP_OPTION, helpText, type Options, type OptionTable, parseOptions, UsageError } from './options.ts';

/** `mptcp enable` and `mptcp disable`: services and sockets of systemd with MPTCP, from their next start on. */

const ROOT = { value: 'DIR', text: 'the system whose units are meant begins here (default /)' } as const;

const ENABLE = {
  via: { value: 'MEANS', text: 'auto (the default), register, go, preload or seccomp, as for mptcp run' },
  library: { value: 'FILE', text: 'the library for preload, where it is in no usual place' },
  root: ROOT,
  'dry-run': { short: 'n', text: 'print the file instead of writing it' },
  help: HELP_OPTION,
} as const satisfies OptionTable;

const DISABLE = { root: ROOT, help: HELP_OPTION } as const satisfies OptionTable;

const MEANS: readonly Means[] = ['register', 'go', 'preload', 'seccomp'];

/** Runs `mptcp enable`. @returns the exit code */
export async function enable(args: string[]): Promise<number> {
  const options = parseOptions(args, ENABLE);
  if (options.has('help')) {
    process.stdout.write(
      helpText(
        ['mptcp enable [OPTION]... UNIT'],
        `Brings a service of systemd onto Multipath TCP from its next start on, as mptcp run does for a program, or a socket
         unit, whose socket systemd itself makes then (systemd 257). What the unit says stays: a file is dropped in beside
         it, UNIT.d/50-mptcp.conf, which mptcp disable takes away again. A variable that EnvironmentFile= sets wins over it.`,
        ENABLE,
      ),
    );
    return 0;
  }
  const { unit, root } = unitOf(options);
  try {
    const { lines, means } = unit.isSocket ? socketLines(root, options) : serviceLines(unit, root, options);
    const section = unit.isSocket ? 'Socket' : 'Service';
    if (options.has('dry-run')) {
      process.stdout.write(`# ${unit.dropInPath}\n[${section}]\n${lines.join('\n')}\n`);
      return 0;
    }
    unit.enable(section, lines);
    process.stdout.write(`${unit.name}: ${means}, by ${unit.dropInPath}\n`);
  } catch (error) {
    throw asCommandError(error);
  }
  applyChange(unit, root);
  return 0;
}

/** Runs `mptcp disable`. @returns the exit code: 0 also for a unit that was not enabled */
export async function disable(args: string[]): Promise<number> {
  const options = parseOptions(args, DISABLE);
  if (options.has('help')) {
    process.stdout.write(
      helpText(['mptcp disable [OPTION]... UNIT'], 'Takes back what mptcp enable did to a unit of systemd.', DISABLE),
    );
    return 0;
  }
  const { unit, root } = unitOf(options);
  let was: boolean;
  try {
    was = unit.disable();
  } catch (error) {
    throw asCommandError(error);
  }
  process.stdout.write(was ? `${unit.name}: as it was\n` : `${unit.name}: was not enabled\n`);
  if (was) applyChange(unit, root);
  return 0;
}

function unitOf(options: Options<'root' | 'help'>): { unit: ServiceUnit; root: string } {
  const [name, surplus] = options.operands;
  if (name === undefined) throw new UsageError('a unit is needed');
  if (surplus !== undefined) throw new UsageError(`${surplus} is one word too many`);
  const root = options.text('root') ?? '/';
  try {
    return { unit: ServiceUnit.find(name, root), root };
  } catch (error) {
    throw asCommandError(error);
  }
}

function asCommandError(error: unknown): unknown {
  return error instanceof UnitError ? new CommandError(error.message) : error;
}

function socketLines(root: string, options: Options<keyof typeof ENABLE>): { lines: string[]; means: string } {
  if (options.has('via')) throw new UsageError('--via is for services');
  const version = root === '/' ? systemdVersion() : undefined;
  if (version !== undefined && version < 257) {
    throw new CommandError(`sockets with MPTCP take systemd 257, and this is ${version}`);
  }
  return { lines: ['SocketProtocol=mptcp'], means: 'systemd makes the socket with MPTCP' };
}

/** Undefined where there is no systemd to ask. */
function systemdVersion(): number | undefined {
  try {
    const text = execFileSync('systemctl', ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    const version = /^systemd (\d+)/.exec(text)?.[1];
    return version === undefined ? undefined : Number(version);
  } catch {
    return undefined;
  }
}

function serviceLines(
  unit: ServiceUnit,
  root: string,
  options: Options<keyof typeof ENABLE>,
): { lines: string[]; means: string } {
  const commands = unit.commands.map(splitCommand);
  if (commands.length === 0) throw new CommandError(`${unit.name} has no ExecStart= to bring onto MPTCP`);
  const named = options.text('library');
  const library = named === undefined ? findWrapperLibrary() : resolve(named);
  const available = { library, isMptcpOn: true };
  const programs = commands.map(({ path }) => examineProgram(join(root, path)));
  const wanted = options.text('via') ?? 'auto';
  if (wanted !== 'auto' && !MEANS.includes(wanted as Means)) {
    throw new UsageError(`--via takes auto, ${MEANS.join(', ')}, not "${wanted}"`);
  }
  const choices = new Set(programs.map((facts) => chooseMeans(facts, available).means));
  const means = wanted !== 'auto' ? (wanted as Means) : choices.size === 1 ? [...choices][0]! : 'seccomp';
  for (const facts of programs) {
    const objection = whyNot(means, facts, available);
    if (objection !== undefined) throw new CommandError(`--via=${means} cannot be: ${objection}`);
  }
  const variable = meansVariable(means, library);
  if (variable !== undefined) {
    // What the unit says may have specifiers; what is added has none.
    const added = variable.added.replaceAll('%', '%%');
    const value = extended(unit.variable(variable.name), { ...variable, added });
    return { lines: [`Environment=${quoteWord(`${variable.name}=${value}`)}`], means };
  }
  if (unit.isSet('MemoryDenyWriteExecute')) {
    throw new CommandError(
      `${unit.name} asks for MemoryDenyWriteExecute, under which Node cannot run: seccomp cannot be`,
    );
  }
  const main = fileURLToPath(import.meta.url).replace(/service(\.\w+)$/, 'main$1');
  const lines = ['ExecStart='];
  for (const { prefix, path, rest } of commands) {
    if (prefix.includes('@')) throw new CommandError(`${unit.name} names its program by "@": seccomp cannot be`);
    const run = [process.execPath, main].map((word) => quoteWord(word.replaceAll('%', '%%'))).join(' ');
    lines.push(`ExecStart=${prefix}${run} run --via=seccomp -- ${quoteWord(path)}${rest}`);
  }
  return { lines, means };
}

/** Tells systemd, where it runs, and people. */
function applyChange(unit: ServiceUnit, root: string): void {
  if (root !== '/' || !existsSync('/run/systemd/system')) return;
  try {
    execFileSync('systemctl', ['daemon-reload'], { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (error) {
    throw new CommandError(`systemctl daemon-reload: ${failureText(error)}`);
  }
  process.stdout.write(`takes effect with: systemctl restart ${unit.name}\n`);
}

import { execFileSync } from 'node:child_process';
import { diagnose, type Finding } from '../kernel/diagnosis.ts';
import { writeControl } from '../kernel/sysctl.ts';
import { readSystemFacts } from '../kernel/system-facts.ts';
import { CommandError } from './failure.ts';
import { HELP_OPTION, helpText, parseOptions, UsageError } from './options.ts';

/** `mptcp doctor`: what keeps this system from Multipath TCP, and the command that mends each point. */

const TABLE = {
  fix: { text: 'run the commands for errors and warnings, then look again' },
  'dry-run': { text: 'with --fix: print the commands, one a line, and run none' },
  json: { text: 'a JSON object, and nothing else' },
  help: HELP_OPTION,
} as const;

function help(): string {
  return helpText(
    ['mptcp doctor [--fix [--dry-run]] [--json]'],
    `Looks at what Multipath TCP needs of this system, in the network namespace that it is run in: the kernel, its
     settings, endpoints and limits, a way out for each address, reverse path filtering, programs that manage
     endpoints. Prints what is wrong, why, and the command that mends it.

     Nothing is changed without --fix. What --fix changes lasts until the next start of the system.

     Exit code: 0 when there is neither error nor warning (left), 1 when there is, 2 for wrong usage.`,
    TABLE,
  );
}

/** Runs the command. @returns the exit code */
export async function doctor(args: string[]): Promise<number> {
  const options = parseOptions(args, TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  if (options.operands.length > 0) throw new UsageError(`${options.operands[0]} is one word too many`);
  const fixes = options.has('fix');
  if (options.has('dry-run') && !fixes) throw new UsageError('--dry-run goes with --fix');
  const json = options.has('json');
  let findings = diagnose(readSystemFacts());
  const commands = findings.filter(isWrong).flatMap((one) => one.commands);
  if (fixes && options.has('dry-run')) {
    process.stdout.write(json ? `${JSON.stringify({ commands })}\n` : commands.map((line) => `${line}\n`).join(''));
    return commands.length === 0 ? 0 : 1;
  }
  const done: string[] = [];
  if (fixes) {
    for (const command of commands) {
      run(command);
      done.push(command);
      if (!json) process.stdout.write(`${command}\n`);
    }
    if (done.length > 0) {
      if (!json) process.stdout.write('\n');
      findings = diagnose(readSystemFacts());
    }
  }
  const left = findings.filter(isWrong).length;
  process.stdout.write(json ? `${JSON.stringify({ healthy: left === 0, findings, ran: done })}\n` : report(findings));
  return left === 0 ? 0 : 1;
}

const isWrong = ({ severity }: Finding): boolean => severity !== 'note';

function report(findings: readonly Finding[]): string {
  const order = ['error', 'warning', 'note'];
  const sorted = [...findings].sort((a, b) => order.indexOf(a.severity) - order.indexOf(b.severity));
  let text = '';
  for (const { severity, what, why, commands } of sorted) {
    text += `${severity.padEnd(8)} ${what}\n         ${why}\n`;
    for (const command of commands) text += `           ${severity === 'note' ? 'if you like: ' : ''}${command}\n`;
  }
  const wrong = findings.filter(isWrong);
  if (wrong.length === 0) return `${text}${text === '' ? '' : '\n'}Multipath TCP is ready on this system.\n`;
  const mendable = wrong.some(({ commands }) => commands.length > 0);
  return `${text}\n${wrong.length === 1 ? '1 point' : `${wrong.length} points`} to mend${mendable ? '; "mptcp doctor --fix" as root runs the commands above' : ''}.\n`;
}

/** Runs one command of a finding; `sysctl` by hand, as not every system has the program. @throws CommandError */
function run(command: string): void {
  const [program = '', ...words] = command.split(' ');
  try {
    if (program === 'sysctl') {
      const [name = '', value = ''] = (words[1] ?? '').split('=');
      writeControl(name, value);
    } else
      execFileSync(program, words, {
        stdio: ['ignore', 'ignore', 'pipe'],
        timeout: program === 'npm' ? 120_000 : 10_000,
      });
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: Buffer };
    const said = stderr?.toString().trim().split('\n')[0];
    const why =
      code === 'EACCES' || code === 'EPERM' ? 'permission denied (run as root)' : said || (error as Error).message;
    throw new CommandError(`"${command}" failed: ${why}`);
  }
}

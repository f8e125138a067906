import { execFileSync } from 'node:child_process';
import { SystemError } from './system-error.ts';

/**
 * Runs commands of iproute2's `ip`, one per line, in one process, and returns what they print. It stops at the first
 * that fails.
 *
 * @param lines as after `ip`, such as `link set dev tun0 up`
 * @throws SystemError `ENOENT` when there is no `ip`, `EPERM` when it may not, `ERR_IP_COMMAND` for what else it says
 */
export function ipCommands(lines: readonly string[], options: readonly string[] = []): string {
  try {
    return execFileSync('ip', [...options, '-batch', '-'], {
      input: `${lines.join('\n')}\n`,
      encoding: 'utf8',
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 10_000,
    });
  } catch (error) {
    throw ipError(error, lines);
  }
}

function ipError(error: unknown, lines: readonly string[]): SystemError {
  const { code, stderr } = error as { code?: string; stderr?: string };
  if (code === 'ENOENT') return new SystemError('ENOENT', 'ip', 'the ip command (package iproute2) is not installed');
  const text = (stderr ?? '').trim();
  // `ip -batch` names the line that failed.
  const failed = /Command failed -:(\d+)/.exec(text);
  const line = failed === null ? lines.join('; ') : (lines[Number(failed[1]) - 1] ?? '');
  const said = text.replace(/Command failed -:\d+/, '').trim() || String((error as Error).message);
  const name = said.includes('Operation not permitted') ? 'EPERM' : 'ERR_IP_COMMAND';
  return new SystemError(name, 'ip', `"ip ${line}" failed: ${said}`);
}

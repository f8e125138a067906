import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';

export const NEEDS_ROOT = 'needs root, network namespaces and /dev/net/tun';

/**
 * For the `skip` option of a test: false where interop tests can run, else why not. With MPTCP_INTEROP=required in the
 * environment a test that cannot run fails instead.
 */
export function requireRoot(): false | string {
  answer ??= examine();
  if (answer !== false && process.env.MPTCP_INTEROP === 'required') {
    throw new Error(`MPTCP_INTEROP=required, but this test ${NEEDS_ROOT}`);
  }
  return answer;
}

let answer: false | string | undefined;

function examine(): false | string {
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !existsSync('/dev/net/tun')) return NEEDS_ROOT;
  const name = `mp-${process.pid}-probe`;
  try {
    sweep();
    execFileSync('ip', ['netns', 'add', name], { stdio: 'ignore' });
    execFileSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
    return false;
  } catch {
    return NEEDS_ROOT;
  }
}

/** Removes namespaces that a killed test process left behind: they carry its process id. */
function sweep(): void {
  mkdirSync('/run/netns', { recursive: true });
  for (const name of readdirSync('/run/netns')) {
    const pid = /^mp-(\d+)-/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    try {
      execFileSync('ip', ['netns', 'delete', name], { stdio: 'ignore' });
    } catch {
      // Another process swept it meanwhile.
    }
  }
}

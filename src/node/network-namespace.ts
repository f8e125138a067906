import { closeSync, openSync } from 'node:fs';
import { foreign } from './ffi.ts';
import { SystemError } from './system-error.ts';

/**
 * Runs `body` with this thread inside another network namespace, and comes back. What is opened in there (a TUN
 * device, a socket) stays there; processes started in there stay too. `body` must be synchronous: everything else on
 * this thread would run in the wrong namespace meanwhile.
 *
 * @param namespace a name as `ip netns` knows it, or the path of a namespace file
 * @throws SystemError `ENOENT` no such namespace, `EPERM` not allowed to enter it
 */
export function inNetworkNamespace<T>(namespace: string, body: () => T): T {
  const calls = foreign();
  const path = namespace.includes('/') ? namespace : `/run/netns/${namespace}`;
  const here = openSync('/proc/thread-self/ns/net', 'r');
  let there: number;
  try {
    there = openSync(path, 'r');
  } catch {
    closeSync(here);
    throw new SystemError('ENOENT', 'setns', `no network namespace ${JSON.stringify(namespace)}`);
  }
  try {
    if (calls.setns(there, CLONE_NEWNET) < 0) {
      throw SystemError.of(calls.errno(), 'setns', 'entering a network namespace needs CAP_SYS_ADMIN');
    }
    try {
      return body();
    } finally {
      calls.setns(here, CLONE_NEWNET);
    }
  } finally {
    closeSync(here);
    closeSync(there);
  }
}

const CLONE_NEWNET = 0x4000_0000;

import type { Backend, MultipathChoice, MultipathOptions, Purpose } from '../api/multipath.ts';
import { multipathRefusal } from '../kernel/tcp-handle.ts';
import { Host } from './host.ts';
import { nodeError } from './userspace-error.ts';

/** What the `multipath` of a socket or server comes to on this system. */
export interface Choice {
  readonly backend: Backend;
  /** For `userspace`. */
  readonly host: Host | undefined;
  /** Plain TCP was asked for: of the host's stack when there is a host. */
  readonly isPlain: boolean;
  readonly options: MultipathOptions<Host>;
  /** Why it is plain TCP although something else was asked for. */
  readonly reason: string | undefined;
}

const PURPOSES: readonly Purpose[] = ['handover', 'interactive', 'aggregate', 'redundant'];
const BACKENDS: readonly string[] = ['auto', 'kernel', 'userspace', 'tcp'];

const PLAIN: Choice = { backend: 'tcp', host: undefined, isPlain: true, options: {}, reason: undefined };

/**
 * Decides who carries a connection. A server's default is multipath, since clients that do not ask for it cost nothing; a
 * client's is plain TCP.
 *
 * @throws TypeError ERR_INVALID_ARG_VALUE for what is no choice; Error ERR_MPTCP_UNAVAILABLE when a back end was named
 *   that this system has not
 */
export function chooseBackend(multipath: MultipathChoice<Host> | undefined, side: 'client' | 'server'): Choice {
  const wanted = multipath ?? side === 'server';
  if (wanted === false) return PLAIN;
  const options = checked(wanted);
  const { backend = 'auto', host } = options;
  if (backend === 'tcp' && host === undefined) return { ...PLAIN, options };
  if (backend === 'userspace' || (backend !== 'kernel' && host !== undefined)) {
    if (host === undefined) {
      throw invalid('multipath.host', host, 'a host made by createHost or emulate, for the userspace back end');
    }
    return { backend: 'userspace', host, isPlain: backend === 'tcp', options, reason: undefined };
  }
  const reason = multipathRefusal();
  if (reason === undefined) return { backend: 'kernel', host: undefined, isPlain: false, options, reason };
  if (backend === 'kernel') throw nodeError(new Error(reason), 'ERR_MPTCP_UNAVAILABLE');
  return { ...PLAIN, isPlain: false, options, reason };
}

function checked(wanted: Exclude<MultipathChoice<Host>, false>): MultipathOptions<Host> {
  if (wanted === true) return {};
  if (typeof wanted === 'string') {
    checkWord('multipath', wanted, PURPOSES);
    return { purpose: wanted };
  }
  if (typeof wanted !== 'object' || wanted === null) {
    throw invalid('multipath', wanted, `a boolean, one of ${PURPOSES.join(', ')}, or an object`);
  }
  if (wanted.backend !== undefined) checkWord('multipath.backend', wanted.backend, BACKENDS);
  if (wanted.purpose !== undefined) checkWord('multipath.purpose', wanted.purpose, PURPOSES);
  if (wanted.host !== undefined && !(wanted.host instanceof Host)) {
    throw invalid('multipath.host', wanted.host, 'a host made by createHost or emulate');
  }
  for (const name of ['scheduler', 'congestionControl'] as const) {
    const value = wanted[name];
    if (value !== undefined && (typeof value !== 'string' || value === '')) {
      throw invalid(`multipath.${name}`, value, 'a name');
    }
  }
  return wanted;
}

function checkWord(name: string, value: unknown, words: readonly string[]): void {
  if (!words.includes(value as string)) throw invalid(name, value, `one of ${words.join(', ')}`);
}

function invalid(name: string, value: unknown, expected: string): TypeError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : value === null ? 'null' : typeof value;
  return nodeError(
    new TypeError(`The property '${name}' is invalid: it should be ${expected}, and is ${shown}`),
    'ERR_INVALID_ARG_VALUE',
  );
}

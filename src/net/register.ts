/**
 * For `node --import mptcp/register app.js` and `node --require mptcp/register app.js`: every TCP socket that the process
 * opens or accepts speaks the kernel's MPTCP, or plain TCP where that cannot be had. `MPTCP` in the environment chooses:
 * `off`, `server` (what listens), `client` (what connects), `both` (the default).
 */

import { isMainThread } from 'node:worker_threads';
import { wrapTcpHandle } from '../kernel/tcp-handle.ts';

interface Choice {
  readonly client: boolean;
  readonly server: boolean;
}

const BOTH: Choice = { client: true, server: true };
const NEITHER: Choice = { client: false, server: false };

const CHOICES: Readonly<Record<string, Choice>> = {
  '': BOTH,
  both: BOTH,
  on: BOTH,
  '1': BOTH,
  true: BOTH,
  client: { client: true, server: false },
  server: { client: false, server: true },
  off: NEITHER,
  '0': NEITHER,
  false: NEITHER,
};

function choose(): Choice {
  const text = (process.env.MPTCP ?? '').trim().toLowerCase();
  const choice = Object.hasOwn(CHOICES, text) ? CHOICES[text] : undefined;
  if (choice === undefined) {
    warn(`MPTCP=${text} in the environment is not known, and taken for both; known: both, client, server, off`);
  }
  return choice ?? BOTH;
}

/** Worker threads load this file too, and have nothing to add. */
function warn(message: string): void {
  if (isMainThread) process.emitWarning(message, { code: 'MPTCP_UNAVAILABLE' });
}

const choice = choose();
if (choice.client || choice.server) {
  const hook = wrapTcpHandle();
  hook.policies.add({ client: () => choice.client, server: () => choice.server });
  if (hook.reason !== undefined) warn(`connections are plain TCP: ${hook.reason}`);
}

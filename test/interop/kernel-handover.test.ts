import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Waits } from './harness/handover-program.ts';
import { connectNamespaces, Namespace } from './harness/namespace.ts';
import { type Program, startNode } from './harness/program.ts';
import { requireRoot } from './harness/root.ts';

/** Two networks between two kernels; the one that connections began on is cut silently under programs of Node. */

const skip = requireRoot();
const PROGRAM = fileURLToPath(new URL('./harness/handover-program.ts', import.meta.url));
/** ms. Linux has found the other path by then where that is a backup; its timers decide. */
const LONGEST = 1000;

/** Until the program has said `text`. */
async function said(program: Program, text: string): Promise<void> {
  while (!program.out.includes(text)) {
    assert.equal(program.child.exitCode, null, `it ended: ${program.err}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('A9.11 K07 the kernel: a download over HTTP, a TLS session and a WebSocket go on when their network is cut; plain TCP does not', {
  skip,
}, async (context) => {
  const left = Namespace.create('left', { ipv6: false });
  const right = Namespace.create('right', { ipv6: false });
  try {
    for (const path of [1, 2]) {
      connectNamespaces(
        { namespace: left, device: `l${path}`, address: `10.67.${path}.1/24` },
        { namespace: right, device: `r${path}`, address: `10.67.${path}.2/24` },
      );
    }
    for (const one of [left, right]) one.ip('mptcp limits set subflow 2 add_addr_accepted 2');
    left.ip('mptcp endpoint add 10.67.2.1 dev l2 subflow backup');
    right.ip('mptcp endpoint add 10.67.2.2 dev r2 signal');
    const server = startNode(right, PROGRAM, 'serve', '10.67.1.2');
    await said(server, 'ready');
    const client = startNode(left, PROGRAM, 'use', '10.67.1.2');
    await said(client, 'begun');
    await new Promise((resolve) => setTimeout(resolve, 1000));
    right.ip('link set r1 down');
    await said(client, '}');
    const waits = JSON.parse(client.out.split('\n').find((line) => line.startsWith('{'))!) as Waits;
    for (const name of ['http', 'tls', 'webSocket'] as const)
      context.diagnostic(`${name}: ${waits[name].toFixed(0)} ms at most`);
    assert.equal(waits.bytes, 6_000_000);
    assert.ok(waits.intact, 'the download is what was sent');
    for (const name of ['http', 'tls', 'webSocket'] as const) {
      assert.ok(waits[name] < LONGEST, `${name} waited ${waits[name].toFixed(0)} ms`);
    }
    assert.equal(waits.plainDone, false, 'plain TCP beside it stalls');
    server.child.kill('SIGKILL');
  } finally {
    left.close();
    right.close();
  }
});

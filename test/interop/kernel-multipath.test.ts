import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MultipathState } from '../../src/api/multipath.ts';
import type { Child } from './harness/child.ts';
import { Namespace } from './harness/namespace.ts';
import { requireRoot } from './harness/root.ts';

interface Both {
  readonly client: MultipathState;
  readonly accepted: MultipathState;
}

describe('the paths of a socket as the kernel tells them', { skip: requireRoot() }, () => {
  let namespace: Namespace;
  let child: Child;

  before(async () => {
    namespace = Namespace.create('paths');
    namespace.ip('mptcp limits set subflow 2', 'mptcp endpoint add 127.0.0.2 dev lo subflow');
    child = await namespace.start(new URL('./harness/multipath-child.ts', import.meta.url));
  });
  after(() => namespace.close());

  /** Asks until it is as expected; the kernel takes a while for what it does in the background. */
  async function until(expected: (both: Both) => boolean): Promise<Both> {
    for (let tries = 0; ; tries++) {
      const both = await child.call<Both>('state');
      if (expected(both)) return both;
      assert.ok(tries < 100, JSON.stringify(both));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  test('two subflows, with addresses and figures, at both ends', async () => {
    const { before } = await child.call<{ before: unknown }>('open', { from: true, to: true });
    assert.equal(before, null, 'before there is a descriptor nothing is known');
    const { client, accepted } = await until(
      ({ client, accepted }) => client.subflows.length === 2 && accepted.bytesReceived === 100_000,
    );
    for (const end of [client, accepted]) {
      assert.equal(end.backend, 'kernel');
      assert.equal(end.version, 1);
      assert.equal(end.fallback, null);
      assert.ok(end.token! > 0);
      assert.deepEqual(
        end.subflows.map(({ id }) => id),
        [1, 2],
      );
    }
    assert.notEqual(client.token, accepted.token);
    assert.equal(client.bytesSent, 100_000);
    const locals = client.subflows.map(({ local }) => local.address);
    assert.deepEqual(locals.sort(), ['127.0.0.1', '127.0.0.2']);
    const ports = client.subflows.map(({ remote }) => remote.port);
    assert.equal(ports[0], ports[1]);
    for (const { state, srtt, cwnd } of client.subflows) {
      assert.equal(state, 'established');
      assert.ok(srtt > 0 && srtt < 100, `${srtt} ms`);
      assert.ok(cwnd > 10_000, `${cwnd} bytes`);
    }
    const sent = client.subflows.reduce((sum, { bytesSent }) => sum + bytesSent, 0);
    assert.ok(sent >= 100_000, `${sent} bytes on the subflows`);
  });

  test('what the kernel does for all connections alike is refused for one, with the command that does it', async () => {
    const said = await child.call<string[]>('control');
    assert.equal(said.length, 4);
    for (const text of said) assert.match(text, /^ENOTSUP ENOTSUP: .*ip mptcp endpoint/);
    assert.match(said[3]!, /add 127\.0\.0\.4 port 80 signal/);
    const { client } = await child.call<Both>('state');
    assert.match(client.unsupported.join(), /decides for all connections/);
  });

  test('a closed socket keeps its totals, and has no subflows', async () => {
    const closed = await child.call<MultipathState>('close');
    assert.deepEqual(closed.subflows, []);
    assert.equal(closed.bytesSent, 100_000);
    assert.equal(closed.backend, 'kernel');
  });

  test('a client that meets plain TCP, a listener that is met by it, and plain TCP at both ends say why', async () => {
    await child.call('open', { from: true, to: false, asked: { purpose: 'redundant', scheduler: 'ours' } });
    const fallen = await child.call<Both>('state');
    assert.equal(fallen.client.backend, 'kernel');
    assert.equal(fallen.client.version, 0);
    assert.equal(fallen.client.token, undefined);
    assert.match(fallen.client.fallback!, /peer does not speak MPTCP/);
    assert.equal(fallen.client.subflows.length, 1);
    assert.equal(fallen.client.subflows[0]!.remote.address, '127.0.0.1');
    assert.match(fallen.client.unsupported.join('\n'), /redundant.*\n.*scheduler ours/);
    assert.equal(fallen.accepted.backend, 'tcp');
    assert.equal(fallen.accepted.fallback, 'the socket was made for plain TCP');
    await child.call('close');

    await child.call('open', { from: false, to: true });
    const met = await child.call<Both>('state');
    assert.equal(met.client.backend, 'tcp');
    assert.equal(met.client.fallback, 'the socket was made for plain TCP');
    assert.equal(met.accepted.backend, 'tcp');
    assert.match(met.accepted.fallback!, /client did not ask for MPTCP/);
    await child.call('close');
  });
});

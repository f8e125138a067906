import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { test } from 'node:test';
import type { SubflowState } from '../../src/api/multipath.ts';
import { type EmulatedLink, type Emulation, emulate } from '../../src/net/host.ts';
import type { AnnouncedAddress } from '../../src/net/userspace-multipath.ts';
import { createServer, type UserspaceServer } from '../../src/net/userspace-server.ts';
import { connect, UserspaceSocket } from '../../src/net/userspace-socket.ts';
import { Address } from '../../src/wire/address.ts';
import { everything, pattern } from './backends.ts';

interface Scene extends Emulation {
  readonly client: UserspaceSocket;
  readonly peer: UserspaceSocket;
  readonly server: UserspaceServer;
  /** The first value of an event of either end, be it in the past. */
  seen<T>(who: 'client' | 'peer', name: string): Promise<T>;
}

const EVENTS = ['subflow', 'subflowClosed', 'fallback', 'address'];

/** A connection over the first of `links`. */
async function scene(
  links: readonly EmulatedLink[],
  run: (scene: Scene) => Promise<void>,
  options: { client?: object; server?: object } = {},
): Promise<void> {
  const emulation = emulate(links);
  try {
    const server = createServer(emulation.second, options.server ?? {});
    server.listen(80);
    await once(server, 'listening');
    const seen = new Map<string, unknown>();
    const watch = (who: string, socket: UserspaceSocket): void => {
      for (const name of EVENTS) socket.once(name, (value) => seen.set(`${who} ${name}`, value));
    };
    server.on('connection', (socket) => watch('peer', socket as UserspaceSocket));
    const client = connect(emulation.first, { port: 80, host: '10.0.1.2', ...options.client });
    watch('client', client);
    const [[peer]] = (await Promise.all([once(server, 'connection'), once(client, 'connect')])) as [
      [UserspaceSocket],
      unknown,
    ];
    // RFC 8684 §3.1: further subflows begin once data has gone to and fro.
    client.write('.');
    await once(peer, 'readable');
    assert.equal(String(peer.read()), '.');
    await run({
      ...emulation,
      client,
      peer,
      server,
      async seen<T>(who: string, name: string) {
        while (!seen.has(`${who} ${name}`)) await new Promise((resolve) => setTimeout(resolve, 2));
        return seen.get(`${who} ${name}`) as T;
      },
    });
    client.destroy();
    peer.destroy();
    server.close();
  } finally {
    emulation.close();
  }
}

const QUIET = { endpoint: false } as const;

test('a connection tells of itself, and of the subflow that joins it', { timeout: 5000 }, () =>
  scene([{}, {}], async ({ client, peer, seen }) => {
    const subflow = await seen<SubflowState>('client', 'subflow');
    const theirs = await seen<SubflowState>('peer', 'subflow');
    assert.deepEqual(
      [subflow.id, subflow.state, subflow.local.address, subflow.remote.address, subflow.remote.port],
      [2, 'established', '10.0.2.1', '10.0.1.2', 80],
    );
    assert.equal(theirs.remote.address, '10.0.2.1');
    const state = client.multipath!;
    assert.deepEqual([state.backend, state.version, state.fallback, state.subflows.length], ['userspace', 1, null, 2]);
    assert.ok(state.token! > 0);
    assert.notEqual(state.token, peer.multipath!.token);
    const sent = pattern(500_000);
    const received = everything(peer);
    client.end(sent);
    assert.equal(Buffer.compare(await received, sent), 0);
    assert.ok(client.multipath === undefined || client.multipath.bytesSent >= sent.length);
  }),
);

test('a path that goes away: the subflow’s end is told, the connection goes on', { timeout: 5000 }, () =>
  scene([{}, {}], async ({ first, client, peer, seen }) => {
    await seen('client', 'subflow');
    const closes = once(client, 'subflowClosed') as Promise<[SubflowState]>;
    assert.equal(first.removePath('net2'), true);
    const [subflow] = await closes;
    assert.deepEqual([subflow.id, subflow.state], [2, 'closed']);
    assert.notEqual(subflow.reason, undefined);
    client.end('still here');
    assert.equal(String(await everything(peer)), 'still here');
  }),
);

test('plain TCP by either side: fallback says why', { timeout: 5000 }, async () => {
  for (const options of [{ client: { multipath: false } }, { server: { multipath: false } }]) {
    await scene(
      [{}, {}],
      async ({ client, peer }) => {
        const state = client.multipath!;
        assert.equal(state.version, 0);
        assert.equal(typeof state.fallback, 'string');
        assert.equal(state.token, undefined);
        await assert.rejects(state.addSubflow({ localAddress: '10.0.2.1' }), { code: 'ENOTSUP' });
        await assert.rejects(state.setBackup(1, true), { code: 'ENOTSUP' });
        client.end('plain');
        assert.equal(String(await everything(peer)), 'plain');
      },
      options,
    );
  }
});

test('the event fallback comes when a connection turns out to be plain', { timeout: 5000 }, async () => {
  const emulation = emulate([{}]);
  const server = createServer(emulation.second, { multipath: false }).listen(80);
  const client = connect(emulation.first, 80, '10.0.1.2');
  const [reason] = await once(client, 'fallback');
  assert.equal(reason, client.multipath!.fallback);
  client.destroy();
  server.close();
  emulation.close();
});

test('addSubflow, setBackup and removeSubflow', { timeout: 5000 }, () =>
  scene([{}, QUIET], async ({ client, peer }) => {
    const { addSubflow, setBackup, removeSubflow } = client.multipath!;
    await addSubflow({ localAddress: '10.0.2.1' });
    const subflow = client.multipath!.subflows.find(({ id }) => id === 2)!;
    assert.deepEqual([subflow.local.address, subflow.state, subflow.backup], ['10.0.2.1', 'established', false]);
    await setBackup(2, true);
    const isBackup = (): boolean => peer.multipath!.subflows.some(({ id, backup }) => id !== 1 && backup === true);
    while (!isBackup()) await new Promise((resolve) => setTimeout(resolve, 5));
    const closes = once(client, 'subflowClosed') as Promise<[SubflowState]>;
    await removeSubflow(2);
    assert.equal((await closes)[0].id, 2);
    await assert.rejects(removeSubflow(2), { code: 'EINVAL' });
    await assert.rejects(addSubflow({ localAddress: '10.9.9.9' }), { code: 'EADDRNOTAVAIL' });
    await assert.rejects(addSubflow({ localAddress: 'x' }), { code: 'EINVAL' });
    await assert.rejects(addSubflow({ localAddress: '10.0.2.1', remoteAddress: '10.7.7.7' }), { code: 'EINVAL' });
  }),
);

test('announce: the peer is told of an address, and may join it', { timeout: 5000 }, () =>
  scene([{}, QUIET], async ({ client, peer }) => {
    const told = once(client, 'address') as Promise<[AnnouncedAddress]>;
    await peer.multipath!.announce('10.0.2.2');
    const [address] = await told;
    assert.deepEqual([address.address, address.family, address.port], ['10.0.2.2', 'IPv4', 0]);
    await assert.rejects(peer.multipath!.announce('10.9.9.9'), { code: 'EADDRNOTAVAIL' });
  }),
);

test('diagnostics channels: connections, subflows, fallbacks', { timeout: 5000 }, async () => {
  const told: string[] = [];
  const names = ['mptcp.connection', 'mptcp.subflow', 'mptcp.fallback'];
  const listeners = names.map((name) => (message: unknown) => {
    if ((message as { socket: unknown }).socket instanceof UserspaceSocket) told.push(name);
  });
  for (const [index, name] of names.entries()) channel(name).subscribe(listeners[index]!);
  try {
    await scene([{}, {}], async ({ seen }) => {
      await Promise.all([seen('client', 'subflow'), seen('peer', 'subflow')]);
    });
    assert.deepEqual(told.sort(), ['mptcp.connection', 'mptcp.connection', 'mptcp.subflow', 'mptcp.subflow']);
    told.length = 0;
    await scene([{}], async () => {}, { client: { multipath: false } });
    assert.ok(told.includes('mptcp.fallback'));
  } finally {
    for (const [index, name] of names.entries()) channel(name).unsubscribe(listeners[index]!);
  }
});

test('a host reaches its own addresses inside, whatever networks it has', { timeout: 5000 }, async () => {
  const emulation = emulate([{}]);
  const { first, links } = emulation;
  links[0]!.setUp(performance.now(), false);
  const server = createServer(first, (peer) => peer.end(String(peer.remoteAddress))).listen(80);
  for (const [host, from] of [
    ['10.0.1.1', '::ffff:10.0.1.1'],
    ['127.0.0.7', '::ffff:127.0.0.7'],
    ['0.0.0.0', '::ffff:127.0.0.1'],
    ['::1', '::1'],
  ] as const) {
    assert.equal(String(await everything(connect(first, 80, host))), from);
  }
  server.close();
  emulation.close();
});

test('nothing outside reaches 127.0.0.1', { timeout: 5000 }, async () => {
  const emulation = emulate([{ schedule: [] }], { first: { loopback: false } });
  const { first, second } = emulation;
  const server = createServer(second, (peer) => peer.end('inside')).listen(80, '127.0.0.1');
  const client = connect(first, { port: 80, host: '127.0.0.1' });
  client.on('error', () => {});
  while (second.userspace.stack.ipCounters.InReceives === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(client.connecting, true);
  assert.equal(second.userspace.stack.interfaces.owner(Address.of('127.0.0.1'))?.name, 'lo');
  client.destroy();
  server.close();
  emulation.close();
});

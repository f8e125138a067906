import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Finding } from '../../src/kernel/diagnosis.ts';
import { startKernelPeer } from './harness/namespace.ts';
import { mptcp } from './harness/program.ts';
import { requireRoot } from './harness/root.ts';
import { twoUplinks } from './harness/uplinks.ts';

/** `mptcp doctor` and `mptcp check`, as people run them, on a laptop with two uplinks that nobody configured. */

const skip = requireRoot();

test('K42 doctor finds what keeps the second path unused, mends it, and check then sees both', { skip }, async () => {
  const { host, server } = twoUplinks();
  const peer = await startKernelPeer(server);
  const { port } = await peer.call<{ port: number }>('listen', {
    protocol: 'mptcp',
    host: '203.0.113.7',
    // An answer of sorts to any request.
    bytes: 5000,
    end: false,
  });
  const target = `http://203.0.113.7:${port}/`;

  const before = await mptcp(host, 'check', '--json', target);
  assert.equal(before.code, 0, before.err);
  assert.equal(
    (JSON.parse(before.out) as { subflows: unknown[] }).subflows.length,
    1,
    'Multipath TCP, over one path alone',
  );

  const sick = await mptcp(host, 'doctor', '--json');
  assert.equal(sick.code, 1, sick.err);
  const { findings } = JSON.parse(sick.out) as { findings: Finding[] };
  const ids = findings.map(({ id }) => id);
  for (const id of ['no-endpoints', 'no-source-route', 'strict-rp-filter'])
    assert.ok(ids.includes(id), `${id} of ${ids}`);

  const plan = await mptcp(host, 'doctor', '--fix', '--dry-run');
  assert.equal(plan.code, 1);
  assert.match(plan.out, /^ip mptcp endpoint add 10\.9\.1\.2 dev lte0 subflow$/m);
  assert.match(plan.out, /^ip route add default via 10\.9\.1\.1 dev lte0 table \d+$/m);
  assert.match(plan.out, /^sysctl -w net\.ipv4\.conf\.lte0\.rp_filter=2$/m);
  assert.equal(host.run('ip', ['mptcp', 'endpoint']).trim(), '', 'a dry run changes nothing');

  const mended = await mptcp(host, 'doctor', '--fix');
  assert.equal(mended.code, 0, mended.out + mended.err);
  assert.match(mended.out, /Multipath TCP is ready/);
  assert.equal((await mptcp(host, 'doctor')).code, 0);
  assert.equal((await mptcp(host, 'doctor', '--fix', '--dry-run')).out, '', 'nothing is left to do');

  const both = await mptcp(host, 'check', '--json', target);
  const { subflows, multipath } = JSON.parse(both.out) as { subflows: { local: string }[]; multipath: boolean };
  assert.ok(multipath, both.out);
  assert.deepEqual(subflows.map(({ local }) => local.replace(/:\d+$/, '')).sort(), ['10.9.0.2', '10.9.1.2']);
});

test('K42 doctor: limits, endpoints of no interface, of the wrong device, private announcements, switched off, a daemon that is not there', {
  skip,
}, async () => {
  const { host } = twoUplinks();
  host.ip(
    'mptcp limits set subflow 0',
    'mptcp endpoint add 10.9.0.2 dev wifi0 id 1 subflow',
    'mptcp endpoint add 10.9.1.2 dev wifi0 id 2 subflow backup',
    'mptcp endpoint add 192.0.2.99 id 3 subflow',
    'mptcp endpoint add 10.9.1.3 id 4 signal',
  );
  host.ip('address add 10.9.1.3/24 dev lte0');
  host.sysctl('net.mptcp.enabled', 0);
  host.sysctl('net.mptcp.path_manager', 'userspace');
  const { out, code } = await mptcp(host, 'doctor', '--json');
  assert.equal(code, 1);
  const { findings } = JSON.parse(out) as { findings: Finding[] };
  const commands = (id: string) => findings.find((one) => one.id === id)?.commands;
  assert.deepEqual(commands('disabled'), ['sysctl -w net.mptcp.enabled=1']);
  assert.deepEqual(commands('no-daemon'), ['sysctl -w net.mptcp.path_manager=kernel']);
  assert.deepEqual(commands('low-subflow-limit'), ['ip mptcp limits set subflow 3']);
  assert.deepEqual(commands('stale-endpoint'), ['ip mptcp endpoint delete id 3']);
  assert.deepEqual(commands('wrong-device'), [
    'ip mptcp endpoint delete id 2',
    'ip mptcp endpoint add 10.9.1.2 dev lte0 id 2 subflow backup',
  ]);
  assert.deepEqual(commands('private-signal'), []);
  // What only people can decide stays, and is said; everything else is mended.
  const mended = await mptcp(host, 'doctor', '--fix', '--json');
  const left = (JSON.parse(mended.out) as { findings: Finding[] }).findings.filter(
    ({ severity }) => severity !== 'note',
  );
  assert.deepEqual(
    left.map(({ id }) => id),
    ['private-signal'],
    mended.out + mended.err,
  );
});

test('check: the reasons of a fallback, and no connection', { skip }, async () => {
  const { host, server } = twoUplinks();
  const peer = await startKernelPeer(server);
  const { port } = await peer.call<{ port: number }>('listen', { protocol: 'tcp', host: '203.0.113.7' });
  const plain = await mptcp(host, 'check', `203.0.113.7:${port}`);
  assert.equal(plain.code, 1, plain.err);
  assert.match(
    plain.out,
    /plain TCP\nreason {6}the answer had no MP_CAPABLE option: the server does not speak Multipath TCP/,
  );
  host.sysctl('net.mptcp.enabled', 0);
  const off = await mptcp(host, 'check', '--json', `203.0.113.7:${port}`);
  assert.equal(off.code, 1);
  assert.match((JSON.parse(off.out) as { fallback: string }).fallback, /see mptcp doctor/);
  const nobody = await mptcp(host, 'check', '203.0.113.7:9');
  assert.deepEqual([nobody.code, nobody.err], [3, 'mptcp check: 203.0.113.7:9: connection refused\n']);
  const wrong = await mptcp(host, 'check', 'nowhere');
  assert.equal(wrong.code, 2);
});

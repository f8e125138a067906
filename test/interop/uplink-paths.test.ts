import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Namespace, startKernelPeer } from './harness/namespace.ts';
import { mptcp, runNode } from './harness/program.ts';
import { requireRoot } from './harness/root.ts';
import { twoUplinks, UPLINKS } from './harness/uplinks.ts';

/** `mptcp paths`: programs on a system whose kernel has no Multipath TCP, with two uplinks, reach a server over both. */

const skip = requireRoot();
const NET = new URL('../../src/net/index.ts', import.meta.url).href;

/** Everything that `paths` may change. */
function settings(namespace: Namespace): string {
  const forwarding = UPLINKS.map((name) => namespace.readSysctl(`net.ipv4.conf.${name}.forwarding`));
  return [
    namespace.run('ip', ['-br', 'link']),
    namespace.run('ip', ['rule']),
    namespace.run('ip', ['route', 'show', 'table', 'all']),
    namespace.run('nft', ['list', 'ruleset']),
    ...forwarding,
  ].join('\n');
}

/** Its kernel has no Multipath TCP. */
function system(): { host: Namespace; server: Namespace } {
  const both = twoUplinks();
  both.server.ip('mptcp limits set subflow 4 add_addr_accepted 4');
  both.host.sysctl('net.mptcp.enabled', 0);
  return both;
}

const PROGRAM = `
  const { connect, createHost, systemPaths } = await import(process.argv[1]);
  const host = createHost({ paths: systemPaths() });
  const socket = connect({ host: '203.0.113.7', port: Number(process.argv[2]), multipath: { host } });
  let received = 0;
  socket.on('data', (chunk) => { received += chunk.length; });
  socket.on('error', (error) => { console.log(error.message); process.exit(1); });
  const seen = () => (socket.multipath?.subflows ?? []).filter(({ state }) => state === 'established').length;
  const timer = setInterval(() => {
    socket.write('x'.repeat(1000));
    if (seen() < 2 || received < 20_000) return;
    clearInterval(timer);
    console.log(JSON.stringify({ subflows: socket.multipath.subflows.map(({ local }) => local.address), received }));
    socket.end();
    socket.on('close', () => host.close());
  }, 20);
`;

test('paths up: two uplinks carry a connection of the userspace stack; down and crashes leave nothing behind', {
  skip,
}, async () => {
  const { host, server } = system();
  const peer = await startKernelPeer(server);
  const { port } = await peer.call<{ port: number }>('listen', {
    protocol: 'mptcp',
    host: '203.0.113.7',
    mode: 'echo',
  });
  const before = settings(host);
  const none = await mptcp(host, 'paths');
  assert.deepEqual([none.code, none.out], [1, 'there are no paths: mptcp paths up\n']);

  const up = await mptcp(host, 'paths', 'up', '--json');
  assert.equal(up.code, 0, up.err);
  const { paths } = JSON.parse(up.out) as { paths: { device: string; uplink: string; address: string }[] };
  assert.deepEqual(
    paths.map(({ uplink }) => uplink),
    ['wifi0', 'lte0'],
  );
  const counters = server.counters();
  const program = await runNode(host, '--input-type=module', '-e', PROGRAM, NET, String(port));
  assert.equal(program.code, 0, program.out + program.err);
  const seen = JSON.parse(program.out) as { subflows: string[] };
  assert.deepEqual([...seen.subflows].sort(), paths.map(({ address }) => address).sort());
  const gained = server.countersSince(counters);
  assert.equal(gained.get('MPTcpExtMPCapableSYNRX'), 1, 'the server saw Multipath TCP');
  assert.equal(gained.get('MPTcpExtMPJoinAckRx'), 1, 'and the second path joined');
  // Each by its own uplink, under that uplink's address.
  for (const index of [0, 1]) {
    const bytes = Number(host.run('cat', [`/sys/class/net/${UPLINKS[index]}/statistics/tx_bytes`]));
    assert.ok(bytes > 200, `${bytes} bytes went out by uplink ${index}`);
  }

  // Again, as after a crash: what is left is taken away first.
  assert.equal((await mptcp(host, 'paths', 'up', '--via', 'lte0')).code, 0);
  assert.match((await mptcp(host, 'paths')).out, /^mptcp0 +lte0 /m);
  const down = await mptcp(host, 'paths', 'down');
  assert.deepEqual([down.code, down.out], [0, 'taken away: mptcp0\n']);
  assert.equal(settings(host), before);
  assert.equal((await mptcp(host, 'paths', 'down')).out, 'there were no paths\n');
});

test('paths: what cannot be is one line, and changes nothing', { skip }, async () => {
  const { host } = system();
  const before = settings(host);
  const wrong = await mptcp(host, 'paths', 'up', '--via', 'eth9');
  assert.deepEqual(
    [wrong.code, wrong.err],
    [1, 'mptcp paths: eth9 is not there, is down, or has no IPv4 default route\n'],
  );
  assert.equal((await mptcp(host, 'paths', 'sideways')).code, 2);
  assert.equal((await mptcp(host, 'paths', 'down', '--auto')).code, 2);
  assert.equal(settings(host), before);
  const program = await runNode(host, '--input-type=module', '-e', PROGRAM, NET, '1');
  assert.match(program.err, /ERR_MPTCP_NO_PATHS|mptcp paths up/);
});

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectNamespaces, Namespace, startKernelPeer } from './harness/namespace.ts';
import { requireRoot } from './harness/root.ts';

/** `mptcp paths`: programs on a system whose kernel has no Multipath TCP, with two uplinks, reach a server over both. */

const skip = requireRoot();
const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const NET = new URL('../../src/net/index.ts', import.meta.url).href;

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function node(namespace: Namespace, ...words: string[]): Promise<Ended> {
  const child = spawn('ip', ['netns', 'exec', namespace.name, process.execPath, '--import', 'tsx', ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 30_000,
  });
  let out = '';
  let err = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

/** Everything that `paths` may change. */
function settings(namespace: Namespace): string {
  const forwarding = ['wifi0', 'lte0'].map((name) => namespace.readSysctl(`net.ipv4.conf.${name}.forwarding`));
  return [
    namespace.run('ip', ['-br', 'link']),
    namespace.run('ip', ['rule']),
    namespace.run('ip', ['route', 'show', 'table', 'all']),
    namespace.run('nft', ['list', 'ruleset']),
    ...forwarding,
  ].join('\n');
}

function system(): { host: Namespace; server: Namespace } {
  const host = Namespace.create('old', { ipv6: false });
  const server = Namespace.create('server', { ipv6: false });
  after(() => {
    host.close();
    server.close();
  });
  for (const [index, device] of ['wifi0', 'lte0'].entries()) {
    connectNamespaces(
      { namespace: host, device, address: `10.9.${index}.2/24` },
      { namespace: server, device: `r${index}`, address: `10.9.${index}.1/24` },
    );
    host.ip(`route add default via 10.9.${index}.1 dev ${device} metric ${100 * (index + 1)}`);
    host.sysctl(`net.ipv4.conf.${device}.rp_filter`, 1);
  }
  host.sysctl('net.mptcp.enabled', 0);
  server.ip('address add 203.0.113.7/32 dev lo', 'mptcp limits set subflow 4 add_addr_accepted 4');
  return { host, server };
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
  const none = await node(host, MAIN, 'paths');
  assert.deepEqual([none.code, none.out], [1, 'there are no paths: mptcp paths up\n']);

  const up = await node(host, MAIN, 'paths', 'up', '--json');
  assert.equal(up.code, 0, up.err);
  const { paths } = JSON.parse(up.out) as { paths: { device: string; uplink: string; address: string }[] };
  assert.deepEqual(
    paths.map(({ uplink }) => uplink),
    ['wifi0', 'lte0'],
  );
  const counters = server.counters();
  const program = await node(host, '--input-type=module', '-e', PROGRAM, NET, String(port));
  assert.equal(program.code, 0, program.out + program.err);
  const seen = JSON.parse(program.out) as { subflows: string[] };
  assert.deepEqual([...seen.subflows].sort(), paths.map(({ address }) => address).sort());
  const gained = server.countersSince(counters);
  assert.equal(gained.get('MPTcpExtMPCapableSYNRX'), 1, 'the server saw Multipath TCP');
  assert.equal(gained.get('MPTcpExtMPJoinAckRx'), 1, 'and the second path joined');
  // Each by its own uplink, under that uplink's address.
  for (const index of [0, 1]) {
    const bytes = Number(host.run('cat', [`/sys/class/net/${['wifi0', 'lte0'][index]}/statistics/tx_bytes`]));
    assert.ok(bytes > 200, `${bytes} bytes went out by uplink ${index}`);
  }

  // Again, as after a crash: what is left is taken away first.
  assert.equal((await node(host, MAIN, 'paths', 'up', '--via', 'lte0')).code, 0);
  assert.match((await node(host, MAIN, 'paths')).out, /^mptcp0 +lte0 /m);
  const down = await node(host, MAIN, 'paths', 'down');
  assert.deepEqual([down.code, down.out], [0, 'taken away: mptcp0\n']);
  assert.equal(settings(host), before);
  assert.equal((await node(host, MAIN, 'paths', 'down')).out, 'there were no paths\n');
});

test('paths: what cannot be is one line, and changes nothing', { skip }, async () => {
  const { host } = system();
  const before = settings(host);
  const wrong = await node(host, MAIN, 'paths', 'up', '--via', 'eth9');
  assert.deepEqual(
    [wrong.code, wrong.err],
    [1, 'mptcp paths: eth9 is not there, is down, or has no IPv4 default route\n'],
  );
  assert.equal((await node(host, MAIN, 'paths', 'sideways')).code, 2);
  assert.equal((await node(host, MAIN, 'paths', 'down', '--auto')).code, 2);
  assert.equal(settings(host), before);
  const program = await node(host, '--input-type=module', '-e', PROGRAM, NET, '1');
  assert.match(program.err, /ERR_MPTCP_NO_PATHS|mptcp paths up/);
});

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { MptcpInfo, SubflowAddresses, TcpInfo } from '../../src/kernel/socket-info.ts';
import type { Child } from './harness/child.ts';
import type { Behaviour, PeerResult } from './harness/kernel-peer.ts';
import { connectNamespaces, Namespace, startKernelPeer } from './harness/namespace.ts';
import { patternDigest } from './harness/pattern.ts';
import { requireRoot } from './harness/root.ts';

interface Info {
  mptcp: MptcpInfo | null;
  tcp: TcpInfo;
  congestionControl: string;
  subflows: SubflowAddresses[];
  subflowTcp: TcpInfo[];
}

describe('kernel MPTCP sockets from Node', { skip: requireRoot() }, () => {
  let client: Namespace;
  let server: Namespace;
  let left: Child;
  let right: Child;

  before(async () => {
    client = Namespace.create('client');
    server = Namespace.create('server');
    for (let index = 0; index < 2; index++) {
      connectNamespaces(
        { namespace: client, device: `c${index}`, address: `10.90.${index}.1/24` },
        { namespace: server, device: `s${index}`, address: `10.90.${index}.2/24` },
      );
    }
    client.ip('address add fd90::1/64 dev c0 nodad');
    server.ip('address add fd90::2/64 dev s0 nodad');
    left = await startKernelPeer(client);
    right = await startKernelPeer(server);
    for (const peer of [left, right]) await peer.call('setLimits', { subflows: 4, addAddrAccepted: 4 });
  });
  after(() => {
    client.close();
    server.close();
  });

  async function pair(
    options: { from?: 'tcp' | 'mptcp'; to?: 'tcp' | 'mptcp'; host?: string },
    clientSide: Behaviour = {},
    serverSide: Behaviour = {},
  ): Promise<{ near: number; far: number; listener: number; port: number }> {
    const host = options.host ?? '10.90.0.2';
    const { listener, port } = await right.call<{ listener: number; port: number }>('listen', {
      protocol: options.to ?? 'mptcp',
      host: host.includes(':') ? '::' : '0.0.0.0',
      ...serverSide,
    });
    const { connection: near } = await left.call<{ connection: number }>('connect', {
      protocol: options.from ?? 'mptcp',
      host,
      port,
      ...clientSide,
    });
    const { connection: far } = await right.event<{ connection: number }>('connection');
    return { near, far, listener, port };
  }

  test('both families: data both ways, half-close, MPTCP_INFO, addresses, TCP_INFO', async () => {
    for (const host of ['10.90.0.2', 'fd90::2']) {
      const { near, far } = await pair(
        { host },
        { bytes: 3_000_000, seed: 1, end: false },
        { bytes: 2_000_000, seed: 2, end: false },
      );
      const there = await right.call<PeerResult>('wait', { connection: far, until: 'bytes', bytes: 3_000_000 });
      const here = await left.call<PeerResult>('wait', { connection: near, until: 'bytes', bytes: 2_000_000 });
      assert.equal(there.sha256, patternDigest(1, 3_000_000));
      assert.equal(here.sha256, patternDigest(2, 2_000_000));
      const info = await left.call<Info>('info', { connection: near });
      assert.equal(info.mptcp?.fallback, false);
      assert.equal(info.mptcp.remoteKeyReceived, true);
      assert.equal(info.mptcp.bytesReceived, 2_000_000);
      assert.equal(info.mptcp.bytesSent, 3_000_000);
      assert.equal(info.mptcp.subflowsTotal, 1);
      assert.equal(info.subflows.length, 1);
      assert.equal(info.subflows[0]!.peer.address, host);
      assert.equal(info.subflowTcp.length, 1);
      assert.equal(info.subflowTcp[0]!.state, 1);
      assert.ok(info.tcp.congestionWindow > 0 && info.tcp.sentMss > 500);
      const other = await right.call<Info>('info', { connection: far });
      assert.notEqual(other.mptcp!.token, 0);
      // Half-close: the other direction goes on.
      await left.call('end', { connection: near });
      assert.equal((await right.call<PeerResult>('wait', { connection: far, until: 'end' })).ended, true);
      await right.call('source', { connection: far, seed: 2, bytes: 1000, end: true });
      const last = await left.call<PeerResult>('wait', { connection: near, until: 'end' });
      assert.equal(last.received, 2_001_000);
      assert.equal(last.error, '');
    }
  });

  test('an announced address becomes a second subflow', async () => {
    await right.call('addEndpoint', { address: '10.90.1.2', flags: ['signal'], id: 9 });
    const before = client.counters();
    const { near } = await pair({}, { bytes: 500_000, end: false });
    let info = await left.call<Info>('info', { connection: near });
    for (let tries = 0; tries < 100 && info.subflows.length < 2; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      info = await left.call<Info>('info', { connection: near });
    }
    assert.deepEqual(info.subflows.map(({ peer }) => peer.address).sort(), ['10.90.0.2', '10.90.1.2']);
    assert.deepEqual(
      info.subflowTcp.map(({ state, pathMtu }) => [state, pathMtu]),
      [
        [1, 1500],
        [1, 1500],
      ],
    );
    assert.equal(client.countersSince(before).get('MPTcpExtMPJoinSynAckRx'), 1);
    await left.call('end', { connection: near });
    await right.call('removeEndpoint', { id: 9 });
  });

  test('plain TCP on either side falls back, and the info says so by being absent', async () => {
    for (const [from, to] of [
      ['tcp', 'mptcp'],
      ['mptcp', 'tcp'],
    ] as const) {
      const { near, far } = await pair({ from, to }, { bytes: 100_000, seed: 5, end: true });
      const result = await right.call<PeerResult>('wait', { connection: far, until: 'end' });
      assert.equal(result.sha256, patternDigest(5, 100_000));
      assert.equal((await right.call<Info>('info', { connection: far })).mptcp, null);
      assert.equal((await left.call<Info>('info', { connection: near })).mptcp, null);
      assert.deepEqual((await left.call<Info>('info', { connection: near })).subflows, []);
    }
  });

  test('echo: everything comes back', async () => {
    const { near } = await pair({}, { bytes: 1_000_000, seed: 6 }, { mode: 'echo' });
    const result = await left.call<PeerResult>('wait', { connection: near, until: 'end' });
    assert.equal(result.sha256, patternDigest(6, 1_000_000));
  });

  test('a reset is a fast close: the peer sees ECONNRESET', async () => {
    const before = server.counters();
    const { near, far } = await pair({});
    await left.call('reset', { connection: near });
    const result = await right.call<PeerResult>('wait', { connection: far, until: 'close' });
    assert.equal(result.error, 'ECONNRESET');
    assert.equal(server.countersSince(before).get('MPTcpExtMPFastcloseRx'), 1);
  });

  test('errors have codes: refused, address in use, MPTCP switched off', async () => {
    const refused = left.call('connect', { host: '10.90.0.2', port: 1 });
    await assert.rejects(refused, { code: 'ECONNREFUSED' });
    const { port } = await pair({});
    await assert.rejects(right.call('listen', { host: '0.0.0.0', port }), { code: 'EADDRINUSE' });
    await assert.rejects(right.call('listen', { host: '192.0.2.1' }), { code: 'EADDRNOTAVAIL' });
    client.sysctl('net.mptcp.enabled', 0);
    await assert.rejects(left.call('connect', { host: '10.90.0.2', port }), { code: 'ENOPROTOOPT' });
    const { connection } = await left.call<{ connection: number }>('connect', {
      host: '10.90.0.2',
      port,
      fallback: true,
    });
    assert.equal((await left.call<Info>('info', { connection })).mptcp, null);
    client.sysctl('net.mptcp.enabled', 1);
  });

  test('local address, buffers and congestion control are as asked', async () => {
    const { port } = await right.call<{ port: number }>('listen', { host: '0.0.0.0', congestionControl: 'reno' });
    const connected = await left.call<{ connection: number; localAddress: string; localPort: number }>('connect', {
      host: '10.90.0.2',
      port,
      localAddress: '10.90.1.1',
      localPort: 40_123,
      receiveBuffer: 32_768,
      congestionControl: 'reno',
    });
    assert.equal(connected.localAddress, '10.90.1.1');
    assert.equal(connected.localPort, 40_123);
    assert.equal((await left.call<Info>('info', connected)).congestionControl, 'reno');
    await assert.rejects(
      left.call('connect', { protocol: 'tcp', host: '10.90.0.2', port, congestionControl: 'no-such' }),
      {
        code: 'ENOENT',
      },
    );
  });

  test('the programs end by themselves', async () => {
    assert.equal(await left.end(), 0);
    assert.equal(await right.end(), 0);
  });
});

test('the congestion control of a namespace is checked', { skip: requireRoot() }, () => {
  const namespace = Namespace.create('cc', { congestionControl: 'reno' });
  try {
    assert.equal(namespace.readSysctl('net.ipv4.tcp_congestion_control'), 'reno');
    assert.throws(() => namespace.setCongestionControl('no-such'), /tcp_allowed_congestion_control/);
  } finally {
    namespace.close();
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedHost } from '../../src/sim/host.ts';
import { addressOf, twoHosts } from '../../src/sim/topology.ts';
import { Errno } from '../../src/sockets/errno.ts';
import { Family, Protocol, SocketType } from '../../src/sockets/sockets.ts';
import { Mptcp, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';
import { observe } from './segments.ts';

const PORT = 5999;

/** A client opens a connection to `port` of a server that awaits joins at `PORT`; what the RST said. */
function open(protocol: number, port: number) {
  const built = twoHosts<SimulatedHost>({
    seed: 1,
    paths: [{ delay: 10 }],
    host: (name, interfaces, world) => {
      const endpoints = name === 'server' ? [{ address: addressOf(4, 0, 2), signal: true, port: PORT }] : [];
      return new SimulatedHost(interfaces, world.random.derive(name), { endpoints });
    },
  });
  const resets: number[] = [];
  observe(built.world, (fromA, segment) => {
    if (fromA || (segment.flags & Flag.Rst) === 0) return;
    resets.push((segment.mptcp.present & Mptcp.Reset) !== 0 ? segment.mptcp.resetReason : -1);
  });
  const { sockets } = built.client;
  const descriptor = sockets.socket(Family.Inet, SocketType.Stream, protocol);
  sockets.connect(descriptor, addressOf(4, 0, 2), port, 0);
  built.world.run({ until: 500 });
  const { counters } = built.server.stack;
  return { resets, error: sockets.error(descriptor), attempts: counters.MPCapableEndpAttempt, rst: counters.MPRstTx };
}

test('E1.11 H1.09 MP_CAPABLE to a port that was announced for joins: reset, with the reason', () => {
  const { resets, error, attempts, rst } = open(Protocol.Mptcp, PORT);
  assert.deepEqual(resets, [ResetReason.Prohibited]);
  assert.equal(error, Errno.ECONNREFUSED);
  assert.deepEqual([attempts, rst], [1, 1]);
});

test('E1.11 a plain SYN there, or MP_CAPABLE to another port, is refused as anywhere', () => {
  for (const [protocol, port] of [
    [Protocol.Tcp, PORT],
    [Protocol.Mptcp, PORT + 1],
  ] as const) {
    const { resets, error, attempts, rst } = open(protocol, port);
    assert.deepEqual(resets, [-1]);
    assert.equal(error, Errno.ECONNREFUSED);
    assert.deepEqual([attempts, rst], [0, 0]);
  }
});

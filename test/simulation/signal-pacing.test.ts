import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { addressOf } from '../../src/sim/topology.ts';
import { Shutdown } from '../../src/sockets/sockets.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';
import { type ConnectedOptions, connected, path } from './exchange.ts';
import { announcing, inject } from './injection.ts';
import { onSent } from './segments.ts';

/** RFC 8684 §3.4.1: no more than two duplicate ACKs in a row for the sake of signals. */

const SIGNALS = Mptcp.AddAddress | Mptcp.RemoveAddress | Mptcp.Priority | Mptcp.Fail;
/** A round trip of `path()`. */
const ROUND_TRIP = 20;

interface Said {
  readonly at: number;
  readonly path: number;
  readonly present: number;
  /** Neither payload nor SYN, FIN, RST, nor anything new acknowledged. */
  readonly isDuplicate: boolean;
}

/** A connection, and what its client said since. */
function watched(subflows: number, options: ConnectedOptions = {}) {
  const paths = Array.from({ length: subflows }, () => path());
  const both = connected({ paths, ...options }, subflows);
  const said: Said[] = [];
  const acknowledged: number[] = [];
  for (const { tcp } of both.clientSide.mptcp!.subflows) {
    acknowledged.push(tcp!.receiver.space.toWire(tcp!.receiver.nxt));
  }
  onSent(both.world, (fromA, segment, index) => {
    if (!fromA) return;
    const isDuplicate =
      segment.span === 0 && segment.flags === Flag.Ack && segment.acknowledgment === acknowledged[index];
    acknowledged[index] = segment.acknowledgment;
    said.push({ at: both.world.now, path: index, present: segment.mptcp.present, isDuplicate });
  });
  return { ...both, said, mptcp: both.clientSide.mptcp! };
}

/** The longest row of duplicate ACKs with signals on one path, none of them a round trip after its neighbour. */
function longestRow(said: readonly Said[]): number {
  let longest = 0;
  const rows = new Map<number, { count: number; at: number }>();
  for (const { at, path: index, isDuplicate, present } of said) {
    const row = rows.get(index) ?? { count: 0, at };
    if (!isDuplicate || at - row.at >= ROUND_TRIP) row.count = 0;
    if (isDuplicate && (present & SIGNALS) !== 0) {
      row.count++;
      row.at = at;
    }
    rows.set(index, row);
    longest = Math.max(longest, row.count);
  }
  return longest;
}

const signals = (said: readonly Said[]) => said.filter(({ present }) => (present & SIGNALS) !== 0);

test('A5.27 two announcements, a priority, a withdrawal and a DATA_FIN at once: the third signal goes out a round trip later', () => {
  const { world, client, server, near, mptcp, said } = watched(1, { client: { endpoints: [] } });
  const from = world.now;
  for (const id of [21, 22]) mptcp.announce(from, id, addressOf(4, id, 1), 0);
  mptcp.setBackup(from, 1, true);
  mptcp.withdraw(from, [33]);
  client.sockets.shutdown(near, Shutdown.Write);
  client.stack.touchAll();
  world.run({ until: from + 1 });
  equal(signals(said).length, 2, 'two at once');
  equal(longestRow(said), 2);
  world.run({ until: from + ROUND_TRIP - 1 });
  equal(signals(said).length, 2, 'no third within a round trip');
  world.run({ until: from + 1000 });
  equal(longestRow(said), 2, 'never three');
  const { AddAddr, MPPrioRx, RmAddr } = server.stack.counters;
  deepEqual([AddAddr, MPPrioRx, RmAddr], [2, 1, 1], 'all were said');
  ok(signals(said)[2]!.at <= from + 200, 'the last before long');
});

test('A5.27 six announcements at once: two in each round trip, none is lost', () => {
  const { world, client, server, mptcp, said } = watched(1, { client: { endpoints: [] } });
  const from = world.now;
  for (let id = 21; id <= 26; id++) mptcp.announce(from, id, addressOf(4, id, 1), 0);
  client.stack.touchAll();
  world.run({ until: from + 150 });
  equal(longestRow(said), 2);
  const times = signals(said).map(({ at }) => at - from);
  equal(times.length, 6, 'each once');
  equal(server.stack.counters.AddAddr, 6, 'each came');
  for (const first of [0, 2, 4]) equal(times[first], times[first + 1], 'two together');
  ok(times[2]! - times[0]! >= ROUND_TRIP, `${times[2]} ms later`);
  ok(times[4]! - times[2]! >= ROUND_TRIP, `${times[4]} ms later`);
});

test('A5.27 data that goes out ends the row: what waited follows at once', () => {
  const { world, client, near, server, mptcp, said } = watched(1, { client: { endpoints: [] } });
  const from = world.now;
  for (let id = 21; id <= 23; id++) mptcp.announce(from, id, addressOf(4, id, 1), 0);
  client.stack.touchAll();
  world.run({ until: from + 5 });
  equal(signals(said).length, 2);
  client.sockets.send(near, new Uint8Array(100), 0, 100);
  world.run({ until: from + 6 });
  deepEqual(
    signals(said).map(({ at }) => at < from + 6),
    [true, true, true],
    'the third stands behind the data',
  );
  equal(longestRow(said), 2);
  world.run({ until: from + 50 });
  equal(server.stack.counters.AddAddr, 3);
});

test('A5.27 something new to acknowledge ends the row: that ACK and one more may carry signals', () => {
  const { world, client, server, far, mptcp, said } = watched(1, { client: { endpoints: [] } });
  server.sockets.send(far, new Uint8Array(100), 0, 100);
  world.run({ until: world.now + 5 });
  const from = world.now;
  for (let id = 21; id <= 24; id++) mptcp.announce(from, id, addressOf(4, id, 1), 0);
  client.stack.touchAll();
  world.run({ until: from + 4 });
  equal(signals(said).length, 2);
  world.run({ until: from + ROUND_TRIP / 2 });
  equal(signals(said).length, 4, 'with the data that came');
  equal(said.filter(({ isDuplicate }) => !isDuplicate).length, 1, 'of which one is no duplicate');
  equal(longestRow(said), 2);
});

test('A5.27 echoes wait as announcements do', () => {
  const { world, client, clientSide, said } = watched(1, { client: { endpoints: [] } });
  const from = world.now;
  const [first] = clientSide.mptcp!.subflows;
  for (let id = 21; id <= 25; id++) inject(from, client, first!, announcing(first!, id, addressOf(4, id, 2)));
  world.run({ until: from + 1 });
  equal(signals(said).length, 2);
  equal(said.length, 2, 'and no ACK says nothing in their place');
  world.run({ until: from + 150 });
  equal(client.stack.counters.EchoAddTx, 5, 'all were echoed');
  equal(longestRow(said), 2);
});

test('A5.27 another subflow says what one may not say yet', () => {
  const { world, client, server, mptcp, said } = watched(2);
  const from = world.now;
  for (let id = 21; id <= 24; id++) mptcp.announce(from, id, addressOf(4, id, 1), 0);
  client.stack.touchAll();
  world.run({ until: from + 1 });
  deepEqual(
    signals(said)
      .map(({ path: index }) => index)
      .sort(),
    [0, 0, 1, 1],
    'two on each',
  );
  world.run({ until: from + 100 });
  equal(server.stack.counters.AddAddr, 4);
  equal(longestRow(said), 2);
});

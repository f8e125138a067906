import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit, type PathOptions } from '../../src/link/index.ts';
import type { Subflow } from '../../src/mptcp/subflow.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { type PairOptions, pair } from './pair.ts';

/** The busier path is the first. */
const PATHS: readonly PathOptions[] = [
  { rate: mbit(30), delay: 10 },
  { rate: mbit(10), delay: 25 },
];
const ENDLESS = 500e6;
/** The second path leads to an address of its own that the server announces. */
const ANNOUNCED: Partial<PairOptions> = {
  client: { endpoints: [], addAddrAcceptedLimit: 1 },
  server: { endpoints: [{ address: addressOf(4, 1, 2), signal: true }] },
};
/** The same, and the client joins from its first address as well, once that is a new one. */
const ANNOUNCED_BOTH: Partial<PairOptions> = {
  client: { endpoints: [{ address: addressOf(4, 0, 1), subflow: true }], addAddrAcceptedLimit: 1 },
  server: { endpoints: [{ address: addressOf(4, 1, 2), signal: true }] },
};
/** The client has one address at a time, and joins from each that it gets. */
const ALTERNATIVE: Partial<PairOptions> = {
  client: {
    endpoints: [
      { address: addressOf(4, 0, 1), subflow: true },
      { address: addressOf(4, 1, 1), subflow: true },
    ],
  },
};

/** A transfer that goes on for longer than any test looks, after its first three seconds. */
function underWay(upload: boolean, options: Partial<PairOptions> = {}) {
  const both = pair({ paths: PATHS, ...options });
  const { world, clientApp, serverApp, client, server, serverAddress } = both;
  if (options === ALTERNATIVE) client.stack.removeAddress(0, 1, addressOf(4, 1, 1));
  serverApp.listen(80, { toSend: upload ? 0 : ENDLESS });
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: upload ? ENDLESS : 0 });
  world.run({ until: 3000 });
  const accepted = serverApp.ends[0]!;
  const receiver = upload ? accepted : end;
  const connections = {
    client: client.sockets.connectionOf(end.descriptor)!.mptcp!,
    server: server.sockets.connectionOf(accepted.descriptor)!.mptcp!,
  };
  const sender = upload ? connections.client : connections.server;
  /** The sender's subflow over path `index`: the one from, or to, the client's address there. */
  const subflow = (index: number): Subflow | undefined =>
    sender.subflows.find(
      (each) => each.established && (upload ? each.local : each.peer).equals(addressOf(4, index, 1)),
    );
  /** ms from now until the stream goes on: until the next byte in order is read after a pause. */
  const silence = (within: number): number => {
    const from = world.now;
    receiver.longestGap = 0;
    receiver.lastByteAt = from;
    world.run({ until: from + within });
    return Math.max(receiver.longestGap, world.now - receiver.lastByteAt);
  };
  const rate = (over: number): number => {
    const before = receiver.received;
    world.run({ until: world.now + over });
    return ((receiver.received - before) * 8) / over / 1000;
  };
  const fine = (): void => {
    equal(receiver.wrongAt, -1);
    equal(end.error + accepted.error, 0);
    equal(client.stack.defects.length + server.stack.defects.length, 0);
  };
  return { ...both, end, accepted, receiver, connections, sender, subflow, silence, rate, fine };
}

for (const upload of [true, false]) {
  const way = upload ? 'up' : 'down';

  for (const direction of ['both ways', 'for data', 'for acknowledgments'] as const) {
    test(`A9.11, K07 ${way}: the busier path dies silently ${direction}: data flows again within two of its RTOs`, (context) => {
      for (const at of [0, 13, 137]) {
        const run = underWay(upload);
        const { world, paths, subflow, silence, rate, fine } = run;
        world.run({ until: world.now + at });
        const dying = subflow(0)!;
        ok(dying.bytesSent > subflow(1)!.bytesSent, 'the first path is the busier one');
        const rto = dying.tcp!.sender.rtt.rto;
        const [data, acks] = upload ? [paths[0]!.aToB, paths[0]!.bToA] : [paths[0]!.bToA, paths[0]!.aToB];
        if (direction !== 'for acknowledgments') data.setUp(world.now, false);
        if (direction !== 'for data') acks.setUp(world.now, false);
        const pause = silence(5000);
        context.diagnostic(`${pause.toFixed(0)} ms of silence, RTO ${rto.toFixed(0)} ms`);
        ok(pause <= 2 * rto, `${pause.toFixed(0)} ms of silence with an RTO of ${rto.toFixed(0)} ms`);
        const after = rate(2000);
        ok(after > 0.9 * 0.949 * 10, `the other path carries ${after.toFixed(1)} Mbit/s`);
        fine();
      }
    });
  }

  for (const side of ['client', 'server'] as const) {
    test(`A6.11, A6.15 ${way}: the ${side} gives up the busier path: data flows within a round trip and 50 ms`, (context) => {
      for (const at of [0, 13, 137]) {
        const { world, paths, client, server, subflow, silence, rate, connections, fine } = underWay(upload, ANNOUNCED);
        world.run({ until: world.now + at });
        equal(connections.client.subflows.length, 2);
        const roundTrip = subflow(1)!.tcp!.sender.rtt.smoothed;
        const host = side === 'client' ? client : server;
        host.stack.removeAddress(world.now, 0, addressOf(4, 0, side === 'client' ? 1 : 2));
        const data = upload ? paths[1]!.aToB : paths[1]!.bToA;
        const dropped = data.counters.queueFull;
        const pause = silence(3000);
        const losses = data.counters.queueFull - dropped;
        context.diagnostic(`${pause.toFixed(0)} ms of silence, RTT ${roundTrip.toFixed(0)} ms`);
        // What the other path's full queue drops at that very moment costs it a round trip more.
        ok(
          pause <= (losses > 0 ? 2 : 1) * roundTrip + 50,
          `${pause.toFixed(0)} ms of silence with an RTT of ${roundTrip.toFixed(0)} ms`,
        );
        for (const connection of [connections.client, connections.server]) {
          const left = connection.subflows.filter((each) => each.established);
          equal(left.length, 1, 'one subflow is given up at both ends');
          ok(left[0]!.local.equals(addressOf(4, 1, connection === connections.client ? 1 : 2)));
        }
        const after = rate(2000);
        ok(after > 0.9 * 0.949 * 10, `the other path carries ${after.toFixed(1)} Mbit/s`);
        fine();
      }
    });
  }

  test(`E1.17 ${way}: an address that comes back is joined from again, and carries its share within a second`, () => {
    const { world, client, subflow, rate, connections, fine } = underWay(upload, ANNOUNCED_BOTH);
    const address = addressOf(4, 0, 1);
    client.stack.removeAddress(world.now, 0, address);
    world.run({ until: world.now + 2000 });
    equal(subflow(0), undefined);
    client.stack.addAddress(world.now, 0, { address, prefixLength: 24 });
    world.run({ until: world.now + 1000 });
    const joined = subflow(0)!;
    ok(joined.joined && joined.established, 'a new subflow from the address that is back');
    equal(connections.client.subflows.filter((each) => each.established).length, 2);
    const both = rate(3000);
    ok(both > 0.9 * 0.949 * 40, `${both.toFixed(1)} Mbit/s over both paths`);
    fine();
  });

  test(`A10.06, P19 ${way}: break before make under load: the stream goes on from the next address`, () => {
    const { world, client, subflow, receiver, silence, rate, connections, fine } = underWay(upload, ALTERNATIVE);
    equal(connections.client.subflows.length, 1);
    for (let change = 0; change < 4; change++) {
      const [old, next] = change % 2 === 0 ? [0, 1] : [1, 0];
      const gone = addressOf(4, old, 1);
      client.stack.removeAddress(world.now, old, gone);
      world.run({ until: world.now + 1000 });
      const received = receiver.received;
      world.run({ until: world.now + 4000 });
      equal(receiver.received, received, 'nothing flows without an address');
      equal(connections.client.closeReason, -1);
      const added = addressOf(4, next, 1);
      client.stack.addAddress(world.now, next, { address: added, prefixLength: 24 });
      const pause = silence(3000);
      ok(pause < 1000, `${pause.toFixed(0)} ms until the stream goes on`);
      ok(subflow(next)!.established);
      const slowest = rate(2000);
      ok(slowest > 0.8 * 0.949 * 10, `${slowest.toFixed(1)} Mbit/s from the new address`);
    }
    fine();
  });
}

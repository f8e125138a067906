import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit } from '../../src/link/index.ts';
import { connected, path } from './exchange.ts';
import { pair } from './pair.ts';

/** With a small receive buffer everyone waits for the path that has the lowest byte: nobody waits for its timer (K09, A9.19). */

/** Nobody is saved by a timeout. */
const PATIENT = { tcp: { minimumRto: 1500 }, mptcp: { minimumRto: 1500 } };
const BYTES = 4_000_000;

/** The longest pause of a transfer over two like paths, the first of which dies silently at `diesAt`; ms. */
function pause(upload: boolean, diesAt: number, opportunisticRetransmission = true) {
  const patient = { ...PATIENT, mptcp: { ...PATIENT.mptcp, opportunisticRetransmission } };
  const way = { rate: mbit(20), delay: 10, queue: 200_000 };
  const { world, paths, clientApp, serverApp, serverAddress, client, server } = pair({
    paths: [way, { ...way, delay: 11 }],
    client: patient,
    server: patient,
  });
  const settings = { receiveBuffer: 150_000 };
  serverApp.listen(80, { toSend: upload ? 0 : BYTES, settings });
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: upload ? BYTES : 0, settings });
  world.run({ until: diesAt });
  const receiver = upload ? serverApp.ends[0]! : end;
  const dying = (upload ? client : server).sockets.connectionOf(
    upload ? end.descriptor : serverApp.ends[0]!.descriptor,
  )!.mptcp!.subflows[0]!;
  ok(dying.tcp!.sender.una < dying.tcp!.sender.nxt, 'it has something in flight');
  ok(receiver.received < BYTES / 2, 'in the middle of the transfer');
  const roundTrip = dying.tcp!.sender.rtt.smoothed;
  receiver.longestGap = 0;
  paths[0]!.setUp(world.now, false);
  world.run({ until: 60_000, condition: () => receiver.received === BYTES });
  equal(receiver.received, BYTES);
  equal(receiver.wrongAt, -1);
  const sent = (upload ? client : server).stack.counters.OpportunisticRetrans;
  return { longest: receiver.longestGap, roundTrip, sent };
}

for (const upload of [true, false]) {
  test(`K09 A9.19 a path that brings nothing for two round trips keeps no other waiting, ${upload ? 'up' : 'down'}`, (context) => {
    for (const diesAt of [300, 313, 377]) {
      const { longest, roundTrip, sent } = pause(upload, diesAt);
      context.diagnostic(`${longest.toFixed(0)} ms, RTT ${roundTrip.toFixed(0)} ms`);
      ok(longest <= 4 * roundTrip, `a pause of ${longest.toFixed(0)} ms with an RTT of ${roundTrip.toFixed(0)} ms`);
      ok(sent > 0, 'sent again by the other path');
    }
  });
}

test('K09 without opportunistic retransmission the timeout decides', () => {
  const { longest, sent } = pause(true, 300, false);
  equal(sent, 0);
  ok(longest > 1400, `a pause of ${longest.toFixed(0)} ms`);
});

test('A9.19 a thin stream: what is sent after a path fell silent goes by the other, what was under way soon after', () => {
  const { world, client, server, near, far, paths, target } = connected({
    paths: [path(), path([], { delay: 25 })],
    server: PATIENT,
  });
  server.sockets.configure(far, { noDelay: true });
  const start = world.now;
  let sent = 0;
  let last = start;
  let received = 0;
  let gap = 0;
  for (let at = 0; at < 2500; at += 10) {
    world.at(start + at, () => {
      sent += server.sockets.send(far, new Uint8Array(5), 0, 5);
      server.stack.touchAll();
    });
  }
  world.at(start + 1000, () => paths[0]!.setUp(world.now, false));
  for (let at = 0; at < 2600; at++) {
    world.at(start + at, () => {
      const count = client.sockets.recv(near, target, 0, 1000);
      if (count <= 0) return;
      received += count;
      gap = Math.max(gap, world.now - last);
      last = world.now;
    });
  }
  world.run({ until: start + 2700 });
  equal(received, sent);
  ok(gap < 200, `a pause of ${gap.toFixed(0)} ms`);
});

import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { connected, path } from './exchange.ts';

/** Bytes that one connection may hold in either direction. */
const BUDGET = 65_536;
const BOUND = {
  tcp: { receiveBuffer: BUDGET, maximumReceiveBuffer: BUDGET, sendBuffer: BUDGET, maximumSendBuffer: BUDGET },
  mptcp: { maximumSendBuffer: BUDGET },
};

for (const count of [1, 4]) {
  test(`C58 ${count} subflows hold no more than the budget of their connection, however they share it`, () => {
    const paths = Array.from({ length: count }, (_value, index) => path([], { delay: 10 + 3 * index, loss: 0.02 }));
    const { world, client, server, near, far, target, clientSide, serverSide } = connected(
      { paths, client: BOUND, server: BOUND },
      count,
    );
    const sender = clientSide.mptcp!;
    const receiver = serverSide.mptcp!;
    const bytes = new Uint8Array(200_000);
    let written = 0;
    let read = 0;
    let most = 0;
    const turn = (reads: boolean): void => {
      written += Math.max(0, client.sockets.send(near, bytes, 0, bytes.length));
      world.run({ until: world.now + 5 });
      ok(sender.sendQueue.length <= BUDGET, `${sender.sendQueue.length} bytes are kept to send`);
      ok(receiver.ring.capacity <= BUDGET, `${receiver.ring.capacity} bytes are taken to receive`);
      most = Math.max(most, receiver.ring.capacity);
      if (reads) read += Math.max(0, server.sockets.recv(far, target, 0, 9000));
    };
    // Nobody reads: the budget is all that is ever taken, out of order or in order, on whatever subflow.
    for (let round = 0; round < 400; round++) turn(false);
    equal(client.sockets.send(near, bytes, 0, 1), -11, 'and no more is taken from the writer');
    ok(written <= 2 * BUDGET, `${written} bytes were taken, for two budgets`);
    ok(receiver.readable > BUDGET / 2, `${receiver.readable} bytes wait for the reader`);
    for (let round = 0; round < 2000; round++) turn(true);
    ok(read > 4 * BUDGET, `${read} bytes went through`);
    equal(most, BUDGET, 'the whole budget was in use');
    if (count > 1) ok(server.stack.counters.OFOQueueTail > 10, 'with bytes that came ahead of others');
    const used = sender.subflows.filter((subflow) => subflow.bytesSent > 10_000).length;
    equal(used, count, 'every subflow took part');
    equal(client.stack.defects.length + server.stack.defects.length, 0);
  });
}

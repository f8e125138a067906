import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenTable } from '../../src/mptcp/tokens.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Message } from '../../src/sockets/sockets.ts';
import { BYTES, listen, read, scene } from './sockets-scene.ts';

/** The cases of the kernel's unit test of its token table, on ours. */

test('I3.04 a request has a token that is not 0; nobody is found by it until it is accepted, and it can be given up', () => {
  const table = new TokenTable<string>();
  const random = new SeededRandom(1);
  for (let count = 0; count < 1000; count++) {
    const key = table.reserve(random)!;
    assert.notEqual(key.token, 0);
    assert.equal(table.find(key.token), undefined);
    assert.equal(table.size, 1);
    table.release(key.token);
    assert.equal(table.size, 0);
  }
});

test('I3.05 a connection that begins is found by its token at once, and not after its end', () => {
  const { client, mine, wait, connected } = scene();
  const [here] = connected();
  const connection = mine.connectionOf(here)!;
  assert.deepEqual([...client.stack.connections()], [connection]);
  assert.equal(client.stack.tokenCount, 1);
  mine.abort(here);
  wait(100);
  assert.equal(client.stack.tokenCount, 0);

  const table = new TokenTable<string>();
  const key = table.reserve(new SeededRandom(2))!;
  table.own(key.token, 'connection');
  assert.equal(table.find(key.token), 'connection');
  table.release(key.token);
  assert.equal(table.find(key.token), undefined);
});

test('I3.06 an accepted request hands its token to the connection, and its own end takes nothing away', () => {
  const second = { address: addressOf(4, 1, 1), subflow: true };
  const { mine, theirs, server, wait, world, serverAddress } = scene({
    paths: [{ delay: 10 }, { delay: 10 }],
    client: { endpoints: [second] },
  });
  const listener = listen(theirs);
  const here = mine.socket(2, 1, 262);
  mine.connect(here, serverAddress(0), 80, world.now);
  wait(15);
  assert.equal(server.stack.tokenCount, 1, 'the SYN is there, its answer on the way');
  assert.deepEqual([...server.stack.connections()], [], 'nobody has it');
  wait(35);
  assert.equal(server.stack.tokenCount, 1, 'the same token');
  const there = theirs.accept(listener);
  assert.equal([...server.stack.connections()].length, 1);
  // Far beyond the life of a request that nobody completes.
  mine.send(here, BYTES, 0, 100);
  wait(200_000);
  assert.equal(server.stack.counters.MPJoinAckRx, 1, 'a join finds it by its token');
  assert.equal(server.stack.counters.MPJoinNoTokenFound, 0);
  assert.equal(read(theirs, there), 100);
  assert.equal(server.stack.tokenCount, 1);
});

test('I3.07 of a connection that is gone nobody is found: a late join is answered so', () => {
  const second = { address: addressOf(4, 1, 1), subflow: true };
  const { client, mine, theirs, server, wait, connected, paths, world } = scene({
    paths: [{ delay: 10 }, { delay: 10 }],
  });
  const [here, there] = connected();
  mine.send(here, BYTES, 0, 100);
  wait(100);
  assert.equal(theirs.recv(there, new Uint8Array(100), 0, 100, Message.Truncate), 100);
  // The server's connection ends, and the client does not hear of it.
  paths[0]!.setUp(world.now, false);
  theirs.abort(there);
  wait(100);
  assert.equal(server.stack.tokenCount, 0);
  assert.equal(client.stack.tokenCount, 1);
  client.endpoints.add(world.now, second);
  client.stack.touchAll();
  wait(100);
  assert.equal(server.stack.counters.MPJoinNoTokenFound, 1);
  assert.equal(server.stack.counters.MPJoinAckRx, 0);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Middlebox } from '../../src/link/index.ts';
import { StripOption } from '../../src/link/index.ts';
import { addressOf } from '../../src/sim/topology.ts';
import { Errno, errnoByName, errnoName } from '../../src/sockets/errno.ts';
import { closeReasonName } from '../../src/sockets/info.ts';
import { Family, Message, Poll, Protocol, Shutdown, SocketType } from '../../src/sockets/sockets.ts';
import { CloseReason } from '../../src/tcp/seams.ts';
import { Address } from '../../src/wire/address.ts';
import { BYTES, listen, read, scene } from './sockets-scene.ts';

test('D1.01 socket() knows IPv4 and IPv6, streams, TCP and MPTCP; MPTCP only where it is enabled', () => {
  const { mine, theirs } = scene({ server: { mptcp: { enabled: false } } });
  for (const family of [Family.Inet, Family.Inet6]) {
    for (const protocol of [0, 6, 262]) assert.ok(mine.socket(family, SocketType.Stream, protocol) >= 0);
  }
  assert.equal(mine.socket(1, SocketType.Stream, 0), -Errno.EAFNOSUPPORT);
  assert.equal(mine.socket(Family.Inet, 2, 0), -Errno.EPROTONOSUPPORT);
  assert.equal(mine.socket(Family.Inet, SocketType.Stream, 17), -Errno.EPROTONOSUPPORT);
  assert.equal(theirs.socket(Family.Inet, SocketType.Stream, 262), -Errno.ENOPROTOOPT);
  assert.ok(theirs.socket(Family.Inet, SocketType.Stream, 6) >= 0);
});

for (const [client, server, multipath] of [
  [Protocol.Mptcp, Protocol.Mptcp, true],
  [Protocol.Tcp, Protocol.Mptcp, false],
  [Protocol.Mptcp, Protocol.Tcp, false],
] as const) {
  test(`A2.01, A2.24, D1.03 protocol ${client} to a listener of ${server}: ${multipath ? 'MPTCP' : 'TCP'} at both ends`, () => {
    const { mine, theirs, wait, connected } = scene();
    const [here, there] = connected(client, server);
    mine.send(here, BYTES, 0, 1000);
    wait(50);
    assert.equal(read(theirs, there), 1000);
    assert.equal(mine.info(here)!.multipath, multipath);
    assert.equal(theirs.info(there)!.multipath, multipath);
    if (client === Protocol.Tcp) assert.equal(theirs.connectionOf(there)!.mptcp, null, 'no MPTCP socket at all');
  });
}

for (const protocol of [Protocol.Tcp, Protocol.Mptcp]) {
  test(`D1.04 protocol ${protocol}: a refused connect, its error once, and another address afterwards`, () => {
    const { mine, theirs, world, wait, serverAddress } = scene();
    const descriptor = mine.socket(Family.Inet, SocketType.Stream, protocol);
    assert.equal(mine.connect(descriptor, serverAddress(0), 81, 0), -Errno.EINPROGRESS);
    assert.equal(mine.connect(descriptor, serverAddress(0), 81, 0), -Errno.EALREADY);
    assert.equal(mine.send(descriptor, BYTES, 0, 1), -Errno.EAGAIN);
    wait(100);
    assert.notEqual(mine.poll(descriptor) & (Poll.Err | Poll.Out), 0);
    assert.equal(mine.error(descriptor), Errno.ECONNREFUSED);
    assert.equal(mine.error(descriptor), 0, 'once');
    const listener = listen(theirs);
    assert.equal(mine.connect(descriptor, serverAddress(0), 80, world.now), -Errno.EINPROGRESS);
    wait(100);
    assert.ok(theirs.accept(listener) >= 0);
    assert.equal(mine.error(descriptor), 0);
    assert.equal(mine.connect(descriptor, serverAddress(0), 80, world.now), -Errno.EISCONN);
    assert.equal(mine.send(descriptor, BYTES, 0, 10), 10);
    assert.equal(mine.stack.tokenCount, protocol === Protocol.Mptcp ? 1 : 0, 'the first attempt left nothing');
  });
}

test('D1.04 the error of a failed connect may be asked of connect itself', () => {
  const { mine, world, wait, serverAddress } = scene();
  const descriptor = mine.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  mine.connect(descriptor, serverAddress(0), 81, 0);
  wait(100);
  assert.equal(mine.connect(descriptor, serverAddress(0), 81, world.now), -Errno.ECONNREFUSED);
  assert.equal(mine.connect(descriptor, serverAddress(0), 81, world.now), -Errno.EINPROGRESS);
});

test('a connect that nobody answers times out', () => {
  const { mine, world, paths, serverAddress } = scene();
  paths[0]!.setUp(0, false);
  const descriptor = mine.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  mine.connect(descriptor, serverAddress(0), 80, 0);
  world.run({ until: 300_000 });
  assert.equal(mine.error(descriptor), Errno.ETIMEDOUT);
  assert.equal(closeReasonName(mine.closeReason(descriptor)), 'timed-out');
});

test('bind and listen: conflicts, addresses that are not ours, sockets in the wrong state', () => {
  const { mine, serverAddress, clientAddress, world } = scene();
  const first = listen(mine);
  const second = mine.socket(Family.Inet, SocketType.Stream, 262);
  assert.equal(mine.bind(second, serverAddress(0), 80), -Errno.EADDRNOTAVAIL);
  assert.equal(mine.bind(second, clientAddress(0), 70_000), -Errno.EINVAL);
  assert.equal(mine.bind(second, clientAddress(0), 80), 0);
  assert.equal(mine.bind(second, clientAddress(0), 81), -Errno.EINVAL, 'bound already');
  assert.equal(mine.listen(second, 8), -Errno.EADDRINUSE);
  assert.equal(mine.listen(first, 5), 0, 'a second listen changes the backlog');
  assert.equal(mine.accept(first), -Errno.EAGAIN);
  assert.equal(mine.accept(second), -Errno.EINVAL);
  assert.equal(mine.connect(first, serverAddress(0), 80, world.now), -Errno.EOPNOTSUPP);
  assert.equal(mine.close(first), 0);
  assert.equal(mine.listen(second, 8), 0, 'free again');
  assert.equal(mine.close(first), -Errno.EBADF);
});

test('connect: no route, no such source, the wrong family', () => {
  const { mine, clientAddress } = scene();
  const fresh = (): number => mine.socket(Family.Inet, SocketType.Stream, 262);
  assert.equal(mine.connect(fresh(), Address.of('fd00::1'), 80, 0), -Errno.EAFNOSUPPORT);
  assert.equal(mine.connect(mine.socket(Family.Inet6, 1, 262), Address.of('fd00::1'), 80, 0), -Errno.ENETUNREACH);
  assert.equal(mine.connect(fresh(), Address.of('10.0.1.2'), 0, 0), -Errno.EINVAL);
  const bound = fresh();
  mine.bind(bound, clientAddress(0), 5000);
  assert.equal(mine.connect(bound, Address.of('10.0.1.2'), 80, 0), -Errno.EINPROGRESS);
  assert.deepEqual(mine.getsockname(bound), { address: clientAddress(0), port: 5000 });
  const again = fresh();
  mine.bind(again, clientAddress(0), 5000);
  assert.equal(mine.connect(again, Address.of('10.0.1.2'), 80, 0), -Errno.EADDRINUSE);
});

test('calls on what is not open or not connected', () => {
  const { mine } = scene();
  for (const outcome of [
    mine.bind(9, undefined, 0),
    mine.listen(9, 0),
    mine.accept(9),
    mine.connect(9, Address.of('10.0.1.2'), 80, 0),
    mine.send(9, BYTES, 0, 1),
    read(mine, 9),
    mine.shutdown(9, Shutdown.Both),
    mine.close(9),
    mine.abort(9),
    mine.error(9),
    mine.configure(9, {}),
  ]) {
    assert.equal(outcome, -Errno.EBADF);
  }
  assert.equal(mine.poll(9), Poll.Nval);
  const idle = mine.socket(Family.Inet, SocketType.Stream, 262);
  assert.equal(mine.send(idle, BYTES, 0, 1), -Errno.ENOTCONN);
  assert.equal(read(mine, idle), -Errno.ENOTCONN);
  assert.equal(mine.shutdown(idle, Shutdown.Both), -Errno.ENOTCONN);
  assert.equal(mine.configure(idle, { sendBuffer: -1 }), -Errno.EINVAL);
  assert.equal(mine.getsockname(idle), undefined);
  assert.equal(mine.getpeername(idle), undefined);
});

test('D1.17 a listener is readable while a connection waits to be accepted', () => {
  const { mine, theirs, wait, serverAddress } = scene();
  const listener = listen(theirs);
  assert.equal(theirs.poll(listener), 0);
  mine.connect(mine.socket(Family.Inet, SocketType.Stream, 262), serverAddress(0), 80, 0);
  wait(100);
  assert.equal(theirs.poll(listener), Poll.In);
  theirs.accept(listener);
  assert.equal(theirs.poll(listener), 0);
});

for (const protocol of [Protocol.Tcp, Protocol.Mptcp]) {
  test(`D1.13, D1.20 protocol ${protocol}: after shutdown one way is over, the other goes on`, () => {
    const { mine, theirs, wait, connected } = scene();
    const [here, there] = connected(protocol);
    assert.equal(mine.send(here, BYTES, 0, 100), 100);
    assert.equal(mine.shutdown(here, Shutdown.Write), 0);
    assert.equal(mine.send(here, BYTES, 0, 1), -Errno.EPIPE);
    wait(400);
    assert.equal(theirs.poll(there) & (Poll.In | Poll.ReadHup | Poll.Hup), Poll.In | Poll.ReadHup);
    assert.equal(read(theirs, there), 100);
    assert.equal(read(theirs, there), 0);
    assert.equal(read(theirs, there), 0, 'the end stays the end');
    assert.equal(theirs.send(there, BYTES, 0, 5000), 5000);
    wait(100);
    assert.equal(read(mine, here), 5000);
    assert.equal(read(mine, here), -Errno.EAGAIN);
    theirs.close(there);
    wait(100);
    assert.equal(read(mine, here), 0);
    assert.equal(mine.error(here), 0);
    if (protocol === Protocol.Mptcp) {
      const { mptcp } = mine.connectionOf(here)!;
      assert.equal(mptcp!.fallenBack, false, 'by DATA_FIN');
    }
  });

  test(`D1.20 protocol ${protocol}: an abort is a reset for the peer, told once`, () => {
    const { mine, theirs, wait, connected } = scene();
    const [here, there] = connected(protocol);
    mine.send(here, BYTES, 0, 100);
    wait(100);
    mine.abort(here);
    wait(100);
    if (protocol === Protocol.Mptcp) assert.equal(theirs.stack.counters.MPFastcloseRx, 1);
    assert.notEqual(theirs.poll(there) & Poll.Err, 0);
    read(theirs, there);
    assert.equal(read(theirs, there), -Errno.ECONNRESET);
    assert.equal(read(theirs, there), 0);
    assert.equal(theirs.send(there, BYTES, 0, 1), -Errno.EPIPE);
    assert.equal(theirs.error(there), 0);
    assert.equal(theirs.closeReason(there), CloseReason.PeerReset);
  });
}

for (const [how, expected] of [
  ['unread input', Errno.ECONNRESET],
  ['linger 0', Errno.ECONNRESET],
  ['nothing unread', 0],
] as const) {
  test(`D1.15 close with ${how}: the peer reads ${expected === 0 ? 'the end' : 'a reset'}`, () => {
    const { mine, theirs, wait, connected, client } = scene();
    const [here, there] = connected();
    theirs.send(there, BYTES, 0, 100);
    wait(100);
    if (how !== 'unread input') read(mine, here);
    if (how === 'linger 0') mine.configure(here, { linger: 0 });
    mine.close(here);
    wait(100);
    assert.equal(read(theirs, there), expected === 0 ? 0 : -expected);
    assert.equal(client.stack.counters.MPFastcloseTx, expected === 0 ? 0 : 1);
    assert.equal(client.stack.counters.MPFastcloseTx, theirs.stack.counters.MPFastcloseRx);
  });
}

test('D1.15 close sends what waits, in the background', () => {
  const { mine, theirs, wait, connected, world } = scene({ paths: [{ delay: 10, rate: 100 }] });
  const [here, there] = connected();
  let sent = 0;
  for (let taken = 1; taken > 0; sent += Math.max(0, taken)) taken = mine.send(here, BYTES, 0, BYTES.length);
  assert.ok(sent > 16_384);
  mine.close(here);
  assert.equal(mine.send(here, BYTES, 0, 1), -Errno.EBADF);
  let received = 0;
  let outcome = 1;
  while (world.now < 60_000 && outcome !== 0) {
    wait(20);
    outcome = read(theirs, there);
    received += Math.max(0, outcome);
  }
  assert.equal(received, sent);
  assert.equal(outcome, 0);
});

test('D1.14 shutdown for reading is not told to the peer: its data is taken', () => {
  const { mine, theirs, wait, connected } = scene();
  const [here, there] = connected();
  assert.equal(mine.shutdown(here, Shutdown.Read), 0);
  assert.equal(read(mine, here), 0);
  assert.equal(theirs.send(there, BYTES, 0, 1000), 1000);
  wait(100);
  assert.equal(theirs.connectionOf(there)!.unacknowledged, 0);
  assert.equal(theirs.closeReason(there), -1);
  assert.equal(mine.send(here, BYTES, 0, 10), 10);
  wait(100);
  assert.equal(read(theirs, there), 10);
});

test('D1.21 after fallback the end is TCP’s FIN', () => {
  const box: Middlebox = new StripOption({ on: 'syn-ack' });
  const { mine, theirs, wait, connected } = scene({ paths: [{ delay: 10, middleboxes: [box] }] });
  const [here, there] = connected();
  assert.equal(mine.info(here)!.multipath, false);
  mine.send(here, BYTES, 0, 100);
  mine.shutdown(here, Shutdown.Write);
  wait(100);
  assert.equal(read(theirs, there), 100);
  assert.equal(read(theirs, there), 0);
  theirs.send(there, BYTES, 0, 50);
  theirs.close(there);
  wait(100);
  assert.equal(read(mine, here), 50);
  assert.equal(read(mine, here), 0);
  assert.equal(mine.error(here), 0);
});

test('D1.06, D1.22 the names are the first subflow’s and outlive it; that it died is no error of the socket', () => {
  const endpoints = [{ address: addressOf(4, 1, 1), subflow: true }];
  const { mine, theirs, wait, connected, client, world, clientAddress, serverAddress } = scene({
    paths: [{ delay: 10 }, { delay: 10 }],
    client: { endpoints },
  });
  const [here, there] = connected();
  mine.send(here, BYTES, 0, 10);
  wait(200);
  assert.equal(read(theirs, there), 10);
  assert.equal(mine.info(here)!.paths.length, 2);
  const name = mine.getsockname(here)!;
  assert.ok(name.address.equals(clientAddress(0)));
  client.stack.removeAddress(world.now, 0, clientAddress(0));
  wait(200);
  assert.deepEqual(
    mine.info(here)!.paths.map((path) => path.id),
    [2],
  );
  assert.deepEqual(mine.getsockname(here), name);
  assert.ok(mine.getpeername(here)!.address.equals(serverAddress(0)));
  assert.ok(theirs.getpeername(there)!.address.equals(clientAddress(0)));
  assert.equal(mine.error(here), 0);
  assert.equal(theirs.error(there), 0);
  mine.send(here, BYTES, 0, 1000);
  wait(100);
  assert.equal(read(theirs, there), 1000);
});

test('D1.24 what the peer’s connection has not acknowledged counts as waiting', () => {
  const { mine, wait, connected } = scene();
  const [here] = connected();
  mine.send(here, BYTES, 0, 1000);
  assert.equal(mine.connectionOf(here)!.unacknowledged, 1000);
  wait(10);
  assert.equal(mine.connectionOf(here)!.unacknowledged, 1000, 'sent');
  wait(100);
  assert.equal(mine.connectionOf(here)!.unacknowledged, 0);
});

test('send takes what there is room for, then says so; writability comes back with acknowledgments', () => {
  const { mine, theirs, wait, connected } = scene({
    client: { tcp: { sendBuffer: 20_000, maximumSendBuffer: 20_000 } },
  });
  const [here, there] = connected(Protocol.Tcp);
  assert.equal(mine.send(here, BYTES, 0, BYTES.length), 20_000);
  assert.equal(mine.send(here, BYTES, 0, 1), -Errno.EAGAIN);
  assert.equal(mine.poll(here) & Poll.Out, 0);
  wait(200);
  assert.equal(mine.poll(here) & Poll.Out, Poll.Out);
  assert.equal(read(theirs, there), 20_000);
});

test('a peek leaves what it shows', () => {
  const { mine, theirs, wait, connected } = scene();
  const [here, there] = connected();
  mine.send(here, Uint8Array.of(1, 2, 3), 0, 3);
  wait(100);
  const seen = new Uint8Array(3);
  assert.equal(theirs.recv(there, seen, 0, 2, Message.Peek), 2);
  assert.deepEqual([...seen], [1, 2, 0]);
  assert.deepEqual([...theirs.peek(there)], [1, 2, 3]);
  theirs.consume(there, 1);
  assert.equal(theirs.recv(there, seen, 0, 3), 2);
  assert.deepEqual([...seen], [2, 3, 0]);
});

test('closing a listener resets what nobody accepted', () => {
  const { mine, theirs, wait, serverAddress } = scene();
  const listener = listen(theirs);
  const descriptor = mine.socket(Family.Inet, SocketType.Stream, 262);
  mine.connect(descriptor, serverAddress(0), 80, 0);
  wait(100);
  assert.equal(read(mine, descriptor), -Errno.EAGAIN);
  theirs.close(listener);
  wait(100);
  assert.equal(read(mine, descriptor), -Errno.ECONNRESET);
  assert.equal(theirs.stack.tokenCount, 0);
});

test('descriptors are used again, the lowest first', () => {
  const { mine } = scene();
  const made = [0, 1, 2].map(() => mine.socket(Family.Inet, SocketType.Stream, 6));
  assert.deepEqual(made, [0, 1, 2]);
  mine.close(1);
  assert.equal(mine.socket(Family.Inet, SocketType.Stream, 6), 1);
});

test('error numbers have Linux’s names', () => {
  assert.equal(errnoName(Errno.ECONNRESET), 'ECONNRESET');
  assert.equal(errnoByName('EADDRINUSE'), 98);
  assert.equal(errnoByName('nonsense'), Errno.EINVAL);
  assert.equal(errnoName(1), 'errno 1');
});

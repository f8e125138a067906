import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Emitter, StripOption, TcpMiddlebox, Way } from '../../src/link/index.ts';
import { pass } from '../../src/link/middlebox/middlebox.ts';
import { Errno } from '../../src/sockets/errno.ts';
import { Family, Message, Protocol, Shutdown, SocketType } from '../../src/sockets/sockets.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Flag, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';
import { BYTES, listen, read, scene } from './sockets-scene.ts';

/** Marks the last byte of every data segment from the client urgent, and notes whether it was before. */
class Urgent extends TcpMiddlebox {
  readonly name = 'urgent';
  private readonly seen: boolean[];

  constructor(seen: boolean[]) {
    super();
    this.seen = seen;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const header = new IpHeader();
    const segment = new Segment();
    const readable = decodeIp(packet, header) === 0 && decodeTcp(packet, header, segment) === 0;
    const length = segment.payloadEnd - segment.payloadStart;
    if (!readable || way !== Way.Forward || length === 0) {
      pass(packet, way, emit);
      return;
    }
    this.seen.push((segment.flags & Flag.Urg) !== 0);
    segment.flags |= Flag.Urg;
    segment.urgent = length;
    const out = new Packet(4096);
    const at = out.start + headerLength(segment);
    out.bytes.set(packet.bytes.subarray(segment.payloadStart, segment.payloadEnd), at);
    encodeSegment(segment, out, length, false);
    pass(out, way, emit);
  }
}

for (const protocol of [Protocol.Tcp, Protocol.Mptcp]) {
  test(`D1.05 protocol ${protocol}: disconnected, the peer is reset, and the socket connects again`, () => {
    const { mine, theirs, wait, connected, serverAddress, world, client } = scene();
    const [here, there] = connected(protocol);
    mine.send(here, BYTES, 0, 100);
    mine.shutdown(here, Shutdown.Read);
    wait(100);
    assert.equal(mine.disconnect(here), 0);
    assert.equal(mine.send(here, BYTES, 0, 1), -Errno.ENOTCONN);
    assert.equal(mine.getpeername(here), undefined);
    wait(100);
    assert.equal(read(theirs, there), 100);
    assert.equal(read(theirs, there), -Errno.ECONNRESET);
    assert.equal(client.stack.counters.MPFastcloseTx, protocol === Protocol.Mptcp ? 1 : 0);
    assert.equal(mine.stack.tokenCount, 0, 'nothing stays of the first connection');

    theirs.close(0);
    const listener = listen(theirs);
    assert.equal(mine.connect(here, serverAddress(0), 80, world.now), -Errno.EINPROGRESS);
    wait(100);
    const again = theirs.accept(listener);
    assert.equal(mine.send(here, BYTES, 0, 50), 50);
    assert.equal(theirs.send(again, BYTES, 0, 60), 60);
    wait(100);
    assert.equal(read(theirs, again), 50);
    assert.equal(read(mine, here), 60, 'not shut down any more');
    assert.equal(mine.error(here), 0);
  });
}

test('D1.05 a listener that is disconnected leaves its port; an unconnected socket is as before', () => {
  const { mine, theirs, wait, serverAddress } = scene();
  const listener = listen(theirs);
  assert.equal(theirs.disconnect(listener), 0);
  const descriptor = mine.socket(Family.Inet, SocketType.Stream, Protocol.Mptcp);
  mine.connect(descriptor, serverAddress(0), 80, 0);
  wait(100);
  assert.equal(mine.error(descriptor), Errno.ECONNREFUSED);
  assert.equal(theirs.listen(listener, 8), 0, 'bound as it was');
  assert.equal(theirs.disconnect(theirs.socket(Family.Inet, SocketType.Stream, Protocol.Tcp)), 0);
  assert.equal(theirs.disconnect(99), -Errno.EBADF);
});

for (const protocol of [Protocol.Tcp, Protocol.Mptcp]) {
  test(`D1.10 protocol ${protocol}: flags of recv: PEEK shows, TRUNC throws away, none waits, and there are no queued errors`, () => {
    const { mine, theirs, wait, connected } = scene();
    const [here, there] = connected(protocol);
    const into = new Uint8Array(10);
    const all = Message.WaitAll | Message.DontWait;
    assert.equal(theirs.recv(there, into, 0, 10, all), -Errno.EAGAIN);
    assert.equal(theirs.recv(there, into, 0, 10, Message.Truncate), -Errno.EAGAIN);
    mine.send(here, Uint8Array.of(1, 2, 3, 4, 5, 6), 0, 6);
    wait(100);
    assert.equal(theirs.recv(there, into, 0, 10, Message.ErrorQueue), -Errno.EAGAIN);
    assert.equal(theirs.recv(there, into, 0, 2, Message.Peek), 2);
    assert.deepEqual([...into.subarray(0, 3)], [1, 2, 0]);
    into.fill(9);
    assert.equal(theirs.recv(there, into, 0, 4, Message.Truncate | Message.Peek), 4);
    assert.equal(theirs.recv(there, into, 0, 2, Message.Truncate), 2);
    assert.deepEqual([...into], Array(10).fill(9), 'nothing is written');
    assert.equal(theirs.recv(there, into, 0, 10, all), 4, 'what there is');
    assert.deepEqual([...into.subarray(0, 5)], [3, 4, 5, 6, 9]);
    assert.equal(theirs.recv(there, into, 0, 10), -Errno.EAGAIN);
  });

  test(`D1.10 protocol ${protocol}: TRUNC of many bytes opens the window as a read does`, () => {
    const buffer = { receiveBuffer: 20_000, maximumReceiveBuffer: 20_000 };
    const { mine, theirs, wait, connected } = scene({ server: { tcp: buffer } });
    const [here, there] = connected(protocol);
    mine.send(here, BYTES, 0, 60_000);
    let gone = 0;
    for (let round = 0; round < 200 && gone < 60_000; round++) {
      wait(50);
      gone += Math.max(0, theirs.recv(there, new Uint8Array(0), 0, 60_000, Message.Truncate));
    }
    assert.equal(gone, 60_000);
  });

  test(`D1.11 protocol ${protocol}: OOB and EOR mean nothing, and urgent bytes of a peer are bytes like others`, () => {
    const urgent: boolean[] = [];
    const box = new Urgent(urgent);
    const { mine, theirs, wait, connected } = scene({ paths: [{ delay: 10, middleboxes: [box] }] });
    const [here, there] = connected(protocol);
    assert.equal(mine.send(here, Uint8Array.of(1, 2, 3), 0, 3, Message.OutOfBand | Message.EndOfRecord), 3);
    wait(100);
    mine.send(here, Uint8Array.of(4, 5), 0, 2);
    wait(100);
    assert.ok(urgent.length >= 2, 'data went by');
    assert.ok(!urgent.includes(true), 'we never send an urgent pointer');
    const into = new Uint8Array(10);
    assert.equal(theirs.recv(there, into, 0, 10), 5);
    assert.deepEqual([...into.subarray(0, 6)], [1, 2, 3, 4, 5, 0], 'in band, one record');
    assert.equal(theirs.info(there)!.multipath, protocol === Protocol.Mptcp);
  });
}

test('D1.23 what can be read, counted; at the end an MPTCP socket says 1, a TCP socket 0; a listener has no such thing', () => {
  for (const protocol of [Protocol.Tcp, Protocol.Mptcp]) {
    const { mine, theirs, wait, connected } = scene();
    const [here, there] = connected(protocol);
    assert.equal(theirs.inputQueue(there), 0);
    mine.send(here, BYTES, 0, 5000);
    wait(100);
    assert.equal(theirs.inputQueue(there), 5000);
    read(theirs, there, 1000);
    assert.equal(theirs.inputQueue(there), 4000);
    mine.shutdown(here, Shutdown.Write);
    wait(100);
    assert.equal(theirs.inputQueue(there), 4000);
    read(theirs, there);
    assert.equal(theirs.inputQueue(there), protocol === Protocol.Mptcp ? 1 : 0);
    assert.equal(theirs.inputQueue(0), -Errno.EINVAL);
    assert.equal(theirs.inputQueue(99), -Errno.EBADF);
    assert.equal(theirs.inputQueue(theirs.socket(Family.Inet, SocketType.Stream, protocol)), 0);
  }
});

for (const kind of ['TCP', 'MPTCP', 'MPTCP after fallback'] as const) {
  test(`D1.25 ${kind}: bytes written and not sent are counted apart from those that are not acknowledged`, () => {
    const small = { receiveBuffer: 10_000, maximumReceiveBuffer: 10_000 };
    const middleboxes = kind === 'MPTCP after fallback' ? [new StripOption({ on: 'syn-ack' })] : [];
    const { mine, theirs, wait, connected } = scene({
      paths: [{ delay: 10, middleboxes }],
      client: { tcp: { sendBuffer: 50_000, maximumSendBuffer: 50_000 } },
      server: { tcp: small },
    });
    const [here, there] = connected(kind === 'TCP' ? Protocol.Tcp : Protocol.Mptcp);
    assert.equal(mine.unsentQueue(here), 0);
    assert.equal(mine.send(here, BYTES, 0, 30_000), 30_000);
    assert.equal(mine.connectionOf(here)!.unacknowledged, 30_000);
    wait(5);
    const unsent = mine.unsentQueue(here);
    assert.ok(unsent >= 20_000 && unsent < 30_000, `${unsent} wait for a window of at most 10000`);
    assert.equal(mine.connectionOf(here)!.unacknowledged, 30_000, 'the others are under way');
    let got = 0;
    for (let round = 0; round < 300 && got < 30_000; round++) {
      wait(50);
      got += Math.max(0, read(theirs, there));
    }
    assert.equal(got, 30_000);
    wait(500);
    assert.equal(mine.unsentQueue(here), 0);
    assert.equal(theirs.unsentQueue(0), -Errno.EINVAL);
    assert.equal(mine.unsentQueue(99), -Errno.EBADF);
  });
}

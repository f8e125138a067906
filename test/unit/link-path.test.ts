import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  Delay,
  EarlyAcknowledger,
  ListLoss,
  mbit,
  Path,
  type PathOptions,
  SplitSegments,
} from '../../src/link/index.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { Address } from '../../src/wire/address.ts';
import { decodeIcmp, IcmpMessage } from '../../src/wire/icmp.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { A, A6, B, line, numbered, numberOf, packet } from './link-packets.ts';

const seed = new SeededRandom('link-path');
const pathOf = (options: PathOptions): Path => new Path(options, (name) => seed.derive(name));

/** Receives everything from both ends punctually: `[time, end, packet]`. */
function drain(path: Path): [number, 'a' | 'b', Packet][] {
  const seen: [number, 'a' | 'b', Packet][] = [];
  const out = new Packet(PACKET_CAPACITY);
  for (let now = path.pollTimeout(); now < Number.POSITIVE_INFINITY; now = path.pollTimeout()) {
    for (const [end, link] of [['b', path.aToB] as const, ['a', path.bToA] as const]) {
      while (link.receive(now, out)) {
        const copy = new Packet(PACKET_CAPACITY);
        copy.copyFrom(out);
        seen.push([now, end, copy]);
      }
    }
  }
  return seen;
}

const brief = (path: Path): [number, string, number][] => drain(path).map(([at, end, one]) => [at, end, numberOf(one)]);

test('mbit gives bytes per millisecond', () => {
  assert.equal(mbit(30), 3750);
});

test('a path takes serialisation time and delay, each way its own', () => {
  const path = pathOf({ rate: mbit(8), delay: 10, bToA: { rate: mbit(80), delay: 3 } });
  path.aToB.send(0, numbered(1));
  path.aToB.send(0, numbered(2));
  path.bToA.send(0, numbered(3));
  assert.deepEqual(brief(path), [
    [3.1, 'a', 3],
    [11, 'b', 1],
    [12, 'b', 2],
  ]);
});

test('the queue is one bandwidth-delay product unless given, 10 packets at least', () => {
  // 1000 bytes/ms for 2 x 20 ms: 40 packets of 1000 bytes wait, one is being sent.
  const path = pathOf({ rate: 1000, delay: 20 });
  for (let number = 0; number < 60; number++) path.aToB.send(0, numbered(number));
  assert.equal(path.aToB.counters.queueFull, 19);
  const short = pathOf({ rate: 1000, delay: 0.1 });
  for (let number = 0; number < 60; number++) short.aToB.send(0, numbered(number));
  assert.equal(short.aToB.counters.queueFull, 44);
  const given = pathOf({ rate: 1000, delay: 20, queue: 3000 });
  for (let number = 0; number < 60; number++) given.aToB.send(0, numbered(number));
  assert.equal(given.aToB.counters.queueFull, 56);
  assert.equal(given.aToB.transmitter.maxQueuedBytes, 3000);
});

test('a path that goes down loses what enters and what is under way, silently', () => {
  const path = pathOf({
    delay: 10,
    schedule: [
      [5, false],
      [8, true],
    ],
  });
  path.aToB.send(0, numbered(1));
  path.aToB.send(6, numbered(2));
  path.aToB.send(9, numbered(3));
  assert.deepEqual(brief(path), [
    [10, 'b', 1],
    [19, 'b', 3],
  ]);
  assert.equal(path.aToB.counters.down, 1);
  path.bToA.send(20, numbered(4));
  path.setUp(25, false);
  path.bToA.send(31, numbered(5));
  assert.deepEqual(brief(path), []);
  assert.equal(path.bToA.counters.down, 2);
  path.setUp(40, true);
  path.bToA.send(40, numbered(6));
  assert.deepEqual(brief(path), [[50, 'a', 6]]);
});

test('commands change rate, delay, loss and MTU while packets are under way', () => {
  const path = pathOf({ rate: 1000, delay: 10 });
  path.aToB.send(0, numbered(1));
  path.aToB.send(0, numbered(2));
  path.setRate(1.5, 100);
  assert.deepEqual(brief(path), [
    [11, 'b', 1],
    [16.5, 'b', 2],
  ]);
  path.setDelay(20, 1);
  path.aToB.send(20, numbered(3));
  assert.deepEqual(brief(path), [[31, 'b', 3]]);
  path.setLoss(1);
  path.aToB.send(40, numbered(4));
  assert.deepEqual(brief(path), []);
  path.setLoss(0);
  path.setMtu(900);
  path.aToB.send(50, numbered(5));
  assert.equal(path.aToB.counters.tooBig, 1);
  assert.equal(path.aToB.counters.lost, 1);
});

test('what is too big is reported to its sender over the way back', () => {
  for (const family of [4, 6] as const) {
    const path = pathOf({ rate: 1000, delay: 5, mtu: 1400 });
    const text = `${family === 4 ? A : A6} . 1:1401(1400) ack 1 win 500`;
    path.aToB.send(0, packet(text));
    const [[at, end, report], ...none] = drain(path) as [[number, string, Packet]];
    assert.deepEqual(none, []);
    assert.equal(end, 'a');
    assert.ok(at > 5 && at < 7);
    const ip = new IpHeader();
    const message = new IcmpMessage();
    assert.equal(decodeIp(report, ip), 0);
    assert.equal(decodeIcmp(report, ip, message), 0);
    assert.equal(message.mtu, 1400);
    assert.equal(message.quotedSourcePort, 40_000);
    assert.equal(message.quotedSequence, 1);
    const source = new Address(family, ip.source0, ip.source1, ip.source2, ip.source3);
    assert.equal(source.toString(), family === 4 ? '10.0.1.2' : 'fd00::2');
    assert.equal(path.aToB.counters.tooBig, 1);
    assert.equal(path.aToB.counters.added, 1);
  }
  const silent = pathOf({ mtu: 1400, reportsTooBig: false });
  silent.aToB.send(0, packet(`${A} . 1:1401(1400) ack 1 win 500`));
  assert.deepEqual(drain(silent), []);
});

test('a large packet is cut at the entry, before loss and rate', () => {
  const path = pathOf({ rate: 1000, delay: 5, aToB: { links: [new ListLoss([1])] } });
  const large = packet(`${A} P. 1:2801(2800) ack 1 win 500`);
  large.gsoSize = 1000;
  path.aToB.send(0, large);
  assert.deepEqual(
    drain(path).map(([at, , one]) => [at, line(one).replace(/ \[id \d+\]/, '')]),
    [
      [6.04, `${A} . 1:1001(1000) ack 1 win 500`],
      [6.88, `${A} P. 2001:2801(800) ack 1 win 500`],
    ],
  );
  const wide = pathOf({ rate: 1000, delay: 5, mtu: 9000 });
  wide.aToB.send(0, large);
  const [[, , whole]] = drain(wide) as [[number, string, Packet]];
  assert.equal(whole.length, large.length);
  assert.equal(whole.gsoSize, 1000);
});

test('middleboxes stand at end A: they act before the path that way and behind it the other', () => {
  const path = pathOf({ delay: 10, middleboxes: [new EarlyAcknowledger(), new SplitSegments(60)] });
  path.aToB.send(0, packet(`${A} S 0:0(0) win 500`));
  path.aToB.send(1, packet(`${A} P. 1:101(100) ack 1 win 500`));
  path.bToA.send(2, packet(`${B} P. 1:101(100) ack 1 win 500`));
  assert.deepEqual(
    drain(path).map(([at, end, one]) => [at, end, line(one).replace(/ \[id \d+\]/, '')]),
    [
      // The early acknowledgment comes at once.
      [1, 'a', `${B} . 1:1(0) ack 101 win 65535`],
      [10, 'b', `${A} S 0:0(0) win 500`],
      [11, 'b', `${A} . 1:61(60) ack 1 win 500`],
      [11, 'b', `${A} P. 61:101(40) ack 1 win 500`],
      [12, 'a', `${B} . 1:61(60) ack 1 win 500`],
      [12, 'a', `${B} P. 61:101(40) ack 1 win 500`],
    ],
  );
});

test('settings of one direction override those of both; streams are independent of each other', () => {
  const options: PathOptions = { loss: 0.5, delay: 1, aToB: { loss: 0 } };
  const random = new SeededRandom(3);
  const path = new Path(options, (name) => random.derive(name));
  const other = new Path({ ...options, aToB: { loss: 0, jitter: 1 } }, (name) => random.derive(name));
  for (const one of [path, other]) {
    for (let number = 0; number < 100; number++) {
      one.aToB.send(0, numbered(number));
      one.bToA.send(0, numbered(number));
    }
  }
  assert.equal(path.aToB.counters.lost, 0);
  assert.ok(path.bToA.counters.lost > 30 && path.bToA.counters.lost < 70);
  assert.deepEqual(
    brief(path).filter(([, end]) => end === 'a'),
    brief(other).filter(([, end]) => end === 'a'),
  );
});

test('a link or a box that claims to be due and gives nothing does not hang the path', () => {
  class Liar extends Delay {
    override nextEvent(): number {
      return 0;
    }
  }
  const box = new EarlyAcknowledger();
  box.pollTimeout = () => 0;
  const path = pathOf({ delay: 1, middleboxes: [box], aToB: { links: [new Liar({ delay: 2 })] } });
  path.aToB.send(0, packet(`${A} P. 1:101(100) ack 1 win 500`));
  const out = new Packet(PACKET_CAPACITY);
  assert.equal(path.aToB.receive(2.5, out), false);
  assert.equal(path.aToB.receive(3, out), true);
});

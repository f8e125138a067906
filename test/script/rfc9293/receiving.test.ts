import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointEvent } from '../../../src/tcp/endpoint.ts';
import { established, type Script, type ScriptOptions, synReceived } from '../harness.ts';

/** ESTABLISHED, with the quick ACKs of the start used up and the delay at its minimum. */
function settled(options: ScriptOptions = {}): { script: Script; next: number } {
  const script = established(options);
  let next = 1;
  for (let count = 0; count < 40; count++) {
    script.peer.sends(`. ${next}:${next + 536}(536) ack 1`);
    next += 536;
    script.app.reads();
    script.at(script.now + 1);
  }
  script.at(script.now + 199);
  script.peer.ignores();
  script.peer.sends(`. ${next}:${next + 536}(536) ack 1`);
  script.peer.sends(`. ${next + 536}:${next + 1072}(536) ack 1`);
  script.peer.ignores();
  script.app.reads();
  script.peer.ignores();
  return { script, next: next + 1072 };
}

test('C05 RFC 9293 §3.10.7.4: text before the window draws an ACK and is dropped', () => {
  const { peer, app, counters } = established();
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 101');
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 101');
  equal(app.reads(), 100);
  equal(counters.TCPOutOfWindow, 1);
});

test('C05 RFC 9293 §3.10.7.4: text beyond the window draws an ACK and is dropped', () => {
  const { peer, stream, counters } = established({ config: { receiveBuffer: 1000, maximumReceiveBuffer: 1000 } });
  peer.sends('. 1001:1101(100) ack 1');
  peer.expects('. 1:1(0) ack 1');
  equal(stream.readable, 0);
  equal(counters.TCPOutOfWindow, 1);
});

test('C05 a segment that straddles the left edge is trimmed', () => {
  const { peer, app } = established();
  peer.sends('. 1:101(100) ack 1');
  peer.ignores();
  peer.sends('. 51:201(150) ack 1');
  peer.expects('. 1:1(0) ack 201');
  equal(app.reads(), 200);
});

test('C05 a segment that straddles the right edge is trimmed, and its FIN with it', () => {
  const { peer, stream, counters } = established({ config: { receiveBuffer: 1000, maximumReceiveBuffer: 1000 } });
  peer.sends('F. 1:1201(1200) ack 1');
  peer.expects('. 1:1(0) ack 1001 win 0');
  equal(stream.readable, 1000);
  equal(stream.peerFinished, false);
  equal(counters.TCPRcvWindowTrimmed, 1);
});

test('C05 RFC 9293 §3.10.7.4: with a closed window text is dropped, its ACK is taken', () => {
  const { peer, app, counters } = established({ config: { receiveBuffer: 1000, maximumReceiveBuffer: 1000 } });
  peer.sends('. 1:1001(1000) ack 1');
  peer.expects('. 1:1(0) ack 1001 win 0');
  peer.sends('. 1001:1002(1) ack 1');
  peer.expects('. 1:1(0) ack 1001 win 0');
  equal(counters.TCPZeroWindowDrop, 1);
  equal(app.reads(), 1000);
  peer.expects('. 1:1(0) ack 1001 win 1000');
});

test('C05 C06 a segment without ACK is dropped', () => {
  const { peer, stream, counters } = established();
  peer.sends('- 1:101(100)');
  peer.expectsNothing();
  equal(stream.readable, 0);
  equal(counters.TCPNoAck, 1);
});

test('C06 RFC 9293 §3.10.7.4: an ACK of something not yet sent draws an ACK, and the segment is dropped', () => {
  const { peer, stream, counters } = established();
  peer.sends('. 1:101(100) ack 9');
  peer.expects('. 1:1(0) ack 1');
  equal(stream.readable, 0);
  equal(counters.TCPAckOfUnsent, 1);
});

test('C37 RFC 9293 §3.10.7.4 SHLD-31: what comes ahead of a gap is held', () => {
  const { peer, app, counters } = established();
  peer.sends('. 201:301(100) ack 1');
  peer.expects('. 1:1(0) ack 1');
  peer.sends('. 101:201(100) ack 1');
  peer.expects('. 1:1(0) ack 1');
  equal(app.reads(), 0);
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 301');
  equal(app.reads(), 300);
  equal(counters.TCPOFOQueue, 2);
});

test('C37 a FIN ahead of a gap waits', () => {
  const script = established();
  script.peer.sends('F. 101:201(100) ack 1');
  script.peer.expects('. 1:1(0) ack 1');
  equal(script.state, 'ESTABLISHED');
  script.peer.sends('. 1:101(100) ack 1');
  script.peer.expects('. 1:1(0) ack 202');
  equal(script.state, 'CLOSE-WAIT');
  equal(script.app.reads(), 200);
});

test('C37 a FIN below bytes that are held is none', () => {
  const script = established();
  script.peer.sends('. 201:301(100) ack 1');
  script.peer.sends('F. 101:151(50) ack 1');
  script.peer.ignores();
  script.peer.sends('. 1:101(100) ack 1');
  script.peer.expects('. 1:1(0) ack 151');
  equal(script.state, 'ESTABLISHED');
  script.peer.sends('. 151:201(50) ack 1');
  script.peer.expects('. 1:1(0) ack 301');
});

test('C40 RFC 6093 §3: urgent data stays in the stream', () => {
  const { peer, app } = established();
  peer.sends('PU. 1:101(100) ack 1 win 1000 urg 50');
  peer.expects('. 1:1(0) ack 101');
  equal(app.reads(), 100);
});

test('C30 the first segments are acknowledged at once, later ones every second', () => {
  const { peer, at } = established();
  peer.sends('. 1:537(536) ack 1');
  peer.expects('. 1:1(0) ack 537');
  peer.sends('. 537:1073(536) ack 1');
  peer.expects('. 1:1(0) ack 1073');
  const { script, next } = settled();
  script.peer.sends(`. ${next}:${next + 536}(536) ack 1`);
  script.peer.expectsNothing();
  script.peer.sends(`. ${next + 536}:${next + 1072}(536) ack 1`);
  script.peer.expects(`. 1:1(0) ack ${next + 1072}`);
  at(0);
});

test('C30 RFC 9293 §3.8.6.3: an ACK is delayed by 40 to 200 ms', () => {
  const { script, next } = settled();
  const began = script.now;
  script.peer.sends(`. ${next}:${next + 100}(100) ack 1`);
  script.at(began + 39).expectsNothing();
  script.at(began + 200).expects(`. 1:1(0) ack ${next + 100}`);
  script.peer.expectsNothing();
  equal(script.counters.DelayedACKs > 0, true);
});

test('C30 an ACK is delayed by no more than a round trip, once that is known, and 40 ms', () => {
  const { script, next } = settled();
  // Our own data is answered after 60 ms.
  script.app.writes(100);
  script.peer.ignores();
  script.at(script.now + 60);
  script.peer.sends(`. ${next}:${next}(0) ack 101`);
  let at = next;
  // The peer's pace would have ACKs wait longer and longer.
  for (const pause of [35, 50, 65, 80, 95, 110]) {
    script.peer.sends(`. ${at}:${at + 10}(10) ack 101`);
    at += 10;
    script.at(script.now + pause);
    script.peer.ignores();
  }
  const sent = script.now;
  script.peer.sends(`. ${at}:${at + 10}(10) ack 101`);
  script.at(sent + 39).expectsNothing();
  script.at(sent + 80).expects(`. 101:101(0) ack ${at + 10}`);
});

test('C30 RFC 5681 §4.2: an ACK goes out at once when a gap appears, and when it is filled', () => {
  const { script, next } = settled();
  script.peer.sends(`. ${next + 536}:${next + 1072}(536) ack 1`);
  script.peer.expects(`. 1:1(0) ack ${next}`);
  script.peer.sends(`. ${next}:${next + 536}(536) ack 1`);
  script.peer.expects(`. 1:1(0) ack ${next + 1072}`);
});

test('C31 an ACK can be demanded', () => {
  const script = established();
  script.connection.demandAcknowledgment(script.now);
  script.settle();
  script.peer.expects('. 1:1(0) ack 1');
  script.peer.expectsNothing();
});

test('C32 RFC 9293 §3.8.6.2.2: a closed window opens by a segment, or half of the buffer', () => {
  const { peer, app } = established({ config: { receiveBuffer: 10_000, maximumReceiveBuffer: 10_000 } });
  for (let at = 1; at < 10_001; at += 1000) peer.sends(`. ${at}:${at + 1000}(1000) ack 1`);
  peer.ignores();
  peer.sends('. 10001:10001(0) ack 1');
  peer.expectsNothing();
  app.reads(1000);
  peer.expectsNothing();
  app.reads(459);
  peer.expectsNothing();
  app.reads(1);
  peer.expects('. 1:1(0) ack 10001 win 1460');
  app.reads(1459);
  peer.expectsNothing();
  app.reads(1);
  peer.expects('. 1:1(0) ack 10001 win 2920');
});

test('C32 a window that closes bit by bit keeps its right edge', () => {
  const { peer, app } = established({ config: { receiveBuffer: 10_000, maximumReceiveBuffer: 10_000 } });
  peer.sends('. 1:1001(1000) ack 1');
  peer.expects('. 1:1(0) ack 1001 win 9000');
  app.reads(100);
  peer.sends('. 1001:2001(1000) ack 1');
  // 8100 would be free; the edge stays at 10001 until a segment's worth is.
  peer.expects('. 1:1(0) ack 2001 win 8000');
  app.reads(1500);
  peer.sends('. 2001:3001(1000) ack 1');
  peer.expects('. 1:1(0) ack 3001 win 8600');
});

test('C38 the buffer grows for a reader that keeps up', () => {
  const script = synReceived({
    config: { receiveBuffer: 65_535, maximumReceiveBuffer: 1_000_000, windowScaling: true },
    options: 'mss 1460,sackOK,nop,wscale 0',
  });
  script.at(10);
  script.peer.sends('. 1:1(0) ack 1');
  const before = script.stream.sink.limit;
  let next = 1;
  for (let round = 0; round < 20; round++) {
    for (let count = 0; count < 40; count++) {
      script.peer.sends(`. ${next}:${next + 1460}(1460) ack 1`);
      next += 1460;
    }
    script.app.reads();
    script.at(script.now + 10);
  }
  ok(script.stream.sink.limit > before, `${script.stream.sink.limit} bytes`);
  ok(script.stream.sink.limit <= 1_000_000);
  ok(script.stream.sink.capacity <= 131_072, 'memory follows what is held, not what is offered');
});

test('C31 readability is an event', () => {
  const script = established();
  script.events = 0;
  script.peer.sends('. 1:2(1) ack 1');
  equal(script.events, EndpointEvent.Readable);
});

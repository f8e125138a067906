import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointEvent } from '../../../src/tcp/endpoint.ts';
import { CloseReason } from '../../../src/tcp/seams.ts';
import { TimeWait } from '../../../src/tcp/time-wait.ts';
import { Flag, Option, Segment } from '../../../src/wire/segment.ts';
import { closeWait, closing, established, finWait1, finWait2, lastAck, timeWait } from '../harness.ts';

test('C02 RFC 9293 §3.6 figure 12: a normal close, from our side', () => {
  const script = established();
  script.app.writes(100);
  script.peer.expects('P. 1:101(100) ack 1');
  script.app.shutdown();
  script.peer.expects('F. 101:101(0) ack 1');
  equal(script.state, 'FIN-WAIT-1');
  script.peer.sends('. 1:1(0) ack 102');
  equal(script.state, 'FIN-WAIT-2');
  ok((script.events & EndpointEvent.FinAcknowledged) !== 0);
  script.peer.sends('F. 1:1(0) ack 102');
  script.peer.expects('. 102:102(0) ack 2');
  equal(script.state, 'TIME-WAIT');
  equal(script.stream.closeReason, CloseReason.Finished);
  script.at(59_999);
  equal(script.state, 'TIME-WAIT');
  script.at(60_000);
  equal(script.state, 'CLOSED');
  equal(script.counters.CurrEstab, 0);
});

test('C02 RFC 9293 §3.6: a normal close, from the peer', () => {
  const script = lastAck();
  script.peer.sends('. 2:2(0) ack 2');
  equal(script.state, 'CLOSED');
  equal(script.stream.closeReason, CloseReason.Finished);
  ok(script.endpoint.isFinished);
});

test('C46 RFC 9293 §3.6 figure 13: both sides close at once', () => {
  const script = closing();
  script.peer.sends('. 2:2(0) ack 2');
  equal(script.state, 'TIME-WAIT');
  ok(script.endpoint instanceof TimeWait);
  script.peer.expectsNothing();
});

test('C02 RFC 9293 §3.10.7.4: a FIN that acknowledges ours leads from FIN-WAIT-1 to TIME-WAIT', () => {
  const script = finWait1();
  script.peer.sends('F. 1:1(0) ack 2');
  equal(script.state, 'TIME-WAIT');
  script.peer.expects('. 2:2(0) ack 2');
});

test('C02 RFC 9293 §3.6: half-closed, we go on receiving', () => {
  const script = finWait2();
  script.peer.sends('. 1:1001(1000) ack 2');
  script.peer.expects('. 2:2(0) ack 1001');
  equal(script.app.reads(), 1000);
  const first = finWait1();
  first.peer.sends('. 1:1001(1000) ack 1');
  equal(first.app.reads(), 1000);
  equal(first.state, 'FIN-WAIT-1');
});

test('C02 RFC 9293 §3.6: half-closed by the peer, we go on sending', () => {
  const script = closeWait();
  equal(script.app.writes(1000), 1000);
  script.peer.expects('P. 1:1001(1000) ack 2');
  script.peer.sends('. 2:2(0) ack 1001');
  equal(script.state, 'CLOSE-WAIT');
  script.app.shutdown();
  script.peer.expects('F. 1001:1001(0) ack 2');
  equal(script.state, 'LAST-ACK');
});

test('C02 the FIN follows what was written, in the same segment if it fits', () => {
  const script = established({ window: 1000 });
  script.app.writes(1500);
  script.peer.expects('. 1:1001(1000) ack 1');
  script.app.shutdown();
  script.peer.expectsNothing();
  equal(script.state, 'FIN-WAIT-1');
  script.peer.sends('. 1:1(0) ack 1001 win 1000');
  script.peer.expects('FP. 1001:1501(500) ack 1');
});

test("C02 text behind the peer's FIN is ignored", () => {
  const script = closeWait();
  script.peer.sends('. 2:102(100) ack 1');
  script.peer.expectsNothing();
  equal(script.stream.readable, 0);
  equal(script.counters.TCPTextAfterFin, 1);
});

test('C02 C06 RFC 9293 §3.6.1: after close, new data is answered with a RST', () => {
  const script = established();
  script.app.close();
  script.peer.expects('F. 1:1(0) ack 1');
  script.peer.sends('. 1:1(0) ack 2');
  script.peer.sends('. 1:101(100) ack 2');
  script.peer.expects('R. 2:2(0) ack 1 win 0');
  equal(script.state, 'CLOSED');
  equal(script.counters.TCPAbortOnData, 1);
});

test('C02 C06 RFC 9293 §3.6.1: close with bytes unread sends a RST', () => {
  const script = established();
  script.peer.sends('. 1:101(100) ack 1');
  script.peer.ignores();
  script.app.close();
  script.peer.expects('R. 1:1(0) ack 101 win 0');
  equal(script.state, 'CLOSED');
  equal(script.counters.TCPAbortOnClose, 1);
});

test('C02 RFC 9293 §3.10.5: abort sends a RST, but not when the peer has closed, too', () => {
  for (const [make, line] of [
    [established, 'R. 1:1(0) ack 1 win 0'],
    [finWait1, 'R. 2:2(0) ack 1 win 0'],
    [finWait2, 'R. 2:2(0) ack 1 win 0'],
    [closeWait, 'R. 1:1(0) ack 2 win 0'],
  ] as const) {
    const script = make();
    script.app.abort();
    script.peer.expects(line);
    equal(script.state, 'CLOSED');
    equal(script.stream.closeReason, CloseReason.Aborted);
    ok(script.endpoint.isFinished);
  }
  for (const make of [closing, lastAck]) {
    const script = make();
    script.app.abort();
    script.peer.expectsNothing();
    equal(script.state, 'CLOSED');
  }
});

test('C02 an orphan does not wait in FIN-WAIT-2 for ever', () => {
  const script = established();
  script.app.close();
  script.peer.ignores();
  script.peer.sends('. 1:1(0) ack 2');
  equal(script.state, 'FIN-WAIT-2');
  script.at(59_999);
  equal(script.state, 'FIN-WAIT-2');
  script.at(60_000).expectsNothing();
  equal(script.state, 'CLOSED');
  const owned = finWait2();
  owned.at(3_600_000);
  equal(owned.state, 'FIN-WAIT-2');
  owned.app.close();
  owned.at(3_660_000);
  equal(owned.state, 'CLOSED');
});

test('C36 RFC 9293 §3.10.7.4: TIME-WAIT acknowledges the FIN again, and starts anew', () => {
  const script = timeWait();
  script.at(50_000);
  script.peer.sends('F. 1:1(0) ack 2');
  script.peer.expects('. 2:2(0) ack 2');
  script.peer.sends('. 2:2(0) ack 2');
  script.peer.expectsNothing();
  script.at(109_999);
  equal(script.state, 'TIME-WAIT');
  script.at(110_000);
  equal(script.state, 'CLOSED');
});

test('C36 RFC 6191 §2: which SYN may follow TIME-WAIT at once', () => {
  const syn = (sequence: number, timestamp = -1): Segment => {
    const segment = new Segment();
    segment.flags = Flag.Syn;
    segment.sequence = (0x7fff_ffff + sequence) >>> 0;
    if (timestamp >= 0) {
      segment.options = Option.Timestamps;
      segment.timestampValue = timestamp;
    }
    return segment;
  };
  const plain = timeWait().endpoint as TimeWait;
  ok(plain.acceptsSyn(syn(3)), 'a greater sequence number');
  ok(!plain.acceptsSyn(syn(2)), 'the same');
  ok(!plain.acceptsSyn(syn(0)));
  const rst = syn(3);
  rst.flags |= Flag.Rst;
  ok(!plain.acceptsSyn(rst));
  equal(plain.nextInitialSequence, (0xffff_fff0 + 2 + 65_537) >>> 0);

  const script = established({ config: { timestamps: true }, options: 'mss 1460,sackOK,TS val 1000 ecr 0' });
  script.app.shutdown();
  script.peer.ignores();
  script.peer.sends('F. 1:1(0) ack 2 win 65535 <nop,nop,TS val 1005 ecr 0>');
  script.peer.expects('. 2:2(0) ack 2');
  const stamped = script.endpoint as TimeWait;
  ok(stamped.acceptsSyn(syn(-5000, 1006)), 'a greater timestamp, whatever the number');
  ok(!stamped.acceptsSyn(syn(5000, 1004)), 'an older timestamp');
  ok(stamped.acceptsSyn(syn(3, 1005)), 'the same timestamp, a greater number');
  ok(!stamped.acceptsSyn(syn(2, 1005)));
});

test('C36 a SYN that may not follow draws a challenge ACK', () => {
  const script = timeWait();
  script.peer.sends('S 0:0(0)');
  script.peer.expects('. 2:2(0) ack 2');
  equal(script.state, 'TIME-WAIT');
});

test('C02 RFC 9293 §3.8.3: R2 reached, the connection is given up silently', () => {
  const script = established({ config: { retries: 3 } });
  script.app.writes(10);
  script.peer.ignores();
  script.at(600_000);
  equal(script.state, 'CLOSED');
  equal(script.stream.closeReason, CloseReason.TimedOut);
  equal(script.counters.TCPAbortOnTimeout, 1);
});

test('C02 closing silently and losing the address say nothing', () => {
  const script = established();
  script.app.writes(10);
  script.peer.ignores();
  script.connection.onAddressGone(script.now);
  script.settle();
  script.peer.expectsNothing();
  equal(script.stream.closeReason, CloseReason.AddressGone);
  equal(script.endpoint.deadline, Number.POSITIVE_INFINITY);
});

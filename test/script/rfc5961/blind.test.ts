import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { CloseReason } from '../../../src/tcp/seams.ts';
import { established, timeWait } from '../harness.ts';

test('C06 RFC 5961 §3.2: a RST resets with exactly RCV.NXT', () => {
  const script = established();
  script.peer.sends('R 1:1(0)');
  equal(script.state, 'CLOSED');
  equal(script.stream.closeReason, CloseReason.PeerReset);
  equal(script.counters.EstabResets, 1);
  equal(script.counters.CurrEstab, 0);
  script.peer.expectsNothing();
});

test('C06 RFC 5961 §3.2: a RST elsewhere in the window draws a challenge ACK', () => {
  const script = established();
  script.peer.sends('R 2:2(0)');
  script.peer.expects('. 1:1(0) ack 1');
  script.peer.sends('R. 60000:60000(0) ack 1');
  script.peer.expects('. 1:1(0) ack 1');
  equal(script.state, 'ESTABLISHED');
  equal(script.counters.TCPChallengeACK, 2);
});

test('C06 RFC 5961 §3.2: a RST outside of the window is dropped silently', () => {
  const script = established();
  script.peer.sends('. 1:101(100) ack 1');
  script.peer.ignores();
  script.peer.sends('R 99:99(0)');
  script.peer.sends('R 90000:90000(0)');
  script.peer.expectsNothing();
  equal(script.state, 'ESTABLISHED');
  equal(script.counters.TCPResetOutOfWindow, 2);
});

test('C06 RFC 5961 §4.2: a SYN draws a challenge ACK wherever it stands', () => {
  const script = established();
  for (const line of ['S 0:0(0)', 'S 1:1(0)', 'S 500:500(0)', 'S 99999:99999(0)', 'S. 0:0(0) ack 1']) {
    script.peer.sends(line);
    script.peer.expects('. 1:1(0) ack 1');
  }
  equal(script.state, 'ESTABLISHED');
  equal(script.counters.TCPSYNChallenge, 5);
});

test('C06 RFC 5961 §5.2: an ACK older than the largest window draws a challenge ACK, and its data is dropped', () => {
  const script = established({ window: 1000 });
  script.peer.sends('. 1:101(100) ack 4294966296');
  script.peer.expects('. 1:1(0) ack 1');
  equal(script.stream.readable, 0);
  equal(script.counters.TCPAckTooOld, 1);
  script.peer.sends('. 1:101(100) ack 4294966297');
  equal(script.stream.readable, 100);
});

test('C06 RFC 5961 §7: challenge ACKs are limited per host and second', () => {
  const script = established({ config: { challengeAckLimit: 10 } });
  for (let count = 0; count < 100; count++) script.peer.sends('S 5:5(0)');
  const first = script.sent.length;
  ok(first >= 5 && first < 15, `${first} challenge ACKs`);
  equal(script.counters.TCPACKSkippedChallenge, 100 - first);
  script.peer.ignores();
  script.at(1000);
  script.peer.sends('S 5:5(0)');
  script.peer.expects('. 1:1(0) ack 1');
});

test('C06 segments without octets outside of the window are answered twice a second', () => {
  const script = established();
  script.at(100);
  for (let count = 0; count < 10; count++) script.peer.sends('. 90000:90000(0) ack 1');
  equal(script.sent.length, 1);
  script.peer.ignores();
  script.at(600);
  script.peer.sends('. 90000:90000(0) ack 1');
  equal(script.sent.length, 1);
});

test('C06 bare ACKs of what was never sent are answered twice a second, in TIME-WAIT as before it', () => {
  for (const script of [established(), timeWait()]) {
    const number = script.state === 'TIME-WAIT' ? 90_000 : 1;
    script.peer.ignores();
    const before = script.sent.length;
    script.at(100);
    for (let count = 0; count < 10; count++) script.peer.sends(`. ${number}:${number}(0) ack 70000`);
    equal(script.sent.length, before + 1);
    equal(script.counters.TCPACKSkippedChallenge, 9);
    script.peer.ignores();
    script.at(600);
    script.peer.sends(`. ${number}:${number}(0) ack 70000`);
    equal(script.sent.length, before + 1);
  }
});

test('C36 RFC 1337 §3: TIME-WAIT ignores a RST', () => {
  const script = timeWait();
  script.peer.sends('R 2:2(0)');
  script.peer.expectsNothing();
  equal(script.state, 'TIME-WAIT');
  equal(script.counters.TCPTimeWaitResetIgnored, 1);
});

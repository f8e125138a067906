import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { connected, established, Script, type ScriptOptions, synReceived } from '../harness.ts';

const STAMPED: ScriptOptions = { config: { timestamps: true }, options: 'mss 1460,sackOK,TS val 1000 ecr 0' };
const DAY = 24 * 3600 * 1000;

function stamped(): Script {
  return established(STAMPED);
}

test('C12 RFC 7323 §3.2: timestamps are used when both SYNs have them', () => {
  const script = new Script({ config: { timestamps: true } });
  script.at(7);
  script.connect();
  script.peer.expects('S 0:0(0) win 65535 <mss 1460,sackOK,TS val 7 ecr 0>');
  script.at(20);
  script.peer.sends('S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 1000 ecr 7>');
  script.peer.expects('. 1:1(0) ack 1 <TS val 20 ecr 1000>');
  equal(script.connection.negotiated.rtt, 13);
  const without = new Script({ config: { timestamps: true } });
  without.accept('S 0:0(0) win 65535 <mss 1460>');
  without.peer.expects('S. 0:0(0) ack 1 win 65535 <mss 1460>');
});

test('C12 RFC 7323 §4.3: the segment that advances the left edge is echoed, not one after a gap', () => {
  const { peer } = stamped();
  peer.sends('. 1:101(100) ack 1 win 65535 <nop,nop,TS val 1010 ecr 0>');
  peer.expects('. 1:1(0) ack 101 <TS val 0 ecr 1010>');
  peer.sends('. 201:301(100) ack 1 win 65535 <nop,nop,TS val 1020 ecr 0>');
  peer.expects('. 1:1(0) ack 101 <TS val 0 ecr 1010,sack 201:301>');
  peer.sends('. 101:201(100) ack 1 win 65535 <nop,nop,TS val 1030 ecr 0>');
  peer.expects('. 1:1(0) ack 301 <TS val 0 ecr 1030>');
});

test('C12 RFC 7323 §4.3 (A): an ACK for two segments echoes the earlier one', () => {
  const { peer, connection } = stamped();
  const line = (at: number, value: number) =>
    `. ${at}:${at + 536}(536) ack 1 win 65535 <nop,nop,TS val ${value} ecr 0>`;
  // Uses the quick ACKs of the start up.
  for (let count = 0; count < 50; count++) peer.sends(line(connection.receiver.nxt, 1000));
  if (connection.receiver.ackOwed) peer.sends(line(connection.receiver.nxt, 1000));
  peer.ignores();
  const next = connection.receiver.nxt;
  peer.sends(line(next, 2000));
  peer.expectsNothing();
  peer.sends(line(next + 536, 2001));
  peer.expects(`. 1:1(0) ack ${next + 1072} <TS val 0 ecr 2000>`);
});

test('C12 RFC 7323 §5.3 R1: a segment with an old timestamp draws an ACK and is dropped', () => {
  const { peer, stream, counters } = stamped();
  peer.sends('. 1:101(100) ack 1 win 65535 <nop,nop,TS val 999 ecr 0>');
  peer.expects('. 1:1(0) ack 1 <TS val 0 ecr 1000>');
  equal(stream.readable, 0);
  equal(counters.PAWSEstab, 1);
});

test('C12 RFC 7323 §5.2: timestamps are compared modulo 2^32', () => {
  const { peer, stream } = synReceived({
    config: { timestamps: true },
    options: 'mss 1460,sackOK,TS val 4294967290 ecr 0',
  });
  peer.sends('. 1:1(0) ack 1 win 65535 <nop,nop,TS val 4294967295 ecr 0>');
  peer.sends('. 1:101(100) ack 1 win 65535 <nop,nop,TS val 5 ecr 0>');
  equal(stream.readable, 100);
  peer.sends('. 101:201(100) ack 1 win 65535 <nop,nop,TS val 4294967295 ecr 0>');
  equal(stream.readable, 100);
});

test('C12 RFC 7323 §5.5: after 24 days of silence an old timestamp is no longer held against a segment', () => {
  const { peer, stream, at } = stamped();
  at(23 * DAY);
  peer.sends('. 1:101(100) ack 1 win 65535 <nop,nop,TS val 999 ecr 0>');
  equal(stream.readable, 0);
  peer.ignores();
  at(24 * DAY + 1);
  peer.sends('. 1:101(100) ack 1 win 65535 <nop,nop,TS val 999 ecr 0>');
  equal(stream.readable, 100);
});

test('C12 RFC 7323 §3.2: a segment without the option is dropped silently, a RST without it counts', () => {
  const script = stamped();
  script.peer.sends('. 1:101(100) ack 1 win 65535');
  script.peer.expectsNothing();
  equal(script.stream.readable, 0);
  equal(script.counters.TCPTimestampMissing, 1);
  script.peer.sends('R 1:1(0)');
  equal(script.state, 'CLOSED');
});

test('C12 RFC 7323 §5.2: PAWS does not apply to a RST', () => {
  const script = stamped();
  script.peer.sends('R 1:1(0) win 0 <nop,nop,TS val 1 ecr 0>');
  equal(script.state, 'CLOSED');
});

test('C12 RFC 5961 §4: a SYN without timestamps, of a peer that restarted, still draws a challenge ACK', () => {
  const script = stamped();
  script.peer.sends('S 1000000:1000000(0) win 65535 <mss 1460>');
  script.peer.expects('. 1:1(0) ack 1');
});

test('C12 an echo in the SYN/ACK that is not ours is refused', () => {
  const script = new Script({ config: { timestamps: true } });
  script.connect();
  script.peer.ignores();
  script.peer.sends('S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 1000 ecr 555>');
  script.peer.expects('R 1:1(0)');
  equal(script.state, 'SYN-SENT');
  equal(script.counters.PAWSActive, 1);
});

test('C11 RFC 7323 §2.2: windows are scaled on all segments but SYNs, by each side its own shift', () => {
  const script = new Script({
    config: { windowScaling: true, receiveBuffer: 131_072, maximumReceiveBuffer: 6_291_456 },
  });
  script.accept('S 0:0(0) win 500 <mss 1460,nop,wscale 3>');
  script.peer.expects('S. 0:0(0) ack 1 win 65535 <mss 1460,wscale 7>');
  script.peer.sends('. 1:1(0) ack 1 win 1000');
  equal(script.connection.negotiated.peerWindow, 8000);
  equal(script.connection.maximumPeerWindow, 8000);
  script.peer.sends('. 1:101(100) ack 1 win 1000');
  script.peer.expects('. 1:1(0) ack 101 win 1023');
  script.app.reads();
});

test('C11 RFC 7323 §2.3: a shift above 14 counts as 14', () => {
  const script = established({ config: { windowScaling: true }, options: 'mss 1460,nop,wscale 20', window: 1 });
  equal(script.connection.negotiated.peerWindowScale, 14);
});

test('C11 RFC 7323 §1.3: without the option in both SYNs nothing is scaled', () => {
  const script = connected({ config: { windowScaling: true, maximumReceiveBuffer: 6_291_456 }, window: 1000 });
  equal(script.connection.negotiated.windowScaling, false);
  equal(script.connection.negotiated.peerWindow, 1000);
});

import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointEvent, IcmpKind } from '../../../src/tcp/endpoint.ts';
import { CloseReason } from '../../../src/tcp/seams.ts';
import { established, Script, synReceived, synSent } from '../harness.ts';

test('C02 C03 RFC 9293 §3.5 figure 6: an active open', () => {
  const script = new Script();
  script.connect();
  script.peer.expects('S 0:0(0) win 65535 <mss 1460,sackOK>');
  script.peer.sends('S. 0:0(0) ack 1 win 1000 <mss 1000,sackOK>');
  script.peer.expects('. 1:1(0) ack 1 win 65535');
  equal(script.state, 'ESTABLISHED');
  ok((script.events & EndpointEvent.Established) !== 0);
  equal(script.counters.ActiveOpens, 1);
  equal(script.counters.CurrEstab, 1);
});

test('C03 RFC 9293 §3.5: a passive open', () => {
  const script = new Script();
  script.accept('S 0:0(0) win 1000 <mss 1000>');
  script.peer.expects('S. 0:0(0) ack 1 win 65535 <mss 1460>');
  script.peer.sends('. 1:1(0) ack 1 win 1000');
  script.peer.expectsNothing();
  equal(script.state, 'ESTABLISHED');
  equal(script.connection.negotiated.peerMss, 1000);
});

test('C03 RFC 9293 §3.5 figure 7: both sides open at once', () => {
  const script = new Script();
  script.connect();
  script.peer.expects('S 0:0(0)');
  script.peer.sends('S 0:0(0) win 65535 <mss 1460,sackOK>');
  equal(script.state, 'SYN-RECEIVED');
  script.peer.expects('S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK>');
  script.peer.sends('S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK>');
  equal(script.state, 'ESTABLISHED');
  script.peer.expects('. 1:1(0) ack 1');
  script.peer.expectsNothing();
});

test('C03 RFC 9293 §3.5 figure 8: an old duplicate SYN on a passive open is undone by a RST', () => {
  const script = synReceived();
  script.peer.sends('R 1:1(0)');
  equal(script.state, 'CLOSED');
  equal(script.endpoint.closeReason, CloseReason.PeerReset);
  ok((script.events & EndpointEvent.Failed) !== 0);
  script.peer.expectsNothing();
});

test('C06 RFC 9293 §3.10.7.3: in SYN-SENT an ACK of something never sent draws a RST and changes nothing', () => {
  const script = synSent();
  script.peer.sends('. 0:0(0) ack 77');
  script.peer.expects('R 77:77(0) win 0');
  script.peer.sends('S. 0:0(0) ack 0 <mss 1460>');
  script.peer.expects('R 0:0(0)');
  equal(script.state, 'SYN-SENT');
  script.peer.sends('R. 0:0(0) ack 77');
  script.peer.expectsNothing();
  equal(script.state, 'SYN-SENT');
});

test('C06 RFC 9293 §3.10.7.3: in SYN-SENT a RST counts only with the ACK of our SYN', () => {
  const script = synSent();
  script.peer.sends('R 0:0(0)');
  equal(script.state, 'SYN-SENT');
  script.peer.sends('R. 0:0(0) ack 1');
  equal(script.state, 'CLOSED');
  equal(script.endpoint.closeReason, CloseReason.Refused);
  script.peer.expectsNothing();
});

test('C44 C02 RFC 6298 §5.5: the SYN goes out again at 1, 3, 7, 15 s and is given up', () => {
  const script = new Script({ config: { synRetries: 3 } });
  script.connect();
  script.peer.expects('S 0:0(0)');
  script.at(999).expectsNothing();
  script.at(1000).expects('S 0:0(0)');
  script.at(2999).expectsNothing();
  script.at(3000).expects('S 0:0(0)');
  script.at(7000).expects('S 0:0(0)');
  script.at(14_999).expectsNothing();
  equal(script.state, 'SYN-SENT');
  script.at(15_000).expectsNothing();
  equal(script.state, 'CLOSED');
  equal(script.endpoint.closeReason, CloseReason.TimedOut);
  equal(script.counters.TCPSynRetrans, 3);
});

test('C44 the SYN/ACK goes out again, by the timer and for a repeated SYN', () => {
  const script = synReceived({ config: { synAckRetries: 1 } });
  script.at(600);
  script.peer.sends('S 0:0(0) win 65535 <mss 1460,sackOK>');
  script.peer.expects('S. 0:0(0) ack 1');
  script.at(1000).expects('S. 0:0(0) ack 1');
  script.at(3000).expectsNothing();
  equal(script.state, 'CLOSED');
});

test('C02 RFC 9293 §3.10.7.4: SYN-RECEIVED rejects an ACK of something else', () => {
  const script = synReceived();
  script.peer.sends('. 1:1(0) ack 9');
  script.peer.expects('R 9:9(0) win 0');
  equal(script.state, 'SYN-RECEIVED');
  script.peer.sends('. 1:1(0) ack 1');
  equal(script.state, 'ESTABLISHED');
});

test('C02 RFC 9293 §3.10.7.4: the third segment may carry data and FIN', () => {
  const script = synReceived();
  script.peer.sends('F. 1:101(100) ack 1');
  equal(script.state, 'CLOSE-WAIT');
  equal(script.app.reads(), 100);
  script.peer.expects('. 1:1(0) ack 102');
  ok((script.events & EndpointEvent.PeerFin) !== 0);
});

test('C02 RFC 9293 §3.10.7.3: a SYN/ACK may carry data', () => {
  const script = synSent();
  script.peer.sends('S. 0:100(100) ack 1 win 1000 <mss 1460>');
  equal(script.app.reads(), 100);
  script.peer.expects('. 1:1(0) ack 101');
});

test('C02 data that overtakes the third ACK completes the handshake', () => {
  const script = synReceived();
  script.peer.sends('. 101:201(100) ack 1');
  equal(script.state, 'ESTABLISHED');
  script.peer.expects('. 1:1(0) ack 1 win 65535 <sack 101:201>');
  script.peer.sends('. 1:101(100) ack 1');
  equal(script.app.reads(), 200);
  script.peer.expects('. 1:1(0) ack 201');
});

test('C09 RFC 9293 §3.7.1: without an MSS option 536 bytes, 1220 for IPv6', () => {
  equal(established({ options: 'nop' }).connection.sender.segmentSize, 536);
  equal(established({ options: 'nop', family: 6 }).connection.sender.segmentSize, 1220);
});

test('C09 RFC 6691 §2: the MSS offered is the MTU less the fixed headers; the segment size less the options', () => {
  const six = new Script({ family: 6, mtu: 9000, config: { timestamps: true } });
  six.connect();
  six.peer.expects('S 0:0(0) win 65535 <mss 8940,sackOK,TS val 0 ecr 0>');
  six.peer.sends('S. 0:0(0) ack 1 win 65535 <mss 1400,sackOK,TS val 1 ecr 0>');
  equal(six.connection.sender.segmentSize, 1388);
  const clamped = new Script({ config: { maximumSegmentSize: 900 } });
  clamped.connect();
  clamped.peer.expects('S 0:0(0) win 65535 <mss 900,sackOK>');
  clamped.peer.sends('S. 0:0(0) ack 1 win 65535 <mss 1400>');
  equal(clamped.connection.sender.segmentSize, 900);
});

test('C09 an MSS of nothing is no MSS', () => {
  equal(established({ options: 'mss 0' }).connection.sender.segmentSize, 536);
  equal(established({ options: 'mss 1' }).connection.sender.segmentSize, 48);
});

test('C13 RFC 2018 §2: SACK is used when both offered it', () => {
  equal(established({ options: 'mss 1460' }).connection.negotiated.sackPermitted, false);
  equal(established().connection.negotiated.sackPermitted, true);
  equal(established({ config: { sack: false } }).connection.negotiated.sackPermitted, false);
});

test('C45 RFC 5461 §4.1: ICMP ends a connection attempt, if it quotes our SYN', () => {
  const script = synSent();
  script.icmp(IcmpKind.HostUnreachable, 0, 5);
  equal(script.state, 'SYN-SENT');
  equal(script.counters.OutOfWindowIcmps, 1);
  script.icmp(IcmpKind.HostUnreachable, 0, 0);
  equal(script.state, 'CLOSED');
  equal(script.endpoint.closeReason, CloseReason.Unreachable);
  const refused = synSent();
  refused.icmp(IcmpKind.PortUnreachable, 0, 0);
  equal(refused.endpoint.closeReason, CloseReason.Refused);
  const passive = synReceived();
  passive.icmp(IcmpKind.HostUnreachable, 0, 0);
  equal(passive.state, 'SYN-RECEIVED');
  passive.icmp(IcmpKind.ProtocolUnreachable, 0, 0);
  equal(passive.state, 'CLOSED');
});

test('C02 RFC 9293 §3.10.5: abort sends a RST from SYN-RECEIVED and nothing from SYN-SENT', () => {
  const received = synReceived();
  received.app.abort();
  received.peer.expects('R. 1:1(0) ack 1 win 0');
  equal(received.state, 'CLOSED');
  const sent = synSent();
  sent.app.abort();
  sent.peer.expectsNothing();
  equal(sent.state, 'CLOSED');
  equal(sent.stream.closeReason, CloseReason.Aborted);
});

test('C06 RFC 5961 §3.2: in SYN-RECEIVED a RST beside RCV.NXT draws a challenge ACK, outside the window nothing', () => {
  const script = synReceived();
  script.peer.sends('R 9:9(0)');
  script.peer.expects('. 1:1(0) ack 1');
  script.peer.sends('R 99999:99999(0)');
  script.peer.expectsNothing();
  equal(script.state, 'SYN-RECEIVED');
  equal(script.counters.TCPChallengeACK, 1);
});

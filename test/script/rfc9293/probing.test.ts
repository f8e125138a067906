import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointEvent, IcmpKind } from '../../../src/tcp/endpoint.ts';
import { CloseReason } from '../../../src/tcp/seams.ts';
import { established } from '../harness.ts';

const KEEP_ALIVE = { keepAlive: true, keepAliveIdle: 10_000, keepAliveInterval: 1000, keepAliveProbes: 3 };

test('C34 RFC 9293 §3.8.4: an idle connection is probed from outside of the window', () => {
  const script = established({ config: KEEP_ALIVE });
  script.at(9999).expectsNothing();
  script.at(10_000).expects('. 0:0(0) ack 1');
  script.peer.sends('. 1:1(0) ack 1');
  script.at(19_999).expectsNothing();
  script.at(20_000).expects('. 0:0(0) ack 1');
  equal(script.counters.TCPKeepAlive, 2);
});

test('C34 without an answer the connection is given up', () => {
  const script = established({ config: KEEP_ALIVE });
  script.at(10_000).expects('. 0:0(0) ack 1');
  script.at(11_000).expects('. 0:0(0) ack 1');
  script.at(12_000).expects('. 0:0(0) ack 1');
  script.at(13_000).expects('R. 1:1(0) ack 1');
  equal(script.state, 'CLOSED');
  equal(script.stream.closeReason, CloseReason.KeepAlive);
});

test('C34 RFC 9293 §3.8.4: off unless asked for; data in flight needs no probe', () => {
  const script = established();
  script.at(100_000_000).expectsNothing();
  script.connection.setKeepAlive(script.now, true, 1000, 1000, 2);
  // Idle for long enough already.
  script.at(100_000_000).expects('. 0:0(0) ack 1');
  script.peer.sends('. 1:1(0) ack 1');
  script.at(100_001_000).expects('. 0:0(0) ack 1');
  script.peer.sends('. 1:1(0) ack 1');
  script.connection.setKeepAlive(script.now, false, 1000, 1000, 1);
  script.at(100_100_000).expectsNothing();
});

test('C34 a probe of the peer is answered', () => {
  const { peer, at } = established();
  peer.sends('. 1:101(100) ack 1');
  peer.ignores();
  at(5000);
  peer.sends('. 100:100(0) ack 1');
  peer.expects('. 1:1(0) ack 101');
  peer.sends('. 100:101(1) ack 1');
  peer.expects('. 1:1(0) ack 101');
});

test('C33 RFC 9293 §3.8.6.1: a closed window is probed, and the answer reopens it', () => {
  const script = established();
  script.app.writes(100);
  script.peer.ignores();
  script.peer.sends('. 1:1(0) ack 101 win 0');
  script.app.writes(1000);
  script.peer.expectsNothing();
  script.at(10_000);
  ok(script.counters.TCPWinProbe > 0);
  script.peer.ignores();
  script.peer.sends('. 1:1(0) ack 101 win 5000');
  script.peer.expects('P. 101:1101(1000) ack 1');
});

test('C10 RFC 1191 §3: packets that are too big are sent again smaller', () => {
  const script = established();
  script.app.writes(2920);
  script.peer.expects('. 1:1461(1460) ack 1');
  script.peer.expects('P. 1461:2921(1460) ack 1');
  script.icmp(IcmpKind.PacketTooBig, 1000, 1);
  equal(script.connection.mtu, 1000);
  equal(script.connection.sender.segmentSize, 960);
  equal(script.counters.TCPPmtuReduced, 1);
  script.peer.expects('. 1:961(960) ack 1');
});

test('C10 RFC 1191, RFC 8201, RFC 5927: what is not believed of a router', () => {
  const script = established();
  script.app.writes(100);
  script.peer.ignores();
  script.icmp(IcmpKind.PacketTooBig, 1000, 5000);
  equal(script.connection.mtu, 1500, 'nothing of that number is in flight');
  script.icmp(IcmpKind.PacketTooBig, 2000, 1);
  equal(script.connection.mtu, 1500, 'larger than it was');
  script.icmp(IcmpKind.PacketTooBig, 68, 1);
  equal(script.connection.mtu, 552, 'less than 552');
  equal(script.counters.OutOfWindowIcmps, 2);
  const six = established({ family: 6 });
  six.app.writes(100);
  six.icmp(IcmpKind.PacketTooBig, 600, 1);
  equal(six.connection.mtu, 1280);
});

test('C10 RFC 1191 §7.1: a router that tells no MTU', () => {
  const script = established();
  script.app.writes(100);
  script.icmp(IcmpKind.PacketTooBig, 0, 1);
  equal(script.connection.mtu, 1492);
  script.icmp(IcmpKind.PacketTooBig, 0, 1);
  equal(script.connection.mtu, 1006);
});

test('C10 RFC 1191 §6.3: after ten minutes the MTU of the interface is tried again', () => {
  const script = established();
  script.app.writes(100);
  script.icmp(IcmpKind.PacketTooBig, 1000, 1);
  script.peer.sends('. 1:1(0) ack 101');
  script.at(599_999);
  script.app.writes(1);
  equal(script.connection.mtu, 1000);
  script.peer.sends('. 1:1(0) ack 102');
  script.at(600_001);
  script.app.writes(1);
  equal(script.connection.mtu, 1500);
  equal(script.connection.sender.segmentSize, 1460);
});

test('C10 RFC 4821 §7.7: full segments that vanish are made smaller', () => {
  const script = established();
  script.app.writes(14_600);
  script.peer.ignores();
  script.at(5_000);
  ok(script.connection.mtu <= 1280, `MTU ${script.connection.mtu}`);
  ok(script.counters.TCPMTUPFail > 0);
  // Not even the smallest pass: the path is away, and its MTU is what it was.
  script.at(60_000);
  equal(script.connection.mtu, 1500);
});

test('C45 RFC 5927 §5.2: a synchronized connection takes hard errors for soft ones', () => {
  const script = established();
  script.app.writes(100);
  script.icmp(IcmpKind.PortUnreachable, 0, 1);
  equal(script.state, 'ESTABLISHED');
  equal(script.connection.softError, IcmpKind.PortUnreachable);
  ok((script.events & EndpointEvent.SoftError) !== 0);
});

test('C45 RFC 5927 §4.1: an error that quotes nothing in flight is ignored', () => {
  const script = established();
  script.icmp(IcmpKind.HostUnreachable, 0, 1);
  equal(script.connection.softError, -1);
  equal(script.counters.OutOfWindowIcmps, 1);
});

test('C53 with segmentation offload one packet stands for many segments', () => {
  const script = established({ segmentationOffload: true });
  script.app.writes(14_600);
  script.peer.expects('P. 1:14601(14600) ack 1');
  script.peer.expectsNothing();
});

test('C47 TTL, TOS and flow label are those of the endpoint; IPv4 with DF, IPv6 alike', () => {
  const script = established();
  script.endpoint.hopLimit = 9;
  script.endpoint.trafficClass = 0x48;
  script.app.writes(1);
  const packet = script.sent[0]!;
  equal(packet.hopLimit, 9);
  equal(packet.trafficClass, 0x48);
  equal(packet.dontFragment, true);
  const six = established({ family: 6 });
  six.endpoint.flowLabel = 0x12345;
  six.app.writes(1);
  equal(six.sent[0]!.flowLabel, 0x12345);
});

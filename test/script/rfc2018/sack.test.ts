import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { established } from '../harness.ts';

test('C13 RFC 2018 §4: the block that changed last comes first', () => {
  const { peer } = established();
  peer.sends('. 101:201(100) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 101:201>');
  peer.sends('. 301:401(100) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 301:401 101:201>');
  peer.sends('. 501:601(100) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 501:601 301:401 101:201>');
  peer.sends('. 201:251(50) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 101:251 501:601 301:401>');
  peer.sends('. 251:301(50) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 101:401 501:601>');
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 401 <sack 501:601>');
  peer.sends('. 401:501(100) ack 1');
  peer.expects('. 1:1(0) ack 601');
});

test('C13 RFC 2018 §3: as many blocks as there is room for, four, or three beside timestamps', () => {
  const plain = established();
  for (const at of [101, 301, 501, 701, 901]) plain.peer.sends(`. ${at}:${at + 100}(100) ack 1`);
  for (let count = 0; count < 4; count++) plain.peer.next();
  plain.peer.expects('. 1:1(0) ack 1 <sack 901:1001 701:801 501:601 301:401>');
  const stamped = established({ config: { timestamps: true }, options: 'mss 1460,sackOK,TS val 1000 ecr 0' });
  const line = (at: number) => `. ${at}:${at + 100}(100) ack 1 win 65535 <nop,nop,TS val 1000 ecr 0>`;
  for (const at of [101, 301, 501, 701, 901]) stamped.peer.sends(line(at));
  for (let count = 0; count < 4; count++) stamped.peer.next();
  stamped.peer.expects('. 1:1(0) ack 1 <TS val 0 ecr 1000,sack 901:1001 701:801 501:601>');
});

test('C13 without SACK permitted none is sent', () => {
  const { peer } = established({ options: 'mss 1460' });
  peer.sends('. 101:201(100) ack 1');
  peer.expects('. 1:1(0) ack 1');
});

test('C14 RFC 2883 §4.1.1: a duplicate below the cumulative ACK is the first block', () => {
  const { peer, counters } = established();
  peer.sends('. 1:201(200) ack 1');
  peer.ignores();
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 201 <sack 1:101>');
  equal(counters.TCPDSACKOldSent, 1);
  peer.sends('. 201:301(100) ack 1');
  peer.expects('. 1:1(0) ack 301');
});

test('C14 RFC 2883 §4.1.2: a duplicate with gaps: the other blocks follow', () => {
  const { peer } = established();
  peer.sends('. 1:201(200) ack 1');
  peer.sends('. 301:401(100) ack 1');
  peer.ignores();
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 201 <sack 1:101 301:401>');
});

test('C14 RFC 2883 §4.2.1: a duplicate above the cumulative ACK is followed by the block that holds it', () => {
  const { peer, counters } = established();
  peer.sends('. 101:201(100) ack 1');
  peer.sends('. 201:301(100) ack 1');
  peer.sends('. 401:501(100) ack 1');
  peer.ignores();
  peer.sends('. 201:301(100) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 201:301 101:301 401:501>');
  equal(counters.TCPDSACKOfoSent, 1);
});

test('C14 RFC 2883 §4.2.2: of a partial duplicate the first part that was there is told', () => {
  const { peer, app } = established();
  peer.sends('. 201:301(100) ack 1');
  peer.ignores();
  peer.sends('. 101:401(300) ack 1');
  peer.expects('. 1:1(0) ack 1 <sack 201:301 101:401>');
  peer.sends('. 1:101(100) ack 1');
  peer.expects('. 1:1(0) ack 401');
  equal(app.reads(), 400);
});

test('C37 a peer cannot make us remember gaps without end', () => {
  const { peer, connection, counters } = established();
  for (let at = 3; at < 10_003; at += 2) peer.sends(`. ${at}:${at + 1}(1) ack 1`);
  equal(connection.receiver.held.count, 4096);
  equal(counters.TCPRcvQDrop, 5000 - 4096);
});

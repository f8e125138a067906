import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlowTracker, type TracedSegment, tracedKey } from '../../src/trace/flows.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { buildPacket, NotationProblem, parsePacket } from '../../src/wire/notation.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';
import { capture, captureNames, vectorsMissing } from './wire-vectors.ts';

function segmentOf(bytes: Uint8Array): Segment {
  const packet = new Packet(bytes.length);
  packet.bytes.set(bytes);
  packet.end = bytes.length;
  const ip = new IpHeader();
  const segment = new Segment();
  assert.equal(decodeIp(packet, ip), Drop.None);
  assert.equal(decodeTcp(packet, ip, segment), Drop.None);
  return segment;
}

function line(text: string): Segment {
  const packet = parsePacket(text);
  assert.ok(!(packet instanceof NotationProblem), text);
  return segmentOf(buildPacket(packet, new Uint8Array(packet.payloadLength)));
}

const A = '10.0.0.1:1000 > 10.0.0.9:80';
const B = '10.0.0.9:80 > 10.0.0.1:1000';
const SERVER = 'key[0x1112131415161718]';
const BOTH = 'key[0x0102030405060708,0x1112131415161718]';

/** A handshake that tells both keys. */
function handshake(tracker: FlowTracker): TracedSegment[] {
  return [
    `${A} S 999:999(0) win 1 <mpcapable v1 flags[flag_h] nokey>`,
    `${B} S. 4999:4999(0) ack 1000 win 1 <mpcapable v1 flags[flag_h] ${SERVER}>`,
    `${A} . 1000:1000(0) ack 5000 win 1 <mpcapable v1 flags[flag_h] ${BOTH}>`,
  ].map((text) => tracker.onSegment(line(text)));
}

test('numbers count from the SYN of each side, data sequence numbers from the keys', () => {
  const tracker = new FlowTracker();
  const [syn, synAck, ack] = handshake(tracker) as [TracedSegment, TracedSegment, TracedSegment];
  assert.equal(syn.forward, true);
  assert.equal(synAck.forward, false);
  assert.equal(syn.subflow, ack.subflow);
  assert.equal(synAck.origins.sequence, 4999);
  assert.equal(synAck.origins.acknowledgment, 999);
  assert.equal(ack.origins.sequence, 999);
  const client = tracedKey(0x01020304, 0x05060708);
  assert.equal(client.token, 0x66840dda);
  assert.equal(ack.origins.dataSequenceHigh, client.idsnHigh);
  assert.equal(ack.origins.dataSequenceLow, client.idsnLow);
  assert.equal(ack.origins.dataAckLow, tracedKey(0x11121314, 0x15161718).idsnLow);
  assert.equal(ack.subflow.connection.isMultipath, true);
});

test('a join is filed by its token, whichever side makes it', () => {
  const tracker = new FlowTracker();
  const connection = handshake(tracker)[0]!.subflow.connection;
  const toServer = tracedKey(0x11121314, 0x15161718).token;
  const toClient = tracedKey(0x01020304, 0x05060708).token;
  const byClient = tracker.onSegment(
    line(`10.1.0.1:7 > 10.0.0.9:80 S 1:1(0) win 1 <mp_join_syn address_id=1 token=${toServer} nonce=1>`),
  );
  const byServer = tracker.onSegment(
    line(`10.0.0.9:90 > 10.0.0.1:8 S 1:1(0) win 1 <mp_join_syn address_id=1 token=${toClient} nonce=1>`),
  );
  assert.equal(byClient.subflow.connection, connection);
  assert.equal(byClient.subflow.id, 1);
  assert.equal(byClient.subflow.fromClient, true);
  assert.equal(byServer.subflow.connection, connection);
  assert.equal(byServer.subflow.id, 2);
  assert.equal(byServer.subflow.fromClient, false);
  const server = tracedKey(0x11121314, 0x15161718);
  assert.equal(byServer.origins.dataSequenceLow, server.idsnLow, 'the server speaks');
  const stray = tracker.onSegment(
    line('10.2.0.1:7 > 10.0.0.9:80 S 1:1(0) win 1 <mp_join_syn address_id=1 token=77 nonce=1>'),
  );
  assert.notEqual(stray.subflow.connection, connection, 'a token of nobody');
});

test('a SYN with another number under old addresses is a new connection, the same SYN again is not', () => {
  const tracker = new FlowTracker();
  const first = tracker.onSegment(line(`${A} S 999:999(0) win 1`));
  assert.equal(tracker.onSegment(line(`${A} S 999:999(0) win 1`)).subflow, first.subflow);
  const second = tracker.onSegment(line(`${A} S 7:7(0) win 1`));
  assert.notEqual(second.subflow.connection, first.subflow.connection);
  assert.equal(second.subflow.connection.number, 2);
  assert.equal(second.subflow.connection.isMultipath, false);
  const back = tracker.onSegment(line(`${B} S 70:70(0) win 1`));
  assert.equal(back.subflow.connection.number, 2, 'a simultaneous open is one connection');
});

test('without a handshake the first numbers seen are 1', () => {
  const tracker = new FlowTracker();
  const seen = tracker.onSegment(line(`${A} P. 500:510(10) ack 900 win 1`));
  assert.equal(seen.origins.sequence, 499);
  assert.equal(seen.origins.acknowledgment, 899);
  const alone = new FlowTracker().onSegment(line(`${B} S. 4999:4999(0) ack 1000 win 1`));
  assert.equal(alone.forward, false, 'a SYN/ACK comes from the responder');
  assert.equal(alone.subflow.initiator.toString(), '10.0.0.1');
});

test('every capture: joins with a token that is known belong to their connection', { skip: vectorsMissing }, () => {
  const subflows: Record<string, number[]> = {};
  for (const name of captureNames()) {
    const tracker = new FlowTracker();
    for (const { ip } of capture(name)) tracker.onSegment(segmentOf(ip));
    subflows[name] = [...tracker.connections].map((connection) => connection.subflows.length);
  }
  assert.deepEqual(subflows['mpc-v4'], [1]);
  assert.deepEqual(subflows['join-2if-v4'], [2]);
  assert.deepEqual(subflows['join-2if-v6'], [2]);
  assert.deepEqual(subflows['join-fullmesh-v4'], [4]);
  assert.deepEqual(subflows['add-addr-port-v4'], [2]);
  assert.deepEqual(subflows['add-addr-v6-on-v4-connection'], [1]);
  assert.deepEqual(subflows['tcp-plain-v4'], [1]);
});

test('every capture: data sequence numbers begin at 1', { skip: vectorsMissing }, () => {
  for (const name of ['mpc-v4', 'join-2if-v6', 'reinjection-path-failure-serverside']) {
    const tracker = new FlowTracker();
    let least = Number.POSITIVE_INFINITY;
    for (const { ip } of capture(name)) {
      const segment = segmentOf(ip);
      const { origins } = tracker.onSegment(segment);
      if ((segment.mptcp.dssFlags & 0x0c) !== 0x0c || (segment.mptcp.present & 0x80) === 0) continue;
      least = Math.min(least, (segment.mptcp.dataSequenceLow - origins.dataSequenceLow) >>> 0);
    }
    assert.equal(least, 1, name);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Segmentation, Segmenter } from '../../src/link/index.ts';
import { fold, pseudoSum } from '../../src/wire/checksum.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { ChecksumState, PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';

/** A large packet as the stack makes one: DSS mapping and timestamps over `length` bytes. */
function large(
  family: 4 | 6,
  length: number,
  gsoSize: number,
  offload: boolean,
  flags: number,
): { packet: Packet; data: Uint8Array } {
  const segment = new Segment();
  segment.family = family;
  segment.source3 = 0x0a00_0101;
  segment.destination3 = 0x0a00_0102;
  if (family === 6) {
    segment.source0 = 0xfd00_0000;
    segment.destination0 = 0xfd00_0000;
  }
  segment.identification = 65_534;
  segment.sourcePort = 40_000;
  segment.destinationPort = 80;
  segment.sequence = 0xffff_fc00;
  segment.acknowledgment = 77;
  segment.flags = flags;
  segment.window = 500;
  segment.options = Option.Timestamps;
  segment.timestampValue = 11;
  segment.timestampEcho = 22;
  segment.mptcp.present = Mptcp.Dss;
  segment.mptcp.dssFlags = Dss.Ack | Dss.Map;
  segment.mptcp.dataAckLow = 5;
  segment.mptcp.dataSequenceLow = 9;
  segment.mptcp.subflowSequence = 1;
  segment.mptcp.dataLength = length;
  const packet = new Packet(PACKET_CAPACITY, 20);
  packet.gsoSize = gsoSize;
  const data = Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 255);
  packet.bytes.set(data, packet.start + headerLength(segment));
  encodeSegment(segment, packet, length, offload);
  return { packet, data };
}

for (const family of [4, 6] as const) {
  test(`IPv${family}: pieces put together give the payload, and each is a right packet by itself`, () => {
    const flags = Flag.Ack | Flag.Psh | Flag.Fin | Flag.Cwr;
    for (const length of [1, 999, 1000, 1001, 5000, 60_000]) {
      const { packet, data } = large(family, length, 1000, false, flags);
      const segmenter = new Segmenter();
      assert.equal(segmenter.start(packet), true);
      const out = new Packet(2048, 5);
      const got = new Uint8Array(length);
      const count = Math.ceil(length / 1000);
      for (let index = 0; index < count; index++) {
        const expected = segmenter.nextLength;
        assert.equal(segmenter.next(out), true);
        assert.equal(out.length, expected);
        assert.equal(out.gsoSize, 0);
        const ip = new IpHeader();
        const segment = new Segment();
        assert.equal(decodeIp(out, ip), 0);
        assert.equal(decodeTcp(out, ip, segment), 0);
        assert.equal(segment.sequence, (0xffff_fc00 + index * 1000) >>> 0);
        if (family === 4) assert.equal(segment.identification, (65_534 + index) & 0xffff);
        const isLast = index === count - 1;
        assert.equal((segment.flags & Flag.Fin) !== 0, isLast);
        assert.equal((segment.flags & Flag.Psh) !== 0, isLast);
        assert.equal((segment.flags & Flag.Cwr) !== 0, index === 0);
        assert.equal(segment.length, isLast ? length - index * 1000 : 1000);
        assert.equal(segment.timestampValue, 11);
        assert.equal(segment.mptcp.dataLength, length);
        assert.equal(segment.mptcp.subflowSequence, 1);
        got.set(out.bytes.subarray(segment.payloadStart, segment.payloadEnd), (segment.sequence - 0xffff_fc00) | 0);
      }
      assert.equal(segmenter.next(out), false);
      assert.equal(segmenter.nextLength, 0);
      assert.deepEqual(got, data);
    }
  });

  test(`IPv${family}: an unfinished checksum stays unfinished, for its own length, unless it is to be finished`, () => {
    for (const completes of [false, true]) {
      const { packet } = large(family, 2500, 1000, true, Flag.Ack);
      const segmenter = new Segmenter(completes);
      segmenter.start(packet);
      const out = new Packet(2048);
      for (let index = 0; index < 3; index++) {
        assert.equal(segmenter.next(out), true);
        const ip = new IpHeader();
        assert.equal(decodeIp(out, ip), 0);
        assert.equal(out.checksum, completes ? ChecksumState.Unverified : ChecksumState.Partial);
        if (completes) {
          assert.equal(decodeTcp(out, ip, new Segment()), 0);
        } else {
          const pseudo = fold(pseudoSum(ip, 6, ip.payloadEnd - ip.payloadStart));
          assert.equal(out.view.getUint16(ip.payloadStart + 16), pseudo);
        }
      }
    }
  });
}

test('what is no large TCP packet is not cut', () => {
  const segmenter = new Segmenter();
  const { packet } = large(4, 3000, 0, false, Flag.Ack);
  assert.equal(segmenter.start(packet), false);
  packet.gsoSize = 1000;
  packet.view.setUint8(packet.start + 9, 17);
  assert.equal(segmenter.start(packet), false);
  assert.equal(segmenter.next(new Packet(2048)), false);
});

test('the segmentation stage cuts what the MTU does not admit and counts a large packet as what it stands for', () => {
  for (const [mtu, pieces] of [
    [1500, 5],
    [9000, 1],
  ] as const) {
    const stage = new Segmentation(mtu);
    stage.send(0, large(4, 4500, 1000, true, Flag.Ack).packet);
    const out = new Packet(PACKET_CAPACITY);
    let count = 0;
    while (stage.receive(0, out)) {
      count++;
      assert.equal(out.gsoSize, pieces === 1 ? 1000 : 0);
    }
    assert.equal(count, pieces);
    assert.equal(stage.counters.sent, 5);
    assert.equal(stage.counters.received, 5);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Address } from '../../src/wire/address.ts';
import { fold, pseudoSum, sum } from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { capableUsable } from '../../src/wire/mptcp-codec.ts';
import { Capable, Dss, Mptcp, MptcpOptions } from '../../src/wire/mptcp-options.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength, optionsLength } from '../../src/wire/tcp.ts';

function between(source: string, destination: string): Segment {
  const segment = new Segment();
  const from = Address.of(source);
  const to = Address.of(destination);
  segment.family = from.family;
  segment.source0 = from.w0;
  segment.source1 = from.w1;
  segment.source2 = from.w2;
  segment.source3 = from.w3;
  segment.destination0 = to.w0;
  segment.destination1 = to.w1;
  segment.destination2 = to.w2;
  segment.destination3 = to.w3;
  segment.sourcePort = 40_000;
  segment.destinationPort = 80;
  return segment;
}

function encode(segment: Segment, payload = new Uint8Array(0), offload = false): Packet {
  const packet = new Packet(2048, 13);
  packet.bytes.set(payload, packet.start + headerLength(segment));
  encodeSegment(segment, packet, payload.length, offload);
  return packet;
}

function decode(packet: Packet): Segment {
  const ip = new IpHeader();
  const segment = new Segment();
  assert.equal(decodeIp(packet, ip), Drop.None);
  assert.equal(decodeTcp(packet, ip, segment), Drop.None);
  return segment;
}

/** The option area in hex. */
function optionBytes(segment: Segment): string {
  const packet = encode(segment);
  const start = packet.start + (segment.family === 4 ? 40 : 60);
  assert.equal(packet.end - start, optionsLength(segment));
  return Buffer.from(packet.bytes.subarray(start, packet.end)).toString('hex');
}

/** A segment whose option area is `hex`, decoded. */
function withOptions(hex: string, flags: number): Segment {
  const segment = between('192.0.2.1', '192.0.2.2');
  segment.flags = flags;
  const packet = encode(segment, Buffer.from(hex, 'hex'));
  const length = hex.length / 2;
  packet.bytes[packet.start + 32] = ((20 + length) >> 2) << 4;
  packet.checksum = ChecksumState.Verified;
  return decode(packet);
}

test('all fixed fields survive, for both families', () => {
  for (const [a, b] of [
    ['192.0.2.1', '198.51.100.255'],
    ['2001:db8::1', 'fe80::ffff:ffff'],
  ] as const) {
    const segment = between(a, b);
    segment.sequence = 0xfedc_ba98;
    segment.acknowledgment = 0xffff_ffff;
    segment.flags = Flag.Ack | Flag.Psh | Flag.Ece | Flag.Cwr | Flag.Ae;
    segment.window = 0xffff;
    segment.urgent = 0x8001;
    segment.hopLimit = 255;
    segment.trafficClass = 0xff;
    segment.flowLabel = segment.family === 6 ? 0xf_ffff : 0;
    segment.identification = segment.family === 4 ? 0xffff : 0;
    const read = decode(encode(segment, Uint8Array.of(1, 2, 3)));
    for (const field of Object.keys(segment) as (keyof Segment)[]) {
      if (typeof segment[field] === 'number' && !field.startsWith('payload')) {
        assert.equal(read[field], segment[field], field);
      }
    }
    assert.equal(read.length, 3);
  }
});

test('the checksum is right, and a wrong one is a named drop unless the link vouches for it', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  const packet = encode(segment, Uint8Array.of(1, 2, 3, 4, 5));
  assert.equal(packet.checksum, ChecksumState.Unverified);
  const ip = new IpHeader();
  assert.equal(decodeIp(packet, ip), Drop.None);
  const total = sum(packet.bytes, ip.payloadStart, ip.payloadEnd, pseudoSum(ip, 6, ip.payloadEnd - ip.payloadStart));
  assert.equal(fold(total), 0xffff);
  packet.bytes[packet.end - 1]! ^= 0x40;
  assert.equal(decodeTcp(packet, ip, segment), Drop.BadTcpChecksum);
  packet.checksum = ChecksumState.Verified;
  assert.equal(decodeTcp(packet, ip, segment), Drop.None);
  packet.checksum = ChecksumState.Partial;
  assert.equal(decodeTcp(packet, ip, segment), Drop.None);
});

test('with offload the field holds the pseudo-header sum, and a link completes it', () => {
  const segment = between('2001:db8::1', '2001:db8::2');
  const payload = Uint8Array.from({ length: 77 }, (_, index) => index);
  const partial = encode(segment, payload, true);
  assert.equal(partial.checksum, ChecksumState.Partial);
  const tcp = partial.start + 40;
  assert.equal(partial.view.getUint16(tcp + 16), fold(pseudoSum(segment, 6, 20 + payload.length)));
  // What a network card does: sum from the start of TCP, the field included, and complement.
  const total = ~fold(sum(partial.bytes, tcp, partial.end, 0)) & 0xffff;
  assert.equal(total, encode(segment, payload).view.getUint16(tcp + 16));
});

test('IPv4 has DF set and a right header checksum; gsoSize is left alone', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  const packet = new Packet(65_536);
  packet.gsoSize = 1448;
  encodeSegment(segment, packet, 60_000, true);
  assert.equal(packet.gsoSize, 1448);
  assert.equal(packet.view.getUint16(packet.start + 2), 60_040);
  assert.equal(packet.view.getUint16(packet.start + 6), 0x4000);
  assert.equal(fold(sum(packet.bytes, packet.start, packet.start + 20, 0)), 0xffff);
  assert.throws(() => encodeSegment(segment, packet, 65_500, true), RangeError);
});

test('A1.44 options of a SYN stand as Linux writes them', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  segment.flags = Flag.Syn;
  segment.options = Option.MaximumSegmentSize | Option.SackPermitted | Option.Timestamps | Option.WindowScale;
  segment.mss = 1460;
  segment.timestampValue = 0x0102_0304;
  segment.windowScale = 10;
  segment.mptcp.present = Mptcp.CapableSyn;
  segment.mptcp.version = 1;
  segment.mptcp.capableFlags = Capable.HmacSha256;
  assert.equal(optionBytes(segment), '020405b40402080a01020304000000000103030a1e040101');
  segment.mptcp.present = Mptcp.JoinSynAck;
  assert.equal(optionsLength(segment), 20 + 16);
  segment.options &= ~Option.Timestamps;
  segment.mptcp.present = 0;
  assert.equal(optionBytes(segment), '020405b4010104020103030a');
  segment.options = Option.FastOpen;
  assert.equal(optionBytes(segment), '22020101');
});

test('A1.43 A1.39 options behind a handshake: timestamps, SACK, MPTCP, NOPs behind each', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  segment.flags = Flag.Ack;
  segment.options = Option.Timestamps | Option.Sack;
  segment.timestampValue = 1;
  segment.timestampEcho = 2;
  segment.sackCount = 1;
  segment.sackEdges.set([0x10, 0x20]);
  segment.mptcp.present = Mptcp.Dss;
  segment.mptcp.dssFlags = Dss.Ack;
  segment.mptcp.dataAckLow = 3;
  assert.equal(optionBytes(segment), '0101080a00000001000000020101050a00000010000000201e08200100000003');
  segment.options = Option.Timestamps;
  segment.mptcp.dssFlags = Dss.Ack | Dss.Map | Dss.Map64;
  segment.mptcp.hasChecksum = false;
  assert.equal(optionsLength(segment), 12 + 24);
  assert.match(optionBytes(segment), /0101$/);
});

test('A1.40 several MPTCP options in one segment stand in the order of Linux', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  segment.flags = Flag.Ack;
  const { mptcp } = segment;
  mptcp.dssFlags = Dss.Ack;
  mptcp.dataAckLow = 1;
  mptcp.failLow = 2;
  mptcp.removeCount = 2;
  mptcp.removeIds.set([7, 8]);
  mptcp.priorityBackup = true;
  const dss = '1e08200100000001';
  const cases: readonly (readonly [number, string])[] = [
    [Mptcp.Dss | Mptcp.Fail, `${dss}1e0c60000000000000000002`],
    [Mptcp.Dss | Mptcp.RemoveAddress, `${dss}1e05400708010101`],
    [Mptcp.Dss | Mptcp.Priority, `${dss}1e035101`],
    [Mptcp.Priority | Mptcp.RemoveAddress, '1e0351011e05400708010101'],
    [Mptcp.Fail | Mptcp.Reset, '1e0c600000000000000000021e048000'],
    [Mptcp.FastClose | Mptcp.Reset, '1e0c700000000000000000001e048000'],
  ];
  for (const [present, hex] of cases) {
    mptcp.present = present;
    segment.flags = (present & Mptcp.Reset) !== 0 ? Flag.Rst : Flag.Ack;
    assert.equal(optionBytes(segment), hex);
    assert.equal(decode(encode(segment)).mptcp.present, present);
  }
});

/** RFC 9293 §3.1, RFC 8200 §8.1: the sum over pseudo-header, header and text, field by field; 0xffff when it is right. */
function definedSum(segment: Segment, packet: Packet): number {
  const start = packet.start + (segment.family === 4 ? 20 : 40);
  const words: number[] = [];
  const put = (word: number): void => void words.push(word >>> 16, word & 0xffff);
  if (segment.family === 4) {
    put(segment.source3 >>> 0);
    put(segment.destination3 >>> 0);
    words.push(6, packet.end - start);
  } else {
    for (const word of [segment.source0, segment.source1, segment.source2, segment.source3]) put(word >>> 0);
    for (const word of [segment.destination0, segment.destination1, segment.destination2]) put(word >>> 0);
    put(segment.destination3 >>> 0);
    put(packet.end - start);
    put(6);
  }
  for (let at = start; at < packet.end; at += 2) {
    words.push((packet.bytes[at]! << 8) | (at + 1 < packet.end ? packet.bytes[at + 1]! : 0));
  }
  return words.reduce((total, word) => (total + word > 0xffff ? total + word - 0xffff : total + word), 0);
}

for (const [source, destination] of [
  ['192.0.2.1', '198.51.100.255'],
  ['2001:db8::1', 'fd00:ffff:ffff:ffff:8000::ffff'],
] as const) {
  test(`C01 from ${source}: 40 bytes of options, and a checksum that is right, also after options were rewritten`, () => {
    const segment = between(source, destination);
    segment.flags = Flag.Ack | Flag.Psh;
    segment.sequence = 0xfedc_ba98;
    segment.acknowledgment = 0x8000_0001;
    segment.window = 0xfffe;
    segment.options = Option.Timestamps;
    segment.timestampValue = 0x1234_5678;
    segment.timestampEcho = 0x9abc_def0;
    const { mptcp } = segment;
    mptcp.present = Mptcp.Dss;
    mptcp.dssFlags = Dss.Ack | Dss.Ack64 | Dss.Map | Dss.Map64;
    mptcp.dataAckHigh = 0xffff_fffe;
    mptcp.dataAckLow = 7;
    mptcp.dataSequenceHigh = 1;
    mptcp.dataSequenceLow = 0xfedc_ba98;
    mptcp.subflowSequence = 3;
    mptcp.dataLength = 5;
    mptcp.hasChecksum = true;
    mptcp.checksum = 0xabcd;
    assert.equal(optionsLength(segment), 40, 'all there is room for');
    const payload = Uint8Array.of(1, 2, 3, 4, 255);
    const packet = encode(segment, payload);
    const tcp = packet.start + (segment.family === 4 ? 20 : 40);
    assert.equal(packet.bytes[tcp + 12]! >> 4, 15);
    assert.equal(definedSum(segment, packet), 0xffff);
    const read = decode(packet);
    assert.equal(read.mptcp.dataAckLow, 7);
    assert.equal(read.mptcp.checksum, 0xabcd);
    assert.deepEqual([...packet.bytes.subarray(read.payloadStart, read.payloadEnd)], [...payload]);
    for (let run = 0; run < 100; run++) {
      // Written again over what was there, as a retransmission with a newer DATA_ACK.
      mptcp.dataAckLow = (run * 0x9e37_79b9) >>> 0;
      segment.timestampValue = (segment.timestampValue + run * 0x0101_0101) >>> 0;
      encodeSegment(segment, packet, payload.length, false);
      assert.equal(definedSum(segment, packet), 0xffff, `after ${run} rewrites`);
      assert.equal(decode(packet).mptcp.dataAckLow, mptcp.dataAckLow);
    }
    packet.bytes[tcp + 21]! ^= 1;
    const ip = new IpHeader();
    assert.equal(decodeIp(packet, ip), Drop.None);
    assert.equal(decodeTcp(packet, ip, segment), Drop.BadTcpChecksum, 'an option byte counts');
  });
}

test('A1.29 an IPv6 address with port does not fit beside timestamps: the caller is told, not the wire', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  segment.flags = Flag.Ack;
  segment.options = Option.Timestamps;
  segment.mptcp.present = Mptcp.AddAddress;
  segment.mptcp.addFamily = 6;
  segment.mptcp.addPort = 5100;
  assert.equal(optionsLength(segment), 44);
  assert.throws(() => encodeSegment(segment, new Packet(2048), 0, false), RangeError);
  segment.options = 0;
  assert.equal(decode(encode(segment)).mptcp.addPort, 5100);
});

test('RFC 9293 §3.1: an option list ends at an illegal length; the segment lives', () => {
  assert.equal(withOptions('080a000000010000000205000000000000000000', Flag.Ack).options, Option.Timestamps);
  assert.equal(withOptions('0501000003030a00', Flag.Syn).options, 0);
  assert.equal(withOptions('010101ff', Flag.Ack).options, 0);
  assert.equal(withOptions('0101010800', Flag.Ack).options, 0);
  assert.equal(withOptions('0003030a020405b4', Flag.Syn).options, 0, 'nothing is read behind the end');
});

test('options of a length that their kind does not have are skipped alone', () => {
  const segment = withOptions('080900000000000000050b000000000000000000' + '0103030a', Flag.Syn);
  assert.equal(segment.options, Option.WindowScale);
  assert.equal(segment.sackCount, 0);
});

test('MSS, window scale and SACK-permitted count on a SYN alone; a shift above 14 is 14', () => {
  const options = '020405b40103030f04020101';
  const syn = withOptions(options, Flag.Syn);
  assert.equal(syn.options, Option.MaximumSegmentSize | Option.WindowScale | Option.SackPermitted);
  assert.equal(syn.mss, 1460);
  assert.equal(syn.windowScale, 14);
  assert.equal(withOptions(options, Flag.Ack).options, 0);
});

test('signed segments are recognised', () => {
  assert.equal(withOptions(`1312${'00'.repeat(16)}0101`, Flag.Ack).options, Option.Authentication);
  assert.equal(withOptions('1d04000101010101', Flag.Ack).options, Option.Authentication);
});

test('headers that cannot be are named drops', () => {
  const segment = between('192.0.2.1', '192.0.2.2');
  const packet = encode(segment, new Uint8Array(4));
  packet.checksum = ChecksumState.Verified;
  const ip = new IpHeader();
  assert.equal(decodeIp(packet, ip), Drop.None);
  packet.bytes[packet.start + 32] = 0x40;
  assert.equal(decodeTcp(packet, ip, segment), Drop.BadTcpHeader);
  packet.bytes[packet.start + 32] = 0x70;
  assert.equal(decodeTcp(packet, ip, segment), Drop.BadTcpHeader);
  ip.payloadEnd = ip.payloadStart + 19;
  assert.equal(decodeTcp(packet, ip, segment), Drop.Truncated);
});

test('A1.08 A1.10 A1.11 A1.12 which MP_CAPABLE takes part', () => {
  const options = new MptcpOptions();
  const usable = (present: number, version: number, flags: number): boolean => {
    options.present = present;
    options.version = version;
    options.capableFlags = flags;
    return capableUsable(options);
  };
  assert.equal(usable(Mptcp.CapableSyn, 1, 0x01), true);
  assert.equal(usable(Mptcp.CapableSyn, 1, 0xa1), true, 'A and C change nothing');
  assert.equal(usable(Mptcp.CapableSyn, 1, 0x41), false, 'A1.08: bit B');
  assert.equal(usable(Mptcp.CapableSyn, 1, 0x03), false, 'A1.10: an unknown algorithm');
  assert.equal(usable(Mptcp.CapableSyn, 1, 0x80), false, 'A1.11: no algorithm');
  assert.equal(usable(Mptcp.CapableSyn, 2, 0x01), true, 'A1.12: a later version is an offer');
  assert.equal(usable(Mptcp.CapableSyn, 0, 0x01), false);
  assert.equal(usable(Mptcp.CapableSynAck, 2, 0x01), false, 'A1.12: an answer is of version 1');
  assert.equal(usable(Mptcp.CapableAck | Mptcp.CapableData, 1, 0x01), true);
  assert.equal(usable(Mptcp.Dss, 1, 0x01), false);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Address } from '../../src/wire/address.ts';
import { fold, pseudoSum, sum } from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import {
  decodeIcmp,
  encodeEchoReply,
  encodeIcmpError,
  FRAGMENTATION_NEEDED,
  Icmp4,
  Icmp6,
  IcmpMessage,
  mayDrawError,
} from '../../src/wire/icmp.ts';
import { decodeIp, IpHeader, Protocol } from '../../src/wire/ip.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { encodeSegment, headerLength } from '../../src/wire/tcp.ts';

const PAIRS = [
  ['192.0.2.1', '198.51.100.2'],
  ['2001:db8::1', '2001:db8:ffff::2'],
] as const;

function tcpPacket(source: string, destination: string, payloadLength: number): { packet: Packet; ip: IpHeader } {
  const segment = new Segment();
  const from = Address.of(source);
  const to = Address.of(destination);
  segment.family = from.family;
  [segment.source0, segment.source1, segment.source2, segment.source3] = [from.w0, from.w1, from.w2, from.w3];
  segment.destination0 = to.w0;
  segment.destination1 = to.w1;
  segment.destination2 = to.w2;
  segment.destination3 = to.w3;
  segment.sourcePort = 40_000;
  segment.destinationPort = 443;
  segment.sequence = 0xdead_beef;
  const packet = new Packet(headerLength(segment) + payloadLength, 3);
  encodeSegment(segment, packet, payloadLength, false);
  const ip = new IpHeader();
  assert.equal(decodeIp(packet, ip), Drop.None);
  return { packet, ip };
}

function decode(packet: Packet): { drop: number; ip: IpHeader; message: IcmpMessage } {
  const ip = new IpHeader();
  const message = new IcmpMessage();
  assert.equal(decodeIp(packet, ip), Drop.None);
  return { drop: decodeIcmp(packet, ip, message), ip, message };
}

for (const [source, destination] of PAIRS) {
  const is4 = !source.includes(':');

  test(`errors about ${source}: who sent what, quoted in full`, () => {
    const { packet, ip } = tcpPacket(source, destination, 3000);
    const router = is4 ? Address.of('203.0.113.9') : Address.of('2001:db8:9::9');
    const cases = is4
      ? [
          [Icmp4.Unreachable, FRAGMENTATION_NEEDED, 1400, 1400, 0],
          [Icmp4.Unreachable, 1, 0, 0, 0],
          [Icmp4.TimeExceeded, 0, 0, 0, 0],
          [Icmp4.ParameterProblem, 0, 20, 0, 20],
        ]
      : [
          [Icmp6.PacketTooBig, 0, 1400, 1400, 0],
          [Icmp6.Unreachable, 4, 0, 0, 0],
          [Icmp6.TimeExceeded, 0, 0, 0, 0],
          [Icmp6.ParameterProblem, 1, 40, 0, 40],
        ];
    for (const [type, code, value, mtu, pointer] of cases as readonly (readonly number[])[]) {
      const out = new Packet(1500, 9);
      encodeIcmpError(packet, ip, type!, code!, value!, out, router);
      assert.equal(out.length, is4 ? 576 : 1280, 'as much as a receiver must take');
      const { drop, ip: outer, message } = decode(out);
      assert.equal(drop, Drop.None);
      assert.equal(outer.source3, router.w3);
      assert.equal(outer.destination3, ip.source3);
      assert.equal(message.type, type);
      assert.equal(message.code, code);
      assert.equal(message.mtu, mtu);
      assert.equal(message.pointer, pointer);
      assert.equal(message.isError, true);
      assert.equal(message.isEcho, false);
      assert.equal(message.quotedSource0, ip.source0);
      assert.equal(message.quotedSource3, ip.source3);
      assert.equal(message.quotedDestination0, ip.destination0);
      assert.equal(message.quotedDestination3, ip.destination3);
      assert.equal(message.quotedProtocol, Protocol.Tcp);
      assert.equal(message.quotedSourcePort, 40_000);
      assert.equal(message.quotedDestinationPort, 443);
      assert.equal(message.quotedSequence, 0xdead_beef);
      assert.equal(mayDrawError(out, outer), false, 'no error about an error');
    }
    assert.equal(mayDrawError(packet, ip), true);
  });

  test(`echo between ${source} and ${destination}`, () => {
    const request = new Packet(200);
    const { packet, ip } = tcpPacket(source, destination, 0);
    // An error as a template, turned into an echo request by hand.
    encodeIcmpError(packet, ip, 0, 0, 0, request);
    const start = request.start + (is4 ? 20 : 40);
    request.view.setUint8(start, is4 ? Icmp4.EchoRequest : Icmp6.EchoRequest);
    request.view.setUint32(start + 4, 0x1234_0007);
    request.view.setUint16(start + 2, 0);
    const length = request.end - start;
    const header = new IpHeader();
    assert.equal(decodeIp(request, header), Drop.None);
    const pseudo = is4 ? 0 : pseudoSum(header, Protocol.Icmp6, length);
    request.view.setUint16(start + 2, ~fold(sum(request.bytes, start, request.end, pseudo)) & 0xffff);
    const asked = decode(request);
    assert.equal(asked.drop, Drop.None);
    assert.equal(asked.message.isEcho && asked.message.isRequest, true);
    assert.equal(asked.message.identifier, 0x1234);
    assert.equal(asked.message.sequence, 7);
    assert.equal(mayDrawError(request, asked.ip), true);
    const reply = new Packet(200, 4);
    encodeEchoReply(request, asked.ip, asked.message, reply);
    const answered = decode(reply);
    assert.equal(answered.drop, Drop.None);
    assert.equal(answered.message.isEcho, true);
    assert.equal(answered.message.isRequest, false);
    assert.equal(answered.message.identifier, 0x1234);
    assert.equal(answered.message.sequence, 7);
    assert.equal(answered.ip.source3, asked.ip.destination3);
    assert.equal(answered.ip.destination3, asked.ip.source3);
    assert.deepEqual(
      reply.bytes.slice(answered.message.dataStart, answered.message.dataEnd),
      request.bytes.slice(asked.message.dataStart, asked.message.dataEnd),
    );
  });

  test(`bad messages to ${destination} are named drops`, () => {
    const { packet, ip } = tcpPacket(source, destination, 0);
    const out = new Packet(1500);
    encodeIcmpError(packet, ip, is4 ? Icmp4.Unreachable : Icmp6.Unreachable, 0, 0, out);
    const { ip: outer } = decode(out);
    const message = new IcmpMessage();
    out.bytes[out.end - 1]! ^= 1;
    assert.equal(decodeIcmp(out, outer, message), Drop.BadIcmpChecksum);
    out.checksum = ChecksumState.Verified;
    assert.equal(decodeIcmp(out, outer, message), Drop.None);
    const quotedHeader = is4 ? 20 : 40;
    outer.payloadEnd = outer.payloadStart + 8 + quotedHeader + 7;
    assert.equal(decodeIcmp(out, outer, message), Drop.BadIcmp, 'the ports are cut');
    outer.payloadEnd = outer.payloadStart + 8 + quotedHeader - 1;
    assert.equal(decodeIcmp(out, outer, message), Drop.BadIcmp, 'the header is cut');
    outer.payloadEnd = outer.payloadStart + 7;
    assert.equal(decodeIcmp(out, outer, message), Drop.Truncated);
    outer.protocol = Protocol.Tcp;
    assert.equal(decodeIcmp(out, outer, message), Drop.UnknownProtocol);
  });
}

test('no error about what comes from or goes to no single host', () => {
  const { packet, ip } = tcpPacket('192.0.2.1', '198.51.100.2', 0);
  ip.destination3 = 0xe000_0001;
  assert.equal(mayDrawError(packet, ip), false);
  ip.destination3 = 0xffff_ffff;
  assert.equal(mayDrawError(packet, ip), false);
  ip.destination3 = 0xc633_6402;
  ip.source3 = 0;
  assert.equal(mayDrawError(packet, ip), false);
});

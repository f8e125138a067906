import assert from 'node:assert/strict';
import { test } from 'node:test';
import { complement, sum } from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, encodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Packet } from '../../src/wire/packet.ts';

function packetOf(bytes: readonly number[], headroom = 7): Packet {
  const packet = new Packet(bytes.length + 64, headroom);
  packet.bytes.set(bytes, headroom);
  packet.end = headroom + bytes.length;
  return packet;
}

/** An IPv4 header around `payload`, its checksum repaired after `change`. */
function ipv4(payload: readonly number[], change: (bytes: number[]) => void = () => {}): Packet {
  const length = 20 + payload.length;
  const bytes = [0x45, 0x10, 0, length, 0x12, 0x34, 0x40, 0, 63, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, ...payload];
  change(bytes);
  const header = Uint8Array.from(bytes.slice(0, (bytes[0]! & 15) << 2));
  const checksum = complement(sum(header, 0, header.length, 0));
  bytes[10] = checksum >> 8;
  bytes[11] = checksum & 255;
  return packetOf(bytes);
}

function ipv6(next: number, payload: readonly number[], length = payload.length): Packet {
  const source = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
  const destination = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
  return packetOf([0x6a, 0xb1, 0x23, 0x45, 0, length, next, 62, ...source, ...destination, ...payload]);
}

function decode(packet: Packet): { drop: number; header: IpHeader } {
  const header = new IpHeader();
  return { drop: decodeIp(packet, header), header };
}

test('IPv4: all fields', () => {
  const { drop, header } = decode(ipv4([1, 2, 3]));
  assert.equal(drop, Drop.None);
  assert.equal(header.family, 4);
  assert.equal(header.trafficClass, 0x10);
  assert.equal(header.identification, 0x1234);
  assert.equal(header.hopLimit, 63);
  assert.equal(header.protocol, 6);
  assert.equal(header.source3, 0xc000_0201);
  assert.equal(header.destination3, 0xc633_6402);
  assert.equal(header.source0 | header.source1 | header.source2, 0);
  assert.equal(header.payloadStart, 27);
  assert.equal(header.payloadEnd, 30);
});

test('IPv4: options are stepped over, padding of the frame is left out', () => {
  const packet = ipv4([1, 1, 1, 0, 9, 9], (bytes) => {
    bytes[0] = 0x46;
  });
  packet.end += 20;
  const { drop, header } = decode(packet);
  assert.equal(drop, Drop.None);
  assert.equal(header.payloadStart, 31);
  assert.equal(header.payloadEnd, 33);
});

test('IPv4: what is wrong has a name', () => {
  assert.equal(decode(packetOf([0x45, 0, 0])).drop, Drop.Truncated);
  assert.equal(decode(packetOf(new Array(20).fill(0x55))).drop, Drop.BadIpVersion);
  assert.equal(decode(ipv4([], (bytes) => bytes.splice(0, 1, 0x44))).drop, Drop.BadIpHeader);
  assert.equal(decode(ipv4([], (bytes) => bytes.splice(3, 1, 19))).drop, Drop.BadIpHeader);
  assert.equal(decode(ipv4([], (bytes) => bytes.splice(3, 1, 21))).drop, Drop.Truncated);
  assert.equal(decode(ipv4([], (bytes) => bytes.splice(0, 1, 0x4f))).drop, Drop.BadIpHeader);
  const wrong = ipv4([]);
  wrong.bytes[wrong.start + 8]! ^= 1;
  assert.equal(decode(wrong).drop, Drop.BadIpChecksum);
});

test('IPv4: fragments, the first, one between and the last', () => {
  for (const [high, low] of [
    [0x20, 0],
    [0x20, 9],
    [0x00, 9],
    [0x1f, 0xff],
  ] as const) {
    assert.equal(decode(ipv4([], (bytes) => bytes.splice(6, 2, high, low))).drop, Drop.Fragment);
  }
  assert.equal(decode(ipv4([], (bytes) => bytes.splice(6, 2, 0, 0))).drop, Drop.None);
});

test('IPv6: all fields', () => {
  const { drop, header } = decode(ipv6(6, [1, 2, 3]));
  assert.equal(drop, Drop.None);
  assert.equal(header.family, 6);
  assert.equal(header.trafficClass, 0xab);
  assert.equal(header.flowLabel, 0x1_2345);
  assert.equal(header.hopLimit, 62);
  assert.equal(header.protocol, 6);
  assert.equal(header.source0, 0x2001_0db8);
  assert.equal(header.source3, 1);
  assert.equal(header.destination0, 0xfe80_0000);
  assert.equal(header.destination3, 2);
  assert.equal(header.payloadStart, 47);
  assert.equal(header.payloadEnd, 50);
});

test('IPv6: hop-by-hop, routing, destination, atomic fragment and AH headers are skipped', () => {
  const hop = [60, 0, 1, 4, 0, 0, 0, 0];
  const destination = [43, 1, 1, 12, ...new Array(12).fill(0)];
  const routing = [44, 0, 0, 0, 0, 0, 0, 0];
  const fragment = [51, 0, 0, 0, 1, 2, 3, 4];
  const authentication = [6, 4, ...new Array(22).fill(0)];
  const payload = [...hop, ...destination, ...routing, ...fragment, ...authentication, 7, 7];
  const { drop, header } = decode(ipv6(0, payload));
  assert.equal(drop, Drop.None);
  assert.equal(header.protocol, 6);
  assert.equal(header.payloadEnd - header.payloadStart, 2);
});

test('IPv6: what is wrong has a name', () => {
  const name = (next: number, payload: readonly number[]): number => decode(ipv6(next, payload)).drop;
  assert.equal(decode(ipv6(6, [1], 2)).drop, Drop.Truncated);
  assert.equal(decode(packetOf([0x60, ...new Array(38).fill(0)])).drop, Drop.Truncated);
  assert.equal(name(0, [6, 0, 1]), Drop.BadExtensionHeader, 'cut');
  assert.equal(name(0, [6, 1, 1, 4, 0, 0, 0, 0]), Drop.BadExtensionHeader, 'longer than the packet');
  assert.equal(
    name(60, [0, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]),
    Drop.BadExtensionHeader,
    'hop-by-hop second',
  );
  assert.equal(name(43, [6, 0, 0, 1, 0, 0, 0, 0]), Drop.BadExtensionHeader, 'segments left');
  assert.equal(name(0, [6, 0, 0xc2, 4, 0, 1, 0, 0]), Drop.BadExtensionHeader, 'an option that must not be skipped');
  assert.equal(name(0, [6, 0, 0x05, 2, 0, 0, 0, 0]), Drop.None, 'router alert');
  assert.equal(name(0, [6, 0, 0x05, 9, 0, 0, 0, 0]), Drop.BadExtensionHeader, 'an option longer than its header');
  assert.equal(name(44, [6, 0, 0, 1, 0, 0, 0, 0]), Drop.Fragment, 'more to come');
  assert.equal(name(44, [6, 0, 0, 8, 0, 0, 0, 0]), Drop.Fragment, 'not the first');
  const many = Array.from({ length: 9 }, () => [60, 0, 1, 4, 0, 0, 0, 0]).flat();
  assert.equal(name(60, many), Drop.BadExtensionHeader, 'bounded');
});

test('encodeIp writes what decodeIp reads', () => {
  for (const source of [ipv4([5, 6, 7, 8]), ipv6(58, [5, 6, 7, 8])]) {
    const { header } = decode(source);
    const out = new Packet(200, 11);
    encodeIp(header, out, 4);
    out.bytes.set([5, 6, 7, 8], out.end - 4);
    assert.deepEqual(out.bytes.slice(out.start, out.end), source.bytes.slice(source.start, source.end));
  }
  assert.throws(() => encodeIp(new IpHeader(), new Packet(70_000), 65_516), RangeError);
});

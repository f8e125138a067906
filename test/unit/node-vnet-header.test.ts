import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeTransportChecksum, readVnetHeader, VNET_HEADER, writeVnetHeader } from '../../src/node/vnet-header.ts';
import { fold, sumPacket } from '../../src/wire/checksum.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';

interface Shape {
  family?: 4 | 6;
  protocol?: 6 | 17;
  payload?: number;
  cwr?: boolean;
  /** Bytes of a destination options header. */
  extension?: number;
}

/** A packet with payload 0, 1, 2 … and the pseudo-header's sum in the checksum field. */
function packetOf({ family = 4, protocol = 6, payload = 100, cwr = false, extension = 0 }: Shape = {}): Packet {
  const packet = new Packet(70_000, 16);
  const { view, bytes, start } = packet;
  const ip = family === 4 ? 20 : 40;
  const transport = start + ip + extension;
  const header = protocol === 6 ? 32 : 8;
  packet.end = transport + header + payload;
  const length = packet.end - transport;
  if (family === 4) {
    view.setUint8(start, 0x45);
    view.setUint16(start + 2, Math.min(packet.end - start, 65_535));
    view.setUint8(start + 9, protocol);
    view.setUint32(start + 12, 0x0a000001);
    view.setUint32(start + 16, 0x0a000002);
  } else {
    view.setUint8(start, 0x60);
    view.setUint16(start + 4, Math.min(packet.end - start - 40, 65_535));
    view.setUint8(start + 6, extension > 0 ? 60 : protocol);
    view.setUint32(start + 8, 0xfd000001);
    view.setUint32(start + 24, 0xfd000002);
    if (extension > 0) {
      view.setUint8(start + 40, protocol);
      view.setUint8(start + 41, extension / 8 - 1);
    }
  }
  for (let at = 0; at < payload; at++) bytes[transport + header + at] = at;
  if (protocol === 6) {
    view.setUint8(transport + 12, (header / 4) << 4);
    view.setUint8(transport + 13, 0x10 | (cwr ? 0x80 : 0));
  } else {
    view.setUint16(transport + 4, length);
  }
  const addresses =
    family === 4 ? sumPacket(packet, start + 12, start + 20, 0) : sumPacket(packet, start + 8, start + 40, 0);
  view.setUint16(transport + (protocol === 6 ? 16 : 6), fold(addresses + protocol + length));
  packet.checksum = ChecksumState.Partial;
  return packet;
}

/** flags, type, header length, gso size, checksum start, checksum offset. */
function header(packet: Packet): number[] {
  const { view } = packet;
  const at = packet.start - VNET_HEADER;
  return [view.getUint8(at), view.getUint8(at + 1), ...[2, 4, 6, 8].map((offset) => view.getUint16(at + offset, true))];
}

test('a packet without marks has an empty header', () => {
  const packet = packetOf();
  packet.bytes.fill(0xee, 0, 16);
  packet.checksum = ChecksumState.Unverified;
  assert.equal(writeVnetHeader(packet), true);
  assert.deepEqual(header(packet), [0, 0, 0, 0, 0, 0]);
  packet.checksum = ChecksumState.Verified;
  assert.equal(writeVnetHeader(packet), true);
  assert.deepEqual(header(packet), [2, 0, 0, 0, 0, 0]);
});

test('a partial checksum says where to finish it', () => {
  for (const [shape, expected] of [
    [{}, [1, 0, 0, 0, 20, 16]],
    [{ family: 6 }, [1, 0, 0, 0, 40, 16]],
    [{ protocol: 17 }, [1, 0, 0, 0, 20, 6]],
    [{ family: 6, protocol: 17 }, [1, 0, 0, 0, 40, 6]],
    [{ family: 6, extension: 16 }, [1, 0, 0, 0, 56, 16]],
  ] as const) {
    const packet = packetOf(shape);
    assert.equal(writeVnetHeader(packet), true);
    assert.deepEqual(header(packet), expected, JSON.stringify(shape));
  }
});

test('a large packet says how to cut it, with ECN where CWR is set', () => {
  for (const [shape, expected] of [
    [{ payload: 20_000 }, [1, 1, 52, 1400, 20, 16]],
    [{ payload: 20_000, cwr: true }, [1, 0x81, 52, 1400, 20, 16]],
    [{ payload: 20_000, family: 6 }, [1, 4, 72, 1400, 40, 16]],
    [{ payload: 20_000, protocol: 17 }, [1, 5, 28, 1400, 20, 6]],
    // Nothing to cut.
    [{ payload: 1400 }, [1, 0, 0, 0, 20, 16]],
  ] as const) {
    const packet = packetOf(shape);
    packet.gsoSize = 1400;
    assert.equal(writeVnetHeader(packet), true);
    assert.deepEqual(header(packet), expected, JSON.stringify(shape));
  }
});

test('a large packet with a complete checksum is made a partial one', () => {
  const partial = packetOf({ payload: 5000 });
  const packet = packetOf({ payload: 5000 });
  completeTransportChecksum(packet);
  assert.notEqual(packet.view.getUint16(packet.start + 36), partial.view.getUint16(packet.start + 36));
  packet.gsoSize = 1000;
  packet.checksum = ChecksumState.Verified;
  assert.equal(writeVnetHeader(packet), true);
  assert.equal(packet.checksum, ChecksumState.Partial);
  assert.deepEqual(packet.bytes.subarray(packet.start, packet.end), partial.bytes.subarray(packet.start, packet.end));
});

test('what is neither TCP nor UDP, or cut short, cannot be described', () => {
  const icmp = packetOf();
  icmp.view.setUint8(icmp.start + 9, 1);
  assert.equal(writeVnetHeader(icmp), false);
  const short = packetOf();
  short.end = short.start + 30;
  assert.equal(writeVnetHeader(short), false);
  assert.equal(completeTransportChecksum(short), false);
  const empty = packetOf();
  empty.end = empty.start;
  assert.equal(writeVnetHeader(empty), false);
});

test('completing a checksum gives one that verifies', () => {
  for (const shape of [
    {},
    { family: 6 },
    { protocol: 17 },
    { payload: 33 },
    { family: 6, extension: 8, payload: 1 },
  ] as const) {
    const packet = packetOf(shape);
    const family = 'family' in shape ? shape.family : 4;
    assert.equal(completeTransportChecksum(packet), true);
    assert.equal(packet.checksum, ChecksumState.Unverified);
    const transport = packet.start + (family === 4 ? 20 : 40) + ('extension' in shape ? shape.extension : 0);
    const addresses = packet.start + (family === 4 ? 12 : 8);
    const protocol = 'protocol' in shape ? shape.protocol : 6;
    const total = sumPacket(packet, addresses, addresses + (family === 4 ? 8 : 32), protocol + packet.end - transport);
    assert.equal(fold(sumPacket(packet, transport, packet.end, total)), 0xffff, JSON.stringify(shape));
    // Again it does nothing.
    assert.equal(completeTransportChecksum(packet), true);
  }
});

test('reading: flags become the checksum’s state, the type decides about the size', () => {
  const packet = new Packet(100, 16);
  const at = packet.start - VNET_HEADER;
  for (const [flags, type, size, checksum, gsoSize] of [
    [0, 0, 0, ChecksumState.Unverified, 0],
    [1, 0, 1448, ChecksumState.Partial, 0],
    [2, 0, 0, ChecksumState.Verified, 0],
    [3, 1, 1448, ChecksumState.Partial, 1448],
    [1, 0x81, 1424, ChecksumState.Partial, 1424],
    [1, 4, 1428, ChecksumState.Partial, 1428],
  ] as const) {
    packet.view.setUint8(at, flags);
    packet.view.setUint8(at + 1, type);
    packet.view.setUint16(at + 4, size, true);
    readVnetHeader(packet);
    assert.deepEqual([packet.checksum, packet.gsoSize], [checksum, gsoSize]);
  }
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Merger, Merging, Segmenter } from '../../src/link/index.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import { ChecksumState, PACKET_CAPACITY, Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { encodeSegment, headerLength } from '../../src/wire/tcp.ts';

interface Piece {
  readonly family?: 4 | 6;
  readonly sequence: number;
  readonly length: number;
  readonly flags?: number;
  readonly port?: number;
  readonly acknowledgment?: number;
  readonly timestamp?: number;
  readonly mapping?: number;
}

const HEADROOM = 16;

/** A segment as it comes from the wire; its payload follows from its sequence numbers. */
function packetOf(piece: Piece, packet = new Packet(PACKET_CAPACITY, HEADROOM)): Packet {
  const segment = new Segment();
  segment.family = piece.family ?? 4;
  segment.source3 = 0x0a00_0101;
  segment.destination3 = 0x0a00_0102;
  segment.sourcePort = piece.port ?? 40_000;
  segment.destinationPort = 80;
  segment.sequence = piece.sequence >>> 0;
  segment.acknowledgment = piece.acknowledgment ?? 77;
  segment.flags = piece.flags ?? Flag.Ack;
  segment.window = 500;
  segment.options = Option.Timestamps;
  segment.timestampValue = piece.timestamp ?? 11;
  segment.mptcp.present = Mptcp.Dss;
  segment.mptcp.dssFlags = Dss.Ack | Dss.Map;
  segment.mptcp.dataSequenceLow = piece.mapping ?? 9;
  segment.mptcp.subflowSequence = 1;
  segment.mptcp.dataLength = 60_000;
  packet.end = packet.start;
  packet.gsoSize = 0;
  packet.checksum = ChecksumState.Unverified;
  const at = packet.start + headerLength(segment);
  for (let index = 0; index < piece.length; index++) packet.bytes[at + index] = byteAt(piece.sequence + index);
  encodeSegment(segment, packet, piece.length, false);
  return packet;
}

const byteAt = (sequence: number): number => (Math.imul(sequence, 0x9e37_79b1) >>> 13) & 255;

const copyOf = (packet: Packet): Packet => {
  const copy = new Packet(packet.length, HEADROOM);
  copy.copyFrom(packet);
  return copy;
};

/** What a host gets to see of `pieces`, and how often something was merged. */
function merge(pieces: readonly Packet[]): { seen: Packet[]; merged: number } {
  const merger = new Merger(HEADROOM);
  const seen: Packet[] = [];
  let merged = 0;
  const flush = (): void => {
    const { packet } = merger;
    if (packet === null) return;
    seen.push(copyOf(packet));
    merger.clear();
  };
  for (const piece of pieces) {
    const { room } = merger;
    room.copyFrom(piece);
    const verdict = merger.take();
    if (verdict === Merging.Merged) merged++;
    if (verdict === Merging.Merged || verdict === Merging.Begun) continue;
    flush();
    if (verdict === Merging.Next) merger.takeNext();
    else seen.push(copyOf(room));
  }
  flush();
  return { seen, merged };
}

/** The packets of the wire that `packet` stands for, as text; without what a cut may number or sum anew. */
function wire(packet: Packet): string[] {
  const segmenter = new Segmenter(true);
  const texts: string[] = [];
  const text = (part: Packet): string => {
    const bytes = part.bytes.slice(part.start, part.end);
    if (bytes[0]! >>> 4 === 4) bytes.fill(0, 4, 6).fill(0, 10, 12);
    const tcp = bytes[0]! >>> 4 === 4 ? 20 : 40;
    return Buffer.from(bytes.fill(0, tcp + 16, tcp + 18)).toString('hex');
  };
  if (!segmenter.start(packet)) return [text(packet)];
  const out = new Packet(PACKET_CAPACITY, HEADROOM);
  while (segmenter.next(out)) texts.push(text(out));
  return texts;
}

test('segments of one run become one packet, marked with their size', () => {
  for (const family of [4, 6] as const) {
    const pieces = [0, 1, 2, 3].map((index) =>
      packetOf({ family, sequence: 0xffff_f000 + index * 1400, length: index === 3 ? 500 : 1400 }),
    );
    const { seen, merged } = merge(pieces);
    assert.equal(merged, 3);
    assert.equal(seen.length, 1);
    assert.equal(seen[0]!.gsoSize, 1400);
    assert.equal(seen[0]!.checksum, ChecksumState.Verified);
    assert.deepEqual(wire(seen[0]!), pieces.flatMap(wire));
  }
});

test('A5.29 whatever differs but its place in the stream, a mapping too, keeps a segment apart', () => {
  const first: Piece = { sequence: 1000, length: 100 };
  const next: Piece = { sequence: 1100, length: 100 };
  const differences: readonly [string, Piece][] = [
    ['a gap', { ...next, sequence: 1101 }],
    ['an overlap', { ...next, sequence: 1099 }],
    ['another port', { ...next, port: 40_001 }],
    ['another acknowledgment', { ...next, acknowledgment: 78 }],
    ['another timestamp', { ...next, timestamp: 12 }],
    ['another mapping', { ...next, mapping: 10 }],
    ['a larger segment', { ...next, length: 101 }],
    ['no data', { ...next, length: 0 }],
    ['FIN', { ...next, flags: Flag.Ack | Flag.Fin }],
    ['RST', { ...next, flags: Flag.Ack | Flag.Rst }],
    ['URG', { ...next, flags: Flag.Ack | Flag.Urg }],
    ['CWR', { ...next, flags: Flag.Ack | Flag.Cwr }],
    ['the other family', { ...next, family: 6 }],
  ];
  assert.equal(merge([packetOf(first), packetOf(next)]).merged, 1);
  for (const [what, piece] of differences) {
    const { seen, merged } = merge([packetOf(first), packetOf(piece)]);
    assert.equal(merged, 0, what);
    assert.equal(seen.length, 2, what);
  }
});

test('a different hop limit, class or fragment bit keeps a segment apart', () => {
  for (const [family, at] of [
    [4, 1],
    [4, 6],
    [4, 8],
    [4, 15],
    [4, 19],
    [6, 1],
    [6, 7],
    [6, 10],
    [6, 30],
  ] as const) {
    const [one, other] = [packetOf({ family, sequence: 1, length: 9 }), packetOf({ family, sequence: 10, length: 9 })];
    other.bytes[other.start + at]! ^= at === 6 ? 0x40 : 1;
    assert.equal(merge([one, other]).merged, 0, `IPv${family}, byte ${at}`);
  }
});

test('PSH and a short segment end a packet', () => {
  const run = (flags: number, length: number): number =>
    merge([
      packetOf({ sequence: 0, length: 100 }),
      packetOf({ sequence: 100, length, flags }),
      packetOf({ sequence: 100 + length, length: 50 }),
    ]).merged;
  assert.equal(run(Flag.Ack, 100), 2);
  assert.equal(run(Flag.Ack | Flag.Psh, 100), 1);
  assert.equal(run(Flag.Ack, 99), 1);
});

test('a wrong checksum stays wrong, and alone', () => {
  for (const at of [12, 22, 60, 90]) {
    for (const damaged of [0, 1]) {
      const pieces = [packetOf({ sequence: 1, length: 50 }), packetOf({ sequence: 51, length: 50 })];
      const before = wire(pieces[1 - damaged]!);
      pieces[damaged]!.bytes[HEADROOM + at]! ^= 0x10;
      const bytes = pieces[damaged]!.bytes.slice(HEADROOM, pieces[damaged]!.end);
      const { seen, merged } = merge(pieces);
      assert.equal(merged, 0, `byte ${at}`);
      const [bad, good] = [seen[damaged]!, seen[1 - damaged]!];
      assert.deepEqual(bad.bytes.slice(HEADROOM, bad.end), bytes);
      assert.equal(bad.checksum, ChecksumState.Unverified);
      assert.deepEqual(wire(good), before);
    }
  }
});

test('no packet is larger than IP can say', () => {
  const pieces = Array.from({ length: 60 }, (_, index) => packetOf({ sequence: index * 1400, length: 1400 }));
  const { seen } = merge(pieces);
  assert.ok(seen.length === 2, `${seen.length} packets`);
  for (const packet of seen) assert.ok(packet.length <= 65_535, `${packet.length} bytes`);
  assert.deepEqual(seen.flatMap(wire), pieces.flatMap(wire));
});

test('any traffic can be cut into what it was made of, in order', () => {
  const piece = fc.record({
    step: fc.constantFrom(0, 0, 0, 0, 1, -7),
    length: fc.constantFrom(0, 1, 50, 100, 100, 100),
    flags: fc.constantFrom(Flag.Ack, Flag.Ack, Flag.Ack, Flag.Ack | Flag.Psh, Flag.Ack | Flag.Fin, Flag.Syn),
    family: fc.constantFrom<4 | 6>(4, 4, 4, 4, 4, 6),
    mapping: fc.constantFrom(9, 9, 9, 9, 10),
    damage: fc.constantFrom(-1, -1, -1, -1, -1, 5, 30, 45, 70),
  });
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
      let sequence = 0xffff_ff00;
      const packets = pieces.map(({ step, length, flags, family, mapping, damage }) => {
        sequence = (sequence + step) >>> 0;
        const packet = packetOf({ sequence, length, flags, family, mapping });
        sequence = (sequence + length) >>> 0;
        if (damage >= 0 && damage < packet.length) packet.bytes[packet.start + damage]! ^= 4;
        return packet;
      });
      assert.deepEqual(merge(packets).seen.flatMap(wire), packets.flatMap(wire));
    }),
    { numRuns: 500 },
  );
});

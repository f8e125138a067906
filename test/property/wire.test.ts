import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Dss, Mptcp, type MptcpOptions } from '../../src/wire/mptcp-options.ts';
import {
  buildPacket,
  describePacket,
  emptyPacket,
  formatPacket,
  NotationProblem,
  parsePacket,
} from '../../src/wire/notation.ts';
import { MAX_OPTIONS } from '../../src/wire/options.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength, optionsLength } from '../../src/wire/tcp.ts';

/** Laws of the codec: what is encoded is decoded, and nothing beside the packet is touched. */

const word = fc.integer({ min: 0, max: 0xffff_ffff });
const half = fc.integer({ min: 0, max: 0xffff });
const byte = fc.integer({ min: 0, max: 255 });
const bits = (...all: readonly number[]): fc.Arbitrary<number> =>
  fc.subarray([...all]).map((some) => some.reduce((sum, bit) => sum | bit, 0));

/** What segments of each kind may carry; the generator tries the sets and shrinks towards nothing. */
const mptcpSets = {
  syn: [0, Mptcp.CapableSyn, Mptcp.JoinSyn],
  synAck: [0, Mptcp.CapableSynAck, Mptcp.JoinSynAck],
  other: [
    0,
    Mptcp.Dss,
    Mptcp.CapableAck,
    Mptcp.CapableAck | Mptcp.CapableData,
    Mptcp.CapableAck | Mptcp.RemoveAddress,
    Mptcp.JoinAck,
    Mptcp.JoinAck | Mptcp.Priority,
    Mptcp.JoinAck | Mptcp.RemoveAddress,
    Mptcp.Dss | Mptcp.RemoveAddress,
    Mptcp.Dss | Mptcp.Priority,
    Mptcp.Dss | Mptcp.Fail,
    Mptcp.Dss | Mptcp.AddAddress,
    Mptcp.AddAddress,
    Mptcp.AddAddress | Mptcp.Priority | Mptcp.RemoveAddress,
    Mptcp.FastClose,
  ],
  reset: [0, Mptcp.Reset, Mptcp.Fail | Mptcp.Reset, Mptcp.FastClose | Mptcp.Reset],
} as const;

type Sort = keyof typeof mptcpSets;
const sortFlags: Record<Sort, number> = {
  syn: Flag.Syn,
  synAck: Flag.Syn | Flag.Ack,
  other: Flag.Ack,
  reset: Flag.Rst,
};

const segments: fc.Arbitrary<Segment> = fc
  .record({
    family: fc.constantFrom(4 as const, 6 as const),
    words: fc.array(word, { minLength: 40, maxLength: 40 }),
    halves: fc.array(half, { minLength: 12, maxLength: 12 }),
    bytes: fc.array(byte, { minLength: 40, maxLength: 40 }),
    flags: bits(Flag.Psh, Flag.Urg, Flag.Ece, Flag.Cwr, Flag.Ae),
    sort: fc.constantFrom<Sort>('syn', 'synAck', 'other', 'reset'),
    set: fc.nat(),
    synOptions: bits(Option.MaximumSegmentSize, Option.WindowScale, Option.SackPermitted, Option.FastOpen),
    options: bits(Option.Timestamps, Option.Sack),
    sackCount: fc.integer({ min: 1, max: 4 }),
    dssFlags: bits(Dss.Ack, Dss.Ack64, Dss.Map, Dss.Map64, Dss.Fin),
    yes: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
  })
  .map((drawn) => {
    const segment = new Segment();
    const words = [...drawn.words];
    const next = (): number => words.pop()!;
    segment.family = drawn.family;
    if (drawn.family === 6) {
      segment.source0 = next();
      segment.source1 = next();
      segment.source2 = next();
      segment.destination0 = next();
      segment.destination1 = next();
      segment.destination2 = next();
      segment.flowLabel = next() & 0xf_ffff;
    } else segment.identification = drawn.halves[0]!;
    segment.source3 = next();
    segment.destination3 = next();
    segment.hopLimit = drawn.bytes[0]!;
    segment.trafficClass = drawn.bytes[1]!;
    segment.sourcePort = drawn.halves[1]!;
    segment.destinationPort = drawn.halves[2]!;
    segment.sequence = next();
    segment.acknowledgment = next();
    segment.window = drawn.halves[3]!;
    segment.urgent = drawn.halves[4]!;
    segment.flags = drawn.flags | sortFlags[drawn.sort];
    segment.options = drawn.options | ((segment.flags & Flag.Syn) !== 0 ? drawn.synOptions : 0);
    segment.mss = drawn.halves[5]!;
    segment.windowScale = drawn.bytes[2]! % 15;
    segment.timestampValue = next();
    segment.timestampEcho = next();
    if ((segment.options & Option.Sack) !== 0) {
      segment.sackCount = drawn.sackCount;
      for (let index = 0; index < 2 * segment.sackCount; index++) segment.sackEdges[index] = next();
    }
    const sets = mptcpSets[drawn.sort];
    fill(segment.mptcp, sets[drawn.set % sets.length]!, next, drawn.halves, drawn.bytes, drawn.yes);
    segment.mptcp.dssFlags = drawn.dssFlags;
    if ((segment.mptcp.present & Mptcp.Dss) !== 0 && (drawn.dssFlags & Dss.Map) === 0)
      segment.mptcp.hasChecksum = false;
    return segment;
  })
  .filter((segment) => optionsLength(segment) <= MAX_OPTIONS);

function fill(
  options: MptcpOptions,
  present: number,
  next: () => number,
  halves: readonly number[],
  bytes: readonly number[],
  yes: readonly boolean[],
): void {
  options.present = present;
  options.version = bytes[3]! & 15;
  options.capableFlags = bytes[4]!;
  options.senderKeyHigh = next();
  options.senderKeyLow = next();
  options.receiverKeyHigh = next();
  options.receiverKeyLow = next();
  options.dataLength = halves[6]!;
  options.hasChecksum = yes[0]!;
  options.checksum = halves[7]!;
  options.joinBackup = yes[1]!;
  options.joinAddressId = bytes[5]!;
  options.joinToken = next();
  options.joinNonce = next();
  options.joinHmac.set(bytes.slice(10, 30));
  options.dataAckHigh = next();
  options.dataAckLow = next();
  options.dataSequenceHigh = next();
  options.dataSequenceLow = next();
  options.subflowSequence = next();
  options.addEcho = yes[2]!;
  options.addId = bytes[6]!;
  options.addFamily = yes[3] ? 4 : 6;
  options.add3 = next();
  if (options.addFamily === 6) {
    options.add0 = next();
    options.add1 = next();
    options.add2 = next();
  }
  options.addPort = yes[4] ? halves[8]! : 0;
  options.addHmacHigh = next();
  options.addHmacLow = next();
  options.removeCount = 1 + (bytes[7]! & 7);
  options.removeIds.set(bytes.slice(30, 38));
  options.priorityBackup = yes[5]!;
  options.failHigh = next();
  options.failLow = next();
  options.fastCloseKeyHigh = options.failHigh;
  options.fastCloseKeyLow = options.failLow;
  options.resetFlags = bytes[8]! & 15;
  options.resetReason = bytes[9]!;
}

/** What a receiver must see of `segment`, as a plain object. */
function visible(segment: Segment): Record<string, unknown> {
  const { options, mptcp } = segment;
  const has = (bit: number): boolean => (mptcp.present & bit) !== 0;
  const out: Record<string, unknown> = { present: mptcp.present, options };
  for (const name of FIXED) out[name] = segment[name];
  if (options & Option.MaximumSegmentSize) out.mss = segment.mss;
  if (options & Option.WindowScale) out.windowScale = segment.windowScale;
  if (options & Option.Timestamps) Object.assign(out, { value: segment.timestampValue, echo: segment.timestampEcho });
  if (options & Option.Sack) out.sack = [...segment.sackEdges.subarray(0, 2 * segment.sackCount)];
  const keep = (...names: readonly (keyof MptcpOptions)[]): void => {
    for (const name of names) out[name] = mptcp[name];
  };
  if (has(Mptcp.CapableSyn | Mptcp.CapableSynAck | Mptcp.CapableAck)) keep('version', 'capableFlags');
  if (has(Mptcp.CapableSynAck | Mptcp.CapableAck)) keep('senderKeyHigh', 'senderKeyLow');
  if (has(Mptcp.CapableAck)) keep('receiverKeyHigh', 'receiverKeyLow');
  const maps = has(Mptcp.CapableData) || (has(Mptcp.Dss) && (mptcp.dssFlags & Dss.Map) !== 0);
  if (maps) keep('dataLength', 'hasChecksum');
  if (maps && mptcp.hasChecksum) keep('checksum');
  if (has(Mptcp.JoinSyn | Mptcp.JoinSynAck)) keep('joinBackup', 'joinAddressId', 'joinNonce');
  if (has(Mptcp.JoinSyn)) keep('joinToken');
  if (has(Mptcp.JoinSynAck)) out.hmac = [...mptcp.joinHmac.subarray(0, 8)];
  if (has(Mptcp.JoinAck)) out.hmac = [...mptcp.joinHmac];
  if (has(Mptcp.Dss)) {
    keep('dssFlags');
    if (mptcp.dssFlags & Dss.Ack) keep('dataAckLow');
    if ((mptcp.dssFlags & 3) === 3) keep('dataAckHigh');
    if (mptcp.dssFlags & Dss.Map) keep('dataSequenceLow', 'subflowSequence');
    if ((mptcp.dssFlags & 12) === 12) keep('dataSequenceHigh');
  }
  if (has(Mptcp.AddAddress)) {
    keep('addEcho', 'addId', 'addFamily', 'add3', 'addPort');
    if (mptcp.addFamily === 6) keep('add0', 'add1', 'add2');
    if (!mptcp.addEcho) keep('addHmacHigh', 'addHmacLow');
  }
  if (has(Mptcp.RemoveAddress)) out.ids = [...mptcp.removeIds.subarray(0, mptcp.removeCount)];
  if (has(Mptcp.Priority)) keep('priorityBackup');
  if (has(Mptcp.Fail)) keep('failHigh', 'failLow');
  if (has(Mptcp.FastClose)) keep('fastCloseKeyHigh', 'fastCloseKeyLow');
  if (has(Mptcp.Reset)) keep('resetFlags', 'resetReason');
  return out;
}

const FIXED = [
  'family',
  'source0',
  'source1',
  'source2',
  'source3',
  'destination0',
  'destination1',
  'destination2',
  'destination3',
  'hopLimit',
  'trafficClass',
  'flowLabel',
  'identification',
  'sourcePort',
  'destinationPort',
  'sequence',
  'acknowledgment',
  'flags',
  'window',
  'urgent',
] as const;

test('A1.01 A1.40 decode(encode(segment)) is the segment; nothing outside the packet is written', () => {
  const ip = new IpHeader();
  const decoded = new Segment();
  fc.assert(
    fc.property(
      segments,
      fc.uint8Array({ maxLength: 99 }),
      fc.nat({ max: 40 }),
      fc.boolean(),
      (segment, payload, headroom, offload) => {
        const packet = new Packet(300, headroom);
        packet.bytes.fill(0xcc);
        const at = packet.start + headerLength(segment);
        packet.bytes.set(payload, at);
        encodeSegment(segment, packet, payload.length, offload);
        assert.equal(packet.end, at + payload.length);
        assert.ok(packet.bytes.subarray(0, headroom).every((one) => one === 0xcc));
        assert.ok(packet.bytes.subarray(packet.end).every((one) => one === 0xcc));
        assert.equal(packet.checksum, offload ? ChecksumState.Partial : ChecksumState.Unverified);
        assert.equal(decodeIp(packet, ip), Drop.None);
        assert.equal(decodeTcp(packet, ip, decoded), Drop.None);
        assert.deepEqual(visible(decoded), visible(segment));
        assert.deepEqual(packet.bytes.slice(decoded.payloadStart, decoded.payloadEnd), payload);
      },
    ),
    { numRuns: 5000 },
  );
});

test('every segment has a line, relative to anything, that reads back as the same bytes', () => {
  fc.assert(
    fc.property(segments, fc.array(word, { minLength: 6, maxLength: 6 }), (segment, [a, b, c, d, e, f]) => {
      const packet = new Packet(300);
      encodeSegment(segment, packet, 0, false);
      const bytes = packet.bytes.slice(0, packet.end);
      const described = describePacket(bytes);
      assert.ok(typeof described !== 'number');
      const origins = {
        sequence: a!,
        acknowledgment: b!,
        dataSequenceHigh: c!,
        dataSequenceLow: d!,
        dataAckHigh: e!,
        dataAckLow: f!,
      };
      const line = formatPacket(described, { origins });
      const parsed = parsePacket(line, emptyPacket(), origins);
      assert.ok(!(parsed instanceof NotationProblem), line);
      assert.deepEqual(buildPacket(parsed, new Uint8Array(0)), bytes, line);
    }),
    { numRuns: 2000 },
  );
});

test('a packet of any option bytes and reserved bits has a line that reads back as the same bytes', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => bytes.slice(0, bytes.length & ~3)),
      fc.uint8Array({ minLength: 20, maxLength: 20 }),
      fc.boolean(),
      (options, header, likely) => {
        // Half of the time kinds and lengths that mean something.
        if (likely && options.length >= 8) options.set([30, options.length, options[2]!, options[3]! & 0x1f]);
        const bytes = new Uint8Array(40 + options.length);
        bytes.set([0x45, 3, 0, bytes.length, 1, 2, 0x40, 0, 9, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.set(header, 20);
        bytes[32] = (bytes[32]! & 0x0f) | ((20 + options.length) << 2);
        bytes.set(options, 40);
        const described = describePacket(bytes);
        assert.ok(typeof described !== 'number');
        const line = formatPacket(described);
        const parsed = parsePacket(line);
        assert.ok(!(parsed instanceof NotationProblem), line);
        assert.deepEqual(buildPacket(parsed, new Uint8Array(0)), bytes, line);
      },
    ),
    { numRuns: 5000 },
  );
});

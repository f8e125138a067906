import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usableCapable } from '../../src/mptcp/capable.ts';
import { mptcpDefaults } from '../../src/mptcp/config.ts';
import { MptcpCounters } from '../../src/mptcp/counters.ts';
import { FallbackReason, fallbackName } from '../../src/mptcp/fallback.ts';
import { Key } from '../../src/mptcp/keys.ts';
import { CapableRequest } from '../../src/mptcp/request.ts';
import { Verdict } from '../../src/tcp/seams.ts';
import { Capable, Mptcp, MptcpOptions } from '../../src/wire/mptcp-options.ts';
import { Flag, Segment } from '../../src/wire/segment.ts';

function offer(form: number, version: number, flags: number): MptcpOptions {
  const options = new MptcpOptions();
  options.present = form;
  options.version = version;
  options.capableFlags = flags;
  return options;
}

test('A1.08, A1.10, A1.11 MP_CAPABLE is used only without B and with HMAC-SHA256 as the only algorithm', () => {
  for (let flags = 0; flags < 256; flags++) {
    const expected = (flags & 0x40) === 0 && (flags & 0x1f) === 1;
    for (const form of [Mptcp.CapableSyn, Mptcp.CapableSynAck, Mptcp.CapableAck]) {
      assert.equal(usableCapable(offer(form, 1, flags), form), expected, `flags ${flags.toString(16)}`);
    }
  }
});

test('A1.12, A2.20 a SYN of a later version is answered with version 1, one of version 0 is not; later 1 only', () => {
  for (let version = 0; version < 16; version++) {
    assert.equal(usableCapable(offer(Mptcp.CapableSyn, version, 1), Mptcp.CapableSyn), version >= 1);
    for (const form of [Mptcp.CapableSynAck, Mptcp.CapableAck, Mptcp.CapableData]) {
      assert.equal(usableCapable(offer(form, version, 1), form), version === 1);
    }
  }
  assert.equal(usableCapable(offer(Mptcp.CapableSynAck, 1, 1), Mptcp.CapableSyn), false, 'another form');
});

const SERVER = new Key(0x11111111, 0x22222222);
const CLIENT = new Key(0x33333333, 0x44444444);

function request(synFlags: number, settings: Partial<ReturnType<typeof mptcpDefaults>> = {}) {
  const counters = new MptcpCounters();
  return { counters, request: new CapableRequest(SERVER, synFlags, { ...mptcpDefaults(), ...settings }, counters) };
}

test('A1.07 the SYN/ACK asks for checksums when either side does', () => {
  for (const [ours, theirs] of [
    [false, 0],
    [false, Capable.Checksum],
    [true, 0],
    [true, Capable.Checksum],
  ] as const) {
    const made = request(Capable.HmacSha256 | theirs, { checksums: ours });
    const segment = new Segment();
    made.request.onTransmitSyn(0, segment, 0);
    assert.equal(segment.mptcp.present, Mptcp.CapableSynAck);
    assert.equal(segment.mptcp.version, 1);
    assert.equal((segment.mptcp.capableFlags & Capable.Checksum) !== 0, ours || theirs !== 0);
    assert.equal(segment.mptcp.capableFlags & 0x5f, Capable.HmacSha256);
    assert.deepEqual([segment.mptcp.senderKeyHigh, segment.mptcp.senderKeyLow], [SERVER.high, SERVER.low]);
  }
});

test('A1.09, E2.16 without joins to the initial address the SYN/ACK has flag C', () => {
  for (const allowed of [true, false]) {
    const segment = new Segment();
    request(Capable.HmacSha256, { allowJoinInitial: allowed }).request.onTransmitSyn(0, segment, 0);
    assert.equal((segment.mptcp.capableFlags & Capable.DenyJoinInitial) === 0, allowed);
  }
});

function thirdAck(change: (options: MptcpOptions) => void): Segment {
  const segment = new Segment();
  segment.flags = Flag.Ack;
  const options = segment.mptcp;
  options.present = Mptcp.CapableAck;
  options.version = 1;
  options.capableFlags = Capable.HmacSha256;
  options.senderKeyHigh = CLIENT.high;
  options.senderKeyLow = CLIENT.low;
  options.receiverKeyHigh = SERVER.high;
  options.receiverKeyLow = SERVER.low;
  change(options);
  return segment;
}

test('A2.17, H1.04 the third ACK with both keys makes it multipath', () => {
  const { request: capable, counters } = request(Capable.HmacSha256);
  assert.equal(
    capable.onHandshakeSegment(
      0,
      thirdAck(() => {}),
    ),
    Verdict.Accept,
  );
  assert.equal(capable.peerKey!.token, CLIENT.token);
  assert.equal(counters.MPCapableACKRX, 1);
  assert.equal(counters.MPCapableFallbackACK, 0);
});

test('A2.17, A8.03, H1.05 a third ACK without MP_CAPABLE, or with a wrong one, makes it plain TCP', () => {
  const bad: ((options: MptcpOptions) => void)[] = [
    (options) => {
      options.present = 0;
    },
    (options) => {
      options.receiverKeyHigh ^= 1;
    },
    (options) => {
      options.receiverKeyLow ^= 1;
    },
    (options) => {
      options.version = 0;
    },
    (options) => {
      options.capableFlags = Capable.HmacSha256 | Capable.Extensible;
    },
  ];
  for (const change of bad) {
    const { request: capable, counters } = request(Capable.HmacSha256);
    assert.equal(capable.onHandshakeSegment(0, thirdAck(change)), Verdict.Accept);
    assert.equal(capable.peerKey, null);
    assert.equal(counters.MPCapableFallbackACK, 1);
    assert.equal(counters.MPCapableACKRX, 0);
  }
});

test('a SYN that comes again decides nothing', () => {
  const { request: capable, counters } = request(Capable.HmacSha256);
  const syn = thirdAck((options) => {
    options.present = Mptcp.CapableSyn;
  });
  syn.flags = Flag.Syn;
  assert.equal(capable.onHandshakeSegment(0, syn), Verdict.Accept);
  assert.equal(capable.peerKey, null);
  assert.equal(counters.MPCapableFallbackACK, 0);
});

test('every reason to fall back has a name of its own', () => {
  const names = Object.values(FallbackReason).map(fallbackName);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z-]+$/);
  assert.equal(fallbackName(99), 'fallback-99');
});

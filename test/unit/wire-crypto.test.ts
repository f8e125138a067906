import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import { Address } from '../../src/wire/address.ts';
import { complement, sum, swapped } from '../../src/wire/checksum.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { hmacSha1, sha1 } from '../../src/wire/sha1.ts';
import { hmacSha256, sha256 } from '../../src/wire/sha256.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';
import { type CapturedItem, capture, cryptoVectors, vectorsMissing } from './wire-vectors.ts';

/** Keys, tokens, HMACs and checksums of Multipath TCP from our hashes and sums, against known answers. */

const skip = vectorsMissing;

function bytes(...hex: readonly string[]): Uint8Array {
  return new Uint8Array(Buffer.from(hex.join(''), 'hex'));
}

function hex(data: Uint8Array): string {
  return Buffer.from(data).toString('hex');
}

function word(value: number): string {
  return value.toString(16).padStart(8, '0');
}

/** Deterministic bytes of any length. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 167 + 13) & 255);
}

test('SHA-1, SHA-256 and their HMACs agree with node:crypto at every length around a block', () => {
  for (let length = 0; length <= 200; length++) {
    const data = pattern(length);
    const key = pattern((length * 7) % 150);
    assert.equal(hex(sha256(data)), createHash('sha256').update(data).digest('hex'));
    assert.equal(hex(sha1(data)), createHash('sha1').update(data).digest('hex'));
    assert.equal(hex(hmacSha256(key, data)), createHmac('sha256', key).update(data).digest('hex'));
    assert.equal(hex(hmacSha1(key, data)), createHmac('sha1', key).update(data).digest('hex'));
  }
});

test('hashes of a view in the middle of a buffer do not read its neighbours', () => {
  const whole = pattern(100);
  assert.equal(hex(sha256(whole.subarray(30, 70))), hex(sha256(whole.slice(30, 70))));
  assert.equal(
    hex(hmacSha1(whole.subarray(3, 9), whole.subarray(30, 70))),
    hex(hmacSha1(whole.slice(3, 9), whole.slice(30, 70))),
  );
});

test('A3.02 A3.03 A3.04 token and IDSN of a key: SHA-256', () => {
  const digest = hex(sha256(bytes('0102030405060708')));
  assert.equal(digest.slice(0, 8), '66840dda');
  assert.equal(digest.slice(-16), 'f5a101d3d29d6f72');
  assert.match(hex(sha256(new Uint8Array(8))), /^af5570f5.*e5b2328de0e83dfc$/);
  assert.match(hex(sha256(new Uint8Array(8).fill(255))), /^12a3ae44.*57fb595bbbacf0ca$/);
});

test('B10 B11 B12 token and IDSN of a version 0 key: SHA-1', () => {
  assert.match(hex(sha1(bytes('0102030405060708'))), /^dd5783bc.*3a95ed6e4ebb4ad5$/);
  assert.match(hex(sha1(new Uint8Array(8))), /^05fe4057.*ac558654f107c7e9$/);
});

test('A3.09, I3.01, I3.02, I3.03 the three HMAC vectors of the kernel', () => {
  const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'ascii'));
  for (const [key, message, expected] of [
    ['0b0b0b0b0b0b0b0b', '48692054', '8385e24fb4235ac37556b6b886db106284a1da671699f46db1f235ec622dcafa'],
    ['aaaaaaaaaaaaaaaa', 'dddddddd', '2c5e219164ff1dca1c4a92318d847bb6b9d44492984e1eb71aff9022f71046e9'],
    ['0102030405060708', 'cdcdcdcd', 'e73b9ba9969969cefb04aa0d6df18ec2fcc075b6f23b4d8c4da736a5dbbc6e7d'],
  ] as const) {
    assert.equal(hex(hmacSha256(ascii(key), ascii(message))), expected);
  }
});

test('A3.02 A3.03 B10 B11 all keys of the vectors', { skip }, () => {
  const vectors = cryptoVectors();
  for (const { key, token, idsn } of vectors.v1_keys) {
    assert.equal(hex(sha256(bytes(key)).subarray(0, 4)), token);
    assert.equal(hex(sha256(bytes(key)).subarray(24)), idsn);
  }
  for (const { key, token, idsn } of vectors.v0_keys) {
    assert.equal(hex(sha1(bytes(key)).subarray(0, 4)), token);
    assert.equal(hex(sha1(bytes(key)).subarray(12)), idsn);
  }
});

test('A3.05 A3.06 A3.07 B13 all joins of the vectors', { skip }, () => {
  const vectors = cryptoVectors();
  for (const join of vectors.v1_joins) {
    const b = hmacSha256(bytes(join.key_b, join.key_a), bytes(join.nonce_b, join.nonce_a));
    const a = hmacSha256(bytes(join.key_a, join.key_b), bytes(join.nonce_a, join.nonce_b));
    assert.equal(hex(b.subarray(0, 8)), join.synack_hmac64);
    assert.equal(hex(a.subarray(0, 20)), join.ack_hmac160);
    assert.equal(hex(sha256(bytes(join.key_b)).subarray(0, 4)), join.token_in_syn);
  }
  for (const join of vectors.v0_joins) {
    const b = hmacSha1(bytes(join.key_b, join.key_a), bytes(join.nonce_b, join.nonce_a));
    const a = hmacSha1(bytes(join.key_a, join.key_b), bytes(join.nonce_a, join.nonce_b));
    assert.equal(hex(b.subarray(0, 8)), join.synack_hmac64);
    assert.equal(hex(a), join.ack_hmac160);
    assert.equal(hex(sha1(bytes(join.key_b)).subarray(0, 4)), join.token_in_syn);
  }
});

/** The rightmost 64 bits over id, address and port. */
function addressHmac(announcer: string, peer: string, id: number, address: Address, port: number): string {
  const words = address.family === 4 ? [address.w3] : [address.w0, address.w1, address.w2, address.w3];
  const message = [id.toString(16).padStart(2, '0'), ...words.map(word), port.toString(16).padStart(4, '0')];
  return hex(hmacSha256(bytes(announcer, peer), bytes(...message)).subarray(24));
}

test('A3.07 A3.08 all announcements of the vectors', { skip }, () => {
  for (const one of cryptoVectors().v1_add_addr) {
    const address = Address.of(one.addr);
    assert.equal(addressHmac(one.announcer_key, one.peer_key, one.addr_id, address, one.port ?? 0), one.hmac64);
  }
});

/** RFC 8684 §3.3.1: the sum covers DSN, subflow sequence number, length, a zero field and the payload. */
function dataChecksum(dsn: string, ssn: number, length: number, payload: readonly Uint8Array[]): number {
  const pseudo = bytes(dsn, word(ssn), length.toString(16).padStart(4, '0'), '0000');
  let total = sum(pseudo, 0, pseudo.length, 0);
  let odd = false;
  for (const piece of payload) {
    const part = sum(piece, 0, piece.length, 0);
    total += odd ? swapped(part) : part;
    odd = odd !== (piece.length % 2 === 1);
  }
  return complement(total);
}

test('DSS checksums of the vectors, the payload in pieces of every size', { skip }, () => {
  for (const one of cryptoVectors().dss_checksum) {
    const data = bytes(one.data);
    for (let cut = 0; cut <= data.length; cut++) {
      const pieces = [data.subarray(0, cut), data.subarray(cut)];
      assert.equal(dataChecksum(one.dsn, one.ssn, one.dll, pieces).toString(16).padStart(4, '0'), one.checksum);
    }
  }
});

test('A3.05 A3.06 A3.07 A3.08 every value in the captures follows from the keys in them', { skip }, () => {
  const seen = new Map<string, number>();
  for (const { pcap, items } of cryptoVectors().from_pcaps) {
    const segments = capture(pcap.slice(0, -'.pcap'.length)).map(({ ip }) => decoded(ip));
    for (const item of items) {
      check(item, items, segments);
      seen.set(item.kind, (seen.get(item.kind) ?? 0) + 1);
    }
  }
  assert.deepEqual(Object.fromEntries(seen), {
    connection: 57,
    add_addr: 20,
    mp_join_synack: 33,
    mp_join_ack: 31,
    mp_fastclose: 6,
    dss_checksum: 26,
  });
});

interface Decoded {
  readonly segment: Segment;
  readonly payload: Uint8Array;
}

function decoded(ip: Uint8Array): Decoded {
  const packet = new Packet(ip.length);
  packet.bytes.set(ip);
  packet.end = ip.length;
  const header = new IpHeader();
  const segment = new Segment();
  assert.equal(decodeIp(packet, header), Drop.None);
  assert.equal(decodeTcp(packet, header, segment), Drop.None);
  return { segment, payload: packet.bytes.slice(segment.payloadStart, segment.payloadEnd) };
}

function check(item: CapturedItem, items: readonly CapturedItem[], segments: readonly Decoded[]): void {
  const { segment } = segments[item.frame - 1]!;
  const { mptcp } = segment;
  const text = (name: string): string => String(item[name]);
  const expected = (field: string): string => text(item.match === false ? field.replace('expected', 'on_wire') : field);
  switch (item.kind) {
    case 'connection': {
      assert.equal(word(mptcp.senderKeyHigh) + word(mptcp.senderKeyLow), text('client_key'));
      assert.equal(word(mptcp.receiverKeyHigh) + word(mptcp.receiverKeyLow), text('server_key'));
      assert.match(
        hex(sha256(bytes(text('client_key')))),
        new RegExp(`^${text('client_token')}.*${text('client_idsn')}$`),
      );
      assert.match(
        hex(sha256(bytes(text('server_key')))),
        new RegExp(`^${text('server_token')}.*${text('server_idsn')}$`),
      );
      return;
    }
    case 'add_addr': {
      const address = new Address(mptcp.addFamily, mptcp.add0, mptcp.add1, mptcp.add2, mptcp.add3);
      const hmac = addressHmac(text('announcer_key'), text('peer_key'), mptcp.addId, address, mptcp.addPort);
      assert.equal(hmac, text('hmac64_expected'));
      assert.equal(word(mptcp.addHmacHigh) + word(mptcp.addHmacLow), hmac);
      return;
    }
    case 'mp_join_synack': {
      const syn = segments[Number(item.syn_frame) - 1]!.segment.mptcp;
      const hmac = hmacSha256(
        bytes(text('key_responder'), text('key_initiator')),
        bytes(word(mptcp.joinNonce), word(syn.joinNonce)),
      );
      assert.equal(hex(hmac.subarray(0, 8)), text('hmac64_expected'));
      assert.equal(hex(mptcp.joinHmac.subarray(0, 8)), expected('hmac64_expected'));
      assert.equal(word(syn.joinToken), text('token'));
      return;
    }
    case 'mp_join_ack': {
      // Joins interleave: one of the SYN/ACKs of the capture is this one's.
      const possible = items
        .filter((other) => other.kind === 'mp_join_synack')
        .map((other) =>
          hmacSha256(
            bytes(String(other.key_initiator), String(other.key_responder)),
            bytes(String(other.nonce_initiator), String(other.nonce_responder)),
          ),
        );
      assert.ok(possible.some((hmac) => hex(hmac.subarray(0, 20)) === text('hmac160_expected')));
      assert.equal(hex(mptcp.joinHmac), expected('hmac160_expected'));
      return;
    }
    case 'mp_fastclose': {
      assert.equal(word(mptcp.fastCloseKeyHigh) + word(mptcp.fastCloseKeyLow), text('receiver_key_on_wire'));
      return;
    }
    case 'dss_checksum': {
      assert.ok((mptcp.present & (Mptcp.Dss | Mptcp.CapableData)) !== 0 && mptcp.hasChecksum);
      const onWire = mptcp.checksum.toString(16).padStart(4, '0');
      assert.equal(onWire, text('checksum_on_wire'));
      const payload = mappedPayload(segments, item.frame - 1, Number(item.payload_bytes));
      const computed = dataChecksum(text('dsn'), Number(item.ssn), Number(item.dll), payload);
      assert.equal(computed.toString(16).padStart(4, '0'), text('checksum_expected'));
      return;
    }
    default:
      assert.fail(`unknown kind ${item.kind}`);
  }
}

/** The bytes of a mapping that begins with segment `first`: it may go on in later segments of the same direction. */
function mappedPayload(segments: readonly Decoded[], first: number, length: number): Uint8Array[] {
  const start = segments[first]!;
  const pieces: Uint8Array[] = [];
  let next = start.segment.sequence;
  let left = length;
  for (let index = first; index < segments.length && left > 0; index++) {
    const { segment, payload } = segments[index]!;
    if (segment.sourcePort !== start.segment.sourcePort || segment.source3 !== start.segment.source3) continue;
    if (segment.sequence !== next || payload.length === 0) continue;
    pieces.push(payload.subarray(0, left));
    left -= payload.length;
    next = (next + payload.length) >>> 0;
  }
  assert.ok(left <= 0, 'the whole mapping is in the capture');
  return pieces;
}

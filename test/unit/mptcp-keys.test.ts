import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { test } from 'node:test';
import { addAddressHmac, equalConstantTime, joinHmac, Key, word } from '../../src/mptcp/keys.ts';
import { TokenTable } from '../../src/mptcp/tokens.ts';
import { Address } from '../../src/wire/address.ts';

const ALICE = new Key(0x01020304, 0x05060708);
const BOB = new Key(0xdeadbeef, 0x8badf00d);

function keyBytes(...keys: Key[]): Buffer {
  const bytes = Buffer.alloc(8 * keys.length);
  for (const [index, key] of keys.entries()) {
    bytes.writeUInt32BE(key.high, 8 * index);
    bytes.writeUInt32BE(key.low, 8 * index + 4);
  }
  return bytes;
}

/** Hands out the words of a list, then fails. */
class Drawn {
  private readonly words: number[];
  constructor(words: readonly number[]) {
    this.words = [...words];
  }
  word(): number {
    assert.ok(this.words.length > 0, 'one draw too many');
    return this.words.shift()!;
  }
}

test('A3.02, A3.03 token and IDSN are the first 32 and the last 64 bits of SHA-256 of the key in network order', () => {
  for (const key of [ALICE, BOB, new Key(0x80000000, 1), new Key(-1, -2)]) {
    const digest = createHash('sha256').update(keyBytes(key)).digest();
    assert.equal(key.token, digest.readUInt32BE(0));
    assert.equal(key.idsnHigh, digest.readUInt32BE(24));
    assert.equal(key.idsnLow, digest.readUInt32BE(28));
  }
});

test('A3.04 three keys with known token and IDSN', () => {
  for (const [high, low, token, idsnHigh, idsnLow] of [
    [0x01020304, 0x05060708, 0x66840dda, 0xf5a101d3, 0xd29d6f72],
    [0, 0, 0xaf5570f5, 0xe5b2328d, 0xe0e83dfc],
    [0xffffffff, 0xffffffff, 0x12a3ae44, 0x57fb595b, 0xbbacf0ca],
  ] as const) {
    const key = new Key(high, low);
    assert.deepEqual([key.token, key.idsnHigh, key.idsnLow], [token, idsnHigh, idsnLow]);
  }
});

test('A3.05, A3.06 the HMAC of a join: own key then the peer’s, own nonce then the peer’s', () => {
  const message = Buffer.from('1122334455667788', 'hex');
  const expected = createHmac('sha256', keyBytes(ALICE, BOB)).update(message).digest();
  assert.deepEqual(Buffer.from(joinHmac(ALICE, BOB, 0x11223344, 0x55667788)), expected);
  const answer = createHmac('sha256', keyBytes(BOB, ALICE)).update(Buffer.from('5566778811223344', 'hex')).digest();
  assert.deepEqual(Buffer.from(joinHmac(BOB, ALICE, 0x55667788, 0x11223344)), answer);
  assert.notDeepEqual(expected, answer);
});

test('A3.07, A3.08 the HMAC of ADD_ADDR covers id, address and port, two zeros without one; its last 64 bits', () => {
  for (const [text, port] of [
    ['10.1.2.3', 0],
    ['10.1.2.3', 8080],
    ['fd00::1:2', 0],
    ['2001:db8:1:2:3:4:5:6', 65535],
  ] as const) {
    const address = Address.of(text);
    const words = address.family === 4 ? [address.w3] : [address.w0, address.w1, address.w2, address.w3];
    const message = Buffer.alloc(1 + 4 * words.length + 2);
    message[0] = 7;
    for (const [index, value] of words.entries()) message.writeUInt32BE(value, 1 + 4 * index);
    message.writeUInt16BE(port, 1 + 4 * words.length);
    const digest = createHmac('sha256', keyBytes(ALICE, BOB)).update(message).digest();
    const hmac = addAddressHmac(ALICE, BOB, 7, address, port);
    assert.deepEqual(Buffer.from(hmac), digest.subarray(24), text);
    assert.equal(word(hmac, 0), digest.readUInt32BE(24));
  }
});

test('A3.10 HMACs are compared in full, whatever differs', () => {
  const right = joinHmac(ALICE, BOB, 1, 2);
  for (let at = 0; at < 32; at++) {
    const wrong = Uint8Array.from(right);
    wrong[at]! ^= 0x80;
    assert.equal(equalConstantTime(right, wrong, 32), false);
    assert.equal(equalConstantTime(right, wrong, at), true, 'what lies behind the length does not count');
  }
  // Every byte is read, wherever the first difference is.
  const reads: number[] = [];
  const watched = new Proxy(
    Uint8Array.from(right, (byte) => byte ^ 1),
    {
      get(target, name) {
        reads.push(Number(name));
        return target[Number(name)];
      },
    },
  );
  assert.equal(equalConstantTime(right, watched, 20), false);
  assert.deepEqual(
    reads,
    Array.from({ length: 20 }, (_nothing, index) => index),
  );
});

test('A3.01, A2.13 a key whose token is in use is drawn again, four times in all', () => {
  const tokens = new TokenTable<string>();
  const first = tokens.reserve(new Drawn([1, 2]))!;
  assert.equal(tokens.size, 1);
  assert.equal(tokens.find(first.token), undefined, 'reserved, not owned');
  const second = tokens.reserve(new Drawn([1, 2, 1, 2, 1, 2, 3, 4]))!;
  assert.deepEqual([second.high, second.low], [3, 4]);
  assert.equal(tokens.reserve(new Drawn([1, 2, 3, 4, 1, 2, 3, 4])), undefined);
  assert.equal(tokens.size, 2, 'a failure reserves nothing');
  tokens.own(second.token, 'second');
  assert.equal(tokens.find(second.token), 'second');
  assert.deepEqual([...tokens.owners()], ['second']);
  tokens.release(first.token);
  assert.deepEqual(tokens.reserve(new Drawn([1, 2]))!.token, first.token, 'free again');
});

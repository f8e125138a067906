import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { SipHash } from '../../src/wire/siphash.ts';

/** SipHash-2-4 with BigInt, as the paper has it: the oracle. */
function oracle(key: Uint32Array, words: Uint32Array): number {
  const mask = (1n << 64n) - 1n;
  const rotate = (value: bigint, bits: bigint) => ((value << bits) | (value >> (64n - bits))) & mask;
  const pair = (low: number, high: number) => (BigInt(high) << 32n) | BigInt(low);
  const k0 = pair(key[0]!, key[1]!);
  const k1 = pair(key[2]!, key[3]!);
  const v = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ] as [bigint, bigint, bigint, bigint];
  const round = () => {
    v[0] = (v[0] + v[1]) & mask;
    v[1] = rotate(v[1], 13n) ^ v[0];
    v[0] = rotate(v[0], 32n);
    v[2] = (v[2] + v[3]) & mask;
    v[3] = rotate(v[3], 16n) ^ v[2];
    v[0] = (v[0] + v[3]) & mask;
    v[3] = rotate(v[3], 21n) ^ v[0];
    v[2] = (v[2] + v[1]) & mask;
    v[1] = rotate(v[1], 17n) ^ v[2];
    v[2] = rotate(v[2], 32n);
  };
  const absorb = (word: bigint) => {
    v[3] ^= word;
    round();
    round();
    v[0] ^= word;
  };
  let index = 0;
  for (; index + 1 < words.length; index += 2) absorb(pair(words[index]!, words[index + 1]!));
  const tail = index < words.length ? BigInt(words[index]!) : 0n;
  absorb(tail | (BigInt((words.length * 4) & 255) << 56n));
  v[2] ^= 0xffn;
  for (let count = 0; count < 4; count++) round();
  return Number((v[0] ^ v[1] ^ v[2] ^ v[3]) & 0xffff_ffffn);
}

test('SipHash-2-4 gives the vectors of its paper for messages of whole words', () => {
  // Key 00..0f, message 00 01 02 … : the published outputs, low halves, for 0 and 8 bytes.
  const key = new Uint32Array([0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c]);
  const hash = new SipHash(key[0]!, key[1]!, key[2]!, key[3]!);
  const message = new Uint32Array([0x03020100, 0x07060504, 0x0b0a0908]);
  // 0 bytes: 31 0e 0e dd 47 db 6f 72.
  equal(hash.hash(message.subarray(0, 0)), 0xdd0e0e31);
  // 8 bytes: 93f5f5799a932462 in the paper's byte order 62 24 93 9a 79 f5 f5 93.
  equal(hash.hash(message.subarray(0, 2)), 0x9a932462);
});

test('SipHash-2-4 agrees with its 64-bit form on random words', () => {
  let state = 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  for (let round = 0; round < 300; round++) {
    const key = Uint32Array.from({ length: 4 }, next);
    const words = Uint32Array.from({ length: round % 13 }, next);
    equal(new SipHash(key[0]!, key[1]!, key[2]!, key[3]!).hash(words), oracle(key, words));
  }
});

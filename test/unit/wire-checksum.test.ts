import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  complement,
  fold,
  halves,
  packetBytes,
  pseudoSum4,
  sum,
  sumPacket,
  sumView,
  swapped,
  updated,
  updated32,
} from '../../src/wire/checksum.ts';
import { Packet } from '../../src/wire/packet.ts';
import { slabBuffer, summingModule } from '../../src/wire/slab.ts';

/** The definition: RFC 1071 §1, byte pairs, in exact integers. */
function plain(bytes: Uint8Array, start: number, end: number): number {
  let total = 0n;
  for (let at = start; at < end; at += 2) total += BigInt((bytes[at]! << 8) | (at + 1 < end ? bytes[at + 1]! : 0));
  while (total > 0xffffn) total = (total >> 16n) + (total & 0xffffn);
  return Number(total);
}

/** A small generator with a printed seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('C55 the example of RFC 1071 §3', () => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  assert.equal(fold(sum(bytes, 0, 8, 0)), 0xddf2);
  assert.equal(complement(sum(bytes, 0, 8, 0)), 0x220d);
});

test('packet bytes lie in one memory, apart from one another, and are zero', () => {
  const a = packetBytes(1501);
  const b = packetBytes(70_000);
  assert.ok(slabBuffer !== undefined);
  assert.equal(a.buffer, slabBuffer);
  assert.equal(b.buffer, slabBuffer);
  assert.ok(b.byteOffset >= a.byteOffset + 1501);
  assert.ok([...a].every((byte) => byte === 0));
  b.fill(255);
  assert.ok([...a].every((byte) => byte === 0));
  assert.notEqual(packetBytes(64 * 1024 * 1024).buffer, slabBuffer, 'too large: an ordinary array');
});

test('every way of summing agrees with the definition at any alignment and length', () => {
  const seed = 20_240_607;
  const random = generator(seed);
  const inSlab = packetBytes(66_000);
  for (let index = 0; index < inSlab.length; index++) inSlab[index] = random() * 256;
  const outside = inSlab.slice();
  const packet = new Packet(66_000, 0, inSlab);
  const apart = new Packet(66_000, 0, outside);
  const view = new DataView(outside.buffer);
  for (let run = 0; run < 4000; run++) {
    const start = Math.floor(random() * 1000);
    const end = start + Math.floor(random() ** 4 * (run % 50 === 0 ? 65_000 : 3000));
    const expected = plain(outside, start, end);
    const where = `seed ${seed}: [${start}, ${end})`;
    assert.equal(fold(sum(inSlab, start, end, 0)), expected, where);
    assert.equal(fold(sum(outside, start, end, 0)), expected, where);
    assert.equal(fold(sumPacket(packet, start, end, 0)), expected, where);
    assert.equal(fold(sumPacket(apart, start, end, 0)), expected, where);
    assert.equal(fold(sumView(view, start, end, 0)), expected, where);
  }
});

test('all ones: nothing overflows in 64 KiB', () => {
  for (const bytes of [packetBytes(65_575).fill(255), new Uint8Array(65_575).fill(255)]) {
    assert.equal(fold(sum(bytes, 0, 65_574, 0)), 0xffff);
    assert.equal(fold(sum(bytes, 0, 65_575, 0)), plain(bytes, 0, 65_575));
  }
});

test('the scalar module sums like the vector one', () => {
  const api = (globalThis as unknown as { WebAssembly: Record<string, new (...args: unknown[]) => unknown> })
    .WebAssembly;
  const memory = new api.Memory!({ initial: 512, maximum: 512 }) as { buffer: ArrayBuffer };
  const bytes = new Uint8Array(memory.buffer, 0, 5000);
  const random = generator(7);
  for (let index = 0; index < bytes.length; index++) bytes[index] = random() * 256;
  for (const simd of [false, true]) {
    const module = new api.Module!(summingModule(simd));
    const instance = new api.Instance!(module, { wire: { slab: memory } }) as {
      exports: { sum(start: number, end: number): number };
    };
    for (let length = 32; length < 400; length++) {
      const start = length % 37;
      assert.equal(instance.exports.sum(start, start + length), plain(bytes, start, start + length));
    }
    assert.equal(instance.exports.sum(1, 4999), plain(bytes, 1, 4999));
  }
});

test('C55 pieces add up: even ones as they are, behind an odd one swapped', () => {
  const random = generator(99);
  const bytes = Uint8Array.from({ length: 301 }, () => random() * 256);
  const whole = fold(sum(bytes, 0, 301, 0));
  for (let cut = 0; cut <= 301; cut++) {
    const first = sum(bytes, 0, cut, 0);
    const second = sum(bytes, cut, 301, 0);
    assert.equal(fold(first + (cut % 2 === 0 ? second : swapped(second))), whole);
    if (cut % 2 === 0) assert.equal(fold(sum(bytes, cut, 301, first)), whole);
  }
});

test('fold takes sums up to 2^53', () => {
  for (const total of [0, 1, 0xffff, 0x1_0000, 0xffff_ffff, 2 ** 32, 2 ** 53 - 1, 65_535 * 2 ** 37]) {
    let small = BigInt(total);
    while (small > 0xffffn) small = (small >> 16n) + (small & 0xffffn);
    assert.equal(fold(total), Number(small), String(total));
  }
});

test('C55 RFC 1624 §4: the incremental update, its example among others', () => {
  assert.equal(updated(0xdd2f, 0x5555, 0x3285), 0x0000);
  const random = generator(5);
  for (let run = 0; run < 500; run++) {
    const bytes = Uint8Array.from({ length: 40 }, () => random() * 256);
    const view = new DataView(bytes.buffer);
    view.setUint16(10, 0);
    view.setUint16(10, complement(sum(bytes, 0, 40, 0)));
    const field = view.getUint16(10);
    const at = 12 + 2 * Math.floor(random() * 12);
    const before16 = view.getUint16(at);
    const before32 = view.getUint32(at);
    const after = Math.floor(random() * 2 ** 32);
    view.setUint16(at, after & 0xffff);
    view.setUint16(10, updated(field, before16, after & 0xffff));
    assert.equal(fold(sum(bytes, 0, 40, 0)), 0xffff);
    view.setUint16(at, before16);
    view.setUint32(at, after);
    view.setUint16(10, updated32(field, before32, after));
    assert.equal(fold(sum(bytes, 0, 40, 0)), 0xffff);
  }
});

test('pseudo-headers are sums of their fields', () => {
  const bytes = Uint8Array.of(192, 0, 2, 1, 198, 51, 100, 7, 0, 6, 0x12, 0x34);
  assert.equal(fold(pseudoSum4(0xc000_0201, 0xc633_6407, 6, 0x1234)), plain(bytes, 0, 12));
  assert.equal(halves(0xffff_ffff), 0x1_fffe);
});

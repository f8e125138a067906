import { hmacWith, shaPadded } from './hmac.ts';

/** SHA-1 (RFC 3174, RFC 6234) and HMAC-SHA1: what version 0 of Multipath TCP derives its tokens and HMACs with. */

const schedule = new Int32Array(80);

/** 20 bytes. */
export function sha1(bytes: Uint8Array): Uint8Array {
  const view = shaPadded(bytes);
  const state = Int32Array.from([0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]);
  for (let at = 0; at < view.byteLength; at += 64) block(view, at, state);
  const out = new Uint8Array(20);
  const outView = new DataView(out.buffer);
  for (let index = 0; index < 5; index++) outView.setInt32(index << 2, state[index]!);
  return out;
}

/** HMAC-SHA1, 20 bytes. */
export function hmacSha1(key: Uint8Array, message: Uint8Array): Uint8Array {
  return hmacWith(sha1, key, message);
}

function block(view: DataView, at: number, state: Int32Array): void {
  const w = schedule;
  for (let t = 0; t < 16; t++) w[t] = view.getInt32(at + (t << 2));
  for (let t = 16; t < 80; t++) w[t] = left(w[t - 3]! ^ w[t - 8]! ^ w[t - 14]! ^ w[t - 16]!, 1);
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  let e = state[4]!;
  for (let t = 0; t < 80; t++) {
    let mixed: number;
    if (t < 20) mixed = ((b & c) | (~b & d)) + 0x5a827999;
    else if (t < 40) mixed = (b ^ c ^ d) + 0x6ed9eba1;
    else if (t < 60) mixed = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    else mixed = (b ^ c ^ d) + 0xca62c1d6;
    const next = (left(a, 5) + mixed + e + w[t]!) | 0;
    e = d;
    d = c;
    c = left(b, 30);
    b = a;
    a = next;
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
  state[4]! += e;
}

function left(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits));
}

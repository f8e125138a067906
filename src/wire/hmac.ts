/** HMAC (RFC 2104) over a hash whose blocks are 64 bytes, as SHA-1's and SHA-256's are. */

const BLOCK = 64;

export function hmacWith(digest: (bytes: Uint8Array) => Uint8Array, key: Uint8Array, message: Uint8Array): Uint8Array {
  // RFC 2104 §2: a key longer than a block is hashed first.
  const short = key.length > BLOCK ? digest(key) : key;
  const inner = new Uint8Array(BLOCK + message.length).fill(0x36, 0, BLOCK);
  for (let index = 0; index < short.length; index++) inner[index]! ^= short[index]!;
  inner.set(message, BLOCK);
  const innerDigest = digest(inner);
  const outer = new Uint8Array(BLOCK + innerDigest.length).fill(0x5c, 0, BLOCK);
  for (let index = 0; index < short.length; index++) outer[index]! ^= short[index]!;
  outer.set(innerDigest, BLOCK);
  return digest(outer);
}

/** `bytes` with the padding of the SHA family: 0x80, zeros, the length in bits (RFC 6234 §4.1). */
export function shaPadded(bytes: Uint8Array): DataView {
  const padded = new Uint8Array((bytes.length + 9 + BLOCK - 1) & -BLOCK);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, (bytes.length << 3) >>> 0);
  return view;
}

/**
 * Packet bytes inside WebAssembly memory, where a sum over them costs a tenth of what it costs in JavaScript
 * (`bench/checksum`). The memory is made at the first request and never grows, so that no view ever detaches; where
 * WebAssembly is missing or the memory is used up, packets get ordinary arrays.
 */

/** The memory's buffer once there is one: bytes of a view over it may be given to `slabSum`. */
export let slabBuffer: ArrayBufferLike | undefined;

/**
 * The sum of the memory's bytes `[start, end)` as big-endian words, folded to 16 bits. At least 32 bytes, at most
 * `LARGEST`.
 */
export let slabSum: (start: number, end: number) => number = () => 0;

/** Of 64 KiB: 32 MiB of address space, some 490 packets of the largest size; pages that nobody touched cost nothing. */
const PAGES = 512;
/** Beyond this the lanes of the sum could overflow. */
const LARGEST = 262_144;
const ALIGN = 64;

let tried = false;
let used = 0;

/** Zeroed bytes for one packet. They stay taken as long as the program runs: for pools, not for single packets. */
export function packetBytes(capacity: number): Uint8Array {
  if (!tried) open();
  const start = used;
  const end = start + capacity;
  if (slabBuffer === undefined || end > slabBuffer.byteLength || capacity > LARGEST) return new Uint8Array(capacity);
  used = (end + ALIGN - 1) & -ALIGN;
  return new Uint8Array(slabBuffer, start, capacity);
}

/** The part of the WebAssembly interface that is used; browsers and Node have it, TypeScript's libraries only with DOM. */
interface WebAssemblyApi {
  readonly Memory: new (descriptor: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
  validate(bytes: Uint8Array): boolean;
}

function open(): void {
  tried = true;
  const api = (globalThis as { WebAssembly?: WebAssemblyApi }).WebAssembly;
  if (api === undefined) return;
  try {
    const memory = new api.Memory({ initial: PAGES, maximum: PAGES });
    const simd = summingModule(true);
    const module = new api.Module(api.validate(simd) ? simd : summingModule(false));
    const instance = new api.Instance(module, { wire: { slab: memory } });
    slabSum = instance.exports.sum as (start: number, end: number) => number;
    slabBuffer = memory.buffer;
  } catch {
    // A content security policy, or too little address space: ordinary arrays it is.
    slabBuffer = undefined;
  }
}

const I32 = 0x7f;
const I64 = 0x7e;
const V128 = 0x7b;

/** The binary module (WebAssembly core specification, chapter 5) around `summingBody`. */
export function summingModule(simd: boolean): Uint8Array {
  const body = [...locals(simd), ...summingBody(simd), 0x0b];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, 0x60, 2, I32, I32, 1, I32]),
    ...section(2, [1, ...text('wire'), ...text('slab'), 0x02, 0x01, ...leb(PAGES), ...leb(PAGES)]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...text('sum'), 0x00, 0]),
    ...section(10, [1, ...leb(body.length), ...body]),
  ]);
}

/** Local 0: where to read; 1: the end; 2: last start of a whole block; 3: the sum; 4 (SIMD): four partial sums. */
function locals(simd: boolean): number[] {
  return simd ? [3, 1, I32, 1, I64, 1, V128] : [2, 1, I32, 1, I64];
}

function summingBody(simd: boolean): number[] {
  return [
    // local 2 = end - 32
    ...[0x20, 1, 0x41, 32, 0x6b, 0x21, 2],
    // block loop: while (at <= local 2)
    ...[0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x20, 2, 0x4b, 0x0d, 1],
    ...(simd ? [...addVector(0), ...addVector(16)] : [0, 4, 8, 12, 16, 20, 24, 28].flatMap(addWord)),
    // at += 32; continue; end end
    ...[0x20, 0, 0x41, 32, 0x6a, 0x21, 0, 0x0c, 0, 0x0b, 0x0b],
    ...(simd ? [0, 1, 2, 3].flatMap(addLane) : []),
    // block loop: while (at + 2 <= end) sum += load16_u(at), at += 2
    ...[0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x41, 2, 0x6a, 0x20, 1, 0x4b, 0x0d, 1],
    ...[0x20, 3, 0x20, 0, 0x33, 0, 0, 0x7c, 0x21, 3],
    ...[0x20, 0, 0x41, 2, 0x6a, 0x21, 0, 0x0c, 0, 0x0b, 0x0b],
    // if (at < end) sum += load8_u(at): little-endian, so this is the half that comes first
    ...[0x20, 0, 0x20, 1, 0x49, 0x04, 0x40, 0x20, 3, 0x20, 0, 0x31, 0, 0, 0x7c, 0x21, 3, 0x0b],
    // from at most 2^50 to 16 bits
    ...[...foldBy(32), ...foldBy(16), ...foldBy(16), ...foldBy(16)],
    // the same sum with its bytes swapped, as the words were read little-endian (RFC 1071 §2 (B))
    ...[0x20, 3, 0xa7, 0x41, 8, 0x76, 0x20, 3, 0xa7, 0x41, 0xff, 0x01, 0x71, 0x41, 8, 0x74, 0x72],
  ];
}

/** vector += i32x4.extadd_pairwise_i16x8_u(v128.load(at + offset)) */
function addVector(offset: number): number[] {
  return [0x20, 4, 0x20, 0, 0xfd, 0x00, 0, offset, 0xfd, 0x7f, 0xfd, 0xae, 0x01, 0x21, 4];
}

/** sum += the vector's lane */
function addLane(lane: number): number[] {
  return [0x20, 3, 0x20, 4, 0xfd, 0x1b, lane, 0xad, 0x7c, 0x21, 3];
}

/** sum += i64.load32_u(at + offset) */
function addWord(offset: number): number[] {
  return [0x20, 3, 0x20, 0, 0x35, 0, offset, 0x7c, 0x21, 3];
}

/** sum = (sum & (2^bits - 1)) + (sum >>> bits) */
function foldBy(bits: 16 | 32): number[] {
  const mask = bits === 16 ? [0xff, 0xff, 0x03] : [0xff, 0xff, 0xff, 0xff, 0x0f];
  return [0x20, 3, 0x42, ...mask, 0x83, 0x20, 3, 0x42, bits, 0x88, 0x7c, 0x21, 3];
}

function section(id: number, content: number[]): number[] {
  return [id, ...leb(content.length), ...content];
}

function text(name: string): number[] {
  return [name.length, ...Array.from(name, (letter) => letter.charCodeAt(0))];
}

/** Unsigned LEB128. */
function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

/** An IPv4 or IPv6 address: four unsigned 32-bit words, the IPv4 address alone in the last. Immutable. */
export class Address {
  readonly family: 4 | 6;
  readonly w0: number;
  readonly w1: number;
  readonly w2: number;
  readonly w3: number;

  constructor(family: 4 | 6, w0: number, w1: number, w2: number, w3: number) {
    this.family = family;
    this.w0 = w0 >>> 0;
    this.w1 = w1 >>> 0;
    this.w2 = w2 >>> 0;
    this.w3 = w3 >>> 0;
  }

  static v4(word: number): Address {
    return new Address(4, 0, 0, 0, word);
  }

  /** Reads dotted IPv4 or any RFC 4291 §2.2 form of IPv6; undefined when `text` is neither. */
  static parse(text: string): Address | undefined {
    return text.includes(':') ? parse6(text) : parse4(text);
  }

  /** Like `parse`, for text that the program itself wrote. @throws RangeError */
  static of(text: string): Address {
    const address = Address.parse(text);
    if (address === undefined) throw new RangeError(`not an IP address: ${JSON.stringify(text)}`);
    return address;
  }

  equals(other: Address): boolean {
    return (
      this.family === other.family &&
      this.w3 === other.w3 &&
      this.w2 === other.w2 &&
      this.w1 === other.w1 &&
      this.w0 === other.w0
    );
  }

  /** All zero: "any". */
  get isUnspecified(): boolean {
    return (this.w0 | this.w1 | this.w2 | this.w3) === 0;
  }

  /** ::ffff:a.b.c.d (RFC 4291 §2.5.5.2). */
  get isMapped(): boolean {
    return this.family === 6 && this.w0 === 0 && this.w1 === 0 && this.w2 === 0xffff;
  }

  /** The IPv4 address of a v4-mapped one; itself otherwise. */
  unmapped(): Address {
    return this.isMapped ? Address.v4(this.w3) : this;
  }

  get isMulticast(): boolean {
    return this.family === 4 ? this.w3 >>> 28 === 0xe : this.w0 >>> 24 === 0xff;
  }

  get isLoopback(): boolean {
    return this.family === 4 ? this.w3 >>> 24 === 127 : (this.w0 | this.w1 | this.w2) === 0 && this.w3 === 1;
  }

  /** Whether the first `prefixLength` bits equal those of `other`. */
  inPrefix(other: Address, prefixLength: number): boolean {
    if (this.family !== other.family) return false;
    const skip = this.family === 4 ? 96 : 0;
    const bits = prefixLength + skip;
    return (
      same(this.w0, other.w0, bits) &&
      same(this.w1, other.w1, bits - 32) &&
      same(this.w2, other.w2, bits - 64) &&
      same(this.w3, other.w3, bits - 96)
    );
  }

  /** Dotted IPv4; IPv6 as RFC 5952 recommends. */
  toString(): string {
    return this.family === 4 ? dotted(this.w3) : text6(this);
  }
}

function same(a: number, b: number, bits: number): boolean {
  if (bits <= 0) return true;
  if (bits >= 32) return a === b;
  return (a ^ b) >>> (32 - bits) === 0;
}

function dotted(word: number): string {
  return `${word >>> 24}.${(word >>> 16) & 255}.${(word >>> 8) & 255}.${word & 255}`;
}

function parse4(text: string): Address | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let word = 0;
  for (let index = 1; index <= 4; index++) {
    const part = Number(match[index]);
    if (part > 255) return undefined;
    word = word * 256 + part;
  }
  return Address.v4(word);
}

function parse6(input: string): Address | undefined {
  let text = input;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const tail = parse4(text.slice(lastColon + 1));
    if (tail === undefined) return undefined;
    text = `${text.slice(0, lastColon + 1)}${(tail.w3 >>> 16).toString(16)}:${(tail.w3 & 0xffff).toString(16)}`;
  }
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!);
  const tail = halves.length === 2 ? groups(halves[1]!) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...new Array<number>(halves.length === 2 ? missing : 0).fill(0), ...tail];
  return new Address(
    6,
    all[0]! * 65536 + all[1]!,
    all[2]! * 65536 + all[3]!,
    all[4]! * 65536 + all[5]!,
    all[6]! * 65536 + all[7]!,
  );
}

function groups(text: string): number[] | undefined {
  if (text === '') return [];
  const out: number[] = [];
  for (const part of text.split(':')) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
    out.push(Number.parseInt(part, 16));
  }
  return out;
}

function text6(address: Address): string {
  const words = [address.w0, address.w1, address.w2, address.w3];
  if (address.isMapped) return `::ffff:${dotted(address.w3)}`;
  const parts = words.flatMap((word) => [word >>> 16, word & 0xffff]);
  let bestAt = -1;
  let bestLength = 1;
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && parts[at + length] === 0) length++;
    if (length > bestLength) {
      bestAt = at;
      bestLength = length;
    }
  }
  const hex = parts.map((part) => part.toString(16));
  if (bestAt < 0) return hex.join(':');
  return `${hex.slice(0, bestAt).join(':')}::${hex.slice(bestAt + bestLength).join(':')}`;
}

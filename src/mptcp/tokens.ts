import { Key } from './keys.ts';
import type { RandomWords } from './seams.ts';

/** Draws before a key with a free token is given up (A2.13: Linux's number). */
const DRAWS = 4;

/**
 * Who owns which token on one host (RFC 8684 §3.1: a token identifies a connection, so it must be unique). Handshakes
 * under way reserve theirs; a lookup finds only what was given an owner.
 */
export class TokenTable<Owner> {
  readonly #owners = new Map<number, Owner | undefined>();

  /** A fresh key whose token is reserved, or undefined after several collisions. Token 0 is never used (A2.14). */
  reserve(random: RandomWords): Key | undefined {
    for (let draw = 0; draw < DRAWS; draw++) {
      const key = new Key(random.word(), random.word());
      if (key.token === 0 || this.#owners.has(key.token)) continue;
      this.#owners.set(key.token, undefined);
      return key;
    }
    return undefined;
  }

  own(token: number, owner: Owner): void {
    this.#owners.set(token, owner);
  }

  find(token: number): Owner | undefined {
    return this.#owners.get(token);
  }

  release(token: number): void {
    this.#owners.delete(token);
  }

  /** Everyone who owns a token. */
  *owners(): Generator<Owner> {
    for (const owner of this.#owners.values()) if (owner !== undefined) yield owner;
  }

  /** Tokens in use, reserved ones included. */
  get size(): number {
    return this.#owners.size;
  }
}

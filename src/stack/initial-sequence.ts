import type { Tuple } from '../tcp/endpoint.ts';
import { hmacSha256 } from '../wire/sha256.ts';

/**
 * Numbers that must be unpredictable from outside and steady per connection or pair of hosts (RFC 6528, RFC 7323 §5.4):
 * a keyed hash of the addresses.
 */
export class InitialSequences {
  private readonly secret: Uint8Array;

  /** @param secret at least 16 random bytes, drawn once per host */
  constructor(secret: Uint8Array) {
    this.secret = secret;
  }

  /** RFC 6528 §3: ISN = M + F(tuple, secret), M a clock of 4 microseconds. */
  isn(now: number, tuple: Tuple): number {
    return (Math.floor(now * 250) + this.hash(tuple, true)) >>> 0;
  }

  /** Added to the timestamp clock: steady per pair of hosts, so that PAWS and RFC 6191 work across connections. */
  timestampOffset(tuple: Tuple): number {
    return this.hash(tuple, false);
  }

  private hash(tuple: Tuple, ports: boolean): number {
    const words = new Uint32Array(11);
    words[0] = tuple.local.w0;
    words[1] = tuple.local.w1;
    words[2] = tuple.local.w2;
    words[3] = tuple.local.w3;
    words[4] = tuple.peer.w0;
    words[5] = tuple.peer.w1;
    words[6] = tuple.peer.w2;
    words[7] = tuple.peer.w3;
    words[8] = ports ? tuple.localPort : 0;
    words[9] = ports ? tuple.peerPort : 0;
    words[10] = ports ? 1 : 2;
    const digest = hmacSha256(this.secret, new Uint8Array(words.buffer));
    return ((digest[0]! << 24) | (digest[1]! << 16) | (digest[2]! << 8) | digest[3]!) >>> 0;
  }
}

import type { RandomWords } from '../mptcp/seams.ts';
import type { Tuple } from '../tcp/endpoint.ts';
import { SipHash } from '../wire/siphash.ts';

/**
 * Numbers that must be unpredictable from outside and steady per connection or pair of hosts (RFC 6528, RFC 7323 §5.4):
 * a keyed hash of the addresses. RFC 6528 §3 asks for a pseudorandom function; SipHash is one, and Linux's choice too.
 */
export class InitialSequences {
  private readonly hash: SipHash;
  private readonly words = new Uint32Array(10);

  constructor(random: RandomWords) {
    this.hash = new SipHash(random.word(), random.word(), random.word(), random.word());
  }

  /** RFC 6528 §3: ISN = M + F(tuple, secret), M a clock of 4 microseconds. */
  isn(now: number, tuple: Tuple): number {
    this.fill(tuple);
    this.words[8] = (tuple.localPort << 16) | tuple.peerPort;
    this.words[9] = 1;
    return (Math.floor(now * 250) + this.hash.hash(this.words)) >>> 0;
  }

  /** Added to the timestamp clock: steady per pair of hosts, so that PAWS and RFC 6191 work across connections. */
  timestampOffset(tuple: Tuple): number {
    this.fill(tuple);
    this.words[8] = 0;
    this.words[9] = 2;
    return this.hash.hash(this.words);
  }

  private fill(tuple: Tuple): void {
    const { words } = this;
    const { local, peer } = tuple;
    words[0] = local.w0;
    words[1] = local.w1;
    words[2] = local.w2;
    words[3] = local.w3;
    words[4] = peer.w0;
    words[5] = peer.w1;
    words[6] = peer.w2;
    words[7] = peer.w3;
  }
}

import type { RandomWords } from '../mptcp/seams.ts';
import type { TcpConfig } from '../tcp/config.ts';
import type { TcpCounters } from '../tcp/counters.ts';
import { ChallengeLimiter, type EndpointEnvironment, type Tuple } from '../tcp/endpoint.ts';
import type { InitialSequences } from './initial-sequence.ts';
import type { Interface } from './interfaces.ts';

/** What a host tells its endpoints of itself and of the interface they use. */
export class Environments {
  private readonly config: TcpConfig;
  private readonly counters: TcpCounters;
  private readonly sequences: InitialSequences;
  private readonly challenge: ChallengeLimiter;
  private readonly hopLimit: number;

  constructor(
    config: TcpConfig,
    counters: TcpCounters,
    sequences: InitialSequences,
    random: RandomWords,
    hopLimit: number,
  ) {
    this.config = config;
    this.counters = counters;
    this.sequences = sequences;
    this.challenge = new ChallengeLimiter(config.challengeAckLimit, random.word());
    this.hopLimit = hopLimit;
  }

  /** For an endpoint of `tuple` over `via`. @param overrides what differs from the host's settings */
  of(via: Interface, tuple: Tuple, overrides: Partial<TcpConfig> | undefined): EndpointEnvironment {
    return {
      mtu: via.mtu,
      segmentationOffload: via.segmentationOffload,
      checksumOffload: via.checksumOffload,
      config: overrides === undefined ? this.config : { ...this.config, ...overrides },
      counters: this.counters,
      challenge: this.challenge,
      timestampOffset: this.sequences.timestampOffset(tuple),
      hopLimit: this.hopLimit,
      trafficClass: 0,
    };
  }

  /** The number of the first SYN of `tuple`. */
  initialSequence(now: number, tuple: Tuple): number {
    return this.sequences.isn(now, tuple);
  }
}

import type { MptcpConfig } from '../mptcp/config.ts';
import type { PathManager, RandomWords, SchedulerFactory } from '../mptcp/seams.ts';
import type { TcpConfig } from '../tcp/config.ts';

/** What a stack is made from; everything but `random` has a default. */
export interface StackOptions {
  /** Unguessable words in production (keys, nonces, ports, secrets); seeded ones in simulation. */
  readonly random: RandomWords;
  readonly tcp?: Partial<TcpConfig>;
  readonly mptcp?: Partial<MptcpConfig>;
  /** Default: `LowestLinger`. */
  readonly scheduler?: SchedulerFactory;
  /** Default: an `EndpointPathManager` without endpoints. */
  readonly pathManager?: PathManager;
  /** TTL or hop limit of what is sent; 64. */
  readonly hopLimit?: number;
  /** TIME-WAITs kept at once (net.ipv4.tcp_max_tw_buckets); 65536. */
  readonly maximumTimeWaits?: number;
}

/** The caller asked for what cannot be; `code` is the errno's name. */
export class StackError extends Error {
  override readonly name = 'StackError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

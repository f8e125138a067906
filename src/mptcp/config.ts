/** Settings of MPTCP, with Linux's defaults and the sysctl (net.mptcp.…) of the same meaning. Times in ms. */
export interface MptcpConfig {
  /** New sockets may speak MPTCP (enabled). */
  enabled: boolean;
  /** Require DSS checksums: flag A (checksum_enabled). */
  checksums: boolean;
  /** Without it flag C is set: no joins to the initial address and port (allow_join_initial_addr_port). */
  allowJoinInitial: boolean;
  /** Ceiling of the ADD_ADDR retransmission time; 0: never (add_addr_timeout). */
  addAddrTimeout: number;
  /** Data-level timeouts that make a subflow stale (stale_loss_cnt). */
  staleLossCount: number;
  /** How long a connection outlives its last subflow (close_timeout). */
  closeTimeout: number;
  /** SYN retransmissions that still carry MP_CAPABLE (syn_retrans_before_tcp_fallback). */
  synRetransBeforeFallback: number;
  /** Active MPTCP pauses this long after a black hole, doubling; 0: never (blackhole_timeout). */
  blackholeTimeout: number;
  /** How long the answer to MP_FAIL may take (A7.08: TCP's maximum RTO). */
  failTimeout: number;
  /** How often a path that looks dead is asked for a sign of life while others carry the data; 0: never. */
  lossyProbeInterval: number;
  /** Floor of the data-level retransmission time. */
  minimumRto: number;
  /** Send the head of a full window again on a faster idle path, and what a stalled path holds on any other. */
  opportunisticRetransmission: boolean;
  /** Ceiling of send buffer autotuning (net.ipv4.tcp_wmem). */
  maximumSendBuffer: number;
  /** Joins under way per connection (RFC 7430 §4 advises a bound). */
  maximumHalfOpenJoins: number;
}

export function mptcpDefaults(): MptcpConfig {
  return {
    enabled: true,
    checksums: false,
    allowJoinInitial: true,
    addAddrTimeout: 120_000,
    staleLossCount: 4,
    closeTimeout: 60_000,
    synRetransBeforeFallback: 2,
    blackholeTimeout: 3_600_000,
    failTimeout: 120_000,
    lossyProbeInterval: 1000,
    minimumRto: 200,
    opportunisticRetransmission: true,
    maximumSendBuffer: 4_194_304,
    maximumHalfOpenJoins: 8,
  };
}

import type { CongestionControlFactory } from './seams.ts';

/**
 * Settings of TCP connections, with Linux's defaults and, where one exists, the sysctl of the same meaning. Times in
 * ms, sizes in bytes. One object may serve many connections; it is read, never written, by them.
 */
export interface TcpConfig {
  /** Makes the congestion control of each connection (net.ipv4.tcp_congestion_control). */
  congestionControl: CongestionControlFactory;
  /** RFC 6928: segments of the initial window. */
  initialWindowSegments: number;
  /** Offer RFC 7323 timestamps (net.ipv4.tcp_timestamps). */
  timestamps: boolean;
  /** Offer SACK (net.ipv4.tcp_sack). */
  sack: boolean;
  /** Offer window scaling (net.ipv4.tcp_window_scaling). */
  windowScaling: boolean;
  /** RACK-TLP (RFC 8985); without it RFC 6675 with three duplicate ACKs. */
  rack: boolean;
  /** Floor and ceiling of the RTO (Linux 200 ms and 120 s; RFC 6298 asks for 1 s and at least 60 s). */
  minimumRto: number;
  maximumRto: number;
  /** RTO before the first measurement (RFC 6298 §2.1). */
  initialRto: number;
  /** SYN retransmissions before giving up (net.ipv4.tcp_syn_retries). */
  synRetries: number;
  /** SYN/ACK retransmissions (net.ipv4.tcp_synack_retries). */
  synAckRetries: number;
  /** Retransmissions of data without progress before the connection is given up (net.ipv4.tcp_retries2). */
  retries: number;
  /** The same once nobody owns the socket (net.ipv4.tcp_orphan_retries; Linux's 0 means 8). */
  orphanRetries: number;
  /** RFC 5482 user timeout, 0 for none: overrides `retries`. */
  userTimeout: number;
  /** RFC 9293 §3.6.1, MSL 30 s: TIME-WAIT lasts 60 s as in Linux. */
  timeWait: number;
  /** Orphaned FIN-WAIT-2 (net.ipv4.tcp_fin_timeout). */
  finTimeout: number;
  /** Delayed ACK bounds (RFC 9293 §3.8.6.3: below 500 ms; Linux 40 to 200 ms). */
  delayedAckMinimum: number;
  delayedAckMaximum: number;
  /** Nagle's algorithm (off is TCP_NODELAY). */
  nagle: boolean;
  keepAlive: boolean;
  keepAliveIdle: number;
  keepAliveInterval: number;
  keepAliveProbes: number;
  /** Receive buffer: initial, and the ceiling of autotuning (net.ipv4.tcp_rmem). */
  receiveBuffer: number;
  maximumReceiveBuffer: number;
  /** Send buffer: initial, and the ceiling of autotuning (net.ipv4.tcp_wmem). */
  sendBuffer: number;
  maximumSendBuffer: number;
  /** Upper bound of the MSS we announce and use; 0 for none (TCP_MAXSEG). */
  maximumSegmentSize: number;
  /** Challenge ACKs per second and host (net.ipv4.tcp_challenge_ack_limit idea, RFC 5961 §7). */
  challengeAckLimit: number;
  /** Pace even when the congestion control does not ask for it. */
  pacing: boolean;
  /** Path MTU probing when a black hole shows (net.ipv4.tcp_mtu_probing 1). */
  mtuProbing: boolean;
}

/** Linux's defaults; the congestion control is the caller's to choose. */
export function tcpDefaults(congestionControl: CongestionControlFactory): TcpConfig {
  return {
    congestionControl,
    initialWindowSegments: 10,
    timestamps: true,
    sack: true,
    windowScaling: true,
    rack: true,
    minimumRto: 200,
    maximumRto: 120_000,
    initialRto: 1000,
    synRetries: 6,
    synAckRetries: 5,
    retries: 15,
    orphanRetries: 8,
    userTimeout: 0,
    timeWait: 60_000,
    finTimeout: 60_000,
    delayedAckMinimum: 40,
    delayedAckMaximum: 200,
    nagle: true,
    keepAlive: false,
    keepAliveIdle: 7_200_000,
    keepAliveInterval: 75_000,
    keepAliveProbes: 9,
    receiveBuffer: 131_072,
    maximumReceiveBuffer: 6_291_456,
    sendBuffer: 87_380,
    maximumSendBuffer: 4_194_304,
    maximumSegmentSize: 0,
    challengeAckLimit: 1000,
    pacing: false,
    mtuProbing: true,
  };
}

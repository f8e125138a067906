/** Why a connection is plain TCP (RFC 8684 §3.7): data, kept on the connection and shown to users. */
export const FallbackReason = {
  None: 0,
  /** The SYN/ACK had no usable MP_CAPABLE (A8.02). */
  SynAck: 1,
  /** The third ACK had none (A8.03). */
  ThirdAck: 2,
  /** MP_CAPABLE was left out after SYNs that carried it went unanswered (A8.04). */
  SynDropped: 3,
  /** The destination is remembered as a black hole for MP_CAPABLE (A8.05). */
  BlackHole: 4,
  /** No free token (A8.07). */
  Token: 5,
  /** The first segment after the handshake proved nothing (A8.10). */
  FirstData: 6,
  /** Data without a usable mapping (A8.11). */
  NoMapping: 7,
  /** A mapping disagreed with TCP's sequence numbers (A8.13). */
  Corruption: 8,
  /** A DSS checksum failed (A8.15). */
  Checksum: 9,
  /** The peer sent MP_FAIL (A8.17). */
  PeerFail: 10,
  /** The peer sent an infinite mapping (A8.23). */
  InfiniteMapping: 11,
  /** Simultaneous open (A8.22). */
  SimultaneousOpen: 12,
  /** The peer never asked for MPTCP (A8.01). */
  PeerPlain: 13,
} as const;

const NAMES: readonly string[] = [
  'none',
  'syn-ack-without-mp-capable',
  'third-ack-without-mp-capable',
  'syn-with-mp-capable-unanswered',
  'black-hole-remembered',
  'no-free-token',
  'first-data-without-mptcp',
  'data-without-mapping',
  'mapping-corrupt',
  'checksum-failed',
  'mp-fail-received',
  'infinite-mapping-received',
  'simultaneous-open',
  'peer-is-plain-tcp',
];

export function fallbackName(reason: number): string {
  return NAMES[reason] ?? `fallback-${reason}`;
}

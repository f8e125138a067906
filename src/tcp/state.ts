/** The states of RFC 9293 §3.3.2. LISTEN belongs to `stack/listener`, SYN-SENT and SYN-RECEIVED to `Handshake`. */
export const State = {
  Closed: 0,
  Listen: 1,
  SynSent: 2,
  SynReceived: 3,
  Established: 4,
  FinWait1: 5,
  FinWait2: 6,
  CloseWait: 7,
  Closing: 8,
  LastAck: 9,
  TimeWait: 10,
} as const;

export const STATE_NAMES: readonly string[] = [
  'CLOSED',
  'LISTEN',
  'SYN-SENT',
  'SYN-RECEIVED',
  'ESTABLISHED',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'CLOSE-WAIT',
  'CLOSING',
  'LAST-ACK',
  'TIME-WAIT',
];

/** Bit sets of the legal successors of each state (RFC 9293 figure 5, plus aborts to CLOSED). */
const LEGAL: readonly number[] = [
  bits(State.Listen, State.SynSent),
  bits(State.SynReceived, State.SynSent, State.Closed),
  bits(State.SynReceived, State.Established, State.Closed),
  bits(State.Established, State.FinWait1, State.CloseWait, State.Listen, State.Closed),
  bits(State.FinWait1, State.CloseWait, State.Closed),
  bits(State.FinWait2, State.Closing, State.TimeWait, State.Closed),
  bits(State.TimeWait, State.Closed),
  bits(State.LastAck, State.Closed),
  bits(State.TimeWait, State.Closed),
  bits(State.Closed),
  bits(State.Closed),
];

function bits(...states: number[]): number {
  return states.reduce((set, state) => set | (1 << state), 0);
}

export function isLegal(from: number, to: number): boolean {
  return (((LEGAL[from] ?? 0) >> to) & 1) === 1;
}

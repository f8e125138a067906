/** The life of a subflow, moved forward only. */
export const Phase = {
  /** TCP's handshake is under way. */
  Connecting: 0,
  /** TCP is established; RFC 8684 §3.1, §3.2 do not yet allow to rely on it (A2.09, A4.08). */
  Unproven: 1,
  /** Fully established. */
  Proven: 2,
  /** FIN sent or aborted: no new data. */
  Closing: 3,
  Closed: 4,
} as const;

/** How a subflow is to end, carried out by `MptcpConnection.update`; the stronger wins. */
export const Ending = { None: 0, Shutdown: 1, Abort: 2 } as const;

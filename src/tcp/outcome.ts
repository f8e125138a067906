/** What `Sender.poll` offers. */
export const SendKind = {
  None: 0,
  /** New bytes, perhaps with the FIN behind them. */
  Data: 1,
  /** Bytes that were sent before and are taken for lost. */
  Retransmit: 2,
  /** The FIN alone, for the first time. */
  Fin: 3,
  /**
   * RFC 9293 §3.8.6.1: asks for the window. What fits into it although it is silly to send so little; when nothing
   * fits, no byte at all and `planOffset` una - 1.
   */
  WindowProbe: 4,
  /** RFC 8985 §7: tail loss probe; new bytes or the last ones again. */
  LossProbe: 5,
  /** The FIN alone, again. */
  FinRetransmit: 6,
} as const;

/** Bits that `Sender.onAck` returns. */
export const AckOutcome = {
  None: 0,
  /** `una` moved. */
  Advanced: 0x1,
  /** Our FIN is acknowledged (in this or an earlier ACK that advanced). */
  FinAcknowledged: 0x2,
  /** The peer's window grew from one in which nothing could be sent. */
  WindowOpened: 0x4,
  /** Something was delivered, cumulatively or selectively. */
  Progress: 0x8,
  /** It counted as a duplicate or selective ACK that makes loss likely: recovery was entered by it. */
  EnteredRecovery: 0x10,
  /** A reduction was found to be needless and was undone. */
  Undone: 0x20,
} as const;

/** Bits that `Sender.onTimeout` returns. */
export const TimeoutOutcome = {
  None: 0,
  /** The retransmission timer fired; `Sender.timeouts` counts how often in a row. */
  RetransmissionTimeout: 0x1,
  /** RFC 9293 §3.8.3 R2 or the user timeout was reached: give the connection up. */
  Abort: 0x2,
  /** There may be something to `poll`. */
  Output: 0x4,
  /** RFC 4821: full-size segments vanish and small ones may not; lower the segment size. See `blackHoleSuspected`. */
  BlackHole: 0x8,
} as const;

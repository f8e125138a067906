/**
 * Events of TCP on one host, with the names of Linux's MIB (`nstat`: Tcp… and TcpExt…) where the event is the same.
 * Shared by all connections of a stack. Every abandoned segment increments one of these.
 */
export class TcpCounters {
  // Tcp: RFC 4022's group
  ActiveOpens = 0;
  PassiveOpens = 0;
  AttemptFails = 0;
  EstabResets = 0;
  CurrEstab = 0;
  InSegs = 0;
  OutSegs = 0;
  RetransSegs = 0;
  InErrs = 0;
  OutRsts = 0;
  InCsumErrors = 0;

  // TcpExt
  /** ACKs delayed and sent by the timer. */
  DelayedACKs = 0;
  TCPTimeouts = 0;
  TCPSpuriousRTOs = 0;
  TCPFastRetrans = 0;
  TCPSlowStartRetrans = 0;
  TCPLostRetransmit = 0;
  TCPLossProbes = 0;
  TCPLossProbeRecovery = 0;
  TCPSackRecovery = 0;
  TCPRenoRecovery = 0;
  TCPSACKReneging = 0;
  /** SACK blocks outside of what was sent. */
  TCPSACKDiscard = 0;
  TCPDSACKOldSent = 0;
  TCPDSACKOfoSent = 0;
  TCPDSACKRecv = 0;
  TCPFullUndo = 0;
  TCPDSACKUndo = 0;
  TCPLossUndo = 0;
  TCPHystartTrainDetect = 0;
  TCPHystartDelayDetect = 0;
  TCPOFOQueue = 0;
  /** Out-of-order data dropped because the sink had no room. */
  TCPRcvQDrop = 0;
  /** Segments wholly outside of the receive window, answered with an ACK. */
  TCPOutOfWindow = 0;
  /** Data that had been received before. */
  DelayedACKLost = 0;
  PAWSEstab = 0;
  PAWSActive = 0;
  TCPChallengeACK = 0;
  TCPSYNChallenge = 0;
  TCPACKSkippedChallenge = 0;
  /** An ACK of something never sent. */
  TCPAckOfUnsent = 0;
  /** An ACK older than RFC 5961 §5 allows. */
  TCPAckTooOld = 0;
  /** A segment without ACK where one is required. */
  TCPNoAck = 0;
  /** A segment that a handshake has no use for (RFC 9293 §3.10.7.3), or that came after its end. */
  TCPHandshakeDrop = 0;
  /** A segment without timestamps although they were negotiated (RFC 7323 §3.2). */
  TCPTimestampMissing = 0;
  /** A RST outside of the receive window (RFC 5961 §3.2). */
  TCPResetOutOfWindow = 0;
  /** A RST that TIME-WAIT did not heed (RFC 1337). */
  TCPTimeWaitResetIgnored = 0;
  /** Segments for a connection that is over. */
  TCPClosedDrop = 0;
  /** Segments of which the part beyond the receive window was cut off. */
  TCPRcvWindowTrimmed = 0;
  /** Text or FIN that came after the peer's FIN. */
  TCPTextAfterFin = 0;
  TCPAbortOnData = 0;
  TCPAbortOnClose = 0;
  TCPAbortOnTimeout = 0;
  TCPAbortOnLinger = 0;
  TCPKeepAlive = 0;
  TCPZeroWindowDrop = 0;
  TCPWinProbe = 0;
  TCPFromZeroWindowAdv = 0;
  TCPToZeroWindowAdv = 0;
  TCPWantZeroWindowAdv = 0;
  TW = 0;
  TCPTimeWaitOverflow = 0;
  /** TIME-WAIT reused for a new connection (RFC 6191, RFC 9293 §3.6.1). */
  TWRecycled = 0;
  /** TIME-WAIT answered a segment with an ACK. */
  TCPTimeWaitAck = 0;
  ListenOverflows = 0;
  ListenDrops = 0;
  TCPReqQFullDrop = 0;
  TCPMTUPFail = 0;
  TCPMTUPSuccess = 0;
  /** Path MTU lowered by ICMP. */
  TCPPmtuReduced = 0;
  /** ICMP errors whose quoted sequence number was not in flight (RFC 5927 §4.1). */
  OutOfWindowIcmps = 0;
  TCPSynRetrans = 0;
  TCPOrigDataSent = 0;
  TCPDelivered = 0;
  TCPPureAcks = 0;
  TCPAutoCorking = 0;
  /** Acknowledged octets sent again, to draw an ACK. */
  TCPSolicitedAck = 0;
  /** A connection closed because of a defect of ours. */
  TCPInvariant = 0;
  /** A reduction undone before all that was outstanding at its time was acknowledged. */
  TCPPartialUndo = 0;
}

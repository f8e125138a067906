/**
 * Events of Multipath TCP on one host: the names, order and meaning of Linux's MIB (`nstat`: MPTcpExt…), and after
 * them events of ours that Linux does not count. Shared by all connections of a stack.
 */
export class MptcpCounters {
  /** SYN with MP_CAPABLE received. */
  MPCapableSYNRX = 0;
  /** SYN with MP_CAPABLE sent. */
  MPCapableSYNTX = 0;
  MPCapableSYNACKRX = 0;
  /** Third ACK with MP_CAPABLE received. */
  MPCapableACKRX = 0;
  /** The server fell back: MP_CAPABLE bad or missing in the third ACK. */
  MPCapableFallbackACK = 0;
  /** The client fell back: SYN/ACK without MP_CAPABLE. */
  MPCapableFallbackSYNACK = 0;
  /** The client gave up MP_CAPABLE in SYN retransmissions. */
  MPCapableSYNTXDrop = 0;
  /** MP_CAPABLE withheld because of a past black hole. */
  MPCapableSYNTXDisabled = 0;
  /** MP_CAPABLE SYN to a port endpoint's listener. */
  MPCapableEndpAttempt = 0;
  /** No unique token could be found. */
  MPFallbackTokenInit = 0;
  /** Pieces resent at data level. */
  MPTCPRetrans = 0;
  MPJoinNoTokenFound = 0;
  MPJoinSynRx = 0;
  MPJoinSynBackupRx = 0;
  MPJoinSynAckRx = 0;
  MPJoinSynAckBackupRx = 0;
  MPJoinSynAckHMacFailure = 0;
  MPJoinAckRx = 0;
  MPJoinAckHMacFailure = 0;
  /** Join refused at the ACK: over the limit. */
  MPJoinRejected = 0;
  MPJoinSynTx = 0;
  MPJoinSynTxCreatSkErr = 0;
  MPJoinSynTxBindErr = 0;
  MPJoinSynTxConnectErr = 0;
  /** A mapping differs from the valid one for the same bytes. */
  DSSNotMatching = 0;
  DSSCorruptionFallback = 0;
  DSSCorruptionReset = 0;
  InfiniteMapTx = 0;
  InfiniteMapRx = 0;
  /** Mapping and subflow sequence number disagree. */
  DSSNoMatchTCP = 0;
  DataCsumErr = 0;
  OFOQueueTail = 0;
  OFOQueue = 0;
  OFOMerge = 0;
  /** Data outside of the data-level window. */
  NoDSSInWindow = 0;
  DuplicateData = 0;
  AddAddr = 0;
  AddAddrTx = 0;
  AddAddrTxDrop = 0;
  EchoAdd = 0;
  EchoAddTx = 0;
  EchoAddTxDrop = 0;
  PortAdd = 0;
  AddAddrDrop = 0;
  MPJoinPortSynRx = 0;
  MPJoinPortSynAckRx = 0;
  MPJoinPortAckRx = 0;
  MismatchPortSynRx = 0;
  MismatchPortAckRx = 0;
  RmAddr = 0;
  RmAddrDrop = 0;
  RmAddrTx = 0;
  RmAddrTxDrop = 0;
  /** Subflow closed because its address was removed here. (One closed on the peer's REMOVE_ADDR is no such event.) */
  RmSubflow = 0;
  MPPrioTx = 0;
  MPPrioRx = 0;
  MPFailTx = 0;
  MPFailRx = 0;
  MPFastcloseTx = 0;
  MPFastcloseRx = 0;
  MPRstTx = 0;
  MPRstRx = 0;
  SubflowStale = 0;
  SubflowRecover = 0;
  SndWndShared = 0;
  RcvWndShared = 0;
  RcvWndConflictUpdate = 0;
  RcvWndConflict = 0;
  /** Gauge: established MPTCP connections now. */
  MPCurrEstab = 0;
  Blackhole = 0;
  MPCapableDataFallback = 0;
  MD5SigFallback = 0;
  DssFallback = 0;
  SimultConnectFallback = 0;
  FallbackFailed = 0;
  WinProbe = 0;

  // Ours
  /** A DATA_ACK of something never sent, or older than the last. */
  DataAckInvalid = 0;
  DataAckOld = 0;
  /** Joined subflows reset because their first data was acknowledged without a DATA_ACK. */
  DataAckMissing = 0;
  /** DATA_FINs received again, and a DATA_FIN that contradicts an earlier one. */
  DataFinDuplicate = 0;
  DataFinMismatch = 0;
  /** MP_FASTCLOSE with a key that is not ours. */
  FastcloseKeyMismatch = 0;
  /** Data that came before its mapping and was left for retransmission. */
  UnmappedAhead = 0;
  /** Join refused before the handshake: fallen back, closing, or too many half-open. */
  MPJoinRefused = 0;
  /** Join not begun: what the peer announced is an address of this host. */
  MPJoinOwnAddress = 0;
  /** Third ACK of a join that did not carry MP_JOIN. */
  MPJoinAckMissing = 0;
  /** SYN/ACK of a join without MP_JOIN. */
  MPJoinSynAckMissing = 0;
  /** ADD_ADDR that gave up after its last retransmission. */
  AddAddrTimeout = 0;
  /** Data resent at once on a faster subflow because the data window was full. */
  OpportunisticRetrans = 0;
  /** Connections closed because no subflow came back in time. */
  CloseTimeout = 0;
}

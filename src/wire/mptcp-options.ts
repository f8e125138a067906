/**
 * Multipath TCP options, version 1 (RFC 8684 §3; TCP option kind 30): the record of what one segment carries. Its
 * readers and writers stand in `mptcp-codec`.
 */

/** What a segment carries, as bits of `MptcpOptions.present`. */
export const Mptcp = {
  /** MP_CAPABLE on a SYN: version and flags (length 4). */
  CapableSyn: 0x0001,
  /** MP_CAPABLE on a SYN/ACK: the sender's key (length 12). */
  CapableSynAck: 0x0002,
  /** MP_CAPABLE with both keys (length 20), or with data length 22, 24: then `dataLength` is not 0. */
  CapableAck: 0x0004,
  /** MP_CAPABLE with data length (length 22, 24); set together with `CapableAck`. */
  CapableData: 0x0008,
  JoinSyn: 0x0010,
  JoinSynAck: 0x0020,
  JoinAck: 0x0040,
  Dss: 0x0080,
  AddAddress: 0x0100,
  RemoveAddress: 0x0200,
  Priority: 0x0400,
  Fail: 0x0800,
  FastClose: 0x1000,
  /** MP_TCPRST. */
  Reset: 0x2000,
  /** MP_EXPERIMENTAL or an unassigned subtype: skipped. */
  Unknown: 0x4000,
  /** An option of kind 30 whose length fits no variant of its subtype, or that may not stand in this segment: skipped. */
  Malformed: 0x8000,
} as const;

/** DSS flags (RFC 8684 §3.3, figure 9), also in `MptcpOptions.dssFlags`. */
export const Dss = {
  /** A: a DATA_ACK is present. */
  Ack: 0x01,
  /** a: it is 8 bytes long. */
  Ack64: 0x02,
  /** M: DSN, subflow sequence number and length are present. */
  Map: 0x04,
  /** m: the DSN is 8 bytes long. */
  Map64: 0x08,
  /** F: DATA_FIN. */
  Fin: 0x10,
} as const;

/** MP_CAPABLE flags (RFC 8684 §3.1). */
export const Capable = { Checksum: 0x80, Extensible: 0x40, DenyJoinInitial: 0x20, HmacSha256: 0x01 } as const;

/** MP_TCPRST flags; only T is defined (RFC 8684 §3.6). */
export const ResetFlag = { Transient: 0x1 } as const;

/** MP_TCPRST reasons (RFC 8684 §3.6). */
export const ResetReason = {
  Unspecified: 0,
  MptcpSpecific: 1,
  NoResources: 2,
  Prohibited: 3,
  TooMuchData: 4,
  BadPerformance: 5,
  Middlebox: 6,
} as const;

/** All MPTCP options of one segment. Fields are meaningful when `present` has the option's bit. Words are unsigned. */
export class MptcpOptions {
  present = 0;

  // MP_CAPABLE
  version = 0;
  capableFlags = 0;
  senderKeyHigh = 0;
  senderKeyLow = 0;
  receiverKeyHigh = 0;
  receiverKeyLow = 0;

  // MP_CAPABLE with data, and DSS: the mapping
  /** Bytes mapped; for DSS the DATA_FIN counts as one; 0 in a DSS is the infinite mapping. */
  dataLength = 0;
  hasChecksum = false;
  checksum = 0;

  // MP_JOIN
  joinBackup = false;
  joinAddressId = 0;
  joinToken = 0;
  joinNonce = 0;
  /** SYN/ACK: 8 bytes; ACK: 20 bytes. */
  readonly joinHmac: Uint8Array = new Uint8Array(20);

  // DSS
  dssFlags = 0;
  dataAckHigh = 0;
  /** The whole DATA_ACK when it is 4 bytes long. */
  dataAckLow = 0;
  dataSequenceHigh = 0;
  /** The whole DSN when it is 4 bytes long. */
  dataSequenceLow = 0;
  /** Relative to the subflow's initial sequence number: the first byte is 1. */
  subflowSequence = 0;

  // ADD_ADDR
  addEcho = false;
  addId = 0;
  addFamily: 4 | 6 = 4;
  add0 = 0;
  add1 = 0;
  add2 = 0;
  add3 = 0;
  /** 0: no port field. */
  addPort = 0;
  addHmacHigh = 0;
  addHmacLow = 0;

  // REMOVE_ADDR
  removeCount = 0;
  readonly removeIds: Uint8Array = new Uint8Array(8);

  // MP_PRIO
  priorityBackup = false;

  // MP_FAIL
  failHigh = 0;
  failLow = 0;

  // MP_FASTCLOSE
  fastCloseKeyHigh = 0;
  fastCloseKeyLow = 0;

  // MP_TCPRST
  resetFlags = 0;
  resetReason = 0;
}

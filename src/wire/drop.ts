/**
 * Why a packet was not processed: one name, one counter. `None` (0) means that it was.
 *
 * The names of what has an equal in Linux's MIB are given in `stack/counters`.
 */
export const Drop = {
  None: 0,
  Truncated: 1,
  BadIpVersion: 2,
  BadIpHeader: 3,
  BadIpChecksum: 4,
  Fragment: 5,
  BadExtensionHeader: 6,
  UnknownProtocol: 7,
  NotForUs: 8,
  BadTcpHeader: 9,
  BadTcpChecksum: 10,
  BadIcmp: 11,
  BadIcmpChecksum: 12,
  BadSource: 13,
  NoRoute: 14,
  InterfaceDown: 15,
  Authentication: 16,
} as const;

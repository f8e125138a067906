/** Bits of `MptcpConnection.events`: what the owner has not read yet. */
export const ConnectionEvent = {
  Established: 0x01,
  Readable: 0x02,
  Writable: 0x04,
  /** The peer will send no more. */
  PeerFinished: 0x08,
  /** Over: `closeReason` tells why. */
  Closed: 0x10,
  FellBack: 0x20,
  SubflowsChanged: 0x40,
} as const;

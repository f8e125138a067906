/** Bits of readiness that a handle collects for its user. */
export const Ready = {
  /** The connection is established. */
  Connected: 0x01,
  Readable: 0x02,
  Writable: 0x04,
  /** The peer will send no more. */
  PeerFinished: 0x08,
  /** Over; `closeReason` tells why. */
  Closed: 0x10,
  /** A listener has a connection to accept. */
  Acceptable: 0x20,
  /** It is plain TCP now; `fallbackReason` tells why. */
  FellBack: 0x40,
  /** Subflows came, went or changed priority. */
  Subflows: 0x80,
} as const;

/** What a descriptor stands for: a connection or a listener. */
export abstract class Handle {
  /** Number by which `Stack.pollReady` names it; -1 while nobody holds it. */
  descriptor = -1;
  /** In the stack's list of ready handles, and which is behind it there. */
  queued = false;
  readyNext: Handle | null = null;
  private bits = 0;

  /** Bits of `Ready` since the last call. */
  takeReady(): number {
    const taken = this.bits;
    this.bits = 0;
    return taken;
  }

  get hasReady(): boolean {
    return this.bits !== 0;
  }

  raise(bits: number): void {
    this.bits |= bits;
  }
}

import { packetBytes } from '../wire/checksum.ts';
import { PACKET_CAPACITY, Packet } from '../wire/packet.ts';

/**
 * A way in and out for IP packets, as the driver uses it. Neither `read` nor `write` ever blocks or throws; the
 * driver asks until `Empty` and is told through `onReady` when asking is worth while again.
 */
export interface PacketIo {
  readonly name: string;
  /** Bytes of the largest IP packet on the wire. */
  readonly mtu: number;
  /** Takes and gives packets of up to 64 KB with `gsoSize` set. */
  readonly segmentationOffload: boolean;
  /** Takes and gives packets with `ChecksumState.Partial`. */
  readonly checksumOffload: boolean;
  /** Fills `packet` from `packet.start` on, which keeps `HEADROOM` bytes free before it. @returns an `IoStatus` */
  read(packet: Packet): number;
  /** Sends `packet`, whose `HEADROOM` bytes before `start` may be overwritten. @returns an `IoStatus` */
  write(packet: Packet): number;
  /**
   * Begins to call `onReady` with a mask of `Readiness`: again and again as long as there is something to read, and
   * when writing is possible again after `awaitWritable`. The callback must not throw.
   */
  start(onReady: (readiness: number) => void): void;
  /** Asks for one `Readiness.Writable`. */
  awaitWritable(): void;
  /** Whether an idle device keeps the process alive; it does until `unref`. */
  ref(): void;
  unref(): void;
  /** Gives everything back. No callback comes after it. */
  close(): void;
}

/** What became of a `read` or `write`. */
export const IoStatus = {
  /** One packet was read or written. */
  Done: 0,
  /** Nothing to read, or no room to write: wait for readiness. */
  Empty: 1,
  /** The device exists but is down: nothing passes. */
  Down: 2,
  /** The device has gone for good. */
  Gone: 3,
  /** This one packet was not acceptable; the device is fine. */
  Refused: 4,
  /** The kernel had no memory for it. */
  NoMemory: 5,
} as const;

export const Readiness = { Readable: 1, Writable: 2, Gone: 4 } as const;

/** Bytes kept free before the IP header, for what a device puts there (a virtio-net header is 10 or 12). */
export const HEADROOM = 16;

/** A packet that a device can read into or write from without copying, with room for any IP packet. */
export function ioPacket(): Packet {
  return new Packet(PACKET_CAPACITY, HEADROOM, packetBytes(HEADROOM + PACKET_CAPACITY));
}

/**
 * An open descriptor whose reads and writes are whole packets: the seam at which a native add-on or a test can stand
 * in for the foreign calls. Results are those of C: bytes, or a negative error number.
 */
export interface DescriptorIo {
  /** Reads one packet into `bytes` at `offset`. */
  read(bytes: Uint8Array, offset: number, length: number): number;
  /** Writes one packet from `bytes` at `offset`. */
  write(bytes: Uint8Array, offset: number, length: number): number;
  /** Begins to watch: `callback` gets `Readiness`. */
  onReadable(callback: (readiness: number) => void): void;
  awaitWritable(): void;
  ref(): void;
  unref(): void;
  close(): void;
}

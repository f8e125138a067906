import { type Foreign, foreign } from './ffi.ts';
import type { DescriptorIo } from './packet-io.ts';
import { type Watcher, watch } from './readiness.ts';

/** A descriptor whose every read and write is one packet, through foreign calls. Owns the descriptor. */
export class ForeignDescriptor implements DescriptorIo {
  readonly fd: number;
  private readonly calls: Foreign;
  private readonly mechanism: 'auto' | 'loop' | 'thread';
  private watcher: Watcher | undefined;
  private isRef = true;
  private isClosed = false;
  // Where the bytes last read into and last written from stand. The arrays are kept with the numbers, which alone
  // would not keep them from the collector.
  private readBytes: Uint8Array = NO_BYTES;
  private readOffset = 0;
  private readAddress = 0n;
  private writeBytes: Uint8Array = NO_BYTES;
  private writeOffset = 0;
  private writeAddress = 0n;

  constructor(fd: number, mechanism: 'auto' | 'loop' | 'thread' = 'auto') {
    this.fd = fd;
    this.calls = foreign();
    this.mechanism = mechanism;
  }

  read(bytes: Uint8Array, offset: number, length: number): number {
    if (bytes !== this.readBytes || offset !== this.readOffset) {
      this.readAddress = this.calls.address(bytes) + BigInt(offset);
      this.readBytes = bytes;
      this.readOffset = offset;
    }
    const result = this.calls.read(this.fd, this.readAddress, length);
    return result < 0 ? -this.calls.errno() : result;
  }

  write(bytes: Uint8Array, offset: number, length: number): number {
    if (bytes !== this.writeBytes || offset !== this.writeOffset) {
      this.writeAddress = this.calls.address(bytes) + BigInt(offset);
      this.writeBytes = bytes;
      this.writeOffset = offset;
    }
    const result = this.calls.write(this.fd, this.writeAddress, length);
    return result < 0 ? -this.calls.errno() : result;
  }

  onReadable(callback: (readiness: number) => void): void {
    if (this.isClosed || this.watcher !== undefined) return;
    this.watcher = watch(this.fd, callback, this.mechanism);
    if (!this.isRef) this.watcher.unref();
  }

  awaitWritable(): void {
    this.watcher?.wantWritable(true);
  }

  /** Writability has been told of, or matters no more. */
  forgetWritable(): void {
    this.watcher?.wantWritable(false);
  }

  ref(): void {
    this.isRef = true;
    this.watcher?.ref();
  }

  unref(): void {
    this.isRef = false;
    this.watcher?.unref();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.watcher?.close();
    this.calls.close(this.fd);
  }
}

const NO_BYTES = new Uint8Array(0);

import { closeSync, openSync, writeSync } from 'node:fs';
import { Capture } from '../link/capture.ts';
import { failureText } from './failure.ts';

/** Bytes that are collected before they are written. */
const CHUNK = 1 << 20;

/** A pcapng file under construction. Writing never throws: `problem` tells what went wrong. */
export class CaptureFile {
  readonly path: string;
  readonly capture: Capture;
  /** Why the file is not complete. */
  problem: string | undefined;
  private readonly descriptor: number;
  private readonly buffer = new Uint8Array(CHUNK);
  private used = 0;
  private isClosed = false;

  /**
   * @param epoch milliseconds since 1970 at instant 0 of the packets' clock
   * @throws NodeJS.ErrnoException when the file cannot be made
   */
  constructor(path: string, epoch: number) {
    this.path = path;
    this.descriptor = openSync(path, 'w');
    this.capture = new Capture((block) => this.onBlock(block), { epoch });
  }

  private onBlock(block: Uint8Array): void {
    if (this.used + block.length > CHUNK) this.flush();
    if (block.length > CHUNK) {
      this.put(block);
      return;
    }
    this.buffer.set(block, this.used);
    this.used += block.length;
  }

  private flush(): void {
    this.put(this.buffer.subarray(0, this.used));
    this.used = 0;
  }

  private put(bytes: Uint8Array): void {
    if (this.problem !== undefined || this.isClosed) return;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.descriptor, bytes, at);
    } catch (error) {
      this.problem = failureText(error);
    }
  }

  /** Writes the rest. @returns what went wrong, if anything did */
  close(): string | undefined {
    if (this.isClosed) return this.problem;
    this.flush();
    this.isClosed = true;
    closeSync(this.descriptor);
    return this.problem;
  }
}

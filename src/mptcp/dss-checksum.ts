import { fold, sum } from '../wire/checksum.ts';
import type { MptcpOptions } from '../wire/mptcp-options.ts';

/** Unfolded sum of the DSS pseudo-header (RFC 8684 §3.3.1): DSN, subflow sequence number, length, zeros. */
export function pseudoSum(high: number, low: number, subflowSequence: number, length: number): number {
  return (
    (high >>> 16) +
    (high & 0xffff) +
    (low >>> 16) +
    (low & 0xffff) +
    (subflowSequence >>> 16) +
    (subflowSequence & 0xffff) +
    length
  );
}

/** The DSS checksum field for `options`, given the folded sum of the payload. */
export function pseudoChecksum(options: MptcpOptions, payload: number): number {
  const total =
    pseudoSum(options.dataSequenceHigh, options.dataSequenceLow, options.subflowSequence, options.dataLength) + payload;
  return ~fold(total) & 0xffff;
}

/** Bytes of one incomplete mapping whose checksum is to be checked. */
export class Staging {
  readonly dataStart: number;
  readonly bytes: Uint8Array;
  missing: number;
  private readonly header: number;
  private readonly checksum: number;

  constructor(dataStart: number, length: number, header: number, checksum: number) {
    this.dataStart = dataStart;
    this.bytes = new Uint8Array(length);
    this.missing = length;
    this.header = header;
    this.checksum = checksum;
  }

  get isRight(): boolean {
    return fold(sum(this.bytes, 0, this.bytes.length, this.header + this.checksum)) === 0xffff;
  }
}

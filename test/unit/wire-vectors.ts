import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CaptureReader, Frame } from '../../src/trace/capture.ts';
import { locateIp } from '../../src/trace/link-layer.ts';

/**
 * The captures and known answers that lie beside the repository. Elsewhere (a fresh clone) the tests that need them are
 * skipped and say so; in CI their absence is a failure.
 */

const folder = process.env.MPTCP_VECTORS ?? resolve(import.meta.dirname, '../../../shared/vectors');

/** For node:test: false when the vectors are there, otherwise why the test does not run. */
export const vectorsMissing: false | string =
  existsSync(join(folder, 'crypto.json')) || process.env.CI !== undefined
    ? false
    : `no captures at ${folder}: set MPTCP_VECTORS`;

if (vectorsMissing === false && !existsSync(join(folder, 'crypto.json'))) {
  throw new Error(`CI runs with the captures, and there are none at ${folder}: set MPTCP_VECTORS`);
}

export function captureNames(): string[] {
  return readdirSync(join(folder, 'pcap'))
    .filter((name) => name.endsWith('.pcap'))
    .map((name) => name.slice(0, -'.pcap'.length));
}

export interface CapturedPacket {
  readonly seconds: number;
  readonly nanoseconds: number;
  /** The link-layer header. */
  readonly link: Uint8Array;
  /** The IP packet. */
  readonly ip: Uint8Array;
}

export function capture(name: string): CapturedPacket[] {
  const bytes = new Uint8Array(readFileSync(join(folder, 'pcap', `${name}.pcap`)));
  const reader = new CaptureReader(bytes);
  const frame = new Frame();
  const out: CapturedPacket[] = [];
  while (reader.next(frame)) {
    const at = locateIp(bytes, frame.start, frame.end, frame.linkType);
    out.push({
      seconds: frame.seconds,
      nanoseconds: frame.nanoseconds,
      link: bytes.slice(frame.start, at),
      ip: bytes.slice(at, frame.end),
    });
  }
  if (reader.problem !== undefined) throw new Error(`${name}: ${reader.problem.message}`);
  return out;
}

export function captureBytes(name: string): Uint8Array {
  return new Uint8Array(readFileSync(join(folder, 'pcap', `${name}.pcap`)));
}

/** The lines of another decoder, one a packet. */
export function dissection(name: string): string[] {
  const text = readFileSync(join(folder, 'pcap', `${name}.tshark.txt`), 'utf8');
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
}

export function cryptoVectors(): CryptoVectors {
  return JSON.parse(readFileSync(join(folder, 'crypto.json'), 'utf8')) as CryptoVectors;
}

interface KeyVector {
  readonly key: string;
  readonly token: string;
  readonly idsn: string;
}

interface JoinVector {
  readonly key_a: string;
  readonly key_b: string;
  readonly nonce_a: string;
  readonly nonce_b: string;
  readonly token_in_syn: string;
  readonly synack_hmac64: string;
  readonly ack_hmac160: string;
}

export interface CryptoVectors {
  readonly v1_keys: readonly KeyVector[];
  readonly v0_keys: readonly KeyVector[];
  readonly v1_joins: readonly JoinVector[];
  readonly v0_joins: readonly JoinVector[];
  readonly v1_add_addr: readonly {
    readonly announcer_key: string;
    readonly peer_key: string;
    readonly addr_id: number;
    readonly addr: string;
    readonly port: number | null;
    readonly hmac64: string;
  }[];
  readonly dss_checksum: readonly {
    readonly dsn: string;
    readonly ssn: number;
    readonly dll: number;
    readonly data: string;
    readonly checksum: string;
  }[];
  readonly kernel_kunit: {
    readonly vectors: readonly {
      readonly key_ascii: string;
      readonly msg_ascii: string;
      readonly hmac_sha256: string;
    }[];
  };
  readonly from_pcaps: readonly { readonly pcap: string; readonly items: readonly CapturedItem[] }[];
}

/** One value re-derived from a capture; the fields depend on `kind`. */
export type CapturedItem = { readonly kind: string; readonly frame: number } & Readonly<Record<string, unknown>>;

import { Drop } from '../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../src/wire/ip.ts';
import { Dss, Mptcp } from '../src/wire/mptcp-options.ts';
import { ChecksumState, Packet } from '../src/wire/packet.ts';
import { Flag, Option, Segment } from '../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../src/wire/tcp.ts';

/**
 * Nanoseconds (the best of five samples) and bytes of heap per segment written and per segment read: a data segment of an MPTCP connection, its
 * checksum left to the link.
 */

const segment = new Segment();
segment.source3 = 0x0a00_0001;
segment.destination3 = 0x0a00_0002;
segment.sourcePort = 40_000;
segment.destinationPort = 5000;
segment.flags = Flag.Ack | Flag.Psh;
segment.window = 1000;
segment.options = Option.Timestamps;
segment.mptcp.present = Mptcp.Dss;
segment.mptcp.dssFlags = Dss.Ack | Dss.Ack64 | Dss.Map | Dss.Map64;
segment.mptcp.dataLength = 1400;
const packet = new Packet(2048, 16);
const ip = new IpHeader();
const read = new Segment();
let dropped = 0;

function write(round: number): void {
  segment.sequence = (0xfff0_0000 + round) >>> 0;
  segment.mptcp.dataSequenceLow = (0xfff0_0000 + round) >>> 0;
  if (headerLength(segment) !== 80) dropped++;
  encodeSegment(segment, packet, 1400, true);
}

function readBack(): void {
  packet.checksum = ChecksumState.Verified;
  if (decodeIp(packet, ip) !== Drop.None || decodeTcp(packet, ip, read) !== Drop.None) dropped++;
}

function measure(name: string, run: (round: number) => void): void {
  const rounds = 1_000_000;
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) run(round);
  const before = process.memoryUsage().heapUsed;
  for (let sample = 0; sample < 5; sample++) {
    const start = process.hrtime.bigint();
    for (let round = 0; round < rounds; round++) run(round);
    times.push(Number(process.hrtime.bigint() - start) / rounds);
  }
  const bytes = (process.memoryUsage().heapUsed - before) / (5 * rounds);
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(24)} ${times[0]!.toFixed(1).padStart(8)} ns ${bytes.toFixed(3).padStart(8)} B of heap`);
}

measure('encode', write);
measure('decode', readBack);
measure('encode and decode', (round) => {
  write(round);
  readBack();
});
if (dropped > 0) throw new Error(`${dropped} segments went wrong`);

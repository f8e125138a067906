import { packetBytes, sumPacket, sumView } from '../src/wire/checksum.ts';
import { Packet } from '../src/wire/packet.ts';

/** Nanoseconds per Internet checksum, the best of nine samples, in WebAssembly memory and in ordinary memory. */

const inSlab = new Packet(65_536, 0, packetBytes(65_536));
const apart = new Packet(65_536, 0);
for (let at = 0; at < 65_536; at++) {
  inSlab.bytes[at] = (at * 167 + 13) & 255;
  apart.bytes[at] = inSlab.bytes[at]!;
}

let sink = 0;

function measure(name: string, length: number, run: () => number): void {
  const times: number[] = [];
  const rounds = Math.max(200, Math.floor(4_000_000 / (length + 200)));
  for (let sample = 0; sample < 9; sample++) {
    const start = process.hrtime.bigint();
    for (let round = 0; round < rounds; round++) sink += run();
    times.push(Number(process.hrtime.bigint() - start) / rounds);
  }
  times.sort((a, b) => a - b);
  console.log(`${name.padEnd(24)} ${String(length).padStart(6)} B ${times[0]!.toFixed(0).padStart(8)} ns`);
}

for (const length of [20, 60, 128, 1448, 9000, 65_000]) {
  measure('WebAssembly memory', length, () => sumPacket(inSlab, 14, 14 + length, 0));
  measure('ordinary memory', length, () => sumPacket(apart, 14, 14 + length, 0));
  measure('plain JavaScript', length, () => sumView(inSlab.view, 14, 14 + length, 0));
}
if (sink === 0) console.log('nothing was summed');

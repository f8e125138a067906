import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaptureReader, Frame } from '../../src/trace/capture.ts';
import { FlowTracker } from '../../src/trace/flows.ts';
import { locateIp } from '../../src/trace/link-layer.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIcmp, encodeIcmpError, IcmpMessage, mayDrawError } from '../../src/wire/icmp.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { buildPacket, describePacket, formatPacket, NotationProblem, parsePacket } from '../../src/wire/notation.ts';
import { optionsLength } from '../../src/wire/options.ts';
import { ChecksumState, Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';

/** Nothing that arrives makes the decoders throw, hang or look outside the packet. Set FUZZ_SEED to replay. */

const seed = Number(process.env.FUZZ_SEED ?? 0x6d70_7463);

class Dice {
  #state: number;

  constructor(start: number) {
    this.#state = start >>> 0 || 1;
  }

  /** xorshift32 */
  word(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return this.#state >>> 0;
  }

  below(limit: number): number {
    return this.word() % limit;
  }
}

const LINES = [
  '10.0.0.1:1 > 10.0.0.2:2 S 7:7(0) win 1 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 8,mpcapable v1 flags[flag_h] nokey>',
  '10.0.0.2:2 > 10.0.0.1:1 S. 7:7(0) ack 8 win 1 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 8,mpcapable v1 flags[flag_h] key[5]>',
  '10.0.0.1:1 > 10.0.0.2:2 . 8:9(1) ack 8 win 1 <mpcapable v1 flags[flag_a,flag_h] key[6,5] mpcdatalen 1 cksum 0x1234>',
  '10.0.0.1:1 > 10.0.0.2:2 S 7:7(0) win 1 <mp_join_syn backup=1 address_id=1 token=1 nonce=2>',
  '10.0.0.1:1 > 10.0.0.2:2 S. 7:7(0) ack 1 win 1 <mp_join_syn_ack address_id=1 sender_hmac=0x0102030405060708 nonce=2>',
  `10.0.0.1:1 > 10.0.0.2:2 . 7:7(0) ack 1 win 1 <mp_join_ack sender_hmac=0x${'0f'.repeat(20)}>`,
  '[2001:db8::1]:1 > [2001:db8::2]:2 P. 8:18(10) ack 8 win 1 <nop,nop,TS val 1 ecr 2,dss dack8=1 dsn8=2 ssn=3 dll=4 cksum=0x0005 fin>',
  '10.0.0.1:1 > 10.0.0.2:2 . 8:8(0) ack 8 win 1 <nop,nop,sack 1:2 3:4 5:6,add_address echo address_id=1 addr=10.0.0.9>',
  '10.0.0.1:1 > 10.0.0.2:2 . 8:8(0) ack 8 win 1 <add_address address_id=1 addr=fd00::9 port=80 hmac=0x0102030405060708,nop,nop>',
  '10.0.0.1:1 > 10.0.0.2:2 . 8:8(0) ack 8 win 1 <dss dack4=9,remove_address address_id=[1,2],nop,nop,nop,mp_prio backup=1,nop>',
  '10.0.0.1:1 > 10.0.0.2:2 R. 8:8(0) ack 8 win 1 <mp_fail dsn8=7,mp_fastclose key=8,mp_reset 3 transient>',
  '[2001:db8::1]:1 > [2001:db8::2]:2 [options 0x003c0001040000000006000104000000002b00,ttl 3] . 8:8(0) ack 8 win 1',
];

function packetOf(line: string): Uint8Array {
  const packet = parsePacket(line);
  assert.ok(!(packet instanceof NotationProblem), line);
  return buildPacket(packet, new Uint8Array(packet.payloadLength).fill(1));
}

/** ICMP errors about each packet, too. */
const PACKETS: readonly Uint8Array[] = LINES.flatMap((line) => {
  const bytes = packetOf(line);
  const packet = new Packet(bytes.length);
  packet.bytes.set(bytes);
  packet.end = bytes.length;
  const ip = new IpHeader();
  if (decodeIp(packet, ip) !== Drop.None) return [bytes];
  const error = new Packet(1500);
  encodeIcmpError(packet, ip, ip.family === 4 ? 3 : 2, ip.family === 4 ? 4 : 0, 1400, error);
  return [bytes, error.bytes.slice(error.start, error.end)];
});

/** Damages up to `most` places of `bytes[start, end)` and returns a new end. */
function damage(dice: Dice, bytes: Uint8Array, start: number, end: number, most: number): number {
  for (let count = dice.below(most + 1); count > 0; count--) {
    const at = start + dice.below(Math.max(1, end - start));
    const interesting = [0, 1, 2, 3, 4, 30, 0x45, 0x60, 0x7f, 0x80, 0xff];
    bytes[at] = dice.below(2) === 0 ? dice.below(256) : interesting[dice.below(interesting.length)]!;
  }
  return dice.below(8) === 0 ? start + dice.below(end - start + 1) : end;
}

test('A1.01 250 000 damaged and random packets: a drop or a segment, never an exception', () => {
  const dice = new Dice(seed);
  const packet = new Packet(2000, 10);
  const ip = new IpHeader();
  const segment = new Segment();
  const icmp = new IcmpMessage();
  const drops = new Map<number, number>();
  const count = (drop: number): void => {
    drops.set(drop, (drops.get(drop) ?? 0) + 1);
  };
  for (let run = 0; run < 250_000; run++) {
    const start = 10;
    let end: number;
    if (run % 4 === 0) {
      end = start + dice.below(120);
      for (let at = start; at < end; at++) packet.bytes[at] = dice.below(256);
      packet.bytes[start] = dice.below(2) === 0 ? 0x45 : 0x60;
    } else {
      const original = PACKETS[dice.below(PACKETS.length)]!;
      packet.bytes.set(original, start);
      end = damage(dice, packet.bytes, start, start + original.length, 6);
    }
    packet.start = start;
    packet.end = end;
    if (end - start >= 20 && dice.below(4) !== 0) repair(packet);
    packet.checksum = dice.below(8) === 0 ? ChecksumState.Unverified : ChecksumState.Verified;
    const drop = decodeIp(packet, ip);
    count(drop);
    if (drop !== Drop.None) continue;
    assert.ok(ip.payloadStart >= start && ip.payloadStart <= ip.payloadEnd && ip.payloadEnd <= end, `seed ${seed}`);
    count(100 + decodeIcmp(packet, ip, icmp));
    mayDrawError(packet, ip);
    const tcp = decodeTcp(packet, ip, segment);
    count(200 + tcp);
    if (tcp !== Drop.None) continue;
    assert.ok(segment.payloadStart <= segment.payloadEnd && segment.payloadEnd <= end, `seed ${seed}`);
    assert.ok(segment.sackCount <= 4 && (segment.mptcp.present & ~0xffff) === 0, `seed ${seed}`);
    assert.ok(segment.mptcp.removeCount <= 8 && segment.windowScale <= 14, `seed ${seed}`);
    assert.ok(optionsLength(segment) >= 0);
  }
  for (const wanted of [Drop.None, Drop.Truncated, Drop.BadIpHeader, Drop.BadIpChecksum, Drop.Fragment]) {
    assert.ok((drops.get(wanted) ?? 0) > 100, `seed ${seed}: the damage reaches ${wanted}`);
  }
  assert.ok((drops.get(Drop.BadExtensionHeader) ?? 0) > 10);
  assert.ok((drops.get(100) ?? 0) > 1000 && (drops.get(100 + Drop.BadIcmp) ?? 0) > 100);
  assert.ok((drops.get(200) ?? 0) > 10_000 && (drops.get(200 + Drop.BadTcpHeader) ?? 0) > 100);
});

/** Makes the IPv4 header checksum right, so that damage gets past it. */
function repair(packet: Packet): void {
  const view = packet.view;
  if (view.getUint8(packet.start) >> 4 !== 4) return;
  const length = (view.getUint8(packet.start) & 15) << 2;
  if (length < 20 || length > packet.end - packet.start) return;
  view.setUint16(packet.start + 10, 0);
  let sum = 0;
  for (let at = 0; at < length; at += 2) sum += view.getUint16(packet.start + at);
  while (sum > 0xffff) sum = (sum >> 16) + (sum & 0xffff);
  view.setUint16(packet.start + 10, ~sum & 0xffff);
}

test('20 000 damaged packets: what can be described is printed, parsed and rebuilt byte for byte', () => {
  const dice = new Dice(seed ^ 1);
  let described = 0;
  for (let run = 0; run < 20_000; run++) {
    const bytes = PACKETS[dice.below(PACKETS.length)]!.slice();
    const end = damage(dice, bytes, 0, bytes.length, 5);
    const packet = describePacket(bytes.subarray(0, end));
    if (typeof packet === 'number') continue;
    described++;
    const line = formatPacket(packet);
    const parsed = parsePacket(line);
    assert.ok(!(parsed instanceof NotationProblem), `seed ${seed}: ${line}`);
    const built = buildPacket(parsed, payload(bytes, end, packet.payloadLength));
    const length = built.length;
    assert.deepEqual(built, bytes.subarray(0, length), `seed ${seed}: ${line}`);
  }
  assert.ok(described > 5000, `${described} of them`);
});

/** The payload of an IP packet that may have padding behind it. */
function payload(bytes: Uint8Array, end: number, length: number): Uint8Array {
  const total = bytes[0]! >> 4 === 4 ? (bytes[2]! << 8) | bytes[3]! : 40 + ((bytes[4]! << 8) | bytes[5]!);
  assert.ok(total <= end);
  return bytes.subarray(total - length, total);
}

test('40 000 damaged lines: a problem or a packet that can be built', () => {
  const dice = new Dice(seed ^ 2);
  const letters = ' ,.:<>[]()=_0123456789abcdefxnopSFRPEWA\n\u2028é';
  let understood = 0;
  for (let run = 0; run < 40_000; run++) {
    let line = LINES[dice.below(LINES.length)]!;
    for (let count = dice.below(4); count > 0; count--) {
      const at = dice.below(line.length + 1);
      const middle = dice.below(2) === 0 ? letters[dice.below(letters.length)]! : '';
      line = line.slice(0, at) + middle + line.slice(at + dice.below(3));
    }
    const parsed = parsePacket(line);
    if (parsed instanceof NotationProblem) continue;
    understood++;
    const built = buildPacket(parsed, new Uint8Array(parsed.payloadLength));
    assert.ok(built.length >= 40, `seed ${seed}: ${line}`);
  }
  assert.ok(understood > 10_000, `${understood} of them`);
});

test('30 000 damaged captures: frames inside the file, then an end or a problem', () => {
  const dice = new Dice(seed ^ 3);
  const frame = new Frame();
  const ip = new IpHeader();
  const segment = new Segment();
  const problems = new Map<string, number>();
  let frames = 0;
  for (let run = 0; run < 30_000; run++) {
    const file = (run % 2 === 0 ? PCAP : PCAPNG).slice();
    const bytes = file.subarray(0, damage(dice, file, 0, file.length, 8));
    const reader = new CaptureReader(bytes);
    const flows = new FlowTracker();
    const packet = new Packet(0, 0, bytes);
    packet.checksum = ChecksumState.Verified;
    for (let count = 0; reader.next(frame); count++) {
      assert.ok(count < 1000, `seed ${seed}: it ends`);
      assert.ok(frame.start >= 0 && frame.start <= frame.end && frame.end <= bytes.length, `seed ${seed}`);
      frames++;
      packet.start = locateIp(bytes, frame.start, frame.end, frame.linkType);
      packet.end = frame.end;
      if (packet.start < 0) continue;
      if (decodeIp(packet, ip) === Drop.None && decodeTcp(packet, ip, segment) === Drop.None) flows.onSegment(segment);
    }
    const code = reader.problem?.code ?? 'none';
    problems.set(code, (problems.get(code) ?? 0) + 1);
  }
  assert.ok(frames > 30_000);
  for (const code of ['none', 'not-a-capture', 'truncated', 'malformed', 'unsupported-version']) {
    assert.ok((problems.get(code) ?? 0) > 10, `seed ${seed}: the damage reaches ${code}`);
  }
});

/** Two small captures of the packets above. */
const PCAP = ((): Uint8Array => {
  const out = Buffer.alloc(24 + 3 * 16);
  out.writeUInt32LE(0xa1b2c3d4, 0);
  out.writeUInt16LE(2, 4);
  out.writeUInt32LE(101, 20);
  const records = PACKETS.slice(0, 4).map((bytes) => {
    const head = Buffer.alloc(16);
    head.writeUInt32LE(bytes.length, 8);
    head.writeUInt32LE(bytes.length, 12);
    return Buffer.concat([head, bytes]);
  });
  return new Uint8Array(Buffer.concat([out.subarray(0, 24), ...records]));
})();

const PCAPNG = ((): Uint8Array => {
  const block = (type: number, content: Buffer): Buffer => {
    const padded = Buffer.concat([content, Buffer.alloc((4 - (content.length % 4)) % 4)]);
    const out = Buffer.alloc(padded.length + 12);
    out.writeUInt32LE(type, 0);
    out.writeUInt32LE(out.length, 4);
    padded.copy(out, 8);
    out.writeUInt32LE(out.length, out.length - 4);
    return out;
  };
  const section = Buffer.from('4d3c2b1a01000000ffffffffffffffff', 'hex');
  const face = Buffer.from('650000000000000002000400776c616e0900010009000000', 'hex');
  const packets = PACKETS.slice(0, 4).map((bytes) => {
    const head = Buffer.alloc(20);
    head.writeUInt32LE(bytes.length, 12);
    head.writeUInt32LE(bytes.length, 16);
    const padding = Buffer.alloc((4 - (bytes.length % 4)) % 4);
    return block(6, Buffer.concat([head, bytes, padding, Buffer.from('010002006f6b0000', 'hex')]));
  });
  return new Uint8Array(Buffer.concat([block(0x0a0d0d0a, section), block(1, face), ...packets]));
})();

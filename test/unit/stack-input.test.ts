import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/sim/random.ts';
import { Sockets } from '../../src/sockets/sockets.ts';
import { Stack } from '../../src/stack/stack.ts';
import { CloseReason } from '../../src/tcp/seams.ts';
import { Address } from '../../src/wire/address.ts';
import { Drop } from '../../src/wire/drop.ts';
import { encodeIcmpError, Icmp4, Icmp6 } from '../../src/wire/icmp.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Mptcp, ResetReason } from '../../src/wire/mptcp-options.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Flag, Option, Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';

const US = { 4: Address.of('10.0.1.1'), 6: Address.of('fd00::1') };
const THEM = { 4: Address.of('10.0.1.2'), 6: Address.of('fd00::2') };

/** One host, to which packets are handed by hand. */
class Bench {
  readonly stack = new Stack({ random: new SeededRandom(7) });
  readonly sockets = new Sockets(this.stack);
  now = 0;

  constructor() {
    this.stack.addInterface({
      name: 'eth0',
      mtu: 1500,
      addresses: [
        { address: US[4], prefixLength: 24 },
        { address: US[6], prefixLength: 64 },
      ],
    });
  }

  deliver(packet: Packet): void {
    this.stack.onPacket(this.now, 0, packet);
  }

  send(change: Partial<Segment> & { length?: number }, options?: (segment: Segment) => void): void {
    this.deliver(packetOf(change, options));
  }

  /** Every TCP segment that the host has to send now. */
  take(): Segment[] {
    const segments: Segment[] = [];
    const packet = new Packet(65_576);
    while (this.stack.pollTransmit(this.now, packet) >= 0) {
      const segment = new Segment();
      const header = new IpHeader();
      assert.equal(decodeIp(packet, header), Drop.None);
      assert.equal(decodeTcp(packet, header, segment), Drop.None);
      segments.push(segment);
    }
    return segments;
  }

  /** What comes back, in short. */
  answers(): string[] {
    return this.take().map(brief);
  }
}

function packetOf(change: Partial<Segment> & { length?: number }, options?: (segment: Segment) => void): Packet {
  const { length = 0, ...fields } = change;
  const segment = new Segment();
  const family = fields.family ?? 4;
  const [from, to] = [THEM[family], US[family]];
  Object.assign(segment, {
    family,
    source0: from.w0,
    source1: from.w1,
    source2: from.w2,
    source3: from.w3,
    destination0: to.w0,
    destination1: to.w1,
    destination2: to.w2,
    destination3: to.w3,
    sourcePort: 5000,
    destinationPort: 80,
    window: 65_000,
    ...fields,
  });
  options?.(segment);
  const packet = new Packet(4096);
  packet.bytes.fill(0x55, packet.start + headerLength(segment), packet.start + headerLength(segment) + length);
  encodeSegment(segment, packet, length, false);
  return packet;
}

function brief(segment: Segment): string {
  const flags = Object.entries(Flag)
    .filter(([, bit]) => (segment.flags & bit) !== 0)
    .map(([name]) => name)
    .join('+');
  return `${flags} seq ${segment.sequence} ack ${segment.acknowledgment} to ${segment.destinationPort}`;
}

for (const family of [4, 6] as const) {
  test(`C06 IPv${family}: what belongs to no connection is answered with a RST that its sender accepts`, () => {
    const bench = new Bench();
    const sequence = 1000;
    const acknowledgment = 7777;
    bench.send({ family, flags: Flag.Ack, sequence, acknowledgment });
    assert.deepEqual(bench.answers(), ['Rst seq 7777 ack 0 to 5000']);
    bench.send({ family, flags: Flag.Syn | Flag.Ack, sequence, acknowledgment });
    assert.deepEqual(bench.answers(), ['Rst seq 7777 ack 0 to 5000']);
    bench.send({ family, flags: Flag.Syn, sequence });
    assert.deepEqual(bench.answers(), ['Rst+Ack seq 0 ack 1001 to 5000']);
    bench.send({ family, flags: Flag.Fin, sequence, length: 10 });
    assert.deepEqual(bench.answers(), ['Rst+Ack seq 0 ack 1011 to 5000'], 'data and FIN count');
    bench.send({ family, flags: 0, sequence: 0xffffffff, length: 2 });
    assert.deepEqual(bench.answers(), ['Rst+Ack seq 0 ack 1 to 5000'], 'across the wrap');
    assert.equal(bench.stack.tcpCounters.OutRsts, 5);
    bench.send({ family, flags: Flag.Rst, sequence });
    bench.send({ family, flags: Flag.Rst | Flag.Ack, sequence, acknowledgment });
    assert.deepEqual(bench.answers(), [], 'a RST never answers a RST');
  });
}

test('a flood of strangers has 64 answers waiting at most', () => {
  const bench = new Bench();
  for (let port = 1; port <= 1000; port++) bench.send({ flags: Flag.Ack, sourcePort: port });
  assert.equal(bench.take().length, 64);
  assert.equal(bench.stack.ipCounters.ReplyQueueFull, 936);
});

test('A4.03, H1.12 a join with a token that nobody has is answered with RST and reason 1', () => {
  const bench = new Bench();
  bench.sockets.bind(bench.sockets.socket(2, 1, 262), undefined, 80);
  bench.sockets.listen(0, 8);
  bench.send({ flags: Flag.Syn, sequence: 1000 }, (segment) => {
    segment.mptcp.present = Mptcp.JoinSyn;
    segment.mptcp.joinToken = 0x12345678;
  });
  const [answer, ...others] = bench.take();
  assert.equal(others.length, 0);
  assert.equal(brief(answer!), 'Rst+Ack seq 0 ack 1001 to 5000');
  assert.equal(answer!.mptcp.present, Mptcp.Reset);
  assert.equal(answer!.mptcp.resetReason, ResetReason.MptcpSpecific);
  assert.equal(bench.stack.counters.MPJoinNoTokenFound, 1);
  assert.equal(bench.stack.endpointCount, 0);
});

test('C43 a flood of SYNs: as many handshakes as the backlog lets, and none is left when their time is over', () => {
  const bench = new Bench();
  const { stack, sockets } = bench;
  const listener = sockets.socket(2, 1, 262);
  sockets.bind(listener, undefined, 80);
  sockets.listen(listener, 16);
  const offer = (segment: Segment): void => {
    segment.mptcp.present = Mptcp.CapableSyn;
    segment.mptcp.version = 1;
    segment.mptcp.capableFlags = 1;
  };
  for (let port = 1; port <= 1000; port++) bench.send({ flags: Flag.Syn, sourcePort: port, sequence: port }, offer);
  const answers = bench.take();
  assert.equal(answers.length, 16);
  for (const answer of answers) assert.equal(answer.flags & 0x17, Flag.Syn | Flag.Ack);
  assert.equal(stack.endpointCount, 16);
  assert.equal(stack.tokenCount, 16);
  assert.equal(stack.tcpCounters.TCPReqQFullDrop, 984);
  assert.equal(stack.tcpCounters.ListenDrops, 984);
  while (stack.pollTimeout() < 400_000) {
    bench.now = stack.pollTimeout();
    stack.onTimeout(bench.now);
    bench.take();
  }
  assert.equal(stack.endpointCount, 0);
  assert.equal(stack.tokenCount, 0);
  assert.equal(stack.pollTimeout(), Number.POSITIVE_INFINITY);
  bench.send({ flags: Flag.Syn, sourcePort: 2000 }, offer);
  assert.equal(bench.take().length, 1, 'and then it serves again');
});

/** A client's handshake with a listener on port 80; true when the server took it. */
function handshake(bench: Bench, port: number): void {
  bench.send({ flags: Flag.Syn, sourcePort: port, sequence: 100 });
  const [answer] = bench.take();
  if (answer === undefined) return;
  bench.send({ flags: Flag.Ack, sourcePort: port, sequence: 101, acknowledgment: answer.sequence + 1 });
  bench.take();
}

test('C43 a full accept queue takes no more connections until one is accepted', () => {
  const bench = new Bench();
  const { stack, sockets } = bench;
  const listener = sockets.socket(2, 1, 6);
  sockets.bind(listener, undefined, 80);
  sockets.listen(listener, 2);
  for (let port = 1; port <= 6; port++) handshake(bench, port);
  assert.equal(stack.tcpCounters.ListenOverflows, 3, 'one more than the backlog has room, as in Linux');
  const accepted = [0, 0, 0, 0].map(() => sockets.accept(listener));
  assert.deepEqual(
    accepted.map((descriptor) => descriptor >= 0),
    [true, true, true, false],
  );
  handshake(bench, 7);
  assert.ok(sockets.accept(listener) >= 0);
});

function icmpAbout(segment: Segment, type: number, code: number): Packet {
  const quoted = new Packet(4096);
  encodeSegment(segment, quoted, 0, false);
  const header = new IpHeader();
  assert.equal(decodeIp(quoted, header), Drop.None);
  const out = new Packet(4096);
  encodeIcmpError(quoted, header, type, code, 0, out);
  return out;
}

for (const family of [4, 6] as const) {
  const connect = (bench: Bench): Segment => {
    const descriptor = bench.sockets.socket(family === 4 ? 2 : 10, 1, 6);
    bench.sockets.connect(descriptor, THEM[family], 80, 0);
    const [syn] = bench.take();
    return syn!;
  };
  const [hard, soft] =
    family === 4
      ? [
          [Icmp4.Unreachable, 3],
          [Icmp4.Unreachable, 1],
        ]
      : [
          [Icmp6.Unreachable, 4],
          [Icmp6.Unreachable, 3],
        ];

  test(`C45 IPv${family}: an ICMP error about a SYN ends the attempt at once, refused or unreachable`, () => {
    for (const [message, reason, errno] of [
      [hard, CloseReason.Refused, 111],
      [soft, CloseReason.Unreachable, 113],
    ] as const) {
      const bench = new Bench();
      const syn = connect(bench);
      bench.deliver(icmpAbout(syn, message![0]!, message![1]!));
      bench.take();
      assert.equal(bench.sockets.closeReason(0), reason);
      assert.equal(bench.sockets.error(0), errno);
      assert.equal(bench.stack.endpointCount, 0);
    }
  });

  test(`C45 IPv${family}: an ICMP error about another sequence number, or another connection, is not believed`, () => {
    const bench = new Bench();
    const syn = connect(bench);
    const guess = Object.assign(new Segment(), syn, { sequence: (syn.sequence + 1_000_000) >>> 0 });
    bench.deliver(icmpAbout(guess, hard![0]!, hard![1]!));
    const stranger = Object.assign(new Segment(), syn, { sourcePort: syn.sourcePort ^ 1 });
    bench.deliver(icmpAbout(stranger, hard![0]!, hard![1]!));
    bench.take();
    assert.equal(bench.sockets.closeReason(0), -1);
    assert.equal(bench.stack.tcpCounters.OutOfWindowIcmps, 2);
  });
}

test('C45 established: a hard ICMP error is only noted', () => {
  const bench = new Bench();
  const { sockets } = bench;
  const descriptor = sockets.socket(2, 1, 6);
  sockets.connect(descriptor, THEM[4], 80, 0);
  const [syn] = bench.take();
  bench.send({
    sourcePort: 80,
    destinationPort: syn!.sourcePort,
    flags: Flag.Syn | Flag.Ack,
    sequence: 500,
    acknowledgment: syn!.sequence + 1,
  });
  bench.take();
  sockets.send(descriptor, new Uint8Array(100), 0, 100);
  const [data] = bench.take();
  bench.deliver(icmpAbout(data!, Icmp4.Unreachable, 3));
  bench.take();
  assert.equal(sockets.closeReason(descriptor), -1);
  assert.equal(sockets.recv(descriptor, new Uint8Array(1), 0, 1), -11);
});

test('C52 a segment with TCP-AO is dropped and counted, not answered', () => {
  const bench = new Bench();
  const packet = packetOf({ flags: Flag.Syn }, (segment) => {
    segment.options = Option.MaximumSegmentSize;
    segment.mss = 1460;
  });
  // MSS (kind 2, length 4) becomes TCP-AO (kind 29, length 4); the checksum follows.
  const at = packet.start + 40;
  const before = packet.view.getUint16(at);
  packet.view.setUint16(at, 0x1d04);
  const sum = packet.view.getUint16(packet.start + 36);
  let changed = (~sum & 0xffff) + (~before & 0xffff) + 0x1d04;
  changed = (changed & 0xffff) + (changed >>> 16);
  changed = (changed & 0xffff) + (changed >>> 16);
  packet.view.setUint16(packet.start + 36, ~changed & 0xffff);
  bench.deliver(packet);
  assert.deepEqual(bench.answers(), []);
  assert.equal(bench.stack.ipCounters.drops[Drop.Authentication], 1);
});

test('packets for another host, from a link that is down or with a wrong checksum are dropped by name', () => {
  const bench = new Bench();
  const { stack } = bench;
  bench.send({ flags: Flag.Ack, destination3: Address.of('10.0.1.99').w3 });
  assert.equal(stack.ipCounters.drops[Drop.NotForUs], 1);
  const bad = packetOf({ flags: Flag.Ack });
  bad.bytes[bad.start + 24]! ^= 1;
  bench.deliver(bad);
  assert.equal(stack.ipCounters.drops[Drop.BadTcpChecksum], 1);
  assert.equal(stack.tcpCounters.InCsumErrors, 1);
  stack.setInterfaceUp(0, 0, false);
  bench.send({ flags: Flag.Ack });
  assert.equal(stack.ipCounters.drops[Drop.InterfaceDown], 1);
  assert.deepEqual(bench.answers(), []);
});

test('a SYN that nobody answers is given up with the reason that it timed out', () => {
  const bench = new Bench();
  const { stack, sockets } = bench;
  sockets.connect(sockets.socket(2, 1, 262), THEM[4], 80, 0);
  let syns = bench.take().length;
  while (stack.pollTimeout() < 1e6) {
    bench.now = stack.pollTimeout();
    stack.onTimeout(bench.now);
    syns += bench.take().length;
  }
  assert.equal(syns, 7, 'the first and six more');
  assert.equal(sockets.closeReason(0), CloseReason.TimedOut);
  assert.equal(stack.endpointCount, 0);
  assert.equal(stack.tokenCount, 0);
});

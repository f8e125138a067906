import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Address } from '../../src/wire/address.ts';
import { Drop } from '../../src/wire/drop.ts';
import {
  buildPacket,
  describePacket,
  emptyPacket,
  formatPacket,
  NotationProblem,
  parsePacket,
  type TcpPacket,
} from '../../src/wire/notation.ts';
import { Flag } from '../../src/wire/segment.ts';

function parsed(line: string): TcpPacket {
  const packet = parsePacket(line);
  assert.ok(!(packet instanceof NotationProblem), `${line}: ${packet instanceof NotationProblem && packet.message}`);
  return packet;
}

/** Line to packet to bytes to packet to line. */
function roundTrip(line: string): Uint8Array {
  const packet = parsed(line);
  const bytes = buildPacket(packet, new Uint8Array(packet.payloadLength).fill(7));
  const described = describePacket(bytes);
  assert.ok(typeof described !== 'number');
  assert.equal(formatPacket(described), line);
  return bytes;
}

test('a SYN in words', () => {
  const packet = parsed(
    'S. 0:0(0) ack 1 win 65535 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 8,mpcapable v1 flags[flag_h] key[0x0102030405060708]>',
  );
  assert.equal(packet.flags, Flag.Syn | Flag.Ack);
  assert.equal(packet.acknowledgment, 1);
  assert.equal(packet.window, 65_535);
  assert.equal(
    packet.options.map((option) => Buffer.from(option).toString('hex')).join(' '),
    '020405b4 0402 080a0000000100000000 01 030308 1e0c01010102030405060708',
  );
});

for (const line of [
  '10.0.0.1:1 > 10.0.0.2:65535 S 4294967295:4294967295(0) win 0',
  '10.0.0.1:1 > 10.0.0.2:2 - 4294967295:9(10) win 0',
  '10.0.0.1:1 > 10.0.0.2:2 FSRP.UEWA 1:1(0) ack 0 win 1 urg 65535 res 7 sum 0xbeef',
  '10.0.0.1:1 > 10.0.0.2:2 R 1:1(0) rawack 77 win 1',
  '10.0.0.1:1 > 10.0.0.2:2 [ttl 1,tos 0xff,id 65535,nodf,reserved,options 0x01010100,sum 0xdead] . 1:4(3) ack 1 win 1',
  '[2001:db8::1]:1 > [::ffff:10.0.0.2]:2 [ttl 255,tos 0x3,flow 0xfffff] P. 1:4(3) ack 1 win 1 <nop,nop,sack 1:2 3:4>',
  '[2001:db8::1]:1 > [fe80::2]:2 [options 0x000600010400000000] . 1:4(3) ack 1 win 1',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <opt 2 0x010203,opt 253 0x,opt 3 0x0f,eol,eol>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <nop,raw 0x080a0102030405>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <eol,eol,eol,eol>',
  '10.0.0.1:1 > 10.0.0.2:2 S 1:1(0) win 1 <FO,nop,nop,FO 0x0102030405060708,nop,nop>',
  '10.0.0.1:1 > 10.0.0.2:2 S 1:1(0) win 1 <mpcapable v1 flags[flag_a,flag_c,flag_h] nokey>',
  '10.0.0.1:1 > 10.0.0.2:2 S 1:1(0) win 1 <mpcapable v15 flags[] nokey>',
  '10.0.0.1:1 > 10.0.0.2:2 S 1:1(0) win 1 <opt 30 0x00019e4196e4ad94c7ba>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <opt 30 0x20e1f0045f8a>',
  '10.0.0.1:1 > 10.0.0.2:2 S 1:1(0) win 1 <mp_join_syn backup=1 address_id=255 token=0x00000001 nonce=0xffffffff>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <dss>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <dss dsn4=7 ssn=1 dll=0 nocs,nop,nop>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <dss dack8=0xffffffffffffffff dsn8=9007199254740991 ssn=1 dll=9 cksum=0x0001 fin>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <add_address echo address_id=3 addr=fd00::1 port=80,nop,nop>',
  '10.0.0.1:1 > 10.0.0.2:2 . 1:1(0) ack 1 win 1 <remove_address address_id=[1,2,3],nop,nop,mp_prio backup=0,nop>',
  '10.0.0.1:1 > 10.0.0.2:2 R. 1:1(0) ack 1 win 1 <mp_fail dsn8=5,mp_reset 6 transient>',
]) {
  test(`there and back: ${line}`, () => {
    roundTrip(line);
  });
}

test('what a line leaves out comes from the defaults', () => {
  const defaults = { ...emptyPacket(), source: Address.of('10.0.0.1'), sourcePort: 5, window: 17, hopLimit: 3 };
  const packet = parsePacket('. 1:1(0) ack 9', defaults);
  assert.ok(!(packet instanceof NotationProblem));
  assert.equal(packet.source.toString(), '10.0.0.1');
  assert.equal(packet.sourcePort, 5);
  assert.equal(packet.window, 17);
  assert.equal(packet.hopLimit, 3);
});

test('options that do not fill a word are filled with ends', () => {
  const bytes = buildPacket(parsed('10.0.0.1:1 > 10.0.0.2:2 S 0:0(0) win 0 <sackOK>'), new Uint8Array(0));
  assert.equal(Buffer.from(bytes.subarray(40)).toString('hex'), '04020000');
});

test('packetdrill may leave out or add what means the same', () => {
  const options = (text: string): readonly Uint8Array[] => parsed(`. 1:1(0) ack 1 win 1 <${text}>`).options;
  assert.deepEqual(
    options('mp_join_syn address_id=1 backup=0 token=1 nonce=0x2'),
    options('mp_join_syn nonce=2 token=0x1 address_id=1'),
  );
  assert.deepEqual(options('dss dsn4=1 ssn=1 dll=1'), options('dss  dsn4=1 ssn=1 dll=1 nocs'));
  assert.deepEqual(options('nop, nop, TS val 1 ecr 2'), options('nop,nop,TS val 1 ecr 2'));
});

for (const [line, message] of [
  ['', /FLAGS/],
  ['S 0:1(0) win 1', /disagree/],
  ['S 0:4294967296(0) win 1', /disagree/],
  ['X 0:0(0) win 1', /FLAGS/],
  ['. 0:0(0) win 65536', /win 65536/],
  ['. 0:0(0) foo 1', /foo/],
  ['. 0:0(0) win 1 <mss>', /option/],
  ['. 0:0(0) win 1 <mss 70000>', /option/],
  ['. 0:0(0) win 1 <sack 1>', /option/],
  ['. 0:0(0) win 1 <dss dack4=1 dack4=2>', /option/],
  ['. 0:0(0) win 1 <dss dack4=1 colour=2>', /option/],
  ['. 0:0(0) win 1 <mpcapable v1 flags[flag_z] nokey>', /option/],
  ['. 0:0(0) win 1 <mpcapable v1 flags[flag_h] key[1,2,3]>', /option/],
  ['. 0:0(0) win 1 <remove_address address_id=[256]>', /option/],
  ['. 0:0(0) win 1 <mp_join_ack sender_hmac=0x12>', /option/],
  ['. 0:0(0) win 1 <constructor>', /option/],
  ['. 0:0(0) win 1 <TS val 1 ecr 2,TS val 1 ecr 2,TS val 1 ecr 2,TS val 1 ecr 2,nop>', /41 bytes/],
  ['10.0.0.1:1 > [::1]:2 . 0:0(0) win 1', /addresses/],
  ['10.0.0.256:1 > 10.0.0.1:2 . 0:0(0) win 1', /addresses/],
  ['10.0.0.1:65536 > 10.0.0.1:2 . 0:0(0) win 1', /port/],
  ['10.0.0.1:1 > 10.0.0.1:2 [ttl 256] . 0:0(0) win 1', /ttl 256/],
  ['10.0.0.1:1 > 10.0.0.1:2 [options 0x01] . 0:0(0) win 1', /options/],
  [`. 0:0(0) win 1 <${'nop,'.repeat(3000)}nop>`, /characters/],
] as const) {
  test(`not understood: ${line.slice(0, 70)}`, () => {
    const problem = parsePacket(line);
    assert.ok(problem instanceof NotationProblem);
    assert.match(problem.message, message);
  });
}

test('a packet that is no TCP has a named drop; a wrong checksum survives', () => {
  const bytes = buildPacket(parsed('10.0.0.1:1 > 10.0.0.2:2 . 1:4(3) ack 1 win 1'), Uint8Array.of(1, 2, 3));
  assert.equal(describePacket(bytes.subarray(0, 30)), Drop.Truncated);
  const udp = bytes.slice();
  udp[9] = 17;
  assert.equal(describePacket(udp), Drop.UnknownProtocol, 'although its header checksum is wrong now');
  const wrong = bytes.slice();
  wrong[39]! ^= 0xff;
  wrong[8] = 9;
  const described = describePacket(wrong);
  assert.ok(typeof described !== 'number');
  assert.ok(described.checksum >= 0 && described.ipChecksum >= 0);
  assert.deepEqual(buildPacket(described, Uint8Array.of(1, 2, 3)), wrong);
});

test('both zeros of one’s complement survive in a checksum', () => {
  // With this identification-free packet, choose the payload so that the right checksum is 0x0000.
  const packet = parsed('10.0.0.1:1 > 10.0.0.2:2 . 1:3(2) ack 1 win 1');
  const bytes = buildPacket(packet, new Uint8Array(2));
  const sum = (bytes[36]! << 8) | bytes[37]!;
  const zero = buildPacket(packet, Uint8Array.of(sum >> 8, sum & 255));
  assert.equal((zero[36]! << 8) | zero[37]!, 0);
  for (const field of [0, 0xff]) {
    zero[36] = field;
    zero[37] = field;
    const described = describePacket(zero);
    assert.ok(typeof described !== 'number');
    assert.equal(described.checksum, field === 0 ? -1 : 0xffff);
    assert.deepEqual(buildPacket(described, zero.subarray(40)), zero);
  }
});

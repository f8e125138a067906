import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mptcpOptionsLength, readMptcpOption, writeMptcpOptions } from '../../src/wire/mptcp-codec.ts';
import { Capable, Dss, Mptcp, MptcpOptions } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';

/** Each option variant as Linux 6.18 put it on the wire, or, where it never does, laid out by hand from RFC 8684. */

const { Syn, Ack, Rst } = Flag;

interface Golden {
  readonly title: string;
  readonly flags: number;
  /** The option alone; its NOPs are counted out. */
  readonly hex: string;
  readonly fields: Partial<MptcpOptions>;
  readonly hmac?: string;
  readonly ids?: readonly number[];
}

const GOLDEN: readonly Golden[] = [
  {
    title: 'A1.02 A1.11 A1.12 MP_CAPABLE on a SYN',
    flags: Syn,
    hex: '1e040101',
    fields: { present: Mptcp.CapableSyn, version: 1, capableFlags: Capable.HmacSha256 },
  },
  {
    title: 'A1.07 MP_CAPABLE on a SYN asks for checksums by bit A',
    flags: Syn,
    hex: '1e040181',
    fields: { present: Mptcp.CapableSyn, capableFlags: Capable.Checksum | Capable.HmacSha256 },
  },
  {
    title: 'A1.03 MP_CAPABLE on a SYN/ACK',
    flags: Syn | Ack,
    hex: '1e0c01019e4196e4ad94c7ba',
    fields: { present: Mptcp.CapableSynAck, senderKeyHigh: 0x9e4196e4, senderKeyLow: 0xad94c7ba },
  },
  {
    title: 'A1.09 MP_CAPABLE on a SYN/ACK refuses joins to its address by bit C',
    flags: Syn | Ack,
    hex: '1e0c01217ba8206094857570',
    fields: { present: Mptcp.CapableSynAck, capableFlags: Capable.DenyJoinInitial | Capable.HmacSha256 },
  },
  {
    title: 'A1.04 MP_CAPABLE with both keys',
    flags: Ack,
    hex: '1e140101e0b5b5471b3410f19e4196e4ad94c7ba',
    fields: {
      present: Mptcp.CapableAck,
      senderKeyHigh: 0xe0b5b547,
      senderKeyLow: 0x1b3410f1,
      receiverKeyHigh: 0x9e4196e4,
      receiverKeyLow: 0xad94c7ba,
      dataLength: 0,
      hasChecksum: false,
    },
  },
  {
    title: 'A1.05 MP_CAPABLE with data length',
    flags: Ack,
    hex: '1e160101e0b5b5471b3410f19e4196e4ad94c7ba0064',
    fields: { present: Mptcp.CapableAck | Mptcp.CapableData, dataLength: 100, hasChecksum: false },
  },
  {
    title: 'A1.06 MP_CAPABLE with data length and checksum',
    flags: Ack,
    hex: '1e180181c4b184236acc70cc064aa5ad16b7f66d0bb8d4a1',
    fields: {
      present: Mptcp.CapableAck | Mptcp.CapableData,
      dataLength: 3000,
      hasChecksum: true,
      checksum: 0xd4a1,
    },
  },
  {
    title: 'A1.13 MP_JOIN on a SYN',
    flags: Syn,
    hex: '1e0c1001b8af82981bc892e0',
    fields: {
      present: Mptcp.JoinSyn,
      joinBackup: false,
      joinAddressId: 1,
      joinToken: 0xb8af8298,
      joinNonce: 0x1bc892e0,
    },
  },
  {
    title: 'A1.13 MP_JOIN on a SYN for a backup path',
    flags: Syn,
    hex: '1e0c110189352dd64284b566',
    fields: { present: Mptcp.JoinSyn, joinBackup: true, joinAddressId: 1 },
  },
  {
    title: 'A1.14 MP_JOIN on a SYN/ACK',
    flags: Syn | Ack,
    hex: '1e101001678f020c68e12d706c36d071',
    fields: { present: Mptcp.JoinSynAck, joinBackup: false, joinAddressId: 1, joinNonce: 0x6c36d071 },
    hmac: '678f020c68e12d70',
  },
  {
    title: 'A1.15 MP_JOIN on the ACK',
    flags: Ack,
    hex: '1e181000efd8db646067fea1004ef59403e6f1a31b1db8e9',
    fields: { present: Mptcp.JoinAck, joinBackup: false, joinAddressId: 0 },
    hmac: 'efd8db646067fea1004ef59403e6f1a31b1db8e9',
  },
  {
    title: 'A1.17 DSS with a 4-byte ack alone',
    flags: Ack,
    hex: '1e082001f0045f8a',
    fields: { present: Mptcp.Dss, dssFlags: Dss.Ack, dataAckHigh: 0, dataAckLow: 0xf0045f8a },
  },
  {
    title: 'A1.17 DSS with an 8-byte ack alone',
    flags: Ack,
    hex: '1e0c20037067365b2f21d09c',
    fields: { present: Mptcp.Dss, dssFlags: Dss.Ack | Dss.Ack64, dataAckHigh: 0x7067365b, dataAckLow: 0x2f21d09c },
  },
  {
    title: 'A1.18 DSS with a 4-byte map alone',
    flags: Ack,
    hex: '1e0e2004010203040000000503e8',
    fields: {
      present: Mptcp.Dss,
      dssFlags: Dss.Map,
      dataSequenceHigh: 0,
      dataSequenceLow: 0x01020304,
      subflowSequence: 5,
      dataLength: 1000,
      hasChecksum: false,
    },
  },
  {
    title: 'A1.18 DSS with a 4-byte map and a checksum',
    flags: Ack,
    hex: '1e102004010203040000000503e8beef',
    fields: { dssFlags: Dss.Map, dataLength: 1000, hasChecksum: true, checksum: 0xbeef },
  },
  {
    title: 'A1.18 DSS with an 8-byte map alone',
    flags: Ack,
    hex: '1e12200c0a0b0c0d010203040000000503e8',
    fields: { dssFlags: Dss.Map | Dss.Map64, dataSequenceHigh: 0x0a0b0c0d, dataSequenceLow: 0x01020304 },
  },
  {
    title: 'A1.18 DSS with an 8-byte map and a checksum',
    flags: Ack,
    hex: '1e14200c0a0b0c0d010203040000000503e81234',
    fields: { dssFlags: Dss.Map | Dss.Map64, hasChecksum: true, checksum: 0x1234 },
  },
  {
    title: 'A1.19 DSS with a 4-byte ack and a 4-byte map',
    flags: Ack,
    hex: '1e122005aabbccdd010203040000000503e8',
    fields: { dssFlags: Dss.Ack | Dss.Map, dataAckLow: 0xaabbccdd, dataSequenceLow: 0x01020304 },
  },
  {
    title: 'A1.19 DSS with a 4-byte ack, a 4-byte map and a checksum',
    flags: Ack,
    hex: '1e142005aabbccdd010203040000000503e81234',
    fields: { dssFlags: Dss.Ack | Dss.Map, hasChecksum: true, checksum: 0x1234 },
  },
  {
    title: 'A1.19 A1.21 DSS with a 4-byte ack and an 8-byte map',
    flags: Ack,
    hex: '1e16200d4be7c25add6522d82f0d96610000000103e8',
    fields: {
      dssFlags: Dss.Ack | Dss.Map | Dss.Map64,
      dataAckHigh: 0,
      dataAckLow: 0x4be7c25a,
      dataSequenceHigh: 0xdd6522d8,
      dataSequenceLow: 0x2f0d9661,
      subflowSequence: 1,
      dataLength: 1000,
      hasChecksum: false,
    },
  },
  {
    title: 'A1.19 DSS with a 4-byte ack, an 8-byte map and a checksum',
    flags: Ack,
    hex: '1e18200d4be7c25add6522d82f0d96610000000103e8abcd',
    fields: { dssFlags: Dss.Ack | Dss.Map | Dss.Map64, hasChecksum: true, checksum: 0xabcd },
  },
  {
    title: 'A1.16 DSS with DATA_FIN, a 4-byte ack and an 8-byte map',
    flags: Ack,
    hex: '1e16201df0045f897067365b2f21d09c000000000001',
    fields: { dssFlags: Dss.Fin | Dss.Ack | Dss.Map | Dss.Map64, subflowSequence: 0, dataLength: 1 },
  },
  {
    title: 'A1.20 DSS with an 8-byte ack and a 4-byte map',
    flags: Ack,
    hex: '1e162007dc2ba12e4ffb0961010203040000000503e8',
    fields: { dssFlags: Dss.Ack | Dss.Ack64 | Dss.Map, dataAckHigh: 0xdc2ba12e, dataSequenceLow: 0x01020304 },
  },
  {
    title: 'A1.20 DSS with an 8-byte ack, a 4-byte map and a checksum',
    flags: Ack,
    hex: '1e182007dc2ba12e4ffb0961010203040000000503e85678',
    fields: { dssFlags: Dss.Ack | Dss.Ack64 | Dss.Map, hasChecksum: true, checksum: 0x5678 },
  },
  {
    title: 'A1.20 DSS with an 8-byte ack and an 8-byte map',
    flags: Ack,
    hex: '1e1a200fdc2ba12e4ffb09615ea40d8a31c1b4270000000103e8',
    fields: { dssFlags: 0x0f, dataAckHigh: 0xdc2ba12e, dataSequenceHigh: 0x5ea40d8a, dataLength: 1000 },
  },
  {
    title: 'A1.20 DSS of 28 bytes, the longest',
    flags: Ack,
    hex: '1e1c201f0f5c7ba352728fbd7aebb738d26c08f5000000000001f278',
    fields: {
      dssFlags: 0x1f,
      dataAckHigh: 0x0f5c7ba3,
      dataAckLow: 0x52728fbd,
      dataSequenceHigh: 0x7aebb738,
      dataSequenceLow: 0xd26c08f5,
      subflowSequence: 0,
      dataLength: 1,
      hasChecksum: true,
      checksum: 0xf278,
    },
  },
  {
    title: 'A1.22 DSS with neither ack nor map',
    flags: Ack,
    hex: '1e042000',
    fields: { present: Mptcp.Dss, dssFlags: 0 },
  },
  {
    title: 'A1.25 ADD_ADDR of an IPv4 address',
    flags: Ack,
    hex: '1e1030010a0002027db9182a72ffbc6c',
    fields: {
      present: Mptcp.AddAddress,
      addEcho: false,
      addId: 1,
      addFamily: 4,
      add3: 0x0a000202,
      addPort: 0,
      addHmacHigh: 0x7db9182a,
      addHmacLow: 0x72ffbc6c,
    },
  },
  {
    title: 'A1.26 ADD_ADDR of an IPv4 address and port',
    flags: Ack,
    hex: '1e1230010a00020213ec2261980ea24f1989',
    fields: { addEcho: false, addFamily: 4, addPort: 5100, addHmacHigh: 0x2261980e, addHmacLow: 0xa24f1989 },
  },
  {
    title: 'A1.27 echo of an IPv4 address',
    flags: Ack,
    hex: '1e0831010a000202',
    fields: { addEcho: true, addFamily: 4, add3: 0x0a000202, addPort: 0, addHmacHigh: 0, addHmacLow: 0 },
  },
  {
    title: 'A1.27 echo of an IPv4 address and port',
    flags: Ack,
    hex: '1e0a31010a00020213ec',
    fields: { addEcho: true, addFamily: 4, addPort: 5100 },
  },
  {
    title: 'A1.28 ADD_ADDR of an IPv6 address',
    flags: Ack,
    hex: '1e1c3001fd000000000000020000000000000002c35e93b55d2cb6fb',
    fields: {
      addEcho: false,
      addFamily: 6,
      add0: 0xfd000000,
      add1: 2,
      add2: 0,
      add3: 2,
      addPort: 0,
      addHmacHigh: 0xc35e93b5,
    },
  },
  {
    title: 'A1.29 ADD_ADDR of an IPv6 address and port',
    flags: Ack,
    hex: '1e1e3001fd00000000000002000000000000000213ec0d45c24098904c98',
    fields: { addEcho: false, addFamily: 6, addPort: 5100, addHmacHigh: 0x0d45c240, addHmacLow: 0x98904c98 },
  },
  {
    title: 'A1.30 echo of an IPv6 address',
    flags: Ack,
    hex: '1e143101fd000000000000020000000000000002',
    fields: { addEcho: true, addFamily: 6, addPort: 0 },
  },
  {
    title: 'A1.30 echo of an IPv6 address and port',
    flags: Ack,
    hex: '1e163101fd00000000000002000000000000000213ec',
    fields: { addEcho: true, addFamily: 6, addPort: 5100 },
  },
  {
    title: 'A1.31 REMOVE_ADDR of one id',
    flags: Ack,
    hex: '1e044001',
    fields: { present: Mptcp.RemoveAddress },
    ids: [1],
  },
  {
    title: 'A1.31 REMOVE_ADDR of two ids',
    flags: Ack,
    hex: '1e05400102',
    fields: {},
    ids: [1, 2],
  },
  {
    title: 'A1.31 REMOVE_ADDR of eight ids',
    flags: Ack,
    hex: '1e0b400102030405060708',
    fields: {},
    ids: [1, 2, 3, 4, 5, 6, 7, 8],
  },
  {
    title: 'A1.32 MP_PRIO to backup',
    flags: Ack,
    hex: '1e0351',
    fields: { present: Mptcp.Priority, priorityBackup: true },
  },
  {
    title: 'A1.32 MP_PRIO back from backup',
    flags: Ack,
    hex: '1e0350',
    fields: { present: Mptcp.Priority, priorityBackup: false },
  },
  {
    title: 'A1.33 MP_FAIL',
    flags: Ack,
    hex: '1e0c6000381a9fbd918db477',
    fields: { present: Mptcp.Fail, failHigh: 0x381a9fbd, failLow: 0x918db477 },
  },
  {
    title: 'A1.34 MP_FASTCLOSE',
    flags: Rst | Ack,
    hex: '1e0c70001b426c0751ab68ef',
    fields: { present: Mptcp.FastClose, fastCloseKeyHigh: 0x1b426c07, fastCloseKeyLow: 0x51ab68ef },
  },
  {
    title: 'A1.35 MP_TCPRST',
    flags: Rst | Ack,
    hex: '1e048003',
    fields: { present: Mptcp.Reset, resetFlags: 0, resetReason: 3 },
  },
  {
    title: 'A1.35 MP_TCPRST of a passing trouble',
    flags: Rst,
    hex: '1e048102',
    fields: { present: Mptcp.Reset, resetFlags: 1, resetReason: 2 },
  },
];

for (const golden of GOLDEN) {
  test(golden.title, () => {
    const option = Buffer.from(golden.hex, 'hex');
    // At an odd offset: options may stand anywhere (A1.39).
    const bytes = new Uint8Array(64).fill(0xaa);
    bytes.set(option, 3);
    const options = new MptcpOptions();
    readMptcpOption(new DataView(bytes.buffer), 3, option.length, golden.flags, options);
    for (const [name, value] of Object.entries(golden.fields)) {
      assert.equal(options[name as keyof MptcpOptions], value, name);
    }
    assert.equal(options.present & (Mptcp.Malformed | Mptcp.Unknown), 0);
    if (golden.hmac !== undefined) {
      assert.equal(Buffer.from(options.joinHmac).toString('hex').slice(0, golden.hmac.length), golden.hmac);
    }
    if (golden.ids !== undefined) {
      assert.deepEqual([...options.removeIds.subarray(0, options.removeCount)], golden.ids);
    }
    const out = new Uint8Array(64).fill(0xbb);
    const end = writeMptcpOptions(new DataView(out.buffer), 5, options);
    const padding = '01'.repeat((4 - (option.length % 4)) % 4);
    assert.equal(Buffer.from(out.subarray(5, end)).toString('hex'), golden.hex + padding, 'A1.39: NOPs behind');
    assert.equal(mptcpOptionsLength(options), end - 5);
  });
}

/** Reads one option given in hex. */
function read(hex: string, flags: number, into = new MptcpOptions()): MptcpOptions {
  const bytes = new Uint8Array(Buffer.from(hex, 'hex'));
  readMptcpOption(new DataView(bytes.buffer), 0, bytes.length, flags, into);
  return into;
}

const BAD: readonly (readonly [title: string, flags: number, hex: string])[] = [
  ['A1.02 MP_CAPABLE of 4 bytes on an ACK', Ack, '1e040101'],
  ['A1.03 MP_CAPABLE of 12 bytes on an ACK', Ack, '1e0c01019e4196e4ad94c7ba'],
  ['A1.04 MP_CAPABLE of 20 bytes on a SYN/ACK', Syn | Ack, '1e140101e0b5b5471b3410f19e4196e4ad94c7ba'],
  ['A1.13 MP_JOIN of a SYN on a SYN/ACK', Syn | Ack, '1e0c1001b8af82981bc892e0'],
  ['A1.14 MP_JOIN of a SYN/ACK on an ACK', Ack, '1e101001678f020c68e12d706c36d071'],
  ['A1.15 MP_JOIN of an ACK on a SYN', Syn, '1e181000efd8db646067fea1004ef59403e6f1a31b1db8e9'],
  ['A1.23 DSS one byte too long for its flags', Ack, '1e092001f0045f8a00'],
  ['A1.23 DSS with a checksum but no map', Ack, '1e0a2001f0045f8a1234'],
  ['A1.23 DSS without room for its flags', Ack, '1e032f'],
  ['A1.25 ADD_ADDR of 17 bytes', Ack, '1e1130010a0002027db9182a72ffbc6c00'],
  ['A1.27 an echo with an HMAC', Ack, '1e1031010a0002027db9182a72ffbc6c'],
  ['A1.27 an announcement without an HMAC', Ack, '1e0830010a000202'],
  ['A1.31 REMOVE_ADDR of nine ids', Ack, '1e0c40010203040506070809'],
  ['A1.31 REMOVE_ADDR of no id', Ack, '1e0340'],
  ['A1.32 MP_PRIO with an address id, as version 0 had it', Ack, '1e045101'],
  ['A1.33 MP_FAIL of 8 bytes', Ack, '1e08600012345678'],
  ['A1.34 MP_FASTCLOSE of 11 bytes', Ack, '1e0b70001b426c0751ab68'],
  ['A1.35 MP_TCPRST on a segment that is no RST', Ack, '1e048003'],
  ['A1.01 an option without a subtype', Ack, '1e02'],
];

for (const [title, flags, hex] of BAD) {
  test(`${title} is skipped`, () => {
    assert.equal(read(hex, flags).present, Mptcp.Malformed);
  });
}

for (const [title, hex] of [
  ['A1.36 MP_EXPERIMENTAL', '1e06f0001234'],
  ['A1.37 subtype 9', '1e0490aa'],
  ['A1.37 subtype 14', '1e03e0'],
] as const) {
  test(`A1.01 ${title} is skipped, no error`, () => {
    assert.equal(read(hex, Ack).present, Mptcp.Unknown);
  });
}

test('A1.38 reserved bits do not disturb', () => {
  assert.equal(read('1e0c1e01b8af82981bc892e0', Syn).joinBackup, false);
  assert.equal(read('1e0c1f01b8af82981bc892e0', Syn).joinBackup, true);
  assert.equal(read('1e181fffefd8db646067fea1004ef59403e6f1a31b1db8e9', Ack).present, Mptcp.JoinAck);
  assert.equal(read('1e0820e1f0045f8a', Ack).dssFlags, Dss.Ack);
  assert.equal(read('1e103e010a0002027db9182a72ffbc6c', Ack).addEcho, false);
  assert.equal(read('1e044f01', Ack).removeCount, 1);
  assert.equal(read('1e035e', Ack).priorityBackup, false);
  assert.equal(read('1e0c6fff381a9fbd918db477', Ack).failLow, 0x918db477);
  assert.equal(read('1e0c7fff1b426c0751ab68ef', Ack).fastCloseKeyHigh, 0x1b426c07);
});

test('A1.12 a SYN of version 0 is no offer, but its version is known', () => {
  const options = read('1e0c00019e4196e4ad94c7ba', Syn);
  assert.equal(options.present, Mptcp.Malformed);
  assert.equal(options.version, 0);
});

test('A1.24 a checksum is parsed whether or not it was negotiated', () => {
  assert.equal(read('1e102004010203040000000503e8beef', Ack).hasChecksum, true);
  assert.equal(read('1e0e2004010203040000000503e8', Ack).hasChecksum, false);
});

test('A1.42 of options that exclude one another the first stands', () => {
  const options = read('1e082001f0045f8a', Ack);
  read('1e140101e0b5b5471b3410f19e4196e4ad94c7ba', Ack, options);
  read('1e0820010000002a', Ack, options);
  read('1e181000efd8db646067fea1004ef59403e6f1a31b1db8e9', Ack, options);
  assert.equal(options.present, Mptcp.Dss | Mptcp.Malformed);
  assert.equal(options.dataAckLow, 0xf0045f8a);
  const capable = read('1e044001', Ack);
  read('1e140101e0b5b5471b3410f19e4196e4ad94c7ba', Ack, capable);
  assert.equal(capable.present, Mptcp.RemoveAddress | Mptcp.CapableAck, 'REMOVE_ADDR may stand before');
  read('1e0e2004010203040000000503e8', Ack, capable);
  assert.equal(capable.dataLength, 0, 'a map beside MP_CAPABLE leaves its fields alone');
});

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import { counterChanges, parseCounters } from '../../src/kernel/counters.ts';
import { parseEndpoints } from '../../src/kernel/endpoints.ts';
import { decodeSocketAddress, encodeSocketAddress } from '../../src/kernel/socket-address.ts';
import {
  decodeMptcpInfo,
  decodeSubflowAddresses,
  decodeTcpInfo,
  SUBFLOW_ADDRESSES_BYTES,
  SUBFLOW_HEADER,
  subflowRequest,
} from '../../src/kernel/socket-info.ts';
import { now } from '../../src/node/clock.ts';
import { Entropy } from '../../src/node/entropy.ts';
import { load } from '../../src/node/ffi.ts';
import { errnoName, SystemError } from '../../src/node/system-error.ts';
import { Address } from '../../src/wire/address.ts';
import { Pattern, patternDigest } from '../interop/harness/pattern.ts';

test('without a way to call C functions there is one typed error that says what to install', () => {
  const missing = (): never => {
    throw Object.assign(new Error("Cannot find module 'koffi'"), { code: 'MODULE_NOT_FOUND' });
  };
  assert.throws(() => load(missing), {
    code: 'ERR_NO_FFI',
    name: 'ForeignFunctionError',
    message: /npm install koffi/,
  });
  assert.throws(() => load(() => ({ load: () => ({}) })), { code: 'ERR_NO_FFI' });
});

test('foreign functions fail as C does', () => {
  const calls = load(createRequire(import.meta.url));
  assert.equal(calls.close(-1), -1);
  assert.equal(errnoName(calls.errno()), 'EBADF');
  assert.equal(calls.open('/nowhere/at/all', 0), -1);
  assert.equal(errnoName(calls.errno()), 'ENOENT');
  const bytes = Buffer.alloc(64);
  assert.equal(typeof calls.address(bytes), 'bigint');
});

test('errors have Node’s fields', () => {
  const error = SystemError.of(1, 'ioctl', 'not allowed');
  assert.deepEqual([error.code, error.errno, error.syscall], ['EPERM', -1, 'ioctl']);
  assert.equal(error.message, 'EPERM: not allowed, ioctl');
  assert.equal(errnoName(11), 'EAGAIN');
  assert.equal(errnoName(77), 'EBADFD');
  assert.equal(errnoName(4000), 'E4000');
});

test('the clock does not go backwards', () => {
  let last = now();
  for (let count = 0; count < 1000; count++) {
    const next = now();
    assert.ok(next >= last);
    last = next;
  }
});

test('entropy: words of 32 bits, fractions below 1, each used once across batches', () => {
  const entropy = new Entropy(4);
  const seen = new Set<number>();
  let all = 0;
  for (let count = 0; count < 1000; count++) {
    const word = entropy.word();
    assert.ok(Number.isInteger(word) && word >= 0 && word <= 0xffff_ffff);
    seen.add(word);
    all |= word;
    const fraction = entropy.next();
    assert.ok(fraction >= 0 && fraction < 1);
  }
  // Two equal ones among a thousand come once in 8000 runs; three equal pairs never.
  assert.ok(seen.size >= 998, `${seen.size} different words`);
  assert.equal(all >>> 0, 0xffff_ffff);
  const bytes = new Uint8Array(64);
  entropy.fill(bytes);
  assert.ok(bytes.some((byte) => byte !== 0));
});

test('socket addresses round-trip', () => {
  for (const text of ['10.1.2.3', 'fd00:1:2::3', '::', '255.255.255.255']) {
    const address = Address.of(text);
    const bytes = encodeSocketAddress(address, 443);
    assert.equal(bytes.length, address.family === 4 ? 16 : 28);
    assert.deepEqual(decodeSocketAddress(bytes, 0), {
      address: text,
      port: 443,
      family: address.family === 4 ? 'IPv4' : 'IPv6',
    });
  }
  assert.equal(decodeSocketAddress(Buffer.alloc(16), 0), undefined);
});

test('MPTCP_INFO is decoded field by field, and a shorter one leaves fields undefined', () => {
  const bytes = Buffer.alloc(96);
  for (let at = 0; at < 6; at++) bytes[at] = at + 1;
  bytes.writeUInt32LE(2, 8);
  bytes.writeUInt32LE(0xdead_beef, 12);
  bytes.writeBigUInt64LE(0xffff_ffff_ffff_fff0n, 16);
  bytes.writeBigUInt64LE(17n, 24);
  bytes.writeBigUInt64LE(18n, 32);
  bytes[42] = 1;
  bytes.writeUInt32LE(7, 44);
  [48, 56, 64, 72].forEach((at, index) => {
    bytes.writeBigUInt64LE(BigInt(1000 * (index + 1)), at);
  });
  bytes[80] = 3;
  [84, 88, 92].forEach((at, index) => {
    bytes.writeUInt32LE(index + 20, at);
  });
  assert.deepEqual(decodeMptcpInfo(bytes), {
    subflows: 1,
    addAddrSignal: 2,
    addAddrAccepted: 3,
    subflowsMax: 4,
    addAddrSignalMax: 5,
    addAddrAcceptedMax: 6,
    fallback: false,
    remoteKeyReceived: true,
    token: 0xdead_beef,
    writeSequence: 0xffff_ffff_ffff_fff0n,
    unacknowledged: 17n,
    receiveNext: 18n,
    localAddressesUsed: 0,
    localAddressesMax: 0,
    checksumEnabled: true,
    retransmits: 7,
    bytesRetransmitted: 1000,
    bytesSent: 2000,
    bytesReceived: 3000,
    bytesAcknowledged: 4000,
    subflowsTotal: 3,
    lastDataSent: 20,
    lastDataReceived: 21,
    lastAckReceived: 22,
  });
  const old = decodeMptcpInfo(bytes.subarray(0, 43));
  assert.equal(old.checksumEnabled, true);
  assert.equal(old.bytesSent, undefined);
  assert.equal(old.subflowsTotal, undefined);
  assert.equal(decodeMptcpInfo(Buffer.alloc(0)).token, 0);
});

test('TCP_INFO: times become milliseconds, options get names', () => {
  const bytes = Buffer.alloc(248);
  bytes[0] = 1;
  bytes[5] = 1 | 2 | 4;
  bytes[6] = 0x7a;
  bytes.writeUInt32LE(204_000, 8);
  bytes.writeUInt32LE(1448, 16);
  bytes.writeUInt32LE(1500, 68);
  bytes.writeUInt32LE(10, 80);
  bytes.writeUInt32LE(250, 148);
  bytes.writeBigUInt64LE(1_250_000n, 160);
  const info = decodeTcpInfo(bytes);
  assert.deepEqual(info.options, ['timestamps', 'sack', 'window-scale']);
  assert.deepEqual([info.sentWindowScale, info.receivedWindowScale], [10, 7]);
  assert.deepEqual([info.retransmissionTimeout, info.roundTripTime, info.leastRoundTripTime], [204, 1.5, 0.25]);
  assert.deepEqual([info.sentMss, info.congestionWindow, info.deliveryRate], [1448, 10, 1_250_000]);
  assert.equal(decodeTcpInfo(bytes.subarray(0, 104)).deliveryRate, undefined);
});

test('SUBFLOW_ADDRS: the request says its sizes, an answer with more than there was room for is cut', () => {
  const bytes = subflowRequest(2, SUBFLOW_ADDRESSES_BYTES);
  assert.deepEqual(
    [bytes.readUInt32LE(0), bytes.readUInt32LE(4), bytes.readUInt32LE(8), bytes.readUInt32LE(12)],
    [16, 0, 0, 256],
  );
  bytes.writeUInt32LE(5, 4);
  encodeSocketAddress(Address.of('10.0.0.1'), 1).copy(bytes, SUBFLOW_HEADER);
  encodeSocketAddress(Address.of('10.0.0.2'), 2).copy(bytes, SUBFLOW_HEADER + 128);
  encodeSocketAddress(Address.of('fd00::1'), 3).copy(bytes, SUBFLOW_HEADER + 256);
  encodeSocketAddress(Address.of('fd00::2'), 4).copy(bytes, SUBFLOW_HEADER + 384);
  assert.deepEqual(
    decodeSubflowAddresses(bytes).map(
      ({ local, peer }) => `${local.address}:${local.port} ${peer.address}:${peer.port}`,
    ),
    ['10.0.0.1:1 10.0.0.2:2', 'fd00::1:3 fd00::2:4'],
  );
});

test('counters are read by nstat’s names', () => {
  const before = new Map<string, number>();
  parseCounters('Tcp: RtoMin InSegs\nTcp: 200 17\nMPTcpExt: MPCapableSYNRX MPJoinRx\nMPTcpExt: 1 2\n', before);
  assert.deepEqual(Object.fromEntries(before), {
    TcpRtoMin: 200,
    TcpInSegs: 17,
    MPTcpExtMPCapableSYNRX: 1,
    MPTcpExtMPJoinRx: 2,
  });
  const after = new Map([...before, ['TcpInSegs', 20] as const, ['TcpNew', 1] as const]);
  assert.deepEqual(Object.fromEntries(counterChanges(before, after)), { TcpInSegs: 3, TcpNew: 1 });
});

test('endpoint lines of the ip command are read', () => {
  assert.deepEqual(parseEndpoints('10.0.1.1 id 1 subflow fullmesh dev eth0 \nfd00::1 port 8080 id 2 signal \n\n'), [
    { address: '10.0.1.1', id: 1, flags: ['subflow', 'fullmesh'], device: 'eth0', port: undefined },
    { address: 'fd00::1', id: 2, flags: ['signal'], device: undefined, port: 8080 },
  ]);
});

test('the pattern is the same from any offset and alignment, and finds what is wrong', () => {
  const pattern = new Pattern(7);
  const whole = new Uint8Array(1000);
  pattern.fill(whole, 0);
  const room = new Uint8Array(1024);
  for (let offset = 0; offset < 40; offset++) {
    for (let at = 0; at < 5; at++) {
      pattern.fill(room, offset, at, at + 333);
      assert.deepEqual(room.subarray(at, at + 333), whole.subarray(offset, offset + 333));
    }
  }
  assert.equal(pattern.mismatch(whole, 0), -1);
  whole[500]! ^= 1;
  assert.equal(pattern.mismatch(whole, 0), 500);
  assert.notEqual(patternDigest(7, 1000), patternDigest(8, 1000));
  // Beyond 2^32 words it does not repeat.
  const far = new Uint8Array(16);
  const near = new Uint8Array(16);
  pattern.fill(far, 2 ** 34);
  pattern.fill(near, 0);
  assert.notDeepEqual(far, near);
});

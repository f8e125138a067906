import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Capture, CaptureDirection, type CaptureOptions } from '../../src/link/index.ts';
import { ChecksumState } from '../../src/wire/packet.ts';
import { A, B, bytesOf, line, packet, wrap } from './link-packets.ts';

/** A minimal reader of pcapng, written from the format's description alone. */
interface Block {
  type: number;
  body: DataView;
  /** Option code and bytes. */
  options: [number, Uint8Array][];
}

function read(file: Uint8Array): Block[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const blocks: Block[] = [];
  let at = 0;
  while (at < file.length) {
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    assert.equal(length % 4, 0);
    assert.equal(view.getUint32(at + length - 4, true), length, 'both lengths of a block');
    const body = new DataView(file.buffer, file.byteOffset + at + 8, length - 12);
    const fixed = type === 0x0a0d0d0a ? 16 : type === 1 ? 8 : 20 + ((body.getUint32(12, true) + 3) & ~3);
    blocks.push({ type, body, options: readOptions(body, fixed) });
    at += length;
  }
  assert.equal(at, file.length);
  return blocks;
}

function readOptions(body: DataView, from: number): [number, Uint8Array][] {
  const options: [number, Uint8Array][] = [];
  let at = from;
  while (at < body.byteLength) {
    const code = body.getUint16(at, true);
    const length = body.getUint16(at + 2, true);
    if (code === 0) {
      assert.equal(at + 4, body.byteLength, 'nothing behind the end of options');
      return options;
    }
    options.push([code, new Uint8Array(body.buffer, body.byteOffset + at + 4, length).slice()]);
    at += 4 + ((length + 3) & ~3);
  }
  assert.equal(options.length, 0, 'options without an end');
  return options;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
const optionOf = (block: Block, code: number): Uint8Array => block.options.find(([one]) => one === code)![1];
const dataOf = (block: Block): Uint8Array =>
  new Uint8Array(block.body.buffer, block.body.byteOffset + 20, block.body.getUint32(12, true)).slice();
const timeOf = (block: Block): bigint =>
  (BigInt(block.body.getUint32(4, true)) << 32n) | BigInt(block.body.getUint32(8, true));

function recording(options: CaptureOptions = {}): { capture: Capture; file: () => Uint8Array } {
  const chunks: Uint8Array[] = [];
  const capture = new Capture((chunk) => chunks.push(chunk.slice()), options);
  return { capture, file: () => new Uint8Array(Buffer.concat(chunks)) };
}

test('C56 a section, an interface block with its name for each path, packets with time, direction and comment', () => {
  const { capture, file } = recording({ application: 'a test' });
  const first = capture.addInterface('path 1', 'client - server');
  const one = packet(`${A} S 0:0(0) win 500 <mss 1460>`);
  capture.write(0, first, one, CaptureDirection.Outbound);
  const second = capture.addInterface('Pfad über ⇄');
  const other = packet(`${B} P. 1:12(11) ack 1 win 500`);
  capture.write(1234.567891, second, other, CaptureDirection.Inbound, 'größer');
  capture.write(5, first, other, CaptureDirection.Unknown);

  const blocks = read(file());
  assert.deepEqual(
    blocks.map(({ type }) => type),
    [0x0a0d0d0a, 1, 6, 1, 6, 6],
  );
  const [section, interface1, packet1, interface2, packet2, packet3] = blocks as [
    Block,
    Block,
    Block,
    Block,
    Block,
    Block,
  ];
  assert.equal(section.body.getUint32(0, true), 0x1a2b3c4d);
  assert.equal(text(optionOf(section, 4)), 'a test');
  assert.equal(interface1.body.getUint16(0, true), 101);
  assert.equal(text(optionOf(interface1, 2)), 'path 1');
  assert.equal(text(optionOf(interface1, 3)), 'client - server');
  assert.deepEqual([...optionOf(interface1, 9)], [9]);
  assert.equal(text(optionOf(interface2, 2)), 'Pfad über ⇄');

  assert.equal(packet1.body.getUint32(0, true), first);
  assert.deepEqual(dataOf(packet1), bytesOf(one));
  assert.equal(timeOf(packet1), 0n);
  assert.deepEqual([...optionOf(packet1, 2)], [2, 0, 0, 0]);
  assert.equal(packet2.body.getUint32(0, true), second);
  assert.equal(timeOf(packet2), 1_234_567_891n);
  assert.deepEqual([...optionOf(packet2, 2)], [1, 0, 0, 0]);
  assert.equal(text(optionOf(packet2, 1)), 'größer');
  assert.equal(packet2.body.getUint32(16, true), other.length);
  assert.deepEqual(packet3.options, []);
  assert.equal(capture.packets, 3);
});

test('times since 1970 keep their nanoseconds', () => {
  const { capture, file } = recording({ epoch: 1_700_000_000_123.75 });
  const number = capture.addInterface('x');
  const one = packet(`${A} . 1:1(0) ack 1 win 500`);
  for (const now of [0, 0.25, 0.250001, 999.999999]) capture.write(now, number, one, CaptureDirection.Unknown);
  assert.deepEqual(read(file()).slice(2).map(timeOf), [
    1_700_000_000_123_750_000n,
    1_700_000_000_124_000_000n,
    1_700_000_000_124_000_001n,
    1_700_000_001_123_749_999n,
  ]);
});

test('large packets are cut or whole; checksums that were left to the link are finished in the copy alone', () => {
  const large = packet(`${A} P. 1:2501(2500) ack 1 win 500`);
  large.gsoSize = 1000;
  for (const cutsLargePackets of [true, false]) {
    const { capture, file } = recording({ cutsLargePackets });
    const number = capture.addInterface('x');
    capture.write(0, number, large, CaptureDirection.Outbound);
    const lines = read(file())
      .slice(2)
      .map((block) => line(wrap(dataOf(block))));
    if (cutsLargePackets) {
      assert.deepEqual(lines, [
        `${A} . 1:1001(1000) ack 1 win 500`,
        `${A} [id 1] . 1001:2001(1000) ack 1 win 500`,
        `${A} [id 2] P. 2001:2501(500) ack 1 win 500`,
      ]);
    } else {
      assert.deepEqual(lines, [`${A} P. 1:2501(2500) ack 1 win 500`]);
    }
  }
  const { capture, file } = recording();
  const partial = packet(`${A} P. 1:101(100) ack 1 win 500`);
  partial.view.setUint16(partial.start + 36, 0x1234);
  partial.checksum = ChecksumState.Partial;
  capture.write(0, capture.addInterface('x'), partial, CaptureDirection.Outbound);
  assert.equal(line(wrap(dataOf(read(file())[2]!))), `${A} P. 1:101(100) ack 1 win 500`);
  assert.equal(partial.view.getUint16(partial.start + 36), 0x1234);
  assert.equal(partial.checksum, ChecksumState.Partial);
});

test('a snap length shortens what is kept and keeps the length', () => {
  const { capture, file } = recording({ snapLength: 50 });
  const one = packet(`${A} P. 1:101(100) ack 1 win 500`);
  capture.write(0, capture.addInterface('x'), one, CaptureDirection.Outbound);
  const block = read(file())[2]!;
  assert.equal(dataOf(block).length, 50);
  assert.equal(block.body.getUint32(16, true), 140);
  assert.equal(read(file())[1]!.body.getUint32(4, true), 50);
  assert.throws(() => capture.write(0, 1, one, CaptureDirection.Outbound), RangeError);
});

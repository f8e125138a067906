import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CaptureReader, Frame } from '../../src/trace/capture.ts';
import { LinkType, locateIp } from '../../src/trace/link-layer.ts';

/** Captures laid out by hand, of either byte order. */
class Layout {
  readonly bytes: number[] = [];
  readonly little: boolean;

  constructor(little: boolean) {
    this.little = little;
  }

  u16(...values: readonly number[]): this {
    for (const value of values) this.#put(value, 2);
    return this;
  }

  u32(...values: readonly number[]): this {
    for (const value of values) this.#put(value, 4);
    return this;
  }

  raw(...values: readonly number[]): this {
    this.bytes.push(...values);
    return this;
  }

  /** A pcapng block: type, length, content padded to 4, length. */
  block(type: number, content: Layout): this {
    while (content.bytes.length % 4 !== 0) content.raw(0);
    const length = content.bytes.length + 12;
    return this.u32(type, length)
      .raw(...content.bytes)
      .u32(length);
  }

  /** A pcapng option. */
  option(code: number, ...value: readonly number[]): this {
    this.u16(code, value.length).raw(...value);
    while (this.bytes.length % 4 !== 0) this.raw(0);
    return this;
  }

  done(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }

  #put(value: number, size: number): void {
    for (let index = 0; index < size; index++) {
      const shift = 8 * (this.little ? index : size - 1 - index);
      this.bytes.push(Math.floor(value / 2 ** shift) & 255);
    }
  }
}

function text(value: string): number[] {
  return [...Buffer.from(value, 'utf8')];
}

function frames(bytes: Uint8Array): { frames: Frame[]; reader: CaptureReader } {
  const reader = new CaptureReader(bytes);
  const out: Frame[] = [];
  const frame = new Frame();
  while (reader.next(frame)) out.push(Object.assign(new Frame(), frame));
  return { frames: out, reader };
}

for (const little of [true, false]) {
  const order = little ? 'little' : 'big';

  for (const [magic, unit] of [
    [0xa1b2c3d4, 1000],
    [0xa1b23c4d, 1],
  ] as const) {
    test(`pcap, ${order}-endian, fractions of ${unit} ns`, () => {
      const layout = new Layout(little).u32(magic).u16(2, 4).u32(0, 0, 65_535, 101);
      layout.u32(1_700_000_000, 999_999, 2, 1500).raw(0x45, 1);
      layout.u32(1_700_000_001, 5, 0, 60);
      const { frames: found, reader } = frames(layout.done());
      assert.equal(reader.problem, undefined);
      assert.equal(reader.format, 'pcap');
      assert.equal(found.length, 2);
      assert.equal(found[0]!.seconds, 1_700_000_000);
      assert.equal(found[0]!.nanoseconds, 999_999 * unit);
      assert.equal(found[0]!.linkType, LinkType.Raw);
      assert.equal(found[0]!.originalLength, 1500);
      assert.deepEqual([...reader.bytes.subarray(found[0]!.start, found[0]!.end)], [0x45, 1]);
      assert.equal(found[1]!.start, found[1]!.end);
    });
  }

  test(`pcapng, ${order}-endian: sections, interfaces, packets of three sorts, options`, () => {
    const section = (layout: Layout): Layout =>
      layout.block(0x0a0d_0d0a, new Layout(little).u32(0x1a2b_3c4d).u16(1, 0).u32(0xffff_ffff, 0xffff_ffff));
    const file = section(new Layout(little));
    const wifi = new Layout(little).u16(LinkType.Ethernet, 0).u32(0);
    wifi
      .option(2, ...text('wlan0'))
      .option(9, 9)
      .option(0);
    file.block(1, wifi);
    file.block(
      1,
      new Layout(little)
        .u16(LinkType.Raw, 0)
        .u32(4)
        .option(2, ...text('lte1\0junk')),
    );
    file.block(0x0bad, new Layout(little).u32(1, 2, 3));
    // 1 700 000 000.123 456 789 s in nanoseconds.
    const stamp = 1_700_000_000_123_456_789n;
    const high = Number(stamp >> 32n);
    const low = Number(stamp & 0xffff_ffffn);
    const enhanced = new Layout(little).u32(0, high, low, 3, 99).raw(7, 8, 9, 0);
    file.block(6, enhanced.option(1, ...text('grüße')).option(0));
    file.block(3, new Layout(little).u32(2).raw(0x41, 0x42));
    file.block(2, new Layout(little).u16(1, 0).u32(0, 2_500_001, 1, 1).raw(0x60));
    section(file);
    file.block(
      1,
      new Layout(little)
        .u16(LinkType.Null, 0)
        .u32(3)
        .option(9, 0x83)
        .option(14, ...new Layout(little).u32(...(little ? [10, 0] : [0, 10])).bytes),
    );
    file.block(6, new Layout(little).u32(0, 0, 12, 1, 1).raw(1));
    file.block(3, new Layout(little).u32(5).raw(1, 2, 3));
    const { frames: found, reader } = frames(file.done());
    assert.equal(reader.problem, undefined);
    assert.equal(reader.format, 'pcapng');
    assert.equal(found.length, 5);
    const [a, b, c, d, e] = found as [Frame, Frame, Frame, Frame, Frame];
    assert.equal(a.seconds, 1_700_000_000);
    assert.equal(a.nanoseconds, 123_456_789);
    assert.equal(a.interfaceName, 'wlan0');
    assert.equal(a.comment, 'grüße');
    assert.equal(a.originalLength, 99);
    assert.deepEqual([...reader.bytes.subarray(a.start, a.end)], [7, 8, 9]);
    assert.deepEqual([...reader.bytes.subarray(b.start, b.end)], [0x41, 0x42]);
    assert.equal(b.comment, '', 'of the packet before');
    assert.equal(c.interfaceId, 1);
    assert.equal(c.interfaceName, 'lte1');
    assert.equal(c.seconds, 2);
    assert.equal(c.nanoseconds, 500_001_000);
    assert.equal(d.linkType, LinkType.Null, 'interfaces belong to their section');
    assert.equal(d.seconds, 11, 'eighths of a second, and ten seconds of offset');
    assert.equal(d.nanoseconds, 500_000_000);
    assert.equal(e.end - e.start, 3, 'cut to the snap length');
    assert.equal(e.originalLength, 5);
  });
}

test('what is wrong with a capture has a name and a place', () => {
  const problem = (bytes: Uint8Array): string => frames(bytes).reader.problem?.code ?? 'none';
  assert.equal(problem(new Uint8Array(0)), 'not-a-capture');
  assert.equal(problem(Uint8Array.from(text('#!/bin/sh\n'))), 'not-a-capture');
  const pcap = new Layout(true).u32(0xa1b2c3d4).u16(2, 4).u32(0, 0, 65_535, 1).u32(1, 1, 4, 4).raw(1, 2, 3, 4);
  assert.equal(problem(pcap.done()), 'none');
  assert.equal(problem(pcap.done().subarray(0, 20)), 'truncated');
  assert.equal(problem(pcap.done().subarray(0, 30)), 'truncated');
  assert.equal(problem(pcap.done().subarray(0, 43)), 'truncated');
  assert.equal(problem(new Layout(true).u32(0xa1b2c3d4).u16(3, 0).u32(0, 0, 0, 1).done()), 'unsupported-version');
  const header = (version: number): Layout =>
    new Layout(true).block(0x0a0d_0d0a, new Layout(true).u32(0x1a2b_3c4d).u16(version, 0).u32(0, 0));
  assert.equal(problem(header(1).done()), 'none');
  assert.equal(problem(header(2).done()), 'unsupported-version');
  assert.equal(problem(header(1).done().subarray(0, 27)), 'truncated');
  assert.equal(problem(header(1).u32(6, 11, 0, 0).done()), 'malformed');
  assert.equal(problem(header(1).u32(6, 4096, 0, 0).done()), 'truncated');
  assert.equal(problem(header(1).u32(6, 16, 0, 12).done()), 'malformed');
  assert.equal(
    problem(
      header(1)
        .block(6, new Layout(true).u32(0, 0, 0, 0, 0))
        .done(),
    ),
    'malformed',
  );
  assert.equal(problem(header(1).block(3, new Layout(true).u32(0)).done()), 'malformed');
  const oneInterface = header(1).block(1, new Layout(true).u16(1, 0).u32(0));
  assert.equal(problem(oneInterface.block(6, new Layout(true).u32(0, 0, 0, 5, 5).raw(1)).done()), 'malformed');
  const cut = frames(pcap.done().subarray(0, 43)).reader.problem!;
  assert.equal(cut.offset, 24);
  assert.match(cut.message, /cut/);
});

test('the IP packet is found behind each link header', () => {
  const ip = [0x45, 0, 0, 20];
  const locate = (linkType: number, ...bytes: readonly number[]): number =>
    locateIp(Uint8Array.from([99, ...bytes]), 1, 1 + bytes.length, linkType);
  const addresses = new Array<number>(12).fill(2);
  assert.equal(locate(LinkType.Ethernet, ...addresses, 8, 0, ...ip), 15);
  assert.equal(locate(LinkType.Ethernet, ...addresses, 0x86, 0xdd, 0x60), 15);
  assert.equal(locate(LinkType.Ethernet, ...addresses, 0x81, 0, 0, 7, 8, 0, ...ip), 19);
  assert.equal(locate(LinkType.Ethernet, ...addresses, 0x88, 0xa8, 0, 7, 0x81, 0, 0, 7, 8, 0, ...ip), 23);
  assert.equal(locate(LinkType.Ethernet, ...addresses, 8, 6, 0, 1), -1, 'ARP');
  assert.equal(locate(LinkType.Ethernet, ...addresses, 8, 0), -1, 'nothing behind the header');
  assert.equal(locate(LinkType.Ethernet, ...addresses), -1);
  assert.equal(locate(LinkType.Raw, ...ip), 1);
  assert.equal(locate(LinkType.Ipv6, 0x60), 1);
  assert.equal(locate(LinkType.Raw, 0x10), -1);
  assert.equal(locate(LinkType.Null, 2, 0, 0, 0, ...ip), 5);
  assert.equal(locate(LinkType.Loop, 0, 0, 0, 2, ...ip), 5);
  assert.equal(locate(LinkType.LinuxCooked, ...new Array<number>(14).fill(0), 8, 0, ...ip), 17);
  assert.equal(locate(LinkType.LinuxCooked2, 8, 0, ...new Array<number>(18).fill(0), ...ip), 21);
  assert.equal(locate(147, ...ip), -1, 'a link type of private use');
  const nested = Array.from({ length: 9 }, () => [0x81, 0, 0, 7]).flat();
  assert.equal(locate(LinkType.Ethernet, ...addresses, ...nested, 8, 0, ...ip), -1, 'bounded');
});

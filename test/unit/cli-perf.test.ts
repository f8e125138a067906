import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ConnectionFigures, PerfConnection, PerfListener } from '../../src/cli/perf-backend.ts';
import {
  Direction,
  decodeHeader,
  decodeTrailer,
  encodeHeader,
  encodeTrailer,
  RECORD_BYTES,
} from '../../src/cli/perf-protocol.ts';
import { PerfStream } from '../../src/cli/perf-stream.ts';

const HEADER = {
  directions: 1,
  connections: 2,
  number: 1,
  test: '0123456789abcdef'.repeat(2),
  duration: 1000,
  bytes: 0,
};

/** A cable: what one end sends waits for the test to carry it, in pieces of random sizes. */
class End implements PerfConnection {
  readonly local = 'here';
  readonly peer = 'there';
  listener: PerfListener = { onData() {}, onRoom() {}, onEnd() {}, onClose() {} };
  readonly sent: Uint8Array[] = [];
  room: number;
  ended = false;
  aborted = false;

  constructor(room: number) {
    this.room = room;
  }

  send(bytes: Uint8Array, start: number, length: number): number {
    const taken = Math.min(length, this.room);
    this.room -= taken;
    if (taken > 0) this.sent.push(bytes.slice(start, start + taken));
    return taken;
  }

  end(): void {
    this.ended = true;
  }

  abort(): void {
    this.aborted = true;
  }

  look(): ConnectionFigures {
    return { multipath: true, fallback: undefined, paths: [] };
  }
}

/** Carries everything until nothing moves any more. */
function carry(left: End, right: End, piece: () => number): void {
  const told = new Set<End>();
  for (let moved = true; moved; ) {
    moved = false;
    for (const [from, to] of [
      [left, right],
      [right, left],
    ] as const) {
      const bytes = Buffer.concat(from.sent.splice(0));
      for (let at = 0; at < bytes.length; ) {
        const length = Math.min(piece(), bytes.length - at);
        to.listener.onData(bytes.subarray(at, at + length));
        at += length;
        from.room += length;
        moved = true;
      }
      if (bytes.length > 0) from.listener.onRoom();
      if (from.ended && from.sent.length === 0 && !told.has(from)) {
        told.add(from);
        moved = true;
        to.listener.onEnd();
      }
    }
  }
  for (const end of [left, right]) if (left.ended && right.ended) end.listener.onClose(undefined);
}

describe('the protocol of perf', () => {
  test('records come back as they went', () => {
    assert.deepEqual(decodeHeader(encodeHeader(HEADER)), HEADER);
    const trailer = { sent: 1e12, sendTime: 10_000.5, received: 0, receiveTime: 0, retransmitted: 3, subflows: 2 };
    assert.deepEqual(decodeTrailer(encodeTrailer(trailer)), trailer);
    assert.equal(encodeHeader(HEADER).length, RECORD_BYTES);
    assert.equal(encodeTrailer(trailer).length, RECORD_BYTES);
  });

  test('what is no request is recognised', () => {
    assert.equal(decodeHeader(new Uint8Array(64)), undefined);
    assert.equal(decodeHeader(Buffer.from('GET / HTTP/1.1\r\n'.padEnd(64))), undefined);
    for (const wrong of [
      { directions: 0 },
      { directions: 4 },
      { duration: -1 },
      { duration: Number.NaN },
      { duration: 1e12 },
      { duration: 0 },
      { bytes: Infinity },
    ]) {
      assert.equal(decodeHeader(encodeHeader({ ...HEADER, ...wrong })), undefined, JSON.stringify(wrong));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 128 }), (bytes) => {
        decodeTrailer(bytes);
        return decodeHeader(bytes) === undefined;
      }),
    );
  });

  test('both ends agree on what went, however it is cut into pieces', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(Direction.Up, Direction.Down, Direction.Up | Direction.Down),
        fc.integer({ min: 1, max: 400_000 }),
        fc.integer({ min: 1, max: 300_000 }),
        fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1, maxLength: 8 }),
        (directions, bytes, room, pieces) => {
          const left = new End(room);
          const right = new End(room);
          const closed: PerfStream[] = [];
          const events = { onClose: (stream: PerfStream) => closed.push(stream) };
          const server = new PerfStream(right, events);
          const client = new PerfStream(left, events, { ...HEADER, directions, duration: 0, bytes });
          client.start();
          let turn = 0;
          carry(left, right, () => (bytes > 5000 ? 1000 : 0) + pieces[turn++ % pieces.length]!);
          assert.deepEqual(server.header, client.header);
          const up = (directions & Direction.Up) !== 0 ? bytes : 0;
          const down = (directions & Direction.Down) !== 0 ? bytes : 0;
          assert.equal(client.sent, up);
          assert.equal(server.received, up);
          assert.equal(server.sent, down);
          assert.equal(client.received, down);
          if (up > 0) assert.equal(client.peerReceived?.bytes, up);
          assert.equal(client.peerSent?.bytes, down);
          assert.equal(server.peerSent?.bytes, up);
          assert.equal(closed.length, 2);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('a client that only receives keeps its direction open until the server is done', () => {
    const left = new End(1e6);
    const right = new End(0);
    const server = new PerfStream(right, { onClose() {} });
    const client = new PerfStream(
      left,
      { onClose() {} },
      { ...HEADER, directions: Direction.Down, duration: 0, bytes: 10 },
    );
    client.start();
    server.onData(Buffer.concat(left.sent.splice(0)));
    assert.equal(left.ended, false);
    right.room = 1000;
    server.onRoom();
    carry(left, right, () => 7);
    assert.ok(left.ended && right.ended);
    assert.equal(client.received, 10);
  });

  test('a server told nonsense says so, and a stream without a trailer is known as cut off', () => {
    const seen: unknown[] = [];
    const end = new End(1000);
    const server = new PerfStream(end, { onHeader: (_, header) => seen.push(header), onClose() {} });
    server.onData(new Uint8Array(100));
    assert.deepEqual(seen, [undefined]);
    const client = new PerfStream(new End(1e6), { onClose() {} }, { ...HEADER, directions: Direction.Down });
    client.start();
    client.onData(new Uint8Array(500));
    client.onEnd();
    assert.equal(client.trailer, undefined);
    assert.equal(client.received, 500);
    client.abort();
  });
});

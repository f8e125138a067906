import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { EndpointEvent } from '../../src/tcp/endpoint.ts';
import { CloseReason } from '../../src/tcp/seams.ts';
import { State } from '../../src/tcp/state.ts';
import { Pair, type PairOptions } from './tcp-connection-pair.ts';

/** Both ends send `bytes` and close; all is delivered exactly, and both end in order. */
function exchange(options: PairOptions, bytes: number, back: number, readEvery = Number.POSITIVE_INFINITY): Pair {
  const pair = new Pair(options);
  const { a, b } = pair;
  a.connect(0);
  pair.run(
    () => {
      for (const [end, total, most] of [
        [a, bytes, Number.POSITIVE_INFINITY],
        [b, back, readEvery],
      ] as const) {
        if (end.stream === null) continue;
        end.writeTo(pair.now, 1 + total);
        if (end.written > total) end.stream.shutdown(pair.now);
        end.read(pair.now, most);
      }
    },
    () => a.stream?.closed === true && b.stream?.closed === true && a.stream.readable + b.stream.readable === 0,
    3_600_000,
  );
  equal(b.consumed, bytes + 1, `a to b, seed ${options.seed}`);
  equal(a.consumed, back + 1, `b to a, seed ${options.seed}`);
  for (const end of [a, b]) {
    equal(end.stream!.closeReason, CloseReason.Finished, `seed ${options.seed}`);
    ok(end.stream!.peerFinished);
    equal(end.stream!.sink.readable, 0);
    equal(end.counters.TCPInvariant, 0);
    equal(end.counters.CurrEstab, 0);
    equal(end.counters.OutRsts, 0);
  }
  return pair;
}

test('C02 C37 two streams deliver exactly what was written, over a clean path', () => {
  const { a, b } = exchange({ seed: 1 }, 1_000_000, 300_000);
  equal(a.counters.RetransSegs, 0);
  equal(b.counters.RetransSegs, 0);
});

test('C02 C37 the same over a path that loses, repeats and reorders', () => {
  for (let seed = 1; seed <= 12; seed++) {
    exchange({ seed, loss: 0.05, duplication: 0.02, reordering: 0.1 }, 150_000, 60_000);
  }
});

test('C02 C37 the same without SACK, timestamps and window scaling', () => {
  for (let seed = 1; seed <= 6; seed++) {
    const config = { sack: false, timestamps: false, windowScaling: false };
    exchange({ seed, loss: 0.03, reordering: 0.05, config }, 80_000, 20_000);
  }
});

test('C53 C37 the same with segmentation offload', () => {
  for (let seed = 1; seed <= 6; seed++) {
    exchange({ seed, loss: 0.03, reordering: 0.05, segmentationOffload: true }, 400_000, 100_000);
  }
});

test('C32 C33 a slow reader with a small buffer stops nothing for good', () => {
  for (let seed = 1; seed <= 4; seed++) {
    const config = { receiveBuffer: 4000, maximumReceiveBuffer: 4000 };
    exchange({ seed, loss: 0.05, config }, 60_000, 1000, 700);
  }
});

test('C38 C02 the receive buffer grows with a long fat path', () => {
  const { b } = exchange({ seed: 3, delay: 50 }, 8_000_000, 0);
  ok(b.stream!.sink.limit > 131_072, `${b.stream!.sink.limit} bytes`);
});

test('C03 both ends open at once', () => {
  for (let seed = 1; seed <= 8; seed++) {
    const pair = new Pair({ seed, loss: seed === 1 ? 0 : 0.2 });
    const { a, b } = pair;
    a.connect(0);
    b.connect(0);
    pair.run(
      () => {
        for (const end of [a, b]) {
          end.writeTo(pair.now, 5001);
          if (end.written > 5000) end.stream!.shutdown(pair.now);
          end.read(pair.now, Number.POSITIVE_INFINITY);
        }
      },
      () => a.stream!.closed && b.stream!.closed,
      600_000,
    );
    equal(a.consumed, 5001, `seed ${seed}`);
    equal(b.consumed, 5001, `seed ${seed}`);
  }
});

test('C46 both ends close at once, and both linger', () => {
  const pair = new Pair({ delay: 10 });
  const { a, b } = pair;
  a.connect(0);
  const established = () => a.stream?.connection !== null && b.stream?.connection != null;
  pair.run(() => {}, established, 1000);
  a.stream!.shutdown(pair.now);
  b.stream!.shutdown(pair.now);
  pair.run(
    () => {},
    () => a.stream!.closed && b.stream!.closed,
    1000,
  );
  pair.flush();
  equal(a.endpoint!.state, State.TimeWait);
  equal(b.endpoint!.state, State.TimeWait);
  pair.run(
    () => {},
    () => a.endpoint!.isFinished && b.endpoint!.isFinished,
    100_000,
  );
});

test('C02 half-close: one direction ends, the other goes on', () => {
  const pair = new Pair({ seed: 5, loss: 0.05 });
  const { a, b } = pair;
  a.connect(0);
  a.stream!.shutdown(0);
  pair.run(
    () => {
      if (b.stream?.peerFinished !== true) return;
      b.writeTo(pair.now, 50_001);
      a.read(pair.now, Number.POSITIVE_INFINITY);
    },
    () => a.consumed === 50_001,
    600_000,
  );
  ok((b.events & EndpointEvent.PeerFin) !== 0);
  equal(a.stream!.connection!.state, State.FinWait2);
  equal(b.stream!.connection!.state, State.CloseWait);
});

test('C02 a path that dies ends both connections', () => {
  const pair = new Pair({ config: { retries: 4 } });
  const { a, b } = pair;
  a.connect(0);
  pair.run(
    () => {
      a.writeTo(pair.now, 100_001);
      b.writeTo(pair.now, 100_001);
      if (pair.now > 25) pair.filter = () => false;
    },
    () => a.stream!.closed && b.stream?.closed === true,
    600_000,
  );
  equal(a.stream!.closeReason, CloseReason.TimedOut);
  equal(b.stream!.closeReason, CloseReason.TimedOut);
});

test("C10 packets above the path's MTU vanish without a word: the transfer goes on with smaller ones", () => {
  const pair = new Pair({ seed: 9 });
  const { a, b } = pair;
  pair.filter = (_from, bytes) => bytes.length <= 1300;
  a.connect(0);
  pair.run(
    () => {
      a.writeTo(pair.now, 50_001);
      b.read(pair.now, Number.POSITIVE_INFINITY);
    },
    () => b.consumed === 50_001,
    120_000,
  );
  ok(a.stream!.connection!.mtu <= 1280);
  ok(a.counters.TCPMTUPFail > 0);
});

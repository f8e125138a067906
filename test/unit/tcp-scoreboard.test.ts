import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Rack } from '../../src/tcp/recovery.ts';
import { Mark, Scoreboard, type Transmission } from '../../src/tcp/scoreboard.ts';

const SIZE = 1000;

/** A board with `count` segments sent one ms apart from time 0. */
function flight(count: number): { board: Scoreboard; rack: Rack } {
  const board = new Scoreboard();
  for (let index = 0; index < count; index++) board.append(index, 1 + SIZE * index, 1 + SIZE * (index + 1));
  return { board, rack: new Rack() };
}

function runs(board: Scoreboard, mark: number): [number, number][] {
  const found: [number, number][] = [];
  for (let record = board.head; record !== null; record = record.next) {
    if ((record.marks & mark) !== 0) found.push([record.start, record.end]);
  }
  return found;
}

function sack(board: Scoreboard, rack: Rack, start: number, end: number, now = 1000): void {
  board.beginAck();
  rack.beginAck(now, Number.POSITIVE_INFINITY, 10, 1);
  board.sack(start, end, SIZE, rack);
}

test('C15 what leaves in one moment is one record, and is split where blocks cut it', () => {
  const { board, rack } = flight(0);
  board.append(5, 1, 1001);
  board.append(5, 1001, 9001);
  equal(board.count, 1);
  board.append(6, 9001, 10_001);
  equal(board.count, 2);
  sack(board, rack, 501, 601);
  deepEqual(runs(board, Mark.Sacked), [[501, 601]]);
  equal(board.count, 4);
  equal(board.inFlight, 9900);
  sack(board, rack, 301, 501);
  sack(board, rack, 601, 9501);
  deepEqual(runs(board, Mark.Sacked), [[301, 9501]]);
  equal(board.count, 3);
});

test('C15 a block that tells nothing new changes nothing', () => {
  const { board, rack } = flight(100);
  for (let index = 0; index < 5; index++) {
    sack(board, rack, 1001, 5001);
    equal(board.delivery.octets, index === 0 ? 4000 : 0);
    equal(board.sacked, 4000);
  }
});

test('C15 a block costs a few steps however large the flight is', () => {
  const { board, rack } = flight(20_000);
  // One hole at the front, everything above it arrives: the block grows by a segment per ACK.
  for (let index = 2; index < 20_000; index++) sack(board, rack, 1001, 1 + SIZE * index);
  equal(board.count, 3);
  equal(board.refused, 0);
  ok(board.steps < 20_000, `${board.steps} steps`);
  // Each second one is lost: a new block per ACK, the recent ones repeated.
  const other = flight(20_000);
  for (let index = 1; index < 20_000; index += 2) {
    for (let block = 0; block < 3 && index - 2 * block > 0; block++) {
      const start = 1 + SIZE * (index - 2 * block);
      sack(other.board, other.rack, start, start + SIZE);
    }
  }
  equal(other.board.sacked, 10_000 * SIZE);
  ok(other.board.steps < 40_000, `${other.board.steps} steps`);
});

test('C16 C17 lost, sent again, lost again: figures and lists', () => {
  const { board } = flight(5);
  const second = board.head!.next!;
  equal(board.markLost(second), false);
  equal(board.pending, second);
  equal(board.inFlight, 4000);
  board.retransmit(100, second);
  equal(board.pending, null);
  equal(board.newest, second);
  equal(board.inFlight, 5000);
  equal(board.markLost(second), true, 'it was a retransmission');
  equal(board.inFlight, 4000);
  board.markLost(board.head!);
  board.markLost(board.tail!);
  const order: number[] = [];
  for (let record = board.pending as Transmission | null; record !== null; record = record.later)
    order.push(record.start);
  deepEqual(order, [1, 1001, 4001]);
});

test('C20 undoing takes what waits back into the timeline, where the time of its transmission puts it', () => {
  const { board } = flight(6);
  const second = board.head!.next!;
  const fourth = second.next!.next!;
  board.markLost(fourth);
  board.markLost(second);
  board.unmarkLost();
  equal(board.pending, null);
  equal(board.lost, 0);
  equal(board.inFlight, 6000);
  const times: number[] = [];
  for (let record = board.oldest; record !== null; record = record.later) times.push(record.sentAt);
  deepEqual(times, [0, 1, 2, 3, 4, 5]);
});

test('C15 RFC 6675 IsLost: enough octets, or enough separate runs, above', () => {
  const { board, rack } = flight(20);
  equal(board.lossBoundary(3, SIZE), 0);
  sack(board, rack, 10_001, 12_001);
  equal(board.lossBoundary(3, SIZE), 0);
  sack(board, rack, 14_001, 14_101);
  equal(board.lossBoundary(3, SIZE), 10_001);
  const other = flight(20);
  for (const start of [5001, 7001, 9001]) sack(other.board, other.rack, start, start + 10);
  equal(other.board.lossBoundary(3, SIZE), 5001, 'three runs, however small');
});

test('C16 RACK: only what was sent before something that arrived, and long enough ago', () => {
  const { board, rack } = flight(10);
  sack(board, rack, 5001, 6001, 105);
  equal(rack.sentAt, 5);
  equal(rack.rtt, 100);
  // At 105 with a window of 3 ms: sent at 0, 1 and 2 are lost, 3 will be in a ms.
  equal(rack.detectLosses(105, board, 3), 1);
  deepEqual(runs(board, Mark.Lost), [
    [1, 1001],
    [1001, 2001],
    [2001, 3001],
  ]);
  equal(rack.detectLosses(200, board, 3), 0);
  equal(board.lost, 5000, 'nothing that was sent later');
});

test('C16 RACK: an ACK that an earlier transmission may have caused proves nothing', () => {
  const { board, rack } = flight(3);
  const { head } = board;
  board.markLost(head!);
  board.retransmit(500, head!);
  // The echo is older than the retransmission.
  board.beginAck();
  rack.beginAck(600, 499, 10, 1001);
  board.sack(2, 1001, SIZE, rack);
  equal(rack.advanced, false);
  // Where a hole is open before it, the echo says nothing (RFC 7323 §4.3).
  const open = flight(3);
  open.board.markLost(open.board.head!.next!);
  open.board.retransmit(500, open.board.head!.next!);
  open.board.beginAck();
  open.rack.beginAck(600, 499, 10, 1);
  open.board.sack(1001, 2001, SIZE, open.rack);
  equal(open.rack.advanced, true);
  // Without timestamps: sooner than any RTT.
  const other = flight(3);
  other.board.markLost(other.board.head!);
  other.board.retransmit(500, other.board.head!);
  sack(other.board, other.rack, 2, 1001, 505);
  equal(other.rack.advanced, false);
});

test('C57 RACK: the reordering window grows with D-SACKs, once per round trip, and shrinks after sixteen recoveries', () => {
  const rack = new Rack();
  rack.beginAck(0, Number.POSITIVE_INFINITY, 40, 1);
  equal(rack.reorderingWindow(false, false, 100), 10);
  equal(rack.reorderingWindow(true, false, 100), 0);
  equal(rack.reorderingWindow(false, true, 100), 0);
  rack.reorderingSeen = true;
  equal(rack.reorderingWindow(true, true, 100), 10);
  rack.onDuplicateReported(1, 1000);
  rack.onDuplicateReported(500, 2000);
  equal(rack.reorderingWindow(false, false, 100), 20, 'one round trip');
  rack.onDuplicateReported(1000, 2000);
  equal(rack.reorderingWindow(false, false, 100), 30);
  equal(rack.reorderingWindow(false, false, 25), 25, 'never above SRTT');
  for (let index = 0; index < 15; index++) rack.onRecovered();
  equal(rack.reorderingWindow(false, false, 100), 30);
  rack.onRecovered();
  equal(rack.reorderingWindow(false, false, 100), 10);
});

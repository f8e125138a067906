import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { Verdict } from '../../src/tcp/seams.ts';
import { AckOutcome, initialWindow, SendKind, TimeoutOutcome } from '../../src/tcp/sender.ts';
import { brief, cubic, Script } from './tcp-sender-harness.ts';

test('C23 the initial window is RFC 6928’s, in bytes', () => {
  equal(initialWindow(1460, 10), 14_600);
  equal(initialWindow(536, 10), 5360);
  equal(initialWindow(8960, 10), 17_920);
  const script = new Script();
  equal(script.write(50_000).length, 10);
});

test('C22 slow start doubles the window per round trip, congestion avoidance adds a segment', () => {
  const script = new Script();
  script.write(500_000);
  script.at(100);
  let una = 1;
  una = script.ackEach(una, 10);
  equal(script.sender.cwnd, 20_000);
  equal(script.sent.length, 30);
  script.at(200);
  una = script.ackEach(una, 20);
  equal(script.sender.cwnd, 40_000);
  // A loss: ssthresh is half of what was in flight.
  script.at(300);
  script.ack(una, { sack: [[una + 1000, una + 4000]] });
  ok(script.sender.recovering);
  equal(script.sender.ssthresh, 20_000);
  script.at(400);
  script.ack(script.sender.nxt);
  equal(script.sender.recovering, false);
  equal(script.sender.cwnd, 20_000);
  una = script.sender.una;
  script.at(500);
  una = script.ackEach(una, 20);
  equal(script.sender.cwnd, 21_000);
});

test('C22 the window does not grow while the application, not the window, limits sending', () => {
  const script = new Script();
  for (let index = 0; index < 30; index++) {
    script.write(3000);
    script.at(script.now + 100);
    script.ack(script.sender.nxt);
  }
  equal(script.sender.cwnd, 10_000);
});

test('C22 after an idle RTO sending restarts with the initial window', () => {
  const script = new Script();
  script.write(60_000);
  let una = 1;
  for (let round = 0; round < 2; round++) {
    script.at(script.now + 100);
    una = script.ackEach(una, 10);
  }
  script.at(script.now + 100);
  script.ack(script.sender.nxt);
  script.ack(script.sender.nxt);
  ok(script.sender.cwnd >= 30_000);
  script.at(script.now + 200);
  equal(script.write(1000).length, 1);
  script.ack(script.sender.nxt);
  ok(script.sender.cwnd >= 30_000, 'not idle for an RTO yet');
  script.at(script.now + 5000);
  equal(script.write(100_000).length, 10);
  equal(script.sender.cwnd, 10_000);
});

test('C16 C17 one loss: RACK finds it when three segments are selectively acknowledged, and sends it again once', () => {
  const script = new Script();
  script.write(100_000);
  script.at(100);
  equal(brief(script.ack(1, { sack: [[1001, 2001]] })), '10001+1000');
  equal(brief(script.ack(1, { sack: [[1001, 3001]] })), '11001+1000');
  equal(brief(script.ack(1, { sack: [[1001, 4001]] })), 'R1+1000');
  ok((script.outcome & AckOutcome.EnteredRecovery) !== 0);
  equal(script.counters.TCPSackRecovery, 1);
  equal(script.counters.TCPFastRetrans, 1);
  equal(script.counters.RetransSegs, 1);
  script.ack(1, { sack: [[1001, 5001]] });
  script.at(200);
  script.ack(12_001);
  equal(script.sender.recovering, false);
  equal(script.sent.filter((one) => one.kind === SendKind.Retransmit).length, 1);
});

test('C16 with less than three above it a loss is found by the reordering timer, a quarter of the RTT later', () => {
  const script = new Script();
  script.write(3000);
  script.at(100);
  script.receive(1, { sack: [[1001, 2001]] });
  equal(script.sender.poll(script.now), SendKind.None);
  equal(script.sender.deadline, 125);
  equal(brief(script.at(126)), 'R1+1000');
  ok(script.sender.recovering);
});

test('C16 a retransmission that is lost as well is found and sent again, without a timeout', () => {
  const script = new Script();
  script.write(100_000);
  script.at(100);
  script.ack(1, { sack: [[1001, 2001]] });
  script.ack(1, { sack: [[1001, 3001]] });
  equal(brief(script.ack(1, { sack: [[1001, 4001]] })), 'R1+1000');
  let sacked = 4001;
  while (sacked < 10_001) {
    sacked += 1000;
    script.ack(1, { sack: [[1001, sacked]] });
  }
  script.at(150);
  const after = script.sender.nxt;
  script.write(1);
  script.at(205);
  // What was sent after the retransmission arrives, the retransmission does not.
  const sent = script.ack(1, { sack: [[1001, after]] });
  equal(brief(sent.slice(0, 1)), 'R1+1000');
  equal(script.counters.TCPLostRetransmit, 1);
  equal(script.counters.TCPTimeouts, 0);
});

test('C16 so is one when only other retransmissions arrive, whatever the timestamp says that the open hole keeps back', () => {
  const script = new Script({ timestamps: true });
  script.write(10_000);
  script.at(100);
  const stale = { echo: 0 };
  script.ack(1, { sack: [[2001, 3001]], ...stale });
  script.ack(1, { sack: [[2001, 4001]], ...stale });
  const again = [
    ...script.ack(1, {
      sack: [
        [2001, 4001],
        [5001, 10_001],
      ],
      ...stale,
    }),
  ];
  script.at(110);
  again.push(...script.pump());
  equal(brief(again), 'R1+1000 R1001+1000 R4001+1000');
  script.at(215);
  // The second and the third retransmission arrive, the first does not: the receiver still echoes what came before it.
  const sent = script.ack(1, { sack: [[1001, 10_001]], ...stale });
  equal(brief(sent), 'R1+1000');
  equal(script.counters.TCPLostRetransmit, 1);
  equal(script.counters.TCPTimeouts, 0);
});

test('C16 a tail loss probe goes out after two RTTs; its ACK makes RACK find the rest of the tail', () => {
  const script = new Script();
  script.write(5000);
  script.at(100);
  script.ack(1001);
  // The other four are lost. The probe is the last of them.
  const probe = script.at(310);
  equal(brief(probe), 'P4001+1000');
  equal(probe[0]!.at, 302);
  equal(script.counters.TCPLossProbes, 1);
  script.at(402);
  // The three before it were sent 300 ms earlier: lost. PRR lets one go for the one that arrived.
  equal(brief(script.ack(1001, { sack: [[4001, 5001]] })), 'R1001+1000');
  script.at(502);
  equal(brief(script.ack(2001, { sack: [[4001, 5001]] })), 'R2001+1000 R3001+1000');
  equal(script.counters.TCPTimeouts, 0);
});

test('C16 a loss probe sends new data when the window has room for any', () => {
  const script = new Script();
  script.write(5000);
  script.at(100);
  script.ack(1001, { window: 4000 });
  script.write(3000);
  equal(script.sender.nxt, 5001);
  script.receive(1001, { window: 5000, offset: 2 });
  script.sender.onUnsendable(script.now);
  equal(brief(script.at(310)), 'P5001+1000');
});

test('C16 a probe that repairs the single loss is told to congestion control; a D-SACK says there was none', () => {
  for (const spurious of [false, true]) {
    const script = new Script();
    script.write(5000);
    script.at(100);
    script.ack(4001);
    equal(brief(script.at(520)), 'P4001+1000');
    script.ack(5001, spurious ? { sack: [[4001, 5001]] } : {});
    const before = script.sender.cwnd;
    script.write(1000);
    script.at(script.now + 100);
    script.ack(6001);
    equal(script.counters.TCPLossProbeRecovery, spurious ? 0 : 1);
    equal(script.sender.cwnd < before, !spurious);
  }
});

test('C57 reordering that was seen once makes RACK wait, and a late original undoes what it caused', () => {
  const script = new Script();
  script.write(100_000);
  script.at(100);
  script.ack(1, { sack: [[1001, 2001]] });
  script.ack(2001);
  equal(script.sender.reordering, 3);
  // Three above, but the network is known to reorder: not lost yet.
  script.ack(2001, { sack: [[3001, 4001]] });
  script.ack(2001, { sack: [[3001, 5001]] });
  script.ack(2001, { sack: [[3001, 8001]] });
  equal(script.sender.recovering, false);
  equal(script.counters.RetransSegs, 0);
  script.ack(8001);
  equal(script.sender.reordering, 6);
});

test('C15 RFC 6675: three segments above make a loss; with RACK off time does not matter', () => {
  const script = new Script({ config: { rack: false } });
  script.write(100_000);
  script.at(100);
  script.ack(1, { sack: [[1001, 2001]] });
  script.ack(1, { sack: [[1001, 3001]] });
  equal(script.sender.recovering, false);
  equal(brief(script.ack(1, { sack: [[1001, 4001]] })), 'R1+1000');
  // A second hole, found as soon as enough lies above it.
  script.ack(1, {
    sack: [
      [1001, 4001],
      [5001, 6001],
    ],
  });
  script.ack(1, {
    sack: [
      [5001, 7001],
      [1001, 4001],
    ],
  });
  const sent = script.ack(1, {
    sack: [
      [5001, 8001],
      [1001, 4001],
    ],
  });
  ok(brief(sent).includes('R4001+1000') || brief(script.ack(1, { sack: [[5001, 9001]] })).includes('R4001+1000'));
});

test('C17 without SACK: three duplicate ACKs, one retransmission, a partial ACK brings the next', () => {
  const script = new Script({ sack: false });
  script.write(100_000);
  script.at(100);
  equal(brief(script.ack(1)), '10001+1000');
  equal(brief(script.ack(1)), '11001+1000');
  equal(brief(script.ack(1)), 'R1+1000');
  equal(script.counters.TCPRenoRecovery, 1);
  for (let index = 0; index < 7; index++) script.ack(1);
  script.at(200);
  const partial = script.ack(5001);
  equal(brief(partial.slice(0, 1)), 'R5001+1000');
  ok(script.sender.recovering);
  script.at(300);
  script.ack(script.sender.nxt);
  equal(script.sender.recovering, false);
  equal(script.sender.cwnd, script.sender.ssthresh);
});

test('C17 ACKs that carry signals, data or another window are no duplicates', () => {
  const script = new Script({ sack: false });
  script.write(20_000);
  script.at(100);
  for (let index = 0; index < 5; index++) script.ack(1, { verdict: Verdict.NotDuplicate });
  for (let index = 0; index < 5; index++) script.ack(1, { window: 100_000 + index });
  for (let index = 0; index < 5; index++) script.ack(1, { length: 10, offset: 1 + 10 * index });
  equal(script.sender.recovering, false);
  equal(script.counters.RetransSegs, 0);
});

test('C17 after recovery, duplicates of what was outstanding in it start no other (RFC 6582 “recover”)', () => {
  const script = new Script({ sack: false });
  script.write(10_000);
  script.at(100);
  for (let index = 0; index < 3; index++) script.ack(1);
  script.at(200);
  script.ack(10_001);
  equal(script.sender.recovering, false);
  script.write(10_000);
  for (let index = 0; index < 4; index++) script.ack(10_001);
  equal(script.sender.recovering, false);
});

test('C18 limited transmit: each of the first two duplicate ACKs lets one new segment out', () => {
  for (const sack of [true, false]) {
    const script = new Script({ sack, config: { rack: false } });
    script.write(20_000);
    script.at(100);
    equal(script.ack(1, sack ? { sack: [[1001, 2001]] } : {}).length, 1);
    equal(script.ack(1, sack ? { sack: [[1001, 3001]] } : {}).length, 1);
    equal(script.sender.recovering, false);
    equal(script.sender.cwnd, 10_000);
  }
});

test('C21 PRR: half of what is delivered goes out again, and recovery ends at ssthresh', () => {
  const script = new Script({ initial: 20_000 });
  script.write(200_000);
  script.at(100);
  let sacked = 1001;
  let sent = 0;
  for (let index = 0; index < 3; index++) {
    sacked += 1000;
    script.ack(1, { sack: [[1001, sacked]] });
  }
  ok(script.sender.recovering);
  equal(script.sender.ssthresh, 10_000);
  const first = script.sender.nxt;
  for (let index = 0; index < 16; index++) {
    sacked += 1000;
    sent += script.ack(1, { sack: [[1001, sacked]] }).length;
  }
  ok(sent >= 7 && sent <= 9, `${sent} for 16`);
  equal(script.sender.inFlight <= script.sender.ssthresh + 1000, true);
  script.at(200);
  script.ack(first);
  equal(script.sender.recovering, false);
  equal(script.sender.cwnd, 10_000);
});

test('C21 PRR after a burst of losses: never more out than what arrived allows, and slow start at most', () => {
  const script = new Script({ initial: 20_000 });
  script.write(200_000);
  script.at(100);
  // 15 of 20 are lost: 1 to 15001.
  const sent: number[] = [];
  for (let index = 0; index < 5; index++) {
    sent.push(script.ack(1, { sack: [[15_001, 16_001 + 1000 * index]] }).length);
  }
  ok(
    sent.every((count) => count <= 2),
    sent.join(' '),
  );
  ok(script.sender.inFlight <= script.sender.ssthresh);
});

test('C19 the RTO follows SRTT and its variance, with Linux’s floor; back-off doubles; give up after `retries`', () => {
  const script = new Script({ config: { rack: false, retries: 3 } });
  equal(script.sender.rtt.rto, 300);
  script.write(1000);
  const times: number[] = [];
  for (const expected of [300, 900, 2100]) {
    const [again] = script.at(expected);
    script.sender.onTimeout(expected);
    const sent = again ?? script.pump()[0];
    equal(brief([sent!]), 'R1+1000');
    times.push(sent!.at);
  }
  deepEqual(times, [300, 900, 2100]);
  equal(script.sender.timeouts, 3);
  equal(script.sender.cwnd, 1000);
  script.at(100_000);
  ok((script.outcome & TimeoutOutcome.Abort) !== 0);
  equal(script.now, 4500);
});

test('C19 Karn: no RTT is taken from what was sent twice, but the timestamp’s; an unmeasured SYN makes 3 s', () => {
  const plain = new Script({ config: { rack: false } });
  plain.write(1000);
  plain.at(301);
  plain.pump();
  plain.at(310);
  plain.ack(1001);
  equal(plain.sender.rtt.latest, 100);
  equal(plain.sender.rtt.rto, 600, 'the back-off stays until there is a measurement');
  const stamped = new Script({ config: { rack: false }, timestamps: true });
  stamped.write(1000);
  stamped.at(301);
  stamped.pump();
  stamped.at(310);
  stamped.ack(1001, { echo: 301 });
  equal(stamped.sender.rtt.latest, 9);
  equal(new Script({ rtt: -1 }).sender.rtt.rto, 1000);
  equal(new Script({ rtt: -1, retransmittedSyn: true }).sender.rtt.rto, 3000);
});

test('C20 F-RTO: originals that arrive after the timeout undo it', () => {
  for (const sack of [true, false]) {
    const script = new Script({ sack, config: { rack: false } });
    script.write(100_000);
    // A delay spike. The timer fires, the first segment goes out again.
    equal(brief(script.at(310)), 'R1+1000');
    equal(script.sender.cwnd, 1000);
    script.at(400);
    if (sack) {
      script.ack(1001);
      script.ack(2001);
    } else {
      // The first ACK covers the retransmission: new data tries what is true.
      equal(brief(script.ack(1001)), '10001+1000 11001+1000');
      equal(script.counters.TCPSpuriousRTOs, 0);
      script.ack(2001);
    }
    equal(script.counters.TCPSpuriousRTOs, 1);
    equal(script.sender.recovering, false);
    ok(script.sender.cwnd >= 10_000);
    equal(script.counters.RetransSegs, 1);
    equal(script.sender.board.lost, 0);
  }
});

test('C20 F-RTO: duplicate ACKs for the new data show that the loss was real', () => {
  const script = new Script({ sack: false, config: { rack: false } });
  script.write(100_000);
  script.at(310);
  script.at(400);
  equal(brief(script.ack(1001)), '10001+1000 11001+1000');
  script.at(500);
  ok(script.ack(1001).some((one) => one.kind === SendKind.Retransmit && one.offset === 1001));
  script.ack(1001);
  ok(script.sender.recovering);
  equal(script.counters.TCPSpuriousRTOs, 0);
});

test('C20 Eifel: an echo older than the retransmission undoes the timeout at once', () => {
  const script = new Script({ sack: false, timestamps: true });
  script.write(100_000);
  script.at(310);
  equal(script.counters.TCPTimeouts, 1);
  script.at(400);
  script.ack(1001, { echo: 0 });
  equal(script.counters.TCPLossUndo, 1);
  equal(script.sender.recovering, false);
  equal(script.sender.cwnd, 11_000);
  // The same echo of the retransmission would not.
  const real = new Script({ sack: false, timestamps: true });
  real.write(100_000);
  real.at(310);
  real.at(400);
  real.ack(1001, { echo: 310 });
  equal(real.counters.TCPLossUndo, 0);
  ok(real.sender.recovering);
});

test('C14 D-SACK for all that was sent again undoes the reduction', () => {
  const script = new Script();
  script.write(100_000);
  script.at(100);
  script.ack(1, { sack: [[1001, 2001]] });
  script.ack(1, { sack: [[1001, 3001]] });
  script.ack(1, { sack: [[1001, 4001]] });
  ok(script.sender.recovering);
  script.ack(10_001);
  script.at(200);
  script.ack(script.sender.nxt, { sack: [[1, 1001]] });
  equal(script.counters.TCPDSACKRecv, 1);
  equal(script.counters.TCPDSACKUndo, 1);
  ok(script.sender.cwnd >= 10_000, `${script.sender.cwnd}`);
  equal(script.sender.recovering, false);
});

test('C14 D-SACK within the second block counts as well; partial ones undo nothing', () => {
  const script = new Script();
  script.write(100_000);
  script.at(100);
  script.ack(1, { sack: [[2001, 3001]] });
  script.ack(1, { sack: [[2001, 4001]] });
  const sent = script.ack(1, { sack: [[2001, 5001]] });
  equal(brief(sent), 'R1+1000');
  script.ack(1, { sack: [[2001, 6001]] });
  script.ack(1, { sack: [[2001, 7001]] });
  script.ack(1, {
    sack: [
      [1001, 1501],
      [1001, 7001],
    ],
  });
  equal(script.counters.TCPDSACKRecv, 1);
  equal(script.counters.TCPDSACKUndo, 0);
});

test('C15 SACK reneging: what was taken back is sent again after a timeout', () => {
  const script = new Script();
  script.write(10_000);
  script.at(100);
  script.ack(1, { sack: [[2001, 10_001]] });
  script.at(110);
  // It acknowledges up to where the block began and no further.
  script.ack(2001);
  equal(script.sender.inFlight, 0);
  const [again] = script.at(400);
  ok(again !== undefined);
  equal(again.kind, SendKind.Retransmit);
  equal(again.offset, 2001);
  equal(script.counters.TCPSACKReneging, 1);
  equal(script.sender.board.sacked, 0);
});

test('C15 SACK blocks outside of what was sent are counted and ignored; overtaken ones are ignored', () => {
  const script = new Script();
  script.write(10_000);
  script.at(100);
  script.ack(5001, { sack: [[20_001, 21_001]] });
  equal(script.counters.TCPSACKDiscard, 1);
  script.ack(5001, { sack: [[9001, 12_001]] });
  equal(script.counters.TCPSACKDiscard, 2);
  script.ack(5001, { sack: [[9001, 8001]] });
  equal(script.counters.TCPSACKDiscard, 3);
  script.ack(1001, {
    sack: [
      [2001, 3001],
      [6001, 7001],
    ],
  });
  equal(script.counters.TCPSACKDiscard, 3);
  equal(script.sender.board.sacked, 1000, 'an old ACK still tells of the rest');
});

test('C15 hostile SACK blocks cannot make the scoreboard grow without bound', () => {
  const script = new Script({ initial: 1_000_000, gso: 64_000, rtt: 1 });
  script.write(1_000_000);
  const { board } = { board: script.sender.board };
  for (let offset = 3; offset < 30_000; offset += 2) script.receive(1, { sack: [[offset, offset + 1]] });
  ok(board.count < 6000, `${board.count} records`);
  ok(script.counters.TCPSACKDiscard > 0);
});

test('C33 a closed window is probed, with back-off, for as long as the peer answers', () => {
  const script = new Script({ window: 2000 });
  script.write(10_000);
  script.at(100);
  script.ack(2001, { window: 0 });
  equal(script.sender.una, script.sender.nxt);
  const times: number[] = [];
  let turns = 0;
  while (times.length < 8) {
    ok(++turns < 100);
    const [probe] = script.at(script.sender.deadline);
    if (probe === undefined) continue;
    equal(brief([probe]), 'W2000+0', 'below una: draws an ACK');
    times.push(probe.at);
    script.ack(2001, { window: 0 });
  }
  const gaps = times.map((time, index) => Math.round(time - (times[index - 1] ?? 100)));
  deepEqual(
    gaps.slice(1).map((gap, index) => Math.round(gap / gaps[index]!)),
    [2, 2, 2, 2, 2, 2, 2],
  );
  equal(script.counters.TCPWinProbe, 8);
  equal(brief(script.ack(2001, { window: 3000 })), '2001+1000 3001+1000 4001+1000');
  ok((script.outcome & AckOutcome.WindowOpened) !== 0);
});

test('C33 probes that nobody answers end the connection', () => {
  const script = new Script({ window: 1000, config: { retries: 4 } });
  script.write(2000);
  script.at(100);
  script.ack(1001, { window: 0 });
  script.at(1_000_000);
  equal(script.counters.TCPWinProbe, 4);
  ok((script.outcome & TimeoutOutcome.Abort) !== 0);
});

test('C32 no silly segments: a window cut below a segment waits, half of the largest window does not', () => {
  const script = new Script({ window: 10_000 });
  script.write(20_000);
  script.at(100);
  equal(brief(script.ack(10_001, { window: 700 })), '');
  equal(brief(script.ack(10_001, { window: 1700, offset: 2 })), '10001+1000');
  // The override: nothing in flight and still less than a segment. The persist timer sends what fits.
  script.at(200);
  script.ack(11_001, { window: 500, offset: 3 });
  equal(brief(script.at(600)), 'W11001+500');
  const small = new Script({ window: 900 });
  equal(brief(small.write(5000)), '1+900', 'a receiver that never offers a segment');
});

test('C29 Nagle, Minshall’s variant: one small segment outstanding; no delay, cork', () => {
  const script = new Script();
  equal(brief(script.write(10)), '1+10');
  equal(brief(script.write(10)), '', 'a small one is outstanding');
  equal(brief(script.write(1500)), '11+1000');
  equal(brief(script.ack(11)), '1011+510', 'the small one is acknowledged, though the full one is not');
  script.sender.setNagle(script.now, false);
  equal(brief(script.write(10)), '1521+10');
  equal(brief(script.write(10)), '1531+10');
  script.sender.setNagle(script.now, true);
  script.ack(1541);
  script.sender.setCork(script.now, true);
  equal(brief(script.write(10)), '');
  script.sender.setCork(script.now, false);
  equal(brief(script.pump()), '1541+10');
  // The last bytes do not wait.
  equal(brief(script.write(20)), '');
  script.sender.shutdown(script.now);
  equal(brief(script.pump()), '1551+20F');
});

test('C29 a cork is pulled after about an RTO', () => {
  const script = new Script();
  script.sender.setCork(0, true);
  equal(brief(script.write(10)), '');
  equal(brief(script.at(320)), 'W1+10');
});

test('C35 the user timeout ends a connection whose data stays unacknowledged, or unsent for want of a window', () => {
  const script = new Script();
  script.sender.setPersistence(15, 5000);
  script.write(1000);
  script.at(100_000);
  ok((script.outcome & TimeoutOutcome.Abort) !== 0);
  equal(script.now, 5000);
  const closed = new Script({ window: 0 });
  closed.sender.setPersistence(15, 5000);
  closed.write(1000);
  let turns = 0;
  while ((closed.outcome & TimeoutOutcome.Abort) === 0) {
    ok(++turns < 50);
    if (closed.at(closed.sender.deadline).length > 0) closed.ack(1, { window: 0 });
  }
  ok(closed.now >= 5000 && closed.now < 15_000, `${closed.now}`);
});

test('C27 pacing spreads the window over the RTT; the goal of one transmission follows the rate', () => {
  const script = new Script({ config: { pacing: true } });
  script.write(100_000);
  equal(script.sender.pacingRate, 200);
  script.at(99);
  const times = script.sent.map((one) => one.at);
  equal(times.length, 10);
  equal(times[0], 0);
  ok(times[9]! > 30 && times[9]! < 50, times.join(' '));
  // 64 KiB transmissions are allowed, but this path is slow: two segments each.
  const slow = new Script({ gso: 64_000 });
  deepEqual([...new Set(slow.write(100_000).map((one) => one.length))], [2000]);
  const fast = new Script({ gso: 64_000, rtt: 0.2, initial: 640_000 });
  equal(fast.write(1_000_000)[0]!.length, 64_000);
});

test('C27 congestion control may set the rate', () => {
  const script = new Script({
    config: {
      congestionControl: (size, window) => Object.assign(cubic(size, window), { pacingRate: 50 }),
    },
  });
  equal(script.sender.pacingRate, 50);
  script.write(100_000);
  script.at(99);
  equal(script.sent.length, 5);
});

test('C39 the FIN: with the last bytes, alone, again; acknowledged', () => {
  const script = new Script();
  script.sender.shutdown(0);
  equal(brief(script.pump()), '1+0F');
  equal(script.sent[0]!.kind, SendKind.Fin);
  const again = script.at(400);
  ok(again.length > 0);
  ok(again.every((one) => one.fin && one.length === 0));
  script.receive(2);
  equal(
    script.outcome & (AckOutcome.FinAcknowledged | AckOutcome.Advanced),
    AckOutcome.FinAcknowledged | AckOutcome.Advanced,
  );
  equal(script.sender.deadline, Number.POSITIVE_INFINITY);
  const queued = new Script({ window: 1000 });
  queued.write(1000);
  queued.sender.shutdown(0);
  equal(brief(queued.pump()), '', 'the FIN takes an octet of the window');
  equal(brief(queued.ack(1001)), '1001+0F');
});

test('C39 a plan may be cut, and refused', () => {
  const script = new Script({ gso: 10_000, rtt: 0.1 });
  script.queue.write(new Uint8Array(20_000), 0, 20_000);
  script.sender.onData(0);
  equal(script.sender.poll(0), SendKind.Data);
  equal(script.sender.planLength, 10_000);
  equal(script.sender.poll(0), SendKind.Data, 'asking again changes nothing');
  script.sender.onSent(0, 1234, false);
  equal(script.sender.nxt, 1235);
  equal(script.sender.poll(0), SendKind.Data);
  equal(script.sender.planOffset, 1235);
  script.sender.onUnsendable(0);
  equal(script.sender.poll(0), SendKind.None);
  script.sender.onData(0);
  equal(script.sender.poll(0), SendKind.Data);
});

test('C39 a retransmission that is cut continues where it was cut', () => {
  const script = new Script();
  script.write(10_000);
  script.at(100);
  script.receive(1, { sack: [[3001, 6001]] });
  equal(script.sender.poll(100), SendKind.Retransmit);
  script.sender.onSent(100, 300, false);
  script.ack(1, { sack: [[3001, 9001]] });
  script.ack(1, { sack: [[3001, 10_001]] });
  const again = script.sent.filter((one) => one.kind === SendKind.Retransmit);
  equal(again[0]!.offset, 301);
});

test('C10 packets that were too big are lost without being a sign of congestion, and go out smaller', () => {
  const script = new Script({ size: 1400 });
  script.write(14_000);
  script.sender.onPacketTooBig(script.now, 1000);
  const sent = script.pump();
  equal(brief(sent.slice(0, 2)), 'R1+1000 R1001+1000');
  equal(script.sender.cwnd, 14_000);
  equal(sent.length, 14);
  script.at(50);
  script.ack(14_001);
  equal(script.sender.recovering, false);
  equal(script.sender.cwnd, 14_000 + 14_000);
});

test('C10 timeouts in a row of full segments look like a black hole; a smaller size clears it', () => {
  const script = new Script({ config: { rack: false } });
  script.write(3000);
  let turns = 0;
  while (!script.sender.blackHoleSuspected) {
    ok(++turns < 10);
    script.at(script.sender.deadline);
  }
  equal(script.sender.timeouts, 3);
  ok((script.outcome & TimeoutOutcome.BlackHole) !== 0);
  script.sender.setSegmentSize(script.now, 500);
  equal(script.sender.blackHoleSuspected, false);
  script.at(script.sender.deadline);
  equal(script.sent.at(-1)!.length, 500);
});

test('C33 a window that shrinks below what was sent: nothing but the first segment is sent again beyond it', () => {
  const script = new Script({ config: { rack: false } });
  script.write(10_000);
  script.at(100);
  script.ack(1001, { window: 1000 });
  script.at(5000);
  for (const one of script.sent.slice(10)) ok(one.offset + one.length <= 2001, brief([one]));
  script.ack(2001, { window: 0 });
  script.at(20_000);
  ok(script.sent.at(-1)!.offset === 2001);
});

test('C22 windows of old segments are not taken', () => {
  const script = new Script();
  script.write(3000);
  script.at(100);
  script.ack(2001, { offset: 100, window: 50_000 });
  script.ack(2001, { offset: 50, window: 7 });
  equal(script.sender.wnd, 50_000);
  script.ack(1001, { offset: 200, window: 7 });
  equal(script.sender.wnd, 50_000);
  script.ack(2001, { offset: 200, window: 60_000 });
  equal(script.sender.wnd, 60_000);
});

test('C53 large transmissions: one record, split where ACKs and SACKs cut it', () => {
  const script = new Script({ gso: 60_000, rtt: 0.2, initial: 60_000 });
  equal(brief(script.write(60_000)), '1+60000');
  const board = script.sender.board;
  equal(board.count, 1);
  script.at(1);
  script.receive(1, { sack: [[10_001, 20_001]] });
  equal(board.count, 3);
  script.receive(1, {
    sack: [
      [10_001, 20_001],
      [30_001, 40_001],
    ],
  });
  equal(board.sacked, 20_000);
  equal(board.count, 5);
  script.receive(1, { sack: [[10_001, 40_001]] });
  equal(board.sacked, 30_000);
  equal(board.count, 3);
  script.receive(5555);
  equal(board.head!.start, 5555);
});

test('C16 an ACK of steady traffic allocates no records that stay', () => {
  const script = new Script();
  script.write(1_000_000);
  for (let round = 0; round < 200; round++) {
    script.at(script.now + 10);
    script.ack(Math.min(script.sender.nxt, script.sender.una + 2000));
  }
  ok(script.sender.board.count < 200);
});

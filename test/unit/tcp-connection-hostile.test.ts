import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { TcpConnection } from '../../src/tcp/connection.ts';
import { IcmpKind } from '../../src/tcp/endpoint.ts';
import { isLegal } from '../../src/tcp/state.ts';
import {
  closeWait,
  connected,
  established,
  finWait1,
  lastAck,
  Script,
  synReceived,
  synSent,
} from '../script/harness.ts';
import { Dice } from './tcp-connection-pair.ts';

const OPENING = [established, connected, synSent, synReceived];
const EVERY = [...OPENING, finWait1, closeWait, lastAck];

/** A peer that sends anything, and an application that does anything, by a seed. */
function hostile(seed: number): void {
  const dice = new Dice(seed * 2_654_435_761);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(dice.next() * list.length)]!;
  const whole = (limit: number) => Math.floor(dice.next() * limit);
  const stamped = dice.next() < 0.3;
  const limit = pick([3000, 20_000, 65_535]);
  const script = pick(stamped ? OPENING : EVERY)({
    config: { timestamps: stamped, receiveBuffer: limit, maximumReceiveBuffer: pick([limit, 200_000]), retries: 4 },
    options: stamped ? 'mss 1460,sackOK,TS val 1000 ecr 0' : pick(['mss 1460,sackOK', 'mss 1460', 'nop']),
  });
  let state = script.endpoint.state;
  let nxt = 1;
  let edge = 1;
  for (let step = 0; step < 150; step++) {
    const receiver = script.stream.connection?.receiver;
    const sender = script.stream.connection?.sender;
    const base = receiver?.nxt ?? 1;
    switch (whole(12)) {
      case 0:
        script.app.writes(whole(5000));
        break;
      case 1:
        script.app.reads(whole(5000));
        break;
      case 2:
        if (dice.next() < 0.1) pick([script.app.shutdown, script.app.close, script.app.abort])();
        break;
      case 3:
        script.at(script.now + whole(dice.next() < 0.1 ? 100_000 : 300));
        break;
      case 4:
        script.icmp(pick(Object.values(IcmpKind)), whole(3000), whole(4000));
        break;
      default: {
        const flags = pick(['.', '.', '.', '.', 'P.', 'F.', 'S', 'S.', 'R', 'R.', 'FPU.', '-', 'SFRPU.']);
        const start = (base + pick([0, 0, 0, 1, -1, -50, whole(3000), whole(100_000), whole(2 ** 32)])) >>> 0;
        const length = pick([0, 0, 1, 100, 1460, whole(4000)]);
        const una = sender?.una ?? 1;
        const ack = (una + pick([0, 0, 0, 1, -1, whole(5000), (sender?.nxt ?? 1) - una, whole(2 ** 32)])) >>> 0;
        const options: string[] = [];
        if (stamped && dice.next() < 0.95)
          options.push(`TS val ${(1000 + script.now + whole(9) - 4) >>> 0} ecr ${whole(3)}`);
        if (dice.next() < 0.2) options.push(`sack ${(ack + whole(3000)) >>> 0}:${(ack + whole(6000)) >>> 0}`);
        const acknowledged = flags.includes('.') ? ` ack ${ack}` : '';
        const tail = options.length > 0 ? ` <${options.join()}>` : '';
        script.peer.sends(
          `${flags} ${start}:${(start + length) >>> 0}(${length})${acknowledged} win ${pick([0, 1, 100, 65_535])}${tail}`,
        );
      }
    }
    script.peer.ignores();
    const now = script.endpoint.state;
    // Several steps may have been taken at once.
    ok(now === state || isLegal(state, now) || now > state || now === 0, `seed ${seed}: ${state} to ${now}`);
    state = now;
    const { connection, sink } = script.stream;
    if (connection === null) continue;
    ok(connection instanceof TcpConnection);
    ok(connection.receiver.nxt >= nxt, `seed ${seed}: RCV.NXT goes back`);
    ok(connection.receiver.edge >= edge, `seed ${seed}: the window shrinks`);
    nxt = connection.receiver.nxt;
    edge = connection.receiver.edge;
    ok(connection.sender.una <= connection.sender.nxt, `seed ${seed}: SND.UNA beyond SND.NXT`);
    ok(sink.readable <= sink.limit, `seed ${seed}: more is held than offered`);
    ok(sink.capacity <= 2 * Math.max(sink.limit, 4096), `seed ${seed}: ${sink.capacity} bytes for ${sink.limit}`);
    const held = connection.receiver.held;
    if (held.count > 0 && connection.closeReason < 0) {
      ok(held.end(held.count - 1) <= sink.read + sink.limit, `seed ${seed}: held beyond the limit`);
    }
  }
  equal(script.counters.TCPInvariant, 0, `seed ${seed}: an invariant broke: ${script.endpoint.invariant}`);
  ok(script.counters.CurrEstab >= 0 && script.counters.CurrEstab <= 1, `seed ${seed}`);
  script.app.reads();
}

test('C02 C05 C38 no peer breaks an invariant, whatever it sends (400 seeds)', () => {
  for (let seed = 1; seed <= 400; seed++) {
    try {
      hostile(seed);
    } catch (error) {
      throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
    }
  }
});

test('C02 no deadline stays in the past, and a finished endpoint is silent', () => {
  const script = new Script();
  script.connect();
  script.app.abort();
  ok(script.endpoint.isFinished);
  equal(script.endpoint.deadline, Number.POSITIVE_INFINITY);
  script.peer.ignores();
  script.peer.sends('S. 0:0(0) ack 1');
  script.peer.expectsNothing();
});

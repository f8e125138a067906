import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  AddressTranslator,
  ClampMss,
  CoalesceSegments,
  DropUnknownOptions,
  DuplicateOption,
  EarlyAcknowledger,
  type Middlebox,
  MiddleboxLine,
  NormaliseRetransmissions,
  packetTooBig,
  RewritePayload,
  SequenceRewriter,
  ShrinkWindow,
  SplitSegments,
  StatefulFirewall,
  StripOption,
  SynProxy,
} from '../../src/link/index.ts';
import { pool } from '../../src/link/pool.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { Address } from '../../src/wire/address.ts';
import { decodeIcmp, IcmpMessage } from '../../src/wire/icmp.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Packet } from '../../src/wire/packet.ts';
import { A, A6, B, bytesOf, line, packet, payload } from './link-packets.ts';

/** Middleboxes with nothing around them: what comes out at either side, as lines. */
class Between {
  readonly line: MiddleboxLine;
  now = 0;
  private readonly out = new Packet(2048);

  constructor(...boxes: Middlebox[]) {
    this.line = new MiddleboxLine(boxes);
  }

  fromA(sent: string | Packet, data?: Uint8Array | string): string[] {
    this.line.forward.send(this.now, typeof sent === 'string' ? packet(sent, data) : sent);
    return this.lines();
  }

  fromB(sent: string | Packet, data?: Uint8Array | string): string[] {
    this.line.backward.send(this.now, typeof sent === 'string' ? packet(sent, data) : sent);
    return this.lines();
  }

  /** Packets to either side, marked. */
  lines(): string[] {
    return this.packets().map(([side, one]) => `${side}: ${line(one)}`);
  }

  packets(): [string, Packet][] {
    const seen: [string, Packet][] = [];
    for (const [side, stage] of [['B', this.line.forward] as const, ['A', this.line.backward] as const]) {
      while (stage.receive(this.now, this.out)) {
        const copy = new Packet(4096);
        copy.copyFrom(this.out);
        seen.push([side, copy]);
      }
    }
    return seen;
  }
}

/** What the notation calls the first option of MP_CAPABLE, found out and not assumed. */
function capable(): string {
  return line(packet(`${A} S 0:0(0) win 65535 <opt 30 0x0181>`)).replace(/^.*<|>$/g, '');
}

const MPC = capable();
/** The same option without what pads it. */
const BARE = 'dss dack4=5 dsn4=9 ssn=1 dll=100 nocs';
const DSS = 'dss dack4=5 dsn4=9 ssn=1 dll=100 nocs,nop,nop';
const DATA = `${A} P. 1:101(100) ack 1 win 500 <nop,nop,TS val 1 ecr 2,${DSS}>`;
const NOPS = (count: number): string => new Array(count).fill('nop').join(',');

test('MP_CAPABLE is stripped from the SYN alone', () => {
  const box = new StripOption({ on: 'syn' });
  const way = new Between(box);
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <mss 1460,${MPC}>`), [
    `B: ${A} S 0:0(0) win 65535 <mss 1460,${NOPS(4)}>`,
  ]);
  assert.deepEqual(way.fromB(`${B} S. 0:0(0) ack 1 win 65535 <mss 1460,opt 30 0x01810000000000000001>`), [
    `A: ${line(packet(`${B} S. 0:0(0) ack 1 win 65535 <mss 1460,opt 30 0x01810000000000000001>`))}`,
  ]);
  assert.equal(box.acted, 1);
});

test('MP_CAPABLE is stripped from the SYN/ACK alone', () => {
  const way = new Between(new StripOption({ on: 'syn-ack' }));
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`), [`B: ${A} S 0:0(0) win 65535 <${MPC}>`]);
  assert.deepEqual(way.fromB(`${B} S. 0:0(0) ack 1 win 65535 <mss 1460,opt 30 0x01810000000000000001>`), [
    `A: ${B} S. 0:0(0) ack 1 win 65535 <mss 1460,${NOPS(12)}>`,
  ]);
});

test('options are stripped from the third ACK alone, or from all segments but SYNs', () => {
  const third = `${A} . 1:1(0) ack 1 win 500 <opt 30 0x018100000000000000010000000000000002>`;
  const once = new Between(new StripOption({ on: 'third-ack' }));
  once.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`);
  const synAck = `${B} S. 0:0(0) ack 1 win 65535 <opt 30 0x01810000000000000001>`;
  assert.deepEqual(once.fromB(synAck), [`A: ${line(packet(synAck))}`]);
  assert.deepEqual(once.fromA(third), [`B: ${A} . 1:1(0) ack 1 win 500 <${NOPS(20)}>`]);
  assert.deepEqual(once.fromA(third), [`B: ${line(packet(third))}`]);

  const all = new Between(new StripOption({ on: 'non-syn' }));
  assert.deepEqual(all.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`), [`B: ${A} S 0:0(0) win 65535 <${MPC}>`]);
  for (let again = 0; again < 2; again++) {
    assert.deepEqual(all.fromA(third), [`B: ${A} . 1:1(0) ack 1 win 500 <${NOPS(20)}>`]);
  }
});

test('options vanish from data after a while', () => {
  const way = new Between(new StripOption({ on: 'data', after: 2 }));
  const seen = [0, 1, 2, 3].map(() => way.fromA(DATA)[0]!.includes('dss'));
  assert.deepEqual(seen, [true, true, false, false]);
  assert.match(way.fromA(`${A} . 101:101(0) ack 1 win 500 <dss dack4=5>`)[0]!, /dss/);
});

test('a SYN with an unknown option is dropped', () => {
  const box = new DropUnknownOptions();
  const way = new Between(box);
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <mss 1460,${MPC}>`), []);
  assert.equal(way.line.forward.counters.filtered, 1);
  const plain = `${A} S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 8>`;
  assert.deepEqual(way.fromA(plain), [`B: ${plain}`]);
  assert.deepEqual(way.fromA(DATA), [`B: ${DATA}`]);
  assert.equal(box.acted, 1);
});

test('MP_JOIN alone is stripped', () => {
  const way = new Between(new StripOption({ subtype: 1 }));
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <opt 30 0x10010000000100000002>`), [
    `B: ${A} S 0:0(0) win 65535 <${NOPS(12)}>`,
  ]);
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`), [`B: ${A} S 0:0(0) win 65535 <${MPC}>`]);
  assert.deepEqual(way.fromA(DATA), [`B: ${DATA}`]);
});

test('an option is replaced by end-of-list', () => {
  const way = new Between(new StripOption({ filler: 'end' }));
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <mss 1460,${MPC}>`), [
    `B: ${A} S 0:0(0) win 65535 <mss 1460,eol,eol,eol,eol>`,
  ]);
});

test('addresses and ports are translated, both ways, and in ICMP errors', () => {
  const way = new Between(new AddressTranslator(Address.of('192.0.2.9'), 50_000));
  const outside = '192.0.2.9:50000 > 10.0.1.2:80';
  const first = way.fromA(DATA);
  assert.deepEqual(first, [`B: ${DATA.replace(A, outside)}`]);
  assert.deepEqual(way.fromA(DATA.replace(':40000', ':40001')), [
    `B: ${DATA.replace(A, outside.replace('50000', '50001'))}`,
  ]);
  const back = '10.0.1.2:80 > 192.0.2.9:50000';
  assert.deepEqual(way.fromB(`${back} . 1:1(0) ack 101 win 500`), [`A: ${B} . 1:1(0) ack 101 win 500`]);
  assert.deepEqual(way.fromB(`${back.replace('50000', '50007')} . 1:1(0) ack 101 win 500`), []);
  assert.equal(way.line.backward.counters.filtered, 1);
  // Another outside address, as when a NAT restarts.

  const report = packetTooBig(packet(DATA.replace(A, outside)), 1000)!;
  way.line.backward.send(0, report);
  report.release();
  const [[side, icmp]] = way.packets() as [[string, Packet]];
  assert.equal(side, 'A');
  const ip = new IpHeader();
  const message = new IcmpMessage();
  assert.equal(decodeIp(icmp, ip), 0);
  assert.equal(decodeIcmp(icmp, ip, message), 0);
  assert.equal(new Address(4, 0, 0, 0, ip.destination3).toString(), '10.0.1.1');
  assert.equal(Address.v4(message.quotedSource3).toString(), '10.0.1.1');
  assert.equal(message.quotedSourcePort, 40_000);
  assert.equal(message.mtu, 1000);
});

test('IPv6 is translated too, its ICMP errors included', () => {
  const way = new Between(new AddressTranslator(Address.of('2001:db8::9'), 50_000));
  const outside = '[2001:db8::9]:50000 > [fd00::2]:80';
  assert.deepEqual(way.fromA(DATA.replace(A, A6)), [`B: ${DATA.replace(A, outside)}`]);
  const report = packetTooBig(packet(DATA.replace(A, outside)), 1280)!;
  way.line.backward.send(0, report);
  report.release();
  const [[, icmp]] = way.packets() as [[string, Packet]];
  const ip = new IpHeader();
  const message = new IcmpMessage();
  assert.equal(decodeIp(icmp, ip), 0);
  assert.equal(decodeIcmp(icmp, ip, message), 0);
  assert.equal(ip.destination3, 1);
  assert.equal(message.quotedSource3, 1);
  assert.equal(message.quotedSourcePort, 40_000);
});

test('initial sequence numbers are rewritten, with acknowledgments and SACK edges', () => {
  const words = [1000, 0xffff_ffff];
  const way = new Between(new SequenceRewriter({ word: () => words.shift()!, next: () => 0 }));
  assert.deepEqual(way.fromA(`${A} S 5:5(0) win 65535 <${MPC}>`), [`B: ${A} S 1005:1005(0) win 65535 <${MPC}>`]);
  assert.deepEqual(way.fromB(`${B} S. 7:7(0) ack 1006 win 500`), [`A: ${B} S. 6:6(0) ack 6 win 500`]);
  assert.deepEqual(way.fromA(`${A} P. 6:16(10) ack 7 win 500`), [`B: ${A} P. 1006:1016(10) ack 8 win 500`]);
  assert.deepEqual(way.fromB(`${B} . 8:8(0) ack 1006 win 500 <nop,nop,sack 1010:1016>`), [
    `A: ${B} . 7:7(0) ack 6 win 500 <nop,nop,sack 10:16>`,
  ]);
  const stranger = `${A.replace('40000', '40009')} P. 6:16(10) ack 7 win 500`;
  assert.deepEqual(way.fromA(stranger), [`B: ${stranger}`]);
});

test('segments are split with their options copied, or kept on one piece', () => {
  const options = `<nop,nop,TS val 1 ecr 2,${DSS}>`;
  const stripped = `<nop,nop,TS val 1 ecr 2,${NOPS(20)}>`;
  for (const [mode, first, middle, last] of [
    ['copy', options, options, options],
    ['first', options, stripped, stripped],
    ['last', stripped, stripped, options],
  ] as const) {
    const way = new Between(new SplitSegments(40, mode));
    assert.deepEqual(
      way.fromA(DATA).map((text) => text.replace(/ \[id \d+\]/, '')),
      [
        `B: ${A} . 1:41(40) ack 1 win 500 ${first}`,
        `B: ${A} . 41:81(40) ack 1 win 500 ${middle}`,
        `B: ${A} P. 81:101(20) ack 1 win 500 ${last}`,
      ].map((text) => text),
    );
  }
});

test('consecutive segments are joined and keep the options of the first', () => {
  const box = new CoalesceSegments(250, 2);
  const way = new Between(box);
  const at = (first: number, window: number, dsn: number): string =>
    `${A} P. ${first}:${first + 100}(100) ack ${dsn} win ${window} <dss dsn4=${dsn} ssn=${first} dll=100 nocs,nop,nop>`;
  assert.deepEqual(way.fromA(at(1, 500, 9)), []);
  assert.equal(way.line.forward.pollTimeout(), 2);
  assert.deepEqual(way.fromA(at(101, 600, 109)), []);
  // 300 bytes would be too many: the joined segment goes, the third one waits.
  way.now = 1;
  way.line.forward.send(1, packet(at(201, 700, 209)));
  const [[, joined]] = way.packets() as [[string, Packet]];
  assert.equal(line(joined), `${A} P. 1:201(200) ack 109 win 600 <dss dsn4=9 ssn=1 dll=100 nocs,nop,nop>`);
  assert.deepEqual(
    payload(joined),
    Uint8Array.from({ length: 200 }, (_, index) => (index < 100 ? 1 + index : 1 + index)),
  );
  way.now = 3;
  assert.deepEqual(way.lines(), [`B: ${at(201, 700, 209)}`]);
  assert.equal(box.acted, 1);
});

test('what does not follow, or ends the connection, is not joined', () => {
  const way = new Between(new CoalesceSegments(1000, 5));
  assert.deepEqual(way.fromA(`${A} . 1:11(10) ack 1 win 5`), []);
  assert.deepEqual(way.fromA(`${A} . 21:31(10) ack 1 win 5`), [`B: ${A} . 1:11(10) ack 1 win 5`]);
  assert.deepEqual(way.fromA(`${A} F. 31:41(10) ack 1 win 5`), [
    `B: ${A} . 21:31(10) ack 1 win 5`,
    `B: ${A} F. 31:41(10) ack 1 win 5`,
  ]);
  // The other direction has segments of its own.
  assert.deepEqual(way.fromB(`${B} . 1:11(10) ack 1 win 5`), []);
  way.now = 5;
  assert.deepEqual(way.lines(), [`A: ${B} . 1:11(10) ack 1 win 5`]);
});

test('payload is changed to the same length, checksum and numbers in order', () => {
  const way = new Between(new RewritePayload('secret', 'public'));
  way.line.forward.send(0, packet(`${A} P. 1:17(16) ack 1 win 500 <${DSS}>`, 'the secret is 42'));
  const [[, changed]] = way.packets() as [[string, Packet]];
  assert.equal(String.fromCharCode(...payload(changed)), 'the public is 42');
  assert.equal(line(changed), `${A} P. 1:17(16) ack 1 win 500 <${DSS}>`);
});

test('payload is changed to another length, and numbers are corrected both ways', () => {
  for (const [replacement, difference] of [
    ['192.168.100.200', 6],
    ['::1', -6],
  ] as const) {
    const way = new Between(new RewritePayload('10.0.1.11', replacement));
    way.line.forward.send(0, packet(`${A} P. 1:20(19) ack 1 win 500`, 'PORT 10.0.1.11 now!'));
    const [[, changed]] = way.packets() as [[string, Packet]];
    assert.equal(String.fromCharCode(...payload(changed)), `PORT ${replacement} now!`);
    assert.equal(line(changed), `${A} P. 1:${20 + difference}(${19 + difference}) ack 1 win 500`);
    // Everything behind it moves; acknowledgments come back as A knows them.
    assert.deepEqual(way.fromA(`${A} P. 20:30(10) ack 1 win 500`), [
      `B: ${A} P. ${20 + difference}:${30 + difference}(10) ack 1 win 500`,
    ]);
    assert.deepEqual(way.fromB(`${B} . 1:1(0) ack ${30 + difference} win 500`), [`A: ${B} . 1:1(0) ack 30 win 500`]);
    assert.deepEqual(way.fromB(`${B} . 1:1(0) ack 1 win 500`), [`A: ${B} . 1:1(0) ack 1 win 500`]);
    // A retransmission is changed alike and counted once.
    way.line.forward.send(0, packet(`${A} P. 1:20(19) ack 1 win 500`, 'PORT 10.0.1.11 now!'));
    assert.equal(way.packets()[0]![1].length, changed.length);
    assert.deepEqual(way.fromA(`${A} P. 30:40(10) ack 1 win 500`), [
      `B: ${A} P. ${30 + difference}:${40 + difference}(10) ack 1 win 500`,
    ]);
  }
});

test('a proxy acknowledges early and may lose what it acknowledged', () => {
  const box = new EarlyAcknowledger({ loses: (index) => index === 1 });
  const way = new Between(box);
  way.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`);
  way.fromB(`${B} S. 100:100(0) ack 1 win 65535 <nop,nop,TS val 70 ecr 1>`);
  assert.deepEqual(way.fromA(`${A} . 1:1(0) ack 101 win 500`), [`B: ${A} . 1:1(0) ack 101 win 500`]);
  way.fromB(`${B} . 101:101(0) ack 1 win 222 <nop,nop,TS val 80 ecr 1>`);
  const first = `${A} . 1:101(100) ack 101 win 500 <nop,nop,TS val 5 ecr 80>`;
  assert.deepEqual(way.fromA(first), [`B: ${first}`, `A: ${B} . 101:101(0) ack 101 win 222 <nop,nop,TS val 80 ecr 5>`]);
  assert.deepEqual(way.fromA(`${A} . 101:201(100) ack 101 win 500`), [`A: ${B} . 101:101(0) ack 201 win 222`]);
  assert.equal(box.lost, 1);
  // A gap is not acknowledged.
  assert.deepEqual(way.fromA(`${A} . 301:401(100) ack 101 win 500`), [
    `B: ${A} . 301:401(100) ack 101 win 500`,
    `A: ${B} . 101:101(0) ack 201 win 222`,
  ]);
});

test('windows are shrunk as they are scaled', () => {
  const way = new Between(new ShrinkWindow(10_000));
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <nop,wscale 8>`), [`B: ${A} S 0:0(0) win 10000 <nop,wscale 8>`]);
  way.fromB(`${B} S. 0:0(0) ack 1 win 9000 <nop,wscale 2>`);
  assert.deepEqual(way.fromA(`${A} . 1:1(0) ack 1 win 500`), [`B: ${A} . 1:1(0) ack 1 win 39`]);
  assert.deepEqual(way.fromB(`${B} . 1:1(0) ack 1 win 5000`), [`A: ${B} . 1:1(0) ack 1 win 2500`]);
  assert.deepEqual(way.fromB(`${B} . 1:1(0) ack 1 win 2000`), [`A: ${B} . 1:1(0) ack 1 win 2000`]);
});

test('a retransmission with other bytes says what was said first', () => {
  const box = new NormaliseRetransmissions(64);
  const way = new Between(box);
  const send = (text: string, data: string): string => {
    way.line.forward.send(0, packet(text, data));
    const [[, one]] = way.packets() as [[string, Packet]];
    assert.equal(line(one), text);
    return String.fromCharCode(...payload(one));
  };
  assert.equal(send(`${A} . 1:6(5) ack 1 win 5`, 'first'), 'first');
  assert.equal(send(`${A} . 11:16(5) ack 1 win 5`, 'third'), 'third');
  assert.equal(send(`${A} . 1:6(5) ack 1 win 5`, 'FIRST'), 'first');
  // Overlapping what was there, the hole, and the third.
  assert.equal(send(`${A} . 4:14(10) ack 1 win 5`, 'ABCDEFGHIJ'), 'stCDEFGthi');
  assert.equal(box.acted, 2);
  // What is further back than its memory is forgotten.
  assert.equal(send(`${A} . 100:105(5) ack 1 win 5`, 'later'), 'later');
  assert.equal(send(`${A} . 1:6(5) ack 1 win 5`, 'FIRST'), 'FIRST');
});

test('options are repeated on other segments', () => {
  const bare = new Between(new DuplicateOption('bare'));
  assert.deepEqual(bare.fromA(DATA), [
    `B: ${DATA}`,
    `B: ${A} . 101:101(0) ack 1 win 500 <nop,nop,TS val 1 ecr 2,${DSS}>`,
  ]);
  const next = new Between(new DuplicateOption('next'));
  next.fromA(DATA);
  assert.deepEqual(next.fromA(`${A} . 101:151(50) ack 1 win 500 <nop,nop,TS val 3 ecr 2>`), [
    `B: ${A} . 101:151(50) ack 1 win 500 <nop,nop,TS val 3 ecr 2,nop,nop,${BARE}>`,
  ]);
  next.line.forward.send(0, packet(`${A} . 151:161(10) ack 1 win 500`, '0123456789'));
  const [[, grown]] = next.packets() as [[string, Packet]];
  assert.equal(line(grown), `${A} . 151:161(10) ack 1 win 500 <nop,nop,${BARE}>`);
  assert.equal(String.fromCharCode(...payload(grown)), '0123456789');
});

test('a stateful firewall admits ordinary connections from inside alone', () => {
  const box = new StatefulFirewall({ idle: 1000 });
  const way = new Between(box);
  const ack = `${A} . 1:1(0) ack 1 win 500`;
  assert.deepEqual(way.fromA(ack), []);
  assert.deepEqual(way.fromB(`${B} S 0:0(0) win 500`), []);
  assert.equal(way.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`).length, 1);
  assert.deepEqual(way.fromA(DATA), [], 'data before the handshake');
  assert.equal(way.fromA(`${A} S 0:0(0) win 65535 <${MPC}>`).length, 1);
  assert.equal(way.fromB(`${B} S. 0:0(0) ack 1 win 500 <${MPC}>`).length, 1);
  assert.equal(way.fromA(ack).length, 1);
  assert.equal(way.fromA(DATA).length, 1);
  assert.equal(way.fromB(`${B} P. 1:11(10) ack 101 win 500`).length, 1);
  way.now = 1500;
  assert.deepEqual(way.fromA(DATA), [], 'forgotten');
  assert.equal(box.acted, 4);
});

test("a SYN proxy answers in the server's name and translates from then on", () => {
  const words = [5000];
  const way = new Between(new SynProxy({ word: () => words.shift()!, next: () => 0 }, { mss: 1300 }));
  const syn = `${A} S 10:10(0) win 65535 <mss 1460,${MPC}>`;
  assert.deepEqual(way.fromA(syn), [`A: ${B} S. 5000:5000(0) ack 11 win 0 <mss 1300>`]);
  assert.deepEqual(way.fromA(syn), [`A: ${B} S. 5000:5000(0) ack 11 win 0 <mss 1300>`]);
  assert.deepEqual(way.fromA(`${A} . 11:11(0) ack 4000 win 700`), [], 'no proof');
  assert.deepEqual(way.fromA(`${A} . 11:11(0) ack 5001 win 700`), [`B: ${A} S 10:10(0) win 700 <mss 1300>`]);
  assert.deepEqual(way.fromB(`${B} S. 9000:9000(0) ack 11 win 800 <mss 1460>`), [
    `B: ${A} . 11:11(0) ack 9001 win 700`,
    `A: ${B} . 5001:5001(0) ack 11 win 800`,
  ]);
  assert.deepEqual(way.fromA(`${A} P. 11:21(10) ack 5001 win 700`), [`B: ${A} P. 11:21(10) ack 9001 win 700`]);
  assert.deepEqual(way.fromB(`${B} P. 9001:9011(10) ack 21 win 800`), [`A: ${B} P. 5001:5011(10) ack 21 win 800`]);
});

test('the maximum segment size is clamped in SYNs, both ways', () => {
  const way = new Between(new ClampMss(1200));
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <mss 1460,${MPC}>`), [
    `B: ${A} S 0:0(0) win 65535 <mss 1200,${MPC}>`,
  ]);
  assert.deepEqual(way.fromB(`${B} S. 0:0(0) ack 1 win 65535 <mss 1400>`), [
    `A: ${B} S. 0:0(0) ack 1 win 65535 <mss 1200>`,
  ]);
  assert.deepEqual(way.fromA(`${A} S 0:0(0) win 65535 <mss 1000>`), [`B: ${A} S 0:0(0) win 65535 <mss 1000>`]);
});

test('boxes in a row meet packets in order, on the way back in reverse, and keep checksum errors', () => {
  const way = new Between(
    new StripOption({ on: 'data' }),
    new SplitSegments(50),
    new SequenceRewriter(new SeededRandom(2)),
  );
  assert.equal(way.fromA(DATA).length, 2);
  const broken = packet(DATA);
  broken.bytes[broken.end - 1]! ^= 0x10;
  const [one, ...none] = way.fromA(broken);
  assert.deepEqual(none, []);
  assert.match(one!, / sum 0x/);
  // Not TCP: through, untouched.
  const other = packet(DATA);
  other.view.setUint8(other.start + 9, 17);
  way.line.forward.send(0, other);
  assert.deepEqual(bytesOf(way.packets()[0]![1]), bytesOf(other));
});

test('middleboxes give back every buffer', () => {
  const before = pool.taken;
  const way = new Between(
    new SplitSegments(30),
    new DuplicateOption('bare'),
    new CoalesceSegments(90, 1),
    new EarlyAcknowledger(),
    new RewritePayload('ab', 'abc'),
  );
  for (let number = 0; number < 20; number++) {
    way.now = number;
    way.fromA(`${A} P. ${1 + number * 100}:${101 + number * 100}(100) ack 1 win 500 <${DSS}>`);
    way.fromB(`${B} P. ${1 + number * 50}:${51 + number * 50}(50) ack 1 win 500`);
  }
  way.now = 1000;
  way.lines();
  assert.equal(pool.taken, before);
});

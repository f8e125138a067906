import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { STATE_NAMES } from '../../../src/tcp/state.ts';
import {
  closeWait,
  closing,
  established,
  finWait1,
  finWait2,
  lastAck,
  type Script,
  synReceived,
  synSent,
  timeWait,
} from '../harness.ts';

/**
 * Every kind of segment in every state, against RFC 9293 §3.10.7 as RFC 5961 changes it.
 *
 * A cell is what we answer (`-` nothing, `A` an ACK, `S` a SYN/ACK, `R` a RST) and, where it changes, the new state.
 */

/** The synchronized states, with SND.UNA, SND.NXT and RCV.NXT as their constructors leave them. */
const SYNCHRONIZED: readonly [make: () => Script, una: number, nxt: number, next: number][] = [
  [established, 1, 1, 1],
  [finWait1, 1, 2, 1],
  [finWait2, 2, 2, 1],
  [closeWait, 1, 1, 2],
  [closing, 1, 2, 2],
  [lastAck, 1, 2, 2],
  [timeWait, 2, 2, 2],
];

type Line = (next: number, una: number, nxt: number) => string;
const at = (offset: number, length: number) => `${offset >>> 0}:${(offset + length) >>> 0}(${length})`;

const ROWS: readonly [kind: string, line: Line, readable: number, ...cells: string[]][] = [
  //                                                    ESTABLISHED FIN-WAIT-1 FIN-WAIT-2 CLOSE-WAIT CLOSING LAST-ACK TIME-WAIT
  ['SYN in the window', (next) => `S ${at(next + 5, 0)}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  ['SYN of the connection', () => `S ${at(0, 0)}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  ['SYN beyond the window', (next) => `S ${at(next + 99_999, 0)}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  ['SYN/ACK of the connection', () => `S. ${at(0, 0)} ack 1`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  [
    'RST with RCV.NXT',
    (next) => `R ${at(next, 0)}`,
    0,
    '- CLOSED',
    '- CLOSED',
    '- CLOSED',
    '- CLOSED',
    '- CLOSED',
    '- CLOSED',
    '-',
  ],
  ['RST in the window', (next) => `R ${at(next + 5, 0)}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', '-'],
  ['RST before the window', (next) => `R ${at(next - 3, 0)}`, 0, '-', '-', '-', '-', '-', '-', '-'],
  ['RST beyond the window', (next) => `R ${at(next + 99_999, 0)}`, 0, '-', '-', '-', '-', '-', '-', '-'],
  ['ACK of SND.UNA', (next, una) => `. ${at(next, 0)} ack ${una}`, 0, '-', '-', '-', '-', '-', '-', '-'],
  [
    'ACK of SND.NXT',
    (next, _, nxt) => `. ${at(next, 0)} ack ${nxt}`,
    0,
    '-',
    '- FIN-WAIT-2',
    '-',
    '-',
    '- TIME-WAIT',
    '- CLOSED',
    '-',
  ],
  [
    'ACK of what was not sent',
    (next, _, nxt) => `. ${at(next, 0)} ack ${nxt + 1}`,
    0,
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
    '-',
  ],
  [
    'ACK older than the largest window',
    (next, una) => `. ${at(next, 0)} ack ${(una - 65_536) >>> 0}`,
    0,
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
    '-',
  ],
  ['ACK before the window', (next, una) => `. ${at(next - 3, 0)} ack ${una}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  ['no flags', (next) => `- ${at(next, 5)}`, 0, '-', '-', '-', '-', '-', '-', 'A'],
  ['text in order', (next, una) => `. ${at(next, 10)} ack ${una}`, 10, 'A', 'A', 'A', '-', '-', '-', 'A'],
  ['text ahead', (next, una) => `. ${at(next + 50, 10)} ack ${una}`, 0, 'A', 'A', 'A', '-', '-', '-', 'A'],
  ['text before', (next, una) => `. ${at(next - 10, 10)} ack ${una}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  ['text across RCV.NXT', (next, una) => `. ${at(next - 5, 15)} ack ${una}`, 10, 'A', 'A', 'A', '-', '-', '-', 'A'],
  [
    'text beyond the window',
    (next, una) => `. ${at(next + 99_999, 10)} ack ${una}`,
    0,
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
  ],
  [
    'text with an ACK of what was not sent',
    (next, _, nxt) => `. ${at(next, 10)} ack ${nxt + 1}`,
    0,
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
  ],
  [
    'FIN in order',
    (next, una) => `F. ${at(next, 0)} ack ${una}`,
    0,
    'A CLOSE-WAIT',
    'A CLOSING',
    'A TIME-WAIT',
    '-',
    '-',
    '-',
    'A',
  ],
  [
    'FIN in order that acknowledges all',
    (next, _, nxt) => `F. ${at(next, 0)} ack ${nxt}`,
    0,
    'A CLOSE-WAIT',
    'A TIME-WAIT',
    'A TIME-WAIT',
    '-',
    '- TIME-WAIT',
    '- CLOSED',
    'A',
  ],
  [
    'text and FIN',
    (next, una) => `F. ${at(next, 10)} ack ${una}`,
    10,
    'A CLOSE-WAIT',
    'A CLOSING',
    'A TIME-WAIT',
    '-',
    '-',
    '-',
    'A',
  ],
  ['FIN ahead', (next, una) => `F. ${at(next + 50, 0)} ack ${una}`, 0, 'A', 'A', 'A', '-', '-', '-', 'A'],
  ['FIN again', (next, una) => `F. ${at(next - 1, 0)} ack ${una}`, 0, 'A', 'A', 'A', 'A', 'A', 'A', 'A'],
  [
    'FIN beyond the window',
    (next, una) => `F. ${at(next + 99_999, 0)} ack ${una}`,
    0,
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
    'A',
  ],
];

/** What we answered: the letters of all packets. */
function answers(script: Script): string {
  let letters = '';
  while (script.sent.length > 0) {
    const line = script.peer.next();
    if (line.startsWith('R')) letters += 'R';
    else if (line.startsWith('S.')) letters += 'S';
    else if (line.startsWith('.')) letters += 'A';
    else letters += `?${line}`;
  }
  return letters === '' ? '-' : letters;
}

function check(script: Script, line: string, cell: string, name: string): void {
  const before = script.state;
  const [answer, next = before] = cell.split(' ');
  script.peer.sends(line);
  equal(`${answers(script)} ${script.state}`, `${answer} ${next}`, `${name} in ${before}: ${line}`);
}

for (const [kind, line, readable, ...cells] of ROWS) {
  test(`C02 C05 C06 matrix: ${kind}`, () => {
    equal(cells.length, SYNCHRONIZED.length);
    SYNCHRONIZED.forEach(([make, una, nxt, next], index) => {
      const script = make();
      check(script, line(next, una, nxt), cells[index]!, kind);
      equal(script.stream.readable, index < 3 ? readable : 0, `${kind}: bytes readable in column ${index}`);
    });
  });
}

test('C02 C06 matrix: SYN-SENT', () => {
  const cells: readonly [string, string][] = [
    ['S 7:7(0)', 'S SYN-RECEIVED'],
    ['S. 7:7(0) ack 1', 'A ESTABLISHED'],
    ['S. 7:7(0) ack 0', 'R'],
    ['S. 7:7(0) ack 2', 'R'],
    ['R 0:0(0)', '-'],
    ['R. 0:0(0) ack 1', '- CLOSED'],
    ['R. 0:0(0) ack 2', '-'],
    ['. 7:7(0) ack 1', '-'],
    ['. 7:7(0) ack 9', 'R'],
    ['F. 7:7(0) ack 1', '-'],
    ['F 7:7(0)', '-'],
    ['. 7:17(10) ack 1', '-'],
    ['- 7:17(10)', '-'],
  ];
  for (const [line, cell] of cells) check(synSent(), line, cell, 'SYN-SENT');
});

test('C02 C06 matrix: SYN-RECEIVED', () => {
  const cells: readonly [string, string][] = [
    ['S 0:0(0)', 'S'],
    ['S 9:9(0)', '- CLOSED'],
    ['S 99999:99999(0)', 'A'],
    ['S. 0:0(0) ack 1', 'A'],
    ['R 1:1(0)', '- CLOSED'],
    ['R 9:9(0)', 'A'],
    ['R 0:0(0)', '-'],
    ['R 99999:99999(0)', '-'],
    ['. 1:1(0) ack 1', '- ESTABLISHED'],
    ['. 1:1(0) ack 0', 'R'],
    ['. 1:1(0) ack 2', 'R'],
    ['. 99999:99999(0) ack 1', 'A'],
    ['- 1:11(10)', '-'],
    ['. 1:11(10) ack 1', 'A ESTABLISHED'],
    ['F. 1:1(0) ack 1', 'A CLOSE-WAIT'],
    ['. 60000:60010(10) ack 1', 'A ESTABLISHED'],
  ];
  for (const [line, cell] of cells) {
    const script = synReceived();
    script.at(600);
    check(script, line, cell, 'SYN-RECEIVED');
  }
});

test("C02 the matrix covers every state but LISTEN, which is the listener's", () => {
  const covered = new Set(['SYN-SENT', 'SYN-RECEIVED', ...SYNCHRONIZED.map(([make]) => make().state)]);
  const missing = STATE_NAMES.filter((name) => !covered.has(name));
  equal(missing.join(), 'CLOSED,LISTEN');
  ok(ROWS.length >= 25);
});

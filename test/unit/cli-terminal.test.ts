import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pairs, table } from '../../src/cli/table.ts';
import { clip, Terminal } from '../../src/cli/terminal.ts';

function terminal(
  isTTY: boolean,
  environment: NodeJS.ProcessEnv,
  columns = 80,
): { terminal: Terminal; written: () => string } {
  let text = '';
  const stream = {
    isTTY,
    columns,
    write: (piece: string) => {
      text += piece;
      return true;
    },
  };
  return { terminal: new Terminal(stream as unknown as NodeJS.WriteStream, environment), written: () => text };
}

test('colours: on terminals only, never with NO_COLOR, elsewhere with FORCE_COLOR', () => {
  const has = (isTTY: boolean, environment: NodeJS.ProcessEnv): boolean =>
    terminal(isTTY, environment).terminal.red('x') !== 'x';
  assert.equal(has(true, { TERM: 'xterm' }), true);
  assert.equal(has(true, { TERM: 'xterm', NO_COLOR: '1' }), false);
  assert.equal(has(true, { TERM: 'xterm', NO_COLOR: '' }), true);
  assert.equal(has(true, { TERM: 'dumb' }), false);
  assert.equal(has(false, { TERM: 'xterm' }), false);
  assert.equal(has(false, { FORCE_COLOR: '1' }), true);
});

test('a picture is drawn over the one before it, and surplus lines are wiped', () => {
  const { terminal: shown, written } = terminal(true, { TERM: 'xterm' });
  shown.redraw(['a', 'b']);
  assert.equal(written(), '\ra\x1b[K\n\rb\x1b[K\n');
  shown.redraw(['c']);
  assert.ok(written().endsWith('\x1b[2A\rc\x1b[K\n\r\x1b[K\n\x1b[1A'));
  shown.above('note', ['d']);
  shown.redraw(['e']);
  assert.ok(written().endsWith('\x1b[1A\rnote\x1b[K\n\rd\x1b[K\n\x1b[1A\re\x1b[K\n'), JSON.stringify(written()));
});

test('lines are cut at the width of the terminal, escape sequences not counted', () => {
  assert.equal(clip('abcdef', 3), 'abc');
  assert.equal(clip('\x1b[31mabc\x1b[39mdef', 3), '\x1b[31mabc\x1b[39m\x1b[0m');
  assert.equal(clip('\x1b[31mabc\x1b[39m', 3), '\x1b[31mabc\x1b[39m');
});

test('sparklines and bars: with and without Unicode', () => {
  const unicode = terminal(true, { TERM: 'xterm', LANG: 'C.UTF-8' }).terminal;
  assert.equal(unicode.sparkline([0, 5, 10, 20], 10, 6), '   ▄██');
  assert.equal(unicode.bar(0.5, 4), '██░░');
  const ascii = terminal(true, { TERM: 'xterm', LANG: 'C' }).terminal;
  assert.equal(ascii.sparkline([0, 10], 10, 2), ' @');
  assert.equal(ascii.bar(2, 4), '####');
});

test('tables: figures to the right, text to the left, no trailing spaces', () => {
  const text = table(
    ['name', 'rate', 'state'],
    [
      ['a', '9.41 Gbit/s', 'up'],
      ['long name', '-', 'closing'],
    ],
  );
  assert.equal(text, 'name              rate  state\na          9.41 Gbit/s  up\nlong name            -  closing\n');
  assert.equal(
    pairs(
      [
        ['a', '1'],
        ['bcd', '2'],
      ],
      ' ',
    ),
    ' a    1\n bcd  2\n',
  );
});

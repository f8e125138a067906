import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { brokenLinks } from '../../scripts/document-links.ts';
import { citedIds, readInventory, readReasons, readTableNames, tableOf, titlesIn } from '../../scripts/feature-ids.ts';

// Titles here are built from pieces, so that they claim nothing themselves.

test('ids are found alone, in lists and in ranges, and nothing else is taken for one', () => {
  assert.deepEqual(citedIds('A1.05 MP_CAPABLE with data'), ['A1.05']);
  assert.deepEqual(citedIds('C14, C15 and C16: recovery'), ['C14', 'C15', 'C16']);
  assert.deepEqual(citedIds('A1.25 to A1.28'), ['A1.25', 'A1.26', 'A1.27', 'A1.28']);
  assert.deepEqual(citedIds('A1.25-A1.27'), ['A1.25', 'A1.26', 'A1.27']);
  assert.deepEqual(citedIds('A1.25–27 read'), ['A1.25', 'A1.26', 'A1.27']);
  assert.deepEqual(citedIds('C09 to C11'), ['C09', 'C10', 'C11']);
  assert.deepEqual(citedIds('A10.01 H1.77'), ['A10.01', 'H1.77']);
  assert.deepEqual(citedIds('C14 to A1.05'), ['C14', 'A1.05']);
  for (const text of ['RFC 9293 §3.10.7.4', 'AES128', 'XC14', 'C141', 'A1.5', 'MAC01:02', 'M1.05', 'a1.05']) {
    assert.deepEqual(citedIds(text), [], text);
  }
});

test('titles are found in every form of call and quote', () => {
  const call = (name: string, title: string): string => `${name}(${title}, () => {});`;
  assert.deepEqual(titlesIn(call('test', "'one'") + call('  describe', '"it\'s two"')), ['one', "it's two"]);
  assert.deepEqual(titlesIn(call('await t.test', '`three $' + '{name}`')), ['three $' + '{name}']);
  assert.deepEqual(titlesIn(call('it', "\n  'four'")), ['four']);
  assert.deepEqual(titlesIn(call('interop', "'five'") + "{ title: 'six', }"), ['five', 'six']);
  assert.deepEqual(titlesIn(call('pattern.test', "'none'") + call('contest', "'none'")), []);
});

test('the inventory has 990 rows in tables with names, and reasons are for rows that exist', () => {
  const inventory = readInventory();
  const ids = new Set(inventory.map((feature) => feature.id));
  assert.equal(inventory.length, 990);
  assert.equal(ids.size, 990);
  const names = readTableNames();
  for (const { id, name, table } of inventory) {
    assert.ok(names.has(table), id);
    assert.ok(name.length > 0 && name.length < 60, `${id}: ${name}`);
    assert.equal(tableOf(id), table);
    assert.deepEqual(citedIds(id), [id]);
  }
  const { rows, tables } = readReasons();
  for (const id of rows.keys()) assert.ok(ids.has(id), id);
  for (const table of tables.keys()) assert.ok(names.has(table), table);
});

test('links that lead nowhere are found, and those in code are none', () => {
  const folder = mkdtempSync(join(tmpdir(), 'mptcp-links-'));
  const before = process.cwd();
  try {
    process.chdir(folder);
    mkdirSync('sub');
    writeFileSync('sub/other.md', '# A heading, `with` code\n\n## A heading\n## A heading\n');
    writeFileSync(
      'page.md',
      [
        '[file](sub/other.md) [folder](sub) [heading](sub/other.md#a-heading-with-code) [own](#page)',
        '[second](sub/other.md#a-heading-1) [web](https://example.org/x) [mail](mailto:a@example.org)',
        '[gone](sub/gone.md)',
        '[no heading](sub/other.md#b)',
        '[out](../x.md) [absolute](/etc/passwd)',
        '`[code](gone.md)`',
        '```',
        '[block](gone.md)',
        '```',
        '# Page',
        '[reference]: sub/lost.md',
      ].join('\n'),
    );
    assert.deepEqual(brokenLinks('page.md'), [
      'page.md:3: sub/gone.md: no such file',
      'page.md:4: sub/other.md#b: no such heading',
      'page.md:5: ../x.md: outside of the repository',
      'page.md:5: /etc/passwd: an absolute path',
      'page.md:11: sub/lost.md: no such file',
    ]);
  } finally {
    process.chdir(before);
    rmSync(folder, { recursive: true, force: true });
  }
});

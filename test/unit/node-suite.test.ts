import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');
const folder = join(import.meta.dirname, 'node-suite');

function run(...words: string[]): Promise<{ code: number | null; output: string; errors: string }> {
  return new Promise((done, reject) => {
    const program = ['--import', 'tsx', join(root, 'scripts/node-suite.ts'), ...words];
    const child = spawn(process.execPath, program, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let errors = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (errors += chunk));
    child.on('error', reject);
    child.on('close', (code) => done({ code, output, errors }));
  });
}

/** A line of the table. */
function row(output: string, group: string, mode: string): number[] {
  const line = output.split('\n').find((text) => text.startsWith(group.padEnd(8) + mode.padEnd(12)));
  assert.ok(line !== undefined, `no line for ${group} ${mode} in\n${output}`);
  return line.trim().split(/\s+/).slice(2).map(Number);
}

test('all groups in all modes: a table, and what differs from plain with its reason', {
  timeout: 120_000,
}, async () => {
  const { code, output, errors } = await run(folder, '--limit', '20');
  assert.equal(errors, '');
  for (const mode of ['plain', 'register']) assert.deepEqual(row(output, 'net', mode), [5, 1, 1], output);
  assert.deepEqual(row(output, 'net', 'userspace'), [4, 2, 1], output);
  for (const group of ['http', 'https', 'tls', 'http2']) {
    for (const mode of ['plain', 'register', 'userspace']) {
      assert.deepEqual(row(output, group, mode), [1, 0, 0], output);
    }
  }
  assert.match(output, /userspace: parallel\/test-net-handle\.js failed, plain passed\n {2}.*the socket has a handle/);
  assert.doesNotMatch(output, /test-net-fails/);
  assert.match(output, /worse than plain: 1\n$/);
  assert.equal(code, 1);
});

test('one mode and a filter, as JSON; nothing worse ends well', { timeout: 60_000 }, async () => {
  const { code, output } = await run(folder, '--mode', 'userspace', '--filter', 'net-(echo|skip|fails)', '--json');
  const told = JSON.parse(output) as {
    modes: string[];
    files: Record<string, string | { state: string; reason: string }>[];
    differences: unknown[];
  };
  assert.deepEqual(told.modes, ['plain', 'userspace']);
  assert.deepEqual(told.differences, []);
  assert.deepEqual(
    told.files.map(({ name, userspace }) => [name, (userspace as { state: string; reason: string }).state]),
    [
      ['parallel/test-net-echo.js', 'passed'],
      ['parallel/test-net-fails.js', 'failed'],
      ['parallel/test-net-skipped.js', 'skipped'],
    ],
  );
  const [, fails, skipped] = told.files as unknown as { plain: { reason: string } }[];
  assert.match(fails!.plain.reason, /^Mismatched body function calls\. Expected exactly 1, actual 0/);
  assert.equal(skipped!.plain.reason, 'nothing to see');
  assert.equal(code, 0);
});

test('what cannot be is said, with exit code 2; --help tells the options', { timeout: 60_000 }, async () => {
  const { code: helped, output } = await run('--help');
  assert.equal(helped, 0);
  for (const option of ['--filter', '--mode', '--jobs', '--limit', '--json'])
    assert.ok(output.includes(option), option);
  for (const [words, text] of [
    [[], /which folder/],
    [[root], /neither parallel\/ nor sequential\//],
    [[folder, '--mode', 'kernel'], /no mode is called kernel; there are plain, register, userspace/],
    [[folder, '--jobs', '0'], /--jobs is a whole number from 1/],
    [[folder, '--filter', '^none$'], /no test of sockets/],
  ] as const) {
    const { code, errors } = await run(...words);
    assert.equal(code, 2);
    assert.match(errors, text);
  }
});

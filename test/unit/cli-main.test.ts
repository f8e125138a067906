import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { DemoSummary } from '../../src/cli/demo-view.ts';
import { mptcp, type Outcome } from '../interop/harness/program.ts';

const run = (...args: string[]): Promise<Outcome> => mptcp(undefined, ...args);

describe('the mptcp command', () => {
  const directory = mkdtempSync(join(tmpdir(), 'mptcp-cli-'));
  after(() => rmSync(directory, { recursive: true }));

  test('help lists the commands; a version; an unknown command is one line and exit code 2', async () => {
    const help = await run('help');
    assert.equal(help.code, 0);
    for (const name of ['demo', 'nc', 'perf', 'decode']) assert.match(help.out, new RegExp(`^  ${name} `, 'm'));
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    assert.deepEqual(await run('--version'), { code: 0, out: `mptcp ${version}\n`, err: '' });
    assert.deepEqual(await run('frobnicate'), {
      code: 2,
      out: '',
      err: 'mptcp: unknown command frobnicate; try mptcp help\n',
    });
  });

  test('wrong usage and failures are one line each, without a stack trace', async () => {
    assert.deepEqual(await run('nc', '--nope'), {
      code: 2,
      out: '',
      err: 'mptcp nc: unknown option --nope; try mptcp help nc\n',
    });
    const failed = await run('demo', '--virtual', '--out', join(directory, 'none', 'x.pcapng'));
    assert.equal(failed.code, 1);
    assert.match(failed.err, /^mptcp demo: \S+x\.pcapng: no such file or directory\n$/);
  });

  test('help of a command; decode is there', async () => {
    const help = await run('help', 'perf');
    assert.equal(help.code, 0);
    assert.match(help.out, /^usage: mptcp perf -s/);
    assert.match((await run('decode', '--help')).out, /^usage: mptcp decode FILE/);
  });

  test('demo --virtual --json prints the summary and nothing else, and decode reads its capture', async () => {
    const file = join(directory, 'demo.pcapng');
    const { code, out, err } = await run('demo', '--virtual', '--json', '--size', '2MB', '--out', file);
    assert.equal(err, '');
    assert.equal(code, 0);
    const summary = JSON.parse(out) as DemoSummary;
    assert.equal(summary.bytes, 2_000_000);
    assert.ok(summary.sha256.equal);
    const decoded = await run('decode', file);
    assert.equal(decoded.code, 0);
    assert.equal(decoded.out.trimEnd().split('\n').length, summary.capture.packets);
  });
});

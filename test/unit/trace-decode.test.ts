import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Decoder } from '../../src/cli/decode.ts';
import { buildPacket, NotationProblem, parsePacket } from '../../src/wire/notation.ts';
import { captureBytes, captureNames, dissection, vectorsMissing } from './wire-vectors.ts';

const folder = mkdtempSync(join(tmpdir(), 'mptcp-decode-'));
after(() => rmSync(folder, { recursive: true }));

/** A raw-IP capture of the packets that the lines describe, a millisecond apart. */
function captureOf(...lines: readonly (string | Uint8Array)[]): Uint8Array {
  const parts: Buffer[] = [Buffer.alloc(24)];
  parts[0]!.writeUInt32LE(0xa1b2c3d4, 0);
  parts[0]!.writeUInt16LE(2, 4);
  parts[0]!.writeUInt32LE(101, 20);
  lines.forEach((line, index) => {
    const parsed = typeof line === 'string' ? parsePacket(line) : undefined;
    assert.ok(!(parsed instanceof NotationProblem));
    const bytes =
      parsed === undefined ? (line as Uint8Array) : buildPacket(parsed, new Uint8Array(parsed.payloadLength));
    const head = Buffer.alloc(16);
    head.writeUInt32LE(1_700_000_000, 0);
    head.writeUInt32LE(index * 1000, 4);
    head.writeUInt32LE(bytes.length, 8);
    head.writeUInt32LE(bytes.length, 12);
    parts.push(head, Buffer.from(bytes));
  });
  return new Uint8Array(Buffer.concat(parts));
}

function run(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const program = `import('./src/cli/decode.ts').then(({ decode }) => decode(process.argv.slice(1))).then((code) => { process.exitCode = code; })`;
  const result = spawnSync(process.execPath, ['--import', 'tsx', '-e', program, '--', ...args], {
    encoding: 'utf8',
    cwd: join(import.meta.dirname, '../..'),
  });
  return { code: result.status, out: result.stdout, err: result.stderr };
}

const SYN = '10.0.0.1:1000 > 10.0.0.9:80 S 999:999(0) win 1 <mpcapable v1 flags[flag_h] nokey>';
const SYN_ACK =
  '10.0.0.9:80 > 10.0.0.1:1000 S. 49:49(0) ack 1000 win 1 <mpcapable v1 flags[flag_h] key[0x0102030405060708]>';

test('one line a packet, numbers relative; --absolute, --json', () => {
  const file = join(folder, 'two.pcap');
  writeFileSync(file, captureOf(SYN, SYN_ACK));
  const relative = run(file);
  assert.equal(relative.code, 0);
  assert.equal(
    relative.out,
    '0.000000 1.0 10.0.0.1:1000 > 10.0.0.9:80 S 0:0(0) win 1 <mpcapable v1 flags[flag_h] nokey>\n' +
      '0.001000 1.0 10.0.0.9:80 > 10.0.0.1:1000 S. 0:0(0) ack 1 win 1 <mpcapable v1 flags[flag_h] key[0x0102030405060708]>\n',
  );
  const absolute = run('--absolute', '--json', file);
  const second = JSON.parse(absolute.out.split('\n')[1]!) as Record<string, unknown>;
  assert.equal(second.connection, 1);
  assert.equal(second.subflow, 0);
  assert.equal(second.time, '0.001000');
  assert.equal(second.source, '10.0.0.9');
  assert.match(String(second.text), /^S\. 49:49\(0\) ack 1000 /);
});

test('files that are no captures: one clear line, and not 0', () => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [[join(folder, 'none.pcap')], 1, /none\.pcap: no such file$/],
    [[folder], 1, /is a directory$/],
    [['package.json'], 1, /neither pcap nor pcapng/],
    [[], 2, /one capture file/],
    [['a', 'b'], 2, /one capture file/],
    [['--colour', 'a'], 2, /unknown option --colour/],
  ];
  for (const [args, code, message] of cases) {
    const result = run(...args);
    assert.equal(result.code, code, args.join(' '));
    assert.match(result.err.trimEnd().split('\n').at(-1)!, message);
    assert.equal(result.out, '');
  }
});

test('a cut capture prints what there is, then says so', () => {
  const file = join(folder, 'cut.pcap');
  const whole = captureOf(SYN, SYN_ACK);
  writeFileSync(file, whole.subarray(0, whole.length - 3));
  const result = run(file);
  assert.equal(result.code, 1);
  assert.equal(result.out.split('\n').length, 2);
  assert.match(result.err, /the last frame is cut \(offset \d+\)/);
});

test('--help explains itself', () => {
  const result = run('--help');
  assert.equal(result.code, 0);
  assert.match(result.out, /^usage: mptcp decode FILE/);
});

test('a reader that goes away ends it quietly', () => {
  const file = join(folder, 'many.pcap');
  writeFileSync(file, captureOf(...new Array<string>(20_000).fill(SYN)));
  const program = `import('./src/cli/decode.ts').then(({ decode }) => decode(process.argv.slice(1))).then((code) => { process.exitCode = code; })`;
  const command = `"${process.execPath}" --import tsx -e "${program}" -- "${file}" | head -n 1`;
  const result = spawnSync('bash', ['-o', 'pipefail', '-c', command], {
    encoding: 'utf8',
    cwd: join(import.meta.dirname, '../..'),
  });
  assert.equal(result.stdout.split('\n').length, 2);
  assert.equal(result.stderr.replace(/^npm warn.*\n/gm, ''), '');
  assert.equal(result.status, 0);
});

test('what is no TCP, or broken, still has its line', () => {
  const syn = captureOf(SYN).subarray(40);
  const udp = syn.slice();
  const badSum = syn.slice();
  badSum[8]! ^= 1;
  udp[9] = 17;
  udp[11]! -= 11;
  const decoder = new Decoder(captureOf(Uint8Array.of(1, 2, 3), syn.subarray(0, 30), badSum, udp), false);
  const lines: string[] = [];
  for (let line = decoder.next(); line !== undefined; line = decoder.next()) lines.push(line.text);
  assert.match(lines[0]!, /^no IP/);
  assert.equal(lines[1], 'IP: truncated');
  assert.match(lines[2]!, /bad header checksum/);
  assert.match(lines[3]!, /^IP protocol 17, 24 bytes$/);
  assert.equal(decoder.problem, undefined);
});

test('J2.03 every capture: one line a packet, at the times another decoder gives', { skip: vectorsMissing }, () => {
  for (const name of captureNames()) {
    const decoder = new Decoder(captureBytes(name), false);
    for (const expected of dissection(name)) {
      const line = decoder.next();
      assert.equal(`${line?.frame} ${line?.time}`, expected.split(' ', 2).join(' '), name);
      assert.ok(line?.connection !== undefined);
    }
    assert.equal(decoder.next(), undefined);
    assert.equal(decoder.problem, undefined);
  }
});

test('a capture of the beginnings of packets is decoded as far as the headers are in it', () => {
  const data =
    '10.0.0.1:1000 > 10.0.0.9:80 P. 1000:2200(1200) ack 50 win 1 <nop,nop,TS val 1 ecr 2,dss dack4=1 dsn4=5 ssn=1 dll=1200>';
  const whole = captureOf(SYN, SYN_ACK, data);
  const lineOf = (bytes: Uint8Array): string => {
    const decoder = new Decoder(bytes, false);
    decoder.next();
    decoder.next();
    const third = decoder.next()?.text ?? '';
    assert.equal(decoder.next(), undefined);
    return third;
  };
  /** The third packet cut to `kept` bytes. */
  const cut = (kept: number): Uint8Array => {
    const bytes = whole.slice(0, whole.length - (1200 + 72) + kept);
    new DataView(bytes.buffer).setUint32(bytes.length - kept - 8, kept, true);
    return bytes;
  };
  const said = lineOf(whole);
  assert.match(said, /^P\. 1:1201\(1200\) ack 1 .*dll=1200/);
  assert.equal(lineOf(cut(128)), said, 'headers and some payload');
  assert.equal(lineOf(cut(72)), said, 'headers alone');
  assert.equal(lineOf(cut(71)), 'headers were not captured whole');
  assert.equal(lineOf(cut(19)), 'headers were not captured whole');
});

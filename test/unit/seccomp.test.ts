import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { chooseMeans, examineProgram, findProgram, type ProgramFacts, whyNot } from '../../src/kernel/program.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, socketFilter } from '../../src/kernel/seccomp.ts';

const NOTIFY = 0x7fc0_0000;
const ALLOW = 0x7fff_0000;
const X86_64 = 0xc000_003e;
const I386 = 0x4000_0003;
const AARCH64 = 0xc000_00b7;
const ARM = 0x4000_0028;

/** Runs a classic BPF program over a call's `struct seccomp_data`, as the kernel does. */
function verdict(program: Uint8Array, audit: number, number: number, args: readonly number[]): number {
  const data = Buffer.alloc(64);
  data.writeInt32LE(number, 0);
  data.writeUInt32LE(audit, 4);
  for (const [index, value] of args.entries()) {
    data.writeUInt32LE(value >>> 0, 16 + index * 8);
    // What is above 32 bits is none of the call's.
    data.writeUInt32LE(0xdead_beef, 20 + index * 8);
  }
  const code = Buffer.from(program);
  let accumulator = 0;
  for (let at = 0; at < code.length; at += 8) {
    const operand = code.readUInt32LE(at + 4);
    switch (code.readUInt16LE(at)) {
      case 0x20:
        accumulator = data.readUInt32LE(operand);
        break;
      case 0x54:
        accumulator = (accumulator & operand) >>> 0;
        break;
      case 0x15:
        at += 8 * code.readUInt8(at + (accumulator === operand ? 2 : 3));
        break;
      case 0x06:
        return operand;
      default:
        assert.fail(`no such instruction: ${code.readUInt16LE(at)}`);
    }
  }
  return assert.fail('the program ran out of its end');
}

describe('seccomp filter', () => {
  const machines = [
    ['x64', X86_64, 41],
    ['x64', I386, 359],
    ['arm64', AARCH64, 198],
    ['arm64', ARM, 281],
  ] as const;

  test('F5.03 asks for TCP sockets of both families, on each machine and for its 32-bit programs, and for nothing else', () => {
    for (const [machine, audit, number] of machines) {
      const program = socketFilter(machine)!;
      for (const family of [0, 1, 2, 3, 10, 16, 17, 0x1_0002]) {
        for (const kind of [0, 1, 2, 3, 5, 17, 257]) {
          for (const flags of [0, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_CLOEXEC | SOCK_NONBLOCK, 0x8000_0000]) {
            for (const protocol of [0, 6, 17, 132, 262, -1]) {
              const isTcp = protocol === 0 || protocol === 6;
              const isKnown = flags !== 0x8000_0000;
              const isWanted = (family === 2 || family === 10) && kind === SOCK_STREAM && isKnown && isTcp;
              const result = verdict(program, audit, number, [family, kind | flags, protocol]);
              assert.equal(
                result,
                isWanted ? NOTIFY : ALLOW,
                `${machine} ${audit} ${family} ${kind} ${flags} ${protocol}`,
              );
            }
          }
        }
      }
      for (let other = 0; other < 600; other++) {
        if (other !== number) assert.equal(verdict(program, audit, other, [2, 1, 0]), ALLOW, `call ${other}`);
      }
    }
  });

  test('F5.03 a number means a call only together with its machine', () => {
    const program = socketFilter('x64')!;
    assert.equal(verdict(program, I386, 41, [2, 1, 0]), ALLOW);
    assert.equal(verdict(program, X86_64, 359, [2, 1, 0]), ALLOW);
    assert.equal(verdict(program, AARCH64, 198, [2, 1, 0]), ALLOW);
    // The calls of x32 carry a bit of their own.
    assert.equal(verdict(program, X86_64, 0x4000_0029, [2, 1, 0]), ALLOW);
    assert.equal(socketFilter('riscv64'), undefined);
  });
});

interface Section {
  readonly name: string;
  readonly bytes: Buffer;
}

/** An ELF file of this machine with nothing but headers and sections. */
function elfFile(
  isDynamic: boolean,
  sections: readonly Section[],
  machine = process.arch === 'arm64' ? 183 : 62,
): Buffer {
  const names = Buffer.from(`\0${sections.map(({ name }) => `${name}\0`).join('')}.shstrtab\0`, 'latin1');
  const all = [...sections, { name: '.shstrtab', bytes: names }];
  const header = Buffer.alloc(64);
  header.write('\x7fELF\x02\x01\x01', 'latin1');
  header.writeUInt16LE(machine, 18);
  const segments = Buffer.alloc(2 * 56);
  segments.writeUInt32LE(1, 0);
  segments.writeUInt32LE(isDynamic ? 3 : 1, 56);
  const table = Buffer.alloc((all.length + 1) * 64);
  const dataAt = header.length + segments.length;
  let offset = dataAt;
  let nameAt = 1;
  for (const [index, { name, bytes }] of all.entries()) {
    const at = (index + 1) * 64;
    table.writeUInt32LE(nameAt, at);
    table.writeBigUInt64LE(BigInt(offset), at + 24);
    table.writeBigUInt64LE(BigInt(bytes.length), at + 32);
    nameAt += name.length + 1;
    offset += bytes.length;
  }
  header.writeBigUInt64LE(64n, 32);
  header.writeBigUInt64LE(BigInt(offset), 40);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(2, 56);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(all.length + 1, 60);
  header.writeUInt16LE(all.length, 62);
  return Buffer.concat([header, segments, ...all.map(({ bytes }) => bytes), table]);
}

function buildInformation(version: string | undefined): Section {
  const bytes = Buffer.alloc(64);
  bytes.write('\xff Go buildinf:', 'latin1');
  bytes[14] = 8;
  if (version !== undefined) {
    bytes[15] = 2;
    bytes[32] = version.length;
    bytes.write(version, 33, 'latin1');
  }
  return { name: '.go.buildinfo', bytes };
}

const TEXT: Section = { name: '.text', bytes: Buffer.alloc(16) };

describe('programs', () => {
  const directory = mkdtempSync(join(tmpdir(), 'mptcp-program-'));
  after(() => rmSync(directory, { recursive: true }));

  const file = (name: string, content: string | Buffer, mode = 0o755): string => {
    const path = join(directory, name);
    writeFileSync(path, content);
    chmodSync(path, mode);
    return path;
  };

  test('are found as execvp finds them', () => {
    mkdirSync(join(directory, 'first'));
    mkdirSync(join(directory, 'second'));
    const hidden = file('first/tool', '', 0o644);
    const tool = file('second/tool', '');
    const folder = join(directory, 'first/folder');
    mkdirSync(folder);
    const search = `${join(directory, 'none')}:${join(directory, 'first')}:${join(directory, 'second')}`;
    assert.equal(findProgram('tool', search), tool, 'what may not be executed is passed over');
    assert.equal(findProgram(tool, ''), tool);
    for (const [name, path, code] of [
      ['tool', join(directory, 'first'), 'EACCES'],
      [hidden, search, 'EACCES'],
      [folder, search, 'EACCES'],
      ['folder', join(directory, 'first'), 'ENOENT'],
      ['nothing', search, 'ENOENT'],
      ['', search, 'ENOENT'],
      [join(directory, 'nothing'), search, 'ENOENT'],
    ] as const) {
      assert.throws(() => findProgram(name, path), { code }, name);
    }
  });

  test('F5.04 are told apart: Node and its scripts, Go with its version, dynamic and static, this machine’s and others', () => {
    const facts = (path: string): ProgramFacts => examineProgram(path, directory);
    const node = file('node', elfFile(true, [TEXT]));
    assert.equal(facts(node).isNode, true);
    symlinkSync(node, join(directory, 'js'));
    assert.equal(facts(join(directory, 'js')).isNode, true, 'by another name');
    assert.equal(facts(process.execPath).isNode, true);
    for (const line of [
      '#!/usr/bin/env node',
      '#! /usr/bin/env -S node --no-warnings',
      `#!${node}`,
      `#!${node} --flag`,
    ]) {
      const script = facts(file('script', `${line}\nrest\n`));
      assert.deepEqual([script.isScript, script.isNode, script.executable], [true, true, node], line);
    }
    const shell = file('shell', elfFile(true, [TEXT]));
    const nested = file('nested', `#!${file('inner', `#!${shell}\n`)}\n`);
    assert.deepEqual(
      [facts(nested).executable, facts(nested).isNode, facts(nested).elf?.isDynamic],
      [shell, false, true],
    );
    assert.deepEqual(facts(shell).elf, { isDynamic: true, isNative: true });
    assert.deepEqual(facts(file('static', elfFile(false, [TEXT]))).elf, { isDynamic: false, isNative: true });
    assert.deepEqual(facts(file('other', elfFile(true, [TEXT], 243))).elf, { isDynamic: true, isNative: false });
    assert.equal(facts(shell).go, undefined);
    assert.equal(facts(file('go', elfFile(false, [TEXT, buildInformation('go1.22.3')]))).go, '1.22.3');
    assert.equal(facts(file('go-new', elfFile(false, [buildInformation('go1.26rc1 X:exp')]))).go, '1.26');
    assert.equal(facts(file('go-old', elfFile(false, [TEXT, buildInformation(undefined)]))).go, '?');
    const whole = elfFile(true, [TEXT, buildInformation('go1.22.3')]);
    for (let length = 0; length < whole.length; length += 7) {
      const { path } = facts(file('cut', whole.subarray(0, length)));
      assert.equal(path, join(directory, 'cut'), 'a file that breaks off is no error');
    }
    assert.equal(facts(file('text', 'true\n')).elf, undefined);
    assert.equal(facts(join(directory, 'nothing')).elf, undefined);
  });

  test('F5.01 F5.04 the means follow from the program and from what there is', () => {
    const some: ProgramFacts = {
      path: '/bin/it',
      executable: '/bin/it',
      isScript: false,
      isNode: false,
      go: undefined,
      elf: { isDynamic: true, isNative: true },
    };
    const all = { library: '/lib/wrap.so', isMptcpOn: true };
    const none = { library: undefined, isMptcpOn: true };
    const fixed: ProgramFacts = { ...some, elf: { isDynamic: false, isNative: true } };
    const rows: [ProgramFacts, typeof all | typeof none, string][] = [
      [{ ...some, isNode: true }, all, 'register'],
      [{ ...fixed, go: '1.21' }, none, 'go'],
      [{ ...fixed, go: '2.0' }, none, 'go'],
      [{ ...fixed, go: '1.20.9' }, all, 'seccomp'],
      [{ ...some, go: '1.20.9' }, all, 'preload'],
      [{ ...fixed, go: '?' }, all, 'seccomp'],
      [some, all, 'preload'],
      [some, none, 'seccomp'],
      [some, { ...all, isMptcpOn: false }, 'seccomp'],
      [{ ...some, elf: { isDynamic: true, isNative: false } }, all, 'seccomp'],
      [fixed, all, 'seccomp'],
      [{ ...some, elf: undefined }, all, 'seccomp'],
    ];
    for (const [facts, available, means] of rows) {
      const choice = chooseMeans(facts, available);
      assert.equal(choice.means, means, choice.reason);
      assert.equal(whyNot(choice.means, facts, available), undefined, 'what is chosen can be');
    }
    assert.match(whyNot('preload', some, none)!, /no libmptcpwrap\.so/);
    assert.match(whyNot('preload', fixed, all)!, /statically linked/);
    assert.match(whyNot('preload', { ...some, elf: undefined }, all)!, /no ELF program/);
    assert.match(whyNot('go', some, all)!, /no Go program/);
    assert.match(whyNot('go', { ...fixed, go: '1.20' }, all)!, /Go 1\.20, and MPTCP came with Go 1\.21/);
    assert.match(whyNot('register', some, all)!, /no Node program/);
    assert.equal(whyNot('register', { ...some, isScript: true }, all), undefined, 'scripts may start Node');
  });
});

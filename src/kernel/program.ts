import { accessSync, closeSync, constants, openSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { SystemError } from '../node/system-error.ts';

/** What can be told of a program without running it, and by which means it comes onto MPTCP best. */

/** How a program is brought to make MPTCP sockets. */
export type Means = 'register' | 'go' | 'preload' | 'seccomp';

export interface ProgramFacts {
  /** What was found for the name. */
  readonly path: string;
  /** What is executed in the end: the interpreter of a script, else the program itself. */
  readonly executable: string;
  readonly isScript: boolean;
  readonly isNode: boolean;
  /** Version of Go that built it, as `1.22.3`; `?` when it does not tell. Undefined for other programs. */
  readonly go: string | undefined;
  /** Undefined for what is no ELF file. */
  readonly elf: ElfFacts | undefined;
}

export interface ElfFacts {
  /** Whether a dynamic linker loads it. */
  readonly isDynamic: boolean;
  /** Whether libraries of this machine's own kind can be loaded into it. */
  readonly isNative: boolean;
}

/**
 * Finds a program as `execvp` does: a name with a slash is a path, any other is looked for in the folders of `searchPath`.
 * @throws SystemError ENOENT there is none; EACCES there is one that may not be executed
 */
export function findProgram(name: string, searchPath = process.env.PATH ?? '/usr/local/bin:/usr/bin:/bin'): string {
  const candidates = name.includes('/')
    ? [name]
    : searchPath.split(delimiter).map((folder) => join(folder || '.', name));
  let isForbidden = false;
  for (const candidate of name === '' ? [] : candidates) {
    try {
      const status = statSync(candidate);
      if (status.isFile()) {
        accessSync(candidate, constants.X_OK);
        return candidate;
      }
      isForbidden ||= name.includes('/');
    } catch (error) {
      isForbidden ||= (error as NodeJS.ErrnoException).code === 'EACCES';
    }
  }
  if (isForbidden) throw new SystemError('EACCES', 'execve', `${name}: permission denied`);
  throw new SystemError('ENOENT', 'execve', `${name}: command not found`);
}

/** Looks at a program file. What cannot be read is simply not known. */
export function examineProgram(path: string, searchPath?: string): ProgramFacts {
  let executable = path;
  for (let depth = 0; depth < 4; depth++) {
    const interpreter = interpreterOf(executable, searchPath);
    if (interpreter === undefined) break;
    executable = interpreter;
  }
  const elf = Elf.read(executable);
  return {
    path,
    executable,
    isScript: executable !== path,
    isNode: isNodeProgram(executable),
    go: elf?.goVersion,
    elf: elf === undefined ? undefined : { isDynamic: elf.isDynamic, isNative: elf.isNative },
  };
}

/** The program that the first line of a script names, `/usr/bin/env` seen through. */
function interpreterOf(path: string, searchPath: string | undefined): string | undefined {
  const line = /^#![ \t]*([^\n]*)/.exec(readStart(path, 256).toString('latin1'))?.[1];
  const [program, ...args] = line?.split(/[ \t]+/) ?? [];
  if (program === undefined || program === '') return undefined;
  if (basename(program) !== 'env') return program;
  const name = args.find((word) => !word.startsWith('-') && !word.includes('='));
  if (name === undefined) return program;
  try {
    return findProgram(name, searchPath);
  } catch {
    return undefined;
  }
}

function isNodeProgram(path: string): boolean {
  const names = /^node(js)?(-?\d+)?$/;
  if (names.test(basename(path))) return true;
  try {
    const real = realpathSync(path);
    return names.test(basename(real)) || real === realpathSync(process.execPath);
  } catch {
    return false;
  }
}

function readStart(path: string, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  try {
    const fd = openSync(path, 'r');
    try {
      return bytes.subarray(0, readSync(fd, bytes, 0, length, 0));
    } finally {
      closeSync(fd);
    }
  } catch {
    return bytes.subarray(0, 0);
  }
}

/** `e_machine` by Node's name of the machine. */
const MACHINES: Readonly<Record<string, number>> = { x64: 62, arm64: 183 };
const PROGRAM_INTERPRETER = 3;
/** More headers than any linker writes. */
const TABLE_LIMIT = 1024;

/** The headers of an ELF file of little-endian machines. Offsets that lead nowhere read as zeros. */
class Elf {
  isDynamic = false;
  isNative = false;
  goVersion: string | undefined;
  private readonly fd: number;
  private readonly is64: boolean;

  private constructor(fd: number, header: Buffer) {
    this.fd = fd;
    this.is64 = header[4] === 2;
    this.isNative = this.is64 && header.readUInt16LE(18) === MACHINES[process.arch];
    this.isDynamic = this.hasInterpreter(header);
    this.goVersion = this.findGoVersion(header);
  }

  static read(path: string): Elf | undefined {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch {
      return undefined;
    }
    try {
      const header = Buffer.alloc(64);
      readSync(fd, header, 0, 64, 0);
      const isLittleElf = header.readUInt32BE(0) === 0x7f45_4c46 && header[5] === 1;
      return isLittleElf ? new Elf(fd, header) : undefined;
    } catch {
      return undefined;
    } finally {
      closeSync(fd);
    }
  }

  private bytes(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    if (offset > 0 && Number.isSafeInteger(offset)) readSync(this.fd, bytes, 0, length, offset);
    return bytes;
  }

  private word(bytes: Buffer, at: number): number {
    return this.is64 ? Number(bytes.readBigUInt64LE(at)) : bytes.readUInt32LE(at);
  }

  private hasInterpreter(header: Buffer): boolean {
    const size = header.readUInt16LE(this.is64 ? 54 : 42);
    const count = Math.min(TABLE_LIMIT, header.readUInt16LE(this.is64 ? 56 : 44));
    if (size < 4) return false;
    const table = this.bytes(this.word(header, this.is64 ? 32 : 28), size * count);
    for (let index = 0; index < count; index++) {
      if (table.readUInt32LE(index * size) === PROGRAM_INTERPRETER) return true;
    }
    return false;
  }

  /** Of the section `.go.buildinfo`: magic, and since Go 1.18 the version as text with its length before it. */
  private findGoVersion(header: Buffer): string | undefined {
    const size = header.readUInt16LE(this.is64 ? 58 : 46);
    const count = Math.min(TABLE_LIMIT, header.readUInt16LE(this.is64 ? 60 : 48));
    const namesAt = header.readUInt16LE(this.is64 ? 62 : 50);
    if (size < (this.is64 ? 64 : 40) || namesAt >= count) return undefined;
    const table = this.bytes(this.word(header, this.is64 ? 40 : 32), size * count);
    const offsetOf = (index: number): number => this.word(table, index * size + (this.is64 ? 24 : 16));
    const names = offsetOf(namesAt);
    const wanted = '.go.buildinfo\0';
    for (let index = 0; index < count; index++) {
      const name = this.bytes(names + table.readUInt32LE(index * size), wanted.length);
      if (name.toString('latin1') !== wanted) continue;
      const section = this.bytes(offsetOf(index), 64);
      const hasText = section.subarray(0, 14).toString('latin1') === '\xff Go buildinf:' && (section[15]! & 2) !== 0;
      if (!hasText) return '?';
      const text = section.subarray(33, 33 + section[32]!).toString('latin1');
      return /^go(\d+(\.\d+)*)/.exec(text)?.[1] ?? '?';
    }
    return undefined;
  }
}

/** What the choice depends on besides the program. */
export interface MeansAvailable {
  /** The wrapper library, where there is one. */
  readonly library: string | undefined;
  /** Whether this network namespace makes MPTCP sockets now. */
  readonly isMptcpOn: boolean;
}

/** The best means for a program, and why it is. */
export function chooseMeans(facts: ProgramFacts, available: MeansAvailable): { means: Means; reason: string } {
  if (facts.isNode) return { means: 'register', reason: 'it is a Node program' };
  if (facts.go !== undefined && knowsMultipath(facts.go)) {
    return { means: 'go', reason: `it is a Go program (${goText(facts.go)})` };
  }
  const { elf } = facts;
  if (elf?.isDynamic === true && elf.isNative && available.library !== undefined && available.isMptcpOn) {
    return { means: 'preload', reason: `it is dynamically linked, and there is ${available.library}` };
  }
  if (facts.go !== undefined) return { means: 'seccomp', reason: `${goText(facts.go)} knows no MPTCP` };
  if (elf === undefined) return { means: 'seccomp', reason: 'what kind of program it is cannot be told' };
  if (!elf.isDynamic) return { means: 'seccomp', reason: 'it is statically linked' };
  if (available.library !== undefined && elf.isNative) {
    return { means: 'seccomp', reason: 'MPTCP is off, which the wrapper library would make an error' };
  }
  return { means: 'seccomp', reason: 'there is no wrapper library for it' };
}

/** Why a means cannot work for a program; undefined when nothing speaks against it. */
export function whyNot(means: Means, facts: ProgramFacts, available: MeansAvailable): string | undefined {
  const { elf } = facts;
  switch (means) {
    case 'register':
      if (facts.isNode || facts.isScript || elf === undefined) return undefined;
      return `${facts.path} is no Node program`;
    case 'go':
      if (facts.go !== undefined && !knowsMultipath(facts.go)) {
        return `${facts.path} was built by ${goText(facts.go)}, and MPTCP came with Go 1.21`;
      }
      if (facts.go !== undefined || facts.isScript || elf === undefined) return undefined;
      return `${facts.path} is no Go program: it has no Go build information`;
    case 'preload':
      if (available.library === undefined) {
        return "there is no libmptcpwrap.so (Debian's package mptcpize brings it); --library names one elsewhere";
      }
      if (elf === undefined) return `${facts.executable} is no ELF program, so nothing can be preloaded`;
      if (!elf.isDynamic) return `${facts.executable} is statically linked, so nothing can be preloaded`;
      return elf.isNative ? undefined : `${facts.executable} is for another machine than the library`;
    case 'seccomp':
      return undefined;
  }
}

/** Go 1.21 was the first with MPTCP. */
function knowsMultipath(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 1 || (major === 1 && minor >= 21);
}

function goText(version: string): string {
  return version === '?' ? 'a Go before 1.18' : `Go ${version}`;
}

/** Where distributions put the wrapper library of mptcpize. */
const LIBRARY_FOLDERS = [
  '/usr/lib/x86_64-linux-gnu/mptcpize',
  '/usr/lib/aarch64-linux-gnu/mptcpize',
  '/usr/lib64/mptcpize',
  '/usr/lib/mptcpize',
  '/usr/local/lib/mptcpize',
];
const LIBRARY_NAMES = ['libmptcpwrap.so.0.0.1', 'libmptcpwrap.so.0', 'libmptcpwrap.so'];

/** The wrapper library of mptcpize, for programs of this machine; undefined where it is not installed. */
export function findWrapperLibrary(): string | undefined {
  for (const folder of LIBRARY_FOLDERS) {
    for (const name of LIBRARY_NAMES) {
      const path = join(folder, name);
      if (Elf.read(path)?.isNative === true) return path;
    }
  }
  return undefined;
}

/** Whether this network namespace makes MPTCP sockets now. */
export function isMptcpOn(): boolean {
  try {
    return readFileSync('/proc/sys/net/mptcp/enabled', 'latin1').trim() === '1';
  } catch {
    return false;
  }
}

import type { Foreign } from '../node/ffi.ts';
import { SystemError } from '../node/system-error.ts';
import { systemCallNumbers } from './system-calls.ts';

/**
 * Seccomp user notification (seccomp_unotify(2)): the kernel stops a program in chosen system calls and asks another
 * process, over a descriptor called the listener, what shall come of them. What is chosen here: `socket` calls that
 * make a TCP socket. Structures and numbers are those of `linux/seccomp.h` and `linux/bpf_common.h`, the same on both
 * machines that there are rules for.
 */

/** A `socket` call that waits for an answer. */
export interface SocketRequest {
  readonly id: bigint;
  /** The calling thread, as our pid namespace numbers it; 0 when it cannot be seen from there. */
  readonly pid: number;
  /** AF_INET or AF_INET6. */
  readonly family: number;
  /** SOCK_STREAM, with SOCK_NONBLOCK and SOCK_CLOEXEC or without. */
  readonly type: number;
  /** 0 or IPPROTO_TCP. */
  readonly protocol: number;
}

export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

/** How the kernel names a machine's system calls (`linux/audit.h`), and its `socket`. */
interface CallTable {
  readonly audit: number;
  readonly socket: number;
}

/**
 * By Node's name of the machine: its own calls, then those of its 32-bit programs. Programs of i386 that go through
 * `socketcall`, whose arguments are in memory where no filter can read them, keep TCP.
 */
const CALL_TABLES: Readonly<Record<string, readonly CallTable[]>> = {
  x64: [
    { audit: 0xc000_003e, socket: 41 },
    { audit: 0x4000_0003, socket: 359 },
  ],
  arm64: [
    { audit: 0xc000_00b7, socket: 198 },
    { audit: 0x4000_0028, socket: 281 },
  ],
};

/** Offsets in `struct seccomp_data`, of the arguments their lower halves. */
const DATA_NUMBER = 0;
const DATA_ARCHITECTURE = 4;
const DATA_ARGUMENTS = [16, 24, 32] as const;

const LOAD = 0x20;
const AND = 0x54;
const JUMP_IF_EQUAL = 0x15;
const RETURN = 0x06;
const RETURN_NOTIFY = 0x7fc0_0000;
const RETURN_ALLOW = 0x7fff_0000;

const INSTRUCTION_BYTES = 8;

/** An instruction of classic BPF; jumps name labels, and `undefined` is the next instruction. */
interface Instruction {
  readonly label?: string;
  readonly code: number;
  readonly operand: number;
  readonly equal?: string;
  readonly unequal?: string;
}

/**
 * The filter: `socket(AF_INET or AF_INET6, SOCK_STREAM with any flags, 0 or IPPROTO_TCP)` asks the listener, every other
 * call passes. Types with bits that no kernel knows pass too, to fail as they would.
 *
 * @param architecture as in `process.arch`
 * @returns an array of `struct sock_filter`; undefined for a machine there are no rules for
 */
export function socketFilter(architecture: string): Uint8Array | undefined {
  const tables = CALL_TABLES[architecture];
  if (tables === undefined) return undefined;
  const program: Instruction[] = [{ code: LOAD, operand: DATA_ARCHITECTURE }];
  for (const [index, { audit, socket }] of tables.entries()) {
    const isLast = index === tables.length - 1;
    const unequal = isLast ? 'allow' : `table ${index + 1}`;
    program.push(
      { label: `table ${index}`, code: JUMP_IF_EQUAL, operand: audit, unequal },
      { code: LOAD, operand: DATA_NUMBER },
      { code: JUMP_IF_EQUAL, operand: socket, equal: 'family', unequal: 'allow' },
    );
  }
  program.push(
    { label: 'family', code: LOAD, operand: DATA_ARGUMENTS[0] },
    { code: JUMP_IF_EQUAL, operand: AF_INET, equal: 'type' },
    { code: JUMP_IF_EQUAL, operand: AF_INET6, unequal: 'allow' },
    { label: 'type', code: LOAD, operand: DATA_ARGUMENTS[1] },
    { code: AND, operand: ~(SOCK_NONBLOCK | SOCK_CLOEXEC) >>> 0 },
    { code: JUMP_IF_EQUAL, operand: SOCK_STREAM, unequal: 'allow' },
    { code: LOAD, operand: DATA_ARGUMENTS[2] },
    { code: JUMP_IF_EQUAL, operand: 0, equal: 'notify' },
    { code: JUMP_IF_EQUAL, operand: IPPROTO_TCP, unequal: 'allow' },
    { label: 'notify', code: RETURN, operand: RETURN_NOTIFY },
    { label: 'allow', code: RETURN, operand: RETURN_ALLOW },
  );
  return assemble(program);
}

const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;

function assemble(program: readonly Instruction[]): Uint8Array {
  const bytes = Buffer.alloc(program.length * INSTRUCTION_BYTES);
  const distance = (label: string | undefined, from: number): number =>
    label === undefined ? 0 : program.findIndex((instruction) => instruction.label === label) - from - 1;
  for (const [index, { code, operand, equal, unequal }] of program.entries()) {
    const at = index * INSTRUCTION_BYTES;
    bytes.writeUInt16LE(code, at);
    bytes.writeUInt8(distance(equal, index), at + 2);
    bytes.writeUInt8(distance(unequal, index), at + 3);
    bytes.writeUInt32LE(operand, at + 4);
  }
  return bytes;
}

const SET_MODE_FILTER = 1;
const FLAG_NEW_LISTENER = 1 << 3;
/** Linux 5.19: once its call was received, a program waits through signals instead of calling again. */
const FLAG_WAIT_KILLABLE = 1 << 5;
const PR_SET_NO_NEW_PRIVS = 38;

/**
 * Puts the filter on the calling thread, and so on what it executes and starts; nothing takes it away again. From now
 * on each call of the filter's waits until the listener is asked, or fails with ENOSYS once the listener is closed.
 * A signal that comes before the listener has received the call interrupts it: it starts again, or fails with EINTR if
 * the signal's handler was set without SA_RESTART. Without CAP_SYS_ADMIN the filter costs the right to gain privileges (`no_new_privs`): set-user-id programs then run without.
 *
 * @returns the listener, close-on-exec
 * @throws SystemError EBUSY another listener is there already; ENOSYS, EINVAL the kernel has no such filters; ENOTSUP
 *   this machine has no rules
 */
export function installSocketFilter(calls: Foreign): number {
  const filter = socketFilter(process.arch);
  const numbers = systemCallNumbers();
  if (filter === undefined || numbers === undefined) {
    throw new SystemError('ENOTSUP', 'seccomp', `there are no rules for ${process.arch} machines`);
  }
  const program = Buffer.alloc(16);
  program.writeUInt16LE(filter.length / INSTRUCTION_BYTES, 0);
  program.writeBigUInt64LE(calls.address(filter), 8);
  const install = (flags: number): number =>
    calls.syscall(numbers.seccomp, SET_MODE_FILTER, flags, calls.address(program), 0, 0, 0);
  let flags = FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE;
  let listener = install(flags);
  if (listener < 0 && calls.errno() === EINVAL) {
    flags = FLAG_NEW_LISTENER;
    listener = install(flags);
  }
  if (listener < 0 && calls.errno() === EACCES) {
    calls.syscall(numbers.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
    listener = install(flags);
  }
  if (listener >= 0) return listener;
  throw SystemError.of(calls.errno(), 'seccomp');
}

const EACCES = 13;
const EINVAL = 22;

const NOTIFICATION_BYTES = 80;
const RESPONSE_BYTES = 24;
const DESCRIPTOR_BYTES = 24;
const IOCTL_RECEIVE = 0xc050_2100;
const IOCTL_SEND = 0xc018_2101;
const IOCTL_ID_VALID = 0x4008_2102;
const IOCTL_ADD_DESCRIPTOR = 0x4018_2103;
const RESPONSE_CONTINUE = 1;
const ADD_AND_SEND = 1 << 1;

const POLLIN = 1;

/** The listening end. One request at a time: received, then answered. */
export class SocketRequests {
  private readonly calls: Foreign;
  private readonly fd: number;
  private readonly notification = Buffer.alloc(NOTIFICATION_BYTES);
  private readonly response = Buffer.alloc(RESPONSE_BYTES);
  private readonly descriptor = Buffer.alloc(DESCRIPTOR_BYTES);
  private readonly entry = Buffer.alloc(8);
  private readonly identity = Buffer.alloc(8);

  constructor(calls: Foreign, listener: number) {
    this.calls = calls;
    this.fd = listener;
    this.entry.writeInt32LE(listener, 0);
    this.entry.writeInt16LE(POLLIN, 4);
  }

  /**
   * Waits, blocking this thread, until a program calls. Signals are waited through.
   * @returns undefined once no process has the filter any more
   */
  next(): SocketRequest | undefined {
    const { calls, notification } = this;
    for (;;) {
      if (calls.poll(this.entry, 1, -1) < 0) {
        if (calls.errno() === EINTR) continue;
        return undefined;
      }
      if ((this.entry.readInt16LE(6) & POLLIN) === 0) return undefined;
      // The kernel insists on zeros.
      notification.fill(0);
      // ENOENT: killed between the two calls.
      if (calls.ioctl(this.fd, IOCTL_RECEIVE, notification) < 0) continue;
      return {
        id: notification.readBigUInt64LE(0),
        pid: notification.readUInt32LE(8),
        family: notification.readInt32LE(32),
        type: notification.readInt32LE(40),
        protocol: notification.readInt32LE(48),
      };
    }
  }

  /** Whether the caller still waits: what was read of `/proc/<pid>` before was the caller's. */
  isWaiting(request: SocketRequest): boolean {
    this.identity.writeBigUInt64LE(request.id, 0);
    return this.calls.ioctl(this.fd, IOCTL_ID_VALID, this.identity) === 0;
  }

  /**
   * Gives the caller a duplicate of `fd` as the result of its call (Linux 5.14).
   * @returns the number it has there; -1 with `errno` when that failed, and the caller waits on unless it is gone
   */
  give(request: SocketRequest, fd: number): number {
    this.descriptor.writeBigUInt64LE(request.id, 0);
    this.descriptor.writeUInt32LE(ADD_AND_SEND, 8);
    this.descriptor.writeUInt32LE(fd, 12);
    this.descriptor.writeUInt32LE(request.type & SOCK_CLOEXEC, 20);
    return this.calls.ioctl(this.fd, IOCTL_ADD_DESCRIPTOR, this.descriptor);
  }

  /** Lets the call go on as it was made. */
  letGoOn(request: SocketRequest): void {
    this.response.fill(0);
    this.response.writeBigUInt64LE(request.id, 0);
    this.response.writeUInt32LE(RESPONSE_CONTINUE, 20);
    this.calls.ioctl(this.fd, IOCTL_SEND, this.response);
  }
}

const EINTR = 4;

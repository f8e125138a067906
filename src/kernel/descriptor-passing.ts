import type { Foreign } from '../node/ffi.ts';
import { SystemError } from '../node/system-error.ts';
import type { SystemCallNumbers } from './system-calls.ts';

/** Descriptors over a Unix socket (SCM_RIGHTS, unix(7)): one, together with one byte. */

const MESSAGE_BYTES = 56;
const CONTROL_BYTES = 24;
/** Header and one descriptor, without the padding behind it. */
const CONTROL_LENGTH = 20;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x4000_0000;

class Message {
  readonly byte = Buffer.alloc(1);
  readonly control = Buffer.alloc(CONTROL_BYTES);
  private readonly vector = Buffer.alloc(16);
  readonly header = Buffer.alloc(MESSAGE_BYTES);

  constructor(calls: Foreign) {
    this.vector.writeBigUInt64LE(calls.address(this.byte), 0);
    this.vector.writeBigUInt64LE(1n, 8);
    this.header.writeBigUInt64LE(calls.address(this.vector), 16);
    this.header.writeBigUInt64LE(1n, 24);
    this.header.writeBigUInt64LE(calls.address(this.control), 32);
    this.header.writeBigUInt64LE(BigInt(CONTROL_BYTES), 40);
  }
}

/** @throws SystemError */
export function sendDescriptor(calls: Foreign, numbers: SystemCallNumbers, socket: number, fd: number): void {
  const message = new Message(calls);
  message.control.writeBigUInt64LE(BigInt(CONTROL_LENGTH), 0);
  message.control.writeInt32LE(SOL_SOCKET, 8);
  message.control.writeInt32LE(SCM_RIGHTS, 12);
  message.control.writeInt32LE(fd, 16);
  if (calls.syscall(numbers.sendmsg, socket, calls.address(message.header), 0, 0, 0, 0) < 0) {
    throw SystemError.of(calls.errno(), 'sendmsg');
  }
}

/**
 * Waits, blocking this thread, for one.
 * @returns it, close-on-exec; undefined when the other end was closed without sending one
 */
export function receiveDescriptor(calls: Foreign, numbers: SystemCallNumbers, socket: number): number | undefined {
  const message = new Message(calls);
  const received = calls.syscall(numbers.recvmsg, socket, calls.address(message.header), MSG_CMSG_CLOEXEC, 0, 0, 0);
  if (received <= 0 || message.control.readBigUInt64LE(0) !== BigInt(CONTROL_LENGTH)) return undefined;
  if (message.control.readInt32LE(12) !== SCM_RIGHTS) return undefined;
  return message.control.readInt32LE(16);
}

import type { Foreign } from '../node/ffi.ts';

/** Numbers of the system calls that the C library has no function for, or none that does just that. */
export interface SystemCallNumbers {
  readonly execve: number;
  readonly prctl: number;
  readonly prlimit64: number;
  readonly recvmsg: number;
  readonly rt_sigaction: number;
  readonly seccomp: number;
  readonly sendmsg: number;
}

const NUMBERS: Readonly<Record<string, SystemCallNumbers>> = {
  x64: {
    execve: 59,
    prctl: 157,
    prlimit64: 302,
    recvmsg: 47,
    rt_sigaction: 13,
    seccomp: 317,
    sendmsg: 46,
  },
  arm64: {
    execve: 221,
    prctl: 167,
    prlimit64: 261,
    recvmsg: 212,
    rt_sigaction: 134,
    seccomp: 277,
    sendmsg: 211,
  },
};

/** Those of this machine; undefined where they are not known, or the system is not Linux. */
export function systemCallNumbers(): SystemCallNumbers | undefined {
  return process.platform === 'linux' ? NUMBERS[process.arch] : undefined;
}

/** Sets what a signal does to this process: nothing, or what the system does by default. */
export function setSignal(
  calls: Foreign,
  numbers: SystemCallNumbers,
  signal: number,
  action: 'default' | 'ignore',
): void {
  // Whatever the layout of the machine's `struct sigaction` behind it, the handler comes first and the rest is zero.
  const bytes = Buffer.alloc(32);
  bytes.writeBigUInt64LE(action === 'ignore' ? 1n : 0n, 0);
  calls.syscall(numbers.rt_sigaction, signal, calls.address(bytes), 0, 8, 0, 0);
}

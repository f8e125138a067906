import { readFileSync, readlinkSync, writeFileSync, writeSync } from 'node:fs';
import { constants } from 'node:os';
import { type Foreign, foreign } from '../node/ffi.ts';
import { inNetworkNamespace } from '../node/network-namespace.ts';
import { errnoName } from '../node/system-error.ts';
import { receiveDescriptor } from './descriptor-passing.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK, type SocketRequest, SocketRequests } from './seccomp.ts';
import { setSignal, systemCallNumbers } from './system-calls.ts';

/**
 * The process that answers the `socket` calls of programs under the seccomp filter, one for each `mptcp run`. It is
 * neither parent nor child of the program and in a session of its own; it gets the listener over descriptor 3, and ends
 * when the last process with the filter has ended, however long after the command that is. No signal that can be
 * ignored ends it, for without it those processes have no `socket` any more.
 *
 * It does one thing after the other and blocks where it waits: a program waits for it meanwhile.
 *
 * Arguments: `--debug` tells of each call on standard error.
 */

const CONTROL = 3;
const IPPROTO_MPTCP = 262;

/** Makes the sockets. */
class Supervisor {
  private readonly calls: Foreign;
  private readonly requests: SocketRequests;
  private readonly namespace = readlinkSync('/proc/self/ns/net');
  private tells: boolean;

  constructor(calls: Foreign, listener: number, tells: boolean) {
    this.calls = calls;
    this.requests = new SocketRequests(calls, listener);
    this.tells = tells;
  }

  run(): void {
    for (;;) {
      const request = this.requests.next();
      if (request === undefined) return;
      this.answer(request);
    }
  }

  private answer(request: SocketRequest): void {
    const program = this.tells ? programName(request.pid) : '';
    let refusal: string | undefined;
    try {
      const socket = this.makeSocket(request);
      const fd = this.requests.give(request, socket);
      const errno = this.calls.errno();
      this.calls.close(socket);
      if (fd >= 0) {
        this.tell(request, program, `= ${fd}, IPPROTO_MPTCP`);
        return;
      }
      // Its caller was killed meanwhile.
      if (errnoName(errno) === 'ENOENT') return;
      refusal = errnoName(errno);
    } catch (error) {
      refusal = (error as Error).message;
    }
    this.requests.letGoOn(request);
    this.tell(request, program, `stays TCP: ${refusal}`);
  }

  /** In the caller's network namespace. Whoever has no MPTCP socket keeps TCP, so all that fails here only says why. */
  private makeSocket(request: SocketRequest): number {
    if (request.pid === 0) throw new Error('the caller is in a pid namespace that cannot be seen from here');
    const path = `/proc/${request.pid}/ns/net`;
    const type = request.type & ~SOCK_CLOEXEC;
    let namespace: string;
    try {
      namespace = readlinkSync(path);
    } catch {
      throw new Error('the caller may not be looked at, so its network namespace is not known');
    }
    if (!this.requests.isWaiting(request)) throw new Error('the caller is gone');
    if (namespace === this.namespace) return this.socket(request.family, type);
    return inNetworkNamespace(path, () => this.socket(request.family, type));
  }

  private socket(family: number, type: number): number {
    const fd = this.calls.socket(family, type | SOCK_CLOEXEC, IPPROTO_MPTCP);
    if (fd >= 0) return fd;
    const code = errnoName(this.calls.errno());
    if (code === 'ENOPROTOOPT') throw new Error('MPTCP is switched off (sysctl net.mptcp.enabled=1 switches it on)');
    if (code === 'EPROTONOSUPPORT' || code === 'EINVAL') throw new Error('this kernel has no MPTCP');
    throw new Error(code);
  }

  private tell(request: SocketRequest, program: string, outcome: string): void {
    if (!this.tells) return;
    const line = `mptcp run: ${request.pid} ${program}: ${callText(request)} ${outcome}\n`;
    try {
      writeSync(2, line);
    } catch (error) {
      // Nobody reads it any more. A reader that is slow misses a line.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.tells = false;
    }
  }
}

/** The call as strace would write it. */
function callText(request: SocketRequest): string {
  let type = 'SOCK_STREAM';
  if ((request.type & SOCK_CLOEXEC) !== 0) type += '|SOCK_CLOEXEC';
  if ((request.type & SOCK_NONBLOCK) !== 0) type += '|SOCK_NONBLOCK';
  const family = request.family === 2 ? 'AF_INET' : 'AF_INET6';
  return `socket(${family}, ${type}, ${request.protocol === 0 ? '0' : 'IPPROTO_TCP'})`;
}

function programName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd();
  } catch {
    return '?';
  }
}

function main(): void {
  const calls = foreign();
  const numbers = systemCallNumbers()!;
  const { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTOU, SIGPIPE, SIGALRM } = constants.signals;
  for (const signal of [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP, SIGTTOU, SIGPIPE, SIGALRM]) {
    setSignal(calls, numbers, signal, 'ignore');
  }
  try {
    // Memory that runs out should take another process; only root may ask for it.
    writeFileSync('/proc/self/oom_score_adj', '-900');
  } catch {
    // It takes its chance.
  }
  process.chdir('/');
  // Ready: from here on nothing is loaded any more.
  calls.write(CONTROL, Buffer.of(1), 1);
  const listener = receiveDescriptor(calls, numbers, CONTROL);
  calls.close(CONTROL);
  if (listener !== undefined) new Supervisor(calls, listener, process.argv.includes('--debug')).run();
}

main();

import { constants } from 'node:os';

/** An operating system call failed: Node's own fields, plus what was being done and what would help. */
export class SystemError extends Error {
  /** The symbolic error, such as 'EPERM'. */
  readonly code: string;
  /** The error number, negative as in Node; 0 when no call was made. */
  readonly errno: number;
  /** The call that failed. */
  readonly syscall: string;

  constructor(code: string, syscall: string, detail: string, errno = 0) {
    super(`${code}: ${detail}, ${syscall}`);
    this.name = 'SystemError';
    this.code = code;
    this.errno = errno === 0 ? 0 : -errno;
    this.syscall = syscall;
  }

  /** The error for a positive `errno`. `hint` replaces the plain text of that number. */
  static of(errno: number, syscall: string, hint = ''): SystemError {
    const code = errnoName(errno);
    return new SystemError(code, syscall, hint === '' ? `error ${errno}` : hint, errno);
  }
}

/** 'EAGAIN' for 11, and so on; 'E<number>' for one the platform does not name. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`;
}

// The first name wins, so that 11 is EAGAIN and not EWOULDBLOCK.
const names = new Map<number, string>();
for (const [name, value] of Object.entries(constants.errno)) if (!names.has(value)) names.set(value, name);
// Numbers that Node's table lacks.
for (const [name, value] of Object.entries({ EBADFD: 77, ESOCKTNOSUPPORT: 94 })) {
  if (!names.has(value)) names.set(value, name);
}

/** The command could not do what it was asked to: one line for people, and an exit code. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

const TEXTS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or directory',
  EACCES: 'permission denied',
  EISDIR: 'is a directory',
  ENOSPC: 'no space left on the device',
  EPIPE: 'nobody reads the output',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'connection reset by peer',
  ECONNABORTED: 'connection aborted',
  ETIMEDOUT: 'connection timed out',
  EHOSTUNREACH: 'host unreachable',
  ENETUNREACH: 'network unreachable',
  EADDRINUSE: 'address in use',
  EADDRNOTAVAIL: 'address not available',
  ENOTFOUND: 'unknown host',
  EAI_AGAIN: 'unknown host (no answer from the name server)',
};

/** One line that says what went wrong, for whatever was thrown. */
export function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, syscall, hostname, path, address, port } = error as NodeJS.ErrnoException & {
    hostname?: string;
    address?: string;
    port?: number;
  };
  const [line = ''] = error.message.split('\n', 1);
  if (code === undefined || error instanceof CommandError) return line;
  // Errors of this package say it themselves: "CODE: text, call".
  const own = new RegExp(`^${code}: (.*?)(, ${syscall ?? ''})?$`).exec(line);
  const text = TEXTS[code];
  // Those of Node's file and network calls say "CODE: text, open 'x'" or "connect CODE 1.2.3.4:5".
  if (hostname !== undefined) return `${hostname}: ${text ?? code}`;
  if (path !== undefined) return `${path}: ${text ?? code}`;
  if (address !== undefined) {
    const where = port === undefined ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    return `${where}: ${text ?? code}`;
  }
  return own?.[1] ?? line;
}

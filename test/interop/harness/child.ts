import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/**
 * Processes that are called by name: one JSON object per line on standard input and output. A call is
 * `{ id, method, params }`, its answer `{ id, result }` or `{ id, error }`; the process tells of events with
 * `{ event, data }`. It ends when its standard input does, so it never outlives its parent.
 */

export interface ChildOptions {
  /** Command that the process is started by, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds that a call may take unless it says otherwise. Default 30 000. */
  readonly timeout?: number;
}

interface Pending {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

/** The message of an error that the other process threw, with its `code`. */
export class ChildError extends Error {
  readonly code: string;

  constructor(message: string, code: string) {
    super(message);
    this.name = 'ChildError';
    this.code = code;
  }
}

export class Child {
  readonly process: ChildProcess;
  private readonly name: string;
  private readonly timeout: number;
  private readonly pending = new Map<number, Pending>();
  private readonly listeners = new Map<string, ((data: unknown) => void)[]>();
  private readonly past = new Map<string, unknown[]>();
  private nextId = 1;
  private exit: { code: number | null; signal: NodeJS.Signals | null } | undefined;
  private errors = '';

  constructor(child: ChildProcess, name: string, timeout: number) {
    this.process = child;
    this.name = name;
    this.timeout = timeout;
    createInterface({ input: child.stdout! }).on('line', (line) => this.onLine(line));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.errors = (this.errors + text).slice(-4000);
      if (process.env.MPTCP_INTEROP_VERBOSE !== undefined) process.stderr.write(text);
    });
    child.stdin!.on('error', () => {});
    child.on('exit', (code, signal) => this.onExit(code, signal));
    child.on('error', (error) => {
      this.errors += String(error);
      this.onExit(null, null);
    });
  }

  /** Calls a method of the process. */
  call<T = unknown>(method: string, params: object = {}, timeout = this.timeout): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.exit !== undefined) return reject(this.ended(method));
      const id = this.nextId++;
      const timer = setTimeout(() => {
        this.pending.delete(id);
        reject(new Error(`${this.name}: no answer to ${method} within ${timeout} ms\n${this.errors}`));
      }, timeout);
      this.pending.set(id, { resolve: resolve as (result: unknown) => void, reject, timer });
      this.process.stdin!.write(`${JSON.stringify({ id, method, params })}\n`);
    });
  }

  /** Resolves with the data of the next event of that name, or of the oldest that nobody took. */
  event<T = unknown>(name: string, timeout = this.timeout): Promise<T> {
    const waiting = this.past.get(name);
    if (waiting !== undefined && waiting.length > 0) return Promise.resolve(waiting.shift() as T);
    return new Promise<T>((resolve, reject) => {
      const listener = (data: unknown): void => {
        clearTimeout(timer);
        resolve(data as T);
      };
      const timer = setTimeout(() => {
        const list = this.listeners.get(name)!;
        list.splice(list.indexOf(listener), 1);
        reject(new Error(`${this.name}: no event ${name} within ${timeout} ms\n${this.errors}`));
      }, timeout);
      this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
    });
  }

  async ready(): Promise<void> {
    await Promise.race([this.event('ready'), this.untilExit()]);
  }

  private untilExit(): Promise<never> {
    return new Promise((_, reject) => {
      if (this.exit !== undefined) reject(this.ended('start'));
      else this.process.once('exit', () => reject(this.ended('start')));
    });
  }

  /** Lets the process end by itself: closes its input and waits. @returns its exit code */
  async end(timeout = 10_000): Promise<number | null> {
    if (this.exit !== undefined) return this.exit.code;
    this.process.stdin!.end();
    return await new Promise<number | null>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.kill();
        reject(new Error(`${this.name} did not end within ${timeout} ms after its input was closed\n${this.errors}`));
      }, timeout);
      this.process.once('exit', (code) => {
        clearTimeout(timer);
        resolve(code);
      });
    });
  }

  kill(): void {
    if (this.exit === undefined) this.process.kill('SIGKILL');
  }

  /** The last of what it wrote to standard error. */
  get standardError(): string {
    return this.errors;
  }

  private onLine(line: string): void {
    let message: {
      id?: number;
      result?: unknown;
      error?: { message: string; code: string };
      event?: string;
      data?: unknown;
    };
    try {
      message = JSON.parse(line);
    } catch {
      this.errors += `${line}\n`;
      return;
    }
    if (message.event !== undefined) {
      const listeners = this.listeners.get(message.event);
      if (listeners !== undefined && listeners.length > 0) listeners.shift()!(message.data);
      else this.past.set(message.event, [...(this.past.get(message.event) ?? []), message.data]);
      return;
    }
    const pending = this.pending.get(message.id ?? 0);
    if (pending === undefined) return;
    this.pending.delete(message.id!);
    clearTimeout(pending.timer);
    if (message.error !== undefined) pending.reject(new ChildError(message.error.message, message.error.code));
    else pending.resolve(message.result);
  }

  private onExit(code: number | null, signal: NodeJS.Signals | null): void {
    if (this.exit !== undefined) return;
    this.exit = { code, signal };
    for (const pending of this.pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(this.ended('a call'));
    }
    this.pending.clear();
  }

  private ended(doing: string): Error {
    return new Error(`${this.name} ended (${this.exit?.signal ?? this.exit?.code}) during ${doing}\n${this.errors}`);
  }
}

export function startChild(modulePath: string | URL, args: readonly string[], options: ChildOptions): Child {
  const path = modulePath instanceof URL ? fileURLToPath(modulePath) : modulePath;
  const command = [...(options.prefix ?? []), process.execPath, '--import', 'tsx', path, ...args];
  const child = spawn(command[0]!, command.slice(1), {
    // Where `tsx` is found.
    cwd: fileURLToPath(new URL('../../../', import.meta.url)),
    env: { ...process.env, ...options.env, NODE_TEST_CONTEXT: undefined },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  return new Child(child, path.slice(path.lastIndexOf('/') + 1), options.timeout ?? 30_000);
}

export type Handler = (params: never) => unknown;

/**
 * The other end: answers calls with what the handlers return or resolve to, until the input ends. `onEnd` should let go
 * of everything that keeps the process alive.
 */
export function serve(handlers: Readonly<Record<string, Handler>>, onEnd: () => void = () => {}): void {
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    void answer(handlers, JSON.parse(line));
  });
  lines.on('close', onEnd);
  tell('ready', process.pid);
}

/** Tells the parent of an event. */
export function tell(event: string, data: unknown): void {
  print({ event, data });
}

async function answer(
  handlers: Readonly<Record<string, Handler>>,
  call: { id: number; method: string; params: never },
): Promise<void> {
  try {
    const handler = handlers[call.method];
    if (handler === undefined) throw new Error(`no method ${call.method}`);
    print({ id: call.id, result: (await handler(call.params)) ?? null });
  } catch (error) {
    const { message, code, stack } = error as { message: string; code?: string; stack?: string };
    process.stderr.write(`${call.method}: ${stack}\n`);
    print({ id: call.id, error: { message, code: code ?? '' } });
  }
}

function print(message: unknown): void {
  // 64-bit numbers travel as decimal text.
  const text = JSON.stringify(message, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  process.stdout.write(`${text}\n`);
}

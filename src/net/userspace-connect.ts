import dns from 'node:dns';
import {
  getDefaultAutoSelectFamily,
  getDefaultAutoSelectFamilyAttemptTimeout,
  isIP,
  type LookupFunction,
  Socket,
} from 'node:net';
import {
  attemptsError,
  connectionTimeoutError,
  invalidAddressError,
  invalidFamilyError,
  refusalOf,
  unsupportedOptionError,
} from './userspace-error.ts';

/** What `connect` may be told, as `node:net` has it. */
export interface ConnectOptions {
  readonly port?: number | string;
  readonly host?: string;
  readonly path?: string;
  readonly localAddress?: string;
  readonly localPort?: number;
  readonly family?: number | string;
  readonly hints?: number;
  readonly lookup?: LookupFunction;
  readonly autoSelectFamily?: boolean;
  readonly autoSelectFamilyAttemptTimeout?: number;
}

/** One address to connect to. */
export interface Attempt {
  readonly address: string;
  readonly port: number;
  readonly family: 4 | 6;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
}

/** What the search for an address asks of the socket. */
export interface Connecting {
  readonly connecting: boolean;
  autoSelectFamilyAttemptedAddresses: string[];
  emit(event: string, ...values: unknown[]): boolean;
  destroy(error?: Error): unknown;
  touch(): void;
  /** The one attempt there is. */
  attempt(attempt: Attempt): void;
  /**
   * One of several: `done` is called with the error, or with none when the socket is connected. Returns what gives it up.
   */
  attemptOneOf(attempt: Attempt, done: (error?: Error) => void): (code: string) => Error;
}

/** `connect(options, done)`, `connect(port, host, done)`, `connect(port, done)` and `connect(path, done)` as one. */
export function connectArguments(values: readonly unknown[]): [ConnectOptions, (() => void) | undefined] {
  const last = values.at(-1);
  const done = typeof last === 'function' ? (last as () => void) : undefined;
  const [first, second] = values;
  if (typeof first === 'object' && first !== null) {
    // Node hands its own functions a list that is normalised already.
    if (Array.isArray(first)) return connectArguments(first.filter((value) => value !== null));
    return [first as ConnectOptions, done];
  }
  if (values.length === 0) return [{}, undefined];
  if (typeof first === 'string' && !isPortText(first)) return [{ path: first }, done];
  const options = { port: first as number };
  return [typeof second === 'string' ? { ...options, host: second } : options, done];
}

/** @throws the errors of `net.Socket.connect` for options that cannot be */
export function checkConnectOptions(options: ConnectOptions): void {
  if (options.path !== undefined && options.path !== null && options.port === undefined) {
    if (typeof options.path !== 'string') throw refusal(options);
    throw unsupportedOptionError('path', 'it connects to addresses and ports; use node:net for paths');
  }
  const { port, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout: timeout } = options;
  const isFine =
    port !== undefined &&
    isPort(port) &&
    (!localAddress || isIP(localAddress) !== 0) &&
    (!localPort || typeof localPort === 'number') &&
    (autoSelectFamily === undefined || autoSelectFamily === null || typeof autoSelectFamily === 'boolean') &&
    (timeout === undefined || timeout === null || (Number.isInteger(timeout) && timeout > 0)) &&
    (options.lookup === undefined || options.lookup === null || typeof options.lookup === 'function');
  if (!isFine) throw refusal(options);
}

function refusal(options: ConnectOptions): Error {
  const probe = new Socket().on('error', () => {});
  return refusalOf(
    () => probe.connect(options as { port: number }),
    () => probe.destroy(),
    () => new TypeError('these options of connect cannot be'),
  );
}

/** As Node: a number or the text of one, 0 to 65535. */
export function isPort(port: unknown): boolean {
  if (typeof port === 'string' && port.trim() === '') return false;
  if (typeof port !== 'number' && typeof port !== 'string') return false;
  const value = Number(port);
  return value === value >>> 0 && value <= 0xffff;
}

/** Or no port, and no path either: Node takes empty text for a number as well. */
function isPortText(text: string): boolean {
  return Number(text) >= 0;
}

/** Finds the address that `options` name, and attempts it; or those that the name has, one after the other. */
export function findAndConnect(socket: Connecting, options: ConnectOptions): void {
  const { localAddress, localPort } = options;
  const host = options.host || 'localhost';
  const port = Number(options.port) | 0;
  const attempt = (address: string, family: number): void =>
    socket.attempt({ address, port, family: family as 4 | 6, localAddress, localPort });
  const family = isIP(host);
  if (family !== 0) {
    process.nextTick(() => {
      if (socket.connecting) attempt(host, family);
    });
    return;
  }
  const wanted = options.family === 'IPv4' ? 4 : options.family === 'IPv6' ? 6 : options.family;
  const isOneFamily = wanted === 4 || wanted === 6;
  const hints = options.hints || (isOneFamily || process.platform === 'win32' ? 0 : dns.ADDRCONFIG);
  const lookup = (options.lookup ?? dns.lookup) as (
    name: string,
    query: object,
    done: (error: Error | null, found: unknown, family?: number) => void,
  ) => void;
  const searchesAll = !isOneFamily && !localAddress && (options.autoSelectFamily ?? getDefaultAutoSelectFamily());
  if (searchesAll) {
    lookup(host, { family: wanted, hints, all: true }, (error, found) => {
      if (!socket.connecting) return;
      if (error) {
        socket.emit('lookup', error, undefined, undefined, host);
        process.nextTick(() => socket.destroy(error));
        return;
      }
      tryAll(socket, options, host, port, found as readonly Found[]);
    });
    return;
  }
  lookup(host, { family: wanted, hints }, (error, address, found) => {
    socket.emit('lookup', error, address, found, host);
    if (!socket.connecting) return;
    const problem = error ?? problemWith(address, found, options);
    if (problem !== undefined) {
      process.nextTick(() => socket.destroy(problem));
      return;
    }
    socket.touch();
    attempt(address as string, found!);
  });
}

interface Found {
  readonly address: string;
  readonly family: number;
}

function problemWith(address: unknown, family: unknown, options: ConnectOptions): Error | undefined {
  if (typeof address !== 'string' || isIP(address) === 0) return invalidAddressError(address);
  if (family !== 4 && family !== 6) return invalidFamilyError(family, options.host, options.port);
  return undefined;
}

/** Happy eyeballs (RFC 8305 §4, without its sorting): the families take turns, the one that came first begins. */
function tryAll(
  socket: Connecting,
  options: ConnectOptions,
  host: string,
  port: number,
  found: readonly Found[],
): void {
  const byFamily = new Map<number, Found[]>();
  for (const entry of found) {
    const { address, family } = entry;
    socket.emit('lookup', null, address, family, host);
    if (!socket.connecting) return;
    if (problemWith(address, family, options) !== undefined) continue;
    const known = byFamily.get(family) ?? [];
    if (!known.some((other) => other.address === address)) known.push(entry);
    byFamily.set(family, known);
  }
  const [first = [], second = []] = [...byFamily.values()];
  const turns: Found[] = [];
  for (let index = 0; index < Math.max(first.length, second.length); index++) {
    if (first[index] !== undefined) turns.push(first[index]!);
    if (second[index] !== undefined) turns.push(second[index]!);
  }
  if (turns.length === 0) {
    const problem = problemWith(found[0]?.address, found[0]?.family, options) ?? invalidAddressError(undefined);
    process.nextTick(() => socket.destroy(problem));
    return;
  }
  socket.touch();
  const { localPort } = options;
  const attempts = turns.map(({ address, family }) => ({
    address,
    family: family as 4 | 6,
    port,
    localAddress: undefined,
    localPort,
  }));
  if (attempts.length === 1) {
    socket.attempt({ ...attempts[0]!, localAddress: options.localAddress });
    return;
  }
  const given = options.autoSelectFamilyAttemptTimeout;
  const timeout = given == null ? getDefaultAutoSelectFamilyAttemptTimeout() : Math.max(10, given);
  socket.autoSelectFamilyAttemptedAddresses = [];
  new Attempts(socket, attempts, timeout).next();
}

/** Several addresses, one after the other, each given up for the next after a while. */
class Attempts {
  private readonly socket: Connecting;
  private readonly attempts: readonly Attempt[];
  private readonly timeout: number;
  private readonly errors: Error[] = [];
  private index = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(socket: Connecting, attempts: readonly Attempt[], timeout: number) {
    this.socket = socket;
    this.attempts = attempts;
    this.timeout = timeout;
  }

  next(): void {
    clearTimeout(this.timer);
    const { socket, attempts, errors } = this;
    if (!socket.connecting) return;
    const number = this.index++;
    const attempt = attempts[number];
    if (attempt === undefined) {
      socket.destroy(errors.length === 0 ? connectionTimeoutError() : attemptsError(errors));
      return;
    }
    const { address, port, family } = attempt;
    let isOver = false;
    const giveUp = socket.attemptOneOf(attempt, (error) => {
      clearTimeout(this.timer);
      isOver = true;
      if (error === undefined) return;
      errors.push(error);
      socket.emit('connectionAttemptFailed', address, port, family, error);
      this.next();
    });
    if (isOver || number === attempts.length - 1) return;
    this.timer = setTimeout(() => {
      if (!socket.connecting) return;
      socket.emit('connectionAttemptTimeout', address, port, family);
      errors.push(giveUp('ETIMEDOUT'));
      this.next();
    }, this.timeout);
  }
}

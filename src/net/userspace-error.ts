import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

/**
 * The errors that `node:net` makes, with the same `code`, fields and text, so that programs that look at them see no
 * difference.
 */

/** Where an operation was going, as Node tells it in the fields of an error. */
export interface ErrorPlace {
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  /** What the text adds about the local side, such as `Local (10.0.0.1:80)`. */
  readonly local?: string | undefined;
}

/** 'ECONNREFUSED' as Node has it: `connect ECONNREFUSED 10.0.0.1:80`, `errno` negative. */
export function systemError(code: string, syscall: string, place: ErrorPlace = {}): NodeJS.ErrnoException {
  return fill(new Error(`${syscall} ${code}${details(place)}`), code, syscall, place);
}

/** Like `systemError`, with what it means: `listen EADDRINUSE: address already in use 10.0.0.1:80`. */
export function explainedSystemError(code: string, syscall: string, place: ErrorPlace = {}): NodeJS.ErrnoException {
  const meaning = getSystemErrorMap().get(errnoOf(code))?.[1] ?? 'unknown error';
  return fill(new Error(`${syscall} ${code}: ${meaning}${details(place)}`), code, syscall, place);
}

function details({ address, port, local }: ErrorPlace): string {
  let text = '';
  if (port !== undefined && port > 0) text = ` ${address}:${port}`;
  else if (address !== undefined && address !== '') text = ` ${address}`;
  return local === undefined ? text : `${text} - Local (${local})`;
}

function fill(error: Error, code: string, syscall: string, { address, port }: ErrorPlace): NodeJS.ErrnoException {
  const filled = error as NodeJS.ErrnoException & { address?: string; port?: number };
  filled.errno = errnoOf(code);
  filled.code = code;
  filled.syscall = syscall;
  if (address !== undefined) filled.address = address;
  if (port !== undefined && port > 0) filled.port = port;
  return filled;
}

/** The negative number of an error of the system. */
function errnoOf(code: string): number {
  return -((constants.errno as Readonly<Record<string, number>>)[code] ?? 0);
}

/** An error of Node's own, such as ERR_SOCKET_CLOSED: its stack begins with `Error [ERR_SOCKET_CLOSED]`. */
export function nodeError<E extends Error>(error: E, code: string): E & { code: string } {
  const { name } = error;
  error.name = `${name} [${code}]`;
  // The stack is written when it is first read, or was with the plain name: written again for the reader.
  if (error.stack !== undefined) error.stack = error.stack.replace(name, `${name} [${code}]`);
  Reflect.deleteProperty(error, 'name');
  return Object.assign(error, { code });
}

/** Multipath was required, and the connection is none. */
export function plainError(reason: string): Error {
  return nodeError(new Error(`the connection is plain TCP: ${reason}`), 'ERR_MPTCP_FALLBACK');
}

export function socketClosedError(): Error {
  return nodeError(new Error('Socket is closed'), 'ERR_SOCKET_CLOSED');
}

export function closedBeforeConnectionError(): Error {
  return nodeError(
    new Error('Socket closed before the connection was established'),
    'ERR_SOCKET_CLOSED_BEFORE_CONNECTION',
  );
}

export function connectionTimeoutError(): Error {
  return nodeError(new Error('Socket connection timeout'), 'ERR_SOCKET_CONNECTION_TIMEOUT');
}

export function blockedError(address: string): Error {
  return nodeError(new Error(`IP(${address}) is blocked by net.BlockList`), 'ERR_IP_BLOCKED');
}

export function invalidAddressError(address: unknown): Error {
  return nodeError(new TypeError(`Invalid IP address: ${address}`), 'ERR_INVALID_IP_ADDRESS');
}

export function invalidFamilyError(family: unknown, host: unknown, port: unknown): Error {
  const error = nodeError(
    new RangeError(`Invalid address family: ${family} ${host}:${port}`),
    'ERR_INVALID_ADDRESS_FAMILY',
  );
  return Object.assign(error, { host, port });
}

export function alreadyListeningError(): Error {
  return nodeError(
    new Error('Listen method has been called more than once without closing.'),
    'ERR_SERVER_ALREADY_LISTEN',
  );
}

/** What a socket of this package's stack has none of: descriptors, handles, paths in the file system. */
export function unsupportedOptionError(option: string, instead: string): Error {
  return nodeError(
    new TypeError(`The option '${option}' has no meaning for a userspace socket: ${instead}`),
    'ERR_INVALID_ARG_VALUE',
  );
}

/** Every address of a name failed: one error that holds them all, with the code of the first. */
export function attemptsError(errors: readonly Error[]): AggregateError {
  const error = new AggregateError(errors);
  const { code } = (errors[0] ?? {}) as NodeJS.ErrnoException;
  return Object.assign(error, { code });
}

/**
 * Lets Node itself refuse what it refuses, with its own error and text.
 * @param call what must throw; whatever else it does is undone by `undo`
 */
export function refusalOf(call: () => unknown, undo: () => void, otherwise: () => Error): Error {
  try {
    call();
  } catch (error) {
    return error as Error;
  }
  undo();
  return otherwise();
}

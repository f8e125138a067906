import { createRequire } from 'node:module';

/**
 * The one file that knows how a C function is called. Everything here fails as C does: -1 (or a negative libuv
 * status) and `errno()`.
 *
 * A pointer is given as a byte array, or as the number that `address` returned for one: 20 to 30 ns cheaper a call,
 * and whoever keeps such a number must keep the array referenced as long, since the collector does not see it.
 */
export interface Foreign {
  /** Which mechanism calls: what Node itself has from 26.1 on, or the package koffi. */
  readonly backend: 'node:ffi' | 'koffi';
  /** The error number of this thread's last failed call; meaningful right after the call only. */
  errno(): number;
  /** Where the bytes stand in memory. */
  address(bytes: Uint8Array): bigint;
  open(path: string, flags: number): number;
  close(fd: number): number;
  /** `argument` is a structure, or a plain number for the requests that take one. */
  ioctl(fd: number, request: number, argument: Pointer): number;
  ioctlNumber(fd: number, request: number, argument: number): number;
  read(fd: number, bytes: Pointer, length: number): number;
  write(fd: number, bytes: Pointer, length: number): number;
  /** @param vectors `count` pairs of address and length, 64 bits each */
  writev(fd: number, vectors: Pointer, count: number): number;
  poll(entries: Pointer, count: number, timeout: number): number;
  /** `poll` on another thread; `entries` must stay referenced until `done`. */
  pollAsync(entries: Pointer, count: number, timeout: number, done: (result: number) => void): void;
  socket(domain: number, type: number, protocol: number): number;
  socketpair(domain: number, type: number, protocol: number, pair: Pointer): number;
  bind(fd: number, address: Pointer, length: number): number;
  connect(fd: number, address: Pointer, length: number): number;
  listen(fd: number, backlog: number): number;
  getsockopt(fd: number, level: number, option: number, value: Pointer, length: Pointer): number;
  setsockopt(fd: number, level: number, option: number, value: Pointer, length: number): number;
  setns(fd: number, kind: number): number;
  shutdown(fd: number, how: number): number;
  recv(fd: number, bytes: Pointer, length: number, flags: number): number;
  dup(fd: number): number;
  /** For the commands whose argument is a number. */
  fcntl(fd: number, command: number, argument: number): number;
  eventfd(initial: number, flags: number): number;
  timerfdCreate(clock: number, flags: number): number;
  timerfdSettime(fd: number, flags: number, value: Pointer): number;
  /** Any system call, by the machine's number for it; addresses and whole numbers as `unsigned long`. */
  syscall(
    number: number,
    a: number | bigint,
    b: number | bigint,
    c: number | bigint,
    d: number | bigint,
    e: number | bigint,
    f: number | bigint,
  ): number;
  /** libuv's C functions that Node exports, for the main thread's loop only; undefined when they are not to be had. */
  readonly uv: ForeignLoop | undefined;
}

/** What is needed of libuv to be told when a descriptor is ready. */
export interface ForeignLoop {
  /** Bytes of a `uv_poll_t`. */
  readonly pollSize: number;
  pollInit(handle: Pointer, fd: number): number;
  /** @param callback what `registerPoll` returned */
  pollStart(handle: Pointer, events: number, callback: bigint): number;
  pollStop(handle: Pointer): number;
  /** The handle's memory may be dropped only after the loop's closing phase. */
  close(handle: Pointer): void;
  ref(handle: Pointer): void;
  unref(handle: Pointer): void;
  /**
   * A C function that calls `callback(handle, status, events)`. It lasts as long as the process. `callback` must never
   * throw, and promise jobs started in it wait for Node's next own callback.
   */
  registerPoll(callback: (handle: bigint, status: number, events: number) => void): bigint;
}

export type Pointer = Uint8Array | bigint | null;

/** No way to call C functions is installed. */
export class ForeignFunctionError extends Error {
  readonly code = 'ERR_NO_FFI';

  constructor(cause: unknown) {
    super(isDenied(cause) ? DENIED : MISSING, { cause });
    this.name = 'ForeignFunctionError';
  }
}

const MISSING =
  'ERR_NO_FFI: calling the operating system needs Node 26.1 or later, or the optional package koffi, which is not ' +
  `installed or has no build for ${process.platform}-${process.arch}; run: npm install koffi`;
const DENIED =
  'ERR_NO_FFI: calling the operating system is not allowed by the permission model; ' +
  'allow it with --allow-ffi (Node 26.1 and later) or --allow-addons (for koffi)';

function isDenied(cause: unknown): boolean {
  const codes = cause instanceof AggregateError ? cause.errors : [cause];
  return codes.some((each) => (each as { code?: string } | undefined)?.code === 'ERR_ACCESS_DENIED');
}

/**
 * The foreign functions, loaded on first use (about 10 ms).
 * @throws ForeignFunctionError when there is no way to call them
 */
export function foreign(): Foreign {
  loaded ??= load(createRequire(import.meta.url));
  return loaded;
}

/**
 * Loads the foreign functions through `resolve`, which finds modules as `require` does: `node:ffi` if it is there, else
 * the package koffi.
 *
 * @throws ForeignFunctionError
 */
export function load(resolve: (name: string) => unknown): Foreign {
  const failures: unknown[] = [];
  for (const attempt of [loadBuiltIn, loadPackage]) {
    try {
      return attempt(resolve);
    } catch (error) {
      failures.push(error);
    }
  }
  throw new ForeignFunctionError(new AggregateError(failures));
}

let loaded: Foreign | undefined;

/**
 * What is called, declared as in C. Lengths and results are `int` where C has 64 bits: those cost a BigInt check a call,
 * and nothing here is longer.
 */
const DECLARATIONS = {
  open: 'int open(const char*, int)',
  close: 'int close(int)',
  ioctl: 'int ioctl(int, unsigned long, void*)',
  read: 'int read(int, void*, int)',
  write: 'int write(int, void*, int)',
  writev: 'int writev(int, void*, int)',
  poll: 'int poll(void*, unsigned long, int)',
  socket: 'int socket(int, int, int)',
  socketpair: 'int socketpair(int, int, int, void*)',
  bind: 'int bind(int, void*, int)',
  connect: 'int connect(int, void*, int)',
  listen: 'int listen(int, int)',
  getsockopt: 'int getsockopt(int, int, int, void*, void*)',
  setsockopt: 'int setsockopt(int, int, int, void*, int)',
  shutdown: 'int shutdown(int, int)',
  recv: 'int recv(int, void*, int, int)',
  dup: 'int dup(int)',
  fcntl: 'int fcntl(int, int, int)',
  setns: 'int setns(int, int)',
  eventfd: 'int eventfd(unsigned int, int)',
  timerfdCreate: 'int timerfd_create(int, int)',
  timerfdSettime: 'int timerfd_settime(int, int, void*, void*)',
  // The C function takes its arguments variably, which makes no difference to how either machine passes them.
  syscall: 'int syscall(size_t, size_t, size_t, size_t, size_t, size_t, size_t)',
} as const;

const IOCTL_NUMBER = 'int ioctl(int, unsigned long, unsigned long)';

const LOOP_DECLARATIONS = {
  defaultLoop: 'void* uv_default_loop()',
  handleSize: 'size_t uv_handle_size(int)',
  pollInit: 'int uv_poll_init(void*, void*, int)',
  pollStart: 'int uv_poll_start(void*, int, void*)',
  pollStop: 'int uv_poll_stop(void*)',
  close: 'void uv_close(void*, void*)',
  ref: 'void uv_ref(void*)',
  unref: 'void uv_unref(void*)',
} as const;

type ForeignFunction = (...values: unknown[]) => number;
type Declare = (definition: string) => ForeignFunction;
type PollCallback = (handle: bigint, status: number, events: number) => void;

function declareAll(declare: Declare): Record<keyof typeof DECLARATIONS, ForeignFunction> {
  const found = {} as Record<keyof typeof DECLARATIONS, ForeignFunction>;
  for (const name of Object.keys(DECLARATIONS) as (keyof typeof DECLARATIONS)[]) {
    found[name] = declare(DECLARATIONS[name]);
  }
  const settime = found.timerfdSettime;
  found.timerfdSettime = (fd, flags, value) => settime(fd, flags, value, null);
  const { syscall } = found;
  found.syscall = (...values) => syscall(...values.map((value) => BigInt(value as number | bigint)));
  return found;
}

/** @returns undefined for a Node built against a hidden libuv, which exports no such names: there are other ways to wait */
function bindLoop(declare: Declare, register: (callback: PollCallback) => bigint): ForeignLoop | undefined {
  try {
    const names = Object.keys(LOOP_DECLARATIONS) as (keyof typeof LOOP_DECLARATIONS)[];
    const calls = Object.fromEntries(names.map((name) => [name, declare(LOOP_DECLARATIONS[name])])) as Record<
      keyof typeof LOOP_DECLARATIONS,
      ForeignFunction
    >;
    const loop = calls.defaultLoop() as unknown as bigint;
    return {
      pollSize: Number(calls.handleSize(UV_POLL)),
      pollInit: (handle, fd) => calls.pollInit(loop, handle, fd),
      pollStart: calls.pollStart,
      pollStop: calls.pollStop,
      close: (handle) => {
        calls.close(handle, null);
      },
      ref: calls.ref as unknown as (handle: Pointer) => void,
      unref: calls.unref as unknown as (handle: Pointer) => void,
      registerPoll: register,
    };
  } catch {
    return undefined;
  }
}

/** `UV_POLL` in `uv_handle_type`: part of libuv's ABI, the same in every 1.x. */
const UV_POLL = 8;

interface Koffi {
  load(path: string | null): { func(definition: string): ForeignFunction };
  address(value: Uint8Array): bigint;
  errno(): number;
  proto(definition: string): unknown;
  pointer(type: unknown): unknown;
  register(callback: (...values: never[]) => void, type: unknown): bigint;
}

function loadPackage(resolve: (name: string) => unknown): Foreign {
  const koffi = resolve('koffi') as Koffi;
  const library = koffi.load(null);
  const declare: Declare = (definition) => library.func(definition);
  const calls = declareAll(declare);
  const functions = {
    ...calls,
    backend: 'koffi',
    errno: () => koffi.errno(),
    address: (bytes: Uint8Array) => koffi.address(bytes),
    ioctlNumber: declare(IOCTL_NUMBER),
    pollAsync: asynchronousPoll(calls.poll),
    uv: bindLoop(declare, (callback) => {
      pollPrototype ??= koffi.pointer(koffi.proto('void mptcp_poll_callback(void*, int, int)'));
      return koffi.register(callback as (...values: never[]) => void, pollPrototype);
    }),
  };
  return functions as unknown as Foreign;
}

// Koffi knows a prototype by its name, once a process.
let pollPrototype: unknown;

type AsynchronousPoll = Foreign['pollAsync'];

function asynchronousPoll(poll: ForeignFunction): AsynchronousPoll {
  const { async } = poll as ForeignFunction & { async: (...values: unknown[]) => void };
  return (entries, count, timeout, done) => {
    async.call(poll, entries, count, timeout, (error: unknown, result: number) => done(error === null ? result : -1));
  };
}

interface BuiltInLibrary {
  getFunction(name: string, signature: BuiltInSignature): ForeignFunction;
  registerCallback(signature: BuiltInSignature, callback: PollCallback): bigint;
}

interface BuiltInSignature {
  readonly arguments: readonly string[];
  readonly return: string;
}

interface BuiltIn {
  readonly DynamicLibrary: new (path: string | null) => BuiltInLibrary;
  getInt32(address: bigint, offset: number): number;
  getRawPointer(bytes: Uint8Array): bigint;
}

function loadBuiltIn(resolve: (name: string) => unknown): Foreign {
  const ffi = withoutWarning(() => resolve('node:ffi') as BuiltIn);
  const library = withoutWarning(() => new ffi.DynamicLibrary(null));
  const declareIn =
    (where: BuiltInLibrary): Declare =>
    (definition) => {
      const { name, signature } = builtInSignature(definition);
      return where.getFunction(name, signature);
    };
  const declare = declareIn(library);
  // glibc's and musl's name for where `errno` of this thread stands; V8 makes no failing calls in between.
  const errorNumber = (declare('void* __errno_location()') as unknown as () => bigint)();
  const calls = declareAll(declare);
  const functions = {
    ...calls,
    backend: 'node:ffi',
    errno: () => ffi.getInt32(errorNumber, 0),
    address: (bytes: Uint8Array) => ffi.getRawPointer(bytes),
    // One library knows one signature a name.
    ioctlNumber: declareIn(new ffi.DynamicLibrary(null))(IOCTL_NUMBER),
    pollAsync: builtInPollAsync(resolve, calls.poll),
    uv: bindLoop(declare, (callback) => library.registerCallback(POLL_CALLBACK, callback)),
  };
  return functions as unknown as Foreign;
}

const POLL_CALLBACK: BuiltInSignature = { arguments: ['pointer', 'i32', 'i32'], return: 'void' };

/** `int poll(void*, unsigned long, int)` in the words of `node:ffi`. */
function builtInSignature(definition: string): { name: string; signature: BuiltInSignature } {
  const [, result, name, list] = /^(.+?) (\w+)\((.*)\)$/.exec(definition)!;
  const types = list === '' ? [] : list!.split(', ');
  return {
    name: name!,
    signature: { arguments: types.map((type) => BUILT_IN_TYPES[type]!), return: BUILT_IN_TYPES[result!]! },
  };
}

// `unsigned long` as 32 bits: registers are filled up with zeros, and numbers need not be BigInts.
const BUILT_IN_TYPES: Readonly<Record<string, string>> = {
  void: 'void',
  int: 'i32',
  'unsigned int': 'u32',
  'unsigned long': 'u32',
  size_t: 'u64',
  'void*': 'pointer',
  'const char*': 'string',
};

/** `node:ffi` calls on this thread alone: with koffi beside it on another, else a look each few milliseconds. */
function builtInPollAsync(resolve: (name: string) => unknown, poll: ForeignFunction): AsynchronousPoll {
  let chosen: AsynchronousPoll | undefined;
  const choose = (): AsynchronousPoll => {
    try {
      const koffi = resolve('koffi') as Koffi;
      return asynchronousPoll(koffi.load(null).func(DECLARATIONS.poll));
    } catch {
      return (entries, count, timeout, done) => {
        const end = timeout < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeout;
        const look = (): void => {
          const result = poll(entries, count, 0);
          if (result !== 0 || performance.now() >= end) done(result);
          else setTimeout(look, POLL_INTERVAL);
        };
        look();
      };
    }
  };
  return (entries, count, timeout, done) => {
    chosen ??= choose();
    chosen(entries, count, timeout, done);
  };
}

const POLL_INTERVAL = 2;

/** Runs `load` without the warning that a built-in module is experimental: the program did not ask for it. */
function withoutWarning<T>(load: () => T): T {
  const { emitWarning } = process;
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    const [kind] = rest;
    const name = typeof kind === 'object' && kind !== null ? (kind as { type?: string }).type : kind;
    if (name !== 'ExperimentalWarning') (emitWarning as (...values: unknown[]) => void)(warning, ...rest);
  }) as typeof emitWarning;
  try {
    return load();
  } finally {
    process.emitWarning = emitWarning;
  }
}

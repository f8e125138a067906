import { createRequire } from 'node:module';

/**
 * The one file that knows how a C function is called. Everything here fails as C does: -1 (or a negative libuv
 * status) and `errno()`.
 *
 * A pointer is given as a byte array, or as the number that `address` returned for one: 20 to 30 ns cheaper a call,
 * and whoever keeps such a number must keep the array referenced as long, since the collector does not see it.
 */
export interface Foreign {
  /** Which mechanism calls. */
  readonly backend: string;
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
    super(
      'ERR_NO_FFI: calling the operating system needs the optional package koffi, which is not installed or has no ' +
        `build for ${process.platform}-${process.arch}; run: npm install koffi`,
      { cause },
    );
    this.name = 'ForeignFunctionError';
  }
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
 * Loads the foreign functions through `resolve`, which finds the package as `require` does.
 * @throws ForeignFunctionError
 */
export function load(resolve: (name: string) => unknown): Foreign {
  let koffi: Koffi;
  let library: KoffiLibrary;
  try {
    koffi = resolve('koffi') as Koffi;
    library = koffi.load(null);
  } catch (error) {
    throw new ForeignFunctionError(error);
  }
  try {
    return bindAll(koffi, library);
  } catch (error) {
    throw new ForeignFunctionError(error);
  }
}

let loaded: Foreign | undefined;

type ForeignFunction = ((...values: unknown[]) => number) & { async: (...values: unknown[]) => void };

interface KoffiLibrary {
  func(definition: string): ForeignFunction;
}

interface Koffi {
  load(path: string | null): KoffiLibrary;
  address(value: Uint8Array): bigint;
  errno(): number;
  proto(definition: string): unknown;
  pointer(type: unknown): unknown;
  register(callback: (...values: never[]) => void, type: unknown): bigint;
}

function bindAll(koffi: Koffi, library: KoffiLibrary): Foreign {
  // Lengths and results as `int`: 64-bit types cost a BigInt check a call.
  const declare = (definition: string): ForeignFunction => library.func(definition);
  const poll = declare('int poll(void*, unsigned long, int)');
  const functions = {
    backend: 'koffi',
    errno: () => koffi.errno(),
    address: (bytes: Uint8Array) => koffi.address(bytes),
    open: declare('int open(const char*, int)'),
    close: declare('int close(int)'),
    ioctl: declare('int ioctl(int, unsigned long, void*)'),
    ioctlNumber: declare('int ioctl(int, unsigned long, unsigned long)'),
    read: declare('int read(int, void*, int)'),
    write: declare('int write(int, void*, int)'),
    writev: declare('int writev(int, void*, int)'),
    poll,
    pollAsync: (entries: Pointer, count: number, timeout: number, done: (result: number) => void) => {
      poll.async(entries, count, timeout, (error: unknown, result: number) => done(error === null ? result : -1));
    },
    socket: declare('int socket(int, int, int)'),
    socketpair: declare('int socketpair(int, int, int, void*)'),
    bind: declare('int bind(int, void*, int)'),
    connect: declare('int connect(int, void*, int)'),
    listen: declare('int listen(int, int)'),
    getsockopt: declare('int getsockopt(int, int, int, void*, void*)'),
    setsockopt: declare('int setsockopt(int, int, int, void*, int)'),
    setns: declare('int setns(int, int)'),
    eventfd: declare('int eventfd(unsigned int, int)'),
    timerfdCreate: declare('int timerfd_create(int, int)'),
    timerfdSettime: (() => {
      const settime = declare('int timerfd_settime(int, int, void*, void*)');
      return (fd: number, flags: number, value: Pointer) => settime(fd, flags, value, null);
    })(),
    // The C function takes its arguments variably, which the calling conventions of both machines make no matter of.
    syscall: declare(`int syscall(${Array(7).fill('unsigned long').join(', ')})`),
    uv: bindLoop(koffi, library),
  };
  return functions as unknown as Foreign;
}

function bindLoop(koffi: Koffi, library: KoffiLibrary): ForeignLoop | undefined {
  try {
    const loop = library.func('void* uv_default_loop()')() as unknown as bigint;
    const pollSize = Number(library.func('size_t uv_handle_size(int)')(UV_POLL));
    const init = library.func('int uv_poll_init(void*, void*, int)');
    const close = library.func('void uv_close(void*, void*)');
    const prototype = koffi.pointer(koffi.proto('void mptcp_poll_callback(void*, int, int)'));
    return {
      pollSize,
      pollInit: (handle, fd) => init(loop, handle, fd),
      pollStart: library.func('int uv_poll_start(void*, int, void*)'),
      pollStop: library.func('int uv_poll_stop(void*)'),
      close: (handle) => {
        close(handle, null);
      },
      ref: library.func('void uv_ref(void*)') as unknown as (handle: Pointer) => void,
      unref: library.func('void uv_unref(void*)') as unknown as (handle: Pointer) => void,
      registerPoll: (callback) => koffi.register(callback as (...values: never[]) => void, prototype),
    };
  } catch {
    // A Node built against a hidden libuv exports no such names: the caller has another way to wait.
    return undefined;
  }
}

/** `UV_POLL` in `uv_handle_type`: part of libuv's ABI, the same in every 1.x. */
const UV_POLL = 8;

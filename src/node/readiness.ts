import { isMainThread } from 'node:worker_threads';
import { type Foreign, foreign } from './ffi.ts';
import { Readiness } from './packet-io.ts';

/**
 * Tells when a descriptor is ready, without a thread and without cost when idle: a libuv poll handle on the main
 * thread's loop; where that is not to be had, one blocking `poll` for all descriptors on another thread.
 *
 * The callback comes from libuv and not through Node: promise jobs and `nextTick` that it starts wait for Node's next
 * own callback, so whatever an application may see belongs in a `setImmediate`. What it throws is rethrown from one.
 */
export interface Watcher {
  /** Also wait for writability, until told not to. */
  wantWritable(want: boolean): void;
  ref(): void;
  unref(): void;
  /** No callback comes after it. Close the descriptor afterwards, not before. */
  close(): void;
}

export type ReadinessCallback = (readiness: number) => void;

/** @param mechanism `auto` unless a test wants the other one */
export function watch(
  fd: number,
  callback: ReadinessCallback,
  mechanism: 'auto' | 'loop' | 'thread' = 'auto',
): Watcher {
  const calls = foreign();
  if (mechanism !== 'thread' && isMainThread && calls.uv !== undefined) return new LoopWatcher(calls, fd, callback);
  sharedPoller ??= new ThreadPoller(calls);
  return sharedPoller.add(fd, callback);
}

function guarded(callback: ReadinessCallback, readiness: number): void {
  try {
    callback(readiness);
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
}

const UV_READABLE = 1;
const UV_WRITABLE = 2;

/** Watchers by the address of their handle: what the one C callback finds them by. */
const byHandle = new Map<bigint, LoopWatcher>();
let pollCallback: bigint | undefined;

class LoopWatcher implements Watcher {
  private readonly calls: Foreign;
  private readonly callback: ReadinessCallback;
  /** The memory of the `uv_poll_t`, which libuv links into its lists: referenced until after the closing phase. */
  private readonly handle: Uint8Array;
  private readonly address: bigint;
  private writable = false;
  private closed = false;

  constructor(calls: Foreign, fd: number, callback: ReadinessCallback) {
    this.calls = calls;
    this.callback = callback;
    const uv = calls.uv!;
    this.handle = Buffer.alloc(uv.pollSize);
    this.address = calls.address(this.handle);
    const status = uv.pollInit(this.address, fd);
    if (status < 0) throw new RangeError(`descriptor ${fd} cannot be polled: libuv error ${status}`);
    if (pollCallback === undefined) {
      pollCallback = uv.registerPoll(onPoll);
      // While Node tears the process down it still runs the loop: no callback may enter JavaScript then.
      process.on('exit', stopAll);
    }
    byHandle.set(this.address, this);
    this.apply();
  }

  private apply(): void {
    this.calls.uv!.pollStart(this.address, this.writable ? UV_READABLE | UV_WRITABLE : UV_READABLE, pollCallback!);
  }

  onPoll(status: number, events: number): void {
    if (this.closed) return;
    // libuv reports POLLERR as a negative status, and has stopped the handle.
    if (status < 0) this.callback(Readiness.Gone);
    else this.callback(events & (UV_READABLE | UV_WRITABLE));
  }

  stop(): void {
    this.calls.uv!.pollStop(this.address);
  }

  wantWritable(want: boolean): void {
    if (this.closed || this.writable === want) return;
    this.writable = want;
    this.apply();
  }

  ref(): void {
    if (!this.closed) this.calls.uv!.ref(this.address);
  }

  unref(): void {
    if (!this.closed) this.calls.uv!.unref(this.address);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    byHandle.delete(this.address);
    this.calls.uv!.pollStop(this.address);
    this.calls.uv!.close(this.address);
    // The second immediate runs in a later iteration of the loop, so the closing phase is over by then.
    const handle = this.handle;
    setImmediate(() => setImmediate(() => handle.fill(0)));
  }
}

function onPoll(handle: bigint, status: number, events: number): void {
  try {
    byHandle.get(handle)?.onPoll(status, events);
  } catch (error) {
    setImmediate(() => {
      throw error;
    });
  }
}

function stopAll(): void {
  for (const watcher of byHandle.values()) watcher.stop();
}

const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;
const POLLNVAL = 32;
/** EFD_NONBLOCK | EFD_CLOEXEC */
const EVENTFD_FLAGS = 0o2004000;
const POLLFD_BYTES = 8;

let sharedPoller: ThreadPoller | undefined;

/**
 * One `poll` on a thread of the pool for all descriptors, woken through an eventfd when the set changes. A descriptor
 * that reported is left out until its callback has run, else `poll` would return at once for ever.
 */
class ThreadPoller {
  private readonly calls: Foreign;
  private readonly wakeFd: number;
  private readonly one: Uint8Array;
  private readonly scratch: Uint8Array;
  private entries: ThreadWatcher[] = [];
  private polling = false;
  private keepAlive: NodeJS.Timeout | undefined;

  constructor(calls: Foreign) {
    this.calls = calls;
    this.wakeFd = calls.eventfd(0, EVENTFD_FLAGS);
    this.one = Buffer.alloc(8);
    new DataView(this.one.buffer, this.one.byteOffset, 8).setBigUint64(0, 1n, true);
    this.scratch = Buffer.alloc(8);
  }

  add(fd: number, callback: ReadinessCallback): Watcher {
    const watcher = new ThreadWatcher(this, fd, callback);
    this.entries.push(watcher);
    this.changed();
    return watcher;
  }

  remove(watcher: ThreadWatcher): void {
    this.entries = this.entries.filter((entry) => entry !== watcher);
    this.changed();
  }

  /** The set or its events changed: `poll` starts again with the new one. */
  changed(): void {
    const isHeld = this.entries.some((entry) => entry.isRef);
    if (isHeld && this.keepAlive === undefined) this.keepAlive = setInterval(() => {}, 0x7fff_ffff);
    if (!isHeld && this.keepAlive !== undefined) {
      clearInterval(this.keepAlive);
      this.keepAlive = undefined;
    }
    if (this.polling) this.calls.write(this.wakeFd, this.one, 8);
    else if (this.entries.length > 0) this.poll();
  }

  private poll(): void {
    const watched = this.entries;
    const bytes = Buffer.alloc((watched.length + 1) * POLLFD_BYTES);
    bytes.writeInt32LE(this.wakeFd, 0);
    bytes.writeInt16LE(POLLIN, 4);
    for (let index = 0; index < watched.length; index++) {
      bytes.writeInt32LE(watched[index]!.fd, (index + 1) * POLLFD_BYTES);
      bytes.writeInt16LE(watched[index]!.events, (index + 1) * POLLFD_BYTES + 4);
    }
    this.polling = true;
    // A call under way keeps the process alive. So when nobody else may, it is short, and an unreferenced timer
    // starts the next.
    const limit = this.keepAlive === undefined ? UNREF_POLL_LIMIT : POLL_LIMIT;
    this.calls.pollAsync(bytes, watched.length + 1, limit, () => {
      this.polling = false;
      if (bytes.readInt16LE(6) !== 0) this.calls.read(this.wakeFd, this.scratch, 8);
      for (let index = 0; index < watched.length; index++) {
        const events = bytes.readInt16LE((index + 1) * POLLFD_BYTES + 6);
        if (events !== 0) watched[index]!.report(events);
      }
      if (this.polling || this.entries.length === 0) return;
      if (this.keepAlive !== undefined) this.poll();
      else setTimeout(() => this.restart(), 1).unref();
    });
  }

  private restart(): void {
    if (!this.polling && this.entries.length > 0) this.poll();
  }
}

/** Milliseconds that a `poll` on a thread lasts at most: when a descriptor holds the process, and when none does. */
const POLL_LIMIT = 1000;
const UNREF_POLL_LIMIT = 100;

class ThreadWatcher implements Watcher {
  private readonly poller: ThreadPoller;
  private readonly callback: ReadinessCallback;
  readonly fd: number;
  events = POLLIN;
  isRef = true;
  private closed = false;

  constructor(poller: ThreadPoller, fd: number, callback: ReadinessCallback) {
    this.poller = poller;
    this.fd = fd;
    this.callback = callback;
  }

  report(events: number): void {
    if (this.closed) return;
    let readiness = 0;
    if ((events & POLLIN) !== 0) readiness |= Readiness.Readable;
    if ((events & POLLOUT) !== 0) readiness |= Readiness.Writable;
    if ((events & (POLLERR | POLLNVAL)) !== 0) {
      readiness = Readiness.Gone;
      this.events = 0;
      this.close();
    }
    guarded(this.callback, readiness);
  }

  wantWritable(want: boolean): void {
    const events = want ? POLLIN | POLLOUT : POLLIN;
    if (this.closed || events === this.events) return;
    this.events = events;
    this.poller.changed();
  }

  ref(): void {
    this.isRef = true;
    this.poller.changed();
  }

  unref(): void {
    this.isRef = false;
    this.poller.changed();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.poller.remove(this);
  }
}

import { closeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { now } from './clock.ts';
import { type Foreign, foreign } from './ffi.ts';
import { type Watcher, watch } from './readiness.ts';

/**
 * One deadline on the event loop. Calls back once at or after the instant, and possibly before it as well: the owner
 * looks at the clock and sets it anew.
 */
export interface Alarm {
  /** The alarm goes off at `at` of its clock; Infinity: never. An earlier alarm that is set already is left as it is. */
  set(at: number): void;
  ref(): void;
  unref(): void;
  close(): void;
}

export interface AlarmOptions {
  /** Milliseconds. Default `performance.now`. */
  readonly clock?: () => number;
  /** `timer`: Node's timers even where there is better. */
  readonly mechanism?: 'auto' | 'timer';
}

/**
 * The best alarm there is: a timer descriptor of the kernel's, late by 0.1 ms (median, `bench/tun`), or Node's timers,
 * which know whole milliseconds and do the last one by taking turns on the loop.
 */
export function openAlarm(callback: () => void, options: AlarmOptions = {}): Alarm {
  const clock = options.clock ?? now;
  if (options.mechanism !== 'timer' && isMainThread && process.platform === 'linux') {
    try {
      const calls = foreign();
      if (calls.uv !== undefined) return new DescriptorAlarm(calls, callback, clock);
    } catch {
      // No foreign functions: Node's timers.
    }
  }
  return new TimeoutAlarm(callback, clock);
}

const CLOCK_MONOTONIC = 1;
/** TFD_NONBLOCK | TFD_CLOEXEC */
const TIMERFD_FLAGS = 0o2004000;
/** The least that arms a timer: 0 would disarm it. */
const LEAST_NS = 1000;

class DescriptorAlarm implements Alarm {
  private readonly calls: Foreign;
  private readonly clock: () => number;
  private readonly fd: number;
  private readonly watcher: Watcher;
  /** struct itimerspec: interval seconds and nanoseconds, value seconds and nanoseconds, 64 bits each. */

  private readonly words: Int32Array;
  private readonly specAddress: bigint;
  private readonly expirations: Uint8Array;
  private armed = Infinity;
  private isClosed = false;

  constructor(calls: Foreign, callback: () => void, clock: () => number) {
    this.calls = calls;
    this.clock = clock;
    this.fd = calls.timerfdCreate(CLOCK_MONOTONIC, TIMERFD_FLAGS);
    if (this.fd < 0) throw new RangeError('timerfd_create failed');
    const memory = new ArrayBuffer(64);

    this.words = new Int32Array(memory);
    this.specAddress = calls.address(new Uint8Array(memory));
    this.expirations = Buffer.alloc(8);
    this.watcher = watch(this.fd, () => {
      if (this.isClosed) return;
      this.calls.read(this.fd, this.expirations, 8);
      this.armed = Infinity;
      callback();
    });
  }

  set(at: number): void {
    if (at >= this.armed || this.isClosed) return;
    this.armed = at;
    const wait = at - this.clock();
    const seconds = wait <= 0 ? 0 : Math.floor(wait / 1000);
    const nanoseconds = Math.max(wait <= 0 ? 0 : (wait - seconds * 1000) * 1e6, LEAST_NS);
    this.words[VALUE_SECONDS] = Math.min(seconds, 0x7fff_ffff);
    this.words[VALUE_NANOSECONDS] = Math.min(nanoseconds, 999_999_999);
    this.calls.timerfdSettime(this.fd, 0, this.specAddress);
  }

  ref(): void {
    this.watcher.ref();
  }

  unref(): void {
    this.watcher.unref();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.watcher.close();
    closeSync(this.fd);
  }
}

/** Low words of `it_value`; the high words stay 0. Little-endian, as all hosts that koffi has builds for. */
const VALUE_SECONDS = 4;
const VALUE_NANOSECONDS = 6;

class TimeoutAlarm implements Alarm {
  private readonly callback: () => void;
  private readonly clock: () => number;
  private timeout: NodeJS.Timeout | undefined;
  private immediate: NodeJS.Immediate | undefined;
  private keepAlive: NodeJS.Timeout | undefined;
  private armed = Infinity;
  private isClosed = false;

  constructor(callback: () => void, clock: () => number) {
    this.callback = callback;
    this.clock = clock;
    this.ref();
  }

  set(at: number): void {
    if (at >= this.armed || this.isClosed) return;
    this.disarm();
    this.armed = at;
    this.wait();
  }

  private wait(): void {
    const wait = this.armed - this.clock();
    if (wait < 1) {
      this.immediate = setImmediate(this.onImmediate);
    } else {
      // Node cuts fractions off, so this is up to 1 ms early, and the rest is waited for above.
      this.timeout = setTimeout(this.onTimeout, Math.min(wait, 0x7fff_ffff));
      if (this.keepAlive === undefined) this.timeout.unref();
    }
  }

  private readonly onTimeout = (): void => {
    this.timeout = undefined;
    if (this.clock() < this.armed) this.wait();
    else this.ring();
  };

  private readonly onImmediate = (): void => {
    this.immediate = undefined;
    if (this.clock() < this.armed) this.wait();
    else this.ring();
  };

  private ring(): void {
    this.armed = Infinity;
    this.callback();
  }

  private disarm(): void {
    clearTimeout(this.timeout);
    clearImmediate(this.immediate);
    this.timeout = undefined;
    this.immediate = undefined;
  }

  ref(): void {
    this.keepAlive ??= setInterval(() => {}, 0x7fff_ffff);
    this.timeout?.ref();
  }

  unref(): void {
    clearInterval(this.keepAlive);
    this.keepAlive = undefined;
    this.timeout?.unref();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.disarm();
    clearInterval(this.keepAlive);
  }
}

import { Errno } from '../sockets/errno.ts';
import { Family, Protocol, Shutdown, type SocketSettings, type Sockets, SocketType } from '../sockets/sockets.ts';
import { Ready } from '../stack/handle.ts';
import type { Address } from '../wire/address.ts';

/** Bytes after which a stream begins another stretch of the table, elsewhere. */
const BLOCK = 65_536;
/** Random bytes, twice over so that a run of one block never wraps. */
const TABLE = patternTable();

function patternTable(): Uint8Array {
  const table = new Uint8Array(2 * BLOCK);
  let word = 0x2545f491;
  for (let index = 0; index < BLOCK; index++) {
    word ^= word << 13;
    word ^= word >>> 17;
    word ^= word << 5;
    table[index] = word >>> 11;
  }
  table.copyWithin(BLOCK, 0, BLOCK);
  return table;
}

/** Where in the table block `block` of the stream `seed` begins: the same bytes never come twice in the same order. */
function blockStart(seed: number, block: number): number {
  let mix = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(block + 1, 0xc2b2ae35);
  mix = Math.imul(mix ^ (mix >>> 15), 0x2c1b3c6d);
  return (mix ^ (mix >>> 13)) & (BLOCK - 1);
}

/** Byte `offset` of the stream named by `seed`: any part of it can be made or checked on its own. */
export function patternByte(seed: number, offset: number): number {
  return TABLE[blockStart(seed, Math.floor(offset / BLOCK)) + (offset % BLOCK)]!;
}

export function fillPattern(seed: number, offset: number, target: Uint8Array, start: number, length: number): void {
  let at = offset;
  let to = start;
  let left = length;
  while (left > 0) {
    const inside = at % BLOCK;
    const count = Math.min(left, BLOCK - inside);
    const from = blockStart(seed, Math.floor(at / BLOCK)) + inside;
    target.set(TABLE.subarray(from, from + count), to);
    at += count;
    to += count;
    left -= count;
  }
}

/** Index of the first byte that differs from the pattern; -1 when none does. */
export function checkPattern(seed: number, offset: number, bytes: Uint8Array): number {
  const table = TABLE;
  const length = bytes.length;
  let index = 0;
  while (index < length) {
    const at = offset + index;
    const inside = at % BLOCK;
    const stop = Math.min(length, index + BLOCK - inside);
    const shift = blockStart(seed, Math.floor(at / BLOCK)) + inside - index;
    for (; index < stop; index++) if (bytes[index] !== table[index + shift]) return index;
  }
  return -1;
}

/** What one end of a transfer did. */
export class TransferEnd {
  readonly descriptor: number;
  readonly sendSeed: number;
  readonly receiveSeed: number;
  /** Bytes to send; the write side is shut down behind them. */
  readonly toSend: number;
  sent = 0;
  received = 0;
  /** Data offset of the first wrong byte; -1 while all are right. */
  wrongAt = -1;
  /** The peer's end of stream was read. */
  ended = false;
  /** errno of the connection; 0 while there is none. */
  error = 0;
  connected = false;
  closed = false;
  firstByteAt = -1;
  lastByteAt = -1;
  /** Longest time between two deliveries of data, ms. */
  longestGap = 0;
  finishedSending = false;

  constructor(descriptor: number, sendSeed: number, receiveSeed: number, toSend: number) {
    this.descriptor = descriptor;
    this.sendSeed = sendSeed;
    this.receiveSeed = receiveSeed;
    this.toSend = toSend;
  }

  /** Everything was sent, and the peer's stream was read to its end; or it failed. */
  get isDone(): boolean {
    return this.error !== 0 || (this.finishedSending && this.ended);
  }
}

const CHUNK = 65_536;

/**
 * An application for simulated hosts: every connection sends its bytes, reads what comes, checks it against the
 * pattern, shuts its side down behind its last byte and closes when both directions are over.
 */
export class TransferApplication {
  readonly sockets: Sockets;
  readonly ends: TransferEnd[] = [];
  /** The end that `descriptor` stands for. */
  private readonly byDescriptor = new Map<number, TransferEnd>();
  private readonly listeners = new Map<number, { toSend: number; seed: number; limit: number }>();
  private readonly buffer = new Uint8Array(CHUNK);
  /** Bytes per turn read at most; a slow reader has few. */
  readLimit = Number.POSITIVE_INFINITY;

  constructor(sockets: Sockets) {
    this.sockets = sockets;
  }

  /** Serves connections on `port`; each sends `toSend` bytes. `seed` of the server's stream is `seed + 1`. */
  listen(
    port: number,
    options: { toSend?: number; seed?: number; multipath?: boolean; family?: 4 | 6; settings?: SocketSettings } = {},
  ): number {
    const { toSend = 0, seed = 1, multipath = true, family = 4, settings } = options;
    const descriptor = this.sockets.socket(
      family === 4 ? Family.Inet : Family.Inet6,
      SocketType.Stream,
      multipath ? Protocol.Mptcp : Protocol.Tcp,
    );
    if (settings !== undefined) this.sockets.configure(descriptor, settings);
    this.sockets.bind(descriptor, undefined, port);
    const outcome = this.sockets.listen(descriptor, 1024);
    if (outcome < 0) throw new RangeError(`listen on ${port}: errno ${-outcome}`);
    this.listeners.set(descriptor, { toSend, seed, limit: 0 });
    return descriptor;
  }

  connect(
    now: number,
    peer: Address,
    port: number,
    options: { toSend?: number; seed?: number; multipath?: boolean; local?: Address; settings?: SocketSettings } = {},
  ): TransferEnd {
    const { toSend = 0, seed = 1, multipath = true, local, settings } = options;
    const descriptor = this.sockets.socket(
      peer.family === 4 ? Family.Inet : Family.Inet6,
      SocketType.Stream,
      multipath ? Protocol.Mptcp : Protocol.Tcp,
    );
    if (settings !== undefined) this.sockets.configure(descriptor, settings);
    if (local !== undefined) this.sockets.bind(descriptor, local, 0);
    const outcome = this.sockets.connect(descriptor, peer, port, now);
    const end = new TransferEnd(descriptor, seed, seed + 1, toSend);
    this.ends.push(end);
    if (outcome !== -Errno.EINPROGRESS) {
      end.error = -outcome;
      return end;
    }
    this.byDescriptor.set(descriptor, end);
    return end;
  }

  /** For `World.addHost`: a descriptor is ready. */
  onReady(now: number, descriptor: number): void {
    const ready = this.sockets.takeReady(descriptor);
    if ((ready & Ready.Acceptable) !== 0) this.acceptAll(now, descriptor);
    const end = this.byDescriptor.get(descriptor);
    if (end !== undefined) this.work(now, end);
  }

  private acceptAll(now: number, listener: number): void {
    const settings = this.listeners.get(listener)!;
    for (;;) {
      const descriptor = this.sockets.accept(listener);
      if (descriptor < 0) return;
      const end = new TransferEnd(descriptor, settings.seed + 1, settings.seed, settings.toSend);
      this.ends.push(end);
      this.byDescriptor.set(descriptor, end);
      this.work(now, end);
    }
  }

  /** Sends and reads what is possible now. */
  work(now: number, end: TransferEnd): void {
    if (end.closed) return;
    const { sockets, buffer } = this;
    end.connected = end.connected || sockets.connectionOf(end.descriptor)?.established === true;
    while (end.connected && end.sent < end.toSend) {
      const length = Math.min(CHUNK, end.toSend - end.sent);
      fillPattern(end.sendSeed, end.sent, buffer, 0, length);
      const taken = sockets.send(end.descriptor, buffer, 0, length);
      if (taken < 0) {
        if (taken !== -Errno.EAGAIN) end.error = -taken;
        break;
      }
      end.sent += taken;
    }
    if (end.connected && end.sent === end.toSend && !end.finishedSending) {
      end.finishedSending = true;
      sockets.shutdown(end.descriptor, Shutdown.Write);
    }
    let left = this.readLimit;
    while (left > 0 && !end.ended && end.error === 0) {
      const view = sockets.peek(end.descriptor);
      if (view.length === 0) {
        const outcome = sockets.recv(end.descriptor, buffer, 0, 1);
        if (outcome === 0 && end.connected) end.ended = true;
        else if (outcome < 0 && outcome !== -Errno.EAGAIN) end.error = -outcome;
        break;
      }
      const count = Math.min(view.length, left);
      const wrong = checkPattern(end.receiveSeed, end.received, view.subarray(0, count));
      if (wrong >= 0 && end.wrongAt < 0) end.wrongAt = end.received + wrong;
      end.received += count;
      left -= count;
      sockets.consume(end.descriptor, count);
      if (end.lastByteAt >= 0) end.longestGap = Math.max(end.longestGap, now - end.lastByteAt);
      else end.firstByteAt = now;
      end.lastByteAt = now;
    }
    const failure = sockets.connectionOf(end.descriptor);
    if (end.error === 0 && failure?.closed === true && !end.isDone) end.error = sockets.error(end.descriptor);
    if (end.isDone) {
      end.closed = true;
      this.byDescriptor.delete(end.descriptor);
      sockets.close(end.descriptor);
    }
  }
}

import type net from 'node:net';
import type { Multipath, SubflowState } from '../api/multipath.ts';
import { FALLBACK, publish, SUBFLOW } from './diagnostics.ts';

/** Milliseconds between two looks, while somebody wants to know. */
const INTERVAL = 200;
const EVENTS: readonly (string | symbol)[] = ['subflow', 'subflowClosed', 'fallback'];

/**
 * Tells of the subflows of a kernel connection: `subflow`, `subflowClosed`, `fallback`. The kernel tells only those who
 * listen to netlink as root, so this looks again and again: while the socket has listeners for these events, or the
 * channels `mptcp.subflow` and `mptcp.fallback` have subscribers when it connects. It never keeps a process alive.
 */
export class KernelWatch {
  private readonly socket: net.Socket;
  private readonly multipath: Multipath;
  private known = new Map<number, SubflowState>();
  private timer: NodeJS.Timeout | undefined;

  constructor(socket: net.Socket, multipath: Multipath) {
    this.socket = socket;
    this.multipath = multipath;
    socket.on('newListener', this.onListener);
    socket.once('close', this.stop);
    if (SUBFLOW.hasSubscribers || FALLBACK.hasSubscribers || EVENTS.some((event) => socket.listenerCount(event) > 0)) {
      this.start();
    }
  }

  private readonly onListener = (event: string | symbol): void => {
    if (EVENTS.includes(event)) this.start();
  };

  private start(): void {
    if (this.timer !== undefined || this.socket.destroyed) return;
    this.timer = setInterval(this.look, INTERVAL);
    this.timer.unref();
    setImmediate(this.look);
  }

  private readonly stop = (): void => {
    clearInterval(this.timer);
    this.timer = undefined;
    this.socket.off('newListener', this.onListener);
    for (const subflow of this.known.values()) this.tell({ ...subflow, state: 'closed' });
    this.known.clear();
  };

  private readonly look = (): void => {
    if (this.timer === undefined || this.socket.destroyed) return;
    const { fallback } = this.multipath;
    if (fallback !== null) {
      this.stop();
      publish(FALLBACK, () => ({ socket: this.socket, reason: fallback }));
      this.socket.emit('fallback', fallback);
      return;
    }
    const now = new Map(this.multipath.subflows.map((subflow) => [subflow.id, subflow]));
    const before = this.known;
    this.known = now;
    for (const [id, subflow] of before) if (!now.has(id)) this.tell({ ...subflow, state: 'closed' });
    // The first is the connection itself, and no news.
    for (const [id, subflow] of now) if (!before.has(id) && id > 1) this.tell(subflow);
  };

  private tell(subflow: SubflowState): void {
    const event = subflow.state === 'closed' ? 'subflowClosed' : 'subflow';
    publish(SUBFLOW, () => ({ socket: this.socket, subflow, event }));
    this.socket.emit(event, subflow);
  }
}

import type { Handle } from './handle.ts';

/**
 * Handles whose user has something to look at, each once, in the order in which it happened: a list threaded through
 * the handles themselves.
 */
export class ReadyQueue {
  private head: Handle | null = null;
  private tail: Handle | null = null;

  /** A handle that nobody holds waits until `Stack.attach`. */
  add(handle: Handle): void {
    if (handle.queued || handle.descriptor < 0) return;
    handle.queued = true;
    if (this.tail === null) this.head = handle;
    else this.tail.readyNext = handle;
    this.tail = handle;
  }

  /** The descriptor of the next; -1 when there is none. */
  poll(): number {
    for (let handle = this.head; handle !== null; handle = this.head) {
      this.head = handle.readyNext;
      if (this.head === null) this.tail = null;
      handle.readyNext = null;
      handle.queued = false;
      if (handle.descriptor >= 0 && handle.hasReady) return handle.descriptor;
    }
    return -1;
  }
}

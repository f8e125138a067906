import type { Handle } from './handle.ts';

/** Handles whose user has something to look at, each once, in the order in which it happened. */
export class ReadyQueue {
  private readonly handles: Handle[] = [];
  private head = 0;

  /** A handle that nobody holds waits until `Stack.attach`. */
  add(handle: Handle): void {
    if (handle.queued || handle.descriptor < 0) return;
    handle.queued = true;
    this.handles.push(handle);
  }

  /** The descriptor of the next; -1 when there is none. */
  poll(): number {
    while (this.head < this.handles.length) {
      const handle = this.handles[this.head++]!;
      if (this.head > 64 && this.head * 2 > this.handles.length) {
        this.handles.splice(0, this.head);
        this.head = 0;
      }
      handle.queued = false;
      if (handle.descriptor >= 0 && handle.hasReady) return handle.descriptor;
    }
    this.handles.length = 0;
    this.head = 0;
    return -1;
  }
}

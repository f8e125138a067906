import type { Endpoint } from '../tcp/endpoint.ts';

/** Endpoints that may have something to send, in their turn: a list threaded through the endpoints themselves. */
export class TransmitQueue {
  /** Whose turn it is; null when nobody has anything. */
  head: Endpoint | null = null;
  private tail: Endpoint | null = null;

  add(endpoint: Endpoint): void {
    if (endpoint.queued) return;
    endpoint.queued = true;
    endpoint.readyNext = null;
    if (this.tail === null) this.head = endpoint;
    else this.tail.readyNext = endpoint;
    this.tail = endpoint;
  }

  /** The head goes behind the others. */
  rotate(): void {
    const { head } = this;
    if (head === null || head === this.tail) return;
    this.head = head.readyNext;
    head.readyNext = null;
    this.tail!.readyNext = head;
    this.tail = head;
  }

  /** The head has nothing more. */
  shift(): void {
    const { head } = this;
    if (head === null) return;
    this.head = head.readyNext;
    if (this.head === null) this.tail = null;
    head.readyNext = null;
    head.queued = false;
  }

  remove(endpoint: Endpoint): void {
    if (!endpoint.queued) return;
    endpoint.queued = false;
    let previous: Endpoint | null = null;
    let current = this.head;
    while (current !== null && current !== endpoint) {
      previous = current;
      current = current.readyNext;
    }
    if (current === null) return;
    if (previous === null) this.head = endpoint.readyNext;
    else previous.readyNext = endpoint.readyNext;
    if (this.tail === endpoint) this.tail = previous;
    endpoint.readyNext = null;
  }
}

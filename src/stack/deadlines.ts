/** Something with a next deadline that a `Deadlines` heap can hold; the fields are the heap's. */
export interface Timed {
  readonly deadline: number;
  heapIndex: number;
  heapDeadline: number;
}

/**
 * A heap of things by their next deadline. Deadlines move often and fire seldom, mostly later ones replacing earlier
 * ones; so an entry stays where it is when its deadline moves back, and is put right only when it comes to the top.
 */
export class Deadlines {
  private readonly heap: Timed[] = [];

  /** Entries held. */
  get size(): number {
    return this.heap.length;
  }

  /** Not later than the earliest deadline; Infinity when nothing is armed. Cheap; may call for a spurious wake-up. */
  get earliest(): number {
    return this.heap.length === 0 ? Number.POSITIVE_INFINITY : this.heap[0]!.heapDeadline;
  }

  /** `timed.deadline` may have changed. */
  update(timed: Timed): void {
    const { deadline } = timed;
    if (timed.heapIndex < 0) {
      if (deadline === Number.POSITIVE_INFINITY) return;
      timed.heapDeadline = deadline;
      timed.heapIndex = this.heap.length;
      this.heap.push(timed);
      this.up(timed.heapIndex);
    } else if (deadline < timed.heapDeadline) {
      timed.heapDeadline = deadline;
      this.up(timed.heapIndex);
    }
  }

  remove(timed: Timed): void {
    const index = timed.heapIndex;
    if (index < 0) return;
    timed.heapIndex = -1;
    timed.heapDeadline = Number.POSITIVE_INFINITY;
    const last = this.heap.pop()!;
    if (last === timed) return;
    this.heap[index] = last;
    last.heapIndex = index;
    this.up(index);
    this.down(last.heapIndex);
  }

  /** Takes out one entry that is due at `now`; null when none is. Its owner runs it, then calls `update` again. */
  pop(now: number): Timed | null {
    while (this.heap.length > 0) {
      const top = this.heap[0]!;
      if (top.heapDeadline > now) return null;
      const { deadline } = top;
      if (deadline > now) {
        // It moved back since it was filed.
        if (deadline === Number.POSITIVE_INFINITY) {
          this.remove(top);
        } else {
          top.heapDeadline = deadline;
          this.down(0);
        }
        continue;
      }
      this.remove(top);
      return top;
    }
    return null;
  }

  private up(start: number): void {
    const { heap } = this;
    let index = start;
    const item = heap[index]!;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent]!;
      if (above.heapDeadline <= item.heapDeadline) break;
      heap[index] = above;
      above.heapIndex = index;
      index = parent;
    }
    heap[index] = item;
    item.heapIndex = index;
  }

  private down(start: number): void {
    const { heap } = this;
    const { length } = heap;
    let index = start;
    const item = heap[index]!;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= length) break;
      if (child + 1 < length && heap[child + 1]!.heapDeadline < heap[child]!.heapDeadline) child++;
      const below = heap[child]!;
      if (below.heapDeadline >= item.heapDeadline) break;
      heap[index] = below;
      below.heapIndex = index;
      index = child;
    }
    heap[index] = item;
    item.heapIndex = index;
  }
}

/** Small integers ordered by a deadline each: a binary heap of numbers that knows where each one stands. */
export class DeadlineHeap {
  private deadlines: Float64Array = new Float64Array(16).fill(Number.POSITIVE_INFINITY);
  private heap: Int32Array = new Int32Array(16);
  /** Position of each id in `heap`. */
  private places: Int32Array = new Int32Array(16);
  private size = 0;

  /** Adds the next id, counted from 0; it has no deadline yet. */
  add(): number {
    const id = this.size++;
    if (id >= this.heap.length) this.grow();
    this.heap[id] = id;
    this.places[id] = id;
    return id;
  }

  /** The id with the earliest deadline, the lowest of equals; -1 when there is none at all. */
  get first(): number {
    return this.size === 0 ? -1 : this.heap[0]!;
  }

  get firstDeadline(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.deadlines[this.heap[0]!]!;
  }

  /** Gives an id another deadline. */
  set(id: number, deadline: number): void {
    const before = this.deadlines[id]!;
    if (before === deadline) return;
    this.deadlines[id] = deadline;
    if (deadline < before) this.rise(this.places[id]!);
    else this.sink(this.places[id]!);
  }

  private isBefore(a: number, b: number): boolean {
    const deadline = this.deadlines[a]!;
    const other = this.deadlines[b]!;
    return deadline < other || (deadline === other && a < b);
  }

  private rise(from: number): void {
    const heap = this.heap;
    const id = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent]!;
      if (!this.isBefore(id, above)) break;
      heap[at] = above;
      this.places[above] = at;
      at = parent;
    }
    heap[at] = id;
    this.places[id] = at;
  }

  private sink(from: number): void {
    const heap = this.heap;
    const id = heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.isBefore(heap[child + 1]!, heap[child]!)) child++;
      const below = heap[child]!;
      if (!this.isBefore(below, id)) break;
      heap[at] = below;
      this.places[below] = at;
      at = child;
    }
    heap[at] = id;
    this.places[id] = at;
  }

  private grow(): void {
    const capacity = this.heap.length * 2;
    const deadlines = new Float64Array(capacity).fill(Number.POSITIVE_INFINITY);
    deadlines.set(this.deadlines);
    this.deadlines = deadlines;
    const heap = new Int32Array(capacity);
    heap.set(this.heap);
    this.heap = heap;
    const places = new Int32Array(capacity);
    places.set(this.places);
    this.places = places;
  }
}

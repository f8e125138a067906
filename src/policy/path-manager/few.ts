/** A set of a few values that is mostly empty, and takes next to nothing then: there are several for each connection. */
export class Few<T extends number | string> {
  private values: T[] | null = null;

  get size(): number {
    return this.values === null ? 0 : this.values.length;
  }

  has(value: T): boolean {
    return this.values?.includes(value) ?? false;
  }

  add(value: T): void {
    if (this.values === null) this.values = [value];
    else if (!this.values.includes(value)) this.values.push(value);
  }

  delete(value: T): void {
    if (this.values?.includes(value) !== true) return;
    this.keep((other) => other !== value);
  }

  /** Keeps the values for which `holds` says so. */
  keep(holds: (value: T) => boolean): void {
    if (this.values === null) return;
    this.values = this.values.filter(holds);
    if (this.values.length === 0) this.values = null;
  }
}

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** Names of what a socket says of its two ends. */
const ADDRESSES = ['localAddress', 'localPort', 'localFamily', 'remoteAddress', 'remotePort', 'remoteFamily'] as const;

/** Getters that are properties in Node's declarations, which a class may not override by accessors. */
export function defineGetters<T extends object>(
  prototype: T,
  getters: Readonly<Record<string, (self: T) => unknown>>,
): void {
  for (const [name, getter] of Object.entries(getters)) {
    Object.defineProperty(prototype, name, {
      configurable: true,
      enumerable: true,
      get(this: T) {
        return getter(this);
      },
    });
  }
}

let isNoticed = false;

/**
 * TLS asks the handle of the system for the addresses of the socket below it. Where that is one of ours there is none,
 * and the addresses are asked of the socket. Done with the first such socket of a process; others are as they were.
 */
export function noticeTls(ours: abstract new (...values: never[]) => Socket): void {
  if (isNoticed) return;
  isNoticed = true;
  const { prototype } = TLSSocket;
  for (const name of ADDRESSES) {
    const plain = inheritedGetter(prototype, name);
    Object.defineProperty(prototype, name, {
      configurable: true,
      enumerable: true,
      get(this: TLSSocket & { _parent?: unknown }) {
        const below = this._parent;
        return below instanceof ours ? below[name] : plain?.call(this);
      },
    });
  }
}

function inheritedGetter(prototype: object, name: string): (() => unknown) | undefined {
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at)) {
    const found = Object.getOwnPropertyDescriptor(at, name);
    if (found !== undefined) return found.get;
  }
  return undefined;
}

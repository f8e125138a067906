import type net from 'node:net';

/** What is used of Node's TCP handle, the object between a `net.Socket` and libuv. */
export interface TcpHandle {
  /** Negative before there is a descriptor, and after it was closed. */
  readonly fd: number;
  /** The handle's owner, by an old name. */
  readonly owner?: unknown;
  open(fd: number): number;
}

/** The socket or server that a handle belongs to; undefined before Node said so. */
export function ownerOf(handle: TcpHandle): net.Socket | undefined {
  ownerSymbol ??= Object.getOwnPropertySymbols(handle).find((symbol) => symbol.description === 'owner_symbol');
  const owner = ownerSymbol === undefined ? handle.owner : (handle as unknown as Record<symbol, unknown>)[ownerSymbol];
  return typeof owner === 'object' && owner !== null ? (owner as net.Socket) : undefined;
}

let ownerSymbol: symbol | undefined;

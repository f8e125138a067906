import type { Packet } from '../../wire/packet.ts';
import { Headers } from '../headers.ts';

/** The two ways through a middlebox: forward is from the path's end A, beside which it stands, to end B. */
export const Way = { Forward: 0, Backward: 1 } as const;

/**
 * Something in the network that reads and changes packets. It sees whole packets of wire size with finished
 * checksums, may change them in place, and passes them on, drops them or keeps copies. An emitted packet is copied.
 */
export interface Middlebox {
  readonly name: string;
  /** Packets on which its rule acted. */
  readonly acted: number;
  /** A packet from A to B. */
  forward(now: number, packet: Packet, emit: Emitter): void;
  /** A packet from B to A. */
  backward(now: number, packet: Packet, emit: Emitter): void;
  onTimeout(now: number, emit: Emitter): void;
  /** Infinity when nothing is kept that must leave by itself. */
  pollTimeout(): number;
}

/** What a middlebox does with a packet. */
export interface Emitter {
  /** Towards B. */
  forward(packet: Packet): void;
  /** Towards A. */
  backward(packet: Packet): void;
  /** The packet at hand goes no further. */
  drop(): void;
}

/**
 * A middlebox that has a rule for TCP segments, the same for both ways unless it asks which; other packets pass.
 * Rules keep checksum errors as they are: they update by difference.
 */
export abstract class TcpMiddlebox implements Middlebox {
  abstract readonly name: string;
  acted = 0;
  protected readonly headers: Headers = new Headers();

  forward(now: number, packet: Packet, emit: Emitter): void {
    if (!this.headers.locate(packet)) this.onOther(now, packet, Way.Forward, emit);
    else this.onSegment(now, packet, Way.Forward, emit);
  }

  backward(now: number, packet: Packet, emit: Emitter): void {
    if (!this.headers.locate(packet)) this.onOther(now, packet, Way.Backward, emit);
    else this.onSegment(now, packet, Way.Backward, emit);
  }

  /** A segment; `this.headers` says where its parts are. */
  protected abstract onSegment(now: number, packet: Packet, way: number, emit: Emitter): void;

  /** What is not one whole TCP segment. */
  protected onOther(_now: number, packet: Packet, way: number, emit: Emitter): void {
    pass(packet, way, emit);
  }

  onTimeout(_now: number, _emit: Emitter): void {}

  pollTimeout(): number {
    return Number.POSITIVE_INFINITY;
  }
}

export function pass(packet: Packet, way: number, emit: Emitter): void {
  if (way === Way.Forward) emit.forward(packet);
  else emit.backward(packet);
}

/** Names the connection of a segment, equally for both ways: A's address and port first. */
export function flowKey(packet: Packet, headers: Headers, way: number): string {
  const size = headers.family === 4 ? 4 : 16;
  const source = headers.family === 4 ? headers.ip + 12 : headers.ip + 8;
  const from = `${hex(packet, source, size)}:${packet.view.getUint16(headers.tcp)}`;
  const to = `${hex(packet, source + size, size)}:${packet.view.getUint16(headers.tcp + 2)}`;
  return way === Way.Forward ? `${from}>${to}` : `${to}>${from}`;
}

function hex(packet: Packet, at: number, size: number): string {
  let text = '';
  for (let word = at; word < at + size; word += 4) text += `${packet.view.getUint32(word).toString(16)}.`;
  return text;
}

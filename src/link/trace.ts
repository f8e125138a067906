import type { Packet } from '../wire/packet.ts';
import { Chain } from './chain.ts';
import type { Link } from './link.ts';
import type { PooledPacket } from './pool.ts';
import { Stage } from './stage.ts';

/** Sees a packet that passes; the packet is valid during the call and must not be changed. */
export type PacketObserver = (now: number, packet: Packet) => void;

/** Shows each packet to an observer and passes it on. */
export class Trace extends Stage {
  private readonly observer: PacketObserver;

  constructor(observer: PacketObserver) {
    super();
    this.observer = observer;
  }

  onPacket(now: number, packet: PooledPacket): void {
    this.observer(now, packet);
    this.emit(now, packet);
  }
}

/** A link whose packets are seen as they enter and as they leave. */
export function traced(link: Link, onSend: PacketObserver, onReceive: PacketObserver): Chain {
  return new Chain(new Trace(onSend), link, new Trace(onReceive));
}

import { EarlyAcknowledger, type Emitter } from '../../src/link/middlebox/index.ts';
import type { EarlyAcknowledgerOptions } from '../../src/link/middlebox/proxy.ts';
import type { Packet } from '../../src/wire/packet.ts';

/**
 * A proxy that acknowledges early from some moment of a connection on; until then what passes is left as it is. The same
 * comes of a route that changes: a joined subflow on which data was never acknowledged otherwise would not last (A8.09).
 */
export class LateProxy extends EarlyAcknowledger {
  private readonly starts: () => boolean;

  /** @param starts asked for every segment; from its first true on the proxy is at work */
  constructor(options: EarlyAcknowledgerOptions, starts: () => boolean) {
    super(options);
    this.starts = starts;
  }

  protected override onSegment(now: number, packet: Packet, way: number, emit: Emitter): void {
    super.onSegment(now, packet, way, this.starts() ? emit : watching(packet, emit));
  }
}

/** Only lets `packet` pass, whatever the proxy does meanwhile. */
function watching(packet: Packet, emit: Emitter): Emitter {
  return {
    forward: (one) => emit.forward(one),
    backward: (one) => {
      if (one === packet) emit.backward(one);
    },
    drop: () => emit.forward(packet),
  };
}

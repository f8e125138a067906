import type { World } from '../../src/sim/world.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp } from '../../src/wire/tcp.ts';

/** Shows every TCP segment that a path delivers; `path` counts from 0. The segment is valid during the call. */
export function observe(world: World, onSegment: (fromA: boolean, segment: Segment, path: number) => void): void {
  const header = new IpHeader();
  const segment = new Segment();
  world.observe({
    onDeliver(_now, path, fromA, packet) {
      if (decodeIp(packet, header) !== 0 || decodeTcp(packet, header, segment) !== 0) return;
      onSegment(fromA, segment, path.index);
    },
  });
}

/** The same for every segment that a host hands to a path, lost ones included. */
export function onSent(world: World, onSegment: (fromA: boolean, segment: Segment, path: number) => void): void {
  const header = new IpHeader();
  const segment = new Segment();
  world.observe({
    onSend(_now, path, fromA, packet) {
      if (decodeIp(packet, header) !== 0 || decodeTcp(packet, header, segment) !== 0) return;
      onSegment(fromA, segment, path.index);
    },
  });
}

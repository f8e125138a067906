import { type Capture, CaptureDirection } from '../link/capture.ts';
import type { World, WorldPath } from './world.ts';

/**
 * Captures the packets of a world, an interface block for each path, as a tool at one end would: what the end sends
 * before the path can lose it, and what reaches it.
 *
 * @param end 'a' or 'b' of each path
 */
export function captureWorld(world: World, capture: Capture, end: 'a' | 'b' = 'a'): void {
  const numbers = new Map<WorldPath, number>();
  const numberOf = (path: WorldPath): number => {
    let number = numbers.get(path);
    if (number === undefined) {
      number = capture.addInterface(path.name, `${path.a.host.name} - ${path.b.host.name}`);
      numbers.set(path, number);
    }
    return number;
  };
  for (const path of world.paths) numberOf(path);
  const isA = end === 'a';
  world.observe({
    onSend(now, path, fromA, packet) {
      if (fromA === isA) capture.write(now, numberOf(path), packet, CaptureDirection.Outbound);
    },
    onDeliver(now, path, fromA, packet) {
      if (fromA !== isA) capture.write(now, numberOf(path), packet, CaptureDirection.Inbound);
    },
  });
}

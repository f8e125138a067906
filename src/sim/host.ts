import { EndpointPathManager, type EndpointRequest } from '../policy/path-manager/endpoints.ts';
import { Sockets } from '../sockets/sockets.ts';
import type { StackOptions } from '../stack/config.ts';
import type { InterfaceConfig, PacketHost } from '../stack/seams.ts';
import { Stack } from '../stack/stack.ts';
import type { Packet } from '../wire/packet.ts';
import type { SeededRandom } from './random.ts';

/** Settings of a simulated host. */
export interface HostSettings extends Omit<StackOptions, 'random' | 'pathManager'> {
  readonly endpoints?: readonly EndpointRequest[];
  /** Extra subflows per connection; 2 unless given. */
  readonly subflowLimit?: number;
  /** Announced addresses that may be used; 0 unless given. */
  readonly addAddrAcceptedLimit?: number;
}

/** A whole host for a world: a stack, its sockets and its endpoints, with randomness from the world's seed. */
export class SimulatedHost implements PacketHost {
  readonly stack: Stack;
  readonly sockets: Sockets;
  readonly endpoints: EndpointPathManager;

  constructor(interfaces: readonly InterfaceConfig[], random: SeededRandom, settings: HostSettings = {}) {
    const { endpoints = [], subflowLimit = 2, addAddrAcceptedLimit = 0, ...options } = settings;
    this.endpoints = new EndpointPathManager();
    this.endpoints.setLimits(subflowLimit, addAddrAcceptedLimit);
    this.stack = new Stack({ ...options, random, pathManager: this.endpoints });
    for (const config of interfaces) this.stack.addInterface(config);
    for (const endpoint of endpoints) this.endpoints.add(0, endpoint);
    this.sockets = new Sockets(this.stack);
  }

  onPacket(now: number, interfaceId: number, packet: Packet): void {
    this.stack.onPacket(now, interfaceId, packet);
  }

  onTimeout(now: number): void {
    this.stack.onTimeout(now);
  }

  pollTransmit(now: number, out: Packet): number {
    return this.stack.pollTransmit(now, out);
  }

  pollTimeout(): number {
    return this.stack.pollTimeout();
  }

  pollReady(): number {
    return this.stack.pollReady();
  }
}

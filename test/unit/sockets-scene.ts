import assert from 'node:assert/strict';
import type { PathOptions } from '../../src/link/index.ts';
import { type HostSettings, SimulatedHost } from '../../src/sim/host.ts';
import { twoHosts } from '../../src/sim/topology.ts';
import { Errno } from '../../src/sockets/errno.ts';
import { Family, Protocol, type Sockets, SocketType } from '../../src/sockets/sockets.ts';

export const BYTES = new Uint8Array(65_536).fill(0x41);

interface Setting {
  readonly paths?: readonly PathOptions[];
  readonly client?: HostSettings;
  readonly server?: HostSettings;
}

/** Two hosts whose sockets the test works by hand; the server listens on port 80. */
export function scene({ paths = [{ delay: 10 }], client = {}, server = {} }: Setting = {}) {
  const built = twoHosts<SimulatedHost>({
    paths,
    family: 4,
    host: (name, interfaces, world) =>
      new SimulatedHost(interfaces, world.random.derive(name), name === 'client' ? client : server),
  });
  const { world } = built;
  const mine = built.client.sockets;
  const theirs = built.server.sockets;
  return {
    ...built,
    mine,
    theirs,
    wait: (ms: number): void => {
      world.run({ until: world.now + ms });
    },
    /** Both ends of a connection, of the given protocol at either. */
    connected: (protocol: number = Protocol.Mptcp, listening: number = Protocol.Mptcp): [number, number] => {
      const listener = listen(theirs, listening);
      const descriptor = mine.socket(Family.Inet, SocketType.Stream, protocol);
      assert.equal(mine.connect(descriptor, built.serverAddress(0), 80, world.now), -Errno.EINPROGRESS);
      world.run({ until: world.now + 100 });
      const accepted = theirs.accept(listener);
      assert.ok(accepted >= 0);
      return [descriptor, accepted];
    },
  };
}

export function listen(sockets: Sockets, protocol: number = Protocol.Mptcp, backlog = 8): number {
  const listener = sockets.socket(Family.Inet, SocketType.Stream, protocol);
  assert.equal(sockets.bind(listener, undefined, 80), 0);
  assert.equal(sockets.listen(listener, backlog), 0);
  return listener;
}

export function read(sockets: Sockets, descriptor: number, length = 65_536): number {
  return sockets.recv(descriptor, new Uint8Array(65_536), 0, length);
}

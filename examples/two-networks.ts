/**
 * A download over two networks, one of which dies on the way, in virtual time: it runs in a moment, and the same way
 * each time.
 *
 *     npx tsx examples/two-networks.ts
 */
import { mbit } from '../src/link/index.ts';
import { SimulatedHost, TransferApplication, twoHosts } from '../src/sim/index.ts';

const network = twoHosts<SimulatedHost>({
  seed: 1,
  family: 4,
  paths: [
    { name: 'Wi-Fi', rate: mbit(30), delay: 10 },
    { name: 'LTE', rate: mbit(20), delay: 30 },
  ],
  host: (name, interfaces, world) => {
    // From each further address of the client a connection may be joined.
    const endpoints = interfaces.slice(1).map(({ addresses }) => ({ address: addresses[0]!.address, subflow: true }));
    return new SimulatedHost(interfaces, world.random.derive(name), name === 'client' ? { endpoints } : {});
  },
  onClient: { onReady: (now, socket) => client.onReady(now, socket) },
  onServer: { onReady: (now, socket) => server.onReady(now, socket) },
});
const { world } = network;
const client = new TransferApplication(network.client.sockets);
const server = new TransferApplication(network.server.sockets);

server.listen(80, { toSend: 20_000_000 });
const download = client.connect(world.now, network.serverAddress(0), 80);
world.at(2000, () => network.paths[0]!.setUp(world.now, false));
world.run({ condition: () => download.closed, until: 60_000 });

console.log(`${download.received} bytes in ${(world.now / 1000).toFixed(2)} s, error ${download.error}`);
console.log(`longest time without data: ${download.longestGap.toFixed(0)} ms`);
console.log(`digest of all packets: ${world.digest()}`);

/**
 * A program as with `node:net`, and a network that goes away under it: two hosts in this process, two networks between
 * them, no root. The first network is cut after a second.
 *
 *     npx tsx examples/handover.ts
 */
import { mbit } from '../src/link/index.ts';
import { connect, createServer, emulate } from '../src/net/index.ts';

const { first, second, links, close } = emulate([
  { name: 'Wi-Fi', rate: mbit(30), delay: 10 },
  { name: 'LTE', rate: mbit(20), delay: 25 },
]);

const server = createServer({ multipath: { host: second } }, (socket) => {
  let count = 0;
  const timer = setInterval(() => socket.write(`${count++}\n`), 10);
  socket.on('close', () => clearInterval(timer)).on('error', () => {});
});

server.listen(8080, '10.0.1.2', () => {
  const socket = connect({ host: '10.0.1.2', port: 8080, multipath: { host: first } });
  let last = performance.now();
  let longest = 0;
  let lines = 0;
  socket.on('data', (chunk: Buffer) => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    lines += chunk.toString().split('\n').length - 1;
  });
  setTimeout(() => {
    console.log(`${lines} ticks so far; Wi-Fi is cut`);
    links[0]!.setUp(performance.now(), false);
  }, 1000);
  setTimeout(() => {
    for (const { id, local, state, srtt } of socket.multipath?.subflows ?? []) {
      console.log(`subflow ${id} from ${local.address}: ${state}, round trip ${srtt.toFixed(0)} ms`);
    }
    console.log(`${lines} ticks, ${longest.toFixed(0)} ms at most without one`);
    socket.destroy();
    server.close();
    close();
  }, 3000);
});

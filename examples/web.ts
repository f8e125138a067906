/**
 * A web server and its clients over Multipath TCP: `node:http` with an agent, and `fetch` of undici with a connector. Over
 * the kernel where it has Multipath TCP, else over plain TCP, as the answers tell.
 *
 *     npx tsx examples/web.ts
 */
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Agent, fetch } from 'undici';
import { connector, HttpAgent, multipathServer, type Socket } from '../src/net/index.ts';

const server = multipathServer(http.createServer());
server.on('request', (request, response) => {
  const { backend, fallback } = (request.socket as Socket).multipath!;
  response.end(`${backend}${fallback === null ? '' : `, plain: ${fallback}`}`);
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;

const request = http.get({ host: '127.0.0.1', port, agent: new HttpAgent() });
const [response] = (await once(request, 'response')) as [http.IncomingMessage];
console.log(`http.get: ${(await response.toArray()).join('')}`);

const dispatcher = new Agent({ connect: connector() });
console.log(`fetch: ${await (await fetch(`http://127.0.0.1:${port}/`, { dispatcher })).text()}`);
console.log(`fetch without: ${await (await fetch(`http://127.0.0.1:${port}/`)).text()}`);

await dispatcher.close();
server.close();
server.closeAllConnections();

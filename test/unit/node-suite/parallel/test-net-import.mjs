import assert from 'node:assert';
import { connect, createServer, Server, Socket } from 'node:net';

const server = createServer((socket) => socket.end('x'));
assert(server instanceof Server);
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const socket = connect({ port: server.address().port, host: '127.0.0.1' });
assert(socket instanceof Socket);
let text = '';
for await (const part of socket) text += part;
assert.strictEqual(text, 'x');
server.close();

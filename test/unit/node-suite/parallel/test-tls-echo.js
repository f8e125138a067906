'use strict';
const common = require('../common');
const certificate = require('../common/certificate');
const assert = require('node:assert');
const net = require('net');
const tls = require('tls');

const server = tls.createServer(
  certificate,
  common.mustCall((socket) => socket.pipe(socket)),
);
assert(server instanceof net.Server);
server.listen(
  0,
  common.mustCall(() => {
    const options = { port: server.address().port, host: '127.0.0.1', ca: certificate.cert, servername: 'mptcp.test' };
    const socket = tls.connect(
      options,
      common.mustCall(() => {
        assert(socket.authorized);
        assert(socket instanceof net.Socket);
        assert.strictEqual(socket.remotePort, server.address().port);
        socket.end('hello');
      }),
    );
    let text = '';
    socket.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    socket.on(
      'close',
      common.mustCall(() => {
        assert.strictEqual(text, 'hello');
        server.close();
      }),
    );
  }),
);

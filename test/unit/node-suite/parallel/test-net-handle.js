'use strict';
// Userspace sockets have no handle of the system: this differs, and is meant to.
const common = require('../common');
const assert = require('assert');
const net = require('net');

const server = net
  .createServer((socket) => socket.end())
  .listen(
    0,
    common.mustCall(() => {
      const socket = net.connect(
        server.address().port,
        common.mustCall(() => {
          assert.ok(socket._handle, 'the socket has a handle');
          socket.resume().on('close', () => server.close());
        }),
      );
    }),
  );

'use strict';
const common = require('../common');
const assert = require('assert');
const net = require('net');

assert.notStrictEqual(process.env.TEST_THREAD_ID, undefined);
const server = net.createServer(common.mustCall((socket) => socket.pipe(socket)));
server.listen(
  0,
  common.mustCall(() => {
    const socket = net.connect(
      server.address().port,
      common.mustCall(() => socket.end('hello')),
    );
    assert(socket instanceof net.Socket);
    let text = '';
    socket.setEncoding('utf8').on('data', (part) => {
      text += part;
    });
    socket.on(
      'close',
      common.mustCall((hadError) => {
        assert.deepStrictEqual([text, hadError], ['hello', false]);
        server.close(common.mustCall());
      }),
    );
  }),
);

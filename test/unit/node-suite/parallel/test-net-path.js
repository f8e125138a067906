'use strict';
const common = require('../common');
const net = require('net');
const path = require('path');

const name = path.join(process.env.NODE_TEST_DIR, `socket.${process.pid}`);
const server = net.createServer(common.mustCall((socket) => socket.end())).listen(
  name,
  common.mustCall(() => {
    net
      .connect(name)
      .resume()
      .on(
        'close',
        common.mustCall(() => server.close()),
      );
  }),
);

'use strict';
const common = require('../common');
const assert = require('assert');
const http = require('http');

const server = http.createServer(common.mustCall((request, response) => response.end(request.url), 2));
assert(server instanceof require('net').Server);
server.listen(
  0,
  common.mustCall(() => {
    const { port } = server.address();
    const agent = new http.Agent({ keepAlive: true });
    const get = (then) =>
      http.get(
        { port, agent, path: '/path' },
        common.mustCall((response) => {
          let text = '';
          response
            .on('data', (part) => {
              text += part;
            })
            .on(
              'end',
              common.mustCall(() => {
                assert.strictEqual(text, '/path');
                setImmediate(then);
              }),
            );
        }),
      );
    get(() =>
      get(() => {
        agent.destroy();
        server.close();
      }),
    );
  }),
);

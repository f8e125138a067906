'use strict';
const common = require('../common');
const assert = require('assert');
const http2 = require('http2');

const server = http2.createServer();
server.on(
  'stream',
  common.mustCall((stream) => {
    stream.respond({ ':status': 200 });
    stream.end('two');
  }),
);
server.listen(
  0,
  common.mustCall(() => {
    const session = http2.connect(`http://localhost:${server.address().port}`);
    let text = '';
    session
      .request()
      .on('data', (part) => {
        text += part;
      })
      .on(
        'end',
        common.mustCall(() => {
          assert.strictEqual(text, 'two');
          session.close();
          server.close();
        }),
      );
  }),
);

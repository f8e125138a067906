'use strict';
const common = require('../common');
const certificate = require('../common/certificate');
const assert = require('node:assert');
const https = require('https');

const server = https.createServer(
  certificate,
  common.mustCall((_request, response) => response.end('secret')),
);
server.listen(
  0,
  common.mustCall(() => {
    const { port } = server.address();
    const options = { port, ca: certificate.cert, servername: 'mptcp.test', agent: new https.Agent() };
    https.get(
      options,
      common.mustCall((response) => {
        let text = '';
        response
          .on('data', (part) => {
            text += part;
          })
          .on(
            'end',
            common.mustCall(() => {
              assert.strictEqual(text, 'secret');
              server.close();
            }),
          );
      }),
    );
  }),
);

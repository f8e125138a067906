'use strict';
const common = require('../common');
require('net')
  .createServer(common.mustCall())
  .listen(0, function () {
    this.close();
  });

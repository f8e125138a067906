'use strict';
require('../common').skip('nothing to see');

// Flags: --expose-gc --no-warnings
'use strict';
require('../common');
const assert = require('assert');
assert.strictEqual(typeof globalThis.gc, 'function');
assert.strictEqual(process.env.TEST_THREAD_ID, '0');

'use strict';
// As much of Node's own test/common as the tests beside it ask for.
const assert = require('node:assert');

const expected = [];
process.on('exit', (code) => {
  if (code !== 0) return;
  for (const { name, wanted, calls } of expected) {
    if (calls === wanted) continue;
    console.log(`Mismatched ${name} function calls. Expected exactly ${wanted}, actual ${calls}.`);
    process.exitCode = 1;
  }
});

exports.mustCall = (body = () => {}, wanted = 1) => {
  const count = { name: body.name || '<anonymous>', wanted, calls: 0 };
  expected.push(count);
  return function (...values) {
    count.calls++;
    return body.apply(this, values);
  };
};
exports.skip = (reason) => {
  console.log(`1..0 # Skipped: ${reason}`);
  process.exit(0);
};
exports.mustNotCall = () => () => assert.fail('this should not be called');

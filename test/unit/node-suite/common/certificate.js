'use strict';
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const text = readFileSync(join(__dirname, '../../../compliance/certificate.ts'), 'utf8');
const [cert, key] = text.match(/-----BEGIN[^`]*/g);
module.exports = { cert, key };

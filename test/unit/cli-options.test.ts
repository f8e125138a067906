import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failureText } from '../../src/cli/failure.ts';
import { HELP_OPTION, helpText, parseOptions, UsageError } from '../../src/cli/options.ts';
import { hostPaths } from '../../src/cli/path-option.ts';
import {
  formatBytes,
  formatCount,
  formatMilliseconds,
  formatRate,
  formatShare,
  parsePort,
  parseSeconds,
  parseSize,
} from '../../src/cli/units.ts';
import { SystemError } from '../../src/node/system-error.ts';

const TABLE = {
  listen: { short: 'l', text: 'wait' },
  ipv6: { short: '6', text: 'IPv6' },
  wait: { short: 'w', value: 'SECONDS', text: 'give up' },
  size: { value: 'SIZE', text: 'how much' },
  count: { value: 'N', text: 'how many' },
  path: { value: 'PATH', multiple: true, text: 'networks' },
  help: HELP_OPTION,
} as const;

describe('options', () => {
  test('switches, values, repeated options and operands, in any order', () => {
    const options = parseOptions(['-l6', 'host', '--path', 'a', '-w', '1.5', '--path=b', '80'], TABLE);
    assert.ok(options.has('listen') && options.has('ipv6') && !options.has('help'));
    assert.deepEqual(options.operands, ['host', '80']);
    assert.deepEqual(options.all('path'), ['a', 'b']);
    assert.equal(options.duration('wait', 0), 1500);
    assert.equal(options.size('size', 7), 7);
  });

  test('what is wrong is said in one line', () => {
    const wrong = (args: string[], message: string): void => {
      assert.throws(() => parseOptions(args, TABLE), { name: 'UsageError', message });
    };
    wrong(['--nope'], 'unknown option --nope');
    wrong(['-x'], 'unknown option -x');
    wrong(['-w'], 'option -w, --wait needs a value');
    wrong(['--listen=yes'], 'option -l, --listen takes no value');
  });

  test('values are checked where they are used', () => {
    const options = parseOptions(['--size', '12Q', '--count', '9', '-w', '-1'].slice(0, 4), TABLE);
    assert.throws(() => options.size('size', 0), /--size takes a size such as 64M or 512KiB, not "12Q"/);
    assert.throws(() => options.integer('count', 0, 0, 8), /--count takes a whole number from 0 to 8, not "9"/);
    assert.equal(options.integer('count', 0, 0, 9), 9);
  });

  test('help fits into 100 columns and names every option', () => {
    const text = helpText(['mptcp x [OPTION]...'], 'About it. '.repeat(40), {
      ...TABLE,
      long: { text: 'word '.repeat(60) },
    });
    for (const line of text.split('\n')) assert.ok(line.length <= 100, line);
    for (const name of Object.keys(TABLE)) assert.ok(text.includes(`--${name}`));
    assert.ok(text.startsWith('usage: mptcp x [OPTION]...\n'));
  });
});

describe('units', () => {
  test('sizes are decimal unless an i says otherwise', () => {
    for (const [text, bytes] of [
      ['4096', 4096],
      ['64M', 64e6],
      ['64 MB', 64e6],
      ['1.5g', 1.5e9],
      ['512KiB', 524_288],
      ['2Gi', 2 ** 31],
      ['0', 0],
    ] as const) {
      assert.equal(parseSize(text), bytes, text);
    }
    for (const text of ['', 'M', '-1', '1e6', '1 X', '1.M', '9999999999T'])
      assert.equal(parseSize(text), undefined, text);
  });

  test('times and ports', () => {
    assert.equal(parseSeconds('10'), 10_000);
    assert.equal(parseSeconds('0.5s'), 500);
    assert.equal(parseSeconds('250ms'), 250);
    assert.equal(parseSeconds('2min'), 120_000);
    for (const text of ['', '-1', 'x', '1h', '9999999']) assert.equal(parseSeconds(text), undefined, text);
    assert.equal(parsePort('65535'), 65_535);
    for (const text of ['65536', '-1', '', 'http', '1.5']) assert.equal(parsePort(text), undefined, text);
  });

  test('figures have three digits that count', () => {
    assert.equal(formatBytes(999), '999 B');
    assert.equal(formatBytes(999.6), '1.00 kB');
    assert.equal(formatBytes(64e6), '64.0 MB');
    assert.equal(formatBytes(999_600), '1.00 MB');
    assert.equal(formatRate(1.25e9, 1000), '10.0 Gbit/s');
    assert.equal(formatRate(1, 0), '0 bit/s');
    assert.equal(formatMilliseconds(23.14), '23.1 ms');
    assert.equal(formatMilliseconds(4310), '4.31 s');
    assert.equal(formatMilliseconds(0.6441), '0.644 ms');
    assert.equal(formatShare(61, 100), '61 %');
    assert.equal(formatShare(1, 0), '-');
    assert.equal(formatCount(1_234_567), '1,234,567');
  });
});

describe('--path', () => {
  const client = { isClient: true, offload: true };

  test('device, both addresses, flags; further paths of a client are subflows unless they say otherwise', () => {
    const paths = hostPaths(
      [
        'wifi=10.1.0.2/24,peer=10.1.0.1',
        'lte=fd00:2::2/64,peer=fd00:2::1,backup,mtu=1400',
        'c=10.3.0.2/16,peer=10.3.0.1,signal',
      ],
      client,
    );
    assert.deepEqual(
      paths.map(({ name, kernelAddresses, endpoint, mtu }) => ({ name, kernelAddresses, endpoint, mtu })),
      [
        { name: 'wifi', kernelAddresses: ['10.1.0.1/24'], endpoint: undefined, mtu: undefined },
        { name: 'lte', kernelAddresses: ['fd00:2::1/64'], endpoint: { backup: true, subflow: true }, mtu: 1400 },
        { name: 'c', kernelAddresses: ['10.3.0.1/16'], endpoint: { signal: true }, mtu: undefined },
      ],
    );
    assert.equal(paths[1]!.addresses[0]!.address.toString(), 'fd00:2::2');
    assert.equal(paths[1]!.addresses[0]!.prefixLength, 64);
  });

  test('a server announces only what says signal', () => {
    const paths = hostPaths(['a=10.1.0.2/24', 'b=10.2.0.2/24', 'c=10.3.0.2/24,signal'], {
      isClient: false,
      offload: true,
    });
    assert.deepEqual(
      paths.map(({ endpoint }) => endpoint),
      [undefined, undefined, { signal: true }],
    );
    assert.deepEqual(paths[0]!.kernelAddresses, []);
  });

  test('the same name again adds an address', () => {
    const [path, ...others] = hostPaths(['a=10.1.0.2/24,peer=10.1.0.1', 'a=fd00::2/64,peer=fd00::1'], client);
    assert.deepEqual(others, []);
    assert.deepEqual(path!.kernelAddresses, ['10.1.0.1/24', 'fd00::1/64']);
    assert.equal(path!.addresses.length, 2);
  });

  test('what is no path is refused with a reason', () => {
    const wrong = (text: string, message: RegExp): void => {
      assert.throws(
        () => hostPaths([text], client),
        (error: Error) => error instanceof UsageError && message.test(error.message),
      );
    };
    wrong('wifi', /expected NAME=ADDR\/LEN/);
    wrong('a/b=10.1.0.2/24', /cannot name a device/);
    wrong('averylongdevicename=10.1.0.2/24', /cannot name a device/);
    wrong('a=10.1.0/24', /10\.1\.0 is no IP address/);
    wrong('a=10.1.0.2/33', /\/33 is no prefix length/);
    wrong('a=10.1.0.2/24,peer=fd00::1', /of another family/);
    wrong('a=10.1.0.2/24,peer=10.1.0.2', /both ends/);
    wrong('a=10.1.0.2/24,peer=x', /x is no IP address/);
    wrong('a=10.1.0.2/24,mtu=100', /100 is no MTU/);
    wrong('a=fd00::2/64,mtu=1000', /1000 is no MTU/);
    wrong('a=10.1.0.2/24,fast', /unknown word fast/);
    wrong('a=10.1.0.2/24,signal,fullmesh', /exclude each other/);
  });
});

test('failures become one line, whoever reported them', () => {
  const node = (fields: object, message: string): Error => Object.assign(new Error(message), fields);
  assert.equal(
    failureText(SystemError.of(111, 'connect', '10.0.0.1:80: connection refused')),
    '10.0.0.1:80: connection refused',
  );
  assert.equal(
    failureText(node({ code: 'ENOENT', syscall: 'open', path: '/x' }, "ENOENT: no such file or directory, open '/x'")),
    '/x: no such file or directory',
  );
  assert.equal(
    failureText(
      node({ code: 'ECONNREFUSED', syscall: 'connect', address: '::1', port: 5 }, 'connect ECONNREFUSED ::1:5'),
    ),
    '[::1]:5: connection refused',
  );
  assert.equal(failureText(new Error('first\n    at line 2')), 'first');
  assert.equal(failureText('text'), 'text');
});

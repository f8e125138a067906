import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { packPackage } from '../../scripts/published.ts';
import { multipathRefusal } from '../../src/kernel/tcp-handle.ts';

/** What others install: the tarball in the node_modules of a project of its own, with none of the repository around it. */

const ROOT = resolve(import.meta.dirname, '../..');

interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Each way in, and a name that it must have. */
const EXPORTS: readonly (readonly [specifier: string, name: string])[] = [
  ['mptcp', 'connect'],
  ['mptcp/net', 'emulate'],
  ['mptcp/wire', 'Packet'],
  ['mptcp/tcp', 'TcpConnection'],
  ['mptcp/mptcp', 'MptcpConnection'],
  ['mptcp/stack', 'Stack'],
  ['mptcp/sockets', 'Sockets'],
  ['mptcp/link', 'Path'],
  ['mptcp/sim', 'SimulatedHost'],
  ['mptcp/trace', 'CaptureReader'],
  ['mptcp/node', 'UserspaceHost'],
  ['mptcp/policy/path-manager/endpoints', 'EndpointPathManager'],
];

/** Over two hosts in the process: says what came back. */
const EXCHANGE = `
  const pair = mptcp.emulate([{}, {}]);
  const server = mptcp.createServer({ multipath: { host: pair.second } }, (socket) => socket.pipe(socket));
  server.listen(80, () => {
    const socket = mptcp.connect({ host: '10.0.1.2', port: 80, multipath: { host: pair.first } });
    socket.setEncoding('utf8');
    socket.on('data', (text) => {
      console.log(text, socket.multipath.backend, socket.multipath.fallback);
      socket.destroy();
      server.close(() => pair.close());
    });
    socket.write('hello');
  });
`;

/** A server, then a client, of node:net, each against an end of ours that tells whether it speaks MPTCP. */
const PLAIN = `
  const net = require('node:net');
  const mptcp = require('mptcp');
  const tell = (who, { multipath }) => console.log(who, multipath?.fallback === null ? 'mptcp' : 'tcp');
  const server = net.createServer((socket) => socket.end('x')).listen(0, '127.0.0.1', () => {
    const socket = mptcp.connect({ port: server.address().port, host: '127.0.0.1', multipath: true });
    socket.once('data', () => {
      tell('server', socket);
      socket.destroy();
      server.close();
      const ours = mptcp.createServer((peer) => {
        tell('client', peer);
        peer.end('x');
        ours.close();
      });
      ours.listen(0, '127.0.0.1', () => net.connect(ours.address().port, '127.0.0.1').resume());
    });
  });
`;

describe('the package as npm packs it', () => {
  let folder: string;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'mptcp-package-'));
    const packing = join(folder, 'packing');
    mkdirSync(packing);
    const tarball = packPackage(packing);
    const modules = join(folder, 'node_modules');
    const target = join(modules, 'mptcp');
    mkdirSync(join(modules, '.bin'), { recursive: true });
    mkdirSync(target);
    execFileSync('tar', ['-xzf', tarball, '-C', target, '--strip-components=1']);
    writeFileSync(join(folder, 'package.json'), '{ "name": "project", "private": true }\n');
    // As npm does for each command of a package.
    const { bin } = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8')) as { bin: Record<string, string> };
    for (const [name, path] of Object.entries(bin)) {
      chmodSync(join(target, path), 0o755);
      symlinkSync(join('..', 'mptcp', path), join(modules, '.bin', name));
    }
    rmSync(packing, { recursive: true });
    // What a project has besides: the types of Node, and the optional dependency where the repository has it.
    for (const name of ['koffi', '@types', 'undici-types']) {
      if (existsSync(join(ROOT, 'node_modules', name))) {
        symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
      }
    }
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  function run(program: string, words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> {
    return new Promise((done, fail) => {
      const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...rest } = process.env;
      const child = spawn(program, words, {
        cwd: folder,
        env: { ...rest, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: 30_000,
        killSignal: 'SIGKILL',
      });
      const output = { out: '', err: '' };
      child.stdout.on('data', (chunk: Buffer) => {
        output.out += chunk.toString();
      });
      child.stderr.on('data', (chunk: Buffer) => {
        output.err += chunk.toString();
      });
      child.on('error', fail);
      child.on('close', (code) => done({ code, ...output }));
    });
  }

  const node = (...words: string[]): Promise<Outcome> => run(process.execPath, words);

  test('has the files that it needs, and no sources or tests', () => {
    const target = join(folder, 'node_modules/mptcp');
    for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'dist/net/index.js', 'dist/net/index.d.ts']) {
      assert.ok(existsSync(join(target, name)), name);
    }
    for (const name of ['src', 'test', 'bench', 'scripts', 'tsconfig.json', 'node_modules']) {
      assert.ok(!existsSync(join(target, name)), name);
    }
  });

  test('every export is imported by ES modules', async () => {
    const lines = EXPORTS.map(([specifier, name], index) => {
      return `import { ${name} as n${index} } from '${specifier}'; console.log(typeof n${index});`;
    });
    writeFileSync(join(folder, 'imports.mjs'), `${lines.join('\n')}\n`);
    const { code, out, err } = await node('imports.mjs');
    assert.deepEqual({ code, err }, { code: 0, err: '' });
    assert.deepEqual(
      out.trim().split('\n'),
      EXPORTS.map(() => 'function'),
    );
  });

  test('every export is had by require', async () => {
    const lines = EXPORTS.map(([specifier, name]) => `console.log(typeof require('${specifier}').${name});`);
    writeFileSync(join(folder, 'requires.cjs'), `${lines.join('\n')}\n`);
    const { code, out, err } = await node('requires.cjs');
    assert.deepEqual({ code, err }, { code: 0, err: '' });
    assert.deepEqual(
      out.trim().split('\n'),
      EXPORTS.map(() => 'function'),
    );
  });

  test('the exports tried are all that there are', () => {
    const manifest = JSON.parse(readFileSync(join(folder, 'node_modules/mptcp/package.json'), 'utf8')) as {
      exports: Record<string, unknown>;
    };
    const tried = new Set(EXPORTS.map(([specifier]) => specifier.replace(/^mptcp/, '.')));
    const others = new Set(['./register', './package.json', './policy/*']);
    const untried = Object.keys(manifest.exports).filter((name) => !tried.has(name) && !others.has(name));
    assert.deepEqual(untried, []);
  });

  test('two hosts in one process talk, from an ES module and from CommonJS', async () => {
    writeFileSync(join(folder, 'exchange.mjs'), `import * as mptcp from 'mptcp';\n${EXCHANGE}`);
    writeFileSync(join(folder, 'exchange.cjs'), `const mptcp = require('mptcp');\n${EXCHANGE}`);
    for (const file of ['exchange.mjs', 'exchange.cjs']) {
      assert.deepEqual(await node(file), { code: 0, out: 'hello userspace null\n', err: '' }, file);
    }
  });

  for (const flag of ['--import', '--require']) {
    test(`node ${flag} mptcp/register makes programs of node:net multipath, and says why when it cannot`, async () => {
      const refusal = multipathRefusal();
      const { code, out, err } = await node(flag, 'mptcp/register', '-e', PLAIN);
      assert.equal(code, 0, err);
      assert.equal(out, refusal === undefined ? 'server mptcp\nclient mptcp\n' : 'server tcp\nclient tcp\n');
      if (refusal === undefined) assert.equal(err, '');
      else assert.match(err, /\[MPTCP_UNAVAILABLE\].*connections are plain TCP/);
    });

    test(`node ${flag} mptcp/register with MPTCP=off changes nothing`, async () => {
      const outcome = await run(process.execPath, [flag, 'mptcp/register', '-e', PLAIN], { MPTCP: 'off' });
      assert.deepEqual(outcome, { code: 0, out: 'server tcp\nclient tcp\n', err: '' });
    });
  }

  test('the command mptcp is there, by its name', async () => {
    const command = join(folder, 'node_modules/.bin/mptcp');
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    assert.deepEqual(await run(command, ['--version']), { code: 0, out: `mptcp ${version}\n`, err: '' });
    const help = await run(command, ['--help']);
    assert.equal(help.code, 0);
    assert.match(help.out, /^usage: mptcp COMMAND/);
  });

  for (const [module, resolution] of [
    ['node16', 'node16'],
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ] as const) {
    test(`types of every export are found and whole, by moduleResolution ${resolution}`, async () => {
      const lines = EXPORTS.map(([specifier, name], index) => `import { ${name} as n${index} } from '${specifier}';`);
      const uses = EXPORTS.map((_, index) => `n${index}`).join(', ');
      writeFileSync(
        join(folder, 'types.mts'),
        `${lines.join('\n')}
import 'mptcp/register';
import type { Socket as NetSocket } from 'node:net';
import { connect, createServer, type Multipath, type MultipathState, type Server, type Socket } from 'mptcp';
export const all: readonly unknown[] = [${uses}];
export const server: Server = createServer({ multipath: 'handover' }, (socket: NetSocket) => socket.end());
export const socket: Socket & NetSocket = connect({ port: 80, multipath: true });
export const multipath: Multipath | undefined = socket.multipath;
export const backend: MultipathState['backend'] | undefined = multipath?.backend;
// @ts-expect-error no purpose is called so
connect({ port: 80, multipath: 'sometimes' });
`,
      );
      const words = ['--noEmit', '--strict', '--target', 'es2022', '--module', module, '--types', 'node'];
      const tsc = join(ROOT, 'node_modules/.bin/tsc');
      const { code, out } = await run(tsc, [...words, '--moduleResolution', resolution, 'types.mts']);
      assert.deepEqual({ code, out }, { code: 0, out: '' });
    });
  }
});

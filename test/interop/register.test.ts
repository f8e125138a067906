import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectNamespaces, Namespace } from './harness/namespace.ts';
import { requireRoot } from './harness/root.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Milliseconds after which a program is taken to hang. */
const PATIENCE = 20_000;

interface Outcome {
  readonly code: number | null;
  /** The object that the program printed last. */
  readonly result: Record<string, unknown>;
  readonly err: string;
  /** What the namespace's MPTCP counters gained, without their common beginning. */
  readonly gained: (name: string) => number;
}

interface RunOptions {
  readonly node?: string;
  /** Words between `node` and the program. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Words before `node`. */
  readonly prefix?: readonly string[];
  readonly folder?: string;
}

const REGISTER = ['--import', 'mptcp/register'];

/** This Node; with the folder of others in MPTCP_NODES, such as node_modules with packages of Node in it, those too. */
function nodes(): [name: string, path: string][] {
  const found: [string, string][] = [[process.version, process.execPath]];
  const folder = process.env.MPTCP_NODES;
  if (folder === undefined || folder === '') return found;
  for (const name of readdirSync(folder)) {
    const path = join(folder, name, 'bin/node');
    if (existsSync(path)) found.push([execFileSync(path, ['--version'], { encoding: 'utf8' }).trim(), path]);
  }
  assert.ok(found.length > 1, `MPTCP_NODES=${folder} holds no */bin/node`);
  return found;
}

describe('mptcp/register', { skip: requireRoot() }, () => {
  let folder: string;
  /** The same without koffi. */
  let poor: string;
  let namespace: Namespace;

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'mptcp-register-'));
    // For the ordinary user.
    chmodSync(folder, 0o755);
    installPackage(folder);
    poor = join(folder, 'poor');
    mkdirSync(join(poor, 'node_modules'), { recursive: true });
    cpSync(join(folder, 'node_modules/mptcp'), join(poor, 'node_modules/mptcp'), { recursive: true });
    // A package is looked for in the folders above as well.
    mkdirSync(join(folder, 'rich'));
    cpSync(join(folder, 'node_modules'), join(folder, 'rich/node_modules'), { recursive: true });
    rmSync(join(folder, 'node_modules'), { recursive: true });
    for (const each of [poor, join(folder, 'rich')]) {
      cpSync(fileURLToPath(new URL('./harness/register-programs.mjs', import.meta.url)), join(each, 'app.mjs'));
    }
    folder = join(folder, 'rich');
    namespace = Namespace.create('register');
  });
  after(() => {
    namespace.close();
    rmSync(dirname(folder), { recursive: true });
  });

  async function run(name: string, options: RunOptions = {}): Promise<Outcome> {
    const before = namespace.counters();
    const program = new Program(namespace, name, { folder, ...options });
    const code = await program.exit;
    const gained = namespace.countersSince(before);
    return {
      code,
      result: program.result,
      err: program.err,
      gained: (counter) => gained.get(`MPTcpExt${counter}`) ?? 0,
    };
  }

  for (const [version, node] of nodes()) {
    describe(version, () => {
      /** Runs and expects so many MPTCP connections, on both sides, and not a word of complaint. */
      const multipath = async (name: string, connections: number, options: RunOptions = {}): Promise<Outcome> => {
        const outcome = await run(name, { node, ...options });
        assert.equal(outcome.code, 0, outcome.err);
        assert.equal(outcome.err, '');
        assert.equal(outcome.gained('MPCapableSYNACKRX'), connections, 'connections opened with MPTCP');
        assert.equal(outcome.gained('MPCapableACKRX'), connections, 'connections accepted with MPTCP');
        return outcome;
      };

      test('a net client and server speak MPTCP, by --import and by --require', async () => {
        for (const flag of ['--import', '--require']) {
          const { result } = await multipath('net', 1, { flags: [flag, 'mptcp/register'] });
          assert.deepEqual(result, { bytes: 1_000_000, established: 2 });
        }
      });

      test('J3.10 http with keep-alive uses one MPTCP connection for three requests', async () => {
        const { result } = await multipath('http', 1);
        assert.deepEqual(result.answers, ['you asked for /1', 'you asked for /2', 'you asked for /3']);
      });

      test('https, HTTP/2, tls and fetch', async () => {
        assert.equal((await multipath('https', 1)).result.answer, 'secret /a');
        assert.equal((await multipath('http2', 1)).result.answer, 'two /a');
        assert.equal((await multipath('tls', 1)).result.answer, 'under tls');
        assert.equal((await multipath('fetch', 1)).result.answer, 'fetched');
      });

      test('happy eyeballs: both attempts are MPTCP, and the one that is answered connects', async () => {
        const outcome = await multipath('eyeballs', 1);
        assert.deepEqual(outcome.result, { answer: 'hello', attempted: 2 });
        assert.equal(outcome.gained('MPCapableSYNTX'), 2);
      });

      test('IPv6, IPv4 over a listener of both, and a client that binds', async () => {
        assert.deepEqual((await multipath('ipv6', 2)).result.answers, ['hello IPv6', 'hello IPv6']);
        assert.equal((await multipath('localAddress', 1)).result.answer, '127.0.0.5');
      });

      test('cluster: two workers answer six connections', async () => {
        assert.deepEqual((await multipath('cluster', 6)).result, { workers: 2 });
      });

      test('a connection given to another process goes on there when this one has closed it', async () => {
        const { result } = await multipath('send', 3);
        assert.deepEqual(result, { given: 'child later', kept: 'child later', advanced: 'child later' });
        assert.equal((await multipath('stdio', 1)).result.answer, 'from the shell\n');
      });

      test('AbortSignal, and errors with Node’s own fields', async () => {
        assert.deepEqual((await run('abort', { node })).result.codes, ['ABORT_ERR', 'ABORT_ERR']);
        assert.deepEqual((await multipath('refused', 0)).result, {
          code: 'ECONNREFUSED',
          errno: -111,
          syscall: 'connect',
          address: '127.0.0.1',
          message: 'connect ECONNREFUSED 127.0.0.1:1',
          inUse: 'EADDRINUSE',
        });
      });

      test('pipes and sockets that somebody else made are left alone', async () => {
        const pipe = await multipath('pipe', 0);
        assert.equal(pipe.result.answer, 'through a pipe');
        assert.equal(pipe.gained('MPCapableSYNTX'), 0);
        const inherited = await run('inherited', { node, env: { MPTCP: 'off' } });
        assert.equal(inherited.result.answer, 'inherited', inherited.err);
        // The client asked, the listener that it inherited did not know the word.
        assert.equal(inherited.gained('MPCapableSYNTX'), 1);
        assert.equal(inherited.gained('MPCapableFallbackSYNACK'), 1);
      });

      test('NODE_OPTIONS reaches worker threads and child processes', async () => {
        await multipath('everywhere', 3, { flags: [], env: { NODE_OPTIONS: REGISTER.join('=') } });
      });

      test('an ordinary user may', async () => {
        const prefix = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
        assert.equal((await multipath('net', 1, { prefix })).result.bytes, 1_000_000);
      });

      test('a type of service that IPv6 MPTCP sockets have not does not break a program', async () => {
        assert.deepEqual((await multipath('service', 1)).result, { value: 32 });
      });

      test('D1.15 writing to what the other end destroyed fails at once, as over TCP', async () => {
        for (const name of ['destroyed', 'clientDestroys', 'tlsDestroyed', 'unread']) {
          const outcome = await multipath(name, 1);
          const { code, after: waited } = outcome.result as { code: string; after: number };
          assert.match(code, /^(EPIPE|ECONNRESET)$/, name);
          assert.ok(waited < 100, `${name}: ${waited} ms`);
          assert.ok(outcome.gained('MPFastcloseTx') >= 1, name);
        }
      });

      test('so it is where the connection fell back to TCP', async () => {
        const outcome = await run('clientDestroys', { node, env: { MPTCP: 'client' } });
        assert.equal(outcome.gained('MPCapableFallbackSYNACK'), 1);
        assert.equal(outcome.result.code, 'EPIPE', outcome.err);
        assert.ok((outcome.result.after as number) < 100);
      });

      test('what was written before the close arrives, and what was closed keeps no process alive', async () => {
        const delivered = await multipath('delivered', 1);
        assert.equal(delivered.result.bytes, 3_000_000);
        assert.equal(delivered.gained('MPFastcloseTx'), 0);
        const exits = await run('exits', { node });
        assert.ok((exits.result.waited as number) < 500, JSON.stringify(exits.result) + exits.err);
      });

      test('MPTCP=off, server and client in the environment', async () => {
        const off = await multipath('net', 0, { env: { MPTCP: 'off' } });
        assert.deepEqual(off.result, { bytes: 1_000_000, established: 0 });
        assert.equal(off.gained('MPCapableSYNTX'), 0);
        const server = await multipath('net', 0, { env: { MPTCP: 'server' } });
        assert.deepEqual(server.result, { bytes: 1_000_000, established: 0 });
        assert.equal(server.gained('MPCapableSYNTX'), 0);
        const client = await multipath('net', 0, { env: { MPTCP: 'client' } });
        assert.equal(client.result.bytes, 1_000_000);
        assert.equal(client.gained('MPCapableSYNTX'), 1);
        const unknown = await run('net', { node, env: { MPTCP: 'perhaps' } });
        assert.match(unknown.err, /MPTCP=perhaps in the environment is not known/);
        assert.equal(unknown.gained('MPCapableSYNACKRX'), 1);
      });

      test('where MPTCP is switched off: TCP, and one warning that says how to switch it on', async () => {
        namespace.sysctl('net.mptcp.enabled', 0);
        try {
          // With a worker thread, which warns of nothing again.
          const outcome = await run('everywhere', { node });
          assert.equal(outcome.code, 0);
          assert.deepEqual(outcome.result, { done: true });
          assert.equal(outcome.err.match(/MPTCP_UNAVAILABLE/g)?.length, 1, outcome.err);
          assert.match(outcome.err, /ENOPROTOOPT.*sysctl net\.mptcp\.enabled=1/);
          assert.equal((await run('net', { node, env: { MPTCP: 'off' } })).err, '');
        } finally {
          namespace.sysctl('net.mptcp.enabled', 1);
        }
      });

      test('without a way to call the system: TCP, and one warning that says what to install', async () => {
        const hasBuiltIn = Number(version.slice(1).split('.')[0]) >= 26;
        const flags = [...(hasBuiltIn ? ['--no-experimental-ffi'] : []), ...REGISTER];
        const outcome = await run('net', { node, folder: poor, flags });
        assert.equal(outcome.result.bytes, 1_000_000, outcome.err);
        assert.equal(outcome.gained('MPCapableSYNTX'), 0);
        assert.equal(outcome.err.match(/MPTCP_UNAVAILABLE/g)?.length, 1, outcome.err);
        assert.match(outcome.err, /npm install koffi/);
        // What Node brings along is enough.
        if (hasBuiltIn) await multipath('net', 1, { folder: poor });
      });
    });
  }

  test('a path is cut: under register every tick arrives in order and soon, plain TCP beside it stalls', async () => {
    const left = Namespace.create('left', { ipv6: false });
    const right = Namespace.create('right', { ipv6: false });
    try {
      for (const path of [1, 2]) {
        connectNamespaces(
          { namespace: left, device: `l${path}`, address: `10.66.${path}.1/24` },
          { namespace: right, device: `r${path}`, address: `10.66.${path}.2/24` },
        );
      }
      const limits = 'mptcp limits set subflow 2 add_addr_accepted 2';
      // As a backup: of two paths alike the kernel gives up the silent one only after some more timeouts, 1 s.
      left.ip(limits, 'mptcp endpoint add 10.66.2.1 dev l2 subflow backup');
      right.ip(limits, 'mptcp endpoint add 10.66.2.2 dev r2 signal');
      const run = (namespace: Namespace, name: string, port: number, MPTCP: string): Program =>
        new Program(namespace, name, { folder, env: { MPTCP, HOST: '10.66.1.2', PORT: String(port) } });
      const servers = [run(right, 'ticker', 9001, 'both'), run(right, 'ticker', 9002, 'off')];
      for (const server of servers) await server.until(/"listening"/);
      const clients = [run(left, 'listener', 9001, 'both'), run(left, 'listener', 9002, 'off')];
      for (const client of clients) await client.until(/"first"/);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      right.ip('link set r1 down');
      for (const client of clients) assert.equal(await client.exit, 0, client.err);
      for (const server of servers) server.kill();
      const [multipath, plain] = clients.map(({ result }) => result as unknown as Ticks);
      assert.equal(multipath!.disorder, 0);
      assert.ok(multipath!.largestGap < 300, `the largest gap was ${multipath!.largestGap} ms`);
      assert.ok(multipath!.ticks > 250, `${multipath!.ticks} ticks in 4 s`);
      assert.ok(plain!.ticks < 200, `plain TCP got ${plain!.ticks} ticks`);
    } finally {
      left.close();
      right.close();
    }
  });
});

interface Ticks {
  readonly ticks: number;
  /** Ticks whose number was not the next. */
  readonly disorder: number;
  /** Milliseconds. */
  readonly largestGap: number;
}

/** One of the programs, in a namespace. */
class Program {
  readonly exit: Promise<number | null>;
  err = '';
  out = '';
  private readonly child: ChildProcess;

  constructor(namespace: Namespace, name: string, options: RunOptions) {
    const { node = process.execPath, flags = REGISTER, prefix = [], env, folder } = options;
    this.child = spawn('ip', ['netns', 'exec', namespace.name, ...prefix, node, ...flags, 'app.mjs', name], {
      cwd: folder,
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      this.out += text;
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    const timer = setTimeout(() => this.kill(), PATIENCE);
    this.exit = new Promise((resolve) => {
      this.child.on('close', (code) => {
        clearTimeout(timer);
        resolve(code);
      });
    });
  }

  get result(): Record<string, unknown> {
    const line = this.out.split('\n').findLast((text) => text.startsWith('{'));
    return line === undefined ? {} : (JSON.parse(line) as Record<string, unknown>);
  }

  async until(text: RegExp): Promise<void> {
    for (let tries = 0; tries < 500; tries++) {
      if (text.test(this.out)) return;
      if (this.child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.fail(`${text} was not said: ${this.err}`);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}

/** Puts a build of the package, and koffi, where a program in `folder` finds them. */
function installPackage(folder: string): void {
  const modules = join(folder, 'node_modules');
  const target = join(modules, 'mptcp');
  mkdirSync(target, { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(target, 'package.json'));
  const tsc = createRequire(import.meta.url).resolve('typescript/package.json');
  try {
    execFileSync(
      process.execPath,
      [join(dirname(tsc), 'bin/tsc'), '-p', join(ROOT, 'tsconfig.build.json'), '--outDir', join(target, 'dist')],
      { stdio: 'pipe' },
    );
  } catch (error) {
    // It writes what it can; whether the types are right is another check's matter.
    assert.ok(existsSync(join(target, 'dist/net/register.js')), String(error));
  }
  for (const name of ['koffi', '@koromix']) {
    const from = join(ROOT, 'node_modules', name);
    if (existsSync(from)) cpSync(realpathSync(from), join(modules, name), { recursive: true, dereference: true });
  }
}

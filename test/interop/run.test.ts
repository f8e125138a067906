import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Namespace } from './harness/namespace.ts';
import { requireRoot } from './harness/root.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const TSX = new URL('../../node_modules/tsx/dist/loader.mjs', import.meta.url).href;
const PROBE = fileURLToPath(new URL('./harness/socket-probe.c', import.meta.url));
/** Milliseconds after which a command is taken to hang. */
const PATIENCE = 40_000;
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];

/** A program that makes its system calls itself, as Go's do: no C library, no start files. */
const RAW = `
static long call(long number, long a, long b, long c, long d, long e) {
  long result;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}
void _start(void) {
  int protocol = 0, length = 4;
  long fd = call(41, 2, 1, 6, 0, 0);
  call(55, fd, 1, 38, (long)&protocol, (long)&length);
  call(60, protocol == 262 ? 42 : 1, 0, 0, 0, 0);
}
`;

/** What libmptcpwrap does, in short. */
const WRAPPER = `
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
int socket(int family, int type, int protocol) {
  int wanted = (family == 2 || family == 10) && (type & 15) == 1 && (protocol == 0 || protocol == 6) ? 262 : protocol;
  if (wanted != protocol && getenv("MPTCPWRAP_DEBUG")) fprintf(stderr, "wrapped\\n");
  return syscall(SYS_socket, family, type, wanted);
}
`;

/** Says its GODEBUG, and has the section that tells of Go 1.22. */
const GO_LIKE = `
#include <stdio.h>
#include <stdlib.h>
__attribute__((section(".go.buildinfo"), used)) char information[64] =
    "\\377 Go buildinf:\\010\\002" "\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0" "\\010" "go1.22.3";
int main(void) { puts(getenv("GODEBUG")); return 3; }
`;

interface How {
  /** Default: the tests' own. */
  readonly namespace?: Namespace;
  /** What starts the command, as `setpriv …`. */
  readonly prefix?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: Buffer | 'open';
}

let space: Namespace;
const live = new Set<ChildProcess>();

/** A command in a namespace. */
class Command {
  readonly child: ChildProcess;
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  err = '';
  private readonly pieces: Buffer[] = [];

  constructor(words: readonly string[], how: How = {}) {
    const namespace = how.namespace ?? space;
    const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NODE_OPTIONS: undefined, ...how.env };
    this.child = spawn('ip', ['netns', 'exec', namespace.name, ...(how.prefix ?? []), ...words], { env });
    live.add(this.child);
    this.child.stdout!.on('data', (bytes: Buffer) => this.pieces.push(bytes));
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    this.child.stdin!.on('error', () => {});
    if (how.input !== 'open') this.child.stdin!.end(how.input);
    const timer = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE);
    this.exit = new Promise((resolve) => {
      this.child.on('close', (code, signal) => {
        clearTimeout(timer);
        live.delete(this.child);
        resolve({ code, signal });
      });
    });
  }

  get bytes(): Buffer {
    return Buffer.concat(this.pieces);
  }

  get out(): string {
    return this.bytes.toString();
  }

  async until(text: RegExp): Promise<void> {
    await eventually(`${text}: ${this.out}${this.err}`, () => text.test(this.out) || text.test(this.err));
  }
}

async function eventually(what: string, isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 1000; tries++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`never: ${what}`);
}

/** Words of a call of `mptcp run`. */
function mptcpRun(...words: string[]): string[] {
  return [process.execPath, '--import', TSX, MAIN, 'run', ...words];
}

async function run(words: readonly string[], how: How = {}): Promise<{ code: number; out: string; err: string }> {
  const command = new Command(mptcpRun(...words), how);
  const { code, signal } = await command.exit;
  return { code: code ?? -1, out: command.out, err: command.err + (signal ?? '') };
}

/** Process ids of the supervisors in the tests' namespace. */
function supervisors(): number[] {
  const namespace = `net:[${statSync(`/run/netns/${space.name}`).ino}]`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        if (readlinkSync(`/proc/${pid}/ns/net`) !== namespace) return false;
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/seccomp-supervisor');
      } catch {
        return false;
      }
    });
}

async function gone(): Promise<void> {
  await eventually('no supervisor is left', () => supervisors().length === 0);
}

describe('mptcp run', { skip: requireRoot() }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'mptcp-run-'));
  const probe = join(directory, 'probe');
  const dynamicProbe = join(directory, 'dynamic-probe');
  const library = join(directory, 'libmptcpwrap.so');

  const compile = (name: string, source: string, ...options: string[]): string => {
    const path = join(directory, name);
    execFileSync('gcc', ['-O1', '-x', 'c', ...options, '-o', path, '-'], {
      input: source,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    return path;
  };

  before(() => {
    space = Namespace.create('run');
    chmodSync(directory, 0o755);
    const source = readFileSync(PROBE, 'utf8');
    compile('probe', source, '-static', '-pthread');
    compile('dynamic-probe', source, '-pthread');
    compile('libmptcpwrap.so', WRAPPER, '-shared', '-fPIC');
    writeFileSync(join(directory, 'page'), 'a page');
  });

  after(() => {
    for (const child of live) child.kill('SIGKILL');
    space.close();
    rmSync(directory, { recursive: true });
  });

  test('F5.01 F5.05 curl and the HTTP server of Python speak MPTCP on both ends, and -d tells of each socket', async () => {
    const server = new Command(
      mptcpRun('-d', '/usr/bin/python3', '-m', 'http.server', '8080', '--bind', '127.0.0.1', '--directory', directory),
    );
    await eventually('the server listens', () => space.run('ss', ['-Hlnt', 'sport = :8080']) !== '');
    const counters = space.counters();
    const client = await run(['-d', '--via=seccomp', 'curl', '-s', 'http://127.0.0.1:8080/page']);
    assert.deepEqual([client.code, client.out], [0, 'a page'], client.err);
    assert.match(client.err, /^mptcp run: \S*curl by seccomp: as asked for$/m);
    assert.match(
      client.err,
      /^mptcp run: \d+ curl: socket\(AF_INET, SOCK_STREAM\S*, IPPROTO_TCP\) = \d+, IPPROTO_MPTCP$/m,
    );
    const gained = space.countersSince(counters);
    assert.equal(gained.get('MPTcpExtMPCapableSYNTX'), 1, 'the client asked');
    assert.equal(gained.get('MPTcpExtMPCapableSYNACKRX'), 1, 'the server agreed');
    assert.equal(gained.get('MPTcpExtMPCapableACKRX'), 1, 'both went on with it');
    assert.match(server.err, /^mptcp run: \d+ python3: socket\(AF_INET, .*\) = \d+, IPPROTO_MPTCP$/m);
    server.child.kill('SIGTERM');
    assert.equal((await server.exit).signal, 'SIGTERM');
    await gone();
  });

  for (const [who, prefix] of [
    ['root', []],
    ['an ordinary user', NOBODY],
  ] as const) {
    test(`F5.01 K35 static programs run by ${who}: ss lists an MPTCP connection on both ends`, async () => {
      const server = new Command(mptcpRun(probe, 'serve', '8081'), { prefix });
      await server.until(/listening/);
      const client = new Command(mptcpRun(probe, 'hold', '127.0.0.1', '8081'), { prefix, input: 'open' });
      await Promise.all([client.until(/connected/), server.until(/accepted/)]);
      const rows = space.run('ss', ['-HManO', 'state', 'established']).trim().split('\n');
      assert.equal(rows.length, 2, rows.join('\n'));
      assert.match(rows.join('\n'), /127\.0\.0\.1:8081 +127\.0\.0\.1:\d+/);
      assert.match(rows.join('\n'), /127\.0\.0\.1:\d+ +127\.0\.0\.1:8081/);
      client.child.stdin!.end();
      assert.equal((await client.exit).code, 0);
      assert.equal((await server.exit).code, 0);
      await gone();
    });

    test(`F5.03 stream sockets of both families become MPTCP with their flags, others stay, for ${who}`, async () => {
      const { code, out, err } = await run([probe, 'types'], { prefix });
      assert.equal(code, 0, err);
      assert.deepEqual(out.trim().split('\n'), [
        '2 1 0: protocol 262',
        '10 1 0: protocol 262',
        '2 526337 6: protocol 262 cloexec nonblock',
        '10 524289 6: protocol 262 cloexec',
        '10 2049 0: protocol 262 nonblock',
        '2 2 0: protocol 17',
        '10 526338 17: protocol 17 cloexec nonblock',
        '2 1 17: errno 93',
        '2 257 0: errno 22',
        '1 1 0: protocol 0',
        '2 1 262: protocol 262',
      ]);
    });
  }

  test('F5.03 a program without a C library, which makes its system calls itself', {
    skip: process.arch !== 'x64' && 'its system calls are those of x86-64',
  }, async () => {
    const raw = compile('raw', RAW, '-nostdlib', '-static', '-ffreestanding', '-fno-stack-protector');
    assert.deepEqual(await run([raw], { prefix: NOBODY }), { code: 42, out: '', err: '' });
  });

  test('F5.05 the program takes the place of the command: exit code, process id, parent, signals', async () => {
    assert.deepEqual(await run(['sh', '-c', 'exit 7']), { code: 7, out: '', err: '' });
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGUSR2', 'SIGKILL'] as const) {
      const command = new Command(mptcpRun(probe, 'wait'), { input: 'open' });
      await command.until(/ready/);
      command.child.kill(signal);
      assert.equal((await command.exit).signal, signal);
    }
    const command = new Command(mptcpRun(probe, 'state'), {
      prefix: ['prlimit', '--nofile=300:4000', 'sh', '-c', '"$@" 5</etc/passwd; true', 'sh'],
    });
    assert.equal((await command.exit).code, 0);
    // The shell between is the parent, and its limit the program's. No signal is ignored, and pipes block as ever.
    assert.match(command.out, new RegExp(`^pid \\d+, parent ${command.child.pid}, files 300, open 0 1 2 5\n$`));
    await gone();
  });

  test('F5.05 standard streams and arguments pass unchanged, whatever bytes they are', async () => {
    const input = randomBytes(10_000_000);
    const command = new Command(mptcpRun('cat'), { input });
    assert.equal((await command.exit).code, 0, command.err);
    assert.ok(command.bytes.equals(input));
    const script = `exec ${mptcpRun().join(' ')} printf '%s|' "$(printf 'a\\377b')" '' 'x y' -d --help --`;
    const words = new Command(['sh', '-c', script]);
    assert.equal((await words.exit).code, 0, words.err);
    assert.equal(words.bytes.toString('latin1'), 'a\xffb||x y|-d|--help|--|');
    const variables = `ODD=$(printf 'c\\377d') EMPTY= exec ${mptcpRun().join(' ')} sh -c 'printf "%s|%s|" "$ODD" "$EMPTY\${UNSET-none}"'`;
    const environment = new Command(['sh', '-c', variables], { env: { NODE_OPTIONS: '--title=other' } });
    assert.equal((await environment.exit).code, 0, environment.err);
    assert.equal(environment.bytes.toString('latin1'), 'c\xffd|none|');
  });

  test('F5.01 grandchildren too, and those that outlive the command; the supervisor ends after the last', async () => {
    const lines = await run(['sh', '-c', `${probe} many 3; (${dynamicProbe} many 3); exit 4`]);
    assert.equal(lines.code, 4);
    assert.match(lines.out, /^(converted 3 median .*\n){2}$/);
    await gone();
    const out = join(directory, 'late');
    const pipe = join(directory, 'go');
    execFileSync('mkfifo', [pipe]);
    const early = await run(['sh', '-c', `(read line < ${pipe}; ${probe} many 5 > ${out}) > /dev/null 2>&1 &`]);
    assert.equal(early.code, 0);
    assert.equal(supervisors().length, 1);
    writeFileSync(pipe, 'go\n');
    await gone();
    assert.match(readFileSync(out, 'utf8'), /^converted 5 /);
  });

  test('F5.01 a thousand sockets: all converted, no descriptor stays with the supervisor, and what one costs', async (t) => {
    const plain = new Command([probe, 'many', '1000']);
    await plain.exit;
    const script = `${probe} many 10; read line; ${probe} many 1000 && read line`;
    const command = new Command(mptcpRun('sh', '-c', script), { input: 'open', prefix: NOBODY });
    await command.until(/converted 10 /);
    const [supervisor] = supervisors();
    assert.ok(supervisor !== undefined);
    const open = (): string[] => readdirSync(`/proc/${supervisor}/fd`);
    const before = open();
    command.child.stdin!.write('\n');
    await command.until(/converted 1000 /);
    assert.deepEqual(open(), before, 'the same descriptors');
    command.child.stdin!.end('\n');
    await command.exit;
    assert.match(plain.out, /^converted 0 /);
    const median = (text: string): string => /median (.*)\n$/.exec(text)![1]!;
    t.diagnostic(
      `median of a socket() call: ${median(command.out)} us under mptcp run, ${median(plain.out)} us without`,
    );
    await gone();
  });

  test('F5.01 calls of several threads in a storm of signals: each has its socket, once', async () => {
    const command = new Command(mptcpRun(probe, 'storm', '400'));
    assert.equal((await command.exit).code, 0);
    assert.equal(command.out, 'converted 1600\n');
    await gone();
  });

  test('F5.01 where MPTCP is switched off, programs have TCP, and -d says so', async () => {
    const off = Namespace.create('run-off');
    try {
      off.sysctl('net.mptcp.enabled', 0);
      const { code, out, err } = await run(['-d', probe, 'many', '2'], { namespace: off });
      assert.equal(code, 0);
      assert.match(out, /^converted 0 /);
      assert.match(err, /^mptcp run: MPTCP is off here/m);
      assert.equal(err.match(/socket\(AF_INET, SOCK_STREAM, 0\) stays TCP: MPTCP is switched off/g)?.length, 2, err);
      // The wrapper library would make an error of it.
      const chosen = await run(['-d', '--library', library, dynamicProbe, 'many', '1'], { namespace: off });
      assert.match(chosen.err, /by seccomp: MPTCP is off/);
      assert.match(chosen.out, /^converted 0 /);
    } finally {
      off.close();
    }
  });

  test('F5.01 a program that goes to another network namespace has its sockets there, or TCP', async () => {
    const other = Namespace.create('run-other');
    try {
      const before = other.counters();
      const entered = await run([
        'ip',
        'netns',
        'exec',
        other.name,
        'sh',
        '-c',
        `${probe} serve 8090 & sleep 0.5; ${probe} hold 127.0.0.1 8090 < /dev/null`,
      ]);
      assert.equal(entered.code, 0, entered.err);
      assert.equal(other.countersSince(before).get('MPTcpExtMPCapableACKRX'), 1);
      const apart = await run(['-d', 'unshare', '-Urn', probe, 'many', '1'], { prefix: NOBODY });
      assert.equal(apart.code, 0, apart.err);
      assert.match(apart.out, /^converted 0 /);
      assert.match(apart.err, /stays TCP: /);
    } finally {
      other.close();
    }
  });

  test('F5.01 mptcp run within mptcp run goes on with the supervisor there is', async () => {
    const { code, out, err } = await run(['--via=seccomp', ...mptcpRun('-d', probe, 'many', '2')]);
    assert.equal(code, 0, err);
    assert.match(out, /^converted 2 /);
    assert.match(err, /the mptcp run around this one makes the sockets/);
    await gone();
  });

  test('the supervisor ignores signals that ask it to end; killed, it leaves programs without sockets', async () => {
    const command = new Command(mptcpRun(probe, 'wait'), { input: 'open' });
    await command.until(/ready/);
    const [supervisor] = supervisors();
    assert.ok(supervisor !== undefined);
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const)
      process.kill(supervisor, signal);
    command.child.stdin!.write('\n');
    await command.until(/protocol 262/);
    process.kill(supervisor, 'SIGKILL');
    await gone();
    command.child.stdin!.write('\n');
    await command.until(/2 1 0: errno 38/);
    command.child.stdin!.end();
    assert.equal((await command.exit).code, 0);
  });

  test('F5.05 what cannot be run is one line and the exit code of env', async () => {
    assert.deepEqual(await run(['no-such-program']), {
      code: 127,
      out: '',
      err: 'mptcp run: no-such-program: command not found\n',
    });
    assert.deepEqual(await run(['/etc/passwd']), {
      code: 126,
      out: '',
      err: 'mptcp run: /etc/passwd: permission denied\n',
    });
    assert.deepEqual(await run([]), { code: 2, out: '', err: 'mptcp run: a program is needed; try mptcp help run\n' });
    assert.equal((await run(['--via=magic', 'true'])).code, 2);
    assert.equal((await run(['-x', 'true'])).err, 'mptcp run: unknown option -x; try mptcp help run\n');
    const preload = await run(['--via=preload', '--library', library, probe]);
    assert.deepEqual(preload, {
      code: 125,
      out: '',
      err: `mptcp run: --via=preload cannot be: ${probe} is statically linked, so nothing can be preloaded\n`,
    });
    assert.match((await run(['--via=go', probe])).err, /^mptcp run: --via=go cannot be: \S+ is no Go program/);
    assert.match(
      (await run(['--via=register', probe])).err,
      /^mptcp run: --via=register cannot be: \S+ is no Node program/,
    );
    const script = join(directory, 'script');
    writeFileSync(script, 'exit 6\n', { mode: 0o755 });
    assert.equal((await run([script])).code, 6, 'a script without a first line is the shell’s');
    const help = await run(['--help']);
    assert.equal(help.code, 0);
    assert.match(help.out, /^usage: mptcp run \[--via MEANS\] \[-d\] \[--\] PROGRAM/);
  });

  test('F5.01 dynamically linked programs by the wrapper library, beside what is preloaded already', async () => {
    const how = { env: { LD_PRELOAD: '/lib/none.so' }, prefix: NOBODY };
    const { code, out, err } = await run(['-d', '--library', library, dynamicProbe, 'many', '2'], how);
    assert.equal(code, 0);
    assert.match(out, /^converted 2 /);
    assert.match(err, /by preload: it is dynamically linked/);
    assert.equal(err.match(/^wrapped$/gm)?.length, 2);
    assert.match(err, /\/lib\/none\.so/);
    assert.equal(supervisors().length, 0);
  });

  test('F5.04 Go programs by GODEBUG, beside what it says already', async () => {
    const goLike = compile('go-like', GO_LIKE);
    const { code, out, err } = await run(['-d', goLike], { env: { GODEBUG: 'netdns=go' } });
    assert.deepEqual([code, out], [3, 'netdns=go,multipathtcp=1\n'], err);
    assert.match(err, /by go: it is a Go program \(Go 1\.22\.3\)/);
  });

  const app = `
    const net = require('node:net');
    const server = net.createServer((socket) => socket.end(process.argv[2] ?? 'none')).listen(0, '127.0.0.1', () => {
      net.connect(server.address().port, '127.0.0.1').on('data', (data) => {
        process.stdout.write(data);
        server.close();
        process.exitCode = 5;
      });
    });`;
  test('F5.01 Node programs by mptcp/register, beside what NODE_OPTIONS says already', async () => {
    const script = join(directory, 'app');
    writeFileSync(script, `#!/usr/bin/env node\n${app}`, { mode: 0o755 });
    const counters = space.counters();
    const { code, out, err } = await run(['-d', script, 'word'], { env: { NODE_OPTIONS: `--import=${TSX}` } });
    assert.deepEqual([code, out], [5, 'word'], err);
    assert.match(err, /by register: it is a Node program/);
    assert.equal(space.countersSince(counters).get('MPTcpExtMPCapableACKRX'), 1, 'both ends');
  });

  test('F5.01 F5.05 without a way to call C functions the program is a child; seccomp says why it cannot be', async () => {
    const hook = join(directory, 'no-ffi.cjs');
    writeFileSync(
      hook,
      `const Module = require('node:module');
       const load = Module._load;
       Module._load = function (name, ...rest) {
         if (name === 'koffi' || name === 'node:ffi') throw new Error('not here');
         return load.call(this, name, ...rest);
       };`,
    );
    const how = { env: { NODE_OPTIONS: `--require=${hook}` } };
    const seccomp = await run([probe, 'types'], how);
    assert.deepEqual([seccomp.code, seccomp.out], [125, '']);
    assert.match(seccomp.err, /^mptcp run: seccomp cannot be had: .*koffi.*\n$/);
    const preload = await run(['--library', library, dynamicProbe, 'many', '2'], how);
    assert.match(preload.out, /^converted 2 /);
    const goLike = compile('go-like-child', GO_LIKE);
    assert.deepEqual(await run([goLike], how), { code: 3, out: 'multipathtcp=1\n', err: '' });
    const waiting = new Command(mptcpRun('--library', library, dynamicProbe, 'wait'), { ...how, input: 'open' });
    await waiting.until(/ready/);
    waiting.child.kill('SIGTERM');
    assert.equal((await waiting.exit).signal, 'SIGTERM');
  });
});

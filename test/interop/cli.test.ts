import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CaptureReader, Frame } from '../../src/trace/capture.ts';
import type { Child } from './harness/child.ts';
import type { Behaviour, PeerResult } from './harness/kernel-peer.ts';
import { Namespace, startKernelPeer } from './harness/namespace.ts';
import { Pattern, patternDigest } from './harness/pattern.ts';
import { requireRoot } from './harness/root.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** Milliseconds after which a command is taken to hang. */
const PATIENCE = 40_000;

/** One `mptcp` in a namespace. */
class Command {
  readonly child: ChildProcess;
  err = '';
  private readonly hash = createHash('sha256');
  private readonly pieces: Buffer[] = [];
  received = 0;
  readonly exit: Promise<number | null>;

  constructor(namespace: Namespace, args: readonly string[]) {
    this.child = spawn('ip', ['netns', 'exec', namespace.name, process.execPath, '--import', 'tsx', MAIN, ...args]);
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.err += text;
    });
    this.child.stdout!.on('data', (bytes: Buffer) => {
      this.received += bytes.length;
      this.hash.update(bytes);
      if (this.received < 1e6) this.pieces.push(bytes);
    });
    this.child.stdin!.on('error', () => {});
    const timer = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE);
    this.exit = new Promise((resolve) => {
      this.child.on('close', (code) => {
        clearTimeout(timer);
        resolve(code);
      });
    });
  }

  /** Sends so many bytes of the pattern, then the end. */
  feed(seed: number, bytes: number): void {
    const block = new Uint8Array(bytes);
    new Pattern(seed).fill(block, 0);
    this.child.stdin!.end(block);
  }

  get out(): string {
    return Buffer.concat(this.pieces).toString();
  }

  get sha256(): string {
    return this.hash.copy().digest('hex');
  }

  /** The last line of standard error that is a JSON object. */
  get report(): Report {
    const line = this.err.split('\n').findLast((text) => text.startsWith('{'));
    assert.ok(line !== undefined, this.err);
    return JSON.parse(line) as Report;
  }

  async until(text: RegExp): Promise<void> {
    for (let tries = 0; tries < 1000; tries++) {
      if (text.test(this.err) || text.test(this.out)) return;
      if (this.child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.fail(`${text} was not said: ${this.err}`);
  }
}

interface Report {
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly multipath: boolean;
  readonly fallback: string | null;
  readonly paths: readonly { name: string; local: string; sent: number; received: number }[];
  readonly counters: Readonly<Record<string, number>>;
}

interface PerfAmount {
  readonly bytes: number;
  readonly bitsPerSecond: number;
}

interface PerfResult {
  readonly sum: Readonly<Record<string, { sent: PerfAmount | null; received: PerfAmount | null }>>;
  readonly streams: readonly {
    multipath: boolean;
    paths: readonly { name: string; sent: number; received: number }[];
  }[];
}

const PATHS_4 = ['--path', 'ta=10.77.0.2/24,peer=10.77.0.1', '--path', 'tb=10.77.1.2/24,peer=10.77.1.1'];
const PATHS_6 = ['--path', 'ta=fd77:1::2/64,peer=fd77:1::1', '--path', 'tb=fd77:2::2/64,peer=fd77:2::1'];

describe('mptcp nc and perf against the kernel', { skip: requireRoot() }, () => {
  let namespace: Namespace;
  let peer: Child;
  let directory: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'mptcp-cli-'));
    namespace = Namespace.create('cli');
    peer = await startKernelPeer(namespace);
    await peer.call('setLimits', { subflows: 4, addAddrAccepted: 4 });
  });
  after(() => {
    namespace.close();
    rmSync(directory, { recursive: true });
  });

  const listen = (host: string, behaviour: Behaviour & { protocol?: string } = {}): Promise<{ port: number }> =>
    peer.call('listen', { host, ...behaviour });

  test('a client sends 20 MB over two paths, gets 3 MB back, and leaves no device behind', async () => {
    const { port } = await listen('0.0.0.0', { bytes: 3_000_000, seed: 2, end: true });
    const capture = join(directory, 'client.pcapng');
    const nc = new Command(namespace, [
      ...['nc', '-v', '--stats', '--json', '--capture', capture],
      // What a backup path carries before the other has joined is little.
      ...['--path', `${PATHS_4[1]},backup`, ...PATHS_4.slice(2)],
      ...['10.77.0.1', String(port)],
    ]);
    nc.feed(1, 20_000_000);
    const { connection } = await peer.event<{ connection: number }>('connection');
    const there = await peer.call<PeerResult>('wait', { connection, until: 'end' });
    assert.equal(await nc.exit, 0, nc.err);
    assert.equal(there.sha256, patternDigest(1, 20_000_000));
    assert.equal(nc.sha256, patternDigest(2, 3_000_000));
    const { report } = nc;
    assert.equal(report.bytesSent, 20_000_000);
    assert.equal(report.bytesReceived, 3_000_000);
    assert.equal(report.multipath, true);
    assert.deepEqual(report.paths.map(({ name }) => name).sort(), ['ta', 'tb']);
    const sent = new Map(report.paths.map((path) => [path.name, path.sent]));
    assert.ok(sent.get('tb')! > sent.get('ta')!, JSON.stringify([...sent]));
    assert.equal(report.counters.MPTcpExtMPJoinSynAckRx, 1);
    assert.equal(report.counters.MPTcpExtMPPrioTx, 1);
    const names = new Set<string>();
    const reader = new CaptureReader(readFileSync(capture));
    for (const frame = new Frame(); reader.next(frame); ) names.add(frame.interfaceName);
    assert.equal(reader.problem, undefined);
    assert.deepEqual([...names].sort(), ['ta', 'tb']);
    assert.doesNotMatch(namespace.ip('link show'), /\bt[ab]:/);
  });

  test('a listener announces its second path, and the kernel uses it', async () => {
    const nc = new Command(namespace, [
      ...['nc', '-l', '-v', '--stats', '--json'],
      ...PATHS_4.slice(0, 3),
      `${PATHS_4[3]},signal`,
      '5005',
    ]);
    await nc.until(/listening on port 5005/);
    const { connection } = await peer.call<{ connection: number }>('connect', {
      host: '10.77.0.2',
      port: 5005,
      bytes: 20_000_000,
      seed: 3,
      end: true,
    });
    nc.feed(4, 1_000_000);
    const here = await peer.call<PeerResult>('wait', { connection, until: 'end' });
    assert.equal(await nc.exit, 0, nc.err);
    assert.equal(nc.sha256, patternDigest(3, 20_000_000));
    assert.equal(here.sha256, patternDigest(4, 1_000_000));
    assert.equal(nc.report.counters.MPTcpExtMPJoinAckRx, 1);
    assert.equal(nc.report.counters.MPTcpExtEchoAdd, 1);
    assert.equal(nc.report.paths.length, 2);
    const received = nc.report.paths.reduce((sum, path) => sum + path.received, 0);
    assert.ok(received >= 20_000_000, String(received));
  });

  test('IPv6, with checksums', async () => {
    namespace.sysctl('net.mptcp.checksum_enabled', 1);
    const { port } = await listen('::', { mode: 'echo' });
    const nc = new Command(namespace, ['nc', '--checksum', '--stats', '--json', ...PATHS_6, 'fd77:1::1', String(port)]);
    nc.feed(5, 3_000_000);
    await peer.event('connection');
    assert.equal(await nc.exit, 0, nc.err);
    namespace.sysctl('net.mptcp.checksum_enabled', 0);
    assert.equal(nc.sha256, patternDigest(5, 3_000_000));
    assert.equal(nc.report.multipath, true);
    assert.equal(nc.report.counters.MPTcpExtDataCsumErr ?? 0, 0);
  });

  test('plain TCP: asked for, and because the peer has no more', async () => {
    for (const [options, protocol, fallback] of [
      [['--tcp'], 'mptcp', 'peer-is-plain-tcp'],
      [[], 'tcp', 'syn-ack-without-mp-capable'],
    ] as const) {
      const { port } = await listen('0.0.0.0', { mode: 'echo', protocol });
      const nc = new Command(namespace, ['nc', ...options, '--stats', '--json', ...PATHS_4, '10.77.0.1', String(port)]);
      nc.feed(6, 2_000_000);
      await peer.event('connection');
      assert.equal(await nc.exit, 0, nc.err);
      assert.equal(nc.sha256, patternDigest(6, 2_000_000));
      assert.equal(nc.report.multipath, false);
      assert.equal(nc.report.fallback, fallback);
    }
  });

  test('-k serves one connection after the other', async () => {
    const nc = new Command(namespace, ['nc', '-l', '-k', '-v', ...PATHS_4, '5006']);
    nc.child.stdin!.end();
    await nc.until(/listening/);
    for (const seed of [7, 8]) {
      const options = { host: '10.77.0.2', port: 5006, bytes: 100_000, seed, end: true };
      const { connection } = await peer.call<{ connection: number }>('connect', options);
      assert.equal((await peer.call<PeerResult>('wait', { connection, until: 'end' })).error, '');
    }
    for (let tries = 0; tries < 500 && nc.received < 200_000; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    nc.child.kill('SIGTERM');
    assert.equal(await nc.exit, 143);
    const whole = createHash('sha256');
    for (const seed of [7, 8]) {
      const bytes = new Uint8Array(100_000);
      new Pattern(seed).fill(bytes, 0);
      whole.update(bytes);
    }
    assert.equal(nc.sha256, whole.digest('hex'));
  });

  test('failures: refused, reset, no answer, address in use by another device', async () => {
    const first = PATHS_4.slice(0, 2);
    const failure = async (args: string[], text: RegExp): Promise<void> => {
      const nc = new Command(namespace, ['nc', ...args]);
      nc.child.stdin!.end();
      assert.equal(await nc.exit, 1, nc.err);
      assert.match(nc.err, text);
      assert.equal(nc.err.trimEnd().split('\n').length, 1, nc.err);
    };
    await failure([...first, '10.77.0.1', '1'], /^mptcp nc: 10\.77\.0\.1:1: connection refused$/m);
    await failure(['-w', '0.3', ...first, '10.77.0.9', '80'], /^mptcp nc: 10\.77\.0\.9:80: no answer within 300 ms$/m);
    await failure([...first, 'fd77:1::1', '80'], /^mptcp nc: \[fd77:1::1\]:80: network unreachable$/m);
    await failure(['--path', 'lo=10.77.0.2/24,peer=10.77.0.1', '10.77.0.1', '80'], /another device lo/);

    const { port } = await listen('0.0.0.0');
    const nc = new Command(namespace, ['nc', ...first, '10.77.0.1', String(port)]);
    const { connection } = await peer.event<{ connection: number }>('connection');
    await peer.call('reset', { connection });
    assert.equal(await nc.exit, 1);
    assert.match(nc.err, /connection reset by peer/);
  });

  test('SIGINT ends the connection with a reset, and the exit code is 130', async () => {
    const { port } = await listen('0.0.0.0');
    const nc = new Command(namespace, ['nc', '-v', ...PATHS_4, '10.77.0.1', String(port)]);
    const { connection } = await peer.event<{ connection: number }>('connection');
    await nc.until(/connected/);
    nc.child.kill('SIGINT');
    assert.equal(await nc.exit, 130);
    const there = await peer.call<PeerResult>('wait', { connection, until: 'close' });
    assert.equal(there.error, 'ECONNRESET');
    assert.doesNotMatch(namespace.ip('link show'), /\bt[ab]:/);
  });

  for (const [title, client, server] of [
    ['this stack against the kernel', PATHS_4, []],
    ['the kernel against this stack', [], [...PATHS_4.slice(0, 3), `${PATHS_4[3]},signal`]],
  ] as const) {
    test(`perf, ${title}: up, down and both`, async () => {
      const host = client.length > 0 ? '10.77.0.1' : '10.77.0.2';
      for (const [direction, keys] of [
        [[], ['up']],
        [['-R'], ['down']],
        [
          ['--bidir', '-P', '2'],
          ['down', 'up'],
        ],
      ] as const) {
        const serving = new Command(namespace, ['perf', '-s', '-1', '-p', '5201', ...server]);
        await serving.until(/listening/);
        const perf = new Command(namespace, ['perf', '-c', host, '-n', '12MB', ...direction, '--json', ...client]);
        const code = await perf.exit;
        assert.equal(code, 0, perf.err);
        assert.equal(await serving.exit, 0, serving.err);
        const { sum, streams } = JSON.parse(perf.out) as PerfResult;
        assert.deepEqual(Object.keys(sum).sort(), keys);
        for (const key of keys) {
          assert.equal(sum[key]!.sent?.bytes, 12e6, key);
          assert.equal(sum[key]!.received?.bytes, 12e6, key);
          assert.ok(sum[key]!.received!.bitsPerSecond > 1e6);
        }
        for (const stream of streams) assert.ok(stream.multipath);
      }
    });
  }

  test('perf: a server that is something else is found out', async () => {
    const { port } = await listen('0.0.0.0', { bytes: 1000, seed: 9 });
    const perf = new Command(namespace, ['perf', '-c', '10.77.0.1', '-p', String(port), '-R', ...PATHS_4]);
    assert.equal(await perf.exit, 1);
    assert.match(perf.err, /is that mptcp perf\?/);
  });
});

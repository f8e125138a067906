import { randomBytes } from 'node:crypto';
import { Address } from '../wire/address.ts';
import { CommandError, failureText } from './failure.ts';
import { HOST_OPTIONS, type HostOptionName, openHost } from './host-options.ts';
import { HELP_OPTION, helpText, type Options, parseOptions, UsageError } from './options.ts';
import { PATH_HELP } from './path-option.ts';
import { KernelBackend, type PerfBackend, UserspaceBackend } from './perf-backend.ts';
import { Direction, type PerfHeader } from './perf-protocol.ts';
import { PerfReport } from './perf-report.ts';
import { PerfStream } from './perf-stream.ts';
import { resolveHost } from './resolve.ts';
import { Terminal } from './terminal.ts';

/** `mptcp perf`: what connections carry, of this stack or of the kernel, in either direction. */

const TABLE = {
  server: { short: 's', text: 'serve tests' },
  client: { short: 'c', value: 'HOST', text: 'run a test against the server on HOST' },
  backend: { value: 'WHICH', text: 'userspace (this stack) or kernel (default userspace with --path, else kernel)' },
  port: { short: 'p', value: 'PORT', text: 'of the server (default 5201)' },
  bind: { short: 'B', value: 'ADDRESS', text: 'with -s: listen on this address only' },
  'one-off': { short: '1', text: 'with -s: serve one test, then exit' },
  time: { short: 't', value: 'SECONDS', text: 'how long to send (default 10)' },
  bytes: { short: 'n', value: 'SIZE', text: 'how much to send each way, instead of how long' },
  parallel: { short: 'P', value: 'N', text: 'connections at once, 1 to 128 (default 1)' },
  reverse: { short: 'R', text: 'the server sends' },
  bidir: { text: 'both send' },
  interval: { short: 'i', value: 'SECONDS', text: 'between lines; 0: none (default 1)' },
  tcp: { text: 'plain TCP, no Multipath TCP' },
  ipv4: { short: '4', text: 'IPv4 addresses only' },
  ipv6: { short: '6', text: 'IPv6 addresses only' },
  ...HOST_OPTIONS,
  counters: { text: 'the counters of the stack at the end' },
  json: { text: 'a JSON object at the end, for a server one a line for each test, and nothing else' },
  help: HELP_OPTION,
} as const;

type Names = keyof typeof TABLE;

function help(): string {
  return helpText(
    ['mptcp perf -s [OPTION]...', 'mptcp perf -c HOST [OPTION]...'],
    `Measures what connections carry between two of this program. Each end uses the kernel's sockets, or with --path
     its own stack over TUN devices; both speak the same protocol, so any two go together.

     "sent" is what the sender's stack has taken, "received" what the receiving program has got; rates are over the
     time from the first to the last of it.

     Exit code: 0 after a complete test, 1 after a failure, 2 for wrong usage, 130 or 143 after SIGINT or SIGTERM.`,
    TABLE,
    PATH_HELP,
  );
}

/** Runs the command. @returns the exit code */
export async function perf(args: string[]): Promise<number> {
  const options = parseOptions(args, TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  if (options.operands.length > 0) throw new UsageError(`${options.operands[0]} is one word too many`);
  const isServer = options.has('server');
  if (isServer === options.has('client')) throw new UsageError('one of -s and -c HOST is needed');
  const settings = readSettings(options, isServer);
  const backend = openBackend(options, isServer);
  const run = new PerfRun(backend, settings);
  try {
    if (isServer) await run.serve();
    else await run.measure();
  } catch (error) {
    if (!run.isInterrupted) {
      await run.close();
      throw error;
    }
  }
  const problem = await run.close();
  if (problem !== undefined) throw new CommandError(problem);
  return run.exitCode;
}

interface Settings {
  readonly isServer: boolean;
  readonly host: string;
  readonly address: Address | undefined;
  readonly port: number;
  readonly family: 4 | 6 | undefined;
  readonly isOneOff: boolean;
  readonly directions: number;
  /** Milliseconds; 0: by bytes. */
  readonly duration: number;
  /** Each way, of all connections together; 0: by time. */
  readonly bytes: number;
  readonly connections: number;
  /** Milliseconds; 0: no lines. */
  readonly interval: number;
  readonly json: boolean;
  readonly counters: boolean;
}

function readSettings(options: Options<Names>, isServer: boolean): Settings {
  for (const name of CLIENT_OPTIONS) if (isServer && options.has(name)) throw new UsageError(`--${name} goes with -c`);
  for (const name of SERVER_OPTIONS) if (!isServer && options.has(name)) throw new UsageError(`--${name} goes with -s`);
  if (options.has('reverse') && options.has('bidir')) throw new UsageError('-R and --bidir exclude each other');
  if (options.has('time') && options.has('bytes')) throw new UsageError('-t and -n exclude each other');
  if (options.has('ipv4') && options.has('ipv6')) throw new UsageError('-4 and -6 exclude each other');
  const bindText = options.text('bind');
  const address = bindText === undefined ? undefined : Address.parse(bindText);
  if (bindText !== undefined && address === undefined) throw new UsageError(`${bindText} is no IP address`);
  const bytes = options.size('bytes', 0);
  const duration = options.has('bytes') ? 0 : options.duration('time', 10_000);
  if (bytes === 0 && duration === 0) throw new UsageError('nothing to send: -t and -n take more than 0');
  return {
    isServer,
    host: options.text('client') ?? '',
    address,
    port: options.port('port', 5201),
    family: options.has('ipv4') ? 4 : options.has('ipv6') ? 6 : undefined,
    isOneOff: options.has('one-off'),
    directions: options.has('bidir')
      ? Direction.Up | Direction.Down
      : options.has('reverse')
        ? Direction.Down
        : Direction.Up,
    duration,
    bytes,
    connections: options.integer('parallel', 1, 1, 128),
    interval: options.duration('interval', 1000),
    json: options.has('json'),
    counters: options.has('counters'),
  };
}

const CLIENT_OPTIONS = ['time', 'bytes', 'parallel', 'reverse', 'bidir', 'ipv4', 'ipv6'] as const;
const SERVER_OPTIONS = ['bind', 'one-off'] as const;

function openBackend(options: Options<Names>, isServer: boolean): PerfBackend {
  const wanted = options.text('backend') ?? (options.has('path') ? 'userspace' : 'kernel');
  const multipath = !options.has('tcp');
  if (wanted === 'userspace') return new UserspaceBackend(openHost(options, !isServer), multipath);
  if (wanted !== 'kernel') throw new UsageError(`--backend takes userspace or kernel, not "${wanted}"`);
  for (const name of Object.keys(HOST_OPTIONS) as HostOptionName[]) {
    if (options.has(name)) throw new UsageError(`--${name} goes with --backend userspace`);
  }
  return new KernelBackend(multipath);
}

/** Milliseconds that a server may take to finish after its time. */
const GRACE = 15_000;

/** One run of the command. */
class PerfRun {
  exitCode = 0;
  isInterrupted = false;
  private readonly backend: PerfBackend;
  private readonly settings: Settings;
  private readonly terminal = new Terminal(process.stdout);
  private readonly streams = new Set<PerfStream>();
  /** Settles when the command is done. */
  private done: () => void = () => {};
  private failed: (error: Error) => void = () => {};
  private readonly over: Promise<void>;

  constructor(backend: PerfBackend, settings: Settings) {
    this.backend = backend;
    this.settings = settings;
    this.over = new Promise((resolve, reject) => {
      this.done = resolve;
      this.failed = reject;
    });
    // Whoever waits for it sees its failure; a run that ends before leaves nobody to.
    this.over.catch(() => {});
    process.once('SIGINT', () => this.interrupt(130));
    process.once('SIGTERM', () => this.interrupt(143));
  }

  // ---------------------------------------------------------------------------------------------- client

  async measure(): Promise<void> {
    const { settings } = this;
    const test = randomBytes(16).toString('hex');
    const streams = await this.connectAll(test);
    const report = new PerfReport(this.terminal, {
      role: 'client',
      backend: this.backend.name,
      json: settings.json,
      interval: settings.interval,
    });
    report.begin(streams);
    for (const stream of streams) stream.start();
    const limit = settings.duration > 0 ? setTimeout(() => this.giveUp(), settings.duration + GRACE) : undefined;
    try {
      await this.over;
    } finally {
      clearTimeout(limit);
      report.stop();
      if (this.isInterrupted || streams.some((stream) => stream.trailer !== undefined)) {
        report.finish(settings.counters || settings.json ? this.backend.counters() : undefined);
      }
    }
  }

  private async connectAll(test: string): Promise<PerfStream[]> {
    const { settings } = this;
    const [address] = await resolveHost(settings.host, settings.family);
    if (address === undefined) throw new CommandError(`${settings.host}: unknown host`);
    const streams: PerfStream[] = [];
    const events = { onClose: (stream: PerfStream, error: Error | undefined) => this.onClientClose(stream, error) };
    for (let number = 1; number <= settings.connections; number++) {
      const connection = await Promise.race([
        this.backend.connect(address, settings.port),
        this.over.then(() => Promise.reject(new CommandError('interrupted', this.exitCode))),
      ]);
      const share = Math.floor(settings.bytes / settings.connections);
      const rest = number === 1 ? settings.bytes - share * settings.connections : 0;
      const header: PerfHeader = {
        directions: settings.directions,
        connections: settings.connections,
        number,
        test,
        duration: settings.duration,
        bytes: share + rest,
      };
      const stream = new PerfStream(connection, events, header);
      streams.push(stream);
      this.streams.add(stream);
    }
    return streams;
  }

  private onClientClose(stream: PerfStream, error: Error | undefined): void {
    this.streams.delete(stream);
    if (this.isInterrupted) return;
    if (error !== undefined) this.failed(error);
    else if (stream.trailer === undefined) {
      this.failed(new CommandError(`${stream.connection.peer}: ended before the test did; is that mptcp perf?`));
    } else if (this.streams.size === 0) this.done();
  }

  private giveUp(): void {
    this.failed(new CommandError(`no result from ${this.settings.host} within ${GRACE / 1000} s after the end`));
    for (const stream of this.streams) stream.abort();
  }

  // ---------------------------------------------------------------------------------------------- server

  async serve(): Promise<void> {
    const { settings } = this;
    const tests = new Map<string, ServedTest>();
    const port = await this.backend.listen(settings.address, settings.port, (connection) => {
      const stream = new PerfStream(connection, {
        onHeader: (_, header) => {
          if (header === undefined) {
            this.complain(`${connection.peer}: no request of mptcp perf`);
            stream.abort();
            return;
          }
          let test = tests.get(header.test);
          if (test === undefined) {
            test = new ServedTest(
              header.connections,
              new PerfReport(this.terminal, {
                role: 'server',
                backend: this.backend.name,
                json: settings.json,
                interval: settings.interval,
              }),
            );
            tests.set(header.test, test);
          }
          test.add(stream);
        },
        onClose: (_, error) => {
          this.streams.delete(stream);
          const test = tests.get(stream.header?.test ?? '');
          if (error !== undefined && !this.isInterrupted) this.complain(failureText(error));
          if (test === undefined || !test.isOver || this.isInterrupted) return;
          tests.delete(stream.header!.test);
          test.report.stop();
          test.report.finish(settings.counters ? this.backend.counters() : undefined);
          if (!settings.isOneOff) return;
          if (test.hasFailed) this.exitCode = 1;
          this.done();
        },
      });
      this.streams.add(stream);
    });
    const where = settings.address === undefined ? '' : `${settings.address} `;
    if (!settings.json) this.terminal.write(`listening on ${where}port ${port}, ${this.backend.name} stack\n`);
    try {
      await this.over;
    } finally {
      for (const test of tests.values()) test.report.stop();
    }
  }

  // ---------------------------------------------------------------------------------------------- end

  private interrupt(code: number): void {
    this.exitCode = code;
    this.isInterrupted = true;
    for (const stream of this.streams) stream.abort();
    this.done();
  }

  private complain(text: string): void {
    process.stderr.write(`mptcp perf: ${text}\n`);
  }

  /** @returns what went wrong in the end */
  async close(): Promise<string | undefined> {
    for (const stream of this.streams) stream.abort();
    return await this.backend.close();
  }
}

/** A test as its server sees it. */
class ServedTest {
  readonly report: PerfReport;
  private readonly connections: number;
  private readonly streams: PerfStream[] = [];

  constructor(connections: number, report: PerfReport) {
    this.connections = connections;
    this.report = report;
  }

  add(stream: PerfStream): void {
    this.streams.push(stream);
    if (this.streams.length === 1) this.report.begin(this.streams);
  }

  /** All its connections came and went; or those that came have gone, and one of them badly. */
  get isOver(): boolean {
    const isComplete = this.streams.length >= this.connections || this.hasFailed;
    return isComplete && this.streams.every((stream) => stream.isClosed);
  }

  get hasFailed(): boolean {
    return this.streams.some((stream) => stream.isClosed && stream.trailer === undefined);
  }
}

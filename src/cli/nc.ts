import { endpointText, type Stream, type StreamHandler } from '../node/stream.ts';
import type { SystemError } from '../node/system-error.ts';
import { Address } from '../wire/address.ts';
import { counterList } from './counter-list.ts';
import { CommandError, failureText } from './failure.ts';
import { type CommandHost, HOST_OPTIONS, openHost } from './host-options.ts';
import { HELP_OPTION, helpText, type Options, parseOptions, UsageError } from './options.ts';
import { PathLedger, pathTable } from './path-figures.ts';
import { PATH_HELP } from './path-option.ts';
import { resolveHost } from './resolve.ts';
import { pairs } from './table.ts';
import { formatBytes, formatCount, formatMilliseconds, formatRate, parsePort } from './units.ts';

/** `mptcp nc`: standard input and output as the two directions of a connection of this stack. */

const TABLE = {
  listen: { short: 'l', text: 'wait for a connection instead of making one' },
  'keep-listening': { short: 'k', text: 'with -l: serve one connection after the other' },
  ipv4: { short: '4', text: 'IPv4 addresses only' },
  ipv6: { short: '6', text: 'IPv6 addresses only' },
  tcp: { text: 'plain TCP, no Multipath TCP' },
  source: { short: 's', value: 'ADDR', text: 'local address of the connection' },
  'source-port': { short: 'p', value: 'PORT', text: 'local port of the connection' },
  timeout: { short: 'w', value: 'SECONDS', text: 'give up when connecting, or silence afterwards, takes longer' },
  'half-close': {
    short: 'N',
    text: 'at the end of the input, finish our direction and wait for the peer (the default)',
  },
  ...HOST_OPTIONS,
  stats: { text: 'figures of each subflow and counters at the end, on standard error' },
  json: { text: 'with --stats: as one JSON object' },
  verbose: { short: 'v', text: 'say on standard error what happens' },
  help: HELP_OPTION,
} as const;

type Names = keyof typeof TABLE;

function help(): string {
  return helpText(
    [
      'mptcp nc --path PATH [--path PATH]... [OPTION]... HOST PORT',
      'mptcp nc --path PATH [--path PATH]... [OPTION]... -l [ADDRESS] PORT',
    ],
    `Connects standard input and output with a peer over Multipath TCP, or TCP when the peer has no more. The
     connection is one of this program's own stack, on TUN devices that it makes (which takes CAP_NET_ADMIN) and that
     vanish with it. It ends when both directions have ended; with -l when the peer's has.

     Exit code: 0 after a clean end, 1 after a failure, 2 for wrong usage, 130 or 143 after SIGINT or SIGTERM.`,
    TABLE,
    PATH_HELP,
  );
}

/** Runs the command. @returns the exit code */
export async function nc(args: string[]): Promise<number> {
  const options = parseOptions(args, TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  const call = readCall(options);
  const opened = openHost(options, !call.isListening);
  const session = new Session(opened, call);
  try {
    await session.run();
  } catch (error) {
    session.fail(error);
  }
  return session.finish();
}

/** What the command line asks for. */
interface Call {
  readonly isListening: boolean;
  readonly keepsListening: boolean;
  readonly host: string | undefined;
  readonly port: number;
  readonly family: 4 | 6 | undefined;
  readonly multipath: boolean;
  readonly source: Address | undefined;
  readonly sourcePort: number;
  /** Milliseconds; Infinity: none. */
  readonly timeout: number;
  readonly stats: boolean;
  readonly json: boolean;
  readonly verbose: boolean;
}

function readCall(options: Options<Names>): Call {
  const isListening = options.has('listen');
  const { operands } = options;
  if (operands.length > 2) throw new UsageError(`${operands[2]} is one word too many`);
  if (operands.length === 0) throw new UsageError(isListening ? 'a port is needed' : 'a host and a port are needed');
  if (operands.length === 1 && !isListening) throw new UsageError('a port is needed behind the host');
  const portText = operands.at(-1)!;
  const port = parsePort(portText);
  if (port === undefined || (port === 0 && !isListening)) throw new UsageError(`${portText} is no port`);
  if (options.has('ipv4') && options.has('ipv6')) throw new UsageError('-4 and -6 exclude each other');
  if (options.has('keep-listening') && !isListening) throw new UsageError('-k goes with -l');
  const sourceText = options.text('source');
  const source = sourceText === undefined ? undefined : Address.parse(sourceText);
  if (sourceText !== undefined && source === undefined) throw new UsageError(`${sourceText} is no IP address`);
  return {
    isListening,
    keepsListening: options.has('keep-listening'),
    host: operands.length === 2 ? operands[0]! : undefined,
    port,
    family: options.has('ipv4') ? 4 : options.has('ipv6') ? 6 : undefined,
    multipath: !options.has('tcp'),
    source,
    sourcePort: options.port('source-port', 0),
    timeout: options.duration('timeout', Number.POSITIVE_INFINITY),
    stats: options.has('stats'),
    json: options.has('json'),
    verbose: options.has('verbose'),
  };
}

/** How long the last FINs may take once both directions are over. Milliseconds. */
const LINGER = 3000;

/** One run of the command: a host, the standard streams, and a connection at a time between them. */
class Session {
  private readonly opened: CommandHost;
  private readonly call: Call;
  private exitCode = 0;
  private current: Stream | undefined;
  /** Accepted and not served yet. */
  private readonly queue: Stream[] = [];
  private ledger: PathLedger | undefined;
  private startedAt = 0;
  private lastActivity = 0;
  private isInputStarted = false;
  private isInputOver = false;
  private isOver = false;
  private isInterrupted = false;
  private readonly timers: NodeJS.Timeout[] = [];
  /** Settles when the command is done. */
  private done: () => void = () => {};
  private failed: (error: Error) => void = () => {};

  constructor(opened: CommandHost, call: Call) {
    this.opened = opened;
    this.call = call;
    for (const [signal, code] of SIGNALS) process.once(signal, () => this.interrupt(code));
    // The peer should learn at once that nobody reads any more.
    process.stdout.prependListener('error', () => {
      this.current?.abort();
      this.opened.host.close();
    });
  }

  async run(): Promise<void> {
    const { call } = this;
    const over = new Promise<void>((resolve, reject) => {
      this.done = resolve;
      this.failed = reject;
    });
    if (call.isListening) this.listen();
    else await Promise.race([this.connect(), over]);
    await over;
    if (!this.isInterrupted) await this.opened.host.settle(LINGER);
  }

  private listen(): void {
    const { call } = this;
    let address: Address | undefined;
    if (call.host !== undefined) {
      address = Address.parse(call.host);
      if (address === undefined) throw new CommandError(`${call.host} is no IP address to listen on`);
    }
    const listener = this.opened.host.listen(
      { port: call.port, multipath: call.multipath, ...(address === undefined ? {} : { address }) },
      (stream) => {
        if (!call.keepsListening) listener.close();
        this.queue.push(stream);
        stream.pause();
        setImmediate(() => this.serveNext());
        return {};
      },
    );
    this.say(`listening on ${address === undefined ? '' : `${address} `}port ${listener.port}`);
  }

  private serveNext(): void {
    if (this.current !== undefined || this.isOver) return;
    const stream = this.queue.shift();
    if (stream === undefined) return;
    const peer = stream.peerEndpoint;
    if (peer !== undefined) this.say(`connection from ${endpointText(peer.address, peer.port)}, ${this.kind(stream)}`);
    stream.handler = this.handler();
    this.begin(stream);
    stream.resume();
  }

  private async connect(): Promise<void> {
    const { call } = this;
    const addresses = await resolveHost(call.host!, call.family);
    let failure: unknown;
    for (const address of addresses) {
      if (this.isOver) return;
      try {
        const stream = await this.connectTo(address);
        this.say(`connected to ${endpointText(address, call.port)}, ${this.kind(stream)}`);
        this.begin(stream);
        return;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  private connectTo(address: Address): Promise<Stream> {
    const { call } = this;
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const stream = this.opened.host.connect(
        {
          address,
          port: call.port,
          multipath: call.multipath,
          ...(call.source === undefined ? {} : { local: call.source }),
          ...(call.sourcePort === 0 ? {} : { localPort: call.sourcePort }),
        },
        {
          onConnect: () => {
            clearTimeout(timer);
            stream.handler = this.handler();
            this.current = stream;
            resolve(stream);
          },
          onClose: (error) => {
            clearTimeout(timer);
            reject(error ?? new CommandError(`${endpointText(address, call.port)}: closed while connecting`));
          },
        },
      );
      if (call.timeout === Number.POSITIVE_INFINITY) return;
      timer = setTimeout(() => {
        stream.handler = {};
        stream.abort();
        reject(
          new CommandError(`${endpointText(address, call.port)}: no answer within ${formatMilliseconds(call.timeout)}`),
        );
      }, call.timeout);
    });
  }

  private handler(): StreamHandler {
    return {
      onData: (bytes, stream) => {
        this.lastActivity = performance.now();
        // The view is only good during the call.
        if (!process.stdout.write(Buffer.from(bytes))) {
          stream.pause();
          process.stdout.once('drain', () => stream.resume());
        }
        return bytes.length;
      },
      onDrain: () => {
        this.lastActivity = performance.now();
        if (!this.isInputOver) process.stdin.resume();
      },
      onEnd: (stream) => {
        // As nc does: a listener has nothing to say any more once its client has finished.
        if (this.call.isListening) stream.end();
      },
      onClose: (error) => this.onClose(error),
    };
  }

  /** A connection is there: from now on bytes flow. */
  private begin(stream: Stream): void {
    this.current = stream;
    this.startedAt = performance.now();
    this.lastActivity = this.startedAt;
    this.ledger = new PathLedger((address) => this.opened.pathOf(address));
    this.timers.push(setInterval(() => this.ledger?.update(stream.info()), 200));
    if (this.call.timeout !== Number.POSITIVE_INFINITY) this.watchSilence(stream);
    if (this.isInputOver) {
      stream.end();
    } else if (this.isInputStarted) {
      process.stdin.resume();
    } else {
      this.isInputStarted = true;
      process.stdin.on('data', (chunk: Buffer) => this.onInput(chunk));
      process.stdin.on('end', () => this.onInputEnd());
      process.stdin.on('error', (error) => this.failed(new CommandError(`standard input: ${failureText(error)}`)));
    }
  }

  private watchSilence(stream: Stream): void {
    const check = (): void => {
      const left = this.lastActivity + this.call.timeout - performance.now();
      if (left > 0) {
        this.timers.push(setTimeout(check, left));
        return;
      }
      stream.handler = {};
      stream.abort();
      this.failed(new CommandError(`silence for ${formatMilliseconds(this.call.timeout)}`));
    };
    this.timers.push(setTimeout(check, this.call.timeout));
  }

  private onInput(chunk: Buffer): void {
    this.lastActivity = performance.now();
    const { current } = this;
    // Between two connections of -k the input waits.
    if (current === undefined || current.closed) {
      process.stdin.pause();
      process.stdin.unshift(chunk);
    } else if (!current.write(chunk)) {
      process.stdin.pause();
    }
  }

  private onInputEnd(): void {
    this.isInputOver = true;
    this.current?.end();
  }

  private onClose(error: SystemError | undefined): void {
    const { current } = this;
    this.ledger?.update(current?.info());
    for (const timer of this.timers.splice(0)) clearTimeout(timer);
    this.report(current);
    this.current = undefined;
    if (this.isInterrupted) return;
    if (error !== undefined && !this.call.keepsListening) {
      this.failed(error);
      return;
    }
    if (error !== undefined) this.complain(failureText(error));
    if (!this.call.keepsListening) {
      this.done();
      return;
    }
    if (!this.isInputOver) process.stdin.pause();
    this.serveNext();
  }

  private report(stream: Stream | undefined): void {
    const { call, ledger } = this;
    if (!call.stats || stream === undefined || ledger === undefined) return;
    const elapsed = performance.now() - this.startedAt;
    const info = stream.info();
    const counters = counterList(this.opened.host.stack);
    if (call.json) {
      const { bytesSent, bytesReceived } = stream;
      const { multipath = false, fallback = null } = info ?? {};
      const figures = { milliseconds: elapsed, bytesSent, bytesReceived, multipath, fallback };
      process.stderr.write(`${JSON.stringify({ ...figures, paths: ledger.figures, counters })}\n`);
      return;
    }
    const sent = `${formatBytes(stream.bytesSent)} sent (${formatRate(stream.bytesSent, elapsed)})`;
    const received = `${formatBytes(stream.bytesReceived)} received (${formatRate(stream.bytesReceived, elapsed)})`;
    const rows = Object.entries(counters).map(([name, value]) => [name, formatCount(value)] as const);
    process.stderr.write(
      `${sent}, ${received} in ${formatMilliseconds(elapsed)}, ${this.kind(stream)}\n` +
        `${pathTable(ledger.figures, ['sent', 'received'], elapsed)}${pairs(rows)}`,
    );
  }

  private interrupt(code: number): void {
    this.exitCode = code;
    this.isInterrupted = true;
    this.current?.abort();
    for (const stream of this.opened.host.streams.open) stream.abort();
    this.done();
  }

  fail(error: unknown): void {
    if (this.isInterrupted) return;
    this.complain(failureText(error));
    if (this.exitCode === 0) this.exitCode = error instanceof CommandError ? error.exitCode : 1;
  }

  /** Gives everything back. @returns the exit code */
  finish(): number {
    this.isOver = true;
    for (const timer of this.timers.splice(0)) clearTimeout(timer);
    process.stdin.destroy();
    const problem = this.opened.close();
    if (problem !== undefined) {
      this.complain(problem);
      if (this.exitCode === 0) this.exitCode = 1;
    }
    return this.exitCode;
  }

  /** What the connection is, and why when it is less than was asked for. */
  private kind(stream: Stream): string {
    const { multipath = false, fallback } = stream.info() ?? {};
    if (multipath) return 'Multipath TCP';
    return this.call.multipath && fallback !== undefined ? `TCP (${fallback})` : 'TCP';
  }

  private say(text: string): void {
    if (this.call.verbose) this.complain(text);
  }

  private complain(text: string): void {
    process.stderr.write(`mptcp nc: ${text}\n`);
  }
}

const SIGNALS = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { connectKernel, listenKernel } from '../src/kernel/sockets.ts';
import { multipathRefusal } from '../src/kernel/tcp-handle.ts';
import * as mptcp from '../src/net/index.ts';
import type { Stream, StreamHandler } from '../src/node/stream.ts';
import { Address } from '../src/wire/address.ts';

/**
 * What sockets for Node programs cost: those over the userspace stack beside the stack's own streams, two hosts in one
 * process; those over the kernel's MPTCP beside node:net and beside sockets that only C calls made, over loopback,
 * the server in a process of its own. Goodput each way with chunks of 64 KB, request and response of one byte.
 *
 *     npm run bench -- sockets [-- --ms 800 --runs 5 --only userspace --json]
 *
 * All kinds take their turns within each run; medians of the runs, and ratios of the medians. What is in one process is
 * measured by the processor time that it took as well, which other load on the machine disturbs less.
 */

const quick = process.env.MPTCP_BENCH_QUICK === '1';
const duration = Number(option('--ms') ?? (quick ? 100 : 800));
const runs = Number(option('--runs') ?? (quick ? 1 : 5));
const pings = quick ? 200 : 4000;
const json = process.argv.includes('--json');
const CHUNK = Buffer.alloc(65_536, 'mptcp');
const ONE = Buffer.alloc(1);

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

/** What a connection is for, as its first byte says. */
const Task = { Sink: 1, Source: 2, Echo: 3 } as const;

interface Kind {
  readonly name: string;
  /** Gbit/s from the client to the server. */
  upload(): Promise<Rates>;
  /** Gbit/s from the server to the client. */
  download(): Promise<Rates>;
  /** Median microseconds of a byte there and back. */
  ping(): Promise<number>;
}

/** Gbit/s since it was made, by the clock and by this process's time on a processor. */
class Meter {
  private readonly began = performance.now();
  private readonly cpu = process.cpuUsage();

  rates(bytes: number): Rates {
    const { user, system } = process.cpuUsage(this.cpu);
    return [(bytes * 8) / (performance.now() - this.began) / 1e6, (bytes * 8) / (user + system) / 1e3];
  }
}

type Rates = readonly [byClock: number, byProcessor: number];

function median(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[values.length >> 1]!;
}

// ------------------------------------------------------------------------------------------------ sockets

/** Writes for the bench's time, as fast as the socket takes it, and ends. */
function pour(socket: net.Socket): void {
  const until = performance.now() + duration;
  const more = (): void => {
    while (performance.now() < until) if (!socket.write(CHUNK)) return void socket.once('drain', more);
    socket.end();
  };
  more();
}

/** Does what the client's first byte asks for. */
function serve(socket: net.Socket): void {
  socket.on('error', () => {});
  socket.setNoDelay(true);
  socket.once('data', (first: Buffer) => {
    let bytes = first.length - 1;
    if (first[0] === Task.Source) pour(socket);
    else if (first[0] === Task.Echo) {
      if (first.length > 1) socket.write(first.subarray(1));
      socket.on('data', (chunk) => socket.write(chunk));
    } else {
      socket.on('data', (chunk) => {
        bytes += chunk.length;
      });
    }
    socket.on('end', () => {
      if (first[0] === Task.Sink) socket.write(String(bytes));
      socket.end();
    });
  });
}

function sockets(name: string, connect: () => net.Socket | Promise<net.Socket>): Kind {
  const open = async (task: number): Promise<net.Socket> => {
    const socket = await connect();
    if (socket.connecting) await once(socket, 'connect');
    socket.setNoDelay(true);
    socket.write(Buffer.of(task));
    return socket;
  };
  return {
    name,
    async upload() {
      const socket = await open(Task.Sink);
      const meter = new Meter();
      pour(socket);
      let told = '';
      for await (const chunk of socket) told += chunk;
      return meter.rates(Number(told));
    },
    async download() {
      const meter = new Meter();
      const socket = await open(Task.Source);
      let bytes = 0;
      socket.on('data', (chunk) => {
        bytes += chunk.length;
      });
      await once(socket, 'end');
      const rates = meter.rates(bytes);
      socket.end();
      return rates;
    },
    async ping() {
      const socket = await open(Task.Echo);
      const times = await new Promise<number[]>((done) => {
        const taken: number[] = [];
        let sent = performance.now();
        socket.on('data', () => {
          taken.push(performance.now() - sent);
          if (taken.length === pings) return void done(taken);
          sent = performance.now();
          socket.write(ONE);
        });
        socket.write(ONE);
      });
      socket.end();
      return median(times) * 1000;
    },
  };
}

// ------------------------------------------------------------------------------------------------ streams

/** The stack's own streams, without what makes them sockets: the same tasks. */
function streams(name: string, pair: mptcp.Emulation, port: number): Kind {
  const pourer = (stream: Stream): (() => void) => {
    const until = performance.now() + duration;
    return () => {
      while (performance.now() < until) if (stream.send(CHUNK) < CHUNK.length) return;
      stream.end();
    };
  };
  pair.second.userspace.listen({ port }, (stream) => {
    let task = 0;
    let bytes = 0;
    let more = (): void => {};
    stream.configure({ noDelay: true });
    return {
      onData(view) {
        if (task === 0) {
          task = view[0]!;
          bytes--;
          if (task === Task.Source) {
            more = pourer(stream);
            more();
          } else if (task === Task.Echo && view.length > 1) stream.send(view, 1);
        } else if (task === Task.Echo) stream.send(view);
        bytes += view.length;
        return view.length;
      },
      onDrain: () => more(),
      onEnd() {
        if (task === Task.Sink) stream.send(Buffer.from(String(bytes)));
        stream.end();
      },
    };
  });
  const open = (task: number, handler: StreamHandler): Stream => {
    const stream = pair.first.userspace.connect(
      { address: Address.of('10.0.1.2'), port },
      {
        ...handler,
        onConnect() {
          stream.send(Buffer.of(task));
          handler.onConnect?.(stream);
        },
      },
    );
    stream.configure({ noDelay: true });
    return stream;
  };
  return {
    name,
    upload: () =>
      new Promise((done) => {
        let meter: Meter;
        let told = '';
        let more = (): void => {};
        open(Task.Sink, {
          onConnect(stream) {
            meter = new Meter();
            more = pourer(stream);
            more();
          },
          onDrain: () => more(),
          onData(view) {
            told += Buffer.from(view).toString();
            return view.length;
          },
          onEnd: () => done(meter.rates(Number(told))),
        });
      }),
    download: () =>
      new Promise((done) => {
        const meter = new Meter();
        let bytes = 0;
        const stream = open(Task.Source, {
          onData(view) {
            bytes += view.length;
            return view.length;
          },
          onEnd() {
            done(meter.rates(bytes));
            stream.end();
          },
        });
      }),
    ping: () =>
      new Promise((done) => {
        const taken: number[] = [];
        let sent = 0;
        const again = (stream: Stream): void => {
          sent = performance.now();
          stream.send(ONE);
        };
        open(Task.Echo, {
          onConnect: again,
          onData(view, stream) {
            taken.push(performance.now() - sent);
            if (taken.length < pings) again(stream);
            else {
              stream.end();
              done(median(taken) * 1000);
            }
            return view.length;
          },
        });
      }),
  };
}

// ------------------------------------------------------------------------------------------------ kinds

const KERNEL = { backend: 'kernel' } as const;

/** In the process of its own: a server of each kind; their ports go to whoever started it. */
async function serveKernel(): Promise<void> {
  const options = { allowHalfOpen: true };
  const servers: net.Server[] = [net.createServer(options, serve).listen(0, '127.0.0.1')];
  await once(servers[0]!, 'listening');
  if (multipathRefusal() === undefined) {
    const ours = mptcp.createServer({ ...options, multipath: KERNEL }, serve).listen(0, '127.0.0.1');
    await once(ours, 'listening');
    servers.push(ours, await listenKernel({ ...options, host: '127.0.0.1', onConnection: serve }));
  }
  process.send!(servers.map((server) => (server.address() as net.AddressInfo).port));
  process.once('disconnect', () => process.exit());
}

async function kernelKinds(): Promise<[Kind[], ChildProcess]> {
  const child = fork(import.meta.filename, ['--serve', '--ms', String(duration)], { execArgv: process.execArgv });
  const [[plain, ours, raw]] = (await once(child, 'message')) as [number[]];
  const host = '127.0.0.1';
  const options = { host, allowHalfOpen: true };
  const kinds = [sockets('node:net, kernel TCP', () => net.connect({ ...options, port: plain! }))];
  if (ours !== undefined && raw !== undefined) {
    kinds.push(
      sockets('mptcp sockets, kernel MPTCP', () => mptcp.connect({ ...options, port: ours, multipath: KERNEL })),
    );
    kinds.push(sockets('plain calls, kernel MPTCP', () => connectKernel({ ...options, port: raw })));
  } else if (!json) console.log(`kernel MPTCP: not measured: ${multipathRefusal()}`);
  return [kinds, child];
}

async function userspaceKinds(pair: mptcp.Emulation): Promise<Kind[]> {
  const server = mptcp.createServer({ allowHalfOpen: true, multipath: { host: pair.second } }, serve).listen(80);
  await once(server, 'listening');
  const connect = (): net.Socket =>
    mptcp.connect({ host: '10.0.1.2', port: 80, allowHalfOpen: true, multipath: { host: pair.first } });
  return [streams('streams of the stack', pair, 81), sockets('mptcp sockets, userspace', connect)];
}

/** Measures `kinds` in turn, and prints medians; the first is what the others are compared with. */
async function compare(kinds: readonly Kind[], isOneProcess: boolean): Promise<void> {
  for (const what of ['upload', 'download', 'ping'] as const) {
    const values = kinds.map((): Rates[] => []);
    // The first run warms up.
    for (let run = 0; run < runs + 1; run++) {
      for (const [index, kind] of kinds.entries()) {
        const value = what === 'ping' ? ([await kind.ping(), 0] as const) : await kind[what]();
        if (run > 0) values[index]!.push(value);
      }
    }
    if (what === 'ping') print(what, 'us', kinds, values, 0);
    else {
      print(what, 'Gbit/s', kinds, values, 0);
      if (isOneProcess) print(what, 'Gbit per processor second', kinds, values, 1);
    }
  }
}

function print(what: string, unit: string, kinds: readonly Kind[], values: readonly Rates[][], which: 0 | 1): void {
  const medians = values.map((list) => median(list.map((rates) => rates[which])));
  for (const [index, { name }] of kinds.entries()) {
    const value = medians[index]!;
    const ratio = value / medians[0]!;
    if (json) console.log(JSON.stringify({ name, what, value, unit, ratio }));
    else console.log(`${what.padEnd(9)} ${name.padEnd(30)} ${value.toPrecision(3)} ${unit} (${ratio.toFixed(2)})`);
  }
}

if (process.argv.includes('--serve')) await serveKernel();
else {
  const only = option('--only');
  if (only !== 'kernel') {
    const pair = mptcp.emulate([{}]);
    await compare(await userspaceKinds(pair), true);
    pair.close();
  }
  if (only !== 'userspace') {
    const [kinds, child] = await kernelKinds();
    await compare(kinds, false);
    child.disconnect();
  }
  process.exit();
}

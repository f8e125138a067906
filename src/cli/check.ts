import net from 'node:net';
import tls from 'node:tls';
import { counterChanges, type KernelCounters, readKernelCounters } from '../kernel/counters.ts';
import type { MptcpInfo, TcpInfo } from '../kernel/socket-info.ts';
import { connectKernel, listenKernel, mptcpInfo, subflowAddresses, subflowTcpInfo } from '../kernel/sockets.ts';
import { CommandError, failureText } from './failure.ts';
import { HELP_OPTION, helpText, parseOptions, UsageError } from './options.ts';
import { table } from './table.ts';

/** `mptcp check`: whether a connection really is Multipath TCP, and why not. */

const TABLE = {
  time: {
    short: 't',
    value: 'SECONDS',
    text: 'how long a connection may take, and how long to wait for further subflows (default 5 and 1)',
  },
  ipv4: { short: '4', text: 'IPv4 addresses only' },
  ipv6: { short: '6', text: 'IPv6 addresses only' },
  json: { text: 'a JSON object, and nothing else' },
  help: HELP_OPTION,
} as const;

function help(): string {
  return helpText(
    ['mptcp check [OPTION]...', 'mptcp check [OPTION]... URL | HOST:PORT'],
    `Without a target: whether programs here can speak Multipath TCP, by a connection from this system to itself. With
     one: connects with the kernel's Multipath TCP and tells whether the other side took it up, the protocol's version,
     the subflows, and the reason of a fallback as far as the kernel's counters show it. An http or https URL is also
     asked for its headers, so that data has passed both ways.

     Exit code: 0 for Multipath TCP, 1 for plain TCP, 2 for wrong usage, 3 when there was no connection.`,
    TABLE,
  );
}

/** What is checked without a target. */
const SELF = 'this system';

interface Target {
  readonly host: string;
  readonly port: number;
  readonly scheme: 'http' | 'https' | undefined;
  readonly path: string;
}

interface Verdict {
  readonly target: string;
  readonly multipath: boolean;
  /** 1, or 0 for plain TCP. */
  readonly version: number;
  readonly token: string | undefined;
  readonly fallback: string | null;
  readonly checksums: boolean | undefined;
  readonly subflows: readonly SubflowLine[];
  /** First line of the answer to a request. */
  readonly answer: string | undefined;
}

interface SubflowLine {
  readonly local: string;
  readonly peer: string;
  /** ms. */
  readonly rtt: number;
}

/** Runs the command. @returns the exit code */
export async function check(args: string[]): Promise<number> {
  const options = parseOptions(args, TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  if (options.operands.length > 1) throw new UsageError(`${options.operands[1]} is one word too many`);
  const [operand] = options.operands;
  const time = options.duration('time', 5000);
  const family = options.has('ipv6') ? 6 : options.has('ipv4') ? 4 : undefined;
  if (options.has('ipv4') && options.has('ipv6')) throw new UsageError('one of -4 and -6');
  let verdict: Verdict;
  try {
    verdict =
      operand === undefined
        ? await checkSelf(time, family ?? 4)
        : await connectAndLook(operand, parseTarget(operand), time, options.has('time') ? time : 1000, family);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new CommandError(failureText(error), 3);
  }
  process.stdout.write(options.has('json') ? `${JSON.stringify(verdict)}\n` : report(verdict));
  return verdict.multipath ? 0 : 1;
}

/** @throws UsageError */
function parseTarget(text: string): Target {
  const bad = (): never => {
    throw new UsageError(`"${text}" is neither a URL nor HOST:PORT`);
  };
  if (text.includes('://')) {
    if (!URL.canParse(text)) return bad();
    const { protocol, hostname, port, pathname, search } = new URL(text);
    const scheme =
      protocol === 'https:' || protocol === 'wss:'
        ? 'https'
        : protocol === 'http:' || protocol === 'ws:'
          ? 'http'
          : undefined;
    const number = port === '' ? (scheme === 'https' ? 443 : scheme === 'http' ? 80 : 0) : Number(port);
    if (number === 0 || hostname === '') return bad();
    return { host: hostname.replace(/^\[|\]$/g, ''), port: number, scheme, path: `${pathname || '/'}${search}` };
  }
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const port = Number(parts?.[3] ?? 0);
  if (parts === null || port < 1 || port > 65_535) return bad();
  return { host: (parts[1] ?? parts[2])!, port, scheme: undefined, path: '/' };
}

/** A connection from this system to itself. */
async function checkSelf(time: number, family: 4 | 6): Promise<Verdict> {
  const host = family === 6 ? '::1' : '127.0.0.1';
  const server = await listenKernel({ host, family, fallback: true });
  server.on('connection', (socket: net.Socket) => socket.on('error', () => {}).resume());
  try {
    const { port } = server.address() as net.AddressInfo;
    return await connectAndLook(SELF, { host, port, scheme: undefined, path: '/' }, time, 0, family);
  } finally {
    server.close();
  }
}

async function connectAndLook(
  name: string,
  target: Target,
  time: number,
  wait: number,
  family: 4 | 6 | undefined,
): Promise<Verdict> {
  const { host, port, scheme } = target;
  const before = readKernelCounters();
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), time);
  let socket: net.Socket | undefined;
  try {
    socket = await connectKernel({
      host,
      port,
      fallback: true,
      signal: abort.signal,
      ...(family === undefined ? {} : { family }),
    }).catch((error: NodeJS.ErrnoException) => {
      throw error.name === 'AbortError' ? new CommandError(`${host}:${port}: no answer in ${time / 1000} s`, 3) : error;
    });
    clearTimeout(timer);
    socket.on('error', () => {});
    const answer = scheme === undefined ? undefined : await ask(socket, target, time);
    let info = mptcpInfo(socket);
    // Further subflows are opened once the first one is confirmed.
    if (info !== undefined && !info.fallback && wait > 0) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      info = mptcpInfo(socket);
    }
    return verdictOf(name, socket, info, answer, counterChanges(before, readKernelCounters()));
  } finally {
    clearTimeout(timer);
    socket?.destroy();
  }
}

function verdictOf(
  target: string,
  socket: net.Socket,
  info: MptcpInfo | undefined,
  answer: string | undefined,
  changes: KernelCounters,
): Verdict {
  const multipath = info !== undefined && !info.fallback;
  return {
    target,
    multipath,
    version: multipath ? 1 : 0,
    token: multipath ? `0x${info.token.toString(16).padStart(8, '0')}` : undefined,
    fallback: multipath ? null : fallbackReason(changes),
    checksums: multipath ? info.checksumEnabled : undefined,
    subflows: multipath ? subflowLines(socket) : [],
    answer,
  };
}

function subflowLines(socket: net.Socket): SubflowLine[] {
  const figures: readonly TcpInfo[] = subflowTcpInfo(socket);
  return subflowAddresses(socket).map(({ local, peer }, index) => ({
    local: endpoint(String(local.address), local.port),
    peer: endpoint(String(peer.address), peer.port),
    rtt: figures[index]?.roundTripTime ?? 0,
  }));
}

const endpoint = (address: string, port: number): string =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

/** The kernel does not say it of a socket; its counters tell what happened meanwhile. */
function fallbackReason(changes: KernelCounters): string {
  const rose = (name: string): boolean => (changes.get(`MPTcpExt${name}`) ?? 0) > 0;
  if (rose('MPCapableSYNTXDisabled')) {
    return 'the kernel did not offer it: earlier offers to this destination vanished (net.mptcp.blackhole_timeout)';
  }
  if (rose('MPCapableSYNTXDrop'))
    return 'SYNs with the MP_CAPABLE option got no answer, one without it did: a middlebox drops them';
  if (!rose('MPCapableSYNTX')) return 'the kernel made no Multipath TCP connection: see mptcp doctor';
  if (!rose('MPCapableSYNACKRX')) {
    return 'the answer had no MP_CAPABLE option: the server does not speak Multipath TCP, or a middlebox removed the option';
  }
  if (rose('MPCapableFallbackSYNACK')) return 'the answer had an MP_CAPABLE option that cannot be used';
  if (rose('DSSNoMatchTCP') || rose('DSSCorruptionFallback'))
    return 'data came with mappings that do not fit: a middlebox changed it';
  return 'the options were lost behind the handshake: a middlebox removed them from data';
}

/** A HEAD request, over TLS for https. @returns the first line of the answer */
function ask(raw: net.Socket, { host, scheme, path }: Target, time: number): Promise<string> {
  const socket =
    scheme === 'https'
      ? tls.connect({ socket: raw, rejectUnauthorized: false, ...(net.isIP(host) === 0 ? { servername: host } : {}) })
      : raw;
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new CommandError(`${host}: connected, but no answer in ${time / 1000} s`, 3)),
      time,
    );
    const finish = (action: () => void): void => {
      clearTimeout(timer);
      action();
    };
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.includes('\n') || text.length > 4096) finish(() => resolve(text.split(/\r?\n/, 1)[0]!.slice(0, 200)));
    });
    socket.once('error', (error) => finish(() => reject(error)));
    socket.once('close', () =>
      finish(() => reject(new CommandError(`${host}: connected, then closed without an answer`, 3))),
    );
    socket.write(
      `HEAD ${path} HTTP/1.1\r\nHost: ${host.includes(':') ? `[${host}]` : host}\r\nUser-Agent: mptcp-check\r\nConnection: keep-alive\r\n\r\n`,
    );
  });
}

function report({ target, multipath, version, token, fallback, checksums, subflows, answer }: Verdict): string {
  const heard = answer === undefined ? '' : `answered    ${answer.replace(/\p{Cc}/gu, ' ')}\n`;
  if (!multipath) return `${target}: plain TCP\nreason      ${fallback}\n${heard}`;
  const silent = answer === undefined && subflows.length === 1 && target !== SELF;
  const lines = table(
    ['local', 'peer', 'rtt ms'],
    subflows.map(({ local, peer, rtt }) => [local, peer, rtt.toFixed(2)]),
    '  ',
  );
  return (
    `${target}: Multipath TCP, version ${version}\ntoken       ${token}${checksums === true ? ', with checksums' : ''}\n${heard}` +
    `subflows    ${subflows.length}${silent ? '; more are opened once data has passed: give an http or https URL' : ''}\n${lines}`
  );
}

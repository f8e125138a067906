import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { WebSocket, WebSocketServer } from 'ws';
import { connect, HttpAgent, multipathServer } from '../../../src/net/index.ts';
import { CERTIFICATE, KEY } from '../../compliance/certificate.ts';

/** Programs over the kernel's Multipath TCP whose network is cut: `serve HOST`, and `use HOST`, which says what it saw. */

/** Ports: HTTP and WebSocket, TLS, plain TCP. */
const [WEB, SECURE, PLAIN] = [8080, 8443, 8081];
/** The download: a chunk each 10 ms. */
const CHUNKS = 300;
const CHUNK = Buffer.alloc(20_000, 'x');
/** Questions and answers, one each 20 ms. */
const ROUNDS = 140;

/** The longest that a program waited, ms. */
export interface Waits {
  readonly http: number;
  readonly tls: number;
  readonly webSocket: number;
  /** Bytes of the download, and whether they are the right ones. */
  readonly bytes: number;
  readonly intact: boolean;
  /** Whether plain TCP had all its answers in the same time. */
  readonly plainDone: boolean;
}

const sleep = (time: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, time));

function serve(host: string): void {
  const web = multipathServer(
    http.createServer(async (_request, response) => {
      for (let count = 0; count < CHUNKS; count++) {
        response.write(CHUNK);
        await sleep(10);
      }
      response.end();
    }),
  );
  new WebSocketServer({ server: web }).on('connection', (socket) =>
    socket.on('error', () => {}).on('message', (data) => socket.send(String(data))),
  );
  const secure = multipathServer(
    tls.createServer({ key: KEY, cert: CERTIFICATE }, (socket) => socket.on('error', () => {}).pipe(socket)),
  );
  const plain = net.createServer((socket) => socket.on('error', () => {}).pipe(socket));
  let waiting = 3;
  const ready = (): void => {
    waiting--;
    if (waiting === 0) console.log('ready');
  };
  web.listen(WEB, host, ready);
  secure.listen(SECURE, host, ready);
  plain.listen(PLAIN, host, ready);
}

/** Longest wait of `rounds` questions. */
async function ask(rounds: number, one: (round: number) => Promise<void>): Promise<number> {
  let longest = 0;
  for (let round = 0; round < rounds; round++) {
    const from = performance.now();
    await one(round);
    longest = Math.max(longest, performance.now() - from);
    await sleep(20);
  }
  return longest;
}

async function download(host: string): Promise<{ http: number; bytes: number; intact: boolean }> {
  const request = http.get({ host, port: WEB, agent: new HttpAgent() });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  const hash = createHash('sha256');
  let bytes = 0;
  let last = performance.now();
  let longest = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    bytes += chunk.length;
    hash.update(chunk);
  }
  const expected = createHash('sha256');
  for (let count = 0; count < CHUNKS; count++) expected.update(CHUNK);
  return { http: longest, bytes, intact: hash.digest('hex') === expected.digest('hex') };
}

async function echoed(socket: net.Socket, rounds: number): Promise<number> {
  socket.setNoDelay(true);
  return ask(rounds, async (round) => {
    socket.write(`round ${round}`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    if (String(answer) !== `round ${round}`) throw new Error(`${answer} is no answer to round ${round}`);
  });
}

async function use(host: string): Promise<void> {
  const secure = tls.connect({
    socket: connect({ host, port: SECURE, multipath: true }),
    ca: CERTIFICATE,
    servername: 'mptcp.test',
  });
  const webSocket = new WebSocket(`ws://${host}:${WEB}`, { agent: new HttpAgent() });
  const plain = connect(PLAIN, host);
  await Promise.all([once(secure, 'secureConnect'), once(webSocket, 'open'), once(plain, 'connect')]);
  let plainDone = false;
  echoed(plain, ROUNDS).then(
    () => {
      plainDone = true;
    },
    () => {},
  );
  console.log('begun');
  const [loaded, secured, socketed] = await Promise.all([
    download(host),
    echoed(secure, ROUNDS),
    ask(ROUNDS, async (round) => {
      webSocket.send(`round ${round}`);
      const [answer] = (await once(webSocket, 'message')) as [Buffer];
      if (String(answer) !== `round ${round}`) throw new Error(`${answer} is no answer to round ${round}`);
    }),
  ]);
  const waits: Waits = { ...loaded, tls: secured, webSocket: socketed, plainDone };
  console.log(JSON.stringify(waits));
  process.exit(0);
}

const [what, host = ''] = process.argv.slice(2);
if (what === 'serve') serve(host);
else if (what === 'use') await use(host);

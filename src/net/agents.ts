import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { MultipathChoice } from '../api/multipath.ts';
import { chooseBackend } from './choice.ts';
import { type ConnectOptions, connect } from './connect.ts';
import type { Host } from './host.ts';

/** HTTP clients over connections of several paths: agents for `node:http` and `node:https`, a connector for undici. */

export interface MultipathSetting {
  /** Default true: whoever takes one of these asks for multipath. */
  readonly multipath?: MultipathChoice<Host>;
}

type Done = (error: Error | null, socket: Duplex) => void;

/** `http.get(url, { agent: new HttpAgent() })`. Options of `http.Agent`, and `multipath`. */
export class HttpAgent extends http.Agent {
  private readonly multipath: MultipathChoice<Host>;

  /** @throws as `new Socket` for `multipath` */
  constructor(options: http.AgentOptions & MultipathSetting = {}) {
    const { multipath = true, ...rest } = options;
    chooseBackend(multipath, 'client');
    super(rest);
    this.multipath = multipath;
  }

  override createConnection(options: http.ClientRequestArgs, _done?: Done): Duplex {
    return connect({ ...options, multipath: this.multipath } as ConnectOptions);
  }
}

/** `https.get(url, { agent: new HttpsAgent() })`. Options of `https.Agent`, and `multipath`. */
export class HttpsAgent extends https.Agent {
  private readonly multipath: MultipathChoice<Host>;

  /** @throws as `new Socket` for `multipath` */
  constructor(options: https.AgentOptions & MultipathSetting = {}) {
    const { multipath = true, ...rest } = options;
    chooseBackend(multipath, 'client');
    super(rest);
    this.multipath = multipath;
  }

  override createConnection(options: http.ClientRequestArgs, done?: Done): Duplex {
    const socket = connect({ ...options, multipath: this.multipath } as ConnectOptions);
    // Node's agent keeps TLS sessions and takes a connection that is there already.
    const create = super.createConnection as unknown as (options: object, done?: Done) => Duplex;
    const secure = create.call(this, { ...options, socket }, done);
    socket.once('error', (error) => secure.destroy(error));
    return secure;
  }
}

/** What undici asks a connector for. */
export interface ConnectorRequest {
  readonly hostname: string;
  readonly host?: string;
  readonly protocol: string;
  readonly port: string | number;
  readonly servername?: string | null;
  readonly localAddress?: string | null;
  /** A connection through a proxy, to which TLS is to be added. */
  readonly httpSocket?: net.Socket;
}

/** Called once, with a connection or with why there is none. */
export type ConnectorDone = (...result: [error: null, socket: net.Socket] | [error: Error, socket: null]) => void;

export interface ConnectorOptions extends MultipathSetting, tls.ConnectionOptions {
  /** ms until a connection stands. Default 10 000. */
  readonly timeout?: number;
  /** Offer HTTP/2. Default false. */
  readonly allowH2?: boolean;
}

/**
 * For undici's `connect` option, and so for `fetch`:
 * `fetch(url, { dispatcher: new Agent({ connect: connector() }) })` with the `Agent` of undici.
 *
 * @throws as `new Socket` for `multipath`
 */
export function connector(
  options: ConnectorOptions = {},
): (request: ConnectorRequest, done: ConnectorDone) => net.Socket {
  const { multipath = true, timeout = 10_000, allowH2 = false, ...secure } = options;
  chooseBackend(multipath, 'client');
  return (request, done) => {
    const { hostname, protocol, localAddress, httpSocket } = request;
    const isSecure = protocol === 'https:';
    const host = hostname.replace(/^\[|\]$/g, '');
    const plain =
      httpSocket ??
      connect({
        host,
        port: Number(request.port) || (isSecure ? 443 : 80),
        multipath,
        ...(localAddress ? { localAddress } : {}),
      });
    let socket: net.Socket = plain;
    if (isSecure) {
      const servername = request.servername ?? (net.isIP(host) === 0 ? host : undefined);
      socket = tls.connect({
        ALPNProtocols: allowH2 ? ['http/1.1', 'h2'] : ['http/1.1'],
        ...secure,
        socket: plain,
        ...(servername ? { servername } : {}),
      });
      plain.once('error', (error) => socket.destroy(error));
    }
    const timer = setTimeout(() => {
      const error = new Error(`no connection with ${host} in ${timeout} ms`);
      socket.destroy(Object.assign(error, { code: 'UND_ERR_CONNECT_TIMEOUT', name: 'ConnectTimeoutError' }));
    }, timeout);
    let finish: ConnectorDone | undefined = (...result) => {
      clearTimeout(timer);
      finish = undefined;
      done(...result);
    };
    plain.setNoDelay(true).setKeepAlive(true, 60_000);
    socket.once(isSecure ? 'secureConnect' : 'connect', () => finish?.(null, socket));
    socket.on('error', (error) => finish?.(error, null));
    return socket;
  };
}

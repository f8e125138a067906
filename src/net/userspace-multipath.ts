import type { EventEmitter } from 'node:events';
import { isIPv6 } from 'node:net';
import type { Multipath, MultipathChoice, MultipathOptions, MultipathState, SubflowState } from '../api/multipath.ts';
import type { MptcpConnection } from '../mptcp/connection.ts';
import type { PeerAddress } from '../mptcp/seams.ts';
import type { Stream } from '../node/stream.ts';
import type { ConnectionInfo, PathInfo } from '../sockets/info.ts';
import { Address } from '../wire/address.ts';
import { CONNECTION, FALLBACK, publish, SUBFLOW } from './diagnostics.ts';
import type { Host } from './host.ts';

/** What the event `address` tells: an address that the peer announced. Port 0: none was announced with it. */
export interface AnnouncedAddress {
  readonly id: number;
  readonly address: string;
  readonly family: 'IPv4' | 'IPv6';
  readonly port: number;
}

/** A subflow that was asked for and is on its way. */
interface Wanted {
  readonly local: Address;
  readonly peer: Address;
  readonly after: number;
  readonly done: (error?: Error) => void;
}

/**
 * Compares what a connection's paths are with what they were, and tells: `subflow`, `subflowClosed`, `fallback` and
 * `address` on the socket, and the diagnostics channels `mptcp.connection`, `mptcp.subflow` and `mptcp.fallback`.
 */
export class PathWatch {
  readonly stream: Stream;
  private readonly socket: EventEmitter;
  private readonly host: Host;
  private readonly asked: MultipathOptions<Host>;
  private readonly open = new Set<number>();
  private newest = 0;
  private isFallenBack: boolean;
  private wanted: Wanted[] = [];

  constructor(socket: EventEmitter, stream: Stream, host: Host, asked: MultipathOptions<Host> = {}) {
    this.socket = socket;
    this.stream = stream;
    this.host = host;
    this.asked = asked;
    const info = stream.info();
    this.isFallenBack = info?.multipath === false;
    // The first subflow is the connection itself, and no news.
    for (const path of info?.paths ?? []) if (path.id === 1) this.settle(path);
    const { mptcp } = this;
    if (info !== undefined) publish(CONNECTION, () => ({ socket, multipath: this.multipath }));
    if (this.isFallenBack) this.tellFallback(info!);
    if (mptcp === undefined) return;
    host.watchAddresses(mptcp, (address) => this.onAddress(address));
    // What came before anybody could listen is told as soon as somebody can.
    setImmediate(() => {
      for (const address of mptcp.peerAddresses) this.onAddress(address);
      this.onPaths();
    });
  }

  private get mptcp(): MptcpConnection | undefined {
    return this.stream.connection?.mptcp ?? undefined;
  }

  onPaths(): void {
    const info = this.stream.info();
    if (info === undefined) return;
    for (const path of info.paths) {
      if (path.id <= this.newest || path.state !== 'established') continue;
      this.settle(path);
      this.applyPurpose(path);
      const subflow = subflowState(path);
      this.socket.emit('subflow', subflow);
      publish(SUBFLOW, () => ({ socket: this.socket, subflow, event: 'subflow' }));
    }
    for (const id of [...this.open]) this.tellIfClosed(info, id);
    if (this.wanted.length > 0) this.settleWanted(info);
    if (this.isFallenBack || info.multipath) return;
    this.isFallenBack = true;
    this.tellFallback(info);
  }

  /** The connection is over for the socket. */
  close(): void {
    for (const { done } of this.wanted.splice(0)) done(pathError('ENOTCONN', 'the connection ended first'));
  }

  /** For a handover the first path carries the data, and every other stands by at both ends (MP_PRIO, RFC 8684 §3.3.8). */
  private applyPurpose({ id, backup }: PathInfo): void {
    const { mptcp, stream, asked } = this;
    if (asked.purpose !== 'handover' || backup || mptcp === undefined || stream.closed) return;
    stream.command((now) => mptcp.setBackup(now, id, true));
  }

  private settle(path: PathInfo): void {
    this.open.add(path.id);
    this.newest = Math.max(this.newest, path.id);
  }

  private tellIfClosed(info: ConnectionInfo, id: number): void {
    const present = info.paths.find((path) => path.id === id);
    if (present !== undefined && present.state !== 'closed') return;
    this.open.delete(id);
    const last = present ?? info.past.find((path) => path.id === id);
    if (last === undefined) return;
    const subflow: SubflowState = { ...subflowState(last), state: 'closed' };
    this.socket.emit('subflowClosed', subflow);
    publish(SUBFLOW, () => ({ socket: this.socket, subflow, event: 'subflowClosed' }));
  }

  private tellFallback(info: ConnectionInfo): void {
    const { socket } = this;
    const reason = info.fallback ?? 'plain TCP';
    // Listeners of a connection that was plain from the start come on the same turn as `connect`.
    process.nextTick(() => {
      publish(FALLBACK, () => ({ socket, reason }));
      socket.emit('fallback', reason);
    });
  }

  private onAddress({ id, address, port }: PeerAddress): void {
    const text = address.toString();
    const announced: AnnouncedAddress = { id, address: text, family: familyOf(text), port };
    this.socket.emit('address', announced);
  }

  private settleWanted(info: ConnectionInfo): void {
    this.wanted = this.wanted.filter(({ local, peer, after, done }) => {
      const isIt = (path: PathInfo): boolean =>
        path.id > after && path.local === local.toString() && path.peer === peer.toString();
      const path = info.paths.find(isIt);
      if (path?.state === 'established') done();
      else if (path === undefined && info.past.some(isIt)) {
        done(pathError('ECONNREFUSED', `no subflow from ${local} to ${peer}: ${info.past.find(isIt)?.reason}`));
      } else return true;
      return false;
    });
  }

  /** A snapshot of the paths, with the commands for them. */
  get multipath(): Multipath | undefined {
    const info = this.stream.info();
    if (info === undefined) return undefined;
    return Object.assign(multipathState(info, unsupported(this.asked)), {
      addSubflow: (options: Parameters<Multipath['addSubflow']>[0]) => this.addSubflow(options),
      removeSubflow: async (id: number) => this.onSubflow(id, (now, mptcp) => mptcp.retireSubflow(now, id)),
      setBackup: async (id: number, backup: boolean) =>
        this.onSubflow(id, (now, mptcp) => mptcp.setBackup(now, id, backup)),
      announce: async (address: string, port = 0) => this.announce(address, port),
    });
  }

  /** The connection, which must be multipath for what is asked. @throws ENOTSUP, ENOTCONN */
  private needMultipath(): MptcpConnection {
    const { mptcp, stream } = this;
    if (stream.closed) throw pathError('ENOTCONN', 'the connection is over');
    if (mptcp === undefined || mptcp.fallenBack) {
      throw pathError('ENOTSUP', `the connection is plain TCP (${stream.info()?.fallback ?? 'as asked'})`);
    }
    return mptcp;
  }

  private onSubflow(id: number, run: (now: number, mptcp: MptcpConnection) => void): void {
    const mptcp = this.needMultipath();
    if (!mptcp.paths.some((path) => path.id === id && !path.closed)) {
      throw pathError('EINVAL', `there is no subflow ${id}`);
    }
    this.stream.command((now) => run(now, mptcp));
  }

  private async addSubflow(options: Parameters<Multipath['addSubflow']>[0]): Promise<void> {
    const mptcp = this.needMultipath();
    const local = addressOf(options.localAddress);
    const { endpoints, stack } = this.host.userspace;
    if (stack.interfaces.owner(local) === undefined) {
      throw pathError('EADDRNOTAVAIL', `${local} is no address of this host`);
    }
    const peer = options.remoteAddress === undefined ? mptcp.initialPeer : addressOf(options.remoteAddress);
    const announced = mptcp.peerAddresses.find(({ address }) => address.equals(peer));
    if (announced === undefined && !peer.equals(mptcp.initialPeer)) {
      throw pathError('EINVAL', `the peer has not announced ${peer}`);
    }
    const after = Math.max(0, ...mptcp.paths.map(({ id }) => id));
    let isBegun = false;
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error): void => (error === undefined ? resolve() : reject(error));
      this.wanted.push({ local, peer, after, done });
      this.stream.command((now) => {
        isBegun = mptcp.createSubflow(now, {
          local,
          localId: endpoints.localId(mptcp, local),
          peer,
          peerPort: announced?.port || mptcp.initialPeerPort,
          peerId: announced?.id ?? 0,
          backup: options.backup ?? false,
        });
      });
      if (isBegun) return;
      this.wanted.pop();
      reject(pathError('EBUSY', 'the connection takes no further subflow now: it ends, or too many are on their way'));
    });
  }

  private announce(text: string, port: number): void {
    const mptcp = this.needMultipath();
    const address = addressOf(text);
    const { endpoints, stack } = this.host.userspace;
    if (stack.interfaces.owner(address) === undefined) {
      throw pathError('EADDRNOTAVAIL', `${address} is no address of this host`);
    }
    this.stream.command((now) => mptcp.announce(now, endpoints.localId(mptcp, address), address, port));
  }
}

/** What a `multipath` says beyond whether there is to be any. */
export function multipathOptions(choice: MultipathChoice<Host> | undefined): MultipathOptions<Host> {
  if (typeof choice === 'string') return { purpose: choice };
  return typeof choice === 'object' ? choice : {};
}

/** What of the wishes the stack cannot do for one connection. */
function unsupported({ purpose, scheduler, congestionControl }: MultipathOptions<Host>): string[] {
  const found: string[] = [];
  if (purpose === 'redundant') found.push('purpose redundant: no scheduler sends everything on each path yet');
  if (scheduler !== undefined && scheduler !== 'default') {
    found.push(`scheduler ${scheduler}: a host has one for all its connections, which createHost is given`);
  }
  if (congestionControl !== undefined && congestionControl !== 'cubic') {
    found.push(`congestionControl ${congestionControl}: all connections of a host have cubic`);
  }
  return found;
}

/** A connection's figures in the words of `MultipathState`. */
export function multipathState(info: ConnectionInfo, missing: readonly string[] = []): MultipathState {
  const { multipath } = info;
  return {
    backend: 'userspace',
    version: multipath ? 1 : 0,
    token: multipath ? info.token : undefined,
    fallback: multipath ? null : (info.fallback ?? 'plain TCP'),
    subflows: info.paths.map(subflowState),
    bytesSent: info.bytesSent,
    bytesReceived: info.bytesReceived,
    bytesRetransmitted: info.bytesRetransmitted,
    unsupported: missing,
  };
}

/** A path's figures in the words of `SubflowState`. */
export function subflowState(path: PathInfo): SubflowState {
  return {
    id: path.id,
    local: { address: path.local, port: path.localPort, family: familyOf(path.local) },
    remote: { address: path.peer, port: path.peerPort, family: familyOf(path.peer) },
    backup: path.backup,
    state: path.state === 'unproven' ? 'connecting' : path.state,
    srtt: path.smoothedRtt,
    cwnd: path.congestionWindow,
    bytesSent: path.sent,
    bytesReceived: path.received,
    bytesRetransmitted: path.retransmitted,
    reason: path.reason,
  };
}

function familyOf(address: string): 'IPv4' | 'IPv6' {
  return isIPv6(address) ? 'IPv6' : 'IPv4';
}

function addressOf(text: string): Address {
  const address = Address.parse(text);
  if (address === undefined) throw pathError('EINVAL', `${JSON.stringify(text)} is no IP address`);
  return address;
}

/** Why a command to the paths was not carried out. */
function pathError(code: string, sentence: string): Error {
  return Object.assign(new Error(`${code}: ${sentence}`), { code });
}

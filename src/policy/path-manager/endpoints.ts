import type { PathCommands, PathManager, PathView, PeerAddress } from '../../mptcp/seams.ts';
import type { Address } from '../../wire/address.ts';
import { ResetReason } from '../../wire/mptcp-options.ts';
import { Few } from './few.ts';

/** One of our addresses and what it is for: Linux's endpoint (E1.01 to E1.08). */
export interface Endpoint {
  readonly address: Address;
  /** 1 to 255. */
  readonly id: number;
  /** Announced with ADD_ADDR. */
  readonly signal: boolean;
  /** Source of new subflows. */
  readonly subflow: boolean;
  /** The peer is asked not to send on its subflows while others work. */
  readonly backup: boolean;
  /** Subflows to every known address of the peer. */
  readonly fullmesh: boolean;
  /** Announced port; 0: none. */
  readonly port: number;
  /** Made for an address that no endpoint listed (E1.06). */
  readonly implicit: boolean;
}

export interface EndpointRequest {
  readonly address: Address;
  /** 0 or absent: the next free one. */
  readonly id?: number;
  readonly signal?: boolean;
  readonly subflow?: boolean;
  readonly backup?: boolean;
  readonly fullmesh?: boolean;
  readonly port?: number;
}

/** The caller asked for something that Linux refuses as well; `code` is the errno's name. */
export class EndpointError extends Error {
  override readonly name = 'EndpointError';
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** E1.01, E1.13, E1.14: Linux's bound for endpoints and limits alike. */
const MAXIMUM = 8;
/** Number of the initial subflow, which no limit counts. */
const INITIAL = 1;

/** What this manager remembers of one connection. */
interface Memory {
  /** Endpoints that were tried as a source or announced (E2.20). */
  readonly tried: Few<number>;
  readonly announced: Few<number>;
  /** Peer addresses of which subflows were made (E1.14). */
  readonly accepted: Few<number>;
  /** Pairs already asked for, "local id/peer id" (E2.18). */
  readonly pairs: Few<string>;
  /** The announcement that waits for its echo. */
  waiting: number;
  /** Paths to what the peer withdrew: they end, and do not count as ways there if it comes back meanwhile. */
  readonly leaving: Few<number>;
  /** The initial address was withdrawn. */
  initialGone: boolean;
}

/**
 * The kernel's path manager: acts for every connection of a host by a list of endpoints and two limits (tables E1,
 * E2). Servers create no subflow unless an endpoint tells them to.
 */
export class EndpointPathManager implements PathManager {
  readonly name = 'kernel';
  /** Extra subflows per connection, 0 to 8 (E1.13). */
  subflowLimit = 2;
  /** Announced addresses of the peer that may be used, 0 to 8 (E1.14). */
  addAddrAcceptedLimit = 0;
  private readonly list: Endpoint[] = [];
  private nextId = 1;
  private readonly memories = new Map<PathCommands, Memory>();

  get endpoints(): readonly Endpoint[] {
    return this.list;
  }

  /** Connections it manages: established ones that have not ended. */
  get connectionCount(): number {
    return this.memories.size;
  }

  /** Adds an endpoint, and lets connections that live use it (E2.06). @throws EndpointError EINVAL, EEXIST, ERANGE */
  add(now: number, request: EndpointRequest): Endpoint {
    const { port = 0 } = request;
    if (request.signal && request.fullmesh) throw new EndpointError('EINVAL', 'signal and fullmesh exclude each other');
    if (port !== 0 && (!request.signal || request.subflow)) {
      throw new EndpointError('EINVAL', 'a port goes with signal, and not with subflow');
    }
    if (this.list.filter((entry) => !entry.implicit).length >= MAXIMUM) {
      throw new EndpointError('ERANGE', `at most ${MAXIMUM} endpoints`);
    }
    const same = this.list.find((entry) => entry.address.equals(request.address) && entry.port === port);
    if (same !== undefined && !same.implicit)
      throw new EndpointError('EEXIST', `${request.address} is an endpoint already`);
    if (
      request.id !== undefined &&
      request.id !== 0 &&
      this.list.some((entry) => entry.id === request.id && entry !== same)
    ) {
      throw new EndpointError('EEXIST', `id ${request.id} is taken`);
    }
    if (same !== undefined) this.list.splice(this.list.indexOf(same), 1);
    const endpoint: Endpoint = {
      address: request.address,
      id: request.id !== undefined && request.id !== 0 ? request.id : (same?.id ?? this.freeId()),
      signal: request.signal ?? false,
      subflow: request.subflow ?? false,
      backup: request.backup ?? false,
      fullmesh: request.fullmesh ?? false,
      port,
      implicit: false,
    };
    this.list.push(endpoint);
    for (const connection of [...this.memories.keys()]) this.act(now, connection);
    return endpoint;
  }

  /** Removes an endpoint: REMOVE_ADDR where it was announced or used, its subflows closed (E2.07). */
  remove(now: number, id: number): void {
    const index = this.list.findIndex((entry) => entry.id === id);
    if (index < 0) throw new EndpointError('EINVAL', `no endpoint has id ${id}`);
    const [endpoint] = this.list.splice(index, 1);
    for (const connection of [...this.memories.keys()]) this.forget(now, connection, endpoint!);
  }

  /** Removes all of them (E2.08); limits stay (E1.15). */
  flush(now: number): void {
    for (const endpoint of [...this.list]) this.remove(now, endpoint.id);
    this.nextId = 1;
  }

  /** Changes the backup flag of an endpoint and of its subflows, by MP_PRIO (E2.09). */
  setBackup(now: number, id: number, backup: boolean): void {
    const index = this.list.findIndex((entry) => entry.id === id);
    if (index < 0) throw new EndpointError('EINVAL', `no endpoint has id ${id}`);
    const endpoint = { ...this.list[index]!, backup };
    this.list[index] = endpoint;
    for (const connection of this.memories.keys()) {
      for (const path of connection.paths) {
        if (path.local.equals(endpoint.address) && !path.closed) connection.setBackup(now, path.id, backup);
      }
    }
  }

  /**
   * Changes the fullmesh flag of an endpoint (E2.10): its subflows end, others with new partners take their place.
   * Linux ends the initial subflow with them; here it stays, for without it the connection might have none.
   * @throws EndpointError EINVAL when there is no such endpoint, or it is announced or implicit
   */
  setFullmesh(now: number, id: number, fullmesh: boolean): void {
    const index = this.list.findIndex((entry) => entry.id === id);
    if (index < 0) throw new EndpointError('EINVAL', `no endpoint has id ${id}`);
    const before = this.list[index]!;
    if (before.signal || before.implicit) throw new EndpointError('EINVAL', 'signal and fullmesh exclude each other');
    if (before.fullmesh === fullmesh) return;
    const endpoint = { ...before, fullmesh };
    this.list[index] = endpoint;
    for (const [connection, memory] of [...this.memories]) {
      memory.pairs.keep((pair) => !pair.startsWith(`${id}/`));
      if (!endpoint.address.equals(connection.initialLocal)) memory.tried.delete(id);
      for (const path of [...connection.paths]) {
        if (path.id === INITIAL || path.closed || !path.local.equals(endpoint.address)) continue;
        // With RST, as its place is wanted at once; by FIN the peer may keep its direction open (RFC 8684 §3.3.3).
        connection.closeSubflow(now, path.id, ResetReason.Unspecified);
      }
      this.act(now, connection);
    }
  }

  /** @throws EndpointError EINVAL when a limit is not 0 to 8 */
  setLimits(subflows: number, addAddrAccepted: number): void {
    for (const limit of [subflows, addAddrAccepted]) {
      if (!Number.isInteger(limit) || limit < 0 || limit > MAXIMUM) {
        throw new EndpointError('EINVAL', `a limit is 0 to ${MAXIMUM}, not ${limit}`);
      }
    }
    this.subflowLimit = subflows;
    this.addAddrAcceptedLimit = addAddrAccepted;
  }

  // ---------------------------------------------------------------------------------------------- PathManager

  onEstablished(now: number, connection: PathCommands): void {
    const memory: Memory = {
      tried: new Few(),
      announced: new Few(),
      accepted: new Few(),
      pairs: new Few(),
      leaving: new Few(),
      waiting: -1,
      initialGone: false,
    };
    this.memories.set(connection, memory);
    // E1.18: the initial subflow keeps id 0, and the endpoint of its address is used up.
    const own = this.endpointOf(connection.initialLocal);
    if (own !== undefined) {
      memory.tried.add(own.id);
      // A7.03: the initial subflow of a backup endpoint says so at once.
      const initial = connection.paths.find((path) => path.localId === 0);
      if (own.backup && initial !== undefined) connection.setBackup(now, initial.id, true);
    }
    this.act(now, connection);
  }

  onAnnounced(now: number, connection: PathCommands, announced: PeerAddress): void {
    const memory = this.memories.get(connection);
    if (memory === undefined) return;
    // A6.17: an address that the peer joined from already needs no subflow of ours.
    const joined = (path: PathView) => path.peerId === announced.id && !path.active && isThere(memory, path);
    if (connection.paths.some(joined)) return;
    if (this.isUseless(connection, memory, announced)) return;
    // RFC 8684 §3.4.1: "if the port number is different, the receiving host SHOULD try to set up a new subflow" (A6.08).
    memory.pairs.keep((pair) => !pair.endsWith(`/${announced.id}`));
    this.joinAnnounced(now, connection, memory, announced);
  }

  onAnnouncementSettled(now: number, connection: PathCommands, id: number, _echoed: boolean): void {
    const memory = this.memories.get(connection);
    if (memory === undefined) return;
    if (memory.waiting === id) memory.waiting = -1;
    this.act(now, connection);
  }

  onWithdrawn(_now: number, connection: PathCommands, peerId: number): void {
    const memory = this.memories.get(connection);
    if (memory === undefined) return;
    memory.accepted.delete(peerId);
    for (const path of connection.paths) if (path.peerId === peerId) memory.leaving.add(path.id);
    memory.pairs.keep((pair) => !pair.endsWith(`/${peerId}`));
  }

  onSubflowEstablished(now: number, connection: PathCommands, _path: PathView): void {
    this.act(now, connection);
  }

  /** E2.11: the next candidate. E2.12: Linux leaves a closed subflow closed, and the pair stays used. */
  onSubflowClosed(now: number, connection: PathCommands, path: PathView): void {
    const memory = this.memories.get(connection);
    if (memory === undefined) return;
    memory.leaving.delete(path.id);
    this.act(now, connection);
  }

  onClosed(_now: number, connection: PathCommands): void {
    this.memories.delete(connection);
  }

  acceptsJoin(_now: number, connection: PathCommands, _local: Address, _localPort: number): boolean {
    return this.extraSubflows(connection) <= this.subflowLimit;
  }

  awaitsJoins(local: Address, localPort: number): boolean {
    return this.list.some((entry) => entry.signal && entry.port === localPort && entry.address.equals(local));
  }

  localId(connection: PathCommands, local: Address): number {
    if (local.equals(connection.initialLocal) && this.memories.get(connection)?.initialGone !== true) return 0;
    const known = this.list.find((entry) => entry.address.equals(local));
    if (known !== undefined) return known.id;
    // E1.06: an address that nobody listed gets an id of its own.
    const endpoint: Endpoint = {
      address: local,
      id: this.freeId(),
      signal: false,
      subflow: false,
      backup: false,
      fullmesh: false,
      port: 0,
      implicit: true,
    };
    this.list.push(endpoint);
    return endpoint.id;
  }

  localBackup(_connection: PathCommands, local: Address): boolean {
    return this.endpointOf(local)?.backup ?? false;
  }

  /** An address of this host came up: endpoints that stand for it may be used again on living connections. */
  onAddressAdded(now: number, address: Address): void {
    const endpoint = this.endpointOf(address);
    if (endpoint === undefined) return;
    for (const [connection, memory] of [...this.memories]) {
      if (connection.paths.some((path) => path.local.equals(address) && !path.closed)) continue;
      memory.tried.delete(endpoint.id);
      memory.announced.delete(endpoint.id);
      memory.pairs.keep((pair) => !pair.startsWith(`${endpoint.id}/`));
      // The initial address comes back under its endpoint's id: id 0 went with the subflow (E1.17).
      this.act(now, connection);
    }
  }

  /** An address of this host went away: the peer is told by REMOVE_ADDR (E2.07). */
  onAddressRemoved(now: number, address: Address): void {
    for (const [connection, memory] of [...this.memories]) {
      const ids = new Set<number>();
      for (const path of connection.paths) if (path.local.equals(address)) ids.add(path.localId);
      if (address.equals(connection.initialLocal)) memory.initialGone = true;
      const endpoint = this.endpointOf(address);
      if (endpoint !== undefined && memory.announced.has(endpoint.id)) ids.add(endpoint.id);
      if (ids.size > 0) connection.withdraw(now, [...ids]);
      if (endpoint === undefined) continue;
      // Neither announced nor joined from until it comes back.
      memory.announced.add(endpoint.id);
      memory.tried.add(endpoint.id);
      if (memory.waiting === endpoint.id) memory.waiting = -1;
    }
  }

  // ---------------------------------------------------------------------------------------------- decisions

  private endpointOf(address: Address): Endpoint | undefined {
    return this.list.find((entry) => entry.address.equals(address) && !entry.implicit);
  }

  /** An address of this host, as far as endpoints and subflows tell. */
  private isOwn(connection: PathCommands, address: Address): boolean {
    if (address.equals(connection.initialLocal)) return true;
    if (this.list.some((entry) => entry.address.equals(address))) return true;
    return connection.paths.some((path) => path.local.equals(address));
  }

  /** A6.06: nothing to join there, or a subflow leads there already, be it under another id. */
  private isUseless(connection: PathCommands, memory: Memory, announced: PeerAddress): boolean {
    if (this.isOwn(connection, announced.address)) return true;
    const port = announced.port === 0 ? connection.initialPeerPort : announced.port;
    const leads = (path: PathView) => path.peerPort === port && path.peer.equals(announced.address);
    return connection.paths.some((path) => leads(path) && isThere(memory, path));
  }

  private extraSubflows(connection: PathCommands): number {
    let count = connection.pendingJoins;
    for (const path of connection.paths) if (!path.closed && path.id !== INITIAL) count++;
    return count;
  }

  /** Announces what is to be announced, one at a time (A6.09), and starts what subflows the limit allows (E2.01). */
  private act(now: number, connection: PathCommands): void {
    const memory = this.memories.get(connection);
    if (memory === undefined) return;
    if (memory.waiting < 0) {
      for (const endpoint of this.list) {
        if (!endpoint.signal || memory.announced.has(endpoint.id)) continue;
        // The peer knows the initial address, until it was withdrawn and has come back under the endpoint's id.
        const known = endpoint.address.equals(connection.initialLocal) && !memory.initialGone;
        if (known && endpoint.port === 0) continue;
        memory.announced.add(endpoint.id);
        memory.waiting = endpoint.id;
        connection.announce(now, endpoint.id, endpoint.address, endpoint.port);
        break;
      }
    }
    for (const endpoint of this.list) {
      if (!endpoint.subflow || endpoint.fullmesh || memory.tried.has(endpoint.id)) continue;
      this.joinInitial(now, connection, memory, endpoint);
    }
    for (const endpoint of this.list) {
      if (!endpoint.fullmesh) continue;
      this.joinInitial(now, connection, memory, endpoint);
      for (const address of connection.peerAddresses) this.join(now, connection, memory, endpoint, address);
    }
  }

  private joinInitial(now: number, connection: PathCommands, memory: Memory, endpoint: Endpoint): boolean {
    // A6.19: flag C keeps us off the initial address; only announced ones may be used.
    if (connection.peerDeniesJoinInitial) return false;
    const target: PeerAddress = { id: 0, address: connection.initialPeer, port: connection.initialPeerPort };
    return this.join(now, connection, memory, endpoint, target);
  }

  private joinAnnounced(now: number, connection: PathCommands, memory: Memory, announced: PeerAddress): void {
    // E2.04: a peer that denies joins to its initial address is joined where it announces, even with limit 0.
    const isKnown = memory.accepted.has(announced.id);
    const open = connection.peerDeniesJoinInitial || isKnown || memory.accepted.size < this.addAddrAcceptedLimit;
    if (!open) return;
    let used = false;
    for (const endpoint of this.list) {
      if (!endpoint.fullmesh) continue;
      used = this.join(now, connection, memory, endpoint, announced) || used;
    }
    if (!used && connection.peerDeniesJoinInitial) {
      for (const endpoint of this.list) {
        if (!endpoint.subflow || memory.tried.has(endpoint.id)) continue;
        used = this.join(now, connection, memory, endpoint, announced);
        if (used) break;
      }
    }
    if (!used) {
      if (this.extraSubflows(connection) >= this.subflowLimit) return;
      // E2.03: no endpoint is meant for it: whatever address routing chooses.
      used = connection.createSubflow(now, {
        local: undefined,
        localId: 0,
        peer: announced.address,
        peerPort: announced.port === 0 ? connection.initialPeerPort : announced.port,
        peerId: announced.id,
        backup: false,
      });
    }
    if (used) memory.accepted.add(announced.id);
  }

  private join(
    now: number,
    connection: PathCommands,
    memory: Memory,
    endpoint: Endpoint,
    target: PeerAddress,
  ): boolean {
    if (endpoint.address.family !== target.address.family || this.isOwn(connection, target.address)) return false;
    const pair = `${endpoint.id}/${target.id}`;
    if (memory.pairs.has(pair)) return false;
    const port = target.port === 0 ? connection.initialPeerPort : target.port;
    for (const path of connection.paths) {
      // E2.18: no second subflow between the same addresses.
      const same = path.local.equals(endpoint.address) && path.peer.equals(target.address) && path.peerPort === port;
      if (same && isThere(memory, path)) return false;
    }
    if (this.extraSubflows(connection) >= this.subflowLimit) return false;
    const local = endpoint.address.equals(connection.initialLocal);
    const started = connection.createSubflow(now, {
      local: endpoint.address,
      localId: local && connection.paths.some((path) => path.localId === 0 && !path.closed) ? 0 : endpoint.id,
      peer: target.address,
      peerPort: port,
      peerId: target.id,
      backup: endpoint.backup,
    });
    if (!started) return false;
    memory.pairs.add(pair);
    memory.tried.add(endpoint.id);
    return true;
  }

  private forget(now: number, connection: PathCommands, endpoint: Endpoint): void {
    const memory = this.memories.get(connection);
    if (memory === undefined) return;
    const initial = endpoint.address.equals(connection.initialLocal);
    const used = connection.paths.some((path) => path.local.equals(endpoint.address) && !path.closed);
    const id = initial ? 0 : endpoint.id;
    if (initial) memory.initialGone = true;
    if (memory.announced.has(endpoint.id) || used) connection.withdraw(now, used || !initial ? [id] : [endpoint.id]);
    memory.announced.delete(endpoint.id);
    memory.tried.delete(endpoint.id);
    if (memory.waiting === endpoint.id) memory.waiting = -1;
    memory.pairs.keep((pair) => !pair.startsWith(`${endpoint.id}/`));
    for (const path of [...connection.paths]) {
      if (path.local.equals(endpoint.address) && !path.closed) connection.retireSubflow(now, path.id);
    }
    this.act(now, connection);
  }

  private freeId(): number {
    // E1.16: a rotating counter over 1 to 255.
    for (let tries = 0; tries < 255; tries++) {
      const id = this.nextId;
      this.nextId = this.nextId === 255 ? 1 : this.nextId + 1;
      if (!this.list.some((entry) => entry.id === id)) return id;
    }
    throw new EndpointError('ERANGE', 'no free endpoint id');
  }
}

/** A way that exists, and will for a while. */
function isThere(memory: Memory, path: PathView): boolean {
  return !path.closed && !memory.leaving.has(path.id);
}

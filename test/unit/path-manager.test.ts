import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { JoinRequest, PathCommands, PathView, PeerAddress } from '../../src/mptcp/seams.ts';
import { EndpointPathManager } from '../../src/policy/path-manager/endpoints.ts';
import { Address } from '../../src/wire/address.ts';

const HOME = Address.of('10.0.1.1');
const SECOND = Address.of('10.0.2.1');
const THIRD = Address.of('10.0.3.1');
const SIXTH = Address.of('fd00::1');
const PEER = Address.of('10.0.1.2');
const PEER_TWO = Address.of('10.0.2.2');
const PEER_SIX = Address.of('fd00::2');

class Path implements PathView {
  readonly id: number;
  readonly local: Address;
  readonly localPort = 40_000;
  readonly localId: number;
  readonly peer: Address;
  readonly peerPort: number;
  readonly peerId: number;
  readonly backup: boolean;
  established = true;
  closed = false;
  readonly active = true;

  constructor(id: number, join: Omit<JoinRequest, 'local'> & { local: Address }) {
    this.id = id;
    this.local = join.local;
    this.localId = join.localId;
    this.peer = join.peer;
    this.peerPort = join.peerPort;
    this.peerId = join.peerId;
    this.backup = join.backup;
  }
}

/** A connection that writes down what it is asked; joins succeed at once unless it is told otherwise. */
class Recorder implements PathCommands {
  readonly token = 1;
  readonly serverSide = false;
  peerDeniesJoinInitial = false;
  readonly paths: Path[] = [];
  pendingJoins = 0;
  readonly peerAddresses: PeerAddress[] = [];
  readonly initialLocal = HOME;
  readonly initialPeer: Address = PEER;
  readonly initialPeerPort = 80;
  readonly log: string[] = [];
  accepts = true;

  constructor() {
    const initial = { local: HOME, localId: 0, peer: PEER, peerPort: 80, peerId: 0, backup: false };
    this.paths.push(new Path(1, initial));
  }

  createSubflow(_now: number, request: JoinRequest): boolean {
    const backup = request.backup ? ' backup' : '';
    const from = request.local === undefined ? 'any' : `${request.local}#${request.localId}`;
    this.log.push(`join ${from} ${request.peer}:${request.peerPort}#${request.peerId}${backup}`);
    if (!this.accepts) return false;
    this.paths.push(new Path(this.paths.length + 1, { ...request, local: request.local ?? THIRD }));
    return true;
  }
  announce(_now: number, id: number, address: Address, port: number): void {
    this.log.push(`announce ${address}:${port}#${id}`);
  }
  withdraw(_now: number, ids: readonly number[]): void {
    this.log.push(`withdraw ${ids.join(',')}`);
  }
  closeSubflow(_now: number, id: number, reason: number): void {
    this.log.push(`close ${id} reason ${reason}`);
    this.paths.find((path) => path.id === id)!.closed = true;
  }
  retireSubflow(_now: number, id: number): void {
    this.log.push(`retire ${id}`);
    this.paths.find((path) => path.id === id)!.closed = true;
  }
  setBackup(_now: number, id: number, backup: boolean): void {
    this.log.push(`backup ${id} ${backup}`);
  }
  take(): string[] {
    return this.log.splice(0);
  }
}

let manager: EndpointPathManager;
let connection: Recorder;

beforeEach(() => {
  manager = new EndpointPathManager();
  connection = new Recorder();
});

const code = (name: string) => ({ name: 'EndpointError', code: name });

test('E1.02, E1.03, E2.01 at establishment one signal endpoint is announced, subflow endpoints are joined from', () => {
  manager.add(0, { address: SECOND, subflow: true });
  manager.add(0, { address: THIRD, signal: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['announce 10.0.3.1:0#2', 'join 10.0.2.1#1 10.0.1.2:80#0']);
});

test('E1.08 an endpoint may be both announced and joined from', () => {
  manager.add(0, { address: SECOND, subflow: true, signal: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['announce 10.0.2.1:0#1', 'join 10.0.2.1#1 10.0.1.2:80#0']);
});

test('E2.02, A6.09 the next address is announced when the last one is echoed or given up', () => {
  for (const last of [21, 22, 23]) manager.add(0, { address: Address.v4(last), signal: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['announce 0.0.0.21:0#1']);
  manager.onAnnouncementSettled(1, connection, 1, true);
  assert.deepEqual(connection.take(), ['announce 0.0.0.22:0#2']);
  manager.onSubflowEstablished(2, connection, connection.paths[0]!);
  assert.deepEqual(connection.take(), [], 'the second still waits');
  manager.onAnnouncementSettled(3, connection, 2, false);
  assert.deepEqual(connection.take(), ['announce 0.0.0.23:0#3']);
  manager.onAnnouncementSettled(4, connection, 3, true);
  assert.deepEqual(connection.take(), []);
});

test('E1.04, A7.03 subflows of a backup endpoint are backups, the initial one says so at once', () => {
  manager.add(0, { address: HOME, backup: true });
  manager.add(0, { address: SECOND, subflow: true, backup: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['backup 1 true', 'join 10.0.2.1#2 10.0.1.2:80#0 backup']);
  assert.equal(manager.localBackup(connection, SECOND), true);
  assert.equal(manager.localBackup(connection, THIRD), false);
});

test('E2.09 the backup flag of an endpoint changes its living subflows, the initial one too', () => {
  manager.add(0, { address: HOME });
  manager.add(0, { address: SECOND, subflow: true });
  manager.onEstablished(0, connection);
  connection.take();
  manager.setBackup(1, 2, true);
  assert.deepEqual(connection.take(), ['backup 2 true']);
  manager.setBackup(1, 1, true);
  assert.deepEqual(connection.take(), ['backup 1 true']);
  connection.paths[1]!.closed = true;
  manager.setBackup(2, 2, false);
  assert.deepEqual(connection.take(), []);
  assert.equal(manager.endpoints[1]!.backup, false);
  assert.throws(() => manager.setBackup(2, 9, true), code('EINVAL'));
});

test('E1.05 from a fullmesh endpoint there is a subflow to every address of the peer', () => {
  manager.setLimits(8, 8);
  manager.add(0, { address: SECOND, subflow: true, fullmesh: true });
  manager.add(0, { address: HOME, subflow: true, fullmesh: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['join 10.0.2.1#1 10.0.1.2:80#0'], 'the initial pair exists');
  const announced = { id: 3, address: PEER_TWO, port: 0 };
  connection.peerAddresses.push(announced);
  manager.onAnnounced(1, connection, announced);
  assert.deepEqual(connection.take(), ['join 10.0.2.1#1 10.0.2.2:80#3', 'join 10.0.1.1#0 10.0.2.2:80#3']);
});

test('E1.06 an address that nobody listed gets an endpoint of its own, which an explicit one replaces', () => {
  assert.equal(manager.localId(connection, SECOND), 1);
  assert.equal(manager.localId(connection, SECOND), 1);
  assert.equal(manager.endpoints[0]!.implicit, true);
  for (let last = 1; last <= 7; last++) manager.add(0, { address: Address.v4(last), subflow: true });
  const explicit = manager.add(0, { address: SECOND, signal: true });
  assert.equal(explicit.id, 1, 'keeps its id');
  assert.equal(explicit.implicit, false);
  assert.equal(manager.endpoints.filter((endpoint) => endpoint.address.equals(SECOND)).length, 1);
  assert.equal(manager.endpoints.length, 8, 'and counted for nothing before');
});

test('E1.09 signal and fullmesh exclude each other', () => {
  assert.throws(() => manager.add(0, { address: SECOND, signal: true, fullmesh: true }), code('EINVAL'));
  assert.equal(manager.endpoints.length, 0);
});

test('E1.10 a port goes with signal and not with subflow, and is announced', () => {
  assert.throws(() => manager.add(0, { address: SECOND, port: 8080 }), code('EINVAL'));
  assert.throws(() => manager.add(0, { address: SECOND, port: 8080, signal: true, subflow: true }), code('EINVAL'));
  manager.add(0, { address: SECOND, port: 8080, signal: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['announce 10.0.2.1:8080#1']);
});

test('E1.13, E1.14, E1.19 limits are 0 to 8, by default 2 subflows and no announced address', () => {
  assert.deepEqual([manager.subflowLimit, manager.addAddrAcceptedLimit], [2, 0]);
  for (const [subflows, accepted] of [
    [9, 0],
    [0, 9],
    [-1, 0],
    [1.5, 0],
  ] as const) {
    assert.throws(() => manager.setLimits(subflows, accepted), code('EINVAL'));
  }
  assert.deepEqual([manager.subflowLimit, manager.addAddrAcceptedLimit], [2, 0]);
  for (let last = 1; last <= 4; last++) manager.add(0, { address: Address.v4(last), subflow: true });
  manager.onEstablished(0, connection);
  assert.equal(connection.take().length, 2, 'two of four');
  manager.onAnnounced(1, connection, { id: 3, address: PEER_TWO, port: 0 });
  assert.deepEqual(connection.take(), []);
});

test('E1.13 joins that have not begun count against the limit', () => {
  manager.add(0, { address: SECOND, subflow: true });
  connection.pendingJoins = 2;
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), []);
  connection.pendingJoins = 1;
  manager.onSubflowEstablished(1, connection, connection.paths[0]!);
  assert.equal(connection.take().length, 1);
});

test('E1.15, E2.08 a flush withdraws every id and leaves the limits', () => {
  manager.setLimits(5, 3);
  manager.add(0, { address: SECOND, subflow: true });
  manager.add(0, { address: THIRD, subflow: true });
  manager.onEstablished(0, connection);
  connection.take();
  manager.flush(1);
  assert.deepEqual(connection.take(), ['withdraw 1', 'retire 2', 'withdraw 2', 'retire 3']);
  assert.equal(manager.endpoints.length, 0);
  assert.deepEqual([manager.subflowLimit, manager.addAddrAcceptedLimit], [5, 3]);
});

test('E1.16 ids: the caller’s from 1 to 255 or the next free of a counter that wraps; duplicates are refused', () => {
  const ids: number[] = [];
  for (let round = 0; round < 255; round++) {
    const { id } = manager.add(0, { address: SECOND, signal: true });
    ids.push(id);
    manager.remove(0, id);
  }
  assert.deepEqual(
    ids,
    Array.from({ length: 255 }, (_nothing, index) => index + 1),
  );
  manager.add(0, { address: SECOND, signal: true, id: 1 });
  assert.equal(manager.add(0, { address: THIRD, signal: true }).id, 2, 'wrapped, and 1 is taken');
  assert.throws(() => manager.add(0, { address: HOME, signal: true, id: 2 }), code('EEXIST'));
  assert.throws(() => manager.add(0, { address: THIRD, signal: true }), code('EEXIST'));
});

test('E1.19 a ninth endpoint and an id that nobody has are refused', () => {
  for (let last = 1; last <= 8; last++) manager.add(0, { address: Address.v4(last), signal: true });
  assert.throws(() => manager.add(0, { address: Address.v4(9), signal: true }), code('ERANGE'));
  assert.throws(() => manager.remove(0, 77), code('EINVAL'));
  assert.equal(manager.endpoints.length, 8);
});

test('E1.17, E1.18 the initial subflow keeps id 0; the endpoint of its address is used up, and goes as id 0', () => {
  manager.add(0, { address: HOME, subflow: true, signal: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), [], 'neither announced nor joined from');
  assert.equal(manager.localId(connection, HOME), 0);
  assert.throws(() => manager.remove(1, 0), code('EINVAL'));
  manager.remove(1, 1);
  assert.deepEqual(connection.take(), ['withdraw 0', 'retire 1']);
});

test('E2.03 an announced address is joined from fullmesh endpoints, else from where routing says', () => {
  manager.setLimits(4, 2);
  manager.onEstablished(0, connection);
  manager.onAnnounced(1, connection, { id: 3, address: PEER_TWO, port: 0 });
  manager.onAnnounced(1, connection, { id: 4, address: Address.of('10.0.3.2'), port: 8080 });
  manager.onAnnounced(1, connection, { id: 5, address: Address.of('10.0.4.2'), port: 0 });
  assert.deepEqual(connection.take(), ['join any 10.0.2.2:80#3', 'join any 10.0.3.2:8080#4'], 'as many as accepted');
});

test('A6.17 an address that the peer joined from is not joined again', () => {
  manager.setLimits(4, 2);
  manager.onEstablished(0, connection);
  const join = { local: HOME, localId: 0, peer: PEER_TWO, peerPort: 5555, peerId: 3, backup: false };
  connection.paths.push(Object.assign(new Path(2, join), { active: false }));
  manager.onAnnounced(1, connection, { id: 3, address: PEER_TWO, port: 0 });
  assert.deepEqual(connection.take(), []);
});

test('E2.04, A6.19 a peer that denies joins to its initial address is joined where it announces, one endpoint each', () => {
  connection.peerDeniesJoinInitial = true;
  manager.setLimits(4, 0);
  manager.add(0, { address: SECOND, subflow: true });
  manager.add(0, { address: THIRD, subflow: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), []);
  manager.onAnnounced(1, connection, { id: 3, address: PEER_TWO, port: 0 });
  assert.deepEqual(connection.take(), ['join 10.0.2.1#1 10.0.2.2:80#3']);
  manager.onAnnounced(1, connection, { id: 4, address: Address.of('10.0.3.2'), port: 0 });
  assert.deepEqual(connection.take(), ['join 10.0.3.1#2 10.0.3.2:80#4']);
});

test('E2.05 what the peer withdraws frees its place among the accepted', () => {
  manager.setLimits(8, 1);
  manager.onEstablished(0, connection);
  manager.onAnnounced(1, connection, { id: 3, address: PEER_TWO, port: 0 });
  manager.onAnnounced(1, connection, { id: 4, address: Address.of('10.0.3.2'), port: 0 });
  assert.deepEqual(connection.take(), ['join any 10.0.2.2:80#3']);
  connection.paths[1]!.closed = true;
  manager.onWithdrawn(2, connection, 3);
  manager.onAnnounced(3, connection, { id: 4, address: Address.of('10.0.3.2'), port: 0 });
  assert.deepEqual(connection.take(), ['join any 10.0.3.2:80#4']);
});

test('E2.05 a withdrawn address that comes back while its old subflow still ends is joined again', () => {
  manager.setLimits(8, 2);
  manager.onEstablished(0, connection);
  const announced = { id: 3, address: PEER_TWO, port: 0 };
  manager.onAnnounced(1, connection, announced);
  assert.deepEqual(connection.take(), ['join any 10.0.2.2:80#3']);
  manager.onAnnounced(2, connection, announced);
  assert.deepEqual(connection.take(), [], 'a subflow leads there');
  manager.onWithdrawn(3, connection, 3);
  manager.onAnnounced(4, connection, announced);
  assert.deepEqual(connection.take(), ['join any 10.0.2.2:80#3'], 'the old one no longer counts');
  manager.onAnnounced(5, connection, announced);
  assert.deepEqual(connection.take(), [], 'the new one does');
});

test('E2.06 an endpoint that is added serves connections that live', () => {
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), []);
  manager.add(1, { address: SECOND, subflow: true });
  assert.deepEqual(connection.take(), ['join 10.0.2.1#1 10.0.1.2:80#0']);
  manager.add(2, { address: THIRD, signal: true });
  assert.deepEqual(connection.take(), ['announce 10.0.3.1:0#2']);
  manager.onClosed(3, connection);
  assert.equal(manager.connectionCount, 0);
  manager.add(4, { address: Address.of('10.0.4.1'), subflow: true });
  assert.deepEqual(connection.take(), []);
});

test('E2.07 an endpoint that is removed is withdrawn where it was announced or used, its subflows end', () => {
  manager.add(0, { address: SECOND, subflow: true });
  manager.add(0, { address: THIRD, signal: true });
  manager.add(0, { address: SIXTH, subflow: true });
  manager.onEstablished(0, connection);
  connection.take();
  manager.remove(1, 1);
  assert.deepEqual(connection.take(), ['withdraw 1', 'retire 2']);
  manager.remove(2, 2);
  assert.deepEqual(connection.take(), ['withdraw 2']);
  manager.remove(3, 3);
  assert.deepEqual(connection.take(), [], 'of an unused one the peer hears nothing');
});

test('E2.10 a change of the fullmesh flag ends the subflows of its endpoint and makes others, the initial one stays', () => {
  manager.setLimits(8, 8);
  manager.add(0, { address: SECOND, subflow: true });
  manager.add(0, { address: HOME, subflow: true });
  manager.add(0, { address: THIRD, signal: true });
  connection.peerAddresses.push({ id: 3, address: PEER_TWO, port: 0 });
  manager.onEstablished(0, connection);
  connection.take();
  manager.setFullmesh(1, 1, true);
  const meshed = ['join 10.0.2.1#1 10.0.1.2:80#0', 'join 10.0.2.1#1 10.0.2.2:80#3'];
  assert.deepEqual(connection.take(), ['close 2 reason 0', ...meshed], 'no address is withdrawn');
  manager.setFullmesh(2, 1, true);
  assert.deepEqual(connection.take(), [], 'it has the flag already');
  manager.setFullmesh(3, 1, false);
  assert.deepEqual(connection.take(), ['close 3 reason 0', 'close 4 reason 0', 'join 10.0.2.1#1 10.0.1.2:80#0']);
  manager.setFullmesh(4, 2, true);
  assert.deepEqual(connection.take(), ['join 10.0.1.1#0 10.0.2.2:80#3']);
  assert.throws(() => manager.setFullmesh(5, 3, true), code('EINVAL'), 'announced');
  assert.throws(() => manager.setFullmesh(5, 9, true), code('EINVAL'), 'unknown');
});

test('E2.21 an announced address makes one subflow; a fullmesh endpoint as many as it has targets, eight at most', () => {
  manager.setLimits(8, 8);
  manager.add(0, { address: SECOND, signal: true });
  manager.onEstablished(0, connection);
  connection.take();
  const [first, ...others] = Array.from({ length: 12 }, (_value, index): PeerAddress => {
    return { id: index + 1, address: Address.of(`10.0.${index + 20}.2`), port: 0 };
  });
  connection.peerAddresses.push(first!);
  manager.onAnnounced(1, connection, first!);
  assert.equal(connection.take().length, 1, 'one for the event');
  connection.peerAddresses.push(...others);
  connection.paths.splice(1);
  manager.add(2, { address: THIRD, subflow: true, fullmesh: true });
  const batch = connection.take();
  assert.equal(batch.length, 8, batch.join());
  assert.equal(new Set(batch).size, 8, 'each to another target');
});

test('E2.11, A4.18 when a join cannot be, the next candidate is tried', () => {
  manager.setLimits(1, 0);
  manager.add(0, { address: SECOND, subflow: true });
  manager.add(0, { address: THIRD, subflow: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), ['join 10.0.2.1#1 10.0.1.2:80#0']);
  connection.paths[1]!.closed = true;
  manager.onSubflowClosed(1, connection, connection.paths[1]!);
  assert.deepEqual(connection.take(), ['join 10.0.3.1#2 10.0.1.2:80#0']);
});

test('E2.12, E2.20 a closed subflow frees its place and is not built again; its endpoint is used up until removed', () => {
  manager.setLimits(1, 0);
  manager.add(0, { address: SECOND, subflow: true });
  manager.onEstablished(0, connection);
  connection.take();
  connection.paths[1]!.closed = true;
  manager.onSubflowClosed(1, connection, connection.paths[1]!);
  assert.deepEqual(connection.take(), []);
  manager.remove(2, 1);
  connection.take();
  manager.add(3, { address: SECOND, subflow: true });
  assert.deepEqual(connection.take(), ['join 10.0.2.1#2 10.0.1.2:80#0']);
});

test('E2.13 an endpoint is joined from only to an address of its family', () => {
  manager.setLimits(8, 8);
  manager.add(0, { address: SIXTH, subflow: true, fullmesh: true });
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), []);
  manager.onAnnounced(1, connection, { id: 6, address: PEER_SIX, port: 0 });
  assert.deepEqual(connection.take(), ['join fd00::1#1 fd00::2:80#6'], 'mixed with an IPv4 connection');
});

test('E2.14 a join that arrives is refused beyond the limit', () => {
  manager.setLimits(1, 0);
  manager.onEstablished(0, connection);
  const join = { local: HOME, localId: 0, peer: PEER_TWO, peerPort: 5555, peerId: 3, backup: false };
  connection.paths.push(new Path(2, join));
  assert.equal(manager.acceptsJoin(1, connection, HOME, 80), true, 'the one that asks is counted already');
  connection.paths.push(new Path(3, join));
  assert.equal(manager.acceptsJoin(1, connection, HOME, 80), false);
  connection.paths[1]!.closed = true;
  assert.equal(manager.acceptsJoin(1, connection, HOME, 80), true);
});

test('E2.17 without endpoints nothing is announced and nothing joined', () => {
  manager.onEstablished(0, connection);
  manager.onSubflowEstablished(1, connection, connection.paths[0]!);
  manager.onAnnounced(2, connection, { id: 3, address: PEER_TWO, port: 0 });
  assert.deepEqual(connection.take(), []);
});

test('E2.18 no second subflow between the same pair of addresses', () => {
  manager.setLimits(8, 8);
  manager.add(0, { address: SECOND, subflow: true, fullmesh: true });
  const join = { local: SECOND, localId: 9, peer: PEER, peerPort: 80, peerId: 0, backup: false };
  connection.paths.push(new Path(2, join));
  manager.onEstablished(0, connection);
  assert.deepEqual(connection.take(), []);
});

test('C50 an address that goes is withdrawn, one that comes is used again', () => {
  manager.add(0, { address: SECOND, subflow: true });
  manager.onEstablished(0, connection);
  connection.take();
  manager.onAddressRemoved(1, SECOND);
  assert.deepEqual(connection.take(), ['withdraw 1']);
  connection.paths[1]!.closed = true;
  manager.onSubflowClosed(1, connection, connection.paths[1]!);
  assert.deepEqual(connection.take(), []);
  manager.onAddressAdded(2, SECOND);
  assert.deepEqual(connection.take(), ['join 10.0.2.1#1 10.0.1.2:80#0']);
});

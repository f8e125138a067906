import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type Emitter,
  type PathOptions,
  RewritePayload,
  StripOption,
  TcpMiddlebox,
  Way,
} from '../../src/link/index.ts';
import { pass } from '../../src/link/middlebox/middlebox.ts';
import type { MptcpCounters } from '../../src/mptcp/counters.ts';
import { type HostSettings, SimulatedHost } from '../../src/sim/host.ts';
import { addressOf, twoHosts } from '../../src/sim/topology.ts';
import { Drop } from '../../src/wire/drop.ts';
import { decodeIp, IpHeader } from '../../src/wire/ip.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { Packet } from '../../src/wire/packet.ts';
import { Segment } from '../../src/wire/segment.ts';
import { decodeTcp, encodeSegment, headerLength } from '../../src/wire/tcp.ts';

/** Drops or rewrites segments: `change` says `false` for "drop", `true` for "changed", nothing for "as it is". */
class Tamper extends TcpMiddlebox {
  readonly name = 'tamper';
  private readonly change: (segment: Segment, way: number) => boolean | undefined;
  private readonly header = new IpHeader();
  private readonly segment = new Segment();

  constructor(change: (segment: Segment, way: number) => boolean | undefined) {
    super();
    this.change = change;
  }

  protected onSegment(_now: number, packet: Packet, way: number, emit: Emitter): void {
    const { segment, header } = this;
    assert.equal(decodeIp(packet, header), Drop.None);
    assert.equal(decodeTcp(packet, header, segment), Drop.None);
    const payload = packet.bytes.slice(segment.payloadStart, segment.payloadEnd);
    const verdict = this.change(segment, way);
    if (verdict === undefined) {
      pass(packet, way, emit);
      return;
    }
    this.acted++;
    if (!verdict) {
      emit.drop();
      return;
    }
    const out = new Packet(4096);
    out.bytes.set(payload, out.start + headerLength(segment));
    encodeSegment(segment, out, payload.length, false);
    pass(out, way, emit);
  }
}

interface Setting {
  readonly paths?: readonly PathOptions[];
  readonly client?: HostSettings;
  readonly server?: HostSettings;
}

const TWO: readonly PathOptions[] = [{ delay: 10 }, { delay: 15 }];
const SECOND = { address: addressOf(4, 1, 1), subflow: true };

/** A client that connected and sent 100 bytes, which arrived. */
function scene({ paths = TWO, client = {}, server = {} }: Setting) {
  const built = twoHosts<SimulatedHost>({
    paths,
    family: 4,
    host: (name, interfaces, world) =>
      new SimulatedHost(interfaces, world.random.derive(name), name === 'client' ? client : server),
  });
  const { world } = built;
  const [mine, theirs] = [built.client.sockets, built.server.sockets];
  const listener = theirs.socket(2, 1, 262);
  theirs.bind(listener, undefined, 80);
  theirs.listen(listener, 8);
  const connect = (wait = 500): [number, number] => {
    const here = mine.socket(2, 1, 262);
    mine.connect(here, built.serverAddress(0), 80, world.now);
    world.run({ until: world.now + wait });
    const there = theirs.accept(listener);
    mine.send(here, new Uint8Array(100).fill(0x41), 0, 100);
    world.run({ until: world.now + 500 });
    return [here, there];
  };
  const run = (ms: number): void => {
    world.run({ until: world.now + ms });
  };
  return { ...built, mine, theirs, connect, run };
}

/** The counters among `names` at the client and at the server. */
function figures(scenario: ReturnType<typeof scene>, names: readonly (keyof MptcpCounters)[]) {
  const { client, server } = scenario;
  return Object.fromEntries(names.map((name) => [name, [client.stack.counters[name], server.stack.counters[name]]]));
}

/** Counters that are not 0, of those that Linux has. */
function moved(counters: MptcpCounters): string[] {
  return Object.keys(counters).filter((name) => counters[name as keyof MptcpCounters] !== 0);
}

test('H1.01, H1.02, H1.03, H1.04, H1.70 a connection: MP_CAPABLE three times, one established at each end', () => {
  const scenario = scene({ paths: [{ delay: 10 }] });
  const [here, there] = scenario.connect();
  const names = ['MPCapableSYNRX', 'MPCapableSYNTX', 'MPCapableSYNACKRX', 'MPCapableACKRX', 'MPCurrEstab'] as const;
  assert.deepEqual(figures(scenario, names), {
    MPCapableSYNRX: [0, 1],
    MPCapableSYNTX: [1, 0],
    MPCapableSYNACKRX: [1, 0],
    MPCapableACKRX: [0, 1],
    MPCurrEstab: [1, 1],
  });
  assert.deepEqual(moved(scenario.client.stack.counters), ['MPCapableSYNTX', 'MPCapableSYNACKRX', 'MPCurrEstab']);
  assert.equal(scenario.theirs.recv(there, new Uint8Array(100), 0, 100), 100);
  scenario.mine.close(here);
  scenario.theirs.close(there);
  scenario.run(1000);
  assert.deepEqual(figures(scenario, ['MPCurrEstab']), { MPCurrEstab: [0, 0] });
});

test('H1.13, H1.14, H1.15, H1.16, H1.18, H1.21 a join: SYN, SYN/ACK and ACK, backups at both ends', () => {
  for (const backup of [true, false]) {
    const scenario = scene({
      client: { endpoints: [{ ...SECOND, backup }] },
      server: { endpoints: [{ address: addressOf(4, 0, 2), backup }] },
    });
    scenario.connect();
    const flag = backup ? 1 : 0;
    const names = [
      'MPJoinSynTx',
      'MPJoinSynRx',
      'MPJoinSynBackupRx',
      'MPJoinSynAckRx',
      'MPJoinSynAckBackupRx',
      'MPJoinAckRx',
    ] as const;
    assert.deepEqual(figures(scenario, names), {
      MPJoinSynTx: [1, 0],
      MPJoinSynRx: [0, 1],
      MPJoinSynBackupRx: [0, flag],
      MPJoinSynAckRx: [1, 0],
      MPJoinSynAckBackupRx: [flag, 0],
      MPJoinAckRx: [0, 1],
    });
  }
});

test('H1.06 a SYN/ACK without MP_CAPABLE', () => {
  const scenario = scene({ paths: [{ delay: 10, middleboxes: [new StripOption({ on: 'syn-ack' })] }] });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['MPCapableFallbackSYNACK', 'MPCapableSYNACKRX']), {
    MPCapableFallbackSYNACK: [1, 0],
    MPCapableSYNACKRX: [0, 0],
  });
});

test('A2.16, H1.07, H1.08, H1.71 SYNs with MP_CAPABLE vanish: sent without, remembered, withheld the next time', () => {
  const hole = new Tamper((segment) => ((segment.mptcp.present & Mptcp.CapableSyn) !== 0 ? false : undefined));
  const scenario = scene({ paths: [{ delay: 10, middleboxes: [hole] }] });
  const names = ['MPCapableSYNTXDrop', 'MPCapableSYNTXDisabled', 'Blackhole'] as const;
  scenario.connect(20_000);
  assert.equal(hole.acted, 3, 'the first and two retransmissions');
  assert.deepEqual(figures(scenario, names), {
    MPCapableSYNTXDrop: [1, 0],
    MPCapableSYNTXDisabled: [0, 0],
    Blackhole: [1, 0],
  });
  scenario.connect();
  assert.equal(hole.acted, 3);
  assert.deepEqual(figures(scenario, names), {
    MPCapableSYNTXDrop: [1, 0],
    MPCapableSYNTXDisabled: [1, 0],
    Blackhole: [1, 0],
  });
});

test('H1.37, H1.38, H1.40, H1.41 an address announced and echoed', () => {
  const scenario = scene({ server: { endpoints: [{ address: addressOf(4, 1, 2), signal: true }] } });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['AddAddr', 'AddAddrTx', 'EchoAdd', 'EchoAddTx', 'PortAdd', 'AddAddrDrop']), {
    AddAddr: [1, 0],
    AddAddrTx: [0, 1],
    EchoAdd: [0, 1],
    EchoAddTx: [1, 0],
    PortAdd: [0, 0],
    AddAddrDrop: [0, 0],
  });
});

test('A4.16, H1.43, H1.45, H1.46, H1.47 an address announced with a port, and joined there', () => {
  const scenario = scene({
    client: { addAddrAcceptedLimit: 1 },
    server: { endpoints: [{ address: addressOf(4, 1, 2), signal: true, port: 8080 }] },
  });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['PortAdd', 'MPJoinPortSynRx', 'MPJoinPortSynAckRx', 'MPJoinPortAckRx']), {
    PortAdd: [1, 0],
    MPJoinPortSynRx: [0, 1],
    MPJoinPortSynAckRx: [1, 0],
    MPJoinPortAckRx: [0, 1],
  });
});

test('A4.16, H1.48 a join to a port that nobody announced is refused', () => {
  const box = new Tamper((segment, way) => {
    if (way === Way.Forward && (segment.mptcp.present & Mptcp.JoinSyn) !== 0) segment.destinationPort = 81;
    else return undefined;
    return true;
  });
  const scenario = scene({
    paths: [{ delay: 10 }, { delay: 10, middleboxes: [box] }],
    client: { endpoints: [SECOND] },
  });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['MismatchPortSynRx', 'MPJoinAckRx', 'MPJoinSynAckRx']), {
    MismatchPortSynRx: [0, box.acted],
    MPJoinAckRx: [0, 0],
    MPJoinSynAckRx: [0, 0],
  });
  assert.ok(box.acted > 0);
});

test('A6.05, H1.44 an ADD_ADDR with a wrong HMAC is neither used nor echoed', () => {
  const box = new Tamper((segment, way) => {
    if (way === Way.Forward || (segment.mptcp.present & Mptcp.AddAddress) === 0) return undefined;
    segment.mptcp.addHmacLow ^= 1;
    return true;
  });
  const scenario = scene({
    paths: [{ delay: 10, middleboxes: [box] }, { delay: 10 }],
    client: { addAddrAcceptedLimit: 1 },
    server: { endpoints: [{ address: addressOf(4, 1, 2), signal: true }] },
  });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['AddAddrDrop', 'EchoAddTx', 'MPJoinSynTx']), {
    AddAddrDrop: [box.acted, 0],
    EchoAddTx: [0, 0],
    MPJoinSynTx: [0, 0],
  });
  assert.ok(box.acted > 0);
});

test('H1.50, H1.52, H1.54 an endpoint removed: REMOVE_ADDR, and its subflow with it', () => {
  const scenario = scene({ client: { endpoints: [SECOND] } });
  scenario.connect();
  scenario.client.endpoints.remove(scenario.world.now, 1);
  scenario.client.stack.touchAll();
  scenario.run(500);
  assert.deepEqual(figures(scenario, ['RmAddr', 'RmAddrTx', 'RmSubflow', 'RmAddrDrop']), {
    RmAddr: [0, 1],
    RmAddrTx: [1, 0],
    RmSubflow: [1, 0],
    RmAddrDrop: [0, 0],
  });
});

test('H1.23 a join from an address that this host does not have', () => {
  const scenario = scene({ client: { endpoints: [{ address: addressOf(4, 7, 1), subflow: true }] } });
  const [here] = scenario.connect();
  assert.deepEqual(figures(scenario, ['MPJoinSynTxBindErr', 'MPJoinSynTxConnectErr', 'MPJoinSynTx', 'MPJoinSynRx']), {
    MPJoinSynTxBindErr: [1, 0],
    MPJoinSynTxConnectErr: [0, 0],
    MPJoinSynTx: [0, 0],
    MPJoinSynRx: [0, 0],
  });
  assert.equal(scenario.mine.closeReason(here), -1, 'the connection goes on');
});

test('H1.24 a join for which there is no port left', () => {
  const scenario = scene({});
  const [here] = scenario.connect();
  const { stack, endpoints } = scenario.client;
  for (let port = 32_768; port <= 60_999; port++) stack.ports.bind(SECOND.address, port, true);
  endpoints.add(scenario.world.now, SECOND);
  stack.touchAll();
  scenario.run(500);
  assert.deepEqual(figures(scenario, ['MPJoinSynTxBindErr', 'MPJoinSynTxConnectErr', 'MPJoinSynTx']), {
    MPJoinSynTxBindErr: [0, 0],
    MPJoinSynTxConnectErr: [1, 0],
    MPJoinSynTx: [0, 0],
  });
  assert.equal(scenario.mine.closeReason(here), -1);
  for (let port = 32_768; port <= 60_999; port++) stack.ports.release(SECOND.address, port);
  endpoints.remove(scenario.world.now, 1);
  endpoints.add(scenario.world.now, SECOND);
  stack.touchAll();
  scenario.run(500);
  assert.deepEqual(figures(scenario, ['MPJoinSynTxConnectErr', 'MPJoinSynTx', 'MPJoinAckRx']), {
    MPJoinSynTxConnectErr: [1, 0],
    MPJoinSynTx: [1, 0],
    MPJoinAckRx: [0, 1],
  });
});

test('H1.55, H1.56 a change of priority', () => {
  const scenario = scene({ client: { endpoints: [SECOND] } });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['MPPrioTx', 'MPPrioRx']), { MPPrioTx: [0, 0], MPPrioRx: [0, 0] });
  scenario.client.endpoints.setBackup(scenario.world.now, 1, true);
  scenario.client.stack.touchAll();
  scenario.run(500);
  assert.deepEqual(figures(scenario, ['MPPrioTx', 'MPPrioRx']), { MPPrioTx: [1, 0], MPPrioRx: [0, 1] });
});

test('A4.04, H1.20, H1.61, H1.62 a join over the limit is refused at its ACK, with a reason', () => {
  const scenario = scene({ client: { endpoints: [SECOND] }, server: { subflowLimit: 0 } });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['MPJoinRejected', 'MPJoinAckRx', 'MPRstTx', 'MPRstRx']), {
    MPJoinRejected: [0, 1],
    MPJoinAckRx: [0, 0],
    MPRstTx: [0, 1],
    MPRstRx: [1, 0],
  });
});

test('A4.05, H1.17 a join whose SYN/ACK has a wrong HMAC', () => {
  const box = new Tamper((segment) => {
    if ((segment.mptcp.present & Mptcp.JoinSynAck) === 0) return undefined;
    segment.mptcp.joinHmac[7]! ^= 1;
    return true;
  });
  const scenario = scene({
    paths: [{ delay: 10 }, { delay: 10, middleboxes: [box] }],
    client: { endpoints: [SECOND] },
  });
  const [here] = scenario.connect();
  assert.deepEqual(figures(scenario, ['MPJoinSynAckHMacFailure', 'MPJoinAckRx', 'MPRstTx', 'MPRstRx']), {
    MPJoinSynAckHMacFailure: [1, 0],
    MPJoinAckRx: [0, 0],
    MPRstTx: [1, 0],
    MPRstRx: [0, 1],
  });
  assert.equal(scenario.mine.closeReason(here), -1, 'the connection goes on');
});

test('A4.06, H1.19 a join whose ACK has a wrong HMAC', () => {
  const box = new Tamper((segment) => {
    if ((segment.mptcp.present & Mptcp.JoinAck) === 0) return undefined;
    segment.mptcp.joinHmac[19]! ^= 1;
    return true;
  });
  const scenario = scene({
    paths: [{ delay: 10 }, { delay: 10, middleboxes: [box] }],
    client: { endpoints: [SECOND] },
  });
  const [here] = scenario.connect();
  assert.deepEqual(figures(scenario, ['MPJoinAckHMacFailure', 'MPJoinAckRx']), {
    MPJoinAckHMacFailure: [0, 1],
    MPJoinAckRx: [0, 0],
  });
  assert.equal(scenario.mine.closeReason(here), -1);
});

test('A4.07 a join whose SYN/ACK lost MP_JOIN is reset, the connection goes on', () => {
  const box = new StripOption({ on: 'syn-ack' });
  const scenario = scene({
    paths: [{ delay: 10 }, { delay: 10, middleboxes: [box] }],
    client: { endpoints: [SECOND] },
  });
  const [here] = scenario.connect();
  assert.deepEqual(figures(scenario, ['MPJoinSynAckMissing', 'MPJoinAckRx']), {
    MPJoinSynAckMissing: [1, 0],
    MPJoinAckRx: [0, 0],
  });
  assert.equal(scenario.mine.closeReason(here), -1);
});

test('H1.59, H1.60 an abort', () => {
  const scenario = scene({ paths: [{ delay: 10 }] });
  const [here] = scenario.connect();
  scenario.mine.abort(here);
  scenario.run(500);
  assert.deepEqual(figures(scenario, ['MPFastcloseTx', 'MPFastcloseRx']), {
    MPFastcloseTx: [1, 0],
    MPFastcloseRx: [0, 1],
  });
});

test('H1.28, H1.29, H1.31, H1.57, H1.58 a payload changed on the only path: checksum error, MP_FAIL, infinite mapping', () => {
  const scenario = scene({
    paths: [{ delay: 10, middleboxes: [new RewritePayload('secret', 'SECRET')] }],
    client: { mptcp: { checksums: true } },
  });
  const [here] = scenario.connect();
  scenario.mine.send(here, new TextEncoder().encode('the secret word'), 0, 15);
  scenario.run(1000);
  scenario.mine.send(here, new Uint8Array(100), 0, 100);
  scenario.run(1000);
  const { client, server } = scenario;
  assert.equal(server.stack.counters.DataCsumErr, 1);
  assert.equal(client.stack.counters.DataCsumErr, 0);
  assert.ok(server.stack.counters.MPFailTx > 0);
  assert.ok(client.stack.counters.MPFailRx > 0);
  assert.ok(client.stack.counters.InfiniteMapTx > 0);
  assert.ok(server.stack.counters.InfiniteMapRx > 0);
  assert.equal(scenario.mine.info(here)!.multipath, false);
});

test('E2.19, A6.04 an announcement that is never echoed goes out four times, then the next has its turn', () => {
  const sent: number[] = [];
  const box = new Tamper((segment, way) => {
    if (way === Way.Forward || (segment.mptcp.present & Mptcp.AddAddress) === 0 || segment.mptcp.addId !== 1) {
      return undefined;
    }
    sent.push(scenario.world.now);
    return false;
  });
  const scenario = scene({
    paths: [{ delay: 10, middleboxes: [box] }, { delay: 10 }],
    server: {
      mptcp: { addAddrTimeout: 100 },
      endpoints: [
        { address: addressOf(4, 1, 2), signal: true },
        { address: addressOf(4, 2, 2), signal: true },
      ],
    },
  });
  scenario.connect();
  scenario.run(5000);
  const gaps = sent.slice(1).map((at, index) => Math.round((at - sent[index]!) / 100));
  assert.deepEqual(gaps, [1, 2, 4]);
  assert.deepEqual(figures(scenario, ['AddAddrTimeout', 'AddAddrTx', 'AddAddr', 'EchoAdd']), {
    AddAddrTimeout: [0, 1],
    AddAddrTx: [0, 5],
    AddAddr: [1, 0],
    EchoAdd: [0, 1],
  });
});

test('A2.09 no join begins before the peer has acknowledged data', () => {
  const scenario = scene({ client: { endpoints: [SECOND] } });
  const here = scenario.mine.socket(2, 1, 262);
  scenario.mine.connect(here, scenario.serverAddress(0), 80, 0);
  scenario.run(5000);
  assert.equal(scenario.mine.info(here)!.multipath, true);
  assert.equal(scenario.client.stack.counters.MPJoinSynTx, 0);
  scenario.mine.send(here, new Uint8Array(1), 0, 1);
  scenario.run(100);
  assert.equal(scenario.client.stack.counters.MPJoinSynTx, 1);
});

test('A4.23 joins under way are bounded', () => {
  const hole = new Tamper((segment) => ((segment.mptcp.present & Mptcp.JoinSyn) !== 0 ? false : undefined));
  const paths = [{ delay: 10 }, ...[1, 2, 3, 4].map(() => ({ delay: 10, middleboxes: [hole] }))];
  const endpoints = [1, 2, 3, 4].map((index) => ({ address: addressOf(4, index, 1), subflow: true }));
  const scenario = scene({ paths, client: { endpoints, subflowLimit: 4, mptcp: { maximumHalfOpenJoins: 3 } } });
  scenario.connect();
  assert.deepEqual(figures(scenario, ['MPJoinSynTx', 'MPJoinRefused']), { MPJoinSynTx: [3, 0], MPJoinRefused: [1, 0] });
});

test('H1.11 data of a path that died is sent again on the other', () => {
  const scenario = scene({ client: { endpoints: [SECOND] } });
  const [here, there] = scenario.connect();
  assert.deepEqual(figures(scenario, ['MPTCPRetrans']), { MPTCPRetrans: [0, 0] });
  for (const path of scenario.paths) path.setUp(scenario.world.now, false);
  scenario.mine.send(here, new Uint8Array(20_000), 0, 20_000);
  scenario.run(5);
  scenario.paths[1]!.setUp(scenario.world.now, true);
  scenario.run(10_000);
  const [mine, theirs] = [scenario.client, scenario.server].map(({ stack }) => stack.counters.MPTCPRetrans);
  assert.ok(mine! > 0);
  assert.equal(theirs, 0);
  assert.equal(scenario.theirs.connectionOf(there)!.readable, 20_100);
});

test('H1.32, H1.33, H1.34 data out of order at data level is queued behind, before or between what is there, and joined', () => {
  const scenario = scene({
    paths: [
      { delay: 10, rate: 1000, loss: 0.02 },
      { delay: 40, rate: 1000, loss: 0.02 },
    ],
    client: { endpoints: [SECOND] },
  });
  const [here, there] = scenario.connect();
  const { counters } = scenario.server.stack;
  assert.deepEqual([counters.OFOQueueTail, counters.OFOQueue, counters.OFOMerge], [0, 0, 0]);
  const sink = new Uint8Array(65_536);
  for (let round = 0; round < 400; round++) {
    scenario.mine.send(here, sink, 0, sink.length);
    scenario.run(10);
    scenario.theirs.recv(there, sink, 0, sink.length);
  }
  assert.ok(counters.OFOQueueTail > 0);
  assert.ok(counters.OFOQueue > 0);
  assert.ok(counters.OFOMerge > 0);
  const client = scenario.client.stack.counters;
  assert.deepEqual([client.OFOQueueTail, client.OFOQueue, client.OFOMerge], [0, 0, 0], 'nothing came this way');
});

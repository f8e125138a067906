import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit } from '../../src/link/index.ts';
import { Shutdown } from '../../src/sockets/sockets.ts';
import { Dss, Mptcp, type MptcpOptions } from '../../src/wire/mptcp-options.ts';
import { Flag } from '../../src/wire/segment.ts';
import { path } from './exchange.ts';
import { pair } from './pair.ts';
import { dataFrom, type Heard, type Line, ScriptedPeer } from './scripted-peer.ts';
import { observe } from './segments.ts';

/** The mappings and DATA_ACKs that a host sends, and what it makes of the peer's DATA_ACKs. */

function proven(settings = {}): { peer: ScriptedPeer; line: Line } {
  const peer = new ScriptedPeer(settings);
  const line = peer.connects();
  line.data(1, 100);
  peer.reads();
  return { peer, line };
}

const isMapping = ({ present, dssFlags }: MptcpOptions) => (present & Mptcp.Dss) !== 0 && (dssFlags & Dss.Map) !== 0;

/** Data offset, subflow offset, length and DATA_FIN of each mapping, one for each segment. */
function mappings(peer: ScriptedPeer, heard: readonly Heard[]): [number, number, number, boolean][] {
  return heard
    .filter(({ segment }) => isMapping(segment.mptcp))
    .map(({ segment: { mptcp } }) => [
      peer.hostSpace.fromWire64(mptcp.dataSequenceHigh, mptcp.dataSequenceLow),
      mptcp.subflowSequence,
      mptcp.dataLength,
      (mptcp.dssFlags & Dss.Fin) !== 0,
    ]);
}

test('A5.13 a DATA_ACK beyond what was sent is ignored, with the window it came with', () => {
  const { peer, line } = proven();
  peer.writes(1000);
  const { sendUna, sendWindowEnd } = peer.mptcp;
  deepEqual([sendUna, peer.mptcp.sendNxt], [1, 1001]);
  line.sends({ options: line.acknowledges(1002) });
  line.sends({ options: line.acknowledges(500_000) });
  const wild = line.acknowledges(1001);
  line.sends({ options: { ...wild, dataAckHigh: (wild.dataAckHigh ?? 0) ^ 0x8000_0000 } });
  equal(peer.counters.DataAckInvalid, 3);
  deepEqual([peer.mptcp.sendUna, peer.mptcp.sendWindowEnd], [sendUna, sendWindowEnd]);
  line.sends({ options: line.acknowledges(1001) });
  equal(peer.mptcp.sendUna, 1001);
});

test('A5.14 an old DATA_ACK moves nothing, but the window when its right edge is further on', () => {
  const { peer, line } = proven();
  line.sends({ options: line.acknowledges(1), window: 10_000 });
  peer.writes(1000);
  line.sends({ options: line.acknowledges(801), window: 20_000 });
  deepEqual([peer.mptcp.sendUna, peer.mptcp.sendWindowEnd], [801, 65_536]);
  line.sends({ options: line.acknowledges(401), window: 65_000 });
  equal(peer.counters.DataAckOld, 1);
  deepEqual([peer.mptcp.sendUna, peer.mptcp.sendWindowEnd], [801, 65_536], 'its edge lies before the known one');
  line.sends({ options: line.acknowledges(601), window: 65_535 });
  deepEqual([peer.mptcp.sendUna, peer.mptcp.sendWindowEnd], [801, 66_136], 'its edge is further on');
  equal(peer.counters.DataAckOld, 2);
});

test('A5.12 segments without a DATA_ACK are taken as they are, and what they leave out is said later', () => {
  const { peer, line } = proven();
  // The first acknowledgment of data has to have one (RFC 8684 §3.7); after that none has to.
  peer.writes(500);
  line.sends({ options: line.acknowledges(501) });
  peer.writes(1000);
  // TCP's acknowledgment alone, then data without a DATA_ACK, then a DSS.
  line.sends();
  line.sends({ payload: dataFrom(101, 100), options: line.maps(101, line.next, 100, { ack: -1 }) });
  deepEqual(peer.reads(), dataFrom(101, 100));
  deepEqual([peer.mptcp.sendUna, peer.connection.isMultipath], [501, true]);
  line.sends({ options: line.acknowledges(1501) });
  equal(peer.mptcp.sendUna, 1501);
});

test('A5.11, A5.12 every DSN sent has 64 bits, and every segment with data or alone has a DATA_ACK', () => {
  const { world, clientApp, serverApp, serverAddress } = pair({ paths: [path(), path()] });
  serverApp.listen(80, { toSend: 300_000 });
  const seen = { mapped: 0, without: 0, short: 0, bare: 0, all: 0 };
  observe(world, (_fromA, { flags, mptcp }) => {
    const isHandshake = (mptcp.present & (Mptcp.CapableAck | Mptcp.JoinAck | Mptcp.AddAddress)) !== 0;
    if ((flags & (Flag.Syn | Flag.Rst)) !== 0 || isHandshake) return;
    seen.all++;
    if ((mptcp.present & Mptcp.Dss) === 0 || (mptcp.dssFlags & Dss.Ack) === 0) seen.without++;
    if (!isMapping(mptcp)) return;
    seen.mapped++;
    if ((mptcp.dssFlags & Dss.Map64) === 0) seen.short++;
  });
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 300_000 });
  world.run({ until: 20_000, condition: () => end.closed && serverApp.ends[0]?.closed === true });
  ok(seen.mapped > 300 && seen.all > seen.mapped, `segments were seen: ${JSON.stringify(seen)}`);
  deepEqual([seen.short, seen.without], [0, 0]);
});

test('A5.22, A5.25 the DATA_FIN rides on the mapping that ends where it stands', () => {
  const { peer, line } = proven();
  line.sends({ options: line.acknowledges(1) });
  equal(peer.host.sockets.send(peer.descriptor, new Uint8Array(3000), 0, 3000), 3000);
  peer.host.sockets.shutdown(peer.descriptor, Shutdown.Write);
  const heard = peer.hears();
  const said = mappings(peer, heard);
  ok(said.length >= 3, 'three segments at least');
  for (const [data, sub, length, fin] of said) {
    if (!fin) ok(data + length <= 3001, 'a mapping without the flag does not count it');
    else equal(data + length, 3002, 'with it the length counts one octet behind the last byte');
    equal(sub, data, 'one subflow: both are numbered alike');
  }
  equal(said.at(-1)![3], true);
  ok(heard.at(-1)!.length > 0, 'no segment of its own');
  line.sends({ options: line.acknowledges(3002) });
  equal(peer.mptcp.sendUna, 3002);
});

test('A5.25 what was sent before has no DATA_FIN: that goes on its own, behind it', () => {
  const { peer, line } = proven();
  const data = mappings(peer, peer.writes(1000));
  deepEqual(data, [[1, 1, 1000, false]]);
  peer.host.sockets.shutdown(peer.descriptor, Shutdown.Write);
  const heard = peer.hears();
  deepEqual(mappings(peer, heard), [[1001, 0, 1, true]]);
  equal(heard[0]!.length, 0);
  // What is sent again on the subflow is what was sent there first.
  const again = peer.waits(1500).filter(({ length }) => length > 0);
  ok(again.length > 0, 'sent again');
  deepEqual(mappings(peer, again)[0], [1, 1, 1000, false]);
  line.sends({ options: line.acknowledges(1002) });
  equal(peer.mptcp.sendUna, 1002);
});

test('A5.30 a mapping has up to 64 KB, and never more than its length can say', () => {
  const built = pair({ paths: [{ rate: mbit(1000), delay: 10, queue: 4_000_000 }], segmentationOffload: true });
  const { world, clientApp, serverApp, serverAddress } = built;
  serverApp.listen(80);
  let longest = 0;
  observe(world, (fromA, { mptcp }) => {
    if (fromA && isMapping(mptcp)) longest = Math.max(longest, mptcp.dataLength);
  });
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 20_000_000 });
  world.run({ until: 20_000, condition: () => end.closed && serverApp.ends[0]?.closed === true });
  equal(serverApp.ends[0]!.received, 20_000_000);
  ok(longest > 60_000 && longest <= 65_535, `the longest mapping has ${longest} bytes`);
});

test('A5.31 one large write over paths with other segment sizes: mappings end with full segments', () => {
  const { world, clientApp, serverApp, serverAddress } = pair({
    paths: [path(), path([], { mtu: 1100, delay: 25 })],
  });
  serverApp.listen(80);
  const sizes = [new Map<number, number>(), new Map<number, number>()];
  const maps = new Set<number>();
  observe(world, (fromA, segment, index) => {
    if (!fromA || segment.length === 0) return;
    const count = sizes[index]!;
    count.set(segment.length, (count.get(segment.length) ?? 0) + 1);
    if (isMapping(segment.mptcp)) maps.add(segment.mptcp.dataSequenceLow);
  });
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 3_000_000 });
  world.run({ until: 20_000, condition: () => end.closed && serverApp.ends[0]?.closed === true });
  equal(serverApp.ends[0]!.received, 3_000_000);
  ok(maps.size > 20, `${maps.size} mappings`);
  const full = sizes.map((count) => Math.max(...count.keys()));
  ok(full[0]! > full[1]! + 300, `other sizes on each path: ${full}`);
  for (const [index, count] of sizes.entries()) {
    let all = 0;
    let tiny = 0;
    for (const [size, times] of count) {
      all += times;
      if (size < full[index]! / 2) tiny += times;
    }
    ok(all > 150, `path ${index} carried ${all}`);
    ok(tiny < all / 50, `path ${index}: ${tiny} of ${all} segments are small`);
  }
});

test('A5.27 duplicate ACKs with a signal are no sign of loss; those with a DSS alone are', () => {
  for (const isSignal of [true, false]) {
    const { peer, line } = proven({ tcp: { sack: false } });
    line.sends({ options: line.acknowledges(1) });
    peer.writes(8000);
    const una = 1;
    const before = peer.heard.length;
    for (let count = 0; count < 6; count++) {
      const options = line.acknowledges(1);
      if (isSignal) options.present = (options.present ?? 0) | Mptcp.Priority;
      options.priorityBackup = false;
      line.sends({ ack: una, options });
    }
    const again = peer.heard.slice(before).filter(({ offset, length }) => length > 0 && offset === 1);
    equal(again.length, isSignal ? 0 : 1, isSignal ? 'nothing is sent again' : 'the first segment is sent again');
  }
});

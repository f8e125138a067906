import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit } from '../../src/link/index.ts';
import { Dss, Mptcp } from '../../src/wire/mptcp-options.ts';
import type { Segment } from '../../src/wire/segment.ts';
import { type ConnectedOptions, connected, path } from './exchange.ts';
import { Tampering } from './injection.ts';
import { onSent } from './segments.ts';

/** Data offset of the first byte that a segment's mapping names, relative to `base`, a low half. */
const dataSequence = (segment: Segment, base: number) => (segment.mptcp.dataSequenceLow - base) | 0;
const isMapping = ({ mptcp }: Segment) => (mptcp.present & Mptcp.Dss) !== 0 && (mptcp.dssFlags & Dss.Map) !== 0;

/** The first path delivers data to no avail while `switched.on`: acknowledged by TCP, it is beyond the data window. */
function swallowing(delay: number, others: readonly number[], options: ConnectedOptions = {}) {
  const switched = { on: false };
  const box = new Tampering((segment) => {
    if (!switched.on || segment.length === 0 || !isMapping(segment)) return false;
    segment.mptcp.dataSequenceHigh = (segment.mptcp.dataSequenceHigh + 1) >>> 0;
    return true;
  });
  const paths = [path([box], { delay }), ...others.map((other) => path([], { delay: other }))];
  return { switched, ...connected({ paths, ...options }, paths.length) };
}

/** ms from sending until bytes that were acknowledged in vain go out on the second path, and the largest RTO by then. */
function repairTime(delay: number, other: number): { took: number; rto: number } {
  let repairedAt = -1;
  let from = Number.POSITIVE_INFINITY;
  const { world, client, near, switched, clientSide } = swallowing(delay, [other]);
  world.observe({
    onSend(now, one, fromA, packet) {
      if (fromA && one.index === 1 && packet.length > 500 && now > from && repairedAt < 0) repairedAt = now;
    },
  });
  // Round trips of the slow path are to be known.
  world.run({ until: world.now + 2000 });
  const mptcp = clientSide.mptcp!;
  const rtos = mptcp.subflows.map((subflow) => subflow.tcp!.sender.rtt.rto);
  switched.on = true;
  from = world.now;
  client.sockets.send(near, new Uint8Array(1000), 0, 1000);
  world.run({ until: from + 60_000, condition: () => repairedAt >= 0 });
  ok(repairedAt >= 0, 'it was sent again');
  equal(mptcp.subflows[0]!.lossy, false, 'its path seems to be in order');
  return { took: repairedAt - from, rto: Math.max(...rtos) };
}

test('A9.14 the data-level timer waits for the largest retransmission time of the subflows in use', () => {
  const quick = repairTime(5, 10);
  const slow = repairTime(5, 600);
  ok(slow.rto > 1200, `the slow path’s time is ${slow.rto} ms`);
  ok(quick.took >= 200 && quick.took < 500, `${quick.took} ms with quick paths alone`);
  ok(slow.took >= slow.rto && slow.took < 1.5 * slow.rto, `${slow.took} ms where a path has ${slow.rto} ms`);
});

test('A9.14 a subflow that is given up no longer counts', () => {
  const { world, client, near, clientSide, paths, switched } = swallowing(5, [10, 600]);
  world.run({ until: world.now + 2000 });
  const mptcp = clientSide.mptcp!;
  ok(mptcp.subflows[2]!.tcp!.sender.rtt.rto > 1200, 'a slow path is there');
  paths[2]!.setUp(world.now, false);
  mptcp.onPathState(world.now, mptcp.subflows[2]!, false);
  client.stack.touchAll();
  world.run({ until: world.now + 1000 });
  switched.on = true;
  const from = world.now;
  client.sockets.send(near, new Uint8Array(1000), 0, 1000);
  world.run({ until: from + 60_000, condition: () => client.stack.counters.MPTCPRetrans > 0 });
  ok(world.now - from < 500, `${world.now - from} ms, although the dead path would take longer`);
});

for (const checksums of [false, true]) {
  test(`A9.15 ${checksums ? 'with' : 'without'} checksums: what is sent again is whole mappings that hold, and nothing unsent`, () => {
    // Byte ranges of data that mappings named: first sendings, and those sent again on the other path.
    const sent: [number, number][] = [];
    const second = new Map<number, { length: number; bytes: number; sum: boolean; again: boolean; isKnown: boolean }>();
    let base = -1;
    const { world, client, server, near, far, target, paths } = connected({
      // The second path is slow: data still waits to be sent for the first time when some is sent again.
      paths: [path(), path([], { delay: 20, rate: mbit(1) })],
      client: { mptcp: { checksums, opportunisticRetransmission: false } },
    });
    onSent(world, (fromA, segment, index) => {
      if (!fromA || !isMapping(segment) || segment.length === 0) return;
      if (base < 0) base = segment.mptcp.dataSequenceLow;
      const { subflowSequence, dataLength, hasChecksum } = segment.mptcp;
      const start = dataSequence(segment, base);
      const known = index === 1 ? second.get(subflowSequence) : undefined;
      if (known !== undefined) {
        known.bytes += segment.length;
        return;
      }
      const end = start + dataLength;
      const isKnown = sent.some(([, to]) => end <= to);
      const again = sent.some(([from, to]) => start >= from && start < to);
      if (index === 1)
        second.set(subflowSequence, {
          length: dataLength,
          bytes: segment.length,
          sum: hasChecksum,
          again,
          isKnown,
        });
      if (!again) sent.push([start, end]);
    });
    const bytes = new Uint8Array(60_000);
    for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 31 + (at >> 7)) & 255;
    client.sockets.send(near, bytes, 0, bytes.length);
    world.run({ until: world.now + 1 });
    paths[0]!.setUp(world.now, false);
    world.run({ until: world.now + 4000 });
    equal(server.sockets.recv(far, target, 0, 70_000), bytes.length, 'everything arrived');
    deepEqual(target.subarray(0, bytes.length), bytes, 'unchanged');
    const again = [...second.values()].filter((mapping) => mapping.again);
    ok(client.stack.counters.MPTCPRetrans > 0 && again.length > 0, `${again.length} mappings of data sent before`);
    for (const { length, bytes: carried, sum, isKnown } of again) {
      equal(isKnown, true, 'nothing but what was sent');
      equal(sum, checksums, 'a sum of its own');
      equal(carried, length, 'the mapping is there as a whole');
    }
    const { counters } = server.stack;
    deepEqual([counters.DataCsumErr, counters.DSSNotMatching, counters.DSSNoMatchTCP], [0, 0, 0], 'and right');
  });
}

test('H1.64, H1.65 a subflow on which data stays too long is stale, and recovers with an acknowledgment', () => {
  const { world, client, near, server, far, target, clientSide, paths, switched } = swallowing(30, [5]);
  const [working, failing] = clientSide.mptcp!.subflows;
  const { counters } = client.stack;
  // The other subflow acknowledges everything and brings nothing: the data waits for the failed one.
  switched.on = true;
  paths[1]!.setUp(world.now, false);
  client.sockets.send(near, new Uint8Array(60_000), 0, 60_000);
  world.run({ until: world.now + 1500 });
  equal(failing!.lossy, true, 'it brings nothing');
  deepEqual([failing!.stale, counters.SubflowStale], [false, 0], 'which may pass');
  world.run({ until: world.now + 60_000, condition: () => failing!.stale });
  equal(failing!.stale, true, 'it did not');
  equal(counters.SubflowStale, 1, 'counted');
  equal(working!.stale, false, 'the other one acknowledges');
  equal(counters.SubflowRecover, 0, 'no life so far');
  switched.on = false;
  paths[1]!.setUp(world.now, true);
  world.run({ until: world.now + 120_000, condition: () => !failing!.stale });
  deepEqual([failing!.stale, counters.SubflowRecover], [false, 1], 'it came back');
  world.run({ until: world.now + 10_000 });
  equal(server.sockets.recv(far, target, 0, 70_000), 60_000, 'no byte was lost');
  equal(counters.SubflowStale, 1, 'once');
});

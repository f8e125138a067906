import { deepEqual, equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { SequenceRewriter } from '../../src/link/index.ts';
import type { SeededRandom } from '../../src/sim/random.ts';
import { Mptcp } from '../../src/wire/mptcp-options.ts';
import { Flag, type Segment } from '../../src/wire/segment.ts';
import { path } from './exchange.ts';
import { pair } from './pair.ts';
import { observe } from './segments.ts';

const SIZE = 300_000;
/** Numbers begin so far below 2^32. */
const BEFORE_WRAP = 40_000;

/** Both sides send SIZE bytes over two paths with these boxes. */
function transfer(
  boxes: readonly SequenceRewriter[],
  onSegment: (fromA: boolean, segment: Segment, path: number) => void,
) {
  const both = pair({ paths: [path(boxes.slice(0, 1)), path(boxes.slice(1))] });
  const { world, clientApp, serverApp, serverAddress } = both;
  observe(world, onSegment);
  serverApp.listen(80, { toSend: SIZE });
  const client = clientApp.connect(0, serverAddress(0), 80, { toSend: SIZE });
  world.run({ until: 60_000, condition: () => client.closed && serverApp.ends[0]?.closed === true });
  return { ...both, ends: [client, serverApp.ends[0]!] };
}

test('C04 sequence numbers of both subflows go round 2^32 in both directions; mappings stay relative to their start', () => {
  const initial = [0, 1].map(() => ({ forward: -1, backward: -1 }));
  const plain = transfer([], (fromA, segment, index) => {
    if ((segment.flags & Flag.Syn) !== 0) initial[index]![fromA ? 'forward' : 'backward'] = segment.sequence;
  });
  // The same seed, so the same numbers, which a firewall moves to where they are wanted.
  const boxes = initial.map(({ forward, backward }) => {
    ok(forward >= 0 && backward >= 0, 'both paths were opened');
    const shifts = [-BEFORE_WRAP - forward, -BEFORE_WRAP - backward];
    return new SequenceRewriter({ word: () => shifts.shift()! >>> 0 } as SeededRandom);
  });
  const started = new Set<string>();
  const wrapped = new Set<string>();
  let furthest = 0;
  const { client, server, ends } = transfer(boxes, (fromA, segment, index) => {
    const flow = `${index} ${fromA}`;
    if ((segment.flags & Flag.Syn) !== 0 && segment.sequence === 2 ** 32 - BEFORE_WRAP) started.add(flow);
    if (segment.payloadEnd === segment.payloadStart) return;
    if (segment.sequence < 2 ** 31) wrapped.add(flow);
    const { mptcp } = segment;
    if ((mptcp.present & Mptcp.Dss) !== 0) furthest = Math.max(furthest, mptcp.subflowSequence);
  });
  equal(started.size, 4, `near the end of the space began ${[...started].join()}`);
  equal(wrapped.size, 4, `beyond it went ${[...wrapped].join()}`);
  ok(furthest > BEFORE_WRAP && furthest < 2 * SIZE, `subflow sequence numbers up to ${furthest}`);
  for (const end of ends) deepEqual([end.received, end.wrongAt, end.error, end.closed], [SIZE, -1, 0, true]);
  for (const { stack } of [client, server]) deepEqual(stack.defects, []);
  // Every counter stands where it stands without a wrap: nothing was taken for something else.
  deepEqual(client.stack.counters, plain.client.stack.counters);
  deepEqual(server.stack.counters, plain.server.stack.counters);
  deepEqual(server.stack.tcpCounters, plain.server.stack.tcpCounters);
});

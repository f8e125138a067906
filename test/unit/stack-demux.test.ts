import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Demux } from '../../src/stack/demux.ts';
import { type Endpoint, Tuple } from '../../src/tcp/endpoint.ts';
import { Address } from '../../src/wire/address.ts';
import { Segment } from '../../src/wire/segment.ts';

/** All that the table reads of an endpoint. */
class Entry {
  readonly tuple: Tuple;
  hashNext: Endpoint | null = null;
  constructor(tuple: Tuple) {
    this.tuple = tuple;
  }
}

function entry(tuple: Tuple): Endpoint {
  return new Entry(tuple) as unknown as Endpoint;
}

/** The segment that the peer of `tuple` sends. */
function segmentTo(tuple: Tuple): Segment {
  const { local, peer } = tuple;
  const segment = new Segment();
  segment.family = local.family;
  segment.destination0 = local.w0;
  segment.destination1 = local.w1;
  segment.destination2 = local.w2;
  segment.destination3 = local.w3;
  segment.source0 = peer.w0;
  segment.source1 = peer.w1;
  segment.source2 = peer.w2;
  segment.source3 = peer.w3;
  segment.destinationPort = tuple.localPort;
  segment.sourcePort = tuple.peerPort;
  return segment;
}

// Close to one another, so that tuples differ in one place only.
const addresses = ['10.0.0.1', '10.0.0.2', '::a00:1', 'fd00::1', 'fd00::1:0:0:1', 'fd00:0:1::1'].map((text) =>
  Address.of(text),
);
const address = fc.constantFrom(...addresses);
const port = fc.integer({ min: 1, max: 3 });
const tuples = fc
  .tuple(address, port, address, port)
  .filter(([local, , peer]) => local.family === peer.family)
  .map(([local, localPort, peer, peerPort]) => new Tuple(local, localPort, peer, peerPort));

test('the table of endpoints, with removals, finds what a map by name finds', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(tuples, fc.boolean()), { maxLength: 250 }), fc.integer(), (steps, seed) => {
      const demux = new Demux(seed);
      const model = new Map<string, Endpoint>();
      for (const [tuple, removes] of steps) {
        const name = tuple.toString();
        const known = model.get(name) ?? null;
        assert.equal(demux.find(segmentTo(tuple)), known);
        assert.equal(demux.get(tuple.local, tuple.localPort, tuple.peer, tuple.peerPort), known);
        if (removes) {
          demux.remove(known ?? entry(tuple));
          model.delete(name);
        } else if (known === null) {
          const added = entry(tuple);
          demux.insert(added);
          model.set(name, added);
        }
        assert.equal(demux.size, model.size);
        assert.equal(demux.has(tuple.local, tuple.localPort, tuple.peer, tuple.peerPort), model.has(name));
      }
      assert.deepEqual(new Set(demux), new Set(model.values()));
    }),
    { numRuns: 200 },
  );
});

test('thousands of endpoints stay in short chains, and leave none behind', () => {
  const demux = new Demux(0x1234567);
  const local = Address.of('10.0.0.1');
  const peer = Address.of('10.0.0.2');
  const all = Array.from({ length: 5000 }, (_nothing, index) => entry(new Tuple(local, 80, peer, index + 1)));
  for (const one of all) demux.insert(one);
  let longest = 0;
  for (const one of all) {
    let length = 1;
    for (let next = one.hashNext; next !== null; next = next.hashNext) length++;
    longest = Math.max(longest, length);
    assert.equal(demux.find(segmentTo(one.tuple)), one);
  }
  assert.ok(longest < 12, `a chain of ${longest}`);
  for (const one of all) demux.remove(one);
  assert.equal(demux.size, 0);
  assert.equal([...demux].length, 0);
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TcpCounters } from '../../src/tcp/counters.ts';
import type { EndpointEnvironment } from '../../src/tcp/endpoint.ts';
import { PathMtu } from '../../src/tcp/path-mtu.ts';

/** What of an environment a path looks at here. */
function pathOf(family: 4 | 6): PathMtu {
  const environment: Partial<EndpointEnvironment> = { mtu: 1500, counters: new TcpCounters() };
  return new PathMtu(environment as EndpointEnvironment, family, 1460);
}

const TEN_MINUTES = 600_000;

test('while nothing passes every size has its turn', () => {
  for (const [family, sizes] of [
    [4, [1280, 552, 1500, 1280, 552, 1500]],
    [6, [1280, 1500, 1280, 1500]],
  ] as const) {
    const path = pathOf(family);
    const seen = sizes.map((_, index) => {
      assert.equal(path.onBlackHole(index), true);
      return path.mtu;
    });
    assert.deepEqual(seen, sizes, `IPv${family}`);
  }
});

test('a suspicion is forgotten after half a minute, after twice the time with each, and after ten minutes at most', () => {
  const path = pathOf(4);
  let now = 0;
  for (const wait of [30_000, 60_000, 120_000, 240_000, 480_000, TEN_MINUTES, TEN_MINUTES]) {
    path.onBlackHole(now);
    // A second step of the same search is the same suspicion.
    path.onBlackHole(now);
    assert.equal(path.expire(now + wait - 1), false, `${wait} ms`);
    assert.equal(path.expire(now + wait), true, `${wait} ms`);
    assert.equal(path.mtu, 1500);
    now += wait;
  }
});

test('what a router said is believed for ten minutes, and makes no suspicion last longer', () => {
  const path = pathOf(4);
  path.onPacketTooBig(0, 1400);
  assert.equal(path.expire(TEN_MINUTES - 1), false);
  assert.equal(path.expire(TEN_MINUTES), true);
  path.onBlackHole(TEN_MINUTES);
  assert.equal(path.expire(TEN_MINUTES + 30_000), true, 'the first suspicion');
});

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StripOption } from '../../src/link/index.ts';
import type { SchedulerFactory, SubflowView } from '../../src/mptcp/seams.ts';
import { pair } from '../simulation/pair.ts';

const PATHS = [{ delay: 10 }, { delay: 10 }];

/** Only ever the second subflow, once there is one. */
const second: SchedulerFactory = () => {
  const choose = (subflows: readonly SubflowView[]): number => {
    const active = subflows.filter((view) => view.active);
    const wanted = active.length > 1 ? 2 : 1;
    return subflows.findIndex((view) => view.id === wanted && view.active && view.room > 0);
  };
  return {
    name: 'second',
    pick: (_now, subflows) => choose(subflows),
    retransmit: (_now, subflows) => choose(subflows),
  };
};

test('G1.18 a scheduler of one’s own decides which subflow carries the data', () => {
  const { world, clientApp, serverApp, client, serverAddress } = pair({ paths: PATHS, client: { scheduler: second } });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 3e6 });
  let before = -1;
  let shares: number[] = [];
  world.run({
    until: 10_000,
    condition: () => {
      const paths = client.sockets.info(end.descriptor)?.paths ?? [];
      if (paths.length === 2 && paths[1]!.state === 'established') {
        shares = paths.map((path) => path.sent);
        if (before < 0) before = shares[0]!;
      }
      return serverApp.ends[0]?.ended === true;
    },
  });
  assert.equal(serverApp.ends[0]!.received, 3e6);
  assert.equal(serverApp.ends[0]!.wrongAt, -1);
  assert.ok(before > 0 && shares[0] === before, `the first stays at ${before}, not ${shares[0]}`);
  assert.ok(shares[1]! > 10 * before);
});

test('G1.11 after fallback the first subflow carries everything, whatever the scheduler says', () => {
  const nobody: SchedulerFactory = () => ({ name: 'nobody', pick: () => -1, retransmit: () => -1 });
  const { world, clientApp, serverApp, client, serverAddress } = pair({
    paths: [{ delay: 10, middleboxes: [new StripOption({ on: 'syn-ack' })] }, { delay: 10 }],
    client: { scheduler: nobody },
  });
  serverApp.listen(80);
  const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 300_000 });
  const seen = new Set<string>();
  world.run({
    until: 400,
    condition: () => {
      const info = client.sockets.info(end.descriptor);
      if (info !== undefined && end.connected) seen.add(`${info.multipath} ${info.paths.map((path) => path.id)}`);
      return false;
    },
  });
  assert.ok(seen.delete('false 1'));
  seen.delete('false '); // over
  assert.deepEqual([...seen], []);
  assert.equal(serverApp.ends[0]!.received, 300_000);
});

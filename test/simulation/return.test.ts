import { equal, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { mbit } from '../../src/link/index.ts';
import { pair } from './pair.ts';

const BOTH = [
  { rate: mbit(30), delay: 10 },
  { rate: mbit(20), delay: 30 },
];

for (const outage of [500, 3000, 8000, 20_000]) {
  test(`K08, G1.14 a path that was dead for ${outage} ms carries data within two seconds of its return`, () => {
    const { world, paths, clientApp, serverApp, client, serverAddress } = pair({ paths: BOTH });
    serverApp.listen(80);
    const end = clientApp.connect(0, serverAddress(0), 80, { toSend: 200e6 });
    world.run({ until: 3000 });
    const first = client.sockets.connectionOf(end.descriptor)!.mptcp!.subflows[0]!;
    ok(first.bytesSent > 1e6, 'both paths are in use');
    paths[0]!.setUp(world.now, false);
    world.run({ until: 3000 + outage });
    const delivered = () => serverApp.ends[0]!.received;
    if (outage >= 3000) {
      // The other path alone: 20 Mbit/s, of which payload is 0.949.
      const before = delivered();
      const from = world.now;
      world.run({ until: from + 1000 });
      ok(delivered() - before > 0.9 * 0.949 * 2.5e6, 'the other path goes on at its rate');
      ok(first.lossy, 'the dead one is known for dead');
    }
    const back = world.now;
    paths[0]!.setUp(back, true);
    world.run({ until: back + 2000 });
    const before = delivered();
    world.run({ until: back + 4000 });
    const rate = ((delivered() - before) * 8) / 2000 / 1000;
    ok(rate > 0.9 * 0.949 * 50, `${rate.toFixed(1)} Mbit/s over both again`);
    equal(serverApp.ends[0]!.wrongAt, -1);
    equal(client.stack.defects.length, 0);
  });
}

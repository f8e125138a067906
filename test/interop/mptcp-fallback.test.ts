import assert from 'node:assert/strict';
import { patternDigest } from './harness/pattern.ts';
import { interop, ROLES, type Scenario, type Side, type Stream } from './harness/scenario.ts';

/** Plain TCP between this stack and the kernel's: from the start, or because something on the path forces it. */

async function plain(s: Scenario, client: Stream, server: Stream): Promise<void> {
  await s.transfer(client, server, 300_000);
  await s.transfer(server, client, 300_000);
  assert.deepEqual([await client.isMultipath(), await server.isMultipath()], [false, false]);
  await s.close(client, server);
}

/** The direction in which what `side` sends passes a filter. */
function from(side: Side): 'in' | 'out' {
  return side.isKernel ? 'in' : 'out';
}

for (const role of ROLES) {
  interop(`A2.24 A8.01 ${role.title}: a plain client at an MPTCP server`, {}, async (s) => {
    const [client, server] = role.of(s);
    const pair = await s.connect(client, server, { client: 'tcp' });
    await plain(s, pair.client, pair.server);
    await server.counts({ MPCapableSYNRX: 0, MPCurrEstab: 0 });
  });

  interop(
    `A8.02 A8.20 H1.06 ${role.title}: an MPTCP client at a plain server, and no joins afterwards`,
    { paths: 2 },
    async (s) => {
      const [client, server] = role.of(s);
      await client.addEndpoint(1, { subflow: true });
      const pair = await s.connect(client, server, { server: 'tcp' });
      await plain(s, pair.client, pair.server);
      await client.counts({ MPCapableSYNTX: 1, MPCapableFallbackSYNACK: 1, MPJoinSynTx: 0, MPCurrEstab: 0 });
    },
  );

  interop(
    `A2.15 A2.16 A8.04 A8.05 H1.07 H1.08 H1.71 ${role.title}: SYNs with MP_CAPABLE vanish; the next connection does not even ask`,
    { tcp: { initialRto: 200 }, timeout: 15_000 },
    async (s) => {
      const [client, server] = role.of(s);
      const rule = await s.filter(0, { direction: from(client), match: 'mp-capable-syn', action: 'drop' });
      const pair = await s.connect(client, server);
      assert.equal(await s.filtered(0, rule), 3, 'the first SYN and two more');
      await plain(s, pair.client, pair.server);
      await client.counts({ MPCapableSYNTX: 1, MPCapableSYNTXDrop: 1, Blackhole: 1 });
      await s.unfilter(0, rule);
      const next = await s.connect(client, server);
      await plain(s, next.client, next.server);
      await client.counts({ MPCapableSYNTX: 1, MPCapableSYNTXDisabled: 1 });
    },
  );

  interop(
    `A8.03 A8.24 H1.05 ${role.title}: the third ACK is lost, and what arrives first is out of order`,
    {},
    async (s) => {
      const [client, server] = role.of(s);
      await s.filter(0, { direction: from(client), match: 'pure-ack', action: 'drop', count: 1 });
      await s.filter(0, { direction: from(client), match: 'data', action: 'drop', count: 1 });
      const pair = await s.connect(client, server, { clientDoes: { bytes: 60_000, end: false } });
      s.check(await pair.server.received(60_000), 1, 60_000);
      pair.client.given = 60_000;
      await server.counts({ MPCapableSYNRX: 1, MPCapableFallbackACK: 1 });
      await plain(s, pair.client, pair.server);
    },
  );

  for (const down of [false, true]) {
    const who = down ? 'server' : 'client';
    const checksums = { mptcp: { checksums: true }, sysctls: { 'net.mptcp.checksum_enabled': 1 } };

    interop(
      `A5.24 A7.06 A8.15 A8.17 H1.28 H1.29 H1.31 H1.57 H1.58 ${role.title}: a byte from the ${who} changes on the only path: MP_FAIL, then plain TCP`,
      { ...checksums, offload: false },
      async (s) => {
        const { client, server } = await s.connect(...role.of(s));
        const [sender, receiver] = down ? [server, client] : [client, server];
        await s.transfer(client, server, 50_000);
        await s.transfer(server, client, 50_000);
        const direction = from(sender.side);
        const rule = await s.filter(0, { direction, match: 'data', action: 'corrupt', count: 1 });
        if (sender.side.isKernel) {
          // The kernel gives a full segment with the infinite mapping more bytes than the MTU allows, and it never
          // arrives (6.18); so it gets to send a small one.
          await sender.send(1000);
          await sender.side.counts({ MPFailRx: 1 });
          await sender.send(500);
          await receiver.received(sender.given);
        }
        await sender.send(400_000);
        const { received, sha256, error } = await receiver.received(sender.given);
        assert.equal(await s.filtered(0, rule), 1);
        assert.deepEqual([received, error], [sender.given, '']);
        assert.notEqual(sha256, patternDigest(1, received), 'the change went through: there is no other path');
        assert.deepEqual([await client.isMultipath(), await server.isMultipath()], [false, false]);
        await receiver.side.counts({ DataCsumErr: 1, MPFailTx: 1, InfiniteMapRx: 1 });
        await sender.side.counts({ MPFailRx: 1, InfiniteMapTx: 1 });
        // The other direction was never touched.
        await s.transfer(receiver, sender, 100_000);
        await s.close(client, server);
      },
    );

    interop(
      `A7.05 A7.07 A8.14 ${role.title}: a byte from the ${who} changes on one of two paths: that path is reset, the data come anew`,
      { ...checksums, paths: 2, offload: false },
      async (s) => {
        const [near, far] = role.of(s);
        await near.addEndpoint(1, { subflow: true });
        const { client, server } = await s.connect(near, far);
        await s.subflows(2, client, server);
        const [sender, receiver] = down ? [server, client] : [client, server];
        await s.filter(1, { direction: from(sender.side), match: 'data', action: 'corrupt', count: 1 });
        // Whether and when data takes this path is the scheduler's to say.
        await s.eventually('a byte was changed, and found', async () => {
          await s.transfer(sender, receiver, 500_000);
          return (await receiver.side.counter('DataCsumErr')) === 1;
        });
        await s.subflows(1, client, server);
        await receiver.side.counts({ MPFailTx: 1, InfiniteMapRx: 0 });
        await sender.side.counts({ MPFailRx: 1, MPRstRx: 1, InfiniteMapTx: 0 });
        assert.deepEqual([await client.isMultipath(), await server.isMultipath()], [true, true]);
        await s.transfer(receiver, sender, 300_000);
        await s.close(client, server);
      },
    );
  }
}

import assert from 'node:assert/strict';
import { interop, ROLES, type Scenario, type Side } from './harness/scenario.ts';

/** How connections between this stack and the kernel's end, and what happens when windows close. */

/** Nothing of the connection is left but TIME-WAITs. */
async function gone(s: Scenario): Promise<void> {
  await s.eventually('the kernel has no connection any more', async () => {
    const open = s.namespace.run('ss', ['-HMtan']).split('\n');
    return open.every((line) => line.trim() === '' || /LISTEN|TIME-WAIT/.test(line));
  });
  for (const side of [s.ours, s.kernel]) await side.counts({ MPCurrEstab: 0 });
}

function from(side: Side): 'in' | 'out' {
  return side.isKernel ? 'in' : 'out';
}

for (const role of ROLES) {
  interop(
    `A10.01 A10.02 A10.03 ${role.title}: one closes, then the other, with two subflows`,
    { paths: 2 },
    async (s) => {
      const [near, far] = role.of(s);
      await near.addEndpoint(1, { subflow: true });
      const { client, server } = await s.connect(near, far);
      await s.subflows(2, client, server);
      await s.transfer(client, server, 100_000);
      await client.finish();
      assert.equal((await server.ended()).error, '');
      await s.transfer(server, client, 100_000);
      await s.close(server, client);
      await gone(s);
      for (const side of [near, far]) await side.counts({ MPRstTx: 0, MPRstRx: 0 });
    },
  );

  interop(`A10.01 ${role.title}: both close at once`, { paths: 2 }, async (s) => {
    const [near, far] = role.of(s);
    await near.addEndpoint(1, { subflow: true });
    const { client, server } = await s.connect(near, far);
    await s.subflows(2, client, server);
    await Promise.all([client.send(200_000, { end: true }), server.send(200_000, { end: true })]);
    for (const stream of [client, server]) assert.equal((await stream.closed()).error, '');
    s.check(await server.result(), 1, 200_001);
    s.check(await client.result(), 1, 200_000);
    await gone(s);
  });

  interop(`A9.13 ${role.title}: the client's DATA_FIN is lost and comes again`, {}, async (s) => {
    const { client, server } = await s.connect(...role.of(s));
    const rule = await s.filter(0, { direction: from(client.side), match: 'data-fin', action: 'drop', count: 2 });
    await client.finish();
    assert.equal((await server.ended()).error, '');
    assert.equal(await s.filtered(0, rule), 2);
    await s.transfer(server, client, 100_000);
    await s.close(server, client);
    await gone(s);
  });

  for (const down of [false, true]) {
    const who = down ? 'server' : 'client';

    interop(
      `A7.10 A7.11 H1.59 H1.60 ${role.title}: the ${who} aborts, and the other side learns it on two subflows`,
      { paths: 2 },
      async (s) => {
        const [near, far] = role.of(s);
        await near.addEndpoint(1, { subflow: true });
        const { client, server } = await s.connect(near, far);
        await s.subflows(2, client, server);
        await s.transfer(client, server, 100_000);
        const [killer, victim] = down ? [server, client] : [client, server];
        await killer.reset();
        assert.equal((await victim.closed()).error, 'ECONNRESET');
        // The first ends both subflows; whether the second one's is still looked at is a matter of microseconds.
        await s.eventually('it was told why', async () => (await victim.side.counter('MPFastcloseRx')) >= 1);
        assert.ok((await killer.side.counter('MPFastcloseTx')) >= 1);
        await gone(s);
      },
    );

    interop(`A7.14 A10.13 ${role.title}: the ${who} closes and leaves data unread`, {}, async (s) => {
      const { client, server } = await s.connect(...role.of(s));
      const [quitter, victim] = down ? [server, client] : [client, server];
      await quitter.pause();
      // More than a paused program of Node's takes from its socket all the same.
      const sending = victim.send(400_000).catch(() => {});
      await s.pause(300);
      await quitter.close();
      assert.equal((await victim.closed()).error, 'ECONNRESET');
      await sending;
      await s.eventually('it was told why', async () => (await victim.side.counter('MPFastcloseRx')) >= 1);
      await gone(s);
    });

    interop(
      `A9.01 A9.06 ${role.title}: the ${who} does not read for a while, and the window's opening is lost`,
      { paths: 2 },
      async (s) => {
        const [near, far] = role.of(s);
        await near.addEndpoint(1, { subflow: true });
        const { client, server } = await s.connect(near, far);
        await s.subflows(2, client, server);
        const [reader, sender] = down ? [server, client] : [client, server];
        await reader.pause();
        const before = (await reader.result()).received;
        const sending = sender.send(12_000_000);
        let last = -1;
        await s.eventually('the window is closed', async () => {
          await s.pause(100);
          const now = await sender.acknowledged();
          const isStuck = now === last && now > 0;
          last = now;
          return isStuck;
        });
        for (const path of [0, 1]) {
          await s.filter(path, { direction: from(reader.side), match: 'pure-ack', action: 'drop', count: 1 });
        }
        await reader.resume();
        s.check(await reader.received(before + 12_000_000), 1, before + 12_000_000);
        await sending;
        await s.close(sender, reader);
      },
    );
  }

  interop(`${role.title}: nobody listens`, {}, async (s) => {
    const [near, far] = role.of(s);
    const attempt = near.child.call('connect', { host: far.address(0), port: 1 });
    await assert.rejects(attempt, { code: 'ECONNREFUSED' });
  });
}

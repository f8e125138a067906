import assert from 'node:assert/strict';
import { patternDigest } from './harness/pattern.ts';
import { interop, ROLES, type Scenario, type Stream } from './harness/scenario.ts';

/** Bytes of every size over connections between this stack and the kernel's, in both roles. */

for (const role of ROLES) {
  for (const family of [4, 6] as const) {
    interop(
      `A2.02 A2.03 A2.04 A2.05 A2.25 H1.01 H1.02 H1.03 H1.04 H1.70 IPv${family}, ${role.title}: 1 byte, then 1 MB back`,
      { families: [family] },
      async (s) => {
        const [from, to] = role.of(s);
        const { client, server } = await s.connect(from, to);
        await s.transfer(server, client, 1_000_000);
        assert.deepEqual([await client.isMultipath(), await server.isMultipath()], [true, true]);
        await from.counts({ MPCapableSYNTX: 1, MPCapableSYNACKRX: 1, MPCurrEstab: 1 });
        await to.counts({ MPCapableSYNRX: 1, MPCapableACKRX: 1, MPCurrEstab: 1 });
        await s.close(client, server);
        for (const side of [from, to])
          await side.counts({ MPCurrEstab: 0, MPRstTx: 0, MPTCPRetrans: 0, DataCsumErr: 0 });
      },
    );
  }

  interop(`A2.07 ${role.title}: the server speaks first`, {}, async (s) => {
    const { client, server } = await s.connect(...role.of(s), { serverDoes: { bytes: 100_000, end: false } });
    s.check(await client.received(100_000), 1, 100_000);
    await s.transfer(client, server, 100_000);
    assert.deepEqual([await client.isMultipath(), await server.isMultipath()], [true, true]);
    await s.close(client, server);
  });

  interop(`A2.08 ${role.title}: both speak at once, 5 MB each way on two subflows`, { paths: 2 }, async (s) => {
    const [from, to] = role.of(s);
    await from.addEndpoint(1, { subflow: true });
    const { client, server } = await s.connect(from, to, {
      clientDoes: { bytes: 5_000_000, seed: 3 },
      serverDoes: { bytes: 5_000_000, seed: 4 },
    });
    s.check(await client.ended(), 4, 5_000_000);
    s.check(await server.ended(), 3, 5_000_000);
  });

  for (const [ours, kernel] of [
    [true, false],
    [false, true],
    [true, true],
  ] as const) {
    const who = ours && kernel ? 'both want' : ours ? 'we want' : 'the kernel wants';
    interop(
      `A1.07 A5.20 A5.21 A5.23 checksums, ${who} them, ${role.title}: 2 MB each way`,
      { paths: 2, mptcp: { checksums: ours }, sysctls: { 'net.mptcp.checksum_enabled': kernel ? 1 : 0 } },
      async (s) => {
        const [from, to] = role.of(s);
        await from.addEndpoint(1, { subflow: true });
        const { client, server } = await s.connect(from, to);
        await s.transfer(client, server, 2_000_000);
        await s.subflows(2, client, server);
        await s.transfer(server, client, 2_000_000);
        assert.deepEqual([await client.usesChecksums(), await server.usesChecksums()], [true, true]);
        await s.close(client, server);
        for (const side of [from, to]) await side.counts({ DataCsumErr: 0, MPRstTx: 0 });
      },
    );
  }

  interop(`${role.title}: without offload, 3 MB each way`, { paths: 2, offload: false }, async (s) => {
    const [from, to] = role.of(s);
    await from.addEndpoint(1, { subflow: true });
    const { client, server } = await s.connect(from, to);
    await s.transfer(client, server, 3_000_000);
    await s.transfer(server, client, 3_000_000);
    await s.close(client, server);
  });

  interop(`A10.10 ${role.title}: requests and answers, then each half closes on its own`, {}, async (s) => {
    const { client, server } = await s.connect(...role.of(s), { serverDoes: { mode: 'echo', end: false } });
    for (let round = 1; round <= 40; round++) {
      await client.send(1000 * round);
      await client.received((1000 * round * (round + 1)) / 2);
    }
    await client.finish();
    assert.equal((await server.ended()).received, 820_000);
    // The other half is still open.
    await server.send(180_000);
    const { received, error } = await client.received(1_000_000);
    assert.deepEqual([received, error], [1_000_000, '']);
    await s.close(server, client);
  });

  interop(`A4.19 A5.02 ${role.title}: from 1 subflow to 8, each joining while data flows`, { paths: 8 }, async (s) => {
    const [from, to] = role.of(s);
    const { client, server } = await s.connect(from, to, { serverDoes: { mode: 'echo' } });
    let total = 0;
    for (let path = 0; path < 8; path++) {
      if (path > 0) await from.addEndpoint(path, { subflow: true });
      total += 300_000;
      await client.send(300_000);
      await s.subflows(path + 1, client, server);
      await client.received(total);
    }
    await client.finish();
    s.check(await client.ended(), 1, total);
    await from.counts({ MPJoinSynTx: 7, MPJoinSynAckRx: 7 });
    await to.counts({ MPJoinSynRx: 7, MPJoinAckRx: 7 });
  });

  interop(`H1.70 ${role.title}: 200 connections at once`, { timeout: 30_000 }, async (s) => {
    const [from, to] = role.of(s);
    const port = await to.listen({ mode: 'echo' });
    const opened = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        from.child.call<{ connection: number }>('connect', {
          host: to.address(0),
          port,
          bytes: 20_000 + index,
          seed: index,
        }),
      ),
    );
    const digests = opened.map((_, index) => patternDigest(index, 20_000 + index));
    for (const [index, { connection }] of opened.entries()) {
      const result = await from.child.call<{ sha256: string }>('wait', { connection, until: 'close' });
      assert.equal(result.sha256, digests[index], `connection ${index}`);
    }
    await from.counts({ MPCapableSYNTX: 200, MPCapableSYNACKRX: 200, MPCurrEstab: 0 });
    await to.counts({ MPCapableSYNRX: 200, MPCapableACKRX: 200, MPCurrEstab: 0 });
  });
}

/** The digest of a gigabyte is worked out once. */
const GIGABYTE = 1_000_000_000;
let gigabyteDigest: string | undefined;

async function gigabyte(s: Scenario, from: Stream, to: Stream): Promise<void> {
  gigabyteDigest ??= patternDigest(7, GIGABYTE);
  const { elapsed } = await s.transfer(from, to, GIGABYTE, {
    seed: 7,
    end: true,
    timeout: 60_000,
    digest: gigabyteDigest,
  });
  s.note(`1 GB in ${(elapsed / 1000).toFixed(2)} s: ${((GIGABYTE * 8) / 1e6 / elapsed).toFixed(2)} Gbit/s`);
  await to.finish();
  assert.equal((await from.closed()).error, '');
}

const BULK = { capture: false, timeout: 60_000 };

interop('1 GB from us to the kernel', BULK, async (s) => {
  const { client, server } = await s.connect(s.ours, s.kernel, { greet: false });
  await gigabyte(s, client, server);
});

interop('1 GB from the kernel to us', BULK, async (s) => {
  const { client, server } = await s.connect(s.kernel, s.ours, { greet: false });
  await gigabyte(s, client, server);
});

/** RFC 8684 §3.3.1: relative subflow sequence numbers have 32 bits. */
const WRAP = 4_400_000_000;
/** A machine with other things to do takes its time. */
const LONG = { capture: false, timeout: 200_000 };

for (const role of ROLES) {
  interop(`A5.04 ${role.title}: more than 4 GiB on one subflow`, LONG, async (s) => {
    const [from, to] = role.of(s);
    const { client, server } = await s.connect(from, to, { serverDoes: { mode: 'discard' } });
    await client.send(WRAP, { end: true, timeout: 150_000 });
    const { received, error, elapsed } = await server.ended(150_000);
    assert.deepEqual([received, error], [WRAP, '']);
    s.note(`${((WRAP * 8) / 1e6 / elapsed).toFixed(2)} Gbit/s`);
    await s.close(client, server);
  });
}

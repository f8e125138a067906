import assert from 'node:assert/strict';
import { interop, ROLES, type Scenario, type Stream } from './harness/scenario.ts';

/** Addresses and subflows between this stack and the kernel's: announced, joined, refused, withdrawn, preferred. */

/** Queues that lose nothing: after a retransmission timeout a backup may be used. */
const SHAPED = [
  { rate: 100, delay: 2, queue: 3_000_000 },
  { rate: 100, delay: 2, queue: 3_000_000 },
];

/** Bytes that a stream's side put on the subflow whose own or peer's address is `address`. */
async function sentVia(stream: Stream, address: string): Promise<number> {
  const ways = await stream.ways();
  return ways
    .filter(({ local, peer }) => local === address || peer === address)
    .reduce((sum, { sent }) => sum + sent, 0);
}

async function both(s: Scenario, client: Stream, server: Stream, bytes = 300_000): Promise<void> {
  await s.transfer(client, server, bytes);
  await s.transfer(server, client, bytes);
}

for (const role of ROLES) {
  interop(
    `A4.01 A4.08 A4.10 A4.12 E1.03 H1.13 H1.15 H1.18 H1.21 ${role.title}: the client joins from its second address`,
    { paths: SHAPED },
    async (s) => {
      const [from, to] = role.of(s);
      await from.addEndpoint(1, { subflow: true });
      const { client, server } = await s.connect(from, to);
      await s.subflows(2, client, server);
      await s.transfer(client, server, 1_000_000);
      await s.transfer(server, client, 1_000_000);
      for (const stream of [client, server]) {
        for (const path of [0, 1]) {
          assert.ok((await sentVia(stream, from.address(path))) > 50_000, `${stream.side.name} uses path ${path}`);
        }
      }
      await s.close(client, server);
      await from.counts({ MPJoinSynTx: 1, MPJoinSynAckRx: 1, MPRstTx: 0, MPRstRx: 0 });
      await to.counts({ MPJoinSynRx: 1, MPJoinAckRx: 1, MPRstTx: 0, MPRstRx: 0 });
    },
  );

  interop(
    `A6.01 A6.02 A6.03 E1.02 E2.01 E2.03 H1.37 H1.38 H1.40 H1.41 ${role.title}: the server announces an address, the client joins it`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      await to.addEndpoint(1, { signal: true });
      const { client, server } = await s.connect(from, to, { greet: false });
      await s.subflows(2, client, server);
      assert.deepEqual((await client.ways()).map(({ peer }) => peer).sort(), [to.address(0), to.address(1)]);
      await both(s, client, server);
      await s.close(client, server);
      await to.counts({ AddAddrTx: 1, EchoAdd: 1, MPJoinSynRx: 1, MPJoinAckRx: 1 });
      await from.counts({ AddAddr: 1, EchoAddTx: 1, MPJoinSynTx: 1 });
    },
  );

  interop(
    `A4.16 E1.10 H1.43 H1.45 H1.46 H1.47 ${role.title}: the server announces an address with a port, the client joins there`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      await to.addEndpoint(1, { signal: true, port: 5999 });
      const { client, server } = await s.connect(from, to, { greet: false });
      await s.subflows(2, client, server);
      const joined = (await client.ways()).find(({ peer }) => peer === to.address(1));
      assert.equal(joined?.peerPort, 5999);
      await both(s, client, server);
      await s.close(client, server);
      await from.counts({ PortAdd: 1, AddAddr: 1, MPJoinPortSynAckRx: 1 });
      await to.counts({ AddAddrTx: 1, EchoAdd: 1, MPJoinPortSynRx: 1, MPJoinPortAckRx: 1 });
    },
  );

  interop(`E1.11 H1.09 ${role.title}: a port announced for joins takes no new connection`, { paths: 2 }, async (s) => {
    const [from, to] = role.of(s);
    await to.addEndpoint(1, { signal: true, port: 5998 });
    const { client, server } = await s.connect(from, to);
    await s.subflows(2, client, server);
    const attempt = from.child.call('connect', { protocol: 'mptcp', host: to.address(1), port: 5998 });
    await assert.rejects(attempt, { code: 'ECONNREFUSED' });
    await s.close(client, server);
    await to.counts({ MPCapableEndpAttempt: 1 });
  });

  for (const [first, second] of [
    [4, 6],
    [6, 4],
  ] as const) {
    interop(
      `A6.18 A2.25 ${role.title}: an IPv${first} connection gets an IPv${second} subflow`,
      { paths: 2, families: [4, 6] },
      async (s) => {
        const [from, to] = role.of(s);
        await to.addEndpoint(1, { signal: true, family: second });
        const { client, server } = await s.connect(from, to, { family: first, dual: true, greet: false });
        await s.subflows(2, client, server);
        assert.deepEqual(
          (await client.ways()).map(({ peer }) => peer).sort(),
          [to.address(0, first), to.address(1, second)].sort(),
        );
        await both(s, client, server);
        await s.close(client, server);
      },
    );
  }

  interop(`A6.04 ${role.title}: an announcement whose echo is lost is repeated`, { paths: 2 }, async (s) => {
    const [from, to] = role.of(s);
    const direction = from.isKernel ? 'in' : 'out';
    for (const path of [0, 1])
      await s.filter(path, { direction, match: 'add-addr-echo', action: 'drop', count: path === 0 ? 1 : 0 });
    await to.addEndpoint(1, { signal: true });
    const { client, server } = await s.connect(from, to);
    await s.subflows(2, client, server);
    await to.counts({ AddAddrTx: 2, EchoAdd: 1 });
    await from.counts({ AddAddr: 2, EchoAddTx: 2, MPJoinSynTx: 1 });
    await both(s, client, server);
    await s.close(client, server);
  });

  interop(`A4.09 ${role.title}: the third ACK of a join is lost and comes again`, { paths: 2 }, async (s) => {
    const [from, to] = role.of(s);
    const direction = from.isKernel ? 'in' : 'out';
    const rule = await s.filter(1, { direction, match: 'mp-join-ack', action: 'drop', count: 1 });
    await from.addEndpoint(1, { subflow: true });
    const { client, server } = await s.connect(from, to);
    await s.subflows(2, client, server);
    assert.equal(await s.filtered(1, rule), 1);
    await both(s, client, server);
    await s.close(client, server);
    await to.counts({ MPJoinAckRx: 1 });
  });

  interop(
    `A6.11 A6.13 E2.05 E2.06 E2.07 H1.50 H1.52 H1.54 ${role.title}: the client withdraws an address in use, and gives it again`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      const id = await from.addEndpoint(1, { subflow: true });
      const { client, server } = await s.connect(from, to);
      await s.subflows(2, client, server);
      await from.removeEndpoint(id);
      await s.subflows(1, client, server);
      await from.counts({ RmAddrTx: 1, RmSubflow: 1 });
      await to.counts({ RmAddr: 1, RmSubflow: 0 });
      await both(s, client, server);
      // E2.06: an endpoint that comes while connections live is used by them.
      await from.addEndpoint(1, { subflow: true });
      await s.subflows(2, client, server);
      await both(s, client, server);
      await s.close(client, server);
    },
  );

  interop(
    `A6.11 E2.05 E2.07 ${role.title}: the server withdraws an announced address in use`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      const id = await to.addEndpoint(1, { signal: true });
      const { client, server } = await s.connect(from, to);
      await s.subflows(2, client, server);
      await to.removeEndpoint(id);
      await s.subflows(1, client, server);
      await to.counts({ RmAddrTx: 1, RmSubflow: 1 });
      await from.counts({ RmAddr: 1, RmSubflow: 0 });
      await both(s, client, server);
      await s.close(client, server);
    },
  );

  interop(
    `A4.04 E2.14 H1.20 ${role.title}: a join beyond the server's limit is refused, the connection lives`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      await to.setLimits(0, 0);
      await from.addEndpoint(1, { subflow: true });
      const { client, server } = await s.connect(from, to);
      await to.counts({ MPJoinSynRx: 1, MPJoinRejected: 1, MPJoinAckRx: 0 });
      // The kernel counts these resets neither when it sends nor when it receives them.
      await s.ours.counts(from.isKernel ? { MPRstTx: 1 } : { MPRstRx: 1 });
      await s.subflows(1, client, server);
      await both(s, client, server);
      await s.close(client, server);
    },
  );

  interop(
    `A1.09 A6.19 E2.04 E2.16 ${role.title}: a server that denies joins to its address is joined where it announces`,
    { paths: 2, mptcp: { allowJoinInitial: false }, sysctls: { 'net.mptcp.allow_join_initial_addr_port': 0 } },
    async (s) => {
      const [from, to] = role.of(s);
      await from.setLimits(2, 0);
      await from.addEndpoint(1, { subflow: true });
      const { client, server } = await s.connect(from, to);
      await both(s, client, server);
      assert.equal(await from.counter('MPJoinSynTx'), 0, 'no join to the initial address');
      await to.addEndpoint(1, { signal: true });
      await s.subflows(2, client, server);
      const joined = (await client.ways()).find(({ peer }) => peer === to.address(1));
      assert.equal(joined?.local, from.address(1));
      await both(s, client, server);
      await s.close(client, server);
    },
  );

  interop(
    `E1.05 ${role.title}: two full-mesh addresses and an announced one make four subflows`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      for (const path of [0, 1]) await from.addEndpoint(path, { subflow: true, fullmesh: true });
      await to.addEndpoint(1, { signal: true });
      const { client, server } = await s.connect(from, to);
      await s.subflows(4, client, server);
      const pairs = new Set((await client.ways()).map(({ local, peer }) => `${local} ${peer}`));
      assert.equal(pairs.size, 4);
      await both(s, client, server);
      await s.close(client, server);
    },
  );

  interop(
    `A4.13 E1.04 A7.02 H1.14 ${role.title}: a backup path carries nothing until the other one dies`,
    { paths: SHAPED, timeout: 25_000 },
    async (s) => {
      const [from, to] = role.of(s);
      await from.addEndpoint(1, { subflow: true, backup: true });
      const { client, server } = await s.connect(from, to);
      await s.subflows(2, client, server);
      await to.counts({ MPJoinSynBackupRx: 1 });
      await both(s, client, server, 1_000_000);
      for (const stream of [client, server]) {
        assert.equal(await sentVia(stream, from.address(1)), 0, `${stream.side.name} spares the backup`);
      }
      await s.kill(0);
      await s.transfer(client, server, 500_000);
      await s.transfer(server, client, 500_000);
      for (const stream of [client, server]) assert.ok((await sentVia(stream, from.address(1))) >= 500_000);
    },
  );

  interop(
    `A7.01 E2.09 H1.55 H1.56 ${role.title}: MP_PRIO takes a path out of use, and back in`,
    { paths: SHAPED },
    async (s) => {
      const [from, to] = role.of(s);
      const id = await from.addEndpoint(1, { subflow: true });
      const { client, server } = await s.connect(from, to);
      await s.subflows(2, client, server);
      await from.setBackup(id, true);
      await from.counts({ MPPrioTx: 1 });
      await to.counts({ MPPrioRx: 1 });
      const before = await Promise.all([client, server].map((stream) => sentVia(stream, from.address(1))));
      await both(s, client, server, 1_000_000);
      const idle = await Promise.all([client, server].map((stream) => sentVia(stream, from.address(1))));
      assert.deepEqual(idle, before, 'nothing on the backup, either way');
      await from.setBackup(id, false);
      await to.counts({ MPPrioRx: 2 });
      await both(s, client, server, 6_000_000);
      const busy = await Promise.all([client, server].map((stream) => sentVia(stream, from.address(1))));
      for (const [index, bytes] of busy.entries())
        assert.ok(bytes > idle[index]! + 50_000, `${bytes} after ${idle[index]}`);
      await s.close(client, server);
    },
  );
}

interop(
  'A1.29 H1.39 an IPv6 address with a port does not fit beside timestamps: not sent, and nothing waits for it',
  { paths: 3, families: [6] },
  async (s) => {
    await s.ours.addEndpoint(1, { signal: true, port: 5999, family: 6 });
    await s.ours.addEndpoint(2, { signal: true, family: 6 });
    const { client, server } = await s.connect(s.kernel, s.ours, { family: 6 });
    await s.subflows(2, client, server);
    await s.ours.counts({ AddAddrTxDrop: 1, AddAddrTx: 1 });
    await both(s, client, server);
    await s.close(client, server);
  },
);

for (const role of ROLES) {
  interop(
    `E1.17 E1.18 E2.06 E2.07 ${role.title}: each of our addresses goes in its turn, and comes back`,
    { paths: 2 },
    async (s) => {
      const isClient = !role.of(s)[0].isKernel;
      for (const path of [0, 1]) await s.ours.addEndpoint(path, isClient ? { subflow: true } : { signal: true });
      const { client, server } = await s.connect(...role.of(s));
      const ours = isClient ? client : server;
      await s.subflows(2, client, server);
      for (const path of [1, 0, 1]) {
        await s.removeAddress(path);
        await s.subflows(1, client, server);
        await both(s, client, server);
        await s.addAddress(path);
        await s.subflows(2, client, server);
        assert.deepEqual((await ours.ways()).map(({ local }) => local).sort(), [s.ours.address(0), s.ours.address(1)]);
        await both(s, client, server);
      }
      await s.close(client, server);
      await s.kernel.counts({ RmAddr: 3 });
    },
  );
}

import assert from 'node:assert/strict';
import { interop, ROLES, type Scenario, type Side, type Stream } from './harness/scenario.ts';

/** Paths that end in the middle of a transfer: politely, impolitely and silently, whoever sends. */

/** The first is the busier one. Round trips of 20 ms, and queues of as much again. */
const TWO = [
  { rate: 40, delay: 10, queue: 100_000 },
  { rate: 20, delay: 10, queue: 50_000 },
];
/** The same with queues that hold all that a window lets out: nothing is lost, REMOVE_ADDR, which nobody repeats, least of all. */
const DEEP = TWO.map((way) => ({ ...way, queue: 2_500_000 }));
const BYTES = 2_400_000;

/** What the machine that runs the test may add to a wait, in milliseconds. */
const NOISE = 250;
/** How long the kernel may take where it is the kernel that has to find another way. */
const KERNEL = 3000;

/** Who sends, in both roles. */
const FLOWS = ROLES.flatMap((role) => [
  { title: `${role.title}; the client sends`, role, down: false },
  { title: `${role.title}; the server sends`, role, down: true },
]);

interface Flow {
  readonly from: Side;
  readonly to: Side;
  readonly sender: Stream;
  readonly receiver: Stream;
  /** Id of the endpoint on path 1. */
  readonly endpoint: number;
}

/** A connection with a subflow on each of two paths; the second by the doing of `owner`, which has two addresses. */
async function twoPaths(
  s: Scenario,
  flow: (typeof FLOWS)[number],
  owner: 'ours' | 'kernel' | 'client' = 'client',
): Promise<Flow> {
  const [from, to] = flow.role.of(s);
  const side = owner === 'client' ? from : s[owner];
  const endpoint = await side.addEndpoint(1, side === from ? { subflow: true } : { signal: true });
  const { client, server } = await s.connect(from, to);
  await s.subflows(2, client, server);
  const [sender, receiver] = flow.down ? [server, client] : [client, server];
  return { from, to, sender, receiver, endpoint };
}

interface Outcome {
  /** The receiver's longest wait after the event, in milliseconds. */
  readonly gap: number;
  /** Of the sender's subflows right before the event, the largest. */
  readonly rto: number;
  readonly roundTripTime: number;
}

/** Sends `bytes`; in the middle, something happens. */
async function during(
  s: Scenario,
  { sender, receiver }: Flow,
  event: () => Promise<unknown>,
  bytes = BYTES,
): Promise<Outcome> {
  const before = (await receiver.result()).received;
  const sending = sender.send(bytes, { end: true });
  const watching = (async () => {
    await receiver.received(before + bytes / 4);
    const ways = await sender.ways();
    await receiver.mark();
    await event();
    return { ways, result: await receiver.ended() };
  })();
  const [{ ways, result }] = await Promise.all([watching, sending]);
  s.check(result, 1, before + bytes);
  const rto = Math.max(...ways.map((way) => way.rto));
  const roundTripTime = Math.max(...ways.map((way) => way.roundTripTime));
  s.note(`gap ${ms(result.longestGap)}; before it RTT ${ms(roundTripTime)}, RTO ${ms(rto)}`);
  return { gap: result.longestGap, rto, roundTripTime };
}

const ms = (value: number): string => `${Math.round(value)} ms`;

function within(gap: number, bound: number): void {
  assert.ok(gap <= bound, `data flows again after ${ms(gap)}, which should be ${ms(bound)} at most`);
}

for (const flow of FLOWS) {
  interop(`A9.09 A9.11 A9.19 ${flow.title}: the busier path dies silently`, { paths: TWO }, async (s) => {
    const pair = await twoPaths(s, flow);
    const { gap, rto } = await during(s, pair, () => s.kill(0));
    within(gap, pair.sender.side.isKernel ? KERNEL : 2 * rto + NOISE);
  });

  interop(
    `A6.14 A9.12 E1.17 ${flow.title}: our initial address is removed`,
    // So that nobody is saved by a timer.
    { paths: DEEP, tcp: { minimumRto: 1500 }, mptcp: { minimumRto: 1500 } },
    async (s) => {
      const pair = await twoPaths(s, flow, 'ours');
      const { gap, roundTripTime } = await during(s, pair, () => s.removeAddress(0));
      within(gap, pair.sender.side.isKernel ? KERNEL : roundTripTime + 50 + NOISE);
      await s.ours.counts({ RmAddrTx: 1, RmSubflow: 1 });
      await s.kernel.counts({ RmAddr: 1 });
    },
  );

  interop(
    `A6.14 A9.12 E1.17 ${flow.title}: the kernel's initial address is removed`,
    { paths: DEEP, tcp: { minimumRto: 1500 }, mptcp: { minimumRto: 1500 } },
    async (s) => {
      const pair = await twoPaths(s, flow, 'kernel');
      const { gap, roundTripTime } = await during(s, pair, () => s.kernel.removeEndpoint(0, s.kernel.address(0)));
      within(gap, pair.sender.side.isKernel ? KERNEL : roundTripTime + 50 + NOISE);
      await s.kernel.counts({ RmAddrTx: 1 });
      await s.ours.counts({ RmAddr: 1 });
    },
  );

  interop(
    `A6.11 A9.12 E2.05 E2.07 ${flow.title}: the client gives up its second address`,
    { paths: DEEP, tcp: { minimumRto: 1500 }, mptcp: { minimumRto: 1500 } },
    async (s) => {
      const pair = await twoPaths(s, flow);
      const { gap, roundTripTime } = await during(s, pair, () => pair.from.removeEndpoint(pair.endpoint));
      within(gap, pair.sender.side.isKernel ? KERNEL : roundTripTime + 50 + NOISE);
      await pair.from.counts({ RmAddrTx: 1 });
      await pair.to.counts({ RmAddr: 1 });
    },
  );

  interop(
    `A9.11 ${flow.title}: the device under a path goes down`,
    { paths: 2, tcp: { minimumRto: 1500 }, mptcp: { minimumRto: 1500 } },
    async (s) => {
      const pair = await twoPaths(s, flow);
      let busier = 0;
      // Without a rate one path may take it all, and nobody would notice that the other goes down.
      const takeDown = async (): Promise<void> => {
        const ways = await pair.sender.ways();
        const sent = [0, 1].map((path) => {
          const address = pair.from.address(path);
          return ways.find(({ local, peer }) => local === address || peer === address)?.sent ?? 0;
        });
        busier = sent[1]! > sent[0]! ? 1 : 0;
        await s.setDevice(busier, false);
      };
      const { gap, roundTripTime } = await during(s, pair, takeDown, 300_000_000);
      assert.deepEqual(await s.ours.child.event('interface'), { id: busier, isUp: false });
      within(gap, pair.sender.side.isKernel ? KERNEL : roundTripTime + 50 + NOISE);
    },
  );
}

// What does not depend on who opened the connection is told with our client.
for (const flow of FLOWS.slice(0, 2)) {
  for (const direction of ['in', 'out'] as const) {
    const what = direction === 'in' ? 'to us' : 'from us';
    interop(`A9.11 A9.19 ${flow.title}: a path loses all that goes ${what}, silently`, { paths: TWO }, async (s) => {
      const pair = await twoPaths(s, flow);
      const { gap, rto } = await during(s, pair, () => s.filter(0, { direction, match: 'all', action: 'drop' }));
      within(gap, pair.sender.side.isKernel ? KERNEL : 2 * rto + NOISE);
    });
  }

  interop(`${flow.title}: a path that was dead is used again when it comes back`, { paths: TWO }, async (s) => {
    const pair = await twoPaths(s, flow);
    const address = pair.from.address(0);
    const via = async (): Promise<number> => {
      const ways = await pair.sender.ways();
      return ways.find(({ local, peer }) => local === address || peer === address)?.sent ?? 0;
    };
    const dead = await s.kill(0);
    await s.transfer(pair.sender, pair.receiver, 600_000);
    for (const rule of dead) await s.unfilter(0, rule);
    const before = await via();
    await s.eventually('the path carries data again', async () => {
      await s.transfer(pair.sender, pair.receiver, 300_000);
      return (await via()) > before + 100_000;
    });
  });

  interop(`A9.19 ${flow.title}: no path works for a while, then one does`, { paths: TWO }, async (s) => {
    const pair = await twoPaths(s, flow);
    const { gap } = await during(s, pair, async () => {
      await s.kill(0);
      const rules = await s.kill(1);
      await s.pause(600);
      for (const rule of rules) await s.unfilter(1, rule);
    });
    assert.ok(gap >= 550, `nothing flows meanwhile, and ${ms(gap)} passed`);
  });
}

for (const role of ROLES) {
  interop(
    `A10.06 ${role.title}: the last address goes, another comes, and the connection goes on`,
    { paths: 2 },
    async (s) => {
      const [from, to] = role.of(s);
      const { client, server } = await s.connect(from, to);
      await s.transfer(client, server, 100_000);
      if (from.isKernel) await from.removeEndpoint(0, from.address(0));
      else await s.removeAddress(0);
      await s.subflows(0, client);
      await client.send(100_000);
      await from.addEndpoint(1, { subflow: true });
      await s.eventually('the data arrives', async () => (await server.result()).received === 200_001);
      await s.transfer(server, client, 100_000);
      s.check(await server.result(), 1, 200_001);
      await s.close(client, server);
    },
  );

  interop(`A7.17 ${role.title}: a subflow is reset by an operator, the connection lives`, { paths: 2 }, async (s) => {
    const [from, to] = role.of(s);
    await from.addEndpoint(1, { subflow: true });
    const { client, server } = await s.connect(from, to);
    await s.subflows(2, client, server);
    const [local, peer] = from.isKernel ? [from.address(1), to.address(0)] : [to.address(0), from.address(1)];
    s.namespace.run('ss', ['-K', 'src', local, 'dst', peer]);
    await s.subflows(1, client, server);
    await s.transfer(client, server, 100_000);
    await s.transfer(server, client, 100_000);
    await s.close(client, server);
  });
}

import assert from 'node:assert/strict';
import { interop, type Scenario, type Side, type Stream } from './harness/scenario.ts';

/** Wi-Fi and LTE: Mbit/s, ms one way, queues of one bandwidth-delay product. */
const WIFI = { rate: 30, delay: 10, queue: (30e6 / 8) * 0.02 };
const LTE = { rate: 20, delay: 30, queue: (20e6 / 8) * 0.06 };
/** What 1500-byte packets with timestamps and a DSS option can carry of the two rates. */
const CEILING = (1424 / 1500) * (WIFI.rate + LTE.rate);
const WARM_UP = 25_000_000;
/** What a transfer takes to begin and to end counts as well: the longer, the closer to what the paths carry for good. */
const BYTES = Number(process.env.MPTCP_AGGREGATION_BYTES ?? 25_000_000);
const ATTEMPTS = 3;
/** Milliseconds. */
const PATIENCE = 30_000 + BYTES / 500;
/**
 * Of the ceiling. One path alone reaches 0.6 at most, both together 0.95 on a machine with nothing else to do; this bound is for
 * busy ones, where the emulator and both stacks wait for a processor. The rate itself is in the notes.
 */
const ENOUGH = 0.62;

async function aggregate(s: Scenario, from: Side, to: Side): Promise<void> {
  // Whoever opens the connection joins from its second address.
  await from.addEndpoint(1, { subflow: true });
  const { client, server } = await s.connect(from, to, {});
  await s.subflows(2, client, server);
  await transferAtRate(s, client, server);
}

/** Whatever else the machine does only takes away: the best of a few transfers counts. */
async function transferAtRate(s: Scenario, client: Stream, server: Stream): Promise<void> {
  // Slow start, the losses at its end and the seconds until the kernel's CUBIC has made up for them are not what the rate is
  // about.
  await s.transfer(client, server, WARM_UP, { timeout: 30_000 });
  let best = 0;
  for (let attempt = 0; attempt < ATTEMPTS && best < ENOUGH; attempt++) {
    const start = performance.now();
    await s.transfer(client, server, BYTES, { timeout: PATIENCE });
    const rate = (BYTES * 8) / (performance.now() - start) / 1000;
    s.note(`${rate.toFixed(2)} Mbit/s, ${((rate / CEILING) * 100).toFixed(1)} % of what both paths can carry`);
    best = Math.max(best, rate / CEILING);
  }
  assert.ok(best >= ENOUGH, `${(best * 100).toFixed(1)} % of the ceiling of the sum`);
}

interop(
  '30 + 20 Mbit/s: our client fills both paths towards the kernel',
  { paths: [WIFI, LTE], capture: false, congestionControl: 'cubic', timeout: 30_000 + 3 * PATIENCE },
  async (s) => {
    await aggregate(s, s.ours, s.kernel);
  },
);

interop(
  '30 + 20 Mbit/s: the kernel fills both paths towards us',
  { paths: [WIFI, LTE], capture: false, congestionControl: 'cubic', timeout: 30_000 + 3 * PATIENCE },
  async (s) => {
    await aggregate(s, s.kernel, s.ours);
  },
);

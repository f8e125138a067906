import assert from 'node:assert/strict';
import { test } from 'node:test';
import { boxedScenario, type Scenario, scenario } from './scenario.ts';
import { type Outcome, play, verify } from './scenario-run.ts';

/**
 * Every scenario delivers exactly the bytes sent, once, in order, in both directions, or says in a type why not; and
 * leaves nothing behind. A scenario follows from one number (`scenario.ts`):
 *
 *     MPTCP_SEED=4711 npm test -- test/property/delivery.test.ts       that one, with every packet
 *     MPTCP_BOXES=1 MPTCP_SEED=4711 …                                  the same with middleboxes
 *     MPTCP_CASES=200000 MPTCP_FIRST_SEED=10000 npm test -- …          many more
 */

/** Seeds that once failed. */
const REGRESSIONS = [
  // The scheduler let nobody send when the slow path was chosen and would hold up the fast one, which was idle.
  202,
  // A path that swallows large packets: small ones acknowledged selectively hid it; a half-closed end opened no other.
  114,
  // A subflow not yet proven wanted ACKs for what it may not say yet, without end.
  179, 587, 969,
  // A closed socket's connection was reset for bytes that its reader had read and that came once more.
  445, 113,
  // A receive buffer set on a listener came into force only when the connection was accepted, and took back what had been
  // offered; an orphan was given 60 s however well it got on.
  617,
  // A user timeout that rounding had passed by a hair came due again and again at one instant.
  3831,
  // The only path's link went down and came up with nothing in flight, and was taken for dead for ever after.
  3085,
  // A DATA_FIN overtook the third ACK: the server went plain, and never said so to a client that sends no data.
  3505, 4203,
  // A probe took the DATA_FIN with it into a segment whose options nobody heeds.
  3887,
  // Data was sent again at data level to a peer that had gone plain, and read twice.
  7387,
  // A sign of life at every segment: fifteen timeouts within a second ended the connection.
  7067, 7633,
  // Bytes that were mapped twice to one subflow left the rope before the second time was over.
  34058, 50389, 41985,
  // A deadline of a connection that was over stayed armed.
  38074, 43647,
  // Acknowledged before the fallback, and never counted thereafter.
  49534,
  // One byte sent as a window probe to a path that died, and waited for there though the window had opened elsewhere.
  48967, 53949,
  // A SYN answered late and again taken for the round trip; and an orphan that fell back, given a minute and no more.
  72571, 96400,
  // Every size of packet was tried once while the path was away, and none again.
  107927, 110598, 126705, 132610, 157878,
];

const BOXED_REGRESSIONS = [
  // Options vanish on the way: what was acknowledged without DSS was sent again, and read twice.
  2245, 2274, 100029, 101000, 102113, 106208, 110303, 110716, 111285, 111696, 111958,
  // The initial subflow fell back while joined ones were at work.
  113848,
];

const cases = Number(process.env.MPTCP_CASES ?? 10_000);
const first = Number(process.env.MPTCP_FIRST_SEED ?? 1);
const single = process.env.MPTCP_SEED;

/** Cases in one test: a failure names its seeds, and there are not too many lines. */
const BATCH = 1000;

function playAll(seeds: readonly number[], make: (seed: number) => Scenario, prefix = ''): void {
  const failures: string[] = [];
  for (const seed of seeds) {
    try {
      verify(play(make(seed)));
    } catch (error) {
      failures.push(`${prefix}MPTCP_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  assert.equal(
    failures.length,
    0,
    `${failures.length} of ${seeds.length} failed:\n${failures.slice(0, 20).join('\n')}`,
  );
}

if (single !== undefined) {
  test(`scenario ${single}`, () => {
    const subject = (process.env.MPTCP_BOXES === undefined ? scenario : boxedScenario)(Number(single));
    console.log(
      JSON.stringify(
        subject,
        (_key, value) => (typeof value === 'object' || Number.isFinite(value) ? value : String(value)),
        2,
      ),
    );
    const outcome: Outcome = play(subject, (line) => console.log(line));
    console.log(`client ${outcome.client}\nserver ${outcome.server}`);
    verify(outcome);
  });
} else {
  test('scenarios that once failed', () => playAll(REGRESSIONS, scenario));
  test('scenarios with middleboxes that once failed', () =>
    playAll(BOXED_REGRESSIONS, boxedScenario, 'MPTCP_BOXES=1 '));

  for (let start = 0; start < cases; start += BATCH) {
    const count = Math.min(BATCH, cases - start);
    const seeds = Array.from({ length: count }, (_, index) => first + start + index);
    test(`exactly once, in order, or a typed error: seeds ${seeds[0]} to ${seeds[count - 1]}`, () =>
      playAll(seeds, scenario));
  }

  const boxed = Math.ceil(cases / 4);
  test(`with middleboxes in the way: seeds ${first} to ${first + boxed - 1}`, () => {
    playAll(
      Array.from({ length: boxed }, (_, index) => first + index),
      boxedScenario,
      'MPTCP_BOXES=1 ',
    );
  });

  test('the same seed plays the same packets at the same times', () => {
    for (let seed = first; seed < first + 40; seed++) {
      const [one, other] = [play(scenario(seed)), play(scenario(seed))];
      assert.equal(one.digest, other.digest, `seed ${seed}`);
      assert.equal(String(one.client), String(other.client), `seed ${seed}`);
    }
  });
}

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cubic } from '../../src/policy/congestion/cubic.ts';
import { reno } from '../../src/policy/congestion/reno.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { SegmentMutator } from './segment-mutator.ts';
import { Bench, type Side } from './stack-bench.ts';
import { StackInvariants } from './stack-invariants.ts';
import {
  HANDSHAKES,
  MULTIPATH_CHECKSUMS,
  MULTIPATH_ENDINGS,
  MULTIPATH_FALLEN_BACK,
  MULTIPATH_OPEN,
  PLAIN_ENDINGS,
  PLAIN_OPEN,
  type StateRecipe,
} from './stack-states.ts';

/**
 * Mutants of valid segments against live connections in every state: no call throws, no host sends without end, time
 * goes on, laws hold, and what is closed in the end leaves nothing behind.
 *
 *     MPTCP_SEED="name of the state/7" plays one life again
 *     MPTCP_FUZZ_CASES=20000           mutants in all, instead of those below
 *     MPTCP_FUZZ_MINUTES=30            new seeds for so long; prints those that fail
 */

/** Mutants of each test, in sum more than a million. */
const SHARES = new Map<string, number>([
  ['handshakes', 300_000],
  ['plain', 250_000],
  ['plain endings', 250_000],
  ['multipath', 300_000],
  ['checksums', 120_000],
  ['fallen back', 120_000],
  ['multipath endings', 160_000],
]);

/** Lives that failed once. */
const KEPT: readonly string[] = [];

/** Mutants that one life takes at most, and how many more after it left the state. */
const LIFE = 400;
const AFTERLIFE = 16;
/** By then every timer has had its last word, ms. */
const AFTERMATH = 4_000_000;
/** Packets that the two hosts may exchange until then. */
const AFTERMATH_PACKETS = 2_000;
/** Bytes of heap that a test may keep beyond what it began with. */
const HEAP_GROWTH = 96 * 1024 * 1024;

const total = [...SHARES.values()].reduce((sum, share) => sum + share, 0);
const scale = Number(process.env.MPTCP_FUZZ_CASES ?? total) / total;
const minutes = Number(process.env.MPTCP_FUZZ_MINUTES ?? 0);
const verbose = process.env.MPTCP_FUZZ_VERBOSE !== undefined;
const replay = process.env.MPTCP_SEED;

/** What lives came to. */
interface Tally {
  mutants: number;
  /** Those that arrived while the victim was in the state. */
  inState: number;
  lives: number;
}

/** Plays one life of `recipe`; everything follows from `number`. */
function live(recipe: StateRecipe, number: number, tally: Tally): void {
  const seed = `${recipe.name}/${number}`;
  const random = new SeededRandom(seed);
  const { victim } = recipe;
  const peer = (1 - victim) as Side;
  const small = random.below(4) === 0;
  const bench = new Bench({
    seed,
    family: random.below(3) === 0 ? 6 : 4,
    paths: recipe.paths,
    multipath: recipe.multipath,
    offload: random.below(4) === 0,
    settings: {
      mptcp: { checksums: recipe.checksums ?? false },
      tcp: {
        timestamps: random.below(4) !== 0,
        sack: random.below(4) !== 0,
        windowScaling: random.below(4) !== 0,
        nagle: random.below(2) === 0,
        congestionControl: random.below(2) === 0 ? cubic : reno,
        ...(small
          ? { receiveBuffer: 8192, maximumReceiveBuffer: 8192, sendBuffer: 8192, maximumSendBuffer: 8192 }
          : {}),
      },
    },
  });
  const invariants = new StackInvariants();
  const mutator = new SegmentMutator(random.derive('mutator'));
  recipe.enter(bench);
  tally.lives++;
  let stays = recipe.holdsIn(bench);
  assert.ok(stays, 'the state is reached');
  const { corpus } = bench;
  const theirs = corpus[victim];
  const ours = corpus[peer];
  for (let mutants = 0, after = 0; mutants < LIFE && after < AFTERLIFE; mutants++) {
    if (!stays) after++;
    else tally.inState++;
    tally.mutants++;
    const recent = random.below(2) === 0 ? Math.max(0, theirs.length - 8) : 0;
    const base = theirs[recent + random.below(theirs.length - recent)]!;
    const other = theirs[random.below(theirs.length)]!;
    const quoted = ours.length === 0 ? undefined : ours[ours.length - 1 - random.below(Math.min(8, ours.length))]!;
    const endpoints = bench.endpoints(victim).filter((endpoint) => endpoint.interfaceId === base.interfaceId);
    const about = endpoints.length === 0 || random.below(8) === 0 ? null : endpoints[random.below(endpoints.length)]!;
    mutator.mutate(base.bytes, about, other.bytes, quoted?.bytes);
    bench.inject(victim, base.interfaceId, mutator.packet);
    // Often several arrive before the host has its turn.
    if (random.below(3) !== 0) bench.turn(victim);
    stir(bench, random, victim);
    if ((mutants & 7) === 0) stays = stays && recipe.holdsIn(bench);
    if ((mutants & 31) === 0) {
      invariants.check(bench, victim);
      invariants.check(bench, peer);
    }
  }
  bench.turn(victim);
  invariants.check(bench, victim);
  invariants.check(bench, peer);
  end(bench, random, invariants);
}

/** What goes on meanwhile: time, valid traffic, applications. */
function stir(bench: Bench, random: SeededRandom, victim: Side): void {
  const kind = random.below(256);
  if (kind < 24) bench.advance(random.below(8));
  else if (kind < 28) bench.advance(random.below(400));
  else if (kind === 28) bench.advance(random.below(4000));
  else if (kind < 34) bench.write((kind & 1) as Side, 1 + random.below(4000));
  else if (kind < 36) bench.reads[victim] = kind === 34;
  else if (kind < 40) bench.read(victim);
}

/** Both sides leave, the wire works again, and after all timers nothing is left. */
function end(bench: Bench, random: SeededRandom, invariants: StackInvariants): void {
  if (random.below(4) !== 0) bench.holds = () => false;
  const { sockets } = bench.hosts[1];
  const listener = bench.listener;
  bench.listener = -1;
  const before = bench.sent;
  for (const side of [0, 1] as const) bench.close(side, random.below(4) === 0);
  if (listener >= 0) sockets.close(listener);
  bench.turn(1);
  while (bench.now < AFTERMATH) {
    const next = bench.nextEvent;
    if (next === Number.POSITIVE_INFINITY) break;
    bench.advance(Math.max(0, next - bench.now));
    assert.ok(bench.sent - before < AFTERMATH_PACKETS, 'two hosts that want to part keep sending');
  }
  if (verbose && bench.sent - before > 2000) console.log(`AFTERMATH ${bench.seed} ${bench.sent - before} packets`);
  for (const side of [0, 1] as const) invariants.checkOver(bench, side);
}

function failure(recipe: StateRecipe, number: number, error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `MPTCP_SEED="${recipe.name}/${number}": ${stack.split('\n').slice(0, 8).join('\n')}`;
}

function fuzz(share: string, recipes: readonly StateRecipe[]): void {
  const tally: Tally = { mutants: 0, inState: 0, lives: 0 };
  if (replay !== undefined) {
    const recipe = recipes.find(({ name }) => replay.startsWith(`${name}/`));
    if (recipe !== undefined) live(recipe, Number(replay.slice(recipe.name.length + 1)), tally);
    return;
  }
  const failures: string[] = [];
  const attempt = (recipe: StateRecipe, number: number): void => {
    try {
      live(recipe, number, tally);
    } catch (error) {
      failures.push(failure(recipe, number, error));
      if (minutes > 0 || verbose) console.log(failures[failures.length - 1]);
    }
  };
  const began = process.cpuUsage().user;
  global.gc?.();
  const heapBefore = process.memoryUsage().heapUsed;
  for (const kept of KEPT) {
    const recipe = recipes.find(({ name }) => kept.startsWith(`${name}/`));
    if (recipe !== undefined) attempt(recipe, Number(kept.slice(recipe.name.length + 1)));
  }
  const wanted = SHARES.get(share)! * scale;
  for (const [index, recipe] of recipes.entries()) {
    const upTo = (wanted * (index + 1)) / recipes.length;
    const state = { lives: tally.lives, inState: tally.inState, mutants: tally.mutants };
    for (let number = 1; tally.mutants < upTo && failures.length < 20; number++) attempt(recipe, number);
    if (verbose) {
      const [lives, inState, mutants] = [
        tally.lives - state.lives,
        tally.inState - state.inState,
        tally.mutants - state.mutants,
      ];
      console.log(`  ${recipe.name}: ${mutants} mutants, ${inState} in the state, ${lives} lives`);
    }
  }
  const until = Date.now() + (minutes * 60_000) / SHARES.size;
  for (let number = Date.now() % 2 ** 31; minutes > 0 && Date.now() < until; number++) {
    for (const recipe of recipes) attempt(recipe, number);
  }
  global.gc?.();
  const grown = process.memoryUsage().heapUsed - heapBefore;
  const seconds = (process.cpuUsage().user - began) / 1e6;
  console.log(
    `${share}: ${tally.mutants} mutants, ${tally.inState} of them in the state, ${tally.lives} lives, ` +
      `${seconds.toFixed(1)} s of CPU, heap ${(grown / 2 ** 20).toFixed(1)} MiB more`,
  );
  assert.deepEqual(failures, []);
  assert.ok(grown < HEAP_GROWTH, `${grown} bytes of heap more`);
  assert.ok(tally.inState * 4 > tally.mutants, `only ${tally.inState} of ${tally.mutants} mutants met the state`);
}

test('mutants against LISTEN, SYN-SENT and SYN-RECEIVED', () => fuzz('handshakes', HANDSHAKES));
test('mutants against ESTABLISHED', () => fuzz('plain', PLAIN_OPEN));
test('mutants against the states in which a connection ends', () => fuzz('plain endings', PLAIN_ENDINGS));
test('mutants against multipath connections, proven and not, with one subflow and more', () => {
  fuzz('multipath', MULTIPATH_OPEN);
});
test('mutants against multipath connections with DSS checksums', () => fuzz('checksums', MULTIPATH_CHECKSUMS));
test('mutants against multipath connections that fell back', () => fuzz('fallen back', MULTIPATH_FALLEN_BACK));
test('mutants against multipath connections that end', () => fuzz('multipath endings', MULTIPATH_ENDINGS));

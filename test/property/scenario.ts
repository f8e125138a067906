import { mbit, type PathOptions } from '../../src/link/index.ts';
import type { StripOptions } from '../../src/link/middlebox/index.ts';
import type { EndpointRequest } from '../../src/policy/path-manager/endpoints.ts';
import { SeededRandom } from '../../src/sim/random.ts';
import { addressOf } from '../../src/sim/topology.ts';

/** What the application at one end does. Times in ms from the connection's start. */
export interface EndPlan {
  toSend: number;
  /** Bytes per write, and ms between writes; 0: as fast as there is room. */
  chunk: number;
  writeEvery: number;
  /** Bytes per read, and ms between reads; 0: as soon as there are some. */
  readChunk: number;
  readEvery: number;
  /** Finish sending only after the peer's stream was read to its end. */
  finishesLast: boolean;
  /** `abort`, or `close` whatever is unsent or unread; Infinity: never. */
  abortAt: number;
  closeAt: number;
}

/** Something that happens to an end's addresses, interfaces or endpoints. */
export interface Happening {
  readonly at: number;
  readonly side: 'client' | 'server';
  readonly path: number;
  readonly kind: 'remove address' | 'add address' | 'interface down' | 'interface up' | 'backup' | 'no backup';
}

/** One whole case as plain data: everything follows from its seed. */
export interface Scenario {
  readonly seed: number;
  readonly family: 4 | 6;
  readonly multipath: readonly [client: boolean, server: boolean];
  readonly checksums: readonly [client: boolean, server: boolean];
  /** Both ends connect to each other at the same time. */
  readonly crossed: boolean;
  readonly segmentationOffload: boolean;
  readonly checksumOffload: boolean;
  readonly noDelay: boolean;
  readonly timestamps: boolean;
  readonly sack: boolean;
  readonly windowScaling: boolean;
  readonly congestionControl: 'cubic' | 'reno';
  /** Flag C: no joins to the initial address. */
  readonly deniesJoinInitial: readonly [client: boolean, server: boolean];
  /** ms; 0: none. */
  readonly userTimeout: number;
  readonly keepsAlive: boolean;
  readonly receiveBuffer: readonly [client: number, server: number];
  readonly sendBuffer: readonly [client: number, server: number];
  readonly paths: readonly PathOptions[];
  readonly clientEndpoints: readonly EndpointRequest[];
  readonly serverEndpoints: readonly EndpointRequest[];
  readonly addAddrAcceptedLimit: number;
  readonly client: EndPlan;
  readonly server: EndPlan;
  readonly happenings: readonly Happening[];
  /** What stands in each path, beside the client. */
  readonly boxes: readonly (readonly Box[])[];
  /** Nothing in it excuses a transfer that fails: every path comes back, nobody aborts. */
  readonly mustSucceed: boolean;
}

/** A middlebox, by what it does: none of them changes a byte of the stream. */
export type Box =
  | { readonly kind: 'split'; readonly size: number; readonly options: 'copy' | 'first' | 'last' }
  | { readonly kind: 'coalesce'; readonly limit: number; readonly wait: number }
  | { readonly kind: 'sequence' | 'nat' | 'normalise' | 'drop unknown' | 'syn proxy' }
  | { readonly kind: 'clamp' | 'shrink'; readonly size: number }
  | { readonly kind: 'firewall'; readonly inbound: boolean; readonly idle: number }
  | { readonly kind: 'repeat options'; readonly mode: 'bare' | 'next' }
  | { readonly kind: 'strip'; readonly options: StripOptions };

/** The scenario with that number, and middleboxes in its way. */
export function boxedScenario(seed: number): Scenario {
  const base = scenario(seed);
  const random = new SeededRandom(`boxes ${seed}`);
  const pick = <T>(...choices: readonly T[]): T => choices[random.below(choices.length)]!;
  const between = (low: number, high: number): number => low + random.below(high - low + 1);
  let harmless = true;
  const box = (): Box => {
    switch (random.below(12)) {
      case 0: {
        const options = pick('copy', 'copy', 'first', 'last');
        if (options !== 'copy') harmless = false;
        return { kind: 'split', size: between(1, 1400), options };
      }
      case 1:
        harmless = false;
        return { kind: 'coalesce', limit: between(1000, 8000), wait: random.next() * 5 };
      case 2:
        return { kind: pick('sequence', 'normalise') };
      case 3:
        return { kind: 'nat' };
      case 4:
        return { kind: 'clamp', size: between(500, 1400) };
      case 5:
        return { kind: 'shrink', size: between(3000, 60_000) };
      case 6: {
        const idle = random.next() < 0.5 ? Number.POSITIVE_INFINITY : between(500, 5000);
        if (idle !== Number.POSITIVE_INFINITY) harmless = false;
        return { kind: 'firewall', inbound: random.next() < 0.5, idle };
      }
      case 7:
        return { kind: 'repeat options', mode: pick('bare', 'next') };
      case 8:
        harmless = false;
        return { kind: pick('drop unknown', 'syn proxy') };
      default: {
        harmless = false;
        const on = pick('all', 'syn', 'syn-ack', 'third-ack', 'non-syn', 'data');
        const subtype = random.next() < 0.3 ? { subtype: random.below(9) } : {};
        const after = random.next() < 0.5 ? { after: between(1, 40) } : {};
        return { kind: 'strip', options: { on, filler: pick('nop', 'end'), ...subtype, ...after } };
      }
    }
  };
  const boxes = base.paths.map(() => Array.from({ length: random.below(3) }, box));
  // Nobody can open a connection to what stands behind a translator.
  return { ...base, boxes, mustSucceed: base.mustSucceed && harmless && !base.crossed };
}

/** The scenario with that number. */
export function scenario(seed: number): Scenario {
  const random = new SeededRandom(`delivery ${seed}`);
  const chance = (probability: number): boolean => random.next() < probability;
  const between = (low: number, high: number): number => low + random.below(high - low + 1);
  const pick = <T>(...choices: readonly T[]): T => choices[random.below(choices.length)]!;
  let mustSucceed = true;

  const family = chance(0.7) ? 4 : 6;
  const crossed = chance(0.02);
  const multipath: [boolean, boolean] = chance(0.15)
    ? pick([false, false], [true, false], [false, true])
    : [true, true];
  const checksums: [boolean, boolean] = chance(0.3) ? pick([true, true], [true, false], [false, true]) : [false, false];
  const pathCount = pick(1, 2, 2, 2, 3, 4);
  const isClean = chance(0.15);
  const isHarsh = !isClean && chance(0.2);

  const direction = (isFirst: boolean): PathOptions => {
    if (isClean) return {};
    const options: { -readonly [Key in keyof PathOptions]: PathOptions[Key] } = {};
    if (chance(0.5)) options.loss = random.next() * (isHarsh ? 0.25 : 0.05);
    if (chance(0.15)) options.burst = { enter: 0.02 * random.next(), leave: 0.3, lossBad: 0.7 };
    if (chance(0.3)) {
      options.reorder = {
        probability: random.next() * (isHarsh ? 0.4 : 0.1),
        distance: between(1, 8),
        hold: between(1, 150),
      };
    }
    if (chance(0.25)) options.duplicate = random.next() * (isHarsh ? 0.5 : 0.1);
    if (chance(0.2)) {
      const probability = random.next() * (isHarsh ? 0.15 : 0.05);
      // A repaired TCP checksum leaves only the DSS checksum to tell, and that helps only where a reset is possible.
      const repairs = !isFirst && (checksums[0] || checksums[1]) && multipath[0] && multipath[1] && chance(0.5);
      options.corrupt = repairs
        ? { probability: probability / 4, repairsChecksum: true }
        : { probability, where: pick('payload', 'anywhere') };
    }
    return options;
  };

  const paths: PathOptions[] = [];
  for (let index = 0; index < pathCount; index++) {
    const rate = chance(0.1) ? undefined : mbit(pick(0.5, 1, 2, 5, 10, 30, 100));
    const delay = pick(0, 0.5, 2, 5, 10, 20, 50, 100, 150);
    let mtu = pick(1500, 1500, 1500, 1400, 1280, 9000);
    if (family === 4 && chance(0.05)) mtu = pick(576, 1006);
    const schedule: [number, boolean][] = [];
    if (chance(0.25)) {
      let time = 0;
      const dips = between(1, 3);
      for (let dip = 0; dip < dips; dip++) {
        time += random.next() * 800;
        schedule.push([time, false]);
        // A few die for good.
        if (chance(0.15)) {
          if (index === 0) mustSucceed = false;
          break;
        }
        time += 20 + random.next() ** 3 * 4000;
        schedule.push([time, true]);
      }
    }
    // A hop in the middle that takes less than the interface does, and may not say so.
    const narrow = chance(0.08) ? { mtu: Math.max(family === 4 ? 576 : 1280, mtu - between(20, 400)) } : {};
    const path: PathOptions = {
      delay,
      mtu,
      ...(chance(0.3) ? { reportsTooBig: false } : {}),
      ...(chance(0.2) ? { jitter: random.next() * 30 } : {}),
      ...(rate === undefined ? {} : { rate }),
      ...(rate !== undefined && chance(0.3) ? { queue: between(2, 20) * mtu } : {}),
      ...(schedule.length > 0 ? { schedule } : {}),
      aToB: { ...direction(index === 0), ...narrow },
      bToA: { ...direction(index === 0), ...(chance(0.5) ? narrow : {}) },
    };
    paths.push(path);
  }

  const volume = pick(0, 1, 100, 1400, 5000, 20_000, 20_000, 60_000, 200_000);
  const plan = (): EndPlan => {
    const toSend = chance(0.3) ? 0 : between(0, volume);
    const slowWriter = chance(0.15);
    const slowReader = chance(0.2);
    const chunk = slowWriter ? Math.max(1, Math.ceil(toSend / between(2, 30))) : pick(65_536, 65_536, 4096, 1000);
    return {
      toSend,
      chunk,
      writeEvery: slowWriter ? between(1, 100) : 0,
      readChunk: slowReader ? Math.max(100, Math.ceil(volume / between(2, 30))) : Number.POSITIVE_INFINITY,
      readEvery: slowReader ? between(1, 150) : 0,
      finishesLast: false,
      abortAt: Number.POSITIVE_INFINITY,
      closeAt: Number.POSITIVE_INFINITY,
    };
  };
  const client = plan();
  const server = plan();
  if (chance(0.15)) pick(client, server).finishesLast = true;
  if (chance(0.12)) {
    mustSucceed = false;
    pick(client, server).abortAt = random.next() ** 2 * 1500;
  }
  if (chance(0.08)) {
    mustSucceed = false;
    pick(client, server).closeAt = random.next() ** 2 * 1500;
  }
  if (chance(0.05)) {
    mustSucceed = false;
    client.closeAt = server.closeAt = random.next() * 1000;
  }

  const happenings: Happening[] = [];
  if (chance(0.25)) {
    let at = 0;
    const count = between(1, 4);
    for (let index = 0; index < count; index++) {
      at += random.next() ** 2 * 800;
      const side = pick('client', 'client', 'server');
      const path = random.below(pathCount);
      const later = at + 10 + random.next() * 1000;
      switch (random.below(4)) {
        case 0:
          if (path === 0) mustSucceed = false;
          happenings.push({ at, side, path, kind: 'remove address' });
          if (chance(0.7)) happenings.push({ at: later, side, path, kind: 'add address' });
          break;
        case 1:
          happenings.push({ at, side, path, kind: 'interface down' });
          if (path !== 0 && chance(0.3)) break;
          happenings.push({ at: later, side, path, kind: 'interface up' });
          break;
        case 2:
          happenings.push({ at, side, path, kind: 'backup' }, { at: later, side, path, kind: 'no backup' });
          break;
        case 3:
          happenings.push({ at, side, path, kind: 'no backup' }, { at: later, side, path, kind: 'backup' });
          break;
      }
    }
  }

  const clientEndpoints: EndpointRequest[] = [];
  const serverEndpoints: EndpointRequest[] = [];
  for (let index = 0; index < pathCount; index++) {
    const isFirst = index === 0;
    if (chance(isFirst ? 0.2 : 0.9)) {
      const address = addressOf(chance(0.95) ? family : 4, index, 1);
      const kind = random.below(10);
      if (kind === 0) clientEndpoints.push({ address, signal: true });
      else if (kind === 1) clientEndpoints.push({ address, subflow: true, fullmesh: true });
      else clientEndpoints.push({ address, subflow: true, backup: chance(0.15) });
    }
    if (chance(0.3)) {
      const address = addressOf(family, index, 2);
      const kind = random.below(4);
      if (kind === 0) serverEndpoints.push({ address, subflow: true });
      else if (kind === 1 && chance(0.3)) serverEndpoints.push({ address, signal: true, port: 8443 });
      else serverEndpoints.push({ address, signal: true, backup: chance(0.2) });
    }
  }

  const userTimeout = chance(0.04) ? between(300, 3000) : 0;
  const keepsAlive = chance(0.05);
  if (userTimeout > 0 || keepsAlive) mustSucceed = false;

  return {
    seed,
    family,
    multipath,
    checksums,
    crossed,
    segmentationOffload: chance(0.3),
    checksumOffload: chance(0.3),
    noDelay: chance(0.3),
    timestamps: chance(0.85),
    sack: chance(0.85),
    windowScaling: chance(0.85),
    congestionControl: chance(0.8) ? 'cubic' : 'reno',
    deniesJoinInitial: [chance(0.08), chance(0.08)],
    userTimeout,
    keepsAlive,
    receiveBuffer: [buffer(), buffer()],
    sendBuffer: [buffer(), buffer()],
    paths,
    clientEndpoints,
    serverEndpoints,
    addAddrAcceptedLimit: chance(0.5) ? between(1, 4) : 0,
    client,
    server,
    happenings: happenings.sort((one, other) => one.at - other.at),
    boxes: [],
    mustSucceed,
  };

  /** 0: the default, with autotuning. */
  function buffer(): number {
    return chance(0.3) ? pick(2000, 4096, 10_000, 30_000, 100_000) : 0;
  }
}

import type { MptcpConnection } from '../../src/mptcp/connection.ts';
import { Phase, type Subflow } from '../../src/mptcp/subflow.ts';
import { State } from '../../src/tcp/state.ts';
import type { Bench, Side } from './stack-bench.ts';

/** How to bring a connection into a state, and to tell whether it still is in it. */
export interface StateRecipe {
  readonly name: string;
  readonly multipath: readonly [boolean, boolean];
  /** Paths between the hosts. */
  readonly paths: number;
  readonly checksums?: boolean;
  readonly victim: Side;
  /** Drives the bench into the state; the victim holds a connection in it, or did for an instant. */
  readonly enter: (bench: Bench) => void;
  readonly holdsIn: (bench: Bench) => boolean;
}

const ROUND_TRIP = 10;

function establish(bench: Bench): void {
  bench.listen();
  bench.connect();
  bench.advance(3 * ROUND_TRIP);
  bench.write(0, 5000);
  bench.write(1, 5000);
  bench.advance(30 * ROUND_TRIP);
}

/** Nothing arrives any more; what is sent is remembered. */
function cut(bench: Bench): void {
  bench.holds = () => true;
}

function tcpIn(victim: Side, state: number): (bench: Bench) => boolean {
  return (bench) => bench.endpoints(victim).some((endpoint) => endpoint.state === state);
}

export function mptcpOf(bench: Bench, side: Side): MptcpConnection | null {
  return bench.connections[side]?.mptcp ?? null;
}

function subflow(bench: Bench, side: Side, wanted: (subflow: Subflow) => boolean): boolean {
  return mptcpOf(bench, side)?.subflows.some(wanted) ?? false;
}

/** From ESTABLISHED to each of the states in which a connection ends; `at` is the side that is looked at. */
const ENDINGS: readonly [name: string, state: number, enter: (bench: Bench, at: Side, peer: Side) => void][] = [
  [
    'FIN-WAIT-1',
    State.FinWait1,
    (bench, at, peer) => {
      cut(bench);
      bench.write(at, 3000);
      bench.shutdown(at);
      bench.write(peer, 3000);
    },
  ],
  [
    'FIN-WAIT-2',
    State.FinWait2,
    (bench, at, peer) => {
      bench.shutdown(at);
      bench.advance(10 * ROUND_TRIP);
      bench.write(peer, 2000);
      bench.advance(ROUND_TRIP);
    },
  ],
  [
    'CLOSE-WAIT',
    State.CloseWait,
    (bench, at, peer) => {
      bench.shutdown(peer);
      bench.advance(10 * ROUND_TRIP);
      bench.write(at, 2000);
    },
  ],
  [
    'CLOSING',
    State.Closing,
    (bench, at, peer) => {
      bench.shutdown(at);
      bench.shutdown(peer);
      // The two FINs are on their way and cross; what acknowledges them is lost.
      cut(bench);
      bench.advance(0.6 * ROUND_TRIP);
    },
  ],
  [
    'LAST-ACK',
    State.LastAck,
    (bench, at, peer) => {
      bench.shutdown(peer);
      bench.advance(10 * ROUND_TRIP);
      cut(bench);
      bench.shutdown(at);
    },
  ],
  [
    'TIME-WAIT',
    State.TimeWait,
    (bench, at, peer) => {
      bench.shutdown(at);
      bench.advance(5 * ROUND_TRIP);
      bench.shutdown(peer);
      bench.advance(10 * ROUND_TRIP);
    },
  ],
];

const PLAIN = [false, false] as const;
const BOTH = [true, true] as const;

function plain(name: string, victim: Side, state: number, enter: (bench: Bench) => void): StateRecipe {
  return { name, multipath: PLAIN, paths: 1, victim, enter, holdsIn: tcpIn(victim, state) };
}

function listening(multipath: boolean): StateRecipe {
  return {
    name: multipath ? 'LISTEN, multipath' : 'LISTEN',
    multipath: [multipath, multipath],
    paths: 1,
    victim: 1,
    enter: (bench) => {
      establish(bench);
      bench.close(0, false);
      bench.close(1, false);
      bench.advance(130_000);
      // Or the peer would reset what it knows nothing of, and the listener would never be crowded.
      if (!multipath) cut(bench);
    },
    holdsIn: () => true,
  };
}

function synSent(multipath: boolean): StateRecipe {
  return {
    name: multipath ? 'SYN-SENT, multipath' : 'SYN-SENT',
    multipath: [multipath, multipath],
    paths: 1,
    victim: 0,
    enter: (bench) => {
      bench.listen();
      bench.holds = (packet) => packet.to === 0;
      bench.connect();
      bench.advance(ROUND_TRIP);
    },
    holdsIn: tcpIn(0, State.SynSent),
  };
}

function synReceived(multipath: boolean): StateRecipe {
  return {
    name: multipath ? 'SYN-RECEIVED, multipath' : 'SYN-RECEIVED',
    multipath: [multipath, multipath],
    paths: 1,
    victim: 1,
    enter: (bench) => {
      bench.listen();
      bench.connect();
      bench.holds = (packet) => packet.to === 1;
      bench.advance(ROUND_TRIP);
      bench.write(0, 3000);
      bench.advance(ROUND_TRIP);
    },
    holdsIn: tcpIn(1, State.SynReceived),
  };
}

export const HANDSHAKES: readonly StateRecipe[] = [
  listening(false),
  listening(true),
  synSent(false),
  synSent(true),
  synReceived(false),
  synReceived(true),
];

export const PLAIN_OPEN: readonly StateRecipe[] = [
  plain('ESTABLISHED', 0, State.Established, establish),
  plain('ESTABLISHED, server', 1, State.Established, establish),
  plain('ESTABLISHED, data both ways under way', 0, State.Established, (bench) => {
    establish(bench);
    bench.reads[0] = false;
    cut(bench);
    bench.write(0, 60_000);
    bench.write(1, 60_000);
  }),
];

export const PLAIN_ENDINGS: readonly StateRecipe[] = ENDINGS.map(([name, state, enter], index) => {
  const at = (index & 1) as Side;
  return plain(name, at, state, (bench) => {
    establish(bench);
    enter(bench, at, (1 - at) as Side);
  });
});

export const MULTIPATH_OPEN: readonly StateRecipe[] = [
  {
    name: 'initial subflow unproven',
    multipath: BOTH,
    paths: 1,
    victim: 0,
    enter: (bench) => {
      bench.listen();
      bench.connect();
      bench.advance(100, () => subflow(bench, 0, (flow) => flow.phase === Phase.Unproven));
      cut(bench);
      bench.write(0, 3000);
      bench.advance(1);
    },
    holdsIn: (bench) => subflow(bench, 0, (flow) => flow.phase === Phase.Unproven),
  },
  {
    name: 'join in SYN-SENT',
    multipath: BOTH,
    paths: 2,
    victim: 0,
    enter: (bench) => {
      bench.listen();
      bench.connect();
      bench.advance(100, () => bench.connections[0]!.established);
      bench.holds = (packet) => packet.interfaceId === 1 && packet.to === 0;
      bench.write(0, 3000);
      bench.advance(50);
    },
    holdsIn: (bench) => subflow(bench, 0, (flow) => flow.joined && flow.phase === Phase.Connecting),
  },
  {
    name: 'join unproven',
    multipath: BOTH,
    paths: 2,
    victim: 0,
    enter: (bench) => {
      bench.listen();
      bench.connect();
      bench.advance(100, () => bench.connections[0]!.established);
      bench.write(0, 3000);
      bench.advance(500, () => subflow(bench, 0, (flow) => flow.joined && flow.phase === Phase.Unproven));
      bench.holds = (packet) => packet.interfaceId === 1;
      bench.write(0, 3000);
      bench.advance(1);
    },
    holdsIn: (bench) => subflow(bench, 0, (flow) => flow.joined && flow.phase === Phase.Unproven),
  },
  {
    name: 'join in SYN-RECEIVED',
    multipath: BOTH,
    paths: 2,
    victim: 1,
    enter: (bench) => {
      bench.listen();
      bench.connect();
      bench.advance(100, () => bench.connections[0]!.established);
      bench.write(0, 3000);
      bench.advance(500, () => subflow(bench, 1, (flow) => flow.joined && flow.phase === Phase.Connecting));
      bench.holds = (packet) => packet.interfaceId === 1;
      bench.advance(ROUND_TRIP);
    },
    holdsIn: (bench) => subflow(bench, 1, (flow) => flow.joined && flow.phase === Phase.Connecting),
  },
  ...([0, 1] as const).map(
    (victim): StateRecipe => ({
      name: `proven, one subflow, side ${victim}`,
      multipath: BOTH,
      paths: 1,
      victim,
      enter: establish,
      holdsIn: (bench) => bench.connections[victim]!.isMultipath && !bench.connections[victim]!.closed,
    }),
  ),
  ...([0, 1] as const).map(
    (victim): StateRecipe => ({
      name: `proven, three subflows, side ${victim}`,
      multipath: BOTH,
      paths: 3,
      victim,
      enter: (bench) => {
        establish(bench);
        bench.advance(500);
        bench.holds = (packet) => packet.interfaceId === 2;
        bench.write(0, 20_000);
        bench.write(1, 20_000);
        bench.advance(3);
      },
      holdsIn: (bench) => (mptcpOf(bench, victim)?.subflows.length ?? 0) > 1,
    }),
  ),
];

export const MULTIPATH_CHECKSUMS: readonly StateRecipe[] = ([0, 1] as const).map((victim) => ({
  name: `DSS checksums, side ${victim}`,
  multipath: BOTH,
  paths: victim + 1,
  checksums: true,
  victim,
  enter: (bench: Bench) => {
    establish(bench);
    bench.write(0, 20_000);
    bench.write(1, 20_000);
    bench.advance(3);
  },
  holdsIn: (bench: Bench) => bench.connections[victim]!.isMultipath && !bench.connections[victim]!.closed,
}));

export const MULTIPATH_FALLEN_BACK: readonly StateRecipe[] = [
  {
    name: 'fallen back: the server is plain',
    multipath: [true, false],
    paths: 1,
    victim: 0,
    enter: establish,
    holdsIn: (bench) => mptcpOf(bench, 0)?.fallenBack === true && !bench.connections[0]!.closed,
  },
  ...([0, 1] as const).map(
    (victim): StateRecipe => ({
      name: `fallen back: a payload was changed, side ${victim}`,
      multipath: BOTH,
      paths: 1,
      checksums: true,
      victim,
      enter: (bench) => {
        bench.tamper = (packet) => {
          if (packet.to === 1 && packet.bytes.length > 1000) packet.bytes[packet.bytes.length - 1] = 0x62;
        };
        establish(bench);
        bench.advance(500);
        // The infinite mapping comes with new data, at the latest.
        bench.write(0, 2000);
        bench.write(1, 2000);
        bench.advance(500);
      },
      holdsIn: (bench) => mptcpOf(bench, victim)?.fallenBack === true && !bench.connections[victim]!.closed,
    }),
  ),
];

export const MULTIPATH_ENDINGS: readonly StateRecipe[] = ENDINGS.flatMap(([name, state, enter], index) =>
  [1, 2].map((paths): StateRecipe => {
    const victim = ((index + paths) & 1) as Side;
    return {
      name: `${name} of the data, ${paths === 1 ? 'one subflow' : 'two subflows'}`,
      multipath: BOTH,
      paths,
      victim,
      enter: (bench) => {
        establish(bench);
        enter(bench, victim, (1 - victim) as Side);
      },
      // The data's TIME-WAIT is over at once where the subflows' is what remains.
      holdsIn: (bench) =>
        state === State.TimeWait
          ? bench.endpoints(victim).length > 0
          : mptcpOf(bench, victim)?.state === state && bench.endpoints(victim).length > 0,
    };
  }),
);

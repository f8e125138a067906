import { timeOrigin } from '../node/clock.ts';
import { CaptureFile } from './capture-file.ts';
import { DEMO_PATHS, realNetwork, virtualNetwork } from './demo-network.ts';
import { DemoTransfer } from './demo-transfer.ts';
import { type DemoSummary, DemoView, summaryText } from './demo-view.ts';
import { CommandError } from './failure.ts';
import { HELP_OPTION, helpText, parseOptions, UsageError } from './options.ts';
import { Terminal } from './terminal.ts';

/** `mptcp demo`: what Multipath TCP is good for, without root and without a network. */

const TABLE = {
  size: { value: 'SIZE', text: 'of the file (default 64MB)' },
  'no-cut': { text: 'leave both networks as they are' },
  virtual: { text: 'in virtual time: done in a moment, and the same every time' },
  seed: { value: 'SEED', text: "of the file's content, and of all that is random in virtual time (default 1)" },
  out: { short: 'o', value: 'FILE', text: 'the capture (default ./mptcp-demo.pcapng)' },
  json: { text: 'the summary as a JSON object, and nothing else' },
  help: HELP_OPTION,
} as const;

function help(): string {
  const [wifi, lte] = DEMO_PATHS;
  return helpText(
    ['mptcp demo [OPTION]...'],
    `Two hosts in this process, with stacks of their own, joined by an emulated ${wifi!.name} network
     (${wifi!.rate} Mbit/s, ${wifi!.roundTrip} ms there and back) and an emulated ${lte!.name} network (${lte!.rate}
     Mbit/s, ${lte!.roundTrip} ms). One connection sends a file over both. After 40 % ${wifi!.name} falls silent: its
     packets vanish, and nobody is told. After 70 % it is back.

     Rates are what arrived over each network; round-trip times and congestion windows are the sender's. A silent
     network is tried again at least once a second.

     Exit code: 0, or 1 when what arrived is not what was sent.`,
    TABLE,
  );
}

/** Milliseconds of the transfer's time between two looks at it. */
const INTERVAL = 100;

/** Runs the command. @returns the exit code */
export async function demo(args: string[]): Promise<number> {
  const options = parseOptions(args, TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  if (options.operands.length > 0) throw new UsageError(`${options.operands[0]} is one word too many`);
  const size = options.size('size', 64e6);
  if (size === 0) throw new UsageError('--size takes at least one byte');
  const isVirtual = options.has('virtual');
  const isJson = options.has('json');
  const seed = options.text('seed') ?? '1';
  // Virtual time begins at the epoch: the same seed makes the same file.
  const file = new CaptureFile(options.text('out') ?? './mptcp-demo.pcapng', isVirtual ? 0 : timeOrigin());
  const terminal = new Terminal(isJson ? process.stderr : process.stdout);
  const { capture } = file;
  const network = isVirtual ? virtualNetwork({ seed, capture }) : realNetwork({ seed, capture });
  let signal = 0;
  const stop = (name: NodeJS.Signals, code: number): (() => void) => {
    const listener = (): void => {
      signal = code;
    };
    process.once(name, listener);
    return () => process.off(name, listener);
  };
  const forget = [stop('SIGINT', 130), stop('SIGTERM', 143)];
  try {
    const transfer = new DemoTransfer(network, {
      size,
      seed,
      cutAt: options.has('no-cut') ? Number.POSITIVE_INFINITY : 0.4,
      returnAt: 0.7,
    });
    const view = new DemoView(terminal, transfer, isVirtual, isJson && !terminal.isTerminal);
    view.begin();
    transfer.start();
    await network.run(
      INTERVAL,
      () => {
        transfer.check();
        view.update();
      },
      () => transfer.isOver || signal !== 0,
    );
    transfer.check();
    view.end();
    if (signal !== 0) return signal;
    const problem = file.close();
    if (problem !== undefined) throw new CommandError(`${file.path}: ${problem}`);
    const summary = summarise(transfer, isVirtual, file);
    process.stdout.write(isJson ? `${JSON.stringify(summary, null, 2)}\n` : summaryText(summary, terminal));
    return summary.sha256.equal ? 0 : 1;
  } finally {
    for (const off of forget) off();
    network.close();
    file.close();
  }
}

/** Everything that the demo found out. */
export function summarise(transfer: DemoTransfer, isVirtual: boolean, file: CaptureFile): DemoSummary {
  const { plan, events, elapsed } = transfer;
  const { sent, received } = transfer.digests;
  const sum = DEMO_PATHS.reduce((total, { rate }) => total + rate * 1e6, 0);
  const marks = [{ at: 0, delivered: 0 }, ...events, { at: elapsed, delivered: transfer.delivered }];
  let isFirstUp = true;
  let available = 0;
  const phases = marks.slice(1).map((mark, index) => {
    const from = marks[index]!;
    if (index > 0) isFirstUp = events[index - 1]!.isUp;
    const capacity = isFirstUp ? sum : sum - DEMO_PATHS[0]!.rate * 1e6;
    const milliseconds = mark.at - from.at;
    available += capacity * milliseconds;
    const goodput = milliseconds > 0 ? ((mark.delivered - from.delivered) * 8000) / milliseconds : 0;
    return { from: from.at, milliseconds, paths: isFirstUp ? 'both' : DEMO_PATHS[1]!.name, goodput, capacity };
  });
  return {
    time: isVirtual ? 'virtual' : 'real',
    seed: plan.seed,
    bytes: transfer.delivered,
    milliseconds: elapsed,
    goodput: (transfer.delivered * 8000) / elapsed,
    capacity: sum,
    capacityWhileUp: available / elapsed,
    phases,
    longestGap: { milliseconds: transfer.longestGap, at: transfer.longestGapAt },
    events,
    paths: transfer.figures(),
    sha256: { sent, received, equal: sent === received },
    capture: { file: file.path, packets: file.capture.packets, interfaces: DEMO_PATHS.length },
  };
}

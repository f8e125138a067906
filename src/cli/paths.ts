import { makeUplinkPaths, removeUplinkPaths, type UplinkPath, uplinkPaths } from '../kernel/uplink-paths.ts';
import { HELP_OPTION, helpText, parseOptions, UsageError } from './options.ts';
import { table } from './table.ts';

/** `mptcp paths`: a way to the outside for the userspace stack, over every uplink. */

const TABLE = {
  auto: { text: 'with up: every interface that has an IPv4 default route (the default)' },
  via: { value: 'INTERFACE', multiple: true, text: 'with up: this interface; may be given several times' },
  json: { text: 'a JSON object, and nothing else' },
  help: HELP_OPTION,
} as const;

function help(): string {
  return helpText(
    ['mptcp paths up [--auto | --via INTERFACE...]', 'mptcp paths down', 'mptcp paths [show]'],
    `For systems whose kernel has no Multipath TCP: makes a TUN device for each uplink, with an address behind it, a rule and a
     routing table that send what comes from it out by that uplink alone, and masquerading. Programs then reach the outside over
     every uplink at once with the stack of this package: createHost({ paths: systemPaths() }).

     "up" first takes away what an earlier one left, also after a crash; "down" leaves nothing behind. IPv4. Needs root, iproute2 and
     nftables. What the paths are stands in /run/mptcp. Another firewall's rules for forwarding still count.

     Exit code: 0 when done (for show: when there are paths), 1 when not, 2 for wrong usage.`,
    TABLE,
  );
}

/** Runs the command. @returns the exit code */
export async function paths(args: string[]): Promise<number> {
  const options = parseOptions(args, TABLE);
  if (options.has('help')) {
    process.stdout.write(help());
    return 0;
  }
  const [action = 'show', surplus] = options.operands;
  if (surplus !== undefined) throw new UsageError(`${surplus} is one word too many`);
  if (!['up', 'down', 'show'].includes(action)) throw new UsageError(`"${action}" is none of up, down, show`);
  const via = options.all('via');
  if (action !== 'up' && (via.length > 0 || options.has('auto'))) throw new UsageError('--auto and --via go with up');
  if (via.length > 0 && options.has('auto')) throw new UsageError('one of --auto and --via');
  const found = action === 'up' ? makeUplinkPaths(via) : action === 'down' ? removeUplinkPaths() : uplinkPaths();
  if (options.has('json')) process.stdout.write(`${JSON.stringify({ paths: found })}\n`);
  else process.stdout.write(report(action, found));
  return action === 'show' && found.length === 0 ? 1 : 0;
}

function report(action: string, paths: readonly UplinkPath[]): string {
  if (paths.length === 0) return action === 'down' ? 'there were no paths\n' : 'there are no paths: mptcp paths up\n';
  if (action === 'down') return `taken away: ${paths.map(({ device }) => device).join(', ')}\n`;
  const rows = paths.map(({ device, uplink, address, kernelAddress }) => [device, uplink, address, kernelAddress]);
  return table(['device', 'uplink', 'address', "kernel's"], rows);
}

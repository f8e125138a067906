import type { Stack } from '../stack/stack.ts';
import { Drop } from '../wire/drop.ts';

/** Names that Linux keeps in the group Tcp; the others are TcpExt's. */
const TCP_GROUP: ReadonlySet<string> = new Set([
  'ActiveOpens',
  'PassiveOpens',
  'AttemptFails',
  'EstabResets',
  'CurrEstab',
  'InSegs',
  'OutSegs',
  'RetransSegs',
  'InErrs',
  'OutRsts',
  'InCsumErrors',
]);

/** The host's counters that are not zero, by the names that `nstat` prints; and every reason for a dropped packet. */
export function counterList(stack: Stack): Record<string, number> {
  const list: Record<string, number> = {};
  const add = (name: string, value: unknown): void => {
    if (typeof value === 'number' && value !== 0) list[name] = value;
  };
  for (const [name, value] of Object.entries(stack.tcpCounters)) {
    add(`${TCP_GROUP.has(name) ? 'Tcp' : 'TcpExt'}${name}`, value);
  }
  for (const [name, value] of Object.entries(stack.counters)) add(`MPTcpExt${name}`, value);
  for (const [name, value] of Object.entries(stack.ipCounters))
    add(name.startsWith('Icmp') ? name : `Ip${name}`, value);
  for (const [name, reason] of Object.entries(Drop)) add(`Drop${name}`, stack.ipCounters.drops[reason]);
  return list;
}

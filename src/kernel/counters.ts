import { readFileSync } from 'node:fs';

/** The kernel's counters by the names that `nstat` prints: `MPTcpExtMPCapableSYNRX`, `TcpRetransSegs` … */
export type KernelCounters = ReadonlyMap<string, number>;

/** The counters of the network namespace that this process is in. Those of a protocol that is not there are missing. */
export function readKernelCounters(): KernelCounters {
  const counters = new Map<string, number>();
  for (const path of [`${NET}/snmp`, `${NET}/netstat`]) parseCounters(readFileSync(path, 'utf8'), counters);
  try {
    parseSnmp6(readFileSync(`${NET}/snmp6`, 'utf8'), counters);
  } catch {
    // A kernel without IPv6.
  }
  return counters;
}

/** Adds the tables of `/proc/net/snmp` or `netstat`: for each group one line of names, one of numbers. */
export function parseCounters(text: string, counters: Map<string, number>): void {
  const lines = text.split('\n');
  for (let index = 0; index + 1 < lines.length; index += 2) {
    const names = lines[index]!.trim().split(/\s+/);
    const values = lines[index + 1]!.trim().split(/\s+/);
    const group = names[0]!.replace(':', '');
    for (let column = 1; column < names.length; column++) counters.set(group + names[column]!, Number(values[column]));
  }
}

function parseSnmp6(text: string, counters: Map<string, number>): void {
  for (const line of text.split('\n')) {
    const [name, value] = line.trim().split(/\s+/);
    if (name !== undefined && value !== undefined) counters.set(name, Number(value));
  }
}

/** What changed between two readings: names whose counter differs, with the difference. */
export function counterChanges(before: KernelCounters, after: KernelCounters): Map<string, number> {
  const changes = new Map<string, number>();
  for (const [name, value] of after) {
    const difference = value - (before.get(name) ?? 0);
    if (difference !== 0) changes.set(name, difference);
  }
  return changes;
}

/** Of the namespace that the calling thread is in, which `inNetworkNamespace` may have changed. */
const NET = '/proc/thread-self/net';

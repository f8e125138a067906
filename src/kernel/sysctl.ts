import { readFileSync, writeFileSync } from 'node:fs';

/** Controls of the kernel, by the names that `sysctl` prints: `net.mptcp.enabled`, `net.ipv4.conf.eth0.10.rp_filter`. */

/** The value; undefined when there is no such control here. */
export function readControl(name: string): string | undefined {
  try {
    return readFileSync(controlPath(name), 'utf8').trim();
  } catch {
    return undefined;
  }
}

/** @throws Node's error of writing: EACCES, EPERM, ENOENT, EINVAL */
export function writeControl(name: string, value: string): void {
  writeFileSync(controlPath(name), value);
}

/** The names of devices may hold dots: everything between `conf.` and the last word is one. */
function controlPath(name: string): string {
  const device = /^(net\.ipv[46]\.conf)\.(.+)\.([^.]+)$/.exec(name);
  const parts = device === null ? name.split('.') : [...device[1]!.split('.'), device[2]!, device[3]!];
  return `/proc/sys/${parts.join('/')}`;
}

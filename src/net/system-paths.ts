import { type UplinkPath, uplinkPaths } from '../kernel/uplink-paths.ts';
import type { HostPath } from '../node/userspace-host.ts';
import { Address } from '../wire/address.ts';

/**
 * The paths that `mptcp paths up` made on this system, for `createHost({ paths: systemPaths() })`: connections begin on the
 * first, and are joined from the others. Opening them needs root, or a TUN device of one's own.
 *
 * @throws Error ERR_MPTCP_NO_PATHS when there are none
 */
export function systemPaths(): readonly HostPath[] {
  const paths = uplinkPaths();
  if (paths.length === 0) {
    throw Object.assign(new Error('there are no paths to the outside; make them: mptcp paths up'), {
      code: 'ERR_MPTCP_NO_PATHS',
    });
  }
  return paths.map(hostPath);
}

function hostPath({ device, address, prefixLength }: UplinkPath, index: number): HostPath {
  return {
    name: device,
    addresses: [{ address: Address.of(address), prefixLength }],
    ...(index === 0 ? {} : { endpoint: { subflow: true } }),
  };
}

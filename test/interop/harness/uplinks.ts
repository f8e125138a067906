import { after } from 'node:test';
import { connectNamespaces, Namespace } from './namespace.ts';

/** Where the server behind both uplinks is found. */
export const SERVER = '203.0.113.7';
/** The uplinks' devices, and the system's addresses on them. */
export const UPLINKS = ['wifi0', 'lte0'] as const;

/**
 * A system with Wi-Fi and LTE as somebody who knows nothing of Multipath TCP leaves it, with two default routes and strict
 * filters, and a server behind both. Gone when the tests of the file have ended.
 */
export function twoUplinks(): { host: Namespace; server: Namespace } {
  const host = Namespace.create('host', { ipv6: false });
  const server = Namespace.create('server', { ipv6: false });
  after(() => {
    host.close();
    server.close();
  });
  for (const [index, device] of UPLINKS.entries()) {
    connectNamespaces(
      { namespace: host, device, address: `10.9.${index}.2/24` },
      { namespace: server, device: `r${index}`, address: `10.9.${index}.1/24` },
    );
    host.ip(`route add default via 10.9.${index}.1 dev ${device} metric ${100 * (index + 1)}`);
    host.sysctl(`net.ipv4.conf.${device}.rp_filter`, 1);
  }
  server.ip(`address add ${SERVER}/32 dev lo`);
  return { host, server };
}

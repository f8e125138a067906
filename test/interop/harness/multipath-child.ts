/** Connections of this process to itself, and what `kernelMultipath` says of them, for the test that calls. */
import { once } from 'node:events';
import net from 'node:net';
import type { Multipath, MultipathOptions } from '../../../src/api/multipath.ts';
import { wrapTcpHandle } from '../../../src/kernel/tcp-handle.ts';
import { kernelMultipath } from '../../../src/net/kernel-multipath.ts';
import { serve } from './child.ts';

/** Sockets that ask for MPTCP, one by one: the other way to use the hook than for the whole process. */
const wanted = new WeakSet<net.Socket>();
const hook = wrapTcpHandle();
hook.policies.add({ client: (owner) => owner !== undefined && wanted.has(owner), server: () => false });

let client: net.Socket;
let server: net.Server;
let accepted: net.Socket;

function told(multipath: Multipath | undefined): object | null {
  if (multipath === undefined) return null;
  const { backend, version, token, fallback, subflows, bytesSent, bytesReceived, bytesRetransmitted, unsupported } =
    multipath;
  return { backend, version, token, fallback, subflows, bytesSent, bytesReceived, bytesRetransmitted, unsupported };
}

serve(
  {
    async open({ from, to, asked }: { from: boolean; to: boolean; asked?: MultipathOptions }) {
      server = net.createServer((socket) => {
        accepted = socket;
        socket.resume();
      });
      if (to) hook.asServer(() => server.listen(0));
      else server.listen(0);
      await once(server, 'listening');
      client = new net.Socket();
      if (from) wanted.add(client);
      const before = told(kernelMultipath(client, asked));
      client.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
      await Promise.all([once(client, 'connect'), once(server, 'connection')]);
      client.write(Buffer.alloc(100_000));
      kernelMultipath(client, asked);
      return { before };
    },
    state: () => ({ client: told(kernelMultipath(client)), accepted: told(kernelMultipath(accepted)) }),
    async control() {
      const multipath = kernelMultipath(client)!;
      const codes: string[] = [];
      for (const call of [
        () => multipath.addSubflow({ localAddress: '127.0.0.3' }),
        () => multipath.removeSubflow(1),
        () => multipath.setBackup(1, true),
        () => multipath.announce('127.0.0.4', 80),
      ]) {
        await call().catch((error: { code: string; message: string }) => codes.push(`${error.code} ${error.message}`));
      }
      return codes;
    },
    async close() {
      server.close();
      client.destroy();
      accepted.destroy();
      await once(client, 'close');
      return told(kernelMultipath(client));
    },
  },
  () => process.exit(),
);

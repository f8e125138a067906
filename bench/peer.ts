import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Namespace } from '../test/interop/harness/namespace.ts';

/** A kernel endpoint in a namespace: a small C program, so that what is measured is not Node at the other end. */
export interface Peer {
  readonly lines: AsyncIterator<string>;
  kill(): void;
}

/** The protocol number of a kernel socket. */
export const kernelProtocol = (multipath: boolean): number => (multipath ? 262 : 0);

/** Builds `tun-peer.c` for as long as it lives. Needs gcc. */
export class PeerProgram implements Disposable {
  private readonly directory: string = mkdtempSync(join(tmpdir(), 'mptcp-bench-'));
  private readonly program: string = join(this.directory, 'peer');

  constructor() {
    execFileSync('gcc', ['-O2', '-o', this.program, fileURLToPath(new URL('./tun-peer.c', import.meta.url))]);
  }

  start(namespace: Namespace, ...words: readonly (string | number)[]): Peer {
    const child = spawn('ip', ['netns', 'exec', namespace.name, this.program, ...words.map(String)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return { lines, kill: () => child.kill('SIGKILL') };
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

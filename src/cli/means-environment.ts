import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Means } from '../kernel/program.ts';
import { CommandError } from './failure.ts';

/** Exit code of `env` and its like: what was to be run could not be prepared. */
export const NOT_PREPARED = 125;

/** A variable of the environment, and what is added behind what it says already. */
export interface MeansVariable {
  readonly name: string;
  readonly separator: string;
  readonly added: string;
}

/**
 * The variable that brings a program onto MPTCP; undefined for the means that needs none.
 * @param library for `preload`
 * @throws CommandError in a build without `mptcp/register`
 */
export function meansVariable(means: Means, library: string | undefined): MeansVariable | undefined {
  switch (means) {
    case 'register': {
      const here = new URL(import.meta.url);
      const module = new URL(`../net/register${extname(here.pathname)}`, here);
      if (!existsSync(fileURLToPath(module))) {
        throw new CommandError('--via=register cannot be: this build has no mptcp/register', NOT_PREPARED);
      }
      return { name: 'NODE_OPTIONS', separator: ' ', added: `--import=${module.href}` };
    }
    case 'go':
      // The last of several settings counts, and that should be this one.
      return { name: 'GODEBUG', separator: ',', added: 'multipathtcp=1' };
    case 'preload':
      return { name: 'LD_PRELOAD', separator: ':', added: library! };
    case 'seccomp':
      return undefined;
  }
}

/** Its new value. */
export function extended(before: string | undefined, { separator, added }: MeansVariable): string {
  return before === undefined || before === '' ? added : `${before}${separator}${added}`;
}

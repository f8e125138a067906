import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '..');

interface Manifest {
  readonly files: readonly string[];
}

/**
 * Builds the package from the sources as they are, and packs it as `npm publish` would, in `folder`, which should be
 * empty: the repository's own `dist` is neither used nor touched.
 *
 * @returns the tarball's path
 * @throws Error of `execFileSync` with the compiler's or npm's output
 */
export function packPackage(folder: string): string {
  const stage = join(folder, 'stage');
  mkdirSync(stage);
  run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', 'tsconfig.build.json', '--outDir', join(stage, 'dist')], ROOT);
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
  for (const name of ['package.json', ...manifest.files]) {
    if (name !== 'dist') cpSync(join(ROOT, name), join(stage, name), { recursive: true });
  }
  const told = run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], stage);
  const [{ filename }] = JSON.parse(told) as [{ filename: string }];
  return join(folder, filename);
}

function run(program: string, words: readonly string[], cwd: string): string {
  return execFileSync(program, words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
}

import assert from 'node:assert/strict';
import { connected, each } from './backends.ts';

each('the back end is the one it is named for', async (backend) => {
  const pair = await connected(backend);
  const kinds = [pair.client, pair.peer].map((socket) => {
    const { multipath } = socket as { multipath?: { fallback: string | null; backend: string } };
    return multipath === undefined ? 'none' : `${multipath.backend} ${multipath.fallback ?? 'multipath'}`;
  });
  const [name] = backend.name.split(',');
  const expected = name === 'node:net' ? 'none' : `${name} multipath`;
  assert.deepEqual(kinds, [expected, expected]);
  await pair.close();
});

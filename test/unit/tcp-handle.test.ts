import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import net from 'node:net';
import { test } from 'node:test';
import { multipathRefusal, refusalSentence, wrapTcpHandle } from '../../src/kernel/tcp-handle.ts';
import { load } from '../../src/node/ffi.ts';

const require = createRequire(import.meta.url);
const isLinux = process.platform === 'linux';

async function connectOnce(): Promise<void> {
  const server = net.createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  let text = '';
  socket.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  await once(socket, 'close');
  server.close();
  assert.equal(text, 'hello');
}

test('the handle class is wrapped once, by whichever copy of the package comes first', async () => {
  const hook = wrapTcpHandle();
  assert.equal(wrapTcpHandle(), hook);
  // The same file under another name is another copy.
  const { href } = new URL('../../src/kernel/tcp-handle.ts?copy', import.meta.url);
  const copy = (await import(href)) as { wrapTcpHandle: typeof wrapTcpHandle };
  assert.notEqual(copy.wrapTcpHandle, wrapTcpHandle);
  if (isLinux) assert.equal(copy.wrapTcpHandle(), hook);
  else assert.match(hook.reason!, /only Linux/);
});

test('policies are asked with the socket that connects, and for what binds', async () => {
  const hook = wrapTcpHandle();
  const owners: unknown[] = [];
  let servers = 0;
  const policy = {
    client: (owner: net.Socket | undefined) => {
      owners.push(owner);
      return false;
    },
    server: () => {
      servers++;
      return false;
    },
  };
  hook.policies.add(policy);
  try {
    await connectOnce();
  } finally {
    hook.policies.delete(policy);
  }
  if (!isLinux) return;
  assert.equal(owners.length, 1);
  assert.ok(owners[0] instanceof net.Socket);
  assert.equal(servers, 1);
  await connectOnce();
  assert.equal(owners.length, 1, 'a policy that was taken away is not asked');
});

test('a policy that throws harms no connection', async () => {
  const hook = wrapTcpHandle();
  const fail = (): never => {
    throw new Error('a policy of the application is broken');
  };
  const policy = { client: fail, server: fail };
  hook.policies.add(policy);
  try {
    await connectOnce();
  } finally {
    hook.policies.delete(policy);
  }
});

test('asServer returns what it ran, passes on what it threw, and ends with it', async () => {
  const hook = wrapTcpHandle();
  assert.equal(
    hook.asServer(() => hook.asServer(() => 7)),
    7,
  );
  assert.throws(
    () =>
      hook.asServer(() => {
        throw new RangeError('mine');
      }),
    /mine/,
  );
  let asked = 0;
  const policy = { client: () => false, server: () => ++asked < 0 };
  hook.policies.add(policy);
  try {
    const server = hook.asServer(() => net.createServer().listen(0));
    await once(server, 'listening');
    server.close();
    assert.equal(asked, 0, 'within asServer no policy needs to be asked');
    await connectOnce();
    if (isLinux) assert.equal(asked, 1, 'after it they are');
  } finally {
    hook.policies.delete(policy);
  }
});

test('each refusal of the kernel is a sentence that says what would help', () => {
  assert.match(refusalSentence('ENOPROTOOPT'), /sysctl net\.mptcp\.enabled=1/);
  assert.match(refusalSentence('EPROTONOSUPPORT'), /kernel has no MPTCP .*5\.6/);
  assert.match(refusalSentence('EINVAL'), /kernel has no MPTCP/);
  assert.match(refusalSentence('EACCES'), /seccomp/);
  assert.match(refusalSentence('ENOBUFS'), /ENOBUFS/);
  assert.equal(multipathRefusal(), multipathRefusal());
});

test('both ways to call C do the same: descriptors are duplicated, shut down and read', {
  skip: !isLinux && 'the descriptors are those of Linux',
}, () => {
  const withoutBuiltIn = (name: string): unknown => {
    if (name === 'node:ffi') throw new Error('hidden');
    return require(name);
  };
  const hasBuiltIn = Number(process.versions.node.split('.')[0]) >= 26;
  assert.equal(load(require).backend, hasBuiltIn ? 'node:ffi' : 'koffi');
  assert.equal(load(withoutBuiltIn).backend, 'koffi');
  for (const calls of [load(require), load(withoutBuiltIn)]) {
    const pair = Buffer.alloc(8);
    assert.equal(calls.socketpair(1, 1 | 0o4000, 0, pair), 0);
    const [left, right] = [pair.readInt32LE(0), pair.readInt32LE(4)];
    const second = calls.fcntl(left, 1030, 0);
    assert.ok(second > 0 && second !== left);
    assert.equal(calls.fcntl(second, 1, 0), 1, 'closed on exec');
    const third = calls.dup(left);
    assert.equal(calls.close(left), 0);
    assert.equal(calls.write(second, Buffer.from('abc'), 3), 3);
    const bytes = Buffer.alloc(8);
    assert.equal(calls.recv(right, bytes, 8, 2), 3, 'a peek');
    assert.equal(calls.recv(right, calls.address(bytes), 8, 0), 3);
    assert.equal(bytes.toString('latin1', 0, 3), 'abc');
    assert.equal(calls.recv(right, bytes, 8, 0), -1);
    assert.equal(calls.errno(), 11);
    assert.equal(calls.shutdown(third, 1), 0);
    assert.equal(calls.recv(right, bytes, 8, 0), 0, 'the end');
    for (const fd of [second, third, right]) assert.equal(calls.close(fd), 0);
  }
});

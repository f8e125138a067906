import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SOURCE = new URL('../../src/net/', import.meta.url).href;

/** A program over one host; it must end by itself. @returns what it printed */
async function program(body: string): Promise<string> {
  const text = `
    import { createHost, emulate } from '${SOURCE}host.ts';
    import { connect } from '${SOURCE}userspace-socket.ts';
    import { createServer } from '${SOURCE}userspace-server.ts';
    const host = createHost();
    ${body}
  `;
  const { stdout } = await run(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', text], {
    timeout: 15_000,
  });
  return stdout.trim();
}

test('a host by itself does not keep the process alive', async () => {
  assert.equal(await program('console.log("made");'), 'made');
});

test('a server does, unless it is unref’ed; one that is ref’ed again does', async () => {
  const text = await program(`
    createServer(host).listen(0, function () { this.unref(); console.log('unref'); });
    const again = createServer(host).unref();
    again.listen(0, () => { again.ref(); setTimeout(() => { console.log('still here'); again.close(); }, 50).unref(); });
  `);
  assert.equal(text, 'unref\nstill here');
});

test('a connection keeps the process alive while it reads, unless it is unref’ed', async () => {
  const text = await program(`
    const server = createServer(host, (peer) => { peer.unref(); peer.resume(); });
    server.listen(0, () => {
      const socket = connect(host, server.address().port, () => {
        server.unref();
        setTimeout(() => { console.log('alive'); socket.unref(); }, 50).unref();
      });
      socket.resume();
    });
    process.on('exit', () => console.log('over'));
  `);
  assert.equal(text, 'alive\nover');
});

test('a paused socket does not keep the process alive, as in node:net', async () => {
  const text = await program(`
    const server = createServer(host, { pauseOnConnect: true }, () => {
      server.unref();
      socket.unref();
      console.log('paused');
    });
    let socket;
    server.listen(0, () => { socket = connect(host, server.address().port); });
  `);
  assert.equal(text, 'paused');
});

test('what a closed socket wrote is delivered before the process ends', async () => {
  const text = await program(`
    const { first, second } = emulate([{ rate: 2000, delay: 10 }]);
    let count = 0;
    const server = createServer(second, { allowHalfOpen: true }, (peer) => {
      peer.unref();
      peer.on('data', (data) => { count += data.length; });
      peer.on('end', () => console.log(count));
    });
    server.unref();
    server.listen(80, '10.0.1.2', () => {
      const socket = connect(first, 80, '10.0.1.2', () => socket.write(Buffer.alloc(100_000), () => socket.destroy()));
    });
    host.close();
  `);
  assert.equal(text, '100000');
});

test('a host that is closed closes its sockets and servers, and the process ends', async () => {
  const text = await program(`
    const server = createServer(host, (peer) => peer.on('close', () => console.log('peer closed')));
    server.on('close', () => console.log('server closed'));
    server.listen(0, () => connect(host, server.address().port).on('close', (failed) => console.log('closed', failed))
      .on('connect', () => setImmediate(() => host.close())));
  `);
  assert.deepEqual(text.split('\n').sort(), ['closed false', 'peer closed', 'server closed']);
});

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseUnit, quoteWord, ServiceUnit, splitCommand, splitWords } from '../../src/kernel/service-unit.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/** A directory as the root of a system. */
class System {
  readonly root = mkdtempSync(join(tmpdir(), 'mptcp-units-'));

  file(path: string, content: string | Buffer): string {
    const full = join(this.root, path);
    mkdirSync(dirname(full), { recursive: true });
    writeFileSync(full, content);
    chmodSync(full, 0o755);
    return full;
  }

  text(path: string): string {
    return readFileSync(join(this.root, path), 'utf8');
  }

  mptcp(...words: string[]): { code: number | null; out: string; err: string } {
    const args = ['--import', 'tsx', MAIN, words[0]!, '--root', this.root, ...words.slice(1)];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    return { code: status, out: stdout, err: stderr };
  }
}

const NGINX = `# The server.
[Unit]
Description=nginx

[Service]
Type=notify
Environment="LD_PRELOAD=/lib/one.so" MODE=fast
Environment='NODE_OPTIONS=--no-warnings --title=%n'
ExecStartPre=/usr/sbin/nginx -t
ExecStart=-/usr/sbin/nginx -g "daemon off;" \\
  ; a comment in between
  -c %i/$CONFIG
`;
const DROP_IN = 'etc/systemd/system/nginx.service.d/50-mptcp.conf';

describe('systemd units', () => {
  const systems: System[] = [];
  const system = (): System => {
    const made = new System();
    systems.push(made);
    return made;
  };
  after(() => {
    for (const { root } of systems) rmSync(root, { recursive: true });
  });

  test('are read with continuation lines, comments, quotes, and what is dropped in', () => {
    assert.deepEqual(parseUnit(NGINX).at(-1), {
      section: 'Service',
      name: 'ExecStart',
      value: '-/usr/sbin/nginx -g "daemon off;" -c %i/$CONFIG',
    });
    assert.deepEqual(splitWords(`"LD=a b" c='d' 'e f' "g\\"h"`), ['LD=a b', "c='d'", 'e f', 'g"h']);
    assert.deepEqual(splitCommand('-+/bin/a  b "c d"'), { prefix: '-+', path: '/bin/a', rest: '  b "c d"' });
    assert.deepEqual(splitCommand('!!"/a b/c" d'), { prefix: '!!', path: '/a b/c', rest: ' d' });
    assert.deepEqual(splitCommand('/bin/a'), { prefix: '', path: '/bin/a', rest: '' });
    assert.equal(quoteWord('a=/b:c'), 'a=/b:c');
    assert.equal(quoteWord('a b%"c'), '"a b%\\"c"');

    const its = system();
    its.file('usr/lib/systemd/system/nginx.service', '[Service]\nExecStart=/bin/wrong\n');
    its.file('lib/systemd/system/nginx.service', '[Service]\nExecStart=/bin/hidden\n');
    its.file('etc/systemd/system/nginx.service', NGINX);
    its.file('run/systemd/system/nginx.service.d/10-a.conf', '[Service]\nExecStart=\nExecStart=/bin/hidden\n');
    its.file('etc/systemd/system/nginx.service.d/10-a.conf', '[Service]\nExecStart=\nExecStart=/bin/new x\n');
    its.file(
      'run/systemd/system/nginx.service.d/20-b.conf',
      '[Service]\nMemoryDenyWriteExecute=yes\nEnvironment=MODE=slow',
    );
    const unit = ServiceUnit.find('nginx', its.root);
    assert.equal(unit.name, 'nginx.service');
    assert.deepEqual(unit.commands, ['/bin/new x']);
    assert.equal(unit.variable('MODE'), 'slow');
    assert.equal(unit.variable('NODE_OPTIONS'), '--no-warnings --title=%n');
    assert.equal(unit.isSet('MemoryDenyWriteExecute'), true);
    assert.equal(unit.isSet('PrivateTmp'), false);

    its.file('usr/lib/systemd/system/app@.service', '[Service]\nExecStart=/bin/app %i\n');
    its.file('etc/systemd/system/app@.service.d/x.conf', '[Service]\nEnvironment=A=1\n');
    const instance = ServiceUnit.find('app@one', its.root);
    assert.deepEqual([instance.commands, instance.variable('A')], [['/bin/app %i'], '1']);
    assert.match(instance.dropInPath, /app@one\.service\.d/);
    symlinkSync('/dev/null', join(its.root, 'etc/systemd/system/off.service'));
    assert.throws(() => ServiceUnit.find('off', its.root), { code: 'EINVAL', message: 'off.service is masked' });
    assert.throws(() => ServiceUnit.find('none', its.root), { code: 'ENOENT' });
    assert.throws(() => ServiceUnit.find('../../etc/passwd', its.root), { code: 'EINVAL' });
  });

  test('F5.02 enable drops a file in beside a service and disable takes it away; the unit itself stays as it is', () => {
    const its = system();
    its.file('usr/lib/systemd/system/nginx.service', NGINX);
    its.file('usr/sbin/nginx', 'a program of an unknown kind');
    const main = `${process.execPath} ${MAIN}`;
    const lines = `[Service]\nExecStart=\nExecStart=-${main} run --via=seccomp -- /usr/sbin/nginx -g "daemon off;" -c %i/$CONFIG\n`;
    const tried = its.mptcp('enable', '--dry-run', 'nginx');
    assert.deepEqual(tried, { code: 0, out: `# ${join(its.root, DROP_IN)}\n${lines}`, err: '' });
    assert.equal(existsSync(join(its.root, 'etc')), false);
    const enabled = its.mptcp('enable', 'nginx');
    assert.deepEqual(enabled, { code: 0, out: `nginx.service: seccomp, by ${join(its.root, DROP_IN)}\n`, err: '' });
    assert.ok(its.text(DROP_IN).endsWith(`\n${lines}`));
    const first = its.text(DROP_IN);
    assert.equal(its.mptcp('enable', 'nginx').code, 0);
    assert.equal(its.text(DROP_IN), first, 'a second time is no different');
    assert.deepEqual(its.mptcp('disable', 'nginx'), { code: 0, out: 'nginx.service: as it was\n', err: '' });
    assert.deepEqual(readdirSync(join(its.root, 'etc/systemd/system')), []);
    assert.deepEqual(its.mptcp('disable', 'nginx.service').out, 'nginx.service: was not enabled\n');
    assert.equal(its.text('usr/lib/systemd/system/nginx.service'), NGINX);
  });

  test('F5.02 variables are added to what the unit sets already; sockets are made by systemd', () => {
    const its = system();
    its.file('usr/lib/systemd/system/nginx.service', NGINX);
    its.file('usr/sbin/nginx', '#!/usr/bin/env node\n');
    its.file('usr/lib/systemd/system/sshd.socket', '[Socket]\nListenStream=22\n');
    const register = new URL('../../src/net/register.ts', import.meta.url).href;
    assert.equal(its.mptcp('enable', '--via=register', 'nginx').code, 0);
    assert.match(its.text(DROP_IN), /^\[Service\]\nEnvironment="NODE_OPTIONS=--no-warnings --title=%n --import=/m);
    assert.ok(its.text(DROP_IN).includes(`--import=${register}`));
    assert.equal(its.mptcp('enable', '--via=go', 'nginx').code, 0);
    assert.match(its.text(DROP_IN), /^Environment=GODEBUG=multipathtcp=1$/m);
    assert.equal(its.mptcp('enable', 'sshd.socket').code, 0);
    assert.match(its.text('etc/systemd/system/sshd.socket.d/50-mptcp.conf'), /^\[Socket\]\nSocketProtocol=mptcp$/m);
  });

  test('F5.02 what cannot be is one line, and changes nothing', () => {
    const its = system();
    const cases: [string, string[], number, RegExp][] = [
      ['', ['enable', 'none'], 1, /^mptcp enable: there is no unit none\.service\n$/],
      ['', ['enable'], 2, /a unit is needed/],
      ['', ['enable', 'a', 'b'], 2, /b is one word too many/],
      ['[Service]\nType=oneshot\n', ['enable', 'it'], 1, /it\.service has no ExecStart=/],
      ['[Service]\nExecStart=@/bin/x y\n', ['enable', 'it'], 1, /names its program by "@"/],
      ['[Service]\nExecStart=/x\nMemoryDenyWriteExecute=yes\n', ['enable', 'it'], 1, /MemoryDenyWriteExecute/],
      ['[Service]\nExecStart=/x\n', ['enable', '--via=preload', '--library=/l', 'it'], 1, /is no ELF program/],
      ['[Service]\nExecStart=/x\n', ['enable', '--via=magic', 'it'], 2, /--via takes auto/],
    ];
    for (const [content, words, code, text] of cases) {
      if (content !== '') its.file('etc/systemd/system/it.service', content);
      const result = its.mptcp(...words);
      assert.deepEqual([result.code, result.out], [code, ''], words.join(' '));
      assert.match(result.err, text);
      assert.equal(result.err.split('\n').length, 2);
    }
    assert.equal(existsSync(join(its.root, 'etc/systemd/system/it.service.d')), false);
    its.file('etc/systemd/system/it.service.d/50-mptcp.conf', '[Service]\nNice=1\n');
    assert.match(its.mptcp('enable', 'it').err, /is not by mptcp enable, so it is left alone/);
    assert.match(its.mptcp('disable', 'it').err, /is not by mptcp enable, so it is left alone/);
    assert.equal(its.text('etc/systemd/system/it.service.d/50-mptcp.conf'), '[Service]\nNice=1\n');
  });
});

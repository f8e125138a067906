import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/**
 * systemd's units (systemd.unit(5)) as far as bringing a service onto MPTCP needs: found by name, read with what has been
 * dropped in beside them, and changed by a drop-in of our own, so that no file of anybody else's is touched.
 */

/** Folders of units, the first that has one wins. */
const FOLDERS = ['etc', 'run', 'usr/local/lib', 'usr/lib', 'lib'].map((folder) => `${folder}/systemd/system`);
const DROP_IN = '50-mptcp.conf';
const MARK = '# By mptcp enable; mptcp disable takes it away.';

/** Raised for units that are not there or cannot be changed: one sentence. */
export class UnitError extends Error {
  override readonly name = 'UnitError';
  readonly code: 'ENOENT' | 'EEXIST' | 'EINVAL';

  constructor(code: UnitError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** The lines of a unit: `section` without brackets, values with their continuation lines joined. */
interface Setting {
  readonly section: string;
  readonly name: string;
  readonly value: string;
}

export class ServiceUnit {
  /** With its suffix. */
  readonly name: string;
  readonly path: string;
  /** Where our drop-in is or will be. */
  readonly dropInPath: string;
  private readonly settings: readonly Setting[];

  private constructor(name: string, path: string, dropInPath: string, settings: readonly Setting[]) {
    this.name = name;
    this.path = path;
    this.dropInPath = dropInPath;
    this.settings = settings;
  }

  /**
   * @param name `nginx`, `nginx.service`, `getty@tty1.service`, `sshd.socket` …
   * @param root where the system's files begin
   * @throws UnitError
   */
  static find(name: string, root = '/'): ServiceUnit {
    const full = /\.(service|socket)$/.test(name) ? name : `${name}.service`;
    if (!/^[\w:.@\\-]+$/.test(full)) throw new UnitError('EINVAL', `${name} is no name of a service or socket`);
    const names = full.includes('@') ? [full, full.replace(/@.*(?=\.\w+$)/, '@')] : [full];
    const dropInPath = join(root, 'etc/systemd/system', `${full}.d`, DROP_IN);
    for (const folder of FOLDERS) {
      for (const candidate of names) {
        const path = join(root, folder, candidate);
        if (!existsSync(path)) continue;
        if (realpathSync(path) === '/dev/null') throw new UnitError('EINVAL', `${full} is masked`);
        return new ServiceUnit(full, path, dropInPath, readAll(root, path, names));
      }
    }
    throw new UnitError('ENOENT', `there is no unit ${full}`);
  }

  get isSocket(): boolean {
    return this.name.endsWith('.socket');
  }

  /** Its commands, as written. An empty one takes back those before it. */
  get commands(): readonly string[] {
    return this.list('Service', 'ExecStart');
  }

  /** What its `Environment=` lines set a variable to. */
  variable(name: string): string | undefined {
    let found: string | undefined;
    for (const line of this.list('Service', 'Environment')) {
      for (const word of splitWords(line)) if (word.startsWith(`${name}=`)) found = word.slice(name.length + 1);
    }
    return found;
  }

  /** Whether it asks for a yes-or-no setting. */
  isSet(name: string): boolean {
    const value = this.list('Service', name).at(-1);
    return value !== undefined && /^(1|yes|true|on)$/i.test(value);
  }

  private list(section: string, name: string): string[] {
    let values: string[] = [];
    for (const setting of this.settings) {
      if (setting.section !== section || setting.name !== name) continue;
      if (setting.value === '') values = [];
      else values.push(setting.value);
    }
    return values;
  }

  /** Whether our drop-in is there. */
  get isEnabled(): boolean {
    return existsSync(this.dropInPath);
  }

  /**
   * Writes our drop-in, in place of what it was.
   * @throws UnitError EEXIST somebody else's file is there
   */
  enable(section: 'Service' | 'Socket', lines: readonly string[]): void {
    this.checkOurs();
    mkdirSync(join(this.dropInPath, '..'), { recursive: true });
    writeFileSync(this.dropInPath, `${MARK}\n[${section}]\n${lines.map((line) => `${line}\n`).join('')}`);
  }

  /** Takes our drop-in away, and its folder when nothing else is in it. @returns whether it was there */
  disable(): boolean {
    if (!this.isEnabled) return false;
    this.checkOurs();
    rmSync(this.dropInPath);
    try {
      rmdirSync(join(this.dropInPath, '..'));
    } catch {
      // Others have drop-ins there too.
    }
    return true;
  }

  private checkOurs(): void {
    if (!this.isEnabled || readFileSync(this.dropInPath, 'utf8').startsWith(MARK)) return;
    throw new UnitError('EEXIST', `${this.dropInPath} is not by mptcp enable, so it is left alone`);
  }
}

/** The unit and what is dropped in for it, in the order that systemd reads them; ours is left out. */
function readAll(root: string, path: string, names: readonly string[]): Setting[] {
  const dropIns = new Map<string, string>();
  // Those of earlier folders hide those of the same name in later ones.
  for (const folder of [...FOLDERS].reverse()) {
    for (const name of [...names].reverse()) {
      const directory = join(root, folder, `${name}.d`);
      if (!existsSync(directory)) continue;
      for (const file of readdirSync(directory)) {
        if (file.endsWith('.conf') && file !== DROP_IN) dropIns.set(file, join(directory, file));
      }
    }
  }
  const ordered = [...dropIns].sort(([left], [right]) => (left < right ? -1 : 1)).map(([, file]) => file);
  return [path, ...ordered].flatMap((file) => parseUnit(readFileSync(file, 'utf8')));
}

/** The settings of a unit file in their order. */
export function parseUnit(text: string): Setting[] {
  const settings: Setting[] = [];
  let section = '';
  let line = '';
  for (const raw of text.split('\n')) {
    const part = raw.trim();
    // Comments may stand between the lines of one setting.
    if (/^[#;]/.test(part)) continue;
    line += part;
    if (line.endsWith('\\')) {
      line = `${line.slice(0, -1).trimEnd()} `;
      continue;
    }
    const header = /^\[(.+)\]$/.exec(line)?.[1];
    const [, name, value] = /^([^=]+?)\s*=\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined) section = header;
    else if (name !== undefined) settings.push({ section, name, value: value! });
    line = '';
  }
  return settings;
}

/** Words of a line with systemd's quotes taken off. */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  for (const [, double, single, bare] of line.matchAll(/"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(\S+)/g)) {
    words.push((double ?? single ?? bare!).replace(/\\(["'\\])/g, '$1'));
  }
  return words;
}

/** A word as systemd reads it back, quoted where it must be. Specifiers (`%i`) stay what they are. */
export function quoteWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `"${word.replace(/["\\]/g, '\\$&')}"`;
}

/** A command of `ExecStart=`: the characters before the path that say how it is run, the path, and the rest as written. */
export function splitCommand(command: string): { prefix: string; path: string; rest: string } {
  const [, prefix = '', quoted, bare = '', rest = ''] = /^([-@:+!|]*)\s*(?:"([^"]*)"|(\S*))(.*)$/.exec(command) ?? [];
  return { prefix, path: quoted ?? bare, rest };
}

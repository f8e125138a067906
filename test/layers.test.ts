import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, test } from 'node:test';
import {
  type Node,
  type NoSubstitutionTemplateLiteral,
  type SourceFile,
  type StringLiteral,
  SyntaxKind,
} from 'typescript/unstable/ast';
import {
  isAsExpression,
  isCallExpression,
  isExportDeclaration,
  isExternalModuleReference,
  isIdentifier,
  isImportDeclaration,
  isImportTypeNode,
  isLiteralTypeNode,
  isNamedExports,
  isNamedImports,
  isNoSubstitutionTemplateLiteral,
  isParenthesizedExpression,
  isPropertyAccessExpression,
  isStringLiteral,
} from 'typescript/unstable/ast/is';
import { createVirtualFileSystem } from 'typescript/unstable/fs';
import { API } from 'typescript/unstable/sync';

/**
 * The architecture, enforced on the syntax trees of `src`: who may import whom, that the core touches no clock, die or
 * platform, that `tcp` knows nothing of MPTCP, and that index files hold nothing.
 */

/** What each folder may import besides itself; `types:` marks folders of which it may import types only. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  wire: [],
  netlink: [],
  api: [],
  tcp: ['wire'],
  mptcp: ['wire', 'tcp'],
  policy: ['wire', 'types:tcp', 'types:mptcp'],
  stack: ['wire', 'netlink', 'api', 'tcp', 'mptcp', 'policy'],
  sockets: ['wire', 'netlink', 'api', 'tcp', 'mptcp', 'policy', 'stack'],
  link: ['wire'],
  sim: ['wire', 'netlink', 'api', 'tcp', 'mptcp', 'policy', 'stack', 'sockets', 'link'],
  script: ['wire', 'netlink', 'api', 'tcp', 'mptcp', 'policy', 'stack', 'sockets'],
  trace: ['wire'],
  node: ['wire', 'netlink', 'api', 'link', 'policy', 'stack', 'sockets', 'types:tcp', 'types:mptcp'],
  net: ['api', 'node', 'sockets', 'wire', 'kernel', 'link', 'stack', 'types:policy', 'types:tcp', 'types:mptcp'],
  kernel: ['wire', 'netlink', 'api', 'node'],
  daemon: ['wire', 'api', 'netlink', 'kernel', 'node', 'policy'],
  cli: ['*'],
};

/** The core: runs in a browser, and in virtual time. */
const PURE = new Set('wire netlink tcp mptcp policy stack sockets link sim script api trace'.split(' '));

/** Names of the platform that the core must not speak. What else a browser has, the compiler settings leave unknown. */
const PLATFORM = new Set(
  (
    'Date performance setTimeout setInterval setImmediate clearTimeout clearInterval clearImmediate queueMicrotask ' +
    'process console Buffer NodeJS require __dirname __filename globalThis global crypto fetch WebSocket'
  ).split(' '),
);

/** Paths below `src`, with their text. */
type Sources = Readonly<Record<string, string>>;

const apis: API[] = [];
after(() => {
  for (const api of apis) api.close();
});

/** Everything in `sources` that breaks a rule, one sentence each. */
function violations(sources: Sources): string[] {
  const files: Record<string, string> = {
    '/project/tsconfig.json': JSON.stringify({
      compilerOptions: { noLib: true, noResolve: true, types: [], allowImportingTsExtensions: true, noEmit: true },
      include: ['src'],
    }),
  };
  for (const [path, text] of Object.entries(sources)) files[`/project/src/${path}`] = text;
  const api = new API({ cwd: '/project', fs: createVirtualFileSystem(files) });
  apis.push(api);
  const project = api.updateSnapshot({ openProject: '/project/tsconfig.json' }).getProjects()[0];
  assert.ok(project, 'the compiler opened the project');
  const found: string[] = [];
  for (const path of Object.keys(sources).sort()) {
    const file = project.program.getSourceFile(`/project/src/${path}`);
    assert.ok(file, `${path} was parsed`);
    found.push(...new FileCheck(path, file, sources).run());
  }
  return found;
}

class FileCheck {
  private readonly found = new Set<string>();
  private readonly path: string;
  private readonly file: SourceFile;
  private readonly sources: Sources;
  private readonly folder: string;
  private readonly isPure: boolean;

  constructor(path: string, file: SourceFile, sources: Sources) {
    this.path = path;
    this.file = file;
    this.sources = sources;
    // A file directly in `src` is the face of the whole package.
    this.folder = path.includes('/') ? path.slice(0, path.indexOf('/')) : 'cli';
    this.isPure = PURE.has(this.folder);
  }

  run(): Set<string> {
    if (MAY_IMPORT[this.folder] === undefined) this.report(`no row of the import table is for ${this.folder}/`);
    if (this.path.endsWith('/index.ts') || this.path === 'index.ts') this.checkIndex();
    this.visit(this.file);
    return this.found;
  }

  private report(what: string): void {
    this.found.add(`${this.path}: ${what}`);
  }

  private checkIndex(): void {
    for (const statement of this.file.statements) {
      if (isExportDeclaration(statement) && statement.moduleSpecifier !== undefined) continue;
      this.report('an index file only re-exports');
    }
  }

  private visit(node: Node): void {
    const target = importedBy(node);
    if (target !== undefined) {
      if (target.specifier === undefined) this.report('an import whose target is computed');
      else this.checkImport(target.specifier, target.typeOnly);
    }
    if (isIdentifier(node)) this.checkIdentifier(node, node.text);
    if (this.folder === 'tcp' && isStringLiteralLike(node) && namesMultipath(node.text)) {
      this.report(`tcp mentions MPTCP: '${node.text}'`);
    }
    if (
      this.folder === 'tcp' &&
      node.kind === SyntaxKind.PrivateIdentifier &&
      namesMultipath(node.getText(this.file))
    ) {
      this.report(`tcp mentions MPTCP: ${node.getText(this.file)}`);
    }
    if (this.isPure && isMathRandom(node)) this.report('the core uses Math.random');
    node.forEachChild((child) => {
      this.visit(child);
    });
  }

  private checkIdentifier(node: Node, name: string): void {
    if (this.folder === 'tcp' && namesMultipath(name)) this.report(`tcp mentions MPTCP: ${name}`);
    if (!this.isPure || !PLATFORM.has(name) || isMemberName(node) || isWebAssembly(node)) return;
    this.report(`the core uses ${name}`);
  }

  private checkImport(specifier: string, typeOnly: boolean): void {
    if (!specifier.startsWith('.')) {
      if (this.isPure) this.report(`the core imports ${specifier}`);
      return;
    }
    const target = join(this.path, '..', specifier);
    if (target.startsWith('..')) {
      this.report(`${specifier} is outside of src`);
      return;
    }
    if (this.sources[target] === undefined) this.report(`${specifier} is no file`);
    const folder = target.includes('/') ? target.slice(0, target.indexOf('/')) : '';
    if (folder === this.folder) return;
    const allowed = MAY_IMPORT[this.folder] ?? [];
    if (allowed.includes('*') || allowed.includes(folder)) return;
    if (allowed.includes(`types:${folder}`)) {
      if (!typeOnly) this.report(`${this.folder} may import types alone from ${folder} (${specifier})`);
      return;
    }
    this.report(`${this.folder} must not import ${folder} (${specifier})`);
  }
}

/** What `node` imports, if it does: declarations, re-exports, `import()`, `require()` and types by `import('…')`. */
function importedBy(node: Node): { specifier: string | undefined; typeOnly: boolean } | undefined {
  const text = (expression: Node | undefined): string | undefined =>
    expression !== undefined && isStringLiteralLike(expression) ? expression.text : undefined;
  if (isImportDeclaration(node)) {
    const clause = node.importClause;
    const bindings = clause?.namedBindings;
    const named = bindings !== undefined && isNamedImports(bindings) ? bindings.elements : undefined;
    const onlyTypes = clause?.name === undefined && named?.every((element) => element.isTypeOnly) === true;
    const declared = clause?.phaseModifier === SyntaxKind.TypeKeyword;
    return { specifier: text(node.moduleSpecifier), typeOnly: declared || onlyTypes };
  }
  if (isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    const named = node.exportClause;
    const onlyTypes = named !== undefined && isNamedExports(named) && named.elements.every((each) => each.isTypeOnly);
    return { specifier: text(node.moduleSpecifier), typeOnly: node.isTypeOnly || onlyTypes };
  }
  if (isExternalModuleReference(node)) return { specifier: text(node.expression), typeOnly: false };
  if (isImportTypeNode(node)) {
    const argument = node.argument;
    return { specifier: isLiteralTypeNode(argument) ? text(argument.literal) : undefined, typeOnly: true };
  }
  if (isCallExpression(node)) {
    const { expression } = node;
    if (expression.kind !== SyntaxKind.ImportKeyword && !(isIdentifier(expression) && expression.text === 'require')) {
      return undefined;
    }
    return { specifier: text(node.arguments[0]), typeOnly: false };
  }
  return undefined;
}

const namesMultipath = (name: string): boolean => /mptcp|multi_?-?path/i.test(name);

/** `Math.random`, and `Math` in any form that could hide it. */
function isMathRandom(node: Node): boolean {
  if (!isIdentifier(node) || node.text !== 'Math' || isMemberName(node)) return false;
  const { parent } = node;
  return !isPropertyAccessExpression(parent) || parent.name.text === 'random';
}

/** `(globalThis as …).WebAssembly`: part of the language's world everywhere, though not of its type library. */
function isWebAssembly(node: Node): boolean {
  let { parent } = node;
  while (isAsExpression(parent) || isParenthesizedExpression(parent)) parent = parent.parent;
  return isPropertyAccessExpression(parent) && parent.name.text === 'WebAssembly';
}

function isStringLiteralLike(node: Node): node is StringLiteral | NoSubstitutionTemplateLiteral {
  return isStringLiteral(node) || isNoSubstitutionTemplateLiteral(node);
}

/** `x.name`, `{ name: … }`, `name() {}` and the like: a member of ours that happens to be called so. */
function isMemberName(node: Node): boolean {
  const { parent } = node;
  switch (parent.kind) {
    case SyntaxKind.PropertyAccessExpression:
    case SyntaxKind.PropertyAssignment:
    case SyntaxKind.PropertyDeclaration:
    case SyntaxKind.PropertySignature:
    case SyntaxKind.MethodDeclaration:
    case SyntaxKind.MethodSignature:
    case SyntaxKind.GetAccessor:
    case SyntaxKind.SetAccessor:
      return (parent as { name?: Node }).name === node;
    case SyntaxKind.QualifiedName:
      return (parent as { right?: Node }).right === node;
    default:
      return false;
  }
}

const source = resolve(import.meta.dirname, '../src');

function readSources(): Sources {
  const paths = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'));
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(source, path), 'utf8')]));
}

test('the sources keep to the import table, the core touches no platform, tcp knows no MPTCP, indexes only re-export', () => {
  const sources = readSources();
  assert.ok(Object.keys(sources).length > 50, 'the sources were found');
  assert.deepEqual(violations(sources), []);
});

test('an import against the table is found, whatever it looks like', () => {
  const forms = [
    "import { a } from '../stack/a.ts'; a;",
    "import type { A } from '../stack/a.ts'; export type B = A;",
    "import * as all from '../stack/a.ts'; all;",
    "import '../stack/a.ts';",
    "export { a } from '../stack/a.ts';",
    "export * from '../stack/a.ts';",
    "export const later = () => import('../stack/a.ts');",
    "export type C = import('../stack/a.ts').A;",
    "import(\n  // a comment\n  '../stack/a.ts'\n);",
  ];
  for (const text of forms) {
    const found = violations({ 'tcp/b.ts': text, 'stack/a.ts': 'export const a = 1; export type A = number;' });
    assert.deepEqual(found, ['tcp/b.ts: tcp must not import stack (../stack/a.ts)'], text);
  }
});

test('an import along the table, or within a folder, is not', () => {
  const found = violations({
    'wire/a.ts': 'export const a = 1;',
    'tcp/b.ts': "import { a } from '../wire/a.ts'; import './c.ts'; export const b = a; // import '../stack/x.ts'",
    'tcp/c.ts': 'export const text = "import { a } from \'../stack/a.ts\'";',
    'cli/main.ts': "import { b } from '../tcp/b.ts'; import 'node:fs'; console.log(b, Date.now());",
    'index.ts': "export { b } from './tcp/b.ts';",
  });
  assert.deepEqual(found, []);
});

test('where types alone may be imported, a value is found', () => {
  const sources = { 'tcp/a.ts': 'export const a = 1; export type A = number;' };
  const good = [
    "import type { A } from '../tcp/a.ts'; export type B = A;",
    "import { type A } from '../tcp/a.ts'; export type B = A;",
    "export type { A } from '../tcp/a.ts';",
  ];
  for (const text of good) assert.deepEqual(violations({ ...sources, 'policy/b.ts': text }), [], text);
  for (const text of ["import { a, type A } from '../tcp/a.ts'; a;", "export { a } from '../tcp/a.ts';"]) {
    assert.equal(violations({ ...sources, 'policy/b.ts': text }).length, 1, text);
  }
});

test('targets that are missing, computed, outside of src or in a folder without a row are found', () => {
  assert.deepEqual(violations({ 'wire/a.ts': "import './b.ts';" }), ['wire/a.ts: ./b.ts is no file']);
  assert.deepEqual(violations({ 'wire/a.ts': "const name = './b.ts'; import(name);" }), [
    'wire/a.ts: an import whose target is computed',
  ]);
  assert.deepEqual(violations({ 'wire/a.ts': "import '../../test/a.ts';" }), [
    'wire/a.ts: ../../test/a.ts is outside of src',
  ]);
  assert.deepEqual(violations({ 'other/a.ts': 'export const a = 1;' }), [
    'other/a.ts: no row of the import table is for other/',
  ]);
});

test('a clock, a die, the platform and packages are found in the core, and only there', () => {
  const uses: [string, string][] = [
    ['Date.now();', 'uses Date'],
    ['new Date();', 'uses Date'],
    ['performance.now();', 'uses performance'],
    ['setTimeout(() => {}, 1);', 'uses setTimeout'],
    ['const wait = setImmediate; wait;', 'uses setImmediate'],
    ['Math.random();', 'uses Math.random'],
    ['const { random } = Math; random();', 'uses Math.random'],
    ["Math['random']();", 'uses Math.random'],
    ['process.exit();', 'uses process'],
    ['console.log(1);', 'uses console'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    ['const text = `${process.pid}`; text;', 'uses process'],
    ['const bytes: Buffer = null!; bytes;', 'uses Buffer'],
    ['const object = { process }; object;', 'uses process'],
    ['globalThis.setTimeout(() => {});', 'uses globalThis'],
    ["import { readFileSync } from 'node:fs'; readFileSync;", 'imports node:fs'],
    ["import koffi from 'koffi'; koffi;", 'imports koffi'],
  ];
  for (const folder of ['wire', 'sim', 'trace']) {
    for (const [text, what] of uses) {
      assert.deepEqual(violations({ [`${folder}/a.ts`]: text }), [`${folder}/a.ts: the core ${what}`], text);
    }
  }
  for (const [text] of uses) assert.deepEqual(violations({ 'node/a.ts': text }), [], text);
});

test('members and texts that are called like the platform are not', () => {
  const text = `
    export class Queue { process(): void {} performance = 1; }
    export function run(queue: Queue): string { queue.process(); return 'Date.now() and Math.random()'; }
    // console.log, setTimeout
    export const pattern = /process|Date/;
    export const api = (globalThis as { WebAssembly?: object }).WebAssembly;
    export const most = Math.max(1, 2);
  `;
  assert.deepEqual(violations({ 'wire/a.ts': text }), []);
});

test('tcp that names MPTCP is found', () => {
  for (const [text, name] of [
    ['export function f(segment: { mptcp: number }): number { return segment.mptcp; }', 'mptcp'],
    ['export class MultipathSender {}', 'MultipathSender'],
    ['export const isMptcp = true;', 'isMptcp'],
    ["export const name = 'mptcp';", "'mptcp'"],
    ['export class A { #mptcp = 1; }', '#mptcp'],
  ] as const) {
    assert.deepEqual(violations({ 'tcp/a.ts': text }), [`tcp/a.ts: tcp mentions MPTCP: ${name}`], text);
    assert.deepEqual(violations({ 'mptcp/a.ts': text }), [], text);
  }
  assert.deepEqual(violations({ 'tcp/a.ts': '/** A multipath connection may use it. */ export const a = 1;' }), []);
});

test('an index file that holds more than re-exports is found', () => {
  for (const text of ['export const a = 1;', "import { b } from './b.ts'; export { b };", 'function f() {} f();']) {
    const found = violations({ 'wire/index.ts': text, 'wire/b.ts': 'export const b = 1;' });
    assert.ok(found.includes('wire/index.ts: an index file only re-exports'), text);
  }
  const text = "/** What it owns. */\nexport * from './b.ts';\nexport type { B } from './b.ts';";
  assert.deepEqual(violations({ 'wire/index.ts': text, 'wire/b.ts': 'export type B = 1;' }), []);
});

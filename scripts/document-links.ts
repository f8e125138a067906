import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join, normalize } from 'node:path';

/**
 * Relative links of the Markdown file at `path` that lead nowhere: to a file that is missing, out of the repository, or
 * to a heading that no document has. Links in code are none.
 */
export function brokenLinks(path: string): string[] {
  const faults: string[] = [];
  const text = withoutCode(readFileSync(path, 'utf8'));
  const targets: { target: string; line: number }[] = [];
  const note = (target: string, index: number): void => {
    targets.push({ target, line: text.slice(0, index).split('\n').length });
  };
  for (const match of text.matchAll(/\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g)) note(match[1]!, match.index);
  for (const match of text.matchAll(/^\s*\[[^\]]+\]:\s*<?(\S+?)>?\s*$/gm)) note(match[1]!, match.index);
  for (const { target, line } of targets) {
    if (/^[a-z][a-z0-9+.-]*:/i.test(target)) continue;
    const fault = check(path, decodeURI(target));
    if (fault !== undefined) faults.push(`${path}:${line}: ${target}: ${fault}`);
  }
  return faults;
}

function check(from: string, target: string): string | undefined {
  const [file, anchor] = target.split('#') as [string, string | undefined];
  if (isAbsolute(file)) return 'an absolute path';
  const path = file === '' ? from : normalize(join(dirname(from), file));
  if (path.startsWith('..')) return 'outside of the repository';
  if (!existsSync(path)) return 'no such file';
  if (anchor === undefined || anchor === '' || !path.endsWith('.md')) return undefined;
  if (statSync(path).isDirectory()) return 'a heading of a folder';
  return headings(path).has(anchor) ? undefined : 'no such heading';
}

/** Anchors that the headings of a document have, by the rules of GitHub. */
function headings(path: string): Set<string> {
  const anchors = new Set<string>();
  for (const match of withoutCode(readFileSync(path, 'utf8')).matchAll(/^#{1,6}\s+(.*?)\s*#*$/gm)) {
    const base = match[1]!
      .toLowerCase()
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-');
    let anchor = base;
    for (let count = 1; anchors.has(anchor); count++) anchor = `${base}-${count}`;
    anchors.add(anchor);
  }
  return anchors;
}

/** The text with code blanked out, line by line, so that positions stay. */
function withoutCode(text: string): string {
  const blank = (code: string): string => code.replaceAll(/[^\n]/g, ' ');
  return text.replaceAll(/^(\s*)(```|~~~)[\s\S]*?^\s*\2\s*$/gm, blank).replaceAll(/`[^`\n]*`/g, (code) => {
    // Headings keep the words that stand in code.
    return code.includes('](') ? blank(code) : code;
  });
}

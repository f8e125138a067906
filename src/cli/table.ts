/** Columns as wide as their widest cell; figures stand to the right, with their heads. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[], indent = ''): string {
  const isFigure = heads.map((_, column) => rows.every((row) => /^([\d.,]+( \S+)?|-)$/.test(row[column] ?? '')));
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    (indent + cells.map((cell, column) => align(cell, widths[column]!, isFigure[column]!)).join('  ')).trimEnd();
  return `${[heads, ...rows].map(line).join('\n')}\n`;
}

function align(cell: string, width: number, toRight: boolean): string {
  return toRight ? cell.padStart(width) : cell.padEnd(width);
}

/** Names in one column and what they stand for in the next. */
export function pairs(rows: readonly (readonly [name: string, text: string])[], indent = ''): string {
  const width = Math.max(0, ...rows.map(([name]) => name.length));
  return rows.map(([name, text]) => `${indent}${name.padEnd(width)}  ${text}\n`).join('');
}

/** What every benchmark gives: rows with our figure and the naive way's on the same data, and their ratio (above 1: we are better). */
export interface Row {
  readonly stage: string;
  readonly what: string;
  readonly ours: number;
  /** null: there is no naive way that does the same. */
  readonly naive: number | null;
  readonly ratio: number | null;
  readonly unit: string;
}

/** Units of a rate are better when larger, all others when smaller. */
export function row(stage: string, what: string, ours: number, naive: number | null, unit: string): Row {
  const ratio = naive === null || ours === 0 || naive === 0 ? null : unit.endsWith('/s') ? ours / naive : naive / ours;
  return { stage, what, ours: round(ours), naive: naive === null ? null : round(naive), ratio: ratio === null ? null : round(ratio), unit };
}

const round = (n: number): number => (Math.abs(n) >= 100 ? Math.round(n) : Number(n.toPrecision(3)));
const shown = (n: number | null): string => (n === null ? '-' : n.toLocaleString('en'));

export function print(rows: readonly Row[]): void {
  const cells = [
    ['stage', 'what', 'ours', 'naive', 'ratio', 'unit'],
    ...rows.map((r) => [r.stage, r.what, shown(r.ours), shown(r.naive), r.ratio === null ? '-' : `${shown(r.ratio)}x`, r.unit]),
  ];
  const widths = cells[0]!.map((_, c) => Math.max(...cells.map((line) => line[c]!.length)));
  for (const line of cells) {
    process.stdout.write(
      `${line
        .map((cell, c) => (c >= 2 && c <= 4 ? cell.padStart(widths[c]!) : cell.padEnd(widths[c]!)))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
}

export const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!;
export const percentile = (values: readonly number[], p: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))]!;

/**
 * The views of one table against the recount: every row of the live and of the final view must be a cell, with its measures, its
 * window's end and its state, and every cell a row. Views are read in ranges of windows, so that only a part is held at once.
 */
import { keyText } from './cells.ts';
import type { CellTable, Measure } from './cells.ts';
import type { Value } from './judge.ts';
import { name } from './model.ts';
import type { Frozen } from './frozen.ts';
import type { Ask, Differences } from './model.ts';
import type { MeasureType, Plan, PlanMeasure } from '../../topology/plan.ts';

/** Rows that one question may bring, about. */
const ROWS_AT_ONCE = 50_000;
const LIVE = 1,
  FINAL = 2;

export interface ViewRow {
  readonly start: number;
  readonly end: number;
  readonly key: Value[];
  readonly measures: Measure[];
  readonly raw: Record<string, unknown>;
}

export function dimensionColumns(plan: Plan): string {
  return plan.dimensions.map((d, i) => `${name(d.name)} AS d${i}`).join(', ');
}

/** Measures as exact text: times as milliseconds, everything else as the database writes it. */
export function measureColumns(plan: Plan): string {
  return plan.measures
    .map((m, i) =>
      m.type === 'timestamp' ? `toString(toUnixTimestamp64Milli(${name(m.name)})) AS m${i}` : `toString(${name(m.name)}) AS m${i}`,
    )
    .join(', ');
}

const WINDOW_COLUMNS = 'toUnixTimestamp(window_start) AS start_s, toUnixTimestamp(window_end) AS end_s';

function toMeasure(m: PlanMeasure, text: unknown): Measure {
  if (text === null || text === undefined) return null;
  return m.type === 'float64' ? Number(text) : scaledText(String(text), m.scale);
}

/** "12.5" with scale 2 is 1250. */
function scaledText(text: string, scale: number): bigint {
  const [whole, fraction = ''] = text.split('.');
  return BigInt(`${whole}${fraction.padEnd(scale, '0')}`);
}

export function toViewRow(plan: Plan, raw: Record<string, unknown>): ViewRow {
  const key = plan.dimensions.map((d, i): Value => (d.type === 'integer' ? String(raw[`d${i}`]) : (raw[`d${i}`] as Value)));
  return {
    start: Number(raw.start_s) * 1000,
    end: Number(raw.end_s) * 1000,
    key,
    measures: plan.measures.map((m, i) => toMeasure(m, raw[`m${i}`])),
    raw,
  };
}

/** A row's key as the recount writes it: integers are numbers there, or bigints, and text here. */
export function viewKey(plan: Plan, row: ViewRow): string {
  return keyText(row.key.map((v, i) => (plan.dimensions[i]!.type === 'integer' ? BigInt(v as string) : v)));
}

export function showKey(plan: Plan, key: readonly Value[]): string {
  return plan.dimensions.map((d, i) => `${d.name}=${String(key[i])}`).join(' ');
}

/** The same of a key's text, as `keyText` writes it. */
export function showKeyText(plan: Plan, text: string): string {
  const key: Value[] = [];
  let at = 0;
  for (const { type } of plan.dimensions) {
    const bar = text.indexOf('|', at),
      part = text.slice(at, bar < 0 ? text.length : bar);
    if (type === 'string') {
      key.push(text.slice(bar + 1, bar + 1 + Number(part)));
      at = bar + 2 + Number(part);
    } else {
      key.push(part);
      at += part.length + 1;
    }
  }
  return showKey(plan, key);
}

export function showMeasure(type: MeasureType, scale: number, value: Measure): string {
  if (value === null) return 'NULL';
  if (type === 'timestamp') return new Date(Number(value)).toISOString();
  if (scale === 0 || typeof value === 'number') return String(value);
  const digits = (value < 0n ? -value : value).toString().padStart(scale + 1, '0');
  return `${value < 0n ? '-' : ''}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

/** Names and values of the measures in which two rows differ; null when they are equal. */
export function differing(plan: Plan, expected: readonly Measure[], found: readonly Measure[]): { expected: string; found: string } | null {
  if (plan.measures.every((_, i) => expected[i] === found[i])) return null;
  const out = plan.measures.map((m, i) => ({ m, i })).filter(({ i }) => expected[i] !== found[i]);
  const say = (row: readonly Measure[]): string => out.map(({ m, i }) => `${m.name}=${showMeasure(m.type, m.scale, row[i]!)}`).join(' ');
  return { expected: say(expected), found: say(found) };
}

/** A question's share of a view: windows that start in [from, to) in seconds, and of a large window a part of its keys. */
interface Range {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
  readonly part: number;
  readonly parts: number;
}

/** Ranges that together hold every row of the view, all rows of a key in one. */
export async function ranges(ask: Ask, view: string, plan: Plan): Promise<Range[]> {
  const found = await ask(
    `SELECT toUnixTimestamp(window_start) AS start_s, count() AS n FROM ${name(view)} GROUP BY start_s ORDER BY start_s`,
  );
  const out: Range[] = [];
  for (const r of found) {
    const from = Number(r.start_s),
      rows = Number(r.n),
      last = out.at(-1);
    const parts = plan.dimensions.length === 0 ? 1 : Math.ceil(rows / ROWS_AT_ONCE);
    if (parts > 1) for (let part = 0; part < parts; part++) out.push({ from, to: from + 1, rows: ROWS_AT_ONCE, part, parts });
    else if (last === undefined || last.rows + rows > ROWS_AT_ONCE) out.push({ from, to: from + 1, rows, part: 0, parts: 1 });
    else out[out.length - 1] = { ...last, to: from + 1, rows: last.rows + rows };
  }
  return out;
}

export function inRange(r: Range, plan: Plan): string {
  const windows = `window_start >= toDateTime(${r.from}, 'UTC') AND window_start < toDateTime(${r.to}, 'UTC')`;
  if (r.parts === 1) return windows;
  return `${windows} AND cityHash64(${plan.dimensions.map((d) => name(d.name)).join(', ')}) % ${r.parts} = ${r.part}`;
}

interface TableCheck {
  readonly plan: Plan;
  readonly table: string;
  readonly cells: CellTable;
  /** By cell, as the changes say: a version after the first was published. */
  readonly corrected: Uint8Array;
  /** Windows that end by it are final. */
  readonly finalTo: number;
  readonly frozen: Frozen;
  readonly ask: Ask;
  readonly differences: Differences;
}

/** Looks at the live and the final view; gives the number of rows of each that were compared. To be asked after the changes were looked at. */
export async function checkTable(o: TableCheck): Promise<{ live: number; final: number }> {
  const live = await checkView(o, `${o.table}_live`, LIVE),
    final = await checkView(o, o.table, FINAL);
  const { cells } = o;
  for (let cell = 0; cell < cells.count; cell++) {
    if (o.frozen.holds(cells.start(cell))) continue;
    if ((cells.seen[cell]! & LIVE) === 0) missing(o, 'live', `${o.table}_live`, cell);
    if ((cells.seen[cell]! & FINAL) === 0 && cells.end(cell) <= o.finalTo) missing(o, 'final', o.table, cell);
  }
  return { live, final };
}

function missing(o: TableCheck, check: 'live' | 'final', view: string, cell: number): void {
  const values = o.cells.values(cell);
  const measures = o.plan.measures.map((m, i) => `${m.name}=${showMeasure(m.type, m.scale, values[i]!)}`).join(' ');
  o.differences.add(check, view, measures, 'no row', { window: o.cells.start(cell), key: showKeyText(o.plan, o.cells.keyText(cell)) });
}

async function checkView(o: TableCheck, view: string, bit: number): Promise<number> {
  let rows = 0;
  for (const range of await ranges(o.ask, view, o.plan)) {
    const columns = [WINDOW_COLUMNS, dimensionColumns(o.plan), measureColumns(o.plan), ...(bit === LIVE ? ['state'] : [])].filter(
      (c) => c !== '',
    );
    const found = await o.ask(`SELECT ${columns.join(', ')} FROM ${name(view)} WHERE ${inRange(range, o.plan)}`);
    for (const raw of found) {
      const row = toViewRow(o.plan, raw);
      if (o.frozen.leavesOut(o.table, view, row.start)) continue;
      rows++;
      checkRow(o, view, bit, row);
    }
  }
  return rows;
}

function checkRow(o: TableCheck, view: string, bit: number, row: ViewRow): void {
  const { plan, differences, cells } = o,
    check = bit === LIVE ? 'live' : 'final';
  const say = (expected: string, found: string): void =>
    differences.add(check, view, expected, found, { window: row.start, key: showKey(plan, row.key) });
  const cell = cells.find(row.start, viewKey(plan, row));
  if (cell < 0) return say('no row', 'a row of a window and key without events');
  if ((cells.seen[cell]! & bit) !== 0) return say('one row', 'the same window and key again');
  cells.seen[cell]! |= bit;
  const end = cells.end(cell);
  if (bit === FINAL && end > o.finalTo) return say('no row before its window is final', 'a row');
  const wrong = differing(plan, cells.values(cell), row.measures);
  if (wrong !== null) say(wrong.expected, wrong.found);
  if (row.end !== end) say(`window_end ${new Date(end).toISOString()}`, new Date(row.end).toISOString());
  if (bit === FINAL) return;
  const due = end > o.finalTo ? 'provisional' : o.corrected[cell] === 1 ? 'corrected' : 'final',
    state = String(row.raw.state);
  if (state !== due) say(`state ${due}`, `state ${state}`);
}

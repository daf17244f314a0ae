/**
 * The naive recount: one cell a table, window and key, in Maps; sums are bigints. In go the typed values of events that count
 * once; what stands here at the end is what the tables must show.
 */
import type { Value } from './judge.ts';
import { windowsOf } from './zones.ts';
import type { WindowOf } from './zones.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan, PlanCondition, PlanMeasure } from '../../topology/plan.ts';

/** count and sum: bigint (sums scaled); min and max: bigint, a double (float64), or null of nothing. */
export type Measure = bigint | number | null;
export interface Cell {
  readonly start: number;
  readonly end: number;
  readonly key: readonly Value[];
  readonly measures: Measure[];
  /** Set by the checks: a version after the first was published. */
  corrected: boolean;
  /** Bits of the checks that have met this cell. */
  seen: number;
}
export type Windows = Map<number, Map<string, Cell>>;

/** The same text for the same key, whatever its values hold. Joined, not added up: millions of them are kept, and a sum of strings keeps its parts. */
export function keyText(key: readonly Value[]): string {
  const parts: string[] = [];
  for (const v of key) {
    if (typeof v === 'string') parts.push(String(v.length), v);
    else parts.push(String(v));
  }
  return parts.join('|');
}

interface SourceMeasure {
  readonly index: number;
  readonly kind: PlanMeasure['kind'];
  readonly field: number;
  readonly float: boolean;
  readonly where: readonly { readonly field: number; readonly equals: Value }[];
}
interface Source {
  readonly dimensions: readonly number[];
  readonly measures: readonly SourceMeasure[];
}

/** The condition's value as a field's value is given: scaled where the field is. */
function conditionValue(c: PlanCondition, contract: Contract): Value {
  const field = contract.fields.find((f) => f.name === c.field)!;
  if (typeof c.equals !== 'number' || field.scale === null || field.scale === 0) return c.equals;
  return Math.round(c.equals * 10 ** field.scale);
}

function makeSource(plan: Plan, contract: Contract, source: number): Source {
  const at = (name: string): number => contract.fields.findIndex((f) => f.name === name);
  const measures: SourceMeasure[] = [];
  for (const [index, m] of plan.measures.entries()) {
    if (m.source !== source) continue;
    const where = m.where.map((c) => ({ field: at(c.field), equals: conditionValue(c, contract) }));
    measures.push({ index, kind: m.kind, field: m.field === null ? -1 : at(m.field), float: m.type === 'float64', where });
  }
  return { dimensions: plan.dimensions.map((d) => at(d.name)), measures };
}

export class Cells {
  readonly tables: ReadonlyMap<string, Windows>;
  private readonly plan: Plan;
  private readonly sources: readonly Source[];
  private readonly windowsOf: readonly WindowOf[];
  private readonly empty: readonly Measure[];

  constructor(plan: Plan, contracts: readonly Contract[]) {
    this.plan = plan;
    this.sources = contracts.map((contract, source) => makeSource(plan, contract, source));
    this.windowsOf = plan.tables.map((t) => windowsOf(t.zone, t.size));
    this.tables = new Map(plan.tables.map((t) => [t.name, new Map()]));
    this.empty = plan.measures.map((m) => (m.kind === 'count' || m.kind === 'sum' ? 0n : null));
  }

  add(source: number, time: number, values: readonly Value[]): void {
    const { dimensions, measures } = this.sources[source]!;
    const key = dimensions.map((i) => values[i]!),
      text = keyText(key);
    for (const [t, table] of this.plan.tables.entries()) {
      const bounds = this.windowsOf[t]!(time),
        windows = this.tables.get(table.name)!;
      let window = windows.get(bounds.start);
      if (window === undefined) windows.set(bounds.start, (window = new Map()));
      let cell = window.get(text);
      if (cell === undefined) {
        window.set(text, (cell = { start: bounds.start, end: bounds.end, key, measures: [...this.empty], corrected: false, seen: 0 }));
      }
      for (const m of measures) addTo(cell.measures, m, values);
    }
  }
}

function addTo(cell: Measure[], m: SourceMeasure, values: readonly Value[]): void {
  for (const c of m.where) if (values[c.field] !== c.equals) return;
  if (m.kind === 'count') {
    cell[m.index] = (cell[m.index] as bigint) + 1n;
    return;
  }
  const value = values[m.field]!;
  if (value === null) return;
  const exact = m.float ? (value as number) : BigInt(value as number | bigint);
  const before = cell[m.index]!;
  if (m.kind === 'sum') cell[m.index] = (before as bigint) + (exact as bigint);
  else cell[m.index] = merge(m.kind, before, exact);
}

/** The lesser or greater of two; null is nothing. */
export function merge(kind: 'min' | 'max', a: Measure, b: Measure): Measure {
  if (a === null) return b;
  if (b === null) return a;
  return (kind === 'min') === b < a ? b : a;
}

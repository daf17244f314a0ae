/**
 * The naive recount: one cell a table, window and key; sums are exact, however large. In go the typed values of events that count
 * once; what stands here at the end is what the tables must show. A cell is a row of columns: there may be millions of them.
 */
import { HashIndex, withRoom } from './hash-index.ts';
import type { Value } from './judge.ts';
import { windowsOf } from './zones.ts';
import type { Bounds, WindowOf } from './zones.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan, PlanCondition, PlanMeasure, PlanTable } from '../../topology/plan.ts';

/** count and sum: bigint (sums scaled); min and max: bigint, a double (float64), or null of nothing. */
export type Measure = bigint | number | null;
/** The same text for the same key, whatever its values hold. Joined, not added up: it is kept, and a sum of strings keeps its parts. */
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
    measures.push({ index, kind: m.kind, field: m.field === null ? -1 : at(m.field), where });
  }
  return { dimensions: plan.dimensions.map((d) => at(d.name)), measures };
}

/** The keys of all tables, each once. */
class Keys {
  readonly texts: string[] = [];
  private readonly numbers = new Map<string, number>();

  of(text: string): number {
    let key = this.numbers.get(text);
    if (key === undefined) this.numbers.set(text, (key = this.texts.push(text) - 1));
    return key;
  }
  find(text: string): number {
    return this.numbers.get(text) ?? -1;
  }
}

/** A column holds a measure as a double while that is exact; NaN is null, and what is larger stands beside it as a bigint. */
const LARGE = Infinity;

export class CellTable {
  /** Bits of the checks that have met a cell. */
  seen = new Uint8Array(256);
  private readonly keys: Keys;
  private readonly measures: readonly PlanMeasure[];
  private readonly windowOf: WindowOf;
  private readonly windows = new Map<number, number>();
  private readonly bounds: Bounds[] = [];
  private readonly index = new HashIndex();
  private window = new Int32Array(256);
  private key = new Int32Array(256);
  private readonly columns: Float64Array<ArrayBuffer>[];
  private readonly large: readonly Map<number, bigint>[];

  constructor(plan: Plan, table: PlanTable, keys: Keys) {
    this.keys = keys;
    this.measures = plan.measures;
    this.windowOf = windowsOf(table.zone, table.size);
    this.columns = plan.measures.map(() => new Float64Array(256));
    this.large = plan.measures.map(() => new Map());
  }

  /** Cells are the numbers below it. */
  get count(): number {
    return this.index.count;
  }
  start(cell: number): number {
    return this.bounds[this.window[cell]!]!.start;
  }
  end(cell: number): number {
    return this.bounds[this.window[cell]!]!.end;
  }
  keyText(cell: number): string {
    return this.keys.texts[this.key[cell]!]!;
  }

  /** The cell of a window and key, or -1. */
  find(start: number, key: string): number {
    const window = this.windows.get(start),
      number = this.keys.find(key);
    return window === undefined || number < 0 ? -1 : this.at(window, number);
  }

  values(cell: number): Measure[] {
    return this.measures.map((m, i): Measure => {
      const value = this.columns[i]![cell]!;
      if (Number.isNaN(value)) return null;
      if (value === LARGE) return this.large[i]!.get(cell)!;
      return m.type === 'float64' ? value : BigInt(value);
    });
  }

  /** The cell that an event of this time belongs to. */
  of(time: number, key: number): number {
    const bounds = this.windowOf(time);
    let window = this.windows.get(bounds.start);
    if (window === undefined) this.windows.set(bounds.start, (window = this.bounds.push(bounds) - 1));
    const found = this.at(window, key);
    if (found >= 0) return found;
    const cell = this.index.add();
    this.seen = withRoom(this.seen, cell + 1);
    this.window = withRoom(this.window, cell + 1);
    this.key = withRoom(this.key, cell + 1);
    this.window[cell] = window;
    this.key[cell] = key;
    for (const [i, m] of this.measures.entries()) {
      this.columns[i] = withRoom(this.columns[i]!, cell + 1);
      this.columns[i]![cell] = m.kind === 'count' || m.kind === 'sum' ? 0 : NaN;
    }
    return cell;
  }

  add(cell: number, m: SourceMeasure, values: readonly Value[]): void {
    for (const c of m.where) if (values[c.field] !== c.equals) return;
    if (m.kind === 'count') {
      this.columns[m.index]![cell]!++;
      return;
    }
    const value = values[m.field] as number | bigint | null;
    if (value === null) return;
    const before = this.columns[m.index]![cell]!,
      held = before === LARGE ? this.large[m.index]!.get(cell)! : before;
    if (m.kind === 'sum') this.put(m, cell, plus(held, value));
    // Numbers and bigints compare exactly.
    else if (Number.isNaN(before) || (m.kind === 'min' ? value < held : value > held)) this.put(m, cell, value);
  }

  private put(m: SourceMeasure, cell: number, value: number | bigint): void {
    const column = this.columns[m.index]!;
    if (typeof value === 'number') column[cell] = value;
    else {
      column[cell] = LARGE;
      this.large[m.index]!.set(cell, value);
    }
  }

  private at(window: number, key: number): number {
    let cell = this.index.first(Math.imul(window, 0x9e3779b1) + key);
    while (cell >= 0 && (this.window[cell] !== window || this.key[cell] !== key)) cell = this.index.next();
    return cell;
  }
}

/** A sum in doubles while it is exact. */
function plus(a: number | bigint, b: number | bigint): number | bigint {
  if (typeof a === 'number' && typeof b === 'number') {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return BigInt(a) + BigInt(b);
}

export class Cells {
  readonly tables: ReadonlyMap<string, CellTable>;
  private readonly all: readonly CellTable[];
  private readonly keys = new Keys();
  private readonly sources: readonly Source[];

  constructor(plan: Plan, contracts: readonly Contract[]) {
    this.sources = contracts.map((contract, source) => makeSource(plan, contract, source));
    this.tables = new Map(plan.tables.map((t) => [t.name, new CellTable(plan, t, this.keys)]));
    this.all = [...this.tables.values()];
  }

  add(source: number, time: number, values: readonly Value[]): void {
    const { dimensions, measures } = this.sources[source]!;
    const key = this.keys.of(keyText(dimensions.map((i) => values[i]!)));
    for (const table of this.all) {
      const cell = table.of(time, key);
      for (const m of measures) table.add(cell, m, values);
    }
  }
}

/** The lesser or greater of two; null is nothing. */
export function merge(kind: 'min' | 'max', a: Measure, b: Measure): Measure {
  if (a === null) return b;
  if (b === null) return a;
  return (kind === 'min') === b < a ? b : a;
}

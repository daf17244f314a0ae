/**
 * What the tests of the windows share: a job with every kind of measure, events as columns, an independent RowBinary decoder, and
 * a naive model: Maps of BigInt sums. It knows zones through ZoneClock alone, which has tests of its own.
 */
import { EventColumns } from '../topology/batch.ts';
import { Records } from '../topology/consume/records.ts';
import { sourceInputs, whereKey } from '../topology/inputs.ts';
import type { Plan, PlanMeasure, PlanTable } from '../topology/plan.ts';
import { ZoneClock } from '../topology/window/zones.ts';
import { changesLayout, rowsLayout, sentColumns } from '../topology/write/layout.ts';
import type { TableLayout } from '../topology/write/layout.ts';

export interface TestEvent {
  source: number;
  time: number;
  verdict: number;
  offset: number;
  partition: number;
  name: string;
  number: bigint;
  flag: boolean;
  /** Input fields; null: absent. */
  cost: bigint | null;
  size: bigint | null;
  ratio: number | null;
  seen: number | null;
  paid: boolean;
}
export type Values = (bigint | number | null)[];

const measure = (
  name: string,
  kind: PlanMeasure['kind'],
  source: number,
  field: string | null,
  more: Partial<PlanMeasure> = {},
): PlanMeasure => ({
  name,
  kind,
  source,
  field,
  where: [],
  type: 'int64',
  scale: 0,
  ...more,
});
const paid = [{ field: 'paid', equals: true }];

export function testPlan(tables: readonly PlanTable[]): Plan {
  const source = (contract: string) => ({ contract, version: '1', digest: '', topic: contract });
  return {
    format: 1,
    job: 'test',
    sources: [source('views'), source('sales'), source('silent')],
    id: 'id',
    time: 'time',
    horizonMs: 2 * 86_400_000,
    outOfOrderMs: 0,
    fenceMs: 0,
    maxRecordBytes: 1 << 20,
    producerKey: null,
    dimensions: [
      { name: 'name', type: 'string' },
      { name: 'number', type: 'integer' },
      { name: 'flag', type: 'boolean' },
    ],
    measures: [
      measure('views', 'count', 0, null),
      measure('paid_views', 'count', 0, null, { where: paid }),
      measure('cost', 'sum', 0, 'cost'),
      measure('sales', 'count', 1, null),
      measure('paid_cost', 'sum', 1, 'cost', { where: paid, type: 'decimal', scale: 2 }),
      measure('least', 'min', 1, 'size'),
      measure('most', 'max', 0, 'size', { where: paid }),
      measure('low', 'min', 0, 'ratio', { type: 'float64' }),
      measure('high', 'max', 1, 'ratio', { type: 'float64' }),
      measure('first', 'min', 1, 'seen', { type: 'timestamp' }),
      measure('last', 'max', 0, 'seen', { type: 'timestamp', where: paid }),
    ],
    tables,
  };
}

/** The columns of events of one source, as a gate would fill them. */
export function columnsOf(
  plan: Plan,
  source: number,
  events: readonly TestEvent[],
  hash: (key: Uint8Array) => number = poorHash,
): { columns: EventColumns; records: Records; verdict: Uint8Array } {
  const inputs = sourceInputs(plan, source),
    columns = new EventColumns(Math.max(1, events.length), inputs.fields.length);
  const records = new Records(),
    verdict = new Uint8Array(events.length);
  records.reserve(events.length);
  records.count = events.length;
  columns.count = events.length;
  const bytes: number[] = [];
  for (const [i, e] of events.entries()) {
    columns.record[i] = i;
    records.offset[i] = e.offset;
    verdict[i] = e.verdict;
    columns.time[i] = e.time;
    const key = keyBytes(e);
    bytes.push(...key);
    columns.keyEnd[i] = bytes.length;
    columns.keyHash[i] = hash(key);
    for (const [b, where] of inputs.wheres.entries()) if (where.every(() => e.paid) && whereKey(where) !== '') columns.where[i]! |= 1 << b;
    for (const [f, field] of inputs.fields.entries()) {
      const v = e[field.name as 'cost' | 'size' | 'ratio' | 'seen'];
      if (v === null) columns.hi[f]![i] = NaN;
      else if (field.type === 'float64') [columns.lo[f]![i], columns.hi[f]![i]] = [Number(v), 0];
      else [columns.lo[f]![i], columns.hi[f]![i]] = [Number(BigInt.asUintN(32, BigInt(v))), Number(BigInt(v) >> 32n)];
    }
  }
  columns.keyBytes = Uint8Array.from(bytes);
  return { columns, records, verdict };
}

/** Poor on purpose: keys with the same hash must be told apart by their bytes. */
const poorHash = (key: Uint8Array): number => key.reduce((h, b) => (h * 31 + b) % 61, 0) * 70368744;
export const fairHash = (key: Uint8Array): number => key.reduce((h, b) => Math.imul(h ^ b, 0x01000193), 0x811c9dc5) >>> 0;

function keyBytes(e: TestEvent): Buffer {
  const text = Buffer.from(e.name),
    number = Buffer.alloc(9),
    length = text.length < 128 ? [text.length] : [(text.length & 127) | 128, text.length >> 7];
  number.writeBigInt64LE(e.number);
  number[8] = e.flag ? 1 : 0;
  return Buffer.concat([Buffer.from(length), text, number]);
}
export const keyOf = (e: TestEvent): string => JSON.stringify([e.name, String(e.number), e.flag]);

/** Adds an event to values the obvious way. */
export function addNaively(plan: Plan, values: Values, e: TestEvent): void {
  for (const [m, { kind, source, field, where, type }] of plan.measures.entries()) {
    if (source !== e.source || (where.length > 0 && !e.paid)) continue;
    if (kind === 'count') values[m] = (values[m] as bigint) + 1n;
    else {
      const raw = e[field as 'cost' | 'size' | 'ratio' | 'seen'],
        before = values[m]!;
      if (raw === null) continue;
      const v = type === 'float64' ? Number(raw) + 0 : BigInt(raw);
      if (kind === 'sum') values[m] = (before as bigint) + (v as bigint);
      else if (before === null || (kind === 'min' ? v < before : v > before)) values[m] = v;
    }
  }
}
export const emptyValues = (plan: Plan): Values => plan.measures.map((m) => (m.kind === 'count' || m.kind === 'sum' ? 0n : null));

export type Decoded = Record<string, bigint | number | string | boolean | null>;

/** RowBinary by the types of the layout, on its own: BigInt and DataView. */
export function decodeRows(layout: TableLayout, body: Uint8Array): Decoded[] {
  const view = new DataView(body.buffer, body.byteOffset, body.length),
    out: Decoded[] = [];
  let p = 0;
  const value = (type: string): bigint | number | string | boolean | null => {
    const nullable = /^Nullable\((.*)\)$/.exec(type);
    if (nullable !== null) return view.getUint8(p++) === 1 ? null : value(nullable[1]!);
    const name = type.replace(/\(.*/, '');
    if (name === 'String') {
      let length = 0,
        scale = 1;
      for (let more = true; more; scale *= 128) {
        const byte = view.getUint8(p++);
        length += (byte % 128) * scale;
        more = byte >= 128;
      }
      p += length;
      return Buffer.from(body.subarray(p - length, p)).toString();
    }
    const size = { UInt8: 1, Int8: 1, Bool: 1, Enum8: 1, UInt16: 2, DateTime: 4, UInt32: 4 }[name] ?? 8;
    p += size;
    if (name === 'DateTime') return view.getUint32(p - 4, true) * 1000;
    if (name === 'Bool') return view.getUint8(p - 1) === 1;
    if (name === 'Enum8') return { 1: '+I', 2: '-U', 3: '+U' }[view.getInt8(p - 1)]!;
    if (name === 'Int8') return view.getInt8(p - 1);
    if (name === 'UInt8') return view.getUint8(p - 1);
    if (name === 'UInt16') return view.getUint16(p - 2, true);
    if (name === 'Float64') return view.getFloat64(p - 8, true);
    if (name === 'UInt64') return view.getBigUint64(p - 8, true);
    if (name === 'Int64' || name === 'DateTime64') return view.getBigInt64(p - 8, true);
    throw new Error(`no decoder for ${type}`);
  };
  while (p < body.length) out.push(Object.fromEntries(sentColumns(layout).map((c) => [c.name, value(c.type)])));
  return out;
}

export interface ModelRow {
  key: string;
  values: Values;
  corrected: boolean;
}
export interface ModelWindow {
  start: number;
  end: number;
  rows: Map<string, ModelRow>;
}

/** Windows the obvious way, one table. */
export class ModelTable {
  readonly plan: Plan;
  readonly table: PlanTable;
  readonly windows = new Map<number, ModelWindow>();
  readonly rows: TableLayout;
  readonly changes: TableLayout;
  private readonly clock: ZoneClock;
  constructor(plan: Plan, table: PlanTable) {
    this.plan = plan;
    this.table = table;
    this.clock = new ZoneClock(table.zone);
    this.rows = rowsLayout(plan, table, 3);
    this.changes = changesLayout(plan, table, 3);
  }
  add(e: TestEvent): ModelWindow {
    const { start, end } = this.clock.windowOf(e.time, this.table.size);
    let w = this.windows.get(start);
    if (w === undefined) this.windows.set(start, (w = { start, end, rows: new Map() }));
    let row = w.rows.get(keyOf(e));
    if (row === undefined) w.rows.set(keyOf(e), (row = { key: keyOf(e), values: emptyValues(this.plan), corrected: false }));
    addNaively(this.plan, row.values, e);
    return w;
  }
}

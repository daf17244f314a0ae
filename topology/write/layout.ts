/**
 * The physical tables of a plan, from the plan alone: the encoder writes RowBinary in this column order and the DDL is made
 * from it, so that they cannot disagree. Physical tables end in `_rows`; analysts read the views over them (src/clickhouse).
 */
import type { Plan, PlanMeasure, PlanTable } from '../plan.ts';

export interface Column {
  readonly name: string;
  /** ClickHouse type. Decimals are stored as their scaled Int64; the views make Decimals of them. */
  readonly type: string;
}
export interface TableLayout {
  readonly name: string;
  readonly columns: readonly Column[];
  readonly orderBy: readonly string[];
  /** Column of the month partition, or null. */
  readonly partitionBy: string | null;
}

/** What an insert into the table begins with: its name and its columns. */
export const insertTarget = (layout: TableLayout): string => `${layout.name} (${layout.columns.map((c) => `\`${c.name}\``).join(', ')})`;

export const rowsTable = (table: string, generation: number): string => `${table}_g${generation}_rows`;
export const changesTable = (table: string, generation: number): string => `${table}_changes_g${generation}_rows`;

export function measureColumnType(m: PlanMeasure): string {
  if (m.kind === 'count') return 'UInt64';
  const type = m.type === 'float64' ? 'Float64' : m.type === 'timestamp' ? "DateTime64(3, 'UTC')" : 'Int64';
  return m.kind === 'sum' ? type : `Nullable(${type})`;
}

function shared(plan: Plan): Column[] {
  const dimension = { string: 'String', integer: 'Int64', boolean: 'Bool' } as const;
  return [
    { name: 'window_start', type: "DateTime('UTC')" },
    { name: 'window_end', type: "DateTime('UTC')" },
    ...plan.dimensions.map((d) => ({ name: d.name, type: dimension[d.type] })),
    { name: 'shard', type: 'UInt16' },
    ...plan.measures.map((m) => ({ name: m.name, type: measureColumnType(m) })),
  ];
}

function identity(plan: Plan): string[] {
  const [first, ...rest] = plan.dimensions.map((d) => d.name);
  return first === undefined ? ['window_start', 'shard'] : [first, 'window_start', ...rest, 'shard'];
}

/** One row a (window, key, shard): the newest version wins. `corrected` 1: changed after it was final. */
export function rowsLayout(plan: Plan, table: PlanTable, generation: number): TableLayout {
  return {
    name: rowsTable(table.name, generation),
    columns: [...shared(plan), { name: 'corrected', type: 'UInt8' }, { name: 'version', type: 'UInt64' }],
    orderBy: identity(plan),
    partitionBy: 'window_start',
  };
}

/** +I when final, then pairs of -U and +U; at most one change of a row a commit, so (identity, version, op) names it. */
export function changesLayout(plan: Plan, table: PlanTable, generation: number): TableLayout {
  return {
    name: changesTable(table.name, generation),
    columns: [
      ...shared(plan),
      { name: 'op', type: "Enum8('+I' = 1, '-U' = 2, '+U' = 3)" },
      { name: 'sign', type: 'Int8' },
      { name: 'cause', type: 'String' },
      { name: 'version', type: 'UInt64' },
      { name: 'changed_at', type: "DateTime64(3, 'UTC')" },
    ],
    orderBy: [...identity(plan), 'version', 'op'],
    partitionBy: 'window_start',
  };
}

const where: Column[] = [
  { name: 'job', type: 'String' },
  { name: 'generation', type: 'UInt32' },
  { name: 'shard', type: 'UInt16' },
];
export const BOOKS: TableLayout = {
  name: 'tally_books_rows',
  columns: [
    ...where,
    { name: 'topic', type: 'String' },
    { name: 'partition', type: 'Int32' },
    { name: 'class', type: 'LowCardinality(String)' },
    { name: 'code', type: 'LowCardinality(String)' },
    { name: 'records', type: 'UInt64' },
    { name: 'version', type: 'UInt64' },
  ],
  orderBy: ['job', 'generation', 'shard', 'topic', 'partition', 'class', 'code'],
  partitionBy: null,
};
export const QUARANTINE: TableLayout = {
  name: 'tally_quarantine_rows',
  columns: [
    ...where,
    { name: 'topic', type: 'String' },
    { name: 'partition', type: 'Int32' },
    { name: 'offset', type: 'Int64' },
    { name: 'timestamp', type: "DateTime64(3, 'UTC')" },
    { name: 'key', type: 'Nullable(String)' },
    { name: 'raw', type: 'String' },
    { name: 'code', type: 'LowCardinality(String)' },
    { name: 'field', type: 'String' },
    { name: 'detail', type: 'String' },
    { name: 'contract', type: 'String' },
    { name: 'contract_version', type: 'String' },
    { name: 'version', type: 'UInt64' },
  ],
  orderBy: ['job', 'generation', 'topic', 'partition', 'offset'],
  partitionBy: null,
};
/** The last row that a commit sends: what stands in the tables is whole up to here. `final_to`: windows that end by it are final. */
export const PROGRESS: TableLayout = {
  name: 'tally_progress_rows',
  columns: [
    ...where,
    { name: 'shards', type: 'UInt16' },
    { name: 'instance', type: 'String' },
    { name: 'final_to', type: "DateTime64(3, 'UTC')" },
    { name: 'offsets', type: 'String' },
    { name: 'committed_at', type: "DateTime64(3, 'UTC')" },
    { name: 'version', type: 'UInt64' },
  ],
  orderBy: ['job', 'generation', 'shard'],
  partitionBy: null,
};
export const AUDIT: TableLayout = {
  name: 'tally_audit_rows',
  columns: [
    { name: 'instance', type: 'String' },
    { name: 'number', type: 'UInt64' },
    { name: 'at', type: "DateTime64(3, 'UTC')" },
    { name: 'kind', type: 'String' },
    { name: 'job', type: 'String' },
    { name: 'entry', type: 'String' },
    { name: 'hash', type: 'String' },
    { name: 'version', type: 'UInt64' },
  ],
  orderBy: ['instance', 'number'],
  partitionBy: null,
};
export const LAYOUTS: readonly TableLayout[] = [BOOKS, QUARANTINE, PROGRESS, AUDIT];

/**
 * The physical tables of a plan, from the plan alone: the encoder writes RowBinary in this column order and the DDL is made
 * from it, so that they cannot disagree. Physical tables end in `_rows`; analysts read the views over them (src/clickhouse).
 */
import { EPOCH } from '../../state/outbox.ts';
import type { Plan, PlanMeasure, PlanTable } from '../plan.ts';

export interface Column {
  readonly name: string;
  /** ClickHouse type. Decimals are stored as their scaled Int64; the views make Decimals of them. */
  readonly type: string;
  /** An expression; such a column is not sent. */
  readonly default?: string;
}
export interface TableLayout {
  readonly name: string;
  readonly columns: readonly Column[];
  readonly orderBy: readonly string[];
  /** What decides between rows of one identity: the newest by the first; a second says that the newest takes the row away. */
  readonly newest: 'version' | 'version, is_deleted' | 'epoch, is_deleted';
  /** Column of the month partition, or null. */
  readonly partitionBy: string | null;
}

export const sentColumns = (layout: TableLayout): Column[] => layout.columns.filter((c) => c.default === undefined);

/** What an insert into the table begins with: its name and the columns that are sent. */
export const insertTarget = (layout: TableLayout): string =>
  `${layout.name} (${sentColumns(layout)
    .map((c) => `\`${c.name}\``)
    .join(', ')})`;

/** 1: whoever took the shard over says that there is no such row. */
const IS_DELETED: Column = { name: 'is_deleted', type: 'UInt8', default: '0' };

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
    columns: [...shared(plan), { name: 'corrected', type: 'UInt8' }, { name: 'version', type: 'UInt64' }, IS_DELETED],
    orderBy: identity(plan),
    newest: 'version, is_deleted',
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
      // A change is never written again, but it may be taken away by a later epoch.
      { name: 'epoch', type: 'UInt32', default: `intDiv(version, ${EPOCH})` },
      IS_DELETED,
    ],
    orderBy: [...identity(plan), 'version', 'op'],
    newest: 'epoch, is_deleted',
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
  newest: 'version',
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
    IS_DELETED,
  ],
  orderBy: ['job', 'generation', 'topic', 'partition', 'offset'],
  newest: 'version, is_deleted',
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
  newest: 'version',
  partitionBy: null,
};
/**
 * Who has owned a shard, an epoch a row and never changed: from which version on (`fork`) the owner before counts no more. Whoever inserts
 * rows of the shard under an older epoch than the highest here is turned away.
 */
export const EPOCHS: TableLayout = {
  name: 'tally_epochs_rows',
  columns: [
    ...where,
    { name: 'epoch', type: 'UInt32' },
    { name: 'instance', type: 'String' },
    { name: 'fork', type: 'UInt64' },
    { name: 'frozen_to', type: "DateTime64(3, 'UTC')" },
    { name: 'starts', type: 'String' },
    { name: 'claimed_at', type: "DateTime64(3, 'UTC')" },
    { name: 'version', type: 'UInt64' },
  ],
  orderBy: ['job', 'generation', 'shard', 'epoch', 'instance'],
  newest: 'version',
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
  newest: 'version',
  partitionBy: null,
};
export const LAYOUTS: readonly TableLayout[] = [BOOKS, QUARANTINE, PROGRESS, EPOCHS, AUDIT];

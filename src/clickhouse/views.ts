/**
 * The views that analysts read, from the plan alone. Physical rows are partial (one a window, key and shard, newest version wins): the
 * views read them with FINAL, so that a client needs no settings, and put the shards together by each measure's own aggregate.
 *
 * T_live has every window and its state; T and T_changes have the windows that end by the least progress of the shards, a shard
 * without progress counting as 0, so that they agree with each other however far the shards are apart. Filters on window_start and on
 * dimensions go down to the tables' index through all of it: they are what the shards are grouped by.
 * Sums over the shards are made in 128 bits and must fit into 64: else the query fails, where a plain sum would wrap in silence.
 */
import type { Plan, PlanMeasure, PlanTable } from '../../topology/plan.ts';
import { AUDIT, BOOKS, EPOCHS, PROGRESS, QUARANTINE, changesTable, rowsTable } from '../../topology/write/layout.ts';
import type { TableLayout } from '../../topology/write/layout.ts';
import { identifier, literal } from './client.ts';

export interface View {
  readonly name: string;
  readonly select: string;
}

/** A table's partitions are months of window_start, which is part of the key: no row has versions in two of them. */
const FINAL_SETTINGS = 'SETTINGS do_not_merge_across_partitions_select_final = 1';

export function planViews(plan: Plan, generation: number, shards: number): View[] {
  return plan.tables.flatMap((table) => [
    { name: `${table.name}_live`, select: live(plan, table, generation, shards) },
    { name: table.name, select: finals(plan, table, generation, shards) },
    { name: `${table.name}_changes`, select: changes(plan, table, generation, shards) },
  ]);
}

/** Tally's own tables without their inner columns. */
export const SHARED_VIEWS: readonly View[] = [
  plain('tally_books', BOOKS, ['version']),
  plain('tally_quarantine', QUARANTINE, ['version', 'is_deleted']),
  plain('tally_audit', AUDIT, ['version']),
  plain('tally_progress', PROGRESS, []),
  plain('tally_epochs', EPOCHS, ['version']),
];

function plain(name: string, layout: TableLayout, without: readonly string[]): View {
  const columns = layout.columns.filter((c) => !without.includes(c.name)).map((c) => identifier(c.name));
  return { name, select: `SELECT ${columns.join(', ')} FROM ${layout.name} FINAL` };
}

/** The time up to which every shard's rows and changes stand in the tables; asked once a query. */
function progress(plan: Plan, generation: number, shards: number): string {
  return (
    `(SELECT if(count() < ${shards}, toDateTime64(0, 3, 'UTC'), min(final_to)) FROM ${PROGRESS.name} FINAL ` +
    `WHERE job = ${literal(plan.job)} AND generation = ${generation} AND shard < ${shards})`
  );
}

/** window_end has whole seconds, and is an integer inside; the comparison stays one between numbers. */
const isFinal = (column: string, plan: Plan, generation: number, shards: number): string =>
  `${column} <= ${progress(plan, generation, shards)}`;

const dimensions = (plan: Plan): string[] => ['window_start', 'window_end', ...plan.dimensions.map((d) => d.name)];
const keys = (plan: Plan): string =>
  dimensions(plan)
    .map((d) => `r.${identifier(d)}`)
    .join(', ');
const keysNamed = (plan: Plan): string =>
  dimensions(plan)
    .map((d) => `r.${identifier(d)} AS ${identifier(d)}`)
    .join(', ');

function live(plan: Plan, table: PlanTable, generation: number, shards: number): string {
  const measures = plan.measures.map((m) => `${combined(m, shards)} AS ${identifier(m.name)}`);
  const corrected = shards === 1 ? 'r.corrected' : 'max(r.corrected)';
  const state = `multiIf(NOT (${isFinal('r.window_end', plan, generation, shards)}), 'provisional', ${corrected} = 1, 'corrected', 'final') AS state`;
  return (
    `SELECT ${[keysNamed(plan), ...measures, state].join(', ')} FROM ${rowsTable(table.name, generation)} AS r FINAL ` +
    `${groups(plan, shards)}${FINAL_SETTINGS}`
  );
}

function finals(plan: Plan, table: PlanTable, generation: number, shards: number): string {
  const measures = plan.measures.map((m) => `${combined(m, shards)} AS ${identifier(m.name)}`);
  return (
    `SELECT ${[keysNamed(plan), ...measures].join(', ')} FROM ${rowsTable(table.name, generation)} AS r FINAL ` +
    `WHERE ${isFinal('r.window_end', plan, generation, shards)} ${groups(plan, shards)}${FINAL_SETTINGS}`
  );
}

/** With one shard a row is whole as it is: grouping it would cost a multiple of the reading. */
const groups = (plan: Plan, shards: number): string => (shards === 1 ? '' : `GROUP BY ${keys(plan)} `);

function changes(plan: Plan, table: PlanTable, generation: number, shards: number): string {
  const measures = plan.measures.map((m) => `${shown(m, `r.${identifier(m.name)}`)} AS ${identifier(m.name)}`);
  const rest = ['op', 'sign', 'cause', 'shard', 'version', 'changed_at'].map((c) => `r.${c} AS ${c}`);
  return (
    `SELECT ${[keysNamed(plan), ...measures, ...rest].join(', ')} FROM ${changesTable(table.name, generation)} AS r FINAL ` +
    `WHERE ${isFinal('r.window_end', plan, generation, shards)} ${FINAL_SETTINGS}`
  );
}

/** A measure over the shards. */
function combined(m: PlanMeasure, shards: number): string {
  const column = `r.${identifier(m.name)}`;
  if (shards === 1) return shown(m, column);
  if (m.kind === 'count') return `accurateCast(sum(toUInt128(${column})), 'UInt64')`;
  if (m.kind === 'sum') return shown(m, `accurateCast(sum(toInt128(${column})), 'Int64')`);
  return shown(m, `${m.kind}(${column})`);
}

/** Decimals are stored as scaled integers: times 0.000001, a decimal itself, is exact (no float comes in). */
function shown(m: PlanMeasure, expression: string): string {
  if (m.type !== 'decimal') return expression;
  if (m.scale === 0) return `CAST(${expression}, ${m.kind === 'sum' ? "'Decimal(38, 0)'" : "'Nullable(Decimal(38, 0))'"})`;
  return `(${expression} * toDecimal128('0.${'0'.repeat(m.scale - 1)}1', ${m.scale}))`;
}

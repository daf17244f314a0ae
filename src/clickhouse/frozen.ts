/**
 * Windows that are left as they are when a shard is counted again become final with that: nothing is added to them any more. Here rows and
 * changes are made to say the same of each: a row of a window that was open gets its '+I'; where only one of the two had come in when the
 * owner before was lost, the other follows. May be asked any number of times.
 */
import type { Plan, PlanTable } from '../../topology/plan.ts';
import { changesLayout, insertTarget, rowsLayout } from '../../topology/write/layout.ts';
import type { TableLayout } from '../../topology/write/layout.ts';
import { EPOCH } from '../../state/outbox.ts';
import { command, identifier, rows } from './client.ts';
import type { Client } from './client.ts';

const DAY_S = 86_400;

interface Part {
  readonly generation: number;
  readonly shard: number;
  readonly epoch: number;
  readonly frozenTo: number;
}
type Settings = Parameters<typeof command>[2];

export async function closeFrozen(client: Client, plan: Plan, table: PlanTable, part: Part, settings: Settings): Promise<void> {
  const { generation, shard, frozenTo } = part,
    where = `shard = ${shard} AND window_start < fromUnixTimestamp64Milli(${frozenTo}, 'UTC')`,
    sources = [rowsLayout(plan, table, generation), changesLayout(plan, table, generation)].map(
      ({ name }) => `SELECT toUnixTimestamp(toStartOfDay(window_start)) AS day FROM ${name} WHERE ${where}`,
    );
  // Tables may hold years: a day's rows are compared at a time.
  for (const { day } of await rows<{ day: number }>(client, `SELECT DISTINCT day FROM (${sources.join(' UNION ALL ')}) ORDER BY day`)) {
    const ofDay = `window_start >= toDateTime(${day}, 'UTC') AND window_start < toDateTime(${day + DAY_S}, 'UTC')`;
    for (const sql of statements(plan, table, part, `${where} AND ${ofDay}`)) await command(client, sql, settings);
  }
}

/** Rows that stay behind their changes, then changes that stay behind their rows. */
function statements(plan: Plan, table: PlanTable, { generation, epoch }: Part, where: string): string[] {
  const held = rowsLayout(plan, table, generation),
    changes = changesLayout(plan, table, generation),
    keys = names(['window_start', 'window_end', ...plan.dimensions.map((d) => d.name), 'shard']),
    first = epoch * EPOCH;
  const part = (layout: TableLayout, isRow: 0 | 1): string =>
    `SELECT ${keys}, tuple(${names(plan.measures.map((m) => m.name))}) AS tally_m, version AS tally_at, ${isRow === 1 ? '0' : 'toInt8(op)'} AS tally_o, ${isRow} AS tally_is_row FROM ${layout.name} FINAL WHERE ${where}`;
  // Names of their own: a job's may be any. Of each row: how it stands, and what the newest change says.
  const each =
    `SELECT ${keys}, countIf(tally_is_row = 1) AS tally_has_row, countIf(tally_is_row = 0) AS tally_told, argMaxIf(tally_m, tally_at, tally_is_row = 1) AS tally_row, ` +
    `argMaxIf(tally_m, (tally_at, tally_o), tally_is_row = 0) AS tally_last, maxIf(tally_at, tally_is_row = 1) AS tally_row_at, maxIf(tally_at, tally_is_row = 0) AS tally_told_at ` +
    `FROM (${part(held, 1)} UNION ALL ${part(changes, 0)}) GROUP BY ${keys}`;
  const differs = 'tally_told > 0 AND toString(tally_row) != toString(tally_last)',
    isNewer = 'tally_has_row = 1 AND (tally_told = 0 OR tally_row_at >= tally_told_at)';
  const values = (from: string): string => plan.measures.map((_, i) => `tupleElement(${from}, ${i + 1})`).join(', ');
  return [
    `INSERT INTO ${insertTarget(held)} SELECT ${keys}, ${values('tally_last')}, tally_told > 1, ${first} FROM (${each}) ` +
      `WHERE tally_told > 0 AND NOT (${isNewer}) AND (tally_has_row = 0 OR ${differs})`,
    `INSERT INTO ${insertTarget(changes)} SELECT ${keys}, ${values('tally_said.3')}, tally_said.1, tally_said.2, 'frozen', greatest(${first}, tally_told_at + 1), now64(3, 'UTC') FROM (${each}) ` +
      `ARRAY JOIN if(tally_told = 0, [('+I', 1, tally_row)], [('-U', -1, tally_last), ('+U', 1, tally_row)]) AS tally_said WHERE ${isNewer} AND (tally_told = 0 OR ${differs})`,
  ];
}

const names = (of: readonly string[]): string => of.map(identifier).join(', ');

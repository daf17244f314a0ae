/**
 * Makes the tables and views of a job, or brings them up to date: safe to call at every start, by whatever was killed halfway. Nothing
 * that exists is dropped or changed unless it is Tally's own and the same; what is not is refused with its name. The registry
 * tally_tables_rows says which job owns which table, and which state (instance) fills it.
 */
import { TallyError } from '../errors.ts';
import type { Plan } from '../../topology/plan.ts';
import { LAYOUTS, changesLayout, rowsLayout } from '../../topology/write/layout.ts';
import type { Column, TableLayout } from '../../topology/write/layout.ts';
import { command, identifier, literal, makeClient, rows } from './client.ts';
import type { Client } from './client.ts';
import type { Endpoint } from './engine.ts';
import { SHARED_VIEWS, planViews } from './views.ts';
import type { View } from './views.ts';

/** Tables and views carry it as their comment: what does not is somebody else's. */
const MARK = 'tally';

export const REGISTRY: TableLayout = {
  name: 'tally_tables_rows',
  columns: [
    { name: 'table_name', type: 'String' },
    { name: 'job', type: 'String' },
    { name: 'generation', type: 'UInt32' },
    { name: 'instance', type: 'String' },
    { name: 'version', type: 'UInt64' },
  ],
  orderBy: ['table_name'],
  partitionBy: null,
};

export interface Migration {
  readonly plan: Plan;
  readonly generation: number;
  readonly shards: number;
  readonly instance: string;
}

export async function migrate(client: Client, m: Migration): Promise<void> {
  const existing = await existingTables(client);
  await checkOwner(client, existing, m.plan);
  const layouts = [
    ...LAYOUTS,
    REGISTRY,
    ...m.plan.tables.flatMap((t) => [rowsLayout(m.plan, t, m.generation), changesLayout(m.plan, t, m.generation)]),
  ];
  const views = [...SHARED_VIEWS, ...planViews(m.plan, m.generation, m.shards)];
  const columns = await existingColumns(client);
  for (const layout of layouts) checkTable(existing, columns, layout);
  for (const view of views) checkView(existing, view);
  // Everything that could be refused has been looked at: from here on it is made.
  for (const layout of [...LAYOUTS, REGISTRY]) await makeTable(client, existing, layout);
  await register(client, m);
  for (const layout of layouts) await makeTable(client, existing, layout);
  await Promise.all(
    views.map((view) => command(client, `CREATE OR REPLACE VIEW ${identifier(view.name)} AS ${view.select} COMMENT '${MARK}'`)),
  );
}

/** On a server elsewhere the database may be missing; making it takes a client that does not name it. */
export async function makeDatabase(endpoint: Endpoint): Promise<void> {
  const client = makeClient({ ...endpoint, database: 'default' }, { connections: 1 });
  try {
    const found = await rows(client, `SELECT 1 FROM system.databases WHERE name = ${literal(endpoint.database)}`);
    if (found.length === 0) await command(client, `CREATE DATABASE IF NOT EXISTS ${identifier(endpoint.database)}`);
  } finally {
    await client.close();
  }
}

export interface Existing {
  readonly name: string;
  readonly engine: string;
  readonly sorting_key: string;
  readonly partition_key: string;
  readonly engine_full: string;
  readonly comment: string;
}

export async function existingTables(client: Client): Promise<Map<string, Existing>> {
  const found = await rows<Existing>(
    client,
    'SELECT name, engine, sorting_key, partition_key, engine_full, comment FROM system.tables WHERE database = currentDatabase()',
  );
  return new Map(found.map((t) => [t.name, t]));
}

/** Every name that a table of a job stands for: two jobs may share none of them. */
const namesOf = (plan: Plan): string[] => plan.tables.flatMap(({ name }) => [name, `${name}_live`, `${name}_changes`]);

async function checkOwner(client: Client, existing: ReadonlyMap<string, Existing>, plan: Plan): Promise<void> {
  if (!existing.has(REGISTRY.name)) return;
  const names = namesOf(plan);
  const taken = await rows<{ table_name: string; job: string }>(
    client,
    `SELECT table_name, job FROM ${REGISTRY.name} FINAL WHERE table_name IN (${names.map(literal).join(', ')}) AND job != ${literal(plan.job)} ORDER BY table_name LIMIT 1`,
  );
  const first = taken[0];
  if (first === undefined) return;
  throw new TallyError(
    'E_TABLE_TAKEN',
    `The table ${first.table_name} is written by the job ${first.job}; ${plan.job} would write it too.`,
    `Give the window of ${plan.job} another table: .into("..."); or drop the other job first: tally drop ${first.job} --data DIR --yes`,
    2,
  );
}

async function register(client: Client, m: Migration): Promise<void> {
  const values = namesOf(m.plan).map(
    (name) => `(${literal(name)}, ${literal(m.plan.job)}, ${m.generation}, ${literal(m.instance)}, ${m.generation})`,
  );
  if (values.length === 0) return;
  await command(client, `INSERT INTO ${REGISTRY.name} (table_name, job, generation, instance, version) VALUES ${values.join(', ')}`, {
    async_insert: 0,
    insert_deduplicate: 0,
  });
}

/** As ClickHouse prints a key, without quotes and, around a single column, parentheses. */
const bare = (key: string): string =>
  key
    .replaceAll('`', '')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .replace(/^\((.*)\)$/, '$1');
const partitionKey = (layout: TableLayout): string => (layout.partitionBy === null ? '' : `toYYYYMM(${layout.partitionBy})`);

async function existingColumns(client: Client): Promise<Map<string, Map<string, string>>> {
  const byTable = new Map<string, Map<string, string>>();
  for (const c of await rows<Column & { table: string }>(
    client,
    'SELECT table, name, type FROM system.columns WHERE database = currentDatabase()',
  )) {
    let columns = byTable.get(c.table);
    if (columns === undefined) byTable.set(c.table, (columns = new Map()));
    columns.set(c.name, c.type);
  }
  return byTable;
}

function checkTable(
  existing: ReadonlyMap<string, Existing>,
  columns: ReadonlyMap<string, ReadonlyMap<string, string>>,
  layout: TableLayout,
): void {
  const table = existing.get(layout.name);
  if (table === undefined) return;
  const wrong = (what: string): never => {
    throw new TallyError(
      'E_SCHEMA',
      `The table ${layout.name} exists and is not what this job writes: ${what}.`,
      'Rename it or drop it yourself; or give Tally a database of its own: --clickhouse http://.../other_database',
    );
  };
  if (!/^(Shared|Replicated)?ReplacingMergeTree$/.test(table.engine)) wrong(`it is a ${table.engine}, not a ReplacingMergeTree`);
  if (!table.engine_full.includes('version)')) wrong('its version column is another');
  if (bare(table.sorting_key) !== layout.orderBy.join(', '))
    wrong(`it is ordered by (${bare(table.sorting_key)}), not by (${layout.orderBy.join(', ')})`);
  if (bare(table.partition_key) !== partitionKey(layout)) wrong(`it is partitioned by ${bare(table.partition_key) || 'nothing'}`);
  const has = new Map(columns.get(layout.name));
  for (const c of layout.columns) {
    const type = has.get(c.name);
    if (type === undefined) wrong(`the column ${c.name} is missing`);
    if (type !== c.type) wrong(`${c.name} is ${type}, not ${c.type}`);
    has.delete(c.name);
  }
  for (const [name] of has) wrong(`it has a column ${name} more`);
}

function checkView(existing: ReadonlyMap<string, Existing>, view: View): void {
  const found = existing.get(view.name);
  if (found === undefined || (found.engine === 'View' && found.comment === MARK)) return;
  throw new TallyError(
    'E_SCHEMA',
    `${view.name} exists, and it is not a view of Tally.`,
    'Rename it or drop it yourself; or give Tally a database of its own: --clickhouse http://.../other_database',
  );
}

/**
 * fsync: what is acknowledged leaves the outbox, so it must outlive the machine's power. One block of rows in a month is one part.
 */
export function tableDdl(layout: TableLayout): string {
  const columns = layout.columns.map((c) => `${identifier(c.name)} ${c.type}`).join(', ');
  const partition = layout.partitionBy === null ? '' : ` PARTITION BY ${partitionKey(layout)}`;
  return (
    `CREATE TABLE IF NOT EXISTS ${layout.name} (${columns}) ENGINE = ReplacingMergeTree(version)${partition} ` +
    `ORDER BY (${layout.orderBy.map(identifier).join(', ')}) ` +
    `SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 0 COMMENT '${MARK}'`
  );
}

async function makeTable(client: Client, existing: ReadonlyMap<string, Existing>, layout: TableLayout): Promise<void> {
  if (!existing.has(layout.name)) await command(client, tableDdl(layout));
}

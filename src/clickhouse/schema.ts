/**
 * Makes the tables and views of a job, or brings them up to date: safe to call at every start, by whatever was killed halfway. Nothing
 * that exists is dropped or changed unless it is Tally's own and the same; what is not is refused with its name. The registry
 * tally_tables_rows says which job owns which table, and which state (instance) fills it.
 */
import { TallyError, usage } from '../errors.ts';
import type { Plan } from '../../topology/plan.ts';
import { LAYOUTS, changesLayout, rowsLayout } from '../../topology/write/layout.ts';
import type { Column, TableLayout } from '../../topology/write/layout.ts';
import { command, literal, rows } from './client.ts';
import type { Client } from './client.ts';
import { checkSameCluster, readCluster, recordCluster, recordedCluster } from './cluster.ts';
import type { Cluster } from './cluster.ts';
import {
  distributedDdl,
  dropViewDdl,
  isOurs,
  localName,
  partitionKey,
  replaceViewDdl,
  shardingKey,
  tableDdl,
  viewDdl,
  viewMark,
} from './ddl.ts';
import { isDenied, isElsewhereMissing } from './faults.ts';
import { INSERT_SETTINGS, grantFault } from './server.ts';
import { SHARED_VIEWS, planViews } from './views.ts';
import type { View } from './views.ts';

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
  newest: 'version',
  partitionBy: null,
};

export interface Migration {
  readonly plan: Plan;
  readonly generation: number;
  readonly shards: number;
  /** '' when it is not known yet which state will fill them. */
  readonly instance: string;
  /** Spread over a cluster. Without it: as the tables are, and on one server when there are none. */
  readonly cluster?: { readonly name: string; readonly replicated: boolean };
  /** Other servers of the cluster do not have the tables yet. */
  readonly onIncomplete?: () => void;
}

/** What it made, by name; nothing when all of it was there. */
export async function migrate(client: Client, m: Migration): Promise<string[]> {
  const existing = await existingTables(client),
    hasRegistry = existing.has(REGISTRY.name) && (await registryAnswers(client, m)),
    cluster = await clusterOf(client, existing.get(REGISTRY.name), hasRegistry, m.cluster);
  if (hasRegistry) await checkOwner(client, m.plan);
  const layouts = [
    ...LAYOUTS,
    REGISTRY,
    ...m.plan.tables.flatMap((t) => [rowsLayout(m.plan, t, m.generation), changesLayout(m.plan, t, m.generation)]),
  ];
  const views = [...SHARED_VIEWS, ...planViews(m.plan, m.generation, m.shards)];
  const columns = await existingColumns(client);
  for (const layout of layouts) checkLayout(existing, columns, layout, cluster);
  for (const view of views) checkView(existing, view);
  // Everything that could be refused has been looked at: from here on it is made.
  const made: string[] = [];
  const make = async (kind: 'table' | 'view', name: string, how: () => Promise<void>): Promise<void> => {
    await permitted(`the ${kind} ${name}`, how());
    made.push(name);
  };
  const makeTable = async (layout: TableLayout): Promise<void> => {
    const local = cluster === undefined ? layout.name : localName(layout.name);
    if (!existing.has(local)) await make('table', local, () => command(client, tableDdl(layout, cluster)));
    if (cluster !== undefined && !existing.has(layout.name))
      await make('table', layout.name, () => command(client, distributedDdl(layout, cluster)));
  };
  for (const layout of [...LAYOUTS, REGISTRY]) await makeTable(layout);
  if (await registryAnswers(client, m)) {
    if (cluster !== undefined && (await recordedCluster(client, REGISTRY.name)) === undefined)
      await recordCluster(client, REGISTRY.name, cluster);
    await register(client, m);
  } else {
    m.onIncomplete?.();
  }
  for (const layout of layouts.slice(LAYOUTS.length + 1)) await makeTable(layout);
  const stale = views.filter((view) => existing.get(view.name)?.comment !== viewMark(view));
  await Promise.all(stale.map((view) => make('view', view.name, () => makeView(client, existing, view, cluster))));
  return made;
}

/** Replacing takes the right to drop tables; who does not have it drops the view alone, and it is away for a moment. */
async function makeView(client: Client, existing: ReadonlyMap<string, Existing>, view: View, cluster: Cluster | undefined): Promise<void> {
  if (existing.has(view.name)) {
    try {
      return await command(client, replaceViewDdl(view, cluster));
    } catch (error) {
      if (!isDenied(error)) throw error;
    }
    await command(client, dropViewDdl(view, cluster));
  }
  await command(client, viewDdl(view, cluster));
}

/** Whoever only checks must not need the right to make what is there. */
async function permitted(what: string, made: Promise<void>): Promise<void> {
  try {
    await made;
  } catch (error) {
    throw isDenied(error) ? grantFault(what, error) : error;
  }
}

/** Server by server, the registry can be read over the cluster when the last of them has its part. */
async function registryAnswers(client: Client, m: Migration): Promise<boolean> {
  if (m.cluster?.replicated !== false) return true;
  try {
    await rows(client, `SELECT count() FROM ${REGISTRY.name}`);
    return true;
  } catch (error) {
    if (isElsewhereMissing(error)) return false;
    throw error;
  }
}

/** The tables say themselves whether they lie on a cluster: whoever only counts into them need not be told. */
async function clusterOf(
  client: Client,
  registry: Existing | undefined,
  hasRegistry: boolean,
  asked: Migration['cluster'],
): Promise<Cluster | undefined> {
  if (registry !== undefined && registry.engine !== 'Distributed') {
    if (asked === undefined) return undefined;
    throw usage(
      'E_CLUSTER',
      'The tables are there already, on this server alone.',
      'Give the cluster a database of its own, or drop them first: they are not spread afterwards.',
    );
  }
  const recorded = hasRegistry ? await recordedCluster(client, REGISTRY.name) : undefined;
  const now = asked ?? recorded;
  if (now === undefined) return undefined;
  const cluster = await readCluster(client, now.name, now.replicated);
  if (recorded !== undefined) checkSameCluster(recorded, cluster);
  return cluster;
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

async function checkOwner(client: Client, plan: Plan): Promise<void> {
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

/** A row that says it already is left alone: whoever only checks writes nothing. */
async function register(client: Client, m: Migration): Promise<void> {
  const names = namesOf(m.plan);
  if (names.length === 0) return;
  const known = await rows<{ table_name: string; generation: number; instance: string }>(
    client,
    `SELECT table_name, generation, instance FROM ${REGISTRY.name} FINAL WHERE job = ${literal(m.plan.job)}`,
  );
  const values = names
    .filter(
      (name) =>
        !known.some((k) => k.table_name === name && k.generation === m.generation && (m.instance === '' || k.instance === m.instance)),
    )
    .map((name) => `(${literal(name)}, ${literal(m.plan.job)}, ${m.generation}, ${literal(m.instance)}, ${m.generation})`);
  if (values.length === 0) return;
  const { async_insert, insert_deduplicate, distributed_foreground_insert, insert_quorum } = INSERT_SETTINGS;
  await command(client, `INSERT INTO ${REGISTRY.name} (table_name, job, generation, instance, version) VALUES ${values.join(', ')}`, {
    async_insert,
    insert_deduplicate,
    distributed_foreground_insert,
    insert_quorum,
  });
}

/** As ClickHouse prints a key, without quotes and, around a single column, parentheses. */
const bare = (key: string): string =>
  key
    .replaceAll('`', '')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .replace(/^\((.*)\)$/, '$1');

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

type Columns = ReadonlyMap<string, ReadonlyMap<string, string>>;

function checkLayout(existing: ReadonlyMap<string, Existing>, columns: Columns, layout: TableLayout, cluster: Cluster | undefined): void {
  if (cluster === undefined) return checkTable(existing, columns, layout, layout.name);
  checkTable(existing, columns, layout, localName(layout.name));
  const table = existing.get(layout.name);
  if (table === undefined) return;
  if (table.engine !== 'Distributed') wrong(layout.name, `it is a ${table.engine}, not spread over the cluster ${cluster.name}`);
  const plain = table.engine_full.replaceAll(/[`'\s]/g, '');
  if (
    !plain.startsWith(`Distributed(${cluster.name},`) ||
    !plain.includes(`,${localName(layout.name)},${shardingKey(layout).replaceAll(/[`\s]/g, '')})`)
  )
    wrong(layout.name, `it is spread otherwise: ${table.engine_full}`);
  checkColumns(columns, layout, layout.name);
}

function wrong(name: string, what: string): never {
  throw new TallyError(
    'E_SCHEMA',
    `The table ${name} exists and is not what this job writes: ${what}.`,
    'Rename it or drop it yourself; or give Tally a database of its own: --clickhouse http://.../other_database',
  );
}

function checkTable(existing: ReadonlyMap<string, Existing>, columns: Columns, layout: TableLayout, name: string): void {
  const table = existing.get(name);
  if (table === undefined) return;
  if (!/^(Shared|Replicated)?ReplacingMergeTree$/.test(table.engine)) wrong(name, `it is a ${table.engine}, not a ReplacingMergeTree`);
  if (!table.engine_full.includes(`${layout.newest})`)) wrong(name, `its rows are not replaced by ${layout.newest}`);
  if (bare(table.sorting_key) !== layout.orderBy.join(', '))
    wrong(name, `it is ordered by (${bare(table.sorting_key)}), not by (${layout.orderBy.join(', ')})`);
  if (bare(table.partition_key) !== partitionKey(layout)) wrong(name, `it is partitioned by ${bare(table.partition_key) || 'nothing'}`);
  checkColumns(columns, layout, name);
}

function checkColumns(columns: Columns, layout: TableLayout, name: string): void {
  const has = new Map(columns.get(name));
  for (const c of layout.columns) {
    const type = has.get(c.name);
    if (type === undefined) wrong(name, `the column ${c.name} is missing`);
    if (type !== c.type) wrong(name, `${c.name} is ${type}, not ${c.type}`);
    has.delete(c.name);
  }
  for (const [column] of has) wrong(name, `it has a column ${column} more`);
}

function checkView(existing: ReadonlyMap<string, Existing>, view: View): void {
  const found = existing.get(view.name);
  if (found === undefined || (found.engine === 'View' && isOurs(found.comment))) return;
  throw new TallyError(
    'E_SCHEMA',
    `${view.name} exists, and it is not a view of Tally.`,
    'Rename it or drop it yourself; or give Tally a database of its own: --clickhouse http://.../other_database',
  );
}

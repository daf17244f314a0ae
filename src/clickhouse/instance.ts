/**
 * Do these tables and this state belong together? Asked before anything is read, so that numbers are never counted into tables that
 * another state has filled, nor left out of tables that were put back to an older day. And the way out: a job's tables dropped whole.
 */
import { TallyError } from '../errors.ts';
import { BOOKS, EPOCHS, PROGRESS, QUARANTINE } from '../../topology/write/layout.ts';
import { epochOf } from '../../state/outbox.ts';
import { command, identifier, literal, rows } from './client.ts';
import type { Client } from './client.ts';
import { isOurs } from './ddl.ts';
import { REGISTRY, existingTables } from './schema.ts';
import type { Existing } from './schema.ts';

export interface InstanceCheck {
  readonly job: string;
  readonly generation: number;
  readonly shards: number;
  readonly instance: string;
  /** The shards whose state is here; others may run elsewhere. */
  readonly states: readonly ShardState[];
}
type Which = Pick<InstanceCheck, 'job' | 'generation'>;
export interface ShardState {
  readonly shard: number;
  /** Nothing was ever committed. */
  readonly fresh: boolean;
  /** The version up to which the state knows everything acknowledged; 0: nothing. */
  readonly acknowledged: number;
  /** The version of the newest commit. */
  readonly version: number;
}

/** Works before and after `migrate`; call it before, for that writes the registry. */
export async function checkInstance(client: Client, o: InstanceCheck): Promise<void> {
  const existing = await existingTables(client);
  const progress = existing.has(PROGRESS.name) ? await progressOf(client, o) : [];
  for (const row of progress) checkShard(o, row);
  for (const { shard, acknowledged } of o.states) {
    if (acknowledged > 0 && !progress.some((p) => p.shard === shard))
      refuse(o, `the tables have nothing of shard ${shard}, but its state knows that they had: they were dropped or put back`);
  }
  // Where other processes have shards of this job, what stands in the tables may be theirs.
  if (!existing.has(REGISTRY.name) || progress.length > 0 || o.states.length < o.shards) return;
  const others = await rows<{ table_name: string }>(
    client,
    `SELECT DISTINCT table_name FROM ${REGISTRY.name} FINAL WHERE job = ${literal(o.job)} AND instance NOT IN ('', ${literal(o.instance)})`,
  );
  // A start that was killed before its first insert left empty tables: they may be taken over.
  for (const { table_name } of others) {
    for (const table of physical(existing, table_name)) {
      if ((await countOf(client, table)) > 0) refuse(o, `${table} was filled from another data directory`);
    }
  }
}

interface ProgressRow {
  readonly shard: number;
  readonly shards: number;
  readonly instance: string;
  readonly version: string;
  /** JSON: topic, partition, the next offset, and what was never read. */
  readonly offsets: string;
}

export async function progressOf(client: Client, o: Which): Promise<ProgressRow[]> {
  return rows<ProgressRow>(
    client,
    `SELECT shard, shards, instance, version, offsets FROM ${PROGRESS.name} FINAL WHERE job = ${literal(o.job)} AND generation = ${o.generation} ORDER BY shard`,
  );
}

function checkShard(o: InstanceCheck, row: ProgressRow): void {
  const { shard } = row,
    version = Number(row.version),
    state = o.states.find((s) => s.shard === shard);
  // What the owner before has written goes with the first rows of a later epoch.
  const isBefore = state !== undefined && epochOf(version) < epochOf(state.version);
  if (state !== undefined && row.instance !== o.instance && !isBefore)
    refuse(o, `those of shard ${shard} were filled from another data directory`);
  if (row.shards !== o.shards || shard >= o.shards) refuse(o, `they were filled by ${row.shards} shard(s), the state has ${o.shards}`);
  if (state === undefined) return;
  if (state.fresh) refuse(o, 'the state is new, but the tables are not');
  if (version < state.acknowledged)
    refuse(
      o,
      `those of shard ${shard} stand at version ${version}, behind ${state.acknowledged} that they had acknowledged: they were put back to an older day`,
    );
  if (version > state.version)
    refuse(
      o,
      `those of shard ${shard} stand at version ${version}, ahead of the state's ${state.version}: the state was put back to an older day`,
    );
}

function refuse(o: InstanceCheck, why: string): never {
  throw new TallyError(
    'E_STATE_TABLES',
    `The tables of ${o.job} in ClickHouse do not belong to this state: ${why}.`,
    `Put both back from the same backup, or count anew from the log: tally drop ${o.job} --data DIR --yes`,
  );
}

/** The tables behind a name of the registry, of every generation. */
function physical(existing: ReadonlyMap<string, Existing>, name: string): string[] {
  const matches = [...existing.keys()].filter((t) => t.startsWith(`${name}_g`) && /^\d+_rows$/.test(t.slice(name.length + 2)));
  return matches.filter((t) => isOurs(existing.get(t)!.comment));
}

async function countOf(client: Client, table: string): Promise<number> {
  return Number((await rows<{ n: string }>(client, `SELECT count() AS n FROM ${identifier(table)}`))[0]!.n);
}

/**
 * Drops the tables and views of a job and deletes its rows from the shared ones; the audit log stays. Killed halfway it is done again:
 * the registry, by which all else is found, goes last. True when there was anything.
 */
export async function dropJob(client: Client, job: string): Promise<boolean> {
  const existing = await existingTables(client);
  if (existing.get(REGISTRY.name)?.engine === 'Distributed') {
    throw new TallyError(
      'E_CLUSTER',
      `The tables of ${job} lie on a cluster; they are not dropped from here.`,
      'Drop the database yourself: DROP DATABASE ... ON CLUSTER ... SYNC. Then remove the data directory.',
    );
  }
  const mine = existing.has(REGISTRY.name)
    ? await rows<{ table_name: string }>(client, `SELECT table_name FROM ${REGISTRY.name} FINAL WHERE job = ${literal(job)}`)
    : [];
  for (const { table_name } of mine) {
    const view = existing.get(table_name);
    if (view?.engine === 'View' && isOurs(view.comment)) await command(client, `DROP VIEW IF EXISTS ${identifier(table_name)}`);
    for (const table of physical(existing, table_name)) await command(client, `DROP TABLE IF EXISTS ${identifier(table)} SYNC`);
  }
  const forget = async ({ name }: { name: string }): Promise<void> => {
    if (existing.has(name)) await command(client, `ALTER TABLE ${name} DELETE WHERE job = ${literal(job)}`, { mutations_sync: '1' });
  };
  await Promise.all([BOOKS, QUARANTINE, PROGRESS, EPOCHS].map(forget));
  await forget(REGISTRY);
  return mine.length > 0;
}

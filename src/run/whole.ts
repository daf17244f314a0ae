/**
 * Do a job's tables stand where its state does? After a kill they may not: rows wait in the outbox, or rows of open windows were not
 * written yet. The next run writes them; until then a recount would find differences that are none.
 */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { StoreLockedError } from '../../state/errors.ts';
import { OUTBOX_FROM, OUTBOX_TO } from '../../state/outbox.ts';
import { openRocks } from '../../state/rocksdb.ts';
import type { Store } from '../../state/store.ts';
import { decodePosition, POSITION_KEY } from '../../topology/position.ts';
import { TallyError } from '../errors.ts';
import { GENERATION, jobDir, SHARD_DIR } from './places.ts';

export interface Standing {
  /** The tables have acknowledged something. */
  readonly hasWritten: boolean;
  /** They have acknowledged everything. */
  readonly isWhole: boolean;
}

/** Of all shards that have their state here. While a run holds it there is nothing to be seen; a recount notices when the tables move. */
export async function standingOf(dataDir: string, job: string): Promise<Standing> {
  const dir = path.join(jobDir(dataDir, job), `g${GENERATION}`);
  let hasWritten = false,
    isWhole = true;
  for (const name of existsSync(dir) ? readdirSync(dir).filter((n) => SHARD_DIR.test(n)) : []) {
    const shard = path.join(dir, name);
    // CURRENT is what makes a folder a RocksDB database: opening one without it would make it.
    if (!existsSync(path.join(shard, 'CURRENT'))) continue;
    const one = await standingOfShard(shard);
    hasWritten ||= one.hasWritten;
    isWhole &&= one.isWhole;
  }
  return { hasWritten, isWhole };
}

export const tablesBehind = (job: string, dataDir: string): TallyError =>
  new TallyError(
    'E_TABLES_BEHIND',
    `the tables of ${job} are behind its state: the last run was ended before it had written everything`,
    `let it write the rest: tally run ${job} --log LOG --data ${dataDir} --until-end; then verify again`,
  );

export const tablesGone = (job: string, dataDir: string, cause: unknown): TallyError =>
  new TallyError(
    'E_STATE_TABLES',
    `the state of ${job} in ${dataDir} knows of tables that it has filled, and they are not there: they were dropped, or this is another ClickHouse`,
    `verify where the run wrote, or put the tables back from a backup; else count anew from the log: tally drop ${job} --data ${dataDir} --yes, then tally run`,
    undefined,
    cause,
  );

async function standingOfShard(dir: string): Promise<Standing> {
  let store: Store;
  try {
    store = await openRocks(dir);
  } catch (error) {
    if (error instanceof StoreLockedError) return { hasWritten: false, isWhole: true };
    throw error;
  }
  try {
    const bytes = store.get(POSITION_KEY),
      position = bytes === undefined ? undefined : decodePosition(bytes);
    const isWhole = store.keys(OUTBOX_FROM, OUTBOX_TO, 1).length === 0 && position?.isWhole !== false;
    return { hasWritten: (position?.acknowledged ?? 0) > 0, isWhole };
  } finally {
    await store.close();
  }
}

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

export async function checkWhole(dataDir: string, job: string): Promise<void> {
  const dir = path.join(jobDir(dataDir, job), `g${GENERATION}`);
  if (!existsSync(dir)) return;
  for (const name of readdirSync(dir).filter((n) => SHARD_DIR.test(n))) {
    const shard = path.join(dir, name);
    // CURRENT is what makes a folder a RocksDB database: opening one without it would make it.
    if (!existsSync(path.join(shard, 'CURRENT')) || (await isWhole(shard))) continue;
    throw new TallyError(
      'E_TABLES_BEHIND',
      `the tables of ${job} are behind its state: the last run was ended before it had written everything`,
      `let it write the rest: tally run ${job} --log LOG --data ${dataDir} --until-end; then verify again`,
    );
  }
}

/** While a run holds the state there is nothing to be seen; a recount notices when the tables move. */
async function isWhole(dir: string): Promise<boolean> {
  let store: Store;
  try {
    store = await openRocks(dir);
  } catch (error) {
    if (error instanceof StoreLockedError) return true;
    throw error;
  }
  try {
    const position = store.get(POSITION_KEY);
    return store.keys(OUTBOX_FROM, OUTBOX_TO, 1).length === 0 && (position === undefined || decodePosition(position).isWhole);
  } finally {
    await store.close();
  }
}

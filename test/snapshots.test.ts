/**
 * A state is copied while it is open and written to, whole each time; of snapshots the newest two are kept, with their tables linked; a damaged
 * one is refused; and the age of the newest is told when it gets dangerous.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isOnLineage } from '../src/run/ownership.ts';
import { SnapshotWatch } from '../src/run/snapshot-watch.ts';
import type { ShardStatus } from '../src/run/messages.ts';
import { listSnapshots, restore, store } from '../src/run/snapshots.ts';
import { freeze } from '../state/freeze.ts';
import { EPOCH } from '../state/outbox.ts';
import { openRocks } from '../state/rocksdb.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'tally-snapshots-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const which = { job: 'j', generation: 1, shard: 0, shards: 1 };
const info = (version: number, instance = 'a'): Parameters<typeof store>[2] => ({ ...which, plan: 'p', instance, version, takenAt: 1 });
const u32 = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeUInt32BE(n);
  return b;
};

test('each copy of a state that is written to all the while holds exactly the commits before it', { timeout: 120_000 }, async () => {
  const live = path.join(dir, 'live'),
    rocks = await openRocks(live, { memtableBytes: 1 << 20 }),
    big = Buffer.alloc(40_000, 7);
  for (let n = 1; n <= 240; n++) {
    // Two keys that must agree, and enough bytes that memtables are written out and compacted meanwhile.
    const batch = rocks.batch();
    batch.put(Buffer.from('a'), u32(n));
    batch.put(Buffer.concat([Buffer.from('k'), u32(n % 50)]), Buffer.concat([u32(n), big]));
    batch.put(Buffer.from('z'), u32(n));
    rocks.commit(batch);
    if (n % 12 !== 0) continue;
    const into = path.join(dir, `copy-${n}`);
    freeze(live, into);
    const copy = await openRocks(into);
    expect([copy.get(Buffer.from('a')), copy.get(Buffer.from('z'))]).toEqual([u32(n), u32(n)]);
    expect(copy.range(Buffer.from('k'), Buffer.from('l')).length).toBe(Math.min(n + 1, 50) - (n < 50 ? 1 : 0));
    await copy.close();
    rmSync(into, { recursive: true });
  }
  await rocks.close();
});

test('snapshots: tables are linked from the one before, two are kept, a part is none, a damaged one is refused', async () => {
  const live = path.join(dir, 'live'),
    root = path.join(dir, 'snapshots');
  for (let n = 1; n <= 4; n++) {
    const rocks = await openRocks(live),
      batch = rocks.batch();
    batch.put(u32(n), Buffer.alloc(1000, n));
    rocks.commit(batch);
    await rocks.close();
    await store(root, live, info(EPOCH + n));
  }
  const found = await listSnapshots(root, which);
  expect(found.map((s) => s.version)).toEqual([EPOCH + 4, EPOCH + 3]);
  const tables = readdirSync(found[0]!.dir).filter((name) => name.endsWith('.sst'));
  expect(tables.some((name) => statSync(path.join(found[0]!.dir, name)).nlink > 1)).toBe(true);
  // The same numbers of another owner are other tables.
  await store(root, live, info(2 * EPOCH + 1, 'b'));
  const other = (await listSnapshots(root, which))[0]!;
  expect(readdirSync(other.dir).every((name) => statSync(path.join(other.dir, name)).nlink === 1)).toBe(true);
  expect(existsSync(`${other.dir}.part`)).toBe(false);

  const back = path.join(dir, 'back');
  await restore(other, back, () => {});
  const rocks = await openRocks(back);
  expect(rocks.get(u32(4))).toEqual(Buffer.alloc(1000, 4));
  await rocks.close();
  const table = readdirSync(other.dir).find((name) => name.endsWith('.sst'))!;
  rmSync(path.join(other.dir, table));
  writeFileSync(path.join(other.dir, table), 'less');
  await expect(restore(other, path.join(dir, 'never'), () => {})).rejects.toMatchObject({ code: 'E_SNAPSHOT' });
  expect(existsSync(path.join(dir, 'never'))).toBe(false);
});

test('a state is of use unless a later owner went on from before it', () => {
  const claim = (epoch: number, fork: number): Parameters<typeof isOnLineage>[1][number] => ({
    epoch,
    fork,
    instance: 'x',
    frozenTo: 0,
    starts: [],
  });
  const claims = [claim(1, 0), claim(2, EPOCH + 400), claim(3, 2 * EPOCH + 10)];
  expect([EPOCH + 400, EPOCH + 399, 2 * EPOCH + 10, 3 * EPOCH + 1].map((version) => isOnLineage(version, claims))).toEqual([
    true,
    true,
    true,
    true,
  ]);
  expect([EPOCH + 401, 2 * EPOCH + 11].map((version) => isOnLineage(version, claims))).toEqual([false, false]);
});

test('a snapshot that is older than half of what the log keeps is told of, once, until there is a newer one', () => {
  const said: string[] = [],
    watch = new SnapshotWatch(60_000, 0, (sentence) => said.push(sentence));
  const shard = (snapshotAt: number): ShardStatus[] => [{ shard: 3, snapshotAt } as ShardStatus];
  watch.look(shard(0), 30_000);
  expect(said).toEqual([]);
  watch.look(shard(0), 30_001);
  watch.look(shard(0), 40_000);
  expect(said).toEqual([expect.stringMatching(/^shard 3: its newest snapshot is 30 s old, more than half of the 1 min/)]);
  watch.look(shard(40_000), 50_000);
  watch.look(shard(40_000), 70_001);
  expect(said.length).toBe(2);
  new SnapshotWatch(Infinity, 0, (sentence) => said.push(sentence)).look(shard(0), 1e15);
  expect(said.length).toBe(2);
});

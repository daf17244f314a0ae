/** The whole state machine against the oracle: random logs, cuts, crashes at every kind of boundary, over the memory twin. One seed, one run. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MemoryStore } from '../state/memory.ts';
import { OUTBOX_FROM, OUTBOX_TO } from '../state/outbox.ts';
import { codecs } from '../src/log/codecs.ts';
import { readInStep } from '../src/log/in-step.ts';
import { openLog } from '../src/log/segments.ts';
import { verifyJob } from '../src/verify/verify-job.ts';
import { Intake, inputsOf } from '../topology/intake.ts';
import { OpenParcel } from '../topology/parcel.ts';
import { Shard } from '../topology/shard.ts';
import type { Written } from '../topology/shard.ts';
import { MemoryTables } from './memory-tables.ts';
import { random, randomLog } from './random-log.ts';
import type { Random } from './random-log.ts';
import { askOf, PLAN, SALES, VIEWS } from './verify-fixture.ts';
import type { Tables } from './verify-fixture.ts';

interface Play {
  readonly dir: string;
  readonly partitions: number;
  readonly shard: number;
  readonly shards: number;
  readonly tables: MemoryTables;
  readonly r: Random;
  /** One batch in so many is followed by a commit. */
  readonly cut: number;
  /** One commit in so many ends in a crash. */
  readonly crash: number;
  readonly finish: boolean;
}

/** Plays one shard to the log's end; every crash loses all memory and a part of what was on its way to the tables. */
function play(o: Play): MemoryStore {
  const { r } = o,
    mine = Array.from({ length: o.partitions }, (_, p) => p).filter((p) => p % o.shards === o.shard);
  const topics = ['views', 'sales'].map((topic, source) => ({ source, topic, partitions: mine }));
  let store = new MemoryStore();
  for (;;) {
    const shard = new Shard({
      plan: PLAN,
      shard: o.shard,
      shards: o.shards,
      generation: 1,
      instance: 'i',
      hashKey: [1, 2],
      store,
      topics,
    });
    const intake = new Intake({
      plan: PLAN,
      contracts: [VIEWS, SALES],
      shards: o.shards,
      hashKey: [1, 2],
      codecs,
      places: shard.position.partitions,
    });
    for (const [key, value] of store.range(OUTBOX_FROM, OUTBOX_TO)) o.tables.insert({ key, value });
    const segments = openLog(o.dir),
      source = readInStep(segments, shard.position.partitions, { untilEnd: true });
    const isDone = life(o, shard, intake, source, store);
    source.close();
    segments.close();
    if (isDone) return store;
    store = store.fork();
    expect(r(1)).toBe(0);
  }
}

function life(o: Play, shard: Shard, intake: Intake, source: ReturnType<typeof readInStep>, store: MemoryStore): boolean {
  const { r } = o;
  let acknowledged = { keys: [] as Uint8Array[], version: 0 };
  const commit = (end: boolean): boolean => {
    const crash = o.crash > 0 && r(o.crash) === 0 ? r(3) : -1;
    if (crash === 0) store.failNextCommit('before');
    if (crash === 1) store.failNextCommit('after');
    let written: Written[];
    try {
      written = shard.commit({
        nowMs: 0,
        provisional: end || r(2) === 0,
        finishAt: end && o.finish ? shard.lastEnd() : null,
        caughtUp: source.caughtUp(),
        clockMs: null,
        acknowledged,
      });
    } catch (error) {
      expect(String(error)).toMatch(/as it was told to/);
      return false;
    }
    acknowledged = { keys: [], version: 0 };
    for (const [i, entry] of written.entries()) {
      if (crash === 2 && i >= r(written.length + 1)) return false;
      o.tables.insert(entry);
    }
    if (crash === 2) return false;
    if (r(2) === 0 || end) acknowledged = { keys: written.map((w) => w.key), version: shard.position.version };
    return true;
  };
  const parcel = new OpenParcel(inputsOf(PLAN));
  for (let step = source.next(); step !== undefined; step = source.next()) {
    intake.take(parcel, step.index, step.batch.bytes, step.batch.lastOffset);
    source.advance(step);
    // Some batches go alone, some together with others.
    if (r(2) === 0 && !parcel.isFull) continue;
    shard.take(parcel);
    parcel.clear();
    if (r(o.cut) === 0 && !commit(false)) return false;
  }
  shard.take(parcel);
  return commit(true);
}

const VERIFY = { plan: PLAN, contracts: [VIEWS, SALES], generation: 1 };
async function simulate(
  seed: number,
  o: { shards?: number; partitions?: number; n?: number; span?: number; crash?: number; finish?: boolean },
  dir: string,
  cuts: readonly number[],
): Promise<Tables[]> {
  const partitions = o.partitions ?? 3,
    shards = o.shards ?? 1,
    all: Tables[] = [];
  randomLog(dir, random(seed), partitions, o.n ?? 1200, o.span ?? 30, shards > 1);
  for (const cut of cuts) {
    const tables = new MemoryTables(PLAN);
    for (let shard = 0; shard < shards; shard++)
      play({ dir, partitions, shard, shards, tables, r: random(seed * 31 + cut), cut, crash: o.crash ?? 4, finish: o.finish ?? false });
    const views = tables.tables(shards),
      result = await verifyJob({ ...VERIFY, logDir: dir, ask: askOf(views) });
    expect(
      result.differences.map((d) => d.sentence),
      `seed ${seed}, cut ${cut}`,
    ).toEqual([]);
    expect(result.records).toBe(o.n ?? 1200);
    all.push(views);
  }
  return all;
}

async function inFolder(body: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'tally-simulation-'));
  try {
    await body(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** What may not depend on where commits were cut: the live rows without their state, the classes without LATE, the quarantine. */
function lasting(t: Tables): unknown {
  const rows = (view: string): string[] => t[view]!.map((row) => JSON.stringify({ ...row, state: null })).sort();
  const books = new Map<string, number>();
  for (const b of t['tally_books']!) {
    const line = [b['topic'], b['partition'], b['class'], b['code'] === 'LATE' ? '' : b['code']].join(' ');
    books.set(line, (books.get(line) ?? 0) + Number(b['n']));
  }
  return {
    hourly: rows('shop_hourly_live'),
    daily: rows('shop_daily_live'),
    books: [...books].sort(),
    quarantine: t['tally_quarantine']!.map((q) => JSON.stringify(q)).sort(),
  };
}

test("random logs, crashes and lost answers end in the oracle's tables", async () => {
  for (let seed = 1; seed <= 12; seed++)
    await inFolder(async (dir) => void (await simulate(seed, { finish: seed % 2 === 0 }, dir, [1 + (seed % 5)])));
});

test('where commits are cut changes no number and no class', async () => {
  for (let seed = 20; seed < 24; seed++) {
    await inFolder(async (dir) => {
      const [first, ...others] = await simulate(seed, { finish: true }, dir, [1, 3, 50]);
      for (const other of others) expect(lasting(other)).toEqual(lasting(first!));
    });
  }
});

test('events beyond the horizon are turned away, those within it correct what was final', async () => {
  for (let seed = 40; seed < 44; seed++) {
    await inFolder(async (dir) => {
      const [views] = await simulate(seed, { span: 150, n: 2000 }, dir, [2]);
      expect(views!['tally_quarantine']!.some((q) => q['code'] === 'EXPIRED')).toBe(true);
      expect(views!['shop_hourly_changes']!.some((c) => c['op_text'] === '-U')).toBe(true);
    });
  }
});

test('four shards of a keyed log give the tables of one', async () => {
  for (let seed = 60; seed < 63; seed++) {
    await inFolder(async (dir) => void (await simulate(seed, { shards: 4, partitions: 4, finish: true }, dir, [2])));
  }
});

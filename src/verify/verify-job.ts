/**
 * The oracle: counts the log again up to the committed offsets, in the most obvious way there is, and holds every row of every
 * view against it. Shares no code with the pipeline but the contract reader and the plan, so that one fault cannot hide another.
 */
import { checkBooks } from './books.ts';
import { readFrozen } from './frozen.ts';
import type { Frozen } from './frozen.ts';
import { Cells } from './cells.ts';
import { checkChanges } from './changes.ts';
import { auditedGaps, isLost, uncheckable } from './gaps.ts';
import { Differences } from './model.ts';
import type { Ask, VerifyOptions, VerifyResult } from './model.ts';
import { openLogged } from './open-log.ts';
import { readProgress } from './progress.ts';
import type { Progress } from './progress.ts';
import type { LoggedLog } from './logged-log.ts';
import { ShardRecount } from './recount.ts';
import type { Share } from './recount.ts';
import { isRepartitioned, router } from './route.ts';
import { checkTable } from './tables.ts';
import { furthest, walkPartition } from './walk.ts';
import { TallyError } from '../errors.ts';

export const DIFFERENCES_SHOWN = 20;

export async function verifyJob(o: VerifyOptions): Promise<VerifyResult> {
  const differences = new Differences(o.limit ?? DIFFERENCES_SHOWN);
  const progress = await readProgress(o.ask, o.plan, o.generation);
  const frozen = await readFrozen(o.ask, o.plan.job, o.generation, progress);
  const cells = new Cells(o.plan, o.contracts);
  const log = await openLogged(o.logDir, o.kafka);
  let shards: ShardRecount[];
  try {
    await checkPlaces(log, progress, isRepartitioned(o.plan, progress.shards), differences);
    shards = await recount(o, log, progress, frozen, cells, differences);
  } finally {
    await log.close();
  }
  const pages = shards.flatMap((s) => s.pages),
    rows: Record<string, number> = {};
  const { plan, ask, generation } = o;
  rows.tally_books = await checkBooks({ job: plan.job, generation, ask, differences, pages, counted: shards.map((s) => s.counted) });
  for (const [i, table] of plan.tables.entries()) {
    o.onProgress?.({ stage: 'tables', done: i, total: plan.tables.length });
    const counted = cells.tables.get(table.name)!,
      corrected = new Uint8Array(counted.count);
    const check = { plan, table: table.name, cells: counted, corrected, finalTo: progress.finalTo, frozen, ask, differences };
    const changes = await checkChanges(check);
    rows[`${table.name}_changes`] = changes.rows;
    frozen.leave(`${table.name}_changes`, changes.unchecked);
    const { live, final } = await checkTable(check);
    rows[`${table.name}_live`] = live;
    rows[table.name] = final;
  }
  const gaps = await auditedGaps(ask, plan.job, generation);
  for (const s of shards) frozen.leave('tally_quarantine', s.unseen);
  await standsStill(o.ask, o, progress);
  const sum = (of: (p: (typeof pages)[number]) => number): number => pages.reduce((total, p) => total + of(p), 0);
  const counted = shards.reduce((total, s) => total + s.counted, 0);
  return {
    ok: differences.total === 0 && !gaps.some(isLost),
    differences: differences.shown,
    total: differences.total,
    gaps,
    uncheckable: uncheckable(gaps, differences),
    records: sum((p) => p.read),
    counted,
    duplicate: sum((p) => p.rest) - counted,
    conflict: sum((p) => p.conflict),
    quarantined: sum((p) => [...p.codes.values()].reduce((a, b) => a + b, 0)),
    rows,
    frozen: frozen.shards,
    unchecked: frozen.unchecked,
    uncheckedWindows: frozen.windows,
  };
}

/** Each partition stands with the shard that it belongs to, once; a repartitioned one has a share in every shard. */
async function checkPlaces(log: LoggedLog, progress: Progress, isShared: boolean, differences: Differences): Promise<void> {
  for (const [shard, places] of progress.committed.entries()) {
    const seen = new Set<string>();
    for (const p of places) {
      const place = `${p.topic}/${p.partition}`;
      if (!isShared && p.partition % progress.shards !== shard)
        differences.add('progress', place, `shard ${p.partition % progress.shards}`, `shard ${shard}`);
      if (seen.has(place)) differences.add('progress', place, 'one offset', 'several');
      seen.add(place);
      if (p.end > 0 && !(await log.has(p.topic, p.partition))) {
        throw new TallyError(
          'E_LOG_TRUNCATED',
          `${place}: the tables stand at offset ${p.end}, but the log has no such partition`,
          'Verify against the log that the job has read.',
        );
      }
    }
  }
}

async function recount(
  o: VerifyOptions,
  log: LoggedLog,
  progress: Progress,
  frozen: Frozen,
  cells: Cells,
  differences: Differences,
): Promise<ShardRecount[]> {
  const shards = progress.committed.map((_, shard) => new ShardRecount(o.plan, o.contracts, shard, cells, differences, frozen.to(shard))),
    isShared = isRepartitioned(o.plan, progress.shards);
  const places = new Map<string, Share[]>();
  for (const [shard, committed] of progress.committed.entries())
    for (const c of committed) {
      const place = isShared ? `${c.topic}/${c.partition}` : `${c.topic}/${c.partition} ${shard}`;
      places.set(place, [...(places.get(place) ?? []), await shards[shard]!.open(c, isShared, o.ask, o.generation)]);
    }
  const total = [...places.values()].reduce((sum, shares) => sum + furthest(shares).end, 0),
    shardOf = isShared ? router(o.plan, o.contracts, progress.shards) : null;
  let done = 0;
  for (const shares of places.values())
    await walkPartition(shares, shardOf, log, (records) => {
      done += records;
      o.onProgress?.({ stage: 'recount', done, total });
    });
  for (const shard of shards) shard.finish();
  return shards;
}

/** A run that goes on meanwhile moves the tables between two questions: then nothing can be said. */
async function standsStill(ask: Ask, o: VerifyOptions, before: Progress): Promise<void> {
  const after = await readProgress(ask, o.plan, o.generation);
  if (after.text === before.text) return;
  throw new TallyError(
    'E_VERIFY_MOVED',
    'The tables moved while they were verified: a run is committing to them.',
    'Stop the run, or wait until it has caught up, then verify again.',
  );
}

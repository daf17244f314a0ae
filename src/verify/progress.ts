/**
 * How far the tables are, as they say themselves: one progress row a shard. Everything that is recounted is recounted up to these
 * offsets; windows that end by the least `final_to` are final.
 */
import { quote } from './model.ts';
import type { Range } from './logged-log.ts';
import type { Ask } from './model.ts';
import type { Committed } from './recount.ts';
import { TallyError } from '../errors.ts';
import type { Plan } from '../../topology/plan.ts';

export interface Progress {
  readonly shards: number;
  readonly finalTo: number;
  /** By shard. */
  readonly committed: readonly (readonly Committed[])[];
  /** The rows as they came: two readings with the same text saw the same tables. */
  readonly text: string;
}

/** The generation that the views show: the newest with progress. */
export async function latestGeneration(ask: Ask, plan: Plan): Promise<number> {
  const [row] = await ask(`SELECT max(generation) AS generation, count() AS shards FROM tally_progress WHERE job = ${quote(plan.job)}`);
  if (row === undefined || Number(row.shards) === 0) throw notRun(plan);
  return Number(row.generation);
}

const notRun = (plan: Plan): TallyError =>
  new TallyError(
    'E_NO_PROGRESS',
    `The tables hold nothing of job ${plan.job} yet.`,
    'Run it first: tally run JOB --log LOG --data DIR --until-end',
  );

export async function readProgress(ask: Ask, plan: Plan, generation: number): Promise<Progress> {
  const rows = await ask(
    `SELECT shard, shards, instance, toUnixTimestamp64Milli(final_to) AS final_to_ms, offsets, toUnixTimestamp64Milli(committed_at) AS committed_at_ms ` +
      `FROM tally_progress WHERE job = ${quote(plan.job)} AND generation = ${generation} ORDER BY shard`,
  );
  const shards = Number(rows[0]?.shards ?? 0);
  if (shards === 0) throw notRun(plan);
  const committed: Committed[][] = Array.from({ length: shards }, () => []);
  let finalTo = rows.length < shards ? 0 : Infinity;
  for (const row of rows) {
    finalTo = Math.min(finalTo, Number(row.final_to_ms));
    for (const [topic, partition, end, skipped] of JSON.parse(String(row.offsets)) as [string, number, number, Range[]?][]) {
      const source = plan.sources.findIndex((s) => s.topic === topic);
      if (source < 0)
        throw new TallyError(
          'E_PLAN_CHANGED',
          `The tables were made from topic ${topic}, which job ${plan.job} does not read.`,
          'Verify with the job and the contracts of the run.',
        );
      committed[Number(row.shard)]?.push({ topic, source, partition, end, skipped: skipped ?? [] });
    }
  }
  return { shards, finalTo, committed, text: JSON.stringify(rows) };
}

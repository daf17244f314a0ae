/**
 * What a shard's state says of itself, and whether it fits the run that wants it. A state written by a newer format, by another
 * job, plan, partition or shard count is refused with the way out; it is never read as if it fitted.
 *
 *   key 'M'  ->  JSON, format 1
 */
import type { Store } from '../../state/store.ts';
import { usage } from '../errors.ts';

export const META_FORMAT = 1;
const META_KEY: Uint8Array = Buffer.from('M');

export interface ShardMeta {
  readonly job: string;
  readonly plan: string;
  readonly generation: number;
  readonly shard: number;
  readonly shards: number;
  readonly instance: string;
  readonly hashKey: readonly [number, number];
  /** Partition count of each topic when the state began. */
  readonly topics: Readonly<Record<string, number>>;
}

export function readMeta(store: Store): ShardMeta | undefined {
  const value = store.get(META_KEY);
  if (value === undefined) return undefined;
  const meta = JSON.parse(Buffer.from(value).toString()) as ShardMeta & { format: number };
  if (meta.format !== META_FORMAT) {
    throw usage(
      'E_STATE_FORMAT',
      `the state has format ${meta.format}, this tally writes format ${META_FORMAT}: it was written by another release`,
      'run the release that wrote it, or give another --data directory',
    );
  }
  return meta;
}

export function writeMeta(store: Store, meta: ShardMeta): void {
  const batch = store.batch();
  batch.put(META_KEY, Buffer.from(JSON.stringify({ format: META_FORMAT, ...meta })));
  store.commit(batch);
}

/** Throws when the state belongs to something else. `want.hashKey` is not compared: the state's own is used. */
export function checkMeta(have: ShardMeta, want: Omit<ShardMeta, 'hashKey'>, dataDir: string): void {
  const drop = `to start anew: tally drop ${have.job} --data ${dataDir} --yes (state and tables go, on the record), then run again`;
  if (have.job !== want.job)
    throw usage('E_STATE_JOB', `this state belongs to job ${have.job}, not to ${want.job}`, 'give each job a --data directory of its own');
  if (have.instance !== want.instance) {
    throw usage(
      'E_STATE_INSTANCE',
      `the state of shard ${have.shard} comes from another data directory (instance ${have.instance}, here ${want.instance})`,
      'bring back the whole data directory as one, or start anew in an empty one',
    );
  }
  if (have.shards !== want.shards || have.shard !== want.shard) {
    throw usage(
      'E_STATE_SHARDS',
      `the state was made with ${have.shards} shard(s), this run asks for ${want.shards}`,
      `run with --shards ${have.shards}; ${drop}`,
    );
  }
  for (const [topic, count] of Object.entries(want.topics)) {
    const before = have.topics[topic];
    if (before !== undefined && before !== count) {
      throw usage(
        'E_STATE_PARTITIONS',
        `topic ${topic} had ${before} partition(s) when the state began and has ${count} now: a resend may reach another shard`,
        drop,
      );
    }
  }
  if (have.plan !== want.plan) {
    throw usage(
      'E_STATE_PLAN',
      `the plan of ${want.job} has changed since the state began (${have.plan.slice(0, 12)}, now ${want.plan.slice(0, 12)}): old windows would be counted by other rules`,
      `run the job as it was; ${drop}`,
    );
  }
}

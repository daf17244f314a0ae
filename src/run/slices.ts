/** Which shards there are and which of them run here, as asked for, as the state on disk has them, and as the topics allow. */
import type { Plan } from '../../topology/plan.ts';
import type { Shards } from '../config/values.ts';
import { usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { GENERATION, shardsOnDisk } from './places.ts';

interface Asked {
  readonly data: string;
  readonly log: string;
  readonly clickhouse: string | undefined;
  readonly shards: Shards | undefined;
  readonly snapshots: object | undefined;
  readonly untilEnd: boolean;
  readonly finish: boolean;
}
/** How many shards the job has, and which of them run here: these, or those that the group deals to this process. */
export interface Slices {
  readonly count: number;
  readonly owned: readonly number[];
  readonly isGroup: boolean;
}

export function chooseShards(o: Asked, { job, repartition }: Plan, topics: Record<string, number>): Slices {
  const before = shardsOnDisk(o.data, job, GENERATION),
    shards = o.shards?.count ?? before ?? 1;
  const owned = o.shards?.owned ?? null,
    isGroup = o.shards?.isGroup ?? false;
  if ((owned !== null || isGroup) && o.clickhouse === undefined)
    throw usage(
      'E_SHARDS',
      'processes that share a job write to one ClickHouse, and the embedded one belongs to this data directory',
      'add --clickhouse URL',
    );
  if (isGroup && (!isKafkaUrl(o.log) || o.snapshots === undefined || o.untilEnd))
    throw usage(
      'E_SHARDS',
      'shards of a group move from process to process, by Kafka, with their state, for as long as the job runs',
      'give --log kafka://..., --snapshots DIR that all processes see, and leave --until-end away; or fix what runs where: --shards 0-3/16',
    );
  if (owned !== null && o.finish)
    throw usage(
      'E_SHARDS',
      '--finish closes windows over all shards, and some of them do not run here',
      'leave --finish away, or run all shards in one process',
    );
  const least = Math.min(...Object.values(topics));
  if (before !== undefined && before !== shards) {
    throw usage(
      'E_STATE_SHARDS',
      `the state of ${job} was made with ${before} shard(s), this run asks for ${shards}`,
      `run with --shards ${before}, or start anew: tally drop ${job} --data ${o.data} --yes`,
    );
  }
  if (shards > least && repartition === undefined) {
    throw usage(
      'E_SHARDS',
      `${shards} shards need as many partitions in every topic, and one has ${least}`,
      `run with --shards ${least} or fewer, or make the topic with more partitions`,
    );
  }
  return { count: shards, isGroup, owned: isGroup ? [] : (owned ?? Array.from({ length: shards }, (_, i) => i)) };
}

/** Shards over as many threads as there are cores. */
export function deal(owned: readonly number[], cores: number): number[][] {
  const threads = Math.min(owned.length, cores);
  return Array.from({ length: threads }, (_, t) => owned.filter((_, i) => i % threads === t));
}

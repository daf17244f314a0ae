/** Whether a run's records come over a hop, and what it needs for that: with one shard everything meets there anyway, and none is needed. */
import { hopTopic } from '../../topology/hop/topic.ts';
import { usage } from '../errors.ts';
import { isKafkaUrl } from '../kafka/address.ts';
import { openKafkaLog } from '../kafka/log.ts';
import { endsOf } from './kafka-source.ts';
import type { LoadedJob } from './load-job.ts';
import type { HopOrder } from './messages.ts';
import type { RunOptions } from './supervisor.ts';

export async function openHop(o: RunOptions, { plan }: LoadedJob, shards: number): Promise<HopOrder | null> {
  if (plan.repartition === undefined || shards === 1) return null;
  if (!isKafkaUrl(o.log))
    throw usage(
      'E_HOP_LOG',
      `the job is repartitioned by ${plan.repartition.by}, which takes a topic between: a log on disk has none`,
      'run with --shards 1, where everything meets anyway, or on Kafka',
    );
  // Only here is Kafka's library loaded by a run.
  const { fitHopTopics } = await import('../hop/topics.ts');
  await fitHopTopics(o.log, plan, shards, o.kafka.security);
  return { topics: plan.sources.map((_, source) => hopTopic(plan, source)), ends: o.untilEnd ? await ends(o, plan.sources) : null };
}

/** Readers and writers of the run end at the same place. */
async function ends(o: RunOptions, sources: LoadedJob['plan']['sources']): Promise<number[][]> {
  const log = await openKafkaLog(
    o.log,
    sources.map((s) => s.topic),
    o.kafka.security,
  );
  try {
    const out: number[][] = [];
    for (const { topic } of sources) {
      const places = Array.from({ length: log.partitions(topic) }, (_, partition) => ({ topic, partition }));
      out.push(await endsOf(log, places, o.warn));
    }
    return out;
  } finally {
    await log.close();
  }
}

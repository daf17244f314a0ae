/**
 * The internal topics of a job, made when they are missing: as many partitions as shards, kept by arrival and not by record time (a month
 * that is counted again would be deleted on its way), and taking whatever the source takes. One that is there must fit.
 */
import type { Admin } from 'kafkajs';
import { hopTopic } from '../../topology/hop/topic.ts';
import type { Plan } from '../../topology/plan.ts';
import { TallyError } from '../errors.ts';
import { openLibrary } from '../kafka/library-access.ts';
import { openKafkaLog } from '../kafka/log.ts';
import type { Security } from '../kafka/security.ts';

/** How long a shard may be away and still find what was sent to it meanwhile. */
const RETENTION_MS = 7 * 86_400_000;
/** What the headers add to a record that just fits into its source, and more. */
const ROOM_BYTES = 64 * 1024;
const REQUEST_MS = 15_000;
const TYPE = 'message.timestamp.type',
  POLICY = 'cleanup.policy',
  MAX_BYTES = 'max.message.bytes';

export async function fitHopTopics(url: string, plan: Plan, shards: number, security: Security): Promise<void> {
  const sources = plan.sources.map(({ topic }, source) => ({ topic, hop: hopTopic(plan, source) }));
  const log = await openKafkaLog(
    url,
    sources.map((s) => s.topic),
    security,
  );
  let most: number[];
  try {
    most = await Promise.all(sources.map(async ({ topic }) => Number((await log.topicConfig(topic, [MAX_BYTES])).get(MAX_BYTES) ?? 0)));
  } finally {
    await log.close();
  }
  const admin = (await openLibrary(url, security, REQUEST_MS)).admin();
  try {
    await admin.connect();
    const there = await admin.listTopics();
    for (const [i, { hop }] of sources.entries()) if (!there.includes(hop)) await create(admin, hop, shards, most[i]!);
  } finally {
    await admin.disconnect();
  }
  await check(
    url,
    sources.map((s) => s.hop),
    shards,
    security,
  );
}

async function create(admin: Admin, topic: string, shards: number, sourceBytes: number): Promise<void> {
  const settings: Record<string, string> = {
    [POLICY]: 'delete',
    'retention.ms': String(RETENTION_MS),
    [TYPE]: 'LogAppendTime',
    ...(sourceBytes > 0 ? { [MAX_BYTES]: String(sourceBytes + ROOM_BYTES) } : {}),
  };
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value }));
  try {
    // False: another process of the job was faster.
    await admin.createTopics({ topics: [{ topic, numPartitions: shards, replicationFactor: -1, configEntries }] });
  } catch (cause) {
    const why = (cause as { errors?: readonly Error[] }).errors?.[0]?.message ?? (cause as Error).message;
    throw new TallyError(
      'E_HOP_TOPIC',
      `the internal topic '${topic}' could not be made: ${why.replace(/\.$/, '')}`,
      `Allow this user 'Create' on topics that begin with tally-, or make it: kafka-topics.sh --create --topic ${topic} --partitions ${shards} ` +
        configEntries.map(({ name, value }) => `--config ${name}=${value}`).join(' '),
      undefined,
      cause,
    );
  }
}

async function check(url: string, topics: readonly string[], shards: number, security: Security): Promise<void> {
  const log = await openKafkaLog(url, topics, security);
  try {
    for (const topic of topics) {
      const partitions = log.partitions(topic),
        settings = await log.topicConfig(topic, [TYPE, POLICY]);
      if (partitions !== shards)
        throw new TallyError(
          'E_HOP_TOPIC',
          `the internal topic '${topic}' has ${partitions} partition(s), and the job ${shards} shard(s)`,
          `run with --shards ${partitions}, or count anew: delete the topic, and the job's state with tally drop`,
        );
      for (const [name, wanted] of [
        [TYPE, 'LogAppendTime'],
        [POLICY, 'delete'],
      ] as const)
        if (settings.get(name) !== wanted)
          throw new TallyError(
            'E_HOP_TOPIC',
            `the internal topic '${topic}' has ${name}=${settings.get(name)}: records would be removed before their turn`,
            `kafka-configs.sh --alter --entity-type topics --entity-name ${topic} --add-config ${name}=${wanted}`,
          );
    }
  } finally {
    await log.close();
  }
}

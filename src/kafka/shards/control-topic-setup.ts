/**
 * The control topic's beginnings: it is made when it is missing (compacted, one partition a shard), and refused when it is not what it must
 * be. Of the user it takes Read, Write, Describe and DescribeConfigs on the topic (and Create, when it is missing), Write and Describe on
 * the transactional ids, Read on the group.
 */
import type { Kafka } from 'kafkajs';
import { TallyError, usage } from '../../errors.ts';
import { backoffMs } from '../../pause.ts';
import { parseKafkaUrl, showAddress } from '../address.ts';
import { openKafkaLog } from '../log.ts';
import type { KafkaLog } from '../log.ts';
import type { Security } from '../security.ts';
import { lastFault, libraryFault } from './library-fault.ts';
import type { Attempt } from './library-fault.ts';

export interface ControlTopicOptions {
  readonly log: string;
  readonly security: Security;
  /** Also the beginning of the topic's name and of every transactional.id. */
  readonly group: string;
  readonly shards: number;
  readonly onTrouble: (sentence: string) => void;
  /** A newer claim of a shard that was read or claimed here; also our own. */
  readonly onClaim: (shard: number, instance: string | null, epoch: number) => void;
}

const REPLICAS = 3,
  BUFFER_BYTES = 1024 * 1024,
  PATIENCE_MS = 4000,
  /** Not every broker knows at once of a topic that was just made. */
  LEARN_TRIES = 10,
  BACKOFF = { firstMs: 50, mostMs: 500 };

export const controlTopicOf = ({ group }: Pick<ControlTopicOptions, 'group'>): string => `${group}-control`;

export const transactionalIdOf = ({ group }: Pick<ControlTopicOptions, 'group'>, shard: number): string => `${group}-shard-${shard}`;

/** For sentences: what is tried, where, and the rights that all of it takes. */
export function attemptOf(o: Pick<ControlTopicOptions, 'log' | 'group'>, what: string): Attempt {
  return {
    what,
    where: parseKafkaUrl(o.log).map(showAddress).join(', '),
    rights:
      `Give the user 'Read', 'Write', 'Describe' and 'DescribeConfigs' on topic '${controlTopicOf(o)}', 'Write' and 'Describe' on the ` +
      `transactional ids that begin with '${o.group}-shard-', and 'Read' on group '${o.group}'.`,
  };
}

export async function openControlLog(o: ControlTopicOptions, kafka: Kafka, onData: () => void): Promise<KafkaLog> {
  const topic = controlTopicOf(o),
    log = await openOrCreate(o, kafka, onData);
  try {
    await check(o, log);
    return log;
  } catch (error) {
    await log.close();
    throw libraryFault(error, attemptOf(o, `Reading the settings of topic '${topic}'`));
  }
}

async function openOrCreate(o: ControlTopicOptions, kafka: Kafka, onData: () => void): Promise<KafkaLog> {
  const topic = controlTopicOf(o),
    options = { ...o.security, bufferBytes: BUFFER_BYTES, patienceMs: PATIENCE_MS, onData, onTrouble: o.onTrouble };
  for (let tries = 0; ; tries++) {
    try {
      return await openKafkaLog(o.log, [topic], options);
    } catch (error) {
      const isMissing = error instanceof TallyError && error.code === 'E_TOPIC_MISSING';
      if (!isMissing || tries === LEARN_TRIES) throw libraryFault(error, attemptOf(o, `Reading topic '${topic}'`));
      if (tries === 0) await create(o, kafka);
      else await new Promise((resolve) => setTimeout(resolve, backoffMs(BACKOFF, tries)));
    }
  }
}

async function create(o: ControlTopicOptions, kafka: Kafka): Promise<void> {
  const topic = controlTopicOf(o),
    attempt: Attempt = {
      ...attemptOf(o, `Creating topic '${topic}'`),
      rights:
        `Give the user 'Create' on the topic, or make it: kafka-topics.sh --create --topic ${topic} --partitions ${o.shards} ` +
        '--config cleanup.policy=compact.',
    },
    admin = kafka.admin();
  try {
    await admin.connect();
    const { brokers } = await admin.describeCluster(),
      replicationFactor = Math.min(REPLICAS, brokers.length),
      configEntries = [
        { name: 'cleanup.policy', value: 'compact' },
        // A claim that one broker alone knows would, when that is lost, be given to another.
        ...(replicationFactor < REPLICAS ? [] : [{ name: 'min.insync.replicas', value: '2' }]),
      ];
    await admin.createTopics({ topics: [{ topic, numPartitions: o.shards, replicationFactor, configEntries }] });
  } catch (error) {
    throw lastFault(libraryFault(error, attempt), attempt);
  } finally {
    await admin.disconnect().catch(() => {});
  }
}

async function check(o: ControlTopicOptions, log: KafkaLog): Promise<void> {
  const topic = controlTopicOf(o),
    partitions = log.partitions(topic);
  if (partitions !== o.shards)
    throw usage(
      'E_SHARDS',
      `the control topic '${topic}' has ${partitions} partition(s), one for each shard, and this run asks for ${o.shards} shard(s)`,
      `run with --shards group/${partitions}; for another number start anew, in another group`,
    );
  const policy = (await log.topicConfig(topic, ['cleanup.policy'])).get('cleanup.policy');
  if (policy !== 'compact')
    throw usage(
      'E_SHARDS',
      `the control topic '${topic}' forgets who owns which shard (cleanup.policy=${policy})`,
      'set its cleanup.policy to compact',
    );
}

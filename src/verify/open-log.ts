/** The log that is verified, by where it is: a directory of segment files, or Kafka. */
import type { LoggedLog } from './logged-log.ts';
import { openKafkaLogged } from './read-kafka.ts';
import type { KafkaAccess } from './read-kafka.ts';
import { loggedPartitions, readPartition } from './read-log.ts';

export async function openLogged(dir: string, kafka: KafkaAccess | undefined): Promise<LoggedLog> {
  if (kafka !== undefined) return openKafkaLogged(kafka);
  return {
    has: async (topic, partition) => loggedPartitions(dir, topic).includes(partition),
    read: (topic, partition, _, before) => readPartition(dir, topic, partition, before),
    close: async () => {},
  };
}

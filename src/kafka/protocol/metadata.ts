/** Metadata: the brokers of a cluster, and of each topic asked for its id, its partitions, their leaders and those leaders' epochs. */
import type { Api } from './api.ts';
import { NO_UUID } from './reader.ts';
import type { Reader } from './reader.ts';

export interface BrokerPlace {
  readonly node: number;
  readonly host: string;
  readonly port: number;
}
export interface PartitionMetadata {
  readonly error: number;
  readonly partition: number;
  /** -1: none at the moment. */
  readonly leader: number;
  readonly leaderEpoch: number;
}
export interface TopicMetadata {
  readonly error: number;
  readonly topic: string;
  readonly topicId: string;
  readonly partitions: readonly PartitionMetadata[];
}
export interface MetadataAnswer {
  readonly throttleMs: number;
  readonly brokers: readonly BrokerPlace[];
  readonly clusterId: string | null;
  readonly topics: readonly TopicMetadata[];
}

/** Version 10 is the first that gives topic ids; 11 drops a flag of the request, 12 lets an answer leave a name out. */
export const METADATA: Api<{ readonly topics: readonly string[] }, MetadataAnswer> = {
  name: 'Metadata',
  key: 3,
  versions: [10, 12],
  flexible: true,
  write(w, { topics }, version) {
    w.compactArray(topics, (topic) => {
      w.uuid(NO_UUID);
      w.compactString(topic);
      w.noTags();
    });
    // Reading a topic must never make it.
    w.bool(false);
    if (version < 11) w.bool(false);
    w.bool(false);
    w.noTags();
  },
  read(r) {
    const throttleMs = r.int32();
    const brokers = r.compactArray(() => {
      const broker = { node: r.int32(), host: r.compactString(), port: r.int32() };
      r.compactNullableString();
      r.skipTags();
      return broker;
    });
    const clusterId = r.compactNullableString();
    r.int32();
    return { throttleMs, brokers, clusterId, topics: r.compactArray(() => topicOf(r)) };
  },
};

function topicOf(r: Reader): TopicMetadata {
  const error = r.int16(),
    topic = r.compactString(),
    topicId = r.uuid();
  r.bool();
  const partitions = r.compactArray(() => {
    const of = { error: r.int16(), partition: r.int32(), leader: r.int32(), leaderEpoch: r.int32() };
    // Replicas, those in sync, those offline.
    for (let list = 0; list < 3; list++) r.compactArray(() => r.int32());
    r.skipTags();
    return of;
  });
  r.int32();
  r.skipTags();
  return { error, topic, topicId, partitions };
}

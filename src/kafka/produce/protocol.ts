/** Produce and InitProducerId: what an idempotent producer asks a broker. One request carries at most one batch a partition. */
import type { Api } from '../protocol/api.ts';

export interface PartitionBatch {
  readonly topic: string;
  readonly partition: number;
  /** A whole record batch (v2), header included. */
  readonly records: Uint8Array;
}
export interface ProduceRequest {
  readonly batches: readonly PartitionBatch[];
  readonly timeoutMs: number;
}
export interface Produced {
  readonly topic: string;
  readonly partition: number;
  readonly error: number;
}

const ALL_REPLICAS = -1;

export const PRODUCE: Api<ProduceRequest, readonly Produced[]> = {
  name: 'Produce',
  key: 0,
  versions: [9, 12],
  flexible: true,
  write(w, { batches, timeoutMs }) {
    const topics = Map.groupBy(batches, (b) => b.topic);
    w.compactString(null);
    w.int16(ALL_REPLICAS);
    w.int32(timeoutMs);
    w.compactArray([...topics], ([topic, ofTopic]) => {
      w.compactString(topic);
      w.compactArray(ofTopic, ({ partition, records }) => {
        w.int32(partition);
        w.compactBytes(records);
        w.noTags();
      });
      w.noTags();
    });
    w.noTags();
  },
  read(r) {
    return r.partitions((topic) => {
      const produced = { topic, partition: r.int32(), error: r.int16() };
      // Base offset, append time, start of the log.
      r.skip(24);
      r.compactArray(() => {
        r.int32();
        r.compactNullableString();
        r.skipTags();
      });
      r.compactNullableString();
      return produced;
    });
  },
};

export interface ProducerIdentity {
  readonly error: number;
  readonly producerId: number;
  readonly epoch: number;
}

export const INIT_PRODUCER_ID: Api<null, ProducerIdentity> = {
  name: 'InitProducerId',
  key: 22,
  versions: [2, 4],
  flexible: true,
  write(w, _, version) {
    w.compactString(null);
    w.int32(60_000);
    if (version >= 3) {
      w.int64(-1);
      w.int16(-1);
    }
    w.noTags();
  },
  read(r) {
    r.int32();
    return { error: r.int16(), producerId: r.int64(), epoch: r.int16() };
  },
};

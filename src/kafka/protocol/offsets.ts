/** ListOffsets (begin, end, by time) and OffsetForLeaderEpoch (where the log of an epoch ends). */
import type { Api } from './api.ts';

export const LATEST = -1,
  EARLIEST = -2;
/** Isolation: LATEST is the high watermark, or the last stable offset. */
export const UNCOMMITTED = 0,
  COMMITTED = 1;

export interface OffsetQuestion {
  readonly partition: number;
  readonly leaderEpoch: number;
  /** Milliseconds, or LATEST, EARLIEST. */
  readonly timestamp: number;
}
export interface ListOffsetsRequest {
  readonly isolation: number;
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly OffsetQuestion[] }[];
}
export interface OffsetAnswer {
  readonly topic: string;
  readonly partition: number;
  readonly error: number;
  readonly timestamp: number;
  /** -1: no record is that young. */
  readonly offset: number;
  readonly leaderEpoch: number;
}

export const LIST_OFFSETS: Api<ListOffsetsRequest, readonly OffsetAnswer[]> = {
  name: 'ListOffsets',
  key: 2,
  versions: [6, 9],
  flexible: true,
  write(w, { isolation, topics }) {
    w.int32(-1);
    w.int8(isolation);
    w.compactArray(topics, ({ topic, partitions }) => {
      w.compactString(topic);
      w.compactArray(partitions, (p) => {
        w.int32(p.partition);
        w.int32(p.leaderEpoch);
        w.int64(p.timestamp);
        w.noTags();
      });
      w.noTags();
    });
    w.noTags();
  },
  read(r) {
    r.int32();
    return r.partitions((topic) => ({
      topic,
      partition: r.int32(),
      error: r.int16(),
      timestamp: r.int64(),
      offset: r.int64(),
      leaderEpoch: r.int32(),
    }));
  },
};

export interface EpochEndRequest {
  readonly topic: string;
  readonly partition: number;
  readonly currentLeaderEpoch: number;
  readonly leaderEpoch: number;
}
export interface EpochEnd {
  readonly error: number;
  /** The greatest epoch not above the one asked for, -1 when the broker knows none; and where it ends. */
  readonly leaderEpoch: number;
  readonly endOffset: number;
}

export const OFFSET_FOR_LEADER_EPOCH: Api<EpochEndRequest, readonly EpochEnd[]> = {
  name: 'OffsetForLeaderEpoch',
  key: 23,
  versions: [4, 4],
  flexible: true,
  write(w, { topic, partition, currentLeaderEpoch, leaderEpoch }) {
    w.int32(-1);
    w.uvarint(2);
    w.compactString(topic);
    w.uvarint(2);
    w.int32(partition);
    w.int32(currentLeaderEpoch);
    w.int32(leaderEpoch);
    w.noTags();
    w.noTags();
    w.noTags();
  },
  read(r) {
    r.int32();
    return r.partitions(() => {
      const error = r.int16();
      r.int32();
      return { error, leaderEpoch: r.int32(), endOffset: r.int64() };
    });
  },
};

/** FindCoordinator, and OffsetCommit as a consumer outside any membership commits: only so that lag tools see where we are. */
import type { Api } from './api.ts';

export interface Coordinator {
  readonly error: number;
  readonly node: number;
  readonly host: string;
  readonly port: number;
}
/** Of a consumer group, or of the producer with that transactional.id. */
export interface Coordinated {
  readonly kind: 'group' | 'transactional id';
  readonly name: string;
}
const KINDS: Readonly<Record<Coordinated['kind'], number>> = { group: 0, 'transactional id': 1 };

export const FIND_COORDINATOR: Api<Coordinated, Coordinator> = {
  name: 'FindCoordinator',
  key: 10,
  versions: [3, 3],
  flexible: true,
  write(w, { kind, name }) {
    w.compactString(name);
    w.int8(KINDS[kind]);
    w.noTags();
  },
  read(r) {
    r.int32();
    const error = r.int16();
    r.compactNullableString();
    return { error, node: r.int32(), host: r.compactString(), port: r.int32() };
  },
};

export interface CommittedOffset {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
  readonly leaderEpoch: number;
}
export interface OffsetCommitRequest {
  readonly group: string;
  readonly offsets: readonly CommittedOffset[];
}
export interface OffsetCommitAnswer {
  readonly topic: string;
  readonly partition: number;
  readonly error: number;
}

export const OFFSET_COMMIT: Api<OffsetCommitRequest, readonly OffsetCommitAnswer[]> = {
  name: 'OffsetCommit',
  key: 8,
  versions: [8, 9],
  flexible: true,
  write(w, { group, offsets }) {
    w.compactString(group);
    // No generation and no member: refused while the group has members, which is as it should be.
    w.int32(-1);
    w.compactString('');
    w.compactString(null);
    w.compactArray([...Map.groupBy(offsets, ({ topic }) => topic)], ([topic, ofTopic]) => {
      w.compactString(topic);
      w.compactArray(ofTopic, ({ partition, offset, leaderEpoch }) => {
        w.int32(partition);
        w.int64(offset);
        w.int32(leaderEpoch);
        w.compactString('');
        w.noTags();
      });
      w.noTags();
    });
    w.noTags();
  },
  read(r) {
    r.int32();
    return r.partitions((topic) => ({ topic, partition: r.int32(), error: r.int16() }));
  },
};

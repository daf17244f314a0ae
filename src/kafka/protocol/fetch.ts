/**
 * Fetch, from version 12 on: each partition is asked for with the epoch of the batch before it, so that a log which was cut and grew again
 * answers with the point of divergence, not with other records. Records are not copied: the answer names their place in its bytes.
 */
import type { Api } from './api.ts';
import { COMMITTED } from './offsets.ts';
import { MalformedAnswer } from './reader.ts';
import type { Reader } from './reader.ts';
import type { Writer } from './writer.ts';

export interface FetchPartition {
  readonly partition: number;
  readonly currentLeaderEpoch: number;
  readonly offset: number;
  /** Epoch of the last batch before `offset`; -1: not known. */
  readonly lastFetchedEpoch: number;
  readonly maxBytes: number;
}
export interface FetchTopic {
  readonly topic: string;
  readonly topicId: string;
  readonly partitions: readonly FetchPartition[];
}
export interface FetchRequest {
  readonly maxWaitMs: number;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly topics: readonly FetchTopic[];
}
export interface FetchedPartition {
  /** Version 12 names the topic, later ones give its id; the other is ''. */
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly error: number;
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  readonly logStartOffset: number;
  /** Pairs of producer id and first offset, as they came; empty when nothing was aborted. */
  readonly aborted: readonly number[];
  /** The record set's place in the answer's bytes. */
  readonly from: number;
  readonly to: number;
  /** Where our history leaves the leader's: the greatest epoch they share, and its end. */
  diverging: { readonly epoch: number; readonly endOffset: number } | undefined;
}
export interface FetchAnswer {
  readonly throttleMs: number;
  readonly error: number;
  readonly bytes: Buffer;
  readonly partitions: readonly FetchedPartition[];
}

const BY_ID_FROM = 13,
  NO_REPLICA_FROM = 15;
const DIVERGING_TAG = 0;

export const FETCH: Api<FetchRequest, FetchAnswer> = {
  name: 'Fetch',
  key: 1,
  versions: [12, 16],
  flexible: true,
  keepsBytes: true,
  write(w, request, version) {
    if (version < NO_REPLICA_FROM) w.int32(-1);
    w.int32(request.maxWaitMs);
    w.int32(request.minBytes);
    w.int32(request.maxBytes);
    w.int8(COMMITTED);
    // No fetch session: every request names all that it wants.
    w.int32(0);
    w.int32(-1);
    w.compactArray(request.topics, (topic) => writeTopic(w, topic, version));
    w.compactArray([], () => {});
    w.compactString('');
    w.noTags();
  },
  read(r, version) {
    const throttleMs = r.int32(),
      error = r.int16();
    r.int32();
    const partitions = r.compactArray(() => {
      const topic = version < BY_ID_FROM ? r.compactString() : '',
        topicId = version < BY_ID_FROM ? '' : r.uuid();
      const found = r.compactArray(() => readPartition(r, topic, topicId));
      r.skipTags();
      return found;
    });
    return { throttleMs, error, bytes: r.bytes, partitions: partitions.flat() };
  },
};

function writeTopic(w: Writer, { topic, topicId, partitions }: FetchTopic, version: number): void {
  if (version < BY_ID_FROM) w.compactString(topic);
  else w.uuid(topicId);
  w.compactArray(partitions, (p) => {
    w.int32(p.partition);
    w.int32(p.currentLeaderEpoch);
    w.int64(p.offset);
    w.int32(p.lastFetchedEpoch);
    w.int64(-1);
    w.int32(p.maxBytes);
    w.noTags();
  });
  w.noTags();
}

function readPartition(r: Reader, topic: string, topicId: string): FetchedPartition {
  const partition = r.int32(),
    error = r.int16(),
    highWatermark = r.int64(),
    lastStableOffset = r.int64(),
    logStartOffset = r.int64();
  const aborted: number[] = [];
  r.compactArray(() => {
    aborted.push(r.int64(), r.int64());
    r.skipTags();
  });
  r.int32();
  const length = Math.max(0, r.uvarint() - 1),
    from = r.at;
  r.skip(length);
  const found: FetchedPartition = {
    topic,
    topicId,
    partition,
    error,
    highWatermark,
    lastStableOffset,
    logStartOffset,
    aborted,
    from,
    to: from + length,
    diverging: undefined,
  };
  for (let left = r.uvarint(); left > 0; left--) {
    const tag = r.uvarint(),
      bytes = r.uvarint(),
      end = r.at + bytes;
    if (tag === DIVERGING_TAG) found.diverging = { epoch: r.int32(), endOffset: r.int64() };
    if (r.at > end) throw new MalformedAnswer('a tagged field of the answer is longer than it says');
    r.skip(end - r.at);
  }
  return found;
}

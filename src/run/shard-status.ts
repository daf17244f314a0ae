/** What a shard says of itself while it runs: for `tally status`, progress, and the audit log. */
import { OUTBOX_FROM, OUTBOX_TO, decodeOutbox } from '../../state/outbox.ts';
import type { Store } from '../../state/store.ts';
import type { Shard } from '../../topology/shard.ts';
import type { OutboxDrain } from '../clickhouse/drain.ts';
import type { Inlet } from './inlet.ts';
import { Durations } from '../telemetry/durations.ts';
import type { ShardStatus } from './messages.ts';
import type { ShardCopies } from './shard-copies.ts';
import type { ShardLoop } from './shard-loop.ts';

const NONE = new Durations();

export interface Watched {
  readonly index: number;
  readonly fresh: boolean;
  readonly owner: string;
  readonly copies?: ShardCopies | undefined;
  readonly store: Store;
  readonly shard: Shard;
  readonly inlet: Inlet;
  readonly loop?: ShardLoop;
  readonly drain?: OutboxDrain;
}

export function shardStatus(w: Watched): ShardStatus {
  const { position } = w.shard,
    { dedup, windows } = w.shard.stats(),
    outbox = w.drain ?? waiting(w.store);
  return {
    shard: w.index,
    fresh: w.fresh,
    owner: w.owner,
    snapshotAt: w.copies?.takenAt ?? 0,
    settled: position.settled,
    version: position.version,
    acknowledged: position.acknowledged,
    watermark: position.watermark,
    maxTime: position.maxTime,
    committedAt: position.committedAt,
    outboxRows: outbox.pendingRows,
    outboxBytes: outbox.pendingBytes,
    identities: dedup.identities,
    identityBytes: dedup.memoryBytes + dedup.directoryBytes,
    openWindows: windows.openWindows,
    windowRows: windows.rows,
    paused: w.loop?.paused ?? false,
    sinkTrouble: w.loop?.sinkTrouble ?? false,
    commits: (w.loop?.commits ?? NONE).soFar(),
    visible: (w.loop?.freshness.visible ?? NONE).soFar(),
    partitions: position.partitions.map((p, i) => ({
      topic: p.topic,
      partition: p.partition,
      offset: p.offset,
      end: Math.max(p.offset, w.inlet.ends[i] ?? 0),
      high: p.high,
      recordTime: w.loop?.freshness.recordTimes[i] ?? -1,
      page: [...p.page],
    })),
  };
}

/** Records that wait to be read. Over a hop all shards have a part of each partition: the one that is furthest behind counts. */
export function behind(shards: readonly ShardStatus[]): number {
  const most = new Map<string, number>();
  for (const { topic, partition, offset, end } of shards.flatMap((s) => s.partitions)) {
    const place = `${topic}/${partition}`;
    most.set(place, Math.max(most.get(place) ?? 0, end - offset));
  }
  return [...most.values()].reduce((sum, n) => sum + n, 0);
}

/** Before the drain runs: what stands in the outbox of the state. */
function waiting(store: Store): { pendingRows: number; pendingBytes: number } {
  let pendingRows = 0,
    pendingBytes = 0;
  for (const [key, value] of store.range(OUTBOX_FROM, OUTBOX_TO)) {
    pendingRows += decodeOutbox(key, value).rows;
    pendingBytes += value.length;
  }
  return { pendingRows, pendingBytes };
}

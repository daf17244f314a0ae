/** What a shard says of itself while it runs: for `tally status`, progress, and the audit log. */
import { OUTBOX_FROM, OUTBOX_TO, decodeOutbox } from '../../state/outbox.ts';
import type { Store } from '../../state/store.ts';
import type { Shard } from '../../topology/shard.ts';
import type { OutboxDrain } from '../clickhouse/drain.ts';
import type { Log } from '../log/port.ts';
import type { ShardStatus } from './messages.ts';
import type { ShardLoop } from './shard-loop.ts';

export interface Watched {
  readonly index: number;
  readonly fresh: boolean;
  readonly store: Store;
  readonly shard: Shard;
  readonly loop?: ShardLoop;
  readonly drain?: OutboxDrain;
}

export function shardStatus(w: Watched, log: Log): ShardStatus {
  const { position } = w.shard,
    { dedup, windows } = w.shard.stats(),
    outbox = w.drain ?? waiting(w.store);
  return {
    shard: w.index,
    fresh: w.fresh,
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
    partitions: position.partitions.map((p) => ({
      topic: p.topic,
      partition: p.partition,
      offset: p.offset,
      end: log.endOffset(p.topic, p.partition),
      high: p.high,
      page: [...p.page],
    })),
  };
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

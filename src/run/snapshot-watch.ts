/**
 * Says so when a snapshot is older than half of what the log keeps: with the disk lost then, and some time until somebody notices, records that
 * the snapshot does not hold could be gone from the log.
 */
import type { KafkaLog } from '../kafka/log.ts';
import type { ShardStatus } from './messages.ts';

const RETENTION = 'retention.ms';

/** How long the log keeps a record, of all topics the least; Infinity: for ever. */
export async function retentionMs(log: KafkaLog, topics: readonly string[]): Promise<number> {
  let least = Infinity;
  for (const topic of topics) {
    const kept = Number((await log.topicConfig(topic, [RETENTION])).get(RETENTION) ?? -1);
    if (kept >= 0) least = Math.min(least, kept);
  }
  return least;
}

export class SnapshotWatch {
  private readonly mostMs: number;
  private readonly beganAt: number;
  private readonly warn: (sentence: string) => void;
  private readonly late = new Set<number>();

  constructor(retention: number, nowMs: number, warn: (sentence: string) => void) {
    this.mostMs = retention / 2;
    this.beganAt = nowMs;
    this.warn = warn;
  }

  look(shards: readonly ShardStatus[], nowMs: number): void {
    for (const { shard, snapshotAt } of shards) {
      const ageMs = nowMs - (snapshotAt === 0 ? this.beganAt : snapshotAt);
      if (ageMs <= this.mostMs) this.late.delete(shard);
      else if (!this.late.has(shard)) {
        this.late.add(shard);
        this.warn(
          `shard ${shard}: its newest snapshot is ${minutes(ageMs)} old, more than half of the ${minutes(2 * this.mostMs)} that the log keeps: were the disk lost, records could be gone before they are read again`,
        );
      }
    }
  }
}

const minutes = (ms: number): string => (ms < 60_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`);

/**
 * Walks one partition of the log, once, for all shards that have a share of it: each record is judged, and recounted by the shard that it
 * belongs to, if that shard has come so far.
 */
import type { LoggedLog } from './logged-log.ts';
import { past } from './logged-log.ts';
import type { Share } from './recount.ts';
import type { ShardOf } from './route.ts';
import { TallyError } from '../errors.ts';

export const furthest = (shares: readonly Share[]): Share => shares.reduce((far, share) => (share.end > far.end ? share : far));

/** `shardOf` null: there is one share, and every record is its own. */
export async function walkPartition(
  shares: readonly Share[],
  shardOf: ShardOf | null,
  log: LoggedLog,
  onRecords: (n: number) => void,
): Promise<void> {
  const { at, end, skipped, source, recount } = furthest(shares),
    byShard = new Map(shares.map((share) => [share.page.shard, share]));
  let read = past(skipped, 0);
  for await (const batch of log.read(at.topic, at.partition, skipped, end)) {
    for (const share of shares) await share.rows.load(Math.min(batch.lastOffset, share.end - 1));
    for (const record of batch.records) {
      if (past(skipped, record.offset) !== record.offset) continue;
      const verdict = recount.judge(source, record);
      const share = shardOf === null ? shares[0]! : byShard.get(shardOf(source, at.partition, verdict));
      if (share !== undefined && record.offset < share.end) share.recount.record(share, record, verdict);
    }
    read = past(skipped, batch.lastOffset + 1);
    onRecords(batch.records.length);
    // The codecs' own memory is freed in the event loop's turns alone.
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const share of shares) {
    await share.rows.load(share.end);
    share.rows.take(share.end, share.recount.differences);
  }
  if (read < end) {
    throw new TallyError(
      'E_LOG_TRUNCATED',
      `${at.topic}/${at.partition}: the tables stand at offset ${end}, but the log ends at ${read}`,
      'Verify against the log that the job has read; what it has read can no longer be recounted from this one.',
    );
  }
}

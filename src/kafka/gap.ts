/**
 * Why a log does not hold what was asked for: asks what it holds now, and where its history leaves what was read. Undefined means that
 * only what was fetched ahead was wrong; that is dropped, and fetching goes on from the position.
 */
import type { Cluster } from './cluster.ts';
import { BrokerTrouble, gapError, topicMissing } from './faults.ts';
import type { GapKind } from './faults.ts';
import type { OffsetFinder } from './offset-finder.ts';
import type { PartitionQueue } from './partition-queue.ts';

export async function lookForGap(queue: PartitionQueue, cluster: Cluster, finder: OffsetFinder): Promise<Error | undefined> {
  const { topic, partition } = queue;
  await cluster.refresh();
  const now = cluster.topic(topic);
  if (now === undefined) return topicMissing(topic, cluster.name);
  if (now.partitions.length === 0) throw new BrokerTrouble(`topic '${topic}' is missing at the moment`);
  const [[start, end]] = (await finder.bounds(topic, [partition])) as [readonly [number, number]];
  const gap = (kind: GapKind, wanted: number, from: number, to: number): Error =>
    gapError({ kind, topic, partition, wanted, start, end, from, to, resumeAt: resumeAt(kind, start, end, from) });
  if (now.topicId !== queue.topicId) {
    queue.dropAhead();
    return gap('recreated', queue.fetchOffset, 0, queue.fetchOffset);
  }
  // Removed from the front: what was fetched before is still good.
  if (queue.fetchOffset < start) return gap('removed', queue.fetchOffset, queue.fetchOffset, start);
  queue.dropAhead();
  const wanted = queue.fetchOffset;
  if (wanted < start) return gap('removed', wanted, wanted, start);
  if (queue.fetchEpoch >= 0) {
    const shared = await finder.epochEnd(topic, partition, queue.fetchEpoch);
    // The broker knows no epoch up to ours, or the one that it knows ends before the place where we are.
    if (shared.leaderEpoch < 0 || shared.endOffset < 0)
      return wanted > end ? gap('truncated', wanted, end, wanted) : gap('diverged', wanted, -1, -1);
    if (shared.endOffset < wanted || shared.leaderEpoch < queue.fetchEpoch) {
      const from = Math.min(shared.endOffset, wanted);
      return gap(end <= from ? 'truncated' : 'diverged', wanted, from, wanted);
    }
  }
  if (wanted > end) return gap('truncated', wanted, end, wanted);
  return undefined;
}

function resumeAt(kind: GapKind, start: number, end: number, from: number): number {
  if (kind === 'truncated') return end;
  return kind === 'diverged' ? Math.max(start, from) : start;
}

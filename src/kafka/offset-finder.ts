/** Asks the leaders where partitions begin, end, and stand at a time. Grouped by leader; what may heal is tried again, bounded. */
import type { Cluster } from './cluster.ts';
import { BrokerTrouble, throwIfError } from './faults.ts';
import { COMMITTED, EARLIEST, LATEST, LIST_OFFSETS, OFFSET_FOR_LEADER_EPOCH, UNCOMMITTED } from './protocol/offsets.ts';
import type { EpochEnd, OffsetAnswer } from './protocol/offsets.ts';

export class OffsetFinder {
  readonly #cluster: Cluster;

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  starts(topic: string, partitions: readonly number[]): Promise<number[]> {
    return this.#offsets(topic, partitions, EARLIEST, UNCOMMITTED);
  }

  /** Last stable offsets: what a reader of committed records can see now. */
  stableEnds(topic: string, partitions: readonly number[]): Promise<number[]> {
    return this.#offsets(topic, partitions, LATEST, COMMITTED);
  }

  highWatermarks(topic: string, partitions: readonly number[]): Promise<number[]> {
    return this.#offsets(topic, partitions, LATEST, UNCOMMITTED);
  }

  /** The first record that is not older; where there is none, the end. */
  async forTime(topic: string, partitions: readonly number[], timeMs: number): Promise<number[]> {
    // The ends first: a record that comes between the two questions is then read, not left out.
    const ends = await this.highWatermarks(topic, partitions),
      found = await this.#offsets(topic, partitions, timeMs, UNCOMMITTED);
    return found.map((offset, i) => (offset < 0 ? ends[i]! : offset));
  }

  /** First offset held, and the one after the last. */
  async bounds(topic: string, partitions: readonly number[]): Promise<(readonly [number, number])[]> {
    const starts = await this.starts(topic, partitions),
      ends = await this.highWatermarks(topic, partitions);
    return starts.map((start, i) => [start, ends[i]!] as const);
  }

  async epochEnd(topic: string, partition: number, leaderEpoch: number): Promise<EpochEnd> {
    return this.#cluster.patiently(async () => {
      const leader = this.#leader(topic, partition);
      const [end] = await this.#cluster.ask(leader.node, OFFSET_FOR_LEADER_EPOCH, {
        topic,
        partition,
        currentLeaderEpoch: leader.epoch,
        leaderEpoch,
      });
      if (end === undefined) throw new BrokerTrouble(`no answer about ${topic}, partition ${partition}`);
      throwIfError(end.error, `Asking for the epochs of ${topic}, partition ${partition}`);
      return end;
    });
  }

  #offsets(topic: string, partitions: readonly number[], timestamp: number, isolation: number): Promise<number[]> {
    return this.#cluster.patiently(async () => {
      const found = new Map<number, OffsetAnswer>();
      const byNode = Map.groupBy(partitions, (partition) => this.#leader(topic, partition).node);
      for (const [node, those] of byNode) {
        const questions = those.map((partition) => ({ partition, leaderEpoch: this.#leader(topic, partition).epoch, timestamp }));
        const answers = await this.#cluster.ask(node, LIST_OFFSETS, { isolation, topics: [{ topic, partitions: questions }] });
        for (const answer of answers) {
          throwIfError(answer.error, `Asking for the offsets of ${topic}, partition ${answer.partition}`);
          found.set(answer.partition, answer);
        }
      }
      return partitions.map((partition) => {
        const answer = found.get(partition);
        if (answer === undefined) throw new BrokerTrouble(`no answer about ${topic}, partition ${partition}`);
        return answer.offset;
      });
    });
  }

  #leader(topic: string, partition: number): { readonly node: number; readonly epoch: number } {
    const leader = this.#cluster.leader(topic, partition);
    if (leader === undefined) throw new BrokerTrouble(`${topic}, partition ${partition} has no leader at the moment`);
    return leader;
  }
}

/**
 * Reads many partitions ahead: a loop for each broker that leads one of them, moved along when leaders change. What a broker refuses is
 * judged by the table of error codes; that a log does not hold what was asked for becomes a GapError, never another record.
 */
import { monotonicMs } from '../clock.ts';
import { TallyError } from '../errors.ts';
import type { Cluster } from './cluster.ts';
import { meaningOf, NO_ERROR } from './error-codes.ts';
import { BrokerTrouble, refused, topicMissing } from './faults.ts';
import type { Chunk } from './fetch-memory.ts';
import { FetchMemory } from './fetch-memory.ts';
import { lookForGap } from './gap.ts';
import { LeaderLoop } from './leader-loop.ts';
import type { Fetching, LoopHost } from './leader-loop.ts';
import type { OffsetFinder } from './offset-finder.ts';
import { PartitionQueue } from './partition-queue.ts';
import type { KafkaPartitionReader, PartitionStart } from './partition-queue.ts';
import { backoffMs } from '../pause.ts';
import type { FetchedPartition } from './protocol/fetch.ts';
import { RecordSetFault, walkRecordSet } from './record-set.ts';
import { corruptBatch } from '../log/faults.ts';

export interface FetcherOptions {
  /** Bound of what is buffered over all partitions. */
  readonly bufferBytes: number;
  readonly maxWaitMs: number;
  /** How often the cluster's layout is learned anew without cause. */
  readonly refreshMs: number;
  /** How long a topic may be missing, or a login refused, before that is believed. */
  readonly graceMs: number;
  /** New batches, an end that was reached, or a fault: somebody who waits may look again. */
  readonly onData: () => void;
  /** What went wrong and is tried again; for people. */
  readonly onTrouble: (sentence: string) => void;
}

export class Fetcher implements LoopHost {
  readonly cluster: Cluster;
  readonly memory: FetchMemory;
  readonly #options: FetcherOptions;
  readonly #finder: OffsetFinder;
  readonly #all: Fetching[] = [];
  readonly #loops = new Map<number, LeaderLoop>();
  readonly #timer: NodeJS.Timeout;
  /** Since when a topic is missing, or a broker refuses us. */
  readonly #since = new Map<string, number>();
  #again: NodeJS.Timeout | undefined;
  #refreshNotBeforeMs = 0;
  #isClosed = false;

  constructor(cluster: Cluster, finder: OffsetFinder, options: FetcherOptions) {
    this.cluster = cluster;
    this.#finder = finder;
    this.#options = options;
    this.memory = new FetchMemory(options.bufferBytes, () => this.#wakeAll());
    this.#timer = setInterval(() => void this.#refresh(), options.refreshMs);
  }

  get maxWaitMs(): number {
    return this.#options.maxWaitMs;
  }

  get requestTimeoutMs(): number {
    return this.cluster.options.requestTimeoutMs;
  }

  /** The topic must be known to the cluster. */
  add(start: PartitionStart): KafkaPartitionReader {
    const topic = this.cluster.topic(start.topic);
    if (topic === undefined) throw new Error(`topic ${start.topic} was not learned`);
    if (this.#all.some(({ queue }) => queue.topic === start.topic && queue.partition === start.partition))
      throw new Error(`${start.topic}, partition ${start.partition} has a reader already`);
    const queue = new PartitionQueue(start, start.topicId ?? topic.topicId, this.memory, (of) => this.#roomIn(of));
    this.#all.push({ queue, node: -1, leaderEpoch: -1, ticket: 0, notBeforeMs: 0, tries: 0, served: 0, isLookedInto: false });
    this.memory.resize(this.#all.length);
    this.#assign();
    return queue;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#again);
    const loops = [...this.#loops.values()];
    for (const loop of loops) loop.close();
    await Promise.all(loops.map((loop) => loop.ended));
  }

  compact(): void {
    for (const { queue } of this.#all) queue.compact();
  }

  *ledBy(node: number): Iterable<Fetching> {
    for (const fetching of this.#all) if (fetching.node === node && !fetching.queue.isClosed) yield fetching;
  }

  taken(fetching: Fetching, part: FetchedPartition, chunk: Chunk): void {
    const { queue } = fetching;
    if (part.error !== NO_ERROR) return this.#refused(fetching, part.error);
    if (part.diverging !== undefined) return this.#look(fetching);
    fetching.tries = 0;
    this.#since.delete(queue.topic);
    queue.highWatermark = part.highWatermark;
    queue.lastStableOffset = part.lastStableOffset;
    queue.logStartOffset = part.logStartOffset;
    try {
      queue.take(chunk, walkRecordSet(chunk.bytes, part.from, part.to, queue.fetchOffset), part.aborted);
    } catch (error) {
      if (!(error instanceof RecordSetFault)) throw error;
      queue.fault = corruptBatch(queue.topic, queue.partition, error.offset, error.message);
    }
  }

  settled(): void {
    this.#options.onData();
  }

  async lost(node: number, error: Error, tries: number): Promise<void> {
    const key = `broker ${node}`,
      sinceMs = this.#since.get(key) ?? monotonicMs();
    if (tries === 1) this.#since.set(key, monotonicMs());
    else if (error instanceof TallyError && monotonicMs() - sinceMs > this.#options.graceMs) this.#stop(this.ledBy(node), error);
    this.#options.onTrouble(error.message);
    await this.#refresh();
  }

  #refused(fetching: Fetching, code: number): void {
    const { queue } = fetching,
      { remedy, words, name } = meaningOf(code),
      place = `${queue.topic}, partition ${queue.partition}`;
    if (remedy === 'look') return this.#look(fetching);
    if (remedy === 'stop') return this.#stop([fetching], refused(code, `Reading ${place}`));
    this.#later(fetching, `${words} (${name})`);
    if (remedy === 'refresh') void this.#refresh();
  }

  /** Said aloud when it does not pass at once. */
  #later(fetching: Fetching, why: string): void {
    const { topic, partition } = fetching.queue;
    fetching.tries++;
    fetching.notBeforeMs = monotonicMs() + backoffMs(this.cluster.options.backoff, fetching.tries);
    if (fetching.tries > 2) this.#options.onTrouble(`${topic}, partition ${partition}: ${why}`);
  }

  /** What was fetched ahead may be of a log that is no more: it is dropped, and the log is asked about what was read. */
  #look(fetching: Fetching): void {
    if (fetching.isLookedInto || fetching.queue.fault !== undefined) return;
    fetching.isLookedInto = true;
    fetching.ticket++;
    void this.#lookInto(fetching).catch((error: unknown) => this.#stop([fetching], error as Error));
  }

  async #lookInto(fetching: Fetching): Promise<void> {
    const { queue } = fetching;
    for (let tries = 1; !this.#isClosed && !queue.isClosed; tries++) {
      try {
        const fault = await lookForGap(queue, this.cluster, this.#finder);
        if (fault !== undefined) this.#stop([fetching], fault);
        else this.#later(fetching, 'the log was found whole again, and is asked once more');
        break;
      } catch (error) {
        // Whoever was asked patiently and did not answer may answer later.
        if (!(error instanceof BrokerTrouble || (error as Error).cause instanceof BrokerTrouble)) throw error;
        this.#options.onTrouble((error as Error).message);
        await new Promise((resolve) => setTimeout(resolve, backoffMs(this.cluster.options.backoff, tries)));
        await this.#refresh();
      }
    }
    fetching.isLookedInto = false;
    this.#loops.get(fetching.node)?.wake();
  }

  #stop(those: Iterable<Fetching>, fault: Error): void {
    for (const fetching of those) fetching.queue.fault ??= fault;
    this.#options.onData();
  }

  /** Not more often than the backoff's first step: many partitions find out at once that a broker is gone. */
  async #refresh(): Promise<void> {
    if (this.#isClosed || monotonicMs() < this.#refreshNotBeforeMs) return;
    this.#refreshNotBeforeMs = monotonicMs() + this.cluster.options.backoff.firstMs;
    try {
      await this.cluster.refresh();
    } catch (error) {
      if (!(error instanceof BrokerTrouble || error instanceof TallyError)) throw error;
      this.#options.onTrouble(error.message);
    }
    if (!this.#isClosed) this.#assign();
  }

  #assign(): void {
    for (const fetching of this.#all) {
      const { queue } = fetching,
        topic = this.cluster.topic(queue.topic);
      if (queue.isClosed || queue.fault !== undefined || topic === undefined) continue;
      if (topic.partitions.length === 0) this.#missing(fetching);
      else if (topic.topicId !== queue.topicId) this.#look(fetching);
      const leader = this.cluster.leader(queue.topic, queue.partition);
      const node = leader?.node ?? -1,
        leaderEpoch = leader?.epoch ?? -1;
      if (node !== fetching.node || leaderEpoch !== fetching.leaderEpoch) fetching.notBeforeMs = 0;
      fetching.node = node;
      fetching.leaderEpoch = leaderEpoch;
    }
    // Nobody fetches what nobody leads, so nobody else would ask again.
    const alone = this.#all.find((f) => f.node < 0 && f.queue.fault === undefined);
    if (alone !== undefined) {
      this.#options.onTrouble(`${alone.queue.topic}, partition ${alone.queue.partition} has no leader at the moment`);
      clearTimeout(this.#again);
      this.#again = setTimeout(() => void this.#refresh(), this.cluster.options.backoff.mostMs);
    }
    const nodes = new Set(this.#all.filter((f) => f.node >= 0 && !f.queue.isClosed).map((f) => f.node));
    for (const node of nodes) if (!this.#loops.has(node)) this.#loops.set(node, this.#loop(node));
    for (const loop of this.#loops.values()) loop.wake();
  }

  #loop(node: number): LeaderLoop {
    const loop = new LeaderLoop(node, this);
    // A bug in a loop must not end in silence: every partition that it fetches stops with it.
    loop.ended.catch((error: unknown) => this.#stop(this.ledBy(node), error as Error));
    return loop;
  }

  #missing(fetching: Fetching): void {
    const { topic } = fetching.queue,
      sinceMs = this.#since.get(topic);
    if (sinceMs === undefined) this.#since.set(topic, monotonicMs());
    else if (monotonicMs() - sinceMs > this.#options.graceMs) return this.#stop([fetching], topicMissing(topic, this.cluster.name));
  }

  #roomIn(queue: PartitionQueue): void {
    if (queue.isClosed) {
      const at = this.#all.findIndex((f) => f.queue === queue);
      if (at >= 0) this.#all.splice(at, 1);
      this.memory.resize(this.#all.length);
    } else if (queue.bufferedBytes < this.memory.bounds.partitionBytes) this.#wakeAll();
  }

  #wakeAll(): void {
    for (const loop of this.#loops.values()) loop.wake();
  }
}

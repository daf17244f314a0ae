/**
 * A log on a Kafka cluster. Questions about it are asynchronous; a reader is not: it shows what was fetched ahead, and `onData` says when to
 * look again. Offsets that are committed to a group are for lag tools alone: where we go on is our own state's to say.
 */
import { parseKafkaUrl } from './address.ts';
import { Cluster } from './cluster.ts';
import { throwIfError } from './faults.ts';
import { Fetcher } from './fetcher.ts';
import { commitOffsets } from './group-offsets.ts';
import { OffsetFinder } from './offset-finder.ts';
import type { KafkaPartitionReader, PartitionStart } from './partition-queue.ts';
import { DESCRIBE_CONFIGS } from './protocol/configs.ts';
import { FIND_COORDINATOR } from './protocol/group.ts';
import type { CommittedOffset, Coordinated } from './protocol/group.ts';
import type { Security } from './security.ts';

export interface KafkaLogOptions extends Security {
  readonly clientId?: string;
  /** Bound of what is fetched ahead, over all partitions; batches larger than their share come on top. */
  readonly bufferBytes?: number;
  /** New batches, an end that was reached, or a fault: a reader may be looked at again. Called often; must be cheap. */
  readonly onData?: () => void;
  /** What went wrong and is tried again; for people. */
  readonly onTrouble?: (sentence: string) => void;
  readonly maxWaitMs?: number;
  readonly connectTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
  /** An answer that claims more is not read. Must exceed the largest batch. */
  readonly answerBytesMax?: number;
  readonly patienceMs?: number;
  readonly graceMs?: number;
  readonly refreshMs?: number;
}

const DEFAULTS = {
  clientId: 'tally',
  bufferBytes: 64 * 1024 * 1024,
  maxWaitMs: 500,
  connectTimeoutMs: 3000,
  requestTimeoutMs: 10_000,
  answerBytesMax: 128 * 1024 * 1024,
  patienceMs: 8000,
  graceMs: 30_000,
  refreshMs: 60_000,
};
const BACKOFF = { firstMs: 50, mostMs: 1000 };

/** Learns the topics, each of which must be there; a TallyError says in one sentence why it cannot. */
export async function openKafkaLog(url: string, topics: readonly string[], options: KafkaLogOptions = {}): Promise<KafkaLog> {
  const log = new KafkaLog(url, options);
  try {
    await log.learn(topics);
    return log;
  } catch (error) {
    await log.close();
    throw error;
  }
}

export class KafkaLog {
  readonly #cluster: Cluster;
  readonly #finder: OffsetFinder;
  readonly #fetcher: Fetcher;

  constructor(url: string, options: KafkaLogOptions) {
    const all = { ...DEFAULTS, ...options };
    this.#cluster = new Cluster({ ...all, bootstrap: parseKafkaUrl(url), backoff: BACKOFF });
    this.#finder = new OffsetFinder(this.#cluster);
    this.#fetcher = new Fetcher(this.#cluster, this.#finder, { onData() {}, onTrouble() {}, ...all });
  }

  learn(topics: readonly string[]): Promise<void> {
    return this.#cluster.learn(topics);
  }

  get clusterId(): string | null {
    return this.#cluster.clusterId;
  }

  /** Bytes that are fetched and not read yet, as memory counts them. */
  get heldBytes(): number {
    return this.#fetcher.memory.heldBytes;
  }

  partitions(topic: string): number {
    return this.#known(topic).partitions.length;
  }

  topicId(topic: string): string {
    return this.#known(topic).topicId;
  }

  startOffsets(topic: string): Promise<number[]> {
    return this.#finder.starts(topic, this.#every(topic));
  }

  /** Last stable offsets: what can be read now. */
  endOffsets(topic: string): Promise<number[]> {
    return this.#finder.stableEnds(topic, this.#every(topic));
  }

  highWatermarks(topic: string): Promise<number[]> {
    return this.#finder.highWatermarks(topic, this.#every(topic));
  }

  /** Of each partition the first record that is not older than this, else its end. */
  offsetsForTime(topic: string, timeMs: number): Promise<number[]> {
    return this.#finder.forTime(topic, this.#every(topic), timeMs);
  }

  /** A topic's settings in force, such as message.timestamp.type; those that the broker does not know are left out. */
  topicConfig(topic: string, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return this.#cluster.patiently(async () => {
      const { error, values } = await this.#cluster.askAny(DESCRIBE_CONFIGS, { topic, names });
      throwIfError(error, `Asking for the settings of topic '${topic}'`);
      return values;
    });
  }

  /** Fetching begins at once. A gap between `start` and what the log holds is thrown by the reader's `peek`. */
  reader(start: PartitionStart): KafkaPartitionReader {
    return this.#fetcher.add(start);
  }

  /** For lag tools; throws a TallyError where it is refused, which need not stop anybody. */
  commit(group: string, offsets: readonly CommittedOffset[]): Promise<void> {
    return commitOffsets(this.#cluster, group, offsets);
  }

  /** Throws a TallyError when the user may not use the group or transactional id. */
  checkRight(what: Coordinated): Promise<void> {
    return this.#cluster.patiently(async () => {
      const { error } = await this.#cluster.askAny(FIND_COORDINATOR, what);
      throwIfError(error, `Using ${what.kind} '${what.name}'`);
    });
  }

  async close(): Promise<void> {
    const closing = this.#fetcher.close();
    this.#cluster.close();
    await closing;
  }

  #known(topic: string): NonNullable<ReturnType<Cluster['topic']>> {
    const known = this.#cluster.topic(topic);
    if (known === undefined) throw new Error(`topic ${topic} was not learned`);
    return known;
  }

  #every(topic: string): number[] {
    return this.#known(topic)
      .partitions.map(({ partition }) => partition)
      .sort((a, b) => a - b);
  }
}

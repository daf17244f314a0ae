/**
 * The oracle's own reader of a log on Kafka. Connections, logins and the cluster's layout are the Kafka library's (kafkajs); the record sets
 * come raw and are decoded as those of a log file are, because the library's own consumer passes over aborted transactions wrongly when
 * several are open, jumps over emptied batches, and asks no checksum. Read uncommitted, a transaction's fate is its own marker in the log.
 */
import { createRequire } from 'node:module';
import type { KafkaConfig } from 'kafkajs';
import { accessFault, gone, undecided } from './kafka-faults.ts';
import type { LoggedLog, Range } from './logged-log.ts';
import { past } from './logged-log.ts';
import { batchBytes, checkedHeader, HEADER_BYTES, isTransactional, loggedBatch, Transactions } from './record-batch.ts';
import type { Header, LoggedBatch } from './record-batch.ts';
import { TallyError } from '../errors.ts';

export type KafkaAccess = Pick<KafkaConfig, 'ssl' | 'sasl'> & { readonly brokers: readonly string[] };

const FETCH_KEY = 1,
  /** The first that gives batches of zstd, and the last but one before flexible fields. */
  FETCH_VERSION = 10,
  FETCH_BYTES = 4 * 1024 * 1024,
  WAIT_MS = 500,
  REQUEST_MS = 30_000;
/** A broker that is asked for what is below its high watermark answers; an empty answer is tried again this often. */
const TRIES = 8,
  PAUSE_MS = 250;
const OFFSET_OUT_OF_RANGE = 1,
  HEALING: ReadonlySet<number> = new Set([3, 5, 6, 7, 8, 9, 13, 56, 74, 75, 78]);

interface Encoder {
  writeInt8(n: number): Encoder;
  writeInt32(n: number): Encoder;
  writeInt64(n: number): Encoder;
  writeString(text: string): Encoder;
}
interface Broker {
  readonly connectionPool: { send(protocol: object): Promise<Answer> };
}
interface Cluster {
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
  refreshMetadata(): Promise<void>;
  findTopicPartitionMetadata(topic: string): { readonly partitionId: number; readonly leader: number }[];
  findBroker(at: { nodeId: number }): Promise<Broker>;
  fetchTopicsOffset(
    topics: readonly object[],
  ): Promise<{ readonly partitions: { readonly partition: number; readonly offset: string }[] }[]>;
}
interface Answer {
  readonly error: number;
  readonly highWatermark: number;
  readonly records: Buffer;
}

const library = createRequire(import.meta.url),
  LibraryCluster = library('kafkajs/src/cluster/index.js') as new (options: object) => Cluster,
  LibraryEncoder = library('kafkajs/src/protocol/encoder.js') as new () => Encoder,
  defaultSocketFactory = library('kafkajs/src/network/socketFactory.js') as () => unknown;

const silent = { debug() {}, info() {}, warn() {}, error() {}, namespace: (): object => silent, setLogLevel() {} };

export async function openKafkaLogged(access: KafkaAccess): Promise<LoggedLog> {
  const where = access.brokers.join(', ');
  const cluster = new LibraryCluster({
    ...access,
    clientId: 'tally-verify',
    logger: silent,
    socketFactory: defaultSocketFactory(),
    connectionTimeout: 2000,
    authenticationTimeout: 3000,
    reauthenticationThreshold: 10_000,
    requestTimeout: REQUEST_MS,
    enforceRequestTimeout: true,
    metadataMaxAge: 300_000,
    allowAutoTopicCreation: false,
    maxInFlightRequests: null,
    retry: { retries: 2, initialRetryTime: 200, maxRetryTime: 500 },
  });
  try {
    await cluster.connect();
  } catch (error) {
    await cluster.disconnect().catch(() => {});
    throw accessFault(error, where);
  }
  return new KafkaLogged(cluster, where);
}

class KafkaLogged implements LoggedLog {
  private readonly cluster: Cluster;
  private readonly where: string;

  constructor(cluster: Cluster, where: string) {
    this.cluster = cluster;
    this.where = where;
  }

  async has(topic: string, partition: number): Promise<boolean> {
    try {
      await this.cluster.addMultipleTargetTopics([topic]);
    } catch (error) {
      throw accessFault(error, this.where, topic);
    }
    return this.cluster.findTopicPartitionMetadata(topic).some((p) => p.partitionId === partition);
  }

  async *read(topic: string, partition: number, skipped: readonly Range[], before: number): AsyncGenerator<LoggedBatch> {
    let aborted: ReadonlySet<number> | null = null;
    if (past(skipped, 0) >= before || !(await this.has(topic, partition))) return;
    for await (const batch of this.batches(topic, partition, past(skipped, 0), skipped, before)) {
      if (batch.header.base >= before) return;
      if (isTransactional(batch.header)) aborted ??= await this.abortedFrom(topic, partition, batch.header.base, skipped, before);
      yield loggedBatch(batch, { topic, partition }, aborted, 0, before);
      // Nobody waits for what may come behind it.
      if (past(skipped, batch.header.lastOffset + 1) >= before) return;
    }
  }

  async close(): Promise<void> {
    await this.cluster.disconnect();
  }

  /** Reads on until every transaction that has a batch below `before` has its end. */
  private async abortedFrom(
    topic: string,
    partition: number,
    from: number,
    skipped: readonly Range[],
    before: number,
  ): Promise<ReadonlySet<number>> {
    const transactions = new Transactions();
    for await (const { bytes, header } of this.batches(topic, partition, from, skipped, before)) {
      transactions.note(bytes, header);
      if (past(skipped, header.lastOffset + 1) >= before && transactions.undecided() >= before) return transactions.aborted;
    }
    if (transactions.undecided() < before) throw undecided(topic, partition, transactions.undecided(), before);
    return transactions.aborted;
  }

  /** Whole batches from the one that holds `from` up to the high watermark. */
  private async *batches(
    topic: string,
    partition: number,
    from: number,
    skipped: readonly Range[],
    before: number,
  ): AsyncGenerator<{ bytes: Buffer; header: Header }> {
    let position = from;
    for (let empty = 0; empty < TRIES;) {
      const answer = await this.fetch(topic, partition, position);
      if (answer.error === OFFSET_OUT_OF_RANGE) {
        const start = await this.start(topic, partition);
        if (start > position) throw gone(topic, partition, position, start, before);
        return;
      }
      const began = position,
        { records } = answer;
      for (let at = 0; at + HEADER_BYTES <= records.length;) {
        const length = batchBytes(records.subarray(at));
        if (length === 0) throw oldFormat(topic, partition, position);
        // The answer's bound cut the last one: it comes again.
        if (at + length > records.length) break;
        const bytes = records.subarray(at, at + length),
          header = checkedHeader(bytes, topic, partition);
        at += length;
        if (header.lastOffset < position) continue;
        yield { bytes, header };
        position = past(skipped, header.lastOffset + 1);
        if (position > header.lastOffset + 1) break;
      }
      if (position > began) empty = 0;
      else if (position >= answer.highWatermark) return;
      else empty++;
    }
  }

  private async fetch(topic: string, partition: number, offset: number): Promise<Answer> {
    for (let tries = 1; ; tries++) {
      let trouble: unknown;
      try {
        const leader = this.cluster.findTopicPartitionMetadata(topic).find((p) => p.partitionId === partition)?.leader ?? -1,
          broker = await this.cluster.findBroker({ nodeId: leader });
        const answer = await broker.connectionPool.send(fetchProtocol(topic, partition, offset));
        if (!HEALING.has(answer.error)) {
          if (answer.error === 0 || answer.error === OFFSET_OUT_OF_RANGE) return answer;
          throw accessFault({ code: answer.error }, this.where, topic);
        }
        trouble = { code: answer.error };
      } catch (error) {
        if (error instanceof TallyError) throw error;
        trouble = error;
      }
      if (tries === TRIES) throw accessFault(trouble, this.where, topic);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
      await this.cluster.refreshMetadata().catch(() => {});
    }
  }

  private async start(topic: string, partition: number): Promise<number> {
    const [found] = await this.cluster.fetchTopicsOffset([{ topic, partitions: [{ partition }], fromBeginning: true }]);
    return Number(found?.partitions[0]?.offset ?? -1);
  }
}

function oldFormat(topic: string, partition: number, offset: number): TallyError {
  return new TallyError(
    'E_LOG_FORMAT',
    `${topic}/${partition}@${offset}: the record batch is of a format before Kafka 0.11`,
    'Nothing can be recounted beyond this batch.',
  );
}

function fetchProtocol(topic: string, partition: number, offset: number): object {
  const encode = async (): Promise<Encoder> => {
    const e = new LibraryEncoder();
    // No replica, wait, at least a byte, at most; read uncommitted, no session.
    e.writeInt32(-1).writeInt32(WAIT_MS).writeInt32(1).writeInt32(FETCH_BYTES).writeInt8(0).writeInt32(0).writeInt32(-1);
    e.writeInt32(1).writeString(topic).writeInt32(1).writeInt32(partition).writeInt32(-1);
    // The offset; the start of a follower's log, which we are not; no forgotten topics.
    e.writeInt64(offset).writeInt64(-1).writeInt32(FETCH_BYTES).writeInt32(0);
    return e;
  };
  return {
    request: { apiKey: FETCH_KEY, apiName: 'Fetch', apiVersion: FETCH_VERSION, encode },
    response: { decode: async (raw: Buffer) => readAnswer(raw), parse: async (answer: Answer) => answer },
    requestTimeout: REQUEST_MS,
    logResponseError: false,
  };
}

/** throttle i32, error i16, session i32, one topic with one partition. */
function readAnswer(raw: Buffer): Answer {
  const error = raw.readInt16BE(4),
    none = Buffer.alloc(0);
  if (error !== 0 || raw.readInt32BE(10) === 0) return { error, highWatermark: -1, records: none };
  // Topic's name, count of partitions, the partition's number.
  let at = 14 + 2 + raw.readInt16BE(14) + 4 + 4;
  const ofPartition = raw.readInt16BE(at),
    highWatermark = Number(raw.readBigInt64BE(at + 2));
  // Also the last stable offset and the start of the log; then aborted transactions, 16 bytes each.
  at += 2 + 24;
  at += 4 + 16 * Math.max(0, raw.readInt32BE(at));
  const length = Math.max(0, raw.readInt32BE(at));
  return { error: ofPartition, highWatermark, records: raw.subarray(at + 4, at + 4 + length) };
}

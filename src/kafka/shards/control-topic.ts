/**
 * The control topic of a group of shards: a compacted topic with one partition a shard, where each takes down who owns it. A record's key is
 * `claim` (value {v, epoch, instance}) or `released` ({v, epoch, version}); the last of each counts. Every record is written in a transaction
 * whose transactional.id is the shard's: the last one to begin fences all others, then reads, then writes, so that what it has read is
 * still so when its record is committed, and no two ever write the same epoch.
 */
import type { Kafka } from 'kafkajs';
import { codecs } from '../../log/codecs.ts';
import { backoffMs } from '../../pause.ts';
import { monotonicMs } from '../../clock.ts';
import { TallyError, usage } from '../../errors.ts';
import { decodeBatch } from '../../../topology/consume/cursor.ts';
import { Records } from '../../../topology/consume/records.ts';
import { parseKafkaUrl, showAddress } from '../address.ts';
import { BrokerTrouble } from '../faults.ts';
import { openLibrary } from '../library-access.ts';
import { openKafkaLog } from '../log.ts';
import type { KafkaLog } from '../log.ts';
import type { KafkaPartitionReader } from '../partition-queue.ts';
import type { Security } from '../security.ts';
import { lastFault, libraryFault } from './library-fault.ts';
import type { Attempt } from './library-fault.ts';

export interface ControlTopicOptions {
  readonly log: string;
  readonly security: Security;
  /** Also the beginning of the topic's name and of every transactional.id. */
  readonly group: string;
  readonly shards: number;
  readonly onTrouble: (sentence: string) => void;
}
/** What the topic says of a shard. */
export interface ShardRecord {
  /** Of the last claim; 0: nobody ever claimed it. */
  readonly epoch: number;
  readonly instance: string | null;
  /** The last release; of the owner of now when its epoch is that of the claim. */
  readonly released: { readonly epoch: number; readonly version: number } | null;
}
type Message =
  | { readonly key: 'claim'; readonly value: { readonly v: 1; readonly epoch: number; readonly instance: string } }
  | { readonly key: 'released'; readonly value: { readonly v: 1; readonly epoch: number; readonly version: number } };

const PATIENCE_MS = 8000,
  REQUEST_MS = 3000,
  BACKOFF = { firstMs: 50, mostMs: 500 },
  /** A claimer that died in its transaction hides what comes behind it for no longer than this. */
  TRANSACTION_MS = 10_000,
  VISIBLE_MS = 5,
  REPLICAS = 3,
  BUFFER_BYTES = 1024 * 1024;
const UNCLAIMED: ShardRecord = { epoch: 0, instance: null, released: null };

interface Followed {
  reader: KafkaPartitionReader;
  said: ShardRecord;
}

export class ControlTopic {
  readonly name: string;
  readonly where: string;
  readonly #kafka: Kafka;
  readonly #o: ControlTopicOptions;
  #log!: KafkaLog;
  readonly #followed = new Map<number, Followed>();
  readonly #reading = new Map<number, Promise<unknown>>();
  readonly #waiting = new Set<() => void>();

  private constructor(o: ControlTopicOptions, kafka: Kafka) {
    this.#o = o;
    this.#kafka = kafka;
    this.name = `${o.group}-control`;
    this.where = parseKafkaUrl(o.log).map(showAddress).join(', ');
  }

  /** Makes the topic when it is missing; refuses one that is not what it must be. */
  static async open(o: ControlTopicOptions): Promise<ControlTopic> {
    const kafka = await openLibrary(o.log, o.security, REQUEST_MS);
    const topic = new ControlTopic(o, kafka);
    topic.#log = await topic.#openLog().catch((error: unknown) => {
      if (!isMissing(error)) throw error;
      return topic.#create();
    });
    try {
      await topic.#check();
      return topic;
    } catch (error) {
      await topic.close();
      throw error;
    }
  }

  /** All that claims and releases which were over before had said. */
  read(shard: number): Promise<ShardRecord> {
    const reading = (this.#reading.get(shard) ?? Promise.resolve()).then(() => this.#read(shard));
    this.#reading.set(
      shard,
      reading.catch(() => {}),
    );
    return reading;
  }

  /** Takes the next epoch, above all that the topic knows and `atLeast`; undefined when it isn't wanted any more. */
  async claim(shard: number, instance: string, atLeast: number, isWanted: () => boolean): Promise<number | undefined> {
    const message = await this.#write(shard, `Claiming shard ${shard}`, isWanted, ({ epoch }) => ({
      key: 'claim',
      value: { v: 1, epoch: 1 + Math.max(epoch, atLeast), instance },
    }));
    return message?.value.epoch;
  }

  /** False: somebody else has claimed the shard since, and nothing was written. */
  async release(shard: number, instance: string, epoch: number, version: number): Promise<boolean> {
    let isOwner = false;
    await this.#write(
      shard,
      `Releasing shard ${shard}`,
      () => true,
      (said) => {
        isOwner = said.epoch === epoch && said.instance === instance;
        // An earlier try whose answer was lost may have said it.
        return isOwner && said.released?.epoch !== epoch ? { key: 'released', value: { v: 1, epoch, version } } : undefined;
      },
    );
    return isOwner;
  }

  async close(): Promise<void> {
    await this.#log.close();
    this.#wake();
  }

  async #write(
    shard: number,
    what: string,
    isWanted: () => boolean,
    decide: (said: ShardRecord) => Message | undefined,
  ): Promise<Message | undefined> {
    const attempt = this.#attempt(what),
      untilMs = monotonicMs() + PATIENCE_MS;
    for (let tries = 1; isWanted(); tries++) {
      try {
        return await this.#transact(shard, (said) => (isWanted() ? decide(said) : undefined));
      } catch (error) {
        const fault = libraryFault(error, attempt),
          waitMs = backoffMs(BACKOFF, tries);
        if (fault instanceof TallyError || monotonicMs() + waitMs > untilMs) throw lastFault(fault, attempt);
        await new Promise((resolve) => setTimeout(resolve, waitMs));
      }
    }
    return undefined;
  }

  async #transact(shard: number, decide: (said: ShardRecord) => Message | undefined): Promise<Message | undefined> {
    const producer = this.#kafka.producer({
      transactionalId: `${this.#o.group}-shard-${shard}`,
      transactionTimeout: TRANSACTION_MS,
      allowAutoTopicCreation: false,
      maxInFlightRequests: 1,
    });
    try {
      await producer.connect();
      // From here on whoever began before is fenced, and what they committed can be read.
      const transaction = await producer.transaction(),
        message = decide(await this.read(shard));
      if (message === undefined) return undefined;
      const { key, value } = message;
      await transaction.send({ topic: this.name, messages: [{ key, value: JSON.stringify(value), partition: shard }] });
      await transaction.commit();
      // The coordinator answers before the partition shows it: who is told that it was said must find it said.
      const untilMs = monotonicMs() + PATIENCE_MS;
      while (!holds(await this.read(shard), message)) {
        if (monotonicMs() > untilMs) throw new BrokerTrouble('a committed transaction does not become visible');
        await new Promise((resolve) => setTimeout(resolve, VISIBLE_MS));
      }
      return message;
    } finally {
      await producer.disconnect().catch(() => {});
    }
  }

  async #read(shard: number): Promise<ShardRecord> {
    const untilMs = monotonicMs() + PATIENCE_MS,
      end = (await this.#log.endOffsets(this.name))[shard]!;
    try {
      const followed = await this.#follow(shard);
      for (;;) {
        this.#take(followed);
        if (followed.reader.position >= end) return followed.said;
        if (monotonicMs() > untilMs)
          throw new BrokerTrouble(`reading topic '${this.name}', partition ${shard} takes longer than ${PATIENCE_MS / 1000} s`);
        await this.#data();
      }
    } catch (error) {
      // Whatever is wrong with what was read, the next one who asks begins anew.
      this.#followed.get(shard)?.reader.close();
      this.#followed.delete(shard);
      const attempt = this.#attempt(`Reading shard ${shard}`);
      throw lastFault(libraryFault(error, attempt), attempt);
    }
  }

  async #follow(shard: number): Promise<Followed> {
    const known = this.#followed.get(shard);
    if (known !== undefined) return known;
    const offset = (await this.#log.startOffsets(this.name))[shard]!,
      followed = { reader: this.#log.reader({ topic: this.name, partition: shard, offset }), said: UNCLAIMED };
    this.#followed.set(shard, followed);
    return followed;
  }

  #take(followed: Followed): void {
    const { reader } = followed;
    for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
      const records = new Records();
      decodeBatch(batch.bytes, records, codecs);
      for (let i = 0; i < records.count; i++) followed.said = taken(followed.said, textOf(records, i, 'key'), textOf(records, i, 'value'));
      reader.advance();
    }
  }

  /** Until there may be something new; now and then anyhow. */
  async #data(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>(),
      timer = setTimeout(resolve, 200);
    this.#waiting.add(resolve);
    await promise;
    this.#waiting.delete(resolve);
    clearTimeout(timer);
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
  }

  #openLog(): Promise<KafkaLog> {
    const { log, security, onTrouble } = this.#o;
    return openKafkaLog(log, [this.name], { ...security, bufferBytes: BUFFER_BYTES, onData: () => this.#wake(), onTrouble });
  }

  async #create(): Promise<KafkaLog> {
    const attempt: Attempt = {
      what: `Creating topic '${this.name}'`,
      where: this.where,
      rights:
        `Give the user 'Create' and 'Describe' on the topic, or make it yourself: kafka-topics.sh --create --topic ${this.name} ` +
        `--partitions ${this.#o.shards} --config cleanup.policy=compact.`,
    };
    const admin = this.#kafka.admin();
    try {
      await admin.connect();
      const { brokers } = await admin.describeCluster(),
        replicationFactor = Math.min(REPLICAS, brokers.length),
        configEntries = [
          { name: 'cleanup.policy', value: 'compact' },
          // A claim that only a broker knows which then is lost would be given to another.
          ...(replicationFactor < REPLICAS ? [] : [{ name: 'min.insync.replicas', value: '2' }]),
        ];
      await admin.createTopics({ topics: [{ topic: this.name, numPartitions: this.#o.shards, replicationFactor, configEntries }] });
    } catch (error) {
      throw lastFault(libraryFault(error, attempt), attempt);
    } finally {
      await admin.disconnect().catch(() => {});
    }
    // Not every broker knows of it at once.
    for (let tries = 1; ; tries++) {
      try {
        return await this.#openLog();
      } catch (error) {
        if (!isMissing(error) || tries === 10) throw error;
        await new Promise((resolve) => setTimeout(resolve, backoffMs(BACKOFF, tries)));
      }
    }
  }

  async #check(): Promise<void> {
    const partitions = this.#log.partitions(this.name);
    if (partitions !== this.#o.shards)
      throw usage(
        'E_SHARDS',
        `the control topic '${this.name}' has ${partitions} partition(s), one for each shard, and this run asks for ${this.#o.shards} shards`,
        `run with --shards group/${partitions}, or name another group`,
      );
    const policy = (await this.#log.topicConfig(this.name, ['cleanup.policy'])).get('cleanup.policy') ?? 'compact';
    if (policy !== 'compact')
      throw usage(
        'E_SHARDS',
        `the control topic '${this.name}' forgets who owns which shard (cleanup.policy=${policy})`,
        `set its cleanup.policy to compact`,
      );
  }

  #attempt(what: string): Attempt {
    const { group } = this.#o;
    return {
      what: `${what} of group '${group}'`,
      where: this.where,
      rights:
        `Give the user 'Read', 'Write', 'Describe' and 'DescribeConfigs' on topic '${this.name}', ` +
        `'Write' and 'Describe' on the transactional ids that begin with '${group}-shard-', and 'Read' on group '${group}'.`,
    };
  }
}

const isMissing = (error: unknown): boolean => error instanceof TallyError && error.code === 'E_TOPIC_MISSING';

/** It, or what came after it. */
function holds({ epoch, released }: ShardRecord, { key, value }: Message): boolean {
  if (epoch !== value.epoch) return epoch > value.epoch;
  return key === 'claim' || released?.epoch === epoch;
}

function textOf(records: Records, i: number, part: 'key' | 'value'): string | null {
  const start = (part === 'key' ? records.keyStart : records.valueStart)[i]!,
    end = (part === 'key' ? records.keyEnd : records.valueEnd)[i]!;
  return start < 0 ? null : Buffer.from(records.bytes.subarray(start, end)).toString();
}

function taken(said: ShardRecord, key: string | null, text: string | null): ShardRecord {
  let value: Partial<{ v: number; epoch: number; instance: string; version: number }>;
  try {
    value = JSON.parse(text ?? '') as typeof value;
  } catch {
    value = {};
  }
  const { v, epoch, instance, version } = value;
  if (v === 1 && typeof epoch === 'number') {
    if (key === 'claim' && typeof instance === 'string') return { ...said, epoch, instance };
    if (key === 'released' && typeof version === 'number') return { ...said, released: { epoch, version } };
  }
  throw new TallyError(
    'E_CONTROL_TOPIC',
    `a record of the control topic is not one of ours, or of a newer version: ${key} = ${text?.slice(0, 100)}.`,
    'Nobody else may write to that topic; run the newest version in every process.',
  );
}

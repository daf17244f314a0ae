/**
 * The control topic of a group of shards: a compacted topic with one partition a shard, where each takes down who owns it. A record's key is
 * `claim` (value {v, epoch, instance}) or `released` ({v, epoch, version}); the last of each counts. Every record is written in a transaction
 * whose transactional.id is the shard's: the last one to begin fences all others, then reads, then writes, so that what it has read is
 * still so when its record is committed, and no two ever write the same epoch.
 */
import type { Kafka } from 'kafkajs';
import { monotonicMs } from '../../clock.ts';
import { TallyError } from '../../errors.ts';
import { codecs } from '../../log/codecs.ts';
import { backoffMs, Pause } from '../../pause.ts';
import { decodeBatch } from '../../../topology/consume/cursor.ts';
import { Records } from '../../../topology/consume/records.ts';
import { BrokerTrouble } from '../faults.ts';
import { openLibrary } from '../library-access.ts';
import type { KafkaLog } from '../log.ts';
import type { KafkaPartitionReader } from '../partition-queue.ts';
import { attemptOf, controlTopicOf, openControlLog, transactionalIdOf } from './control-topic-setup.ts';
import type { ControlTopicOptions } from './control-topic-setup.ts';
import { lastFault, libraryFault } from './library-fault.ts';

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

/** All of it together stays below ten seconds: then a person is told. */
const WRITE_MS = 6000,
  READ_MS = 4000,
  REQUEST_MS = 2500,
  BACKOFF = { firstMs: 50, mostMs: 500 },
  /** A claimer that died in its transaction hides what comes behind it for no longer than this. */
  TRANSACTION_MS = 10_000,
  VISIBLE_MS = 5,
  /** Looked at now and then even when nobody says that there is something new. */
  LOOK_MS = 200;
const UNCLAIMED: ShardRecord = { epoch: 0, instance: null, released: null };

interface Followed {
  readonly reader: KafkaPartitionReader;
  said: ShardRecord;
}

export class ControlTopic {
  readonly #o: ControlTopicOptions;
  readonly #name: string;
  readonly #kafka: Kafka;
  #log!: KafkaLog;
  readonly #followed = new Map<number, Followed>();
  /** One reading at a time of each shard. */
  readonly #reading = new Map<number, Promise<unknown>>();
  readonly #pauses = new Set<Pause>();

  private constructor(o: ControlTopicOptions, kafka: Kafka) {
    this.#o = o;
    this.#name = controlTopicOf(o);
    this.#kafka = kafka;
  }

  static async open(o: ControlTopicOptions): Promise<ControlTopic> {
    const kafka = await openLibrary(o.log, o.security, REQUEST_MS),
      topic = new ControlTopic(o, kafka);
    topic.#log = await openControlLog(o, kafka, () => topic.#arrived());
    return topic;
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

  /** Throws what keeps the user from joining the group. */
  checkGroup(): Promise<void> {
    return this.#log.checkRight({ kind: 'group', name: this.#o.group });
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  async #write(
    shard: number,
    what: string,
    isWanted: () => boolean,
    decide: (said: ShardRecord) => Message | undefined,
  ): Promise<Message | undefined> {
    const attempt = attemptOf(this.#o, `${what} of group '${this.#o.group}'`),
      untilMs = monotonicMs() + WRITE_MS;
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
      transactionalId: transactionalIdOf(this.#o, shard),
      transactionTimeout: TRANSACTION_MS,
      allowAutoTopicCreation: false,
      maxInFlightRequests: 1,
    });
    try {
      // The library keeps to itself why it finds no coordinator.
      await this.#log.checkRight({ kind: 'transactional id', name: transactionalIdOf(this.#o, shard) });
      await producer.connect();
      // From here on whoever began before is fenced, and what they committed can be read.
      const transaction = await producer.transaction(),
        message = decide(await this.read(shard));
      if (message === undefined) return undefined;
      const { key, value } = message;
      await transaction.send({ topic: this.#name, messages: [{ key, value: JSON.stringify(value), partition: shard }] });
      await transaction.commit();
      // The coordinator answers before the partition shows it: who is told that it was said must find it said.
      const untilMs = monotonicMs() + READ_MS;
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
    const untilMs = monotonicMs() + READ_MS,
      pause = new Pause();
    this.#pauses.add(pause);
    try {
      const end = (await this.#log.endOffsets(this.#name))[shard]!,
        followed = await this.#follow(shard);
      for (;;) {
        this.#take(shard, followed);
        if (followed.reader.position >= end) return followed.said;
        if (monotonicMs() > untilMs)
          throw new BrokerTrouble(`${this.#name}, partition ${shard}: what it holds up to offset ${end} does not come`);
        await pause.sleep(LOOK_MS);
      }
    } catch (error) {
      const attempt = attemptOf(this.#o, `Reading who owns shard ${shard} of group '${this.#o.group}'`);
      throw lastFault(libraryFault(error, attempt), attempt);
    } finally {
      this.#pauses.delete(pause);
    }
  }

  /** Those who wait look for themselves; of the other shards that were ever asked for, a new claim is told. */
  #arrived(): void {
    for (const pause of this.#pauses) pause.wake();
    for (const [shard, followed] of this.#followed) {
      try {
        this.#take(shard, followed);
      } catch {
        // Whoever reads next begins anew, and is told.
      }
    }
  }

  async #follow(shard: number): Promise<Followed> {
    const known = this.#followed.get(shard);
    if (known !== undefined) return known;
    const offset = (await this.#log.startOffsets(this.#name))[shard]!,
      followed = { reader: this.#log.reader({ topic: this.#name, partition: shard, offset }), said: UNCLAIMED };
    this.#followed.set(shard, followed);
    return followed;
  }

  #take(shard: number, followed: Followed): void {
    const { reader } = followed,
      { epoch } = followed.said;
    try {
      for (let batch = reader.peek(); batch !== undefined; batch = reader.peek()) {
        const records = new Records();
        decodeBatch(batch.bytes, records, codecs);
        for (let i = 0; i < records.count; i++)
          followed.said = taken(followed.said, textOf(records, i, 'key'), textOf(records, i, 'value'));
        reader.advance();
      }
    } catch (error) {
      reader.close();
      this.#followed.delete(shard);
      throw error;
    }
    if (followed.said.epoch !== epoch) this.#o.onClaim(shard, followed.said.instance, followed.said.epoch);
  }
}

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

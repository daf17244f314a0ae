/** Generated records into all topics of a job on Kafka, which must be there; a record's time is its arrival, as its producer's clock (CreateTime). */
import type { Line } from './line.ts';
import { JobEvents } from './job-events.ts';
import type { RecordTarget } from './job-events.ts';
import { PROGRESS_RECORDS } from './to-log.ts';
import type { Generated, ToLogOptions } from './to-log.ts';
import { openProducer } from '../kafka/produce/producer.ts';
import type { KafkaProducer } from '../kafka/produce/producer.ts';
import { KafkaTopicWriter } from '../kafka/produce/topic-writer.ts';
import type { Security } from '../kafka/security.ts';
import type { Compression } from '../log/codecs.ts';
import type { Contract } from '../../topology/contract/model.ts';
import type { Plan } from '../../topology/plan.ts';

/** Between two looks at what waits: some hundred KB. */
const ROOM_RECORDS = 1024;

export interface KafkaTargetOptions {
  readonly security?: Security;
  readonly compression?: Compression;
  /** Of each batch that was acknowledged, the time of its first record. */
  readonly onAcknowledged?: (timestampMs: number) => void;
}

export async function openKafkaTarget(plan: Plan, url: string, o: KafkaTargetOptions = {}): Promise<KafkaTarget> {
  const topics = plan.sources.map((s) => s.topic),
    { onAcknowledged } = o;
  const producer = await openProducer(url, topics, {
    ...o.security,
    ...(onAcknowledged === undefined ? {} : { onAcknowledged: (batch) => onAcknowledged(batch.note) }),
  });
  const compression = o.compression ?? 'lz4';
  return new KafkaTarget(
    producer,
    topics.map((topic) => new KafkaTopicWriter(producer, topic, { compression })),
  );
}

export class KafkaTarget implements RecordTarget {
  private readonly producer: KafkaProducer;
  private readonly writers: readonly KafkaTopicWriter[];

  constructor(producer: KafkaProducer, writers: readonly KafkaTopicWriter[]) {
    this.producer = producer;
    this.writers = writers;
  }

  append(source: number, key: Uint8Array, { bytes, length }: Line, timestampMs: number): void {
    const writer = this.writers[source]!;
    writer.append(writer.partitionFor(key), key, bytes, timestampMs, 0, length);
  }

  send(): void {
    for (const writer of this.writers) writer.send();
  }

  room(): Promise<void> {
    return this.producer.room();
  }

  async finish(): Promise<void> {
    this.send();
    await this.producer.flush();
  }

  /** Somebody wants to stop: what fails is tried no longer than this. */
  hurry(ms: number): void {
    this.producer.hurry(ms);
  }

  close(): Promise<void> {
    return this.producer.close();
  }

  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.writers.map((w) => [w.topic, w.records]));
  }
}

export async function generateToKafka(
  plan: Plan,
  contracts: readonly Contract[],
  url: string,
  o: Omit<ToLogOptions, 'partitions'> & KafkaTargetOptions,
): Promise<Generated> {
  const events = new JobEvents(plan, contracts, o),
    target = await openKafkaTarget(plan, url, o);
  try {
    for (let n = 0; n < o.events; n++) {
      events.put(n, target);
      if (n % ROOM_RECORDS === 0) await target.room();
      if (n % PROGRESS_RECORDS === 0) o.onProgress?.(n);
    }
    await target.finish();
  } finally {
    await target.close();
  }
  return { records: o.events, topics: target.counts() };
}

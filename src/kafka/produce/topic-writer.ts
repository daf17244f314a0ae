/**
 * Records into the batches of a Kafka topic's partitions, as TopicWriter does for segment files: same choice of partition for a key, same
 * batches. A batch goes to the producer when it is full or when `send` is called; memory is bounded by a batch a partition here, and by
 * the producer's queue there, on whose `room` the caller waits.
 */
import { BatchBuilder, NO_HEADERS } from '../../log/batch-builder.ts';
import type { Compression } from '../../log/codecs.ts';
import { partitionOf } from '../../../topology/murmur2.ts';
import type { KafkaProducer } from './producer.ts';

/** Half of what brokers take unless told otherwise; a larger record gets a batch of its own. */
const BATCH_BYTES = 512 * 1024,
  /** Over all partitions of a topic. */
  BATCHES_BYTES = 64 * 1024 * 1024,
  BATCH_BYTES_MIN = 16 * 1024;
/** Header, and what the records' lengths and deltas add: a batch must stay under the topic's limit with them. */
const ROOM_BYTES = 1024;

export interface KafkaWriterOptions {
  readonly compression?: Compression;
  /** Where records without a key begin to take turns: any number. */
  readonly turn?: number;
  /** Where the record at hand came from, for sentences. */
  readonly placeOf?: () => string;
}

export class KafkaTopicWriter {
  readonly topic: string;
  readonly partitions: number;
  /** Records appended so far. */
  records = 0;
  /** Records in batches that the producer doesn't have yet. */
  pending = 0;
  readonly #producer: KafkaProducer;
  readonly #compression: Compression;
  readonly #batchBytes: number;
  readonly #builders: BatchBuilder[];
  readonly #places: string[];
  readonly #notes: number[];
  readonly #placeOf: () => string;
  #turn: number;

  constructor(producer: KafkaProducer, topic: string, options: KafkaWriterOptions = {}) {
    this.topic = topic;
    this.partitions = producer.partitions(topic);
    this.#producer = producer;
    this.#compression = options.compression ?? 'lz4';
    this.#placeOf = options.placeOf ?? ((): string => '');
    this.#turn = (options.turn ?? 0) % this.partitions;
    const share = Math.max(BATCH_BYTES_MIN, Math.floor(BATCHES_BYTES / this.partitions)),
      takes = Math.max(1, (producer.maxBatchBytes(topic) ?? Number.POSITIVE_INFINITY) - ROOM_BYTES);
    this.#batchBytes = Math.min(BATCH_BYTES, share, takes);
    this.#builders = Array.from({ length: this.partitions }, () => new BatchBuilder(this.#batchBytes));
    this.#places = this.#builders.map(() => '');
    this.#notes = this.#builders.map(() => 0);
  }

  /** Kafka's choice for a key. Without one, partitions take turns batch by batch: turns record by record would make all batches small. */
  partitionFor(key: Uint8Array | null): number {
    return key === null ? this.#turn : partitionOf(key, this.partitions);
  }

  /** One record, value[start..end), with its headers as they are encoded. Its bytes are copied. */
  append(
    partition: number,
    key: Uint8Array | null,
    value: Uint8Array | null,
    timestampMs: number,
    start: number = 0,
    end: number = value === null ? 0 : value.length,
    headers: Uint8Array = NO_HEADERS,
  ): void {
    const builder = this.#builders[partition]!,
      bytes = (key === null ? 0 : key.length) + end - start + headers.length;
    if (builder.count > 0 && builder.size + bytes > this.#batchBytes) this.#send(partition);
    if (builder.count === 0) {
      this.#places[partition] = this.#placeOf();
      this.#notes[partition] = timestampMs;
    }
    builder.add(key, value, start, end, timestampMs, headers);
    this.records++;
    this.pending++;
    if (builder.size >= this.#batchBytes) this.#send(partition);
  }

  /** Hands over what is pending, of every partition, even when the batch of one is refused. */
  send(): void {
    const faults: unknown[] = [];
    for (let p = 0; p < this.partitions; p++) {
      try {
        this.#send(p);
      } catch (error) {
        faults.push(error);
      }
    }
    if (faults.length > 0) throw faults[0];
  }

  #send(partition: number): void {
    const builder = this.#builders[partition]!;
    if (builder.count === 0) return;
    this.pending -= builder.count;
    if (partition === this.#turn) this.#turn = (this.#turn + 1) % this.partitions;
    this.#producer.enqueue(this.topic, partition, builder.seal(this.#compression), this.#places[partition]!, this.#notes[partition]!);
  }
}

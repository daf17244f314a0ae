/**
 * Appends records to the partitions of a topic: batches of up to a MiB of records (a bigger record gets its own), compressed,
 * checksummed. Memory is bounded by a batch a partition. What `flush` or `close` came back from is on disk for good.
 */
import { TallyError, usage } from '../errors.ts';
import { BatchBuilder } from './batch-builder.ts';
import { COMPRESSIONS } from './codecs.ts';
import type { Compression } from './codecs.ts';
import { partitionOf } from '../../topology/murmur2.ts';
import { PartitionWriter } from './partition-writer.ts';
import { makeTopic } from './topics.ts';

export const BATCH_BYTES = 1024 * 1024;
export const SEGMENT_BYTES = 1024 * 1024 * 1024;
/** The most that the reader's own bound (256 MiB a batch) takes safely. */
export const RECORD_BYTES_MAX = 128 * 1024 * 1024;

export interface WriterOptions {
  /** Made with this many when the topic is not there (default 1); refused when it has another number. */
  readonly partitions?: number;
  readonly compression?: Compression;
  readonly batchBytes?: number;
  readonly segmentBytes?: number;
}

export class TopicWriter {
  readonly topic: string;
  readonly partitions: number;
  readonly #compression: Compression;
  readonly #batchBytes: number;
  readonly #writers: PartitionWriter[];
  readonly #builders: BatchBuilder[];
  #next = -1;
  /** Records appended so far, written or not. */
  records = 0;
  /** Records in batches that are not written yet. */
  pending = 0;

  constructor(dir: string, topic: string, options: WriterOptions = {}) {
    this.#compression = checkCompression(options.compression ?? 'lz4');
    this.#batchBytes = options.batchBytes ?? BATCH_BYTES;
    this.topic = topic;
    this.partitions = makeTopic(dir, topic, options.partitions);
    const each = Array.from({ length: this.partitions }, (_, p) => p);
    this.#writers = each.map((p) => new PartitionWriter(dir, topic, p, options.segmentBytes ?? SEGMENT_BYTES));
    this.#builders = each.map(() => new BatchBuilder(this.#batchBytes));
  }

  /** Kafka's choice for a key; without one the partitions take turns, going on where the log's length says that the last producer was. */
  partitionFor(key: Uint8Array | null): number {
    if (this.partitions === 1) return 0;
    if (key !== null) return partitionOf(key, this.partitions);
    if (this.#next < 0) this.#next = this.#writers.reduce((sum, w) => sum + w.nextOffset(), 0) % this.partitions;
    const partition = this.#next;
    this.#next = (partition + 1) % this.partitions;
    return partition;
  }

  /** One record, value[start..end). Its bytes are copied. */
  append(
    partition: number,
    key: Uint8Array | null,
    value: Uint8Array | null,
    timestampMs: number,
    start: number = 0,
    end: number = value === null ? 0 : value.length,
  ): void {
    const builder = this.#builders[partition]!,
      bytes = (key === null ? 0 : key.length) + end - start;
    if (bytes > RECORD_BYTES_MAX) {
      throw new TallyError(
        'E_RECORD_TOO_LARGE',
        `A record of ${bytes} bytes is more than the ${RECORD_BYTES_MAX} that a log takes.`,
        'Split it, or leave it out.',
      );
    }
    if (builder.count > 0 && builder.size + bytes > this.#batchBytes) this.#send(partition);
    builder.add(key, value, start, end, timestampMs);
    this.records++;
    this.pending++;
    if (builder.size >= this.#batchBytes) this.#send(partition);
  }

  /** Writes what is pending, where readers see it; not yet synced. */
  send(): void {
    for (let p = 0; p < this.partitions; p++) this.#send(p);
  }

  /** Writes what is pending and waits until it is on disk. */
  flush(): void {
    this.send();
    for (const writer of this.#writers) writer.sync();
  }

  close(): void {
    try {
      this.flush();
    } finally {
      this.abandon();
    }
  }

  /** Lets go of the files; what is pending is lost, what was written is whole. */
  abandon(): void {
    for (const writer of this.#writers) writer.close();
  }

  #send(partition: number): void {
    const builder = this.#builders[partition]!;
    if (builder.count === 0) return;
    this.pending -= builder.count;
    this.#writers[partition]!.append(builder.seal(this.#compression));
  }
}

export function checkCompression(name: string): Compression {
  const found = COMPRESSIONS.find((c) => c === name);
  if (found === undefined)
    throw usage('E_COMPRESSION', `"${name}" is no compression of a log.`, `Give one of: ${COMPRESSIONS.join(', ')}.`);
  return found;
}
